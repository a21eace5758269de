//! Takes JSON objects out of text that comes line by line: one on a line, several, indented over many, in an array, or in the
//! array of an export's answer (`{"Records": [`), however long the whole is.
//!
//! Invariants: no more than one object of [`MAX_ITEM`] bytes is held; each byte is looked at a fixed number of times; an object that
//! breaks off takes no line with it that does not continue it.

use serde_json::Value;

use super::lines::{MAX_LINE, Piece};
use crate::formats::Object;

/// Longest object, in bytes.
const MAX_ITEM: usize = MAX_LINE;
/// Deepest nesting, as serde_json reads it.
const MAX_DEPTH: usize = 120;

/// Members that hold the records of an export, by their path.
pub(super) const WRAPPERS: [&[&str]; 20] = [
    &["Records"],
    &["records"],
    &["hits", "hits"],
    &["results"],
    &["value"],
    &["events"],
    &["Events"],
    &["alerts"],
    &["items"],
    &["logEvents"],
    &["data"],
    &["data", "result"],
    &["messages"],
    &["entries"],
    &["Findings"],
    &["detail", "findings"],
    &["data", "events"],
    &["reply", "alerts"],
    &["reply", "incidents"],
    &["reply", "alerts", "data"],
];

/// What was taken out of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// A whole object.
    Object(Object),
    /// What was readable of an object that breaks off, and its text.
    Cut(Object, String),
    /// Text that only looked like JSON.
    Text(String),
}

/// What a piece of text did to the object that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// It was taken, and more may come.
    Open,
    /// It was taken, and nothing is open any more.
    Closed,
    /// It does not go on with what was open, which has ended before it.
    NotPart,
}

/// Whether a line may begin JSON that holds objects.
pub(super) fn may_begin(line: &str) -> bool {
    let line = line.trim_start();
    match line.as_bytes().first() {
        Some(b'{') => true,
        Some(b'[') => line
            .get(1..)
            .is_some_and(|rest| matches!(rest.trim_start().as_bytes().first(), None | Some(b'{'))),
        _ => false,
    }
}

/// The object that a whole line is, with the comma that may follow it in a list.
pub(super) fn object(line: &str) -> Option<Object> {
    let line = line.trim();
    serde_json::from_str(line.strip_suffix(',').unwrap_or(line)).ok()
}

/// What is whole of an object that breaks off; nothing if no member is.
pub(super) fn repaired(text: &str) -> Option<Object> {
    let mut machine = Machine::default();
    // Where the text may end, and how deep it is there.
    let mut whole: Option<(usize, usize)> = None;
    for (at, byte) in text.bytes().enumerate() {
        let before = machine.scalar;
        if machine.step(byte).is_err() {
            break;
        }
        // A number ends where something else begins, a text or a list with its own last byte.
        if before && !machine.scalar {
            whole = Some((at, machine.depth_before));
        }
        if matches!(byte, b'"' | b'}' | b']') && machine.state == State::Next && !machine.in_string {
            whole = Some((at + 1, machine.stack.len()));
        }
    }
    let (end, depth) = whole?;
    let mut repaired = text.get(..end)?.to_owned();
    for is_array in machine.opened.get(..depth)?.iter().rev() {
        repaired.push(if *is_array { ']' } else { '}' });
    }
    object(&repaired).filter(|object| !object.is_empty())
}

/// Objects that are taken out of text.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    machine: Machine,
    /// Text of the object that is open, or of what stands around objects.
    text: String,
    /// How deep the objects lie that are taken.
    base: usize,
    /// The keys of the first levels on the way to where the scanner is.
    path: Vec<String>,
    key_start: usize,
    /// Whether the object grew too long, so that no more of it is kept.
    is_full: bool,
    /// Whether the rest of the line is dropped.
    is_lost: bool,
    is_open: bool,
}

impl Scanner {
    /// Takes the next piece. What ends in it is put into `out`.
    pub(super) fn feed(&mut self, piece: Piece<'_>, out: &mut Vec<Found>) -> Fed {
        if self.is_lost {
            self.is_lost = !piece.ends;
            return if piece.ends { Fed::Closed } else { Fed::Open };
        }
        let was_open = self.is_open;
        if was_open && piece.starts && self.is_cut_before(piece.text) {
            self.end(out);
            return Fed::NotPart;
        }
        let (before, found) = (self.text.len(), out.len());
        for (at, c) in piece.text.char_indices() {
            if self.step(c, out).is_ok() {
                continue;
            }
            let rest = piece.text.get(at..).unwrap_or_default();
            if was_open && piece.starts && out.len() == found {
                // The line is none of what was open.
                self.text.truncate(before);
                self.end(out);
                return Fed::NotPart;
            }
            if self.is_open && self.machine.stack.len() > self.base {
                self.text.push_str(rest);
                self.end(out);
            } else {
                self.reset();
                if !matches!(rest.trim(), "" | "]" | "]," | ",") {
                    out.push(Found::Text(rest.trim().to_owned()));
                }
            }
            self.is_lost = !piece.ends;
            return if piece.ends { Fed::Closed } else { Fed::Open };
        }
        if piece.ends && self.is_open && self.step('\n', out).is_err() {
            // A text value goes over no line's end.
            self.end(out);
        }
        if self.is_open || !piece.ends { Fed::Open } else { Fed::Closed }
    }

    /// Ends what is open, which breaks off here.
    pub(super) fn end(&mut self, out: &mut Vec<Found>) {
        let text = std::mem::take(&mut self.text);
        let is_object = self.machine.stack.len() > self.base;
        self.reset();
        if text.trim().is_empty() {
            return;
        }
        match repaired(text.trim()).filter(|_| is_object) {
            Some(object) => out.push(Found::Cut(object, text)),
            None if is_object => out.extend(text.lines().map(|line| Found::Text(line.to_owned()))),
            None => {}
        }
    }

    fn reset(&mut self) {
        *self = Scanner { is_lost: self.is_lost, ..Scanner::default() };
    }

    /// Whether the object that is open breaks off before this line. An object at the very beginning of a line is a record of its
    /// own: what is indented does not begin there.
    fn is_cut_before(&self, line: &str) -> bool {
        line.starts_with('{') && self.machine.stack.len() > self.base
    }

    fn step(&mut self, c: char, out: &mut Vec<Found>) -> Result<(), Broken> {
        let depth = self.machine.stack.len();
        let at_base = self.is_open && depth == self.base;
        let byte = u8::try_from(c).unwrap_or(b'?');
        // Objects of a list that stand one below the other without commas are taken as well.
        if at_base && byte == b'{' && self.machine.state == State::Next {
            self.machine.state = State::Value;
        }
        if !self.is_open {
            match byte {
                b'{' | b'[' => self.is_open = true,
                b',' | b' ' | b'\t' | b'\n' => return Ok(()),
                _ => return Err(Broken),
            }
        }
        // Between the records of a list stands nothing else.
        if at_base && self.base > 0 && !matches!(byte, b'{' | b']' | b',' | b' ' | b'\t' | b'\n') {
            return Err(Broken);
        }
        let was_key = self.machine.is_key();
        let was_string = self.machine.in_string;
        self.machine.step(byte)?;
        let now = self.machine.stack.len();
        if at_base && now > depth {
            // A record begins.
            self.text.clear();
        }
        if self.text.len() + c.len_utf8() <= MAX_ITEM {
            self.text.push(c)
        } else {
            self.is_full = true
        }
        if self.base == 0 && depth <= 2 && !self.is_full {
            self.follow_path(was_string, was_key);
        }
        if now > depth && byte == b'[' && self.base == 0 && (depth == 0 || self.is_wrapper(depth)) {
            self.base = now;
            self.text.clear();
        }
        if self.base > 1 && now < depth && now + 1 == self.base {
            // The records have ended; what is left of the answer holds none.
            self.base = usize::MAX;
        }
        if now < depth && now == self.base && byte == b'}' {
            self.take(out);
        }
        if now == 0 && self.machine.state == State::Next {
            self.reset();
        }
        Ok(())
    }

    /// Keeps the keys of the first two levels.
    fn follow_path(&mut self, was_string: bool, was_key: bool) {
        let depth = self.machine.stack.len();
        if !was_string && self.machine.in_string && self.machine.is_key() {
            self.key_start = self.text.len();
        } else if was_string && was_key && !self.machine.in_string && (1..=2).contains(&depth) {
            let key = self.text.get(self.key_start..self.text.len() - 1).unwrap_or_default().to_owned();
            self.path.truncate(depth - 1);
            self.path.push(key);
        }
    }

    /// Whether the array that begins at this depth holds an export's records.
    fn is_wrapper(&self, depth: usize) -> bool {
        self.path.len() == depth && WRAPPERS.iter().any(|path| path.iter().eq(self.path.iter()))
    }

    fn take(&mut self, out: &mut Vec<Found>) {
        let text = std::mem::take(&mut self.text);
        let is_full = std::mem::take(&mut self.is_full);
        if !is_full && let Ok(Value::Object(object)) = serde_json::from_str(&text) {
            out.push(Found::Object(object));
            return;
        }
        match repaired(&text) {
            Some(object) => out.push(Found::Cut(object, text)),
            None => out.push(Found::Text(text)),
        }
    }
}

/// The text is no JSON from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Value,
    /// Behind `[`: a value or the end.
    First,
    /// Behind `{`: a key or the end.
    FirstKey,
    Key,
    Colon,
    /// Behind a value: a comma or the end.
    Next,
}

/// Follows JSON byte by byte. It is as strict as needed to tell where a value ends.
#[derive(Debug, Default)]
struct Machine {
    /// What is open: whether each is an array.
    stack: Vec<bool>,
    /// The same, with what was closed last still behind it.
    opened: Vec<bool>,
    state: State,
    in_string: bool,
    is_escaped: bool,
    /// Inside a number or a word.
    scalar: bool,
    depth_before: usize,
}

impl Machine {
    /// Whether the string that is open, or may begin, is a key.
    fn is_key(&self) -> bool {
        matches!(self.state, State::Key | State::FirstKey)
    }

    fn step(&mut self, byte: u8) -> Result<(), Broken> {
        self.depth_before = self.stack.len();
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.state = if self.is_key() { State::Colon } else { State::Next };
                }
                b'\n' => return Err(Broken),
                _ => {}
            }
            return Ok(());
        }
        let is_word = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if self.scalar {
            if is_word {
                return Ok(());
            }
            self.scalar = false;
            self.state = State::Next;
        }
        let top = self.stack.last().copied();
        match (byte, self.state) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => {}
            (b'"', State::Value | State::First | State::Key | State::FirstKey) => self.in_string = true,
            (b'{', State::Value | State::First) => self.push(false)?,
            (b'[', State::Value | State::First) => self.push(true)?,
            (b'}', State::FirstKey | State::Next) if top == Some(false) => self.pop(),
            (b']', State::First | State::Next) if top == Some(true) => self.pop(),
            (b',', State::Next) => {
                self.state = match top {
                    Some(true) => State::Value,
                    Some(false) => State::Key,
                    None => return Err(Broken),
                };
            }
            (b':', State::Colon) => self.state = State::Value,
            (_, State::Value | State::First) if is_word => self.scalar = true,
            _ => return Err(Broken),
        }
        Ok(())
    }

    fn push(&mut self, is_array: bool) -> Result<(), Broken> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Broken);
        }
        self.opened.truncate(self.stack.len());
        self.opened.push(is_array);
        self.stack.push(is_array);
        self.state = if is_array { State::First } else { State::FirstKey };
        Ok(())
    }

    fn pop(&mut self) {
        self.stack.pop();
        self.state = State::Next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found in a text, pieces of at most `most` bytes at a time.
    fn found(text: &str, most: usize) -> Vec<Found> {
        let (mut scanner, mut out) = (Scanner::default(), Vec::new());
        for line in text.lines() {
            let mut starts = true;
            let mut rest = line;
            loop {
                let mut end = most.min(rest.len());
                while !rest.is_char_boundary(end) {
                    end += 1;
                }
                let (now, next) = rest.split_at(end);
                let piece = Piece { text: now, starts, ends: next.is_empty() };
                if scanner.feed(piece, &mut out) == Fed::NotPart {
                    match may_begin(now) {
                        true => continue,
                        false => out.push(Found::Text(line.to_owned())),
                    }
                    break;
                }
                (starts, rest) = (false, next);
                if rest.is_empty() {
                    break;
                }
            }
        }
        scanner.end(&mut out);
        out
    }

    fn shown(text: &str) -> Vec<String> {
        let show = |found: Found| match found {
            Found::Object(object) => Value::Object(object).to_string(),
            Found::Cut(object, _) => format!("cut {}", Value::Object(object)),
            Found::Text(text) => format!("text {text}"),
        };
        found(text, 1 << 20).into_iter().map(show).collect()
    }

    #[test]
    fn objects_are_found_in_every_arrangement() {
        let both = ["{\"a\":1}", "{\"b\":{\"c\":[1,{}]}}"];
        for text in [
            "{\"a\":1}\n{\"b\":{\"c\":[1,{}]}}\n",
            "{\"a\":1}{\"b\":{\"c\":[1,{}]}}",
            "[{\"a\":1},{\"b\":{\"c\":[1,{}]}}]",
            "[\n{\"a\":1},\n{\"b\":{\"c\":[1,{}]}}\n]\n",
            "[\n  {\n    \"a\": 1\n  },\n  {\n    \"b\": {\n      \"c\": [\n        1,\n        {}\n      ]\n    }\n  }\n]",
            "{\"Records\":[{\"a\":1},{\"b\":{\"c\":[1,{}]}}]}",
            "{\"took\": 3, \"hits\": {\"total\": {\"value\": 2}, \"hits\": [\n {\"a\":1}, {\"b\":{\"c\":[1,{}]}}], \"x\": 1}, \"y\": [{}]}",
            "{\"a\":1},\n{\"b\":{\"c\":[1,{}]}}]\n",
            "{\n\"a\": 1\n}\n{\n\"b\": {\"c\":[1,{}]}\n}\n",
        ] {
            assert_eq!(shown(text), both, "{text}");
            assert_eq!(found(text, 3), found(text, 1 << 20), "in small pieces: {text}");
        }
    }

    #[test]
    fn what_breaks_off_is_kept_and_takes_nothing_with_it() {
        assert_eq!(
            shown("{\"a\":1,\"b\":{\"c\":\"x\",\"d\":\"br\n{\"e\":2}"),
            ["cut {\"a\":1,\"b\":{\"c\":\"x\"}}", "{\"e\":2}"]
        );
        assert_eq!(shown("{\"a\":1,\"b\":[1,2\n{\"e\":2}"), ["cut {\"a\":1,\"b\":[1]}", "{\"e\":2}"]);
        assert_eq!(
            shown("{\"a\":1,\"b\":\nJun  3 12:00:00 web x: y"),
            ["cut {\"a\":1}", "text Jun  3 12:00:00 web x: y"]
        );
        assert_eq!(shown("{\"a\":1,\"n\":12"), ["cut {\"a\":1}"], "a number may go on");
        assert_eq!(shown("{\"Records\":[{\"a\":1},{\"b\":2,\"c"), ["{\"a\":1}", "cut {\"b\":2}"]);
        assert_eq!(shown("{not json}\nnext"), ["text {not json}", "text next"]);
        assert_eq!(shown("[\nplain"), ["text plain"]);
        assert_eq!(shown("{\"a\":[\n{\"e\":2}\n{\"f\":3}"), ["text {\"a\":[", "{\"e\":2}", "{\"f\":3}"]);
        assert_eq!(shown("{\"a\":1} and more"), ["{\"a\":1}", "text and more"]);
    }

    #[test]
    fn long_and_deep_objects_are_bounded() {
        let long = format!("{{\"a\":1,\"b\":\"{}\"}}", "x".repeat(2 * MAX_ITEM));
        assert!(matches!(found(&long, 1000).as_slice(), [Found::Cut(object, text)]
            if object.len() == 1 && text.len() <= MAX_ITEM));
        let deep = "{\"a\":".repeat(100_000);
        assert!(!found(&deep, 1 << 20).is_empty());
        let list = format!("[{}]", vec!["{\"a\":1}"; 100_000].join(","));
        assert_eq!(found(&list, 1 << 16).len(), 100_000);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[\\[\\]{}\":,a1 \\\\\\n]{0,80}", most in 1_usize..9) {
            let _ = found(&text, most);
            let _ = repaired(&text);
        }
    }
}
