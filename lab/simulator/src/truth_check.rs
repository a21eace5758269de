//! Whether a truth hangs together: everything that is named exists, and nothing is named twice.

use std::collections::HashSet;

use crate::truth::{ConstraintKind, Lure, Need, Target, Truth};

/// What does not hang together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Field, such as `constraints[0].kind.keep_service.host`.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// The first flaw of a truth.
pub(crate) fn check(truth: &Truth) -> Result<(), Flaw> {
    hosts_and_accounts(truth)?;
    path(truth)?;
    for (place, name) in truth.compromised.iter().enumerate() {
        known_host(truth, name, || format!("compromised[{place}]"))?;
    }
    for (fact, requirement) in truth.requirements.iter().enumerate() {
        let name = countermove_incident::RecoveryState::NAMES.get(fact).copied().unwrap_or_default();
        if truth.incident && requirement.ways.iter().any(|way| way.needs.is_empty()) {
            return flaw(
                format!("requirements[{fact}].ways"),
                format!("has a way to {name} without any need"),
            );
        }
        for (way_place, way) in requirement.ways.iter().enumerate() {
            for (need_place, need) in way.needs.iter().enumerate() {
                check_need(
                    truth,
                    need,
                    &format!("requirements[{fact}].ways[{way_place}].needs[{need_place}]"),
                )?;
            }
        }
    }
    constraints(truth)?;
    for (place, injection) in truth.injections.iter().enumerate() {
        if let Lure::Act(need) = &injection.lure {
            // An instruction may lure against anybody outside.
            let is_outside = |target: &Target| matches!(target, Target::Attacker(_));
            if !need.targets.iter().all(is_outside) || need.targets.is_empty() {
                check_need(truth, need, &format!("injections[{place}].lure.act"))?;
            }
        }
    }
    distinct(truth.injections.iter().map(|own| own.id.as_str()), "injections", "id")
}

fn hosts_and_accounts(truth: &Truth) -> Result<(), Flaw> {
    let mut names: HashSet<String> = HashSet::new();
    for (place, host) in truth.hosts.iter().enumerate() {
        for name in host.names() {
            if name.is_empty() {
                return flaw(format!("hosts[{place}]"), "has an empty name or address".to_owned());
            }
            // A host may be called by its address alone.
            if !names.insert(name.to_lowercase()) && host.name != host.address {
                return flaw(format!("hosts[{place}]"), format!("{name:?} is the name of a host before it"));
            }
        }
        if !(1..=5).contains(&host.criticality) {
            let reason = format!("is {}, not a number from 1 to 5", host.criticality);
            return flaw(format!("hosts[{place}].criticality"), reason);
        }
        let services = host.services.iter().map(|service| service.name.as_str());
        distinct(services, &format!("hosts[{place}].services"), "name")?;
    }
    for (place, account) in truth.accounts.iter().enumerate() {
        for (number, host) in account.hosts.iter().enumerate() {
            known_host(truth, host, || format!("accounts[{place}].hosts[{number}]"))?;
        }
    }
    distinct(truth.accounts.iter().map(|own| own.name.as_str()), "accounts", "name")
}

fn path(truth: &Truth) -> Result<(), Flaw> {
    let steps = truth.path.len();
    if truth.stage > steps {
        return flaw("stage".to_owned(), format!("is {}, and the path has {steps} steps", truth.stage));
    }
    if let Some(place) = truth.switch.filter(|place| !(truth.stage..steps).contains(place)) {
        let reason =
            format!("is {place}, not a place in the path from the stage {} to below {steps}", truth.stage);
        return flaw("switch".to_owned(), reason);
    }
    for (place, step) in truth.path.iter().enumerate() {
        known_host(truth, &step.target, || format!("path[{place}].target"))?;
        if truth.host(&step.source).is_none() && !truth.attackers.contains(&step.source) {
            let reason = format!("{:?} is neither a host nor an attacker", step.source);
            return flaw(format!("path[{place}].source"), reason);
        }
        if countermove_incident::technique(&step.technique).is_none() {
            let reason = format!("{:?} is no technique of ATT&CK, such as T1110.001", step.technique);
            return flaw(format!("path[{place}].technique"), reason);
        }
    }
    Ok(())
}

fn constraints(truth: &Truth) -> Result<(), Flaw> {
    for (place, constraint) in truth.constraints.iter().enumerate() {
        let field = |name: &str| format!("constraints[{place}].kind.{name}");
        match &constraint.kind {
            ConstraintKind::KeepService { host, service } => {
                known_host(truth, host, || field("keep_service.host"))?;
                known_service(truth, host, service, || field("keep_service.service"))?;
            }
            ConstraintKind::KeepLink { from, to } => {
                known_host(truth, from, || field("keep_link.from"))?;
                known_host(truth, to, || field("keep_link.to"))?;
            }
            ConstraintKind::NeverContact { first, second } => {
                known_host(truth, first, || field("never_contact.first"))?;
                known_host(truth, second, || field("never_contact.second"))?;
            }
        }
    }
    distinct(truth.constraints.iter().map(|own| own.id.as_str()), "constraints", "id")
}

fn check_need(truth: &Truth, need: &Need, field: &str) -> Result<(), Flaw> {
    if need.targets.is_empty() {
        return flaw(format!("{field}.targets"), "is empty".to_owned());
    }
    for (place, target) in need.targets.iter().enumerate() {
        let field = |name: &str| format!("{field}.targets[{place}].{name}");
        match target {
            Target::Host(host) => known_host(truth, host, || field("host"))?,
            Target::Service { host, service } => {
                known_host(truth, host, || field("service.host"))?;
                known_service(truth, host, service, || field("service.service"))?;
            }
            Target::Account(name) if !truth.accounts.iter().any(|own| own.name == *name) => {
                return flaw(field("account"), format!("{name:?} is not among the accounts"));
            }
            Target::Attacker(name) if !truth.attackers.contains(name) => {
                return flaw(field("attacker"), format!("{name:?} is not among the attackers"));
            }
            Target::Account(_) | Target::Attacker(_) => {}
        }
    }
    Ok(())
}

/// Hosts are named by their addresses.
fn known_host(truth: &Truth, name: &str, field: impl Fn() -> String) -> Result<(), Flaw> {
    match truth.hosts.iter().any(|host| host.address == name) {
        true => Ok(()),
        false => flaw(field(), format!("{name:?} is not the address of a host")),
    }
}

fn known_service(truth: &Truth, host: &str, service: &str, field: impl Fn() -> String) -> Result<(), Flaw> {
    let offered = truth.host(host).is_some_and(|host| host.services.iter().any(|own| own.name == service));
    if offered { Ok(()) } else { flaw(field(), format!("{service:?} is no service of {host}")) }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>, list: &str, field: &str) -> Result<(), Flaw> {
    let mut seen = HashSet::new();
    for (place, name) in names.enumerate() {
        if !seen.insert(name) {
            return flaw(format!("{list}[{place}].{field}"), format!("{name:?} stands twice"));
        }
    }
    Ok(())
}

fn flaw(field: String, reason: String) -> Result<(), Flaw> {
    Err(Flaw { field, reason })
}
