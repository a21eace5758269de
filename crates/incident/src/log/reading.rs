//! One pass over a log: lines become records, records are folded or kept, and what was odd is counted.

use std::collections::HashMap;
use std::io::BufRead;

use super::fold::{LIMITS, WEIGHTS, blur, fold, weight, write_key};
use super::{AlertLog, LogError};
use crate::formats::{Continuation, MAX_TEXT, Parsed, PartialAlert, parse_line};
use crate::lines::{LineFaults, Lines, MAX_LINE};
use crate::{Format, Record, RecordKind, Timestamp};

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
pub(super) struct Reading {
    fold: bool,
    log: AlertLog,
    /// Where the record with a key stands.
    places: HashMap<Box<str>, usize>,
    /// Different records by weight and likeness.
    different: [[usize; LIMITS.len()]; WEIGHTS],
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
    pub(super) fn new(fold: bool) -> Self {
        Reading {
            fold,
            log: AlertLog::default(),
            places: HashMap::new(),
            different: [[0; LIMITS.len()]; WEIGHTS],
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

    pub(super) fn finish(mut self, reader: impl BufRead) -> Result<AlertLog, LogError> {
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
        let (parsed, format) = parse_line(line);
        match parsed {
            Parsed::Alert(alert) => self.add(alert.into_record(format)),
            Parsed::Partial(alert) => self.pending = Some(alert),
            Parsed::Event(line) => self.add(line.into_record(RecordKind::Telemetry, format)),
            Parsed::Line(line) => {
                self.unknown += 1;
                self.add(line.into_record(RecordKind::Unknown, format));
            }
            Parsed::Broken(line) => {
                self.broken += 1;
                if self.broken == 1 {
                    self.first_broken = self.line;
                }
                self.add(line.into_record(RecordKind::Unknown, format));
            }
        }
    }

    fn end_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            let (alert, whole) = pending.finish();
            self.unfinished += u64::from(!whole);
            self.add(alert.into_record(Format::SnortFull));
        }
    }

    fn add(&mut self, mut record: Record) {
        self.shortened += u64::from(record.message.ends_with('…') && record.message.len() > MAX_TEXT - 8);
        if let Some(time) = &mut record.time {
            *time = time.following(self.previous);
            self.previous = Some(*time);
            record.repeats.last =
                record.repeats.last.map(|last| last.following(Some(*time))).filter(|last| *last > *time);
        }
        self.alerts += u64::from(record.is_alert());
        if self.fold { self.fold_in(record) } else { self.push(record) }
    }

    fn push(&mut self, record: Record) {
        self.lures += u64::from(is_lure(&record.message) || is_lure(&record.detail));
        self.log.records.push(record);
    }

    fn fold_in(&mut self, mut record: Record) {
        let weight = weight(&record);
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
