//! The evidence of an incident as it grows: logs and reports are absorbed one after the other, at the cost of what is new.
//!
//! Invariants: what was absorbed is never read again as text; the order in which parts of a source come, and where it was split, changes
//! nothing but the order of records; memory is bounded whatever comes.

use std::collections::BTreeMap;
use std::io::Read;

use super::fold::Fold;
use super::known::{Known, Novelty};
use super::{AlertLog, FormatCount};
use crate::formats::Format;
use crate::reading::{LogError, Seen, Source};
use crate::{Record, RecordKind};

/// Most sources that are told apart; what comes under further names is read as part of one.
const MAX_SOURCES: usize = 1_024;

/// Where evidence comes from: a name that tells its parts together, and its format if its owner knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceName {
    /// Such as a file's path; parts with the same name are parts of one source.
    pub name: String,
    /// Its format; else it is recognised from its first records.
    pub format: Option<Format>,
}

/// Evidence that grows.
#[derive(Clone, Debug, Default)]
pub struct Dossier {
    fold: Fold,
    known: Known,
    sources: BTreeMap<SourceName, Source>,
    counts: Counts,
}

/// What one part of a source added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absorbed {
    /// What was new in it.
    pub log: AlertLog,
    /// Records that came before and were not taken again.
    pub repeated: u64,
}

/// What is counted of the records that are not repeated.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) seen: Seen,
    pub(super) formats: BTreeMap<Format, FormatCount>,
    pub(super) repeated: u64,
    pub(super) other_sinks: u64,
    pub(super) shortened: u64,
    pub(super) lures: u64,
    pub(super) zoned: u64,
    pub(super) zoneless: u64,
}

impl Dossier {
    /// Reads a log, or a part of one, and adds what is new in it.
    ///
    /// # Errors
    /// [`LogError::Binary`] if it is not text, [`LogError::Io`] if the reader fails. What came before the failure stays absorbed.
    pub fn absorb(&mut self, source: &SourceName, reader: impl Read) -> Result<Absorbed, LogError> {
        let mut new = Dossier::default();
        let before = self.counts.repeated + self.counts.other_sinks;
        let seen = self.read(source, reader, |record| {
            new.counts.count(record);
            new.fold.add(record.clone());
        })?;
        new.counts.seen = seen;
        let repeated = self.counts.repeated + self.counts.other_sinks - before;
        Ok(Absorbed { log: new.log(), repeated })
    }

    /// The same for whoever wants to know only how many records of it are new.
    ///
    /// # Errors
    /// As [`Dossier::absorb`].
    pub fn add(&mut self, source: &SourceName, reader: impl Read) -> Result<u64, LogError> {
        let mut new = 0_u64;
        self.read(source, reader, |record| new = new.saturating_add(record.repeats.count))?;
        Ok(new)
    }

    /// Adds records that were read before, such as those of a report in their own form.
    pub fn absorb_log(&mut self, log: &AlertLog) -> Absorbed {
        let mut new = Dossier::default();
        let mut repeated = 0_u64;
        self.known.begin();
        for record in &log.records {
            let mut show = |record: &Record| {
                new.counts.count(record);
                new.fold.add(record.clone());
            };
            if !self.take(record.clone(), &mut show) {
                repeated = repeated.saturating_add(record.repeats.count);
            }
        }
        let crate::Reading { unknown, nearest, cut, .. } = log.reading;
        let nearest = nearest.map(|format| (format, unknown)).into_iter().collect();
        self.counts.seen.add(&Seen { unknown, nearest, cut, ..Seen::default() });
        for (own, more) in [
            (&mut self.counts.repeated, log.reading.repeated),
            (&mut self.counts.other_sinks, log.reading.other_sinks),
        ] {
            *own = own.saturating_add(more);
        }
        Absorbed { log: AlertLog { warnings: log.warnings.clone(), ..new.log() }, repeated }
    }

    /// Records that came before and were not taken again.
    pub fn repeated(&self) -> u64 {
        self.counts.repeated
    }

    /// All that was absorbed, as one log.
    pub fn log(&self) -> AlertLog {
        AlertLog { records: self.fold.records.clone(), ..AlertLog::default() }
            .finished(&self.counts, self.fold.coarse)
    }

    /// The same, without a copy.
    pub fn into_log(mut self) -> AlertLog {
        let mut records = std::mem::take(&mut self.fold.records);
        records.shrink_to_fit();
        AlertLog { records, ..AlertLog::default() }.finished(&self.counts, self.fold.coarse)
    }

    /// Reads a log, and shows each record that is new.
    pub(super) fn read(
        &mut self,
        source: &SourceName,
        reader: impl Read,
        mut show: impl FnMut(&Record),
    ) -> Result<Seen, LogError> {
        let is_known = self.sources.contains_key(source);
        let key = if is_known || self.sources.len() < MAX_SOURCES {
            source.clone()
        } else {
            SourceName { name: String::new(), format: source.format }
        };
        let fresh = || source.format.map_or_else(Source::default, Source::declared);
        // It goes out while it is read, since it hands its records to the rest.
        let mut reading = self.sources.remove(&key).unwrap_or_else(fresh);
        self.known.begin();
        let seen = reading.read(reader, &mut |record| {
            self.take(record, &mut show);
        });
        self.sources.insert(key, reading);
        let seen = seen?;
        self.counts.seen.add(&seen);
        Ok(seen)
    }

    /// Takes a record unless it came before, and shows it if it is new.
    fn take(&mut self, record: Record, show: &mut dyn FnMut(&Record)) -> bool {
        self.counts.count_zone(&record);
        match self.known.take(&record) {
            Novelty::New => {}
            Novelty::Repeated => {
                self.counts.repeated = self.counts.repeated.saturating_add(record.repeats.count);
                return false;
            }
            Novelty::OtherSink => {
                self.counts.other_sinks = self.counts.other_sinks.saturating_add(record.repeats.count);
                return false;
            }
        }
        show(&record);
        self.counts.count(&record);
        if let Some(kept) = self.fold.add(record) {
            self.counts.lures += u64::from(is_lure(&kept.message) || is_lure(&kept.detail));
        }
        true
    }
}

impl Counts {
    fn count(&mut self, record: &Record) {
        let count = record.repeats.count;
        let of = self
            .formats
            .entry(record.format)
            .or_insert(FormatCount { format: record.format, ..FormatCount::default() });
        let kind = match record.kind {
            RecordKind::Alert => &mut of.alerts,
            RecordKind::Log => &mut of.logs,
            RecordKind::Telemetry => &mut of.telemetry,
            RecordKind::Unknown => &mut of.unknown,
        };
        *kind = kind.saturating_add(count);
        self.shortened += u64::from(record.message.ends_with('…'));
    }

    /// Counts what a record's time leaves open, also of those that came before: they may be told apart by it alone.
    fn count_zone(&mut self, record: &Record) {
        if let Some(time) = record.time {
            let zone = if time.has_zone() { &mut self.zoned } else { &mut self.zoneless };
            *zone += 1;
        }
    }
}

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

fn is_lure(text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    LURES.iter().any(|lure| lower.contains(lure))
}
