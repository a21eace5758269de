//! Error logs of web servers:
//!
//! - Apache: `[Wed Jun 03 12:59:31.342001 2026] [core:error] [pid 12] [client 203.0.113.9:51234] AH00126: Invalid URI …`
//! - nginx: `2026/06/03 12:59:31 [error] 12#12: *1 open() "/x" failed, client: 203.0.113.9, server: shop.example, …`
//!
//! What they hand to syslog lacks the time, and with some settings the module and the process as well: `[client 203.0.113.9:51234]
//! ModSecurity: Warning. …`.
//!
//! The rules of ModSecurity, which write here, are a sensor's alerts.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, port};
use super::web::SERVERS;
use super::{MAX_NAME, MAX_RAW, begun, blanks, end, may_be_from, own_end, program};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::WebAccess, recognises, read };

/// Names beside the servers' own under which their error logs, or the firewall in them, come by syslog.
const ERROR_LOGS: [&str; 8] = [
    "apache-error",
    "apache_error",
    "httpd_error",
    "nginx-error",
    "nginx_error",
    "modsec",
    "modsecurity",
    "ModSecurity",
];
/// How what ModSecurity says begins.
const MODSECURITY: &str = "ModSecurity: ";

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    parts(line, envelope).is_some()
}

/// What the server says: when, if it says so, the client as `address` or `address:port`, and the message.
#[derive(Clone, Copy, Debug, Default)]
struct Said<'a> {
    time: Option<Timestamp>,
    client: &'a str,
    message: &'a str,
}

fn parts<'a>(line: &'a str, envelope: &Envelope<'_>) -> Option<Said<'a>> {
    if !may_be_from(envelope, &SERVERS) && !ERROR_LOGS.contains(&program(envelope)) {
        return None;
    }
    let line = line.trim();
    apache(line).or_else(|| nginx(line)).or_else(|| without_time(line, envelope))
}

fn apache(line: &str) -> Option<Said<'_>> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let mut words = stamp.split_whitespace();
    let (_, month, day) = (words.next()?, words.next()?, words.next()?);
    let (clock, year) = (words.next()?, words.next()?);
    let time = Timestamp::parse(&format!("{month} {day} {year} {clock}"))?;
    Some(Said { time: Some(time), ..head(rest)? })
}

/// A line that syslog has the time of. Where no server is named, only what none but ModSecurity begins with is one.
fn without_time<'a>(line: &'a str, envelope: &Envelope<'_>) -> Option<Said<'a>> {
    let said = head(line)
        .or_else(|| line.starts_with(MODSECURITY).then_some(Said { message: line, ..Said::default() }))?;
    (!envelope.program.is_empty() || said.message.starts_with(MODSECURITY)).then_some(said)
}

/// What stands behind the time, each in brackets: the module, the process and the client; one of them at least.
fn head(line: &str) -> Option<Said<'_>> {
    let (mut client, mut rest) = ("", line);
    let mut fields = 0;
    while let Some((inner, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        if let Some(address) = inner.strip_prefix("client ") {
            (client, rest) = (address, without_client(behind));
            fields += 1;
            break;
        }
        if !(inner.contains(':')
            || inner.starts_with("pid ")
            || inner.bytes().all(|byte| byte.is_ascii_alphabetic()))
        {
            break;
        }
        (fields, rest) = (fields + 1, behind);
    }
    (fields > 0).then_some(Said { time: None, client, message: rest })
}

/// A message without the client that ModSecurity puts before it once more.
fn without_client(message: &str) -> &str {
    let behind = message.strip_prefix("[client ").and_then(|rest| rest.split_once("] "));
    behind.map(|(_, rest)| rest).filter(|rest| rest.starts_with(MODSECURITY)).unwrap_or(message)
}

fn nginx(line: &str) -> Option<Said<'_>> {
    let (stamp, rest) = line.split_at_checked(19)?;
    let time = Timestamp::parse_slashed(stamp)?;
    let (level, rest) = rest.strip_prefix(" [")?.split_once("] ")?;
    let (process, message) = rest.split_once(": ")?;
    let is_process = process.bytes().all(|byte| byte.is_ascii_digit() || byte == b'#');
    // `*12` numbers the connection.
    let message = match message.strip_prefix('*').and_then(|rest| rest.split_once(' ')) {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => message,
    };
    let message = without_client(message);
    let client =
        message.rsplit_once(", client: ").map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default());
    let is_one = is_process && level.bytes().all(|byte| byte.is_ascii_lowercase());
    is_one.then_some(Said { time: Some(time), client, message })
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let line = &*blanks(line);
    let Said { time, client, message } = parts(line, envelope)?;
    let mut record = begun(RecordKind::Log, Format::WebAccess, envelope);
    record.time = time.or(record.time);
    record.source = match client.rsplit_once(':') {
        Some((address, number)) if address.parse::<std::net::IpAddr>().is_ok() => end(address, port(number)),
        _ => end(client, None),
    };
    record.destination = record.source.as_ref().and_then(|_| own_end(envelope));
    record.message = clean_message(message);
    if let Some(said) = message.strip_prefix(MODSECURITY) {
        rule(said, &mut record);
        record.raw = clean(line, MAX_RAW);
    }
    Some(record)
}

/// What ModSecurity says: `Warning. … [id "942100"] [msg "SQL injection"] [severity "CRITICAL"] [tag "attack-sqli"] [uri "/x"]`. What it
/// says of itself names no rule and denies nothing.
fn rule(said: &str, record: &mut Record) {
    let behind = |mark: &str| said.split_once(mark).and_then(|(_, rest)| rest.split_once("\"]"));
    let field = |name: &str| behind(&format!(" [{name} \"")).map_or("", |(value, _)| value);
    record.sensor = "ModSecurity".to_owned();
    record.rule = clean(field("id"), MAX_NAME);
    let is_denied = said.starts_with("Access denied");
    if record.rule.is_empty() && !is_denied && !said.starts_with("Warning.") {
        return;
    }
    record.kind = RecordKind::Alert;
    if !field("msg").is_empty() {
        record.message = clean_message(field("msg"));
    }
    // The kind of attack, among the tags of the Core Rule Set.
    record.classification =
        behind(" [tag \"attack-").map_or_else(String::new, |(kind, _)| clean_classification(kind));
    record.detail = clean(field("uri"), MAX_DETAIL);
    record.priority = match field("severity") {
        "EMERGENCY" | "ALERT" | "CRITICAL" | "ERROR" | "0" | "1" | "2" | "3" => Some(1),
        "WARNING" | "4" => Some(2),
        "NOTICE" | "5" => Some(3),
        "INFO" | "DEBUG" | "6" | "7" => Some(4),
        _ => None,
    };
    record.verdict = Some(if is_denied { SensorVerdict::Blocked } else { SensorVerdict::Allowed });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        let envelope = Envelope { host: "web01", ..Envelope::default() };
        assert!(recognises(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    #[test]
    fn both_servers_are_read() {
        let record = parse(
            "[Wed Jun 03 12:59:31.342001 2026] [core:error] [pid 12:tid 13] [client 203.0.113.9:51234] AH00126: Invalid URI",
        );
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!((record.kind, record.message.as_str()), (RecordKind::Log, "AH00126: Invalid URI"));
        let record = parse(
            "2026/06/03 12:59:31 [error] 12#12: *1 open() \"/x\" failed (2: No such file), client: 203.0.113.9, server: \
             shop.example, request: \"GET /x HTTP/1.1\"",
        );
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9");
        assert_eq!(record.destination.unwrap().address, "web01");
    }

    #[test]
    fn a_rule_of_modsecurity_is_an_alert() {
        let record = parse(
            "[Wed Jun 03 12:59:31 2026] [:error] [pid 12] [client 203.0.113.9] ModSecurity: Access denied with code 403. \
             [file \"/x\"] [id \"942100\"] [msg \"SQL injection\"] [data \"\\\"] [severity \\\"DEBUG\"] [severity \"CRITICAL\"]",
        );
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((record.rule.as_str(), record.message.as_str()), ("942100", "SQL injection"));
        assert_eq!(record.verdict, Some(SensorVerdict::Blocked));
    }

    #[test]
    fn what_syslog_carries_needs_no_time_of_its_own() {
        let time = Timestamp::parse("2026-06-03T12:59:31Z");
        let rule = "[client 203.0.113.9:51234] ModSecurity: Warning. Matched phrase \\\"x\\\" at ARGS:a. [file \"/x\"] [id \"930120\"] \
                    [msg \"OS file access\"] [severity \"CRITICAL\"] [tag \"language-multi\"] [tag \"attack-lfi\"] [uri \"/get\"]";
        for (program, line) in [
            ("apache2", rule.to_owned()),
            ("modsecurity", rule.to_owned()),
            ("", rule.to_owned()),
            ("httpd", format!("[security2:error] [pid 12:tid 13] [client 203.0.113.9:51234] {rule}")),
        ] {
            let envelope = Envelope { program, host: "web01", time };
            assert!(recognises(&line, &envelope), "{program} {line}");
            let record = read(&line, &envelope).unwrap();
            assert_eq!((record.kind, record.time), (RecordKind::Alert, time), "{program}");
            assert_eq!((record.rule.as_str(), record.message.as_str()), ("930120", "OS file access"));
            assert_eq!((record.classification.as_str(), record.detail.as_str()), ("lfi", "/get"));
            assert_eq!((record.verdict, record.priority), (Some(SensorVerdict::Allowed), Some(1)));
            assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        }
        let server = Envelope { program: "httpd", host: "web01", time };
        let record =
            read("[core:error] [pid 12] [client 203.0.113.9:51234] AH00126: Invalid URI", &server).unwrap();
        assert_eq!((record.kind, record.message.as_str()), (RecordKind::Log, "AH00126: Invalid URI"));
        let record = read("ModSecurity: Audit log: Failed to lock global mutex", &server).unwrap();
        assert_eq!((record.kind, record.verdict), (RecordKind::Log, None), "of itself");
        let other = Envelope { program: "shop", ..server };
        assert!(!recognises(rule, &other), "whoever else was told so");
    }

    #[test]
    fn nothing_else_is_taken() {
        assert!(!recognises("[client 203.0.113.9:1] said ModSecurity: Warning.", &Envelope::default()));
        for line in ["[Wed Jun 03 12:59:31 2026] text", "2026/06/03 12:59:31 text", "[x] [y] z", "é", ""] {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
    }
}
