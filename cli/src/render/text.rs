//! Text for terminals: widths, wrapping and colours.
//!
//! Invariant: text from a server is escaped before it is laid out, so that nothing in it acts on a terminal.

use std::borrow::Cow;

/// The text on one line and without anything that acts on a terminal.
pub use countermove_incident::printable_line as one_line;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether and how to colour. Layout never depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether escape sequences are written at all.
    pub(crate) colour: bool,
}

impl Style {
    pub(crate) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text on one line of at most `columns`; what does not fit is left out, with a mark.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let line = one_line(text);
    if width(&line) <= columns {
        return line;
    }
    let mut out = String::new();
    let mut left = columns.saturating_sub(1);
    for c in line.chars() {
        match left.checked_sub(c.width().unwrap_or_default()) {
            Some(rest) => left = rest,
            None => break,
        }
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The text padded with spaces on the right to a number of columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text padded with spaces on the left to a number of columns.
pub(crate) fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Breaks a text into lines of at most `columns`, between words where there are any. Line breaks, tabs and runs of
/// spaces become one space; control characters are escaped. At least one line, which may be empty.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let options = Options::new(columns.max(1))
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::wrap(&one_line(text), options).into_iter().map(Cow::into_owned).collect()
}

/// `first` before the first line of a wrapped text and as many spaces before the others.
pub(crate) fn hanging(first: &str, text: &str, columns: usize) -> String {
    let indent = width(first);
    let mut out = String::new();
    for (index, line) in wrap(text, columns.saturating_sub(indent)).iter().enumerate() {
        let start = if index == 0 { first.to_owned() } else { " ".repeat(indent) };
        out.push_str(format!("{start}{line}").trim_end());
        out.push('\n');
    }
    out
}

/// A number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun, `1 record`, `2 records`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// A time for people: `0.8 s`, `42 s`, `3 min 7 s`, `2 h 5 min`.
pub(crate) fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 10.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(
            wrap("Isolate 10.0.2.11 from the server network", 18),
            ["Isolate 10.0.2.11", "from the server", "network"]
        );
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("a\n\n\tb", 10), ["a b"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("中文字", 4), ["中文", "字"]);
    }

    #[test]
    fn continued_lines_are_indented() {
        assert_eq!(hanging("  why  ", "one two three", 12), "  why  one\n       two\n       three\n");
    }

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(
            (thousands(0), thousands(1234), thousands(1_234_567)),
            ("0".into(), "1,234".into(), "1,234,567".into())
        );
        assert_eq!((count(1, "record"), count(2000, "record")), ("1 record".into(), "2,000 records".into()));
        let times: Vec<_> = [0.84, 42.3, 187.0, 7500.0].into_iter().map(time).collect();
        assert_eq!(times, ["0.8 s", "42 s", "3 min 7 s", "2 h 5 min"]);
    }

    #[test]
    fn colour_is_written_only_when_asked_for() {
        assert_eq!(Style { colour: false }.good("x"), "x");
        assert_eq!(Style { colour: true }.good("x"), "\u{1b}[32mx\u{1b}[0m");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_control_character_survives(text in "\\PC*|.{0,200}", columns in 2usize..120) {
            for line in wrap(&text, columns) {
                prop_assert!(width(&line) <= columns, "{line:?}");
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }

        #[test]
        fn what_is_cut_fits_and_what_fits_is_whole(text in "\\PC*|.{0,60}", columns in 0usize..40) {
            let line = cut(&text, columns);
            prop_assert!(width(&line) <= columns && !line.chars().any(char::is_control), "{line:?}");
            prop_assert!(width(&one_line(&text)) > columns || line == one_line(&text));
        }

        #[test]
        fn wrapping_loses_no_word(words in proptest::collection::vec("[a-z]{1,9}", 0..30), columns in 9usize..40) {
            prop_assert_eq!(wrap(&words.join(" "), columns).join(" "), words.join(" "));
        }
    }
}
