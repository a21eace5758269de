//! Responses that look right and are not: what a planner has to tell from the ones that work.

use countermove_incident::VerbClass;

use crate::rng::Rng;
use crate::truth::{AccountState, Need, Requirement, Target, Truth};

/// A response that does not bring about the fact for which it seems to be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distractor {
    /// Position of the fact in [`countermove_incident::RecoveryState::NAMES`].
    pub fact: usize,
    /// What is wrong with it.
    pub slip: Slip,
    /// Kind of response.
    pub verb: VerbClass,
    /// What it is applied to; empty if it is vague.
    pub targets: Vec<Target>,
}

/// What is wrong with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slip {
    /// It is applied to something that has nothing to do with the attack.
    WrongTarget,
    /// It does something else to the right targets.
    WrongKind,
    /// It names no target.
    Vague,
    /// It is applied to some of the targets and leaves others out.
    Partial,
    /// It is right, and comes a second time.
    Repeated,
    /// It destroys evidence that is not kept yet. Wrong before the evidence is kept, and right afterwards.
    TooEarly,
    /// It would do, and breaks a constraint.
    Forbidden,
}

/// Distractors for every fact that does not hold from the start, drawn with this seed. None for a scenario that is no
/// incident.
pub fn distractors(truth: &Truth, seed: u64) -> Vec<Distractor> {
    let mut rng = Rng::new(seed);
    let mut found = Vec::new();
    for (fact, requirement) in truth.requirements.iter().enumerate() {
        let usual = requirement.ways.iter().find(|way| !way.fallback);
        let Some(need) = usual.and_then(|way| way.needs.first()) else { continue };
        let mut add = |slip, verb, targets| found.push(Distractor { fact, slip, verb, targets });
        if let Some(target) = wrong_target(truth, requirement, need, &mut rng) {
            add(Slip::WrongTarget, need.verb, vec![target]);
        }
        if let Some(verb) = wrong_kind(requirement, need, &mut rng) {
            add(Slip::WrongKind, verb, need.targets.clone());
        }
        add(Slip::Vague, need.verb, Vec::new());
        if let Some(targets) = part(requirement, need, &mut rng) {
            add(Slip::Partial, need.verb, targets);
        }
        add(Slip::Repeated, need.verb, need.targets.clone());
        if need.verb == VerbClass::Eradicate {
            add(Slip::TooEarly, need.verb, need.targets.clone());
        }
        if need.verb == VerbClass::Contain {
            let kept: Vec<&String> =
                truth.compromised.iter().filter(|host| truth.is_protected(host)).collect();
            if let Some(host) = rng.pick(&kept) {
                add(Slip::Forbidden, need.verb, vec![Target::Host((*host).clone())]);
            }
        }
    }
    found
}

/// A host or an account of the system that no way asks for.
fn wrong_target(truth: &Truth, requirement: &Requirement, need: &Need, rng: &mut Rng) -> Option<Target> {
    let asked = |target: &Target| needs_of(requirement, need.verb).any(|own| own.targets.contains(target));
    let hosts = truth.hosts.iter().filter(|host| !truth.compromised.contains(&host.address));
    let hosts = hosts
        .filter(|host| !truth.attackers.contains(&host.address))
        .map(|host| Target::Host(host.address.clone()));
    let clean = truth.accounts.iter().filter(|account| account.state == AccountState::Clean);
    let clean = clean.map(|account| Target::Account(account.name.clone()));
    let has_accounts = need.targets.iter().any(|target| matches!(target, Target::Account(_)));
    let mut candidates: Vec<Target> = hosts.collect();
    candidates.extend(clean.filter(|_| has_accounts));
    candidates.retain(|target| !asked(target));
    rng.pick(&candidates).cloned()
}

/// Another kind of response that the fact does not ask for.
fn wrong_kind(requirement: &Requirement, need: &Need, rng: &mut Rng) -> Option<VerbClass> {
    const KINDS: [VerbClass; 6] = [
        VerbClass::Contain,
        VerbClass::Preserve,
        VerbClass::Analyse,
        VerbClass::Eradicate,
        VerbClass::Harden,
        VerbClass::Restore,
    ];
    let others: Vec<VerbClass> = KINDS
        .into_iter()
        .filter(|kind| *kind != need.verb && needs_of(requirement, *kind).next().is_none())
        .collect();
    rng.pick(&others).copied()
}

/// Some of the targets, if they are several and no way is content with them.
fn part(requirement: &Requirement, need: &Need, rng: &mut Rng) -> Option<Vec<Target>> {
    let left_out = rng.below(need.targets.len());
    let mut rest = need.targets.clone();
    rest.remove(left_out);
    let enough = requirement.ways.iter().any(|way| {
        way.needs
            .iter()
            .all(|own| own.verb == need.verb && own.targets.iter().all(|target| rest.contains(target)))
    });
    (!rest.is_empty() && !enough).then_some(rest)
}

fn needs_of(requirement: &Requirement, verb: VerbClass) -> impl Iterator<Item = &Need> {
    requirement.ways.iter().flat_map(|way| &way.needs).filter(move |need| need.verb == verb)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Generator, GeneratorOptions, Vocabulary};

    /// Whether the response alone covers one of the ways.
    fn covers(requirement: &Requirement, wrong: &Distractor) -> bool {
        requirement.ways.iter().any(|way| {
            way.needs.iter().all(|need| {
                need.verb == wrong.verb && need.targets.iter().all(|target| wrong.targets.contains(target))
            })
        })
    }

    #[test]
    fn none_brings_about_its_fact() {
        let vocabulary = Vocabulary::builtin();
        let generator = Generator::new(&vocabulary, GeneratorOptions::default()).unwrap();
        let mut slips = BTreeSet::new();
        for seed in 0..800 {
            let truth = generator.scenario(seed).truth;
            let found = distractors(&truth, seed);
            assert_eq!(found.is_empty(), !truth.incident);
            assert_eq!(found, distractors(&truth, seed));
            for wrong in &found {
                slips.insert(wrong.slip);
                let requirement = &truth.requirements[wrong.fact];
                match wrong.slip {
                    Slip::WrongTarget | Slip::WrongKind | Slip::Vague | Slip::Partial => {
                        assert!(!covers(requirement, wrong), "seed {seed}: {wrong:?}");
                    }
                    Slip::Forbidden => {
                        let hits = |target: &Target| matches!(target, Target::Host(host) if truth.is_protected(host));
                        assert!(wrong.targets.iter().any(hits), "seed {seed}: {wrong:?}");
                    }
                    Slip::Repeated | Slip::TooEarly => {
                        assert!(needs_of(requirement, wrong.verb).any(|need| need.targets == wrong.targets));
                    }
                }
            }
        }
        assert_eq!(slips.len(), 7, "{slips:?}");
    }
}
