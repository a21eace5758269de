//! Reads a log into records.

use std::io::{self, BufRead};

use crate::{Alert, LogLine, Record};

/// A log that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertLog {
    /// Records in the order of the log.
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
    /// Reads a whole log and keeps every record.
    ///
    /// # Errors
    /// [`LogError::Binary`] if it is not text. An empty log has no records and a warning.
    pub fn parse(bytes: &[u8]) -> Result<AlertLog, LogError> {
        Self::read(bytes)
    }

    /// Reads a log of any length in bounded memory: records that differ only in time and client port are folded into one.
    ///
    /// # Errors
    /// [`LogError::Binary`] if it is not text, [`LogError::Io`] if the reader fails.
    pub fn read(mut reader: impl BufRead) -> Result<AlertLog, LogError> {
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        let line = |text: &str| {
            Record::Line(LogLine { text: crate::printable(text).into_owned(), ..LogLine::default() })
        };
        Ok(AlertLog { records: text.lines().map(line).collect(), warnings: Vec::new() })
    }

    /// Records in the log, folded ones counted singly.
    pub fn total(&self) -> u64 {
        self.records.iter().map(|record| record.repeats().count).sum()
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
}
