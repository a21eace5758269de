//! What brings about each fact of recovery, given what the attacker did.
//!
//! - *Contained*: every address and name of the attacker is blocked, every host that attacked others is cut off (unless
//!   it must stay up: then the block has to do) and every stolen account is locked or its password changed. Or every
//!   compromised host is cut off, if none of them must stay up.
//! - *Known*: every compromised host is analysed; or the first of them and the host that collects all logs.
//! - *Preserved*: evidence is kept of every compromised host. Once some of it is destroyed, what is left is the
//!   gateway's, and with it that of the host that collects all logs.
//! - *Eradicated*: every compromised host is cleaned, and the accounts that the attacker made are gone.
//! - *Hardened*: the service through which each host fell is closed to this attack, and stolen passwords are changed.
//! - *Recovered*: every compromised host is back in service.

use countermove_incident::VerbClass;

use crate::topology::Offer;
use crate::truth::{AccountState, Need, Requirement, Role, Target, Truth, Way};

/// A host that fell, by its address, and the service through which it did, if that is known.
pub(crate) type Fallen<'a> = (&'a str, Option<&'static Offer>);

/// Requirements of the six facts. `truth` has everything but them; `pivots` are hosts that attacked others, and
/// `attackers` what of the attacker the evidence shows or will show.
pub(crate) fn requirements(
    truth: &Truth,
    fallen: &[Fallen<'_>],
    pivots: &[String],
    attackers: &[String],
) -> [Requirement; 6] {
    let hosts: Vec<Target> = truth.compromised.iter().cloned().map(Target::Host).collect();
    let stolen = accounts(truth, AccountState::Stolen);
    let planted = accounts(truth, AccountState::Planted);
    let mut eradicate = hosts.clone();
    eradicate.extend(planted);
    let mut harden: Vec<Target> = fallen.iter().map(|(host, offer)| way_in(host, *offer)).collect();
    harden.extend(stolen.iter().cloned());
    [
        Requirement { ways: contain(truth, &hosts, &stolen, pivots, attackers) },
        Requirement { ways: know(truth, &hosts) },
        Requirement { ways: preserve(truth, &hosts) },
        one_way(VerbClass::Eradicate, eradicate),
        one_way(VerbClass::Harden, harden),
        one_way(VerbClass::Restore, hosts),
    ]
}

fn contain(
    truth: &Truth,
    hosts: &[Target],
    stolen: &[Target],
    pivots: &[String],
    attackers: &[String],
) -> Vec<Way> {
    let mut blocked: Vec<Target> = attackers
        .iter()
        .map(|name| match truth.host(name) {
            Some(host) => Target::Host(host.address.clone()),
            None => Target::Attacker(name.clone()),
        })
        .collect();
    for pivot in pivots.iter().filter(|pivot| !truth.is_protected(pivot)) {
        let pivot = Target::Host(pivot.clone());
        if !blocked.contains(&pivot) {
            blocked.push(pivot);
        }
    }
    let mut ways = Vec::new();
    if !attackers.is_empty() {
        let mut locked = blocked.clone();
        locked.extend(stolen.iter().cloned());
        ways.push(way(vec![need(VerbClass::Contain, locked)]));
        if !stolen.is_empty() {
            ways.push(way(vec![need(VerbClass::Contain, blocked), need(VerbClass::Harden, stolen.to_vec())]));
        }
    }
    if !truth.compromised.iter().any(|host| truth.is_protected(host)) {
        ways.push(way(vec![need(VerbClass::Contain, hosts.to_vec())]));
    }
    ways
}

fn know(truth: &Truth, hosts: &[Target]) -> Vec<Way> {
    let mut ways = vec![way(vec![need(VerbClass::Analyse, hosts.to_vec())])];
    if let (Some(logs), [first, _, ..]) = (log_host(truth), hosts) {
        ways.push(way(vec![need(VerbClass::Analyse, vec![logs, first.clone()])]));
    }
    ways
}

fn preserve(truth: &Truth, hosts: &[Target]) -> Vec<Way> {
    let gateway = truth.hosts.iter().find(|host| host.role == Role::Gateway);
    let mut left: Vec<Target> = gateway.map(|host| Target::Host(host.address.clone())).into_iter().collect();
    left.extend(log_host(truth).filter(|logs| !hosts.contains(logs)));
    let mut ways = vec![way(vec![need(VerbClass::Preserve, hosts.to_vec())])];
    if !left.is_empty() {
        let needs = vec![need(VerbClass::Preserve, left.clone()), need(VerbClass::Analyse, left)];
        ways.push(Way { needs, fallback: true });
    }
    ways
}

/// The host that collects logs, unless the attacker holds it.
fn log_host(truth: &Truth) -> Option<Target> {
    let free = |address: &String| !truth.compromised.contains(address);
    let host = truth.hosts.iter().find(|host| host.role == Role::LogHost && free(&host.address))?;
    Some(Target::Host(host.address.clone()))
}

fn way_in(host: &str, offer: Option<&'static Offer>) -> Target {
    match offer {
        Some(offer) => Target::Service { host: host.to_owned(), service: offer.name.to_owned() },
        None => Target::Host(host.to_owned()),
    }
}

fn accounts(truth: &Truth, state: AccountState) -> Vec<Target> {
    let found = truth.accounts.iter().filter(|account| account.state == state);
    found.map(|account| Target::Account(account.name.clone())).collect()
}

fn one_way(verb: VerbClass, targets: Vec<Target>) -> Requirement {
    Requirement { ways: vec![way(vec![need(verb, targets)])] }
}

fn way(needs: Vec<Need>) -> Way {
    Way { needs, fallback: false }
}

fn need(verb: VerbClass, targets: Vec<Target>) -> Need {
    Need { verb, targets }
}
