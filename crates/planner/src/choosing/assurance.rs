//! How far a choice can be trusted, and what to do where it cannot.
//!
//! The best candidate is clearly the best if the chance that no other is better reaches the asked confidence. Chances
//! are those of Student's law for the difference of two means ([`crate::Race`]); that of the best is what all others
//! together leave (Bonferroni), so it errs towards doubt. Where the best is not clear, or rollouts disagree, the evidence that
//! would decide is named, and the choice falls on the candidate whose action can best be taken back among those that are
//! about as good a bet as the best.

use countermove_incident::{Entities, EntityKind, RecoveryState, Reversibility};
use serde::{Deserialize, Serialize};

use crate::choosing::aggregate::Tally;
use crate::choosing::candidate::Candidate;
use crate::choosing::choice::{Choice, compare, group, order};
use crate::choosing::race::chances_against;
use crate::evidence::roles::Roles;
use crate::prompts::coverage::named;

/// How far a choice can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assurance {
    /// Least chance that no other candidate is cheaper than the one with the lowest estimate, if the rollouts tell the truth.
    pub chance: f64,
    /// Whether that chance reaches the asked confidence and nothing else speaks against the estimates.
    pub is_clear: bool,
    /// Index of the candidate with the best estimate; the chosen one unless another could better be taken back.
    pub best: u32,
    /// How well the chosen action can be taken back.
    pub reversibility: Reversibility,
    /// Why the choice is in doubt, one sentence each; empty if it is clear.
    pub doubts: Vec<String>,
    /// Evidence that would decide, one sentence each; empty if the choice is clear.
    pub wanted_evidence: Vec<String>,
}

/// Rollouts disagree if the interval of the mean reaches further from it than this share of it.
const WIDE: f64 = 0.5;
/// A rival is about as good a bet as the best if it is cheaper with this chance; a half would be a toss-up.
const EVEN: f64 = 0.25;
/// How likely the attacker has an account of which further evidence is asked.
const DOUBTFUL: std::ops::Range<f32> = 0.05..0.95;
/// Most sentences of wanted evidence.
const MOST_WANTED: usize = 3;

/// What a choice is made from.
pub(crate) struct Decided<'a> {
    pub(crate) before: RecoveryState,
    pub(crate) candidates: &'a [Candidate],
    pub(crate) tallies: &'a [Tally],
    pub(crate) roles: &'a Roles,
    /// The asked confidence.
    pub(crate) confidence: f64,
}

impl Decided<'_> {
    /// The choice with its assurance, from the one that the estimates alone make.
    pub(crate) fn assure(&self, choice: Choice) -> (Choice, Assurance) {
        let best = choice.index;
        let chances = chances_against(self.before, self.tallies, best);
        let order = order(self.before, self.tallies);
        let usable = |i: &usize| order.contains(i);
        let doubtful: f64 = (0..chances.len()).filter(usable).filter_map(|i| chances.get(i)).sum();
        let chance = (1.0 - doubtful).clamp(0.0, 1.0);
        let doubts = self.doubts(best, chance, order.len());
        let mut assurance = Assurance {
            chance,
            is_clear: doubts.is_empty(),
            best: best as u32,
            reversibility: self.reversibility(best),
            doubts,
            wanted_evidence: Vec::new(),
        };
        if assurance.is_clear {
            return (choice, assurance);
        }
        let left = 1.0 - self.confidence;
        let rivals: Vec<usize> = order
            .iter()
            .copied()
            .filter(|&i| i != best && chances.get(i).is_some_and(|&c| c > left))
            .collect();
        assurance.wanted_evidence = self.wanted(best, &rivals);
        // The order of the estimates decides between equals, and the best stands first in it.
        let even = |i: &usize| chances.get(*i).is_some_and(|&chance| chance >= EVEN);
        let contenders = [best].into_iter().chain(rivals.into_iter().filter(even));
        let Some(safest) = contenders.min_by_key(|&i| can_be_taken_back(self.reversibility(i))) else {
            return (choice, assurance);
        };
        if safest == best {
            return (choice, assurance);
        }
        assurance.reversibility = self.reversibility(safest);
        let reason = format!(
            "{} Candidate {} has the best estimate, but not clearly; this one is no worse as far as the rollouts can tell, and \
             it can be taken back",
            choice.reason,
            best + 1
        );
        (Choice { index: safest, reason: reason + "." }, assurance)
    }

    fn reversibility(&self, index: usize) -> Reversibility {
        self.candidates
            .get(index)
            .map_or(Reversibility::Irreversible, |candidate| Reversibility::of(&candidate.action.text))
    }

    fn doubts(&self, best: usize, chance: f64, usable: usize) -> Vec<String> {
        let mut doubts = Vec::new();
        let Some(tally) = self.tallies.get(best) else { return doubts };
        if usable > 1 && chance < self.confidence {
            doubts.push(match self.tied_with(best) {
                0 => format!(
                    "The best estimate is not clearly the best: the chance that no other action is cheaper is at least \
                     {:.0} %, and {:.0} % is asked for.",
                    100.0 * chance,
                    100.0 * self.confidence
                ),
                1 => "Another candidate costs the same as far as the rollouts can tell.".to_owned(),
                tied => format!("{tied} other candidates cost the same as far as the rollouts can tell."),
            });
        }
        if group(tally) > 0 {
            let (terminal, finished) = (tally.cost.terminal, tally.finished());
            doubts.push(match terminal {
                0 => "None of its rollouts reached recovery, so nothing is known of the cost.".to_owned(),
                _ => format!(
                    "Only {terminal} of {finished} rollouts reached recovery, so the estimate rests on the minority."
                ),
            });
        } else if let (Some(mean), Some(high)) = (tally.cost.mean, tally.cost.high)
            && high - mean > WIDE * mean
        {
            doubts.push(format!(
                "Its rollouts disagree: the mean of {mean:.2} may be off by {:.2}.",
                high - mean
            ));
        }
        doubts
    }

    /// How many others the estimates do not tell from the best.
    fn tied_with(&self, best: usize) -> usize {
        let Some(own) = self.tallies.get(best) else { return 0 };
        let ties = |tally: &&Tally| tally.finished() > 0 && compare(own, tally).is_eq();
        self.tallies.iter().filter(ties).count().saturating_sub(1)
    }

    /// What tells the best from its first rival, or from failure if there is none.
    fn wanted(&self, best: usize, rivals: &[usize]) -> Vec<String> {
        let mut wanted = Vec::new();
        let text = |index: usize| self.candidates.get(index).map(|candidate| candidate.action.text.as_str());
        if let (Some(mine), Some(its)) = (text(best), rivals.first().and_then(|&rival| text(rival))) {
            let mut hosts = apart(hosts(mine), hosts(its));
            hosts.retain(|host| self.may_be_reached(host));
            match hosts.as_slice() {
                [] => {}
                [host] => wanted.push(format!(
                    "Whether the attacker has reached {host}: its logs and connections since the first alert."
                )),
                hosts => wanted.push(format!(
                    "Which of {} the attacker has reached: their logs and connections since the first alert.",
                    hosts.join(", ")
                )),
            }
            match apart(self.doubtful_accounts(mine), self.doubtful_accounts(its)).as_slice() {
                [] => {}
                [account] => wanted.push(format!(
                    "Whether the attacker has the account {account}: where its sign-ins came from, and what was done with it since the \
                     first alert."
                )),
                accounts => wanted.push(format!(
                    "Which of the accounts {} the attacker has: where their sign-ins came from, and what was done with them since the \
                     first alert.",
                    accounts.join(", ")
                )),
            }
        }
        let gained = |index: usize| {
            let after = self.tallies.get(index).and_then(|tally| tally.predicted_state).unwrap_or_default();
            self.before.gained(after).into_iter().next()
        };
        for fact in [Some(best), rivals.first().copied()].into_iter().flatten().filter_map(gained) {
            wanted.push(self.about(fact));
        }
        if wanted.is_empty() {
            let fact = self.before.bits().iter().position(|holds| !holds).unwrap_or_default();
            wanted.push(self.about(fact));
        }
        wanted.dedup();
        wanted.truncate(MOST_WANTED);
        wanted
    }

    /// Whether a name can be a host that the attacker has reached: it is not his own, and no part of an account's.
    fn may_be_reached(&self, host: &str) -> bool {
        let is_his = self.roles.attackers.iter().any(|name| name == host);
        let mut accounts = self.roles.stolen_accounts.iter().chain(&self.roles.planted_accounts);
        !is_his && !accounts.any(|account| account.split('@').any(|part| part == host))
    }

    /// Accounts that an action names and that the attacker may have or not.
    fn doubtful_accounts(&self, action: &str) -> Vec<String> {
        let is_doubtful =
            |name: &String| self.roles.held.get(name).is_some_and(|held| DOUBTFUL.contains(held));
        named(action, self.roles).into_iter().map(|(_, name)| name).filter(is_doubtful).collect()
    }

    /// Evidence that shows whether a fact of recovery holds, by its position.
    fn about(&self, fact: usize) -> String {
        if self.roles.to_clean().is_empty() && !self.roles.stolen_accounts.is_empty() && fact > 0 {
            return about_accounts(fact, &self.roles.stolen_accounts.join(", "));
        }
        let list = |names: &[String], other: &str| {
            if names.is_empty() { other.to_owned() } else { names.join(", ") }
        };
        let (attackers, targets) =
            (list(&self.roles.attackers, "the attacker"), list(&self.roles.to_clean(), "the attacked hosts"));
        match fact {
            0 => format!(
                "Whether traffic of {attackers} still passes: the firewall's counters and alerts from now on."
            ),
            1 => format!(
                "How the attacker got in and what else was reached: authentication and process logs of {targets}."
            ),
            2 => format!("Whether logs and memory of {targets} are still there to be kept."),
            3 => format!(
                "Whether anything of the attacker is left on {targets}: processes, scheduled jobs, keys, changed files."
            ),
            4 => format!(
                "Whether the way in is still open: versions and configuration of the attacked services on {targets}."
            ),
            _ => format!("Whether the services of {targets} work: checks from a client."),
        }
    }
}

/// The same where no attacked host is known.
fn about_accounts(fact: usize, accounts: &str) -> String {
    match fact {
        1 => format!("How the attacker got {accounts} and what was done with it: sign-in and audit logs."),
        2 => format!("Whether sign-in and audit logs of {accounts} are still there to be kept."),
        3 => format!(
            "Whether anything of the attacker is left at {accounts}: sessions, tokens, factors, rules, rights that were given."
        ),
        4 => {
            format!("Whether the way in is still open: password, factors and rules of sign-in of {accounts}.")
        }
        _ => format!("Whether the owner of {accounts} can work: a sign-in from a known device."),
    }
}

/// What changes nothing and what is undone by its opposite are equally safe.
fn can_be_taken_back(reversibility: Reversibility) -> Reversibility {
    reversibility.max(Reversibility::Reversible)
}

/// What stands in one of two lists alone.
fn apart(mine: Vec<String>, its: Vec<String>) -> Vec<String> {
    let not_in = |other: &[String], own: &[String]| -> Vec<String> {
        own.iter().filter(|name| !other.contains(name)).cloned().collect()
    };
    [not_in(&its, &mine), not_in(&mine, &its)].concat()
}

fn hosts(action: &str) -> Vec<String> {
    let is_host = |kind| matches!(kind, EntityKind::Address | EntityKind::Host | EntityKind::Domain);
    Entities::find(action)
        .into_iter()
        .filter(|entity| is_host(entity.kind))
        .map(|entity| entity.value)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choosing::aggregate::tally;
    use crate::choosing::candidate::Action;
    use crate::choosing::choice::choose;
    use crate::language_model::Usage;
    use crate::rollouts::runner::{RolloutEnd, RolloutKey, RolloutResult, RolloutStep};

    fn tallied(costs: &[f64], truncated: u32) -> Tally {
        let one = |rollout: usize, end, cost| RolloutResult {
            key: RolloutKey { step: 0, candidate: 0, rollout: rollout as u32 },
            end,
            steps: vec![
                RolloutStep { action: String::new(), state_after: RecoveryState::default(), cost };
                5
            ],
            cost,
            fault: String::new(),
            usage: Usage::default(),
        };
        let terminal = costs.iter().enumerate().map(|(i, &cost)| one(i, RolloutEnd::Terminal, cost));
        let cut = (0..truncated as usize).map(|i| one(costs.len() + i, RolloutEnd::Truncated, 10.0));
        tally(&terminal.chain(cut).collect::<Vec<_>>())
    }

    fn decide(actions: &[&str], tallies: &[Tally]) -> (Choice, Assurance) {
        decide_about(&Roles { targets: vec!["10.0.2.13".into()], ..Roles::default() }, actions, tallies)
    }

    fn decide_about(roles: &Roles, actions: &[&str], tallies: &[Tally]) -> (Choice, Assurance) {
        let candidates: Vec<Candidate> = (0..)
            .zip(actions)
            .map(|(index, &text)| {
                let action = Action { text: text.into(), explanation: String::new() };
                Candidate::proposed(index, action, String::new())
            })
            .collect();
        let before = RecoveryState::default();
        let decided = Decided { before, candidates: &candidates, tallies, roles, confidence: 0.95 };
        decided.assure(choose(before, tallies).unwrap())
    }

    const WIPE: &str = "Remove the malware from 10.0.2.13";
    const ISOLATE: &str = "Isolate 10.0.2.14 from the network";

    #[test]
    fn a_clear_choice_stands_whatever_it_is() {
        let tallies = [tallied(&[5.0, 5.0, 6.0, 5.0], 0), tallied(&[15.0, 16.0, 15.0, 14.0], 0)];
        let (choice, assurance) = decide(&[WIPE, ISOLATE], &tallies);
        assert_eq!((choice.index, assurance.is_clear, assurance.best), (0, true, 0));
        assert!(
            assurance.chance > 0.95 && assurance.doubts.is_empty() && assurance.wanted_evidence.is_empty()
        );
        assert_eq!(assurance.reversibility, Reversibility::Irreversible);
    }

    #[test]
    fn in_doubt_the_action_that_can_be_taken_back_is_recommended() {
        let tallies = [tallied(&[5.0, 7.0, 6.0], 0), tallied(&[6.0, 6.0, 7.0], 0)];
        let (choice, assurance) = decide(&[WIPE, ISOLATE], &tallies);
        assert_eq!((choice.index, assurance.best, assurance.is_clear), (1, 0, false));
        assert!(choice.reason.contains("can be taken back"), "{}", choice.reason);
        assert!(assurance.doubts[0].contains("not clearly the best"), "{:?}", assurance.doubts);
        assert!(
            assurance.wanted_evidence[0].contains("10.0.2.13, 10.0.2.14"),
            "{:?}",
            assurance.wanted_evidence
        );
        // What is probably worse is not recommended, however harmless it is.
        let worse = [tallies[0].clone(), tallied(&[7.0, 8.0, 7.0], 0)];
        assert_eq!(decide(&[WIPE, ISOLATE], &worse).0.index, 0);
        // Nor is what is clearly worse.
        let tallies = [tallies[0].clone(), tallied(&[19.0, 18.0, 20.0], 0)];
        assert_eq!(decide(&[WIPE, ISOLATE], &tallies).0.index, 0);
    }

    #[test]
    fn an_account_in_doubt_that_one_action_names_is_asked_about() {
        let tallies = [tallied(&[5.0, 7.0, 6.0], 0), tallied(&[6.0, 6.0, 7.0], 0)];
        let [alice, both] =
            ["Disable the account alice", "Disable the accounts alice, bob@corp.example and eve"];
        let held = [("alice", 0.5), ("bob@corp.example", 0.6), ("eve", 0.99)];
        let roles = Roles {
            stolen_accounts: held.iter().map(|(name, _)| (*name).to_owned()).collect(),
            held: held.into_iter().map(|(name, chance)| (name.to_owned(), chance)).collect(),
            ..Roles::default()
        };
        let (_, assurance) = decide_about(&roles, &[alice, both], &tallies);
        assert!(
            assurance.wanted_evidence[0]
                .starts_with("Whether the attacker has the account bob@corp.example:"),
            "{:?}",
            assurance.wanted_evidence
        );
        assert!(!assurance.wanted_evidence[0].contains("eve"), "she surely is the attacker's");
    }

    #[test]
    fn an_estimate_from_a_minority_is_no_clear_choice() {
        let tallies = [tallied(&[5.0], 3), tallied(&[], 4)];
        let (choice, assurance) = decide(&[WIPE, ISOLATE], &tallies);
        assert_eq!(choice.index, 0);
        assert!(!assurance.is_clear && assurance.doubts.iter().any(|doubt| doubt.contains("minority")));
    }

    #[test]
    fn a_lone_candidate_needs_no_comparison() {
        let (choice, assurance) = decide(&[WIPE], &[tallied(&[5.0, 5.0], 0)]);
        assert_eq!((choice.index, assurance.chance, assurance.is_clear), (0, 1.0, true));
    }
}
