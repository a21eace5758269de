//! QRadar's Log Event Extended Format, `LEEF:1.0|vendor|product|version|event|key=value<TAB>key=value`; version 2 names
//! the character between the pairs in a sixth field.
//!
//! What is alert, log and telemetry is decided as for CEF.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port};
use super::cef::kind;
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, end, may_be_from, of_ten, verdict};
use crate::Timestamp;
use crate::record::Record;

pub(super) const FORMAT: LineFormat =
    LineFormat { format: Format::Leef, recognises: |line, envelope| header(line, envelope).is_some(), read };

/// Vendor, product and event, the character between the pairs, and the pairs.
struct Header<'a> {
    vendor: &'a str,
    product: &'a str,
    event: &'a str,
    between: char,
    pairs: &'a str,
}

/// Behind syslog's header `LEEF` may have been taken for the program.
fn header<'a>(line: &'a str, envelope: &Envelope<'_>) -> Option<Header<'a>> {
    let line = line.trim_start();
    let rest = match line.strip_prefix("LEEF:") {
        Some(rest) if may_be_from(envelope, &["leef", "LEEF"]) => rest.trim_start(),
        None if envelope.program == "LEEF" => line,
        // A program may have been told by others what to log.
        _ => return None,
    };
    let mut fields = rest.splitn(6, '|');
    let (version, vendor, product) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, event, pairs) = (fields.next()?, fields.next()?, fields.next()?);
    let (between, pairs) = match version {
        "1.0" => ('\t', pairs),
        "2.0" => match pairs.split_once('|') {
            Some((between, pairs)) if is_separator(between) => (separator(between), pairs),
            // The sixth field may be left out.
            _ => ('\t', pairs),
        },
        _ => return None,
    };
    Some(Header { vendor, product, event, between, pairs })
}

fn is_separator(text: &str) -> bool {
    text.chars().count() <= 1 || text.starts_with(['x', '0'])
}

/// A character, or its number as `x09` or `0x09`.
fn separator(text: &str) -> char {
    let number = text.strip_prefix("0x").or_else(|| text.strip_prefix('x'));
    let named = number.and_then(|number| u32::from_str_radix(number, 16).ok()).and_then(char::from_u32);
    named.or_else(|| text.chars().next()).unwrap_or('\t')
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let Header { vendor, product, event, between, pairs } = header(line, envelope)?;
    let pairs: Vec<(&str, &str)> =
        pairs.split(between).take(128).filter_map(|pair| pair.trim().split_once('=')).collect();
    let first = |keys: &[&str]| {
        let value = |key: &&str| pairs.iter().find(|(name, value)| name == key && !value.is_empty());
        keys.iter().find_map(value).map_or("", |(_, value)| *value)
    };
    let priority = first(&["sev", "severity"]).parse().ok().and_then(of_ten);
    let class = first(&["cat"]);
    let mut record = begun(kind(priority, [event, "", class]), Format::Leef, envelope);
    record.time = time(first(&["devTime"])).or(record.time);
    record.sensor = clean(&format!("{vendor} {product}"), MAX_NAME);
    let host = first(&["identHostName", "devName"]);
    if !host.is_empty() {
        record.host = clean(host, MAX_NAME);
    }
    record.rule = clean(event, MAX_NAME);
    let message = first(&["msg", "eventName", "name", "policy"]);
    record.message = clean_message(if message.is_empty() { event } else { message });
    record.detail = clean(first(&["url", "resource"]), MAX_DETAIL);
    record.priority = priority;
    record.classification = clean_classification(class);
    record.protocol = clean_protocol(first(&["proto"]));
    record.source = end(first(&["src"]), port(first(&["srcPort"])));
    record.destination = end(first(&["dst"]), port(first(&["dstPort"])));
    record.account = clean(first(&["usrName", "accountName"]), MAX_NAME);
    record.file = clean(first(&["fileName", "filePath"]), MAX_COMMAND);
    record.verdict = verdict(first(&["action", "act"]));
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

/// Milliseconds or seconds since 1970, or `Jun 03 2026 12:59:31`.
fn time(text: &str) -> Option<Timestamp> {
    match text.split_at_checked(10) {
        Some((seconds, millis)) if millis.len() == 3 => {
            Timestamp::parse_epoch(&format!("{seconds}.{millis}"))
        }
        _ => Timestamp::parse_epoch(text).or_else(|| Timestamp::parse_prefix(text).map(|(time, _)| time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;

    #[test]
    fn both_versions_are_read() {
        for line in [
            "LEEF:1.0|Example|IPS|1.0|9900030|src=203.0.113.9\tsrcPort=51234\tdst=10.0.2.11\tdstPort=22\tproto=TCP\tsev=8\t\
             cat=bruteforce\tusrName=root x=1\tmsg=SSH guessing\tdevTime=Jun 03 2026 12:59:31",
            "LEEF:2.0|Example|IPS|1.0|9900030|^|src=203.0.113.9^srcPort=51234^dst=10.0.2.11^dstPort=22^proto=TCP^sev=8^\
             cat=bruteforce^usrName=root x=1^msg=SSH guessing^devTime=1780491571000",
            "LEEF:2.0|Example|IPS|1.0|9900030|0x09|src=203.0.113.9\tsrcPort=51234\tdst=10.0.2.11\tdstPort=22\tproto=TCP\t\
             sev=8\tcat=bruteforce\tusrName=root x=1\tmsg=SSH guessing\tdevTime=1780491571",
        ] {
            let record = read(line, &Envelope::default()).unwrap();
            assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
            assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
            assert_eq!(record.destination.unwrap().to_string(), "10.0.2.11:22");
            assert_eq!((record.account.as_str(), record.message.as_str()), ("root x=1", "SSH guessing"));
            assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        }
    }

    #[test]
    fn the_header_stands_at_the_beginning() {
        for line in ["x LEEF:1.0|a|b|c|d|", "LEEF:3.0|a|b|c|d|", "LEEF:1.0|a|b"] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
        let quiet = read("LEEF:1.0|a|b|c|login|src=10.0.0.1", &Envelope::default()).unwrap();
        assert_eq!((quiet.kind, quiet.priority, quiet.message.as_str()), (RecordKind::Log, None, "login"));
    }
}
