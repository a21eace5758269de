//! Text from outside, made safe to show, and an estimate of what it costs a model to read.
//!
//! Evidence is inert: it is never interpreted, and nothing in it may change how a terminal, a report or a prompt looks.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The text with every character escaped that would act instead of being seen: control characters, and the invisible
/// or direction-changing ones of Unicode. `\n`, `\r`, `\t` and `\0` become these two characters, the rest `\u{202e}`.
/// Everything else, template syntax and markup included, stays as it is. Idempotent.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Most text is plain ASCII, which is told fast.
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_plain || !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if acts(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The text on one line, every run of white space as one space, and [`printable`].
pub fn printable_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    printable(&words.join(" ")).into_owned()
}

/// What a text of TOML says, or what is wrong with it and in which line.
pub(crate) fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.lines().count());
        let place = line.map_or_else(String::new, |line| format!(" (line {})", line.max(1)));
        format!("{}{place}", error.message())
    })
}

/// About how many tokens a model reads in this text: one for each digit, one for each other symbol, one for every four
/// letters begun of a word, one for a line break, and one for each byte of a character outside ASCII. Spaces are free,
/// since they go into the token behind them.
///
/// Byte-pair tokenizers that split digits come out at 0.98 to 1.00 of it for digests and alert logs and at about 0.9
/// for prose (measured with the default model's). Text of random letters can cost up to three times as much.
///
/// Additive over lines: `f(a + "\n" + b) = f(a) + 1 + f(b)`.
pub fn approximate_tokens(text: &str) -> usize {
    let mut tokens = 0;
    let mut word = 0_usize;
    for byte in text.bytes() {
        if byte.is_ascii_alphabetic() {
            tokens += usize::from(word.is_multiple_of(4));
            word += 1;
            continue;
        }
        word = 0;
        tokens += usize::from(byte != b' ');
    }
    tokens
}

/// The text with every word that holds a digit as `#`: texts that differ in addresses, numbers and identifiers alone
/// have the same pattern.
pub fn pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(if word.bytes().any(|byte| byte.is_ascii_digit()) { "#" } else { word });
    }
    out
}

/// At most `most` bytes of the text, cut between characters, with `…` in place of what is missing.
pub(crate) fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_is_seen_stays() {
        assert_eq!(printable("a\u{1b}[31mred\u{202e}\0\r\n"), "a\\u{1b}[31mred\\u{202e}\\0\\r\\n");
        assert_eq!(
            printable("{{ secrets }} {% raw %} <|im_end|> é 中"),
            "{{ secrets }} {% raw %} <|im_end|> é 中"
        );
    }

    #[test]
    fn tokens_are_counted_by_character() {
        assert_eq!(approximate_tokens(""), 0);
        assert_eq!(approximate_tokens("10.0.2.11"), 9);
        assert_eq!(approximate_tokens("SSH brute force"), 1 + 2 + 2);
        assert_eq!(approximate_tokens("a\nb"), 3);
    }

    #[test]
    fn texts_that_differ_in_numbers_have_one_pattern() {
        assert_eq!(pattern("user=u12 took  7 ms on db"), "# took # ms on db");
    }

    proptest! {
        #[test]
        fn escaping_is_idempotent_and_leaves_nothing_that_acts(text in any::<String>()) {
            let once = printable(&text);
            prop_assert!(!once.chars().any(acts));
            prop_assert_eq!(printable(&once), once.clone());
        }

        #[test]
        fn tokens_add_up_over_lines(a in any::<String>(), b in any::<String>()) {
            let both = format!("{a}\n{b}");
            prop_assert_eq!(approximate_tokens(&both), approximate_tokens(&a) + 1 + approximate_tokens(&b));
        }

        #[test]
        fn shortening_keeps_its_bound(text in any::<String>(), most in 3_usize..64) {
            prop_assert!(shorten(&text, most).len() <= most);
        }
    }
}
