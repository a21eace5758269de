//! Windows events as text, a line for each of their properties and their words at the end, as Splunk's forwarders write them
//! (`WinEventLog`):
//!
//! ```text
//! 06/03/2026 12:59:31 PM
//! LogName=Security
//! EventCode=4625
//! ComputerName=DC01.corp.example
//! SourceName=Microsoft Windows security auditing.
//! Message=An account failed to log on.
//!
//! Subject:
//!     Account Name:    -
//! ```
//!
//! An event ends where the next begins: with a time alone on its line, or with the property that the first one began with. Its words are
//! read as those that other forms carry ([`super::super::json`]).

use serde_json::Value;

use super::super::Format;
use super::super::format::{Envelope, Layout, LayoutFormat, Object, Offered};
use super::super::json::WINDOWS_EVENT;
use crate::Timestamp;
use crate::record::Record;

pub(super) const FORMAT: LayoutFormat =
    LayoutFormat { format: Format::WindowsEvent, recognises, start: || Box::new(Reader::default()) };

/// Most bytes of an event's words, and most properties, that are kept.
const MAX_WORDS: usize = 16 * 1024;
const MAX_PROPERTIES: usize = 64;
/// Properties that an event may begin with where no time stands before it.
const FIRST: [&str; 2] = ["LogName", "EventCode"];

fn recognises(line: &str) -> bool {
    Timestamp::parse_half_days(line).is_some()
        || property(line).is_some_and(|(key, value)| FIRST.contains(&key) && !value.is_empty())
}

/// `LogName=Security`.
fn property(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_end().split_once('=')?;
    let is_name = (2..=32).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some((key, value))
}

#[derive(Clone, Debug, Default)]
struct Reader {
    open: Option<Open>,
    /// What events begin with where it is no time.
    first: String,
}

#[derive(Clone, Debug, Default)]
struct Open {
    time: Option<Timestamp>,
    properties: Object,
    /// What stands in `Message` and behind it.
    words: Option<String>,
}

impl Layout for Reader {
    fn offer(&mut self, line: &str) -> Offered {
        let line = line.trim_end_matches(['\r', '\n']);
        let begins = match (Timestamp::parse_half_days(line), property(line)) {
            (Some(time), _) => Some(Open { time: Some(time), ..Open::default() }),
            (None, Some((key, _))) if self.begins(key) => {
                key.clone_into(&mut self.first);
                Some(Open::default())
            }
            _ => None,
        };
        let Some(mut open) = begins else {
            return match &mut self.open {
                Some(open) => {
                    open.take(line);
                    Offered::Taken(None)
                }
                None => Offered::NotMine(None),
            };
        };
        let before = self.end();
        open.take(line);
        self.open = Some(open);
        Offered::Taken(before.map(Box::new))
    }

    fn end(&mut self) -> Option<Record> {
        let Open { time, mut properties, words, .. } = self.open.take()?;
        // Under these names other forms have it whose values stand in the words alone.
        if let Some(code) = properties.remove("EventCode") {
            properties.insert("Id".to_owned(), code.clone());
            properties.insert("EventID".to_owned(), code);
        }
        if let Some(words) = words {
            properties.insert("Message".to_owned(), Value::String(words));
        }
        let record = (WINDOWS_EVENT.recognises)(&properties)
            .then(|| (WINDOWS_EVENT.read)(&properties, &Envelope::default()))??;
        Some(Record { time: time.or(record.time), ..record })
    }
}

impl Reader {
    /// Whether a property begins an event: the first of a source's does, and then that one. Behind a time none does.
    fn begins(&self, key: &str) -> bool {
        match &self.open {
            None => FIRST.contains(&key),
            Some(open) => open.time.is_none() && key == self.first,
        }
    }
}

impl Open {
    fn take(&mut self, line: &str) {
        if let Some(words) = &mut self.words {
            let room = MAX_WORDS.saturating_sub(words.len());
            words.push('\n');
            words.push_str(line.get(..line.floor_char_boundary(room)).unwrap_or_default());
            return;
        }
        match property(line) {
            Some(("Message", first)) => self.words = Some(first.to_owned()),
            Some((key, value)) if self.properties.len() < MAX_PROPERTIES => {
                self.properties.insert(key.to_owned(), Value::String(value.to_owned()));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    const FAILED: &str = "06/03/2026 12:59:31 AM\nLogName=Security\nEventCode=4625\nEventType=0\nComputerName=DC01.corp.example\n\
        SourceName=Microsoft Windows security auditing.\nKeywords=Audit Failure\nMessage=An account failed to log on.\n\nSubject:\n\
        \tAccount Name:\t\t-\n\nAccount For Which Logon Failed:\n\tAccount Name:\t\tsvc\n\nNetwork Information:\n\
        \tSource Network Address:\t10.0.3.17\n\tSource Port:\t\t50000\n";

    fn read(text: &str) -> Vec<Record> {
        let mut reader = Reader::default();
        let mut records = Vec::new();
        for line in text.lines() {
            match reader.offer(line) {
                Offered::Taken(record) => records.extend(record.map(|record| *record)),
                Offered::NotMine(_) => panic!("{line}"),
            }
        }
        records.extend(reader.end());
        records
    }

    #[test]
    fn events_end_where_the_next_begins() {
        let without_time = FAILED.split_once('\n').unwrap().1;
        for (text, has_time) in [(FAILED, true), (without_time, false)] {
            let records = read(&text.repeat(2));
            assert_eq!(records.len(), 2);
            for record in records {
                assert_eq!(
                    record.message,
                    "4625 Logon failed on DC01.corp.example: account svc, from 10.0.3.17"
                );
                assert_eq!(record.source, Some(Endpoint::new("10.0.3.17", Some(50000))));
                let time = record.time.map(|time| time.to_string()).unwrap_or_default();
                assert_eq!(time, if has_time { "2026-06-03T00:59:31.000000" } else { "" });
            }
        }
    }

    #[test]
    fn what_stands_in_an_events_words_begins_none() {
        let hostile = format!("{FAILED}EventCode=1102\nLogName=Security\nThe audit log was cleared\n");
        assert_eq!(read(&hostile).len(), 1);
    }

    #[test]
    fn scripts_and_rights_are_told() {
        let script = read(
            "LogName=Microsoft-Windows-PowerShell/Operational\nEventCode=4104\nComputerName=WS-017\nSourceName=Microsoft-Windows-PowerShell\n\
             Message=Creating Scriptblock text (1 of 1):\nGet-Date\n\nScriptBlock ID: 0\nPath:\n",
        );
        assert_eq!(script[0].message, "4104 PowerShell script block on WS-017: Get-Date");
        let copied = read(
            "EventCode=4662\nComputerName=DC01\nSourceName=Microsoft Windows security auditing.\nMessage=An operation was performed on \
             an object.\n\nSubject :\n\tAccount Name:\t\tbob\n\nObject:\n\tObject Name:\t\tDC=corp,DC=example\n\nOperation:\n\
             \tProperties:\t\tControl Access\n\t\tReplicating Directory Changes All\n",
        );
        assert_eq!(
            copied[0].message,
            "4662 Operation on a directory object on DC01: account bob, right Replicating Directory Changes All, file DC=corp,DC=example"
        );
    }

    #[test]
    fn other_lines_begin_none() {
        for line in [
            "06/03/2026 12:59:31 PM x",
            "06/03/2026 13:59:31 PM",
            "13/13/2026 12:59:31 PM",
            "LogName=",
            "x EventCode=1",
            "",
        ] {
            assert!(!recognises(line), "{line}");
        }
    }
}
