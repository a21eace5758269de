//! Reads a log into records.
//!
//! [`AlertLog::parse`] keeps every record. [`AlertLog::read`] takes logs of any length: it folds records as they come,
//! first those that differ only in time and client port, and beyond a number of different ones ever coarser. What an
//! alert of a high priority says is never folded away because there are many of a low one.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, BufRead};

use crate::formats::{Continuation, MAX_TEXT, Parsed, PartialAlert, condensed, parse_line};
use crate::lines::{LineFaults, Lines, MAX_LINE};
use crate::text::pattern;
use crate::{Alert, AlertKind, Endpoint, LogLine, Record, Repeats, Timestamp};

/// A log that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertLog {
    /// Records in the order of the log; a folded one stands where the first of its kind stood.
    pub records: Vec<Record>,
    /// What a reader should know about how it was read, one sentence each.
    pub warnings: Vec<String>,
}

/// Why a log cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It is not text.
    #[error("the alert log is not text: {reason}")]
    Binary {
        /// What shows it, and what to do.
        reason: String,
    },
    /// The reader failed.
    #[error("the alert log cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl AlertLog {
    /// Reads a whole log and keeps every record. For a log that may be long, or from somebody else, use
    /// [`AlertLog::read`], which takes bytes as well.
    ///
    /// # Errors
    /// [`LogError::Binary`] if it is not text. An empty log has no records and a warning.
    pub fn parse(bytes: &[u8]) -> Result<AlertLog, LogError> {
        Reading::new(false).finish(bytes)
    }

    /// Reads a log of any length in bounded memory, folding equal records as they come; see [`Record::repeats`].
    ///
    /// # Errors
    /// [`LogError::Binary`] if it is not text, [`LogError::Io`] if the reader fails.
    pub fn read(reader: impl BufRead) -> Result<AlertLog, LogError> {
        Reading::new(true).finish(reader)
    }

    /// Records in the log, folded ones counted singly.
    pub fn total(&self) -> u64 {
        self.records.iter().map(|record| record.repeats().count).fold(0, u64::saturating_add)
    }

    /// The records that are alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.records.iter().filter_map(|record| match record {
            Record::Alert(alert) => Some(alert),
            Record::Line(_) => None,
        })
    }

    /// The records that are no alerts.
    pub fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.records.iter().filter_map(|record| match record {
            Record::Line(line) => Some(line),
            Record::Alert(_) => None,
        })
    }

    /// The log as text that is read back as the same records, counts included. Of a log that [`AlertLog::read`] read
    /// it has less than 64 MiB, so that it fits a message whatever the log was. Warnings are not part of it.
    pub fn condensed(&self) -> String {
        condensed(&self.records)
    }
}

/// Forgets the port that a client's system drew at random: the one of an end in the range of such ports whose other
/// end is not in it, else the source's. What is left tells which service was meant.
pub(crate) fn drop_client_port(alert: &mut Alert) {
    if let Some(client) = client_end(alert) {
        client.port = None;
    }
}

/// Ports from which systems draw those of their clients begin here (Linux; elsewhere they begin higher).
const EPHEMERAL: u16 = 32_768;

fn client_end(alert: &mut Alert) -> Option<&mut Endpoint> {
    let (source, destination) = (alert.source.as_mut(), alert.destination.as_mut());
    let ephemeral = |end: &Option<&mut Endpoint>| Some(end.as_ref()?.port? >= EPHEMERAL);
    match (ephemeral(&source), ephemeral(&destination)) {
        (Some(false), Some(true)) => destination,
        (Some(_), Some(_)) => source,
        _ => None,
    }
}

/// How alike records have to be to be folded, from fine to coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    /// They differ in time and client port alone.
    Fine,
    /// They differ in time, ports and detail; lines in words with digits.
    SameMessage,
    /// They have the same class and priority.
    SameKind,
    /// They are both alerts, or both lines, of about the same weight.
    Any,
}

/// Different records that are kept apart at each likeness, for each of three priorities and for lines.
const LIMITS: [(Likeness, usize); 4] = [
    (Likeness::Fine, 10_000),
    (Likeness::SameMessage, 3_000),
    (Likeness::SameKind, 500),
    (Likeness::Any, usize::MAX),
];

/// Marks in evidence that may be meant for a program or a model that reads it.
const LURES: [&str; 11] = [
    "{{",
    "{%",
    "<|",
    "</s>",
    "think>",
    "[inst]",
    "ignore previous",
    "ignore all",
    "ignore the above",
    "disregard",
    "system prompt",
];

/// A log that is being read.
struct Reading {
    fold: bool,
    log: AlertLog,
    /// Where the record with a key stands.
    places: HashMap<Box<str>, usize>,
    /// Different records by weight and likeness.
    different: [[usize; LIMITS.len()]; 4],
    key: String,
    pending: Option<PartialAlert>,
    previous: Option<Timestamp>,
    line: u64,
    alerts: u64,
    unknown: u64,
    broken: u64,
    first_broken: u64,
    unfinished: u64,
    shortened: u64,
    coarse: u64,
    lures: u64,
}

impl Reading {
    fn new(fold: bool) -> Self {
        Reading {
            fold,
            log: AlertLog::default(),
            places: HashMap::new(),
            different: [[0; LIMITS.len()]; 4],
            key: String::new(),
            pending: None,
            previous: None,
            line: 0,
            alerts: 0,
            unknown: 0,
            broken: 0,
            first_broken: 0,
            unfinished: 0,
            shortened: 0,
            coarse: 0,
            lures: 0,
        }
    }

    fn finish(mut self, reader: impl BufRead) -> Result<AlertLog, LogError> {
        let mut lines = Lines::open(reader)?;
        while let Some(line) = lines.next_line()? {
            self.line += 1;
            self.take(&line);
        }
        self.end_pending();
        self.warn(lines.faults());
        self.log.records.shrink_to_fit();
        Ok(self.log)
    }

    fn take(&mut self, line: &str) {
        if let Some(pending) = &mut self.pending {
            if pending.offer(line) == Continuation::Taken {
                return;
            }
            self.end_pending();
        }
        if line.trim().is_empty() {
            return;
        }
        match parse_line(line) {
            Parsed::Alert(alert) => self.add(Record::Alert(alert)),
            Parsed::Partial(alert) => self.pending = Some(alert),
            Parsed::Event(line) => self.add(Record::Line(line)),
            Parsed::Line(line) => {
                self.unknown += 1;
                self.add(Record::Line(line));
            }
            Parsed::Broken(line) => {
                self.broken += 1;
                if self.broken == 1 {
                    self.first_broken = self.line;
                }
                self.add(Record::Line(line));
            }
        }
    }

    fn end_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            let (alert, whole) = pending.finish();
            self.unfinished += u64::from(!whole);
            self.add(Record::Alert(alert));
        }
    }

    fn add(&mut self, mut record: Record) {
        let (time, repeats, text) = match &mut record {
            Record::Alert(alert) => (&mut alert.time, &mut alert.repeats, &alert.message),
            Record::Line(line) => (&mut line.time, &mut line.repeats, &line.text),
        };
        self.shortened += u64::from(text.ends_with('…') && text.len() > MAX_TEXT - 8);
        if let Some(time) = time {
            *time = time.following(self.previous);
            self.previous = Some(*time);
            repeats.last = repeats.last.map(|last| last.following(Some(*time))).filter(|last| *last > *time);
        }
        self.alerts += u64::from(matches!(record, Record::Alert(_)));
        if self.fold { self.fold_in(record) } else { self.push(record) }
    }

    fn push(&mut self, record: Record) {
        let (text, detail) = match &record {
            Record::Alert(alert) => (alert.message.as_str(), alert.detail.as_str()),
            Record::Line(line) => (line.text.as_str(), ""),
        };
        self.lures += u64::from(is_lure(text) || is_lure(detail));
        self.log.records.push(record);
    }

    fn fold_in(&mut self, mut record: Record) {
        let weight = match &record {
            Record::Line(_) => 0,
            Record::Alert(alert) => usize::from(alert.kind().priority.unwrap_or(2).clamp(1, 3)),
        };
        for (step, (likeness, limit)) in LIMITS.into_iter().enumerate() {
            self.key.clear();
            write_key(&mut self.key, &record, likeness, weight);
            if let Some(&place) = self.places.get(self.key.as_str()) {
                self.coarse += u64::from(step > 0);
                if let Some(kept) = self.log.records.get_mut(place) {
                    fold(kept, record);
                }
                return;
            }
            let Some(different) = self.different.get_mut(weight).and_then(|row| row.get_mut(step)) else {
                return;
            };
            if *different < limit {
                *different += 1;
                self.coarse += u64::from(step > 0);
                blur(&mut record, likeness);
                self.places.insert(self.key.as_str().into(), self.log.records.len());
                self.push(record);
                return;
            }
        }
    }

    fn warn(&mut self, faults: LineFaults) {
        let only_unknown = self.alerts == 0 && self.unknown > 0;
        let total = self.log.total();
        let mut warn = |count: u64, text: String| {
            if count > 0 {
                self.log.warnings.push(text);
            }
        };
        warn(u64::from(total == 0), "The alert log is empty.".to_owned());
        let kept = match (only_unknown, self.unknown) {
            (true, 1) => {
                "No line of the alert log is in a known alert form; 1 is kept as plain evidence.".to_owned()
            }
            (true, count) => {
                format!(
                    "No line of the alert log is in a known alert form; {count} are kept as plain evidence."
                )
            }
            (false, count) => {
                format!(
                    "{} in no known alert form, kept as plain evidence.",
                    counted(count, "line is", "lines are")
                )
            }
        };
        warn(self.unknown, kept);
        warn(
            self.broken,
            format!(
                "{} marked as alerts and cannot be read as such, kept as plain evidence; the first is line {}.",
                counted(self.broken, "line is", "lines are"),
                self.first_broken
            ),
        );
        warn(
            self.unfinished,
            format!(
                "{} off before the addresses.",
                counted(self.unfinished, "full alert breaks", "full alerts break")
            ),
        );
        warn(
            faults.undecodable,
            format!(
                "{} no valid UTF-8; what cannot be read is shown as \u{fffd}.",
                counted(faults.undecodable, "line is", "lines are")
            ),
        );
        warn(
            faults.with_nul,
            format!("{} NUL bytes, shown as \\0.", counted(faults.with_nul, "line holds", "lines hold")),
        );
        warn(
            faults.cut,
            format!(
                "{} longer than {MAX_LINE} bytes and cut there.",
                counted(faults.cut, "line is", "lines are")
            ),
        );
        warn(
            self.shortened,
            format!(
                "{} longer than {MAX_TEXT} bytes and shortened.",
                counted(self.shortened, "message is", "messages are")
            ),
        );
        warn(
            self.coarse,
            format!(
                "The log has more different records than are kept apart; {} counted with others of the same message \
                 or class.",
                counted(self.coarse, "is", "are")
            ),
        );
        warn(
            self.lures,
            format!(
                "{} text that looks like template syntax or like instructions to a model; it is evidence and nobody \
                 follows it.",
                counted(self.lures, "record holds", "records hold")
            ),
        );
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn is_lure(text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    LURES.iter().any(|lure| lower.contains(lure))
}

/// A text that records of this likeness share and others do not. Records hold no control characters, so that one can
/// separate the parts.
fn write_key(key: &mut String, record: &Record, likeness: Likeness, weight: usize) {
    let tag = likeness as u8;
    // Writing to a string cannot fail.
    let _ = match record {
        Record::Line(line) => match likeness {
            Likeness::Fine => write!(key, "{tag}\u{1f}{weight}\u{1f}{}", line.text),
            Likeness::SameMessage => write!(key, "{tag}\u{1f}{weight}\u{1f}{}", pattern(&line.text)),
            _ => write!(key, "{tag}\u{1f}{weight}"),
        },
        Record::Alert(alert) => {
            let _ = write!(key, "{tag}\u{1f}{weight}");
            match likeness {
                Likeness::Any => Ok(()),
                Likeness::SameKind => {
                    let kind = alert.kind();
                    write!(key, "\u{1f}{}\u{1f}{:?}", kind.classification, kind.priority)
                }
                Likeness::SameMessage => write_alert_key(key, alert, false),
                Likeness::Fine => write_alert_key(key, alert, true),
            }
        }
    };
}

fn write_alert_key(key: &mut String, alert: &Alert, fine: bool) -> std::fmt::Result {
    let Alert { classification, priority, protocol, message, signature, .. } = alert;
    write!(key, "\u{1f}{classification}\u{1f}{priority:?}\u{1f}{protocol}\u{1f}{message}")?;
    if let Some(signature) = signature {
        write!(key, "\u{1f}{signature}")?;
    }
    // Which end is the client's is decided on a copy of the ports alone.
    let port = |end: &Option<Endpoint>| end.as_ref().and_then(|end| end.port);
    let (mut from, mut to) = (port(&alert.source), port(&alert.destination));
    match (from.map(|port| port >= EPHEMERAL), to.map(|port| port >= EPHEMERAL)) {
        (Some(false), Some(true)) => to = None,
        (Some(_), Some(_)) => from = None,
        _ => {}
    }
    for (end, port) in [(&alert.source, from), (&alert.destination, to)] {
        let address = end.as_ref().map_or("", |end| end.address.as_str());
        write!(key, "\u{1f}{address}")?;
        if let Some(port) = port.filter(|_| fine) {
            write!(key, "\u{1f}:{port}")?;
        }
    }
    if fine { write!(key, "\u{1f}{}", alert.detail) } else { Ok(()) }
}

/// Takes out of a record what those that will be folded into it need not share.
fn blur(record: &mut Record, likeness: Likeness) {
    match record {
        Record::Line(line) => match likeness {
            Likeness::Fine => {}
            Likeness::SameMessage => line.text = pattern(&line.text),
            Likeness::SameKind | Likeness::Any => line.text = "(further different lines)".to_owned(),
        },
        Record::Alert(alert) => match likeness {
            Likeness::Fine => {}
            Likeness::SameMessage => {
                for end in [&mut alert.source, &mut alert.destination].into_iter().flatten() {
                    end.port = None;
                }
                alert.detail.clear();
            }
            Likeness::SameKind | Likeness::Any => {
                let message = "(further different alerts)".to_owned();
                let AlertKind { priority, .. } = alert.kind();
                let classification = match likeness {
                    Likeness::SameKind => std::mem::take(&mut alert.classification),
                    _ => String::new(),
                };
                let (time, repeats) = (alert.time, alert.repeats);
                *alert = Alert { time, repeats, classification, priority, message, ..Alert::default() };
            }
        },
    }
}

/// Counts `other` into `kept`, which it is like.
fn fold(kept: &mut Record, other: Record) {
    match (kept, other) {
        (Record::Alert(kept), Record::Alert(mut other)) => {
            for (kept, other) in
                [(&mut kept.source, &other.source), (&mut kept.destination, &other.destination)]
            {
                if let (Some(kept), Some(other)) = (kept, other)
                    && kept.port != other.port
                {
                    kept.port = None;
                }
            }
            merge(&mut kept.time, &mut kept.repeats, other.time.take(), other.repeats);
        }
        (Record::Line(kept), Record::Line(other)) => {
            merge(&mut kept.time, &mut kept.repeats, other.time, other.repeats);
        }
        // Keys of alerts and lines differ, so that these never meet.
        _ => {}
    }
}

fn merge(time: &mut Option<Timestamp>, repeats: &mut Repeats, other_time: Option<Timestamp>, other: Repeats) {
    let last = [*time, repeats.last, other_time, other.last].into_iter().flatten().max();
    *time = [*time, other_time].into_iter().flatten().min();
    repeats.count = repeats.count.saturating_add(other.count);
    repeats.last = last.filter(|last| Some(*last) > *time);
}
