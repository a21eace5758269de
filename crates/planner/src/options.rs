//! How an incident is planned.

use std::sync::Arc;
use std::time::Duration;

use countermove_incident::{Catalogue, Pricing};
use serde::{Deserialize, Serialize};

/// What numbers of [`PlanOptions`] may be, for all who take them from a user.
pub mod limits {
    use std::ops::RangeInclusive;

    /// Candidate actions proposed for each step, N.
    pub const CANDIDATES: RangeInclusive<u32> = 1..=16;
    /// Rollouts of each candidate, M.
    pub const ROLLOUTS: RangeInclusive<u32> = 1..=256;
    /// Actions simulated in one rollout, D.
    pub const DEPTH: RangeInclusive<u32> = 1..=32;
    /// Actions in one plan.
    pub const STEPS: RangeInclusive<u32> = 1..=32;
    /// Tokens of reasoning before one answer.
    pub const THINKING_TOKENS: RangeInclusive<u32> = 0..=4096;
    /// Sampling temperature.
    pub const TEMPERATURE: RangeInclusive<f32> = 0.0..=2.0;
    /// Tokens of system description, constraints and alerts in a prompt.
    pub const CONTEXT_TOKENS: RangeInclusive<u32> = 200..=1_000_000;
    /// Rollouts of one decision, if they are bounded.
    pub const BUDGET_ROLLOUTS: RangeInclusive<u32> = 1..=1024;
}

/// Who decides what happens after an action is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PlanMode {
    /// Nobody is asked: the predicted state becomes the next one, until recovery or the step limit.
    #[default]
    Offline,
    /// Each action waits for an approval, and the next step for the outcome.
    Interactive,
}

/// What may be approved without a person, in interactive mode. There is no setting that approves more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Autonomy {
    /// Nothing.
    #[default]
    Advise,
    /// Actions that change nothing or that can be taken back, if the choice is clear, nothing speaks against it, and every host and
    /// account that they take down is as surely the attacker's.
    ApproveReversible {
        /// Chance of being the best that is needed, and of being the attacker's; at least 0.5 and at most 1.
        confidence: f64,
    },
}

/// What the rollouts of one decision may take at most. When the first bound is reached, the best answer so far counts;
/// rollouts that still run are cancelled. Bounds on tokens and time make a plan depend on the speed of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Rollouts; 1 to 1024.
    pub rollouts: Option<u32>,
    /// Tokens chosen or forced; at least 1.
    pub tokens: Option<u64>,
    /// Time.
    pub time: Option<Duration>,
}

/// How an incident is planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Candidate actions proposed for each step, N; 1 to 16. Beside one that cuts off or cleans hosts of which some are in doubt stands the
    /// same about the others alone.
    pub candidates: u32,
    /// Rollouts of each candidate, M; 1 to 256.
    pub rollouts: u32,
    /// Actions simulated in one rollout before it counts as truncated, D; 1 to 32.
    pub max_depth: u32,
    /// Actions in one plan; 1 to 32.
    pub max_steps: u32,
    /// Root of every random choice.
    pub seed: u64,
    /// Sampling temperature for candidates and rollout actions, 0 to 2. Perception is greedy; what simulated actions bring about is
    /// drawn as likely as the model finds it.
    pub temperature: f32,
    /// Nucleus mass for candidates and rollout actions, in (0, 1].
    pub top_p: f32,
    /// Most tokens of reasoning before each answer of perception and of a candidate; at most 4096.
    pub thinking_tokens: u32,
    /// Most tokens of reasoning before each answer within a rollout; at most 4096.
    pub rollout_thinking_tokens: u32,
    /// Tokens that system description, constraints and alerts may take in a prompt, as estimated; 200 to 1,000,000.
    pub context_tokens: u32,
    /// Time within which planning has to end; what is decided by then stays. Absent: no bound.
    pub deadline: Option<Duration>,
    /// Who decides what happens after an action is chosen.
    pub mode: PlanMode,
    /// What may be approved without a person.
    pub autonomy: Autonomy,
    /// What actions cost.
    pub pricing: Pricing,
    /// Run all rollouts of every candidate, instead of racing: then a candidate that can no longer win gets no more.
    pub exhaustive: bool,
    /// Confidence with which a candidate is dropped from the race, and from which on the best counts as clearly the
    /// best; at least 0.5 and below 1.
    pub confidence: f64,
    /// What the rollouts of one decision may take at most.
    pub budget: Budget,
    /// Share of the expected alerts that has to come for the conjecture to stand, from 0 to 1.
    pub alert_precision: f64,
    /// What can be done while the attack goes on; then each step is a round, and what is done is of the catalogue. Absent: actions are
    /// proposed by the model, and the attack is taken to wait.
    #[serde(default)]
    pub catalogue: Option<Arc<Catalogue>>,
}

impl Default for PlanOptions {
    /// The paper's defaults, without reasoning, and a context that suits a small model. M is larger: as equal questions are asked
    /// once, many rollouts cost little more than a few, and of 40 the ends of what is likely are no single ones.
    fn default() -> Self {
        Self {
            candidates: 3,
            rollouts: 40,
            max_depth: 10,
            max_steps: 10,
            seed: 0,
            temperature: 0.6,
            top_p: 0.9,
            thinking_tokens: 0,
            rollout_thinking_tokens: 0,
            context_tokens: 1600,
            deadline: None,
            mode: PlanMode::Offline,
            autonomy: Autonomy::default(),
            pricing: Pricing::default(),
            exhaustive: false,
            confidence: 0.95,
            budget: Budget::default(),
            alert_precision: 0.7,
            catalogue: None,
        }
    }
}

/// An option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}, but it must be {allowed}")]
pub struct OptionsError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl PlanOptions {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range, by name.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let whole = |field, value: u32, range: std::ops::RangeInclusive<u32>| {
            if range.contains(&value) {
                return Ok(());
            }
            let allowed = format!("from {} to {}", range.start(), range.end());
            Err(OptionsError { field, found: value.to_string(), allowed })
        };
        whole("candidates", self.candidates, limits::CANDIDATES)?;
        whole("rollouts", self.rollouts, limits::ROLLOUTS)?;
        whole("max_depth", self.max_depth, limits::DEPTH)?;
        whole("max_steps", self.max_steps, limits::STEPS)?;
        whole("thinking_tokens", self.thinking_tokens, limits::THINKING_TOKENS)?;
        whole("rollout_thinking_tokens", self.rollout_thinking_tokens, limits::THINKING_TOKENS)?;
        whole("context_tokens", self.context_tokens, limits::CONTEXT_TOKENS)?;
        // NaN is in no range.
        if !limits::TEMPERATURE.contains(&self.temperature) {
            let found = self.temperature.to_string();
            return Err(OptionsError { field: "temperature", found, allowed: "from 0 to 2".into() });
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            let found = self.top_p.to_string();
            return Err(OptionsError { field: "top_p", found, allowed: "above 0 and at most 1".into() });
        }
        if !(self.confidence >= 0.5 && self.confidence < 1.0) {
            let (found, allowed) = (self.confidence.to_string(), "at least 0.5 and below 1".into());
            return Err(OptionsError { field: "confidence", found, allowed });
        }
        if !(0.0..=1.0).contains(&self.alert_precision) {
            let (found, allowed) = (self.alert_precision.to_string(), "from 0 to 1".into());
            return Err(OptionsError { field: "alert_precision", found, allowed });
        }
        if let Autonomy::ApproveReversible { confidence } = self.autonomy
            && !(0.5..=1.0).contains(&confidence)
        {
            let (found, allowed) = (confidence.to_string(), "from 0.5 to 1".into());
            return Err(OptionsError { field: "autonomy_confidence", found, allowed });
        }
        if let Some(rollouts) = self.budget.rollouts {
            whole("budget_rollouts", rollouts, limits::BUDGET_ROLLOUTS)?;
        }
        if self.budget.tokens == Some(0) {
            let (found, allowed) = ("0".into(), "at least 1".into());
            return Err(OptionsError { field: "budget_tokens", found, allowed });
        }
        if self.budget.time.is_some_and(|time| time.is_zero()) {
            let (found, allowed) = ("0 s".into(), "longer than 0 s".into());
            return Err(OptionsError { field: "budget_time", found, allowed });
        }
        if self.deadline.is_some_and(|deadline| deadline.is_zero()) {
            let (found, allowed) = ("0 s".into(), "longer than 0 s".into());
            return Err(OptionsError { field: "deadline", found, allowed });
        }
        if self.catalogue.is_some() && self.mode == PlanMode::Offline {
            let (found, allowed) = (
                "given".into(),
                "left out of an offline plan: what is seen in each round decides the next".into(),
            );
            return Err(OptionsError { field: "catalogue", found, allowed });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(PlanOptions::default().validate(), Ok(()));
    }

    #[test]
    fn each_field_is_named_when_it_is_out_of_range() {
        let (default, budget) = (PlanOptions::default, Budget::default());
        let careless = Autonomy::ApproveReversible { confidence: 0.2 };
        let cases = [
            ("candidates", PlanOptions { candidates: 0, ..default() }),
            ("candidates", PlanOptions { candidates: 17, ..default() }),
            ("rollouts", PlanOptions { rollouts: 257, ..default() }),
            ("max_depth", PlanOptions { max_depth: 33, ..default() }),
            ("max_steps", PlanOptions { max_steps: 0, ..default() }),
            ("thinking_tokens", PlanOptions { thinking_tokens: 5000, ..default() }),
            ("rollout_thinking_tokens", PlanOptions { rollout_thinking_tokens: 5000, ..default() }),
            ("context_tokens", PlanOptions { context_tokens: 10, ..default() }),
            ("temperature", PlanOptions { temperature: f32::NAN, ..default() }),
            ("temperature", PlanOptions { temperature: -0.1, ..default() }),
            ("top_p", PlanOptions { top_p: 0.0, ..default() }),
            ("top_p", PlanOptions { top_p: f32::INFINITY, ..default() }),
            ("deadline", PlanOptions { deadline: Some(Duration::ZERO), ..default() }),
            ("confidence", PlanOptions { confidence: 1.0, ..default() }),
            ("confidence", PlanOptions { confidence: f64::NAN, ..default() }),
            ("alert_precision", PlanOptions { alert_precision: f64::NAN, ..default() }),
            ("autonomy_confidence", PlanOptions { autonomy: careless, ..default() }),
            ("budget_rollouts", PlanOptions { budget: Budget { rollouts: Some(0), ..budget }, ..default() }),
            ("budget_tokens", PlanOptions { budget: Budget { tokens: Some(0), ..budget }, ..default() }),
            (
                "budget_time",
                PlanOptions { budget: Budget { time: Some(Duration::ZERO), ..budget }, ..default() },
            ),
        ];
        for (field, options) in cases {
            let error = options.validate().unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
