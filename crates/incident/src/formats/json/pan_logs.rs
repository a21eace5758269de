//! Logs of Palo Alto's firewalls and of Prisma Access as Cortex Data Lake (Strata Logging Service) forwards them: the tables of PAN-OS with
//! named columns, `LogType`, `Subtype`, `SourceAddress`, also in the words of its interface, `log_type.value`, `source_ip.value`.
//!
//! What is alert, log and telemetry is as for PAN-OS' own lines: a threat is an alert unless the firewall calls it informational.

use std::borrow::Cow;

use super::super::text::protocol_of;
use super::fields::Fields;
use super::tags::severity;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told, traffic};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const PAN_LOGS: ObjectFormat = ObjectFormat { format: Format::Firewall, recognises, read };

const LOGS: [&str; 14] = [
    "traffic",
    "threat",
    "url",
    "file",
    "globalprotect",
    "system",
    "config",
    "userid",
    "auth",
    "authentication",
    "decryption",
    "hipmatch",
    "tunnel",
    "iptag",
];

fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    let is_told = ["TimeGenerated", "TimeReceived", "time_generated", "log_time", "EventTime"]
        .iter()
        .any(|key| fields.has(key));
    let is_his = ["Subtype", "sub_type", "DeviceSN", "log_source_id", "VirtualLocation", "LogSourceID"]
        .iter()
        .any(|key| fields.has(key));
    is_told && is_his && log(fields).is_some()
}

/// A value under one of these names, which the interface puts into an object of its own.
fn value<'a>(fields: Fields<'a>, keys: &[&str]) -> Option<Cow<'a, str>> {
    keys.iter().find_map(|key| {
        let found = fields.text(key).or_else(|| fields.text(&format!("{key}.value")));
        found.filter(|text| !matches!(text.as_ref(), "0.0.0.0" | "::" | "unknown" | "any" | "not-applicable"))
    })
}

/// The name of the log, of those that there are.
fn log(fields: Fields<'_>) -> Option<&'static str> {
    let name = value(fields, &["LogType", "log_type"])?.to_ascii_lowercase();
    LOGS.iter().copied().find(|log| *log == name)
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let log = log(fields)?;
    let subtype = value(fields, &["Subtype", "sub_type", "LogSubtype"]).unwrap_or_default();
    let port = |keys: &[&str]| keys.iter().find_map(|key| fields.port(&[key, &format!("{key}.value")]));
    let end = |keys: &[&str], ports: &[&str]| {
        let found = value(fields, keys)?;
        super::is_name(&found).then(|| super::fields::end(&found, port(ports)))
    };
    let action = value(fields, &["Action", "action"]).unwrap_or_default();
    let protocol = value(fields, &["Protocol", "protocol", "ip_protocol"]).unwrap_or_default();
    let mut draft = Draft {
        kind: RecordKind::Log,
        time: fields.time(&["TimeGenerated", "time_generated", "EventTime", "TimeReceived", "log_time"]),
        sensor: Cow::Borrowed("PAN-OS"),
        host: value(fields, &["DeviceName", "LogSourceName", "log_source_name", "HostName"])
            .unwrap_or_default(),
        protocol: Cow::Owned(protocol_of(&protocol).to_owned()),
        source: end(
            &["SourceAddress", "SourceIP", "source_ip", "PublicIPv4", "public_ip", "ClientIP", "Host"],
            &["SourcePort", "source_port"],
        ),
        destination: end(
            &["DestinationAddress", "DestinationIP", "dest_ip"],
            &["DestinationPort", "dest_port"],
        ),
        account: value(
            fields,
            &["SourceUser", "SourceUserName", "source_user", "User", "users", "Admin", "AdminName"],
        )
        .unwrap_or_default(),
        verdict: verdict(&action),
        ..Draft::default()
    };
    match log {
        "traffic" | "tunnel" | "decryption" => session(fields, &mut draft, &action),
        "threat" | "url" | "file" => threat(fields, &mut draft, [log, &subtype, &action]),
        _ => event(fields, &mut draft, [log, &subtype]),
    }
    draft.classification = if log == "threat" { subtype } else { Cow::Borrowed(log) };
    Some(draft.finish(Format::Firewall, object, envelope))
}

fn verdict(action: &str) -> Option<SensorVerdict> {
    let is = |words: &[&str]| words.iter().any(|word| action.to_ascii_lowercase().starts_with(word));
    if is(&["deny", "drop", "reset", "block", "sinkhole", "random-drop"]) {
        Some(SensorVerdict::Blocked)
    } else {
        is(&["allow", "alert", "continue"]).then_some(SensorVerdict::Allowed)
    }
}

fn session(fields: Fields<'_>, draft: &mut Draft<'_>, action: &str) {
    let app = value(fields, &["Application", "app"]).unwrap_or_default();
    let flow = traffic(&draft.protocol, draft.source.as_ref(), draft.destination.as_ref());
    draft.message = Cow::Owned([action, &app, &flow].map(str::trim).join(" ").trim().to_owned());
    if draft.verdict == Some(SensorVerdict::Allowed) {
        draft.kind = RecordKind::Telemetry;
    }
}

/// A threat by its own name, with its number as the rule.
fn threat<'a>(fields: Fields<'a>, draft: &mut Draft<'a>, [log, subtype, action]: [&str; 3]) {
    let named = value(fields, &["ThreatName", "threat_name", "ThreatID", "threat_id", "ThreatNameFirewall"])
        .unwrap_or_default();
    let (title, number) = match named.trim_end_matches(')').rsplit_once('(') {
        Some((title, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            (title.trim().to_owned(), number.to_owned())
        }
        _ => (named.to_string(), String::new()),
    };
    let url = value(fields, &["URL", "url", "uri", "FileName", "file_name"]).unwrap_or_default();
    let category = value(fields, &["ThreatCategory", "threat_category", "URLCategory", "url_category"])
        .unwrap_or_default();
    let rank = value(fields, &["VendorSeverity", "vendor_severity", "Severity", "severity"])
        .and_then(|word| severity(&word));
    if matches!(subtype, "virus" | "wildfire" | "wildfire-virus" | "file" | "data") {
        draft.file.clone_from(&url);
    }
    draft.rule = Cow::Owned(number);
    let is_seen = matches!(rank, Some(4)) || log != "threat" && rank.is_none();
    if is_seen {
        let is_stopped = draft.verdict == Some(SensorVerdict::Blocked);
        draft.kind = if is_stopped { RecordKind::Log } else { RecordKind::Telemetry };
        draft.message = Cow::Owned([subtype, action, &category, &url].join(" "));
    } else {
        draft.kind = RecordKind::Alert;
        draft.priority = rank;
        let title = if title.is_empty() || title.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{subtype} {category}")
        } else {
            title
        };
        draft.message = Cow::Owned(title);
    }
    draft.detail = url;
}

/// What was done at the firewall and the gateway: logins, configuration, the system's own messages.
fn event<'a>(fields: Fields<'a>, draft: &mut Draft<'a>, [log, subtype]: [&str; 2]) {
    let first = |keys: &[&str]| value(fields, keys);
    let status =
        first(&["LogStatus", "EventStatus", "status", "Result", "EventResult", "result"]).unwrap_or_default();
    let what =
        first(&["EventIDValue", "EventID", "EventName", "event_id", "Command", "cmd", "AuthEvent", "Stage"]);
    let facts = listed([
        told("by", some(&draft.account)),
        told("from", draft.source.as_ref().map(|end| end.address.as_str())),
        told("", first(&["AuthMethod", "auth_method"])),
        told("path", first(&["ConfigurationPath", "EventPath", "config_path"])),
        told(
            "",
            some(&status).filter(|status| !matches!(*status, "success" | "Success" | "Succeeded" | "0")),
        ),
        told("because", first(&["ConnectionError", "connection_error", "AuthFailureReason", "EventReason"])),
        told("", first(&["EventDescription", "Description", "opaque", "event_description"])),
    ]);
    let title = match what {
        Some(what) => format!("{log} {what}"),
        None => format!("{log} {subtype}"),
    };
    if matches!(status.to_ascii_lowercase().as_str(), "failure" | "failed" | "unauthorized" | "denied") {
        draft.verdict = Some(SensorVerdict::Blocked);
    }
    draft.message = Cow::Owned(super::titled(title.trim(), &facts));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const THREAT: &str = r#"{"TimeReceived":"2026-06-03T12:59:32.000000Z","DeviceSN":"001","DeviceName":"fw01","LogType":"THREAT","Subtype":"vulnerability","TimeGenerated":"2026-06-03T12:59:31.000000Z","SourceAddress":"203.0.113.9","DestinationAddress":"10.0.2.14","SourceUser":"corp\\bob","Application":"web-browsing","SourcePort":51234,"DestinationPort":443,"Protocol":"tcp","Action":"reset-both","ThreatID":"LOCAL command injection(30001)","VendorSeverity":"Critical","URL":"x.example/a","ThreatCategory":"code-execution"}"#;

    #[test]
    fn a_threat_is_an_alert_unless_it_is_informational() {
        let threat = record(THREAT);
        assert_eq!(
            (threat.kind, threat.priority, threat.format),
            (RecordKind::Alert, Some(1), Format::Firewall)
        );
        assert_eq!((threat.message.as_str(), threat.rule.as_str()), ("LOCAL command injection", "30001"));
        assert_eq!(threat.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!((threat.account.as_str(), threat.verdict), ("corp\\bob", Some(SensorVerdict::Blocked)));
        let seen = [
            ("VendorSeverity", "Informational".into()),
            ("Subtype", "url".into()),
            ("Action", "alert".into()),
        ];
        assert_eq!(changed(THREAT, &seen).kind, RecordKind::Telemetry);
        let asked = record(
            r#"{"log_type":{"value":"threat"},"sub_type":{"value":"spyware"},"time_generated":"2026-06-03T12:59:31Z","source_ip":{"value":"10.0.2.14"},"dest_ip":{"value":"203.0.113.9"},"action":{"value":"alert"},"threat_name":"LOCAL beacon","severity":"high"}"#,
        );
        assert_eq!((asked.kind, asked.message.as_str()), (RecordKind::Alert, "LOCAL beacon"));
        assert_eq!(asked.destination.unwrap().address, "203.0.113.9");
    }

    #[test]
    fn sessions_and_logins_are_told_as_the_firewalls_lines_are() {
        let passed = changed(
            THREAT,
            &[("LogType", "TRAFFIC".into()), ("Subtype", "end".into()), ("Action", "allow".into())],
        );
        assert_eq!(
            (passed.kind, passed.message.as_str()),
            (RecordKind::Telemetry, "allow web-browsing TCP 203.0.113.9 -> 10.0.2.14:443")
        );
        let login = record(
            r#"{"LogType":"GLOBALPROTECT","Subtype":"0","TimeGenerated":"2026-06-03T12:59:31.000000Z","EventIDValue":"gateway-auth","Stage":"login","AuthMethod":"LDAP","SourceUserName":"bob","PublicIPv4":"203.0.113.9","LogStatus":"failure","ConnectionError":"bad password"}"#,
        );
        assert_eq!(
            login.message,
            "globalprotect gateway-auth: by bob, from 203.0.113.9, LDAP, failure, because bad password"
        );
        assert_eq!((login.kind, login.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
    }
}
