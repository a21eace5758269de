//! Racing beside exhaustive rollouts, on rollouts of a stochastic model whose truth is known.
//!
//! The model: recovery is six facts. A candidate brings one fact about or fails; from then on each action of a rollout
//! brings the next fact about with a chance that the candidate shares with the others, up to what its own advantage or
//! harm adds, and costs one, or two if it fails. A rollout that has not come to an end after ten actions is truncated.
//! The chances are drawn anew for every decision, some of them are one (a model that is sure), and some candidates are
//! exactly alike. So costs are whole numbers with many ties, spreads from none to several actions, and some decisions
//! are between candidates that are mostly truncated.

use countermove_incident::RecoveryState;

use super::*;
use crate::choosing::aggregate::{level, tally};
use crate::choosing::choice::choose;
use crate::language_model::Usage;
use crate::rollouts::runner::{RolloutEnd, RolloutKey, RolloutResult, RolloutStep};
use crate::seeds::derive_seed;

const CANDIDATES: usize = 5;
const ROLLOUTS: u32 = 40;
const DEPTH: usize = 10;

/// A number in [0, 1) that depends on its arguments alone.
fn unit(seed: u64, what: &str, path: &[u64]) -> f64 {
    (derive_seed(seed, what, path) >> 11) as f64 / (1u64 << 53) as f64
}

/// One decision: what each candidate is like.
struct Decision {
    seed: u64,
    /// For each candidate, the chance that its own action succeeds and that each later one does, and the first fact.
    candidates: Vec<(f64, f64, usize)>,
}

impl Decision {
    fn draw(seed: u64) -> Self {
        let sure = unit(seed, "sure", &[]) < 0.4;
        let ease = 0.45 + 0.5 * unit(seed, "ease", &[]);
        let candidates = (0..CANDIDATES as u64).map(|i| {
            let fact = (unit(seed, "fact", &[i]) * 6.0) as usize;
            if sure {
                // It always or never works.
                let works = unit(seed, "works", &[i]) < 0.7;
                return (if works { 1.0 } else { 0.0 }, 1.0, fact);
            }
            let alike = unit(seed, "alike", &[i]) < 0.3;
            let own = if alike { ease } else { unit(seed, "own", &[i]) };
            let shift = if alike { 0.0 } else { 0.5 * (unit(seed, "shift", &[i]) - 0.5) };
            (own, (ease + shift).clamp(0.1, 1.0), fact)
        });
        Self { seed, candidates: candidates.collect() }
    }

    fn rollout(&self, candidate: usize, rollout: u32) -> RolloutResult {
        let (own, later, first) = self.candidates[candidate];
        let mut bits = [false; 6];
        let mut steps = Vec::new();
        let mut cost = 0.0;
        for depth in 0..DEPTH {
            let chance = if depth == 0 { own } else { later };
            // The same luck for all candidates.
            let works = unit(self.seed, "rollout", &[u64::from(rollout), depth as u64]) < chance;
            if works {
                let next = if depth == 0 { Some(first) } else { bits.iter().position(|bit| !bit) };
                if let Some(next) = next {
                    bits[next] = true;
                }
            }
            let price = if works { 1.0 } else { 2.0 };
            cost += price;
            steps.push(RolloutStep {
                action: String::new(),
                state_after: RecoveryState::from_bits(bits),
                cost: price,
            });
            if bits.iter().all(|bit| *bit) {
                break;
            }
        }
        let end = if bits.iter().all(|bit| *bit) { RolloutEnd::Terminal } else { RolloutEnd::Truncated };
        let key = RolloutKey { step: 0, candidate: candidate as u32, rollout };
        RolloutResult { key, end, steps, cost, fault: String::new(), usage: Usage::default() }
    }

    /// The choice and the number of rollouts behind it.
    fn play(&self, race: Race) -> (usize, u32, Vec<Tally>) {
        let before = RecoveryState::default();
        let mut dealt = vec![0u32; CANDIDATES];
        loop {
            let mut tallies: Vec<Tally> = (0..CANDIDATES)
                .map(|candidate| {
                    let results: Vec<_> = (0..dealt[candidate]).map(|r| self.rollout(candidate, r)).collect();
                    tally(&results)
                })
                .collect();
            level(&mut tallies);
            let deal = race.deal(before, &tallies, &dealt);
            if deal.iter().all(|&more| more == 0) {
                return (choose(before, &tallies).unwrap().index, dealt.iter().sum(), tallies);
            }
            dealt.iter_mut().zip(deal).for_each(|(dealt, more)| *dealt += more);
        }
    }
}

#[test]
fn racing_chooses_as_exhaustive_rollouts_do_with_a_good_half_of_them() {
    const DECISIONS: u64 = 500;
    let (mut same, mut spent, mut all, mut regret) = (0, 0, 0, 0.0);
    for seed in 0..DECISIONS {
        let decision = Decision::draw(seed);
        let (chosen, used, _) =
            decision.play(Race { rollouts: ROLLOUTS, confidence: 0.95, exhaustive: false });
        let (expected, total, tallies) =
            decision.play(Race { rollouts: ROLLOUTS, confidence: 0.95, exhaustive: true });
        same += u64::from(chosen == expected);
        spent += used;
        all += total;
        let mean = |i: usize| tallies[i].cost.mean.unwrap_or(20.0);
        regret += mean(chosen) - mean(expected);
    }
    let (agreement, share) = (same as f64 / DECISIONS as f64, f64::from(spent) / f64::from(all));
    println!("agreement {agreement:.4}, rollouts {share:.4}, regret {:.4}", regret / DECISIONS as f64);
    assert!(agreement >= 0.95, "the same choice in only {agreement:.4} of decisions");
    assert!(share <= 0.56, "{share:.4} of the rollouts");
}
