//! Responders that need no model: what a planner has to be better than.
//!
//! - *random* draws a kind of response and a host.
//! - *playbook* goes through the phases of a textbook, each on all that the alerts name, and then once more on all that
//!   the evidence names for the facts that do not hold.
//! - *greedy* takes the worst alert and responds to its ends, then the next one, for the first fact that is missing.
//!
//! Invariant: a policy reads a [`Brief`], and hears the facts that hold and the alerts that come. It has no way to the
//! truth: what it names it has found in the text.

mod sight;

use std::collections::HashSet;

use countermove_incident::{RecoveryState, Tactic, VerbClass};

use crate::World;
use crate::evaluation::{Episode, Move};
use crate::phrasing::listed;
use crate::rng::Rng;
use crate::truth::Scenario;
use sight::Sight;

/// What a responder is given.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a> {
    /// The description of the system, constraints included.
    pub system: &'a str,
    /// The evidence.
    pub log: &'a str,
    /// What responders wrote down beside it.
    pub remarks: &'a str,
}

/// How a policy chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Draws.
    Random,
    /// Goes through the phases.
    Playbook,
    /// Takes the worst alert first.
    Greedy,
}

/// The phases of a textbook, and the place of the fact in [`RecoveryState::NAMES`] that each is for.
const PHASES: [(VerbClass, usize); 6] = [
    (VerbClass::Contain, 0),
    (VerbClass::Preserve, 2),
    (VerbClass::Analyse, 1),
    (VerbClass::Eradicate, 3),
    (VerbClass::Harden, 4),
    (VerbClass::Restore, 5),
];

/// A responder at work on one incident.
#[derive(Debug)]
pub struct Policy {
    kind: PolicyKind,
    sight: Sight,
    rng: Rng,
    /// What was said already; a playbook and a greedy responder say nothing twice while nothing new is seen.
    said: HashSet<String>,
}

impl Policy {
    /// A responder who has read the brief. `seed` decides what is drawn; the other kinds draw nothing.
    pub fn new(kind: PolicyKind, brief: Brief<'_>, seed: u64) -> Policy {
        Policy { kind, sight: Sight::new(brief), rng: Rng::new(seed), said: HashSet::new() }
    }

    /// Whether it takes this for an incident, and the tactics that it sees. A random responder has no opinion. The
    /// others hold that an alert of priority 1 is an incident, and that an alert's tactic is the likeliest of its class.
    pub fn verdict(&self) -> Option<(bool, Vec<Tactic>)> {
        let tactics = || self.sight.tactics();
        (self.kind != PolicyKind::Random).then(|| (self.sight.is_urgent(), tactics()))
    }

    /// What to do next, given the facts that hold. None if it is at its wits' end.
    pub fn next(&mut self, state: RecoveryState) -> Option<String> {
        match self.kind {
            PolicyKind::Random => self.drawn(),
            PolicyKind::Playbook => self.phase(state),
            PolicyKind::Greedy => self.worst(state),
        }
    }

    /// Alerts that came after an action, in any form. What failed before may be worth another try.
    pub fn hear(&mut self, alerts: &str) {
        if !alerts.trim().is_empty() {
            self.sight.add(alerts);
            self.said.clear();
        }
    }

    fn drawn(&mut self) -> Option<String> {
        let (kind, _) = self.rng.one_of(&PHASES);
        let outside = self.sight.outside(false);
        if kind == VerbClass::Contain
            && self.rng.chance(25)
            && let Some(address) = self.rng.pick(&outside)
        {
            return Some(format!("Block all traffic from {address}."));
        }
        let host = self.rng.pick(self.sight.hosts())?.clone();
        Some(sentence(&[on_hosts(kind, &[host])]))
    }

    fn phase(&mut self, state: RecoveryState) -> Option<String> {
        let missing: Vec<(VerbClass, usize)> = missing(state).collect();
        [false, true].into_iter().find_map(|wide| {
            missing.iter().find_map(|&(kind, _)| {
                let hosts = self.sight.inside(wide);
                let text = sentence(&parts(kind, &hosts, &self.sight, wide));
                (!text.is_empty() && self.said.insert(text.clone())).then_some(text)
            })
        })
    }

    fn worst(&mut self, state: RecoveryState) -> Option<String> {
        missing(state).find_map(|(kind, _)| {
            self.sight.ends().into_iter().find_map(|(name, is_inside)| {
                let part = match (kind, is_inside) {
                    (_, true) => on_hosts(kind, &[name]),
                    (VerbClass::Contain, false) => format!("block all traffic from {name}"),
                    (_, false) => return None,
                };
                let text = sentence(&[part]);
                self.said.insert(text.clone()).then_some(text)
            })
        })
    }
}

/// Plays a scenario with a policy, as far as `steps` actions. A benign scenario gets a verdict and no action.
pub fn play(kind: PolicyKind, scenario: &Scenario, seed: u64, steps: usize, mut episode: Episode) -> Episode {
    let mut policy = Policy::new(kind, scenario.brief(), seed);
    let verdict = policy.verdict();
    let acts = verdict.as_ref().is_none_or(|(is_incident, _)| *is_incident);
    if let Some((is_incident, tactics)) = verdict {
        episode.assess(is_incident, tactics, &scenario.truth);
    }
    let mut world = World::new(scenario);
    while acts && episode.moves.len() < steps && !world.state().is_terminal() {
        let before = world.state();
        let Some(action) = policy.next(before) else { break };
        let outcome = world.apply(&action);
        policy.hear(&outcome.rendered(scenario.format));
        episode.moves.push(Move::new(action, before, None, &outcome));
    }
    episode
}

/// Phases whose facts do not hold.
fn missing(state: RecoveryState) -> impl Iterator<Item = (VerbClass, usize)> {
    let bits = state.bits();
    PHASES.into_iter().filter(move |(_, fact)| !bits.get(*fact).copied().unwrap_or(false))
}

/// What a phase does to hosts, and to what else the evidence names.
fn parts(kind: VerbClass, hosts: &[String], sight: &Sight, wide: bool) -> Vec<String> {
    let mut parts = Vec::new();
    if !hosts.is_empty() {
        parts.push(on_hosts(kind, hosts));
    }
    let accounts = sight.accounts();
    let named = match accounts.as_slice() {
        [one] => format!("the account {one}"),
        many => format!("the accounts {}", listed(many)),
    };
    match kind {
        _ if accounts.is_empty() => {}
        VerbClass::Contain => parts.push(format!("disable {named}")),
        VerbClass::Harden => parts.push(format!("reset the password of {named}")),
        VerbClass::Eradicate if wide => parts.push(format!("delete {named}")),
        _ => {}
    }
    if kind == VerbClass::Contain {
        let (addresses, domains): (Vec<String>, Vec<String>) =
            sight.outside(wide).into_iter().partition(|name| name.parse::<std::net::IpAddr>().is_ok());
        if !addresses.is_empty() {
            parts.push(format!("block all traffic from {}", listed(&addresses)));
        }
        if !domains.is_empty() {
            parts.push(format!("sinkhole the domains {}", listed(&domains)));
        }
    }
    parts
}

fn on_hosts(kind: VerbClass, hosts: &[String]) -> String {
    let hosts = listed(hosts);
    match kind {
        VerbClass::Contain => format!("isolate {hosts} from the network"),
        VerbClass::Preserve => format!("capture the memory and the disk of {hosts}"),
        VerbClass::Analyse => format!("search the logs of {hosts} for what the attacker did"),
        VerbClass::Eradicate => format!("remove the malware and the backdoors from {hosts}"),
        VerbClass::Harden => format!("patch {hosts}"),
        VerbClass::Restore => format!("restore the services of {hosts}"),
    }
}

/// `Isolate a, block b and sinkhole c.`
fn sentence(parts: &[String]) -> String {
    let mut text = listed(parts);
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests;
