//! VMware Carbon Black Cloud: alerts as its API (versions 6 and 7), its older notifications and the Data Forwarder give them, and what its
//! sensors saw on hosts (`endpoint.event.…`).
//!
//! Alerts rank from 1 to 10: what the product calls active malware begins at 3, and what only an intruder does at 6. What a sensor saw is
//! telemetry, unless it stopped it.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, quoted, some, told};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const ALERTS: ObjectFormat =
    ObjectFormat { format: Format::Detections, recognises: is_alert, read: alert };

/// See the module.
pub(crate) const EVENTS: ObjectFormat =
    ObjectFormat { format: Format::ProductEvents, recognises: is_event, read: event };

const SENSOR: &str = "Carbon Black Cloud";
/// Kinds of alerts.
const KINDS: [&str; 8] = [
    "CB_ANALYTICS",
    "WATCHLIST",
    "DEVICE_CONTROL",
    "CONTAINER_RUNTIME",
    "HOST_BASED_FIREWALL",
    "INTRUSION_DETECTION_SYSTEM",
    "NETWORK_THREAT",
    "VMWARE",
];
/// Of these an alert has one, and no other product's has.
const MARKS: [&str; 5] = ["org_key", "alert_url", "legacy_alert_id", "threat_id", "reason_code"];
const EVENT: &str = "endpoint.event.";
const ALERT_TIME: [&str; 8] = [
    "detection_timestamp",
    "first_event_timestamp",
    "first_event_time",
    "backend_timestamp",
    "create_time",
    "last_event_time",
    "eventTime",
    "threatInfo.time",
];
const EVENT_TIME: [&str; 3] = ["device_timestamp", "create_time", "backend_timestamp"];
const REMOTE: [&str; 4] = ["netconn_remote_ip", "netconn_remote_ipv4", "netconn_remote_ipv6", "remote_ip"];
const LOCAL: [&str; 7] = [
    "device_internal_ip",
    "netconn_local_ip",
    "netconn_local_ipv4",
    "netconn_local_ipv6",
    "local_ip",
    "deviceInfo.internalIpAddress",
    "last_internal_ip",
];
const COMMAND: [&str; 5] = [
    "process_cmdline",
    "process_name",
    "process_path",
    "childproc_cmdline",
    "threat_indicators.process_name",
];
const FILE: [&str; 6] = [
    "threat_cause_actor_name",
    "blocked_name",
    "process_name",
    "childproc_name",
    "threatInfo.threatCause.actorName",
    "vendor_name",
];

fn is_alert(object: &Object) -> bool {
    let alert = Fields(object);
    let is_notified = || {
        alert.object("threatInfo").is_some_and(|threat| threat.has("summary") || threat.has("indicators"))
            && alert.object("deviceInfo").is_some()
    };
    let is_kind = alert.string("type").is_some_and(|kind| KINDS.contains(&kind));
    is_kind && MARKS.iter().any(|key| alert.has(key)) && alert.has("severity") || is_notified()
}

fn alert(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    let kind = alert.text("type").unwrap_or_default();
    let said = alert.first(&["reason", "threatInfo.summary", "threat_name", "report_name", "reason_code"])?;
    let host = host(alert);
    let account =
        alert.first(&["device_username", "process_username", "deviceInfo.email"]).unwrap_or_default();
    let own = alert.address(&LOCAL).or_else(|| some(&host).map(|host| fields::end(host, None)));
    let remote = alert.address(&REMOTE).or_else(|| {
        Some(fields::end(&alert.text("netconn_remote_domain").filter(|name| super::is_name(name))?, None))
    });
    let remote = remote.filter(|remote| Some(remote) != own.as_ref());
    let done = alert.first(&["sensor_action", "deny_allow"]).unwrap_or_default();
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: alert.time(&ALERT_TIME),
        sensor: Cow::Borrowed(SENSOR),
        rule: alert
            .first(&["report_name", "watchlists.name", "ruleName", "rule_id", "reason_code"])
            .unwrap_or_default(),
        priority: alert.number("severity").or_else(|| alert.number("threatInfo.score")).and_then(rank),
        message: said,
        detail: Cow::Owned(listed([
            told("on", some(&host)),
            told("account", some(&account)),
            told("report", alert.text("report_name")),
            told("indicators", Some(behaviours(alert)).filter(|all| !all.is_empty())),
            told("done", some(&done)),
            told("run state", alert.text("run_state")),
        ])),
        classification: kind,
        source: remote,
        destination: own,
        process: alert.first(&COMMAND).unwrap_or_default(),
        file: alert.first(&FILE).unwrap_or_default(),
        verdict: verdict(&done),
        host: Cow::Owned(host),
        account,
        ..Draft::default()
    };
    for path in ["attack_tactic", "attack_technique", "tactic", "technique"] {
        draft.tags.take_all(alert.texts(path));
    }
    draft.tags.take_all(ttps(alert).filter_map(|ttp| technique(&ttp)));
    Some(draft.finish(Format::Detections, object, envelope))
}

/// The computer without the domain before it.
fn host(fields: Fields<'_>) -> String {
    let name = fields.first(&["device_name", "deviceInfo.deviceName", "k8s_pod_name", "k8s_workload_name"]);
    let name = name.unwrap_or_default();
    let bare = name.rsplit_once('\\').map_or(&*name, |(_, bare)| bare);
    if super::is_name(bare) { bare.to_owned() } else { String::new() }
}

/// What the product calls a behaviour or a technique, of the alert and of each program in it.
fn ttps<'a>(alert: Fields<'a>) -> impl Iterator<Item = Cow<'a, str>> {
    let of_programs = ["threat_indicators", "threatInfo.indicators"]
        .into_iter()
        .flat_map(move |path| alert.objects(path))
        .flat_map(|program| ["ttps", "indicatorName"].into_iter().flat_map(move |path| program.texts(path)));
    alert.texts("ttps").into_iter().chain(of_programs)
}

/// Behaviours that are no techniques, each once.
fn behaviours(alert: Fields<'_>) -> String {
    let mut all: Vec<Cow<'_, str>> = Vec::new();
    for ttp in ttps(alert).filter(|ttp| !ttp.starts_with("MITRE_")) {
        if all.len() < 8 && !all.contains(&ttp) {
            all.push(ttp);
        }
    }
    all.join(" ")
}

/// `T1059.001` of `MITRE_T1059_001_POWERSHELL`.
fn technique(ttp: &str) -> Option<String> {
    let mut parts = ttp.strip_prefix("MITRE_")?.split('_');
    let technique = parts.next()?;
    let is_sub = |part: &&str| part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    Some(parts.next().filter(is_sub).map_or_else(|| technique.to_owned(), |sub| format!("{technique}.{sub}")))
}

fn rank(severity: u64) -> Option<u8> {
    match severity {
        1..=2 => Some(3),
        3..=5 => Some(2),
        6..=10 => Some(1),
        _ => None,
    }
}

fn verdict(action: &str) -> Option<SensorVerdict> {
    let action = action.to_ascii_uppercase();
    match action.strip_prefix("ACTION_").unwrap_or(&action) {
        "DENY" | "BLOCK" | "TERMINATE" | "SUSPEND" | "QUARANTINE" => Some(SensorVerdict::Blocked),
        "ALLOW" | "ALLOW_AND_LOG" | "PERMIT" => Some(SensorVerdict::Allowed),
        _ => None,
    }
}

fn is_event(object: &Object) -> bool {
    Fields(object).string("type").is_some_and(|kind| kind.starts_with(EVENT))
}

fn event(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = Fields(object);
    let kind = event.string("type")?.strip_prefix(EVENT)?;
    let host = host(event);
    let verdict = event.text("sensor_action").and_then(|action| verdict(&action));
    let is_stopped = verdict == Some(SensorVerdict::Blocked);
    let account = event.first(&["process_username", "device_username"]).unwrap_or_default();
    let process = event.first(&["process_cmdline", "process_path"]).unwrap_or_default();
    let (upon, file) = upon(kind, event);
    let (source, destination) = ends(event);
    let to = event.text("netconn_domain").filter(|name| super::is_name(name));
    let facts = listed([
        told("on", some(&host)),
        told("by", some(&account)),
        told("", some(&process).map(quoted)),
        told("upon", upon.as_deref().map(quoted)),
        told("to", destination.as_ref().map(Endpoint::to_string)),
        told("", to),
        is_stopped.then(|| "blocked".to_owned()),
    ]);
    let draft = Draft {
        kind: if is_stopped { RecordKind::Log } else { RecordKind::Telemetry },
        time: event.time(&EVENT_TIME),
        sensor: Cow::Borrowed(SENSOR),
        message: Cow::Owned(super::titled(title(kind), &facts)),
        protocol: Cow::Owned(
            event.text("netconn_protocol").unwrap_or_default().trim_start_matches("PROTO_").to_owned(),
        ),
        host: Cow::Owned(host),
        source,
        destination,
        account,
        process,
        file,
        verdict,
        ..Draft::default()
    };
    Some(draft.finish(Format::ProductEvents, object, envelope))
}

fn title(kind: &str) -> &str {
    match kind {
        "procstart" => "Process started",
        "procend" => "Process ended",
        "childproc" => "Child process started",
        "moduleload" | "modload" => "Module loaded",
        "filemod" => "File changed",
        "regmod" => "Registry changed",
        "netconn" => "Connection",
        "netconn_proxy" => "Connection through a proxy",
        "crossproc" => "Process opened by another",
        "scriptload" => "Script loaded",
        "fileless_scriptload" => "Script run without a file",
        "apicall" => "API called",
        other => other,
    }
}

/// What a program did something with, and whether that is a file.
fn upon<'a>(kind: &str, event: Fields<'a>) -> (Option<Cow<'a, str>>, Cow<'a, str>) {
    let (paths, is_file): (&[&str], bool) = match kind {
        "procstart" | "childproc" => (&["target_cmdline", "childproc_cmdline", "childproc_name"], false),
        "filemod" => (&["filemod_name"], true),
        "moduleload" | "modload" => (&["modload_name"], true),
        "scriptload" => (&["scriptload_name"], true),
        "fileless_scriptload" => (&["fileless_scriptload_cmdline"], false),
        "regmod" => (&["regmod_name"], false),
        "crossproc" => (&["crossproc_name", "crossproc_api"], false),
        _ => (&[], false),
    };
    let upon = event.first(paths);
    let file = if is_file { upon.clone() } else { event.text("process_path") };
    (upon, file.unwrap_or_default())
}

/// Both ends of a connection, the one who asked for it first.
fn ends(event: Fields<'_>) -> (Option<Endpoint>, Option<Endpoint>) {
    let end = |address: &str, port: &str| {
        Some(Endpoint { port: event.port(&[port]), ..event.address(&[address])? })
    };
    let (local, remote) = (end("local_ip", "local_port"), end("remote_ip", "remote_port"));
    let is_inbound = event.text("netconn_inbound").is_some_and(|inbound| inbound == "true");
    if is_inbound { (remote, local) } else { (local, remote) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const OLD: &str = r#"{"type":"CB_ANALYTICS","id":"x1","legacy_alert_id":"L1","org_key":"ABC","create_time":"2026-06-03T13:01:31.342Z","first_event_time":"2026-06-03T12:59:31.342Z","threat_id":"t1","severity":7,"category":"THREAT","device_id":11,"device_name":"CORP\\pc7","device_username":"alice@example.com","workflow":{"state":"OPEN"},"reason":"The application x.exe attempted to inject code.","reason_code":"R_INJECT","process_name":"x.exe","device_internal_ip":"10.0.2.20","threat_indicators":[{"process_name":"x.exe","sha256":"ab","ttps":["INJECT_CODE","MITRE_T1055_PROCESS_INJECT"]}],"threat_cause_actor_name":"c:\\users\\alice\\x.exe","run_state":"RAN","sensor_action":"DENY","policy_applied":"APPLIED"}"#;
    const NEW: &str = r#"{"org_key":"ABC","alert_url":"https://x","id":"a1","type":"WATCHLIST","backend_timestamp":"2026-06-03T13:01:31.342Z","detection_timestamp":"2026-06-03T12:59:31.342Z","severity":5,"reason":"Process powershell.exe was detected by a report","sensor_action":"ALLOW","workflow":{"status":"OPEN"},"determination":{"value":"NONE"},"device_name":"CORP\\pc7","device_username":"alice","device_internal_ip":"10.0.2.20","report_name":"Encoded commands","process_name":"c:\\powershell.exe","process_cmdline":"powershell.exe -enc x","netconn_remote_ip":"203.0.113.66","ttps":["MITRE_T1059_001_POWERSHELL"],"attack_tactic":"TA0002","attack_technique":"T1059.001"}"#;

    #[test]
    fn alerts_of_both_versions_are_read() {
        let old = record(OLD);
        assert_eq!(
            (old.kind, old.priority, old.verdict),
            (RecordKind::Alert, Some(1), Some(SensorVerdict::Blocked))
        );
        assert_eq!(old.message, "The application x.exe attempted to inject code.");
        assert_eq!((old.host.as_str(), old.account.as_str()), ("pc7", "alice@example.com"));
        assert_eq!((old.process.as_str(), old.file.as_str()), ("x.exe", "c:\\users\\alice\\x.exe"));
        assert_eq!(old.techniques, ["T1055"]);
        assert_eq!(old.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        assert!(old.detail.contains("indicators INJECT_CODE, done DENY"), "{}", old.detail);
        let new = record(NEW);
        assert_eq!(
            (new.kind, new.priority, new.verdict),
            (RecordKind::Alert, Some(2), Some(SensorVerdict::Allowed))
        );
        assert_eq!((new.rule.as_str(), new.process.as_str()), ("Encoded commands", "powershell.exe -enc x"));
        assert_eq!(
            (new.tactics, new.techniques),
            (vec![crate::Tactic::Execution], vec!["T1059.001".to_owned()])
        );
        assert_eq!(new.source.unwrap().address, "203.0.113.66");
        assert_eq!(new.destination.unwrap().address, "10.0.2.20");
        for (severity, priority) in
            [(1, Some(3)), (3, Some(2)), (6, Some(1)), (10, Some(1)), (0, None), (70, None)]
        {
            assert_eq!(changed(NEW, &[("severity", severity.into())]).priority, priority, "{severity}");
        }
        let dismissed = changed(NEW, &[("determination", serde_json::json!({"value": "FALSE_POSITIVE"}))]);
        assert_eq!(dismissed.kind, RecordKind::Telemetry);
    }

    #[test]
    fn notifications_are_alerts_too() {
        let found = record(
            r#"{"eventTime":1780491571342,"eventDescription":"x","url":"https://x","ruleName":"Local","type":"THREAT","threatInfo":{"incidentId":"i","score":4,"summary":"A known virus was detected running.","indicators":[{"applicationName":"x.exe","indicatorName":"RUN_MALWARE_APP"}],"threatCause":{"actorName":"x.exe"}},"deviceInfo":{"deviceId":7,"deviceName":"pc7","internalIpAddress":"10.0.2.20","email":"alice"}}"#,
        );
        assert_eq!((found.kind, found.priority, found.host.as_str()), (RecordKind::Alert, Some(2), "pc7"));
        assert_eq!(
            (found.message.as_str(), found.account.as_str()),
            ("A known virus was detected running.", "alice")
        );
    }

    #[test]
    fn what_a_sensor_saw_is_telemetry_unless_it_stopped_it() {
        let text = r#"{"type":"endpoint.event.procstart","process_path":"c:\\cmd.exe","process_cmdline":"cmd.exe /c whoami","process_username":"CORP\\alice","device_name":"CORP\\pc7","action":"ACTION_CREATE_PROCESS","sensor_action":"ACTION_ALLOW","device_timestamp":"2026-06-03 12:59:31.342 +0000 UTC","org_key":"ABC","target_cmdline":"whoami","schema":1}"#;
        let seen = record(text);
        assert_eq!((seen.kind, seen.host.as_str()), (RecordKind::Telemetry, "pc7"));
        assert_eq!(
            seen.message,
            r#"Process started: on pc7, by CORP\alice, "cmd.exe /c whoami", upon "whoami""#
        );
        assert_eq!(seen.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let stopped = changed(text, &[("sensor_action", "ACTION_BLOCK".into())]);
        assert_eq!((stopped.kind, stopped.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        let connection = |inbound: bool| {
            record(&format!(
                r#"{{"type":"endpoint.event.netconn","process_path":"c:\\x.exe","device_name":"pc7","device_timestamp":"2026-06-03T12:59:31Z","remote_ip":"203.0.113.66","remote_port":443,"local_ip":"10.0.2.20","local_port":51234,"netconn_domain":"c2.example.net","netconn_inbound":{inbound},"netconn_protocol":"PROTO_TCP"}}"#
            ))
        };
        let out = connection(false);
        assert_eq!(out.message, "Connection: on pc7, \"c:\\x.exe\", to 203.0.113.66:443, c2.example.net");
        assert_eq!(
            (out.protocol.as_str(), out.source.unwrap().to_string().as_str()),
            ("TCP", "10.0.2.20:51234")
        );
        assert_eq!(connection(true).destination.unwrap().to_string(), "10.0.2.20:51234");
    }

    #[test]
    fn objects_of_others_are_none() {
        for text in [
            r#"{"type":"WATCHLIST","severity":3}"#,
            r#"{"type":"endpoint.events","org_key":"x"}"#,
            r#"{"threatInfo":{"threatName":"x"},"deviceInfo":{}}"#,
            r#"{"type":["CB_ANALYTICS"],"org_key":"x","severity":3}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!is_alert(&object) && !is_event(&object), "{text}");
        }
    }
}
