//! What is started a second time elsewhere, since it takes much longer than its like: a rollout than others of its run, a question than
//! the last ones of the coordinator. Pure.
//!
//! What comes of either depends on its input and its seed alone, so that of either copy is right. What a hedge costs is
//! bounded: it is for few rollouts of a run and few questions, and only where a worker would be idle otherwise.

use std::collections::VecDeque;
use std::time::Duration;

/// When a rollout or a question counts as slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedging {
    /// Times the median of its like.
    pub multiple: f64,
    /// And at least this long: what takes no longer is not worth a second call.
    pub least: Duration,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { multiple: 3.0, least: Duration::from_secs(1) }
    }
}

impl Hedging {
    /// How long a rollout of a run may take before it counts as slow, by what its finished siblings took. `None` while
    /// fewer than half of the `total` rollouts have finished: until then nobody knows what is usual.
    pub(super) fn patience(&self, finished: &[Duration], total: usize) -> Option<Duration> {
        let mut times = finished.to_vec();
        let middle = times.len() / 2;
        if times.is_empty() || times.len() * 2 < total {
            return None;
        }
        let (_, median, _) = times.select_nth_unstable(middle);
        // What no duration can hold is never reached.
        let patience = Duration::try_from_secs_f64(median.as_secs_f64() * self.multiple).ok()?;
        Some(patience.max(self.least))
    }
}

/// How many of a run's rollouts may be hedged: one in twenty, and at least one.
pub(super) fn most_hedges(total: usize) -> usize {
    (total / 20).max(1)
}

/// Questions by whose times it is told which are slow.
const RECENT: usize = 64;
/// So many times longer than a rollout a question may take before it is slow: questions differ in length, so that a long one is rarely a slow one,
/// and to ask the longest twice takes much. Of exponentially distributed times one in 180 is beyond.
const LENGTHS: f64 = 2.5;

/// How long the last questions of all incidents took, and how many were asked twice.
#[derive(Debug, Default)]
pub(super) struct Answered {
    recent: VecDeque<Duration>,
    count: usize,
    hedged: usize,
}

impl Answered {
    /// Counts one that was answered after so long.
    pub(super) fn count(&mut self, took: Duration) {
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(took);
        self.count = self.count.saturating_add(1);
    }

    /// How long a question may take before it is slow. `None` while nobody knows what is usual, or while enough were asked twice.
    pub(super) fn patience(&mut self, policy: &Hedging) -> Option<Duration> {
        if self.hedged >= most_hedges(self.count) {
            return None;
        }
        let policy = Hedging { multiple: policy.multiple * LENGTHS, ..*policy };
        policy.patience(self.recent.make_contiguous(), RECENT)
    }

    /// Counts one that is asked a second time.
    pub(super) fn hedge(&mut self) {
        self.hedged = self.hedged.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|&time| Duration::from_secs(time)).collect()
    }

    #[test]
    fn slow_is_what_takes_a_multiple_of_what_is_usual() {
        let policy = Hedging { multiple: 3.0, least: Duration::from_secs(5) };
        assert_eq!(policy.patience(&[], 0), None);
        assert_eq!(policy.patience(&seconds(&[2, 3]), 9), None, "too few have finished");
        assert_eq!(policy.patience(&seconds(&[9, 2, 4, 3, 4]), 9), Some(Duration::from_secs(12)));
        assert_eq!(policy.patience(&seconds(&[1, 1]), 3), Some(Duration::from_secs(5)), "not at once");
        let never = Hedging { multiple: f64::INFINITY, ..policy };
        assert_eq!(never.patience(&seconds(&[1, 1]), 2), None);
    }

    #[test]
    fn few_are_hedged() {
        assert_eq!([0, 1, 9, 39, 40, 200].map(most_hedges), [1, 1, 1, 1, 2, 10]);
    }

    #[test]
    fn a_question_is_slow_by_what_the_last_ones_took_and_few_are_asked_twice() {
        let policy = Hedging { multiple: 3.0, least: Duration::from_secs(1) };
        let mut answered = Answered::default();
        (0..RECENT / 2 - 1).for_each(|_| answered.count(Duration::from_secs(2)));
        assert_eq!(answered.patience(&policy), None);
        answered.count(Duration::from_secs(2));
        assert_eq!(answered.patience(&policy), Some(Duration::from_secs(15)));
        answered.hedge();
        assert_eq!(answered.patience(&policy), None, "one in twenty, and 32 were answered");
        (0..RECENT).for_each(|_| answered.count(Duration::from_secs(9)));
        assert_eq!(
            answered.patience(&policy),
            Some(Duration::from_millis(67_500)),
            "what was before is forgotten"
        );
    }

    proptest! {
        #[test]
        fn half_of_what_finished_was_never_slow(times in proptest::collection::vec(0_u64..100, 1..40)) {
            let finished = seconds(&times);
            let policy = Hedging { multiple: 1.0, least: Duration::ZERO };
            let patience = policy.patience(&finished, times.len()).unwrap();
            let slow = finished.iter().filter(|&&time| time > patience).count();
            prop_assert!(slow * 2 <= times.len());
        }
    }
}
