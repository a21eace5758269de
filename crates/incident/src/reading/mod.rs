//! From the bytes of a source to records: decoding, unwrapping, recognising, reading.
//!
//! Invariants: memory is bounded whatever the source holds, and time is linear in its length.

mod collectors;
mod decode;
mod header;
mod items;
mod json;
mod lines;
mod source;
mod structured;
mod unwrap;
mod xml;

use std::io::{self, BufRead, Read};

pub(crate) use source::{Seen, Source};

/// A log as UTF-8, unpacked if it was packed with gzip or zstd, for whoever passes it on as text. What is no valid text in it stays.
pub struct Decoded<'a> {
    text: Box<dyn BufRead + 'a>,
    faults: decode::Faults,
}

impl<'a> Decoded<'a> {
    /// Looks at the beginning of a log.
    ///
    /// # Errors
    /// [`LogError::Binary`] if it is not text, [`LogError::Io`] if the reader fails.
    pub fn new(reader: impl Read + 'a) -> Result<Self, LogError> {
        let faults = decode::Faults::default();
        Ok(Self { text: decode::decode(reader, &faults)?, faults })
    }

    /// Once it has been read to its end: why there is no more, if what was packed is damaged.
    pub fn broken(&self) -> Option<&'static str> {
        self.faults.broken()
    }
}

impl Read for Decoded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text.read(buffer)
    }
}

/// Why a source cannot be read at all.
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
    /// Records in their own form were written by a version that is not known, or are damaged.
    #[error("the records cannot be read: {0}")]
    Records(String),
}
