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
    /// Whether it takes one more. Half a batch may wait there beside the batch that decodes, so that it never runs dry;
    /// what is beyond waits here, where the order can still change. Questions do not wait for rollouts, and leave them
    /// the half batch when there are many.
    pub(crate) fn has_room(&self, purpose: Purpose) -> bool {
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
    pub(crate) fn wants(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Decision => self.has_room(purpose),
            Purpose::Rollout => {
                self.has_room(purpose)
                    && self.ahead_of_rollouts() <= self.capacity.saturating_add(self.capacity / 4)
            }
        }
    }

    /// Whether one more sequence would decode at once.
    pub(crate) fn is_free(&self, purpose: Purpose) -> bool {
        self.rollouts.saturating_add(self.decisions) < self.capacity && self.has_room(purpose)
    }

    /// Whether one more sequence makes it do more: beyond, each makes the others slower.
    pub(crate) fn gains(&self) -> bool {
        self.rollouts.saturating_add(self.decisions) < self.efficient
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

/// Tokens that `held` sequences are still expected to take, of `each`, after `seen` were reported. A sequence that takes
/// longer than was expected counts as having a quarter of it before it.
pub(crate) fn remaining(held: u32, each: u64, seen: u64) -> u64 {
    let all = each.saturating_mul(held.into());
    all.saturating_sub(seen).max(all / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(capacity: u32) -> Load {
        Load {
            capacity,
            efficient: capacity,
            places: Places::default(),
            rollouts: 0,
            decisions: 0,
            outstanding: 0,
            rate: None,
        }
    }

    #[test]
    fn half_a_batch_waits_at_a_worker_and_questions_do_not_wait_for_rollouts() {
        let with = |rollouts, decisions| Load { rollouts, decisions, ..load(8) };
        assert!(with(11, 0).has_room(Purpose::Rollout) && !with(12, 0).has_room(Purpose::Rollout));
        assert!(
            with(10, 0).wants(Purpose::Rollout) && !with(11, 0).wants(Purpose::Rollout),
            "not one by one"
        );
        assert!(with(99, 9).has_room(Purpose::Decision) && !with(0, 10).has_room(Purpose::Decision));
        assert!(with(2, 10).wants(Purpose::Rollout), "nor do many questions keep rollouts out");
        assert!(with(4, 3).is_free(Purpose::Rollout) && !with(4, 4).is_free(Purpose::Decision));
        let one = Load { rollouts: 0, decisions: 9, ..load(1) };
        assert!(one.wants(Purpose::Rollout));
        let slow = Load { efficient: 3, ..with(1, 1) };
        assert!(slow.gains() && !Load { rollouts: 2, ..slow }.gains());
        let small = Load { places: Places { rollouts: 3, decisions: 1 }, ..with(3, 1) };
        assert!(
            !small.has_room(Purpose::Rollout) && !small.has_room(Purpose::Decision),
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
