//! Who attacks whom, as far as the addresses of alerts tell.
//!
//! Whether an alert is an attack is for the model to judge, and who of those that may be the attacker is. What follows
//! from that is exact: where an attacker's most severe alerts went is what it attacked.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{AlertLog, Entities, EntityKind};

/// The least severe priority.
const LOWEST: u8 = 4;
/// Priorities up to this one are serious; below it there is mostly noise.
const SERIOUS: u8 = 2;

/// The alerts of a log by source, destination and priority, and what its plain lines name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// Alerts for each source, destination and priority.
    flows: BTreeMap<(String, String, u8), u64>,
    /// Addresses and accounts in plain lines, which do not say who is the source.
    named: Vec<String>,
}

impl Traffic {
    /// The traffic that a log tells of.
    pub(crate) fn of(log: &AlertLog) -> Traffic {
        let mut traffic = Traffic::default();
        for alert in log.alerts() {
            if let (Some(source), Some(destination)) = (&alert.source, &alert.destination) {
                // An alert without a priority counts as the third of the usual four.
                let priority = alert.priority.unwrap_or(3).clamp(1, LOWEST);
                let key = (source.address.clone(), destination.address.clone(), priority);
                let count = traffic.flows.entry(key).or_default();
                *count = count.saturating_add(alert.repeats.count);
            }
        }
        let mut seen = BTreeSet::new();
        for line in log.lines() {
            let found = Entities::find(&line.text);
            let kinds = [EntityKind::Address, EntityKind::Account, EntityKind::Host, EntityKind::Domain];
            for name in kinds.into_iter().flat_map(|kind| found.of(kind)) {
                if seen.insert(name.to_owned()) {
                    traffic.named.push(name.to_owned());
                }
            }
        }
        traffic
    }

    /// Who may attack, the likeliest first: sources of the most severe alerts from outside the system, if those are
    /// serious. If there are none, the sources of the most severe alerts inside, then those outside. What plain lines
    /// name from outside comes last.
    pub(crate) fn suspects(&self, systems: &[String]) -> Vec<String> {
        let inside = |name: &str| systems.iter().any(|system| system == name);
        let outside = self.flows.keys().filter(|(source, _, _)| !inside(source));
        let worst = outside.map(|(_, _, priority)| *priority).min().filter(|priority| *priority <= SERIOUS);
        let mut suspects =
            worst.map(|worst| self.sources(worst, |source| !inside(source))).unwrap_or_default();
        if suspects.is_empty() {
            suspects = self.sources(self.highest(), inside);
            suspects.extend(self.sources(LOWEST, |source| !inside(source)));
        }
        for name in self.named.iter().filter(|name| !inside(name)) {
            if !suspects.contains(name) {
                suspects.push(name.clone());
            }
        }
        suspects
    }

    /// Hosts of the system that these attackers attack, the worst hit first: where their most severe alerts went. A
    /// host of the system that is the source of the most severe alerts of all against what no attacker attacked was
    /// taken over, and both are attacked as well. Without any such alert: where serious alerts went at all.
    pub(crate) fn attacked_by(&self, attackers: &[String], systems: &[String]) -> Vec<String> {
        let is_attacker = |name: &str| attackers.iter().any(|attacker| attacker == name);
        let in_danger = |name: &str| systems.iter().any(|system| system == name) && !is_attacker(name);
        let worst = |attacker: &str| {
            self.flows
                .keys()
                .filter(|(source, _, _)| source == attacker)
                .map(|(_, _, priority)| *priority)
                .min()
        };
        let mut attacked = Ranking::default();
        for ((source, destination, priority), count) in &self.flows {
            if is_attacker(source) && in_danger(destination) && worst(source) == Some(*priority) {
                attacked.add(destination, *priority, *count);
            }
        }
        let explained: Vec<&String> = self
            .flows
            .keys()
            .filter(|(source, _, priority)| is_attacker(source) && *priority <= SERIOUS)
            .map(|(_, destination, _)| destination)
            .collect();
        for ((source, destination, priority), count) in &self.flows {
            let is_worst = *priority == self.highest() && *priority <= SERIOUS;
            if is_worst && in_danger(source) && in_danger(destination) && !explained.contains(&destination) {
                attacked.add(source, *priority, *count);
                attacked.add(destination, *priority, *count);
            }
        }
        if attacked.is_empty() {
            for ((_, destination, priority), count) in &self.flows {
                if *priority <= SERIOUS && in_danger(destination) {
                    attacked.add(destination, *priority, *count);
                }
            }
        }
        attacked.ordered()
    }

    /// Hosts of the system that plain lines name.
    pub(crate) fn named_systems(&self, systems: &[String]) -> Vec<String> {
        self.named.iter().filter(|name| systems.contains(name)).cloned().collect()
    }

    /// Whether any alert has a source and a destination.
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Whether there is an alert of priority 1, the highest there is.
    pub(crate) fn has_highest_priority(&self) -> bool {
        self.highest() == 1
    }

    /// The most severe priority.
    fn highest(&self) -> u8 {
        self.flows.keys().map(|(_, _, priority)| *priority).min().unwrap_or(LOWEST)
    }

    /// Sources of alerts of at least this priority, those of the worst alerts against most hosts first.
    fn sources(&self, priority: u8, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut ranking = Ranking::default();
        for (source, _, found) in self.flows.keys() {
            if *found <= priority && wanted(source) {
                ranking.add(source, *found, 1);
            }
        }
        ranking.ordered()
    }
}

/// Names by weight, the heaviest first; among equals, by name.
#[derive(Default)]
struct Ranking(BTreeMap<String, u64>);

impl Ranking {
    /// An alert weighs sixteen times as much as one of the next priority.
    fn add(&mut self, name: &str, priority: u8, count: u64) {
        let weight = 16_u64.pow(u32::from(LOWEST.saturating_sub(priority)));
        let sum = self.0.entry(name.to_owned()).or_default();
        *sum = sum.saturating_add(count.saturating_mul(weight));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn ordered(self) -> Vec<String> {
        let mut names: Vec<(String, u64)> = self.0.into_iter().collect();
        names.sort_by(|(_, a), (_, b)| b.cmp(a));
        names.into_iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(alerts: &[(&str, &str, u8)]) -> Traffic {
        let lines: Vec<String> = alerts
            .iter()
            .map(|(source, destination, priority)| {
                format!(
                    "06/10-13:10:51.405000 [**] [1:1000001:2] Something [**] [Classification: Misc Attack] [Priority: \
                     {priority}] {{TCP}} {source}:4711 -> {destination}:80\n"
                )
            })
            .collect();
        Traffic::of(&AlertLog::parse(lines.concat().as_bytes()).unwrap())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn attackers_from_outside_come_before_hosts_of_the_system() {
        let systems = names(&["10.0.3.3", "10.0.4.6", "10.0.2.1"]);
        let traffic = traffic(&[
            ("192.168.1.50", "10.0.3.3", 2),
            ("10.0.4.6", "10.0.2.1", 1),
            ("198.51.100.8", "10.0.3.3", 3),
        ]);
        assert_eq!(traffic.suspects(&systems), ["192.168.1.50"]);
        let attacked = traffic.attacked_by(&names(&["192.168.1.50"]), &systems);
        assert_eq!(attacked, ["10.0.2.1", "10.0.4.6", "10.0.3.3"], "10.0.4.6 was taken over");
    }

    #[test]
    fn where_all_sources_are_inside_those_of_the_worst_alerts_are_suspects() {
        let systems = names(&["10.0.1.11", "10.0.2.10", "10.0.2.11", "10.0.2.13"]);
        let traffic = traffic(&[
            ("10.0.1.11", "10.0.2.11", 1),
            ("10.0.1.11", "10.0.2.13", 1),
            ("10.0.1.11", "10.0.2.10", 2),
            ("10.0.2.10", "10.0.2.11", 1),
            ("10.0.2.11", "10.0.1.11", 2),
        ]);
        assert_eq!(traffic.suspects(&systems), ["10.0.1.11", "10.0.2.10"]);
        // The gateway repeats what the attacker sends and was not taken over; nor does an answer make a target.
        assert_eq!(traffic.attacked_by(&names(&["10.0.1.11"]), &systems), ["10.0.2.11", "10.0.2.13"]);
    }

    #[test]
    fn unknown_attackers_leave_what_serious_alerts_hit() {
        let systems = names(&["10.0.2.11", "10.0.2.12"]);
        let traffic = traffic(&[("192.0.2.1", "10.0.2.11", 2), ("192.0.2.1", "10.0.2.12", 3)]);
        assert_eq!(traffic.attacked_by(&[], &systems), ["10.0.2.11"]);
    }

    #[test]
    fn plain_lines_name_suspects() {
        let log = "sshd[9]: Failed password for root from 203.0.113.9 port 22 to 10.0.2.11\n";
        let traffic = Traffic::of(&AlertLog::parse(log.as_bytes()).unwrap());
        let systems = names(&["10.0.2.11", "10.0.2.12"]);
        assert!(traffic.is_empty());
        assert!(traffic.suspects(&systems).contains(&"203.0.113.9".to_owned()));
        assert_eq!(traffic.named_systems(&systems), ["10.0.2.11"]);
    }
}
