//! Snort 3's `alert_json`, with the fields that its default writes or any others.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, told, verdict};
use crate::record::{RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

/// See the module.
pub(crate) const SNORT_JSON: ObjectFormat = ObjectFormat { format: Format::SnortJson, recognises, read };

fn recognises(object: &Object) -> bool {
    // The plugin writes numbers and strings under names of its own; one of each group is enough for an alert.
    let has = |key: &&str| object.get(*key).is_some_and(|value| value.is_string() || value.is_number());
    ["msg", "rule", "sid"].iter().any(has)
        && ["src_ap", "dst_ap", "src_addr", "dst_addr", "pkt_gen", "pkt_num"].iter().any(has)
        && !["event_type", "ts", "_path", "output", "@timestamp_ns"]
            .iter()
            .any(|key| object.contains_key(*key))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    let number = |key: &str| alert.number(key);
    let rule = alert.text("rule").or_else(|| {
        let sid = number("sid")?;
        Some(Cow::Owned(format!("{}:{sid}:{}", number("gid").unwrap_or(1), number("rev").unwrap_or(0))))
    });
    let rule = rule.unwrap_or_default();
    let protocol = alert.text("proto").unwrap_or_default();
    let message = alert.text("msg").unwrap_or_else(|| Cow::Owned(format!("rule {rule}")));
    let end = |pair: &str, address: &str, port: &str| {
        let whole = alert.text(pair).and_then(|text| endpoint(&text, &protocol));
        whole.or_else(|| alert.end(&[address], &[port]))
    };
    let packet = (end("src_ap", "src_addr", "src_port"), end("dst_ap", "dst_addr", "dst_port"));
    // A rule on an answer fires on a packet from the server; who acts is the client.
    let (source, destination) = match alert.string("dir") {
        Some("S2C") => (packet.1, packet.0),
        _ => packet,
    };
    Some(
        Draft {
            kind: RecordKind::Alert,
            time: time(alert),
            sensor: Cow::Borrowed("snort"),
            source,
            destination,
            priority: number("priority")
                .filter(|found| *found > 0)
                .and_then(|found| u8::try_from(found.min(4)).ok()),
            classification: alert.text("class").unwrap_or_default(),
            verdict: alert.text("action").and_then(|word| action(&word)),
            detail: Cow::Owned(listed([told(
                "service",
                alert.text("service").filter(|name| name != "unknown"),
            )])),
            message,
            rule,
            protocol: protocol.clone(),
            ..Draft::default()
        }
        .finish(Format::SnortJson, object, envelope),
    )
}

/// `would_drop` and `cant_drop` let it pass.
fn action(word: &str) -> Option<SensorVerdict> {
    let passes = ["would_", "cant_"].iter().any(|beginning| word.starts_with(beginning));
    if passes { Some(SensorVerdict::Allowed) } else { verdict(word) }
}

/// The plugin leaves out the year where Snort is not told to show it (`-y`), and writes the sensor's own hour. `seconds` are
/// UTC but lack the fraction: together they make a whole time.
fn time(alert: Fields<'_>) -> Option<Timestamp> {
    let (shown, dated) = (alert.time(&["timestamp"]), alert.time(&["seconds"]));
    let (Some(shown), Some(dated)) = (shown, dated) else { return shown.or(dated) };
    let Some(year) = dated.year().filter(|_| shown.year().is_none()) else { return Some(shown) };
    let minutes = |time: Timestamp| time.clock().split_off(3);
    if minutes(shown) == minutes(dated) {
        return Timestamp::parse(&format!("{}T{}.{:06}", dated.date(), dated.clock(), shown.micro()));
    }
    let year = match (shown.month(), dated.month()) {
        (12, 1) => year.checked_sub(1)?,
        (1, 12) => year.checked_add(1)?,
        _ => year,
    };
    Timestamp::parse(&format!("{year:04}-{}T{}.{:06}", shown.date(), shown.clock(), shown.micro()))
        .or(Some(shown))
}

/// `203.0.113.9:51234`, with port 0 for a protocol without ports.
fn endpoint(text: &str, protocol: &str) -> Option<Endpoint> {
    let end = super::super::endpoint(text, protocol)?;
    fields::is_name(&end.address).then(|| fields::end(&end.address, end.port.filter(|port| *port != 0)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const FULL: &str = r#"{ "seconds" : 1780491571, "action" : "drop", "class" : "Attempted Administrator Privilege Gain", "dst_addr" : "10.0.2.11", "dst_ap" : "10.0.2.11:22", "gid" : 1, "msg" : "LOCAL SSH logins", "pkt_num" : 8, "priority" : 1, "proto" : "TCP", "rev" : 2, "rule" : "1:9900030:2", "service" : "ssh", "sid" : 9900030, "src_addr" : "203.0.113.9", "src_ap" : "203.0.113.9:51234", "timestamp" : "06/03-12:59:31.342001" }"#;

    #[test]
    fn all_fields_are_read() {
        let record = record(FULL);
        assert_eq!(record.message, "LOCAL SSH logins");
        assert_eq!(record.rule, "1:9900030:2");
        assert_eq!((record.priority, record.protocol.as_str()), (Some(1), "TCP"));
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", Some(51234))));
        assert_eq!(record.destination, Some(Endpoint::new("10.0.2.11", Some(22))));
        assert_eq!(record.verdict, Some(SensorVerdict::Blocked));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
    }

    #[test]
    fn the_default_fields_are_enough() {
        let record = record(
            r#"{ "timestamp" : "06/03-12:59:31.342001", "pkt_num" : 1, "proto" : "ICMP", "pkt_gen" : "raw", "pkt_len" : 60, "dir" : "C2S", "src_ap" : "203.0.113.9:0", "dst_ap" : "2001:db8::11:0", "rule" : "1:9900030:2", "action" : "allow" }"#,
        );
        assert_eq!(record.message, "rule 1:9900030:2");
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, None));
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(record.time.unwrap().to_string(), "06-03T12:59:31.342001");
    }

    #[test]
    fn what_would_have_been_dropped_passed() {
        let verdict = |word: &str| changed(FULL, &[("action", word.into())]).verdict;
        assert_eq!([verdict("would_drop"), verdict("allow")], [Some(SensorVerdict::Allowed); 2]);
        assert_eq!([verdict("block"), verdict("reset")], [Some(SensorVerdict::Blocked); 2]);
    }

    #[test]
    fn a_time_without_a_year_gets_it_from_the_seconds() {
        let time = |shown: &str| changed(FULL, &[("timestamp", shown.into())]).time.unwrap().to_string();
        assert_eq!(time("06/03-14:59:31.5"), "2026-06-03T12:59:31.500000", "the sensor's hour is not UTC");
        assert_eq!(time("06/03-12:59:32.5"), "2026-06-03T12:59:32.500000");
        assert_eq!(time("06/03/25-12:59:32.5"), "2025-06-03T12:59:32.500000");
    }

    #[test]
    fn priority_0_and_the_class_none_are_unset() {
        let record = changed(FULL, &[("priority", 0.into()), ("class", "none".into())]);
        assert_eq!((record.priority, record.classification.as_str()), (None, ""));
    }
}
