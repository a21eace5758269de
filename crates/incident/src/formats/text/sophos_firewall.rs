//! Sophos Firewall (SFOS): `device="SFW" date=2026-06-03 time=12:59:31 … log_type="Firewall" log_component="Firewall Rule"
//! log_subtype="Denied" … src_ip=203.0.113.9 …`, or `device_name="SFW" timestamp="…" … log_type=…` in its newer form.
//!
//! What intrusion prevention, anti-virus, sandbox, web application firewall and advanced threat protection found is an alert; connections
//! and pages that passed are telemetry, refused ones logs; logins, administration and the rest are logs. `priority` is syslog's level.

use super::super::format::{Envelope, LineFormat};
use super::super::{
    Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, has_ports, port,
};
use super::pairs::find;
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, behind_relay, ip_end, once, relayed, tell_traffic, verdict,
};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| envelope.program.is_empty() && fields(line).is_some(),
    read: |line, envelope| Some(relayed(fields(line)?, envelope, read)),
};

/// The pairs, which begin with the device or the time, and the host that a relay names before them.
fn fields(line: &str) -> Option<(&str, &str)> {
    let (host, fields) = behind_relay(line, &["device=", "device_name=", "date=", "timestamp="])?;
    let is_whole = ["log_type", "log_component", "log_subtype"].iter().all(|key| find(fields, key).is_some());
    is_whole.then_some((host, fields))
}

/// Logs of what was found wrong.
const FINDERS: [&str; 6] = ["IDP", "IPS", "Anti-Virus", "ATP", "WAF", "Sandbox"];

fn read(line: &str, envelope: &Envelope<'_>) -> Record {
    let first = |keys: &[&str]| keys.iter().find_map(|key| find(line, key)).unwrap_or_default();
    let (kind, component, subtype) =
        (first(&["log_type"]), first(&["log_component"]), first(&["log_subtype"]));
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "Sophos Firewall".to_owned();
    // The newer form calls the product so, and names the device by its number.
    let device = [first(&["device_name"]), first(&["device_serial_id"]), first(&["device_id"])];
    if record.host.is_empty() {
        let named = device.into_iter().find(|name| !matches!(*name, "" | "SFW"));
        record.host = clean(named.unwrap_or_default(), MAX_NAME);
    }
    record.time = time(line).or(record.time);
    record.rule = clean(first(&["signature_id", "sid", "log_id", "id"]), MAX_NAME);
    record.classification = clean_classification(kind);
    record.raw = clean(line, MAX_RAW);
    record.protocol = clean_protocol(first(&["protocol"]));
    // Where a key begins the line `once` does not see it, and none of these does.
    let bare = line.replace('"', "");
    let end = |addresses: [&str; 2], number: &str| -> Option<Endpoint> {
        let number = port(once(&bare, number)).filter(|_| has_ports(&record.protocol));
        let address = addresses.iter().find_map(|key| ip_end(once(&bare, key), None))?;
        Some(Endpoint { port: number, ..address })
    };
    let source = end(["src_ip", "sourceip"], "src_port");
    let destination = end(["dst_ip", "destinationip"], "dst_port");
    (record.source, record.destination) = (source, destination);
    record.account = clean(first(&["user_name", "user", "login_user", "username"]), MAX_NAME);
    record.file = clean(first(&["file_name", "filename", "execution_path", "file_path"]), MAX_COMMAND);
    record.detail = clean(first(&["url", "domainname", "domain", "application", "app_name"]), MAX_DETAIL);
    record.verdict = [subtype, first(&["status"]), first(&["action"])].into_iter().find_map(verdict);
    let is_blocked = record.verdict == Some(SensorVerdict::Blocked);
    let said = first(&["message", "additional_information", "reason"]);
    if is_found(kind, subtype) {
        tell_found(line, &mut record, [kind, component, said]);
        return record;
    }
    match kind {
        "Firewall" | "Content Filtering" | "Application Filter" | "SSL" | "Web Filter" => {
            if !is_blocked {
                record.kind = RecordKind::Telemetry;
                record.raw = String::new();
            }
            let category = first(&["category"]);
            tell_traffic(&mut record, &words(&[component, subtype, category]));
        }
        _ => tell_event(line, &mut record, [component, subtype, said]),
    }
    record
}

/// Whether a log tells of something that was found wrong. What is clean, or let through by a rule of the web application firewall, is not.
fn is_found(kind: &str, subtype: &str) -> bool {
    FINDERS.contains(&kind) && !matches!(subtype, "Allowed" | "Clean" | "Information" | "Pending")
}

fn tell_found(line: &str, record: &mut Record, [kind, component, said]: [&str; 3]) {
    let first = |keys: &[&str]| keys.iter().find_map(|key| find(line, key)).unwrap_or_default();
    record.kind = RecordKind::Alert;
    let found = first(&["signature_msg", "virus", "threatname", "threat", "malware"]);
    let class = first(&["classification", "category", "eventtype"]);
    if !class.is_empty() {
        record.classification = clean_classification(class);
    }
    // Its intrusion prevention ranks rules from 1, high, to 5.
    record.priority = match first(&["rule_priority"]) {
        "1" => Some(1),
        "2" => Some(2),
        "3" | "4" => Some(3),
        "5" => Some(4),
        _ => None,
    };
    let what = words(&[kind, component]);
    record.message = clean_message(&match (found, said) {
        ("", "") => what,
        ("", said) => format!("{what}: {said}"),
        (found, "") => format!("{found}: {what}"),
        (found, said) => format!("{found}: {said}"),
    });
}

/// What the device says of itself, of logins and of tunnels.
fn tell_event(line: &str, record: &mut Record, [component, subtype, said]: [&str; 3]) {
    let status = find(line, "status").unwrap_or_default();
    let title = if said.is_empty() { words(&[component, subtype]) } else { said.to_owned() };
    let by = Some(&record.account).filter(|name| !name.is_empty()).map(|name| format!("by {name}"));
    let from = record.source.as_ref().map(|end| format!("from {}", end.address));
    let ended = Some(status).filter(|status| !status.is_empty()).map(|status| format!("status {status}"));
    let facts: Vec<String> = [by, from, ended].into_iter().flatten().collect();
    let facts = facts.join(", ");
    record.message = clean_message(&if facts.is_empty() { title } else { format!("{title}: {facts}") });
}

fn words(all: &[&str]) -> String {
    all.iter().copied().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The time with its zone, or date and time of the device's clock.
fn time(line: &str) -> Option<Timestamp> {
    if let Some(time) = find(line, "timestamp").and_then(Timestamp::parse) {
        return Some(time);
    }
    let zone = match find(line, "timezone") {
        Some("UTC" | "GMT") => "Z",
        _ => "",
    };
    Timestamp::parse(&format!("{}T{}{zone}", find(line, "date")?, find(line, "time")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(said: &str) -> Record {
        let line = format!(
            "device=\"SFW\" date=2026-06-03 time=12:59:31 timezone=\"UTC\" device_name=\"fw01\" device_id=C01 log_id=0101 {said}"
        );
        assert!((FORMAT.recognises)(&line, &Envelope::default()), "{line}");
        (FORMAT.read)(&line, &Envelope::default()).unwrap()
    }

    #[test]
    fn traffic_is_telemetry_unless_it_is_denied() {
        let traffic = |subtype: &str| {
            parse(&format!(
                "log_type=\"Firewall\" log_component=\"Firewall Rule\" log_subtype=\"{subtype}\" priority=Information user_name=\"\" src_ip=203.0.113.9 dst_ip=10.0.2.11 protocol=\"TCP\" src_port=51234 dst_port=22 message=\"\""
            ))
        };
        let denied = traffic("Denied");
        assert_eq!((denied.kind, denied.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(denied.message, "Firewall Rule Denied TCP 203.0.113.9 -> 10.0.2.11:22");
        assert_eq!(
            (denied.host.as_str(), denied.time.unwrap().to_string().as_str()),
            ("fw01", "2026-06-03T12:59:31.000000")
        );
        assert_eq!(traffic("Allowed").kind, RecordKind::Telemetry);
    }

    #[test]
    fn what_was_found_is_an_alert() {
        let line = "device_name=\"SFW\" timestamp=\"2026-06-03T12:59:31+0000\" device_serial_id=\"C01\" log_id=\"0208\" log_type=\"IDP\" log_component=\"Signatures\" log_subtype=\"Drop\" severity=\"Warning\" signature_id=7 signature_msg=\"LOCAL overflow\" classification=\"Attempted Admin\" rule_priority=1 src_ip=\"203.0.113.9\" dst_ip=\"10.0.2.11\" protocol=\"TCP\" src_port=51234 dst_port=80";
        let found = (FORMAT.read)(line, &Envelope::default()).unwrap();
        assert_eq!(
            (found.kind, found.priority, found.verdict),
            (RecordKind::Alert, Some(1), Some(SensorVerdict::Blocked))
        );
        assert_eq!((found.message.as_str(), found.host.as_str()), ("LOCAL overflow: IDP Signatures", "C01"));
        assert_eq!((found.rule.as_str(), found.classification.as_str()), ("7", "Attempted Admin"));
        assert_eq!(found.source.unwrap().to_string(), "203.0.113.9:51234");
        let threat = parse(
            "log_type=\"ATP\" log_component=\"Firewall\" log_subtype=\"Alert\" user_name=\"alice\" src_ip=10.0.2.20 dst_ip=203.0.113.66 protocol=\"TCP\" threatname=\"C2/Local\" eventtype=\"Standard\"",
        );
        assert_eq!((threat.kind, threat.message.as_str()), (RecordKind::Alert, "C2/Local: ATP Firewall"));
        let clean =
            parse("log_type=\"Sandbox\" log_component=\"Web\" log_subtype=\"Clean\" src_ip=10.0.2.20");
        assert_eq!(clean.kind, RecordKind::Log);
    }

    #[test]
    fn logins_are_logs_with_who_and_from_where() {
        let login = |name: &str| {
            parse(&format!(
                "log_type=\"Event\" log_component=\"GUI\" log_subtype=\"Admin\" status=\"Failed\" priority=Notice user_name=\"{name}\" src_ip=203.0.113.9 message=\"A login failed\""
            ))
        };
        let failed = login("admin");
        assert_eq!(
            (failed.kind, failed.message.as_str()),
            (RecordKind::Log, "A login failed: by admin, from 203.0.113.9, status Failed")
        );
        assert_eq!(login("x src_ip=6.6.6.6").source, None, "a name that looks like an end is none");
        let relayed =
            "Jun  3 12:59:31 edge01 device=\"SFW\" log_type=Event log_component=GUI log_subtype=Admin";
        assert_eq!((FORMAT.read)(relayed, &Envelope::default()).unwrap().host, "edge01");
        for line in ["device=\"x\" log_type=\"x\"", "x log_type=a log_component=b log_subtype=c", ""] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
    }
}
