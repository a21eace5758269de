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
    /// Whether one of these records is part of the attack.
    pub(super) fn holds_attack(&self, records: &[usize]) -> bool {
        records.iter().any(|at| self.is_attack.get(*at).is_some_and(|is| *is))
    }

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
    let mut learner = BaselineLearner::default();
    for (number, log) in logs.enumerate() {
        log.records.iter().for_each(|record| learner.add(record, &number.to_string()));
    }
    let Ok(learnt) = learner.learn() else { return Ok(None) };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A site with two ordinary days and one that is judged, whose labels are these.
    fn site(labels: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let login = |day: u8, user: &str| {
            let said = "web01 sshd[7]: Accepted password for";
            format!("Nov {day} 09:00:0{} {said} {user} from 10.0.0.9 port 50000 ssh2\n", user.len())
        };
        write(SYSTEM, "web01 10.0.0.5 is the web server.");
        write("ordinary/1.log", &login(27, "ann"));
        write("ordinary/2.log", &login(28, "ann"));
        write("days/theft/alerts.log", &[login(30, "ann"), login(30, "robert"), login(30, "ann")].concat());
        write("days/theft/labels.json", labels);
        folder
    }

    fn labels(incident: bool, lines: &str, tactic: &str) -> String {
        format!(
            r#"{{"incident": {incident}, "attack_lines": {lines}, "compromised": ["web01"], "accounts": ["robert"], "attackers": [], "tactics": ["{tactic}"]}}"#
        )
    }

    #[test]
    fn records_are_the_attacks_whose_lines_are() {
        let folder = site(&labels(true, "[2]", "initial-access"));
        for path in [folder.path().to_owned(), folder.path().join("days/..")] {
            let sites = read(&[path]).unwrap();
            let [judged, first, second] = &sites[0].days[..] else { panic!("{sites:?}") };
            let shown = judged.log.records.iter().zip(&judged.is_attack);
            let accounts: Vec<(&str, bool)> =
                shown.map(|(record, is_attack)| (record.account.as_str(), *is_attack)).collect();
            assert_eq!(accounts.iter().filter(|(_, is_attack)| *is_attack).count(), 1, "{accounts:?}");
            assert!(accounts.contains(&("robert", true)) && !judged.is_plain);
            assert_eq!(judged.labels.tactics(), [Tactic::InitialAccess]);
            assert_eq!(judged.baseline.as_ref().map(|baseline| baseline.days()), Some(2));
            // One day beside each is too few to learn from.
            assert!([first, second].iter().all(|day| day.is_plain && day.baseline.is_none()));
        }
    }

    #[test]
    fn what_cannot_be_judged_is_refused_in_a_sentence() {
        for (labels, expected) in [
            (labels(true, "[4]", "impact"), "line 4 is part of the attack, but the log has 3 lines"),
            (labels(true, "[0]", "impact"), "line 0"),
            (labels(true, "[]", "impact"), "an incident has lines of an attack"),
            (labels(false, "[1]", "impact"), "and an ordinary day none"),
            (labels(true, "[1]", "mischief"), "\"mischief\" is no tactic of ATT&CK"),
            ("{}".to_owned(), "missing field"),
        ] {
            let error = read(&[site(&labels).path().to_owned()]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("labels.json"), "{error}");
        }
        let empty = tempfile::tempdir().unwrap();
        let error = read(&[empty.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("is no site and holds none"), "{error}");
    }
}
