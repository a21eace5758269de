//! Where work goes. Pure functions of what is known about the workers.

use std::time::Duration;

use countermove_proto::Error;
use tonic::Code;

/// What placement looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Sequences that the worker decodes in one batch; at least 1.
    pub capacity: u32,
    /// Sequences of this coordinator that it has now.
    pub running: u32,
    /// It holds the incident's prefix.
    pub warm: bool,
}

/// How much fuller a worker that holds the prefix may be, in parts of its capacity, before another one is taken: to
/// read the context again costs about as much as a fraction of a batch's work.
const WARMTH: f64 = 0.5;

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

/// The worker for one sequence: the least loaded by capacity, with a preference for those that hold the prefix. Equal
/// ones are taken in order. `None` if there are none.
pub(crate) fn pick(loads: &[Load]) -> Option<usize> {
    let cost = |load: &Load| fullness(load, 1) - if load.warm { WARMTH } else { 0.0 };
    let best = loads.iter().enumerate().min_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b)));
    best.map(|(index, _)| index)
}

/// How many of `count` sequences go to each worker: one after the other to the least loaded by capacity, equal ones
/// first to those that hold the prefix. No worker gets more than its part of `room`; what is left over stays unplaced.
pub(crate) fn spread(loads: &[Load], room: &[u32], count: usize) -> Vec<u32> {
    let mut shares = vec![0u32; loads.len()];
    for _ in 0..count {
        let next =
            (0..loads.len()).filter(|&i| shares[i] < room.get(i).copied().unwrap_or(0)).min_by(|&a, &b| {
                let (x, y) = (fullness(&loads[a], shares[a] + 1), fullness(&loads[b], shares[b] + 1));
                x.total_cmp(&y).then_with(|| loads[b].warm.cmp(&loads[a].warm))
            });
        match next {
            Some(index) => shares[index] += 1,
            None => break,
        }
    }
    shares
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

/// How full a worker is with `more` sequences, in parts of its capacity.
fn fullness(load: &Load, more: u32) -> f64 {
    (f64::from(load.running) + f64::from(more)) / f64::from(load.capacity.max(1))
}

#[cfg(test)]
mod tests {
    use countermove_proto::Outage;
    use proptest::prelude::*;

    use super::*;

    fn load(capacity: u32, running: u32, warm: bool) -> Load {
        Load { capacity, running, warm }
    }

    #[test]
    fn one_sequence_goes_to_the_least_loaded_worker() {
        assert_eq!(pick(&[]), None);
        assert_eq!(pick(&[load(8, 4, false), load(8, 2, false)]), Some(1));
        assert_eq!(pick(&[load(8, 4, false), load(32, 8, false)]), Some(1), "load is relative to capacity");
        assert_eq!(pick(&[load(8, 0, false), load(8, 0, false)]), Some(0));
    }

    #[test]
    fn the_prefix_is_worth_some_load_and_no_more() {
        assert_eq!(pick(&[load(8, 0, false), load(8, 3, true)]), Some(1));
        assert_eq!(pick(&[load(8, 0, false), load(8, 7, true)]), Some(0));
    }

    #[test]
    fn rollouts_are_spread_in_proportion_to_capacity() {
        let full = [100; 3];
        assert_eq!(spread(&[load(8, 0, false), load(8, 0, false)], &full, 9), [5, 4]);
        assert_eq!(spread(&[load(8, 0, false), load(24, 0, false)], &full, 8), [2, 6]);
        assert_eq!(spread(&[load(8, 4, false), load(8, 0, false)], &full, 4), [0, 4]);
        assert_eq!(
            spread(&[load(8, 0, false), load(8, 0, true)], &full, 1),
            [0, 1],
            "the warm one comes first"
        );
        assert_eq!(spread(&[], &[], 3), Vec::<u32>::new());
    }

    #[test]
    fn nobody_gets_more_than_there_is_room_for() {
        assert_eq!(spread(&[load(4, 0, false), load(4, 0, false)], &[2, 1], 9), [2, 1]);
        assert_eq!(spread(&[load(4, 0, false)], &[], 9), [0], "no word on room means none");
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
        #[test]
        fn spread_places_all_that_fits_and_is_fair(
            workers in proptest::collection::vec((1u32..64, 0u32..64, any::<bool>(), 0u32..40), 0..8),
            count in 0usize..120,
        ) {
            let loads: Vec<_> = workers.iter().map(|&(c, r, w, _)| load(c, r, w)).collect();
            let room: Vec<_> = workers.iter().map(|w| w.3).collect();
            let shares = spread(&loads, &room, count);
            let placed: u64 = shares.iter().map(|&s| u64::from(s)).sum();
            let possible: u64 = room.iter().map(|&r| u64::from(r)).sum();
            prop_assert_eq!(placed, possible.min(count as u64));
            prop_assert!(shares.iter().zip(&room).all(|(s, r)| s <= r));
            // No sequence would have been better off on another worker that still had room.
            for (i, &share) in shares.iter().enumerate().filter(|(_, s)| **s > 0) {
                for j in (0..loads.len()).filter(|&j| shares[j] < room[j]) {
                    prop_assert!(fullness(&loads[i], share) <= fullness(&loads[j], shares[j] + 1) + 1e-9);
                }
            }
        }
    }
}
