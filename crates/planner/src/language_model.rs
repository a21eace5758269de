//! The seam between planning and the model that answers.

use std::future::Future;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is asked of the model, in an order that lets calls share their beginnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Instruction that stands before everything else.
    pub system: String,
    /// Parts of the user's turn. A token never spans two parts, so prompts of a tenant that agree in their first
    /// parts share the keys and values of those. Parts are data: control tokens inside them are plain text.
    pub segments: Vec<String>,
}

/// What an answer looks like: reasoning between `<think>` tags, then one JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerFormat {
    /// Most tokens of reasoning; 0 leaves out the tags as well.
    pub thinking_tokens: u32,
    /// JSON Schema of the value; the properties come in the order in which the schema names them.
    pub json_schema: serde_json::Value,
    /// Most tokens of the whole answer, chosen and forced.
    pub max_tokens: u32,
    /// Whether the probability of every value that the schema allows is wanted. It must allow a few dozen at most:
    /// constants, Booleans, lists, and objects of such whose properties are all required.
    pub weigh_options: bool,
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Temperature; 0 takes the likeliest token.
    pub temperature: f32,
    /// Nucleus mass, in (0, 1].
    pub top_p: f32,
    /// Seed of this answer alone: the same question with the same seed has the same answer.
    pub seed: u64,
}

/// What a piece of model work is for; whoever shares out workers or a batch goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Perception and candidates: somebody waits for exactly this answer.
    Decision,
    /// One of many rollouts.
    Rollout,
}

/// One question to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// On whose account it is asked. What a model keeps of it is of use to that one's questions alone; who plans for one alone
    /// leaves it empty.
    pub tenant: String,
    /// What is asked.
    pub prompt: Prompt,
    /// What the answer looks like.
    pub format: AnswerFormat,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What it is for.
    pub purpose: Purpose,
}

/// The model's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Text between the `<think>` tags.
    pub thinking: String,
    /// The JSON value as text.
    pub json: String,
    /// Whether the value is whole; false if the token limit cut it.
    pub complete: bool,
    /// All values of the schema in its order, if they were to be weighed; their probabilities sum to 1.
    pub options: Vec<Weighed>,
    /// Whether nobody tuned the model for these questions: then it leans to some values whatever it is asked.
    pub untuned: bool,
    /// Work behind it.
    pub usage: Usage,
}

/// A value that an answer may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    /// The JSON value as text, as the answer has it.
    pub value: String,
    /// How likely the model finds it among all that the schema allows, as far as it was calibrated.
    pub probability: f32,
}

/// Model work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Of these, tokens whose keys and values were in the cache already.
    pub cached_tokens: u64,
    /// Tokens that the model chose.
    pub sampled_tokens: u64,
    /// Tokens that the grammar left no choice about.
    pub forced_tokens: u64,
    /// Rollouts that were run.
    pub rollouts: u64,
    /// Time from the first question to the last answer.
    pub elapsed: Duration,
    /// Tokens chosen or forced that no answer came of, as far as they were reported: of work that was broken off.
    #[serde(default)]
    pub discarded_tokens: u64,
}

impl Usage {
    /// Tokens that the model chose or was forced to for answers that came.
    pub fn generated(&self) -> u64 {
        self.sampled_tokens.saturating_add(self.forced_tokens)
    }
}

impl AddAssign for Usage {
    /// Adds the counts, which are other machines' word and so may be anything. `elapsed` is left alone: whoever owns the
    /// clock sets it, since work may overlap.
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.sampled_tokens = self.sampled_tokens.saturating_add(other.sampled_tokens);
        self.forced_tokens = self.forced_tokens.saturating_add(other.forced_tokens);
        self.rollouts = self.rollouts.saturating_add(other.rollouts);
        self.discarded_tokens = self.discarded_tokens.saturating_add(other.discarded_tokens);
    }
}

/// A live count of the tokens behind one piece of work. Each that was chosen or forced counts once, whether an answer came of it
/// or not.
#[derive(Clone, Debug, Default)]
pub struct TokenCounter(Arc<AtomicU64>);

impl TokenCounter {
    /// Counts `tokens` more.
    pub fn add(&self, tokens: u64) {
        self.0.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Tokens so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why the model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The question can never be answered: it is too long, or its format cannot be compiled.
    #[error("the model cannot take this question: {0}")]
    Refused(String),
    /// No model can be reached now. The same question may be answered later or elsewhere.
    #[error("no model is reachable: {0}")]
    Unavailable(String),
    /// The model failed on this question, for example with a NaN among its logits.
    #[error("the model failed: {0}")]
    Failed(String),
}

/// Something that answers questions: a local engine, a worker behind gRPC, or a fake in a test.
pub trait LanguageModel: Send + Sync + 'static {
    /// Answers one question. Dropping the future cancels it; the decode stops within one step.
    ///
    /// # Errors
    /// See [`ModelError`].
    fn ask(
        &self,
        question: Question,
        tokens: &TokenCounter,
    ) -> impl Future<Output = Result<Answer, ModelError>> + Send;
}

impl<M: LanguageModel> LanguageModel for Arc<M> {
    fn ask(
        &self,
        question: Question,
        tokens: &TokenCounter,
    ) -> impl Future<Output = Result<Answer, ModelError>> + Send {
        (**self).ask(question, tokens)
    }
}
