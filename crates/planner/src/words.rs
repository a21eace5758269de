//! Words that several rooms have in common: how text is put on one line, fenced, listed, compared and told.

use countermove_incident::RecoveryState;

/// Ends the line of an action that changed nothing.
const FUTILE: &str = " (it changed nothing)";
/// Stands between an action and the facts that it brought about.
const GAINED: &str = " (then: ";

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

/// The text with every run of white space or control characters as one space, and none at the ends.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Text from outside, made harmless inside a `===` block: it stays what it says, but no run of more than two `=` is
/// left, so it holds no line that looks like the end of a block.
pub(crate) fn fenced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = 0;
    for c in text.chars() {
        run = if c == '=' { run + 1 } else { 0 };
        if run <= 2 {
            out.push(c);
        }
    }
    out
}

/// As [`fenced`], on one line.
pub(crate) fn fenced_line(text: &str) -> String {
    fenced(&one_line(text))
}

/// Whether the text holds these words and not as part of longer ones. Both are in lower case.
pub(crate) fn has_word(text: &str, words: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !words.is_empty()
        && text.match_indices(words).any(|(start, found)| {
            let before = text.get(..start).unwrap_or_default();
            let after = text.get(start + found.len()..).unwrap_or_default();
            !before.ends_with(inner) && !after.starts_with(inner)
        })
}

/// What two actions are compared by: lower case, without punctuation at the ends of words, single spaces.
pub(crate) fn normalise(action: &str) -> String {
    let words = action
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// An action that was taken, as later prompts tell it: with the facts that it brought about.
pub(crate) fn history_line(action: &str, before: RecoveryState, after: RecoveryState) -> String {
    let gained: Vec<&str> =
        before.gained(after).into_iter().filter_map(|i| RecoveryState::LABELS.get(i).copied()).collect();
    if gained.is_empty() {
        format!("{action}{FUTILE}")
    } else {
        format!("{action}{GAINED}{})", gained.join(", "))
    }
}

/// The action of a line of a history, and what it gained in words; nothing if it changed nothing.
pub(crate) fn told_in_history(line: &str) -> (&str, &str) {
    match (line.strip_suffix(FUTILE), line.rsplit_once(GAINED)) {
        (Some(action), _) => (action, ""),
        (None, Some((action, gained))) => (action, gained),
        (None, None) => (line, ""),
    }
}

/// A history in the order of a response: what brought about the first fact first, what changed nothing last and once. In rollouts it
/// does not matter in which order the same was done, and told in one order it is one question.
pub(crate) fn in_order_of_response(history: &[String]) -> Vec<String> {
    let rank = |line: &String| {
        let (_, gained) = told_in_history(line);
        RecoveryState::LABELS
            .iter()
            .position(|label| gained.contains(label))
            .unwrap_or(RecoveryState::LABELS.len())
    };
    let mut ordered = history.to_vec();
    ordered.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    ordered.dedup();
    ordered
}

/// Whether a line of a history tells of an action that changed nothing.
pub(crate) fn is_futile(line: &str) -> bool {
    line.ends_with(FUTILE)
}

/// Actions of a history that changed nothing.
pub(crate) fn futile(history: &[String]) -> impl Iterator<Item = &str> {
    history.iter().filter_map(|line| line.strip_suffix(FUTILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_done_in_another_order_is_told_alike() {
        let lines = [
            "Search the logs of a (then: knowledge sufficient)",
            "Patch a (it changed nothing)",
            "Isolate a (then: attack contained)",
            "Patch a (it changed nothing)",
        ];
        let told = in_order_of_response(&lines.map(str::to_owned));
        assert_eq!(told, [lines[2], lines[0], lines[1]]);
        let mut turned = lines.map(str::to_owned);
        turned.reverse();
        assert_eq!(in_order_of_response(&turned), told);
    }
}
