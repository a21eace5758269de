//! What planning tells while it works.

use crate::choosing::candidate::{Candidate, RejectedCandidate};
use crate::evidence::assessment::{Assessment, TacticBelief};
use crate::rollouts::runner::RolloutReport;
use crate::session::plan::{PlanEnded, PlanStep};

/// Something that happened during planning, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanEvent {
    /// Perception is done.
    Assessed(Assessment),
    /// Candidates of a step were proposed.
    Proposed {
        /// The step.
        step: u32,
        /// The candidates, without cost.
        candidates: Vec<Candidate>,
        /// Proposals that were thrown away.
        rejected: Vec<RejectedCandidate>,
    },
    /// A rollout ended; its key says which.
    Rollout(RolloutReport),
    /// A step was decided.
    Decided(PlanStep),
    /// The conjecture was revised: why, what it was, and what it is now.
    Revised {
        /// The step that is decided next.
        step: u32,
        /// Why, in one sentence that names the evidence.
        reason: String,
        /// The tactics conjectured before.
        before: Vec<TacticBelief>,
        /// What is made of the evidence now.
        assessment: Assessment,
    },
    /// The incident's autonomy approved the step's action; no person did.
    Approved {
        /// The step.
        step: u32,
        /// Its hash.
        plan_hash: String,
    },
    /// Something that a reader should know and that changes no decision, in one sentence.
    Notice(String),
    /// Planning ended. The last event.
    Ended(PlanEnded),
    /// A sign of life; not part of the history.
    Progress(Progress),
}

/// What planning is doing at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The work under way.
    pub stage: PlanningStage,
    /// The step it is for; 0 during perception.
    pub step: u32,
    /// Rollouts of the step that have ended.
    pub rollouts_finished: u32,
    /// Rollouts of the step.
    pub rollouts_total: u32,
    /// Tokens chosen or forced for this incident so far.
    pub tokens: u64,
}

/// Work that planning consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlanningStage {
    /// The evidence is read.
    Perception,
    /// Candidates are proposed.
    Candidates,
    /// Candidates are simulated.
    Rollouts,
    /// Somebody has to approve or report.
    Waiting,
}

/// Where events go. Called between pieces of model work, so it returns at once; whoever writes events somewhere slow
/// puts a channel here.
pub trait PlanSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: PlanEvent);
}

impl<F: Fn(PlanEvent) + Send + Sync> PlanSink for F {
    fn emit(&self, event: PlanEvent) {
        self(event);
    }
}
