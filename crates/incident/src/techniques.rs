//! The techniques and sub-techniques of MITRE ATT&CK v19, enterprise, by identifier and by tactic.
//!
//! An identifier that version 19 replaced finds the technique under its new one. The table is `data/techniques.tsv`, which `scripts/attack_table.py` writes; it is parsed once, on first use.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::Tactic;

/// A technique or a sub-technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Technique {
    /// Identifier, such as `T1110` or `T1110.001`.
    pub id: &'static str,
    /// Name, with the parent's before that of a sub-technique: `Brute Force: Password Guessing`.
    pub name: &'static str,
    /// Tactics that it serves, in the order of [`Tactic::ALL`].
    pub tactics: &'static [Tactic],
}

impl Technique {
    /// The technique that this one refines, if it is a sub-technique.
    pub fn parent(&self) -> Option<&'static Technique> {
        let (parent, _) = self.id.split_once('.')?;
        technique(parent)
    }
}

/// The technique with this identifier. Case does not count, and what stands behind the identifier is not read, so
/// `t1110.001`, `T1110.001 Brute Force: Password Guessing` and `T1110.001: Password Guessing` find the same one.
pub fn technique(id: &str) -> Option<&'static Technique> {
    let id = id.trim_start().trim_start_matches(['(', '[', '"']);
    let end = id.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(id.len());
    let id = id.get(..end)?.trim_end_matches('.').to_ascii_uppercase();
    TABLE.by_id.get(id.as_str()).and_then(|&position| TABLE.techniques.get(position))
}

/// The techniques and sub-techniques that serve a tactic, by identifier.
pub fn techniques_of(tactic: Tactic) -> impl Iterator<Item = &'static Technique> {
    techniques().iter().filter(move |technique| technique.tactics.contains(&tactic))
}

/// All techniques and sub-techniques, by identifier.
pub fn techniques() -> &'static [Technique] {
    &TABLE.techniques
}

struct Table {
    techniques: Vec<Technique>,
    by_id: HashMap<&'static str, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut techniques: Vec<Technique> = Vec::new();
    let mut by_id = HashMap::new();
    for line in include_str!("../data/techniques.tsv").lines().filter(|line| !line.starts_with('#')) {
        // The test `every_row_of_the_table_is_read` shows that no row fails to parse.
        let Some(mut technique) = parse_row(line) else { continue };
        // Rows are sorted, so that a parent comes before its sub-techniques.
        let parent = technique.id.split_once('.').and_then(|(parent, _)| by_id.get(parent)).copied();
        if let Some(parent) = parent.and_then(|position: usize| techniques.get(position)) {
            let Technique { name, .. } = parent;
            technique.name = format!("{name}: {}", technique.name).leak();
        }
        let older = line.split('\t').nth(3);
        for id in older.into_iter().chain([technique.id]) {
            by_id.insert(id, techniques.len());
        }
        techniques.push(technique);
    }
    Table { techniques, by_id }
});

fn parse_row(line: &'static str) -> Option<Technique> {
    let mut columns = line.split('\t');
    let (id, name, positions) = (columns.next()?, columns.next()?, columns.next()?);
    let tactics: Vec<Tactic> = positions
        .split(',')
        .map(|position| Tactic::ALL.get(position.parse::<usize>().ok()?).copied())
        .collect::<Option<_>>()?;
    // Leaked once for each row of a fixed table, so that a technique can be copied freely.
    Some(Technique { id, name, tactics: tactics.leak() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read() {
        let rows =
            include_str!("../data/techniques.tsv").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(techniques().len(), rows);
        assert!(rows > 600, "{rows}");
        for technique in techniques() {
            assert!(!technique.tactics.is_empty(), "{technique:?}");
            assert_eq!(technique.id.contains('.'), technique.parent().is_some(), "{technique:?}");
        }
    }

    #[test]
    fn lookup_ignores_case_and_what_follows() {
        let expected = technique("T1110.001").unwrap();
        assert_eq!(expected.name, "Brute Force: Password Guessing");
        assert_eq!(expected.tactics, [Tactic::CredentialAccess]);
        for text in [
            "t1110.001",
            "T1110.001 Brute Force: Password Guessing",
            "T1110.001: Password Guessing",
            "(T1110.001)",
            " T1110.001.",
        ] {
            assert_eq!(technique(text), Some(expected), "{text}");
        }
        let renumbered = technique("T1562.001").unwrap();
        assert_eq!((renumbered.id, renumbered.tactics), ("T1685", &[Tactic::DefenseImpairment][..]));
        for text in ["", "T", "T9999", "T1110.999", "Brute Force", "ü", "T11100"] {
            assert_eq!(technique(text), None, "{text}");
        }
    }

    #[test]
    fn every_tactic_has_techniques() {
        for tactic in Tactic::ALL {
            assert!(techniques_of(tactic).count() >= 8, "{tactic}");
        }
        assert!(techniques_of(Tactic::LateralMovement).any(|technique| technique.id == "T1021.002"));
    }
}
