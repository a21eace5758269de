//! The task *state*: which facts hold after an action.

use countermove_incident::{RecoveryState, VerbClass};
use serde_json::{Map, Value, json};

use super::{Properties, TaskError};
use crate::language_model::Answer;

const TASK: &str = "state";

/// Six Booleans. The grammar leaves no choice about a fact that is not `open`: it stays what it was. The open ones
/// come first: after a row of forced `false` a small model says `false` out of habit.
pub(crate) fn state_schema(before: RecoveryState, open: RecoveryState) -> Value {
    let facts = before.bits().into_iter().zip(open.bits());
    let forced: Vec<Option<bool>> = facts.map(|(holds, open)| (!open).then_some(holds)).collect();
    schema(&forced)
}

/// Six Booleans, each forced to a value or open.
pub(crate) fn schema(forced: &[Option<bool>]) -> Value {
    let mut facts: Vec<(&str, Option<bool>)> =
        RecoveryState::NAMES.into_iter().zip(forced.iter().copied()).collect();
    facts.sort_by_key(|(_, forced)| forced.is_some());
    let mut properties = Map::new();
    for (name, forced) in facts {
        let schema = forced.map_or_else(|| json!({"type": "boolean"}), |value| json!({"const": value}));
        properties.insert(name.into(), schema);
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": RecoveryState::NAMES,
        "additionalProperties": false,
    })
}

/// Facts that an action may bring about in this state, judged by its verbs: restoring a service never preserves
/// evidence. Whether it does bring them about is for the model to say. An action without a known verb may bring about
/// any that is missing.
pub(crate) fn open_facts(before: RecoveryState, action: &str) -> RecoveryState {
    let mut reach = RecoveryState::default();
    for class in VerbClass::of(action) {
        match class {
            VerbClass::Contain => reach.is_attack_contained = true,
            VerbClass::Preserve => reach.are_forensics_preserved = true,
            VerbClass::Analyse => reach.is_knowledge_sufficient = true,
            VerbClass::Eradicate => reach.is_eradicated = true,
            VerbClass::Harden => reach.is_hardened = true,
            VerbClass::Restore => reach.is_recovered = true,
        }
    }
    let mut open = if reach.achieved() == 0 { [true; 6] } else { reach.bits() };
    for (open, holds) in open.iter_mut().zip(before.bits()) {
        *open &= !holds;
    }
    RecoveryState::from_bits(open)
}

/// Reads the answer. Facts are not compared with those before; the caller takes the union.
pub(crate) fn parse_state(answer: &Answer) -> Result<RecoveryState, TaskError> {
    let properties = Properties::of(TASK, answer)?;
    let mut bits = [false; 6];
    for (bit, name) in bits.iter_mut().zip(RecoveryState::NAMES) {
        *bit = properties.boolean(name)?;
    }
    Ok(RecoveryState::from_bits(bits))
}
