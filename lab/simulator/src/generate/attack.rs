//! An attacker's way through the system, in the order of a documented flow.
//!
//! The first step reaches a host that the Internet reaches, or a person's workstation. Lateral movement takes further
//! hosts as long as a rule sees it, so that whatever is compromised can be known from the alerts.

use std::collections::BTreeSet;

use countermove_incident::Tactic;

use super::alerts::{self, Raised, Traffic};
use super::clock::Clock;
use super::evidence::Evidence;
use super::lines::Login;
use super::techniques::{Fit, choose};
use super::{lines, outside};
use crate::data::{FlowStep, Kind, Vocabulary};
use crate::rng::Rng;
use crate::topology::{Offer, Topology, os_of};
use crate::truth::{Account, AccountState, Host, Role, Step};

/// Most hosts that an attacker takes.
const MOST_HOSTS: usize = 3;

/// An attack as it goes on.
#[derive(Debug)]
pub(super) struct Attack<'a> {
    vocabulary: &'a Vocabulary,
    pub(super) topology: &'a mut Topology,
    /// Address from which the attacker comes; that of a host for an insider.
    pub(super) origin: String,
    /// Address to which compromised hosts answer.
    pub(super) control: String,
    /// Name of that address, if hosts ask for one.
    pub(super) domain: Option<String>,
    pub(super) path: Vec<Step>,
    /// Hosts in the order in which they fell, each with the service through which it did.
    pub(super) taken: Vec<(usize, Option<&'static Offer>)>,
    /// Hosts from which others were attacked.
    pub(super) pivots: Vec<usize>,
    /// Categories of the rules that saw it.
    pub(super) categories: BTreeSet<String>,
    /// Whether hosts' own logs are part of the evidence.
    with_lines: bool,
    /// Whether further hosts may fall.
    pub(super) spreading: bool,
    entry: usize,
    current: usize,
}

/// What the attacker does in a step.
#[derive(Clone, Copy, Debug)]
struct Deed<'a> {
    tactic: Tactic,
    technique: &'a str,
    /// Address.
    source: &'a str,
    /// Position.
    target: usize,
}

impl<'a> Attack<'a> {
    /// An attack that has not begun.
    pub(super) fn new(
        vocabulary: &'a Vocabulary,
        topology: &'a mut Topology,
        steps: &[FlowStep],
        with_lines: bool,
        rng: &mut Rng,
    ) -> Attack<'a> {
        let by_person = steps.iter().take(2).any(|step| is_by_person(&step.technique)) || rng.chance(10);
        let desks = topology.with_role(&[Role::Workstation]);
        let public: Vec<usize> = (1..topology.hosts.len())
            .filter(|place| {
                topology.places.get(*place).is_some_and(|own| own.public && !own.offers.is_empty())
            })
            .collect();
        let entry =
            rng.pick(if by_person || public.is_empty() { &desks } else { &public }).or(public.first());
        let entry = entry.copied().unwrap_or(1);
        let insider = !desks.contains(&entry) && rng.chance(10);
        let inside = rng.pick(&desks).copied().filter(|_| insider);
        let origin = match inside.and_then(|place| topology.hosts.get(place)) {
            Some(host) => host.address.clone(),
            None => outside::address(rng),
        };
        let control = if inside.is_none() && rng.chance(45) { origin.clone() } else { outside::address(rng) };
        let domain = (with_lines && rng.chance(60)).then(|| outside::domain(rng));
        Attack {
            vocabulary,
            topology,
            origin,
            control,
            domain,
            path: Vec::new(),
            // An insider's own workstation has to be cleaned as well.
            taken: inside.map(|place| (place, None)).into_iter().collect(),
            pivots: inside.into_iter().collect(),
            categories: BTreeSet::new(),
            with_lines,
            spreading: true,
            entry,
            current: entry,
        }
    }

    /// Makes the next step, with its lines if the evidence is to hold them.
    pub(super) fn go(
        &mut self,
        step: &FlowStep,
        evidence: Option<&mut Evidence>,
        clock: &mut Clock,
        rng: &mut Rng,
    ) {
        clock.pass(20, 5400, rng);
        let mut before = clock.clone();
        let (source, target) = self.ends(step.tactic, rng);
        // By definition, whatever the flow calls it: from inside it is discovery, from outside before anything fell it is not.
        let tactic = match step.tactic {
            Tactic::Reconnaissance if self.is_inside(&source) => Tactic::Discovery,
            Tactic::Discovery if !self.is_inside(&source) && !self.has_entered() => Tactic::Reconnaissance,
            tactic => tactic,
        };
        let host = &self.topology.hosts[target];
        let kinds: Vec<Kind> = self.topology.places[target].offers.iter().map(|offer| offer.kind).collect();
        let fit = Fit { tactic, os: os_of(&host.os), role: host.role, kinds: &kinds };
        let technique = choose(&step.technique, fit, rng);
        let deed = Deed { tactic, technique: &technique, source: &source, target };
        let raised = self.raise(&deed, clock, rng);
        let seen = !raised.is_empty();
        let offer = raised.iter().filter(|raised| raised.target == target).find_map(|raised| raised.offer);
        self.settle(tactic, target, offer, seen);
        let mut alerts = Vec::new();
        for raised in raised {
            alerts.extend(raised.alerts);
            self.categories.insert(raised.category);
        }
        if let Some(evidence) = evidence.filter(|_| self.with_lines) {
            self.write_lines(&deed, evidence, &mut before, rng);
        }
        let target = self.topology.hosts[target].address.clone();
        self.path.push(Step { tactic, technique, source, target, alerts });
    }

    /// Does once more what was done last: the same rules see it.
    pub(super) fn go_on(&mut self, clock: &mut Clock, rng: &mut Rng) {
        let Some(mut step) = self.path.last().cloned() else { return };
        clock.pass(20, 1800, rng);
        for alert in &mut step.alerts {
            clock.pass(1, 40, rng);
            alert.time = clock.time();
        }
        self.path.push(step);
    }

    pub(super) fn host(&self, place: usize) -> &Host {
        // Positions come from the topology itself.
        &self.topology.hosts[place]
    }

    fn has_entered(&self) -> bool {
        self.taken.iter().any(|(place, _)| *place == self.entry)
    }

    /// From where a step is done, and to which host.
    fn ends(&mut self, tactic: Tactic, rng: &mut Rng) -> (String, usize) {
        let entered = self.has_entered();
        let inside = |attack: &Self| attack.host(attack.current).address.clone();
        match tactic {
            // Whoever still looks at a network from outside looks at what it shows to the outside.
            Tactic::Reconnaissance => (self.origin.clone(), self.entry),
            _ if !entered => (self.origin.clone(), self.entry),
            Tactic::LateralMovement | Tactic::Discovery => {
                let others = self.reachable(tactic);
                match rng.pick(&others).copied() {
                    Some(next) => (inside(self), next),
                    None => (self.way_back(), self.current),
                }
            }
            Tactic::CommandAndControl | Tactic::Exfiltration | Tactic::Impact => {
                (self.control.clone(), self.current)
            }
            _ => (self.way_back(), self.current),
        }
    }

    /// Address from which the attacker works on the current host: the host before it if the Internet does not reach it.
    fn way_back(&self) -> String {
        let before =
            self.taken.iter().position(|(place, _)| *place == self.current).and_then(|at| at.checked_sub(1));
        match before.and_then(|at| self.taken.get(at)) {
            Some((place, _)) if !self.reaches(&self.origin, self.current) => {
                self.host(*place).address.clone()
            }
            _ => self.origin.clone(),
        }
    }

    /// Whether packets from an address reach the services of a host: from inside always, from the Internet those that
    /// the gateway forwards.
    fn reaches(&self, source: &str, target: usize) -> bool {
        self.is_inside(source) || self.topology.places.get(target).is_some_and(|place| place.public)
    }

    fn is_inside(&self, source: &str) -> bool {
        self.topology.hosts.iter().any(|host| host.address == source)
    }

    /// Hosts that can be attacked from inside: any but the gateway and what has fallen already.
    fn reachable(&self, tactic: Tactic) -> Vec<usize> {
        let taken = |place: &usize| self.taken.iter().any(|(own, _)| own == place);
        let has_way = |place: &usize| {
            tactic == Tactic::Discovery
                || self.topology.places.get(*place).is_some_and(|own| !own.offers.is_empty())
        };
        (1..self.topology.hosts.len()).filter(|place| !taken(place) && has_way(place)).collect()
    }

    fn raise(&self, deed: &Deed<'_>, clock: &mut Clock, rng: &mut Rng) -> Vec<Raised> {
        let Deed { tactic, technique, source, target } = *deed;
        let offer = self.offer_of(technique, target);
        let traffic = Traffic {
            tactic,
            source,
            target,
            control: &self.control,
            reachable: self.reaches(source, target),
            offer,
        };
        let mut found: Vec<Raised> = Vec::new();
        for _ in 0..rng.between(1, 2) {
            found.extend(alerts::raise(self.vocabulary, self.topology, traffic, clock, rng));
        }
        // A scan from outside shows no discovery: the attacker asks through the host that he holds.
        if tactic == Tactic::Discovery && !self.is_inside(source) {
            found.retain(|raised| raised.category != "SCAN");
        } else if matches!(tactic, Tactic::Reconnaissance | Tactic::Discovery)
            && source != self.host(target).address
        {
            for other in self.neighbours(source, target, rng) {
                let traffic = Traffic { target: other, offer: None, reachable: true, ..traffic };
                found.extend(alerts::raise(self.vocabulary, self.topology, traffic, clock, rng));
            }
        }
        // What a host answers to a successful attack is seen of the one under attack alone, and not before it falls.
        let falls = self.has_entered() || !is_only_tried(tactic);
        found.retain(|raised| raised.category != "ATTACK_RESPONSE" || falls && raised.target == self.current);
        found
    }

    /// The service that a technique speaks to.
    fn offer_of(&self, technique: &str, target: usize) -> Option<&'static Offer> {
        let kind = match technique {
            "T1021.001" => Kind::Rdp,
            "T1021.002" => Kind::Smb,
            "T1021.004" => Kind::Ssh,
            "T1505.003" => Kind::Web,
            _ => return None,
        };
        self.topology.places.get(target)?.offers.iter().copied().find(|offer| offer.kind == kind)
    }

    /// Some more hosts that the source reaches.
    fn neighbours(&self, source: &str, target: usize, rng: &mut Rng) -> Vec<usize> {
        let mut others: Vec<usize> = (1..self.topology.hosts.len())
            .filter(|place| {
                *place != target && self.host(*place).address != source && self.reaches(source, *place)
            })
            .collect();
        rng.shuffle(&mut others);
        others.truncate(rng.below(3));
        others
    }

    /// What a step changes: who fell, and where the attacker stands now.
    fn settle(&mut self, tactic: Tactic, target: usize, offer: Option<&'static Offer>, seen: bool) {
        if !self.has_entered() {
            if !is_only_tried(tactic) {
                self.taken.push((self.entry, offer));
            }
            return;
        }
        if tactic == Tactic::LateralMovement && target != self.current {
            let from = self.current;
            if self.spreading && seen && self.taken.len() < MOST_HOSTS {
                self.taken.push((target, offer));
                self.current = target;
            }
            if !self.pivots.contains(&from) {
                self.pivots.push(from);
            }
        }
    }

    fn write_lines(&mut self, deed: &Deed<'_>, evidence: &mut Evidence, clock: &mut Clock, rng: &mut Rng) {
        let Deed { tactic, technique, source, target } = *deed;
        let host = self.topology.hosts[target].clone();
        let logs_in = matches!(tactic, Tactic::CredentialAccess | Tactic::LateralMovement)
            || technique.starts_with("T1078")
            || technique.starts_with("T1110");
        let fell = self.taken.iter().any(|(place, _)| *place == target);
        if logs_in
            && (fell || tactic == Tactic::CredentialAccess)
            && source != host.address
            && self.reaches(source, target)
            && rng.chance(60)
        {
            let own = self.topology.accounts.iter_mut().find(|account| account.hosts.contains(&host.address));
            if let Some(account) = own {
                account.state = AccountState::Stolen;
                let who = Login { host: &host, account: &account.name, source };
                lines::guessed_password(evidence, who, clock, rng);
            }
        }
        if tactic == Tactic::Persistence && fell && rng.chance(50) {
            let name =
                rng.one_of(&["svc_helper", "sys_update", "support_2", "adm_temp", "web_test1"]).to_owned();
            if !self.topology.accounts.iter().any(|account| account.name == name) {
                lines::new_account(evidence, &host, &name, clock, rng);
                let account =
                    Account { name, hosts: vec![host.address.clone()], state: AccountState::Planted };
                self.topology.accounts.push(account);
            }
        }
        if matches!(tactic, Tactic::CommandAndControl | Tactic::Exfiltration)
            && let Some(domain) = &self.domain
        {
            let resolves = |host: &&Host| host.services.iter().any(|service| service.name == "BIND");
            let hosts = &self.topology.hosts;
            if let Some(resolver) = hosts.iter().find(resolves).or(hosts.first()) {
                lines::query(evidence, [&host, resolver], domain, clock, rng);
            }
        }
    }
}

/// Whether a first step of this tactic leaves the host as it was.
fn is_only_tried(tactic: Tactic) -> bool {
    use Tactic::*;
    matches!(tactic, Reconnaissance | ResourceDevelopment | CredentialAccess | Discovery)
}

/// Whether a technique needs somebody to open something.
fn is_by_person(technique: &str) -> bool {
    ["T1566", "T1204", "T1189", "T1203", "T1598"].iter().any(|beginning| technique.starts_with(beginning))
}
