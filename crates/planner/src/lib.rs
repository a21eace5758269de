//! Plans the response to an incident: perception, candidates, rollouts, aggregation and choice.
//!
//! Written against [`LanguageModel`] and [`RolloutRunner`]; knows no network and no weights. The coordinator gives it
//! workers behind gRPC, a worker gives it its own engine, tests give it fakes.

mod language_model;
mod roles;
mod rollout;

pub use language_model::{
    Answer, AnswerFormat, LanguageModel, ModelError, Prompt, Purpose, Question, Sampling, TokenCounter, Usage,
};
pub use roles::Roles;
pub use rollout::{
    RolloutBatch, RolloutEnd, RolloutKey, RolloutPolicy, RolloutReport, RolloutResult, RolloutRunner,
    RolloutSpec, RolloutStep,
};
