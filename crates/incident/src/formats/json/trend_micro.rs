//! Trend Micro: workbench alerts, observed techniques and detections of Vision One (Apex One's among them), and the events of Deep
//! Security and Cloud One as they go to a queue.
//!
//! Alerts of the workbench name the hosts and accounts in their scope, the filters that matched with techniques of ATT&CK, and indicators
//! such as command lines and addresses. Of Deep Security what its anti-malware, its intrusion prevention and its web reputation found is
//! an alert, what its firewall let through telemetry, and the rest a log.

use std::borrow::Cow;

use super::super::text::of_ten;
use super::fields::{self, Fields};
use super::tags::severity;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, told, verdict};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// Alerts of the workbench, techniques that were observed, and detections.
pub(crate) const ALERTS: ObjectFormat =
    ObjectFormat { format: Format::Detections, recognises: is_alert, read: alert };

/// What Deep Security writes.
pub(crate) const EVENTS: ObjectFormat =
    ObjectFormat { format: Format::ProductEvents, recognises: is_event, read: event };

/// Deep Security's modules, and whether what they write was found to be wrong.
const MODULES: [(&str, bool); 9] = [
    ("AntiMalwareEvent", true),
    ("PayloadLog", true),
    ("WebReputationEvent", true),
    ("IntegrityEvent", false),
    ("LogInspectionEvent", false),
    ("AppControlEvent", false),
    ("PacketLog", false),
    ("SystemEvent", false),
    ("DeviceControlEvent", false),
];
/// Most names of hosts, accounts and filters that are told.
const MAX_TOLD: usize = 6;

fn is_alert(object: &Object) -> bool {
    let alert = Fields(object);
    is_workbench(alert) || is_observed(alert) || is_detection(alert)
}

fn alert(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    let draft = match () {
        () if is_workbench(alert) => workbench(alert)?,
        () if is_observed(alert) => observed(alert)?,
        () => detection(alert)?,
    };
    Some(draft.finish(Format::Detections, object, envelope))
}

fn is_workbench(alert: Fields<'_>) -> bool {
    let id = alert.string("id").or_else(|| alert.string("workbenchId"));
    let is_numbered = id.is_some_and(|id| id.starts_with("WB-"));
    (is_numbered || alert.has("workbenchLink"))
        && ["model", "workbenchName", "modelName", "name"].iter().any(|key| alert.has(key))
}

/// What is in the scope of an alert.
#[derive(Default)]
struct Scope {
    hosts: Vec<String>,
    addresses: Vec<Endpoint>,
    accounts: Vec<String>,
}

impl Scope {
    fn of(alert: Fields<'_>) -> Scope {
        let mut scope = Scope::default();
        for entity in alert.objects("impactScope.entities").chain(alert.objects("impactScope")) {
            let kind = entity.text("entityType").unwrap_or_default();
            let name = entity.first(&["entityValue.name", "entityValue.hostname", "entityValue"]);
            let name = name.map(Cow::into_owned);
            match &*kind {
                "host" => {
                    scope.hosts.extend(name.filter(|name| super::is_name(name)));
                    scope.addresses.extend(entity.address(&["entityValue.ips", "entityValue.ip"]));
                }
                "account" | "emailAddress" => scope.accounts.extend(name),
                _ => {}
            }
        }
        scope
    }
}

fn workbench(alert: Fields<'_>) -> Option<Draft<'_>> {
    let title = alert.first(&["model", "workbenchName", "modelName", "name"])?;
    let described = alert.text("description").filter(|text| *text != title);
    let scope = Scope::of(alert);
    let host = scope.hosts.first().cloned().unwrap_or_default();
    let own = scope.addresses.first().cloned().or_else(|| some(&host).map(|host| fields::end(host, None)));
    let remote = indicators(alert, &["ip"])
        .find_map(|value| fields::address(&serde_json::Value::from(&*value)))
        .filter(|remote| !scope.addresses.contains(remote));
    let filters: Vec<Fields<'_>> =
        alert.objects("matchedRules").flat_map(|rule| rule.objects("matchedFilters")).collect();
    let names = filters.iter().filter_map(|filter| filter.text("name")).take(MAX_TOLD).map(Cow::into_owned);
    let rank = alert.text("severity").and_then(|word| severity(&word));
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: alert
            .time(&["createdDateTime", "alertTriggerTimestamp", "createdTime", "workbenchCompleteTimestamp"])
            .or_else(|| filters.iter().find_map(|filter| filter.time(&["matchedDateTime"]))),
        sensor: Cow::Borrowed("Trend Vision One"),
        message: Cow::Owned(super::titled(&title, described.as_deref().unwrap_or_default())),
        detail: Cow::Owned(listed([
            told("on", joined(scope.hosts.into_iter().take(MAX_TOLD))),
            told("accounts", joined(scope.accounts.iter().take(MAX_TOLD).cloned())),
            told("filters", joined(names)),
            told("status", alert.first(&["status", "investigationStatus"])),
        ])),
        rule: alert.first(&["modelId", "id", "workbenchId"]).unwrap_or_default(),
        priority: rank.or_else(|| alert.number("score").and_then(super::tags::risk)),
        source: remote,
        destination: own,
        account: Cow::Owned(scope.accounts.into_iter().next().unwrap_or_default()),
        process: indicators(alert, &["command_line", "process_id"]).next().unwrap_or_default(),
        file: indicators(alert, &["fullpath", "filename", "file_path"]).next().unwrap_or_default(),
        host: Cow::Owned(host),
        ..Draft::default()
    };
    for filter in filters {
        for path in ["mitreTechniqueIds", "mitreTacticIds"] {
            draft.tags.take_all(filter.texts(path));
        }
    }
    Some(draft)
}

/// What the alert names as indicators of these types.
fn indicators<'a>(alert: Fields<'a>, types: &'static [&'static str]) -> impl Iterator<Item = Cow<'a, str>> {
    alert.objects("indicators").filter_map(move |indicator| {
        let kind = indicator.first(&["type", "objectType"])?;
        types.contains(&&*kind).then(|| indicator.first(&["value", "objectValue"]))?
    })
}

fn is_observed(alert: Fields<'_>) -> bool {
    let is_ranked =
        alert.objects("filters").next().is_some_and(|filter| filter.has("riskLevel") && filter.has("name"));
    is_ranked && ["detectedDateTime", "detail", "entityName", "endpoint"].iter().any(|key| alert.has(key))
}

fn observed(alert: Fields<'_>) -> Option<Draft<'_>> {
    let filters: Vec<Fields<'_>> = alert.objects("filters").collect();
    // The one that ranks highest; the others stand beside it.
    let rank = |filter: &Fields<'_>| filter.text("riskLevel").and_then(|word| severity(&word));
    let first = filters.iter().min_by_key(|filter| rank(filter).unwrap_or(4))?;
    let host =
        alert.first(&["endpoint.endpointName", "detail.endpointHostName", "entityName"]).unwrap_or_default();
    let host = host.split('(').next().unwrap_or_default().trim().to_owned();
    let own = alert.address(&["endpoint.ips", "detail.endpointIp"]);
    let account =
        alert.first(&["detail.logonUser", "detail.suser", "detail.processUser"]).unwrap_or_default();
    let priority = rank(first);
    let mut draft = Draft {
        kind: if priority == Some(4) || priority.is_none() {
            RecordKind::Telemetry
        } else {
            RecordKind::Alert
        },
        time: alert.time(&["detectedDateTime", "detail.eventTime", "ingestedDateTime"]),
        sensor: Cow::Borrowed("Trend Vision One"),
        message: Cow::Owned(super::titled(
            &first.text("name")?,
            &first.text("description").unwrap_or_default(),
        )),
        detail: Cow::Owned(listed([told("on", some(&host)), told("account", some(&account))])),
        rule: first.text("id").unwrap_or_default(),
        priority: priority.filter(|rank| *rank < 4),
        destination: own
            .or_else(|| some(&host).filter(|host| super::is_name(host)).map(|host| fields::end(host, None))),
        process: alert
            .first(&["detail.processCmd", "detail.objectCmd", "detail.processFilePath"])
            .unwrap_or_default(),
        file: alert.first(&["detail.objectFilePath", "detail.fullPath"]).unwrap_or_default(),
        host: Cow::Owned(host),
        account,
        ..Draft::default()
    };
    for filter in &filters {
        for path in ["mitreTechniqueIds", "mitreTacticIds"] {
            draft.tags.take_all(filter.texts(path));
        }
    }
    Some(draft)
}

/// What a product that Vision One gathers from found: `MALWARE_DETECTION` and the like.
fn is_detection(alert: Fields<'_>) -> bool {
    let is_event =
        alert.string("eventName").is_some_and(|name| name.ends_with("_DETECTION") || alert.has("malName"));
    is_event && ["pname", "productCode", "mpname", "malName"].iter().any(|key| alert.has(key))
}

fn detection(alert: Fields<'_>) -> Option<Draft<'_>> {
    let event = alert.text("eventName")?;
    let name =
        alert.first(&["malName", "ruleName", "attackName", "policyName"]).unwrap_or_else(|| event.clone());
    let host = alert.first(&["endpointHostName", "dvchost", "interestedHost", "dhost"]).unwrap_or_default();
    let own = alert.address(&["endpointIp", "interestedIp", "dst"]);
    let done = alert.first(&["act", "actResult"]).unwrap_or_default();
    let rank = alert.first(&["severity", "riskLevel"]);
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: alert.time(&["eventTime", "eventTimeDT", "rt", "logReceivedTime"]),
        sensor: alert.text("pname").unwrap_or(Cow::Borrowed("Trend Vision One")),
        message: Cow::Owned(super::titled(
            &name,
            Some(&*event).filter(|event| *event != name).unwrap_or_default(),
        )),
        detail: Cow::Owned(listed([
            told("on", some(&host)),
            told("done", some(&done)),
            told("type", alert.text("malType")),
        ])),
        rule: alert.first(&["ruleId", "malName"]).unwrap_or_default(),
        priority: rank.and_then(|rank| severity(&rank).or_else(|| rank.parse().ok().and_then(of_ten))),
        source: alert.address(&["src", "remoteIp"]).filter(|source| Some(source) != own.as_ref()),
        destination: own
            .or_else(|| some(&host).filter(|host| super::is_name(host)).map(|host| fields::end(host, None))),
        account: alert.first(&["logonUser", "duser", "suser", "userName"]).unwrap_or_default(),
        process: alert.first(&["processCmd", "objectCmd", "processName"]).unwrap_or_default(),
        file: alert.first(&["fullPath", "filePathName", "fileName"]).unwrap_or_default(),
        verdict: done_verdict(&done),
        host,
        ..Draft::default()
    };
    for path in ["tacticId", "techniqueId", "mitreMapping"] {
        draft.tags.take_all(alert.texts(path));
    }
    Some(draft)
}

fn module(event: Fields<'_>) -> Option<(&'static str, bool)> {
    let kind = event.string("EventType")?;
    MODULES.into_iter().find(|(name, _)| *name == kind)
}

fn is_event(object: &Object) -> bool {
    let event = Fields(object);
    module(event).is_some() && event.has("LogDate") && (event.has("HostName") || event.has("Title"))
}

fn event(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = Fields(object);
    let (module, is_found) = module(event)?;
    let host = event.text("HostName").filter(|name| super::is_name(name)).unwrap_or_default();
    let done =
        event.first(&["ActionString", "ScanResultString", "ScanAction1", "Action"]).unwrap_or_default();
    let verdict = done_verdict(&done);
    let rank = event.text("SeverityString").and_then(|word| severity(&word));
    let is_wrong = is_found || module != "SystemEvent" && module != "PacketLog" && matches!(rank, Some(1));
    let is_stopped = verdict == Some(SensorVerdict::Blocked);
    let kind = match () {
        () if is_wrong => RecordKind::Alert,
        () if module == "PacketLog" && !is_stopped => RecordKind::Telemetry,
        () => RecordKind::Log,
    };
    let source = event.end(&["SourceIP"], &["SourcePort"]);
    let destination = event.end(&["DestinationIP"], &["DestinationPort"]);
    let title = event.first(&["MalwareName", "Title", "Reason", "Description", "ReasonString", "URL"])?;
    let more = event.first(&["Reason", "Description"]).filter(|more| *more != title);
    let facts = listed([
        told("on", some(&host)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("by", event.first(&["ActionBy", "UserName", "ProcessUserName"])),
        told("done", some(&done)),
        told("", more),
    ]);
    let named = super::titled(module, &title);
    let own = some(&host).map(|host| fields::end(host, None));
    let draft = Draft {
        kind,
        time: event.time(&["LogDate", "DetectionTime"]),
        sensor: Cow::Borrowed("Trend Micro Deep Security"),
        message: Cow::Owned(if is_wrong { named } else { super::titled(&named, &facts) }),
        detail: if is_wrong { Cow::Owned(facts) } else { Cow::default() },
        rule: event.first(&["EventID", "ReasonID", "Number"]).unwrap_or_default(),
        priority: rank.filter(|_| is_wrong),
        classification: Cow::Borrowed(module),
        protocol: event.first(&["ProtocolString", "Protocol"]).unwrap_or_default(),
        destination: destination.or_else(|| own.filter(|_| is_wrong)),
        account: event.first(&["ActionBy", "UserName", "ProcessUserName"]).unwrap_or_default(),
        process: event.first(&["ProcessName", "Process"]).unwrap_or_default(),
        file: event.first(&["InfectedFilePath", "FilePath", "Path", "Key"]).unwrap_or_default(),
        source,
        verdict,
        host,
        ..Draft::default()
    };
    Some(draft.finish(Format::ProductEvents, object, envelope))
}

/// What agents of this vendor did, in their own words beside those that others have.
fn done_verdict(done: &str) -> Option<SensorVerdict> {
    let bare = done.rsplit([':', ' ']).next().unwrap_or_default();
    verdict(done).or_else(|| verdict(bare)).or_else(|| {
        let word = done.to_ascii_lowercase();
        ["cleaned", "deleted", "delete", "clean", "terminate", "renamed"]
            .iter()
            .any(|stopped| word.contains(stopped) && !word.contains("unable") && !word.contains("fail"))
            .then_some(SensorVerdict::Blocked)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const WORKBENCH: &str = r#"{"schemaVersion":"1.12","id":"WB-1-20260603-00001","investigationStatus":"New","status":"Open","investigationResult":"No Findings","workbenchLink":"https://x","alertProvider":"SAE","model":"Possible Credential Dumping","score":63,"severity":"high","createdDateTime":"2026-06-03T12:59:31Z","impactScope":{"desktopCount":1,"entities":[{"entityType":"host","entityValue":{"guid":"g","name":"pc7","ips":["10.0.2.20"]},"entityId":"g"},{"entityType":"account","entityValue":"corp\\alice"}]},"description":"A user dumped credentials.","matchedRules":[{"id":"r","name":"Dump","matchedFilters":[{"id":"f","name":"Dump by registry","matchedDateTime":"2026-06-03T12:59:30Z","mitreTechniqueIds":["T1003.002"],"matchedEvents":[]}]}],"indicators":[{"id":1,"type":"command_line","field":"objectCmd","value":"reg save hklm\\sam x"},{"id":2,"type":"ip","value":"10.0.2.20"},{"id":3,"type":"ip","value":"203.0.113.66"}]}"#;

    #[test]
    fn alerts_of_the_workbench_name_whom_they_are_about() {
        let found = record(WORKBENCH);
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(found.message, "Possible Credential Dumping: A user dumped credentials.");
        assert_eq!((found.host.as_str(), found.account.as_str()), ("pc7", "corp\\alice"));
        assert_eq!(
            (found.process.as_str(), found.techniques.as_slice()),
            ("reg save hklm\\sam x", &["T1003.002".to_owned()][..])
        );
        assert_eq!(found.destination.unwrap().address, "10.0.2.20");
        assert!(found.detail.contains("filters Dump by registry"), "{}", found.detail);
        for result in ["False Positive", "Benign True Positive"] {
            let dismissed = changed(WORKBENCH, &[("investigationResult", result.into())]);
            assert_eq!(dismissed.kind, RecordKind::Telemetry, "{result}");
        }
    }

    #[test]
    fn what_was_observed_ranks_as_its_filter_does() {
        let text = r#"{"source":"endpointActivityData","uuid":"u","filters":[{"id":"F1","name":"Shell","description":"A shell was started.","mitreTacticIds":["TA0002"],"mitreTechniqueIds":["T1059.001"],"riskLevel":"medium"}],"endpoint":{"endpointName":"pc7","agentGuid":"g","ips":["10.0.2.20"]},"entityType":"endpoint","entityName":"pc7(10.0.2.20)","detectedDateTime":"2026-06-03T12:59:31Z","detail":{"processCmd":"powershell.exe -enc x","logonUser":["alice"]}}"#;
        let found = record(text);
        assert_eq!(
            (found.kind, found.priority, found.account.as_str()),
            (RecordKind::Alert, Some(2), "alice")
        );
        assert_eq!((found.message.as_str(), found.rule.as_str()), ("Shell: A shell was started.", "F1"));
        assert_eq!(found.tactics, [crate::Tactic::Execution]);
        let filters = serde_json::json!([{"id":"F1","name":"Shell","riskLevel":"info"}]);
        let info = changed(text, &[("filters", filters)]);
        assert_eq!((info.kind, info.priority), (RecordKind::Telemetry, None));
    }

    #[test]
    fn what_apex_one_found_is_an_alert() {
        let found = record(
            r#"{"eventTime":1780491571342,"eventName":"MALWARE_DETECTION","productCode":"sao","pname":"Apex One","malName":"LOCAL_WORM","malType":"Virus","act":["File quarantined"],"endpointHostName":"pc7","endpointIp":["10.0.2.20"],"fullPath":"C:\\x.exe","severity":"high","logonUser":["alice"],"mitreMapping":["T1204 (TA0002)"]}"#,
        );
        assert_eq!(
            (found.kind, found.priority, found.verdict),
            (RecordKind::Alert, Some(1), Some(SensorVerdict::Blocked))
        );
        assert_eq!(
            (found.message.as_str(), found.sensor.as_str()),
            ("LOCAL_WORM: MALWARE_DETECTION", "Apex One")
        );
        assert_eq!(found.techniques, ["T1204"]);
    }

    #[test]
    fn deep_security_tells_by_its_module() {
        let text = r#"{"ActionString":"Reset","EventID":7,"EventType":"PayloadLog","HostName":"web01","LogDate":"2026-06-03T12:59:31.000Z","SeverityString":"High","Severity":3,"Reason":"1001111 - Web overflow","SourceIP":"203.0.113.9","SourcePort":51234,"DestinationIP":"10.0.2.11","DestinationPort":80,"ProtocolString":"TCP"}"#;
        let found = record(text);
        assert_eq!(
            (found.kind, found.priority, found.verdict),
            (RecordKind::Alert, Some(1), Some(SensorVerdict::Blocked))
        );
        assert_eq!(found.message, "PayloadLog: 1001111 - Web overflow");
        assert_eq!(found.source.unwrap().to_string(), "203.0.113.9:51234");
        let packet = |action: &str| {
            changed(text, &[("EventType", "PacketLog".into()), ("ActionString", action.into())]).kind
        };
        assert_eq!([packet("Deny"), packet("Log Only")], [RecordKind::Log, RecordKind::Telemetry]);
        let system = record(
            r#"{"EventID":160,"EventType":"SystemEvent","LogDate":"2026-06-03T12:59:31Z","SeverityString":"Warning","Title":"Authentication Failed","ActionBy":"alice","Description":"x"}"#,
        );
        assert_eq!((system.kind, system.account.as_str()), (RecordKind::Log, "alice"));
        assert_eq!(system.message, "SystemEvent: Authentication Failed: by alice, x");
    }

    #[test]
    fn objects_of_others_are_none() {
        for text in [
            r#"{"id":"WB-1","name2":"x"}"#,
            r#"{"id":"7","model":"x"}"#,
            r#"{"filters":[{"name":"x"}],"detail":{}}"#,
            r#"{"eventName":"CreateUser","malware":"x"}"#,
            r#"{"EventType":"SystemEvent","HostName":"x"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!is_alert(&object) && !is_event(&object), "{text}");
        }
    }
}
