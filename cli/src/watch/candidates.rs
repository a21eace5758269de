//! Candidates of a step side by side: their intervals on one axis, and which of them the rollouts do not tell apart.

use countermove_proto::v1::{Candidate, CostEstimate, PlanStep};

/// Costs that differ by less are the same cost, as for the planner.
const SAME_COST: f64 = 1e-9;

/// An axis of cost.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Round values on it.
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// An axis that holds all means and what nine in ten recoveries cost; none if nothing was estimated.
    pub(super) fn of(candidates: &[Candidate]) -> Option<Self> {
        let costs = candidates.iter().filter_map(|candidate| candidate.cost.as_ref());
        let values = costs.flat_map(|cost| [cost.mean, cost.likely_low, cost.likely_high]);
        let values: Vec<f64> = values.flatten().filter(|value| value.is_finite()).collect();
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        let pad = ((most - least) * 0.08).max(0.5);
        let step = round_step((most - least + 2.0 * pad) / 5.0);
        let low = (((least - pad) / step).floor() * step).max(0.0);
        let high = (((most + pad) / step).ceil() * step).max(low + step);
        let ticks =
            (0..12).map(|index| low + f64::from(index) * step).filter(|tick| *tick <= high + step / 1e6);
        Some(Self { low, high, ticks: ticks.collect() })
    }

    /// The column on a line of so many at which a value stands; values beyond the axis stand at its ends.
    pub(super) fn column(&self, value: f64, columns: usize) -> usize {
        let last = columns.saturating_sub(1);
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        // A share of a terminal's width: small and not negative.
        (share * last as f64).round() as usize
    }

    /// An estimate on a line of so many columns: what nine in ten recoveries cost, the 95 % interval of the mean thicker, and the mean.
    /// An interval without an upper end goes on in dots.
    pub(super) fn bar(&self, cost: &CostEstimate, columns: usize) -> String {
        let mut cells = vec![' '; columns];
        let mut draw = |from: f64, to: f64, mark: char| {
            let (from, to) = (self.column(from, columns), self.column(to, columns));
            if let Some(cells) = cells.get_mut(from..=to) {
                cells.fill(mark);
            }
        };
        if let Some(low) = cost.likely_low {
            match cost.likely_high {
                Some(high) => draw(low, high, '─'),
                None => draw(low, self.high, '┄'),
            }
        }
        if let (Some(low), Some(high)) = (cost.low, cost.high) {
            draw(low, high, '━');
        }
        if let Some(mean) = cost.mean {
            draw(mean, mean, '●');
        }
        cells.into_iter().collect()
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-6).log10().floor());
    power * [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least).unwrap_or(10.0)
}

/// Rollouts that were run.
pub(super) fn rollouts(cost: &CostEstimate) -> u64 {
    [cost.terminal, cost.truncated, cost.malformed, cost.cancelled].into_iter().map(u64::from).sum()
}

/// Whether the rollouts tell two estimates apart. None is a tie without a mean, nor are two of which one recovered in half of its rollouts and
/// the other one did not.
fn is_tie(a: &CostEstimate, b: &CostEstimate) -> bool {
    let group = |cost: &CostEstimate| match u64::from(cost.terminal) {
        0 => 2,
        terminal if 2 * terminal >= rollouts(cost) - u64::from(cost.cancelled) => 0,
        _ => 1,
    };
    a.mean.zip(b.mean).is_some_and(|(x, y)| group(a) == group(b) && (x - y).abs() < SAME_COST)
}

/// Indexes of the candidates that cost the same as the best one as far as the rollouts can tell, the best one among them; none if no other
/// does.
pub(super) fn tied(step: &PlanStep) -> Vec<u32> {
    let best = step.assurance.as_ref().map_or(step.chosen, |assurance| assurance.best);
    let find = |candidate: &&Candidate| candidate.index == best;
    let Some(cost) = step.candidates.iter().find(find).and_then(|candidate| candidate.cost) else {
        return Vec::new();
    };
    let is_one = |candidate: &&Candidate| {
        candidate.index == best || candidate.cost.is_some_and(|other| is_tie(&other, &cost))
    };
    let tied: Vec<u32> = step.candidates.iter().filter(is_one).map(|candidate| candidate.index).collect();
    if tied.len() > 1 { tied } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::Assurance;
    use proptest::prelude::*;

    use super::*;

    fn candidate(index: u32, mean: f64, terminal: u32, truncated: u32) -> Candidate {
        let cost = CostEstimate { terminal, truncated, mean: Some(mean), ..CostEstimate::default() };
        Candidate { index, cost: Some(cost), ..Candidate::default() }
    }

    #[test]
    fn a_bar_shows_mean_interval_and_what_is_likely() {
        let cost = CostEstimate {
            mean: Some(4.0),
            low: Some(3.0),
            high: Some(5.0),
            likely_low: Some(2.0),
            likely_high: Some(8.0),
            ..CostEstimate::default()
        };
        let candidates = [Candidate { cost: Some(cost), ..Candidate::default() }];
        let axis = Axis::of(&candidates).unwrap();
        assert_eq!(axis.ticks, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(axis.bar(&cost, 21), "    ──━━●━━──────    ");
        assert_eq!(
            axis.bar(&CostEstimate { likely_high: None, ..cost }, 21),
            "    ──━━●━━──────    ".replace("──━━●━━──────    ", "┄┄━━●━━┄┄┄┄┄┄┄┄┄┄")
        );
        assert_eq!(axis.bar(&CostEstimate::default(), 4), "    ");
        assert_eq!(Axis::of(&[Candidate::default()]), None);
    }

    #[test]
    fn what_the_rollouts_do_not_tell_apart_is_a_tie() {
        let step = |candidates: Vec<Candidate>| PlanStep {
            candidates,
            assurance: Some(Assurance { best: 1, ..Assurance::default() }),
            ..PlanStep::default()
        };
        let best = candidate(1, 6.0, 3, 0);
        assert_eq!(tied(&step(vec![candidate(0, 6.0, 3, 0), best.clone(), candidate(2, 6.5, 3, 0)])), [0, 1]);
        assert!(tied(&step(vec![candidate(0, 6.0, 1, 2), best.clone()])).is_empty(), "of another group");
        assert!(tied(&step(vec![candidate(0, 7.0, 3, 0), best])).is_empty());
        assert!(tied(&PlanStep::default()).is_empty());
    }

    proptest! {
        #[test]
        fn no_estimate_draws_beyond_its_line(mean in any::<f64>(), low in any::<f64>(), high in proptest::option::of(any::<f64>()), columns in 0usize..60) {
            let cost = CostEstimate { mean: Some(mean), low: Some(low), high, likely_low: Some(low), likely_high: high, ..CostEstimate::default() };
            let other = candidate(1, 3.0, 1, 0);
            let axis = Axis::of(&[Candidate { cost: Some(cost), ..Candidate::default() }, other]).unwrap();
            prop_assert_eq!(axis.bar(&cost, columns).chars().count(), columns);
            prop_assert!(axis.ticks.len() <= 12);
        }
    }
}
