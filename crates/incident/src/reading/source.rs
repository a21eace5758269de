//! Reads one source: its format is recognised from its first items, or declared, and holds for all of it. Where they show none, its items
//! are read by what all logs have: a time and words, or names and values.
//!
//! Invariant: no item is read by a format that neither the first items of its source showed nor its owner declared; only where a
//! logger's header names the program does that program's format hold wherever it comes, and that of a record which the header itself
//! holds. So whoever can put a text into a record does not choose how it is read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::LogError;
use super::decode::{self, Faults};
use super::items::Items;
use super::json;
use super::unwrap::{Around, Body, Item};
use crate::formats::{
    Format, Layout, LayoutFormat, LineFormat, Object, ObjectFormat, Offered, clean, clean_message, event,
    layouts, lines, meant_as, objects, plain,
};
use crate::{Record, RecordKind, Timestamp};

/// The first items of a source are those up to both of the first two bounds, or up to the third.
const HEAD_BYTES: u64 = 64 * 1024;
const HEAD_ITEMS: usize = 1_000;
const HEAD_MOST: u64 = 1 << 20;

/// What is kept of a source between its parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// Formats that recognised something, by their places in the registry.
    objects: BTreeSet<usize>,
    lines: BTreeSet<usize>,
    layouts: BTreeSet<usize>,
    is_declared: bool,
    /// Whether something was there that a form reads. Where nothing is, whatever tells of something at some time is taken for a log.
    is_known: bool,
    /// What reads the record that is open.
    layout: Option<Box<dyn Layout>>,
    previous: Option<Timestamp>,
}

/// How a source was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Lines and objects that no format took.
    pub(crate) unknown: u64,
    /// The known formats that those are nearest to.
    pub(crate) nearest: BTreeMap<Format, u64>,
    /// Of those, the ones that begin like a format and cannot be read as it.
    pub(crate) broken: u64,
    /// Records that break off.
    pub(crate) cut: u64,
    pub(crate) undecodable: u64,
    pub(crate) with_nul: u64,
    /// Why the end of the source is missing, if it is.
    pub(crate) unread: Option<&'static str>,
}

impl Source {
    /// A source of a format that its owner declares.
    pub(crate) fn declared(format: Format) -> Source {
        let places = |all: Vec<Format>| {
            all.into_iter().enumerate().filter(|(_, own)| *own == format).map(|(at, _)| at).collect()
        };
        Source {
            objects: places(objects().iter().map(|own| own.format).collect()),
            lines: places(lines().iter().map(|own| own.format).collect()),
            layouts: places(layouts().iter().map(|own| own.format).collect()),
            is_declared: true,
            is_known: !format.is_unfamiliar(),
            ..Source::default()
        }
    }

    /// Reads a part of the source, or all of it, and gives its records to `sink` in their order.
    pub(crate) fn read(&mut self, reader: impl Read, sink: &mut dyn FnMut(Record)) -> Result<Seen, LogError> {
        let faults = Faults::default();
        let mut items = Items::new(decode::decode(reader, &faults)?);
        let mut seen = Seen::default();
        let mut head = Vec::new();
        while !self.is_declared {
            let Some(item) = items.next_item()? else { break };
            self.recognise(&item);
            head.push(item);
            let is_enough = items.read() >= HEAD_BYTES && head.len() >= HEAD_ITEMS;
            if is_enough || items.read() >= HEAD_MOST {
                break;
            }
        }
        for item in head {
            self.take(item, &mut seen, sink);
        }
        while let Some(item) = items.next_item()? {
            self.take(item, &mut seen, sink);
        }
        if let Some(record) = self.layout.as_mut().and_then(|layout| layout.end()) {
            self.give(record, sink);
        }
        seen.cut = items.cut();
        (seen.undecodable, seen.with_nul) = (items.faults().undecodable, items.faults().with_nul);
        seen.unread = faults.broken();
        Ok(seen)
    }

    /// Adds the format of one of the first items.
    fn recognise(&mut self, item: &Item) {
        match &item.body {
            Body::Object(object) => {
                let format = object_format(object);
                self.is_known |= format.is_some();
                self.objects.extend(format);
            }
            Body::Line(line) if line.trim().is_empty() => {}
            Body::Line(line) => {
                let layout = layouts().iter().position(|format| (format.recognises)(line));
                match layout.filter(|_| item.around.program.is_empty()) {
                    Some(layout) => {
                        self.is_known = true;
                        self.layouts.extend(Some(layout));
                    }
                    None => {
                        let format = line_format(line, &item.around);
                        // Syslog's form, and that of some services, holds for lines of which nothing is known but who wrote them.
                        self.is_known =
                            self.is_known || format.is_some_and(|at| is_read(at, line, &item.around));
                        self.lines.extend(format);
                    }
                }
            }
        }
    }

    fn take(&mut self, item: Item, seen: &mut Seen, sink: &mut dyn FnMut(Record)) {
        let is_cut = item.is_cut;
        let record = match item.body {
            Body::Object(object) => self.take_object(&object, &item.around, seen),
            // Its owner says that the source holds objects, whatever program passes them on.
            Body::Line(line)
                if self.is_declared
                    && !self.objects.is_empty()
                    && let Some(object) = json::object(line.trim_start()) =>
            {
                self.take_object(&object, &item.around, seen)
            }
            Body::Line(line) => {
                if self.offer(&line, &item.around, sink) || line.trim().is_empty() {
                    return;
                }
                self.take_line(&line, &item.around, seen)
            }
        };
        self.give(Record { is_cut: record.is_cut | is_cut, ..record }, sink);
    }

    fn take_object(&self, object: &Object, around: &Around, seen: &mut Seen) -> Record {
        // As with lines, what the logger's header holds is read wherever it comes.
        let by_header = around.is_in_header && !self.is_declared;
        let format = objects()
            .iter()
            .enumerate()
            .filter(|(at, _)| by_header || self.objects.contains(at))
            .map(|(_, format)| format)
            .find(|format: &&ObjectFormat| (format.recognises)(object));
        if let Some(record) = format.and_then(|format| (format.read)(object, &around.envelope())) {
            return record;
        }
        let near = format.map(|format| format.format);
        seen.broken += u64::from(near.is_some());
        if self.takes_any()
            && let Some(record) = event(object, &around.envelope())
        {
            return record;
        }
        seen.miss(
            near.or_else(|| objects().get(object_format(object)?).map(|format| format.format))
                .or_else(|| near_object(object)),
        );
        let time = ["timestamp", "@timestamp", "time", "ts", "date"]
            .into_iter()
            .find_map(|key| Timestamp::parse_prefix(object.get(key)?.as_str()?))
            .map(|(time, _)| time);
        let text = serde_json::to_string(object).unwrap_or_default();
        unknown(time, &text, around)
    }

    fn take_line(&self, line: &str, around: &Around, seen: &mut Seen) -> Record {
        let envelope = around.envelope();
        // The program stands in the logger's header, which is not the text that others write.
        let by_program = !around.program.is_empty() && !self.is_declared;
        let format = lines()
            .iter()
            .enumerate()
            .filter(|(at, _)| by_program || self.lines.contains(at))
            .map(|(_, format)| format)
            .find(|format: &&LineFormat| (format.recognises)(line, &envelope));
        let record = format.and_then(|format| (format.read)(line, &envelope));
        let is_read = record.is_some();
        let mut record = record.unwrap_or_else(|| {
            let (time, text) = plain(line);
            unknown(time, text.as_ref(), around)
        });
        let is_told = self.takes_any() && record.kind == RecordKind::Unknown && record.time.is_some();
        if is_told {
            record.kind = RecordKind::Log;
            record.format = Format::OtherLines;
        }
        if !is_read && !is_told {
            let near = format.map(|format| format.format);
            seen.broken += u64::from(near.is_some());
            seen.miss(near.or_else(|| near_line(line)));
        }
        record
    }

    /// Whether what no form takes is taken for a log where it tells of something at some time: there is nothing else in the source, or
    /// its owner says so.
    fn takes_any(&self) -> bool {
        !self.is_known
    }

    /// Offers a line to the format of several lines that is open, or that it opens.
    fn offer(&mut self, line: &str, around: &Around, sink: &mut dyn FnMut(Record)) -> bool {
        if let Some(mut layout) = self.layout.take() {
            // A record of several lines quotes others with their headers.
            let whole: Cow<'_, str> = if around.header.is_empty() {
                line.into()
            } else {
                format!("{}{line}", around.header).into()
            };
            match layout.offer(&whole) {
                Offered::Taken(record) => {
                    self.layout = Some(layout);
                    if let Some(record) = record {
                        self.give(*record, sink);
                    }
                    return true;
                }
                Offered::NotMine(record) => {
                    self.layout = layout.holds().then_some(layout);
                    if let Some(record) = record {
                        self.give(*record, sink);
                    }
                }
            }
        }
        if !around.program.is_empty() {
            return false;
        }
        let mut formats = self.layouts.iter().filter_map(|at| layouts().get(*at));
        let Some(format) = formats.find(|format: &&LayoutFormat| (format.recognises)(line)) else {
            return false;
        };
        let mut layout = (format.start)();
        match layout.offer(line) {
            Offered::Taken(record) => {
                self.layout = Some(layout);
                if let Some(record) = record {
                    self.give(*record, sink);
                }
                true
            }
            Offered::NotMine(_) => false,
        }
    }

    fn give(&mut self, mut record: Record, sink: &mut dyn FnMut(Record)) {
        if let Some(time) = &mut record.time {
            *time = time.following(self.previous);
            self.previous = Some(*time);
            let last = record.repeats.last.map(|last| last.following(Some(*time)));
            record.repeats.last = last.filter(|last| *last > *time);
        }
        sink(record);
    }
}

impl Seen {
    fn miss(&mut self, near: Option<Format>) {
        self.unknown += 1;
        if let Some(near) = near {
            *self.nearest.entry(near).or_default() += 1;
        }
    }

    /// Adds what was seen of another part.
    pub(crate) fn add(&mut self, other: &Seen) {
        for (format, count) in &other.nearest {
            let own = self.nearest.entry(*format).or_default();
            *own = own.saturating_add(*count);
        }
        for (own, more) in [
            (&mut self.unknown, other.unknown),
            (&mut self.broken, other.broken),
            (&mut self.cut, other.cut),
            (&mut self.undecodable, other.undecodable),
            (&mut self.with_nul, other.with_nul),
        ] {
            *own = own.saturating_add(more);
        }
        self.unread = self.unread.or(other.unread);
    }
}

fn object_format(object: &Object) -> Option<usize> {
    objects().iter().position(|format| (format.recognises)(object))
}

fn line_format(line: &str, around: &Around) -> Option<usize> {
    lines().iter().position(|format| (format.recognises)(line, &around.envelope()))
}

/// Whether more is read of a line than who wrote it.
fn is_read(format: usize, line: &str, around: &Around) -> bool {
    let record = lines().get(format).and_then(|format| (format.read)(line, &around.envelope()));
    record.is_some_and(|record| record.kind != RecordKind::Unknown)
}

/// A record that no format took.
fn unknown(time: Option<Timestamp>, text: &str, around: &Around) -> Record {
    Record {
        kind: RecordKind::Unknown,
        time: time.or(around.time),
        host: clean(&around.host, 128),
        sensor: clean(&around.program, 128),
        message: clean_message(text),
        ..Record::default()
    }
}

/// The format that an object may be meant as. Only for what a person is told: nothing is read by it.
fn near_object(object: &Object) -> Option<Format> {
    let by = |key: &str, format| object.contains_key(key).then_some(format);
    by("event_type", Format::Eve).or_else(|| meant_as(object)).or_else(|| by("@timestamp", Format::Ecs))
}

/// The format that a line may be meant as; likewise.
fn near_line(line: &str) -> Option<Format> {
    const MARKS: [(&str, Format); 20] = [
        ("[**]", Format::SnortFast),
        ("[Classification:", Format::SnortFast),
        ("[pri=", Format::Bracketed),
        ("\"event_type\"", Format::Eve),
        ("\"@timestamp\"", Format::Ecs),
        ("\"eventName\"", Format::CloudTrail),
        ("CEF:", Format::Cef),
        ("LEEF:", Format::Leef),
        ("** Alert ", Format::Ossec),
        ("#separator", Format::ZeekTsv),
        ("type=", Format::Auditd),
        ("sshd[", Format::Sshd),
        ("sudo", Format::Sudo),
        ("#Fields:", Format::W3c),
        ("TCP_MISS/", Format::Squid),
        (",TRAFFIC,", Format::Firewall),
        (",THREAT,", Format::Firewall),
        ("[junos@", Format::Firewall),
        (" eni-", Format::VpcFlow),
        (" HTTP/", Format::WebAccess),
    ];
    let start: String = line.chars().take(4096).collect();
    MARKS.into_iter().find(|(mark, _)| start.contains(mark)).map(|(_, format)| format)
}
