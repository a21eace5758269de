//! Plans the response to an incident: perception, candidates, rollouts, aggregation and choice.
//!
//! Written against [`LanguageModel`] and [`RolloutRunner`]; knows no network and no weights. The coordinator gives it
//! workers behind gRPC, a worker gives it its own engine, tests give it fakes.

mod aggregate;
mod assessment;
mod candidates;
mod choice;
mod events;
mod language_model;
mod menu;
mod options;
mod perception;
mod plan;
mod planner;
mod prompts;
mod roles;
mod rollout;
mod rollout_run;
mod scene;
mod seeds;
mod session;
mod student;
mod tasks;
mod templates;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod traffic;

pub use aggregate::{CONFIDENCE, Tally, tally};
pub use assessment::{Assessment, EvidenceLine, TacticBelief, TechniqueName};
pub use choice::{Choice, choose};
pub use events::{PlanEvent, PlanSink, PlanningStage, Progress};
pub use language_model::{
    Answer, AnswerFormat, LanguageModel, ModelError, Prompt, Purpose, Question, Sampling, TokenCounter, Usage,
};
pub use options::{OptionsError, PlanMode, PlanOptions, limits};
pub use plan::{
    Action, Candidate, CostEstimate, Plan, PlanEnd, PlanEnded, PlanStep, RejectedCandidate, StateAfter,
    StateSource,
};
pub use planner::{PlanError, Planner};
pub use roles::Roles;
pub use rollout::{
    RolloutBatch, RolloutEnd, RolloutKey, RolloutPolicy, RolloutReport, RolloutResult, RolloutRunner,
    RolloutSpec, RolloutStep,
};
pub use rollout_run::{LocalRunner, run_rollout};
pub use scene::Evidence;
pub use seeds::derive_seed;
pub use session::{Phase, PlanSession, RestoreError, SessionError};
pub use tasks::TaskError;
pub use templates::{TemplateError, Templates};
