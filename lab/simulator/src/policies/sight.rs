//! What a responder without a model finds in the evidence.

use std::collections::BTreeMap;

use countermove_incident::{AlertLog, Entities, EntityKind, Grounding, Tactic};

use super::Brief;
use crate::classes::tactics_of_class;

/// Priority up to which an alert counts as one of an attack; 1 is the highest.
const ATTACK: u8 = 2;
/// Priority of an alert without one.
const UNKNOWN: u8 = 3;

/// What the evidence names, worst first.
#[derive(Debug)]
pub(super) struct Sight {
    system: String,
    log: AlertLog,
    /// Addresses of the system.
    hosts: Vec<String>,
    /// Domains and accounts that the description does not know.
    domains: Vec<String>,
    accounts: Vec<String>,
    /// Ends of alerts: best priority and how often, by name.
    ends: BTreeMap<String, (u8, u64)>,
    urgent: bool,
}

impl Sight {
    pub(super) fn new(brief: Brief<'_>) -> Sight {
        let mut sight = Sight {
            system: brief.system.to_owned(),
            log: AlertLog::default(),
            hosts: Vec::new(),
            domains: Vec::new(),
            accounts: Vec::new(),
            ends: BTreeMap::new(),
            urgent: false,
        };
        sight.add(brief.log);
        sight.add(brief.remarks);
        sight
    }

    /// Reads more evidence. What is not text is passed over.
    pub(super) fn add(&mut self, text: &str) {
        let Ok(more) = AlertLog::read(text.as_bytes()) else { return };
        let own = Grounding::new(&self.system, &AlertLog::default());
        for record in &more.records {
            let text = match record.is_alert() {
                true => {
                    let priority = record.alert_kind().priority.unwrap_or(UNKNOWN);
                    self.urgent |= priority == 1;
                    for end in [&record.source, &record.destination].into_iter().flatten() {
                        let seen = self.ends.entry(end.address.clone()).or_insert((priority, 0));
                        *seen = (seen.0.min(priority), seen.1.saturating_add(record.repeats.count));
                    }
                    format!("{} {}", record.message, record.detail)
                }
                false => record.message.clone(),
            };
            for entity in own.unknown_entities(&text) {
                let known = match entity.kind {
                    EntityKind::Domain => &mut self.domains,
                    EntityKind::Account => &mut self.accounts,
                    _ => continue,
                };
                if !known.contains(&entity.value) {
                    known.push(entity.value);
                }
            }
            // An account that the description knows may have been used by somebody else.
            let named = Entities::find(&text);
            for account in named.of(EntityKind::Account) {
                if !self.accounts.iter().any(|own| own == account) {
                    self.accounts.push(account.to_owned());
                }
            }
        }
        self.log.records.extend(more.records);
        self.hosts = Grounding::new(&self.system, &self.log).internal_addresses();
    }

    /// Whether an alert of priority 1 was seen.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Addresses of the system.
    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Addresses of the system that alerts of an attack name; with `wide` those that any alert names.
    pub(super) fn inside(&self, wide: bool) -> Vec<String> {
        self.ranked(wide).into_iter().filter(|name| self.hosts.contains(name)).collect()
    }

    /// Addresses outside that alerts of an attack name, and domains; with `wide` those of any alert.
    pub(super) fn outside(&self, wide: bool) -> Vec<String> {
        let addresses = self.ranked(wide).into_iter().filter(|name| !self.hosts.contains(name));
        addresses
            .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
            .chain(self.domains.clone())
            .collect()
    }

    /// Accounts that the evidence names.
    pub(super) fn accounts(&self) -> Vec<String> {
        self.accounts.clone()
    }

    /// Ends of alerts, worst first, and whether they lie inside.
    pub(super) fn ends(&self) -> Vec<(String, bool)> {
        let inside = |name: &String| self.hosts.contains(name);
        self.ranked(true).into_iter().map(|name| (name.clone(), inside(&name))).collect()
    }

    /// The likeliest tactic of each alert of an attack, each once.
    pub(super) fn tactics(&self) -> Vec<Tactic> {
        let mut tactics = Vec::new();
        for alert in
            self.log.alerts().filter(|alert| alert.alert_kind().priority.unwrap_or(UNKNOWN) <= ATTACK)
        {
            if let Some(tactic) = tactics_of_class(&alert.classification).first()
                && !tactics.contains(tactic)
            {
                tactics.push(*tactic);
            }
        }
        tactics
    }

    /// Ends by priority, then by number of alerts.
    fn ranked(&self, wide: bool) -> Vec<String> {
        let mut ends: Vec<(&String, (u8, u64))> = self
            .ends
            .iter()
            .filter(|(_, seen)| wide || seen.0 <= ATTACK)
            .map(|(name, seen)| (name, *seen))
            .collect();
        ends.sort_by_key(|(_, (priority, count))| (*priority, std::cmp::Reverse(*count)));
        ends.into_iter().map(|(name, _)| name.clone()).collect()
    }
}
