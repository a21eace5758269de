//! What is rendered is read back as the same record.

use proptest::prelude::*;

use super::super::format::Offered;
use super::*;
use crate::{AlertFormat, Repeats, Timestamp};

/// Alerts with all that the forms of lines hold. Names of classes and messages are words, as rules have them, with marks of
/// other forms among them.
fn alert() -> impl Strategy<Value = Record> {
    let words = "[A-Za-z][A-Za-z0-9 ./_-]{0,30}[a-z]";
    let message = prop_oneof![
        Just("user [**] x".to_owned()),
        Just("a [pri=1 cls=x] {TCP} b".to_owned()),
        Just("a [Classification: x] b".to_owned()),
        Just("-> 10.0.0.1".to_owned()),
        words.prop_map(String::from),
    ];
    let end = (0..4_usize, 1_u16..).prop_map(|(at, port)| {
        const ADDRESSES: [&str; 4] = ["203.0.113.9", "10.0.2.11", "2001:db8::9", "server_ssh"];
        Endpoint::new(ADDRESSES[at], Some(port))
    });
    let time = (prop::option::of(2000_u16..2100), 1_u8..=12, 1_u8..=28, 0_u8..24, 0_u32..1_000_000)
        .prop_map(|(year, month, day, hour, micro)| Timestamp::new(year, month, day, (hour, 59, 31), micro));
    (
        time,
        message,
        prop::option::of(words),
        prop::option::of(1_u8..=4),
        (end.clone(), end),
        any::<[u16; 3]>(),
    )
        .prop_map(|(time, message, class, priority, (source, destination), [gid, sid, rev])| Record {
            kind: RecordKind::Alert,
            time,
            message: message.trim().to_owned(),
            rule: format!("{gid}:{sid}:{rev}"),
            priority,
            classification: class.unwrap_or_default().trim().to_owned(),
            protocol: "TCP".to_owned(),
            source: Some(source),
            destination: Some(destination),
            repeats: Repeats::default(),
            ..Record::default()
        })
}

/// The record without what it was read from.
fn bare(record: Record) -> Record {
    Record { format: Format::Unknown, raw: String::new(), ..record }
}

proptest! {
    #[test]
    fn lines_are_read_back(alert in alert()) {
        for (form, format) in [(AlertFormat::SnortFast, &snort_fast::FORMAT), (AlertFormat::Bracketed, &bracketed::FORMAT)] {
            let line = alert.render(form);
            let envelope = Envelope::default();
            let first = LINES.iter().find(|format| (format.recognises)(&line, &envelope)).map(|format| format.format);
            prop_assert_eq!(first, Some(format.format), "{}", line);
            let read = (format.read)(&line, &envelope).unwrap();
            prop_assert_eq!(bare(read), alert.clone(), "{}", line);
        }
    }

    #[test]
    fn the_full_form_is_read_back(alerts in prop::collection::vec(alert(), 1..4)) {
        let text: String = alerts.iter().map(|alert| alert.render(AlertFormat::SnortFull) + "\n\n").collect();
        let mut reader = (snort_full::FORMAT.start)();
        let mut read = Vec::new();
        for line in text.lines() {
            match reader.offer(line) {
                Offered::Taken(record) => read.extend(record.map(|record| bare(*record))),
                Offered::NotMine(record) => prop_assert!(line.is_empty() && record.is_none(), "{}", line),
            }
        }
        read.extend(reader.end().map(bare));
        prop_assert_eq!(read, alerts);
    }
}
