//! Firewalls, routers and switches of Huawei: `%%01SECLOG/6/SESSION_TEARDOWN(l):IPVer=4,Protocol=tcp,SourceIP=10.0.2.20,…`,
//! `%%01IPS/4/DETECT(l): An intrusion was detected. (SyslogId=7, SrcIp=203.0.113.9, DstIp=10.0.2.11, SignName="…", Action=Block)`. The
//! header takes module, level and name for the program.
//!
//! Sessions are telemetry; what intrusion prevention, antivirus and the feeds of known addresses found is an alert; the rest is the
//! device's log. The level ranks the kind of message and no attack. Pairs are parted by commas and may hold what others chose, so a key
//! counts only where it stands once.

use super::super::format::{Envelope, LineFormat};
use super::super::json::severity;
use super::super::{Format, clean, clean_classification, clean_message, clean_protocol, has_ports, port};
use super::pairs::only;
use super::{MAX_NAME, MAX_RAW, begun, ip_end, tell_traffic, verdict};
use crate::Endpoint;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |_, envelope| message_id(envelope.program).is_some(),
    read,
};

/// Module and name of `%%01SECLOG/6/SESSION_TEARDOWN(l)`, also with a number behind.
fn message_id(program: &str) -> Option<(&str, &str)> {
    let rest = program.strip_prefix("%%")?.trim_start_matches(|c: char| c.is_ascii_digit());
    let (module, rest) = rest.split_once('/')?;
    let (level, name) = rest.split_once('/')?;
    let name = name.split('(').next().unwrap_or_default();
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let is_level = level.len() == 1 && level.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    (is_level && is_word(module) && is_word(name)).then_some((module, name))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (module, name) = message_id(envelope.program)?;
    let value = |keys: &[&str]| keys.iter().find_map(|key| value(line, key));
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "Huawei".to_owned();
    record.rule = clean(&format!("{module}/{name}"), MAX_NAME);
    record.raw = clean(line, MAX_RAW);
    record.protocol = clean_protocol(value(&["Protocol", "Proto"]).unwrap_or_default());
    let end = |addresses: &[&str], ports: &[&str]| {
        let number = value(ports).and_then(port).filter(|_| has_ports(&record.protocol));
        Some(Endpoint { port: number, ..ip_end(value(addresses)?, None)? })
    };
    let source = end(&["SourceIP", "SrcIp", "SrcIP", "IpAddress", "IPAddress"], &["SourcePort", "SrcPort"]);
    let destination = end(&["DestinationIP", "DstIp", "DstIP"], &["DestinationPort", "DstPort"]);
    (record.source, record.destination) = (source, destination);
    record.account =
        clean(value(&["UserName", "User"]).filter(|name| *name != "unknown").unwrap_or_default(), MAX_NAME);
    record.verdict = value(&["Action"]).and_then(verdict);
    if name.contains("DENY") {
        record.verdict = Some(SensorVerdict::Blocked);
    }
    let found = value(&["SignName", "VirusName", "ThreatName", "MalwareName", "AttackType"]);
    let is_ranked = ["IPS", "AV", "APT", "THREAT", "CNC", "ATK"].iter().any(|word| module.starts_with(word));
    if is_ranked && (found.is_some() || record.source.is_some()) {
        record.kind = RecordKind::Alert;
        record.priority = value(&["Severity", "ThreatLevel"]).and_then(severity);
        record.classification = clean_classification(value(&["Category", "ThreatType"]).unwrap_or_default());
        record.message = clean_message(found.unwrap_or_else(|| sentence(line)));
    } else if name.starts_with("SESSION") || record.destination.is_some() && module == "SECLOG" {
        record.kind = RecordKind::Telemetry;
        record.raw = String::new();
        tell_traffic(&mut record, &name.to_ascii_lowercase().replace('_', " "));
    } else if record.source.is_some() && record.destination.is_some() {
        tell_traffic(&mut record, sentence(line));
    } else {
        record.message = clean_message(line);
    }
    Some(record)
}

/// What the message says before its pairs.
fn sentence(line: &str) -> &str {
    line.trim().split_once(" (").map_or(line.trim(), |(said, _)| said)
}

/// The value of a key that stands once.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let parts = line.split([',', '(', ')']).map(str::trim);
    only(parts, key).map(|value| value.trim_matches('"')).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "fw01", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{program}");
        read(line, &envelope).unwrap()
    }

    #[test]
    fn sessions_are_telemetry_and_what_was_found_is_an_alert() {
        let session = parse(
            "%%01SECLOG/6/SESSION_TEARDOWN(l)",
            "IPVer=4,Protocol=tcp,SourceIP=10.0.2.20,DestinationIP=203.0.113.9,SourcePort=51234,DestinationPort=443,PolicyName=Internet Access.",
        );
        assert_eq!(session.kind, RecordKind::Telemetry);
        assert_eq!(session.message, "session teardown TCP 10.0.2.20 -> 203.0.113.9:443");
        let found = parse(
            "%%01IPS/4/DETECT(l)",
            "An intrusion was detected. (SyslogId=7, SrcIp=203.0.113.9, DstIp=10.0.2.11, SrcPort=51234, DstPort=80, Protocol=TCP, SignName=\"LOCAL overflow\", Severity=high, Action=Block)",
        );
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((found.message.as_str(), found.verdict), ("LOCAL overflow", Some(SensorVerdict::Blocked)));
        assert_eq!(found.destination.unwrap().to_string(), "10.0.2.11:80");
        let login = parse(
            "%%01SSH/4/SSH_FAIL(s)[7]",
            "Failed to login through SSH. (IpAddress=203.0.113.9, UserName=bob, Times=2)",
        );
        assert_eq!((login.kind, login.account.as_str()), (RecordKind::Log, "bob"));
        assert_eq!(login.source, Some(Endpoint::new("203.0.113.9", None)));
    }

    #[test]
    fn a_name_is_never_an_end() {
        let line = "Failed to login. (UserName=x, IpAddress=6.6.6.6, IpAddress=203.0.113.9)";
        assert_eq!(parse("%%01SSH/4/SSH_FAIL(s)", line).source, None);
        for program in ["%%01SSH", "%SSH/4/X", "%%01SSH/9/X", "shop", "%%01SSH/4/a b"] {
            assert!(!(FORMAT.recognises)("x", &Envelope { program, ..Envelope::default() }), "{program}");
        }
    }
}
