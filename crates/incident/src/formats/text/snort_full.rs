//! Snort's full form, an alert on several lines with an empty one behind it:
//!
//! ```text
//! [**] [1:1000001:1] message [**]
//! [Classification: Misc activity] [Priority: 3]
//! 06/03-12:59:31.342000 10.0.1.11:4444 -> 10.0.2.11:22
//! TCP TTL:64 TOS:0x0 ID:1 IpLen:20 DgmLen:84
//! [Xref => …]
//! ```

use super::super::format::{Layout, LayoutFormat, Offered};
use super::super::{Format, clean_message, clean_protocol, endpoint, signature};
use super::snort_fast::{field, message};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LayoutFormat =
    LayoutFormat { format: Format::SnortFull, recognises, start: || Box::new(Reader::default()) };

/// Most lines behind the first that belong to one alert; Snort writes fewer than ten.
const MAX_LINES: u32 = 16;

fn recognises(line: &str) -> bool {
    headline(line).is_some()
}

/// The record of `[**] [1:2:3] message [**]`.
fn headline(line: &str) -> Option<Record> {
    let inner = line.trim().strip_prefix("[**]")?.strip_suffix("[**]")?;
    let (signature, text) = signature(inner.trim_start())?;
    Some(Record {
        kind: RecordKind::Alert,
        format: Format::SnortFull,
        rule: signature.to_string(),
        message: clean_message(message(text)),
        ..Record::default()
    })
}

/// An alert of which more lines may follow.
#[derive(Clone, Debug, Default)]
struct Reader {
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    record: Record,
    /// Both ends as text, read when the protocol is known.
    ends: Option<(String, String)>,
    lines: u32,
}

impl Layout for Reader {
    fn offer(&mut self, line: &str) -> Offered {
        let line = line.trim();
        if let Some(record) = headline(line) {
            let before = self.end();
            self.open = Some(Open { record, ends: None, lines: 0 });
            return Offered::Taken(before.map(Box::new));
        }
        if self.open.is_some() && line.is_empty() {
            return Offered::Taken(self.end().map(Box::new));
        }
        if self.open.as_mut().is_some_and(|open| open.take(line)) {
            return Offered::Taken(None);
        }
        Offered::NotMine(self.end().map(Box::new))
    }

    fn end(&mut self) -> Option<Record> {
        let Open { mut record, ends, .. } = self.open.take()?;
        record.is_cut = ends.is_none();
        if let Some((source, destination)) = ends {
            record.source = endpoint(&source, &record.protocol);
            record.destination = endpoint(&destination, &record.protocol);
        }
        Some(record)
    }
}

impl Open {
    fn take(&mut self, line: &str) -> bool {
        self.lines += 1;
        self.lines <= MAX_LINES
            && (self.take_fields(line)
                || self.take_ends(line)
                || self.take_protocol(line)
                || is_packet_detail(line))
    }

    fn take_fields(&mut self, line: &str) -> bool {
        if !line.starts_with("[Classification:") && !line.starts_with("[Priority:") {
            return false;
        }
        let mut rest = line;
        while let Some((inner, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            field(inner, &mut self.record);
            rest = behind.trim_start();
        }
        true
    }

    /// `[time] a -> b`, with frame addresses (`00:0C:… -> … type:0x800`) on a line of their own before it at times.
    fn take_ends(&mut self, line: &str) -> bool {
        let (time, rest) = match Timestamp::parse_prefix(line) {
            Some((time, rest)) => (Some(time), rest),
            None => (None, line),
        };
        let Some((source, behind)) = rest.split_once("->") else { return false };
        let mut words = behind.split_whitespace();
        let destination = words.next().unwrap_or_default();
        let next = words.next();
        self.record.time = self.record.time.or(time);
        if next.is_some_and(|word| word.starts_with("type:")) {
            return true;
        }
        if source.trim().contains(' ') || self.ends.is_some() {
            return false;
        }
        self.ends = Some((source.trim().to_owned(), destination.to_owned()));
        if let Some(word) = next {
            self.record.protocol = clean_protocol(word);
        }
        true
    }

    fn take_protocol(&mut self, line: &str) -> bool {
        let Some((protocol, rest)) = line.split_once(' ') else { return false };
        let is_header = rest.trim_start().starts_with("TTL:");
        if is_header && self.record.protocol.is_empty() {
            self.record.protocol = clean_protocol(protocol);
        }
        is_header
    }
}

/// Lines about the packet that tell nothing that is kept.
fn is_packet_detail(line: &str) -> bool {
    const BEGINNINGS: [&str; 12] = [
        "Type:",
        "***",
        "*",
        "Seq:",
        "Len:",
        "TCP Options",
        "IP Options",
        "[Xref",
        "** ORIGINAL",
        "Frag ",
        "Ack:",
        "=>",
    ];
    BEGINNINGS.iter().any(|beginning| line.starts_with(beginning)) || line.contains("TTL:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "\
[**] [1:2006546:3] ET SCAN SSH Brute Force Login Attempt [**]
[Classification: Attempted Information Leak] [Priority: 2]
02/06-10:15:22.341201 192.168.1.50:44321 -> 10.0.3.3:22
TCP TTL:64 TOS:0x0 ID:54321 IpLen:20 DgmLen:60 DF
******S* Seq: 0xDEADBEEF  Ack: 0x0  Win: 0x7210  TcpLen: 40
[Xref => http://docs.example.org/2006546]

[**] [1:1000001:1] \"ICMP test\" [**]
[Priority: 0]
02/06-10:15:23.000000 00:0C:29:11:22:33 -> 00:0C:29:44:55:66 type:0x800 len:0x62
10.0.1.11 -> 10.0.2.11 ICMP TTL:64 TOS:0x0 ID:1 IpLen:20 DgmLen:84 DF
Type:8  Code:0  ID:1   Seq:1  ECHO
[**] [1:1000002:1] cut off [**]
a plain line
";

    #[test]
    fn alerts_on_several_lines_are_read() {
        for text in [FULL.to_owned(), FULL.replace('\n', "\r\n")] {
            let mut reader = (FORMAT.start)();
            let mut alerts = Vec::new();
            let mut left = Vec::new();
            for line in text.split('\n').filter(|line| !line.is_empty() || !text.contains('\r')) {
                match reader.offer(line) {
                    Offered::Taken(record) => alerts.extend(record),
                    Offered::NotMine(record) => {
                        alerts.extend(record);
                        left.push(line.trim());
                    }
                }
            }
            assert_eq!(reader.end(), None);
            assert_eq!(left.concat(), "a plain line");
            let [first, second, third] = &alerts[..] else { panic!("{alerts:?}") };
            assert_eq!(first.source.as_ref().unwrap().to_string(), "192.168.1.50:44321");
            assert_eq!((first.protocol.as_str(), first.priority), ("TCP", Some(2)));
            assert_eq!(first.classification, "Attempted Information Leak");
            assert_eq!(first.time.unwrap().to_string(), "02-06T10:15:22.341201");
            assert_eq!(second.destination.as_ref().unwrap().to_string(), "10.0.2.11");
            assert_eq!((second.protocol.as_str(), second.priority), ("ICMP", None));
            assert_eq!(second.message, "ICMP test");
            assert_eq!((third.message.as_str(), third.is_cut), ("cut off", true));
        }
    }
}
