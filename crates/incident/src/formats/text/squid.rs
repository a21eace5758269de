//! Squid's native access log: what clients inside fetched through the proxy.
//!
//! `1780491571.342    120 10.0.3.17 TCP_MISS/200 10182 GET http://www.example.com/ bob HIER_DIRECT/203.0.113.9 text/html`
//!
//! What was fetched is telemetry, what the proxy denied a log.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_message};
use super::{MAX_NAME, MAX_RAW, begun, end, may_be_from};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Squid,
    recognises: |line, envelope| {
        may_be_from(envelope, &["squid", "(squid-1)", "squid-1"]) && parts(line).is_some()
    },
    read,
};

struct Parts<'a> {
    time: Timestamp,
    client: &'a str,
    result: &'a str,
    status: &'a str,
    method: &'a str,
    url: &'a str,
    account: &'a str,
    peer: &'a str,
}

fn parts(line: &str) -> Option<Parts<'_>> {
    let mut words = line.split_whitespace();
    let mut next = || words.next();
    let (time, took, client, answer, size, method) = (next()?, next()?, next()?, next()?, next()?, next()?);
    // An address with blanks in it moves nothing: what stands behind it is read from the end.
    let mut last = line.trim_end().rsplitn(4, char::is_whitespace);
    let (_kind, peer, account, rest) = (last.next()?, last.next()?, last.next()?, last.next()?);
    let url = rest.split_once(method)?.1.trim();
    let is_number = |text: &str| text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    let (result, status) = answer.split_once('/')?;
    let is_squids = (result.contains('_') || result == "NONE")
        && result.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        && [took, size, status].iter().all(|text| is_number(text))
        && time.contains('.')
        && peer.contains('/');
    let time = Timestamp::parse_epoch(time)?;
    is_squids.then_some(Parts { time, client, result, status, method, url, account, peer })
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let Parts { time, client, result, status, method, url, account, peer } = parts(line)?;
    let is_denied = result.contains("DENIED");
    let kind = if is_denied { RecordKind::Log } else { RecordKind::Telemetry };
    let mut record = begun(kind, Format::Squid, envelope);
    record.sensor = "squid".to_owned();
    record.time = Some(time);
    record.verdict = is_denied.then_some(SensorVerdict::Blocked);
    record.source = end(client, None);
    // Behind the slash stands whom the proxy asked: the site, or another proxy.
    record.destination = peer.split_once('/').and_then(|(_, address)| end(address, None));
    record.account = clean(if account == "-" { "" } else { account }, MAX_NAME);
    record.detail = clean(&format!("{method} {url}"), MAX_DETAIL);
    record.message = clean_message(&format!("{client} - {account} \"{method} {url}\" {status} {result}"));
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_clients_are_telemetry_unless_they_are_denied() {
        let line = "1780491571.342    120 10.0.3.17 TCP_MISS/200 10182 GET http://www.example.com/ bob HIER_DIRECT/203.0.113.9 text/html";
        assert!((FORMAT.recognises)(line, &Envelope::default()));
        let record = read(line, &Envelope::default()).unwrap();
        assert_eq!((record.kind, record.account.as_str()), (RecordKind::Telemetry, "bob"));
        assert_eq!(record.message, "10.0.3.17 - bob \"GET http://www.example.com/\" 200 TCP_MISS");
        assert_eq!(record.destination.unwrap().address, "203.0.113.9");
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let line = "1780491571.342 0 10.0.3.17 TCP_DENIED/403 0 CONNECT bad.example:443 - HIER_NONE/- -";
        let record = read(line, &Envelope::default()).unwrap();
        assert_eq!(
            (record.kind, record.verdict, record.destination),
            (RecordKind::Log, Some(SensorVerdict::Blocked), None)
        );
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "1780491571.342 120 10.0.3.17 miss/200 1 GET http://x/ - a/b",
            "1780491571 120 10.0.3.17 TCP_MISS/200 1 GET http://x/ - a/b",
            "yesterday 120 10.0.3.17 TCP_MISS/200 1 GET http://x/ - a/b",
            "1780491571.342 120 10.0.3.17 TCP_MISS/200",
            "",
        ] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
        let shop = Envelope { program: "shop", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("1780491571.342 1 10.0.3.17 TCP_MISS/200 1 GET http://x/ - a/b", &shop));
    }
}
