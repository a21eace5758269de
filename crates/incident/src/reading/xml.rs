//! Windows events as XML (`wevtutil qe /f:XML`, the event viewer's export, Splunk's `XmlWinEventLog`), made the objects that JSON
//! writers make of them: attributes under `#attributes`, text beside them under `#text`, elements of one name as a list.
//!
//! Invariant: an event's bytes are looked at a fixed number of times, and nesting and number of its elements are bounded.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::Value;

use super::lines::MAX_LINE;
use crate::formats::Object;

/// Deepest element that is kept.
const MAX_DEPTH: usize = 8;
/// Most elements of an event.
const MAX_ELEMENTS: usize = 1024;
const END: &str = "</Event>";

/// Whether an event may begin here, or a document of events.
pub(super) fn may_begin(text: &str) -> bool {
    let text = text.trim_start();
    ["<Event xmlns", "<Event>", "<Events>", "<Events "].iter().any(|begin| text.starts_with(begin))
        || text.strip_prefix("<?xml").is_some_and(|rest| !rest.contains("?>") || may_begin_behind(rest))
}

/// Whether nothing or events stand behind a declaration.
fn may_begin_behind(declaration: &str) -> bool {
    let rest = declaration.split_once("?>").map_or("", |(_, rest)| rest).trim();
    rest.is_empty() || may_begin(rest)
}

/// An event, if the whole text is one.
pub(super) fn object(text: &str) -> Option<Object> {
    let text = text.trim();
    if !text.starts_with("<Event") || !text.ends_with(END) {
        return None;
    }
    let mut reader = Reader::from_str(text);
    let mut open: Vec<(String, Object)> = Vec::new();
    let mut elements = 0;
    while elements <= MAX_ELEMENTS {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                elements += 1;
                if open.len() >= MAX_DEPTH {
                    return None;
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                elements += 1;
                let (name, object) = element(&start)?;
                add(&mut open.last_mut()?.1, name, object);
            }
            Event::Text(text) => add_text(&mut open.last_mut()?.1, &text.xml10_content()),
            Event::CData(text) => add_text(&mut open.last_mut()?.1, &text),
            Event::GeneralRef(entity) => {
                let character = match entity.resolve_char_ref().ok()? {
                    Some(character) => character.to_string(),
                    None => quick_xml::escape::resolve_predefined_entity(&entity)?.to_owned(),
                };
                add_text(&mut open.last_mut()?.1, &character);
            }
            Event::End(_) => {
                let (name, object) = open.pop()?;
                match open.last_mut() {
                    Some((_, parent)) => add(parent, name, object),
                    None => {
                        let is_event = name == "Event" && object.get("System").is_some_and(Value::is_object);
                        return is_event.then(|| Object::from_iter([(name, Value::Object(object))]));
                    }
                }
            }
            Event::Eof => return None,
            _ => {}
        }
    }
    None
}

/// An element's name and its attributes.
fn element(start: &BytesStart<'_>) -> Option<(String, Object)> {
    let name = start.local_name().into_inner().to_owned();
    let mut attributes = Object::new();
    for attribute in start.attributes().take(MAX_ELEMENTS).flatten() {
        let key = attribute.key.into_inner();
        if key != "xmlns" {
            attributes.insert(
                key.to_owned(),
                Value::String(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned()),
            );
        }
    }
    let mut object = Object::new();
    if !attributes.is_empty() {
        object.insert("#attributes".to_owned(), Value::Object(attributes));
    }
    Some((name, object))
}

/// Puts an element under its parent.
fn add(parent: &mut Object, name: String, mut object: Object) {
    // Line ends between elements are no text of theirs.
    if let Some(Value::String(text)) = object.get_mut("#text") {
        let trimmed = text.trim();
        match trimmed.is_empty() {
            true => drop(object.remove("#text")),
            false => *text = trimmed.to_owned(),
        }
    }
    let is_bare = object.len() == 1 && object.contains_key("#text");
    let text = if is_bare { object.remove("#text") } else { None };
    let value = text.unwrap_or(Value::Object(object));
    match parent.get_mut(&name) {
        Some(Value::Array(all)) => all.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
        // An event's values are a list, however few they are.
        None if name == "Data" => drop(parent.insert(name, Value::Array(vec![value]))),
        None => drop(parent.insert(name, value)),
    }
}

fn add_text(object: &mut Object, text: &str) {
    match object.get_mut("#text") {
        Some(Value::String(before)) => before.push_str(text),
        _ => drop(object.insert("#text".to_owned(), Value::String(text.to_owned()))),
    }
}

/// Events that go over several lines, or of which several stand in one.
#[derive(Debug, Default)]
pub(super) struct Document {
    text: String,
    /// Bytes of the text in which no event ends.
    searched: usize,
    /// Whether this is the rest of an event that is longer than is kept.
    is_rest: bool,
}

/// What is found in a document.
pub(super) enum Part {
    /// An event.
    Event(Object),
    /// Text that is none.
    Text(String),
}

impl Document {
    /// Takes more of the text; true at the end of a line with which nothing is open. An event that is longer than is kept is cut, and
    /// what follows its end in the same line is read on.
    pub(super) fn feed(&mut self, text: &str, ends_line: bool, out: &mut Vec<Part>) -> bool {
        self.text.push_str(text);
        if ends_line {
            self.text.push('\n');
        }
        let mut taken = 0;
        while let Some(at) = self.text.get(self.searched..).and_then(|rest| rest.find(END)) {
            let end = self.searched + at + END.len();
            let event = without_frame(self.text.get(taken..end).unwrap_or_default());
            if !std::mem::take(&mut self.is_rest) {
                out.push(object(event).map_or_else(|| Part::Text(event.to_owned()), Part::Event));
            }
            (taken, self.searched) = (end, end);
        }
        self.text.drain(..taken);
        // The end's first bytes may be there already.
        let mut searched = self.text.len().saturating_sub(END.len());
        while !self.text.is_char_boundary(searched) {
            searched -= 1;
        }
        self.searched = searched;
        let rest = without_frame(&self.text);
        if rest.is_empty() && (ends_line || !self.is_rest) {
            *self = Document::default();
            return ends_line;
        }
        let is_over = self.is_rest || self.text.len() > MAX_LINE;
        if ends_line && (is_over || !rest.starts_with("<Event")) {
            self.end(out);
            return true;
        }
        if is_over {
            if !std::mem::replace(&mut self.is_rest, true) {
                out.push(Part::Text(rest.to_owned()));
            }
            self.text.drain(..searched);
            self.searched = 0;
        }
        false
    }

    /// Gives up what is open.
    pub(super) fn end(&mut self, out: &mut Vec<Part>) {
        let rest = without_frame(&self.text);
        if !rest.is_empty() && !self.is_rest {
            out.push(Part::Text(rest.to_owned()));
        }
        *self = Document::default();
    }
}

/// Without the declaration and the element around all events.
fn without_frame(text: &str) -> &str {
    let mut rest = text.trim();
    if let Some((_, behind)) = rest.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        rest = behind.trim();
    }
    for frame in ["<Events>", "</Events>"] {
        rest = rest.strip_prefix(frame).unwrap_or(rest).trim();
    }
    match rest.strip_prefix("<Events ").and_then(|rest| rest.split_once('>')) {
        Some((_, behind)) => behind.trim(),
        None => rest,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EVENT: &str = "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider \
        Name='Microsoft-Windows-Security-Auditing' Guid='{5}'/><EventID Qualifiers='0'>4625</EventID><TimeCreated \
        SystemTime='2026-06-03T12:59:31.342Z'/><Computer>DC01</Computer></System><EventData><Data \
        Name='TargetUserName'>svc &amp; co</Data></EventData></Event>";

    fn parts(text: &str, size: usize) -> Vec<String> {
        let (mut document, mut out) = (Document::default(), Vec::new());
        for line in text.lines() {
            let bytes: Vec<char> = line.chars().collect();
            let mut pieces: Vec<String> = bytes.chunks(size).map(|part| part.iter().collect()).collect();
            let last = pieces.pop().unwrap_or_default();
            for piece in pieces {
                document.feed(&piece, false, &mut out);
            }
            document.feed(&last, true, &mut out);
        }
        document.end(&mut out);
        let said = |part: Part| match part {
            Part::Event(object) => format!("event {}", object["Event"]["System"]["Computer"]),
            Part::Text(text) => text,
        };
        out.into_iter().map(said).collect()
    }

    #[test]
    fn an_event_becomes_the_object_that_json_writers_make() {
        let expected = json!({"Event": {
            "System": {
                "Provider": {"#attributes": {"Name": "Microsoft-Windows-Security-Auditing", "Guid": "{5}"}},
                "EventID": {"#attributes": {"Qualifiers": "0"}, "#text": "4625"},
                "TimeCreated": {"#attributes": {"SystemTime": "2026-06-03T12:59:31.342Z"}},
                "Computer": "DC01",
            },
            "EventData": {"Data": [{"#attributes": {"Name": "TargetUserName"}, "#text": "svc & co"}]},
        }});
        assert_eq!(object(EVENT).map(Value::Object), Some(expected));
        for text in ["<Event>", "<Event></Event>", "<Event><System>x</System></Event>", "<Event><a></Event>"]
        {
            assert!(object(text).is_none(), "{text}");
        }
        let deep = format!("<Event>{}{}</Event>", "<a>".repeat(100), "</a>".repeat(100));
        assert!(object(&deep).is_none());
    }

    #[test]
    fn events_over_several_lines_or_in_one_are_told_apart() {
        let indented = EVENT.replace("><", ">\n  <");
        for text in [
            format!("{EVENT}\n{EVENT}\n"),
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\n<Events>{EVENT}{EVENT}</Events>"
            ),
            format!("<Events>\n{indented}\n{indented}\n</Events>\n"),
        ] {
            for size in [7, 1_000_000] {
                assert_eq!(parts(&text, size), ["event \"DC01\"", "event \"DC01\""], "{text}");
            }
        }
    }

    #[test]
    fn an_event_that_is_too_long_costs_none_of_those_behind_it() {
        let long = format!("<Event>{}</Event>", "ä".repeat(2 * MAX_LINE));
        for size in [7, 1_000, 100_000] {
            let all = parts(&format!("{EVENT}{long}{EVENT}{long}{EVENT}"), size);
            let events = all.iter().filter(|part| *part == "event \"DC01\"").count();
            let cut = all.iter().filter(|part| part.starts_with("<Event>ä")).count();
            assert_eq!((all.len(), events, cut), (5, 3, 2), "{size}");
            // The line ends within it: the next one is read again.
            let open = long.trim_end_matches("</Event>");
            assert_eq!(parts(&format!("{open}\nplain\n{EVENT}"), size)[1..], ["plain", "event \"DC01\""]);
        }
    }

    #[test]
    fn what_is_no_event_stays_text() {
        assert_eq!(parts(&format!("{EVENT}plain\nmore\n"), 5), ["event \"DC01\"", "plain", "more"]);
        assert_eq!(parts("<Event>\nplain", 100), ["<Event>\nplain"]);
        let long = format!("<Event>{}", "x".repeat(2 * MAX_LINE));
        let cut = parts(&long, 1_000);
        assert!(
            cut.len() == 1 && long.starts_with(&cut[0]) && cut[0].len() > MAX_LINE,
            "what is kept of it is said"
        );
        assert!(!may_begin("<?xml version=\"1.0\"?><html>") && may_begin("<?xml version=\"1.0\"?>"));
    }
}
