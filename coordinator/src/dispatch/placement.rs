//! Where work goes. Pure functions of what is known about the workers.

use std::time::Duration;

use countermove_planner::Purpose;
use countermove_proto::{Error, WorkerId};
use tonic::Code;

use crate::workers::{Board, Group, Number, Openness};

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

/// One sequence that wants a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) purpose: Purpose,
    /// What it is expected to take.
    pub(super) tokens: u64,
    /// How open to it the worker has to be.
    pub(super) least: Openness,
    /// Who holds the prefix.
    pub(super) warm: &'a [WorkerId],
    /// Who must not have it.
    pub(super) not: &'a [WorkerId],
}

/// The worker that would be done soonest with all that it has and this sequence. Questions prefer a worker that holds the prefix even if
/// it takes a little longer; rollouts, which come in numbers, only if it takes no longer. Equal ones are taken in order. `None` if there
/// is none. Looks at the least busy of each group, and at those that hold the prefix.
pub(super) fn pick(board: &Board, wish: Wish<'_>) -> Option<Number> {
    let Wish { purpose, tokens, least, warm, not } = wish;
    let mean = board.mean_rate();
    let time = |outstanding: u64, group: &Group, saved: f64| {
        (outstanding.saturating_add(tokens) as f64 - saved) / speed(group, mean)
    };
    let not: Vec<Number> = not.iter().filter_map(|id| board.number(id)).collect();
    let first = |group: &Group| {
        let (outstanding, number) = group.first(purpose, least, &not)?;
        Some((time(outstanding, group, 0.0), true, number))
    };
    let holds = |id: &WorkerId| {
        let number = board.number(id).filter(|number| !not.contains(number))?;
        let (load, group) = board.get(number, purpose, least)?;
        let saved = match purpose {
            Purpose::Decision => WARMTH * f64::from(group.capacity()) * tokens as f64,
            Purpose::Rollout => 0.0,
        };
        Some((time(load.outstanding, group, saved), false, number))
    };
    let choices = board.groups().filter_map(first).chain(warm.iter().filter_map(holds));
    let order = |a: &(f64, bool, Number), b: &(f64, bool, Number)| {
        a.0.total_cmp(&b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    };
    choices.min_by(order).map(|(_, _, number)| number)
}

/// Speed of each worker of a group with a full batch, in tokens a second, where `mean` is that of all that were measured. One that was not
/// counts as the average of those that were; if none was, all count alike.
fn speed(group: &Group, mean: Option<f64>) -> f64 {
    let mean = mean.unwrap_or(1.0);
    group.rate().map_or(mean, |rate| rate.max(mean * SLOWEST)) * f64::from(group.capacity())
}

/// What to do after a call that ended with `error`.
pub(crate) fn judge(error: &Error) -> Verdict {
    match error {
        Error::Transport(_) => Verdict::Eject,
        Error::Exhausted { retry_after, .. }
        | Error::OverQuota { retry_after, .. }
        | Error::Unavailable { retry_after, .. } => Verdict::Rest(*retry_after),
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
        | Error::Unauthenticated(_)
        | Error::Denied(_)
        | Error::Foreign { .. } => Verdict::Retry,
    }
}

#[cfg(test)]
mod tests {
    use countermove_proto::Outage;
    use proptest::prelude::*;

    use super::*;
    use crate::workers::Load;

    fn load(capacity: u32, outstanding: u64) -> Load {
        Load { outstanding, ..Load::of(capacity) }
    }

    fn board(loads: &[Load]) -> Board {
        Board::of(&named(loads))
    }

    fn named(loads: &[Load]) -> Vec<(WorkerId, Load)> {
        loads.iter().enumerate().map(|(number, load)| (id(number), *load)).collect()
    }

    fn id(number: usize) -> WorkerId {
        WorkerId::new(&format!("w-{number}")).unwrap()
    }

    fn speeds(loads: &[Load]) -> Vec<f64> {
        let board = board(loads);
        let of = |number| {
            speed(board.get(number, Purpose::Rollout, Openness::Closed).unwrap().1, board.mean_rate())
        };
        (0..loads.len() as Number).map(of).collect()
    }

    /// The worker for a sequence of 100 tokens, however full it is.
    fn choose(loads: &[Load], warm: &[usize], purpose: Purpose) -> Option<Number> {
        let warm: Vec<_> = warm.iter().map(|&number| id(number)).collect();
        pick(&board(loads), Wish { purpose, tokens: 100, least: Openness::Places, warm: &warm, not: &[] })
    }

    /// Places sequences of 100 tokens one after the other, and says how many each worker got.
    fn spread(mut loads: Vec<Load>, warm: &[usize], count: usize) -> Vec<u32> {
        for _ in 0..count {
            let Some(number) = choose(&loads, warm, Purpose::Rollout) else { break };
            loads[number as usize].add(Purpose::Rollout, 100);
        }
        loads.iter().map(|load| load.rollouts).collect()
    }

    #[test]
    fn who_must_not_have_it_does_not_even_if_it_holds_the_prefix() {
        let board = board(&[load(8, 0), load(8, 300), load(8, 200)]);
        let (warm, not) = ([id(0)], [id(0), id(2)]);
        let wish =
            Wish { purpose: Purpose::Rollout, tokens: 100, least: Openness::Free, warm: &warm, not: &not };
        assert_eq!(pick(&board, wish), Some(1));
        assert_eq!(pick(&board, Wish { not: &[id(0), id(1), id(2)], ..wish }), None);
    }

    #[test]
    fn one_sequence_goes_where_it_is_done_soonest() {
        assert_eq!(choose(&[], &[], Purpose::Decision), None);
        assert_eq!(choose(&[load(8, 400), load(8, 200)], &[], Purpose::Decision), Some(1));
        assert_eq!(choose(&[load(8, 400), load(32, 800)], &[], Purpose::Decision), Some(1), "by capacity");
        assert_eq!(choose(&[load(8, 0), load(8, 0)], &[], Purpose::Decision), Some(0));
        let slow = Load { rate: Some(5.0), ..load(8, 200) };
        let fast = Load { rate: Some(20.0), ..load(8, 600) };
        assert_eq!(choose(&[slow, fast], &[], Purpose::Rollout), Some(1), "by speed");
    }

    #[test]
    fn the_prefix_is_worth_some_load_to_a_question_and_none_to_a_rollout() {
        assert_eq!(choose(&[load(8, 0), load(8, 300)], &[1], Purpose::Decision), Some(1));
        assert_eq!(choose(&[load(8, 0), load(8, 700)], &[1], Purpose::Decision), Some(0));
        assert_eq!(choose(&[load(8, 0), load(8, 300)], &[1], Purpose::Rollout), Some(0));
        assert_eq!(
            choose(&[load(8, 0), load(8, 0)], &[1], Purpose::Rollout),
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
        let still = speeds(&[of(Some(16.0)), of(Some(0.0))]);
        assert!(still[0] == 160.0 && (still[1] - 10.0).abs() < 0.01, "{still:?}");
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
