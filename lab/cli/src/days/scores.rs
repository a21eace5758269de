//! How good what is said of labelled days is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use countermove_incident::{Entity, Tactic};
use countermove_planner::Roles;

use super::Judged;
use super::site::Day;

/// What is said, and whether it is so.
type Claim = (f64, bool);

/// Claims of the same kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(pub(super) Vec<Claim>);

impl Claims {
    /// How often what is so is said to be likelier than what is not, ties by half; none where either is missing.
    pub(super) fn in_order(&self) -> Option<f64> {
        let mut claims = self.0.clone();
        claims.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut below, mut pairs, mut won) = (0.0, 0.0, 0.0);
        for equal in claims.chunk_by(|a, b| a.0 == b.0) {
            let so = equal.iter().filter(|claim| claim.1).count() as f64;
            let not = equal.len() as f64 - so;
            won += so * (below + 0.5 * not);
            below += not;
        }
        let so = claims.iter().filter(|claim| claim.1).count() as f64;
        pairs += so * below;
        (pairs > 0.0).then(|| won / pairs)
    }

    /// The mean surprise in nats.
    pub(super) fn loss(&self) -> Option<f64> {
        let surprise = |(said, is_so): &Claim| {
            let said = said.clamp(1e-6, 1.0 - 1e-6);
            if *is_so { -said.ln() } else { -(1.0 - said).ln() }
        };
        self.mean(surprise)
    }

    /// The surprise of whoever always says how often it is so.
    pub(super) fn loss_of_the_mean(&self) -> Option<f64> {
        let share = self.mean(|(_, is_so)| f64::from(u8::from(*is_so)))?;
        Claims(self.0.iter().map(|(_, is_so)| (share, *is_so)).collect()).loss()
    }

    /// The mean squared error.
    pub(super) fn squared_error(&self) -> Option<f64> {
        self.mean(|(said, is_so)| (said - f64::from(u8::from(*is_so))).powi(2))
    }

    /// Of those said with so much and more, how many there are and how many of them are so.
    pub(super) fn from(&self, least: f64) -> (usize, usize) {
        let said = self.0.iter().filter(|(said, _)| *said >= least);
        (said.clone().count(), said.filter(|(_, is_so)| *is_so).count())
    }

    fn mean(&self, of: impl Fn(&Claim) -> f64) -> Option<f64> {
        let count = self.0.len() as f64;
        (count > 0.0).then(|| self.0.iter().map(of).sum::<f64>() / count)
    }
}

/// Who was named, and who had to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) right: usize,
    pub(super) named: usize,
    pub(super) all: usize,
}

impl Named {
    pub(super) fn add<T: Ord>(&mut self, named: &BTreeSet<T>, all: &BTreeSet<T>) {
        self.right += named.intersection(all).count();
        self.named += named.len();
        self.all += all.len();
    }

    /// The harmonic mean of precision and recall.
    pub(super) fn f1(self) -> Option<f64> {
        (self.named + self.all > 0).then(|| 2.0 * self.right as f64 / (self.named + self.all) as f64)
    }
}

/// How good what is said of many days is.
#[derive(Clone, Debug, Default)]
pub(super) struct Scores {
    pub(super) incidents: Verdicts,
    pub(super) risky: Verdicts,
    pub(super) plain: Verdicts,
    /// Of groups of records, that they are part of an attack.
    pub(super) groups: Claims,
    /// Of days, by their likeliest group.
    pub(super) days: Claims,
    /// Of hosts, that the attacker has a foothold in them.
    pub(super) hosts: Claims,
    pub(super) accounts: Named,
    pub(super) attackers: Named,
    pub(super) tactics: Named,
}

/// How many days were taken for incidents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    pub(super) accused: usize,
    pub(super) all: usize,
}

impl Verdicts {
    pub(super) fn add(&mut self, is_accused: bool) {
        self.accused += usize::from(is_accused);
        self.all += 1;
    }
}

impl Scores {
    /// Adds what is said of a day. Plain ordinary days count for their verdict alone: what the others are judged by was learnt from them.
    pub(super) fn add(&mut self, day: &Day, judged: &Judged) {
        let verdicts = match (day.labels.incident, day.is_plain) {
            (true, _) => &mut self.incidents,
            (false, true) => &mut self.plain,
            (false, false) => &mut self.risky,
        };
        verdicts.add(judged.is_incident);
        if day.is_plain {
            return;
        }
        self.groups.0.extend(judged.groups.iter().map(|group| (group.said, group.is_attack)));
        let likeliest = judged.groups.iter().map(|group| group.said).fold(0.0, f64::max);
        self.days.0.push((likeliest, day.labels.incident));
        let fallen = judged.names.all(&day.labels.compromised);
        let said: BTreeSet<&String> = judged.hosts.keys().collect();
        self.hosts.0.extend(judged.hosts.iter().map(|(host, said)| (*said, fallen.contains(host))));
        self.hosts.0.extend(fallen.iter().filter(|host| !said.contains(host)).map(|_| (0.0, true)));
        let accounts = |names: &[String]| names.iter().map(|name| account(name)).collect();
        let hosts = |names: &[String]| names.iter().map(|name| Entity::normal_host(name)).collect();
        if judged.is_incident {
            self.accounts.add(&accounts(&judged.accounts), &accounts(&day.labels.accounts));
            self.attackers.add(&hosts(&judged.attackers), &hosts(&day.labels.attackers));
            let tactics = |tactics: &[Tactic]| tactics.iter().copied().collect();
            self.tactics.add(&tactics(&judged.tactics), &tactics(&day.labels.tactics()));
        } else {
            self.accounts.all += day.labels.accounts.len();
            self.attackers.all += day.labels.attackers.len();
            self.tactics.all += day.labels.tactics.len();
        }
    }
}

/// An account without what stands around its name: its domain.
pub(super) fn account(name: &str) -> String {
    let name = name.to_lowercase();
    let name = name.rsplit_once('\\').map_or(name.as_str(), |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name).to_owned()
}

/// Hosts by whichever of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct HostNames(Vec<(String, String)>);

impl HostNames {
    pub(super) fn of(roles: &Roles) -> HostNames {
        HostNames(roles.names.iter().map(|(name, address)| (short(name), address.clone())).collect())
    }

    /// The one name of a host: its address, where that is known.
    pub(super) fn one(&self, name: &str) -> String {
        let short = short(name);
        let known = self.0.iter().find(|(own, address)| *own == short || *address == short);
        known.map_or(short, |(_, address)| address.clone())
    }

    pub(super) fn all<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
        names.into_iter().map(|name| self.one(name)).collect()
    }
}

/// A host's name without its domain, or its address.
fn short(name: &str) -> String {
    let name = name.trim();
    if name.parse::<IpAddr>().is_ok() {
        return name.to_owned();
    }
    Entity::normal_host(name.split_once('.').map_or(name, |(host, _)| host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_judged_by_what_is_so() {
        let claims = Claims(vec![(0.9, true), (0.5, false), (0.5, true), (0.1, false)]);
        // Of the four pairs three are in order, and one is a tie.
        assert_eq!(claims.in_order(), Some(0.875));
        assert_eq!((claims.from(0.5), claims.from(0.95)), ((3, 2), (0, 0)));
        assert!((claims.squared_error().unwrap() - 0.13).abs() < 1e-9);
        let loss = (0.9_f64.ln() + 0.5_f64.ln() + 0.5_f64.ln() + 0.9_f64.ln()) / -4.0;
        assert!((claims.loss().unwrap() - loss).abs() < 1e-9);
        assert!((claims.loss_of_the_mean().unwrap() - 2.0_f64.ln()).abs() < 1e-9);
        let alike = Claims(vec![(0.9, true)]);
        assert_eq!((alike.in_order(), Claims::default().loss()), (None, None));
    }

    #[test]
    fn names_are_those_of_the_same_host_or_account() {
        let roles = Roles {
            names: [("web01.corp.example".to_owned(), "10.0.0.5".to_owned())].into(),
            ..Roles::default()
        };
        let names = HostNames::of(&roles);
        for name in ["WEB01", "web01.corp.example", "10.0.0.5"] {
            assert_eq!(names.one(name), "10.0.0.5", "{name}");
        }
        assert_eq!(names.one("DB-02.corp.example"), names.one("db02"));
        assert_eq!((account("CORP\\Ann"), account("ann@corp.example")), ("ann".to_owned(), "ann".to_owned()));
    }
}
