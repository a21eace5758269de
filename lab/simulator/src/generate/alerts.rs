//! Alerts that an attacker's step, or everyday traffic, sets off.

use countermove_incident::{Endpoint, Record, RecordKind, Tactic};

use super::clock::Clock;
use crate::data::{Kind, OutsideUse, Rule, Vocabulary};
use crate::rng::Rng;
use crate::topology::{Offer, Topology, os_of};
use crate::truth::Role;

/// Traffic that may raise alerts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic<'a> {
    pub(super) tactic: Tactic,
    /// Address from which it is done.
    pub(super) source: &'a str,
    /// Position of the host to which it is done.
    pub(super) target: usize,
    /// Address to which the host answers home.
    pub(super) control: &'a str,
    /// Whether packets from the source reach the host's services.
    pub(super) reachable: bool,
    /// The service that is used, if it is known.
    pub(super) offer: Option<&'static Offer>,
}

/// Alerts of one kind of traffic.
#[derive(Clone, Debug)]
pub(super) struct Raised {
    pub(super) alerts: Vec<Record>,
    pub(super) category: String,
    /// Position of the host to which it was done.
    pub(super) target: usize,
    /// The service that was attacked, if it was one.
    pub(super) offer: Option<&'static Offer>,
}

/// Which way an alert's packet went.
enum Way {
    /// To a service of the target.
    In(u16),
    /// A service's answer.
    Answer(u16),
    /// From the target out to this port.
    Out(u16),
    /// From a web server outside to a browser on the target.
    Fetched(u16),
}

/// Alerts of the traffic; nothing if no rule sees it.
pub(super) fn raise(
    vocabulary: &Vocabulary,
    topology: &Topology,
    traffic: Traffic<'_>,
    clock: &mut Clock,
    rng: &mut Rng,
) -> Option<Raised> {
    let host = topology.hosts.get(traffic.target)?;
    let os = os_of(&host.os);
    let (rule, kind) = kinds(topology, traffic, rng)
        .into_iter()
        .find_map(|kind| Some((vocabulary.rule_for(traffic.tactic, kind, os, rng)?, kind)))?;
    let offers = topology.places.get(traffic.target).map_or(&[][..], |place| &place.offers);
    let offer = traffic.offer.or_else(|| offers.iter().copied().find(|offer| offer.kind == kind));
    let offer = offer
        .or_else(|| rng.pick(offers).copied())
        .filter(|_| traffic.reachable && !matches!(kind, Kind::Browser | Kind::Outbound(_)));
    let way = way(rule, kind, traffic, offer, rng);
    let count = match traffic.tactic {
        Tactic::CredentialAccess => rng.between(2, 6),
        Tactic::Reconnaissance | Tactic::Discovery | Tactic::CommandAndControl => rng.between(1, 3),
        _ => rng.between(1, 2),
    };
    let mut client = high_port(rng);
    let alerts = (0..count)
        .map(|_| {
            clock.pass(1, 40, rng);
            client = client.saturating_add(1);
            let own = host.address.as_str();
            let ends = match way {
                Way::In(port) => [(traffic.source, client), (own, port)],
                Way::Answer(port) => [(own, port), (traffic.source, client)],
                Way::Out(port) => [(own, client), (traffic.control, port)],
                Way::Fetched(port) => [(traffic.control, port), (own, client)],
            };
            alert(rule, ends, clock)
        })
        .collect();
    Some(Raised { alerts, category: rule.category.clone(), target: traffic.target, offer })
}

/// What the traffic may have to do with, the likeliest first.
fn kinds(topology: &Topology, traffic: Traffic<'_>, rng: &mut Rng) -> Vec<Kind> {
    let (out, names) = (Kind::Outbound(OutsideUse::Other), Kind::Outbound(OutsideUse::Names));
    let mut services: Vec<Kind> = match traffic.offer {
        Some(offer) => vec![offer.kind],
        None => {
            let offers = topology.places.get(traffic.target).map_or(&[][..], |place| &place.offers);
            offers.iter().map(|offer| offer.kind).filter(|kind| *kind != Kind::Any).collect()
        }
    };
    rng.shuffle(&mut services);
    let person = topology.hosts.get(traffic.target).is_some_and(|host| host.role == Role::Workstation);
    let (mut first, last): (Vec<Kind>, Vec<Kind>) = match traffic.tactic {
        Tactic::CommandAndControl | Tactic::Exfiltration if rng.chance(15) => (vec![names], vec![out]),
        Tactic::CommandAndControl | Tactic::Exfiltration => (vec![out], vec![names]),
        Tactic::Impact if rng.chance(70) => (vec![out, names], services),
        Tactic::Impact => (services, vec![Kind::Any, out]),
        Tactic::InitialAccess if person && traffic.offer.is_none() => (vec![Kind::Browser], services),
        Tactic::Execution | Tactic::Collection | Tactic::Stealth if person => {
            (vec![Kind::Browser, Kind::Any], services)
        }
        Tactic::Persistence | Tactic::Discovery | Tactic::Stealth => (services, vec![Kind::Any, out]),
        _ => (services, vec![Kind::Any]),
    };
    first.extend(last);
    first
}

fn way(rule: &Rule, kind: Kind, traffic: Traffic<'_>, offer: Option<&Offer>, rng: &mut Rng) -> Way {
    let port = offer.map(|offer| offer.port).or(rule.port).unwrap_or_else(|| rng.one_of(&[80, 443, 8080]));
    let own_alone = offer.is_none() || !traffic.reachable;
    match kind {
        Kind::Outbound(OutsideUse::Names) => Way::Out(53),
        Kind::Outbound(OutsideUse::Other) => {
            Way::Out(rule.port.unwrap_or_else(|| rng.one_of(&[80, 443, 443, 8080, 8443, 4444])))
        }
        Kind::Browser => Way::Fetched(rng.one_of(&[80, 443])),
        // A host that serves nothing, or not to everybody, takes part in connections of its own alone.
        _ if own_alone && rule.category == "ATTACK_RESPONSE" => Way::Out(rng.one_of(&[443, 8080, 4444])),
        _ if own_alone => Way::Fetched(rng.one_of(&[80, 443])),
        _ if rule.category == "ATTACK_RESPONSE" && traffic.tactic != Tactic::InitialAccess => {
            Way::Answer(port)
        }
        _ => Way::In(port),
    }
}

/// An alert of everyday traffic to this port, or to a common one.
pub(super) fn everyday(
    rule: &Rule,
    ends: [&str; 2],
    port: Option<u16>,
    clock: &Clock,
    rng: &mut Rng,
) -> Record {
    let common = if rule.protocol == "UDP" { 53 } else { rng.one_of(&[80, 443, 443, 22]) };
    let port = port.unwrap_or(common);
    let [source, destination] = ends;
    alert(rule, [(source, high_port(rng)), (destination, port)], clock)
}

/// An alert of a rule. A rule for any protocol is seen over TCP.
pub(super) fn alert(rule: &Rule, ends: [(&str, u16); 2], clock: &Clock) -> Record {
    let protocol = if rule.protocol == "IP" { "TCP" } else { &rule.protocol };
    let with_ports = protocol != "ICMP";
    let [source, destination] =
        ends.map(|(address, port)| Some(Endpoint::new(address, with_ports.then_some(port))));
    Record {
        kind: RecordKind::Alert,
        time: clock.time(),
        classification: rule.class.description.to_owned(),
        priority: Some(rule.priority),
        protocol: protocol.to_owned(),
        source,
        destination,
        rule: format!("1:{}:{}", rule.sid, rule.rev),
        message: rule.message.clone(),
        ..Record::default()
    }
}

fn high_port(rng: &mut Rng) -> u16 {
    u16::try_from(rng.between(32_768, 60_000)).unwrap_or(40_000)
}
