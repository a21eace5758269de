//! When an attacker takes further hosts, for as long as nobody keeps it from doing so.
//!
//! Invariants: the times follow from the seed alone, so rollouts of one number meet the same attacker whatever is done against it; who
//! takes longer never meets fewer falls.

use crate::seeds::{chance, derive_seed};

/// How often an attacker goes on to further hosts at all: of 25 documented breaches (the public collection attack-flow) 13 have a step of
/// lateral movement (ATT&CK's TA0008).
const ADVANCES: f64 = 0.52;
/// How often one that has just done so does it again: 26 of the 39 steps of lateral movement in these 13 breaches are followed by another.
const ADVANCES_AGAIN: f64 = 0.67;
/// Minutes until it does, on average. A vendor's yearly reports on intrusions (CrowdStrike's, "breakout time") tell of 98, 84, 62, 48 and
/// 29 minutes from 2021 to 2025: an hour, and falling.
const MINUTES: f64 = 60.0;
/// How often that is seen: of the attacks on production systems that were let through in a vendor's tests (Mandiant Security Effectiveness
/// Report 2020), 26 % of all were detected and 53 % missed.
const SEEN: f64 = 0.33;

/// The attacker's clock: it stands still while the attack is contained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Advance {
    seed: u64,
    /// Minutes that the attacker has had.
    minutes: f64,
    /// Falls so far.
    falls: u64,
    /// The minute of the next; none if there is no further one.
    next: Option<f64>,
}

/// A host falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fall {
    /// Whether alerts tell of it.
    pub(crate) is_seen: bool,
}

/// How likely a first host falls within so many minutes.
pub(crate) fn chance_within(minutes: f64) -> f64 {
    ADVANCES * (1.0 - (-minutes / MINUTES).exp())
}

impl Advance {
    pub(crate) fn new(seed: u64) -> Advance {
        let mut advance = Advance { seed, minutes: 0.0, falls: 0, next: None };
        advance.next = advance.after(0.0);
        advance
    }

    fn lot(&self, purpose: &str) -> f64 {
        chance(derive_seed(self.seed, purpose, &[self.falls]))
    }

    /// The minute of the next fall, if the last was in this minute.
    fn after(&self, minute: f64) -> Option<f64> {
        let advances = if self.falls == 0 { ADVANCES } else { ADVANCES_AGAIN };
        // No memory: what was before the rollout says nothing of how long it still takes.
        (self.lot("advances") < advances).then(|| minute - MINUTES * (1.0 - self.lot("minutes")).ln())
    }

    /// What falls in so many further minutes.
    pub(crate) fn pass(&mut self, minutes: f64) -> Vec<Fall> {
        self.minutes += minutes;
        let mut falls = Vec::new();
        while let Some(minute) = self.next.filter(|minute| *minute <= self.minutes) {
            falls.push(Fall { is_seen: self.lot("seen") < SEEN });
            self.falls += 1;
            self.next = self.after(minute);
        }
        falls
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attackers_advance_as_often_and_as_fast_as_was_measured() {
        let fallen = |minutes: f64| {
            let falls = |seed: u64| Advance::new(seed).pass(minutes);
            let all: Vec<Vec<Fall>> = (0..4000).map(falls).collect();
            let share =
                |is: fn(&Vec<Fall>) -> bool| all.iter().filter(|falls| is(falls)).count() as f64 / 4000.0;
            (share(|falls| !falls.is_empty()), all.concat())
        };
        // 0.52 · (1 - exp(-10 / 60)), 0.52 · (1 - exp(-1)) and 0.52
        for (minutes, expected) in [(10.0, 0.08), (60.0, 0.329), (6000.0, 0.52)] {
            let (share, falls) = fallen(minutes);
            assert!((chance_within(minutes) - expected).abs() < 0.001, "{minutes} minutes");
            assert!((share - expected).abs() < 0.025, "{minutes} minutes: {share}");
            let seen = falls.iter().filter(|fall| fall.is_seen).count() as f64 / falls.len() as f64;
            assert!((seen - SEEN).abs() < 0.05, "{minutes} minutes: {seen}");
        }
        // Three of each that advances, as in the breaches: 0.52 / (1 - 0.67)
        let all = fallen(6000.0).1.len() as f64 / 4000.0;
        assert!((all - 1.576).abs() < 0.1, "{all}");
    }

    proptest! {
        #[test]
        fn longer_never_means_fewer_falls_and_pauses_change_nothing(
            seed: u64,
            spans in prop::collection::vec(0.0..200.0, 0..6),
            more in 0.0..1e6,
        ) {
            let (mut parts, mut whole, mut longer) = (Advance::new(seed), Advance::new(seed), Advance::new(seed));
            let in_parts: Vec<Fall> = spans.iter().flat_map(|minutes| parts.pass(*minutes)).collect();
            // Summed in the same order.
            let sum = spans.iter().fold(0.0, |sum, minutes| sum + minutes);
            prop_assert_eq!(&in_parts, &whole.pass(sum));
            prop_assert!(longer.pass(sum + more).starts_with(&in_parts));
        }
    }
}
