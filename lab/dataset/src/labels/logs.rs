//! Whole logs laid out from labelled records: ordinary days, and attacks of a few records among ordinary ones.
//!
//! Severities are those that the sources give. How often a record comes and who has to do with it are drawn alike for both, so that
//! neither tells what a record shows.

use std::collections::BTreeMap;

use countermove_incident::{AlertLog, Tactic};
use countermove_planner::{Evidence, derive_seed};

use super::{LabelOptions, Labelled, kind, pool, split, stage, wording};
use crate::error::DatasetError;
use crate::split::Split;

/// Of 100 logs, how many show nothing but an ordinary day.
const ORDINARY: u64 = 50;
/// Most ordinary records of a log, and most of an attack.
const MOST: [u64; 2] = [8, 4];
/// How often a record comes.
const TIMES: [u64; 6] = [1, 1, 1, 2, 5, 20];

/// A log with what each of its records shows.
#[derive(Clone, Debug)]
pub struct LabelledLog {
    /// Its number among those of a seed.
    pub name: String,
    /// Description and records.
    pub evidence: Evidence,
    /// Tactics of each record's label, in the order of the records; none for an ordinary one.
    pub shows: Vec<Vec<Tactic>>,
}

/// Logs of records that belong to one part of the set, `options.count` of them. Nothing is written.
///
/// # Errors
/// If the data cannot be read.
pub fn labelled_logs(options: &LabelOptions, part: Split) -> Result<Vec<LabelledLog>, DatasetError> {
    let pool = pool(options)?;
    let own: Vec<&Labelled> = pool.iter().filter(|one| split(one, options) == part).collect();
    // By kind of source, so that the largest does not drown the others.
    let shelves = |is_ordinary: bool| {
        let mut shelves: BTreeMap<&str, Vec<&Labelled>> = BTreeMap::new();
        // What a source itself calls low tells as often of an ordinary day.
        let is_meant = |one: &&&Labelled| {
            one.shows.is_empty() == is_ordinary
                && (is_ordinary || one.severity.is_none_or(|severity| severity < 3))
        };
        for one in own.iter().filter(is_meant) {
            shelves.entry(kind(&one.source)).or_default().push(one);
        }
        shelves.into_values().collect::<Vec<_>>()
    };
    let (ordinary, attacks) = (shelves(true), shelves(false));
    let logs = (0..options.count).map(|number| log(options.seed, number, &ordinary, &attacks));
    Ok(logs.collect())
}

fn log(seed: u64, number: u64, ordinary: &[Vec<&Labelled>], attacks: &[Vec<&Labelled>]) -> LabelledLog {
    let own = derive_seed(seed, "log", &[number]);
    let draw = |what: &str, at: u64, bound: u64| derive_seed(own, what, &[at]) % bound.max(1);
    let attack = if draw("ordinary", 0, 100) < ORDINARY { 0 } else { 1 + draw("attack", 0, MOST[1]) };
    let total = attack + 1 + draw("records", 0, MOST[0]);
    let mut log = AlertLog::default();
    let mut shows = Vec::new();
    for at in 0..total {
        // Anywhere among the others: the first of what is left, with the chance that its share has.
        let left = attack
            .saturating_sub(shows.iter().filter(|shown: &&Vec<Tactic>| !shown.is_empty()).count() as u64);
        let shelves = if draw("which", at, total - at) < left { attacks } else { ordinary };
        let Some(one) = pick(shelves, |what, bound| draw(what, at, bound)) else { continue };
        let place = derive_seed(own, "place", &[draw("host", at, 3)]);
        let text = wording::worded(one, derive_seed(own, "wording", &[at]), true);
        let times = TIMES.get(usize::try_from(draw("times", at, TIMES.len() as u64)).unwrap_or(0)).copied();
        for mut record in stage::log(one, &text, place, one.shows.first().copied()).records {
            record.repeats.count = times.unwrap_or(1);
            if record.is_alert() {
                record.priority = one.severity;
                record.classification.clone_from(&one.class);
            }
            log.records.push(record);
            shows.push(one.shows.clone());
        }
    }
    let evidence = Evidence { system_description: stage::description(own), log, ..Evidence::default() };
    LabelledLog { name: format!("labelled-{number}"), evidence, shows }
}

fn pick<'a>(shelves: &[Vec<&'a Labelled>], draw: impl Fn(&str, u64) -> u64) -> Option<&'a Labelled> {
    let at = |what: &str, bound: usize| usize::try_from(draw(what, bound as u64)).unwrap_or(0);
    let shelf = shelves.get(at("shelf", shelves.len()))?;
    shelf.get(at("one", shelf.len())).copied()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn logs_hold_what_their_labels_say_and_are_the_same_again() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        if !data.is_dir() {
            eprintln!("skipped: {} does not exist", data.display());
            return;
        }
        let options = LabelOptions {
            data,
            attack: None,
            held_out: vec!["splunk".into()],
            count: 40,
            seed: 3,
            out: std::path::PathBuf::new(),
        };
        let logs = labelled_logs(&options, Split::Validation).unwrap();
        assert_eq!(logs.len(), 40);
        let quiet = logs.iter().filter(|log| log.shows.iter().all(Vec::is_empty)).count();
        assert!((8..=32).contains(&quiet), "{quiet}");
        for log in &logs {
            assert_eq!(log.shows.len(), log.evidence.log.records.len(), "{}", log.name);
            assert!(!log.shows.is_empty(), "{}", log.name);
        }
        let again = labelled_logs(&options, Split::Validation).unwrap();
        assert!(logs.iter().zip(&again).all(|(one, other)| one.evidence == other.evidence));
        let kept = labelled_logs(&options, Split::Test).unwrap();
        assert!(kept.iter().zip(&logs).any(|(one, other)| one.evidence != other.evidence));
    }
}
