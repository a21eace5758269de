//! One rollout: from a candidate action to full recovery, or to the depth limit, with the model as the world.

use countermove_incident::{Constraints, Pricing, RecoveryState};
use futures::stream::BoxStream;

use crate::evidence::roles::Roles;
use crate::language_model::{ModelError, TokenCounter, Usage};

/// Which rollout of which candidate in which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RolloutKey {
    /// The step of the plan, from 0.
    pub step: u32,
    /// The candidate, from 0.
    pub candidate: u32,
    /// The rollout, from 0.
    pub rollout: u32,
}

/// One rollout to run.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutSpec {
    /// Which.
    pub key: RolloutKey,
    /// Seed, derived from the incident's seed and the key; with it the result is the same anywhere.
    pub seed: u64,
    /// Seed of what is true and of what actions bring about, derived from the incident's seed and the number of the rollout: those of all
    /// candidates meet the same world and the same luck (common random numbers), so that their difference is theirs; so do
    /// those of all steps, which ask what was asked before.
    pub common_seed: u64,
    /// State in which the candidate is taken.
    pub state: RecoveryState,
    /// Actions taken before this step, oldest first.
    pub history: Vec<String>,
    /// The candidate's action.
    pub action: String,
}

/// How to roll out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RolloutPolicy {
    /// Actions before a rollout counts as truncated, D.
    pub max_depth: u32,
    /// Temperature of actions. What they bring about is drawn as likely as the model finds it; after reasoning it is greedy.
    pub temperature: f32,
    /// Nucleus mass of actions.
    pub top_p: f32,
    /// Most tokens of reasoning before each answer.
    pub thinking_tokens: u32,
}

/// Rollouts that share their context.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutBatch {
    /// On whose account they run; see [`Question::tenant`](crate::Question).
    pub tenant: String,
    /// Name of the incident, for logs.
    pub incident: String,
    /// Instruction that stands before everything else.
    pub system: String,
    /// Leading segments of every prompt.
    pub context: Vec<String>,
    /// Who is who, so that actions name what exists and predictions know which role it plays.
    pub entities: Roles,
    /// How to roll out.
    pub policy: RolloutPolicy,
    /// What actions cost.
    pub pricing: Pricing,
    /// What simulated actions have to keep to, as the plan's own.
    pub constraints: Constraints,
    /// The rollouts.
    pub rollouts: Vec<RolloutSpec>,
}

/// How a rollout ended. The kinds are counted apart; only terminal ones have a cost that may be averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RolloutEnd {
    /// It reached full recovery.
    Terminal,
    /// It hit the depth limit.
    Truncated,
    /// An answer could not be used.
    Malformed,
    /// It was cancelled.
    Cancelled,
}

/// One simulated action.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutStep {
    /// The action.
    pub action: String,
    /// State after it.
    pub state_after: RecoveryState,
    /// Its cost.
    pub cost: f64,
}

/// A rollout that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutResult {
    /// Which.
    pub key: RolloutKey,
    /// How.
    pub end: RolloutEnd,
    /// What was simulated, the candidate's own action first.
    pub steps: Vec<RolloutStep>,
    /// Sum of the costs of `steps`.
    pub cost: f64,
    /// What was wrong, if it is malformed.
    pub fault: String,
    /// Work behind it.
    pub usage: Usage,
}

/// A result and who ran it.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutReport {
    /// The result.
    pub result: RolloutResult,
    /// Name of the worker; empty for a local model.
    pub worker: String,
}

/// Something that runs rollouts: a local model, or a cluster of workers.
pub trait RolloutRunner: Send + Sync + 'static {
    /// Runs the batch and yields each result once, in any order. Losing a worker is the runner's business; an error
    /// means that the remaining rollouts cannot be run at all. Dropping the stream cancels what still runs.
    fn run(
        &self,
        batch: RolloutBatch,
        tokens: &TokenCounter,
    ) -> BoxStream<'static, Result<RolloutReport, ModelError>>;
}
