//! Evidence as records.
//!
//! [`AlertLog::read`] takes logs of any length in any known form, packed or not: it folds records as they come, first those that differ
//! only in time and client port, and beyond a number of different ones ever coarser. What an alert of a high priority says is never folded
//! away because there are many of a low one.

mod dossier;
mod fold;
mod known;
mod times;
mod warnings;
mod wire;

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::formats::{Format, clean_message, plain};
use crate::reading::{LogError, Source};
use crate::{Record, RecordKind};
pub use dossier::{Absorbed, Dossier, SourceName};
pub(crate) use fold::drop_client_port;

/// Most remarks of responders that are taken; what is behind them is left out.
const MAX_REMARKS: usize = 1_000;

/// A log that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertLog {
    /// Records in the order of the log; a folded one stands where the first of its kind stood.
    pub records: Vec<Record>,
    /// How it was read.
    pub reading: Reading,
    /// What a reader should know about how it was read, one sentence each.
    pub warnings: Vec<String>,
}

/// How evidence was read: which forms it had, and what was not understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Each form, with how many records of each kind it gave; [`Format::Unknown`] is what no format took.
    pub formats: Vec<FormatCount>,
    /// Lines and objects that no format took.
    pub unknown: u64,
    /// The known format that most of those are nearest to, if any is near.
    pub nearest: Option<Format>,
    /// Records that broke off; what was readable was kept.
    pub cut: u64,
    /// Records that came before, and were not taken again.
    pub repeated: u64,
    /// Alerts that another sink of the same sensor wrote as well, and that were not taken again.
    pub other_sinks: u64,
}

/// How many records a format gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FormatCount {
    /// The format.
    pub format: Format,
    /// Alerts of sensors.
    pub alerts: u64,
    /// Records of hosts and services about themselves.
    pub logs: u64,
    /// What sensors saw pass.
    pub telemetry: u64,
    /// Lines that say nothing which is known.
    pub unknown: u64,
}

impl FormatCount {
    /// All of them.
    pub fn total(&self) -> u64 {
        [self.alerts, self.logs, self.telemetry, self.unknown].into_iter().fold(0, u64::saturating_add)
    }
}

impl AlertLog {
    /// Reads a log of any length in bounded memory, folding equal records as they come; see [`Record::repeats`]. It may be packed
    /// with gzip or zstd, and be UTF-8 or UTF-16. An empty log has no records and a warning.
    ///
    /// # Errors
    /// [`LogError::Binary`] if it is not text, [`LogError::Io`] if the reader fails.
    pub fn read(reader: impl Read) -> Result<AlertLog, LogError> {
        Self::read_source(&SourceName::default(), reader)
    }

    /// The same, of bytes that are at hand.
    ///
    /// # Errors
    /// [`LogError::Binary`] if they are not text.
    pub fn parse(bytes: &[u8]) -> Result<AlertLog, LogError> {
        Self::read(bytes)
    }

    /// The same, of a source whose owner says in which format it is written.
    ///
    /// # Errors
    /// As [`AlertLog::read`].
    pub fn read_as(format: Format, reader: impl Read) -> Result<AlertLog, LogError> {
        Self::read_source(&SourceName { name: String::new(), format: Some(format) }, reader)
    }

    fn read_source(source: &SourceName, reader: impl Read) -> Result<AlertLog, LogError> {
        let mut dossier = Dossier::default();
        dossier.read(source, reader, |_| {})?;
        Ok(dossier.into_log())
    }

    /// Shows each record of a log as it was read, in its order, and keeps none: nothing is folded, and nothing that came before is left
    /// out.
    ///
    /// # Errors
    /// As [`AlertLog::read`].
    pub fn each(reader: impl Read, mut show: impl FnMut(Record)) -> Result<(), LogError> {
        Source::default().read(reader, &mut |record| show(record)).map(|_| ())
    }

    /// What responders wrote down, one remark a line. They accuse nobody by themselves, as lines that no format understood; but who gives
    /// evidence vouches for them, so that an account that they say was guessed is one.
    pub fn of_remarks(text: &str) -> AlertLog {
        let remarks = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(MAX_REMARKS);
        let records = remarks.map(|line| {
            let (time, said) = plain(line);
            Record { format: Format::Remark, time, message: clean_message(&said), ..Record::default() }
        });
        AlertLog { records: records.collect(), ..AlertLog::default() }
    }

    /// Records in the log, folded ones counted singly.
    pub fn total(&self) -> u64 {
        self.records.iter().map(|record| record.repeats.count).fold(0, u64::saturating_add)
    }

    /// The records that are alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.is_alert())
    }

    /// The records that are no alerts.
    pub fn lines(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| !record.is_alert())
    }

    /// Records of this kind, folded ones counted singly.
    pub fn count(&self, kind: RecordKind) -> u64 {
        let own = self.records.iter().filter(|record| record.kind == kind);
        own.map(|record| record.repeats.count).fold(0, u64::saturating_add)
    }
}
