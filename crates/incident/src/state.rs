//! Recovery from an incident as six facts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far recovery has come. Recovery is complete when all six facts hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryState {
    /// The attacker can no longer extend the attack.
    pub is_attack_contained: bool,
    /// What the attacker did, and how, is known well enough to remove it.
    pub is_knowledge_sufficient: bool,
    /// Evidence that a later investigation needs is kept.
    pub are_forensics_preserved: bool,
    /// Nothing that the attacker left is still there.
    pub is_eradicated: bool,
    /// The way in is closed.
    pub is_hardened: bool,
    /// The services are back in operation.
    pub is_recovered: bool,
}

impl RecoveryState {
    /// Names of the facts, in the order of [`RecoveryState::bits`].
    pub const NAMES: [&'static str; 6] = [
        "is_attack_contained",
        "is_knowledge_sufficient",
        "are_forensics_preserved",
        "is_eradicated",
        "is_hardened",
        "is_recovered",
    ];

    /// Short names for people and prompts, in the same order.
    pub const LABELS: [&'static str; 6] = [
        "attack contained",
        "knowledge sufficient",
        "forensics preserved",
        "attacker eradicated",
        "system hardened",
        "services recovered",
    ];

    /// What each fact means when it holds, one sentence each, in the same order.
    pub const MEANINGS: [&'static str; 6] = [
        "The attacker can no longer extend the attack.",
        "What the attacker did, and how, is known well enough to remove it.",
        "Evidence that a later investigation needs is kept.",
        "Nothing that the attacker left is still there.",
        "The way in is closed.",
        "The services are back in operation.",
    ];

    /// The facts in the order of [`RecoveryState::NAMES`].
    pub fn bits(self) -> [bool; 6] {
        [
            self.is_attack_contained,
            self.is_knowledge_sufficient,
            self.are_forensics_preserved,
            self.is_eradicated,
            self.is_hardened,
            self.is_recovered,
        ]
    }

    /// The state with these facts, in the order of [`RecoveryState::NAMES`].
    pub fn from_bits(bits: [bool; 6]) -> Self {
        let [
            is_attack_contained,
            is_knowledge_sufficient,
            are_forensics_preserved,
            is_eradicated,
            is_hardened,
            is_recovered,
        ] = bits;
        Self {
            is_attack_contained,
            is_knowledge_sufficient,
            are_forensics_preserved,
            is_eradicated,
            is_hardened,
            is_recovered,
        }
    }

    /// Whether recovery is complete.
    pub fn is_terminal(self) -> bool {
        self.bits().into_iter().all(|bit| bit)
    }

    /// The facts that hold in either state. Inside a simulation facts are gained and never lost, so the state after
    /// an action is the union of the one before and the one that the model predicts.
    pub fn union(self, other: Self) -> Self {
        let (a, b) = (self.bits(), other.bits());
        Self::from_bits(std::array::from_fn(|i| a[i] || b[i]))
    }

    /// Number of facts that hold.
    pub fn achieved(self) -> usize {
        self.bits().into_iter().filter(|&bit| bit).count()
    }

    /// Positions in [`RecoveryState::NAMES`] of the facts that `after` has and this state has not.
    pub fn gained(self, after: Self) -> Vec<usize> {
        self.bits()
            .into_iter()
            .zip(after.bits())
            .enumerate()
            .filter(|(_, (a, b))| !a && *b)
            .map(|(i, _)| i)
            .collect()
    }

    /// Labels of the facts that hold.
    pub fn achieved_labels(self) -> Vec<&'static str> {
        self.labels(true)
    }

    /// Labels of the facts that do not hold yet.
    pub fn open_labels(self) -> Vec<&'static str> {
        self.labels(false)
    }

    fn labels(self, value: bool) -> Vec<&'static str> {
        Self::LABELS
            .into_iter()
            .zip(self.bits())
            .filter(|(_, bit)| *bit == value)
            .map(|(label, _)| label)
            .collect()
    }
}

impl fmt::Display for RecoveryState {
    /// `2 of 6: attack contained, forensics preserved`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.achieved(), Self::NAMES.len())?;
        let labels = self.achieved_labels();
        if labels.is_empty() { Ok(()) } else { write!(f, ": {}", labels.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = RecoveryState> {
        any::<[bool; 6]>().prop_map(RecoveryState::from_bits)
    }

    #[test]
    fn a_state_is_shown_with_what_holds() {
        let state =
            RecoveryState { is_attack_contained: true, is_hardened: true, ..RecoveryState::default() };
        assert_eq!(state.to_string(), "2 of 6: attack contained, system hardened");
        assert_eq!(RecoveryState::default().to_string(), "0 of 6");
        assert_eq!(state.open_labels().len(), 4);
    }

    #[test]
    fn json_names_every_fact_and_no_other() {
        let json = serde_json::to_value(RecoveryState::default()).unwrap();
        let names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, RecoveryState::NAMES);
        assert!(serde_json::from_str::<RecoveryState>(r#"{"is_recovered": true}"#).is_err());
    }

    proptest! {
        #[test]
        fn bits_and_json_round_trip(state in states()) {
            prop_assert_eq!(RecoveryState::from_bits(state.bits()), state);
            let json = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(serde_json::from_str::<RecoveryState>(&json).unwrap(), state);
        }

        #[test]
        fn a_union_loses_nothing_and_is_a_least_upper_bound(a in states(), b in states(), c in states()) {
            let both = a.union(b);
            prop_assert_eq!(both, b.union(a));
            prop_assert_eq!(both.union(c), a.union(b.union(c)));
            prop_assert_eq!(a.union(a), a);
            prop_assert!(both.gained(a).is_empty() && both.gained(b).is_empty());
            prop_assert_eq!(both.achieved(), a.achieved() + a.gained(b).len());
            prop_assert_eq!(both.is_terminal(), both.achieved() == 6);
            prop_assert_eq!(a.achieved_labels().len() + a.open_labels().len(), 6);
        }
    }
}
