//! What the rollouts of a candidate say together.
//!
//! Invariants: the order of results does not matter, bit for bit; every result is counted exactly once; a rollout that was cut off
//! before recovery never makes its candidate look cheaper.

use std::collections::BTreeSet;

use countermove_incident::{Entities, RecoveryState};

use crate::choosing::candidate::CostEstimate;
use crate::choosing::student_t;
use crate::rollouts::checks::interrupts;
use crate::rollouts::runner::{RolloutEnd, RolloutResult};

/// Confidence of the interval of a mean.
pub const CONFIDENCE: f64 = 0.95;
/// How often one recovery costs less than what is called likely, and how often more.
const UNLIKELY: f64 = 0.05;

/// The rollouts of one candidate, taken together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Counts, mean, variance and intervals.
    pub cost: CostEstimate,
    /// Of the rollouts that recovered or were cut off: their numbers, rising, and their costs or the bounds of them.
    pub costs: Vec<(u32, f64)>,
    /// Mean cost of one simulated action, over all rollouts; 0 if there is none.
    pub action_cost: f64,
    /// Mean number of facts that hold where truncated rollouts were cut off; absent if none was.
    pub achieved_at_truncation: Option<f64>,
    /// State after the candidate's own action in most rollouts; absent if none got that far.
    pub predicted_state: Option<RecoveryState>,
    /// Hosts, addresses and domains that the candidate's own action cuts off or cleans; 0 if it does neither.
    pub interrupted: usize,
    /// Of what it cuts off, attackers from outside: blocking them takes nobody of the system down.
    pub blocked: usize,
    /// The first fault by rollout number, if a rollout was malformed.
    pub fault: Option<String>,
}

impl Tally {
    /// Rollouts that say something about the candidate: all but the cancelled ones.
    pub fn finished(&self) -> u32 {
        self.cost.terminal + self.cost.truncated + self.cost.malformed
    }

    /// Tells those whom the candidate's action cuts off apart by whether they are attackers from outside.
    pub(crate) fn tell_apart(&mut self, action: &str, outside: impl Fn(&str) -> bool) {
        if self.interrupted > 0 {
            self.blocked = Entities::find(action).iter().filter(|entity| outside(&entity.value)).count();
            self.interrupted -= self.blocked.min(self.interrupted);
        }
    }
}

/// Takes the rollouts of one candidate together.
pub fn tally<'a>(results: impl IntoIterator<Item = &'a RolloutResult>) -> Tally {
    let mut results: Vec<&RolloutResult> = results.into_iter().collect();
    // One order for sums and for "first", whatever the order of arrival.
    results.sort_by_key(|result| result.key);
    let mut tally = Tally::default();
    let mut achieved = Vec::new();
    let mut after: Vec<(RecoveryState, u32)> = Vec::new();
    let (mut actions, mut spent) = (0, 0.0);
    for result in results {
        actions += result.steps.len();
        spent += result.cost;
        match result.end {
            RolloutEnd::Terminal => {
                tally.cost.terminal += 1;
                tally.costs.push((result.key.rollout, result.cost));
            }
            RolloutEnd::Truncated => {
                tally.cost.truncated += 1;
                tally.costs.push((result.key.rollout, least(result)));
                achieved.push(result.steps.last().map_or(0, |step| step.state_after.achieved()));
            }
            RolloutEnd::Malformed => {
                tally.cost.malformed += 1;
                tally.fault.get_or_insert_with(|| result.fault.clone());
            }
            RolloutEnd::Cancelled => tally.cost.cancelled += 1,
        }
        if let Some(step) = result.steps.first() {
            // All begin with the candidate's own action.
            if after.is_empty() {
                tally.interrupted = interrupted(&step.action);
            }
            match after.iter_mut().find(|(state, _)| *state == step.state_after) {
                Some((_, times)) => *times += 1,
                None => after.push((step.state_after, 1)),
            }
        }
    }
    // Among equals what the first rollout saw.
    tally.predicted_state = after.iter().rev().max_by_key(|(_, times)| *times).map(|(state, _)| *state);
    if !achieved.is_empty() {
        tally.achieved_at_truncation = Some(achieved.iter().sum::<usize>() as f64 / achieved.len() as f64);
    }
    if actions > 0 {
        tally.action_cost = spent / actions as f64;
    }
    estimate(tally.costs.iter().map(|(_, cost)| *cost).collect(), 0.0, &mut tally.cost);
    tally
}

/// What games say of a candidate that were all played to their end.
pub(crate) fn played(costs: &[f64]) -> Tally {
    let mut tally = Tally::default();
    tally.cost.terminal = u32::try_from(costs.len()).unwrap_or(u32::MAX);
    tally.costs = (0..).zip(costs.iter().copied()).collect();
    estimate(costs.to_vec(), 0.0, &mut tally.cost);
    tally
}

/// What a rollout that was cut off would have cost at least: an action more for each fact that it still missed.
fn least(result: &RolloutResult) -> f64 {
    let actions = result.steps.len().max(1) as f64;
    let achieved = result.steps.last().map_or(0, |step| step.state_after.achieved());
    let missing = RecoveryState::NAMES.len().saturating_sub(achieved) as f64;
    result.cost + missing * result.cost / actions
}

fn interrupted(action: &str) -> usize {
    if interrupts(action) { Entities::find(action).iter().count() } else { 0 }
}

/// Makes estimates of candidates with different numbers of rollouts comparable: rollouts of one number meet the same world and the same
/// luck, so one that a candidate was spared counts as that of the candidate with most rollouts, plus what the two differ by in
/// those that both have.
pub(crate) fn level(tallies: &mut [Tally]) {
    let most = tallies.iter().enumerate().filter(|(_, tally)| tally.cost.terminal > 0);
    let Some((reference, full)) = most.rev().max_by_key(|(_, tally)| tally.costs.len()) else { return };
    let full = full.costs.clone();
    for (at, tally) in tallies.iter_mut().enumerate() {
        let gains = differences(&full, &tally.costs);
        if at == reference || gains.is_empty() || tally.costs.len() >= full.len() {
            continue;
        }
        let k = gains.len() as f64;
        let (mean, squares) = moments(&gains);
        let own: BTreeSet<u32> = tally.costs.iter().map(|(number, _)| *number).collect();
        let spared = full.iter().filter(|(number, _)| !own.contains(number));
        let mut costs: Vec<f64> = tally.costs.iter().map(|(_, cost)| *cost).collect();
        costs.extend(spared.map(|(_, cost)| cost + mean));
        let unsure = if gains.len() > 1 { squares / (k - 1.0) / k } else { 0.0 };
        estimate(costs, unsure * (1.0 - k / full.len() as f64).max(0.0), &mut tally.cost);
    }
}

/// By how much the other costs more than the first, in each rollout that both have.
pub(crate) fn differences(first: &[(u32, f64)], other: &[(u32, f64)]) -> Vec<f64> {
    let of = |number: u32| {
        first.binary_search_by_key(&number, |(number, _)| *number).ok().and_then(|at| first.get(at))
    };
    other.iter().filter_map(|(number, cost)| of(*number).map(|(_, own)| cost - own)).collect()
}

/// Mean of values, and the sum of the squares by which they differ from it.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum())
}

/// Mean, unbiased variance and intervals of `costs`, if a rollout recovered. `unsure` is what the mean varies beyond what they do.
fn estimate(mut costs: Vec<f64>, unsure: f64, cost: &mut CostEstimate) {
    if cost.terminal == 0 {
        return;
    }
    let n = costs.len() as f64;
    let (mean, squares) = moments(&costs);
    cost.mean = Some(mean);
    if costs.len() < 2 {
        return;
    }
    let variance = squares / (n - 1.0);
    cost.variance = Some(variance);
    let degrees = (costs.len() - 1) as u32;
    if let Some(t) = student_t::two_sided_quantile(CONFIDENCE, degrees) {
        let half = t * (variance / n + unsure).sqrt();
        // No cost is below zero, however few they are.
        cost.low = Some((mean - half).max(0.0));
        cost.high = Some(mean + half);
    }
    costs.sort_by(f64::total_cmp);
    // As many at each end as leave one more like them inside with that chance.
    let outside = ((n + 1.0) * UNLIKELY).floor() as usize;
    let (low, high) = match outside.checked_sub(1) {
        Some(at) => (costs.get(at).copied(), costs.iter().rev().nth(at).copied()),
        // They are too few to have such ends: those of a normal law with their mean and spread.
        None => {
            let half = student_t::two_sided_quantile(1.0 - 2.0 * UNLIKELY, degrees)
                .map(|t| t * (variance * (1.0 + 1.0 / n)).sqrt());
            (half.map(|half| (mean - half).max(0.0)), half.map(|half| mean + half))
        }
    };
    let is_open = f64::from(cost.truncated) > n * UNLIKELY;
    cost.likely_low = low;
    cost.likely_high = high.filter(|_| !is_open);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::language_model::Usage;
    use crate::rollouts::runner::{RolloutKey, RolloutStep};

    fn result(rollout: u32, end: RolloutEnd, cost: f64, achieved: usize) -> RolloutResult {
        let state_after = RecoveryState::from_bits(std::array::from_fn(|bit| bit < achieved));
        RolloutResult {
            key: RolloutKey { step: 0, candidate: 0, rollout },
            end,
            steps: vec![RolloutStep { action: "Isolate a".into(), state_after, cost }],
            cost,
            fault: if end == RolloutEnd::Malformed { format!("fault {rollout}") } else { String::new() },
            usage: Usage { sampled_tokens: 3, forced_tokens: 4, ..Usage::default() },
        }
    }

    #[test]
    fn what_was_cut_off_counts_with_what_it_would_have_cost_at_least() {
        let results = [
            result(0, RolloutEnd::Terminal, 4.0, 6),
            result(1, RolloutEnd::Truncated, 20.0, 3),
            result(2, RolloutEnd::Terminal, 6.0, 6),
            result(3, RolloutEnd::Malformed, 1.0, 1),
            result(4, RolloutEnd::Cancelled, 0.0, 0),
            result(5, RolloutEnd::Terminal, 5.0, 6),
        ];
        let tally = tally(&results);
        assert_eq!((tally.cost.terminal, tally.cost.truncated), (3, 1));
        assert_eq!((tally.cost.malformed, tally.cost.cancelled), (1, 1));
        // It had cost 20 in one action, and three facts were missing.
        assert_eq!(tally.costs, [(0, 4.0), (1, 80.0), (2, 6.0), (5, 5.0)]);
        assert_eq!(tally.cost.mean, Some(23.75));
        assert_eq!(tally.cost.likely_high, None, "nobody knows what it would have cost at most");
        assert_eq!(tally.achieved_at_truncation, Some(3.0));
        assert_eq!(tally.fault.as_deref(), Some("fault 3"));
        assert_eq!(tally.finished(), 5);
    }

    #[test]
    fn the_mean_and_one_recovery_have_intervals() {
        let of = |costs: &[f64]| {
            let results: Vec<RolloutResult> =
                (0..).zip(costs).map(|(at, cost)| result(at, RolloutEnd::Terminal, *cost, 6)).collect();
            tally(&results).cost
        };
        let cost = of(&[4.0, 6.0, 5.0]);
        assert_eq!((cost.mean, cost.variance), (Some(5.0), Some(1.0)));
        // t(0.975, 2) / √3 = 2.4841
        assert!((cost.low.unwrap() - 2.5159).abs() < 1e-3);
        assert!((cost.high.unwrap() - 7.4841).abs() < 1e-3);
        // t(0.95, 2) · √(4 / 3) = 3.3717
        assert!((cost.likely_low.unwrap() - 1.6283).abs() < 1e-3);
        assert!((cost.likely_high.unwrap() - 8.3717).abs() < 1e-3);
        let many: Vec<f64> = (0..39).map(f64::from).collect();
        let cost = of(&many);
        assert_eq!(
            (cost.likely_low, cost.likely_high),
            (Some(1.0), Some(37.0)),
            "two of forty lie beyond each"
        );
    }

    /// Of laws that are not normal, as of those that are.
    #[test]
    fn one_more_recovery_costs_what_is_called_likely() {
        use crate::seeds::{chance, derive_seed};
        let draws = |seed: u64, n: u64| -> Vec<f64> {
            let lot = |at: u64| chance(derive_seed(seed, "cost", &[at]));
            (0..n).map(|at| 6.0 - 3.0 * (1.0 - lot(at)).ln()).collect()
        };
        for n in [3, 8, 24, 64] {
            let inside = (0..2000).filter(|seed| {
                let costs = draws(*seed, n + 1);
                let (next, seen) = costs.split_last().unwrap();
                let results: Vec<RolloutResult> =
                    (0..).zip(seen).map(|(at, cost)| result(at, RolloutEnd::Terminal, *cost, 6)).collect();
                let cost = tally(&results).cost;
                (cost.likely_low.unwrap()..=cost.likely_high.unwrap()).contains(next)
            });
            let share = inside.count() as f64 / 2000.0;
            assert!(share > 0.86, "{n} rollouts: {share}");
        }
    }

    #[test]
    fn a_rollout_that_was_spared_counts_as_that_of_another_candidate_and_their_difference() {
        let of = |costs: &[f64]| {
            let results: Vec<RolloutResult> =
                (0..).zip(costs).map(|(at, cost)| result(at, RolloutEnd::Terminal, *cost, 6)).collect();
            tally(&results)
        };
        let mut tallies = [of(&[7.0, 8.0]), of(&[6.0, 7.0, 12.0, 7.0]), tally(&[]), of(&[9.0])];
        level(&mut tallies);
        let means = tallies.each_ref().map(|tally| tally.cost.mean);
        assert_eq!(means, [Some(9.0), Some(8.0), None, Some(11.0)]);
        assert_eq!(tallies.each_ref().map(|tally| tally.cost.terminal), [2, 4, 0, 1], "run were so many");
        assert_eq!(tallies[0].costs.len(), 2);
        let again = tallies.clone();
        level(&mut tallies);
        assert_eq!(tallies, again);
    }

    #[test]
    fn too_few_rollouts_have_no_interval() {
        let none = tally(&[]);
        assert_eq!(none, Tally::default());
        let one = tally(&[result(0, RolloutEnd::Terminal, 4.0, 6)]);
        assert_eq!((one.cost.mean, one.cost.variance, one.cost.low), (Some(4.0), None, None));
    }

    fn ends() -> impl Strategy<Value = RolloutEnd> {
        prop_oneof![
            Just(RolloutEnd::Terminal),
            Just(RolloutEnd::Truncated),
            Just(RolloutEnd::Malformed),
            Just(RolloutEnd::Cancelled),
        ]
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_counts_add_up(
            (order, ends) in prop::collection::vec((ends(), 1.0f64..40.0, 0usize..7), 0..24)
                .prop_flat_map(|ends| (Just((0..ends.len()).collect::<Vec<_>>()).prop_shuffle(), Just(ends)))
        ) {
            let results: Vec<RolloutResult> = ends
                .iter()
                .enumerate()
                .map(|(rollout, &(end, cost, achieved))| result(rollout as u32, end, cost, achieved))
                .collect();
            let straight = tally(&results);
            let shuffled = tally(order.iter().map(|&i| &results[i]));
            prop_assert_eq!(&straight, &shuffled);
            prop_assert_eq!((straight.finished() + straight.cost.cancelled) as usize, results.len());
            prop_assert_eq!(straight.cost.mean.is_some(), straight.cost.terminal > 0);
            prop_assert_eq!(straight.cost.variance.is_some(), straight.cost.terminal > 0 && straight.costs.len() > 1);
            if let (Some(low), Some(mean), Some(high)) = (straight.cost.low, straight.cost.mean, straight.cost.high) {
                prop_assert!(low <= mean && mean <= high);
            }
        }
    }
}
