//! ArcSight's Common Event Format: `CEF:0|vendor|product|version|rule|name|severity|key=value …`.
//!
//! What a device ranks medium or higher is an alert, what it ranks lower a log, and records of traffic are telemetry.

use super::super::format::{Envelope, LineFormat};
use super::super::{
    Format, MAX_ADDRESS, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port,
};
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, end, may_be_from, of_ten, unescaped_at, verdict};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat =
    LineFormat { format: Format::Cef, recognises: |line, envelope| header(line, envelope).is_some(), read };

/// The seven fields of the header and the extension. Behind syslog's header `CEF` may have been taken for the program.
fn header<'a>(line: &'a str, envelope: &Envelope<'_>) -> Option<([&'a str; 7], &'a str)> {
    let line = line.trim_start();
    let rest = match line.strip_prefix("CEF:") {
        Some(rest) if may_be_from(envelope, &["ossec", "wazuh", "ASM", "cef", "CEF"]) => rest.trim_start(),
        None if envelope.program == "CEF" => line,
        // A program may have been told by others what to log.
        _ => return None,
    };
    let mut fields = [""; 7];
    let mut rest = rest;
    for field in &mut fields {
        let end = unescaped_at(rest, b'|')?;
        (*field, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
    }
    let [version, ..] = fields;
    (version.len() <= 2 && version.bytes().all(|byte| byte.is_ascii_digit())).then_some((fields, rest))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let ([_, vendor, product, _, rule, name, severity], extension) = header(line, envelope)?;
    let pairs = extension_pairs(extension);
    let value =
        |key: &str| pairs.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value.as_str());
    let first =
        |keys: &[&str]| keys.iter().map(|key| value(key)).find(|value| !value.is_empty()).unwrap_or_default();
    let priority = match severity.trim().to_ascii_lowercase().as_str() {
        "low" => Some(3),
        "medium" => Some(2),
        "high" | "very-high" | "very high" => Some(1),
        number => number.parse().ok().and_then(of_ten),
    };
    let class = first(&["cat", "deviceEventCategory"]);
    let mut record = begun(kind(priority, [rule, name, class]), Format::Cef, envelope);
    record.time = time(first(&["rt", "end", "start"])).or(record.time);
    record.sensor = clean(unescaped(&format!("{vendor} {product}")).trim(), MAX_NAME);
    let host = first(&["dvchost", "dvc"]);
    if !host.is_empty() {
        record.host = clean(host, MAX_ADDRESS);
    }
    record.rule = clean(&unescaped(rule), MAX_NAME);
    record.message = clean_message(&unescaped(name));
    record.detail = clean(first(&["msg", "request"]), MAX_DETAIL);
    record.priority = priority;
    record.classification = clean_classification(class);
    record.protocol = clean_protocol(value("proto"));
    record.source = end(first(&["src", "c6a2", "shost"]), port(value("spt")));
    record.destination = end(first(&["dst", "c6a3", "dhost"]), port(value("dpt")));
    record.account = clean(first(&["duser", "suser", "duid", "suid"]), MAX_NAME);
    record.process = clean(first(&["dproc", "sproc", "deviceProcessName"]), MAX_COMMAND);
    record.file = clean(first(&["filePath", "fname"]), MAX_COMMAND);
    record.verdict = verdict(first(&["act", "outcome"]));
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

/// What a device's record is: traffic by its rule, name or class; else by its severity.
pub(super) fn kind(priority: Option<u8>, names: [&str; 3]) -> RecordKind {
    let is_traffic = names.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        ["traffic", "flow", "session", "netflow"].iter().any(|word| {
            name.strip_prefix(word)
                .is_some_and(|rest| !rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()))
        })
    });
    match priority {
        Some(1 | 2) => RecordKind::Alert,
        _ if is_traffic => RecordKind::Telemetry,
        _ => RecordKind::Log,
    }
}

/// The pairs of the extension: a value goes on to the word before the next equals sign that no backslash is before.
fn extension_pairs(text: &str) -> Vec<(&str, String)> {
    /// More than any device writes.
    const MAX_PAIRS: usize = 128;
    let mut keys = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' | b'\t' => start = at + 1,
            b'=' if !is_escaped && keys.len() < MAX_PAIRS && start < at => {
                // A value may hold equals signs of its own, as web addresses do; no space stands before them.
                let key = text.get(start..at).unwrap_or_default();
                if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.[]-".contains(&byte)) {
                    keys.push((start, at));
                }
                // What follows on the same word is value.
                start = usize::MAX;
            }
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    let ends = keys.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    keys.iter()
        .zip(ends)
        .map(|((start, at), end)| {
            (
                text.get(*start..*at).unwrap_or_default(),
                unescaped(text.get(at + 1..end).unwrap_or_default().trim()),
            )
        })
        .collect()
}

/// A text without its escapes: `\=`, `\|`, `\\`, and `\n` for a line break.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('n' | 'r') => out.push(' '),
                Some(next) => out.push(next),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

/// Milliseconds since 1970, or `Jun 03 2026 12:59:31`.
fn time(text: &str) -> Option<Timestamp> {
    if text.len() == 13
        && let Ok(millis) = text.parse::<i64>()
    {
        return Timestamp::from_epoch(millis / 1000, u32::try_from(millis.rem_euclid(1000)).ok()? * 1000);
    }
    Timestamp::parse_epoch(text).or_else(|| Timestamp::parse_prefix(text).map(|(time, _)| time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    const LINE: &str = "CEF:0|Example|IPS \\| gate|1.0|9900030|SSH guessing|8|src=203.0.113.9 spt=51234 dst=10.0.2.11 dpt=22 \
                        proto=tcp act=blocked suser=a\\=b rt=1780491571342 cat=bruteforce msg=many tries \
                        request=http://shop.example/?q=1";

    #[test]
    fn an_alert_is_read() {
        let record = read(LINE, &Envelope::default()).unwrap();
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((record.sensor.as_str(), record.rule.as_str()), ("Example IPS | gate", "9900030"));
        assert_eq!((record.message.as_str(), record.classification.as_str()), ("SSH guessing", "bruteforce"));
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(record.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!((record.account.as_str(), record.detail.as_str()), ("a=b", "many tries"));
        assert_eq!(record.verdict, Some(SensorVerdict::Blocked));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn severity_decides_unless_it_is_traffic() {
        for (severity, kind, priority) in [
            ("10", RecordKind::Alert, Some(1)),
            ("Medium", RecordKind::Alert, Some(2)),
            ("3", RecordKind::Log, Some(3)),
            ("0", RecordKind::Log, None),
            ("Unknown", RecordKind::Log, None),
        ] {
            let line = LINE.replace("|8|", &format!("|{severity}|"));
            let record = read(&line, &Envelope::default()).unwrap();
            assert_eq!((record.kind, record.priority), (kind, priority), "{severity}");
        }
        let traffic = "CEF:0|Example|FW|1|13|traffic:forward accept|3|src=10.0.3.17 dst=10.0.2.11";
        assert_eq!(read(traffic, &Envelope::default()).unwrap().kind, RecordKind::Telemetry);
    }

    #[test]
    fn the_header_stands_at_the_beginning() {
        let taken = Envelope { program: "CEF", host: "fw", ..Envelope::default() };
        assert!((FORMAT.recognises)("0|a|b|c|d|e|5|", &taken));
        for line in ["x CEF:0|a|b|c|d|e|5|", "CEF:0|a|b|c", "CEF:x|a|b|c|d|e|5|", "0|a|b|c|d|e|5|"] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
        assert_eq!(extension_pairs("no pairs"), []);
        assert_eq!(
            extension_pairs("a=1 2 b=x=y c="),
            [("a", "1 2".into()), ("b", "x=y".into()), ("c", String::new())]
        );
    }
}
