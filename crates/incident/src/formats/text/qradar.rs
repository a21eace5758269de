//! What IBM QRadar sends to syslog by itself: a rule that fired, `Rule 'X' Fired: 203.0.113.9:51234 -> 10.0.2.11:22 6, Event Name: …`, and
//! offenses as pairs, `offense_id=7 description="…" offense_source=…` or `Offense ID: 7, Description: …`. What an offense's fields mean is
//! said once, for its objects.

use serde_json::Value;

use super::super::format::{Envelope, LineFormat, Object};
use super::super::json::qradar_offense;
use super::super::{Format, MAX_DETAIL, clean, clean_message, clean_protocol, endpoints};
use super::pairs::pairs;
use super::{MAX_NAME, MAX_RAW, begun, may_be_from, protocol_of};
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Detections,
    recognises: |line, envelope| {
        may_be_from(envelope, &PROGRAMS) && (fired(line).is_some() || offense(line).is_some())
    },
    read,
};

/// What QRadar calls itself in a header.
const PROGRAMS: [&str; 8] = ["ECS", "ECS-CRE", "ecs-ep", "ecs-ec", "qradar", "QRadar", "offense", "Offense"];
/// Most words before an offense's first pair, and most pairs.
const MAX_WORDS: usize = 3;
const MAX_PAIRS: usize = 64;

/// A rule's name, and what stands behind it.
fn fired(line: &str) -> Option<(&str, &str)> {
    line.trim_start().strip_prefix("Rule '")?.split_once("' Fired: ")
}

/// The pairs of an offense, whose number comes first.
fn offense(line: &str) -> Option<Object> {
    let is_number = |key: &str| {
        let bare = key.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase());
        bare.eq(*b"offenseid")
    };
    let (first, _) = line
        .split_once('=')
        .filter(|(before, _)| before.split_whitespace().count() <= MAX_WORDS + 1)
        .or_else(|| line.split_once(':'))?;
    let key = first.rsplit([' ', ':']).next().unwrap_or_default();
    let mut object = Object::new();
    if is_number(key) {
        for pair in pairs(line).take(MAX_PAIRS) {
            object.entry(pair.key).or_insert_with(|| Value::from(pair.value));
        }
    } else if is_number(first) {
        let mut last: Option<String> = None;
        for part in line.split([',', '|', ';']).take(MAX_PAIRS) {
            match part.split_once(": ").filter(|(key, _)| is_key(key)) {
                Some((key, value)) => {
                    last = Some(key.trim().to_owned());
                    object.entry(key.trim()).or_insert_with(|| Value::from(value.trim()));
                }
                // A value may hold what parts the pairs.
                None => {
                    if let Some(Value::String(value)) = last.as_ref().and_then(|key| object.get_mut(key)) {
                        value.push_str(", ");
                        value.push_str(part.trim());
                    }
                }
            }
        }
    }
    (!object.is_empty()).then_some(object)
}

/// `Offense Source`.
fn is_key(text: &str) -> bool {
    let text = text.trim();
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphabetic() || b" _".contains(&byte))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let Some((rule, rest)) = fired(line) else {
        let mut record = qradar_offense(&offense(line)?, envelope)?;
        record.raw = clean(line, MAX_RAW);
        return Some(record);
    };
    let mut record = begun(RecordKind::Alert, Format::Detections, envelope);
    record.sensor = "IBM QRadar".to_owned();
    record.rule = clean(rule, MAX_NAME);
    let (traffic, facts) = rest.split_once(", Event Name: ").unwrap_or((rest, ""));
    if let Some((source, destination, protocol)) = endpoints(traffic, "") {
        (record.source, record.destination) = (source, destination);
        record.protocol = clean_protocol(protocol_of(protocol.trim()));
    }
    let event = facts.split(", QID: ").next().unwrap_or_default();
    let said = if event.is_empty() { rule.to_owned() } else { format!("{rule}: {event}") };
    record.message = clean_message(&said);
    let notes = facts.split_once(", Notes: ").map_or("", |(_, notes)| notes);
    record.detail = clean(notes, MAX_DETAIL);
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, program: &str) -> Record {
        let envelope = Envelope { program, host: "qradar01", time: None };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    #[test]
    fn a_rule_that_fired_is_an_alert_with_both_ends() {
        let found = parse(
            "Rule 'Local SSH Scanner' Fired: 203.0.113.9:12642 -> 10.0.2.11:22 6, Event Name: SCAN SYN FIN, QID: 1000398, Category: 1011, Notes: a scan",
            "ECS",
        );
        assert_eq!((found.kind, found.rule.as_str()), (RecordKind::Alert, "Local SSH Scanner"));
        assert_eq!(
            (found.message.as_str(), found.detail.as_str()),
            ("Local SSH Scanner: SCAN SYN FIN", "a scan")
        );
        assert_eq!((found.protocol.as_str(), found.host.as_str()), ("TCP", "qradar01"));
        let ends = [found.source, found.destination].map(|end| end.unwrap().to_string());
        assert_eq!(ends, ["203.0.113.9:12642", "10.0.2.11:22"]);
    }

    #[test]
    fn an_offense_is_read_from_either_kind_of_pairs() {
        for line in [
            "offense_id=7 description=\"Many failures, and a login\" offense_type=\"Source IP\" offense_source=203.0.113.9 magnitude=7 status=OPEN start_time=1780491571342",
            "QRadar offense: offense_id=7 description=\"Many failures, and a login\" offense_type=\"Source IP\" offense_source=203.0.113.9 magnitude=7 start_time=1780491571342",
            "Offense ID: 7, Description: Many failures, and a login, Offense Type: Source IP, Offense Source: 203.0.113.9, Magnitude: 7, Start Time: 1780491571342",
        ] {
            let found = parse(line, "");
            assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)), "{line}");
            assert_eq!(found.message, "Many failures, and a login");
            assert_eq!(found.source.unwrap().address, "203.0.113.9");
            assert_eq!(found.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        }
    }

    #[test]
    fn lines_of_others_are_none() {
        for line in ["Rule 'x' fired", "id=7 offense_id=7", "user=offense_id=7", "Rules: offense", ""] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
        let other = Envelope { program: "shop", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("offense_id=7 description=x", &other));
    }
}
