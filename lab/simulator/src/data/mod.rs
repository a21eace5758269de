//! What incidents are made of: rules, classes and attack flows, from a data folder or from a small set of our own.
//!
//! Invariant: every rule's class is known to `countermove-incident`, and every flow has a tactic at least.

mod builtin;
mod classification;
mod detections;
mod flows;
mod marks;
mod rules;
mod table;
mod uses;

use std::path::{Path, PathBuf};

use countermove_incident::Tactic;

pub(crate) use classification::{Class, read_classes};
pub use detections::Detection;
pub use flows::{Flow, FlowStep};
pub use rules::Rule;
pub(crate) use uses::{Kind, Noise, Os, OutsideUse};

use uses::Index;

use crate::rng::Rng;

/// Where the classes lie in a data folder.
pub(crate) const CLASSIFICATION_FILE: &str = "rules/classification.config";
const RULES_FILE: &str = "rules/emerging-open.csv";
const FLOWS_FILE: &str = "attack-flows/flows.csv";

/// Why the data cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be opened or read.
    #[error("{}: {source}; name a data folder that holds {RULES_FILE}, {CLASSIFICATION_FILE} and {FLOWS_FILE}, or none", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line does not say what it must.
    #[error("{}, line {line}, {field}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Name of the field, or of the part of the line.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// Rules and flows to make incidents of.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    rules: Vec<Rule>,
    flows: Vec<Flow>,
    index: Index,
}

impl Vocabulary {
    /// Reads a data folder: `rules/emerging-open.csv`, `rules/classification.config`, `attack-flows/flows.csv`.
    ///
    /// # Errors
    /// [`DataError`], which names the file, and the line and the field if the file can be read.
    pub fn read(folder: &Path) -> Result<Vocabulary, DataError> {
        let classes = read_classes(&folder.join(CLASSIFICATION_FILE))?;
        let rules = rules::read(&folder.join(RULES_FILE), &classes)?;
        let flows = flows::read(&folder.join(FLOWS_FILE))?;
        Ok(Vocabulary::new(rules, flows))
    }

    /// A small set that needs no folder.
    pub fn builtin() -> Vocabulary {
        Vocabulary::new(builtin::rules(), builtin::flows())
    }

    /// The part of it for which both say yes, to keep training and test sets apart.
    pub fn filtered(&self, rule: impl Fn(&Rule) -> bool, flow: impl Fn(&Flow) -> bool) -> Vocabulary {
        let rules = self.rules.iter().filter(|own| rule(own)).cloned().collect();
        Vocabulary::new(rules, self.flows.iter().filter(|own| flow(own)).cloned().collect())
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The attack flows.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    fn new(rules: Vec<Rule>, flows: Vec<Flow>) -> Vocabulary {
        let index = Index::new(&rules);
        Vocabulary { rules, flows, index }
    }

    /// A rule that sees this tactic used against a service of this kind on this system. Categories are equally
    /// likely, since some of them hold a hundred times as many rules as others.
    pub(crate) fn rule_for(&self, tactic: Tactic, kind: Kind, os: Os, rng: &mut Rng) -> Option<&Rule> {
        self.index.pick(tactic, kind, os, rng).and_then(|place| self.rules.get(place))
    }

    /// A rule that traffic of this everyday kind sets off.
    pub(crate) fn noise(&self, noise: Noise, rng: &mut Rng) -> Option<&Rule> {
        self.index.pick_noise(noise, rng).and_then(|place| self.rules.get(place))
    }
}

/// The data folder that tests read, if there is one; they say so if there is none.
#[cfg(test)]
pub(crate) fn folder_for_tests() -> Option<PathBuf> {
    let named = std::env::var_os("COUNTERMOVE_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = named.or_else(|| beside.is_dir().then_some(beside));
    if folder.is_none() {
        eprintln!("neither COUNTERMOVE_DATA nor ../shared/data: the built-in vocabulary alone is tested");
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Vocabulary::read(Path::new("/nowhere")).expect_err("there is no such folder").to_string();
        assert!(error.starts_with("/nowhere/rules/classification.config: "), "{error}");
    }

    #[test]
    fn the_real_files_are_read() {
        let Some(folder) = folder_for_tests() else { return };
        let vocabulary = Vocabulary::read(&folder).expect("the data folder is read");
        assert_eq!(vocabulary.rules().len(), 20_281);
        assert_eq!(vocabulary.flows().len(), 25);
        assert!(vocabulary.flows().iter().all(|flow| flow.steps.len() >= 3));
    }

    #[test]
    fn a_part_holds_what_was_asked_for() {
        let all = Vocabulary::builtin();
        let part = all.filtered(|rule| rule.category == "SCAN", |flow| flow.name != all.flows()[0].name);
        assert!(!part.rules().is_empty() && part.rules().iter().all(|rule| rule.category == "SCAN"));
        assert_eq!(part.flows().len() + 1, all.flows().len());
        let mut rng = Rng::new(1);
        assert!(part.rule_for(Tactic::Impact, Kind::Web, Os::Linux, &mut rng).is_none());
    }
}
