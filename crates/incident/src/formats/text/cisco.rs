//! Firewalls of Cisco: `%ASA-4-106023: Deny tcp src outside:203.0.113.9/51234 dst inside:10.0.2.11/22 by access-group "x"`.
//!
//! Connections that were built and torn down are telemetry, everything else is the firewall's log. The level is how the
//! device ranks the kind of message and says nothing about an attack, so that the priority is unset.

use std::net::IpAddr;

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean, clean_message, clean_protocol, port};
use super::{MAX_NAME, MAX_RAW, begun, end, program, verdict};
use crate::Endpoint;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Syslog,
    recognises: |_, envelope| message_id(program(envelope)).is_some(),
    read,
};

/// `106023` of `%ASA-4-106023`.
fn message_id(program: &str) -> Option<&str> {
    let mut parts = program.strip_prefix('%')?.split('-');
    let (product, level, id) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (matches!(product, "ASA" | "FTD" | "PIX" | "FWSM") && is_number(level) && is_number(id)).then_some(id)
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let id = message_id(program(envelope))?;
    let is_connection = id.starts_with("3020");
    let kind = if is_connection { RecordKind::Telemetry } else { RecordKind::Log };
    let mut record = begun(kind, Format::Syslog, envelope);
    record.sensor = "Cisco ASA".to_owned();
    record.rule = clean(id, MAX_NAME);
    record.message = clean_message(line);
    let words: Vec<&str> = line.split_whitespace().take(64).collect();
    let mut ends = words.iter().filter_map(|word| address(word));
    (record.source, record.destination) = (ends.next(), ends.next());
    // The outer end is named first, whoever began.
    if line.starts_with("Built outbound") {
        std::mem::swap(&mut record.source, &mut record.destination);
    }
    let is_protocol =
        |word: &&&str| matches!(word.to_ascii_lowercase().as_str(), "tcp" | "udp" | "icmp" | "sctp");
    record.protocol = clean_protocol(words.iter().find(is_protocol).map_or("", |word| *word));
    record.verdict = words.iter().take(6).find_map(|word| verdict(word));
    let account = line.split_once("for user \"").and_then(|(_, rest)| rest.split('"').next());
    record.account = clean(account.unwrap_or_default(), MAX_NAME);
    if let (Some(source), Some(destination)) = (&record.source, &record.destination)
        && (is_connection || record.verdict.is_some())
    {
        let what: String = words
            .iter()
            .take_while(|word| !word.bytes().any(|byte| byte.is_ascii_digit()))
            .fold(String::new(), |mut out, word| {
                out.push_str(word);
                out.push(' ');
                out
            });
        record.raw = clean(line, MAX_RAW);
        record.message = clean_message(&format!("{what}{} -> {destination}", source.address));
    }
    Some(record)
}

/// `outside:203.0.113.9/51234`, `203.0.113.9/51234` or `203.0.113.9`. What is repeated in brackets, after translation, is left out.
fn address(word: &str) -> Option<Endpoint> {
    let word = word.trim_end_matches([',', '.', ';']);
    let (address, number) =
        word.split_once('/').map_or((word, None), |(address, number)| (address, port(number)));
    let bare = match address.parse::<IpAddr>() {
        Ok(_) => address,
        Err(_) => address.split_once(':')?.1,
    };
    bare.parse::<IpAddr>().is_ok().then(|| end(bare, number)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "fw", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope));
        read(line, &envelope).unwrap()
    }

    #[test]
    fn both_ends_are_read() {
        let record = parse(
            "%ASA-4-106023",
            "Deny tcp src outside:203.0.113.9/51234 dst inside:10.0.2.11/22 by access-group \"x\" [0x0, 0x0]",
        );
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(record.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!((record.kind, record.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(record.message, "Deny tcp src 203.0.113.9 -> 10.0.2.11:22");
        let record = parse(
            "%ASA-6-302013",
            "Built outbound TCP connection 12 for outside:203.0.113.9/443 (203.0.113.9/443) to inside:10.0.2.11/51234 (10.0.2.11/51234)",
        );
        assert_eq!(record.destination.unwrap().to_string(), "203.0.113.9:443");
        assert_eq!(
            (record.kind, record.message.as_str()),
            (RecordKind::Telemetry, "Built outbound TCP connection 10.0.2.11 -> 203.0.113.9:443")
        );
        let record = parse(
            "%FTD-6-605005",
            "Login permitted from 10.0.3.17/5 to inside:10.0.2.1/ssh for user \"bob\"",
        );
        assert_eq!((record.account.as_str(), record.protocol.as_str()), ("bob", ""));
        assert_eq!(record.destination.unwrap().address, "10.0.2.1");
        assert!(message_id("%OTHER-4-1").is_none() && message_id("ASA-4-1").is_none());
    }
}
