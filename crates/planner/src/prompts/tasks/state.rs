//! The task *state*: which facts hold after an action.

use countermove_incident::RecoveryState;
use serde_json::{Map, Value, json};

use super::{Properties, TaskError};
use crate::language_model::Answer;

const TASK: &str = "state";

/// A Boolean for each open fact. Nothing is asked of the others: they stay what they were.
pub(crate) fn state_schema(open: RecoveryState) -> Value {
    let names = names(open);
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"type": "boolean"}))).collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

/// The answer that says so, as the grammar writes it.
pub(crate) fn state_answer(open: RecoveryState, after: RecoveryState) -> Value {
    let facts = RecoveryState::NAMES.into_iter().zip(open.bits()).zip(after.bits());
    let told = facts.filter(|((_, open), _)| *open);
    Value::Object(told.map(|((name, _), holds)| (name.to_owned(), Value::Bool(holds))).collect())
}

fn names(open: RecoveryState) -> Vec<&'static str> {
    RecoveryState::NAMES
        .into_iter()
        .zip(open.bits())
        .filter(|(_, open)| *open)
        .map(|(name, _)| name)
        .collect()
}

/// Reads the answer about the open facts; all others are false. The caller takes the union with those before.
pub(crate) fn parse_state(answer: &Answer, open: RecoveryState) -> Result<RecoveryState, TaskError> {
    let properties = Properties::of(TASK, answer)?;
    let mut bits = open.bits();
    for (bit, name) in bits.iter_mut().zip(RecoveryState::NAMES) {
        *bit = *bit && properties.boolean(name)?;
    }
    Ok(RecoveryState::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::roles::Roles;
    use crate::prompts::past::{objects, open_facts};

    fn answer(json: &str) -> Answer {
        Answer { json: json.into(), complete: true, ..Answer::default() }
    }

    #[test]
    fn only_open_facts_are_asked_and_read() {
        let before = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let open_by = |action| open_facts(before, &objects(action, &Roles::default()));
        let open = open_by("Patch and harden 10.0.2.13");
        assert_eq!(open, RecoveryState { is_hardened: true, ..RecoveryState::default() });
        let json = state_answer(open, open).to_string();
        assert_eq!(json, r#"{"is_hardened":true}"#);
        assert_eq!(parse_state(&answer(&json), open), Ok(open));
        assert_eq!(state_schema(open)["required"], json!(["is_hardened"]));
        let more = r#"{"is_hardened": false, "is_recovered": true}"#;
        assert_eq!(parse_state(&answer(more), open), Ok(RecoveryState::default()));
        assert!(parse_state(&answer("{}"), open).is_err());
        assert_eq!(open_by("Isolate 10.0.2.13").achieved(), 0);
        assert_eq!(open_by("Improve everything").achieved(), 0);
    }
}
