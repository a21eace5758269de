//! Snort's full form, an alert on several lines with an empty one behind it:
//!
//! ```text
//! [**] [1:1000001:1] message [**]
//! [Classification: Misc activity] [Priority: 3]
//! 06/03-12:59:31.342000 10.0.1.11:4444 -> 10.0.2.11:22
//! TCP TTL:64 TOS:0x0 ID:1 IpLen:20 DgmLen:84
//! [Xref => …]
//! ```

use super::snort::field;
use super::{clean_protocol, endpoint};
use crate::{Alert, Timestamp};

/// Most lines behind the first that belong to one alert; Snort writes fewer than ten.
const MAX_LINES: u32 = 16;

/// An alert of which more lines may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartialAlert {
    alert: Alert,
    /// Both ends as text, read when the protocol is known.
    ends: Option<(String, String)>,
    lines: u32,
}

/// What a line does to an alert that it may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// It was part of the alert.
    Taken,
    /// The alert ends before this line.
    NotPart,
}

impl PartialAlert {
    /// An alert of which the first line was read.
    pub(super) fn new(alert: Alert) -> Self {
        PartialAlert { alert, ends: None, lines: 0 }
    }

    /// Offers the next line.
    pub(crate) fn offer(&mut self, line: &str) -> Continuation {
        let line = line.trim();
        if line.is_empty() || self.lines >= MAX_LINES || line.contains("[**]") {
            return Continuation::NotPart;
        }
        self.lines += 1;
        let taken = self.take_fields(line)
            || self.take_ends(line)
            || self.take_protocol(line)
            || is_packet_detail(line);
        if taken { Continuation::Taken } else { Continuation::NotPart }
    }

    /// The alert, and whether it is whole, that is whether its ends were there.
    pub(crate) fn finish(mut self) -> (Alert, bool) {
        let whole = self.ends.is_some();
        if let Some((source, destination)) = self.ends.take() {
            self.alert.source = endpoint(&source, &self.alert.protocol);
            self.alert.destination = endpoint(&destination, &self.alert.protocol);
        }
        (self.alert, whole)
    }

    fn take_fields(&mut self, line: &str) -> bool {
        if !line.starts_with("[Classification:") && !line.starts_with("[Priority:") {
            return false;
        }
        let mut rest = line;
        while let Some((inner, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            field(inner, &mut self.alert);
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
        if self.alert.time.is_none() {
            self.alert.time = time;
        }
        if next.is_some_and(|word| word.starts_with("type:")) {
            return true;
        }
        if source.trim().contains(' ') || self.ends.is_some() {
            return false;
        }
        self.ends = Some((source.trim().to_owned(), destination.to_owned()));
        if let Some(word) = next {
            self.alert.protocol = clean_protocol(word);
        }
        true
    }

    fn take_protocol(&mut self, line: &str) -> bool {
        let Some((protocol, rest)) = line.split_once(' ') else { return false };
        let is_header = rest.trim_start().starts_with("TTL:");
        if is_header && self.alert.protocol.is_empty() {
            self.alert.protocol = clean_protocol(protocol);
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
    use crate::AlertLog;

    const FULL: &str = "\
[**] [1:2006546:3] ET SCAN SSH Brute Force Login Attempt [**]
[Classification: Attempted Information Leak] [Priority: 2]
02/06-10:15:22.341201 192.168.1.50:44321 -> 10.0.3.3:22
TCP TTL:64 TOS:0x0 ID:54321 IpLen:20 DgmLen:60 DF
******S* Seq: 0xDEADBEEF  Ack: 0x0  Win: 0x7210  TcpLen: 40
[Xref => http://docs.example.org/2006546]

[**] [1:1000001:1] ICMP test [**]
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
            let log = AlertLog::parse(text.as_bytes()).unwrap();
            let alerts: Vec<_> = log.alerts().collect();
            assert_eq!(alerts.len(), 3, "{log:?}");
            assert_eq!(alerts[0].source.as_ref().unwrap().to_string(), "192.168.1.50:44321");
            assert_eq!(alerts[0].protocol, "TCP");
            assert_eq!(alerts[0].classification, "Attempted Information Leak");
            assert_eq!(alerts[0].time.unwrap().to_string(), "02-06T10:15:22.341201");
            assert_eq!(alerts[1].destination.as_ref().unwrap().to_string(), "10.0.2.11");
            assert_eq!((alerts[1].protocol.as_str(), alerts[1].priority), ("ICMP", Some(0)));
            assert_eq!(alerts[2].message, "cut off");
            assert!(log.records[3].message == "a plain line" && !log.records[3].is_alert());
            assert!(log.warnings.iter().any(|warning| warning.contains("breaks off")), "{:?}", log.warnings);
        }
    }
}
