//! What was done so far, taken apart once: whom each action named, and what it brought about.

use std::collections::BTreeSet;

use countermove_incident::{RecoveryState, VerbClass};

use crate::evidence::findings::Finding;
use crate::evidence::roles::Roles;
use crate::prompts::coverage::{KINDS, named};
use crate::words::told_in_history;

/// For each kind of response that an action names, whom it does that to.
pub(crate) type Objects = Vec<(VerbClass, BTreeSet<String>)>;

/// An action that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) objects: Objects,
    /// The state in which it was taken.
    pub(crate) before: RecoveryState,
    /// The one that followed.
    pub(crate) after: RecoveryState,
    /// Hosts and accounts that were seen to fall meanwhile. Of what has really happened the roles tell already.
    pub(crate) fallen: Vec<String>,
    /// What it showed of whom. What was really found the roles have learnt already.
    pub(crate) found: Vec<Finding>,
}

impl Deed {
    /// One of which nothing more is known.
    pub(crate) fn new(objects: Objects, before: RecoveryState, after: RecoveryState) -> Deed {
        Deed { objects, before, after, fallen: Vec::new(), found: Vec::new() }
    }

    /// Facts that it may have brought about.
    pub(crate) fn open(&self) -> RecoveryState {
        open_facts(self.before, &self.objects)
    }

    /// Whether it cuts off this host or account, or closes the way into it.
    pub(crate) fn protects(&self, name: &str) -> bool {
        let mut objects = self.objects.iter();
        objects.any(|(kind, names)| {
            matches!(kind, VerbClass::Contain | VerbClass::Harden) && names.contains(name)
        })
    }
}

/// Facts that an action may bring about in this state, judged by its verbs: restoring a service never preserves
/// evidence. Whether it does bring them about is for the model to say. An action without a known verb brings nothing about.
pub(crate) fn open_facts(before: RecoveryState, objects: &Objects) -> RecoveryState {
    let mut bits = before.bits().map(|holds| !holds);
    for (open, kind) in bits.iter_mut().zip(KINDS) {
        *open &= objects.iter().any(|(own, _)| *own == kind);
    }
    RecoveryState::from_bits(bits)
}

/// Of the facts that hold, those that what may come about rests on: nothing is cleaned or restored for good while the attack goes on, and
/// what is restored before the attacker's things are gone brings them back. The rest is the same work whatever was done before it.
pub(crate) fn rests_on(open: RecoveryState, before: RecoveryState) -> RecoveryState {
    let is_for_good = open.is_eradicated || open.is_recovered;
    RecoveryState {
        is_attack_contained: before.is_attack_contained && is_for_good,
        is_eradicated: before.is_eradicated && open.is_recovered,
        ..RecoveryState::default()
    }
}

/// The actions of a history that ended in `state`. What no line of it brought about and holds now, held from the start.
pub(crate) fn past(roles: &Roles, history: &[String], state: RecoveryState) -> Vec<Deed> {
    let mut after = state;
    let mut deeds: Vec<Deed> = history
        .iter()
        .rev()
        .map(|line| {
            let (action, gained) = told_in_history(line);
            let mut before = after.bits();
            for (holds, label) in before.iter_mut().zip(RecoveryState::LABELS) {
                *holds &= !gained.contains(label);
            }
            let before = RecoveryState::from_bits(before);
            let deed = Deed::new(objects(action, roles), before, after);
            after = before;
            deed
        })
        .collect();
    deeds.reverse();
    deeds
}

/// What an action does to what: for each kind of response the hosts, attackers and accounts that it names, by the
/// names that the roles know. An object belongs to the verb in front of it.
pub(crate) fn objects(action: &str, roles: &Roles) -> Objects {
    let kinds = VerbClass::of(action);
    let verbs: Vec<(usize, VerbClass)> = VerbClass::uses(action)
        .into_iter()
        .filter(|verb| kinds.contains(&verb.class))
        .map(|verb| (verb.place.start, verb.class))
        .collect();
    let mut found: Objects = kinds.iter().map(|kind| (*kind, BTreeSet::new())).collect();
    for (place, name) in named(action, roles) {
        let verb = verbs.iter().rev().find(|(start, _)| *start < place).or(verbs.first());
        if let Some((_, kind)) = verb
            && let Some((_, names)) = found.iter_mut().find(|(own, _)| own == kind)
        {
            names.insert(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_before_each_action_is_told_by_what_it_gained() {
        let lines = [
            "Search the logs of 10.0.0.5 (it changed nothing)",
            "Isolate 10.0.0.5 from the network (then: attack contained)",
            "Search the logs of 10.0.0.5 (then: knowledge sufficient)",
        ];
        let history = lines.map(str::to_owned);
        let now = RecoveryState {
            is_attack_contained: true,
            is_knowledge_sufficient: true,
            ..RecoveryState::default()
        };
        let deeds = past(&Roles::default(), &history, now);
        let held: Vec<usize> = deeds.iter().map(|deed| deed.before.achieved()).collect();
        assert_eq!((held, deeds[2].after), (vec![0, 0, 1], now));
        assert_eq!(
            deeds[0].open(),
            RecoveryState { is_knowledge_sufficient: true, ..RecoveryState::default() }
        );
        assert_eq!(deeds[2].objects, [(VerbClass::Analyse, ["10.0.0.5".to_owned()].into())]);
        let kept = RecoveryState { are_forensics_preserved: true, ..now };
        assert!(past(&Roles::default(), &history, kept)[0].before.are_forensics_preserved, "from the start");
    }
}
