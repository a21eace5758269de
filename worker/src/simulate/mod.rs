//! A model that is none: it answers any question with an instance of its JSON Schema, drawn from the question and its
//! seed, at the pace of a real worker. For clusters larger than the machine.
//!
//! Invariants: the same question with the same seed has the same answer on every simulated worker, as with real ones.
//! All sequences together get the tokens a second that were given, in equal shares, so a decision never waits for
//! rollouts to end.

mod answer;
mod pace;

use std::time::Instant;

use countermove_planner::{Answer, LanguageModel, ModelError, Question, TokenCounter, Usage};
use countermove_proto::v1::ModelIdentity;

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
}

impl SimulatedModel {
    /// A model that chooses `tokens_per_second` in all. Needs a tokio runtime around it.
    pub fn start(tokens_per_second: f64) -> Self {
        Self { pace: Pace::start(tokens_per_second) }
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

impl ServedModel for SimulatedModel {
    /// All sequences share one pace, so each alone has all of it.
    fn efficient_sequences(&self) -> usize {
        1
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
        self.pace
            .work(sampled as f64)
            .await
            .map_err(|pace::Stopped| ModelError::Unavailable("the simulation has stopped".to_owned()))?;
        tokens.add(sampled);
        let usage = Usage {
            prompt_tokens: (prompt / BYTES_PER_TOKEN) as u64,
            sampled_tokens: sampled,
            elapsed: begun.elapsed(),
            ..Usage::default()
        };
        Ok(Answer { thinking: String::new(), json, complete: true, options, usage })
    }
}
