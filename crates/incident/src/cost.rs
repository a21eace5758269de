//! What an action costs.

use crate::RecoveryState;

/// A price for response actions. Costs are non-negative and finite, and add up over the actions of a plan.
pub trait CostModel: Send + Sync {
    /// Cost of taking `action` in the state `before` when it leads to the state `after`.
    fn cost(&self, before: RecoveryState, action: &str, after: RecoveryState) -> f64;
}

/// One for each action, two for a superfluous one, that is one after which no fact holds that did not hold before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCost;

impl CostModel for UnitCost {
    fn cost(&self, before: RecoveryState, _action: &str, after: RecoveryState) -> f64 {
        if before.union(after) == before { 2.0 } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superfluous_action_costs_double() {
        let none = RecoveryState::default();
        let contained = RecoveryState { is_attack_contained: true, ..none };
        let hardened = RecoveryState { is_hardened: true, ..none };
        assert_eq!(UnitCost.cost(none, "Block 203.0.113.9.", contained), 1.0);
        assert_eq!(UnitCost.cost(contained, "Block 203.0.113.9.", contained), 2.0);
        assert_eq!(UnitCost.cost(contained, "Wait.", none), 2.0, "losing a fact gains nothing");
        assert_eq!(UnitCost.cost(contained, "Patch bash.", hardened), 1.0);
    }
}
