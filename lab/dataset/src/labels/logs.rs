//! Whole logs laid out from labelled records: ordinary days, and attacks of a few records among ordinary ones.
//!
//! Severities are those that the sources give. How often a record comes and who has to do with it are drawn alike for both, so that
//! neither tells what a record shows.

use std::collections::BTreeMap;

use countermove_incident::{AlertLog, Tactic};
use countermove_planner::{Evidence, derive_seed};

use super::{LabelOptions, Labelled, attack, kind, pool, split, stage, wording};
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
    let (ordinary, attacks) = (shelves(&own, true), shelves(&own, false));
    let logs = (0..options.count).map(|number| log(options.seed, number, &ordinary, &attacks));
    Ok(logs.collect())
}

/// Logs of a single record each, half of them of an attack: each record as often as each of `times` says, so that logs that stand
/// together differ in nothing else. Nothing is written.
///
/// # Errors
/// If the data cannot be read.
pub fn single_records(
    options: &LabelOptions,
    part: Split,
    times: &[u64],
) -> Result<Vec<Vec<LabelledLog>>, DatasetError> {
    let pool = pool(options)?;
    let own: Vec<&Labelled> = pool.iter().filter(|one| split(one, options) == part).collect();
    let kinds = [shelves(&own, true), shelves(&own, false)];
    let one = |number: u64| {
        let own = derive_seed(options.seed, "single", &[number]);
        let draw = |what: &str, bound: u64| derive_seed(own, what, &[]) % bound.max(1);
        let shelves = kinds.get(usize::try_from(number % 2).unwrap_or(0))?;
        let one = pick(shelves, draw)?;
        let alike = times.iter().map(|times| {
            let (mut log, mut shows) = (AlertLog::default(), Vec::new());
            lay_out(one, own, own, *times, (&mut log, &mut shows));
            let evidence =
                Evidence { system_description: stage::description(own), log, ..Evidence::default() };
            LabelledLog { name: format!("single-{number}-{times}"), evidence, shows }
        });
        Some(alike.collect())
    };
    Ok((0..options.count).filter_map(one).collect())
}

/// Records of ordinary days or of attacks, by kind of source, so that the largest does not drown the others.
fn shelves<'a>(own: &[&'a Labelled], is_ordinary: bool) -> Vec<Vec<&'a Labelled>> {
    let mut shelves: BTreeMap<&str, Vec<&Labelled>> = BTreeMap::new();
    // What a source itself calls low tells as often of an ordinary day.
    let is_meant = |one: &&&Labelled| {
        one.shows.is_empty() == is_ordinary
            // What to look for in a log is no record of it.
            && one.source != attack::CHANNELS
            && (is_ordinary || one.severity.is_none_or(|severity| severity < 3))
    };
    for one in own.iter().filter(is_meant) {
        shelves.entry(kind(&one.source)).or_default().push(one);
    }
    shelves.into_values().collect()
}

/// Writes a labelled record into a log as its kind of source would, so many times.
fn lay_out(
    one: &Labelled,
    wording: u64,
    place: u64,
    times: u64,
    (log, shows): (&mut AlertLog, &mut Vec<Vec<Tactic>>),
) {
    let text = wording::worded(one, wording, true);
    for mut record in stage::log(one, &text, place, one.shows.first().copied()).records {
        record.repeats.count = times;
        if record.is_alert() {
            record.priority = one.severity;
            record.classification.clone_from(&one.class);
        }
        log.records.push(record);
        shows.push(one.shows.clone());
    }
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
        let times = TIMES.get(usize::try_from(draw("times", at, TIMES.len() as u64)).unwrap_or(0)).copied();
        let wording = derive_seed(own, "wording", &[at]);
        lay_out(one, wording, place, times.unwrap_or(1), (&mut log, &mut shows));
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
        let single = single_records(&options, Split::Validation, &[1, 25]).unwrap();
        assert_eq!(single.len(), 40);
        for alike in &single {
            let [once, often] = &alike[..] else { panic!("two of each") };
            let record = |log: &LabelledLog| log.evidence.log.records[0].clone();
            assert_eq!((record(once).repeats.count, record(often).repeats.count), (1, 25));
            assert_eq!((&record(once).message, &once.shows), (&record(often).message, &often.shows));
        }
        let kept = labelled_logs(&options, Split::Test).unwrap();
        assert!(kept.iter().zip(&logs).any(|(one, other)| one.evidence != other.evidence));
    }
}
