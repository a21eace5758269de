//! What a response must keep to. Every constraint leaves a way to recover.

use crate::rng::Rng;
use crate::topology::Topology;
use crate::truth::{Constraint, ConstraintKind, Host, Role};

/// None to three constraints. A compromised host may be one that has to stay up if the attacker can be shut out
/// otherwise; a host that the attack comes from never is.
pub(super) fn constraints(
    topology: &Topology,
    compromised: &[String],
    attackers: &[String],
    rng: &mut Rng,
) -> Vec<Constraint> {
    let mut kinds: Vec<ConstraintKind> = Vec::new();
    for _ in 0..rng.one_of(&[0, 0, 1, 1, 2, 3]) {
        let kind = match rng.below(3) {
            0 => keep_service(topology, compromised, attackers, rng),
            1 => keep_link(topology, compromised, attackers, rng),
            _ => never_contact(topology, rng),
        };
        if let Some(kind) = kind.filter(|kind| !kinds.iter().any(|other| clash(kind, other))) {
            kinds.push(kind);
        }
    }
    (1..)
        .zip(kinds)
        .map(|(number, kind)| Constraint { id: format!("C{number}"), text: text(topology, &kind, rng), kind })
        .collect()
}

fn may_be_kept(host: &Host, compromised: &[String], attackers: &[String]) -> bool {
    let outside =
        attackers.iter().any(|name| name.parse::<std::net::IpAddr>().is_ok() && *name != host.address);
    !attackers.contains(&host.address) && (!compromised.contains(&host.address) || outside)
}

fn keep_service(
    topology: &Topology,
    compromised: &[String],
    attackers: &[String],
    rng: &mut Rng,
) -> Option<ConstraintKind> {
    let mut hosts: Vec<&Host> = topology
        .hosts
        .iter()
        .filter(|host| {
            host.criticality >= 3 && !host.services.is_empty() && may_be_kept(host, compromised, attackers)
        })
        .collect();
    if rng.chance(50) {
        let hit: Vec<&Host> =
            hosts.iter().copied().filter(|host| compromised.contains(&host.address)).collect();
        if !hit.is_empty() {
            hosts = hit;
        }
    }
    let host = rng.pick(&hosts)?;
    // What a host is there for stands first among its services.
    let service = host.services.first()?.name.clone();
    Some(ConstraintKind::KeepService { host: host.address.clone(), service })
}

fn keep_link(
    topology: &Topology,
    compromised: &[String],
    attackers: &[String],
    rng: &mut Rng,
) -> Option<ConstraintKind> {
    let kept = |host: &&Host| may_be_kept(host, compromised, attackers);
    let clients: Vec<&Host> =
        topology.hosts.iter().skip(1).filter(|host| host.role == Role::Server).filter(kept).collect();
    let servers: Vec<&Host> = topology
        .hosts
        .iter()
        .skip(1)
        .filter(|host| host.criticality >= 3 && !host.services.is_empty())
        .filter(kept)
        .collect();
    let (from, to) = (rng.pick(&clients)?, rng.pick(&servers)?);
    (from.address != to.address)
        .then(|| ConstraintKind::KeepLink { from: from.address.clone(), to: to.address.clone() })
}

fn never_contact(topology: &Topology, rng: &mut Rng) -> Option<ConstraintKind> {
    let (first, second) = (rng.pick(topology.hosts.get(1..)?)?, rng.pick(topology.hosts.get(1..)?)?);
    (first.zone != second.zone).then(|| ConstraintKind::NeverContact {
        first: first.address.clone(),
        second: second.address.clone(),
    })
}

/// Whether both say the same, or one forbids what the other demands.
fn clash(one: &ConstraintKind, other: &ConstraintKind) -> bool {
    pair(one).is_some_and(|pair_of_one| pair(other) == Some(pair_of_one)) || one == other
}

fn pair(kind: &ConstraintKind) -> Option<[&str; 2]> {
    let mut pair = match kind {
        ConstraintKind::KeepLink { from, to } => [from.as_str(), to.as_str()],
        ConstraintKind::NeverContact { first, second } => [first.as_str(), second.as_str()],
        ConstraintKind::KeepService { .. } => return None,
    };
    pair.sort_unstable();
    Some(pair)
}

fn text(topology: &Topology, kind: &ConstraintKind, rng: &mut Rng) -> String {
    let name = |address: &str| {
        let host = topology.hosts.iter().find(|host| host.address == address);
        host.map_or(address, |host| host.name.as_str()).to_owned()
    };
    match kind {
        ConstraintKind::KeepService { host, service } => {
            let host = name(host);
            match rng.below(3) {
                0 => format!("{service} on {host} must not be taken offline."),
                1 => format!("{service} on {host} has to stay up and reachable at all times."),
                _ => format!("An outage of {service} on {host} is not acceptable."),
            }
        }
        ConstraintKind::KeepLink { from, to } => {
            let (from, to) = (name(from), name(to));
            match rng.below(3) {
                0 => format!("{from} must be able to reach {to} without interruption."),
                1 => format!("The connection from {from} to {to} must stay open."),
                _ => format!("{to} has to remain accessible from {from}."),
            }
        }
        ConstraintKind::NeverContact { first, second } => {
            let (first, second) = (name(first), name(second));
            match rng.below(2) {
                0 => format!("{first} and {second} must never be able to reach each other."),
                _ => format!("No traffic may pass between {first} and {second}."),
            }
        }
    }
}
