//! What a response has to reach, what it has reached, and what is left: exact as far as the roles are right.
//!
//! An attack is contained once everything that the attacker uses is cut off, or all attacked hosts are; evidence has to
//! be kept of every attacked host before it is cleaned; and so on. Counting hosts is no work for a language model, so
//! the prompts say what is left, and the menu offers it.
//!
//! Invariant: nothing here knows what is true of an incident; it follows from the roles and the actions alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{Entities, EntityKind, RecoveryState, VerbClass};

use crate::evidence::roles::Roles;
use crate::words::listed;
use crate::words::{has_word, told_in_history};

/// The kind of response that brings about each fact, in the order of [`RecoveryState::NAMES`].
pub(crate) const KINDS: [VerbClass; 6] = [
    VerbClass::Contain,
    VerbClass::Analyse,
    VerbClass::Preserve,
    VerbClass::Eradicate,
    VerbClass::Harden,
    VerbClass::Restore,
];

/// What actions have reached so far.
#[derive(Clone, Debug)]
pub(crate) struct Coverage<'a> {
    roles: &'a Roles,
    /// Hosts that the response has to reach.
    hosts: Vec<String>,
    reached: BTreeMap<VerbClass, BTreeSet<String>>,
    /// Attacked hosts that were cleaned before their evidence was kept.
    destroyed: BTreeSet<String>,
}

/// The roles as they have to be after what came of earlier actions, and which hosts they count as attacked now. Where all was done
/// that a fact asks for and the fact does not hold, somebody is missing among the attacked hosts: of those that the attack
/// has to do with the likeliest join them, until there is something to do.
pub(crate) fn widened<'a>(
    roles: &'a Roles,
    history: &[String],
    state: RecoveryState,
) -> (Cow<'a, Roles>, Vec<String>) {
    let (mut roles, mut joined) = (Cow::Borrowed(roles), Vec::new());
    while Coverage::after(&roles, history, state).is_exhausted(state) {
        let known = roles.to_clean();
        let rest = || roles.suspects().filter(|(host, _)| !known.contains(host));
        let likeliest = rest().map(|(_, chance)| *chance).fold(0.0, f32::max);
        let next: Vec<String> = rest()
            .filter(|(_, chance)| **chance >= ABOUT * likeliest)
            .map(|(host, _)| host.clone())
            .collect();
        if next.is_empty() {
            break;
        }
        roles.to_mut().targets.extend(next.iter().cloned());
        joined.extend(next);
    }
    (roles, joined)
}

/// Hosts are about as likely compromised as another one from this share of its chance on.
const ABOUT: f32 = 0.5;

/// What is left for one kind of response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) attackers: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) accounts: Vec<String>,
    /// Hosts of which there is no evidence left to keep.
    pub(crate) destroyed: usize,
}

impl<'a> Coverage<'a> {
    /// What the actions of a history have reached. `state` is the one in which the history ended.
    pub(crate) fn after(roles: &'a Roles, history: &[String], state: RecoveryState) -> Coverage<'a> {
        let mut coverage =
            Coverage { roles, hosts: roles.to_clean(), reached: BTreeMap::new(), destroyed: BTreeSet::new() };
        let [contained_label, _, preserved_label, ..] = RecoveryState::LABELS;
        let lines: Vec<(&str, &str)> = history.iter().map(|line| told_in_history(line)).collect();
        let gained = |label: &str| lines.iter().position(|(_, gained)| gained.contains(label));
        // What no line of the history brought about and holds now, held from the start.
        let from = |holds: bool, label| gained(label).map_or(if holds { 0 } else { usize::MAX }, |at| at + 1);
        let contained = from(state.is_attack_contained, contained_label);
        let preserved = from(state.are_forensics_preserved, preserved_label);
        for (at, (action, _)) in lines.iter().enumerate() {
            coverage.take(action, at >= contained, at >= preserved);
        }
        coverage
    }

    /// Adds an action. While the attack is not `contained`, what is cleaned or restored does not stay so; until evidence
    /// is `preserved`, cleaning destroys it.
    fn take(&mut self, action: &str, contained: bool, preserved: bool) {
        for (kind, names) in self.objects(action) {
            if kind == VerbClass::Eradicate && !preserved {
                let kept = self.reached.get(&VerbClass::Preserve);
                let lost = names.iter().filter(|name| self.hosts.contains(name));
                let lost = lost.filter(|name| !kept.is_some_and(|kept| kept.contains(*name)));
                self.destroyed.extend(lost.cloned());
            }
            let lasts = contained || !matches!(kind, VerbClass::Eradicate | VerbClass::Restore);
            if lasts {
                self.reached.entry(kind).or_default().extend(names);
            }
        }
    }

    /// What an action does to what: for each kind of response the hosts, attackers and accounts that it names, by the
    /// names that the roles know. An object belongs to the verb in front of it.
    fn objects(&self, action: &str) -> Vec<(VerbClass, BTreeSet<String>)> {
        let kinds = VerbClass::of(action);
        let verbs: Vec<(usize, VerbClass)> = VerbClass::uses(action)
            .into_iter()
            .filter(|verb| kinds.contains(&verb.class))
            .map(|verb| (verb.place.start, verb.class))
            .collect();
        let mut found: Vec<(VerbClass, BTreeSet<String>)> =
            kinds.iter().map(|kind| (*kind, BTreeSet::new())).collect();
        for (place, name) in named(action, self.roles) {
            let verb = verbs.iter().rev().find(|(start, _)| *start < place).or(verbs.first());
            if let Some((_, kind)) = verb
                && let Some((_, names)) = found.iter_mut().find(|(own, _)| own == kind)
            {
                names.insert(name);
            }
        }
        found
    }

    /// What is left for a kind of response.
    pub(crate) fn left(&self, kind: VerbClass) -> Left {
        let roles = self.roles;
        let reached = |kinds: &[VerbClass], name: &String| {
            kinds.iter().any(|kind| self.reached.get(kind).is_some_and(|names| names.contains(name)))
        };
        let missing = |kinds: &[VerbClass], names: &[String]| -> Vec<String> {
            names.iter().filter(|name| !reached(kinds, name)).cloned().collect()
        };
        match kind {
            VerbClass::Contain => Left {
                attackers: missing(&[kind], &roles.attackers),
                hosts: missing(&[kind], &self.hosts),
                // A new password shuts out whoever has stolen the old one.
                accounts: missing(&[kind, VerbClass::Harden], &roles.stolen_accounts),
                destroyed: 0,
            },
            VerbClass::Preserve => {
                let mut hosts = missing(&[kind], &self.hosts);
                hosts.retain(|host| !self.destroyed.contains(host));
                Left { destroyed: self.destroyed.len(), hosts, ..Left::default() }
            }
            _ => Left {
                hosts: missing(&[kind], &self.hosts),
                accounts: match kind {
                    VerbClass::Eradicate => missing(&[kind], &roles.planted_accounts),
                    VerbClass::Harden => missing(&[kind], &roles.stolen_accounts),
                    _ => Vec::new(),
                },
                ..Left::default()
            },
        }
    }

    /// The ways to contain the attack, with what is left of each: to cut off everything that the attacker uses, or every
    /// attacked host, where none of them has to stay up.
    fn ways_to_contain(&self) -> Vec<Left> {
        let left = self.left(VerbClass::Contain);
        let roles = self.roles;
        let footholds = left
            .hosts
            .iter()
            .filter(|host| roles.footholds.contains(host) && !roles.kept.contains(host))
            .cloned()
            .collect();
        let mut ways = Vec::new();
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| roles.kept.contains(host)) {
            ways.push(Left { hosts: left.hosts.clone(), ..Left::default() });
        }
        if !roles.attackers.is_empty() || ways.is_empty() {
            ways.push(Left { hosts: footholds, ..left });
        }
        ways
    }

    /// Whether all was done that some fact asks for which does not hold.
    fn is_exhausted(&self, state: RecoveryState) -> bool {
        KINDS.into_iter().zip(state.bits()).any(|(kind, holds)| {
            let was_tried = self.reached.get(&kind).is_some_and(|names| !names.is_empty());
            let is_done = || match kind {
                VerbClass::Contain => self.ways_to_contain().iter().any(|way| way.count() == 0),
                kind => self.left(kind).count() == 0,
            };
            !holds && was_tried && is_done()
        })
    }

    /// What is left for a kind of response before and after an action.
    fn left_around(&self, after: &Coverage<'_>, kind: VerbClass) -> (Left, Left) {
        if kind != VerbClass::Contain {
            return (self.left(kind), after.left(kind));
        }
        let ways: Vec<(Left, Left)> =
            self.ways_to_contain().into_iter().zip(after.ways_to_contain()).collect();
        // A way that was gone to its end before and did not do was none: something in the roles is missing.
        let open = ways
            .iter()
            .filter(|(before, _)| before.count() > 0)
            .min_by_key(|(before, after)| (after.count(), before == after));
        open.or(ways.first()).cloned().unwrap_or_default()
    }

    /// What the prompt of the task *state* says of an action beyond its words: whom it names, and what is left to do for
    /// each of the open facts once it is done.
    pub(crate) fn notes(&self, action: &str, state: RecoveryState, open: RecoveryState) -> Vec<String> {
        let mut after = self.clone();
        after.take(action, state.is_attack_contained, state.are_forensics_preserved);
        let mut notes = vec![format!("It names {}.", self.counted(action))];
        for ((kind, label), is_open) in KINDS.into_iter().zip(RecoveryState::LABELS).zip(open.bits()) {
            if !is_open {
                continue;
            }
            let (before, left) = self.left_around(&after, kind);
            let adds = before != left;
            let note = match left.told() {
                None if adds => "nothing is left".to_owned(),
                None => "it adds nothing".to_owned(),
                Some(what) => format!("{what} left"),
            };
            notes.push(format!("{label}: {note}."));
        }
        notes
    }

    /// Whom an action names, counted by their roles.
    fn counted(&self, action: &str) -> String {
        let roles = self.roles;
        let mut counts = [0_usize; 4];
        let mut seen = BTreeSet::new();
        for (_, name) in named(action, roles) {
            let role = match () {
                () if self.hosts.contains(&name) => 0,
                () if roles.attackers.contains(&name) => 1,
                () if roles.stolen_accounts.contains(&name) || roles.planted_accounts.contains(&name) => 2,
                () => 3,
            };
            if seen.insert(name)
                && let Some(count) = counts.get_mut(role)
            {
                *count += 1;
            }
        }
        let nouns =
            [("attacked host", "attacked hosts"), ("attacker", "attackers"), STOLEN, ("other", "others")];
        enumerated(counts.into_iter().zip(nouns)).unwrap_or_else(|| "nothing".to_owned())
    }
}

const STOLEN: (&str, &str) = ("account of the attacker", "accounts of the attacker");

impl Left {
    fn count(&self) -> usize {
        self.attackers.len() + self.hosts.len() + self.accounts.len() + self.destroyed
    }

    /// What is left in words; none if nothing is.
    fn told(&self) -> Option<String> {
        let nouns = [
            (self.hosts.len(), ("attacked host", "attacked hosts")),
            (self.destroyed, ("host without evidence", "hosts without evidence")),
            (self.attackers.len(), ("attacker", "attackers")),
            (self.accounts.len(), ("account", "accounts")),
        ];
        enumerated(nouns)
    }
}

/// `1 attacked host and 2 attackers`; none if all counts are 0.
fn enumerated(counts: impl IntoIterator<Item = (usize, (&'static str, &'static str))>) -> Option<String> {
    let parts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, (one, many))| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    (!parts.is_empty()).then(|| listed(&parts))
}

/// The hosts, attackers and accounts that a text names, each where it does, by the names that the roles know: a host's
/// name stands for its address. What no role knows is given as it is written.
pub(crate) fn named(text: &str, roles: &Roles) -> Vec<(usize, String)> {
    let lower = text.to_lowercase();
    let mut found: Vec<(usize, String)> = Vec::new();
    for (place, entity) in Entities::places(text) {
        let name = match entity.kind {
            EntityKind::Vulnerability | EntityKind::Network => continue,
            _ => roles.names.get(&entity.value.to_lowercase()).cloned().unwrap_or(entity.value),
        };
        found.push((place, name));
    }
    let accounts = roles.stolen_accounts.iter().chain(&roles.planted_accounts);
    let accounts = accounts.map(|name| (name.to_lowercase(), name));
    let hosts = roles.names.iter().map(|(name, address)| (name.clone(), address));
    for (name, own) in accounts.chain(hosts) {
        if has_word(&lower, &name)
            && !found.iter().any(|(_, known)| known == own)
            && let Some(place) = lower.find(&name)
        {
            found.push((place, own.clone()));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Roles {
            attackers: names(&["203.0.113.7", "198.51.100.3"]),
            systems: names(&["10.0.2.13", "10.0.2.14", "10.0.2.15"]),
            targets: names(&["10.0.2.13", "10.0.2.14"]),
            footholds: names(&["10.0.2.13"]),
            stolen_accounts: names(&["shop_rw"]),
            planted_accounts: names(&["svc_helper"]),
            kept: Vec::new(),
            names: [("web_shop".to_owned(), "10.0.2.13".to_owned())].into(),
            compromised: BTreeMap::new(),
        }
    }

    fn open(fact: usize) -> RecoveryState {
        RecoveryState::from_bits(std::array::from_fn(|at| at == fact))
    }

    fn notes(roles: &Roles, history: &[&str], state: RecoveryState, action: &str, fact: usize) -> String {
        let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
        Coverage::after(roles, &history, state).notes(action, state, open(fact)).join(" ")
    }

    #[test]
    fn an_attack_is_contained_by_its_hosts_or_by_all_that_the_attacker_uses() {
        let (roles, none) = (roles(), RecoveryState::default());
        let note = |history: &[&str], action: &str| notes(&roles, history, none, action, 0);
        assert_eq!(
            note(&[], "Isolate web_shop and 10.0.2.14 from the network"),
            "It names 2 attacked hosts. attack contained: nothing is left."
        );
        assert_eq!(
            note(&[], "Isolate web_shop from the network"),
            "It names 1 attacked host. attack contained: 1 attacked host left."
        );
        let earlier = ["Isolate web_shop from the network (it changed nothing)"];
        assert!(note(&earlier, "Isolate 10.0.2.14").ends_with("nothing is left."));
        assert!(note(&earlier, "Isolate 10.0.2.15").contains("It names 1 other."));
        assert!(
            note(&[], "Improve the security")
                .contains("It names nothing. attack contained: 2 attacked hosts left.")
        );
        let all = "Block all traffic from 203.0.113.7 and 198.51.100.3";
        assert!(
            note(&[], all).ends_with("contained: 1 attacked host and 1 account left."),
            "{}",
            note(&[], all)
        );
        let rest = ["Isolate web_shop from the network", "Reset the password of the account shop_rw"];
        assert!(note(&rest, all).ends_with("nothing is left."));
        assert!(note(&rest[1..], all).ends_with("1 attacked host left."));

        let kept = Roles { kept: vec!["10.0.2.13".into(), "10.0.2.14".into()], ..roles.clone() };
        let note = |action: &str| notes(&kept, &[], none, action, 0);
        assert!(note("Isolate web_shop and 10.0.2.14").ends_with("2 attackers and 1 account left."));
        assert!(note(&format!("{all} and disable the account shop_rw")).ends_with("nothing is left."));
    }

    #[test]
    fn what_is_cleaned_too_early_is_said() {
        let roles = roles();
        let wiped = ["Remove malware from 10.0.2.13 (it changed nothing)"];
        let note =
            notes(&roles, &wiped, RecoveryState::default(), "Save the logs of web_shop and 10.0.2.14", 2);
        assert!(note.ends_with("forensics preserved: 1 host without evidence left."), "{note}");
        let contained = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let clean = "Remove malware from 10.0.2.14 and delete the account svc_helper";
        let note = notes(&roles, &wiped, contained, clean, 3);
        assert!(note.ends_with("attacker eradicated: nothing is left."), "contained from the start: {note}");
        let later = ["Remove malware from 10.0.2.13", "Isolate 10.0.2.13 (then: attack contained)"];
        let note = notes(&roles, &later, contained, clean, 3);
        assert!(note.ends_with("1 attacked host left."), "the attacker came back: {note}");
    }

    #[test]
    fn who_was_thought_unlikely_joins_when_what_was_done_was_not_enough() {
        let chances = [("10.0.2.13", 0.9), ("10.0.2.14", 0.8), ("10.0.2.15", 0.3), ("10.0.2.20", 0.1)];
        let compromised = chances.map(|(host, chance)| (host.to_owned(), chance)).into();
        let roles = Roles { compromised, ..roles() };
        let joined = |history: &[&str], state: RecoveryState| {
            let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
            let (widened, joined) = widened(&roles, &history, state);
            assert_eq!(widened.targets[2..], joined);
            joined
        };
        let none = RecoveryState::default();
        let all = "Save the logs of 10.0.2.13 and 10.0.2.14 (it changed nothing)";
        assert_eq!(joined(&[all], none), ["10.0.2.15"]);
        assert!(joined(&[], none).is_empty());
        assert!(joined(&["Save the logs of 10.0.2.13 (it changed nothing)"], none).is_empty(), "one is left");
        let kept = RecoveryState { are_forensics_preserved: true, ..none };
        assert!(joined(&[all], kept).is_empty(), "it was enough");
        let more = "Save the logs of 10.0.2.15 (it changed nothing)";
        assert_eq!(joined(&[all, more], none), ["10.0.2.15", "10.0.2.20"]);
        let last = "Save the logs of 10.0.2.20 (it changed nothing)";
        assert_eq!(joined(&[all, more, last], none).len(), 2, "nobody is left");
    }

    #[test]
    fn what_is_done_already_adds_nothing() {
        let roles = roles();
        let done = ["Patch 10.0.2.13 and 10.0.2.14 and reset the password of the account shop_rw"];
        let note = notes(&roles, &done, RecoveryState::default(), "Patch 10.0.2.13", 4);
        assert!(note.ends_with("system hardened: it adds nothing."), "{note}");
    }
}
