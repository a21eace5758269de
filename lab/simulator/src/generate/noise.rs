//! What a network shows on any day: updates, scans from the Internet that find nothing, false positives.

use countermove_incident::{Record, Tactic};

use super::alerts::{self, everyday};
use super::clock::Clock;
use super::evidence::Evidence;
use super::lines::Login;
use super::{lines, outside};
use crate::data::{Kind, Noise, Os, Rule, Vocabulary};
use crate::rng::Rng;
use crate::topology::{Topology, os_of};

/// Where noise goes and when.
#[derive(Debug)]
pub(super) struct Background<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) topology: &'a Topology,
    /// First and last moment of the log.
    pub(super) span: [&'a Clock; 2],
}

impl Background<'_> {
    /// Adds this many pieces of noise.
    pub(super) fn add(&self, evidence: &mut Evidence, pieces: usize, rng: &mut Rng) {
        for _ in 0..pieces {
            match rng.below(10) {
                0..5 => self.outgoing(evidence, rng),
                5..8 => self.incoming(evidence, rng),
                _ => self.failed_probe(evidence, rng),
            }
        }
    }

    /// Adds lines of hosts' own logs.
    pub(super) fn add_lines(&self, evidence: &mut Evidence, count: usize, rng: &mut Rng) {
        for _ in 0..count {
            lines::everyday(evidence, self.topology, &mut self.moment(rng), rng);
        }
    }

    /// Somebody mistypes a password and then gets in.
    pub(super) fn mistyped_password(&self, evidence: &mut Evidence, rng: &mut Rng) {
        let (Some(account), Some(from)) = (rng.pick(&self.topology.accounts), rng.pick(&self.topology.hosts))
        else {
            return;
        };
        let Some(host) = self.topology.hosts.iter().find(|host| account.hosts.contains(&host.address)) else {
            return;
        };
        let mut clock = self.moment(rng);
        let who = Login { host, account: &account.name, source: &from.address };
        lines::failed_login(evidence, who, &mut clock, rng);
        clock.pass(2, 9, rng);
        lines::login(evidence, who, &clock, rng);
    }

    /// The allowed scan for weak spots, if a host does one.
    pub(super) fn audit(&self, evidence: &mut Evidence, rng: &mut Rng) {
        let Some(auditor) = self.topology.auditor.and_then(|place| self.topology.hosts.get(place)) else {
            return;
        };
        let mut clock = self.moment(rng);
        for (host, place) in self.topology.hosts.iter().zip(&self.topology.places) {
            let web = place.offers.iter().find(|offer| offer.kind == Kind::Web);
            let Some(offer) = web.filter(|_| host.address != auditor.address && rng.chance(80)) else {
                continue;
            };
            clock.pass(1, 30, rng);
            let ends = [auditor.address.as_str(), host.address.as_str()];
            if let Some(rule) = self.vocabulary.noise(Noise::Audit, rng) {
                self.take(evidence, rule, everyday(rule, ends, Some(offer.port), &clock, rng));
            }
        }
    }

    fn outgoing(&self, evidence: &mut Evidence, rng: &mut Rng) {
        let Some(host) = rng.pick(self.topology.hosts.get(1..).unwrap_or_default()) else { return };
        let outside = outside::address(rng);
        let ends = [host.address.as_str(), outside.as_str()];
        if let Some(rule) = self.vocabulary.noise(Noise::Outgoing, rng) {
            self.take(evidence, rule, everyday(rule, ends, rule.port, &self.moment(rng), rng));
        }
    }

    fn incoming(&self, evidence: &mut Evidence, rng: &mut Rng) {
        let Some(place) = self.public_host(rng) else { return };
        let (Some(host), Some(offers)) = (self.topology.hosts.get(place), self.topology.places.get(place))
        else {
            return;
        };
        let port = rng.pick(&offers.offers).map(|offer| offer.port);
        let outside = outside::address(rng);
        let ends = [outside.as_str(), host.address.as_str()];
        if let Some(rule) = self.vocabulary.noise(Noise::Incoming, rng) {
            self.take(evidence, rule, everyday(rule, ends, rule.port.or(port), &self.moment(rng), rng));
        }
    }

    /// An attack from the Internet on what the host does not run: on the other operating system.
    fn failed_probe(&self, evidence: &mut Evidence, rng: &mut Rng) {
        let Some(place) = self.public_host(rng) else { return };
        let (Some(host), Some(own)) = (self.topology.hosts.get(place), self.topology.places.get(place))
        else {
            return;
        };
        let wrong = if os_of(&host.os) == Os::Windows { Os::Linux } else { Os::Windows };
        let Some(offer) = own.offers.iter().find(|offer| offer.kind == Kind::Web) else { return };
        let Some(rule) = self.vocabulary.rule_for(Tactic::InitialAccess, Kind::Web, wrong, rng) else {
            return;
        };
        let outside = outside::address(rng);
        let client = u16::try_from(rng.between(32_768, 60_000)).unwrap_or(40_000);
        let ends = [(outside.as_str(), client), (host.address.as_str(), offer.port)];
        self.take(evidence, rule, alerts::alert(rule, ends, &self.moment(rng)));
    }

    fn public_host(&self, rng: &mut Rng) -> Option<usize> {
        let places: Vec<usize> = (1..self.topology.hosts.len())
            .filter(|place| self.topology.places.get(*place).is_some_and(|own| own.public))
            .collect();
        rng.pick(&places).copied()
    }

    fn take(&self, evidence: &mut Evidence, rule: &Rule, alert: Record) {
        if !evidence.categories.contains(&rule.category) {
            evidence.categories.insert(rule.category.clone());
        }
        evidence.add(alert);
    }

    fn moment(&self, rng: &mut Rng) -> Clock {
        let [first, last] = self.span;
        first.between(last, rng)
    }
}
