//! What an action has to keep to, whether it is a candidate or is taken in a rollout: the entities that exist, the
//! constraints on the plan, and that evidence is kept before it is destroyed.
//!
//! Invariant: an action that breaks one of these is never chosen, and never simulated as if it could be taken.

use countermove_incident::{Constraints, Grounding, RecoveryState, VerbClass, destroys_evidence};

use crate::evidence::roles::Roles;
use crate::prompts::past::objects;

/// The checks of one incident.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks<'a> {
    pub(crate) grounding: &'a Grounding,
    pub(crate) constraints: &'a Constraints,
}

impl Checks<'_> {
    /// Why the action cannot be taken in this state, in one sentence; `None` if nothing speaks against it.
    pub(crate) fn fault(&self, state: RecoveryState, action: &str) -> Option<String> {
        let unknown = self.grounding.unknown_entities(action);
        if !unknown.is_empty() {
            let names: Vec<&str> = unknown.iter().map(|entity| entity.value.as_str()).collect();
            let names = names.join(", ");
            return Some(format!(
                "It names {names}, which neither the system description nor the evidence mentions."
            ));
        }
        self.rule_fault(state, action)
    }

    /// The same for what is known to name only what exists.
    pub(crate) fn rule_fault(&self, state: RecoveryState, action: &str) -> Option<String> {
        if let Some(broken) = self.constraints.broken_by(action) {
            return Some(format!("{broken}."));
        }
        let early = !state.are_forensics_preserved && destroys_evidence(action);
        early.then(|| "It destroys evidence, and none has been preserved yet.".into())
    }
}

/// Why the organisation cannot carry an action out, in one sentence; `None` if nothing says so.
pub(crate) fn beyond_reach(action: &str, roles: &Roles) -> Option<String> {
    if roles.capabilities.is_empty() {
        return None;
    }
    let told = objects(action, roles);
    let mut named = told.iter().flat_map(|(kind, names)| names.iter().map(|name| (*kind, name)));
    let (kind, name) = named.find(|(kind, name)| !roles.can(*kind, name))?;
    Some(format!("What the organisation can do says that it cannot {} {name}.", kind.name()))
}

/// Whether an action cuts off or cleans somebody.
pub(crate) fn interrupts(action: &str) -> bool {
    VerbClass::of(action).into_iter().any(takes_down)
}

/// Whether a kind of response does.
pub(crate) fn takes_down(kind: VerbClass) -> bool {
    matches!(kind, VerbClass::Contain | VerbClass::Eradicate)
}
