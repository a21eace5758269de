//! Which lines of a report have come before.
//!
//! A sensor's log may be sent twice, in part or in another order. A line that carries a time and is the same as one that came
//! before, to the last byte, is the same record and is not taken again. Lines without a time may well repeat and are always taken, and
//! so are alerts of several lines (Snort's full form), whose lines mean nothing one by one.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::Timestamp;

/// The lines with a time that have come so far, 8 bytes each. Two different lines are taken for one with a chance of less
/// than one in a million among six million lines.
#[derive(Clone, Debug, Default)]
pub struct KnownLines(HashSet<u64>);

impl KnownLines {
    /// The lines of `text` that have not come before, and how many have. All of them are known from now on.
    pub fn take(&mut self, text: &str) -> (String, u64) {
        let is_full = text.lines().any(|line| {
            let line = line.trim();
            line.starts_with("[**]") && line.ends_with("[**]")
        });
        if is_full {
            return (text.to_owned(), 0);
        }
        let mut fresh = String::with_capacity(text.len());
        let mut repeated = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.trim();
            if has_time(bare) && !self.0.insert(hash(bare)) {
                repeated += 1;
            } else {
                fresh.push_str(line);
            }
        }
        (fresh, repeated)
    }
}

/// Whether the line begins with a time, or is a JSON record that names one.
fn has_time(line: &str) -> bool {
    Timestamp::parse_prefix(line).is_some() || line.starts_with('{') && line.contains("\"timestamp\"")
}

fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str =
        "06/10-13:10:51.405000 [**] [1:1:2] ICMP [**] [Priority: 2] {ICMP} 203.0.113.7 -> 10.0.2.13\n";
    const B: &str = "{\"timestamp\":\"2024-06-10T13:10:51.405000+0000\",\"event_type\":\"alert\"}\n";
    const PLAIN: &str = "something without a time\n";

    #[test]
    fn a_line_with_a_time_is_taken_once() {
        let mut known = KnownLines::default();
        assert_eq!(known.take(&format!("{A}{A}{PLAIN}{PLAIN}")), (format!("{A}{PLAIN}{PLAIN}"), 1));
        assert_eq!(known.take(&format!("{B}{A}{PLAIN}")), (format!("{B}{PLAIN}"), 1));
        assert_eq!(known.take(B.trim()), (String::new(), 1), "white space does not count");
        let later = A.replace("51.405000", "51.405001");
        assert_eq!(known.take(&later), (later.clone(), 0), "another time is another alert");
    }

    #[test]
    fn alerts_of_several_lines_are_always_taken() {
        let full = "[**] [1:1:1] probe [**]\n[Priority: 1]\n06/03-12:59:31.0 10.0.0.1 -> 10.0.0.2\n\n";
        let mut known = KnownLines::default();
        assert_eq!(known.take(full), (full.to_owned(), 0));
        assert_eq!(known.take(full), (full.to_owned(), 0));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_second_time_nothing_with_a_time_is_new(text in "(06/10-13:10:5[0-9]\\.0 x\n|y\n|\n){0,12}") {
            let mut known = KnownLines::default();
            let (fresh, repeated) = known.take(&text);
            prop_assert_eq!(fresh.lines().count() as u64 + repeated, text.lines().count() as u64);
            let (again, _) = known.take(&text);
            prop_assert!(again.lines().all(|line| !has_time(line)));
        }
    }
}
