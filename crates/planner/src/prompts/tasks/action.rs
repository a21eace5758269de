//! The task *action*: what to do next.

use serde_json::{Value, json};

use super::{Properties, TaskError};
use crate::language_model::Answer;
use crate::prompts::menu::{Choice, Menu, Opening};

const TASK: &str = "action";

/// Shortest action in characters.
const MIN_ACTION_CHARS: usize = 8;
/// Longest action in characters.
const MAX_ACTION_CHARS: usize = 200;
/// Longest explanation in characters: a sentence or two.
const MAX_EXPLANATION_CHARS: usize = 240;
/// Most characters that may continue an opening.
const MAX_TAIL_CHARS: usize = 100;

/// An action as the model names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActionAnswer {
    /// What to do.
    pub(crate) action: String,
    /// Why; empty in a rollout.
    pub(crate) explanation: String,
}

/// An action of the menu, or any sentence if the menu is empty; with an explanation if asked.
pub(crate) fn action_schema(menu: &Menu, explained: bool) -> Value {
    let action = if menu.is_empty() {
        json!({"type": "string", "minLength": MIN_ACTION_CHARS, "maxLength": MAX_ACTION_CHARS})
    } else if menu.openings.iter().any(Opening::is_open) {
        let patterns: Vec<String> = menu.openings.iter().map(pattern).collect();
        json!({"type": "string", "pattern": format!("^(?:{})$", patterns.join("|"))})
    } else {
        json!({"enum": menu.openings.iter().map(|opening| &opening.text).collect::<Vec<_>>()})
    };
    // It ends with a full stop, wherever it is cut.
    let explanation = json!({"type": "string", "pattern": format!(r#"^[A-Z][^"\\\x00-\x1f]{{7,{MAX_EXPLANATION_CHARS}}}\.$"#)});
    let (properties, required) = if explained {
        (json!({"Action": action, "Explanation": explanation}), json!(["Action", "Explanation"]))
    } else {
        (json!({"Action": action}), json!(["Action"]))
    };
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// What an opening allows. A continuation begins with a space and a letter, so that `10.0.0.1` never grows into
/// `10.0.0.12`.
fn pattern(opening: &Opening) -> String {
    let text = match &opening.choice {
        Some(Choice { before, names, after }) => {
            let name = names.iter().map(|name| escape(name)).collect::<Vec<_>>().join("|");
            let more = format!("(?:(?:, (?:{name})){{0,{}}} and (?:{name}))?", names.len() - 2);
            format!("{}(?:{name}){more}{}", escape(before), escape(after))
        }
        None => escape(&opening.text),
    };
    if opening.continued { format!(r#"{text} [a-zA-Z][^"\\\x00-\x1f]{{2,{MAX_TAIL_CHARS}}}"#) } else { text }
}

/// Reads the answer. An explanation may be absent.
pub(crate) fn parse_action(answer: &Answer) -> Result<ActionAnswer, TaskError> {
    let properties = Properties::of(TASK, answer)?;
    let action = properties.text("Action")?;
    let length = action.chars().count();
    if !(3..=4 * MAX_ACTION_CHARS).contains(&length) || !action.contains(char::is_alphabetic) {
        return Err(properties.wrong("Action", "a sentence of at most 800 characters"));
    }
    let explanation = if properties.map.contains_key("Explanation") {
        whole_sentences(properties.text("Explanation")?)
    } else {
        String::new()
    };
    Ok(ActionAnswer { action, explanation })
}

/// A text without what is left of its last sentence, where it was cut off for its length.
fn whole_sentences(mut text: String) -> String {
    if text.chars().count() > MAX_EXPLANATION_CHARS
        && let Some((end, _)) = text.rmatch_indices(". ").next()
    {
        text.truncate(end + 1);
    }
    text
}

/// The text as a regular expression that matches it alone.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_was_cut_off_loses_its_last_sentence() {
        let whole = format!("{}.", "It keeps the attacker out ".repeat(9).trim_end());
        assert_eq!(whole_sentences(whole.clone()), whole);
        let cut =
            format!("It keeps the attacker out. {}.", "It keeps evidence as well ".repeat(9).trim_end());
        assert_eq!(whole_sentences(cut), "It keeps the attacker out.");
        assert_eq!(whole_sentences("It helps.".to_owned()), "It helps.");
    }
}
