//! How an incident is planned.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What whole numbers of [`PlanOptions`] may be, for all who take them from a user.
pub mod limits {
    use std::ops::RangeInclusive;

    /// Candidate actions proposed for each step, N.
    pub const CANDIDATES: RangeInclusive<u32> = 1..=16;
    /// Rollouts of each candidate, M.
    pub const ROLLOUTS: RangeInclusive<u32> = 1..=64;
    /// Actions simulated in one rollout, D.
    pub const DEPTH: RangeInclusive<u32> = 1..=32;
    /// Actions in one plan.
    pub const STEPS: RangeInclusive<u32> = 1..=32;
    /// Tokens of reasoning before one answer.
    pub const THINKING_TOKENS: RangeInclusive<u32> = 0..=4096;
    /// Tokens of system description, constraints and alerts in a prompt.
    pub const CONTEXT_TOKENS: RangeInclusive<u32> = 200..=1_000_000;
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

/// How an incident is planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Candidate actions proposed for each step, N; 1 to 16.
    pub candidates: u32,
    /// Rollouts of each candidate, M; 1 to 64.
    pub rollouts: u32,
    /// Actions simulated in one rollout before it counts as truncated, D; 1 to 32.
    pub max_depth: u32,
    /// Actions in one plan; 1 to 32.
    pub max_steps: u32,
    /// Root of every random choice.
    pub seed: u64,
    /// Sampling temperature for candidates and rollout actions, 0 to 2. Perception and state predictions are greedy.
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
}

impl Default for PlanOptions {
    /// The paper's defaults, without reasoning, and a context that suits a small model.
    fn default() -> Self {
        Self {
            candidates: 3,
            rollouts: 3,
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
        // Written so that NaN fails.
        if !(self.temperature >= 0.0 && self.temperature <= 2.0) {
            let found = self.temperature.to_string();
            return Err(OptionsError { field: "temperature", found, allowed: "from 0 to 2".into() });
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            let found = self.top_p.to_string();
            return Err(OptionsError { field: "top_p", found, allowed: "above 0 and at most 1".into() });
        }
        if self.deadline.is_some_and(|deadline| deadline.is_zero()) {
            let (found, allowed) = ("0 s".into(), "longer than 0 s".into());
            return Err(OptionsError { field: "deadline", found, allowed });
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
        let default = PlanOptions::default;
        let cases = [
            ("candidates", PlanOptions { candidates: 0, ..default() }),
            ("candidates", PlanOptions { candidates: 17, ..default() }),
            ("rollouts", PlanOptions { rollouts: 65, ..default() }),
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
        ];
        for (field, options) in cases {
            let error = options.validate().unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
