//! Error logs of web servers:
//!
//! - Apache: `[Wed Jun 03 12:59:31.342001 2026] [core:error] [pid 12] [client 203.0.113.9:51234] AH00126: Invalid URI …`
//! - nginx: `2026/06/03 12:59:31 [error] 12#12: *1 open() "/x" failed, client: 203.0.113.9, server: shop.example, …`
//!
//! The rules of ModSecurity, which write here, are a sensor's alerts.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_message, port};
use super::web::SERVERS;
use super::{MAX_NAME, MAX_RAW, begun, blanks, end, may_be_from, own_end};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::WebAccess, recognises, read };

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    may_be_from(envelope, &SERVERS) && parts(line).is_some()
}

/// The time, the client as `address` or `address:port`, and the message.
fn parts(line: &str) -> Option<(Timestamp, &str, &str)> {
    let line = line.trim();
    apache(line).or_else(|| nginx(line))
}

fn apache(line: &str) -> Option<(Timestamp, &str, &str)> {
    let (stamp, mut rest) = line.strip_prefix('[')?.split_once("] ")?;
    let mut words = stamp.split_whitespace();
    let (_, month, day) = (words.next()?, words.next()?, words.next()?);
    let (clock, year) = (words.next()?, words.next()?);
    let time = Timestamp::parse(&format!("{month} {day} {year} {clock}"))?;
    // The module comes next; then the process and the client, in brackets.
    let mut client = "";
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
    (fields > 0).then_some((time, client, rest))
}

/// A message without the client that ModSecurity puts before it once more.
fn without_client(message: &str) -> &str {
    let behind = message.strip_prefix("[client ").and_then(|rest| rest.split_once("] "));
    behind.map(|(_, rest)| rest).filter(|rest| rest.starts_with("ModSecurity: ")).unwrap_or(message)
}

fn nginx(line: &str) -> Option<(Timestamp, &str, &str)> {
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
    (is_process && level.bytes().all(|byte| byte.is_ascii_lowercase())).then_some((time, client, message))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let line = &*blanks(line);
    let (time, client, message) = parts(line)?;
    let mut record = begun(RecordKind::Log, Format::WebAccess, envelope);
    record.time = Some(time);
    record.source = match client.rsplit_once(':') {
        Some((address, number)) if address.parse::<std::net::IpAddr>().is_ok() => end(address, port(number)),
        _ => end(client, None),
    };
    record.destination = record.source.as_ref().and_then(|_| own_end(envelope));
    record.message = clean_message(message);
    if message.starts_with("ModSecurity: ") {
        rule(message, &mut record);
        record.raw = clean(line, MAX_RAW);
    }
    Some(record)
}

/// What ModSecurity says: `ModSecurity: Warning. … [id "942100"] [msg "SQL injection"] [severity "CRITICAL"] [uri "/x"]`.
fn rule(message: &str, record: &mut Record) {
    let field = |name: &str| {
        let mark = format!(" [{name} \"");
        message.split_once(&mark).and_then(|(_, rest)| rest.split_once("\"]")).map_or("", |(value, _)| value)
    };
    record.kind = RecordKind::Alert;
    record.sensor = "ModSecurity".to_owned();
    record.rule = clean(field("id"), MAX_NAME);
    if !field("msg").is_empty() {
        record.message = clean_message(field("msg"));
    }
    record.detail = clean(field("uri"), MAX_DETAIL);
    record.priority = match field("severity") {
        "EMERGENCY" | "ALERT" | "CRITICAL" | "ERROR" | "0" | "1" | "2" | "3" => Some(1),
        "WARNING" | "4" => Some(2),
        "NOTICE" | "5" => Some(3),
        "INFO" | "DEBUG" | "6" | "7" => Some(4),
        _ => None,
    };
    let is_denied = message.starts_with("ModSecurity: Access denied");
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
    fn nothing_else_is_taken() {
        for line in ["[Wed Jun 03 12:59:31 2026] text", "2026/06/03 12:59:31 text", "[x] [y] z", "é", ""] {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
    }
}
