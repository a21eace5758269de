//! Plans the response to an incident: perception, candidates, rollouts, aggregation and choice.
//!
//! Written against [`LanguageModel`] and [`RolloutRunner`]; knows no network and no weights. The coordinator gives it
//! workers behind gRPC, a worker gives it its own engine, tests give it fakes.
//!
//! Six rooms, each of which uses only those before it: `evidence`, `prompts`, `rollouts`, `choosing`, `engagement`, `session`. What
//! stands beside them is for all: the seam to the model, options, seeds, templates, words, and the error of planning.

mod choosing;
mod engagement;
mod error;
mod evidence;
mod language_model;
mod options;
mod prompts;
mod rollouts;
#[cfg(test)]
mod rooms;
mod seeds;
mod session;
mod templates;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod words;

pub use choosing::aggregate::{CONFIDENCE, Tally, tally};
pub use choosing::approval::{ActionClass, UnknownClass};
pub use choosing::assurance::Assurance;
pub use choosing::candidate::{Action, Candidate, CostEstimate, RejectedCandidate};
pub use choosing::choice::{Choice, choose};
pub use choosing::race::Race;
pub use error::PlanError;
pub use evidence::adaptation::{Comparison, ExpectedAlerts};
pub use evidence::assessment::{Assessment, EvidenceLine, TacticBelief, TechniqueName};
pub use evidence::attacks::Attack;
pub use evidence::findings::Finding;
pub use evidence::judgement::WeighedEvidence;
pub use evidence::reading::Reading;
pub use evidence::roles::Roles;
pub use evidence::scene::Evidence;
pub use evidence::wording::{Scores, Wording, places, softmax};
pub use language_model::{
    Answer, AnswerFormat, LanguageModel, ModelError, Prompt, Purpose, Question, Sampling, TokenCounter,
    Usage, Weighed,
};
pub use options::{Autonomy, Budget, OptionsError, PlanMode, PlanOptions, limits};
pub use prompts::questions::about_nothing;
pub use prompts::rows::{Case, GroupJudgement, Rendered, Rendering};
pub use prompts::tasks::TaskError;
pub use prompts::tasks::incident_schema as perception_schema;
pub use rollouts::answers::Answers;
pub use rollouts::audit::Auditor;
pub use rollouts::runner::{
    RolloutBatch, RolloutEnd, RolloutKey, RolloutPolicy, RolloutReport, RolloutResult, RolloutRunner,
    RolloutSpec, RolloutStep,
};
pub use rollouts::simulate::{Caller, LocalRunner, Simulator, run_rollout, run_rollout_for};
pub use rollouts::world::Belief;
pub use seeds::derive_seed;
pub use session::events::{PlanEvent, PlanSink, PlanningStage, Progress};
pub use session::expectation::{Expectation, ExpectationError, predict_alerts};
pub use session::plan::{Plan, PlanEnd, PlanEnded, PlanStep, StateAfter, StateSource};
pub use session::plan_session::{FellBack, Outcome, Phase, PlanSession, RestoreError, SessionError};
pub use session::planner::Planner;
pub use session::seal::{Seal, SealedCandidate};
pub use templates::{Profile, TemplateError, Templates};
