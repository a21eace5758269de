//! Plans the response to an incident: perception, candidates, rollouts, aggregation and choice.
//!
//! Written against [`LanguageModel`] and [`RolloutRunner`]; knows no network and no weights. The coordinator gives it
//! workers behind gRPC, a worker gives it its own engine, tests give it fakes.

mod adaptation;
mod aggregate;
mod assessment;
mod assurance;
mod candidates;
mod checks;
mod choice;
mod conclusion;
mod coverage;
mod events;
mod expectation;
mod groups;
mod hosts;
mod language_model;
mod menu;
mod options;
mod perception;
mod plan;
mod planner;
mod prompts;
mod race;
mod rendering;
mod roles;
mod rolling;
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

pub use adaptation::{Comparison, ExpectedAlerts};
pub use aggregate::{CONFIDENCE, Tally, tally};
pub use assessment::{Assessment, EvidenceLine, TacticBelief, TechniqueName};
pub use assurance::Assurance;
pub use choice::{Choice, choose};
pub use events::{PlanEvent, PlanSink, PlanningStage, Progress};
pub use expectation::{Expectation, ExpectationError, predict_alerts};
pub use language_model::{
    Answer, AnswerFormat, LanguageModel, ModelError, Prompt, Purpose, Question, Sampling, TokenCounter, Usage,
};
pub use options::{Autonomy, Budget, OptionsError, PlanMode, PlanOptions, limits};
pub use plan::{
    Action, Candidate, CostEstimate, Plan, PlanEnd, PlanEnded, PlanStep, RejectedCandidate, StateAfter,
    StateSource,
};
pub use planner::{PlanError, Planner};
pub use race::Race;
pub use rendering::{Case, Rendered, Rendering};
pub use roles::Roles;
pub use rollout::{
    RolloutBatch, RolloutEnd, RolloutKey, RolloutPolicy, RolloutReport, RolloutResult, RolloutRunner,
    RolloutSpec, RolloutStep,
};
pub use rollout_run::{LocalRunner, run_rollout};
pub use scene::Evidence;
pub use seeds::derive_seed;
pub use session::{FellBack, Phase, PlanSession, RestoreError, SessionError};
pub use tasks::TaskError;
pub use templates::{TemplateError, Templates};
