//! Lines of `key=value` pairs, which many services, firewalls and exports write without a form of their own: `level=warn msg="login
//! failed" user=bob src=10.0.2.20`, `AUTH success user=bob host=web01`.
//!
//! At most two words stand before the first pair, which says what kind of record it is. Of a key that comes twice the first counts:
//! services put what others may choose last.

use std::collections::HashMap;

use super::super::format::{Envelope, LineFormat};
use super::super::json::severity;
use super::super::{Format, clean, clean_message, clean_protocol, port};
use super::pairs::pairs;
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, blanks, end, verdict};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

/// Most words before the first pair.
const MAX_WORDS: usize = 2;
/// Most pairs that are read.
const MAX_PAIRS: usize = 64;

const SOURCE: [&str; 13] = [
    "src_ip",
    "src",
    "source_ip",
    "source",
    "srcip",
    "saddr",
    "client_ip",
    "client",
    "remote_addr",
    "remote_ip",
    "src_host",
    "source_host",
    "srchost",
];
const DESTINATION: [&str; 14] = [
    "dst_ip",
    "dst",
    "dest_ip",
    "dest",
    "destination",
    "dstip",
    "daddr",
    "server_ip",
    "server",
    "dst_host",
    "dest_host",
    "dsthost",
    "dst_domain",
    "dest_domain",
];
const SOURCE_PORT: [&str; 4] = ["src_port", "spt", "srcport", "sport"];
const DESTINATION_PORT: [&str; 5] = ["dst_port", "dpt", "dstport", "dport", "dest_port"];
const HOST: [&str; 4] = ["host", "hostname", "computer", "device"];
const ACCOUNT: [&str; 5] = ["user", "username", "account", "acct", "login"];
const PROCESS: [&str; 5] = ["cmd", "command", "cmdline", "process", "exe"];
const MESSAGE: [&str; 5] = ["msg", "message", "signature", "rule", "event"];
const TIME: [&str; 4] = ["time", "ts", "timestamp", "datetime"];
const SEVERITY: [&str; 3] = ["severity", "priority", "level"];
/// Keys that tell what kind of record it is, where no word does.
const KIND: [&str; 4] = ["event_type", "type", "table", "kind"];

/// Keys of a mail's record.
const MAIL: [&str; 5] = ["from", "to", "sender", "recipient", "subject"];

/// Words of records about what passed, and of those that say that something is wrong.
const PASSED: [&str; 8] = ["netflow", "flow", "dns", "http", "tls", "conn", "traffic", "session"];
const ALERTS: [&str; 4] = ["alert", "detection", "threat", "ids"];

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::Logfmt, recognises, read };

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    // What a program says behind syslog's header is syslog's.
    if !envelope.program.is_empty() {
        return false;
    }
    let mut words = line.split_whitespace();
    let first = words.by_ref().take(MAX_WORDS + 1).find(|word| key(word).is_some());
    let Some(first) = first.and_then(key) else { return false };
    let next = words.next().and_then(key);
    let is_known = |key: &str| {
        [&SOURCE[..], &DESTINATION, &HOST, &ACCOUNT, &MESSAGE, &TIME, &SEVERITY, &KIND, &MAIL]
            .iter()
            .any(|keys| keys.contains(&key))
    };
    // A quoted value may hold blanks, so that the second pair is not seen.
    let is_quoted = line.contains("=\"");
    is_known(first) && (next.is_some() || is_quoted) || next.is_some_and(is_known)
}

/// The key of a pair.
fn key(word: &str) -> Option<&str> {
    let (key, _) = word.split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(is_name)).then_some(key)
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let line = &*blanks(line);
    let mut found: HashMap<&str, &str> = HashMap::new();
    for pair in pairs(line).take(MAX_PAIRS).filter(|pair| !pair.value.is_empty()) {
        found.entry(pair.key).or_insert(pair.value);
    }
    // A message that is nothing but pairs is the record's own: `message="user=bob src_ip=203.0.113.9"`.
    let message = MESSAGE.iter().find_map(|key| found.get(key)).copied().unwrap_or_default();
    if message.split_whitespace().all(|word| key(word).is_some()) {
        for pair in pairs(message).take(MAX_PAIRS).filter(|pair| !pair.value.is_empty()) {
            found.entry(pair.key).or_insert(pair.value);
        }
    }
    let first = |keys: &[&str]| keys.iter().find_map(|key| found.get(key)).copied().unwrap_or_default();
    let word = line.split_whitespace().next().filter(|word| !word.contains('=')).unwrap_or_default();
    let kinds = [word, first(&KIND)].map(str::to_ascii_lowercase);
    let is = |words: &[&str]| kinds.iter().any(|kind| words.contains(&kind.as_str()));
    let kind = match () {
        () if is(&ALERTS) => RecordKind::Alert,
        () if is(&PASSED) => RecordKind::Telemetry,
        () => RecordKind::Log,
    };
    let mut record = begun(kind, Format::Logfmt, envelope);
    record.time = Timestamp::parse(first(&TIME)).or(Timestamp::parse(word)).or(record.time);
    record.host = clean(first(&HOST), MAX_NAME);
    record.account = clean(first(&ACCOUNT), MAX_NAME);
    record.process = clean(first(&PROCESS), MAX_COMMAND);
    record.source = end(first(&SOURCE), port(first(&SOURCE_PORT)));
    record.destination = end(first(&DESTINATION), port(first(&DESTINATION_PORT)));
    record.protocol = clean_protocol(first(&["proto", "protocol"]));
    record.verdict = verdict(first(&["action", "verdict"]));
    record.message = clean_message(match (kind, first(&KIND)) {
        (RecordKind::Alert, named) if !named.is_empty() && (message.is_empty() || key(message).is_some()) => {
            named
        }
        (RecordKind::Alert, _) if !message.is_empty() => message,
        _ => line,
    });
    if kind == RecordKind::Alert {
        // Numbers mean different things to different products, and are unset.
        record.priority = severity(first(&SEVERITY));
        record.raw = clean(line, MAX_RAW);
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        assert!(recognises(line, &Envelope::default()), "{line}");
        read(line, &Envelope::default()).unwrap()
    }

    #[test]
    fn pairs_are_read_by_their_keys() {
        let record =
            parse("AUTH failure user=bob host=web01 src_ip=203.0.113.9 src_port=51234 method=password");
        assert_eq!(
            (record.kind, record.account.as_str(), record.host.as_str()),
            (RecordKind::Log, "bob", "web01")
        );
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert!(record.message.starts_with("AUTH failure user=bob"));
        let record = parse(
            "ALERT type=suspicious_login severity=medium message=\"Login of bob from abroad\" user=bob",
        );
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(2)));
        assert_eq!((record.message.as_str(), record.account.as_str()), ("Login of bob from abroad", "bob"));
        let record = parse("NETFLOW src=h-001 dst=h-002 proto=ssh bytes=1031");
        assert_eq!((record.kind, record.protocol.as_str()), (RecordKind::Telemetry, "SSH"));
        let record = parse("time=2026-06-03T12:59:31Z level=warn msg=\"disk full\" host=db01");
        assert_eq!((record.kind, record.time.unwrap().date()), (RecordKind::Log, "2026-06-03".to_owned()));
    }

    #[test]
    fn a_message_of_pairs_is_gone_into_and_one_of_words_is_not() {
        let record = parse(
            "ALERT type=exfil_attempt severity=critical message=\"dst_domain=files.example src_host=db01\"",
        );
        assert_eq!(record.message, "exfil_attempt");
        let ends = [record.source, record.destination].map(|end| end.unwrap().address);
        assert_eq!(ends, ["db01", "files.example"]);
        let record = parse(
            "ALERT type=suspicious_login message=\"Isolate dc01. \"Now\" means \"now\". user=root src_ip=10.0.0.1\"",
        );
        assert_eq!((record.source, record.account.as_str()), (None, ""));
        assert!(
            parse("EMAIL id=7 from=a@shop.example to=b@corp.example subject=\"Your bill\"").kind
                == RecordKind::Log
        );
    }

    #[test]
    fn a_key_that_comes_again_changes_nothing() {
        let record = parse("AUTH success user=bob host=web01 agent=\"x user=root\" user=root host=dc01");
        assert_eq!((record.account.as_str(), record.host.as_str()), ("bob", "web01"));
    }

    #[test]
    fn prose_and_other_forms_are_none() {
        let envelope = Envelope::default();
        for line in [
            "the pump in hall 3 was serviced",
            "a=1 b=2",
            "application said: [pri=1 cls=x] {TCP} 10.0.2.20:1 -> 10.0.2.21:445 x",
            "this is a line with user=bob host=web01 behind",
            "GET /?user=bob&host=web01 HTTP/1.1",
            "user=bob",
            "",
        ] {
            assert!(!recognises(line, &envelope), "{line}");
        }
        assert!(!recognises("user=bob host=web01", &Envelope { program: "shop", ..envelope }));
    }
}
