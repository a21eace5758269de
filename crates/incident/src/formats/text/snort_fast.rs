//! Alerts on one line as Snort 2 and 3 and Suricata's `fast.log` write them:
//!
//! `06/03-12:59:31.342000 [**] [1:2006546:3] message [**] [Classification: x] [Priority: 2] {TCP} a:1 -> b:2`
//!
//! and the same through syslog, without the asterisks and with the program in front.

use super::super::format::{Envelope, LineFormat};
use super::super::{
    Format, clean, clean_classification, clean_message, clean_protocol, endpoints, signature,
};
use super::{MAX_RAW, begun, may_be_from, priority, unquoted, verdict};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Signature, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::SnortFast, recognises, read };

/// Programs that write this form through syslog.
const PROGRAMS: [&str; 5] = ["snort", "snort3", "suricata", "barnyard2", "u2spewfoo"];

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    may_be_from(envelope, &PROGRAMS)
        && parts(line).is_some_and(|parts| !parts.tail.is_empty() && (parts.is_marked || is_tail(parts.tail)))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let parts = parts(line)?;
    let mut record = begun(RecordKind::Alert, Format::SnortFast, envelope);
    record.time = parts.time.or(record.time);
    record.verdict = parts.verdict;
    record.rule = parts.signature.to_string();
    record.message = clean_message(message(parts.message));
    record.raw = clean(line, MAX_RAW);
    tail(parts.tail, &mut record);
    // Suricata writes `(null)` for a rule without a class, and the priority 3 that it then gives says nothing.
    if parts.tail.contains("[Classification: (null)]") && record.priority == Some(3) {
        record.priority = None;
    }
    let recognised = record.source.is_some() || record.destination.is_some() || !parts.tail.is_empty();
    recognised.then_some(record)
}

struct Parts<'a> {
    time: Option<Timestamp>,
    verdict: Option<SensorVerdict>,
    is_marked: bool,
    signature: Signature,
    message: &'a str,
    /// What stands behind the message; empty for the first line of an alert in full form.
    tail: &'a str,
}

fn parts(line: &str) -> Option<Parts<'_>> {
    let line = line.trim();
    let (time, mut rest) = match Timestamp::parse_prefix(line) {
        Some((time, rest)) => (Some(time), rest.trim_start()),
        None => (None, line),
    };
    // `[Drop]` and the like, before the marks.
    let mut verdict = None;
    while let Some((word, behind)) = action(rest) {
        verdict = verdict.or(super::verdict(word));
        rest = behind;
    }
    let is_marked = rest.starts_with("[**]");
    let rest = rest.strip_prefix("[**]").unwrap_or(rest).trim_start();
    let (signature, rest) = signature(rest)?;
    let (message, tail) = if is_marked {
        // The last mark, since a message may hold one.
        let (message, tail) = rest.rsplit_once("[**]")?;
        (message, tail.trim())
    } else {
        let end = ["[Classification:", "[Priority:", " {"].into_iter().find_map(|mark| rest.rfind(mark))?;
        let (message, tail) = rest.split_at_checked(end)?;
        (message, tail.trim())
    };
    Some(Parts { time, verdict, is_marked, signature, message, tail })
}

/// A single word of letters in brackets, such as `[Drop]` or `[would_drop]`.
fn action(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.strip_prefix('[')?.split_once(']')?;
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    is_word.then(|| (word, rest.trim_start()))
}

/// Whether a text without marks is what stands behind the message of an alert.
fn is_tail(tail: &str) -> bool {
    tail.contains("->") && (tail.starts_with('[') || tail.starts_with('{'))
}

/// The message without quotation marks, and without the interface that Snort 2 names before it on request.
pub(super) fn message(text: &str) -> &str {
    let text = text.trim();
    let bare = text
        .strip_prefix('<')
        .and_then(|rest| rest.split_once("> "))
        .filter(|(name, _)| !name.is_empty() && name.len() <= 16 && !name.contains(char::is_whitespace))
        .map_or(text, |(_, rest)| rest);
    unquoted(bare)
}

/// Reads what stands behind the message: bracketed fields, the protocol in braces, and both ends.
fn tail(tail: &str, record: &mut Record) {
    const BETWEEN: [char; 3] = [' ', '\t', ':'];
    let mut rest = tail.trim_start_matches(BETWEEN);
    loop {
        let close = match rest.chars().next() {
            // A bracketed IPv6 address is an end, not a field.
            Some('[') if !is_address(rest) => ']',
            Some('{') => '}',
            Some('<') => '>',
            _ => break,
        };
        let Some((inner, behind)) = rest.get(1..).and_then(|rest| rest.split_once(close)) else { break };
        match close {
            ']' => field(inner, record),
            '}' => record.protocol = clean_protocol(inner),
            _ => {}
        }
        rest = behind.trim_start_matches(BETWEEN);
    }
    if let Some((source, destination, _)) = endpoints(rest, &record.protocol) {
        (record.source, record.destination) = (source, destination);
    }
}

fn is_address(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .is_some_and(|(inner, _)| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

/// `Classification: x`, `Priority: 2`, or a word that says what was done.
pub(super) fn field(inner: &str, record: &mut Record) {
    match inner.split_once(':') {
        Some((name, value)) => match name.trim() {
            "Classification" => record.classification = clean_classification(value),
            "Priority" => record.priority = priority(value),
            _ => {}
        },
        None => record.verdict = record.verdict.or(verdict(inner)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fast(line: &str) -> Record {
        let envelope = Envelope::default();
        assert!(recognises(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    #[test]
    fn a_fast_alert_is_read() {
        let alert = fast(
            "02/06-10:15:22.341201 [**] [1:2006546:3] ET SCAN SSH Brute Force Login Attempt [**] \
             [Classification: Attempted Information Leak] [Priority: 2] {TCP} 192.168.1.50:44321 -> 10.0.3.3:22\r",
        );
        assert_eq!((alert.kind, alert.format), (RecordKind::Alert, Format::SnortFast));
        assert_eq!(alert.time.unwrap().to_string(), "02-06T10:15:22.341201");
        assert_eq!((alert.rule.as_str(), alert.priority), ("1:2006546:3", Some(2)));
        assert_eq!(alert.message, "ET SCAN SSH Brute Force Login Attempt");
        assert_eq!(alert.classification, "Attempted Information Leak");
        assert_eq!(alert.protocol, "TCP");
        assert_eq!(alert.source.unwrap().to_string(), "192.168.1.50:44321");
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.3.3:22");
    }

    #[test]
    fn variants_of_the_fast_form_are_read() {
        let suricata = fast(
            "06/03/2026-12:59:31.342001  [Drop] [**] [1:1:1] m [**] [Classification: (null)] [Priority: 3] \
             {IPv6-ICMP} fe80::1:135 -> ff02::1:0",
        );
        assert_eq!((suricata.classification.as_str(), suricata.verdict), ("", Some(SensorVerdict::Blocked)));
        assert_eq!(suricata.source.unwrap().address, "fe80::1:135");
        let snort3 = fast(
            "06/03-12:59:31.3 [**] [1:1:1] \"a [**] b\" [**] [Priority: 0] [AppID: SSH] {TCP} a:1 -> b:2",
        );
        assert_eq!((snort3.message.as_str(), snort3.priority), ("a [**] b", None));
        assert_eq!(snort3.destination.unwrap().to_string(), "b:2");
        let bare = fast("[**] [1:1:1] <eth0> only a message [**] {TCP} [2001:db8::1]:5 -> [2001:db8::2]:6");
        assert_eq!((bare.time, bare.priority, bare.message.as_str()), (None, None, "only a message"));
        assert_eq!(bare.source.unwrap().to_string(), "[2001:db8::1]:5");
        let xref =
            fast("[**] [1:1:1] m [**] [Xref => cve 2014-1] [Priority: 1] {TCP}\t10.0.0.1:1 -> 10.0.0.2:2");
        assert_eq!(xref.destination.unwrap().to_string(), "10.0.0.2:2");
    }

    #[test]
    fn an_alert_through_syslog_is_read() {
        for (program, line) in [
            (
                "snort",
                "[1:1:1] \"ICMP traffic\" [Classification: Misc activity] [Priority: 3]: <eth0> {ICMP} 10.0.1.11 \
                 -> 10.0.2.11",
            ),
            (
                "/usr/bin/suricata",
                "[Drop] [1:1:1] ICMP traffic [Classification: Misc activity] [Priority: 3] {ICMP} 10.0.1.11 -> 10.0.2.11",
            ),
            ("", "[1:1:1] ICMP traffic [Priority: 3] {ICMP} 10.0.1.11 -> 10.0.2.11"),
        ] {
            let envelope = Envelope { program, host: "ids", ..Envelope::default() };
            assert!(recognises(line, &envelope), "{line}");
            let alert = read(line, &envelope).unwrap();
            assert_eq!((alert.message.as_str(), alert.priority), ("ICMP traffic", Some(3)));
            assert_eq!(alert.host, "ids");
            assert_eq!(alert.destination.unwrap().address, "10.0.2.11");
        }
    }

    #[test]
    fn nothing_else_is_taken() {
        for line in [
            "[**] nothing more",
            "[**] [1:2:3] a message [**]",
            "user [**] [1:1:1] m [**] {TCP} 10.0.0.1:1 -> 10.0.0.2:2",
            "[1:2:3] text",
            "",
        ] {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
        let shop = Envelope { program: "shop", ..Envelope::default() };
        assert!(!recognises("[**] [1:1:1] m [**] {TCP} 10.0.0.1:1 -> 10.0.0.2:2", &shop));
    }
}
