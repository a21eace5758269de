//! The task *incident*: what one group of the log shows, everyday traffic or a tactic of an attack.

use countermove_incident::Tactic;
use serde_json::{Value, json};

use super::{Properties, TaskError};
use crate::evidence::judgement::Reading;
use crate::language_model::Answer;

const TASK: &str = "incident";

/// What a group shows that is part of no attack.
pub(crate) const EVERYDAY: &str = "Everyday Traffic";

/// Tactics that a log can show: resource development happens elsewhere.
pub(crate) fn visible_tactics() -> impl Iterator<Item = Tactic> {
    Tactic::ALL.into_iter().filter(|tactic| *tactic != Tactic::ResourceDevelopment)
}

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
    parse_incident(answer).map(Reading::sure)
}

/// The tactic of an answer, or none for everyday traffic.
fn parse_incident(answer: &Answer) -> Result<Option<Tactic>, TaskError> {
    let properties = Properties::of(TASK, answer)?;
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
    use crate::language_model::Usage;

    fn parse(json: &str) -> Result<Option<Tactic>, TaskError> {
        let answer = Answer {
            thinking: String::new(),
            json: json.into(),
            complete: true,
            options: Vec::new(),
            usage: Usage::default(),
        };
        parse_incident(&answer)
    }

    #[test]
    fn what_is_written_is_read_back() {
        for shown in visible_tactics().map(Some).chain([None]) {
            assert_eq!(parse(&incident_answer(shown).to_string()), Ok(shown));
        }
    }

    #[test]
    fn only_what_the_schema_names_is_taken() {
        for json in [r#"{"Shows": "Nothing"}"#, r#"{"Shows": true}"#, "{}", "not JSON"] {
            assert!(parse(json).is_err(), "{json}");
        }
        let schema = incident_schema().to_string();
        assert!(schema.contains(EVERYDAY) && schema.contains("Lateral Movement"));
    }
}
