//! What is chosen from: actions that were proposed, and what recovery is estimated to cost after each.

use countermove_incident::{Order, RecoveryState};
use serde::{Deserialize, Serialize};

/// A response action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What to do, in one imperative sentence.
    pub text: String,
    /// Why.
    pub explanation: String,
}

/// An estimate of what recovery costs if a candidate is taken first. A rollout that was cut off at the depth limit counts with
/// what it had cost and one more action for each fact that it still missed: it would have cost no less. One that a candidate was
/// spared in a race counts as that of the candidate with most rollouts, plus what the two differ by where both have one.
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
    /// Mean cost of the rollouts that recovered or were cut off; absent if `terminal` is 0.
    pub mean: Option<f64>,
    /// Their unbiased sample variance; absent if there are fewer than 2 or `terminal` is 0.
    pub variance: Option<f64>,
    /// Lower bound of the two-sided 95 % Student interval of the mean; absent where the variance is.
    pub low: Option<f64>,
    /// Upper bound of that interval.
    pub high: Option<f64>,
    /// What one recovery costs at least, nine times in ten together with `likely_high`; absent where the variance is.
    #[serde(default)]
    pub likely_low: Option<f64>,
    /// What it costs at most; absent as well if more rollouts than one in twenty were cut off.
    #[serde(default)]
    pub likely_high: Option<f64>,
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
    /// Hash of the step with this candidate as the chosen one; empty until the session has taken the step in.
    #[serde(default)]
    pub hash: String,
    /// Hosts and accounts of the system that it cuts off or cleans; empty until then.
    #[serde(default)]
    pub takes_down: Vec<String>,
    /// Hosts of these in doubt that an earlier step searches, of which nobody has told what was found; empty until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaits_search: Vec<String>,
    /// How many people have to approve it; 0 where nobody is asked, and until then.
    #[serde(default)]
    pub approvers: u32,
    /// How it is carried out, target by target, as far as the organisation says; empty until then.
    #[serde(default)]
    pub orders: Vec<Order>,
}

impl Candidate {
    /// An action that was proposed, before its rollouts.
    pub fn proposed(index: u32, action: Action, reasoning: String) -> Self {
        Self {
            index,
            action,
            cost: CostEstimate::default(),
            predicted_state: None,
            reasoning,
            hash: String::new(),
            takes_down: Vec::new(),
            awaits_search: Vec::new(),
            approvers: 0,
            orders: Vec::new(),
        }
    }
}

/// A proposal that was thrown away before any rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedCandidate {
    /// The action.
    pub action: Action,
    /// Why it was thrown away, in one sentence.
    pub reason: String,
}
