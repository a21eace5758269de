//! Hosts, zones and services from the prose of a system description.
//!
//! It reads the usual ways to introduce a host: `server_ssh at 10.0.2.11`, `Server 1 (10.0.2.1, Debian 11): Nginx, …`,
//! `the gateway container has IP address 10.0.1.10 on … and 10.0.2.10 on …`, `Log Collector (which has interfaces on …:
//! 10.0.1.252, …)`. A host that it misses is not lost: records name hosts by address.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use countermove_incident::Network;
use regex::Regex;

use crate::truth::{Host, Role, Service};

const ADDRESS: &str = r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}";

/// Criticality of a host of which the record says nothing.
const USUAL: u8 = 3;

static IN_BRACKETS: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"((?:[A-Z][\w-]*|\w+_\w+)(?: [A-Z0-9][\w-]*)*) \(({ADDRESS})(?:, ([^)]+))?\)(:?)"))
});
static AT: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!(r"\b([A-Za-z]\w*[_-]\w+|[A-Z]\w+) at ({ADDRESS})\b")));
static HAS_ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"(?i)\b(?:a|an|the) (\w+)(?: \w+)? (?:with|has) (?:the )?IP address(?:es)? ({ADDRESS})"))
});
static INTERFACES: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"((?:[A-Z][\w-]*)(?: [A-Z][\w-]*)*) \(which has interfaces on [^:)]*: ([\d., ]+)\)")
});
static ADDRESSES: LazyLock<Regex> = LazyLock::new(|| regex(&format!(r"\b{ADDRESS}\b")));
static ZONES: LazyLock<Regex> = LazyLock::new(|| regex(r"(\w+ zone|\w+ network|Zone \d+) \((\d[\d.]+/\d+)"));
static PORTS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b(?:provides|runs|and) ([A-Z]\w+)(?: [\w-]+){0,3}? on TCP ports? (\d+)"));
static IN_PARENTHESES: LazyLock<Regex> = LazyLock::new(|| regex(r"\([^)]*\)"));

fn regex(pattern: &str) -> Regex {
    // The patterns stand above, and every test of this module compiles all of them.
    #[allow(clippy::unwrap_used, reason = "a fixed pattern")]
    Regex::new(pattern).unwrap()
}

/// The hosts that a description introduces, in its order.
pub(super) fn hosts(system: &str) -> Vec<Host> {
    let mut found: Vec<(usize, Host)> = Vec::new();
    for part in IN_BRACKETS.captures_iter(system) {
        let (name, address) = (text(&part, 1), text(&part, 2));
        let (start, end) = part.get(0).map_or((0, 0), |part| (part.start(), part.end()));
        let is_entry = !text(&part, 4).is_empty();
        let rest = system.get(end..).unwrap_or_default().lines().next().unwrap_or_default();
        let services = if is_entry { listed_services(rest) } else { Vec::new() };
        add(&mut found, start, [name, address, text(&part, 3)], services);
    }
    for part in AT.captures_iter(system) {
        let start = part.get(0).map_or(0, |part| part.start());
        add(&mut found, start, [text(&part, 1), text(&part, 2), ""], Vec::new());
    }
    for part in HAS_ADDRESS.captures_iter(system) {
        let (name, address) = (text(&part, 1), text(&part, 2));
        let (start, end) = part.get(0).map_or((0, 0), |part| (part.start(), part.end()));
        add(&mut found, start, [name, address, ""], Vec::new());
        let rest = system.get(end..).unwrap_or_default().lines().next().unwrap_or_default();
        let sentence = rest.split(". ").next().unwrap_or_default();
        let further = ADDRESSES.find_iter(sentence).map(|address| address.as_str());
        alias(&mut found, address, further);
    }
    for part in INTERFACES.captures_iter(system) {
        let name = text(&part, 1);
        let own = found.iter().find(|(_, host)| host.name == name).map(|(_, host)| host.address.clone());
        if let Some(own) = own {
            alias(&mut found, &own, ADDRESSES.find_iter(text(&part, 2)).map(|address| address.as_str()));
        }
    }
    found.sort_by_key(|(start, _)| *start);
    add_ports(system, &mut found);
    let zones: Vec<(&str, Network)> = ZONES
        .captures_iter(system)
        .filter_map(|part| Some((part.get(1)?.as_str(), Network::parse(part.get(2)?.as_str())?)))
        .collect();
    let mut hosts: Vec<Host> = found.into_iter().map(|(_, host)| host).collect();
    for host in &mut hosts {
        let address = host.address.parse();
        let inside = |network: &Network| address.as_ref().is_ok_and(|address| network.contains(*address));
        let zone = zones.iter().find(|(_, network)| inside(network));
        host.zone = zone.map_or_else(String::new, |(name, _)| (*name).to_owned());
    }
    hosts
}

/// A host of which nothing but the address is known.
pub(super) fn nameless(address: &str) -> Host {
    host(address, address, "")
}

fn text<'a>(part: &regex::Captures<'a>, group: usize) -> &'a str {
    part.get(group).map_or("", |group| group.as_str())
}

fn host(name: &str, address: &str, os: &str) -> Host {
    Host {
        name: name.to_owned(),
        address: address.to_owned(),
        aliases: Vec::new(),
        zone: String::new(),
        os: os.to_owned(),
        role: role(name),
        services: Vec::new(),
        criticality: USUAL,
    }
}

/// Adds a host, or what is new about one that is known already.
fn add(found: &mut Vec<(usize, Host)>, start: usize, [name, address, os]: [&str; 3], services: Vec<Service>) {
    let name = name.strip_prefix("The ").unwrap_or(name);
    let known = found.iter_mut().find(|(_, host)| host.is_called(address) || host.is_called(name));
    match known {
        Some((place, own)) => {
            if own.os.is_empty() {
                own.os = os.to_owned();
            }
            if own.services.is_empty() && !services.is_empty() {
                own.services = services;
                *place = start;
            }
        }
        None => {
            let mut own = host(name, address, os);
            own.services = services;
            found.push((start, own));
        }
    }
}

fn alias<'a>(found: &mut [(usize, Host)], address: &str, further: impl Iterator<Item = &'a str>) {
    for name in further {
        let taken = found.iter().any(|(_, host)| host.is_called(name));
        if let Some((_, host)) = found.iter_mut().find(|(_, host)| host.address == address && !taken) {
            host.aliases.push(name.to_owned());
        }
    }
}

fn role(name: &str) -> Role {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    match () {
        () if has(&["gateway", "firewall", "router"]) => Role::Gateway,
        () if has(&["collector", "siem", "log server"]) => Role::LogHost,
        () if has(&["backup"]) => Role::Backup,
        () if has(&["client", "laptop", "desktop", "workstation"]) => Role::Workstation,
        () => Role::Server,
    }
}

/// `OpenSSH, cron CI/CD build pipeline`.
fn listed_services(list: &str) -> Vec<Service> {
    let plain = IN_PARENTHESES.replace_all(list, "");
    let mut services: Vec<Service> = Vec::new();
    for name in plain.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if services.iter().all(|own| own.name != name) {
            services.push(Service { name: name.to_owned(), port: 0, critical: false });
        }
    }
    services
}

/// `provides OpenSSH on TCP port 22`, of the host that was introduced last before it.
fn add_ports(system: &str, found: &mut [(usize, Host)]) {
    let starts: BTreeMap<usize, usize> =
        found.iter().enumerate().map(|(place, (start, _))| (*start, place)).collect();
    for part in PORTS.captures_iter(system) {
        let Some(whole) = part.get(0) else { continue };
        let Some((_, &place)) = starts.range(..whole.start()).next_back() else { continue };
        let (name, port) = (text(&part, 1), text(&part, 2).parse().unwrap_or(0));
        if let Some((_, host)) = found.get_mut(place)
            && host.services.iter().all(|own| own.name != name)
        {
            host.services.push(Service { name: name.to_owned(), port, critical: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(system: &str) -> Vec<String> {
        hosts(system)
            .into_iter()
            .map(|host| {
                let services: Vec<String> =
                    host.services.iter().map(|own| format!("{}:{}", own.name, own.port)).collect();
                format!(
                    "{} {} [{}] {} {} {:?} {}",
                    host.name,
                    host.address,
                    host.aliases.join(" "),
                    host.zone,
                    host.os,
                    host.role,
                    services.join(", ")
                )
            })
            .collect()
    }

    #[test]
    fn prose_introduces_hosts() {
        assert_eq!(
            shown(
                "Two networks: a client network (10.0.1.0/24) and a server network (10.0.2.0/24).\n\nThe gateway container has \
                 IP address 10.0.1.10 on the client network and 10.0.2.10 on the server network. It runs Snort. A client \
                 container with IP address 10.0.1.11 resides there.\n\nserver_ssh at 10.0.2.11 provides OpenSSH on TCP port \
                 22. server_web1 at 10.0.2.14 runs Nginx on TCP port 80 and OpenSSH on TCP port 22. server_samba at \
                 10.0.2.12 provides Samba file-sharing services on TCP ports 139 and 445."
            ),
            [
                "gateway 10.0.1.10 [10.0.2.10] client network  Gateway ",
                "client 10.0.1.11 [] client network  Workstation ",
                "server_ssh 10.0.2.11 [] server network  Server OpenSSH:22",
                "server_web1 10.0.2.14 [] server network  Server Nginx:80, OpenSSH:22",
                "server_samba 10.0.2.12 [] server network  Server Samba:139",
            ]
        );
    }

    #[test]
    fn lists_introduce_hosts() {
        assert_eq!(
            shown(
                "A perimeter zone (10.0.1.0/24) and Zone 1 (10.0.2.0/24, Servers 1-2).\n- Gateway -> Firewall (10.0.1.253) -> \
                 Log Collector (10.0.1.252) -> zone; the Firewall forwards to Server 2 (10.0.2.2).\n- Log Collector (which has \
                 interfaces on both networks: 10.0.1.252, 10.0.2.252), for example (10.0.1.252/10.0.2.252).\n\nFirewall \
                 (10.0.1.253, Ubuntu 22): iptables packet filtering\nServer 1 (10.0.2.1, Debian 11): Nginx reverse proxy, PHP \
                 portal (pool, as root), cron"
            ),
            [
                "Log Collector 10.0.1.252 [10.0.2.252] perimeter zone  LogHost ",
                "Server 2 10.0.2.2 [] Zone 1  Server ",
                "Firewall 10.0.1.253 [] perimeter zone Ubuntu 22 Gateway iptables packet filtering:0",
                "Server 1 10.0.2.1 [] Zone 1 Debian 11 Server Nginx reverse proxy:0, PHP portal:0, cron:0",
            ]
        );
        assert_eq!(shown(""), [""; 0]);
    }
}
