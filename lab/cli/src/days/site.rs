//! Sites as folders: a description, ordinary days, and days that somebody has labelled line by line.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermove::failure::Failure;
use countermove_incident::{AlertLog, Baseline, BaselineLearner, Record, Repeats, Tactic};
use serde::{Deserialize, Serialize};

const SYSTEM: &str = "system.txt";
const LOG: &str = "alerts.log";
const LABELS: &str = "labels.json";
const ORDINARY: &str = "ordinary";
const DAYS: &str = "days";

/// The truth about a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Labels {
    pub(super) incident: bool,
    /// Lines of the log that are part of the attack, from 1.
    pub(super) attack_lines: Vec<usize>,
    /// Hosts of the site in which the attacker has a foothold.
    pub(super) compromised: Vec<String>,
    /// Accounts of the site that the attacker has taken or made.
    pub(super) accounts: Vec<String>,
    /// Addresses and domains outside that the attacker used.
    pub(super) attackers: Vec<String>,
    /// ATT&CK tactics of which the log shows something.
    pub(super) tactics: Vec<String>,
    /// What happened, for a person.
    #[serde(default)]
    pub(super) retold: String,
}

impl Labels {
    pub(super) fn tactics(&self) -> Vec<Tactic> {
        self.tactics.iter().filter_map(|name| Tactic::parse(name)).collect()
    }
}

/// A day that is judged.
#[derive(Clone, Debug)]
pub(super) struct Day {
    pub(super) name: String,
    /// The log's text.
    pub(super) text: String,
    pub(super) log: AlertLog,
    pub(super) labels: Labels,
    /// Of each record of the log, whether it is part of the attack.
    pub(super) is_attack: Vec<bool>,
    /// Learnt from ordinary days, this one not among them; none where there are too few.
    pub(super) baseline: Option<Arc<Baseline>>,
    /// Whether it is one of the ordinary days.
    pub(super) is_plain: bool,
}

/// A place with its days.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) system: String,
    pub(super) days: Vec<Day>,
}

/// The sites of these folders, each a site or a folder of some, in order.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Site>, Failure> {
    let mut sites = Vec::new();
    for path in paths {
        let folders = if path.join(SYSTEM).is_file() { vec![path.clone()] } else { sites_in(path)? };
        for folder in folders {
            sites.push(Site::read(&folder)?);
        }
    }
    Ok(sites)
}

fn sites_in(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let sites: Vec<PathBuf> =
        listed(path)?.into_iter().filter(|folder| folder.join(SYSTEM).is_file()).collect();
    if sites.is_empty() {
        return Err(Failure::Input(format!(
            "{} is no site and holds none: a site is a folder with {SYSTEM} and {DAYS}/NAME/{LOG}",
            path.display()
        )));
    }
    Ok(sites)
}

impl Site {
    fn read(folder: &Path) -> Result<Site, Failure> {
        let system = text(&folder.join(SYSTEM))?;
        let mut ordinary = Vec::new();
        if folder.join(ORDINARY).is_dir() {
            for path in listed(&folder.join(ORDINARY))? {
                let text = text(&path)?;
                let log = log(&path, &text)?;
                ordinary.push((name(&path), text, log));
            }
        }
        let logs = || ordinary.iter().map(|(_, _, log)| log);
        let whole = learnt(logs())?;
        let mut days = Vec::new();
        if folder.join(DAYS).is_dir() {
            for path in listed(&folder.join(DAYS))? {
                days.push(Day::read(&path, whole.clone())?);
            }
        }
        if days.is_empty() {
            return Err(Failure::Input(format!("{} has no {DAYS}/NAME/{LOG}", folder.display())));
        }
        for (at, (name, text, log)) in ordinary.iter().enumerate() {
            let others = logs().enumerate().filter(|(other, _)| *other != at).map(|(_, log)| log);
            days.push(Day {
                name: name.clone(),
                text: text.clone(),
                log: log.clone(),
                labels: Labels::default(),
                is_attack: vec![false; log.records.len()],
                baseline: learnt(others)?,
                is_plain: true,
            });
        }
        Ok(Site { name: name(folder), system, days })
    }
}

impl Day {
    fn read(folder: &Path, baseline: Option<Arc<Baseline>>) -> Result<Day, Failure> {
        let (path, labelled) = (folder.join(LOG), folder.join(LABELS));
        let (log_text, labels) = (text(&path)?, text(&labelled)?);
        let wrong = |what: String| Failure::Input(format!("{}: {what}", labelled.display()));
        let labels: Labels = serde_json::from_str(&labels).map_err(|error| wrong(error.to_string()))?;
        let lines: Vec<&str> = log_text.lines().collect();
        let mut attack = String::new();
        for number in &labels.attack_lines {
            let line = number.checked_sub(1).and_then(|at| lines.get(at));
            let line = line.ok_or_else(|| {
                wrong(format!("line {number} is part of the attack, but the log has {} lines", lines.len()))
            })?;
            attack.extend([line, "\n"]);
        }
        if let Some(name) = labels.tactics.iter().find(|name| Tactic::parse(name).is_none()) {
            return Err(wrong(format!("{name:?} is no tactic of ATT&CK")));
        }
        if labels.incident == labels.attack_lines.is_empty() {
            return Err(wrong("an incident has lines of an attack, and an ordinary day none".to_owned()));
        }
        let log = log(&path, &log_text)?;
        let is_attack = attacks(&log, &self::log(&path, &attack)?);
        Ok(Day { name: name(folder), text: log_text, log, labels, is_attack, baseline, is_plain: false })
    }
}

/// Of each record of a log, whether it is one of those that the attack's lines hold.
fn attacks(log: &AlertLog, attack: &AlertLog) -> Vec<bool> {
    let once = |record: &Record| Record { repeats: Repeats::default(), ..record.clone() };
    let attack: Vec<Record> = attack.records.iter().map(once).collect();
    log.records.iter().map(|record| attack.contains(&once(record))).collect()
}

/// What is usual on these days; nothing if they are too few.
fn learnt<'a>(logs: impl Iterator<Item = &'a AlertLog>) -> Result<Option<Arc<Baseline>>, Failure> {
    let logs: Vec<&AlertLog> = logs.collect();
    if logs.len() < 2 {
        return Ok(None);
    }
    let mut learner = BaselineLearner::default();
    for (number, log) in logs.into_iter().enumerate() {
        log.records.iter().for_each(|record| learner.add(record, &number.to_string()));
    }
    let learnt = learner.learn().map_err(|error| Failure::Input(error.to_string()))?;
    // As it is read from the file that a person keeps.
    let baseline = Baseline::parse(&learnt.baseline.to_text());
    Ok(Some(Arc::new(baseline.map_err(|error| Failure::Failed(error.to_string()))?)))
}

fn log(path: &Path, text: &str) -> Result<AlertLog, Failure> {
    AlertLog::parse(text.as_bytes()).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

/// What a folder holds, in order.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fault = |error: std::io::Error| Failure::Input(format!("{}: {error}", folder.display()));
    let entries = fs::read_dir(folder).map_err(fault)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, _>>().map_err(fault)?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
