//! The task *incident*: what one group of the log shows, everyday traffic or a tactic of an attack.

use countermove_incident::Tactic;
use serde_json::{Value, json};

use super::{Properties, TaskError};
use crate::language_model::Answer;

const TASK: &str = "incident";

/// What a group shows that is part of no attack.
pub(crate) const EVERYDAY: &str = "Everyday Traffic";

/// Tactics that a log can show: resource development happens elsewhere.
pub(crate) fn visible_tactics() -> impl Iterator<Item = Tactic> {
    Tactic::ALL.into_iter().filter(|tactic| *tactic != Tactic::ResourceDevelopment)
}

/// Everyday traffic or a tactic. The grammar leaves out everyday traffic where it is `certain` that there is an attack.
pub(crate) fn incident_schema(certain: bool) -> Value {
    let mut names: Vec<&str> = if certain { Vec::new() } else { vec![EVERYDAY] };
    names.extend(visible_tactics().map(Tactic::name));
    json!({
        "type": "object",
        "properties": {"Shows": {"enum": names}},
        "required": ["Shows"],
        "additionalProperties": false,
    })
}

/// Reads the answer: the tactic, or none for everyday traffic.
pub(crate) fn parse_incident(answer: &Answer) -> Result<Option<Tactic>, TaskError> {
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
        let schema = incident_schema(true).to_string();
        assert!(!schema.contains(EVERYDAY) && schema.contains("Lateral Movement"));
        assert!(incident_schema(false).to_string().contains(EVERYDAY));
    }
}
