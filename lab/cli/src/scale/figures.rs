//! What a simulation measures.

use std::collections::BTreeMap;
use std::time::Duration;

/// Counts of one simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Time from creation to end, by tenant.
    pub(super) plans: BTreeMap<usize, Vec<Duration>>,
    /// Time that questions, and rollouts, waited for a place.
    pub(super) question_waits: Vec<Duration>,
    pub(super) rollout_waits: Vec<Duration>,
    /// Tokens by the second in which they were done, and by tenant.
    pub(super) tokens: BTreeMap<u64, BTreeMap<usize, f64>>,
    /// Writes to the store by second.
    pub(super) writes: BTreeMap<u64, u64>,
    pub(super) hedges: u64,
    /// Pieces of work whose worker was lost, and those that one refused since it was full.
    pub(super) lost: u64,
    pub(super) refused: u64,
    /// Incidents that failed, and that another coordinator went on with.
    pub(super) failed: u64,
    pub(super) taken_over: u64,
    /// What was seen, look by look.
    pub(super) looks: Vec<Look>,
    /// When all had ended.
    pub(super) ended: Duration,
}

/// The cluster at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Look {
    /// Pieces of work that wait for a place.
    pub(super) waiting: u64,
    /// Those that got one since the look before, a second.
    pub(super) taken: f64,
    /// Share of the places of all batches that are taken.
    pub(super) places: f64,
    /// Share of the workers that have something to do.
    pub(super) busy: f64,
    pub(super) incidents: u64,
}

impl Figures {
    pub(super) fn plans(&self) -> Vec<Duration> {
        let mut all: Vec<_> = self.plans.values().flatten().copied().collect();
        all.sort_unstable();
        all
    }

    /// Mean time of a tenant's plans, in seconds.
    pub(super) fn mean_of(&self, tenants: impl Fn(usize) -> bool) -> f64 {
        let times = self.plans.iter().filter(|(tenant, _)| tenants(**tenant)).flat_map(|(_, times)| times);
        let (count, sum) =
            times.fold((0.0, 0.0), |(count, sum), time| (count + 1.0, sum + time.as_secs_f64()));
        sum / f64::max(count, 1.0)
    }

    /// The tokens of each tenant while all of them had work: from `from` to when the first of them had done half of its own.
    pub(super) fn shares(&self, tenants: usize, from: u64) -> Vec<f64> {
        let total =
            |tenant: usize| -> f64 { self.tokens.values().filter_map(|done| done.get(&tenant)).sum() };
        let totals: Vec<f64> = (0..tenants).map(total).collect();
        let mut done = vec![0.0; tenants];
        let mut shares = vec![0.0; tenants];
        for (second, tokens) in &self.tokens {
            for (tenant, count) in tokens {
                done[*tenant] += count;
                if *second >= from {
                    shares[*tenant] += count;
                }
            }
            if done.iter().zip(&totals).any(|(done, total)| *done > total / 2.0) {
                break;
            }
        }
        let all: f64 = shares.iter().sum();
        shares.iter().map(|share| share / all.max(1.0)).collect()
    }

    pub(super) fn most_writes(&self) -> u64 {
        self.writes.values().copied().max().unwrap_or_default()
    }
}

/// The value at a part of the way; zero if there are none. Sorts them.
pub(super) fn quantile(times: &mut [Duration], part: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * part).round() as usize).map_or(0.0, Duration::as_secs_f64)
}

/// Jain's index of fairness: 1 if all have the same, 1/n if one has everything.
pub(super) fn fairness(shares: &[f64]) -> f64 {
    let (sum, squares) =
        shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_between_one_for_all_alike_and_a_part_for_one_alone() {
        assert!((fairness(&[0.25; 4]) - 1.0).abs() < 1e-12);
        assert!((fairness(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn shares_are_those_of_the_time_in_which_all_have_work() {
        let mut figures = Figures::default();
        // The second tenant is done after four seconds; what comes later says nothing of shares.
        for second in 0..10 {
            let tokens = figures.tokens.entry(second).or_default();
            tokens.insert(0, 10.0);
            if second < 4 {
                tokens.insert(1, 30.0);
            }
        }
        assert_eq!(figures.shares(2, 0), [0.25, 0.75]);
    }
}
