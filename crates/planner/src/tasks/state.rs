//! The task *state*: which facts hold after an action.

use countermove_incident::RecoveryState;
use serde_json::{Map, Value, json};

use super::{Properties, TaskError};
use crate::language_model::Answer;

const TASK: &str = "state";

/// Six Booleans. A fact that holds stays, so the grammar leaves no choice about it.
pub(crate) fn state_schema(before: RecoveryState) -> Value {
    let mut properties = Map::new();
    for (name, holds) in RecoveryState::NAMES.into_iter().zip(before.bits()) {
        let schema = if holds { json!({"const": true}) } else { json!({"type": "boolean"}) };
        properties.insert(name.into(), schema);
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": RecoveryState::NAMES,
        "additionalProperties": false,
    })
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
