//! How fast a model runs on this machine: prefill of one prefix, then greedy decode of sequences forked from it.

use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::model::Model;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Tokens of the shared prefix.
    pub prefix: usize,
    /// Sequences forked from it.
    pub sequences: usize,
    /// Tokens that each decodes.
    pub decode: usize,
    /// Most prefix tokens in one pass.
    pub prefill_chunk: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { prefix: 1024, sequences: 27, decode: 64, prefill_chunk: 256 }
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Tokens of the shared prefix.
    pub prefix: usize,
    /// Sequences forked from it.
    pub sequences: usize,
    /// Tokens that each decoded.
    pub decode: usize,
    /// Seconds of prefill.
    pub prefill_seconds: f64,
    /// Prefix tokens a second; 0 with an empty prefix.
    pub prefill_tokens_per_s: f64,
    /// Seconds of decode.
    pub decode_seconds: f64,
    /// Decoded tokens a second, all sequences together.
    pub decode_tokens_per_s: f64,
    /// Bytes of keys and values at the end.
    pub kv_bytes: usize,
    /// Most memory that the process has held, in bytes; 0 where the system does not tell.
    pub peak_rss_bytes: u64,
}

/// Measures. The model is used up.
///
/// # Errors
/// If prefix and decode do not fit the context or the budget, or the device fails.
pub fn bench(model: Model, options: &BenchOptions) -> Result<BenchReport, EngineError> {
    let _ = (model, options);
    Err(EngineError::Stopped)
}
