//! The engine's handle. One thread owns the backend and runs [`core`]; everything else talks to it over a bounded
//! channel and hears back over one channel for each request.
//!
//! Invariant: every [`Generation`] that is not dropped gets exactly one [`Event::Done`].

mod core;
#[cfg(test)]
pub(crate) mod fake;
mod job;
mod knee;
mod prompts;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use self::core::Core;
use self::job::Job;
use self::prompts::Prompts;
use crate::answer::{Format, Formats};
use crate::backend::{Backend, Shape};
use crate::chat::Chat;
use crate::device::Device;
use crate::error::EngineError;
use crate::kv::{Scope, owner_of};
use crate::model::{Model, ModelInfo};
use crate::request::{Completion, Event, Generation, Request};
use crate::tokenizer::Tokenizer;

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

impl EngineOptions {
    /// The default for a device. A GPU reads all weights for each chunk and each step, and has the arithmetic for long chunks and
    /// many sequences; on a CPU a long chunk only holds up the sequences that run beside it.
    pub fn on(device: Device) -> Self {
        match device {
            Device::Cuda { .. } => Self { max_sequences: 128, prefill_chunk: 2048, ..Self::default() },
            Device::Cpu | Device::CandleCpu { .. } => Self::default(),
        }
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
    /// Sequences with which a batch is nine tenths as fast as a full one; 0 while that was not measured.
    pub efficient_sequences: usize,
    /// Bytes of keys and values, in use and idle.
    pub kv_bytes: usize,
    /// Bytes of the GPU's memory that nobody used when it was last asked; 0 without a GPU.
    pub device_free_bytes: u64,
    /// Bytes of the GPU's memory; 0 without a GPU.
    pub device_total_bytes: u64,
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
    /// Tokens that went through the model to weigh options, beyond those of prompts and answers.
    pub weighed_tokens: u64,
    /// Requests that ended with an answer.
    pub completed: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Requests whose generation was dropped before its end.
    pub cancelled: u64,
    /// Times that a sequence gave way for want of memory and was started again.
    pub restarted: u64,
    /// Sequences in the batch, summed over all passes: divided by these, how full the batch was.
    pub batched: u64,
    /// Tokens of kept prefixes that gave way to others.
    pub evicted_tokens: u64,
    /// Seconds spent in passes through the model.
    pub forward_seconds: f64,
    /// Seconds spent on masks of JSON grammars.
    pub mask_seconds: f64,
    /// Seconds by which masks made steps longer; less than the above where they are computed beside the passes.
    pub mask_wait_seconds: f64,
    /// Seconds spent on choosing tokens and following grammars.
    pub choice_seconds: f64,
}

/// What turns requests into tokens and tokens into answers.
pub(crate) struct Text {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) chat: Chat,
    pub(crate) formats: Arc<Formats>,
}

impl Text {
    /// `calibration` is the temperature of the options' probabilities; 1 leaves them as they are.
    pub(crate) fn new(tokenizer: Tokenizer, chat: Chat, calibration: f32) -> Result<Self, EngineError> {
        let tokenizer = Arc::new(tokenizer);
        let formats = Arc::new(Formats::new(Arc::clone(&tokenizer), calibration)?);
        Ok(Self { tokenizer, chat, formats })
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("tokenizer", &self.tokenizer).finish_non_exhaustive()
    }
}

/// What the thread tells.
#[derive(Debug, Default)]
pub(crate) struct Board {
    stats: Mutex<EngineStats>,
    /// Requests that were sent and not admitted.
    waiting: AtomicUsize,
}

impl Board {
    fn update(&self, change: impl FnOnce(&mut EngineStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A model with a thread of its own. Clones share it; the last one dropped stops the thread and waits for it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    info: ModelInfo,
    shape: Shape,
    max_waiting: usize,
    text: Text,
    prompts: Prompts,
    board: Arc<Board>,
    jobs: Option<SyncSender<Job>>,
    /// Nothing is ever sent: it closes when the thread ends, however it ends.
    alive: watch::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("info", &self.shared.info).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`EngineError::Device`] if there is no thread to be had.
    pub fn start(model: Model, options: EngineOptions) -> Result<Self, EngineError> {
        let Model { info, text, backend } = model;
        Self::launch(backend, text, info, &options)
    }

    /// Starts the thread over any backend.
    pub(crate) fn launch<B: Backend>(
        backend: B,
        text: Text,
        info: ModelInfo,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let (jobs, inbox) = sync_channel(options.max_waiting.max(1));
        let board = Arc::new(Board::default());
        let shape = backend.shape().clone();
        let core = Core::new(backend, options, Arc::clone(&board), inbox);
        let (life, alive) = watch::channel(());
        let work = move || {
            // Dropped by a panic as well.
            let _life = life;
            core.run();
        };
        let thread = Builder::new().name("engine".to_owned()).spawn(work).map_err(|error| {
            EngineError::Device(format!("the engine's thread cannot be started: {error}"))
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                info,
                shape,
                max_waiting: options.max_waiting,
                text,
                prompts: Prompts::default(),
                board,
                jobs: Some(jobs),
                alive,
                thread: Some(thread),
            }),
        })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// Tokens that a text takes as a segment of a prompt.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.shared.text.tokenizer.encode_data(text).len()
    }

    /// Asks. Encoding the prompt and compiling the answer format happen on the calling thread and take milliseconds
    /// the first time; parts and formats that were seen lately take none.
    pub fn submit(&self, request: Request) -> Generation {
        let tokens = usize::try_from(request.max_tokens).unwrap_or(usize::MAX);
        // Each event but the last carries a token, so a send never finds the channel full.
        let (events, receiver) = mpsc::channel(tokens.min(self.shared.shape.context_length) + 4);
        let refused = match self.shared.prepare(&request, events.clone()) {
            Ok(None) => None,
            Ok(Some(done)) => Some(Ok(done)),
            Err(error) => Some(Err(error)),
        };
        if let Some(result) = refused {
            self.shared.board.update(|stats| match result {
                Ok(_) => stats.completed += 1,
                Err(_) => stats.failed += 1,
            });
            let _ = events.try_send(Event::Done(result));
        }
        Generation::new(receiver)
    }

    /// Waits until the thread has ended. While a handle is there only a panic ends it: a kernel that failed, say. Nothing is
    /// answered any more then.
    pub async fn ended(&self) {
        let mut alive = self.shared.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// What it is doing.
    pub fn stats(&self) -> EngineStats {
        let mut stats = *self.shared.board.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.waiting = self.shared.board.waiting.load(Ordering::Relaxed);
        stats
    }
}

impl Shared {
    /// Makes a job of a request and sends it; gives the answer at once where there is nothing to ask the model.
    fn prepare(
        &self,
        request: &Request,
        events: mpsc::Sender<Event>,
    ) -> Result<Option<Completion>, EngineError> {
        let answer_tokens = usize::try_from(request.max_tokens).unwrap_or(usize::MAX);
        let limit = self.shape.context_length;
        let too_long = |prompt: usize| EngineError::ContextLength { prompt, answer: answer_tokens, limit };
        // A text of n bytes has at least n / longest tokens. Most texts that are far too long end here, unread.
        let bytes: usize = request.segments.iter().chain([&request.system]).map(String::len).sum();
        let least = bytes / self.text.tokenizer.longest_token();
        if least > limit {
            return Err(too_long(least));
        }
        let frame = self.text.chat.frame(request.thinking_tokens > 0);
        let owner = owner_of(&request.owner);
        let encode = |part: &str, is_common: bool, ids: &mut Vec<u32>| {
            let owner = (!is_common).then_some(owner);
            ids.extend(self.prompts.encode(&self.text.tokenizer, owner, part).iter());
        };
        let (prompt, common) = frame.prompt(&request.system, &request.segments, request.common_parts, encode);
        if prompt.len().saturating_add(answer_tokens) > limit {
            return Err(too_long(prompt.len()));
        }
        let thinking = usize::try_from(request.thinking_tokens).unwrap_or(usize::MAX);
        let mut answer = self.text.formats.answer(Format {
            owner,
            schema: request.json_schema.as_ref(),
            weigh_options: request.weigh_options,
            thinking_tokens: thinking,
            max_tokens: answer_tokens,
        })?;
        let forced = answer.begin()?;
        let mut job = Job::new(request, Scope::of(&request.owner, common), prompt, answer, events);
        if job.extend(&forced, 0) || job.is_full() {
            return Ok(Some(job.completion()));
        }
        let jobs = self.jobs.as_ref().ok_or(EngineError::Stopped)?;
        let waiting = self.board.waiting.fetch_add(1, Ordering::Relaxed);
        let refusal = if waiting >= self.max_waiting {
            EngineError::Overloaded { waiting }
        } else {
            match jobs.try_send(job) {
                Ok(()) => return Ok(None),
                Err(TrySendError::Full(_)) => EngineError::Overloaded { waiting },
                Err(TrySendError::Disconnected(_)) => EngineError::Stopped,
            }
        };
        self.board.waiting.fetch_sub(1, Ordering::Relaxed);
        Err(refusal)
    }
}

#[cfg(test)]
mod tests;
