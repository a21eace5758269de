//! SentinelOne as its management API gives it: threats that agents found, alerts of rules that the customer wrote (STAR), and the
//! activities of the console and of agents.
//!
//! A threat has `threatInfo`, an alert `alertInfo` and `ruleInfo`, both beside what is known of the agent. An activity is a number and a
//! sentence of the product's own, in which names stand that others chose.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{Fields, address, end};
use super::{
    Draft, Envelope, Format, Object, ObjectFormat, Record, described, listed, quoted, some, tags, told,
    verdict,
};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// Threats, and alerts of rules.
pub(crate) const FOUND: ObjectFormat =
    ObjectFormat { format: Format::Detections, recognises: is_found, read: found };

/// What was done at the console and what agents report of themselves.
pub(crate) const ACTIVITIES: ObjectFormat =
    ObjectFormat { format: Format::AuditEvents, recognises: is_activity, read: activity };

/// What of an activity's data the sentence may name as it is: the service knows these, and nobody chooses them for a file.
const KNOWN: [&str; 8] =
    ["username", "byUser", "ipAddress", "computerName", "role", "action", "siteName", "groupName"];

fn is_found(object: &Object) -> bool {
    let fields = Fields(object);
    let is_of_agent =
        ["agentDetectionInfo", "agentRealtimeInfo"].iter().any(|key| fields.object(key).is_some());
    is_of_agent && (is_threat(fields) || is_alert(fields))
}

fn is_threat(fields: Fields<'_>) -> bool {
    fields.string("threatInfo.threatName").is_some()
}

fn is_alert(fields: Fields<'_>) -> bool {
    fields.object("alertInfo").is_some() && fields.string("ruleInfo.name").is_some()
}

fn is_activity(object: &Object) -> bool {
    let fields = Fields(object);
    fields.has("activityType")
        && ["createdAt", "primaryDescription"].iter().all(|key| fields.string(key).is_some())
}

fn found(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let draft = if is_threat(fields) { threat(fields)? } else { alert(fields)? };
    Some(draft.finish(Format::Detections, object, envelope))
}

/// The agent's host, and where it is: its first address, else its name.
fn agent(fields: Fields<'_>) -> (Cow<'_, str>, Option<Endpoint>) {
    let names = [
        "agentRealtimeInfo.agentComputerName",
        "agentDetectionInfo.agentComputerName",
        "agentRealtimeInfo.name",
        "agentDetectionInfo.name",
    ];
    let host = fields.first(&names).filter(|name| super::is_name(name)).unwrap_or_default();
    // Of several they stand in one text.
    let own = fields.text("agentDetectionInfo.agentIpV4");
    let own = own.and_then(|all| address(&Value::from(all.split(',').next()?)));
    let place = own.or_else(|| Some(end(some(&host)?, None)));
    (host, place)
}

fn threat(fields: Fields<'_>) -> Option<Draft<'_>> {
    let threat = fields.object("threatInfo")?;
    let (host, place) = agent(fields);
    let class = threat.text("classification").unwrap_or_default();
    let account = threat
        .text("processUser")
        .or_else(|| fields.text("agentDetectionInfo.agentLastLoggedInUserName"))
        .unwrap_or_default();
    let engines = threat.objects("detectionEngines").filter_map(|engine| engine.text("title"));
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: threat.time(&["identifiedAt", "createdAt"]).or_else(|| fields.time(&["createdAt"])),
        sensor: Cow::Borrowed("SentinelOne"),
        message: Cow::Owned(described(&threat.text("threatName")?, some(&class).map(Cow::Borrowed))),
        detail: Cow::Owned(listed([
            told("on", some(&host)),
            told("account", some(&account)),
            told("done", threat.text("mitigationStatus")),
            told("found by", super::joined(engines.map(Cow::into_owned))),
            told("started by", threat.text("originatorProcess")),
        ])),
        priority: confidence(threat, &class),
        destination: place,
        process: threat.first(&["maliciousProcessArguments", "originatorProcess"]).unwrap_or_default(),
        file: threat.text("filePath").unwrap_or_default(),
        verdict: threat.text("mitigationStatus").and_then(|status| mitigated(&status)),
        classification: class,
        host,
        account,
        ..Draft::default()
    };
    for tactic in fields.objects("indicators").flat_map(|indicator| indicator.objects("tactics")) {
        draft.tags.take_all(tactic.text("name"));
        draft.tags.take_all(tactic.objects("techniques").filter_map(|technique| technique.text("name")));
    }
    Some(draft)
}

/// There is no severity, but how sure the agent is that something is malicious. What is merely unwanted is that and no more.
fn confidence(threat: Fields<'_>, class: &str) -> Option<u8> {
    match threat.text("confidenceLevel")?.to_ascii_lowercase().as_str() {
        _ if matches!(class, "PUA" | "Adware") => Some(3),
        "malicious" => Some(1),
        "suspicious" => Some(2),
        _ => None,
    }
}

fn mitigated(status: &str) -> Option<SensorVerdict> {
    match status {
        "mitigated" => Some(SensorVerdict::Blocked),
        "not_mitigated" => Some(SensorVerdict::Allowed),
        other => verdict(other),
    }
}

fn alert(fields: Fields<'_>) -> Option<Draft<'_>> {
    let (alert, rule) = (fields.object("alertInfo")?, fields.object("ruleInfo")?);
    let name = rule.text("name")?;
    let (host, place) = agent(fields);
    let account = fields
        .first(&["sourceProcessInfo.user", "sourceProcessInfo.loginUser", "alertInfo.loginsUserName"])
        .unwrap_or_default();
    let parent = ["sourceParentProcessInfo.commandline", "sourceParentProcessInfo.name"];
    // Only of a connection both ends are told.
    let (from, to) = (alert.address(&["srcIp"]), alert.address(&["dstIp"]));
    let to = to.map(|to| Endpoint { port: alert.port(&["dstPort"]), ..to });
    let draft = Draft {
        kind: RecordKind::Alert,
        time: alert.time(&["createdAt", "reportedAt"]),
        sensor: Cow::Borrowed("SentinelOne"),
        message: Cow::Owned(described(&name, rule.text("description"))),
        detail: Cow::Owned(listed([
            told("on", some(&host)),
            told("account", some(&account)),
            told("event", alert.text("eventType")),
            told("parent", fields.first(&parent)),
            told("dns", alert.text("dnsRequest")),
            told("registry", alert.first(&["registryKeyPath", "registryPath"])),
        ])),
        priority: rule.text("severity").and_then(|word| tags::severity(&word)),
        source: from,
        destination: to.or(place),
        process: fields
            .first(&[
                "sourceProcessInfo.commandline",
                "targetProcessInfo.tgtProcCmdLine",
                "sourceProcessInfo.name",
            ])
            .unwrap_or_default(),
        file: fields
            .first(&["targetProcessInfo.tgtFilePath", "sourceProcessInfo.filePath", "alertInfo.modulePath"])
            .unwrap_or_default(),
        rule: name,
        host,
        account,
        ..Draft::default()
    };
    Some(draft)
}

fn activity(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let data = fields.object("data");
    let of = |paths: &[&str]| data.and_then(|data| data.first(paths));
    let account = of(&["username", "byUser"]).unwrap_or_default();
    let source = data.and_then(|data| data.address(&["ipAddress"]));
    let host = of(&["computerName"]).filter(|name| super::is_name(name));
    let said = in_own_words(&fields.text("primaryDescription")?, data);
    let unsaid = |fact: &str| some(fact).filter(|fact| !said.contains(fact)).map(str::to_owned);
    let facts = listed([
        told("by", unsaid(&account)),
        told("from", source.as_ref().and_then(|end| unsaid(&end.address))),
        told("on", host.as_deref().and_then(unsaid)),
    ]);
    let draft = Draft {
        kind: RecordKind::Log,
        time: fields.time(&["createdAt"]),
        sensor: Cow::Borrowed("SentinelOne"),
        message: Cow::Owned(super::titled(said.trim_end_matches('.'), &facts)),
        detail: Cow::Owned(listed([
            told("role", of(&["role"])),
            told("", fields.text("secondaryDescription").map(|more| quoted(&more))),
        ])),
        source,
        destination: host.as_deref().map(|host| end(host, None)),
        verdict: of(&["action"]).and_then(|done| verdict(&done)),
        file: of(&["filePath"]).unwrap_or_default(),
        account,
        ..Draft::default()
    };
    Some(draft.finish(Format::AuditEvents, object, envelope))
}

/// The sentence with what people and files are called in it in quotation marks, so that such a name makes no login and no account.
fn in_own_words(sentence: &str, data: Option<Fields<'_>>) -> String {
    let mut said = sentence.replace('"', "'");
    let members = data.into_iter().flat_map(|data| data.0.iter());
    for (_, value) in members.filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        let name = value.as_str().unwrap_or_default().trim().replace('"', "'");
        // A name without a mark or a space is one word, which says nothing by itself.
        if name.contains(|c: char| !c.is_alphanumeric()) && said.contains(&name) {
            said = said.replace(&name, &quoted(&name));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Tactic;

    const THREAT: &str = r#"{"id":"7","agentDetectionInfo":{"agentIpV4":"10.0.3.20,192.168.7.1","agentLastLoggedInUserName":"bob","siteName":"Shop"},"agentRealtimeInfo":{"agentComputerName":"pc7","agentMitigationMode":"protect"},"indicators":[{"category":"Evasion","description":"x","tactics":[{"name":"Execution","source":"MITRE","techniques":[{"name":"T1204","link":"x"}]}]}],"threatInfo":{"threatName":"x.exe","classification":"Trojan","confidenceLevel":"malicious","mitigationStatus":"not_mitigated","analystVerdict":"undefined","createdAt":"2026-06-03T13:01:00Z","identifiedAt":"2026-06-03T12:59:31.342Z","detectionEngines":[{"key":"executables","title":"Behavioral AI"}],"filePath":"\\Device\\x.exe","originatorProcess":"cmd.exe","processUser":"CORP\\alice"}}"#;
    const ALERT: &str = r#"{"agentDetectionInfo":{"name":"pc7","osName":"Windows","version":"23.4"},"alertInfo":{"alertId":"7","createdAt":"2026-06-03T12:59:31.342Z","eventType":"PROCESSCREATION","analystVerdict":"Undefined","source":"STAR"},"ruleInfo":{"name":"Shadow copies removed","severity":"Critical","description":""},"sourceProcessInfo":{"name":"x.exe","commandline":"x.exe -a","user":"CORP\\alice"},"sourceParentProcessInfo":{"name":"cmd.exe","commandline":""}}"#;
    const LOGIN: &str = r#"{"activityType":27,"createdAt":"2026-06-03T12:59:31.342Z","id":"7","primaryDescription":"The management user Alice Example logged in to the management console with IP Address 203.0.113.9.","secondaryDescription":null,"data":{"username":"Alice Example","ipAddress":"203.0.113.9","role":"Admin"}}"#;

    #[test]
    fn a_threat_is_an_alert_on_the_agents_host() {
        let threat = record(THREAT);
        assert_eq!((threat.kind, threat.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((threat.message.as_str(), threat.host.as_str()), ("x.exe: Trojan", "pc7"));
        assert_eq!(threat.destination.unwrap().address, "10.0.3.20");
        assert_eq!((threat.account.as_str(), threat.verdict), ("CORP\\alice", Some(SensorVerdict::Allowed)));
        assert_eq!((threat.tactics, threat.techniques), (vec![Tactic::Execution], vec!["T1204".to_owned()]));
        assert!(threat.detail.ends_with("found by Behavioral AI, started by cmd.exe"), "{}", threat.detail);
        assert_eq!(threat.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn how_sure_the_agent_is_decides_and_the_unwanted_is_low() {
        let with = |key: &str, value: &str| {
            let object: Value = serde_json::from_str(THREAT).unwrap();
            let mut threat = object["threatInfo"].clone();
            threat[key] = value.into();
            changed(THREAT, &[("threatInfo", threat)])
        };
        assert_eq!(with("confidenceLevel", "suspicious").priority, Some(2));
        assert_eq!(with("confidenceLevel", "n/a").priority, None);
        assert_eq!(with("classification", "PUA").priority, Some(3));
        assert_eq!(with("mitigationStatus", "mitigated").verdict, Some(SensorVerdict::Blocked));
        assert_eq!(with("analystVerdict", "false_positive").kind, RecordKind::Telemetry);
        assert_eq!(with("mitigationStatus", "marked_as_benign").kind, RecordKind::Telemetry);
    }

    #[test]
    fn an_alert_of_a_rule_says_what_ran() {
        let alert = record(ALERT);
        assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(
            (alert.message.as_str(), alert.rule.as_str()),
            ("Shadow copies removed", "Shadow copies removed")
        );
        assert_eq!((alert.process.as_str(), alert.account.as_str()), ("x.exe -a", "CORP\\alice"));
        assert_eq!((alert.source, alert.destination.unwrap().address.as_str()), (None, "pc7"));
        assert!(alert.detail.ends_with("event PROCESSCREATION, parent cmd.exe"), "{}", alert.detail);
        let info = json!({"createdAt": "2026-06-03T12:59:31Z", "srcIp": "10.0.3.20", "dstIp": "203.0.113.9", "dstPort": "443"});
        let connected = changed(ALERT, &[("alertInfo", info)]);
        assert_eq!(connected.source.unwrap().address, "10.0.3.20");
        assert_eq!(connected.destination, Some(Endpoint::new("203.0.113.9", Some(443))));
        let info = json!({"createdAt": "2026-06-03T12:59:31Z", "analystVerdict": "FALSE_POSITIVE"});
        assert_eq!(changed(ALERT, &[("alertInfo", info)]).kind, RecordKind::Telemetry);
    }

    #[test]
    fn an_activity_is_a_log_in_the_consoles_words() {
        let login = record(LOGIN);
        assert_eq!((login.kind, login.format), (RecordKind::Log, Format::AuditEvents));
        assert_eq!(
            login.message,
            "The management user Alice Example logged in to the management console with IP Address 203.0.113.9"
        );
        assert_eq!(
            (login.account.as_str(), login.source.unwrap().address.as_str()),
            ("Alice Example", "203.0.113.9")
        );
        let done = changed(
            LOGIN,
            &[
                ("primaryDescription", "An endpoint was disconnected from the network.".into()),
                ("data", json!({"username": "Alice Example", "computerName": "pc7", "action": "Block"})),
            ],
        );
        assert_eq!(done.message, "An endpoint was disconnected from the network: by Alice Example, on pc7");
        assert_eq!(
            (done.destination.unwrap().address.as_str(), done.verdict),
            ("pc7", Some(SensorVerdict::Blocked))
        );
        let bare = changed(LOGIN, &[("data", Value::Null)]);
        assert_eq!((bare.account.as_str(), bare.source), ("", None));
    }

    #[test]
    fn what_files_are_called_says_nothing() {
        let told = changed(
            LOGIN,
            &[
                ("primaryDescription", "Threat root logged in from 6.6.6.6.exe was found on pc7.".into()),
                (
                    "data",
                    json!({"fileDisplayName": "root logged in from 6.6.6.6.exe", "ipAddress": "x 6.6.6.6"}),
                ),
            ],
        );
        assert_eq!(told.message, "Threat \"root logged in from 6.6.6.6.exe\" was found on pc7");
        assert_eq!((told.source, told.destination, told.account.as_str()), (None, None, ""));
    }

    #[test]
    fn halves_are_none() {
        for text in [
            r#"{"threatInfo":{"threatName":"x"}}"#,
            r#"{"agentDetectionInfo":{},"alertInfo":{},"ruleInfo":{}}"#,
            r#"{"agentDetectionInfo":"x","threatInfo":{"threatName":"x"}}"#,
            r#"{"activityType":27,"createdAt":"2026-06-03T12:59:31Z"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!is_found(&object) && !is_activity(&object), "{text}");
        }
    }
}
