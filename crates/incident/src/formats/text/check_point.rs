//! Check Point's Log Exporter in its syslog form: `[action:"Drop"; src:"203.0.113.9"; dst:"10.0.2.11"; service:"22"; …]` behind the
//! program `CheckPoint`. Quotation marks in values are escaped.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port};
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, end, program, protocol_of, tell_traffic, unescaped_at, verdict,
};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| program(envelope) == "CheckPoint" && fields(line).next().is_some(),
    read,
};

/// Key and value of each field. A value ends with the first quotation mark that no backslash is before.
fn fields(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = line.trim_start_matches(['[', ' ']);
    std::iter::from_fn(move || {
        let (key, behind) = rest.split_once(":\"")?;
        let end = unescaped_at(behind, b'"')?;
        let is_key = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(&byte));
        rest = behind.get(end + 1..)?.trim_start_matches([';', ' ']);
        is_key.then_some((key, behind.get(..end)?))
    })
}

/// Products of Check Point that judge what passes; all others filter or manage.
const JUDGES: [&str; 9] = [
    "IPS",
    "SmartDefense",
    "Anti-Bot",
    "Anti-Virus",
    "Anti Malware",
    "New Anti Virus",
    "Threat Emulation",
    "Threat Extraction",
    "Anti-Malware",
];

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let all: Vec<(&str, &str)> = fields(line).take(256).collect();
    let value = |key: &str| all.iter().find(|(own, _)| *own == key).map(|(_, value)| *value);
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(key).filter(|value| !value.is_empty()));
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "Check Point".to_owned();
    record.raw = clean(line, MAX_RAW);
    record.time = value("time").and_then(Timestamp::parse_epoch).or(record.time);
    record.protocol = clean_protocol(value("proto").map(protocol_of).unwrap_or_default());
    let port_of = |key: &str| value(key).and_then(port).filter(|port| *port != 0);
    record.source = value("src").and_then(|address| end(address, port_of("s_port")));
    record.destination = value("dst").and_then(|address| end(address, port_of("service")));
    record.account = clean(first(&["src_user_name", "user", "administrator"]).unwrap_or_default(), MAX_NAME);
    record.detail = clean(first(&["resource", "reason", "description"]).unwrap_or_default(), MAX_DETAIL);
    record.file = clean(value("file_name").unwrap_or_default(), MAX_COMMAND);
    let action = value("action").unwrap_or_default();
    record.verdict = if action == "Detect" { Some(SensorVerdict::Allowed) } else { verdict(action) };
    let product = value("product").unwrap_or_default();
    let title = first(&["attack", "protection_name", "malware_action"]);
    if JUDGES.contains(&product) && (title.is_some() || value("severity").is_some()) {
        record.kind = RecordKind::Alert;
        record.message = clean_message(title.unwrap_or(product));
        record.rule = clean(value("protection_id").unwrap_or_default(), MAX_NAME);
        record.classification =
            clean_classification(first(&["attack_info", "protection_type"]).unwrap_or(product));
        record.priority = value("severity").and_then(rank);
        return Some(record);
    }
    let is_passed = record.verdict == Some(SensorVerdict::Allowed);
    if is_passed {
        record.kind = RecordKind::Telemetry;
    }
    if record.source.is_some() && record.destination.is_some() && record.verdict.is_some() {
        tell_traffic(&mut record, action);
    } else {
        let said = first(&["sys_message", "operation", "auth_status", "information"]).unwrap_or_default();
        record.message = clean_message(&format!("{product} {action} {said}"));
    }
    Some(record)
}

/// 4 is critical, 0 informational; words in some versions.
fn rank(text: &str) -> Option<u8> {
    match text {
        "4" | "3" => Some(1),
        "2" => Some(2),
        "1" => Some(3),
        "0" => Some(4),
        word => super::super::json::severity(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        let envelope = Envelope { host: "fw01", program: "CheckPoint", ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    const ENDS: &str = "src:\"203.0.113.9\"; s_port:\"51234\"; dst:\"10.0.2.11\"; service:\"22\"; proto:\"6\"; time:\"1780491571\"";

    #[test]
    fn what_is_dropped_is_a_log_and_what_passes_telemetry() {
        let dropped = parse(&format!("action:\"Drop\"; {ENDS}; product:\"VPN-1 & FireWall-1\""));
        assert_eq!((dropped.kind, dropped.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(dropped.message, "Drop TCP 203.0.113.9 -> 10.0.2.11:22");
        assert_eq!(dropped.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        assert_eq!(parse(&format!("[action:\"Accept\"; {ENDS}]")).kind, RecordKind::Telemetry);
        let counted = parse("action:\"Accept\"; bytes:\"1\"; product:\"Log Update\"");
        assert_eq!((counted.kind, counted.message.as_str()), (RecordKind::Telemetry, "Log Update Accept"));
    }

    #[test]
    fn a_judgement_is_an_alert() {
        let attack = parse(&format!(
            "action:\"Prevent\"; {ENDS}; product:\"IPS\"; severity:\"4\"; attack:\"LOCAL overflow\"; resource:\"http://x/\\\"; src:\\\"6.6.6.6\""
        ));
        assert_eq!((attack.kind, attack.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(
            (attack.message.as_str(), attack.verdict),
            ("LOCAL overflow", Some(SensorVerdict::Blocked))
        );
        assert_eq!(attack.source.unwrap().to_string(), "203.0.113.9:51234");
        let envelope = Envelope { program: "shop", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("action:\"Drop\"", &envelope));
        let own = Envelope { program: "CheckPoint", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("started", &own) && !(FORMAT.recognises)("", &own));
    }
}
