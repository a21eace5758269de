//! How much a worker has to do, and whether it takes more. Pure.

use countermove_planner::Purpose;

/// Most sequences that a worker takes on; what is beyond it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub rollouts: u32,
    pub decisions: u32,
}

impl Default for Places {
    /// Those of a worker that does not say.
    fn default() -> Self {
        Self { rollouts: u32::MAX, decisions: u32::MAX }
    }
}

/// How far a worker is open to one more sequence of a kind. Each includes those before it, but for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Openness {
    /// It would be refused.
    Closed,
    /// It would be taken on, and wait longer there than work should.
    Places,
    /// There is room beside what it has.
    Room,
    /// It is time to give it more.
    Wants,
    /// It would be decoded at once.
    Free,
    /// It makes the worker do more: beyond, each makes the others slower.
    Gains,
}

/// What a worker has to do now, and how much of it it does at a time.
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
    /// How far it is open to one more sequence.
    pub(crate) fn openness(&self, purpose: Purpose) -> Openness {
        let (held, places) = match purpose {
            Purpose::Decision => (self.decisions, self.places.decisions),
            Purpose::Rollout => (self.rollouts, self.places.rollouts),
        };
        let at_work = self.rollouts.saturating_add(self.decisions);
        if held >= places {
            Openness::Closed
        } else if !self.has_room(purpose) {
            Openness::Places
        } else if !self.wants(purpose) {
            Openness::Room
        } else if at_work >= self.capacity {
            Openness::Wants
        } else if at_work >= self.efficient.min(self.capacity) {
            Openness::Free
        } else {
            Openness::Gains
        }
    }

    /// Whether it takes one more. Half a batch may wait there beside the batch that decodes, so that it never runs dry;
    /// what is beyond waits here, where the order can still change. Questions do not wait for rollouts, and leave them
    /// the half batch when there are many.
    fn has_room(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Decision => {
                self.decisions
                    < self.capacity.saturating_add(self.capacity.div_ceil(4)).min(self.places.decisions)
            }
            Purpose::Rollout => {
                let most = self.capacity.saturating_add(self.capacity.div_ceil(2));
                self.ahead_of_rollouts() < most && self.rollouts < self.places.rollouts
            }
        }
    }

    /// Whether it is time to give it more: rollouts come in parcels of a quarter of a batch, so that calls stay few.
    fn wants(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Decision => self.has_room(purpose),
            Purpose::Rollout => {
                self.has_room(purpose)
                    && self.ahead_of_rollouts() <= self.capacity.saturating_add(self.capacity / 4)
            }
        }
    }

    /// Adds a sequence that is expected to take this many tokens.
    pub(crate) fn add(&mut self, purpose: Purpose, tokens: u64) {
        match purpose {
            Purpose::Decision => self.decisions = self.decisions.saturating_add(1),
            Purpose::Rollout => self.rollouts = self.rollouts.saturating_add(1),
        }
        self.outstanding = self.outstanding.saturating_add(tokens);
    }

    fn ahead_of_rollouts(&self) -> u32 {
        self.rollouts.saturating_add(self.decisions.min(self.capacity))
    }
}

#[cfg(test)]
impl Load {
    /// Of a worker that has nothing to do.
    pub(crate) fn of(capacity: u32) -> Self {
        let places = Places::default();
        Self { capacity, efficient: capacity, places, rollouts: 0, decisions: 0, outstanding: 0, rate: None }
    }
}

/// Tokens that `held` sequences are still expected to take, of `each`, after `seen` were reported. A sequence that takes
/// longer than was expected counts as having a quarter of it before it.
pub(crate) fn remaining(held: u32, each: u64, seen: u64) -> u64 {
    let all = each.saturating_mul(held.into());
    all.saturating_sub(seen).max(all / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_batch_waits_at_a_worker_and_questions_do_not_wait_for_rollouts() {
        let with = |rollouts, decisions| Load { rollouts, decisions, ..Load::of(8) };
        let to_rollouts = |load: Load| load.openness(Purpose::Rollout);
        let to_questions = |load: Load| load.openness(Purpose::Decision);
        assert_eq!((to_rollouts(with(11, 0)), to_rollouts(with(12, 0))), (Openness::Room, Openness::Places));
        assert_eq!(to_rollouts(with(10, 0)), Openness::Wants, "not one by one");
        assert_eq!(
            (to_questions(with(99, 9)), to_questions(with(0, 10))),
            (Openness::Wants, Openness::Places)
        );
        assert_eq!(to_rollouts(with(2, 10)), Openness::Wants, "nor do many questions keep rollouts out");
        assert_eq!((to_rollouts(with(4, 3)), to_questions(with(4, 4))), (Openness::Gains, Openness::Wants));
        assert_eq!(to_rollouts(Load { decisions: 9, ..Load::of(1) }), Openness::Wants);
        let slow = Load { efficient: 3, ..with(1, 1) };
        assert_eq!(
            (to_rollouts(slow), to_rollouts(Load { rollouts: 2, ..slow })),
            (Openness::Gains, Openness::Free)
        );
        let small = Load { places: Places { rollouts: 3, decisions: 1 }, ..with(3, 1) };
        assert_eq!(
            (to_rollouts(small), to_questions(small)),
            (Openness::Closed, Openness::Closed),
            "its own word counts"
        );
    }

    #[test]
    fn what_remains_shrinks_with_what_is_reported_and_never_to_nothing() {
        assert_eq!(remaining(4, 100, 0), 400);
        assert_eq!(remaining(4, 100, 150), 250);
        assert_eq!(remaining(4, 100, 1000), 100);
        assert_eq!(remaining(0, 100, 0), 0);
    }
}
