//! From the bytes of a source to records: decoding, unwrapping, recognising, reading.
//!
//! Invariants: memory is bounded whatever the source holds, and time is linear in its length.

mod decode;
mod header;
mod items;
mod json;
mod lines;
mod source;
mod unwrap;

use std::io;

pub(crate) use source::{Seen, Source};

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
