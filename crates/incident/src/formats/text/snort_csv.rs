//! Snort 3's `alert_csv`, by default
//!
//! `06/03-12:59:31.342001, 1, TCP, raw, 60, C2S, 203.0.113.9:51234, 10.0.2.11:22, 1:9900030:2, allow`
//!
//! and in other orders: the sensor declares its fields in its settings and writes no header, so that each field is told by
//! what it looks like. A message is quoted; what stands in one is never taken for another field.

use super::super::format::{Envelope, LineFormat};
use super::super::{
    Format, clean, clean_classification, clean_message, clean_protocol, endpoint, port, signature,
};
use super::csv::{Field, fields};
use super::{MAX_RAW, begun, may_be_from, priority, unquoted, verdict};
use crate::classification::AlertClass;
use crate::record::{Record, RecordKind};
use crate::{Endpoint, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::SnortCsv, recognises, read };

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    // The time is looked at first, so that other lines cost little.
    may_be_from(envelope, &["snort", "snort3"])
        && line.split(',').next().is_some_and(|first| time(first).is_some())
        && read(line, envelope).is_some()
}

fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    Timestamp::parse(text).or_else(|| Timestamp::parse_epoch(text).filter(|_| text.len() >= 9))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = fields(line);
    let (first, rest) = fields.split_first()?;
    let mut record = begun(RecordKind::Alert, Format::SnortCsv, envelope);
    record.time = Some(time(first.text)?);
    let is_plain = |field: &&Field<'_>| !field.is_quoted;
    if let Some(protocol) = rest.iter().filter(is_plain).find(|field| is_protocol(field.text)) {
        record.protocol = clean_protocol(protocol.text);
    }
    let mut ends = Vec::new();
    // A rule on an answer fires on a packet from the server; who acts is the client.
    let is_answer = rest.iter().filter(is_plain).any(|field| field.text == "S2C");
    for (at, field) in rest.iter().enumerate() {
        let next = rest.get(at + 1).map_or("", |field| field.text);
        if field.is_quoted {
            if record.message.is_empty() {
                record.message = clean_message(unquoted(field.text));
            }
        } else if let Some(rule) = rule(field.text).filter(|_| record.rule.is_empty()) {
            record.rule = rule;
        } else if let Some(end) = address(field.text, &record.protocol) {
            ends.push((end, port(next)));
        } else if AlertClass::find(field.text).is_some() || field.text == "none" {
            record.classification = clean_classification(field.text);
            record.priority = priority(next);
        } else {
            record.verdict = record.verdict.or_else(|| verdict(field.text));
        }
    }
    let mut ends = ends.into_iter();
    let (source, destination) = (ends.next()?, ends.next()?);
    // Numbers behind the addresses are ports if both have one and neither has one of its own.
    let are_ports = [&source, &destination].iter().all(|(end, next)| end.port.is_none() && next.is_some())
        && super::super::has_ports(&record.protocol);
    let end = |(end, next): (Endpoint, Option<u16>)| match next.filter(|_| are_ports) {
        Some(port) => Endpoint { port: Some(port), ..end },
        None => end,
    };
    let (source, destination) = if is_answer { (destination, source) } else { (source, destination) };
    (record.source, record.destination) = (Some(end(source)), Some(end(destination)));
    record.raw = clean(line, MAX_RAW);
    (!record.rule.is_empty() || !record.message.is_empty()).then_some(record)
}

fn is_protocol(text: &str) -> bool {
    matches!(text, "TCP" | "UDP" | "ICMP" | "ICMP4" | "ICMP6" | "IP" | "IP4" | "IP6" | "ARP" | "SCTP")
}

/// `1:9900030:2`.
fn rule(text: &str) -> Option<String> {
    let bracketed = format!("[{}]", text.get(..32).unwrap_or(text));
    let (signature, rest) = signature(&bracketed)?;
    rest.is_empty().then(|| signature.to_string())
}

/// An IP address, with a port or without.
fn address(text: &str, protocol: &str) -> Option<Endpoint> {
    let is_like_one = text.contains(['.', ':']);
    let end = is_like_one.then(|| endpoint(text, protocol)).flatten()?;
    end.ip().is_some().then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    fn parse(line: &str) -> Option<Record> {
        let envelope = Envelope::default();
        recognises(line, &envelope).then(|| read(line, &envelope)).flatten()
    }

    #[test]
    fn the_default_fields_are_read() {
        let alert = parse(
            "06/03-12:59:31.342001, 1, TCP, raw, 60, C2S, 203.0.113.9:51234, 10.0.2.11:22, 1:9900030:2, allow\r",
        )
        .unwrap();
        assert_eq!((alert.rule.as_str(), alert.protocol.as_str()), ("1:9900030:2", "TCP"));
        assert_eq!((alert.priority, alert.verdict), (None, Some(SensorVerdict::Allowed)));
        assert_eq!(alert.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!(alert.time.unwrap().to_string(), "06-03T12:59:31.342001");
    }

    #[test]
    fn declared_orders_are_read() {
        let alert = parse(
            "06/03/26-12:59:31.342001, block, Attempted Administrator Privilege Gain, 1, \"a, 10.0.9.9:1 [1:2:3]\", \
             2001:db8::9, 51234, 2001:db8::11, 22, 1:5:6, TCP",
        )
        .unwrap();
        assert_eq!((alert.rule.as_str(), alert.message.as_str()), ("1:5:6", "a, 10.0.9.9:1 [1:2:3]"));
        assert_eq!((alert.priority, alert.verdict), (Some(1), Some(SensorVerdict::Blocked)));
        assert_eq!(alert.source.unwrap().to_string(), "[2001:db8::9]:51234");
        assert_eq!(alert.destination.unwrap().to_string(), "[2001:db8::11]:22");
    }

    #[test]
    fn lists_of_other_kinds_are_left_alone() {
        for line in [
            "06/03-12:59:31.342001, 10.0.0.1, 10.0.0.2",
            "06/03-12:59:31.342001, \"m\", 1:2:3",
            "203.0.113.9, 10.0.2.11, 1:9900030:2",
            "2026-06-03 12:59:31 shop took 3, 4",
            "",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
