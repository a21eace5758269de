//! The task *state*: which facts hold after an action.

use countermove_incident::{RecoveryState, VerbClass};
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

/// Facts that an action may bring about in this state, judged by its verbs: restoring a service never preserves
/// evidence. Whether it does bring them about is for the model to say. An action without a known verb brings nothing about.
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
    let mut open = reach.bits();
    for (open, holds) in open.iter_mut().zip(before.bits()) {
        *open &= !holds;
    }
    RecoveryState::from_bits(open)
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

    fn answer(json: &str) -> Answer {
        Answer { json: json.into(), complete: true, ..Answer::default() }
    }

    #[test]
    fn only_open_facts_are_asked_and_read() {
        let before = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let open = open_facts(before, "Patch and harden 10.0.2.13");
        assert_eq!(open, RecoveryState { is_hardened: true, ..RecoveryState::default() });
        let json = state_answer(open, open).to_string();
        assert_eq!(json, r#"{"is_hardened":true}"#);
        assert_eq!(parse_state(&answer(&json), open), Ok(open));
        assert_eq!(state_schema(open)["required"], json!(["is_hardened"]));
        let more = r#"{"is_hardened": false, "is_recovered": true}"#;
        assert_eq!(parse_state(&answer(more), open), Ok(RecoveryState::default()));
        assert!(parse_state(&answer("{}"), open).is_err());
        assert_eq!(open_facts(before, "Isolate 10.0.2.13").achieved(), 0);
        assert_eq!(open_facts(before, "Improve everything").achieved(), 0);
    }
}
