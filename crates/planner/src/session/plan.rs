//! What a plan is: actions, candidates with their costs, steps and the end.

use countermove_incident::RecoveryState;
use serde::{Deserialize, Serialize};

use crate::choosing::assurance::Assurance;
use crate::choosing::candidate::{Candidate, RejectedCandidate};
use crate::evidence::adaptation::ExpectedAlerts;
use crate::evidence::assessment::Assessment;
use crate::evidence::findings::Finding;
use crate::language_model::Usage;
use crate::rollouts::world::Belief;
use crate::session::seal::{Seal, SealedCandidate};

/// Where a state comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StateSource {
    /// The model predicted it; nobody has looked.
    Predicted,
    /// The operator reported it.
    Reported,
}

/// A state after an action, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAfter {
    /// The state.
    pub state: RecoveryState,
    /// Where it comes from.
    pub source: StateSource,
}

/// One step of a plan: a decision between candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Position in the plan, from 0.
    pub index: u32,
    /// State before the action.
    pub state_before: RecoveryState,
    /// What was believed of the incident before it.
    #[serde(default)]
    pub belief: Belief,
    /// What was proposed and simulated.
    pub candidates: Vec<Candidate>,
    /// What was proposed and thrown away.
    pub rejected: Vec<RejectedCandidate>,
    /// Index of the chosen candidate.
    pub chosen: u32,
    /// Why this one, in one sentence that names the figures.
    pub reason: String,
    /// How far the choice can be trusted.
    pub assurance: Assurance,
    /// Alerts that the conjectured tactic is expected to raise next; absent if nobody will compare them.
    pub expected: Option<ExpectedAlerts>,
    /// SHA-256 over the incident, everything done before, and this decision; lower-case hex. Empty until the session has
    /// taken the step in.
    pub hash: String,
    /// State after the action: predicted in offline mode, reported in interactive mode. Absent until it is known.
    pub state_after: Option<StateAfter>,
    /// What was found out of hosts, accounts and addresses when it was carried out.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Work behind the decision.
    pub usage: Usage,
}

impl PlanStep {
    /// The hash of this step in an incident in which `before` was done and with this candidate as the chosen one: who approves it has
    /// seen just this.
    pub(crate) fn seal(&self, incident: &str, before: &[String], chosen: u32) -> String {
        let candidates = self.candidates.iter().map(|candidate| SealedCandidate {
            text: &candidate.action.text,
            explanation: &candidate.action.explanation,
            mean: candidate.cost.mean,
            predicted: candidate.predicted_state,
        });
        let (index, state_before) = (self.index, self.state_before);
        let candidates = candidates.collect();
        Seal { incident, before, index, state_before, chosen, candidates, reason: &self.reason }.hash()
    }

    /// The chosen candidate. `None` only in a step that was not made by [`crate::Planner`].
    pub fn chosen_candidate(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.index == self.chosen)
    }

    /// Text of the chosen action; empty where there is no chosen candidate.
    pub fn action(&self) -> &str {
        self.chosen_candidate().map_or("", |candidate| candidate.action.text.as_str())
    }
}

/// Why planning ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PlanEnd {
    /// Every recovery bit is true.
    Recovered,
    /// The step limit was reached first.
    StepLimit,
    /// Perception found no incident.
    NoIncident,
    /// Nothing in the evidence is in a known form, so that nothing was judged.
    NotUnderstood,
    /// No usable candidate could be proposed; `error` says why, as the rest of a sentence.
    NoCandidate,
    /// Everybody inside who was suspected was found clean, and the attacker, if there is one, is shut out: nothing is left to recover from.
    /// `error` says who was found clean, as the rest of a sentence.
    Cleared,
    /// The deadline passed.
    Deadline,
    /// The caller cancelled.
    Cancelled,
    /// A fault ended it.
    Failed,
}

/// The end of planning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEnded {
    /// Why.
    pub end: PlanEnd,
    /// The fault of [`PlanEnd::Failed`], in one sentence; why there is no candidate, or who was found clean, as the rest of one; else empty.
    pub error: String,
    /// Work behind the whole plan.
    pub usage: Usage,
}

/// The decisions of an incident, from the first look at the evidence to the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What was made of the evidence; absent if planning ended before perception did.
    pub assessment: Option<Assessment>,
    /// Steps in order.
    pub steps: Vec<PlanStep>,
    /// Why planning ended, and the work behind it.
    pub ended: PlanEnded,
}
