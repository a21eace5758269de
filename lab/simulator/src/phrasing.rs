//! What a responder would write: a kind of response and its targets as a sentence.
//!
//! Invariant: [`crate::action::Action::parse`] reads every sentence back as the same kind of response on the same
//! targets, whatever the style.

use countermove_incident::VerbClass;

use crate::{Host, Role, Target, Truth};

/// How many ways of writing there are. A style beyond is taken modulo this.
pub const STYLES: usize = 4;

/// The sentence that asks for this kind of response on all these targets. Empty if there are none.
pub fn sentence(truth: &Truth, kind: VerbClass, targets: &[Target], style: usize) -> String {
    let style = style % STYLES;
    let parts: Vec<String> = GROUPS
        .iter()
        .filter_map(|group| {
            let own: Vec<&Target> =
                targets.iter().filter(|target| group_of(truth, target) == *group).collect();
            (!own.is_empty()).then(|| part(truth, kind, *group, &own, style))
        })
        .collect();
    let mut text = listed(&parts);
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
        text.push('.');
    }
    text
}

/// What is written in one breath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Host,
    /// A host whose task is to see the traffic of others.
    Watcher,
    Service,
    Account,
    Address,
    Domain,
}

const GROUPS: [Group; 6] =
    [Group::Host, Group::Watcher, Group::Service, Group::Account, Group::Address, Group::Domain];

fn group_of(truth: &Truth, target: &Target) -> Group {
    match target {
        Target::Host(host) => match truth.host(host).map(|host| host.role) {
            Some(Role::Gateway | Role::LogHost) => Group::Watcher,
            _ => Group::Host,
        },
        Target::Service { .. } => Group::Service,
        Target::Account(_) => Group::Account,
        Target::Attacker(name) if name.parse::<std::net::IpAddr>().is_ok() => Group::Address,
        Target::Attacker(_) => Group::Domain,
    }
}

/// A verb with what stands before and behind its objects. `{}` is where they go.
fn part(truth: &Truth, kind: VerbClass, group: Group, targets: &[&Target], style: usize) -> String {
    use VerbClass::{Analyse, Contain, Eradicate, Harden, Preserve, Restore};
    let many = targets.len() > 1;
    let objects = listed(&targets.iter().map(|target| name(truth, target, style)).collect::<Vec<_>>());
    let pattern: [&str; STYLES] = match (kind, group) {
        (Contain, Group::Host | Group::Watcher) => [
            "isolate {} from the network",
            "disconnect {} from the network",
            "quarantine {}",
            "take {} offline",
        ],
        (Contain, Group::Service) => {
            ["shut down {}", "stop the service {}", "block all access to {}", "disable {}"]
        }
        (Contain, Group::Account) => ["disable {}", "lock {}", "suspend {}", "disable {}"],
        (Contain, Group::Address) => [
            "block all traffic from {}",
            "drop all packets from {} at the perimeter",
            "block {}",
            "deny all connections from {}",
        ],
        (Contain, Group::Domain) => ["sinkhole {}", "block {}", "block all traffic to {}", "sinkhole {}"],
        (Preserve, Group::Watcher) => [
            "save the traffic records of {}",
            "export the alert and traffic logs of {}",
            "archive the logs of {}",
            "preserve the packet captures of {}",
        ],
        (Preserve, Group::Account) => [
            "export the login records of {}",
            "save the login history of {}",
            "preserve the login records of {}",
            "archive the login records of {}",
        ],
        (Preserve, Group::Address | Group::Domain) => [
            "capture the traffic of {}",
            "save the records of all traffic of {}",
            "preserve the traffic records of {}",
            "capture all packets of {}",
        ],
        (Preserve, Group::Host | Group::Service) => [
            "save the logs and a memory image of {}",
            "capture the memory and the disk of {}",
            "take a forensic image of {}",
            "preserve the logs, memory and disk of {}",
        ],
        (Analyse, Group::Address | Group::Domain) => [
            "trace all connections of {}",
            "investigate all traffic with {}",
            "search the logs for {}",
            "trace the traffic of {}",
        ],
        (Analyse, Group::Account) => [
            "review all logins of {}",
            "audit what was done with {}",
            "investigate the logins of {}",
            "review the activity of {}",
        ],
        (Analyse, Group::Host | Group::Watcher | Group::Service) => [
            "search the logs of {} for what the attacker did",
            "investigate {} for traces of the attacker",
            "analyse the evidence of {}",
            "examine the processes and logs of {}",
        ],
        (Eradicate, Group::Account) => ["delete {}", "remove {}", "revoke the sessions of {}", "purge {}"],
        (Eradicate, Group::Address | Group::Domain) => [
            "remove all files from {}",
            "terminate all sessions of {}",
            "kill all connections of {}",
            "terminate the sessions of {}",
        ],
        (Eradicate, Group::Host | Group::Watcher | Group::Service) => [
            "remove the malware and the backdoors from {}",
            "evict the attacker from {}",
            "delete the attacker's files and keys on {}",
            "clean {} of everything that the attacker left",
        ],
        (Harden, Group::Account) => [
            "reset the password of {}",
            "rotate the credentials of {}",
            "change the password of {}",
            "reset the password and the keys of {}",
        ],
        (Harden, Group::Address | Group::Domain) => [
            "harden the rules for {}",
            "tighten the rules for {}",
            "harden the filters for {}",
            "tighten the filters for {}",
        ],
        (Harden, Group::Host | Group::Watcher | Group::Service) => {
            ["patch {}", "harden {}", "upgrade {}", "patch and harden {}"]
        }
        (Restore, Group::Account) => ["enable {} again", "unlock {}", "restore {}", "re-enable {}"],
        (Restore, Group::Address | Group::Domain) => {
            ["unblock {}", "restore the traffic of {}", "unblock {}", "unblock {}"]
        }
        (Restore, Group::Service) => ["restore {}", "restart {}", "bring {} back online", "restore {}"],
        (Restore, Group::Host | Group::Watcher) => [
            "restore the services of {}",
            "bring {} back online",
            "restart the services of {}",
            "restore {} to normal operation",
        ],
    };
    let objects = match (group, many) {
        (Group::Account, false) => format!("the account {objects}"),
        (Group::Account, true) => format!("the accounts {objects}"),
        (Group::Domain, false) => format!("the domain {objects}"),
        (Group::Domain, true) => format!("the domains {objects}"),
        _ => objects,
    };
    pattern.get(style).map_or_else(String::new, |pattern| pattern.replace("{}", &objects))
}

fn name(truth: &Truth, target: &Target, style: usize) -> String {
    match target {
        Target::Host(host) => truth.host(host).map_or_else(|| host.clone(), |host| host_name(host, style)),
        Target::Service { host, service } => {
            let host = truth.host(host).map_or_else(|| host.clone(), |host| host_name(host, style));
            format!("{service} on {host}")
        }
        Target::Account(name) | Target::Attacker(name) => name.clone(),
    }
}

fn host_name(host: &Host, style: usize) -> String {
    match style {
        _ if host.name.is_empty() || host.name == host.address => host.address.clone(),
        0 => format!("{} ({})", host.name, host.address),
        1 => host.name.clone(),
        2 => host.address.clone(),
        _ => format!("{} at {}", host.name, host.address),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use VerbClass::{Analyse, Contain, Eradicate, Harden, Preserve, Restore};

    use super::*;
    use crate::Judge;
    use crate::testing::scenario;

    #[test]
    fn every_sentence_is_read_back_as_what_it_says() {
        let truth = scenario().truth;
        let judge = Judge::new(&truth);
        let pool = [
            Target::Host("10.0.2.11".into()),
            Target::Host("10.0.3.4".into()),
            Target::Host("10.0.3.3".into()),
            Target::Service { host: "10.0.2.12".into(), service: "Samba 4.2".into() },
            Target::Account("svc_backup".into()),
            Target::Account("admin".into()),
            Target::Attacker("203.0.113.9".into()),
            Target::Attacker("evil.example".into()),
        ];
        let mut wrong = Vec::new();
        for kind in [Contain, Preserve, Analyse, Eradicate, Harden, Restore] {
            for style in 0..STYLES {
                for chosen in 1_usize..1 << pool.len() {
                    let picked: Vec<Target> = pool
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| chosen >> at & 1 == 1)
                        .map(|(_, target)| target.clone())
                        .collect();
                    let text = sentence(&truth, kind, &picked, style);
                    let done = judge.done_by(&text, kind, &pool);
                    let kinds = judge.read(&text).kinds();
                    if done != picked || kinds != [kind] {
                        wrong.push(format!(
                            "{text}\n    {kind:?} reads {kinds:?} on {done:?}\n    not {picked:?}"
                        ));
                    }
                }
            }
        }
        let shown = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{} wrong:\n{shown}", wrong.len());
    }
}
