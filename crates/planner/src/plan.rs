//! What a plan is: actions, candidates with their costs, steps and the end.

use countermove_incident::RecoveryState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::adaptation::ExpectedAlerts;
use crate::assessment::Assessment;
use crate::assurance::Assurance;
use crate::language_model::Usage;

/// A response action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What to do, in one imperative sentence.
    pub text: String,
    /// Why.
    pub explanation: String,
}

/// An estimate of what recovery costs if a candidate is taken first. Only rollouts that reached full recovery enter
/// the mean, the variance and the interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostEstimate {
    /// Rollouts that reached full recovery, n.
    pub terminal: u32,
    /// Rollouts that hit the depth limit.
    pub truncated: u32,
    /// Rollouts that broke off on an answer which could not be used.
    pub malformed: u32,
    /// Rollouts that were cancelled.
    pub cancelled: u32,
    /// Mean cost; absent if `terminal` is 0.
    pub mean: Option<f64>,
    /// Unbiased sample variance; absent if `terminal` is below 2.
    pub variance: Option<f64>,
    /// Lower bound of the two-sided 95 % Student interval of the mean; absent if `terminal` is below 2.
    pub low: Option<f64>,
    /// Upper bound of that interval.
    pub high: Option<f64>,
}

/// An action that was proposed for a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Position in the step, from 0.
    pub index: u32,
    /// The action.
    pub action: Action,
    /// What recovery costs if it is taken; all zero before the rollouts.
    pub cost: CostEstimate,
    /// State that the model expects after the action; absent until a rollout got that far.
    pub predicted_state: Option<RecoveryState>,
    /// The model's reasoning, as it wrote it.
    pub reasoning: String,
}

/// A proposal that was thrown away before any rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedCandidate {
    /// The action.
    pub action: Action,
    /// Why it was thrown away, in one sentence.
    pub reason: String,
}

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
    /// Work behind the decision.
    pub usage: Usage,
}

impl PlanStep {
    /// The hash of this step in an incident in which `before` was done: who approves it has seen just this.
    pub(crate) fn seal(&self, incident: &str, before: &[String]) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // Lengths first, so that no two lists of parts run together to the same bytes.
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(b"countermove plan step 1");
        part(incident.as_bytes());
        part(&(before.len() as u64).to_le_bytes());
        before.iter().for_each(|line| part(line.as_bytes()));
        part(&self.index.to_le_bytes());
        part(&self.state_before.bits().map(u8::from));
        part(&self.chosen.to_le_bytes());
        for candidate in &self.candidates {
            part(candidate.action.text.as_bytes());
            part(candidate.action.explanation.as_bytes());
            part(&candidate.cost.mean.unwrap_or(f64::NAN).to_bits().to_le_bytes());
            part(&candidate.predicted_state.unwrap_or_default().bits().map(u8::from));
        }
        part(self.reason.as_bytes());
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
    /// No usable candidate could be proposed.
    NoCandidate,
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
    /// The fault in one sentence; empty unless `end` is [`PlanEnd::Failed`].
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
