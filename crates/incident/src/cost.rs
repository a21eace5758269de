//! What an action costs.
//!
//! Three models: the paper's (each action costs one), one that charges a superfluous action twice, and one in minutes,
//! from a table that an organisation edits ([`MinuteTable`]).

mod capabilities;
mod minutes;

use std::sync::Arc;

pub use capabilities::{Capability, Order};
pub use minutes::{ActionMinutes, Asset, MinuteCost, MinuteTable, TableError};

use serde::{Deserialize, Serialize};

use crate::{Part, RecoveryState};

/// A price for response actions. Costs are non-negative and finite, and add up over the actions of a plan.
pub trait CostModel: Send + Sync {
    /// Cost of taking `action` in the state `before` when it leads to the state `after`.
    fn cost(&self, before: RecoveryState, action: &str, after: RecoveryState) -> f64;

    /// What an action costs beyond that which takes down so many `hosts` that have no part in the incident.
    fn needless(&self, before: RecoveryState, after: RecoveryState, hosts: usize) -> f64;
}

/// One for each action, as in the paper (arXiv 2602.13156).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCost;

impl CostModel for UnitCost {
    fn cost(&self, _before: RecoveryState, _action: &str, _after: RecoveryState) -> f64 {
        1.0
    }

    fn needless(&self, _before: RecoveryState, _after: RecoveryState, _hosts: usize) -> f64 {
        0.0
    }
}

/// One for each action, two for one after which no fact holds that did not hold before, and one more for each host that it takes down and
/// that has no part in the incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SuperfluousCost;

impl CostModel for SuperfluousCost {
    fn cost(&self, before: RecoveryState, _action: &str, after: RecoveryState) -> f64 {
        if before.union(after) == before { 2.0 } else { 1.0 }
    }

    fn needless(&self, _before: RecoveryState, _after: RecoveryState, hosts: usize) -> f64 {
        hosts as f64
    }
}

/// Which cost model an incident is planned with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Pricing {
    /// [`UnitCost`].
    Unit,
    /// [`SuperfluousCost`].
    #[default]
    Superfluous,
    /// [`MinuteCost`] with this table.
    Minutes(Arc<MinuteTable>),
}

impl Pricing {
    /// The models that need no table, by name.
    pub fn named(name: &str) -> Option<Pricing> {
        match name {
            "unit" => Some(Pricing::Unit),
            "superfluous" => Some(Pricing::Superfluous),
            _ => None,
        }
    }

    /// Its name: `unit`, `superfluous` or `minutes`.
    pub fn name(&self) -> &'static str {
        match self {
            Pricing::Unit => "unit",
            Pricing::Superfluous => "superfluous",
            Pricing::Minutes(_) => "minutes",
        }
    }

    /// What one action costs at most in a system with these hosts and addresses.
    pub fn dearest(&self, systems: &[String]) -> f64 {
        match self {
            Pricing::Unit => 1.0,
            Pricing::Superfluous => 2.0 + systems.len() as f64,
            Pricing::Minutes(table) => MinuteCost::new(Arc::clone(table), systems).dearest(),
        }
    }

    /// What the organisation says of what it can do, and how; nothing where there is no table.
    pub fn capabilities(&self) -> &[Capability] {
        match self {
            Pricing::Unit | Pricing::Superfluous => &[],
            Pricing::Minutes(table) => &table.capabilities,
        }
    }

    /// How an action is carried out, target by target, as far as the organisation says. `known` are names that are told by no form of
    /// their own, such as those of accounts.
    pub fn orders(&self, action: &str, known: &[&str]) -> Vec<Order> {
        match self {
            Pricing::Unit | Pricing::Superfluous => Vec::new(),
            Pricing::Minutes(table) => table.orders(action, known),
        }
    }

    /// How many different people have to approve an action where people approve, as the organisation says of its parts.
    pub fn approvers(&self, action: &str) -> u32 {
        let capabilities = self.capabilities();
        if capabilities.is_empty() {
            return 1;
        }
        let parts = Part::of(action, &[]);
        let own = parts.iter().filter_map(|part| Capability::of(capabilities, part.class, part.to));
        own.map(|own| own.approvers).max().unwrap_or(1)
    }

    /// Minutes of work that an action takes: by the table, or what it usually is where there is none.
    pub fn minutes_of_work(&self, action: &str) -> f64 {
        match self {
            Pricing::Unit | Pricing::Superfluous => minutes::usual_work(action),
            Pricing::Minutes(table) => table.work(action),
        }
    }

    /// The model for a system with these hosts and addresses.
    pub fn model(&self, systems: &[String]) -> Box<dyn CostModel> {
        match self {
            Pricing::Unit => Box::new(UnitCost),
            Pricing::Superfluous => Box::new(SuperfluousCost),
            Pricing::Minutes(table) => Box::new(MinuteCost::new(Arc::clone(table), systems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superfluous_action_costs_double_where_it_is_asked_for() {
        let none = RecoveryState::default();
        let contained = RecoveryState { is_attack_contained: true, ..none };
        let hardened = RecoveryState { is_hardened: true, ..none };
        for (before, action, after, cost) in [
            (none, "Block 203.0.113.9.", contained, 1.0),
            (contained, "Block 203.0.113.9.", contained, 2.0),
            // Losing a fact gains nothing.
            (contained, "Wait.", none, 2.0),
            (contained, "Patch bash.", hardened, 1.0),
        ] {
            assert_eq!(SuperfluousCost.cost(before, action, after), cost, "{action}");
            assert_eq!(UnitCost.cost(before, action, after), 1.0, "{action}");
        }
        for hosts in 0..3 {
            assert_eq!(SuperfluousCost.needless(none, contained, hosts), hosts as f64);
            assert_eq!(UnitCost.needless(none, contained, hosts), 0.0);
        }
        let systems = ["10.0.0.1", "10.0.0.2"].map(str::to_owned);
        assert_eq!(Pricing::Superfluous.dearest(&systems), 4.0, "all of them, in vain");
    }

    #[test]
    fn a_name_gives_the_model_of_that_name() {
        for name in ["unit", "superfluous"] {
            assert_eq!(Pricing::named(name).unwrap().name(), name);
        }
        assert_eq!(Pricing::named("minutes"), None, "it needs a table");
    }
}
