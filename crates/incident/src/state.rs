//! Recovery from an incident as six facts.

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
}
