//! Attacks that have nothing in common, told apart: two attackers who know nothing of each other are two attacks, and whoever has only
//! looked, or reached nobody, is none beside them.
//!
//! Groups belong together that have an attacker in common, an account of which the attacker has the password, or within a day a host
//! that the attack got into, or tried. What got in and tells of no attacker belongs to the attack that it is nearest to in time: a log
//! seldom holds each step of one.
//!
//! Invariant: every attack has an attacker and a target of its own; where that leaves one or none, there is one attack.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{Tactic, Timestamp};
use serde::{Deserialize, Serialize};

use crate::evidence::conclusion::{Shown, only_looks};
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;

/// One of several attacks that have nothing in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    /// Who attacks.
    pub attackers: Vec<String>,
    /// Hosts of the system that it has reached.
    pub targets: Vec<String>,
    /// Tactics of it that are named, in the order of ATT&CK.
    pub tactics: Vec<Tactic>,
    /// Numbers of its groups in the digest.
    pub groups: Vec<u32>,
}

/// Seconds after which a host that was attacked again may have been attacked by somebody else.
const WITHIN: u64 = 24 * 60 * 60;

/// The attacks by their first group; none unless there are several. `named` are the tactics that are.
pub(crate) fn attacks(scene: &Scene, roles: &Roles, named: &[Tactic], shown: &[Shown<'_>]) -> Vec<Attack> {
    let together = together(scene, roles, shown);
    let mut sets: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..shown.len() {
        sets.entry(together.of(at)).or_default().push(at);
    }
    let targets = |set: &[usize]| -> Vec<String> {
        let acting = set.iter().filter_map(|at| shown.get(*at)).filter(|shown| !only_looks(shown));
        let touched: BTreeSet<&String> = acting.flat_map(|shown| shown.touched()).collect();
        roles.targets.iter().filter(|host| touched.contains(host)).cloned().collect()
    };
    let attackers = |set: &[usize]| -> Vec<String> {
        let own: BTreeSet<&String> =
            set.iter().filter_map(|at| shown.get(*at)).flat_map(|shown| attackers(roles, shown)).collect();
        roles.attackers.iter().filter(|name| own.contains(name)).cloned().collect()
    };
    let (mut whole, rest): (Vec<_>, Vec<_>) =
        sets.into_values().filter(|set| !targets(set).is_empty()).partition(|set| !attackers(set).is_empty());
    if whole.len() < 2 {
        return Vec::new();
    }
    for set in rest {
        let begins = first(shown, &set);
        let nearest = whole.iter_mut().min_by_key(|other| {
            let apart = begins.zip(first(shown, other)).map(|(own, other)| own.apart(other));
            apart.unwrap_or(u64::MAX)
        });
        nearest.into_iter().for_each(|nearest| nearest.extend(&set));
    }
    let told = whole.iter().map(|set| {
        let groups: Vec<&Shown<'_>> = set.iter().filter_map(|at| shown.get(*at)).collect();
        let tactics: BTreeSet<Tactic> = groups.iter().flat_map(|shown| &shown.tactics).copied().collect();
        let mut numbers: Vec<u32> = groups.iter().map(|shown| shown.group.number).collect();
        numbers.sort_unstable();
        Attack {
            attackers: attackers(set),
            targets: targets(set),
            tactics: tactics.into_iter().filter(|tactic| named.contains(tactic)).collect(),
            groups: numbers,
        }
    });
    let mut told: Vec<Attack> = told.collect();
    told.sort_by(|a, b| a.groups.cmp(&b.groups));
    told
}

/// Attackers that a group tells of.
fn attackers<'a>(roles: &'a Roles, shown: &'a Shown<'_>) -> impl Iterator<Item = &'a String> {
    let parts = &shown.group.parts;
    parts.outside.iter().chain(&parts.from_inside).filter(|name| roles.attackers.contains(name))
}

/// When the first record of groups came.
fn first(shown: &[Shown<'_>], set: &[usize]) -> Option<Timestamp> {
    set.iter().filter_map(|at| shown.get(*at)?.group.first).min()
}

/// Which groups belong together.
fn together(scene: &Scene, roles: &Roles, shown: &[Shown<'_>]) -> Sets {
    let mut sets = Sets((0..shown.len()).collect());
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_host: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (at, one) in shown.iter().enumerate() {
        let lines = one.group.records.iter().filter_map(|position| scene.lines.at(*position));
        let accounts = lines.flat_map(|line| &line.accounts);
        let stolen = accounts.filter(|account| roles.stolen_accounts.contains(account));
        let parts = &one.group.parts;
        // Whoever is outside is the same one wherever it shows, be it listed as an attacker or not.
        let inside = parts.from_inside.iter().filter(|name| roles.attackers.contains(name));
        for name in parts.outside.iter().chain(inside).chain(stolen) {
            let before = *by_name.entry(name).or_insert(at);
            sets.join(before, at);
        }
        // Everybody is looked at.
        let to = parts.aimed_at.iter().filter(|_| !only_looks(one));
        for host in parts.from_inside.iter().chain(to) {
            if !scene.hosts.passes_traffic(host) {
                by_host.entry(host).or_default().push(at);
            }
        }
    }
    let span = |at: usize| {
        let group = shown.get(at).and_then(|shown| scene.digest.group(shown.group.number))?;
        Some((group.first?, group.last?))
    };
    for mut same in by_host.into_values() {
        same.sort_by_key(|at| span(*at));
        let (mut before, mut until): (Option<usize>, Option<Timestamp>) = (None, None);
        for at in same {
            let span = span(at);
            // Where nobody knows when it was, it may have been at any time.
            let near = |ended: Timestamp| {
                span.is_none_or(|(first, _)| first <= ended || first.apart(ended) <= WITHIN)
            };
            if let Some(before) = before.filter(|_| until.is_none_or(near)) {
                sets.join(before, at);
            }
            before = Some(at);
            until = until.max(span.map(|(_, last)| last));
        }
    }
    sets
}

/// Sets of numbers that are joined by and by; each number leads to another of its set, the first to itself.
struct Sets(Vec<usize>);

impl Sets {
    /// The first of the set that a number is in.
    fn of(&self, mut number: usize) -> usize {
        while let Some(other) = self.0.get(number).copied().filter(|other| *other != number) {
            number = other;
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        if let Some(place) = self.0.get_mut(one.max(other)) {
            *place = one.min(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn joined_numbers_are_in_one_set_and_others_are_not(joins in prop::collection::vec((0_usize..12, 0_usize..12), 0..20)) {
            let mut sets = Sets((0..12).collect());
            // By hand: whoever is in the one's set goes into the other's.
            let mut names: Vec<usize> = (0..12).collect();
            for (one, other) in joins {
                sets.join(one, other);
                let (old, new) = (names[one], names[other]);
                names.iter_mut().filter(|name| **name == old).for_each(|name| *name = new);
            }
            for one in 0..12 {
                for other in 0..12 {
                    prop_assert_eq!(sets.of(one) == sets.of(other), names[one] == names[other]);
                }
            }
        }
    }
}
