//! The system description that a planner reads: prose, a list, or host by host within zones.

use std::fmt::Write;

use super::{Topology, Zone};
use crate::rng::Rng;
use crate::truth::{AccountState, Constraint, Host, Role};

/// Describes the system, with what a response must keep to.
pub(crate) fn describe(topology: &Topology, constraints: &[Constraint], rng: &mut Rng) -> String {
    let mut text = String::new();
    introduce(topology, &mut text, rng);
    gateway(topology, &mut text, rng);
    match rng.below(4) {
        0 => prose(topology, &mut text, rng),
        1 => list(topology, &mut text),
        2 => by_zone(topology, &mut text),
        _ => table(topology, &mut text),
    }
    habits(topology, &mut text, rng);
    keep(constraints, &mut text, rng);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

// Writing to a string cannot fail, so that the results of `write!` are left alone here.

fn introduce(topology: &Topology, text: &mut String, rng: &mut Rng) {
    let owner = topology.owner;
    let _ = match rng.below(3) {
        0 => write!(text, "The system is the network of {owner}. "),
        1 => write!(text, "This is what {owner} runs. "),
        _ => write!(text, "The defended network belongs to {owner}. "),
    };
    let named = |zone: &Zone| format!("the {} ({})", zone.name, zone.network());
    let names: Vec<String> = topology.zones.iter().map(named).collect();
    let count = topology.hosts.len().saturating_sub(1);
    let _ = match names.as_slice() {
        [only] => writeln!(text, "It has one network, {only}, with {count} hosts behind a gateway."),
        _ => writeln!(text, "It has {count} hosts in {} networks: {}.", names.len(), joined(&names)),
    };
}

fn gateway(topology: &Topology, text: &mut String, rng: &mut Rng) {
    let Some(host) = topology.hosts.first() else { return };
    let sensor = rng.one_of(&["Snort", "Suricata", "Snort 3"]);
    let filter = if host.os.starts_with("OpenBSD") { "pf" } else { rng.one_of(&["nftables", "iptables"]) };
    let addresses: Vec<String> =
        [&host.address].into_iter().chain(&host.aliases).map(|address| address.to_owned()).collect();
    let _ = write!(text, "\nThe gateway ({}) at {} ", host.os, joined(&addresses));
    let _ = match rng.below(2) {
        0 => write!(
            text,
            "routes all traffic between the networks, filters with {filter} and watches with {sensor}. "
        ),
        _ => write!(text, "is router and firewall ({filter}), and {sensor} on it sees what passes. "),
    };
    let public: Vec<String> = topology
        .hosts
        .iter()
        .zip(&topology.places)
        .filter(|(_, place)| place.public)
        .map(|(host, place)| {
            let ports: Vec<String> = place.offers.iter().map(|offer| offer.port.to_string()).collect();
            if ports.is_empty() {
                host.name.clone()
            } else {
                format!("{} (port {})", host.name, joined(&ports))
            }
        })
        .collect();
    let _ = match rng.below(2) {
        0 => writeln!(text, "From the Internet it forwards to {} only.\n", joined(&public)),
        _ => writeln!(
            text,
            "The Internet reaches {}; everything else is reached from inside alone.\n",
            joined(&public)
        ),
    };
}

fn prose(topology: &Topology, text: &mut String, rng: &mut Rng) {
    for zone in &topology.zones {
        let _ = write!(text, "In the {}, ", zone.name);
        let mut first = true;
        for (host, purpose) in of_zone(topology, zone) {
            let services = services(host);
            if !first {
                text.push(' ');
            }
            first = false;
            let runs = if services.is_empty() { String::new() } else { format!(" and runs {services}") };
            let _ = match rng.below(2) {
                0 => write!(text, "{} at {} ({}) {purpose}{runs}.", host.name, host.address, host.os),
                _ => write!(text, "{} ({}, {}) {purpose}{runs}.", host.name, host.address, host.os),
            };
        }
        if first {
            text.push_str("there are only devices of guests.");
        }
        text.push_str("\n\n");
    }
}

fn list(topology: &Topology, text: &mut String) {
    text.push_str("Hosts:\n");
    for (host, place) in topology.hosts.iter().zip(&topology.places).skip(1) {
        let services = services(host);
        let services = if services.is_empty() { "no services".to_owned() } else { services };
        let _ = writeln!(
            text,
            "- {} ({}, {}), {}: {services}; {}",
            host.name, host.address, host.os, host.zone, place.purpose
        );
    }
    text.push('\n');
}

fn by_zone(topology: &Topology, text: &mut String) {
    for zone in &topology.zones {
        let _ = writeln!(text, "{} {}:", capitalised(zone.name), zone.network());
        for (host, purpose) in of_zone(topology, zone) {
            let _ = writeln!(text, "  {} {} [{}] {}", host.address, host.name, host.os, services(host));
            let _ = writeln!(text, "    {purpose}, importance {} of 5", host.criticality);
        }
        text.push('\n');
    }
}

fn table(topology: &Topology, text: &mut String) {
    text.push_str("name | address | network | system | services | purpose\n");
    for (host, place) in topology.hosts.iter().zip(&topology.places).skip(1) {
        let _ = writeln!(
            text,
            "{} | {} | {} | {} | {} | {}",
            host.name,
            host.address,
            host.zone,
            host.os,
            services(host),
            place.purpose
        );
    }
    text.push('\n');
}

/// Accounts, backups and what is done every night.
fn habits(topology: &Topology, text: &mut String, rng: &mut Rng) {
    // What the attacker made is nothing that the owner would describe.
    for account in topology.accounts.iter().filter(|account| account.state != AccountState::Planted) {
        let hosts: Vec<String> = topology
            .hosts
            .iter()
            .filter(|host| account.hosts.contains(&host.address))
            .map(|host| host.name.clone())
            .collect();
        let _ = match rng.below(2) {
            0 => writeln!(text, "The account {} logs in to {}.", account.name, joined(&hosts)),
            _ => writeln!(
                text,
                "{} can be used with the account {}.",
                capitalised(&joined(&hosts)),
                account.name
            ),
        };
    }
    for host in topology.hosts.iter().filter(|host| host.role == Role::Backup) {
        let _ = writeln!(text, "Backups on {} are of {:02}:00 last night.", host.name, rng.between(0, 5));
    }
    if let Some(auditor) = topology.auditor.and_then(|place| topology.hosts.get(place)) {
        let _ = writeln!(
            text,
            "{} scans all servers for known weaknesses every night at {:02}:30; that is allowed.",
            auditor.name,
            rng.between(0, 5)
        );
    }
}

fn keep(constraints: &[Constraint], text: &mut String, rng: &mut Rng) {
    if constraints.is_empty() {
        return;
    }
    let heading =
        rng.one_of(&["Whatever happens:", "A response has to keep to this:", "Requirements on operation:"]);
    let _ = writeln!(text, "\n{heading}");
    for constraint in constraints {
        let _ = writeln!(text, "- {}", constraint.text);
    }
}

fn of_zone<'a>(topology: &'a Topology, zone: &'a Zone) -> impl Iterator<Item = (&'a Host, &'static str)> {
    let pairs = topology.hosts.iter().zip(&topology.places).skip(1);
    pairs.filter(|(host, _)| host.zone == zone.name).map(|(host, place)| (host, place.purpose))
}

fn services(host: &Host) -> String {
    let named: Vec<String> =
        host.services.iter().map(|service| format!("{} on port {}", service.name, service.port)).collect();
    joined(&named)
}

/// `a`, `a and b`, `a, b and c`.
fn joined(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    // A name stays as it is written; only a zone's words are put into capitals.
    match chars.next() {
        Some(first) if !text.contains(['_', '-']) => first.to_uppercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}
