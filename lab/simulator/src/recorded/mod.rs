//! Incidents that others recorded, with the truth that their own files tell.
//!
//! A recorded incident is a folder with `system.txt`, `alerts.log` and one of two records: `incident.txt` (a list of
//! findings: [`findings`]) or `incident.json` (report, attack path, service constraints: [`report`]). What the analyst
//! noted (`notes.txt`, the operator's feedback) is evidence beside the log. A suite of OpenSec
//! scenarios is a folder of `NAME_seed.json` with `NAME_ground_truth.json` beside it: [`opensec`].
//!
//! What the files do not tell is taken as the generator takes it, so that one oracle judges all: every recovery target
//! has to be analysed, its evidence kept, cleaned, hardened and put back into service; the attacker and every target
//! that attacked others is cut off. What they do tell goes before.
//!
//! Invariant: what is read passes the checks that every truth passes, and no requirement asks for what the evidence
//! does not show.

mod findings;
mod opensec;
mod report;
mod system;

use std::path::{Path, PathBuf};

use countermove_incident::{AlertFormat, AlertLog, Record, Tactic, Technique, technique};

use crate::incident_files::{
    FileError, LOG_FILE, MOST_LOG, MOST_SYSTEM, REMARKS_FILE, SYSTEM_FILE, malformed, read_text,
};
use crate::truth::{Family, Scenario, Step, Truth};

/// Longest record that is read, in bytes.
const MOST_RECORD: u64 = 4 << 20;
/// Alerts that one step of an attack raises again while it goes on.
const STEP_ALERTS: usize = 4;

impl Scenario {
    /// Reads every recorded incident in a folder, by name.
    ///
    /// # Errors
    /// [`FileError`] of the first that cannot be read, with file and field; [`FileError::Nothing`] if there is none.
    pub fn read_recorded(folder: &Path) -> Result<Vec<Scenario>, FileError> {
        let is_record =
            |path: &PathBuf| [findings::FILE, report::FILE].iter().any(|name| path.join(name).is_file());
        let folders: Vec<PathBuf> = entries(folder)?.into_iter().filter(is_record).collect();
        if folders.is_empty() {
            return Err(FileError::Nothing {
                path: folder.to_owned(),
                what: "folder of a recorded incident (system.txt, alerts.log, and incident.txt or incident.json)",
            });
        }
        folders.iter().map(|folder| recorded(folder)).collect()
    }

    /// Reads every OpenSec scenario in a folder, by name.
    ///
    /// # Errors
    /// [`FileError`] of the first that cannot be read, with file and field; [`FileError::Nothing`] if there is none.
    pub fn read_opensec(folder: &Path) -> Result<Vec<Scenario>, FileError> {
        let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let is_seed = |path: &PathBuf| name(path).is_some_and(|name| name.ends_with(opensec::SEED));
        let seeds: Vec<PathBuf> = entries(folder)?.into_iter().filter(is_seed).collect();
        if seeds.is_empty() {
            return Err(FileError::Nothing {
                path: folder.to_owned(),
                what: "OpenSec scenario (NAME_seed.json with NAME_ground_truth.json)",
            });
        }
        seeds.iter().map(|path| opensec::read(path)).collect()
    }
}

/// What a folder holds, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let io = |source| FileError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        paths.push(entry.map_err(io)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn recorded(folder: &Path) -> Result<Scenario, FileError> {
    let system = read_text(&folder.join(SYSTEM_FILE), MOST_SYSTEM)?;
    let log_path = folder.join(LOG_FILE);
    let log = read_text(&log_path, MOST_LOG)?;
    let alerts = AlertLog::parse(log.as_bytes())
        .map_err(|error| malformed(&log_path, "text".to_owned(), error.to_string()))?;
    let evidence = Found { folder, system: &system, alerts: alerts.alerts().cloned().collect() };
    let is_report = folder.join(report::FILE).is_file();
    let (file, truth, remarks) = if is_report {
        let (truth, remarks) = report::read(&evidence)?;
        (report::FILE, truth, remarks)
    } else {
        let notes = folder.join(REMARKS_FILE);
        let remarks = if notes.is_file() { read_text(&notes, MOST_RECORD)? } else { String::new() };
        (findings::FILE, findings::read(&evidence)?, remarks)
    };
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Both forms keep class and priority; a log in one of them goes on in it.
    let is_bracketed = log.contains("[pri=");
    let format = if is_bracketed { AlertFormat::Bracketed } else { AlertFormat::SnortFast };
    let family = Family { flow: name.clone(), topology: "recorded".to_owned(), rule_categories: Vec::new() };
    let scenario = Scenario { name, seed: 0, system, log, remarks, format, family, truth };
    scenario.verify(folder, file)?;
    Ok(scenario)
}

/// What is known of an incident before its record is read.
struct Found<'a> {
    folder: &'a Path,
    system: &'a str,
    alerts: Vec<Record>,
}

impl Found<'_> {
    /// Alerts from one of the sources to one of the targets, under any of their names.
    fn between<'a>(
        &'a self,
        truth: &'a Truth,
        sources: &'a [String],
        targets: &'a [String],
    ) -> impl Iterator<Item = (&'a Record, String, String)> {
        self.alerts.iter().filter_map(move |alert| {
            let key =
                |name: &str| truth.host(name).map_or_else(|| name.to_owned(), |host| host.address.clone());
            let source = key(&alert.source.as_ref()?.address);
            let target = key(&alert.destination.as_ref()?.address);
            (source != target && sources.contains(&source) && targets.contains(&target))
                .then_some((alert, source, target))
        })
    }
}

/// Of many alerts the first of each kind, a few.
fn kinds<'a>(alerts: impl Iterator<Item = &'a Record>) -> Vec<Record> {
    let mut kept: Vec<Record> = Vec::new();
    for alert in alerts {
        if kept.len() < STEP_ALERTS && kept.iter().all(|own| own.alert_kind() != alert.alert_kind()) {
            kept.push(alert.clone());
        }
    }
    kept
}

/// The technique of a list that serves this tactic, else its first. An analyst's list says which techniques were seen,
/// not for which tactic.
fn serving(techniques: &[&'static Technique], tactic: Tactic) -> String {
    let serves = techniques.iter().find(|technique| technique.tactics.contains(&tactic));
    serves.or(techniques.first()).map_or_else(String::new, |technique| technique.id.to_owned())
}

/// Techniques that a text names.
fn techniques_in(text: &str) -> Vec<&'static Technique> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let is_id = |word: &&str| {
        word.starts_with('T')
            && word.get(1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    words.filter(is_id).filter_map(technique).collect()
}

/// The place of a step in time, for a path in the order of its alerts.
fn by_time(path: &mut [Step]) {
    // A step without alerts goes last: nobody knows when it was.
    path.sort_by_key(|step| step.alerts.first().map_or((true, None), |alert| (false, alert.time)));
}

#[cfg(test)]
mod tests;
