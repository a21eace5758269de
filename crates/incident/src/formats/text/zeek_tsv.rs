//! Zeek's logs as it writes them by default: tab-separated values under a header that names the log and its columns.
//!
//! ```text
//! #separator \x09
//! #path   conn
//! #fields ts      uid     id.orig_h       id.orig_p …
//! #types  time    string  addr    port …
//! 1780491571.342001       C1      203.0.113.9     51234 …
//! ```
//!
//! A line becomes the object that Zeek would have written as JSON, and is read as that. Zeek escapes tabs and line breaks in
//! values, so that what others put into one stays in its column.

use serde_json::Value;

use super::super::format::{Envelope, Layout, LayoutFormat, Object, Offered};
use super::super::json::OBJECT_FORMATS;
use super::super::{Format, clean};
use super::MAX_RAW;
use crate::Timestamp;
use crate::record::Record;

pub(super) const FORMAT: LayoutFormat =
    LayoutFormat { format: Format::ZeekTsv, recognises, start: || Box::new(Reader::default()) };

/// More columns than any log of Zeek has.
const MAX_COLUMNS: usize = 256;

fn recognises(line: &str) -> bool {
    line.starts_with("#separator \\x")
        || line.strip_prefix("#fields").is_some_and(|rest| rest.trim_start().starts_with("ts"))
}

#[derive(Clone, Debug)]
struct Reader {
    separator: char,
    within: char,
    unset: String,
    empty: String,
    path: String,
    /// Name and type of each column.
    columns: Vec<(String, String)>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            separator: '\t',
            within: ',',
            unset: "-".to_owned(),
            empty: "(empty)".to_owned(),
            path: String::new(),
            columns: Vec::new(),
        }
    }
}

impl Layout for Reader {
    fn offer(&mut self, line: &str) -> Offered {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(header) = line.strip_prefix('#') {
            return if self.take_header(header) { Offered::Taken(None) } else { Offered::NotMine(None) };
        }
        Offered::line(self.record(line))
    }

    fn holds(&self) -> bool {
        true
    }
}

impl Reader {
    fn take_header(&mut self, header: &str) -> bool {
        if let Some(separator) = header.strip_prefix("separator ") {
            // A new header: what an earlier one said does not count any more.
            *self = Reader { separator: character(separator.trim()).unwrap_or('\t'), ..Reader::default() };
            return true;
        }
        let (name, value) = header.split_once(self.separator).unwrap_or((header, ""));
        match name {
            "set_separator" => self.within = value.chars().next().unwrap_or(','),
            "empty_field" => value.clone_into(&mut self.empty),
            "unset_field" => value.clone_into(&mut self.unset),
            "path" => value.clone_into(&mut self.path),
            "fields" => {
                let names = value.split(self.separator).take(MAX_COLUMNS);
                self.columns = names.map(|name| (name.to_owned(), String::new())).collect();
            }
            "types" => {
                for ((_, kind), given) in self.columns.iter_mut().zip(value.split(self.separator)) {
                    given.clone_into(kind);
                }
            }
            "open" | "close" => {}
            _ => return false,
        }
        true
    }

    fn record(&self, line: &str) -> Option<Record> {
        let mut values = line.split(self.separator);
        let mut object = Object::new();
        let mut missing = false;
        for (name, kind) in &self.columns {
            match values.next() {
                Some(value) => {
                    if let Some(value) = self.value(value, kind) {
                        object.insert(name.clone(), value);
                    }
                }
                None => missing = true,
            }
        }
        // Only a line of this log begins with a time and has no column too many.
        let is_of_log =
            values.next().is_none() && Timestamp::parse_epoch(object.get("ts")?.as_str()?).is_some();
        if !is_of_log {
            return None;
        }
        if !self.path.is_empty() {
            object.insert("_path".to_owned(), Value::from(self.path.as_str()));
        }
        let zeek = OBJECT_FORMATS.iter().find(|format| format.format == Format::ZeekJson)?;
        let mut record = (zeek.read)(&object, &Envelope::default())?;
        record.format = Format::ZeekTsv;
        record.raw = clean(line, MAX_RAW);
        record.is_cut = missing;
        Some(record)
    }

    /// A value of a column of this type; `None` if it is unset.
    fn value(&self, text: &str, kind: &str) -> Option<Value> {
        if text == self.unset {
            return None;
        }
        if kind.starts_with("set[") || kind.starts_with("vector[") {
            let items = text.split(self.within).filter(|item| *item != self.empty && *item != self.unset);
            return Some(Value::Array(
                items.take(MAX_COLUMNS).map(|item| Value::from(unescaped(item))).collect(),
            ));
        }
        match (kind, text) {
            ("bool", "T") => Some(Value::Bool(true)),
            ("bool", "F") => Some(Value::Bool(false)),
            _ if text == self.empty => Some(Value::from("")),
            _ => Some(Value::from(unescaped(text))),
        }
    }
}

/// The character of `\x09`.
fn character(text: &str) -> Option<char> {
    u32::from_str_radix(text.strip_prefix("\\x")?, 16).ok().and_then(char::from_u32)
}

/// A value without its escapes, `\x09` for a tab and the like.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        let byte = behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(b"\\x"),
        }
        rest = if byte.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;

    const NOTICE: &str = "\
#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tnotice
#open\t2026-06-03-12-59-31
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tnote\tmsg\tsub\tsrc\tdst\tp\tactions
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tenum\tstring\tstring\taddr\taddr\tport\tset[enum]
1780491571.342001\t-\t-\t-\t-\t-\t-\tScan::Port_Scan\t203.0.113.9 scanned\\x0915 ports\tremote\t203.0.113.9\t10.0.2.11\t-\tNotice::ACTION_LOG
#close\t2026-06-03-13-59-31
";
    const CONN: &str = "\
#separator \\x09
#path\tconn
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tlocal_orig
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tbool
1780491571.342001\tC1\t203.0.113.9\t51234\t10.0.2.11\t22\ttcp\tssh\tF
1780491572.342001\tC2\t203.0.113.9\t51235
not a record
1780491572.342001\tC2\t203.0.113.9\t51235\t10.0.2.11\t22\ttcp\tssh\tF\tone too many
";

    fn read(text: &str) -> (Vec<Record>, Vec<&str>) {
        assert!(recognises(text));
        let mut reader = (FORMAT.start)();
        let (mut records, mut left) = (Vec::new(), Vec::new());
        for line in text.lines() {
            match reader.offer(line) {
                Offered::Taken(record) => records.extend(record.map(|record| *record)),
                Offered::NotMine(_) => left.push(line),
            }
        }
        (records, left)
    }

    #[test]
    fn a_notice_is_an_alert() {
        let (records, left) = read(NOTICE);
        let [notice] = &records[..] else { panic!("{records:?}") };
        assert_eq!((notice.kind, notice.format, left.len()), (RecordKind::Alert, Format::ZeekTsv, 0));
        assert_eq!(notice.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
        assert_eq!(notice.source.as_ref().unwrap().address, "203.0.113.9");
        assert_eq!(notice.destination.as_ref().unwrap().address, "10.0.2.11");
        assert!(notice.message.starts_with("Scan::Port_Scan: 203.0.113.9 scanned"), "{}", notice.message);
    }

    #[test]
    fn a_connection_is_telemetry_and_a_cut_one_is_said() {
        let (records, left) = read(CONN);
        let [whole, cut] = &records[..] else { panic!("{records:?}") };
        assert_eq!((whole.kind, whole.is_cut), (RecordKind::Telemetry, false));
        assert_eq!(whole.destination.as_ref().unwrap().to_string(), "10.0.2.11:22");
        assert!(cut.is_cut);
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn escapes_are_taken_off() {
        assert_eq!(unescaped("a\\x09b\\xzz\\x"), "a\tb\\xzz\\x");
        assert_eq!(character("\\x2c"), Some(','));
        assert_eq!(character("x"), None);
    }
}
