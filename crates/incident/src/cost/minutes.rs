//! Cost in minutes: the work of an action, and the outage that it causes, weighted by what it hits.
//!
//! An action costs the minutes of work of each kind of response that it tells, and, for the worst of these kinds, the
//! minutes of outage for every asset that it names, times the asset's criticality; and for each host that it takes down
//! without need what that costs beside the outage. All of it comes from a table that an organisation writes in TOML;
//! `deploy/costs.toml` is a sample with every field explained.
//!
//! An asset is hit if the action names it by any of its names, or names a network with one of its addresses in it.
//! Hosts of the system that are no asset of the table have its default criticality; everything else that an action
//! names, such as the attacker, has none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CostModel;
use super::capabilities::{self, Capability, Order};
use crate::text::from_toml;
use crate::{Entities, Entity, EntityKind, Network, Part, RecoveryState, TargetKind, VerbClass};

/// Largest number in a table; more would mean years.
const MOST: f64 = 1e6;
/// Most assets in a table.
const MOST_ASSETS: usize = 10_000;
/// Most names of all assets.
const MOST_NAMES: usize = 50_000;
/// Most bytes of one name.
const LONGEST_NAME: usize = 256;

/// What response costs an organisation, in minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinuteTable {
    /// Minutes of work that one minute of outage of an asset of criticality 1 is worth.
    #[serde(default = "one")]
    pub disruption_weight: f64,
    /// Criticality of hosts of the system that no asset names.
    #[serde(default = "one")]
    pub default_criticality: f64,
    /// Minutes that it costs, beside the outage, to take down a host that has no part in the incident.
    #[serde(default)]
    pub needless: f64,
    /// What each kind of response takes. Kinds that are left out take what [`MinuteTable::other`] says.
    #[serde(default)]
    pub actions: BTreeMap<VerbClass, ActionMinutes>,
    /// What an action takes whose kind is not known.
    pub other: ActionMinutes,
    /// What is worth more or less than the default.
    #[serde(default, rename = "asset")]
    pub assets: Vec<Asset>,
    /// What can be done to what, how and by whom, where it is not as `actions` says.
    #[serde(default, rename = "response")]
    pub capabilities: Vec<Capability>,
}

/// What one kind of response takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionMinutes {
    /// Minutes of work.
    pub work: f64,
    /// Minutes for which each host that it is done to does not serve.
    #[serde(default)]
    pub outage: f64,
}

/// A host and what depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Its names and addresses.
    pub names: Vec<String>,
    /// How much an outage of it weighs; 1 is an ordinary host.
    pub criticality: f64,
}

/// Why a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It is not TOML of this form.
    #[error("the cost table cannot be read: {0}")]
    Form(String),
    /// A number is out of its range.
    #[error("{field} is {found}, but it must be a number from 0 to 1000000")]
    Number {
        /// The field, as TOML addresses it.
        field: String,
        /// Its value.
        found: String,
    },
    /// The assets cannot be told apart or found.
    #[error("{0}")]
    Assets(String),
    /// What can be done is told in a way that cannot be used.
    #[error("{0}")]
    Capabilities(String),
}

fn one() -> f64 {
    1.0
}

impl MinuteTable {
    /// Reads a table from TOML and checks it.
    ///
    /// # Errors
    /// If it is not TOML of this form, or [`MinuteTable::validate`] refuses it.
    pub fn parse(text: &str) -> Result<MinuteTable, TableError> {
        let table: MinuteTable = from_toml(text).map_err(TableError::Form)?;
        table.validate()?;
        Ok(table)
    }

    /// Checks every number and every name.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn validate(&self) -> Result<(), TableError> {
        let number = |field: String, value: f64| {
            // Written so that NaN fails.
            if (0.0..=MOST).contains(&value) {
                return Ok(());
            }
            Err(TableError::Number { field, found: value.to_string() })
        };
        number("disruption_weight".into(), self.disruption_weight)?;
        number("default_criticality".into(), self.default_criticality)?;
        number("needless".into(), self.needless)?;
        let kinds =
            self.actions.iter().map(|(class, minutes)| (format!("actions.{}", class.name()), minutes));
        for (field, minutes) in kinds.chain([("other".to_owned(), &self.other)]) {
            number(format!("{field}.work"), minutes.work)?;
            number(format!("{field}.outage"), minutes.outage)?;
        }
        for (position, capability) in self.capabilities.iter().enumerate() {
            let at = position + 1;
            number(format!("work of response {at}"), capability.work.unwrap_or_default())?;
            number(format!("outage of response {at}"), capability.outage.unwrap_or_default())?;
        }
        capabilities::validate(&self.capabilities)?;
        if self.assets.len() > MOST_ASSETS {
            let count = self.assets.len();
            return Err(TableError::Assets(format!(
                "there are {count} assets, and at most {MOST_ASSETS} are taken"
            )));
        }
        let names: usize = self.assets.iter().map(|asset| asset.names.len()).sum();
        if names > MOST_NAMES {
            return Err(TableError::Assets(format!(
                "the assets have {names} names, and at most {MOST_NAMES} are taken"
            )));
        }
        let mut seen = BTreeSet::new();
        for (position, asset) in self.assets.iter().enumerate() {
            let number_of = position + 1;
            number(format!("criticality of asset {number_of}"), asset.criticality)?;
            if asset.names.is_empty() {
                return Err(TableError::Assets(format!("asset {number_of} has no names")));
            }
            for name in &asset.names {
                if name.trim().is_empty() || name.len() > LONGEST_NAME {
                    let bound = format!("a name has to have 1 to {LONGEST_NAME} bytes");
                    return Err(TableError::Assets(format!("asset {number_of}: {bound}")));
                }
                if !seen.insert(Entity::normal_host(name)) {
                    return Err(TableError::Assets(format!("{name:?} is a name of two assets")));
                }
            }
        }
        Ok(())
    }

    /// What this kind of response takes; `None` is an action of no known kind.
    fn minutes(&self, class: Option<VerbClass>) -> ActionMinutes {
        class.and_then(|class| self.actions.get(&class)).copied().unwrap_or(self.other)
    }

    /// What each kind of response takes that an action tells; each kind of target by itself of which the table says more.
    fn told(&self, action: &str) -> Vec<ActionMinutes> {
        if self.capabilities.is_empty() {
            return kinds(action).into_iter().map(|class| self.minutes(class)).collect();
        }
        let mut told: Vec<((VerbClass, Option<TargetKind>), ActionMinutes)> = Vec::new();
        for Part { class, to, .. } in Part::of(action, &[]) {
            let own = Capability::of(&self.capabilities, class, to);
            let key = (class, own.map(|own| own.to));
            if !told.iter().any(|(known, _)| *known == key) {
                let kind = self.minutes(Some(class));
                told.push((key, own.map_or(kind, |own| own.minutes(kind))));
            }
        }
        if told.is_empty() {
            return vec![self.minutes(None)];
        }
        told.into_iter().map(|(_, minutes)| minutes).collect()
    }

    /// How an action is carried out, target by target, as far as the table says. `known` are names that are told by no form of their
    /// own, such as those of accounts.
    pub fn orders(&self, action: &str, known: &[&str]) -> Vec<Order> {
        capabilities::orders(&self.capabilities, action, known)
    }

    /// Minutes of work that an action takes.
    pub(super) fn work(&self, action: &str) -> f64 {
        self.told(action).iter().map(|minutes| minutes.work).sum()
    }
}

/// Prices actions by a table for one system.
#[derive(Clone, Debug)]
pub struct MinuteCost {
    table: Arc<MinuteTable>,
    /// Criticality of what can be hit.
    assets: Vec<f64>,
    /// Positions in `assets` by the normal form of a name.
    by_name: BTreeMap<String, usize>,
    by_address: Vec<(IpAddr, usize)>,
}

impl MinuteCost {
    /// Prices by this table; `systems` are hosts and addresses of the system, whether or not the table names them.
    pub fn new(table: Arc<MinuteTable>, systems: &[String]) -> Self {
        let mut assets = Vec::new();
        let mut by_name = BTreeMap::new();
        for asset in &table.assets {
            by_name.extend(asset.names.iter().map(|name| (Entity::normal_host(name), assets.len())));
            assets.push(asset.criticality);
        }
        for system in systems {
            by_name.entry(Entity::normal_host(system)).or_insert_with(|| {
                assets.push(table.default_criticality);
                assets.len() - 1
            });
        }
        let address = |(name, &asset): (&String, &usize)| Some((name.parse().ok()?, asset));
        let by_address = by_name.iter().filter_map(address).collect();
        Self { table, assets, by_name, by_address }
    }

    /// What an action costs at most: every kind of response at once, done to all that can be hit.
    pub(super) fn dearest(&self) -> f64 {
        let known = VerbClass::ALL.map(|class| self.table.minutes(Some(class)));
        let own = self.table.capabilities.iter().map(|own| own.minutes(self.table.minutes(Some(own.does))));
        let known: Vec<ActionMinutes> = known.into_iter().chain(own).collect();
        let work = known.iter().map(|minutes| minutes.work).sum::<f64>().max(self.table.other.work);
        let all = known.iter().chain([&self.table.other]);
        let outage = all.map(|minutes| minutes.outage).fold(0.0, f64::max);
        let needless = self.table.needless * self.assets.len() as f64;
        work + self.table.disruption_weight * outage * self.assets.iter().sum::<f64>() + needless
    }

    /// Sum of the criticalities of what the action names.
    fn weight(&self, action: &str) -> f64 {
        let mut hit = BTreeSet::new();
        for entity in Entities::find(action) {
            match (entity.kind, Network::parse(&entity.value)) {
                (EntityKind::Network, Some(network)) => {
                    let inside = self.by_address.iter().filter(|(address, _)| network.contains(*address));
                    hit.extend(inside.map(|(_, asset)| *asset));
                }
                _ => hit.extend(self.by_name.get(&entity.normal())),
            }
        }
        hit.into_iter().filter_map(|asset| self.assets.get(asset)).sum()
    }
}

impl CostModel for MinuteCost {
    fn cost(&self, _before: RecoveryState, action: &str, _after: RecoveryState) -> f64 {
        let told = self.table.told(action);
        let work: f64 = told.iter().map(|minutes| minutes.work).sum();
        let outage = told.iter().map(|minutes| minutes.outage).fold(0.0, f64::max);
        let disruption = if outage > 0.0 { outage * self.weight(action) } else { 0.0 };
        work + self.table.disruption_weight * disruption
    }

    fn needless(&self, _before: RecoveryState, _after: RecoveryState, hosts: usize) -> f64 {
        self.table.needless * hosts as f64
    }
}

/// The kinds of response that an action tells; `None` where it tells no known one.
fn kinds(action: &str) -> Vec<Option<VerbClass>> {
    let known: Vec<Option<VerbClass>> = VerbClass::of(action).into_iter().map(Some).collect();
    if known.is_empty() { vec![None] } else { known }
}

/// Minutes of work that an action takes where no table says so: what `deploy/costs.toml`, the sample of one, begins with.
pub(super) fn usual_work(action: &str) -> f64 {
    let minutes = |class| match class {
        Some(VerbClass::Contain) => 10.0,
        Some(VerbClass::Preserve | VerbClass::Restore) => 45.0,
        Some(VerbClass::Harden) => 60.0,
        Some(VerbClass::Analyse) => 90.0,
        Some(VerbClass::Eradicate) => 120.0,
        None => 30.0,
    };
    kinds(action).into_iter().map(minutes).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = r#"
        disruption_weight = 2
        default_criticality = 0.5
        other = { work = 60 }
        [actions.contain]
        work = 10
        outage = 30
        [actions.preserve]
        work = 20
        [actions.eradicate]
        work = 90
        outage = 60
        [[asset]]
        names = ["Server 6", "10.0.4.6", "db.corp.example"]
        criticality = 5
        [[asset]]
        names = ["10.0.4.7"]
        criticality = 0
    "#;

    fn price(action: &str) -> f64 {
        let table = Arc::new(MinuteTable::parse(TABLE).unwrap());
        let systems = ["10.0.4.6", "10.0.4.8", "web-01"].map(String::from);
        let none = RecoveryState::default();
        MinuteCost::new(table, &systems).cost(none, action, none)
    }

    #[test]
    fn work_and_weighted_outage_add_up() {
        for (action, minutes) in [
            // The attacker is no asset.
            ("Block 203.0.113.9.", 10.0),
            ("Isolate 10.0.4.6.", 10.0 + 2.0 * 30.0 * 5.0),
            // The same asset by another name, and by two names.
            ("Isolate server-6.", 10.0 + 2.0 * 30.0 * 5.0),
            ("Isolate Server 6 (10.0.4.6, db.corp.example).", 10.0 + 2.0 * 30.0 * 5.0),
            // A host of the system that the table does not name.
            ("Isolate web-01.", 10.0 + 2.0 * 30.0 * 0.5),
            ("Isolate 10.0.4.7.", 10.0),
            // All of a network: 6, 7 and 8.
            ("Isolate 10.0.4.0/24.", 10.0 + 2.0 * 30.0 * 5.5),
            // Two kinds: the work of both, the worse outage.
            ("Isolate 10.0.4.8 and remove the malware from it.", 100.0 + 2.0 * 60.0 * 0.5),
            ("Save the logs of 10.0.4.6.", 20.0),
            // A kind that the table leaves out, and no kind.
            ("Patch 10.0.4.6.", 60.0),
            ("Write a report about 10.0.4.6.", 60.0),
        ] {
            assert_eq!(price(action), minutes, "{action}");
        }
    }

    #[test]
    fn what_is_taken_down_without_need_costs_what_the_table_says_for_each() {
        let none = RecoveryState::default();
        let needless = |line: &str, hosts| {
            let table = MinuteTable::parse(&format!("{line}\n{TABLE}")).unwrap();
            MinuteCost::new(Arc::new(table), &[]).needless(none, none, hosts)
        };
        assert_eq!(needless("", 2), 0.0, "a table that says nothing of it prices outages alone");
        assert_eq!((needless("needless = 240", 0), needless("needless = 240", 2)), (0.0, 480.0));
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_a_sentence() {
        for (text, expected) in [
            ("", "missing field `other`"),
            ("other = { work = -1 }", "other.work is -1"),
            ("other = { work = nan }", "other.work is NaN"),
            ("needless = -1\nother = { work = 1 }", "needless is -1"),
            ("other = { work = 1, outage = 2e9 }", "other.outage"),
            ("other = { work = 1 }\n\n[actions.dance]\nwork = 1", "(line 3)"),
            ("other = { work = 1, speed = 2 }", "speed"),
            ("other = { work = 1 }\n[[asset]]\nnames = []\ncriticality = 1", "asset 1 has no names"),
            ("other = { work = 1 }\n[[asset]]\nnames = [\" \"]\ncriticality = 1", "asset 1: a name"),
            (
                "other = { work = 1 }\n[[asset]]\nnames = [\"web 1\", \"web-1\"]\ncriticality = 1",
                "\"web-1\" is a name of two assets",
            ),
        ] {
            let error = MinuteTable::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn the_sample_is_a_table() {
        let text = include_str!("../../../../deploy/costs.toml");
        let table = MinuteTable::parse(text).unwrap();
        // What it shows of responses is in comments, so that nobody takes it over unseen.
        let mut is_shown = false;
        let shown: String = text
            .lines()
            .map(|line| {
                is_shown |= line == "# [[response]]";
                is_shown &= line.starts_with('#');
                format!("{}\n", if is_shown { line.trim_start_matches(['#', ' ']) } else { line })
            })
            .collect();
        let able = MinuteTable::parse(&shown).unwrap();
        assert_eq!(able.capabilities.len(), 3);
        assert_eq!(able.orders("Isolate 10.0.2.13", &[])[0].command, "edr isolate 10.0.2.13");
        assert_eq!(table.actions.len(), 6, "it prices every kind of response");
        assert!(!table.assets.is_empty());
        for action in [
            "Isolate 10.0.2.13 from the network",
            "Save the logs of 10.0.2.13",
            "Search the logs of 10.0.2.13",
            "Remove malware from 10.0.2.13",
            "Patch 10.0.2.13",
            "Restore 10.0.2.13 from a backup",
            "Write a report",
            "Isolate 10.0.2.13 and save the logs of 10.0.2.13",
        ] {
            assert_eq!(usual_work(action), table.work(action), "{action}");
        }
    }

    proptest! {
        #[test]
        fn every_price_is_finite_and_not_negative(action in any::<String>(), weight in 0.0..=MOST, outage in 0.0..=MOST) {
            let minutes = ActionMinutes { work: 1.0, outage };
            let actions = [(VerbClass::Contain, minutes)].into_iter().collect();
            let table = MinuteTable {
                disruption_weight: weight, default_criticality: MOST, needless: MOST, actions, other: minutes, assets: Vec::new(), capabilities: Vec::new(),
            };
            let none = RecoveryState::default();
            let costs = MinuteCost::new(Arc::new(table), &["10.0.0.1".into()]);
            let price = costs.cost(none, &action, none);
            prop_assert!(price.is_finite() && price >= 1.0);
            prop_assert!(costs.needless(none, none, 1) == MOST && price + MOST <= costs.dearest());
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = MinuteTable::parse(&text);
        }
    }
}
