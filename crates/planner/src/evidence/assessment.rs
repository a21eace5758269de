//! What perception and reasoning made of the evidence.

use countermove_incident::{DigestReport, Pricing, RecoveryState, Tactic};
use serde::{Deserialize, Serialize};

use crate::evidence::attacks::Attack;
use crate::evidence::roles::Roles;

/// A technique of MITRE ATT&CK by identifier and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TechniqueName {
    /// Identifier, such as `T1110.001`.
    pub id: String,
    /// Name, such as `Brute Force: Password Guessing`.
    pub name: String,
}

/// Lines of the alert log that say the same, folded into one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Number of the group in the digest, from 1.
    pub number: u32,
    /// The folded line as the model reads it.
    pub text: String,
    /// Records folded into it.
    pub count: u64,
    /// How likely they are part of an attack, from 0 to 1.
    #[serde(default)]
    pub attack: f32,
    /// What spoke for that and against it, the weightiest first, in log-odds: `the model +2.1, high severity +1.0`.
    #[serde(default)]
    pub because: String,
}

/// A tactic that the model believes the attacker follows, with the evidence for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TacticBelief {
    /// The tactic.
    pub tactic: Tactic,
    /// Its share of all evidence of the attack, from 0 to 1; those of all beliefs add up to 1.
    pub weight: f32,
    /// Techniques of this tactic that the alerts name.
    pub techniques: Vec<TechniqueName>,
    /// Alert groups of the digest that speak for the tactic, best first.
    pub evidence: Vec<EvidenceLine>,
}

/// What perception and reasoning made of the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// Whether there is an incident at all.
    pub is_incident: bool,
    /// Whether there are records and none is in a known form, so that nothing was judged: no finding either way.
    #[serde(default)]
    pub not_understood: bool,
    /// One sentence about what happened.
    pub description: String,
    /// Who is who.
    pub entities: Roles,
    /// Conjectured tactics, the most likely first.
    pub tactics: Vec<TacticBelief>,
    /// The attacks, where several have nothing in common; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attacks: Vec<Attack>,
    /// How far recovery has come already.
    pub state: RecoveryState,
    /// The model's reasoning, as it wrote it.
    pub reasoning: String,
    /// Answers of the model that could not be used, one entry each.
    pub rejected: Vec<String>,
    /// How the log was read.
    pub digest: DigestReport,
}

impl Assessment {
    /// Notes what the organisation can do, which is part of what actions cost.
    pub(crate) fn enable(&mut self, pricing: &Pricing) {
        self.entities = std::mem::take(&mut self.entities).able(pricing.capabilities());
    }
}
