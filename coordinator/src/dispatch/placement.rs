//! Where work goes. Pure functions of what is known about the workers.

use std::time::Duration;

use countermove_proto::Error;
use tonic::Code;

use crate::workers::Places;

/// What a piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A question of perception or for candidates: an answer that the rest of the plan waits for.
    Decision,
    /// A rollout.
    Rollout,
}

/// What placement looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Sequences that the worker decodes in one batch; at least 1.
    pub capacity: u32,
    /// Sequences with which it is nearly as fast as with a full batch.
    pub efficient: u32,
    /// Sequences that it takes on, by its own word.
    pub places: Places,
    /// Rollouts of this coordinator that it has now.
    pub rollouts: u32,
    /// Questions of this coordinator that it has now.
    pub decisions: u32,
    /// Tokens that both are still expected to take.
    pub outstanding: u64,
    /// Tokens a second and sequence, if that was measured.
    pub rate: Option<f64>,
}

impl Load {
    /// Whether it takes one more. Half a batch may wait there beside the batch that decodes, so that it never runs dry;
    /// what is beyond waits here, where the order can still change. Questions do not wait for rollouts, and leave them
    /// the half batch when there are many.
    pub(crate) fn has_room(&self, kind: Kind) -> bool {
        match kind {
            Kind::Decision => {
                self.decisions
                    < self.capacity.saturating_add(self.capacity.div_ceil(4)).min(self.places.decisions)
            }
            Kind::Rollout => {
                let most = self.capacity.saturating_add(self.capacity.div_ceil(2));
                self.ahead_of_rollouts() < most && self.rollouts < self.places.rollouts
            }
        }
    }

    /// Whether it is time to give it more: rollouts come in parcels of a quarter of a batch, so that calls stay few.
    pub(crate) fn wants(&self, kind: Kind) -> bool {
        match kind {
            Kind::Decision => self.has_room(kind),
            Kind::Rollout => {
                self.has_room(kind)
                    && self.ahead_of_rollouts() <= self.capacity.saturating_add(self.capacity / 4)
            }
        }
    }

    /// Whether one more sequence would decode at once.
    pub(crate) fn is_free(&self, kind: Kind) -> bool {
        self.rollouts.saturating_add(self.decisions) < self.capacity && self.has_room(kind)
    }

    /// Whether one more sequence makes it do more: beyond, each makes the others slower.
    pub(crate) fn gains(&self) -> bool {
        self.rollouts.saturating_add(self.decisions) < self.efficient
    }

    /// Adds a sequence that is expected to take this many tokens.
    pub(crate) fn add(&mut self, kind: Kind, tokens: u64) {
        match kind {
            Kind::Decision => self.decisions = self.decisions.saturating_add(1),
            Kind::Rollout => self.rollouts = self.rollouts.saturating_add(1),
        }
        self.outstanding = self.outstanding.saturating_add(tokens);
    }

    fn ahead_of_rollouts(&self) -> u32 {
        self.rollouts.saturating_add(self.decisions.min(self.capacity))
    }
}

/// How many sequences' worth of work more a worker that holds the prefix may have for each place in its batch, before
/// another one gets a question: to read the context again costs about as much.
const WARMTH: f64 = 0.5;
/// How much slower than the average a worker is taken to be at most. One that seems to stand still gets a little work, so
/// that it can show that it does not.
const SLOWEST: f64 = 1.0 / 8.0;

/// What a failed call means for where work goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The worker or the way to it is broken: leave it out until it answers again, and go elsewhere.
    Eject,
    /// The worker is well and full, or about to stop: leave it alone for this long.
    Rest(Duration),
    /// The work failed there: try it elsewhere, a few times.
    Retry,
    /// It would fail anywhere.
    GiveUp,
}

/// Speed of each worker with a full batch, in tokens a second. One that was not measured counts as the average of those
/// that were; if none was, all count alike.
pub(crate) fn speeds(loads: &[Load]) -> Vec<f64> {
    let known: Vec<f64> = loads.iter().filter_map(|load| load.rate).collect();
    let mean = match known.len() {
        0 => 1.0,
        count => (known.iter().sum::<f64>() / count as f64).max(f64::MIN_POSITIVE),
    };
    let rate = |load: &Load| load.rate.map_or(mean, |rate| rate.max(mean * SLOWEST));
    loads.iter().map(|load| rate(load) * f64::from(load.capacity.max(1))).collect()
}

/// The worker, of those that `may` have it, for one sequence of `tokens`: the one that would be done with all that it has
/// soonest. Questions prefer a worker that holds the prefix even if it takes a little longer; rollouts, which come in
/// numbers, only if it takes no longer. Equal ones are taken in order. `None` if there is none.
pub(crate) fn pick(
    loads: &[Load],
    speeds: &[f64],
    may: impl Fn(usize) -> bool,
    is_warm: impl Fn(usize) -> bool,
    (kind, tokens): (Kind, u64),
) -> Option<usize> {
    let time = |index: usize| {
        let load = &loads[index];
        let all = load.outstanding.saturating_add(tokens) as f64;
        let saved = match kind {
            Kind::Decision if is_warm(index) => WARMTH * f64::from(load.capacity) * tokens as f64,
            _ => 0.0,
        };
        (all - saved) / speeds[index]
    };
    let choices = (0..loads.len().min(speeds.len())).filter(|&index| may(index));
    choices.min_by(|&a, &b| time(a).total_cmp(&time(b)).then_with(|| is_warm(b).cmp(&is_warm(a))))
}

/// Tokens that `held` sequences are still expected to take, of `each`, after `seen` were reported. A sequence that takes
/// longer than was expected counts as having a quarter of it before it.
pub(crate) fn remaining(held: u32, each: u64, seen: u64) -> u64 {
    let all = each.saturating_mul(held.into());
    all.saturating_sub(seen).max(all / 4)
}

/// What to do after a call that ended with `error`.
pub(crate) fn judge(error: &Error) -> Verdict {
    match error {
        Error::Transport(_) => Verdict::Eject,
        Error::Exhausted { retry_after, .. } | Error::Unavailable { retry_after, .. } => Verdict::Rest(*retry_after),
        Error::InvalidArgument(_)
        | Error::ModelRefused(_)
        | Error::DeadlineExceeded(_)
        // tonic's words for a message beyond the size limit, and for a method that the peer lacks.
        | Error::Foreign { code: Code::OutOfRange | Code::Unimplemented, .. } => Verdict::GiveUp,
        Error::ModelFailed(_)
        | Error::Internal(_)
        | Error::Cancelled(_)
        | Error::NotFound { .. }
        | Error::Precondition { .. }
        | Error::Foreign { .. } => Verdict::Retry,
    }
}

#[cfg(test)]
mod tests {
    use countermove_proto::Outage;
    use proptest::prelude::*;

    use super::*;

    fn load(capacity: u32, outstanding: u64) -> Load {
        Load {
            capacity,
            efficient: capacity,
            places: Places::default(),
            rollouts: 0,
            decisions: 0,
            outstanding,
            rate: None,
        }
    }

    /// The worker for a sequence of 100 tokens.
    fn choose(loads: &[Load], warm: &[usize], kind: Kind) -> Option<usize> {
        pick(loads, &speeds(loads), |_| true, |index| warm.contains(&index), (kind, 100))
    }

    /// Places sequences of 100 tokens one after the other, and says how many each worker got.
    fn spread(mut loads: Vec<Load>, warm: &[usize], count: usize) -> Vec<u32> {
        for _ in 0..count {
            let Some(index) = choose(&loads, warm, Kind::Rollout) else { break };
            loads[index].add(Kind::Rollout, 100);
        }
        loads.iter().map(|load| load.rollouts).collect()
    }

    #[test]
    fn one_sequence_goes_where_it_is_done_soonest() {
        assert_eq!(choose(&[], &[], Kind::Decision), None);
        assert_eq!(choose(&[load(8, 400), load(8, 200)], &[], Kind::Decision), Some(1));
        assert_eq!(choose(&[load(8, 400), load(32, 800)], &[], Kind::Decision), Some(1), "by capacity");
        assert_eq!(choose(&[load(8, 0), load(8, 0)], &[], Kind::Decision), Some(0));
        let slow = Load { rate: Some(5.0), ..load(8, 200) };
        let fast = Load { rate: Some(20.0), ..load(8, 600) };
        assert_eq!(choose(&[slow, fast], &[], Kind::Rollout), Some(1), "by speed");
    }

    #[test]
    fn the_prefix_is_worth_some_load_to_a_question_and_none_to_a_rollout() {
        assert_eq!(choose(&[load(8, 0), load(8, 300)], &[1], Kind::Decision), Some(1));
        assert_eq!(choose(&[load(8, 0), load(8, 700)], &[1], Kind::Decision), Some(0));
        assert_eq!(choose(&[load(8, 0), load(8, 300)], &[1], Kind::Rollout), Some(0));
        assert_eq!(
            choose(&[load(8, 0), load(8, 0)], &[1], Kind::Rollout),
            Some(1),
            "the warm one comes first"
        );
    }

    #[test]
    fn rollouts_are_spread_in_proportion_to_capacity_and_speed() {
        assert_eq!(spread(vec![load(8, 0), load(8, 0)], &[], 9), [5, 4]);
        assert_eq!(spread(vec![load(8, 0), load(24, 0)], &[], 8), [2, 6]);
        assert_eq!(spread(vec![load(8, 400), load(8, 0)], &[], 4), [0, 4]);
        let slow = Load { rate: Some(10.0), ..load(8, 0) };
        let fast = Load { rate: Some(30.0), ..load(8, 0) };
        assert_eq!(spread(vec![slow, fast], &[], 8), [2, 6]);
    }

    #[test]
    fn a_worker_that_was_not_measured_counts_as_average_and_none_as_standing_still() {
        let of = |rate| Load { rate, ..load(10, 0) };
        assert_eq!(speeds(&[of(None), of(None)]), [10.0, 10.0]);
        assert_eq!(speeds(&[of(Some(2.0)), of(Some(4.0)), of(None)]), [20.0, 40.0, 30.0]);
        assert_eq!(speeds(&[of(Some(16.0)), of(Some(0.0))]), [160.0, 10.0]);
    }

    #[test]
    fn half_a_batch_waits_at_a_worker_and_questions_do_not_wait_for_rollouts() {
        let with = |rollouts, decisions| Load { rollouts, decisions, ..load(8, 0) };
        assert!(with(11, 0).has_room(Kind::Rollout) && !with(12, 0).has_room(Kind::Rollout));
        assert!(with(10, 0).wants(Kind::Rollout) && !with(11, 0).wants(Kind::Rollout), "not one by one");
        assert!(with(99, 9).has_room(Kind::Decision) && !with(0, 10).has_room(Kind::Decision));
        assert!(with(2, 10).wants(Kind::Rollout), "nor do many questions keep rollouts out");
        assert!(with(4, 3).is_free(Kind::Rollout) && !with(4, 4).is_free(Kind::Decision));
        let one = Load { rollouts: 0, decisions: 9, ..load(1, 0) };
        assert!(one.wants(Kind::Rollout));
        let slow = Load { efficient: 3, ..with(1, 1) };
        assert!(slow.gains() && !Load { rollouts: 2, ..slow }.gains());
        let small = Load { places: Places { rollouts: 3, decisions: 1 }, ..with(3, 1) };
        assert!(!small.has_room(Kind::Rollout) && !small.has_room(Kind::Decision), "its own word counts");
    }

    #[test]
    fn what_remains_shrinks_with_what_is_reported_and_never_to_nothing() {
        assert_eq!(remaining(4, 100, 0), 400);
        assert_eq!(remaining(4, 100, 150), 250);
        assert_eq!(remaining(4, 100, 1000), 100);
        assert_eq!(remaining(0, 100, 0), 0);
    }

    #[test]
    fn only_faults_of_the_transport_take_a_worker_out() {
        let wait = Duration::from_millis(300);
        let exhausted = Error::Exhausted { message: "full".into(), retry_after: wait };
        let draining =
            Error::Unavailable { cause: Outage::Draining, message: "stopping".into(), retry_after: wait };
        assert_eq!(judge(&Error::Transport("refused".into())), Verdict::Eject);
        assert_eq!(judge(&exhausted), Verdict::Rest(wait));
        assert_eq!(judge(&draining), Verdict::Rest(wait));
        assert_eq!(judge(&Error::ModelFailed("a NaN".into())), Verdict::Retry);
        assert_eq!(judge(&Error::Internal("a bug".into())), Verdict::Retry);
        assert_eq!(judge(&Error::ModelRefused("too long".into())), Verdict::GiveUp);
        assert_eq!(judge(&Error::invalid("segments", "too long")), Verdict::GiveUp);
    }

    proptest! {
        /// Greedy placement is fair: no worker is done later than another one would be with one sequence more.
        #[test]
        fn work_is_balanced_by_the_time_that_it_takes(
            workers in proptest::collection::vec((1_u32..64, proptest::option::of(1.0_f64..100.0)), 1..8),
            count in 0_usize..200,
        ) {
            let empty: Vec<_> = workers.iter().map(|&(capacity, rate)| Load { rate, ..load(capacity, 0) }).collect();
            let speeds = speeds(&empty);
            let shares = spread(empty, &[], count);
            prop_assert_eq!(shares.iter().sum::<u32>(), count as u32);
            let time = |worker: usize, sequences: u32| f64::from(sequences) * 100.0 / speeds[worker];
            for (i, &share) in shares.iter().enumerate().filter(|(_, share)| **share > 0) {
                for (j, &other) in shares.iter().enumerate() {
                    prop_assert!(time(i, share) <= time(j, other + 1) * (1.0 + 1e-9), "{:?} at {:?}", &shares, &speeds);
                }
            }
        }
    }
}
