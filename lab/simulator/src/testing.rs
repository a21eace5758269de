//! A small system for the tests of this crate.

use countermove_incident::{AlertFormat, VerbClass};

use crate::{
    Account, AccountState, Family, Host, Need, Requirement, Role, Scenario, Service, Target, Truth, Way,
};

/// A way with these needs.
pub(crate) fn way(needs: &[(VerbClass, &[Target])]) -> Way {
    let need = |(verb, targets): &(VerbClass, &[Target])| Need { verb: *verb, targets: targets.to_vec() };
    Way { needs: needs.iter().map(need).collect(), fallback: false }
}

/// Every need of a truth.
pub(crate) fn needs(truth: &Truth) -> impl Iterator<Item = &Need> {
    truth.requirements.iter().flat_map(|requirement| &requirement.ways).flat_map(|way| &way.needs)
}

/// Two hosts of six are compromised, and an attacker outside has to be blocked.
pub(crate) fn scenario() -> Scenario {
    use VerbClass::{Analyse, Contain, Eradicate, Harden, Preserve, Restore};
    let host = |name: &str, address: &str, zone: &str, role: Role, services: &[&str]| Host {
        name: name.into(),
        address: address.into(),
        aliases: Vec::new(),
        zone: zone.into(),
        os: "Debian 11".into(),
        role,
        services: services
            .iter()
            .map(|name| Service { name: (*name).into(), port: 22, critical: false })
            .collect(),
        criticality: 2,
    };
    let account = |name: &str| Account {
        name: name.into(),
        hosts: vec!["10.0.2.11".into()],
        state: AccountState::Clean,
    };
    let at = |host: &str| Target::Host(host.into());
    let service = |host: &str, service: &str| Target::Service { host: host.into(), service: service.into() };
    let both = [at("10.0.2.11"), at("10.0.2.12")];
    let only = |kind: VerbClass, targets: &[Target]| Requirement { ways: vec![way(&[(kind, targets)])] };
    let fallback = Way { fallback: true, ..way(&[(Preserve, &[at("10.0.1.10"), at("10.0.1.9")])]) };
    let truth = Truth {
        incident: true,
        hosts: vec![
            host("gateway", "10.0.1.10", "perimeter", Role::Gateway, &[]),
            host("server_ssh", "10.0.2.11", "Zone 1", Role::Server, &["OpenSSH"]),
            host("server_samba", "10.0.2.12", "Zone 1", Role::Server, &["Samba 4.2"]),
            host("Server 3", "10.0.3.3", "dmz", Role::Server, &["OpenSSH", "nginx"]),
            host("mercury", "10.0.3.4", "dmz", Role::Server, &["PostgreSQL"]),
            host("collector", "10.0.1.9", "perimeter", Role::LogHost, &[]),
        ],
        accounts: vec![account("svc_backup"), account("admin"), account("jdoe2")],
        attackers: vec!["203.0.113.9".into(), "evil.example".into()],
        compromised: vec!["10.0.2.11".into(), "10.0.2.12".into()],
        requirements: [
            only(Contain, &[Target::Attacker("203.0.113.9".into()), at("10.0.2.11")]),
            only(Analyse, &both),
            Requirement { ways: vec![way(&[(Preserve, &both)]), fallback] },
            only(Eradicate, &both),
            only(Harden, &[service("10.0.2.11", "OpenSSH"), service("10.0.2.12", "Samba 4.2")]),
            only(Restore, &both),
        ],
        ..Truth::default()
    };
    let described: Vec<String> = truth
        .hosts
        .iter()
        .map(|host| format!("{} ({}) in {}.", host.name, host.address, host.zone))
        .collect();
    Scenario {
        name: "small".into(),
        seed: 0,
        system: format!("{} Networks 10.0.1.0/24, 10.0.2.0/24 and 10.0.3.0/24. user=svc_backup.", described.join(" ")),
        log: "06/03-12:59:31.0 [**] [1:1:1] brute force [**] [Classification: Attempted Information Leak] [Priority: 2] \
              {TCP} 203.0.113.9:4444 -> 10.0.2.11:22\n"
            .into(),
        remarks: String::new(),
        format: AlertFormat::SnortFast,
        family: Family::default(),
        truth,
    }
}
