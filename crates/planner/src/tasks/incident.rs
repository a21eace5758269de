//! The task *incident*: whether there is one, and what the attacker does.

use countermove_incident::{RecoveryState, Tactic, techniques_of};
use serde_json::{Map, Value, json};

use super::action::escape;
use super::{Properties, TaskError};
use crate::language_model::Answer;

const TASK: &str = "incident";

const MAX_DESCRIPTION_CHARS: usize = 120;
const MAX_ATTACKERS: usize = 3;
const MAX_TARGETS: usize = 8;
const MAX_TACTICS: usize = 3;
const MAX_TECHNIQUES: usize = 2;
const MAX_EVIDENCE: usize = 3;

/// What an answer may choose from: everything in it was found by code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IncidentVocabulary {
    /// Who may attack.
    pub(crate) attackers: Vec<String>,
    /// Who may be attacked.
    pub(crate) targets: Vec<String>,
    /// Numbers of the alert groups.
    pub(crate) alerts: Vec<u32>,
    /// Whether there is an incident for certain, so that the answer may not deny it.
    pub(crate) certain: bool,
    /// Whether the evidence can show how far recovery has come: plain lines may, alerts of traffic cannot.
    pub(crate) state: bool,
}

/// A tactic as the model names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TacticAnswer {
    pub(crate) tactic: String,
    pub(crate) techniques: Vec<String>,
    pub(crate) evidence: Vec<String>,
}

/// What the model makes of the evidence, names as it wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IncidentAnswer {
    pub(crate) is_incident: bool,
    pub(crate) description: String,
    pub(crate) attackers: Vec<String>,
    pub(crate) targets: Vec<String>,
    pub(crate) tactics: Vec<TacticAnswer>,
    pub(crate) state: RecoveryState,
}

/// Either no incident, unless there is one for certain, or an incident with all that is known of it.
pub(crate) fn incident_schema(vocabulary: &IncidentVocabulary) -> Value {
    let none = json!({
        "type": "object",
        "properties": {
            "Incident": {"const": false},
        },
        "required": ["Incident"],
        "additionalProperties": false,
    });
    let mut properties = Map::new();
    properties.insert("Incident".into(), json!({"const": true}));
    if !vocabulary.attackers.is_empty() {
        properties.insert("Attackers".into(), some_of(&vocabulary.attackers, 1, MAX_ATTACKERS));
    }
    if !vocabulary.targets.is_empty() {
        properties.insert("Targets".into(), some_of(&vocabulary.targets, 1, MAX_TARGETS));
    }
    let tactics: Vec<Value> =
        Tactic::ALL.into_iter().map(|tactic| tactic_schema(tactic, vocabulary)).collect();
    properties.insert(
        "Tactics".into(),
        json!({"type": "array", "items": {"anyOf": tactics}, "minItems": 1, "maxItems": MAX_TACTICS}),
    );
    // Behind the names, so that it tells of those that were chosen.
    properties.insert("Description".into(), description(&vocabulary.attackers));
    if vocabulary.state {
        properties.insert("State".into(), super::state::schema(&[None; 6]));
    }
    let required: Vec<&String> = properties.keys().collect();
    let required = json!(required);
    let some = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if vocabulary.certain { some } else { json!({"anyOf": [some, none]}) }
}

/// A sentence that says what an attacker does; any sentence if there is none to choose.
fn description(attackers: &[String]) -> Value {
    if attackers.is_empty() {
        return json!({"type": "string", "minLength": 8, "maxLength": MAX_DESCRIPTION_CHARS});
    }
    let subjects: Vec<String> = attackers.iter().map(|name| escape(name)).collect();
    let tail = format!(r#"[a-zA-Z0-9][^"\\\x00-\x1f]{{4,{MAX_DESCRIPTION_CHARS}}}\."#);
    let pattern = format!("^(?:{}) (?:{}) {tail}$", subjects.join("|"), VERBS.join("|"));
    json!({"type": "string", "pattern": pattern})
}

/// What an attacker may be said to do.
const VERBS: [&str; 9] = [
    "attacks",
    "scans",
    "exploits",
    "guesses passwords of",
    "logs in to",
    "runs commands on",
    "moves from",
    "takes data from",
    "sends malware to",
];

/// Reads the answer. Names are not compared with the vocabulary; the caller does, and reports what it removes.
pub(crate) fn parse_incident(answer: &Answer) -> Result<IncidentAnswer, TaskError> {
    let properties = Properties::of(TASK, answer)?;
    let mut tactics = Vec::new();
    if let Some(value) = properties.map.get("Tactics") {
        let entries = value.as_array().ok_or_else(|| properties.wrong("Tactics", "an array of objects"))?;
        for entry in entries {
            let map = entry.as_object().ok_or_else(|| properties.wrong("Tactics", "an array of objects"))?;
            let entry = Properties { task: TASK, map: map.clone() };
            tactics.push(TacticAnswer {
                tactic: entry.text("Tactic")?,
                techniques: entry.texts("Techniques")?,
                evidence: entry.texts("Evidence")?,
            });
        }
    }
    let state = match properties.map.get("State") {
        None => RecoveryState::default(),
        Some(value) => {
            let map =
                value.as_object().ok_or_else(|| properties.wrong("State", "an object of six Booleans"))?;
            let state = Properties { task: TASK, map: map.clone() };
            let mut bits = [false; 6];
            for (bit, name) in bits.iter_mut().zip(RecoveryState::NAMES) {
                *bit = state.boolean(name)?;
            }
            RecoveryState::from_bits(bits)
        }
    };
    let is_incident = properties.boolean("Incident")?;
    Ok(IncidentAnswer {
        is_incident,
        description: if is_incident { properties.text("Description")? } else { String::new() },
        attackers: properties.texts("Attackers")?,
        targets: properties.texts("Targets")?,
        tactics,
        state,
    })
}

fn tactic_schema(tactic: Tactic, vocabulary: &IncidentVocabulary) -> Value {
    let techniques: Vec<String> = techniques_of(tactic).map(|technique| technique.name.to_owned()).collect();
    let mut properties = Map::new();
    properties.insert("Tactic".into(), json!({"const": tactic.name()}));
    properties.insert("Techniques".into(), some_of(&techniques, 1, MAX_TECHNIQUES));
    if !vocabulary.alerts.is_empty() {
        let alerts: Vec<String> = vocabulary.alerts.iter().map(|number| format!("A{number}")).collect();
        properties.insert("Evidence".into(), some_of(&alerts, 1, MAX_EVIDENCE));
    }
    let required: Vec<&String> = properties.keys().collect();
    let required = json!(required);
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn some_of(names: &[String], least: usize, most: usize) -> Value {
    json!({"type": "array", "items": {"enum": names}, "minItems": least, "maxItems": most.min(names.len()).max(least)})
}
