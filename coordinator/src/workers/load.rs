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

/// Sequences of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sequences {
    pub rollouts: u32,
    pub decisions: u32,
}

impl Sequences {
    pub(crate) fn all(self) -> u32 {
        self.rollouts.saturating_add(self.decisions)
    }
}

/// What a worker has to do now, and how much of it it does at a time.
///
/// What this coordinator has there counts in full, and what others have by half. Where n coordinators that all have more to do keep to that,
/// each has the same, all together have 2n / (n + 1) times what one alone would have, never twice as much, and as much as one of them has is
/// left for whoever comes next; nobody needs to know how many they are (Choudhury and Hahne, "Dynamic queue length thresholds for
/// shared-memory packet switches", 1998). Each may have one sequence of a kind whatever others have, so that none waits for ever.
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
    /// What other coordinators have there by the worker's word; nothing if it does not say.
    pub others: Sequences,
    /// Tokens that all of them are still expected to take.
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
        let at_work = self.rollouts.saturating_add(self.decisions).saturating_add(self.others.all());
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
                let most = doubled(self.capacity.saturating_add(self.capacity.div_ceil(4)));
                (self.decisions == 0 || self.weighed_decisions() < most)
                    && self.decisions < self.places.decisions
            }
            Purpose::Rollout => {
                let most = doubled(self.capacity.saturating_add(self.capacity.div_ceil(2)));
                (self.rollouts == 0 || self.weighed_before_rollout() < most)
                    && self.rollouts < self.places.rollouts
            }
        }
    }

    /// Whether it is time to give it more: rollouts come in parcels of a quarter of a batch, so that calls stay few.
    fn wants(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Decision => self.has_room(purpose),
            Purpose::Rollout => {
                let soon = doubled(self.capacity.saturating_add(self.capacity / 4));
                self.has_room(purpose) && (self.rollouts == 0 || self.weighed_before_rollout() <= soon)
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

    /// Questions there, those of this coordinator twice.
    fn weighed_decisions(&self) -> u64 {
        doubled(self.decisions) + u64::from(self.others.decisions)
    }

    /// What is in the way of one more rollout, that of this coordinator twice: rollouts, and of the questions no more than a batch.
    fn weighed_before_rollout(&self) -> u64 {
        doubled(self.rollouts)
            + u64::from(self.others.rollouts)
            + self.weighed_decisions().min(doubled(self.capacity))
    }
}

fn doubled(sequences: u32) -> u64 {
    2 * u64::from(sequences)
}

#[cfg(test)]
impl Load {
    /// Of a worker that has nothing to do.
    pub(crate) fn of(capacity: u32) -> Self {
        let places = Places::default();
        let others = Sequences::default();
        Self {
            capacity,
            efficient: capacity,
            places,
            rollouts: 0,
            decisions: 0,
            others,
            outstanding: 0,
            rate: None,
        }
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
    use proptest::prelude::*;

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
    fn what_others_have_is_in_the_way_by_half_and_keeps_nobody_out() {
        let among = |decisions, rollouts, own| {
            let others = Sequences { decisions, rollouts };
            Load { decisions: own, rollouts: own, others, ..Load::of(8) }
        };
        let both = |load: Load| [Purpose::Decision, Purpose::Rollout].map(|purpose| load.openness(purpose));
        assert_eq!(both(among(4, 0, 2)), [Openness::Wants, Openness::Wants]);
        assert_eq!(
            both(among(3, 0, 2)),
            [Openness::Gains, Openness::Gains],
            "one less, and there is a place in the batch"
        );
        assert_eq!(both(among(12, 0, 4)), [Openness::Places, Openness::Places]);
        assert_eq!(both(among(12, 0, 3)), [Openness::Wants, Openness::Room], "rollouts come in parcels");
        assert_eq!(
            both(among(0, 16, 4)),
            [Openness::Wants, Openness::Places],
            "questions do not wait for rollouts"
        );
        assert_eq!(both(among(u32::MAX, u32::MAX, 1)), [Openness::Places, Openness::Places]);
        assert_eq!(both(among(u32::MAX, u32::MAX, 0)), [Openness::Wants, Openness::Wants]);
    }

    proptest! {
        /// However many they are, whoever comes first: each has the same, the worker has enough, and there is room for one more.
        #[test]
        fn coordinators_that_have_more_to_do_have_the_same_at_a_worker(capacity in 1_u32..64, count in 1_usize..12) {
            for purpose in [Purpose::Decision, Purpose::Rollout] {
                let load = |held: u32, all: u32| match purpose {
                    Purpose::Decision => Load {
                        decisions: held,
                        others: Sequences { decisions: all - held, rollouts: 0 },
                        ..Load::of(capacity)
                    },
                    Purpose::Rollout => Load {
                        rollouts: held,
                        others: Sequences { decisions: 0, rollouts: all - held },
                        ..Load::of(capacity)
                    },
                };
                let fill = |held: &mut Vec<u32>| loop {
                    let before = held.clone();
                    for at in 0..held.len() {
                        let all = held.iter().sum();
                        held[at] += u32::from(load(held[at], all).openness(purpose) >= Openness::Room);
                    }
                    if *held == before {
                        break;
                    }
                };
                let mut alone = vec![0];
                fill(&mut alone);
                let mut held = vec![0; count];
                fill(&mut held);
                let (least, most, all) = (*held.iter().min().unwrap(), *held.iter().max().unwrap(), held.iter().sum::<u32>());
                prop_assert!(least >= 1 && most - least <= 1, "{held:?}");
                let part = 2.0 * f64::from(alone[0]) / (count as f64 + 1.0);
                prop_assert!(f64::from(all) >= part * count as f64, "{held:?} of {alone:?}");
                prop_assert!(f64::from(most) < part + 2.0, "{held:?} of {alone:?}");
            }
        }
    }

    #[test]
    fn what_remains_shrinks_with_what_is_reported_and_never_to_nothing() {
        assert_eq!(remaining(4, 100, 0), 400);
        assert_eq!(remaining(4, 100, 150), 250);
        assert_eq!(remaining(4, 100, 1000), 100);
        assert_eq!(remaining(0, 100, 0), 0);
    }
}
