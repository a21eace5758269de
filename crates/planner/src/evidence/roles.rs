//! Who is who in an incident: attackers, the defended system, and what in it is attacked.

use std::collections::BTreeMap;
use std::sync::Arc;

use countermove_incident::{Capability, RecoveryState, TargetKind, VerbClass};
use serde::{Deserialize, Serialize};

/// Of a host that is compromised with less than this, or with more than the rest of one, a search tells nothing that is not known.
pub(crate) const IN_DOUBT: f32 = 0.05;

/// Who is who in an incident. Each entry occurs in the system description or in the alerts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roles {
    /// Hosts, addresses or domains that attack.
    pub attackers: Vec<String>,
    /// Hosts and addresses of the defended system.
    pub systems: Vec<String>,
    /// Those of them that the attack has reached. They have to be cleaned, as has an own host that attacks.
    pub targets: Vec<String>,
    /// Those of the targets that attack others.
    pub footholds: Vec<String>,
    /// Accounts whose password the attacker has guessed or stolen.
    pub stolen_accounts: Vec<String>,
    /// Accounts that the attacker has made.
    pub planted_accounts: Vec<String>,
    /// Accounts that the log tells of at hosts of the attack, of which nothing says that the attacker has them.
    #[serde(default)]
    pub seen_accounts: Vec<String>,
    /// Addresses and domains outside that the attacked hosts had to do with, of which nothing says that they are the attacker's.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// Hosts of the system that have to stay up and reachable.
    pub kept: Vec<String>,
    /// Addresses of the hosts by their names in lower case.
    pub names: BTreeMap<String, String>,
    /// How likely each host of the system is compromised that the attack has to do with, from 0 to 1.
    #[serde(default)]
    pub compromised: BTreeMap<String, f32>,
    /// How likely the attacker has each account that is stolen or planted as far as the evidence says, from 0 to 1. One in no list was
    /// made on an attacked host by a record that counts as everyday.
    #[serde(default)]
    pub held: BTreeMap<String, f32>,
    /// What the organisation says of what it can do to whom, with exceptions by the names that stand here ([`Roles::able`]). It is part
    /// of what actions cost, and travels with that.
    #[serde(skip)]
    pub capabilities: Arc<[Capability]>,
}

impl Roles {
    /// Hosts that have to be cleaned: the targets, and attackers of the system's own that its description tells of. One that nobody
    /// has described only has to be shut out.
    pub fn to_clean(&self) -> Vec<String> {
        let is_own = |name: &&String| {
            !self.targets.contains(name)
                && self.systems.contains(name)
                && self.names.values().any(|address| address == *name)
        };
        self.targets.iter().chain(self.attackers.iter().filter(is_own)).cloned().collect()
    }

    /// Hosts that may be compromised, with the chance that they are. An attacker is shut out, whoever it is, and is none of them.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = (&String, &f32)> {
        self.compromised.iter().filter(|(host, _)| !self.attackers.contains(host))
    }

    /// Whether the attacker has anything of the defended system: a host or an account.
    pub(crate) fn has_fallen(&self) -> bool {
        let Roles { stolen_accounts, planted_accounts, .. } = self;
        !self.to_clean().is_empty() || !stolen_accounts.is_empty() || !planted_accounts.is_empty()
    }

    /// Hosts and accounts that the attacker may have, with the chance that it does, where that is more than next to nothing.
    pub(crate) fn may_have_fallen(&self) -> impl Iterator<Item = (&String, f32)> {
        let all = self.suspects().chain(&self.held).map(|(name, chance)| (name, *chance));
        all.filter(|(_, chance)| *chance >= IN_DOUBT)
    }

    /// Whether the attacker is shut out as far as it can be, if there is one.
    pub(crate) fn is_shut_out(&self, state: RecoveryState) -> bool {
        let is_beyond_reach = |name: &String| !self.can(VerbClass::Contain, name);
        state.is_attack_contained || self.attackers.iter().all(is_beyond_reach)
    }

    /// Whether this is an attacker that is no part of the defended system.
    pub(crate) fn attacks_from_outside(&self, name: &str) -> bool {
        let is_among = |names: &[String]| names.iter().any(|own| own == name);
        is_among(&self.attackers) && !is_among(&self.systems)
    }

    /// Accounts that the attacker has or may have, and those of which nothing says so: they may join the others.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &String> + Clone {
        let lists = [&self.stolen_accounts, &self.planted_accounts, &self.seen_accounts];
        lists.into_iter().flatten().chain(self.held.keys())
    }

    /// Accounts that were made on attacked hosts and that the attacker may have, with the chance that it does.
    pub(crate) fn made_accounts(&self) -> impl Iterator<Item = (&String, &f32)> {
        self.held.iter().filter(|(account, _)| !self.has_account(account))
    }

    /// Whether this is an account that the attacker has.
    pub(crate) fn has_account(&self, name: &String) -> bool {
        self.stolen_accounts.contains(name) || self.planted_accounts.contains(name)
    }

    /// The same roles for an organisation that says this of what it can do. Whom it excepts by another name, or by a network, is
    /// excepted here by the name that these roles have for them, once for all.
    #[must_use]
    pub fn able(mut self, capabilities: &[Capability]) -> Roles {
        let own = |capability: &Capability| {
            let mut except = Vec::new();
            if !capability.except.is_empty() {
                let exceptions = capability.exceptions();
                let is_named_so = |name: &str| {
                    let mut others = self.names.iter().filter(|(_, address)| *address == name);
                    exceptions.hold(name) || others.any(|(other, _)| exceptions.hold(other))
                };
                except.extend(self.all().filter(|name| is_named_so(name)).map(str::to_owned));
                except.sort_unstable();
                except.dedup();
            }
            Capability { except, ..capability.clone() }
        };
        self.capabilities = capabilities.iter().map(own).collect();
        self
    }

    /// What somebody is, for whoever does something to them.
    fn kind_of(&self, name: &String) -> TargetKind {
        match () {
            () if self.systems.contains(name) || self.targets.contains(name) => TargetKind::Host,
            () if self.accounts().any(|account| account == name) => TargetKind::Account,
            () => TargetKind::Address,
        }
    }

    fn capability(&self, does: VerbClass, name: &String) -> Option<&Capability> {
        if self.capabilities.is_empty() {
            return None;
        }
        Capability::of(&self.capabilities, does, self.kind_of(name))
    }

    /// Whether the organisation can do this to somebody.
    pub(crate) fn can(&self, does: VerbClass, name: &String) -> bool {
        let can = |capability: &Capability| capability.possible && !capability.except.contains(name);
        self.capability(does, name).is_none_or(can)
    }

    /// Whether the organisation can cut off everybody who attacks.
    pub(crate) fn can_block(&self) -> bool {
        self.attackers.iter().all(|name| self.can(VerbClass::Contain, name))
    }

    /// Whether a host can be cut off: nothing says that it has to stay up, and the organisation can.
    pub(crate) fn may_be_cut(&self, host: &String) -> bool {
        !self.kept.contains(host) && self.can(VerbClass::Contain, host)
    }

    /// The chance that it works to do this to all of these, as the organisation says; nothing where it says nothing of any.
    pub(crate) fn works<'a>(
        &self,
        does: VerbClass,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Option<f64> {
        let stated = names.into_iter().filter_map(|name| self.capability(does, name)?.works);
        stated.min_by(f64::total_cmp)
    }

    /// Everything that they name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        let Roles {
            attackers,
            systems,
            targets,
            footholds,
            stolen_accounts,
            planted_accounts,
            seen_accounts,
            contacts,
            kept,
            names,
            compromised,
            held,
            capabilities: _,
        } = self;
        let accounts = [stolen_accounts, planted_accounts, seen_accounts];
        let lists = [attackers, systems, targets, footholds, contacts, kept].into_iter().chain(accounts);
        let pairs = names.iter().flat_map(|(name, address)| [name, address]);
        lists.flatten().chain(pairs).chain(compromised.keys()).chain(held.keys()).map(String::as_str)
    }
}
