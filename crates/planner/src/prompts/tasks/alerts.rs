//! The task *alerts*: which alerts a tactic raises next, as pairs of class and priority.

use countermove_incident::{ALERT_CLASSES, AlertKind};
use serde_json::{Value, json};

use super::{Properties, TaskError};
use crate::language_model::Answer;

const TASK: &str = "alerts";

/// Most pairs in an answer: a tactic that could raise anything predicts nothing.
const MAX_ALERTS: usize = 3;

/// What an answer may name: every class that Snort and Suricata ship, with its own priority, and the pairs that the
/// evidence shows beyond those.
pub(crate) fn alert_choices(seen: &[AlertKind]) -> Vec<AlertKind> {
    let mut choices: Vec<AlertKind> =
        ALERT_CLASSES.iter().map(|class| AlertKind::new(class.description, Some(class.priority))).collect();
    for kind in seen {
        if !choices.contains(kind) {
            choices.push(kind.clone());
        }
    }
    choices
}

/// One to three of the choices.
pub(crate) fn alerts_schema(choices: &[AlertKind]) -> Value {
    let names: Vec<String> = choices.iter().map(AlertKind::to_string).collect();
    json!({
        "type": "object",
        "properties": {
            "Alerts": {"type": "array", "items": {"enum": names}, "minItems": 1, "maxItems": MAX_ALERTS},
        },
        "required": ["Alerts"],
        "additionalProperties": false,
    })
}

/// Reads the answer: those of the choices that it names, each once, the likeliest first.
pub(crate) fn parse_alerts(answer: &Answer, choices: &[AlertKind]) -> Result<Vec<AlertKind>, TaskError> {
    let properties = Properties::of(TASK, answer)?;
    let mut kinds = Vec::new();
    for name in properties.texts("Alerts")? {
        let known = choices.iter().find(|kind| kind.to_string() == name);
        let known = known.ok_or_else(|| properties.wrong("Alerts", "known classes with their priorities"))?;
        if !kinds.contains(known) {
            kinds.push(known.clone());
        }
    }
    if kinds.is_empty() {
        return Err(properties.wrong("Alerts", "a list of at least one alert"));
    }
    Ok(kinds)
}

/// The answer that names these pairs, as the grammar writes it.
pub(crate) fn alerts_answer(kinds: &[AlertKind]) -> Value {
    let names: Vec<String> = kinds.iter().take(MAX_ALERTS).map(AlertKind::to_string).collect();
    json!({"Alerts": names})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> Answer {
        Answer { json: json.into(), complete: true, ..Answer::default() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let odd = AlertKind::new("Local Oddity", Some(4));
        let choices = alert_choices(std::slice::from_ref(&odd));
        assert_eq!(choices.len(), ALERT_CLASSES.len() + 1);
        let kinds = vec![AlertKind::new("misc-attack", None), odd];
        let json = alerts_answer(&kinds).to_string();
        assert_eq!(json, r#"{"Alerts":["misc attack (priority 2)","local oddity (priority 4)"]}"#);
        assert_eq!(parse_alerts(&answer(&json), &choices), Ok(kinds));
    }

    #[test]
    fn no_two_choices_read_alike() {
        let mut names: Vec<String> = alert_choices(&[]).iter().map(AlertKind::to_string).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALERT_CLASSES.len());
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        for json in [r#"{"Alerts": ["everything"]}"#, r#"{"Alerts": []}"#, "{}", r#"{"Alerts": 3}"#, "[]"] {
            assert!(parse_alerts(&answer(json), &alert_choices(&[])).is_err(), "{json}");
        }
    }
}
