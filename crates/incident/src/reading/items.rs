//! The records of a source as it writes them, one by one: lines, objects, rows of an export, entries of journald's export form.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use serde_json::Value;

use super::json::{self, Fed, Found, Scanner};
use super::lines::{LineFaults, Lines, MAX_LINE, Piece};
use super::unwrap::{Around, Body, Item, Unwrapper};
use super::xml;
use crate::formats::{Object, time_of};

/// Most columns of an export that are looked at.
const MAX_COLUMNS: usize = 512;

/// The items of a source.
pub(super) struct Items<R> {
    lines: Lines<R>,
    ready: VecDeque<Item>,
    mode: Mode,
    unwrapper: Unwrapper,
    found: Vec<Found>,
    taken: Vec<Item>,
    /// Lines that broke off or were longer than is kept.
    cut: u64,
}

enum Mode {
    /// Nothing was read.
    Start,
    /// Lines and objects.
    Lines,
    /// JSON that goes over several lines.
    Json(Box<Scanner>),
    /// Events in XML.
    Xml(xml::Document),
    /// The rest of a line that is too long.
    Rest,
    /// The number that evtx_dump writes over each record.
    Numbered(String),
    /// Rows of an export.
    Rows(Rows),
    /// An entry of journald's export form.
    Entry(Object),
}

/// Rows of an export that are being read.
#[derive(Debug)]
struct Rows {
    columns: Columns,
    /// What there is of the next row.
    row: String,
    /// Whether a quoted cell is open.
    is_quoted: bool,
}

/// Columns of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Columns {
    /// One of them holds each record's own text; these are its place and those of what is read beside it.
    Raw { raw: usize, time: Option<usize>, host: Option<usize> },
    /// They are the members of an object.
    Members(Vec<String>),
}

impl<R: BufRead> Items<R> {
    /// The items of a text.
    pub(super) fn new(reader: R) -> Self {
        Items {
            lines: Lines::new(reader),
            ready: VecDeque::new(),
            mode: Mode::Start,
            unwrapper: Unwrapper::default(),
            found: Vec::new(),
            taken: Vec::new(),
            cut: 0,
        }
    }

    /// Lines that had to be changed so far.
    pub(super) fn faults(&self) -> LineFaults {
        self.lines.faults()
    }

    /// Bytes taken so far.
    pub(super) fn read(&self) -> u64 {
        self.lines.read()
    }

    /// Records that broke off so far.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// The next item, or nothing at the end. An empty line is one.
    pub(super) fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                self.cut += u64::from(item.is_cut);
                return Ok(Some(item));
            }
            let Some(piece) = self.lines.next_piece()? else {
                if !end(&mut self.mode, &mut self.unwrapper, &mut self.found, &mut self.taken) {
                    return Ok(None);
                }
                self.ready.extend(self.taken.drain(..));
                continue;
            };
            while !take(piece, &mut self.mode, &mut self.unwrapper, &mut self.found, &mut self.taken) {}
            self.ready.extend(self.taken.drain(..));
        }
    }
}

/// Takes a piece; false if it has to be offered again, in the mode that then holds.
fn take(
    piece: Piece<'_>,
    mode: &mut Mode,
    unwrapper: &mut Unwrapper,
    found: &mut Vec<Found>,
    out: &mut Vec<Item>,
) -> bool {
    match mode {
        Mode::Start if piece.text.trim().is_empty() => {}
        Mode::Start => {
            *mode = match Columns::of(piece.text).filter(|_| piece.ends) {
                Some(columns) => Mode::Rows(Rows { columns, row: String::new(), is_quoted: false }),
                None => Mode::Lines,
            };
            // The names of the columns are no row.
            return matches!(mode, Mode::Rows(_));
        }
        Mode::Rest => {
            if piece.ends {
                *mode = Mode::Lines;
            }
        }
        Mode::Lines => {
            if piece.text.starts_with("__CURSOR=") && piece.ends {
                *mode = Mode::Entry(Object::new());
                return false;
            }
            if is_number_of_record(piece.text) && piece.ends {
                *mode = Mode::Numbered(piece.text.to_owned());
                return true;
            }
            // A record separator stands before each text of a sequence (RFC 7464).
            let piece = Piece { text: piece.text.trim_start_matches('\u{1e}'), ..piece };
            if json::may_begin(piece.text) {
                if piece.ends
                    && let Some(object) = json::object(piece.text)
                {
                    unwrapper.object(object, false, out);
                    return true;
                }
                *mode = Mode::Json(Box::default());
                return false;
            }
            if xml::may_begin(piece.text) {
                *mode = Mode::Xml(xml::Document::default());
                return false;
            }
            unwrapper.line(piece.text, Around::default(), !piece.ends, out);
            if !piece.ends {
                *mode = Mode::Rest;
            }
        }
        Mode::Numbered(number) => {
            if !json::may_begin(piece.text) {
                unwrapper.line(number, Around::default(), false, out);
            }
            *mode = Mode::Lines;
            return false;
        }
        Mode::Json(scanner) => {
            let fed = scanner.feed(piece, found);
            if fed != Fed::Open {
                *mode = Mode::Lines;
            }
            drain(found, unwrapper, out);
            return fed != Fed::NotPart;
        }
        Mode::Xml(document) => {
            let mut parts = Vec::new();
            if document.feed(piece.text, piece.ends, &mut parts) {
                *mode = Mode::Lines;
            }
            take_parts(parts, unwrapper, out);
        }
        Mode::Rows(Rows { columns, row, is_quoted }) => {
            // Beyond the bound a row is cut, and quotation marks tell nothing any more.
            let is_long = row.len() + piece.text.len() > MAX_LINE;
            if !is_long {
                row.push_str(piece.text);
            }
            *is_quoted ^= !memchr::memchr_iter(b'"', piece.text.as_bytes()).count().is_multiple_of(2);
            if piece.ends && (is_long || !*is_quoted) {
                columns.take(row, unwrapper, out);
                row.clear();
                *is_quoted = false;
            } else if piece.ends {
                row.push('\n');
            }
        }
        Mode::Entry(entry) => match piece.text.split_once('=') {
            Some((key, value)) if piece.starts && piece.ends => {
                entry.insert(key.to_owned(), Value::String(value.to_owned()));
            }
            _ if piece.text.is_empty() => {
                unwrapper.object(std::mem::take(entry), false, out);
                *mode = Mode::Lines;
            }
            // A field that holds bytes stands on lines of its own.
            _ => {}
        },
    }
    true
}

/// Ends what is open at the end of the text; false if nothing was.
fn end(mode: &mut Mode, unwrapper: &mut Unwrapper, found: &mut Vec<Found>, out: &mut Vec<Item>) -> bool {
    match std::mem::replace(mode, Mode::Lines) {
        Mode::Json(mut scanner) => {
            scanner.end(found);
            drain(found, unwrapper, out);
        }
        Mode::Xml(mut document) => {
            let mut parts = Vec::new();
            document.end(&mut parts);
            take_parts(parts, unwrapper, out);
        }
        Mode::Rows(Rows { columns, row, .. }) if !row.trim().is_empty() => columns.take(&row, unwrapper, out),
        Mode::Entry(entry) if !entry.is_empty() => unwrapper.object(entry, false, out),
        Mode::Numbered(number) => unwrapper.line(&number, Around::default(), false, out),
        _ => {}
    }
    unwrapper.end(out);
    !out.is_empty()
}

fn take_parts(parts: Vec<xml::Part>, unwrapper: &mut Unwrapper, out: &mut Vec<Item>) {
    for part in parts {
        match part {
            xml::Part::Event(object) => unwrapper.object(object, false, out),
            xml::Part::Text(text) => {
                // It begins like an event, and is none.
                let is_cut = text.starts_with("<Event");
                for line in text.lines() {
                    unwrapper.line(line, Around::default(), is_cut, out);
                }
            }
        }
    }
}

/// `Record 12`
fn is_number_of_record(line: &str) -> bool {
    line.strip_prefix("Record ").is_some_and(|number| {
        (1..=12).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn drain(found: &mut Vec<Found>, unwrapper: &mut Unwrapper, out: &mut Vec<Item>) {
    for found in found.drain(..) {
        match found {
            Found::Object(object) => unwrapper.object(object, false, out),
            Found::Cut(object, _) => unwrapper.object(object, true, out),
            // It begins like an object, and nothing of it can be read.
            Found::Text(text) => {
                let is_cut = text.trim_start().starts_with('{');
                out.push(Item { body: Body::Line(text), around: Around::default(), is_cut });
            }
        }
    }
}

/// Names of which one tells that the columns of an export are the members of objects that are known.
const MEMBERS: [&str; 15] = [
    "kibana.alert.rule.name",
    "signal.rule.name",
    "rule.name",
    "RuleTitle",
    "event_type",
    "eventName",
    "rule.level",
    "rule.description",
    "winlog.event_id",
    "EventID",
    "class_uid",
    "id.orig_h",
    "detections",
    "event.kind",
    "AuditData",
];
/// Names of a column with the time of what a row tells, by which a table of a log is known.
const TIMES: [&str; 17] = [
    "_time",
    "@timestamp",
    "timestamp",
    "Timestamp",
    "time",
    "Time",
    "Date",
    "date",
    "datetime",
    "TimeGenerated",
    "TimeCreated",
    "CreationDate",
    "CreationTime",
    "EventTime",
    "eventTime",
    "event_time",
    "Event Time",
];
/// Fewest columns of a table by whose names alone it is known.
const MIN_COLUMNS: usize = 4;
/// Names of columns that hold a record's own text. Columns of other names may hold what others wrote.
const TEXTS: [&str; 2] = ["_raw", "@message"];

impl Columns {
    /// The columns of an export, if this line names them.
    fn of(line: &str) -> Option<Columns> {
        // Log Analytics writes the zone behind the name: `TimeGenerated [UTC]`.
        let name = |cell: String| cell.split_once(" [").map_or(cell.as_str(), |(name, _)| name).to_owned();
        let names: Vec<String> = cells(line.trim_start_matches('\u{feff}')).into_iter().map(name).collect();
        let place = |all: &[&str]| names.iter().position(|own| all.contains(&own.as_str()));
        let is_name = |name: &String| {
            name.len() <= 128 && name.chars().all(|c| c.is_alphanumeric() || "_@.- #()/".contains(c))
        };
        if names.len() < 2 && place(&["_raw"]).is_none() || !names.iter().all(is_name) {
            return None;
        }
        if place(&MEMBERS).is_some() {
            return Some(Columns::Members(names));
        }
        let time = place(&TIMES);
        if let Some(raw) = place(&TEXTS).filter(|_| time.is_some() || place(&["_raw"]).is_some()) {
            return Some(Columns::Raw { raw, time, host: place(&["host", "hostname", "source", "Host"]) });
        }
        // Any other table of a log: names of columns and a time among them.
        let is_table = time.is_some() && names.len() >= MIN_COLUMNS;
        let is_word = |name: &String| name.starts_with(|c: char| c.is_alphabetic() || "_@".contains(c));
        (is_table && names.iter().all(is_word)).then_some(Columns::Members(names))
    }

    fn take(&self, row: &str, unwrapper: &mut Unwrapper, out: &mut Vec<Item>) {
        if row.trim().is_empty() {
            return;
        }
        let cells = cells(row);
        let (raw, time, host) = match self {
            Columns::Raw { raw, time, host } => (*raw, *time, *host),
            Columns::Members(names) => {
                let named = names.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
                return unwrapper.object(
                    named.map(|(name, cell)| (name.clone(), Value::String(cell))).collect(),
                    false,
                    out,
                );
            }
        };
        let cell = |place: Option<usize>| place.and_then(|at| cells.get(at)).map_or("", String::as_str);
        let mut around = Around::default();
        around.add(time_of(&Value::from(cell(time))), cell(host), "");
        let raw = cell(Some(raw)).trim_end();
        // Only of several lines it has to be known whether they are one record.
        let is_whole = || json::may_begin(raw) && json::object(raw).is_some() || xml::object(raw).is_some();
        if !raw.contains('\n') || is_whole() {
            return unwrapper.line(raw, around, false, out);
        }
        raw.lines()
            .filter(|line| !line.trim().is_empty())
            .for_each(|line| unwrapper.line(line, around.clone(), false, out));
    }
}

/// The cells of a row, RFC 4180: a quoted one may hold commas, line ends and doubled quotation marks.
fn cells(row: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let (mut quoted, mut chars) = (false, row.chars().peekable());
    while let (Some(c), Some(cell)) = (chars.next(), out.last_mut()) {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            ',' if !quoted => {
                if out.len() >= MAX_COLUMNS {
                    break;
                }
                out.push(String::new());
            }
            c => cell.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<String> {
        let mut items = Items::new(io::BufReader::with_capacity(11, text.as_bytes()));
        let mut out = Vec::new();
        while let Some(item) = items.next_item().unwrap() {
            let body = match item.body {
                Body::Object(object) => Value::Object(object).to_string(),
                Body::Line(line) => line,
            };
            let cut = if item.is_cut { "cut " } else { "" };
            out.push(format!("{cut}{body}"));
        }
        out
    }

    #[test]
    fn lines_and_objects_may_be_mixed() {
        assert_eq!(
            items("plain\n{\"a\":1}\n\n[\n{\"b\":1},\n{\"c\":[1,\nJun  3 12:00:00 web x: y\n{\"d\":\n1}"),
            ["plain", "{\"a\":1}", "", "{\"b\":1}", "cut {\"c\":[1]}", "y", "{\"d\":1}"]
        );
    }

    #[test]
    fn an_export_of_rows_is_read() {
        let text = "\"_time\",host,\"_raw\"\n\"2026-06-03T12:59:31Z\",ids1,\"{\"\"a\"\":\n1}\"\n,ids2,\"plain, with a comma\"\n";
        assert_eq!(items(text), ["{\"a\":1}", "plain, with a comma"]);
    }

    #[test]
    fn rows_of_any_table_with_a_time_are_objects() {
        let text = "\"TimeGenerated [UTC]\",Computer,EventID,Account\n\"6/3/2026, 6:01:11.269 AM\",DC01,4625,CORP\\svc\n";
        let row = "{\"TimeGenerated\":\"6/3/2026, 6:01:11.269 AM\",\"Computer\":\"DC01\",\"EventID\":\"4625\",\"Account\":\"CORP\\\\svc\"}";
        assert_eq!(items(text), [row]);
        let text = "Date,User,Action,Result\n2026-06-03 12:59:31,alice,Export,ok\n";
        assert_eq!(items(text).len(), 1);
        // EvtxECmd's last column holds the event.
        let text = "EventId,TimeCreated,Channel,Payload\n4625,2026-06-03 12:59:31,Security,\"{\"\"EventData\"\":{\"\"Data\"\":[]}}\"\n";
        assert!(items(text)[0].contains("\"EventData\":{\"Data\":[]}"));
        let text = r#"{"EventId":4625,"Channel":"Security","Payload":"{\"EventData\":{\"Data\":[]}}"}"#;
        assert!(items(text)[0].contains("\"EventData\":{\"Data\":[]}"));
        for text in ["a,b,c,d\nDate,1,2,3\n", "Date,1,2,3\nx,y,z,w\n", "time,message\n1,x\n"] {
            assert_eq!(items(text).len(), 2, "{text}");
        }
    }

    #[test]
    fn rows_of_microsofts_audit_log_hold_objects() {
        let text = "RecordId,CreationDate,RecordType,Operation,UserId,AuditData\n1,2026-06-03T12:59:31Z,15,UserLoggedIn,alice@example.com,\"{\"\"Operation\"\":\"\"UserLoggedIn\"\"}\"\n";
        assert_eq!(items(text), ["{\"Operation\":\"UserLoggedIn\"}"]);
    }

    #[test]
    fn journalds_export_is_read() {
        let entry = "__CURSOR=s\n__REALTIME_TIMESTAMP=1780491571342001\n_HOSTNAME=web01\nSYSLOG_IDENTIFIER=sshd\nMESSAGE=Failed = x\n";
        assert_eq!(items(&format!("{entry}\n{entry}")), ["Failed = x", "Failed = x"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let text = format!("{}\nnext\n", "x".repeat(3 * MAX_LINE));
        let all = items(&text);
        assert_eq!((all.len(), all[0].starts_with("cut x"), all[1].as_str()), (2, true, "next"));
    }
}
