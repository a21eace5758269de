//! Words of a text with their places.

use std::ops::Range;

/// A word of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// In lower case, without hyphens and apostrophes.
    pub lower: String,
    /// Bytes that it takes in the text.
    pub place: Range<usize>,
    /// Whether it stands at the beginning of the text or behind a punctuation mark.
    pub opens: bool,
    /// Whether it begins a sentence or a line.
    pub begins: bool,
}

impl Word {
    /// The words of a text, in order. What stands for a name or a path (`/usr/bin/find`, `portal.db`, `server_ssh`,
    /// `--block`) is one with an empty [`Word::lower`].
    pub fn all(text: &str) -> Vec<Word> {
        let mut words = Vec::new();
        let (mut opens, mut begins) = (true, true);
        let mut rest = 0;
        for piece in text.split_inclusive(char::is_whitespace) {
            let start = rest;
            rest += piece.len();
            let bare = piece.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
            let Some(offset) = piece.find(bare).filter(|_| !bare.is_empty()) else {
                opens |= piece.trim().chars().any(is_mark);
                begins |= piece.contains('\n');
                continue;
            };
            let (front, back) = (&piece[..offset], &piece[offset + bare.len()..]);
            opens |= front.chars().any(is_mark);
            let is_name = front.contains(['/', '-', '$', '.', '\\'])
                || bare.contains(['_', '.', '/', '=', '\\', '@', '%']);
            let mut at = start + offset;
            for part in bare.split_inclusive([':', ',', ';', '(', ')', '|', '—', '–', '"', '&', '+']) {
                let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
                let lower: String = match is_name {
                    true => String::new(),
                    false => word.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect(),
                };
                words.push(Word { lower, place: at..at + word.len(), opens, begins });
                at += part.len();
                (opens, begins) = (word.len() < part.len(), false);
            }
            opens = back.trim().chars().any(is_mark) || back.contains('\n');
            let abbreviates = ["e.g", "i.e", "etc", "vs"].contains(&bare);
            begins = back.contains('\n') || !abbreviates && back.trim().contains(['.', '?', '!', ';']);
        }
        words
    }
}

/// Marks behind which another clause may begin.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        ',' | ';'
            | ':'
            | '.'
            | '!'
            | '?'
            | '('
            | ')'
            | '—'
            | '–'
            | '-'
            | '*'
            | '•'
            | '|'
            | '"'
            | '“'
            | '&'
            | '>'
            | '`'
    )
}
