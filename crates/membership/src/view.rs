//! The members as a follower sees them. No I/O, no clock of its own.
//!
//! Invariants: what the registry takes out while it is followed is gone at once; what is only missing after the registry
//! was lost from sight stays for a grace, since its worker may not have found back yet. Only time in which the registry is in
//! sight counts for it: while it is gone nobody can find back. A member never falls back to a former incarnation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::{Incarnation, Member};

/// The members.
#[derive(Clone, Debug)]
pub struct View {
    grace: Duration,
    members: BTreeMap<String, Known>,
    /// Since when the registry is out of sight.
    blind: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Known {
    member: Member,
    /// It was missing when the registry was read anew; it goes at this time.
    leaves: Option<Instant>,
}

impl View {
    /// Nobody. What is missing after an outage stays for `grace`.
    pub fn new(grace: Duration) -> Self {
        Self { grace, members: BTreeMap::new(), blind: None }
    }

    /// The members by id.
    pub fn members(&self) -> BTreeMap<String, Member> {
        self.members.iter().map(|(id, known)| (id.clone(), known.member.clone())).collect()
    }

    /// A registration was seen.
    pub fn put(&mut self, id: &str, member: Member) {
        match self.members.get_mut(id) {
            // What was missing when the registry was read anew may be of a registry that has lost its data since, whose
            // numbers were higher. Within one registry nothing that comes after the reading has a lower number.
            Some(known) if known.leaves.is_none() && known.member.incarnation > member.incarnation => {}
            Some(known) => *known = Known { member, leaves: None },
            None => {
                self.members.insert(id.to_owned(), Known { member, leaves: None });
            }
        }
    }

    /// A registration was taken out, or its lease ran out. `at` is the registry's count of that moment: a registration
    /// that was made after it stays.
    pub fn remove(&mut self, id: &str, at: Incarnation) {
        if self.members.get(id).is_some_and(|known| known.member.incarnation <= at) {
            self.members.remove(id);
        }
    }

    /// The registry is out of sight from now on, until it is read anew.
    pub fn lose_sight(&mut self, now: Instant) {
        self.expire(now);
        self.blind.get_or_insert(now);
    }

    /// The registry was read anew, after it was out of sight or its history was lost.
    pub fn rebuild(&mut self, listed: BTreeMap<String, Member>, now: Instant) {
        if let Some(since) = self.blind.take() {
            let blind = now.saturating_duration_since(since);
            for leaves in self.members.values_mut().filter_map(|known| known.leaves.as_mut()) {
                *leaves += blind;
            }
        }
        for (id, known) in &mut self.members {
            if !listed.contains_key(id) {
                known.leaves.get_or_insert(now + self.grace);
            }
        }
        // A registry that lost its data counts from the beginning, so its numbers say nothing about the old ones.
        for (id, member) in listed {
            self.members.insert(id, Known { member, leaves: None });
        }
    }

    /// Drops those whose grace is over, if the registry is in sight. Gives the time at which the next one's is.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        if self.blind.is_some() {
            return None;
        }
        self.members.retain(|_, known| known.leaves.is_none_or(|leaves| leaves > now));
        self.members.values().filter_map(|known| known.leaves).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Registration;

    const GRACE: Duration = Duration::from_secs(20);

    fn member(incarnation: u64) -> Member {
        let registration = Registration {
            url: "http://a:1".into(),
            capacity: 8,
            weights_sha256: String::new(),
            process: incarnation.to_string(),
        };
        Member { registration, incarnation: Incarnation(incarnation) }
    }

    fn ids(view: &View) -> Vec<String> {
        view.members().into_keys().collect()
    }

    #[test]
    fn a_registry_that_lost_its_data_counts_from_the_beginning() {
        let mut view = View::new(GRACE);
        view.put("w", member(5));
        view.rebuild(BTreeMap::new(), Instant::now());
        view.put("w", member(2));
        assert_eq!(view.members()["w"].incarnation, Incarnation(2));
        view.remove("w", Incarnation(3));
        assert!(ids(&view).is_empty());
    }

    #[test]
    fn a_zombie_changes_nothing() {
        let mut view = View::new(GRACE);
        view.put("w", member(5));
        view.put("w", member(3));
        assert_eq!(view.members()["w"].incarnation, Incarnation(5));
        view.remove("w", Incarnation(4));
        assert_eq!(ids(&view), ["w"], "the end of a former one is not the end of this one");
        view.remove("w", Incarnation(9));
        assert!(ids(&view).is_empty());
    }

    #[test]
    fn what_is_missing_after_an_outage_has_time_to_come_back() {
        let (mut view, now) = (View::new(GRACE), Instant::now());
        view.put("back", member(1));
        view.put("gone", member(2));
        view.rebuild(BTreeMap::from([("new".to_owned(), member(1))]), now);
        assert_eq!(ids(&view), ["back", "gone", "new"]);
        view.put("back", member(3));
        // A second outage does not make the grace longer.
        view.rebuild(
            BTreeMap::from([("new".to_owned(), member(1)), ("back".to_owned(), member(3))]),
            now + GRACE / 2,
        );
        assert_eq!(view.expire(now), Some(now + GRACE));
        assert_eq!(view.expire(now + GRACE), None);
        assert_eq!(ids(&view), ["back", "new"]);
    }

    #[test]
    fn nobody_leaves_while_the_registry_is_out_of_sight() {
        let (mut view, now) = (View::new(GRACE), Instant::now());
        view.put("w", member(1));
        view.rebuild(BTreeMap::new(), now);
        let second = Duration::from_secs(1);
        view.lose_sight(now + second);
        assert_eq!(view.expire(now + 10 * GRACE), None);
        assert_eq!(ids(&view), ["w"], "it could not come back");
        view.rebuild(BTreeMap::new(), now + 10 * GRACE);
        assert_eq!(view.expire(now + 10 * GRACE), Some(now + 11 * GRACE - second));
        view.expire(now + 11 * GRACE);
        assert!(ids(&view).is_empty());
    }

    #[test]
    fn a_registry_that_lost_its_data_is_believed() {
        let (mut view, now) = (View::new(GRACE), Instant::now());
        view.put("w", member(1000));
        view.rebuild(BTreeMap::from([("w".to_owned(), member(2))]), now);
        assert_eq!(view.members()["w"].incarnation, Incarnation(2));
    }

    proptest! {
        /// However the news of one registry come, late or twice, in the end the view is what the registry holds.
        #[test]
        fn repeated_news_change_nothing(lives in proptest::collection::vec((0u8..4, any::<bool>()), 1..40)) {
            let mut registry: BTreeMap<String, Member> = BTreeMap::new();
            let (mut view, mut news) = (View::new(GRACE), Vec::new());
            for (count, (id, comes)) in (1..).zip(lives) {
                let id = id.to_string();
                if comes {
                    registry.insert(id.clone(), member(count));
                } else {
                    registry.remove(&id);
                }
                news.push((id, comes, count));
            }
            for round in 0..2 {
                for (id, comes, count) in &news {
                    if *comes {
                        // Whoever is out for good is not brought back by old news in the second round.
                        if round == 0 || registry.get(id).is_some_and(|m| m.incarnation.0 == *count) {
                            view.put(id, member(*count));
                        }
                    } else {
                        view.remove(id, Incarnation(*count));
                    }
                }
            }
            prop_assert_eq!(view.members(), registry);
        }
    }
}
