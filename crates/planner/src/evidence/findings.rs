//! What people found out about somebody, such as by searching its logs, and what follows for who is who.
//!
//! Invariants: their word is taken for certain, and the last one on a name stands; who was found to have no part has none until records
//! that come later tell of it.

use countermove_incident::TargetKind;
use serde::{Deserialize, Serialize};

use crate::evidence::roles::Roles;

/// What was found out about somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The host's address, or the account, address or domain, as the evidence has it.
    pub name: String,
    /// What that is.
    pub kind: TargetKind,
    /// Whether a host has fallen, the attacker has an account, or an address or a domain is the attacker's.
    pub is_compromised: bool,
}

impl Roles {
    /// Takes a finding for certain.
    pub fn learn(&mut self, finding: &Finding) {
        let Finding { name, kind, is_compromised } = finding;
        let is_other = |other: &String| other != name;
        match kind {
            TargetKind::Host if *is_compromised => {
                if !self.to_clean().contains(name) {
                    self.targets.push(name.clone());
                }
                self.compromised.insert(name.clone(), 1.0);
            }
            TargetKind::Host => {
                for named in [&mut self.targets, &mut self.footholds, &mut self.attackers] {
                    named.retain(is_other);
                }
                self.compromised.remove(name);
            }
            TargetKind::Account => {
                self.seen_accounts.retain(is_other);
                if *is_compromised {
                    if self.made_accounts().any(|(account, _)| account == name) {
                        self.planted_accounts.push(name.clone());
                    } else if !self.has_account(name) {
                        self.stolen_accounts.push(name.clone());
                    }
                    self.held.insert(name.clone(), 1.0);
                } else {
                    self.stolen_accounts.retain(is_other);
                    self.planted_accounts.retain(is_other);
                    self.held.remove(name);
                }
            }
            TargetKind::Address => {
                self.contacts.retain(is_other);
                if !is_compromised {
                    self.attackers.retain(is_other);
                } else if !self.attackers.contains(name) {
                    self.attackers.push(name.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn finding(name: &str, kind: TargetKind, is_compromised: bool) -> Finding {
        Finding { name: name.to_owned(), kind, is_compromised }
    }

    fn roles() -> Roles {
        Roles {
            attackers: names(&["203.0.113.7"]),
            systems: names(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
            targets: names(&["10.0.0.1", "10.0.0.2"]),
            footholds: names(&["10.0.0.1"]),
            stolen_accounts: names(&["alice"]),
            planted_accounts: names(&["svc_helper"]),
            seen_accounts: names(&["bob"]),
            contacts: names(&["c2.example"]),
            names: [("web".to_owned(), "10.0.0.1".to_owned()), ("db".to_owned(), "10.0.0.3".to_owned())]
                .into(),
            compromised: [("10.0.0.1".to_owned(), 0.9), ("10.0.0.2".to_owned(), 0.5)].into(),
            held: [("alice".to_owned(), 0.7), ("svc_helper".to_owned(), 0.8)].into(),
            ..Roles::default()
        }
    }

    #[test]
    fn who_was_found_has_a_part_and_who_was_found_clean_has_none() {
        let learnt = |name: &str, kind, is_compromised| {
            let mut roles = roles();
            roles.learn(&finding(name, kind, is_compromised));
            roles.learn(&finding(name, kind, is_compromised));
            roles
        };
        let clean = learnt("10.0.0.1", TargetKind::Host, false);
        assert_eq!((clean.to_clean(), clean.footholds.len()), (names(&["10.0.0.2"]), 0));
        assert!(clean.suspects().all(|(host, _)| host != "10.0.0.1"));
        let fallen = learnt("10.0.0.3", TargetKind::Host, true);
        assert_eq!(fallen.to_clean(), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(fallen.compromised["10.0.0.3"], 1.0);

        let own = learnt("alice", TargetKind::Account, false);
        assert!(!own.accounts().any(|account| account == "alice") && own.held.len() == 1);
        assert!(learnt("svc_helper", TargetKind::Account, false).planted_accounts.is_empty());
        let stolen = learnt("bob", TargetKind::Account, true);
        assert_eq!((stolen.stolen_accounts, stolen.seen_accounts.len()), (names(&["alice", "bob"]), 0));
        let planted = learnt("svc_helper", TargetKind::Account, true);
        assert_eq!((planted.stolen_accounts.len(), planted.held["svc_helper"]), (1, 1.0));
        let mut made = Roles { planted_accounts: Vec::new(), ..roles() };
        made.learn(&finding("svc_helper", TargetKind::Account, true));
        assert_eq!(made.planted_accounts, ["svc_helper"], "it was made on an attacked host");

        let blocked = learnt("c2.example", TargetKind::Address, true);
        assert_eq!((blocked.attackers, blocked.contacts.len()), (names(&["203.0.113.7", "c2.example"]), 0));
        assert!(learnt("203.0.113.7", TargetKind::Address, false).attackers.is_empty());
    }

    #[test]
    fn the_last_word_stands() {
        for kind in [TargetKind::Host, TargetKind::Account, TargetKind::Address] {
            let name = match kind {
                TargetKind::Host => "10.0.0.1",
                TargetKind::Account => "alice",
                TargetKind::Address => "203.0.113.7",
            };
            let mut roles = roles();
            roles.learn(&finding(name, kind, false));
            assert!(roles.clone().to_clean().iter().chain(&roles.attackers).all(|other| other != name));
            roles.learn(&finding(name, kind, true));
            let all = [roles.to_clean(), roles.attackers.clone(), roles.stolen_accounts.clone()].concat();
            assert!(all.iter().any(|other| other == name), "{kind:?}");
        }
    }
}
