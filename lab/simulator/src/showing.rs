//! What a record of the evidence shows, by the truth: a tactic of the attack, or an everyday event.
//!
//! Invariant: an instruction that somebody put into a record shows nothing.

use std::collections::HashMap;

use countermove_incident::{Record, Tactic};

use crate::truth::{AccountState, Truth};

/// Tells what records show.
#[derive(Debug)]
pub struct Showing<'a> {
    truth: &'a Truth,
    /// Tactics by message, source and destination of the alerts that the attacker's steps raised.
    alerts: HashMap<(&'a str, &'a str, &'a str), Tactic>,
}

/// Words of a line about a login by password, which the attacker guessed.
const PASSWORD_WORDS: [&str; 2] = ["Failed password for", "Accepted password for"];
/// Windows' events about one.
const PASSWORD_EVENTS: [&str; 2] = ["4625", "4624"];

impl<'a> Showing<'a> {
    /// Of the steps that lie before the first planning, and of those that come.
    pub fn new(truth: &'a Truth) -> Showing<'a> {
        let mut alerts = HashMap::new();
        for step in &truth.path {
            for alert in &step.alerts {
                let end = |end: &'a Option<countermove_incident::Endpoint>| {
                    end.as_ref().map_or("", |end| end.address.as_str())
                };
                let key = (alert.message.as_str(), end(&alert.source), end(&alert.destination));
                alerts.entry(key).or_insert(step.tactic);
            }
        }
        Showing { truth, alerts }
    }

    /// The tactic that the record shows; none if it is part of no attack.
    pub fn of(&self, record: &Record) -> Option<Tactic> {
        match record.is_alert() {
            true => {
                let end = |end: &Option<countermove_incident::Endpoint>| {
                    end.as_ref().map(|end| end.address.clone()).unwrap_or_default()
                };
                let (source, destination) = (end(&record.source), end(&record.destination));
                self.alerts.get(&(record.message.as_str(), source.as_str(), destination.as_str())).copied()
            }
            false => self.of_line(record),
        }
    }

    fn of_line(&self, record: &Record) -> Option<Tactic> {
        let text = record.message.as_str();
        if self.truth.injections.iter().any(|injection| text.contains(&injection.text)) {
            return None;
        }
        let names = |state: AccountState| {
            let is_named = |name: &str| record.account == name || has_word(text, name);
            self.truth.accounts.iter().any(|account| account.state == state && is_named(&account.name))
        };
        let by_password = PASSWORD_WORDS.iter().any(|words| text.contains(words))
            || PASSWORD_EVENTS.contains(&record.rule.as_str());
        let asks_for = |name: &&String| self.truth.host(name).is_none() && has_word(text, name);
        match () {
            () if names(AccountState::Planted) => Some(Tactic::Persistence),
            () if by_password && names(AccountState::Stolen) => Some(Tactic::CredentialAccess),
            () if !by_password && self.truth.attackers.iter().any(|name| asks_for(&name)) => {
                Some(Tactic::CommandAndControl)
            }
            () => None,
        }
    }
}

/// Whether the text holds the word and not as part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let (before, after) = (text.get(..start), text.get(start + word.len()..));
        !before.is_some_and(|text| text.ends_with(inner))
            && !after.is_some_and(|text| text.starts_with(inner))
    })
}

#[cfg(test)]
mod tests {
    use countermove_incident::AlertLog;

    use super::*;
    use crate::{Generator, GeneratorOptions, Vocabulary};

    #[test]
    fn evidence_shows_the_tactics_that_the_truth_says_it_does() {
        let vocabulary = Vocabulary::builtin();
        let generator = Generator::new(&vocabulary, GeneratorOptions::default()).unwrap();
        let mut lines = 0;
        for seed in 0..400 {
            let scenario = generator.scenario(seed);
            let log = AlertLog::parse(scenario.log.as_bytes()).unwrap();
            let showing = Showing::new(&scenario.truth);
            let of = |record: &Record| showing.of(record);
            if !scenario.truth.incident {
                assert!(log.records.iter().all(|record| of(record).is_none()), "seed {seed}");
                continue;
            }
            let shown: Vec<Tactic> = log.alerts().filter_map(of).collect();
            for tactic in scenario.truth.tactics_shown() {
                // Two steps may raise the very same alert; it then shows the first of them.
                let raised = scenario.truth.shown().iter().filter(|step| step.tactic == tactic);
                let told = raised
                    .flat_map(|step| &step.alerts)
                    .any(|alert| of(alert).is_some_and(|other| other != tactic));
                assert!(shown.contains(&tactic) || told, "seed {seed}: {tactic} of {shown:?}");
            }
            let accounts = scenario.truth.accounts.iter();
            let used = accounts.filter(|account| account.state != AccountState::Clean).count();
            let told = log.lines().filter(|line| of(line).is_some()).count();
            assert!(told >= used, "seed {seed}: {told} lines for {used} accounts");
            lines += told;
        }
        assert!(lines > 100, "{lines}");
    }
}
