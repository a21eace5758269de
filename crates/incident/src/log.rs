//! Reads a log into records.
//!
//! [`AlertLog::parse`] keeps every record. [`AlertLog::read`] takes logs of any length: it folds records as they come,
//! first those that differ only in time and client port, and beyond a number of different ones ever coarser. What an
//! alert of a high priority says is never folded away because there are many of a low one.

mod fold;
mod reading;

use std::io::{self, BufRead};

use crate::Record;
use crate::formats::condensed;
pub(crate) use fold::drop_client_port;
use reading::Reading;

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

    /// The log as text that is read back as the same records, counts included. Of a log that [`AlertLog::read`] read
    /// it has less than 64 MiB, so that it fits a message whatever the log was. Warnings are not part of it.
    pub fn condensed(&self) -> String {
        condensed(&self.records)
    }
}
