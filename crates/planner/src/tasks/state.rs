//! The task *state*: which facts hold after an action.

use countermove_incident::{RecoveryState, VerbClass};
use serde_json::{Map, Value, json};

use super::{Properties, TaskError};
use crate::language_model::Answer;

const TASK: &str = "state";

// Positions in `RecoveryState::NAMES`.
const CONTAINED: usize = 0;
const KNOWN: usize = 1;
const PRESERVED: usize = 2;
const ERADICATED: usize = 3;
const HARDENED: usize = 4;
const RECOVERED: usize = 5;

/// Six Booleans. The grammar leaves no choice about a fact that holds, since it stays, nor about one that is out of
/// the action's reach. The open ones come first: after a row of forced `false` a small model says `false` out of habit.
pub(crate) fn state_schema(before: RecoveryState, action: &str) -> Value {
    let facts = before.bits().into_iter().zip(reach(action));
    let forced: Vec<Option<bool>> = facts
        .map(|(holds, in_reach)| match (holds, in_reach) {
            (true, _) => Some(true),
            (false, false) => Some(false),
            (false, true) => None,
        })
        .collect();
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

/// Facts that an action may bring about, judged by its verbs: restoring a service never preserves evidence. Whether it
/// does bring them about is for the model to say. An action without a known verb may bring about any.
fn reach(action: &str) -> [bool; 6] {
    let classes = VerbClass::of(action);
    if classes.is_empty() {
        return [true; 6];
    }
    let mut reach = [false; 6];
    for class in classes {
        let facts: &[usize] = match class {
            VerbClass::Contain => &[CONTAINED],
            VerbClass::Preserve => &[KNOWN, PRESERVED],
            VerbClass::Analyse => &[KNOWN],
            VerbClass::Eradicate => &[ERADICATED],
            VerbClass::Harden => &[HARDENED],
            VerbClass::Restore => &[RECOVERED],
        };
        for &fact in facts {
            reach[fact] = true;
        }
    }
    reach
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
