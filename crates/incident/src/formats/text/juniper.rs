//! Firewalls of Juniper (SRX), with structured data or as sentences:
//!
//! `RT_FLOW_SESSION_DENY [junos@2636.1.1.1.2.41 source-address="203.0.113.9" source-port="51234" …]`
//! `RT_FLOW_SESSION_DENY: session denied 203.0.113.9/51234->10.0.2.11/22 …`
//!
//! Attacks, screens, malware and the feeds of known servers are alerts, what a policy denied is a log, sessions that were created and
//! closed are telemetry.

use super::super::format::{Envelope, LineFormat};
use super::super::json::severity;
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port};
use super::pairs::find;
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, end, ip_end, of_ten, program, protocol_of, tell_traffic, verdict,
};
use crate::Endpoint;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| {
        let name = program(envelope);
        message_id(line).is_some_and(|(id, _)| name.starts_with("RT_") || is_management(name, id))
    },
    read,
};

/// The name of the message, which the firewall writes first, and what stands behind it.
fn message_id(line: &str) -> Option<(&str, &str)> {
    let end = line.find([' ', ':'])?;
    let (id, rest) = line.split_at(end);
    let is_id = id.contains('_')
        && id.len() <= MAX_NAME
        && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    is_id.then(|| (id, rest.trim_start_matches([':', ' '])))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (id, rest) = message_id(line)?;
    if is_management(program(envelope), id) {
        return Some(management(id, rest, line, envelope));
    }
    let value = |key: &str| find(rest, key).filter(|value| !matches!(*value, "N/A" | "UNKNOWN" | "None"));
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "Juniper SRX".to_owned();
    record.rule = clean(id, MAX_NAME);
    record.raw = clean(line, MAX_RAW);
    let protocol =
        value("protocol-id").map(protocol_of).or_else(|| value("protocol-name")).unwrap_or_default();
    record.protocol = clean_protocol(protocol);
    let ends = (value("source-address"), value("destination-address"));
    let port_of = |key: &str| value(key).and_then(port).filter(|port| *port != 0);
    record.source = ends.0.and_then(|address| end(address, port_of("source-port")));
    record.destination = ends.1.and_then(|address| end(address, port_of("destination-port")));
    if ends == (None, None) {
        (record.source, record.destination) = said_ends(rest);
    }
    record.account = clean(value("username").unwrap_or_default(), MAX_NAME);
    record.verdict = value("action").and_then(verdict);
    let title = value("attack-name").or_else(|| value("malware-info")).or_else(|| value("name"));
    let title = title.or_else(|| value("sub-category"));
    match id {
        _ if id.starts_with("RT_FLOW_SESSION") || id.starts_with("APPTRACK_SESSION") => {
            let what = if id.ends_with("_DENY") {
                record.verdict = Some(SensorVerdict::Blocked);
                "session denied"
            } else {
                record.kind = RecordKind::Telemetry;
                if id.contains("_CLOSE") { "session closed" } else { "session created" }
            };
            tell_traffic(&mut record, what);
        }
        _ if is_alert(id) => {
            record.kind = RecordKind::Alert;
            let rank = value("threat-severity").or_else(|| value("verdict-number"));
            record.priority =
                rank.and_then(|word| severity(word).or_else(|| word.parse().ok().and_then(of_ten)));
            record.classification = clean_classification(value("category").unwrap_or_default());
            record.file = clean(value("filename").unwrap_or_default(), MAX_COMMAND);
            record.detail =
                clean(value("url").or_else(|| value("http-host")).unwrap_or_default(), MAX_DETAIL);
            record.message = clean_message(&match title {
                Some(title) => title.to_owned(),
                None => id.replace('_', " "),
            });
        }
        _ => {
            if id.ends_with("_BLOCKED") {
                record.verdict = Some(SensorVerdict::Blocked);
            } else if id.ends_with("_PERMITTED") {
                record.kind = RecordKind::Telemetry;
                record.verdict = Some(SensorVerdict::Allowed);
            }
            let what = id.replace('_', " ");
            record.message = clean_message(&format!("{what} {}", value("url").unwrap_or_default()));
        }
    }
    Some(record)
}

/// Whether a message is of those who manage the device: what they log in to and what they do there.
fn is_management(name: &str, id: &str) -> bool {
    match name {
        "mgd" | "cli" | "jweb" | "checklogin" => id.starts_with("UI_") || id.starts_with("WEB_"),
        "sshd" => id.starts_with("SSHD_LOGIN"),
        "login" => id.starts_with("LOGIN_"),
        _ => false,
    }
}

/// `UI_CMDLINE_READ_LINE: User 'bob', command 'show version'`, `SSHD_LOGIN_FAILED: Login failed for user 'bob' from host '203.0.113.9'`,
/// or the same as structured data.
fn management(id: &str, rest: &str, line: &str, envelope: &Envelope<'_>) -> Record {
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "Junos".to_owned();
    record.rule = clean(id, MAX_NAME);
    record.raw = clean(line, MAX_RAW);
    let data = rest.strip_prefix("[junos@").map(|_| rest);
    let key = |keys: &[&str]| keys.iter().find_map(|key| find(data?, key));
    // Whoever logs in chooses the name, so that of marks behind it the last counts.
    let said = |mark: &str| {
        let (_, behind) = rest.rsplit_once(mark).filter(|_| data.is_none())?;
        behind.split('\'').next().filter(|text| !text.is_empty())
    };
    let account = key(&["username", "user"]).or_else(|| {
        let (_, behind) = rest.split_once("ser '").filter(|_| data.is_none())?;
        behind.split('\'').next()
    });
    let client = key(&["source-address", "host-name", "ssh-connection", "hostname"])
        .or_else(|| said("from host '"))
        .or_else(|| said("ssh-connection '"))
        .or_else(|| rest.rsplit_once(" from host ").map(|(_, behind)| behind.trim_end_matches('.')));
    record.source = client.and_then(|text| ip_end(text.split(' ').next()?, None));
    record.destination = end(envelope.host, None).filter(|_| record.source.is_some());
    record.account = clean(account.unwrap_or_default(), MAX_NAME);
    if id.contains("CMDLINE") {
        let command = key(&["command"]).or_else(|| said("command '")).unwrap_or_default();
        record.process = clean(command, MAX_COMMAND);
    }
    record.message = clean_message(&match data {
        Some(_) => {
            let told = [
                ("by", record.account.as_str()),
                ("from", record.source.as_ref().map_or("", |end| end.address.as_str())),
                ("command", record.process.as_str()),
            ];
            let told = told.iter().filter(|(_, value)| !value.is_empty());
            let told: Vec<String> = told.map(|(word, value)| format!("{word} {value}")).collect();
            format!("{} {}", id.replace('_', " "), told.join(", "))
        }
        None => format!("{}: {rest}", id.replace('_', " ")),
    });
    record
}

/// Whether a message says that something is wrong, by how its name begins.
fn is_alert(id: &str) -> bool {
    ["IDP_ATTACK_LOG", "RT_SCREEN_", "AV_VIRUS_", "AV_FILE_NOT_SCANNED_DROPPED", "AAMW_", "SECINTEL_ACTION"]
        .iter()
        .any(|beginning| id.starts_with(beginning))
}

/// `203.0.113.9/51234->10.0.2.11/22` in a sentence.
fn said_ends(text: &str) -> (Option<Endpoint>, Option<Endpoint>) {
    let word = text.split_whitespace().take(8).find_map(|word| word.split_once("->"));
    let one = |text: &str| {
        let (address, number) = text.split_once('/').unwrap_or((text, ""));
        ip_end(address, port(number))
    };
    word.map_or((None, None), |(source, destination)| (one(source), one(destination)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "srx01", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    const ENDS: &str = "source-address=\"203.0.113.9\" source-port=\"51234\" destination-address=\"10.0.2.11\" \
                        destination-port=\"22\" protocol-id=\"6\" username=\"N/A\"";

    #[test]
    fn sessions_are_read_in_both_forms() {
        for line in [
            format!("RT_FLOW_SESSION_DENY [junos@2636.1.1.1.2.41 {ENDS} policy-name=\"x\"]"),
            "RT_FLOW_SESSION_DENY: session denied 203.0.113.9/51234->10.0.2.11/22 0x0 junos-ssh 6(0)"
                .to_owned(),
        ] {
            let denied = parse("RT_FLOW", &line);
            assert_eq!((denied.kind, denied.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
            assert_eq!(denied.source.unwrap().to_string(), "203.0.113.9:51234");
            assert!(denied.message.ends_with("203.0.113.9 -> 10.0.2.11:22"), "{}", denied.message);
        }
        let made = parse("RT_FLOW", &format!("RT_FLOW_SESSION_CREATE [junos@2636.1 {ENDS}]"));
        assert_eq!(
            (made.kind, made.message.as_str(), made.account.as_str()),
            (RecordKind::Telemetry, "session created TCP 203.0.113.9 -> 10.0.2.11:22", "")
        );
    }

    #[test]
    fn attacks_are_alerts() {
        let line = format!(
            "IDP_ATTACK_LOG_EVENT [junos@2636.1 {ENDS} action=\"DROP\" threat-severity=\"HIGH\" attack-name=\"LOCAL overflow\"]"
        );
        let attack = parse("RT_IDP", &line);
        assert_eq!(
            (attack.kind, attack.priority, attack.verdict),
            (RecordKind::Alert, Some(1), Some(SensorVerdict::Blocked))
        );
        assert_eq!(
            (attack.message.as_str(), attack.rule.as_str()),
            ("LOCAL overflow", "IDP_ATTACK_LOG_EVENT")
        );
        let screen =
            parse("RT_IDS", &format!("RT_SCREEN_TCP [junos@2636.1 attack-name=\"TCP port scan!\" {ENDS}]"));
        assert_eq!((screen.kind, screen.priority), (RecordKind::Alert, None));
    }

    #[test]
    fn who_manages_the_device_is_told_in_both_forms() {
        for (program, line, message) in [
            (
                "sshd",
                "SSHD_LOGIN_FAILED: Login failed for user 'bob' from host '203.0.113.9'",
                "SSHD LOGIN FAILED: Login failed for user 'bob' from host '203.0.113.9'",
            ),
            (
                "sshd",
                "SSHD_LOGIN_FAILED [junos@2636.1.1.1.2.86 username=\"bob\" source-address=\"203.0.113.9\"]",
                "SSHD LOGIN FAILED by bob, from 203.0.113.9",
            ),
            (
                "mgd",
                "UI_LOGIN_EVENT [junos@2636.1.1.1.2.86 username=\"bob\" ssh-connection=\"203.0.113.9 51234 10.0.0.1 22\"] User 'x'",
                "UI LOGIN EVENT by bob, from 203.0.113.9",
            ),
        ] {
            let told = parse(program, line);
            assert_eq!((told.kind, told.message.as_str()), (RecordKind::Log, message));
            assert_eq!(
                (told.account.as_str(), told.source.unwrap().address.as_str()),
                ("bob", "203.0.113.9")
            );
        }
        let ran = parse("mgd", "UI_CMDLINE_READ_LINE: User 'bob', command 'show version '");
        assert_eq!((ran.process.as_str(), ran.account.as_str()), ("show version", "bob"));
    }

    #[test]
    fn what_others_write_names_nobody() {
        let line = format!(
            "WEBFILTER_URL_PERMITTED [junos@2636.1 {ENDS} url=\"x\\\" source-address=\\\"6.6.6.6\"] user=root"
        );
        assert_eq!(parse("RT_UTM", &line).source.unwrap().address, "203.0.113.9");
        let envelope = Envelope { program: "shop", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("RT_FLOW_SESSION_DENY: x", &envelope));
        let firewall = Envelope { program: "RT_FLOW", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("a sentence", &firewall) && !(FORMAT.recognises)("", &firewall));
    }
}
