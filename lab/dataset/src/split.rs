//! Train, validation and test: made of different things, not only of different draws.
//!
//! - *Attack flows*: each belongs to one split.
//! - *Topology families*: each belongs to one split.
//! - *Rules*: each belongs to one split, by its number, within every category; and one small category in eight belongs
//!   to the test set alone. Whole categories cannot all be kept apart: some tactics show in one category only. The
//!   built-in vocabulary has too few rules to be divided; with it, only flows and families are.

use std::collections::BTreeMap;

use countermove_planner::derive_seed;
use countermove_simulator::{Flow, Rule, Vocabulary, topology_families};
use serde::{Deserialize, Serialize};

/// A part of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// To stop by.
    Validation,
    /// To judge by.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    /// The split of the incident with this number: one in twenty is for validation, one for testing.
    pub fn of_incident(number: u64) -> Split {
        match number % 20 {
            18 => Split::Validation,
            19 => Split::Test,
            _ => Split::Train,
        }
    }
}

/// What the incidents of a split are made of.
#[derive(Clone, Debug)]
pub struct Part {
    /// The split.
    pub split: Split,
    /// Its rules and flows.
    pub vocabulary: Vocabulary,
    /// Its topology families.
    pub families: Vec<String>,
}

/// Fewer rules than this are not divided.
const DIVISIBLE: usize = 1000;
/// A category with at most this share of all rules, in percent, may be kept for testing.
const SMALL: usize = 3;

/// Divides a vocabulary and the topology families into the three splits, in the order of [`Split::ALL`].
pub fn parts(vocabulary: &Vocabulary) -> [Part; 3] {
    let held_out = held_out(vocabulary);
    let divisible = vocabulary.rules().len() >= DIVISIBLE;
    let flows: BTreeMap<&str, Split> = {
        let mut names: Vec<&str> = vocabulary.flows().iter().map(|flow| flow.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().enumerate().map(|(at, name)| (name, of_position(at))).collect()
    };
    Split::ALL.map(|split| {
        let rule = |rule: &Rule| match divisible {
            false => true,
            true if held_out.contains(&rule.category) => split == Split::Test,
            true => of_number(u64::from(rule.sid)) == split,
        };
        let flow = |flow: &Flow| flows.get(flow.name.as_str()) == Some(&split);
        let families = topology_families().into_iter().enumerate();
        Part {
            split,
            vocabulary: vocabulary.filtered(rule, flow),
            families: families
                .filter(|(at, _)| of_position(*at) == split)
                .map(|(_, name)| name.to_owned())
                .collect(),
        }
    })
}

/// Categories that the test set alone has.
fn held_out(vocabulary: &Vocabulary) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in vocabulary.rules() {
        *counts.entry(&rule.category).or_default() += 1;
    }
    let small = |count: usize| count * 100 <= SMALL * vocabulary.rules().len();
    let drawn = |name: &str| derive_seed(0, name, &[]).is_multiple_of(8);
    counts
        .into_iter()
        .filter(|(name, count)| small(*count) && drawn(name))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Of ten things in a row, the fourth is for validation, the fifth and the tenth for testing.
fn of_position(at: usize) -> Split {
    match at % 10 {
        3 => Split::Validation,
        4 | 9 => Split::Test,
        _ => Split::Train,
    }
}

fn of_number(number: u64) -> Split {
    let mixed = derive_seed(number, "rule", &[]) % 10;
    match mixed {
        0 => Split::Validation,
        1 | 2 => Split::Test,
        _ => Split::Train,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn splits_have_nothing_in_common() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        let mut vocabularies = vec![Vocabulary::builtin()];
        if folder.is_dir() {
            vocabularies.push(Vocabulary::read(&folder).unwrap());
        }
        for vocabulary in vocabularies {
            let parts = parts(&vocabulary);
            assert_eq!(
                parts.iter().map(|part| part.families.len()).sum::<usize>(),
                topology_families().len()
            );
            let flows: usize = parts.iter().map(|part| part.vocabulary.flows().len()).sum();
            assert_eq!(flows, vocabulary.flows().len(), "each flow once");
            for part in &parts {
                assert!(!part.vocabulary.flows().is_empty(), "{:?}", part.split);
                assert!(!part.families.is_empty(), "{:?}", part.split);
            }
            if vocabulary.rules().len() >= DIVISIBLE {
                let rules: usize = parts.iter().map(|part| part.vocabulary.rules().len()).sum();
                assert_eq!(rules, vocabulary.rules().len(), "each rule once");
                let [train, _, test] = &parts;
                let held_out = held_out(&vocabulary);
                assert!(!held_out.is_empty());
                let has = |part: &Part, name: &String| {
                    part.vocabulary.rules().iter().any(|rule| rule.category == *name)
                };
                assert!(held_out.iter().all(|name| has(test, name) && !has(train, name)), "{held_out:?}");
            }
        }
    }
}
