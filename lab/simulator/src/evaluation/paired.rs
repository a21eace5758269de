//! Two systems on the same incidents: what the one was charged more than the other, and whether that could be luck.
//!
//! Invariant: the same episodes give the same figures; what is drawn is drawn from a fixed seed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::episode::Episode;
use super::measures::mean;
use crate::rng::Rng;

/// Draws behind an interval and behind a chance.
const DRAWS: usize = 10_000;

/// What a system did with the incidents that it acted on, by seed and scenario.
pub(super) type Outcomes = BTreeMap<(usize, String), Outcome>;

/// What is compared of one incident.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Minutes where costs are in minutes, else the cost.
    charged: f64,
    recovered: f64,
}

pub(super) fn outcomes(seeds: &[Vec<Episode>]) -> Outcomes {
    let all =
        seeds.iter().enumerate().flat_map(|(seed, episodes)| episodes.iter().map(move |one| (seed, one)));
    let played = all.filter(|(_, episode)| episode.was_played() && episode.error.is_none());
    let of = |(seed, episode): (usize, &Episode)| {
        let charged = episode.minutes().unwrap_or_else(|| episode.cost());
        let recovered = f64::from(u8::from(episode.recovered()));
        ((seed, episode.scenario.clone()), Outcome { charged, recovered })
    };
    played.map(of).collect()
}

/// One system against another on the incidents that both acted on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Those incidents.
    pub incidents: usize,
    /// What the other was charged more.
    pub charged: Difference,
    /// That as a share of what the other was charged; absent if that is nothing.
    pub saved: Option<f64>,
    /// Share of incidents that the other recovered from more.
    pub recovered: Difference,
}

/// A mean difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean.
    pub mean: f64,
    /// Bounds of its 95 % interval, by the percentiles of resampled incidents.
    pub interval: (f64, f64),
    /// The chance of a mean as far from 0 if neither were better, by flipping signs.
    pub chance: f64,
}

impl Paired {
    /// The other system against this one; none if there is no incident that both acted on.
    pub(super) fn new(own: &Outcomes, other: &Outcomes) -> Option<Paired> {
        let pairs: Vec<(Outcome, Outcome)> =
            own.iter().filter_map(|(key, own)| Some((*own, *other.get(key)?))).collect();
        let differences = |of: fn(&Outcome) -> f64| -> Vec<f64> {
            pairs.iter().map(|(own, other)| of(other) - of(own)).collect()
        };
        let charged = Difference::of(&differences(|outcome| outcome.charged))?;
        let recovered = Difference::of(&differences(|outcome| outcome.recovered))?;
        let paid = mean(pairs.iter().map(|(_, other)| other.charged))?;
        let saved = (paid > 0.0).then(|| charged.mean / paid);
        Some(Paired { incidents: pairs.len(), charged, saved, recovered })
    }

    pub(super) fn json(&self) -> Value {
        let of = |difference: Difference| {
            let Difference { mean, interval: (low, high), chance } = difference;
            json!({"mean": mean, "low": low, "high": high, "chance": chance})
        };
        json!({
            "incidents": self.incidents,
            "charged": of(self.charged),
            "saved": self.saved,
            "recovered": of(self.recovered),
        })
    }
}

impl Difference {
    /// The mean of these differences, one for each pair; none if there are none.
    pub fn of(differences: &[f64]) -> Option<Difference> {
        let own = mean(differences.iter().copied())?;
        let n = differences.len();
        let mut rng = Rng::new(n as u64);
        let mut means: Vec<f64> = (0..DRAWS)
            .map(|_| (0..n).filter_map(|_| differences.get(rng.below(n))).sum::<f64>() / n as f64)
            .collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means.get((share * DRAWS as f64) as usize).copied().unwrap_or(own);
        let flipped = |rng: &mut Rng| {
            let sum: f64 = differences.iter().map(|one| if rng.chance(50) { *one } else { -one }).sum();
            sum / n as f64
        };
        let as_far = (0..DRAWS).filter(|_| flipped(&mut rng).abs() >= own.abs() - 1e-12).count();
        // The difference itself is one of the ways to flip, so that the chance is never nothing.
        let chance = (as_far + 1) as f64 / (DRAWS + 1) as f64;
        Some(Difference { mean: own, interval: (at(0.025), at(0.975)), chance })
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::RecoveryState;

    use super::*;
    use crate::evaluation::Move;

    fn episode(name: usize, cost: f64, recovers: bool) -> Episode {
        let after = RecoveryState::from_bits([recovers; 6]);
        Episode {
            scenario: name.to_string(),
            is_incident: true,
            verdict: Some(true),
            moves: vec![Move { cost, after, ..Move::default() }],
            ..Episode::default()
        }
    }

    fn play(costs: impl Fn(usize) -> f64, recovers: impl Fn(usize) -> bool) -> Outcomes {
        outcomes(&[(0..40).map(|name| episode(name, costs(name), recovers(name))).collect()])
    }

    #[test]
    fn what_is_always_saved_is_no_luck() {
        let own = play(|name| 6.0 + (name % 5) as f64, |_| true);
        let other = play(|name| 7.0 + (name % 5) as f64, |name| name >= 4);
        let paired = Paired::new(&own, &other).unwrap();
        assert_eq!((paired.incidents, paired.charged.mean, paired.charged.interval), (40, 1.0, (1.0, 1.0)));
        assert!(paired.charged.chance < 0.001 && (paired.saved.unwrap() - 1.0 / 9.0).abs() < 1e-9);
        assert!((paired.recovered.mean + 0.1).abs() < 1e-9);
        // Of four that differ, all the same way: 2 / 2^4.
        assert!((paired.recovered.chance - 0.125).abs() < 0.02, "{:?}", paired.recovered);
    }

    #[test]
    fn what_differs_either_way_may_be() {
        let own = play(|_| 6.0, |_| true);
        let other = play(|name| if name % 2 == 0 { 5.0 } else { 7.0 }, |_| true);
        let paired = Paired::new(&own, &other).unwrap();
        assert_eq!((paired.charged.mean, paired.charged.chance, paired.saved), (0.0, 1.0, Some(0.0)));
        let (low, high) = paired.charged.interval;
        assert!(low < -0.2 && high > 0.2);
        assert_eq!(Paired::new(&own, &Outcomes::new()), None);
    }

    #[test]
    fn only_incidents_that_both_acted_on_count() {
        let own =
            outcomes(&[vec![episode(0, 6.0, true), episode(1, 6.0, true)], vec![episode(0, 9.0, true)]]);
        let missed = Episode { verdict: Some(false), ..episode(1, 0.0, false) };
        let other = outcomes(&[vec![episode(0, 8.0, true), missed], vec![episode(0, 9.0, true)]]);
        let paired = Paired::new(&own, &other).unwrap();
        assert_eq!((paired.incidents, paired.charged.mean), (2, 1.0));
    }
}
