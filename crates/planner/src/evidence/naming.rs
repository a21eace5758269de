//! Who attacks and which hosts the attack has reached: what the groups that show it say together.
//!
//! Invariants: a host that only passes traffic on, looks at it or is asked by others has no part because of that; a name inside a
//! record's text has none at all, nor has one that only lines give which no format understood, as long as others tell of anybody.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::Tactic;

use crate::evidence::accounts::name_accounts;
use crate::evidence::against::{Against, Listed};
use crate::evidence::conclusion::{Shown, Verdict};
use crate::evidence::groups::{GroupView, SERIOUS};
use crate::evidence::parts::{Parts, without_orders};
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;
use crate::evidence::suspects::{entered, suspects};

/// Most hosts that are listed as attacked.
const MAX_TARGETS: usize = 8;
/// Most attackers that are listed, and most own hosts among them.
const MAX_ATTACKERS: usize = 8;

/// A host is no target if it is so much less likely compromised than the likeliest.
const MUCH_LESS: f32 = 0.5;

/// How many names did not fit the lists of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) attackers: usize,
    pub(crate) targets: usize,
}

/// Names the attackers, the attacked hosts and the accounts.
pub(crate) fn name_roles<'a>(
    roles: &mut Roles,
    scene: &'a Scene,
    shown: &[Shown<'a>],
    rest: impl Iterator<Item = (&'a GroupView, &'a Verdict)> + Clone,
) -> LeftOut {
    let all = shown;
    let shown: &[Shown<'a>] =
        &all.iter().filter(|shown| shown.group.is_understood()).cloned().collect::<Vec<_>>();
    let rest = rest.filter(|(group, _)| group.is_understood());
    let mut attackers = Against::default();
    for shown in shown {
        let group = shown.group;
        let reached = shown.reached().count();
        for name in &group.parts.outside {
            attackers.add(name, group, reached, group.parts.proven.contains(name));
        }
    }
    let outsiders = !attackers.is_empty();
    let mut attackers = Listed::first(attackers.ordered(), MAX_ATTACKERS);
    let mut insiders = if outsiders { Listed::default() } else { insiders(scene, shown) };
    // A host that has to stay up is not shut out. Then whoever tried the system from outside has to be, if anybody did.
    let stays = |host: &String| scene.kept.contains(host);
    if insiders.names.iter().any(stays) {
        insiders.names.retain(|host| !stays(host));
        attackers = Listed::first(intruders(scene).ordered(), MAX_ATTACKERS);
    }
    let passing = Passing::of(scene, shown);
    roles.compromised = suspects(shown, rest.clone());
    roles.compromised.retain(|host, _| !passing.contains(host));
    let targets = targets(scene, [shown, all], &insiders.names, &roles.compromised);
    roles.attackers = attackers.names;
    roles.attackers.extend(insiders.names);
    roles.targets = targets.names;
    let moves = |host: &String| {
        let from = |shown: &Shown<'_>| {
            let parts = &shown.group.parts;
            parts.outside.is_empty() && parts.from_inside.contains(host)
        };
        shown.iter().any(|shown| shown.tactics.contains(&Tactic::LateralMovement) && from(shown))
    };
    roles.footholds = roles.to_clean().into_iter().filter(moves).collect();
    name_accounts(roles, scene, [shown, all], rest);
    roles.contacts = scene.contacts.of(&roles.to_clean(), &roles.attackers);
    for (host, chance) in entered(scene, &roles.held) {
        if !passing.contains(host) {
            let known = roles.compromised.entry(host.clone()).or_default();
            *known = known.max(chance);
        }
    }
    LeftOut { attackers: attackers.left_out + insiders.left_out, targets: targets.left_out }
}

impl Shown<'_> {
    /// Whether a host that the tactics are used against has fallen to one of them, or has before.
    pub(crate) fn gets_in(&self) -> bool {
        self.tactics.iter().any(|tactic| {
            !matches!(
                tactic,
                Tactic::Reconnaissance
                    | Tactic::ResourceDevelopment
                    | Tactic::CredentialAccess
                    | Tactic::Discovery
            )
        })
    }

    /// Hosts of the system that the group shows to have fallen.
    pub(crate) fn reached(&self) -> impl Iterator<Item = &String> {
        let GroupView { parts, is_alert, is_log, logs_in, .. } = self.group;
        // Guessed passwords that the sensor calls grave have mostly led somewhere.
        let is_grave = self.group.severity == Some(1) && self.tactics.contains(&Tactic::CredentialAccess);
        // So has a login that worked, if it is part of the attack.
        let works = *logs_in && self.tactics.contains(&Tactic::CredentialAccess);
        let gets_in = self.gets_in() || *is_alert && is_grave || works;
        // A host that turns on others has fallen, whatever it tries.
        let turns = parts.outside.is_empty() && *is_alert;
        let from = parts.from_inside.iter().filter(move |_| turns || gets_in);
        let to = parts.aimed_at.iter().filter(move |_| (*is_alert || *is_log) && gets_in);
        from.chain(to)
    }

    /// Hosts of the system that the attack has to do with.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &String> {
        self.group.parts.from_inside.iter().chain(&self.group.parts.aimed_at)
    }
}

/// Attacked hosts: those that the attack got into, without those of which that is much less likely than of another one; if there
/// are none, those that it tried. `all` has what nobody understood as well.
fn targets(
    scene: &Scene,
    [shown, all]: [&[Shown<'_>]; 2],
    insiders: &[String],
    compromised: &BTreeMap<String, f32>,
) -> Listed {
    let (mut reached, mut touched) = (Against::default(), Against::default());
    for shown in shown {
        shown.reached().for_each(|host| reached.add(host, shown.group, 0, true));
        shown.touched().for_each(|host| touched.add(host, shown.group, 0, true));
    }
    if touched.is_empty() {
        // Nothing tells who was attacked but lines that nobody understood: who wrote them, and their words.
        for shown in all {
            shown.touched().for_each(|host| touched.add(host, shown.group, 0, true));
        }
    }
    if touched.is_empty() {
        for Shown { group, .. } in all {
            let lines = group.records.iter().filter_map(|position| scene.lines.at(*position));
            for line in lines.filter(|line| !line.text.is_empty()) {
                let named = scene.hosts.named_in(without_orders(&line.text));
                named.iter().for_each(|host| touched.add(host, group, 0, true));
            }
        }
    }
    let passing = Passing::of(scene, shown);
    let choose = |names: Against| -> Vec<String> {
        let names = names.ordered().into_iter().filter(|host| !insiders.contains(host));
        let (others, mut passed): (Vec<String>, Vec<String>) =
            names.partition(|host| !passing.contains(host));
        if others.is_empty() {
            // Nobody stands behind it as far as can be seen.
            passed.retain(|host| passing.is_alone(host));
            return passed;
        }
        others
    };
    let mut fallen = choose(reached);
    let chance = |host: &String| compromised.get(host).copied().unwrap_or(0.0);
    let likeliest = fallen.iter().map(chance).fold(0.0, f32::max);
    fallen.retain(|host| chance(host) >= MUCH_LESS * likeliest);
    Listed::first(if fallen.is_empty() { choose(touched) } else { fallen }, MAX_TARGETS)
}

/// Hosts whose traffic is that of others.
struct Passing<'a> {
    scene: &'a Scene,
    /// Proxies that alerts name.
    via: BTreeSet<&'a String>,
    /// Hosts that wrote of the attack themselves.
    wrote: BTreeSet<&'a String>,
    /// Hosts that were attacked from outside for certain, as far as the sensor is right, where no other host had to do with it.
    alone: BTreeSet<&'a String>,
}

impl<'a> Passing<'a> {
    fn of(scene: &'a Scene, shown: &[Shown<'a>]) -> Passing<'a> {
        let parts = || shown.iter().map(|shown| &shown.group.parts);
        let all: BTreeSet<&String> = parts().flat_map(Parts::own_hosts).collect();
        let severe = shown.iter().filter(|shown| shown.group.severity == Some(1) && shown.gets_in());
        let aimed_at = severe.filter(|shown| shown.group.parts.from_inside.is_empty());
        let alone = aimed_at.flat_map(|shown| &shown.group.parts.aimed_at).filter(|_| all.len() == 1);
        Passing {
            scene,
            via: parts().flat_map(|parts| &parts.via).collect(),
            wrote: parts().flat_map(|parts| &parts.wrote).collect(),
            alone: alone.collect(),
        }
    }

    fn contains(&self, host: &String) -> bool {
        !self.wrote.contains(host) && (self.via.contains(host) || self.scene.hosts.passes_traffic(host))
    }

    fn is_alone(&self, host: &String) -> bool {
        self.alone.contains(host)
    }
}

/// Hosts of the system that attack and that nobody attacks.
fn insiders(scene: &Scene, shown: &[Shown<'_>]) -> Listed {
    let passing = Passing::of(scene, shown);
    let mut sources = Against::default();
    // A host that only asks for names does nothing to others: something on it asks, and it is a target.
    let acts = |shown: &&Shown<'_>| {
        let parts = &shown.group.parts;
        parts.to_inside.is_empty() || !parts.aimed_at.is_empty()
    };
    for shown in shown.iter().filter(acts) {
        let reached = shown.group.parts.aimed_at.len();
        let own = shown.group.parts.from_inside.iter().filter(|host| !passing.contains(host));
        own.for_each(|host| sources.add(host, shown.group, reached, true));
    }
    let attacked: BTreeSet<&String> = shown.iter().flat_map(|shown| &shown.group.parts.aimed_at).collect();
    let all = sources.ordered();
    let free: Vec<String> = all.iter().filter(|host| !attacked.contains(host)).cloned().collect();
    let names = if free.is_empty() { all.into_iter().take(1).collect() } else { free };
    Listed::first(names, MAX_ATTACKERS)
}

/// Addresses outside that serious alerts show to have tried the system.
fn intruders(scene: &Scene) -> Against {
    let mut tried = Against::default();
    let serious = |group: &&GroupView| {
        group.severity.is_some_and(|severity| severity <= SERIOUS) && !group.parts.to_inside.is_empty()
    };
    for group in scene.groups.iter().filter(serious) {
        for name in &group.parts.outside {
            tried.add(name, group, 0, group.parts.proven.contains(name));
        }
    }
    tried
}
