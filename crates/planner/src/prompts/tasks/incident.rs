//! The task *incident*: what one group of the log shows, everyday traffic or a tactic of an attack.

use countermove_incident::Tactic;
use serde_json::{Value, json};

use super::{Properties, TaskError};
use crate::evidence::reading::{Reading, visible_tactics};
use crate::language_model::{Answer, Weighed};

const TASK: &str = "incident";

/// What a group shows that is part of no attack.
pub(crate) const EVERYDAY: &str = "Everyday Traffic";

/// JSON Schema of the answer to perception's question about a group: everyday traffic or a tactic.
pub fn incident_schema() -> Value {
    let mut names: Vec<&str> = vec![EVERYDAY];
    names.extend(visible_tactics().map(Tactic::name));
    json!({
        "type": "object",
        "properties": {"Shows": {"enum": names}},
        "required": ["Shows"],
        "additionalProperties": false,
    })
}

/// Reads the answer: the probability of everyday traffic and of each tactic, or what was answered alone where the model gave no
/// probabilities.
pub(crate) fn read_incident(answer: &Answer) -> Result<Reading, TaskError> {
    let answered = parse_incident(&Properties::of(TASK, answer)?)?;
    Ok(read_options(&answer.options).unwrap_or_else(|| Reading::sure(answered)))
}

/// Reads the probabilities alone; `None` if there are none.
pub(crate) fn read_options(options: &[Weighed]) -> Option<Reading> {
    let read = |option: &Weighed| {
        let shown = parse_incident(&Properties::read(TASK, &option.value).ok()?).ok()?;
        Some((shown, option.probability))
    };
    let options: Vec<(Option<Tactic>, f32)> = options.iter().filter_map(read).collect();
    (!options.is_empty()).then(|| Reading::of_options(options))
}

/// The tactic of an answer, or none for everyday traffic.
fn parse_incident(properties: &Properties) -> Result<Option<Tactic>, TaskError> {
    let shown = properties.text("Shows")?;
    if shown.eq_ignore_ascii_case(EVERYDAY) {
        return Ok(None);
    }
    let tactic = Tactic::parse(&shown);
    tactic.map(Some).ok_or_else(|| properties.wrong("Shows", "everyday traffic or a tactic of ATT&CK"))
}

/// The answer that says so, as the grammar writes it.
pub(crate) fn incident_answer(shown: Option<Tactic>) -> Value {
    json!({"Shows": shown.map_or(EVERYDAY, Tactic::name)})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Reading, TaskError> {
        read_incident(&Answer { json: json.into(), complete: true, ..Answer::default() })
    }

    #[test]
    fn what_is_written_is_read_back() {
        for shown in visible_tactics().map(Some).chain([None]) {
            assert_eq!(read(&incident_answer(shown).to_string()), Ok(Reading::sure(shown)));
        }
    }

    #[test]
    fn probabilities_make_the_reading() {
        let options = [(Some(Tactic::Impact), 0.6), (None, 0.4)]
            .map(|(shown, probability)| Weighed { value: incident_answer(shown).to_string(), probability });
        let answer = Answer {
            options: options.into(),
            complete: true,
            json: r#"{"Shows": "Impact"}"#.into(),
            ..Answer::default()
        };
        let reading = read_incident(&answer).unwrap();
        assert_eq!((reading.everyday, reading.tactics), (0.4, vec![(Tactic::Impact, 0.6)]));
    }

    #[test]
    fn only_what_the_schema_names_is_taken() {
        for json in [r#"{"Shows": "Nothing"}"#, r#"{"Shows": true}"#, "{}", "not JSON"] {
            assert!(read(json).is_err(), "{json}");
        }
        let schema = incident_schema().to_string();
        assert!(schema.contains(EVERYDAY) && schema.contains("Lateral Movement"));
    }
}
