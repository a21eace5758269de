//! How much work a worker takes on: a bounded number of sequences, decoding and waiting together.
//!
//! Rollouts and decisions (perception, candidates) have places of their own, so that a queue of rollouts never keeps
//! a decision out. What does not fit is refused at once, with the time after which asking again makes sense.
//!
//! Invariant: a place is given back when its permit is dropped, however the work ended.

use std::sync::Arc;
use std::time::Duration;

use countermove_proto::worker::v1::WorkerLoad;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::service::saturate;

/// The places of a worker. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    rollouts: Arc<Semaphore>,
    rollout_places: usize,
    decisions: Arc<Semaphore>,
    decision_places: usize,
    batch: usize,
}

/// A place for one sequence.
pub(crate) type Place = OwnedSemaphorePermit;

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overloaded {
    /// Sequences that decode or wait.
    pub taken: usize,
    /// When to ask again.
    pub retry_after: Duration,
}

impl Admission {
    /// `batch` sequences decode at a time, `places` may be taken on in all.
    pub(crate) fn new(batch: usize, places: usize) -> Self {
        let decision_places = places.div_ceil(4);
        Self {
            rollouts: Arc::new(Semaphore::new(places)),
            rollout_places: places,
            decisions: Arc::new(Semaphore::new(decision_places)),
            decision_places,
            batch: batch.max(1),
        }
    }

    /// Most rollouts that one call may hold.
    pub(crate) fn rollout_places(&self) -> usize {
        self.rollout_places
    }

    /// Calls with one decision each that may be held at a time.
    pub(crate) fn decision_places(&self) -> usize {
        self.decision_places
    }

    /// Places for all rollouts of a call, or none of them.
    pub(crate) fn rollouts(&self, count: usize) -> Result<Vec<Place>, Overloaded> {
        (0..count)
            .map(|_| Arc::clone(&self.rollouts).try_acquire_owned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| self.overloaded(self.rollout_places, &self.rollouts))
    }

    /// A place for one decision.
    pub(crate) fn decision(&self) -> Result<Place, Overloaded> {
        Arc::clone(&self.decisions)
            .try_acquire_owned()
            .map_err(|_| self.overloaded(self.decision_places, &self.decisions))
    }

    /// What is taken on now.
    pub(crate) fn load(&self) -> WorkerLoad {
        WorkerLoad {
            rollouts: saturate(taken(self.rollout_places, &self.rollouts)),
            decisions: saturate(taken(self.decision_places, &self.decisions)),
        }
    }

    fn overloaded(&self, places: usize, semaphore: &Semaphore) -> Overloaded {
        let taken = taken(places, semaphore);
        Overloaded { taken, retry_after: retry_after(taken, self.batch) }
    }
}

fn taken(places: usize, semaphore: &Semaphore) -> usize {
    places.saturating_sub(semaphore.available_permits())
}

/// A quarter of a second for each full batch that is ahead, at most ten seconds.
fn retry_after(taken: usize, batch: usize) -> Duration {
    let batches = u32::try_from(taken / batch.max(1)).unwrap_or(u32::MAX);
    Duration::from_millis(250).saturating_mul(batches.saturating_add(1)).min(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_together_or_not_at_all_and_come_back() {
        let admission = Admission::new(2, 4);
        let three = admission.rollouts(3).unwrap();
        let refused = admission.rollouts(2).unwrap_err();
        assert_eq!(refused.taken, 3, "the refused call must hold nothing");
        let last = admission.rollouts(1).unwrap();
        assert!(admission.rollouts(1).is_err());
        drop(three);
        assert_eq!(admission.rollouts(3).map(|places| places.len()), Ok(3).map_err(|(): ()| refused));
        drop(last);
    }

    #[test]
    fn rollouts_never_keep_a_decision_out() {
        let admission = Admission::new(2, 4);
        let _all = admission.rollouts(4).unwrap();
        let decision = admission.decision().unwrap();
        assert_eq!(admission.load(), WorkerLoad { rollouts: 4, decisions: 1 });
        assert!(admission.decision().is_err(), "decisions are bounded as well");
        drop(decision);
        assert!(admission.decision().is_ok());
    }

    #[test]
    fn the_longer_the_queue_the_longer_the_wait() {
        assert_eq!(retry_after(0, 32), Duration::from_millis(250));
        assert_eq!(retry_after(96, 32), Duration::from_secs(1));
        assert_eq!(retry_after(usize::MAX, 0), Duration::from_secs(10));
    }
}
