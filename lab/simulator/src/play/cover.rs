//! Whether a clause really does what a requirement asks for, and what else it does.

use std::collections::BTreeSet;

use countermove_incident::VerbClass;

use crate::action::{Clause, Deed, Subject};
use crate::{ConstraintKind, Target, Truth};

/// Whether the clause is done to the target, and to as much of it as counts.
///
/// A cut from particular hosts (`isolate A from B`) contains its object only if these are all the hosts that the attack
/// connects it with. Stopping a service contains no host.
pub(super) fn covers(truth: &Truth, clause: &Clause, target: &Target) -> bool {
    if clause.deed != Deed::Respond(VerbClass::Contain) {
        return names(truth, clause, target);
    }
    let serves =
        |clause: &Clause| clause.objects.iter().any(|subject| matches!(subject, Subject::Service(_)));
    if matches!(target, Target::Account(_)) {
        return names(truth, clause, target);
    }
    if matches!(target, Target::Host(_)) && serves(clause) {
        return false;
    }
    let (objects, peers) = (keys(&clause.objects), keys(&clause.peers));
    let reversed = Clause { objects: clause.peers.clone(), peers: clause.objects.clone(), ..clause.clone() };
    let complete = |others: &BTreeSet<&str>| {
        let met = counterparts(truth, target);
        !met.is_empty() && met.iter().all(|other| others.contains(other))
    };
    names(truth, clause, target) && (clause.peers.is_empty() || complete(&peers))
        || names(truth, &reversed, target) && complete(&objects)
}

/// Whether the clause is done to the target.
pub(super) fn names(truth: &Truth, clause: &Clause, target: &Target) -> bool {
    let has = |wanted: &Subject| clause.objects.contains(wanted);
    let named = |name: &str| has(&Subject::Host(name.to_owned())) || has(&Subject::Attacker(name.to_owned()));
    match target {
        Target::Host(host) => named(host),
        Target::Attacker(attacker) => named(attacker),
        Target::Account(account) => clause.objects.iter().any(|subject| match subject {
            Subject::Account(name) | Subject::Other(name) => name.eq_ignore_ascii_case(account),
            _ => false,
        }),
        Target::Service { host, service } => {
            let own = services(truth, clause, host);
            let hosts = clause.objects.iter().any(|subject| matches!(subject, Subject::Host(_)));
            let on_one = truth
                .hosts
                .iter()
                .filter(|host| host.services.iter().any(|own| own.name == *service))
                .count()
                == 1;
            let meant = own.contains(&service.as_str());
            if hosts { named(host) && (own.is_empty() || meant) } else { meant && on_one }
        }
    }
}

/// Whether the clause breaks the constraint.
pub(super) fn breaks(truth: &Truth, clause: &Clause, constraint: &ConstraintKind) -> bool {
    let is = |subjects: &[Subject], host: &str| subjects.contains(&Subject::Host(host.to_owned()));
    match constraint {
        ConstraintKind::KeepService { host, service } => {
            let own = services(truth, clause, host);
            let all = own.is_empty() || own.contains(&service.as_str());
            clause.interrupts && is(&clause.objects, host) && clause.peers.is_empty() && all
        }
        ConstraintKind::KeepLink { from, to } => {
            let cuts = |one: &str, other: &str| {
                let others = clause.peers.is_empty() || is(&clause.peers, other);
                is(&clause.objects, one) && others && services(truth, clause, one).is_empty()
            };
            clause.interrupts && (cuts(from, to) || cuts(to, from))
        }
        ConstraintKind::NeverContact { first, second } => {
            let both = [clause.objects.as_slice(), clause.peers.as_slice()].concat();
            clause.deed == Deed::Open && is(&both, first) && is(&both, second)
        }
    }
}

/// Services of the host that the clause names.
fn services<'a>(truth: &'a Truth, clause: &Clause, host: &str) -> Vec<&'a str> {
    let Some(host) = truth.host(host) else { return Vec::new() };
    let named = |name: &&str| clause.objects.contains(&Subject::Service((*name).to_owned()));
    host.services.iter().map(|service| service.name.as_str()).filter(named).collect()
}

fn keys(subjects: &[Subject]) -> BTreeSet<&str> {
    subjects
        .iter()
        .filter_map(|subject| match subject {
            Subject::Host(key) | Subject::Attacker(key) => Some(key.as_str()),
            _ => None,
        })
        .collect()
}

/// Whom the attack connects the target with.
fn counterparts<'a>(truth: &'a Truth, target: &Target) -> BTreeSet<&'a str> {
    let (Target::Host(own)
    | Target::Attacker(own)
    | Target::Service { host: own, .. }
    | Target::Account(own)) = target;
    let ends = truth.path.iter().filter(|step| step.source != step.target).filter_map(|step| {
        if step.source == *own {
            Some(step.target.as_str())
        } else if step.target == *own {
            Some(step.source.as_str())
        } else {
            None
        }
    });
    ends.collect()
}
