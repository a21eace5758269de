//! Whether what an action names exists.

use crate::{AlertLog, Entity};

/// What the system description and the evidence name. An action may name nothing else.
#[derive(Clone, Debug, Default)]
pub struct Grounding {}

impl Grounding {
    /// Collects what the system description and the evidence name.
    pub fn new(system: &str, evidence: &AlertLog) -> Grounding {
        let _ = (system, evidence);
        Grounding {}
    }

    /// Adds what another text names, such as an analyst's notes or the constraints.
    pub fn add_text(&mut self, text: &str) {
        let _ = text;
    }

    /// The entities that `action` names and that occur neither in the system description nor in the evidence.
    pub fn unknown_entities(&self, action: &str) -> Vec<Entity> {
        let _ = action;
        Vec::new()
    }

    /// Addresses in the system description and the evidence that belong to the defended system, in order.
    pub fn internal_addresses(&self) -> Vec<String> {
        Vec::new()
    }

    /// The other addresses, in order.
    pub fn external_addresses(&self) -> Vec<String> {
        Vec::new()
    }
}
