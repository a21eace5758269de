//! An attack that goes on while one responds, in the terms of a catalogue: what is believed of it, and what to do next.
//!
//! Time passes in rounds: what was done, what the attacker did, what was seen of it. A belief holds many attacks as they may be
//! ([`belief`]), and a search plays each deed out in them ([`search`]). How many hosts there are, what can be done and what it is worth
//! comes from the catalogue alone ([`field`]); how attackers go about it from [`attack`]. What a round showed is what perception made of
//! its records ([`sights`]).

mod attack;
pub(crate) mod belief;
mod field;
mod search;
pub(crate) mod sights;
mod view;

use std::collections::BTreeMap;

use countermove_incident::{Catalogue, Reversibility};

use crate::choosing::aggregate::{Tally, played};
use crate::choosing::assurance::Assurance;
use crate::choosing::candidate::{Action, Candidate};
use crate::choosing::race::chances_against;
use crate::rollouts::world::Belief;
use crate::seeds::derive_seed;
use belief::{Attacks, Round};
use field::{Deed, Field};
use search::{Outlook, Search};
use view::View;

/// Games that each rollout asked for stands for: with 40 rollouts of each of 3 candidates, some 15,000.
const GAMES: usize = 128;

/// What a decision is made from.
pub(crate) struct Engagement<'a> {
    pub(crate) catalogue: &'a Catalogue,
    /// Rounds that have passed.
    pub(crate) rounds: &'a [Round],
    /// Rounds that are left.
    pub(crate) rounds_left: usize,
    /// Candidates that are told, at most. With one there is nothing to compare: it is what the simple rule of a responder says, and its
    /// cost is estimated.
    pub(crate) candidates: usize,
    /// Rollouts of each.
    pub(crate) rollouts: usize,
    /// Chance of being the best from which on the best is called clear.
    pub(crate) confidence: f64,
    pub(crate) seed: u64,
}

/// What was decided.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) belief: Belief,
    /// The best, the first of which is chosen.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) reason: String,
    pub(crate) assurance: Assurance,
}

impl Engagement<'_> {
    /// What to do next. `None` if nothing is allowed.
    pub(crate) fn decide(&self, allowed: impl Fn(&str) -> bool) -> Option<Verdict> {
        let field = Field::new(self.catalogue).learn(self.rounds);
        let attacks = Attacks::after(&field, self.rounds, derive_seed(self.seed, "attacks", &[]));
        let view = View::after(&field, self.rounds, &attacks);
        let may = |deed: &Deed| allowed(&field.text(*deed));
        let rule = Some(view.rule(&field, self.rounds_left)).filter(|deed| self.candidates == 1 && may(deed));
        let deeds = match rule {
            Some(deed) => vec![deed],
            None => view.deeds(&field).into_iter().filter(may).collect(),
        };
        let search = Search {
            field: &field,
            attacks: &attacks,
            view,
            rounds_left: self.rounds_left,
            games: GAMES.saturating_mul(self.rollouts).saturating_mul(self.candidates),
            seed: derive_seed(self.seed, "games", &[]),
        };
        let outlooks = search.run(deeds);
        let (best, all) = (outlooks.first()?, outlooks.len());
        let tallies: Vec<Tally> =
            outlooks.iter().take(self.candidates.max(1)).map(|outlook| played(&outlook.costs)).collect();
        let candidates = (0..).zip(outlooks.iter().zip(&tallies)).map(|(index, (outlook, tally))| {
            let action =
                Action { text: field.text(outlook.deed), explanation: explanation(&field, outlook.deed) };
            Candidate { cost: tally.cost, ..Candidate::proposed(index, action, String::new()) }
        });
        let belief = self.belief(&field, &attacks);
        Some(Verdict {
            candidates: candidates.collect(),
            reason: reason(best, all),
            assurance: self.assurance(&field, best.deed, &tallies, &belief),
            belief,
        })
    }

    fn belief(&self, field: &Field<'_>, attacks: &Attacks) -> Belief {
        let chance = |host: field::Host| attacks.held(host) as f32;
        let compromised: BTreeMap<String, f32> =
            field.names.iter().enumerate().map(|(host, name)| ((*name).to_owned(), chance(host))).collect();
        Belief { compromised, ..Belief::default() }
    }

    fn assurance(&self, field: &Field<'_>, best: Deed, tallies: &[Tally], belief: &Belief) -> Assurance {
        let rivals: f64 = chances_against(Default::default(), tallies, 0).iter().sum();
        let chance = (1.0 - rivals).clamp(0.0, 1.0);
        let is_clear = chance >= self.confidence;
        let mut assurance = Assurance {
            chance,
            is_clear,
            best: 0,
            reversibility: Reversibility::of(&field.text(best)),
            doubts: Vec::new(),
            wanted_evidence: Vec::new(),
        };
        if is_clear {
            return assurance;
        }
        assurance.doubts.push(format!(
            "The best estimate is not clearly the best: the chance that no other action is cheaper is at least {:.0} %, and {:.0} % is \
             asked for.",
            100.0 * chance,
            100.0 * self.confidence
        ));
        // A host of which one knows least, weighed by what it is worth.
        let doubt = |host: field::Host| {
            let held = field
                .names
                .get(host)
                .and_then(|name| belief.compromised.get(*name))
                .copied()
                .unwrap_or_default();
            f64::from(held * (1.0 - held)) * field.worth(host)
        };
        let in_doubt =
            field.hosts().max_by(|a, b| doubt(*a).total_cmp(&doubt(*b))).filter(|host| doubt(*host) > 0.0);
        if let Some(name) = in_doubt.and_then(|host| field.names.get(host)) {
            let held = belief.compromised.get(*name).copied().unwrap_or_default();
            assurance.wanted_evidence.push(format!(
                "Whether an attacker holds {name}, which is {:.0} % likely: it is what most depends on.",
                100.0 * held
            ));
        }
        assurance
    }
}

fn explanation(field: &Field<'_>, deed: Deed) -> String {
    field.action(deed).map_or_else(String::new, |action| action.explanation.clone())
}

fn reason(best: &Outlook, all: usize) -> String {
    format!(
        "The lowest mean cost, {:.2} over {} games, of {all} things that may be done.",
        best.mean(),
        best.costs.len()
    )
}

#[cfg(test)]
mod tests {
    use super::belief::Sight;
    use super::field::tests::NETWORK;
    use super::*;

    fn decide(rounds: &[Round], allowed: impl Fn(&str) -> bool) -> Option<Verdict> {
        decide_of(3, rounds, allowed)
    }

    fn decide_of(candidates: usize, rounds: &[Round], allowed: impl Fn(&str) -> bool) -> Option<Verdict> {
        let catalogue = Catalogue::parse(NETWORK).unwrap();
        Engagement {
            catalogue: &catalogue,
            rounds,
            rounds_left: 20,
            candidates,
            rollouts: 10,
            confidence: 0.95,
            seed: 1,
        }
        .decide(allowed)
    }

    #[test]
    fn a_decision_tells_what_it_rests_on() {
        let seen = Sight { host: "web".into(), work: 0.95, probe: 0.05, ..Sight::default() };
        let rounds = [Round { sights: vec![seen], ..Round::default() }];
        let engaged = decide(&rounds, |_| true).unwrap();
        assert_eq!(engaged.candidates.len(), 3);
        let best = &engaged.candidates[0];
        assert!(best.cost.mean.unwrap() <= engaged.candidates[1].cost.mean.unwrap());
        assert!(best.cost.likely_low.unwrap() <= best.cost.mean.unwrap());
        assert_eq!(best.cost.terminal as usize, played(&vec![1.0; best.cost.terminal as usize]).costs.len());
        assert!(engaged.belief.compromised["web"] > 0.5, "{:?}", engaged.belief);
        assert!(engaged.reason.starts_with("The lowest mean cost, "), "{}", engaged.reason);
        assert_eq!(engaged.assurance.is_clear, engaged.assurance.doubts.is_empty());
    }

    #[test]
    fn a_single_candidate_is_what_the_rule_says() {
        let seen = Sight { host: "web".into(), work: 0.95, probe: 0.05, ..Sight::default() };
        let rounds = [Round { sights: vec![seen], ..Round::default() }];
        let only = decide_of(1, &rounds, |_| true).unwrap();
        assert_eq!(only.candidates.len(), 1);
        assert_eq!(only.candidates[0].action.text, "Restore web");
        assert!(only.candidates[0].cost.mean.is_some_and(|mean| mean > 0.0), "its cost is told");
        let other = decide_of(1, &rounds, |text| !text.starts_with("Restore")).unwrap();
        assert!(!other.candidates[0].action.text.starts_with("Restore"), "what it may not do it does not");
    }

    #[test]
    fn what_is_not_allowed_is_not_proposed() {
        let engaged = decide(&[], |text| text.starts_with("Watch")).unwrap();
        assert_eq!(engaged.candidates.len(), 1);
        assert_eq!(engaged.candidates[0].action.text, "Watch");
        assert!(decide(&[], |_| false).is_none());
    }
}
