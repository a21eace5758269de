//! Which candidate to take: a pure function of what the rollouts say.
//!
//! 1. Candidates of which at least half of the finished rollouts reached recovery come first, the lowest mean cost
//!    before the others. A low mean over the few rollouts that happened to recover would otherwise beat a sure thing.
//! 2. Then candidates of which fewer did, the larger share first, then the lower mean.
//! 3. Then candidates of which none did, the one that had achieved most facts when it was cut off first.
//! 4. Last, candidates whose rollouts all broke off. If there are no others, nothing is chosen.
//!
//! Ties go to the action whose gain comes first in a response, in the order
//! of [`RecoveryState::NAMES`]: where the order of actions costs nothing, the attacker is kept out before services come
//! back. Then to the action that cuts off or cleans less of the own system, since whoever is cut off without need is harmed. Then to
//! the one that blocks more attackers outside. Then to the earlier proposal.

use std::cmp::Ordering;

use countermove_incident::RecoveryState;

use crate::choosing::aggregate::Tally;
use crate::choosing::race::chances_against;

/// A choice between candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Position of the chosen candidate.
    pub index: usize,
    /// Why, in one sentence that names the figures.
    pub reason: String,
}

/// Costs that differ by less are the same cost; sums of costs are exact to far less.
pub(crate) const SAME_COST: f64 = 1e-9;

/// Chooses by the rules above what to do in the state `before`. `None` if there is no candidate, or none has a rollout that can be used.
pub fn choose(before: RecoveryState, tallies: &[Tally]) -> Option<Choice> {
    let order = order(before, tallies);
    let &index = order.first()?;
    let best = tallies.get(index)?;
    let chances = chances_against(before, tallies, index);
    let next = order.get(1).and_then(|&i| tallies.get(i).zip(chances.get(i).copied()));
    Some(Choice { index, reason: explain(before, best, next) })
}

/// Positions of the candidates that can be chosen, the best first.
pub(crate) fn order(before: RecoveryState, tallies: &[Tally]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..tallies.len()).filter(|&i| tallies.get(i).is_some_and(is_usable)).collect();
    order.sort_by(|&a, &b| match (tallies.get(a), tallies.get(b)) {
        (Some(x), Some(y)) => compare(x, y).then_with(|| tie(before, x, y)).then(a.cmp(&b)),
        _ => a.cmp(&b),
    });
    order
}

fn is_usable(tally: &Tally) -> bool {
    tally.cost.terminal + tally.cost.truncated > 0
}

/// The group of the rules above, the best first.
pub(crate) fn group(tally: &Tally) -> u8 {
    match tally.cost.terminal {
        0 => 2,
        terminal if 2 * terminal >= tally.finished() => 0,
        _ => 1,
    }
}

/// The order of the rules above, ties left open.
pub(crate) fn compare(a: &Tally, b: &Tally) -> Ordering {
    group(a).cmp(&group(b)).then_with(|| match group(a) {
        0 => by_mean(a, b),
        1 => by_share(a, b).then_with(|| by_mean(a, b)),
        _ => {
            let achieved = |tally: &Tally| tally.achieved_at_truncation.unwrap_or(0.0);
            achieved(b).total_cmp(&achieved(a))
        }
    })
}

/// The one of which the larger share recovered first.
fn by_share(a: &Tally, b: &Tally) -> Ordering {
    // a.terminal / a.finished against b.terminal / b.finished, without division.
    let share = |x: &Tally, y: &Tally| u64::from(x.cost.terminal) * u64::from(y.finished());
    share(b, a).cmp(&share(a, b))
}

fn by_mean(a: &Tally, b: &Tally) -> Ordering {
    // Rounded to the grain of SAME_COST, so that the comparison stays transitive.
    let grain = |tally: &Tally| (tally.cost.mean.unwrap_or(f64::MAX) / SAME_COST).round();
    grain(a).total_cmp(&grain(b))
}

fn tie(before: RecoveryState, a: &Tally, b: &Tally) -> Ordering {
    first_gain(before, a)
        .cmp(&first_gain(before, b))
        .then(a.interrupted.cmp(&b.interrupted))
        .then(b.blocked.cmp(&a.blocked))
}

/// Number of the first fact that the action is predicted to bring about, in the order of a response; the number of
/// facts if it brings none about.
fn first_gain(before: RecoveryState, tally: &Tally) -> usize {
    let after = tally.predicted_state.unwrap_or_default().bits();
    let gained = before.bits().into_iter().zip(after).position(|(before, after)| after && !before);
    gained.unwrap_or(RecoveryState::NAMES.len())
}

/// `next` is the next best, with the chance that it costs less.
fn explain(before: RecoveryState, best: &Tally, next: Option<(&Tally, f64)>) -> String {
    let finished = best.finished();
    let Some(mean) = best.cost.mean else {
        let achieved = best.achieved_at_truncation.unwrap_or(0.0);
        let mut reason = format!(
            "No rollout of any candidate reached recovery; this one had achieved {achieved:.1} of 6 facts on average \
             when its {} were cut off",
            rollouts(best.cost.truncated)
        );
        match next.and_then(|(next, _)| next.achieved_at_truncation) {
            Some(other) if other < achieved => {
                reason.push_str(&format!(", against {other:.1} for the next best"))
            }
            Some(_) => reason.push_str(", as had the next best, so the choice between them says little"),
            None => {}
        }
        return reason + ".";
    };
    let mut reason = match (best.cost.low, best.cost.high) {
        (Some(low), Some(high)) => {
            format!(
                "Mean cost {mean:.2} over {} (95 % interval {low:.2} to {high:.2})",
                rollouts(best.cost.terminal + best.cost.truncated)
            )
        }
        _ => format!("Cost {mean:.2} in the only one of {} that can be used", rollouts(finished)),
    };
    match best.cost.truncated {
        0 => {}
        1 => reason.push_str(", one of which was cut off before recovery and counts with the least that it would have cost"),
        more => reason.push_str(&format!(
            ", {more} of which were cut off before recovery and count with the least that they would have cost"
        )),
    }
    match next {
        None => reason.push_str("; there is no other candidate that could be simulated"),
        Some((next, chance)) => reason.push_str(&against(before, best, mean, (next, chance))),
    }
    reason + "."
}

fn against(before: RecoveryState, best: &Tally, mean: f64, (next, chance): (&Tally, f64)) -> String {
    let Some(other) = next.cost.mean else {
        return ", while no other candidate's rollouts reached recovery".into();
    };
    if group(next) > group(best) {
        return format!(
            ", while the next best reached recovery in only {} of {}",
            next.cost.terminal,
            rollouts(next.finished())
        );
    }
    if (other - mean).abs() < SAME_COST {
        let tie = if first_gain(before, best) < first_gain(before, next) {
            "what it is predicted to achieve comes first in a response"
        } else if first_gain(before, best) == first_gain(before, next) && best.interrupted < next.interrupted
        {
            "it cuts off or cleans less"
        } else if first_gain(before, best) == first_gain(before, next)
            && best.interrupted == next.interrupted
            && best.blocked > next.blocked
        {
            "it also keeps out who attacks from outside"
        } else {
            "it was proposed first"
        };
        return format!(", the same as for the next best; taken because {tie}");
    }
    format!(
        ", against {other:.2} for the next best, which costs less with a chance of {:.0} %",
        100.0 * chance
    )
}

fn rollouts(count: u32) -> String {
    if count == 1 { "1 rollout".into() } else { format!("{count} rollouts") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::choosing::candidate::CostEstimate;

    fn reached(terminal: u32, truncated: u32, mean: f64, half: f64) -> Tally {
        let interval = terminal > 1;
        Tally {
            cost: CostEstimate {
                terminal,
                truncated,
                mean: Some(mean),
                variance: interval.then_some(1.0),
                low: interval.then_some(mean - half),
                high: interval.then_some(mean + half),
                ..CostEstimate::default()
            },
            costs: (0..terminal + truncated).map(|number| (number, mean)).collect(),
            action_cost: 1.0,
            ..Tally::default()
        }
    }

    fn cut_off(achieved: f64) -> Tally {
        Tally {
            cost: CostEstimate { truncated: 3, ..CostEstimate::default() },
            achieved_at_truncation: Some(achieved),
            ..Tally::default()
        }
    }

    fn broken() -> Tally {
        Tally { cost: CostEstimate { malformed: 3, ..CostEstimate::default() }, ..Tally::default() }
    }

    #[test]
    fn the_lowest_mean_wins_and_how_surely_is_said() {
        let choice =
            choose(RecoveryState::default(), &[reached(3, 0, 5.0, 1.0), reached(3, 0, 4.5, 1.0)]).unwrap();
        assert_eq!(choice.index, 1);
        assert_eq!(
            choice.reason,
            "Mean cost 4.50 over 3 rollouts (95 % interval 3.50 to 5.50), against 5.00 for the next best, which costs less \
             with a chance of 12 %."
        );
        let clear =
            choose(RecoveryState::default(), &[reached(3, 0, 9.0, 1.0), reached(3, 0, 4.5, 1.0)]).unwrap();
        assert!(clear.reason.ends_with("with a chance of 0 %."), "{}", clear.reason);
    }

    #[test]
    fn a_lucky_rollout_does_not_beat_a_sure_thing() {
        let choice =
            choose(RecoveryState::default(), &[reached(1, 2, 2.0, 0.0), reached(2, 1, 6.0, 1.0)]).unwrap();
        assert_eq!(choice.index, 1);
        assert!(choice.reason.contains("only 1 of 3 rollouts"), "{}", choice.reason);
    }

    #[test]
    fn without_recovery_the_facts_achieved_decide() {
        let choice = choose(RecoveryState::default(), &[cut_off(2.0), cut_off(3.5), broken()]).unwrap();
        assert_eq!(choice.index, 1);
        assert!(
            choice.reason.starts_with("No rollout of any candidate reached recovery"),
            "{}",
            choice.reason
        );
        assert!(choice.reason.contains("3.5 of 6") && choice.reason.contains("2.0 for the next"));
    }

    #[test]
    fn ties_are_broken_and_named() {
        let contained = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let both = RecoveryState { is_recovered: true, ..contained };
        let after = |state| Tally { predicted_state: Some(state), ..reached(3, 0, 5.0, 1.0) };
        let restores = after(RecoveryState { is_recovered: true, ..RecoveryState::default() });
        let contains = after(contained);
        let choice = choose(RecoveryState::default(), &[restores.clone(), contains.clone()]).unwrap();
        assert_eq!(choice.index, 1);
        assert!(choice.reason.contains("comes first in a response"), "{}", choice.reason);
        // What holds already is no gain.
        assert_eq!(choose(contained, &[contains.clone(), after(both)]).unwrap().index, 1);
        let wide = Tally { interrupted: 3, ..contains.clone() };
        let narrow = Tally { interrupted: 1, ..contains.clone() };
        let less = choose(RecoveryState::default(), &[wide, narrow.clone()]).unwrap();
        assert_eq!(less.index, 1);
        assert!(less.reason.contains("cuts off or cleans less"), "{}", less.reason);
        let blocks = Tally { blocked: 2, ..narrow.clone() };
        let more = choose(RecoveryState::default(), &[narrow, blocks]).unwrap();
        assert_eq!(more.index, 1);
        assert!(more.reason.contains("keeps out who attacks from outside"), "{}", more.reason);
        let first = choose(RecoveryState::default(), &[contains.clone(), contains]).unwrap();
        assert_eq!(first.index, 0);
        assert!(first.reason.contains("proposed first"), "{}", first.reason);
    }

    #[test]
    fn nothing_usable_is_no_choice() {
        assert_eq!(choose(RecoveryState::default(), &[]), None);
        assert_eq!(choose(RecoveryState::default(), &[broken(), Tally::default()]), None);
        assert_eq!(choose(RecoveryState::default(), &[broken(), cut_off(1.0)]).unwrap().index, 1);
    }

    #[test]
    fn a_single_rollout_gives_no_interval() {
        let choice =
            choose(RecoveryState::default(), &[reached(1, 0, 4.0, 0.0), reached(1, 0, 5.0, 0.0)]).unwrap();
        assert_eq!(choice.index, 0);
        assert!(choice.reason.starts_with("Cost 4.00 in the only one"), "{}", choice.reason);
    }

    proptest! {
        #[test]
        fn the_choice_is_never_worse_than_another_candidate(
            tallies in prop::collection::vec((0u32..4, 0u32..4, 1.0f64..20.0), 1..8)
        ) {
            let tallies: Vec<Tally> = tallies
                .into_iter()
                .map(|(terminal, truncated, mean)| match terminal {
                    0 => Tally { cost: CostEstimate { truncated, ..CostEstimate::default() }, ..cut_off(mean.min(6.0)) },
                    _ => reached(terminal, truncated, mean, 1.0),
                })
                .collect();
            if let Some(choice) = choose(RecoveryState::default(), &tallies) {
                let best = &tallies[choice.index];
                for other in &tallies {
                    if is_usable(other) {
                        prop_assert!(compare(best, other) != Ordering::Greater);
                    }
                }
                prop_assert!(choice.reason.ends_with('.') && !choice.reason.contains(".."));
            } else {
                prop_assert!(tallies.iter().all(|tally| !is_usable(tally)));
            }
        }
    }
}
