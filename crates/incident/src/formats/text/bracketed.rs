//! The project's own form, `[pri=2 cls=Misc activity] {TCP} a:1 -> b:2 [gid:sid:rev] message`, bare or behind what a
//! logging library writes: `2026-06-03 12:59:31,342 [    INFO] Alert: `. A detail may stand behind the message as
//! ` [detail: …]`.
//!
//! Counts are not read from text: a line stands for one alert.

use super::super::format::{Envelope, LineFormat};
use super::super::{
    Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, endpoints, signature,
};
use super::{MAX_RAW, begun, may_be_from, priority, unquoted};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::Bracketed, recognises, read };

/// Levels of logging libraries.
const LEVELS: [&str; 8] = ["DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "CRITICAL", "ALERT"];

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    may_be_from(envelope, &["snort", "suricata", "Alert", "alert"]) && opened(line).is_some()
}

/// The time, and what stands behind `[pri=`.
fn opened(line: &str) -> Option<(Option<Timestamp>, &str)> {
    let (time, rest) = match Timestamp::parse_prefix(line) {
        Some((time, rest)) => (Some(time), rest),
        None => (None, line),
    };
    let rest = rest.trim_start();
    let rest = rest
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .filter(|(level, _)| LEVELS.contains(&level.trim()))
        .map_or(rest, |(_, rest)| rest.trim_start());
    let rest = rest.strip_prefix("Alert:").unwrap_or(rest).trim_start();
    Some((time, rest.strip_prefix("[pri=")?))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (time, rest) = opened(line)?;
    let (fields, rest) = rest.split_once(']')?;
    let mut record = begun(RecordKind::Alert, Format::Bracketed, envelope);
    record.time = time.or(record.time);
    let (level, fields) = fields.split_once(' ').unwrap_or((fields, ""));
    record.priority = match level {
        "" | "None" | "-" => None,
        number => {
            number.parse::<u32>().ok()?;
            priority(number)
        }
    };
    record.classification =
        fields.split_once("cls=").map(|(_, class)| clean_classification(class)).unwrap_or_default();
    let mut rest = rest.trim_start();
    if let Some((protocol, behind)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        record.protocol = clean_protocol(protocol);
        rest = behind;
    }
    let (source, destination, rest) = endpoints(rest, &record.protocol)?;
    (record.source, record.destination) = (source, destination);
    let rest = match signature(rest) {
        Some((signature, rest)) => {
            record.rule = signature.to_string();
            rest
        }
        None => rest,
    };
    let rest = rest.trim();
    let (message, detail) = match rest.strip_suffix(']').and_then(|rest| rest.rsplit_once("[detail: ")) {
        Some((message, detail)) => (message, detail),
        None => (rest, ""),
    };
    record.message = clean_message(unquoted(message));
    record.detail = clean(detail, MAX_DETAIL);
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Record> {
        let envelope = Envelope::default();
        recognises(line, &envelope).then(|| read(line, &envelope)).flatten()
    }

    #[test]
    fn a_line_with_a_loggers_prefix_is_read() {
        let alert = parse(
            "2026-06-03 12:59:31,343 [    INFO] Alert: [pri=1 cls=Attempted User Privilege Gain] {TCP} \
             10.0.1.11:37340 -> 10.0.2.14:22 [1:1000007:2] SSH connection attempt ",
        )
        .unwrap();
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.343000");
        assert_eq!(alert.classification, "Attempted User Privilege Gain");
        assert_eq!((alert.priority, alert.repeats.count), (Some(1), 1));
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.2.14:22");
        assert_eq!((alert.rule.as_str(), alert.message.as_str()), ("1:1000007:2", "SSH connection attempt"));
    }

    #[test]
    fn what_is_missing_may_be_missing() {
        let alert = parse("[pri=None cls=None] {ICMP} 10.0.1.11 -> 10.0.2.14 ping").unwrap();
        assert_eq!((alert.priority, alert.classification.as_str(), alert.time), (None, "", None));
        assert_eq!((alert.rule.as_str(), alert.message.as_str()), ("", "ping"));
        assert_eq!(parse("[pri=0 cls=x] a -> b").unwrap().priority, None);
        assert_eq!(parse("[pri=2 cls=x] no ends"), None);
        assert_eq!(parse("[pri=high cls=x] a -> b"), None);
    }

    #[test]
    fn a_line_stands_for_one_alert_whatever_it_says() {
        let alert = parse(
            "[pri=2 count=1000000000000 last=2026-06-03T13:00:00 cls=x] {TCP} a:1 -> b:2 m [detail: GET /]",
        )
        .unwrap();
        assert_eq!(alert.repeats.count, 1);
        assert_eq!(
            (alert.classification.as_str(), alert.message.as_str(), alert.detail.as_str()),
            ("x", "m", "GET /")
        );
    }

    #[test]
    fn the_mark_stands_at_the_beginning() {
        for line in
            ["user [pri=1 cls=x] {TCP} a:1 -> b:2 x", "2026-06-03 12:59:31 [shop] [pri=1 cls=x] a -> b x"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
