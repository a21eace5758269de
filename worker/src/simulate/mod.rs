//! A model that is none: it answers any question with an instance of its JSON Schema, drawn from the question and its
//! seed, at the pace of a real worker. For clusters larger than the machine.
//!
//! Invariants: the same question with the same seed has the same answer on every simulated worker, as with real ones.
//! All sequences together get the tokens a second that were given, in equal shares, so a decision never waits for
//! rollouts to end.

mod answer;
mod pace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use countermove_model::EngineStats;
use countermove_planner::{Answer, LanguageModel, ModelError, Question, TokenCounter, Usage};
use countermove_proto::v1::ModelIdentity;
use countermove_telemetry::{TRACE, count, part};
use tracing::{Instrument, info_span};

use crate::service::ServedModel;
use answer::{instance, weighed};
use pace::Pace;

/// SHA-256 of `countermove.simulated.v1`: no file has it, so simulated workers plan with each other alone.
const DIGEST: &str = "720a31eab118b99313e8f68adb17b5e10cef7e37498e5b39eb2ef01caeafb7ea";
/// Bytes of text in a token, about.
const BYTES_PER_TOKEN: usize = 4;

/// Answers by dice. Clones share the pace.
#[derive(Clone, Debug)]
pub struct SimulatedModel {
    pace: Pace,
    /// What it did, as an engine would count it.
    done: Arc<Mutex<EngineStats>>,
}

impl SimulatedModel {
    /// A model that chooses `tokens_per_second` in all. Needs a tokio runtime around it.
    pub fn start(tokens_per_second: f64) -> Self {
        Self { pace: Pace::start(tokens_per_second), done: Arc::default() }
    }

    /// What it says that it is; the digest of the templates is left open.
    pub fn identity() -> ModelIdentity {
        ModelIdentity {
            name: "simulated".to_owned(),
            weights_sha256: DIGEST.to_owned(),
            adapter_sha256: String::new(),
            tokenizer_sha256: DIGEST.to_owned(),
            templates_sha256: String::new(),
            arithmetic: "dice/1".to_owned(),
        }
    }
}

impl SimulatedModel {
    fn count(&self) -> MutexGuard<'_, EngineStats> {
        // Nothing panics while it holds the lock.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is being answered. Dropped before its answer it was cancelled.
struct Running<'a> {
    model: &'a SimulatedModel,
    is_answered: bool,
}

impl<'a> Running<'a> {
    fn begin(model: &'a SimulatedModel) -> Self {
        model.count().running += 1;
        Self { model, is_answered: false }
    }

    fn answered(mut self, prompt: u64, sampled: u64) {
        self.is_answered = true;
        let mut done = self.model.count();
        done.prefill_tokens = done.prefill_tokens.saturating_add(prompt);
        done.sampled_tokens = done.sampled_tokens.saturating_add(sampled);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut done = self.model.count();
        done.running = done.running.saturating_sub(1);
        match self.is_answered {
            true => done.completed += 1,
            false => done.cancelled += 1,
        }
    }
}

impl ServedModel for SimulatedModel {
    fn stats(&self) -> EngineStats {
        // All sequences share one pace, so each alone has all of it.
        EngineStats { efficient_sequences: 1, ..*self.count() }
    }

    async fn ended(&self) {
        self.pace.ended().await;
    }
}

impl LanguageModel for SimulatedModel {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        let begun = Instant::now();
        let prompt =
            question.prompt.system.len() + question.prompt.segments.iter().map(String::len).sum::<usize>();
        let (json, options) = match question.format.weigh_options {
            true => weighed(&question)?,
            false => (instance(&question), Vec::new()),
        };
        let sampled = (json.len() / BYTES_PER_TOKEN).max(1) as u64;
        let running = Running::begin(self);
        // It reads a prompt in no time.
        let prompt_tokens = (prompt / BYTES_PER_TOKEN) as u64;
        let decode = part(
            || info_span!(target: TRACE, "decode", prompt_tokens = count(prompt_tokens), sampled_tokens = count(sampled)),
        );
        self.pace
            .work(sampled as f64)
            .instrument(decode)
            .await
            .map_err(|pace::Stopped| ModelError::Unavailable("the simulation has stopped".to_owned()))?;
        tokens.add(sampled);
        running.answered(prompt_tokens, sampled);
        let usage =
            Usage { prompt_tokens, sampled_tokens: sampled, elapsed: begun.elapsed(), ..Usage::default() };
        Ok(Answer { thinking: String::new(), json, complete: true, options, untuned: false, usage })
    }
}
