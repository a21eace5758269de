//! What numbers on the wire may be: one place for both servers, and for what a worker answers a coordinator.
//!
//! Contract: a number out of its bounds is refused by the name of its field, and no number is none of them: NaN and the
//! infinities are refused everywhere. Names have no bounds: seeds, keys of rollouts, sequence numbers and positions are
//! compared and never reckoned with, and one that names nothing is answered as such. Bounds of planning's options are those
//! of [`limits`], which hold for whoever plans.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use countermove_planner::{RolloutBatch, RolloutResult, limits};
use countermove_proto::Error;

/// Tokens of one whole answer, reasoning and all.
pub const ANSWER_TOKENS: RangeInclusive<u32> = 1..=1 << 20;
/// Sequences that a worker says it decodes in one batch or takes on in all.
pub const SEQUENCES: RangeInclusive<u32> = 1..=1 << 16;
/// Tokens or rollouts behind one piece of work. Sums of thousands of them fit 64 bits, and each a double.
pub const COUNT: RangeInclusive<u64> = 0..=1 << 48;
/// Time behind one piece of work: a year.
pub const WORK: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(366 * 24 * 3600);
/// What is added to the dearest rollout before one counts as dearer: sums are rounded.
const ROUNDING: f64 = 1e-6;

/// Checks a number or a time.
///
/// # Errors
/// [`Error::InvalidArgument`] for `field`.
pub(crate) fn within<T: PartialOrd + Debug>(
    field: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<T, Error> {
    // NaN is in no range.
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (least, most) = bounds.into_inner();
    Err(Error::invalid(field, format!("it is {value:?}, but it must be from {least:?} to {most:?}")))
}

/// What the results of a batch may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResultBounds {
    max_depth: u32,
    /// What one action costs at most.
    dearest: f64,
}

impl ResultBounds {
    /// The bounds that follow from the batch's depth and prices.
    pub fn of(batch: &RolloutBatch) -> Self {
        let max_depth = batch.policy.max_depth.min(*limits::DEPTH.end());
        Self { max_depth, dearest: batch.pricing.dearest(&batch.entities.systems) }
    }

    /// Checks a result that a worker sent.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the field that no such batch can have.
    pub fn check(&self, result: &RolloutResult) -> Result<(), Error> {
        let steps = u32::try_from(result.steps.len()).unwrap_or(u32::MAX);
        within("result.steps", steps, 0..=self.max_depth)?;
        let most = self.dearest * (1.0 + ROUNDING);
        for step in &result.steps {
            within("result.steps.cost", step.cost, 0.0..=most)?;
        }
        within("result.cost", result.cost, 0.0..=most * f64::from(steps))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::{Pricing, RecoveryState};
    use countermove_planner::{RolloutEnd, RolloutKey, RolloutPolicy, RolloutStep, Usage};

    use super::*;

    fn batch(pricing: Pricing) -> RolloutBatch {
        RolloutBatch {
            tenant: String::new(),
            incident: String::new(),
            system: String::new(),
            context: Vec::new(),
            entities: countermove_planner::Roles::default(),
            policy: RolloutPolicy { max_depth: 2, temperature: 0.0, top_p: 1.0, thinking_tokens: 0 },
            pricing,
            constraints: countermove_incident::Constraints::default(),
            rollouts: Vec::new(),
        }
    }

    fn result(costs: &[f64], cost: f64) -> RolloutResult {
        let step = |&cost: &f64| RolloutStep {
            action: "Isolate the host".to_owned(),
            state_after: RecoveryState::default(),
            cost,
        };
        RolloutResult {
            key: RolloutKey { step: 0, candidate: 0, rollout: 0 },
            end: RolloutEnd::Terminal,
            steps: costs.iter().map(step).collect(),
            cost,
            fault: String::new(),
            usage: Usage::default(),
        }
    }

    #[test]
    fn a_result_is_within_depth_and_prices() {
        let bounds = ResultBounds::of(&batch(Pricing::Superfluous));
        for good in [result(&[], 0.0), result(&[1.0], 1.0), result(&[2.0, 2.0], 4.0)] {
            assert_eq!(bounds.check(&good), Ok(()), "{good:?}");
        }
        for (bad, field) in [
            (result(&[1.0, 1.0, 1.0], 3.0), "result.steps"),
            (result(&[2.1], 2.1), "result.steps.cost"),
            (result(&[-1.0], 0.0), "result.steps.cost"),
            (result(&[f64::NAN], 1.0), "result.steps.cost"),
            (result(&[1.0], 2.5), "result.cost"),
            (result(&[1.0], -0.5), "result.cost"),
            (result(&[1.0], f64::INFINITY), "result.cost"),
            (result(&[], 1.0), "result.cost"),
        ] {
            let Err(Error::InvalidArgument(violations)) = bounds.check(&bad) else {
                panic!("{bad:?} was taken")
            };
            assert_eq!(violations[0].field, field);
        }
    }

    #[test]
    fn a_violation_says_what_is_allowed() {
        let error = within("policy.max_depth", 33, limits::DEPTH).unwrap_err();
        assert_eq!(error.to_string(), "policy.max_depth: it is 33, but it must be from 1 to 32");
        let error = within("usage.elapsed", Duration::MAX, WORK).unwrap_err();
        assert!(error.to_string().ends_with("from 0ns to 31622400s"), "{error}");
    }
}
