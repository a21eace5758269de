//! Racing: which candidates' rollouts are still worth running.
//!
//! Rollouts are dealt in rounds. After each round a candidate stays in the race if the chance that all M rollouts of
//! everybody would put it before the present best is above what the asked confidence leaves; the others get no more
//! rollouts. The race is over when nobody but the best is left in it, or when all have M. A candidate that dropped out
//! comes back if the best turns out worse than it looked.
//!
//! The chance is that of a prediction, not of a truth: with k of M rollouts seen, the mean of all M is off by what the
//! M - k others bring, so for two candidates
//!
//! t = (mean difference) / (s · sqrt(1/k - 1/M))
//!
//! follows Student's law, the correction for a finite population in mind (Cochran, Sampling Techniques, 2.6). Rollouts of one number
//! meet the same world and the same luck whatever their candidate, so the differences are those of rollouts of one number, of which
//! both candidates have k; s² is their variance, together with one pseudo-observation that rollouts differ by the cost of one action:
//! a handful of equal rollouts does not show that there is no spread. Whether at least half of a candidate's rollouts will reach
//! recovery, which comes before its mean ([`crate::choose`]), is predicted by a beta-binomial with Jeffreys' prior.
//!
//! Rollouts may really have no spread: a model can be sure. Then no difference can ever be shown, and equal candidates
//! would be rolled out to the end. So when enough rollouts have each ended like their candidate's first, the rest
//! is taken to end the same way; [`SURE`] says how many. Likewise two candidates whose rollouts always differ by the same amount,
//! most often by nothing: [`SETTLED`].
//!
//! Whoever wins gets the rest of its M: with the answers to most questions at hand they cost little, and what one recovery may cost
//! is told by them.
//!
//! Invariants: the deal depends on what is known and on nothing else, so it is the same again; nobody gets more than M;
//! the best is never dropped.

#[cfg(test)]
mod simulation;

use countermove_incident::RecoveryState;

use crate::choosing::aggregate::{Tally, differences, moments};
use crate::choosing::choice::{SAME_COST, compare, group, order};
use crate::choosing::student_t::probability_at_most;

/// Rollouts that ended like the first of their candidate, over all candidates, from which on all are taken to. With M small that may be
/// before the first round is over.
const SURE: u32 = 5;
/// Rollouts of two candidates that differ by the same amount, from which on all are taken to.
const SETTLED: usize = FIRST as usize;
/// Weight of the pseudo-observation of the spread, in degrees of freedom.
const PRIOR: f64 = 1.0;
/// Rollouts of a candidate after the first round: what holds in one world of four is missing from all of so many 3 times in 100, and nobody
/// is dropped for what three worlds happened to have in common.
const FIRST: u32 = 12;

/// The rules of a race.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Race {
    /// Rollouts of each candidate at most, M.
    pub rollouts: u32,
    /// Confidence with which a candidate is dropped, at least 0.5 and below 1.
    pub confidence: f64,
    /// Deal everything at once.
    pub exhaustive: bool,
}

/// How far ahead a comparison looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Horizon {
    /// To all M rollouts.
    Race(u32),
    /// To rollouts without end: what is true if the model is.
    Truth,
}

impl Race {
    /// How many rollouts more each candidate gets now, in the order of `tallies`; all zero when the race is over.
    /// `dealt` are the rollouts that each had, ended or not.
    pub fn deal(&self, before: RecoveryState, tallies: &[Tally], dealt: &[u32]) -> Vec<u32> {
        let open = |dealt: u32| self.rollouts.saturating_sub(dealt);
        if self.exhaustive {
            return dealt.iter().map(|&dealt| open(dealt)).collect();
        }
        if dealt.iter().all(|&dealt| dealt == 0) {
            return dealt.iter().map(|&dealt| open(dealt).min(FIRST)).collect();
        }
        let in_race = self.in_race(before, tallies);
        if in_race.iter().filter(|&&stays| stays).count() < 2 {
            return self.rest_of_the_best(before, tallies, dealt);
        }
        let racing = || dealt.iter().zip(&in_race).filter(|(_, stays)| **stays).map(|(&dealt, _)| dealt);
        // Everybody in the race comes up to the one that has most, or all go one further.
        let (least, most) = (racing().min().unwrap_or(0), racing().max().unwrap_or(0));
        let goal = if least < most { most } else { most + 1 };
        let more = |(&dealt, &stays): (&u32, &bool)| {
            if stays { goal.saturating_sub(dealt).min(open(dealt)) } else { 0 }
        };
        dealt.iter().zip(&in_race).map(more).collect()
    }

    /// What the best lacks to M when the race is over: its estimate is what the plan tells.
    fn rest_of_the_best(&self, before: RecoveryState, tallies: &[Tally], dealt: &[u32]) -> Vec<u32> {
        let best = order(before, tallies).first().copied();
        let more = |(at, &dealt): (usize, &u32)| {
            if Some(at) == best { self.rollouts.saturating_sub(dealt) } else { 0 }
        };
        dealt.iter().enumerate().map(more).collect()
    }

    /// Who can still win, the present best included.
    fn in_race(&self, before: RecoveryState, tallies: &[Tally]) -> Vec<bool> {
        let order = order(before, tallies);
        let Some(&best) = order.first() else { return vec![true; tallies.len()] };
        let field = Field::new(before, tallies, Horizon::Race(self.rollouts));
        let left = 1.0 - self.confidence;
        (0..tallies.len()).map(|i| i == best || field.beats(i, best) > left).collect()
    }
}

/// The chance that each candidate is better than the one at `best` if the rollouts tell the truth about it; a half where
/// nothing speaks for either. That of the best itself is 0.
pub(crate) fn chances_against(before: RecoveryState, tallies: &[Tally], best: usize) -> Vec<f64> {
    let field = Field::new(before, tallies, Horizon::Truth);
    (0..tallies.len()).map(|i| if i == best { 0.0 } else { field.beats(i, best) }).collect()
}

/// All candidates, with what they tell of the spread together.
struct Field<'a> {
    before: RecoveryState,
    tallies: &'a [Tally],
    horizon: Horizon,
    /// Mean cost of an action.
    step: f64,
    /// Every rollout ended like the first of its candidate, and there are enough of them.
    sure: bool,
}

impl<'a> Field<'a> {
    fn new(before: RecoveryState, tallies: &'a [Tally], horizon: Horizon) -> Self {
        let (mut repeats, mut same) = (0, true);
        let (mut prices, mut priced) = (0.0, 0.0);
        for tally in tallies {
            let cost = &tally.cost;
            if let Some(variance) = cost.variance {
                same &= variance <= f64::EPSILON * cost.mean.unwrap_or(0.0).abs();
            }
            let kinds = [cost.terminal, cost.truncated, cost.malformed];
            same &= kinds.into_iter().filter(|&count| count > 0).count() <= 1;
            repeats += tally.finished().saturating_sub(1);
            if tally.action_cost > 0.0 {
                prices += tally.action_cost;
                priced += 1.0;
            }
        }
        let step: f64 = if priced > 0.0 { prices / priced } else { 0.0 };
        Self { before, tallies, horizon, step, sure: same && repeats >= SURE }
    }

    /// The chance that candidate `i` comes before candidate `b` at the horizon.
    fn beats(&self, i: usize, b: usize) -> f64 {
        let (Some(one), Some(other)) = (self.tallies.get(i), self.tallies.get(b)) else { return 0.0 };
        let complete = |tally: &Tally| match self.horizon {
            Horizon::Race(rollouts) => tally.finished() + tally.cost.cancelled >= rollouts,
            Horizon::Truth => false,
        };
        if complete(one) && complete(other) || self.sure || is_settled(one, other) {
            return self.as_it_stands(i, b, one, other);
        }
        let (mine, its) = (self.groups(one), self.groups(other));
        let mut chance = 0.0;
        for (group, share) in mine.into_iter().enumerate() {
            let behind: f64 = its.iter().skip(group + 1).sum();
            let level = its.get(group).copied().unwrap_or(0.0);
            let within = if group == 0 { self.cheaper(one, other) } else { 0.5 };
            chance += share * (behind + level * within);
        }
        chance
    }

    /// 1 or 0 by the rules of the choice; for the truth, a half where only the rule for ties decides.
    fn as_it_stands(&self, i: usize, b: usize, one: &Tally, other: &Tally) -> f64 {
        let before = |first: bool| if first { 1.0 } else { 0.0 };
        match (compare(one, other), self.horizon) {
            (std::cmp::Ordering::Equal, Horizon::Truth) => 0.5,
            (std::cmp::Ordering::Equal, Horizon::Race(_)) => {
                let order = order(self.before, self.tallies);
                before(order.iter().position(|&at| at == i) < order.iter().position(|&at| at == b))
            }
            (ordering, _) => before(ordering.is_lt()),
        }
    }

    /// The chance that the first has the lower mean.
    fn cheaper(&self, one: &Tally, other: &Tally) -> f64 {
        if one.cost.mean.is_none() || other.cost.mean.is_none() {
            return 0.5;
        }
        let gains = differences(&one.costs, &other.costs);
        if gains.is_empty() {
            return 0.5;
        }
        let k = gains.len() as f64;
        let (mean, squares) = moments(&gains);
        let degrees = k - 1.0 + PRIOR;
        let variance = (squares + PRIOR * self.step * self.step) / degrees;
        let scale = (variance * self.open(gains.len(), one, other)).sqrt();
        if scale <= 0.0 {
            return if mean > 0.0 { 1.0 } else { 0.0 };
        }
        probability_at_most(mean / scale, degrees as u32)
    }

    /// By how much a mean of so many differences may still move, in variances.
    fn open(&self, seen: usize, one: &Tally, other: &Tally) -> f64 {
        let seen = seen as f64;
        let all = match self.horizon {
            Horizon::Truth => f64::INFINITY,
            Horizon::Race(rollouts) => {
                let finished = f64::from(one.finished().min(other.finished()));
                seen * (f64::from(rollouts) / finished.max(1.0)).max(1.0)
            }
        };
        1.0 / seen - 1.0 / all
    }

    /// The chances that the candidate ends in each group of the choice.
    fn groups(&self, tally: &Tally) -> [f64; 3] {
        let (terminal, finished) = (tally.cost.terminal, tally.finished());
        let rest = match self.horizon {
            Horizon::Race(rollouts) => rollouts.saturating_sub(finished + tally.cost.cancelled),
            // What it is now; more rollouts would show it.
            Horizon::Truth => 0,
        };
        let mut chances = [0.0; 3];
        for (more, chance) in beta_binomial(terminal, finished - terminal, rest).into_iter().enumerate() {
            let mut last = tally.clone();
            last.cost.terminal = terminal + more as u32;
            last.cost.truncated += rest.saturating_sub(more as u32);
            if let Some(sum) = chances.get_mut(usize::from(group(&last))) {
                *sum += chance;
            }
        }
        chances
    }
}

/// Whether so many rollouts differ by one and the same amount that the rest is taken to do so too. Only of candidates that
/// mostly recover.
fn is_settled(one: &Tally, other: &Tally) -> bool {
    let gains = differences(&one.costs, &other.costs);
    let is_same = |pair: &[f64]| matches!(pair, [a, b] if (a - b).abs() <= SAME_COST * a.abs().max(1.0));
    group(one) == 0 && group(other) == 0 && gains.len() >= SETTLED && gains.windows(2).all(is_same)
}

/// The chances of 0 to `rest` further successes after `successes` and `failures`, from Jeffreys' prior.
fn beta_binomial(successes: u32, failures: u32, rest: u32) -> Vec<f64> {
    let (a, b) = (f64::from(successes) + 0.5, f64::from(failures) + 0.5);
    let none: f64 = (0..rest).map(|k| (b + f64::from(k)) / (a + b + f64::from(k))).product();
    let mut chances = vec![none];
    let n = f64::from(rest);
    for k in 0..rest {
        let k = f64::from(k);
        let last = chances.last().copied().unwrap_or(0.0);
        chances.push(last * (n - k) / (k + 1.0) * (a + k) / (b + n - k - 1.0));
    }
    chances
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::choosing::candidate::CostEstimate;

    fn tally(costs: &[f64], truncated: u32) -> Tally {
        let n = costs.len() as f64;
        let mean = (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / n);
        let square = |mean: f64| costs.iter().map(|cost| (cost - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let variance = mean.filter(|_| costs.len() > 1).map(square);
        let cost = CostEstimate {
            terminal: costs.len() as u32,
            truncated,
            mean,
            variance,
            ..CostEstimate::default()
        };
        let costs = (0..).zip(costs.iter().copied()).collect();
        Tally { cost, costs, action_cost: 1.0, ..Tally::default() }
    }

    fn race(confidence: f64) -> Race {
        Race { rollouts: 16, confidence, exhaustive: false }
    }

    fn deal(tallies: &[Tally]) -> Vec<u32> {
        let dealt: Vec<u32> = tallies.iter().map(Tally::finished).collect();
        race(0.95).deal(RecoveryState::default(), tallies, &dealt)
    }

    /// Costs that go through these numbers again and again, as far as the first round goes.
    fn first(costs: &[f64]) -> Vec<f64> {
        costs.iter().copied().cycle().take(FIRST as usize).collect()
    }

    #[test]
    fn what_cannot_win_any_more_gets_nothing() {
        assert_eq!(deal(&[tally(&[], 0), tally(&[], 0)]), [FIRST; 2]);
        let (near, far) = (first(&[4.0, 5.0]), first(&[14.0, 15.0]));
        assert_eq!(deal(&[tally(&near, 0), tally(&first(&[5.0, 4.0]), 0), tally(&far, 0)]), [1, 1, 0]);
        assert_eq!(deal(&[tally(&near, 0), tally(&far, 0)]), [4, 0], "the best is clear");
        assert_eq!(deal(&[tally(&[4.0; 16], 0), tally(&[4.1; 16], 0)]), [0, 0], "all is known");
        let behind = [tally(&[&near[..], &[5.0, 7.0]].concat(), 0), tally(&first(&[5.0, 4.2]), 0)];
        assert_eq!(deal(&behind), [0, 2], "who is behind comes up first");
    }

    #[test]
    fn nobody_is_dropped_for_what_few_worlds_have_in_common() {
        let few = Race { rollouts: 8, confidence: 0.95, exhaustive: false };
        assert_eq!(few.deal(RecoveryState::default(), &[tally(&[], 0), tally(&[], 0)], &[0, 0]), [8, 8]);
        // Cheaper in three worlds of four and much dearer in the fourth.
        let (block, isolate) = (first(&[4.0, 4.0, 4.0, 30.0]), first(&[6.0; 4]));
        let many = Race { rollouts: 40, ..few };
        let tallies = [tally(&block, 0), tally(&isolate, 0)];
        assert_eq!(many.deal(RecoveryState::default(), &tallies, &[FIRST; 2]), [1, 1]);
    }

    #[test]
    fn equal_candidates_without_spread_are_not_rolled_out_to_the_end() {
        let equal = vec![tally(&first(&[6.0]), 0); 3];
        assert_eq!(deal(&equal), [4, 0, 0], "the first has the rest, as whoever is chosen");
        let mut one_differs = equal;
        one_differs[2] = tally(&first(&[6.0, 6.0, 7.0, 5.0]), 0);
        assert_ne!(deal(&one_differs), [4, 0, 0]);
    }

    #[test]
    fn candidates_that_always_differ_alike_are_not_rolled_out_to_the_end() {
        let costs = first(&[6.0, 7.0, 6.0, 9.0]);
        let more: Vec<f64> = costs.iter().map(|cost| cost + 1.0).collect();
        let wide = Race { rollouts: 24, confidence: 0.95, exhaustive: false };
        let deal = |other: &[f64]| {
            let tallies = [tally(&costs[..other.len()], 0), tally(other, 0)];
            wide.deal(RecoveryState::default(), &tallies, &[other.len() as u32; 2])
        };
        assert_eq!(deal(&costs), [12, 0], "a tie");
        assert_eq!(deal(&more), [12, 0]);
        assert_eq!(deal(&costs[..8]), [1, 1], "too few to tell");
    }

    #[test]
    fn candidates_that_never_recover_lose_to_those_that_do() {
        assert_eq!(deal(&[tally(&first(&[9.0, 9.5, 9.0, 9.2]), 0), tally(&[], FIRST)]), [4, 0]);
        assert_ne!(deal(&[tally(&[9.0], 1), tally(&[], 2)]), [0, 0], "two rollouts say little");
    }

    #[test]
    fn nothing_usable_keeps_everybody_in() {
        let broken =
            Tally { cost: CostEstimate { malformed: 2, ..CostEstimate::default() }, ..Tally::default() };
        assert_eq!(deal(&[broken.clone(), broken]), [1, 1]);
    }

    #[test]
    fn a_tie_is_a_toss_up() {
        let chances =
            chances_against(RecoveryState::default(), &[tally(&[5.0; 8], 0), tally(&[5.0; 8], 0)], 0);
        assert_eq!(chances, [0.0, 0.5]);
    }

    fn tallies() -> impl Strategy<Value = Vec<Tally>> {
        let one = (prop::collection::vec(1.0f64..20.0, 0..=8), 0u32..4);
        let one = one.prop_map(|(costs, truncated)| {
            tally(&costs[..costs.len().min(8 - truncated as usize)], truncated)
        });
        prop::collection::vec(one, 1..6)
    }

    proptest! {
        #[test]
        fn a_deal_stays_within_the_rules(tallies in tallies(), confidence in 0.5f64..0.999) {
            let state = RecoveryState::default();
            let dealt: Vec<u32> = tallies.iter().map(Tally::finished).collect();
            let deal = race(confidence).deal(state, &tallies, &dealt);
            prop_assert_eq!(&deal, &race(confidence).deal(state, &tallies, &dealt));
            prop_assert!(deal.iter().zip(&dealt).all(|(more, dealt)| more + dealt <= 16));
            // Asking for more confidence never drops more.
            let in_race = |confidence| race(confidence).in_race(state, &tallies);
            let (less, more) = (in_race(confidence), in_race(0.999));
            prop_assert!(less.iter().zip(&more).all(|(less, more)| *more || !*less));
            if let Some(&best) = order(state, &tallies).first() {
                prop_assert!(less[best]);
            }
        }

        #[test]
        fn a_race_ends(tallies in tallies()) {
            // Whatever the rollouts bring, each round deals something or is the last.
            let mut dealt: Vec<u32> = tallies.iter().map(Tally::finished).collect();
            for _ in 0..64 {
                let deal = race(0.95).deal(RecoveryState::default(), &tallies, &dealt);
                if deal.iter().all(|&more| more == 0) {
                    return Ok(());
                }
                dealt.iter_mut().zip(&deal).for_each(|(dealt, more)| *dealt += more);
            }
            prop_assert!(false, "the race goes on for ever");
        }

        #[test]
        fn chances_are_chances_and_add_up(tallies in tallies(), rest in 0u32..9) {
            for horizon in [Horizon::Race(8), Horizon::Truth] {
                let field = Field::new(RecoveryState::default(), &tallies, horizon);
                for i in 0..tallies.len() {
                    for b in (0..tallies.len()).filter(|&b| b != i) {
                        let (there, back) = (field.beats(i, b), field.beats(b, i));
                        prop_assert!((-1e-9..=1.0 + 1e-9).contains(&there));
                        // Without spread a tie is a loss for both in the one case that the rule for ties decides.
                        prop_assert!(there + back <= 1.0 + 1e-9);
                    }
                }
            }
            let sum: f64 = beta_binomial(3, 2, rest).into_iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
        }
    }
}
