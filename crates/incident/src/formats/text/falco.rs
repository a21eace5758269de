//! Falco's text output: `12:59:31.342001000: Warning Sensitive file opened (user=root command=cat /etc/shadow …)`, and since
//! 0.38 `… | evt_type=open user=root process=cat command=cat /etc/shadow terminal=0 container_id=host`.

use super::super::format::{Envelope, LineFormat};
use super::super::json::falco_priority;
use super::super::{Format, MAX_DETAIL, clean, clean_message, endpoints};
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, may_be_from};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::Falco, recognises, read };

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    may_be_from(envelope, &["falco"]) && parts(line).is_some()
}

/// The time if there is a date with it, the priority, and the text.
fn parts(line: &str) -> Option<(Option<Timestamp>, u8, &str)> {
    let line = line.trim();
    let (time, rest) = match Timestamp::parse_prefix(line) {
        Some((time, rest)) => (Some(time), rest),
        None => (None, line.get(clock_length(line)?..)?),
    };
    let (level, text) = rest.strip_prefix(": ")?.split_once(' ')?;
    Some((time, falco_priority(level)?, text))
}

/// Bytes of a time of day with nanoseconds, `12:59:31.342001000`.
fn clock_length(line: &str) -> Option<usize> {
    let (clock, _) = line.split_at_checked(18)?;
    let fits = clock.bytes().enumerate().all(|(at, byte)| match at {
        2 | 5 => byte == b':',
        8 => byte == b'.',
        _ => byte.is_ascii_digit(),
    });
    fits.then_some(clock.len())
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (time, priority, text) = parts(line)?;
    let (message, fields) = match text.split_once(" | ") {
        Some((message, fields)) => (message, fields),
        None => {
            text.split_once('(').map_or((text, ""), |(message, rest)| (message, rest.trim_end_matches(')')))
        }
    };
    let mut record = begun(RecordKind::Alert, Format::Falco, envelope);
    record.time = time.or(record.time);
    record.sensor = "falco".to_owned();
    record.priority = Some(priority);
    record.message = clean_message(message);
    record.detail = clean(fields, MAX_DETAIL);
    record.account = clean(field(fields, "user"), MAX_NAME);
    let command =
        [field(fields, "command"), field(fields, "process")].into_iter().find(|text| !text.is_empty());
    record.process = clean(command.unwrap_or_default(), MAX_COMMAND);
    record.file = clean(field(fields, "file"), MAX_COMMAND);
    let connection = field(fields, "connection");
    if let Some((source, destination, _)) = endpoints(connection, "TCP") {
        (record.source, record.destination) = (source, destination);
    }
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

/// The value of a field, which may hold spaces: it goes on to the word before the next equals sign. What a command line holds
/// stands behind the fields that Falco writes before it.
fn field<'a>(fields: &'a str, key: &str) -> &'a str {
    let named = |at: usize| {
        let before = fields.get(..at).unwrap_or_default();
        (before.is_empty() || before.ends_with(' '))
            && fields.get(at + key.len()..).is_some_and(|rest| rest.starts_with('='))
    };
    let Some(start) = fields.match_indices(key).map(|(at, _)| at).find(|at| named(*at)) else { return "" };
    let value = fields.get(start + key.len() + 1..).unwrap_or_default();
    let mut end = 0;
    for word in value.split_inclusive(' ') {
        let is_key = word.find('=').is_some_and(|at| {
            at > 0
                && word.bytes().take(at).all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.'))
        });
        if is_key && end > 0 {
            break;
        }
        end += word.len();
    }
    value.get(..end).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        assert!(recognises(line, &Envelope::default()), "{line}");
        read(line, &Envelope::default()).unwrap()
    }

    #[test]
    fn both_layouts_are_read() {
        for line in [
            "12:59:31.342001000: Warning Sensitive file opened for reading (user=www-data command=cat /etc/shadow \
             file=/etc/shadow container_id=host)",
            "2026-06-03T12:59:31.342001000+0000: Warning Sensitive file opened for reading | evt_type=open user=www-data \
             user_uid=33 process=cat command=cat /etc/shadow file=/etc/shadow terminal=0 container_id=host",
        ] {
            let record = parse(line);
            assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(2)));
            assert_eq!(record.message, "Sensitive file opened for reading");
            assert_eq!((record.account.as_str(), record.process.as_str()), ("www-data", "cat /etc/shadow"));
            assert_eq!(record.file, "/etc/shadow");
        }
    }

    #[test]
    fn connections_and_levels_are_read() {
        let record = parse(
            "12:59:31.342001000: Critical Reverse shell (user=www-data connection=10.0.2.13:41000->203.0.113.9:4444)",
        );
        assert_eq!(record.priority, Some(1));
        assert_eq!(record.source.unwrap().to_string(), "10.0.2.13:41000");
        assert_eq!(record.destination.unwrap().to_string(), "203.0.113.9:4444");
        assert_eq!(parse("12:59:31.342001000: Debug x").priority, Some(4));
    }

    #[test]
    fn nothing_else_is_taken() {
        for line in [
            "12:59:31: Warning x",
            "12:59:31.342001000: warned x",
            "x 12:59:31.342001000: Warning x",
            "é:",
            "",
        ] {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
        let shop = Envelope { program: "shop", ..Envelope::default() };
        assert!(!recognises("12:59:31.342001000: Warning x", &shop));
    }
}
