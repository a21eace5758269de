//! `incident.txt`: an analyst's findings, one a line.
//!
//! `Recovery targets identified: 10.0.2.11, 10.0.2.12.` and the like; other lines are prose and passed over.

use std::path::Path;

use countermove_incident::Tactic;

use super::{Found, MOST_RECORD, by_time, kinds, serving, system, techniques_in};
use crate::classes::tactics_of_class;
use crate::generate::requirements;
use crate::incident_files::{FileError, malformed, read_text};
use crate::truth::{Step, Truth};

/// The record.
pub(super) const FILE: &str = "incident.txt";

/// Name in errors, and ends of labels.
type Label = (&'static str, &'static [&'static str]);

const TACTICS: Label = ("tactics", &["tactics being used"]);
const TECHNIQUES: Label = ("techniques", &["techniques being used"]);
const ATTACKERS: Label = ("attackers", &["attacker ips/hostnames identified"]);
const SYSTEMS: Label = ("systems", &["system ips/hostnames identified"]);
const TARGETED: Label = ("targets of the attack", &["targeted by the attack"]);
const RECOVERY: Label =
    ("recovery targets", &["recovery targets identified", "selected as recovery targets"]);

/// The truth that the findings tell.
pub(super) fn read(found: &Found<'_>) -> Result<Truth, FileError> {
    let path = found.folder.join(FILE);
    let text = read_text(&path, MOST_RECORD)?;
    let line = |what: Label| finding(&path, &text, what);
    let mut truth = Truth { incident: true, hosts: system::hosts(found.system), ..Truth::default() };
    for address in items(line(SYSTEMS)?) {
        if truth.host(address).is_none() {
            truth.hosts.push(system::nameless(address));
        }
    }
    let known = |what: Label| -> Result<Vec<String>, FileError> {
        items(line(what)?).map(|name| host(&path, &truth, what.0, name)).collect()
    };
    let (compromised, targeted) = (known(RECOVERY)?, known(TARGETED)?);
    let attackers: Vec<String> = items(line(ATTACKERS)?)
        .map(|name| truth.host(name).map_or_else(|| name.to_owned(), |host| host.address.clone()))
        .collect();
    let techniques = techniques_in(line(TECHNIQUES)?);
    if techniques.is_empty() {
        let reason = "names no technique of ATT&CK, such as T1110.001".to_owned();
        return Err(malformed(&path, TECHNIQUES.0.to_owned(), reason));
    }
    (truth.attackers, truth.compromised) = (attackers, compromised);
    let pivots: Vec<String> = truth
        .compromised
        .iter()
        .filter(|host| found.between(&truth, std::slice::from_ref(host), &targeted).next().is_some())
        .cloned()
        .collect();
    for name in items(line(TACTICS)?) {
        let tactic = Tactic::parse(name).ok_or_else(|| {
            malformed(&path, TACTICS.0.to_owned(), format!("{name:?} is not an enterprise tactic"))
        })?;
        truth.path.push(step(found, &truth, &targeted, tactic, serving(&techniques, tactic)));
    }
    by_time(&mut truth.path);
    truth.stage = truth.path.len();
    let fallen: Vec<_> = truth.compromised.iter().map(|host| (host.as_str(), None)).collect();
    truth.requirements = requirements(&truth, &fallen, &pivots, &truth.attackers);
    Ok(truth)
}

/// A tactic with the alerts from the attacker, or from a host that it took, whose class may show it. One that none may
/// show has none, and nobody has to see it.
fn step(found: &Found<'_>, truth: &Truth, targeted: &[String], tactic: Tactic, technique: String) -> Step {
    let moves_on = tactic == Tactic::LateralMovement;
    let mut sources = truth.compromised.clone();
    if !moves_on || found.between(truth, &sources, targeted).next().is_none() {
        sources.extend(truth.attackers.iter().cloned());
    }
    let shows =
        |alert: &countermove_incident::Record| tactics_of_class(&alert.classification).contains(&tactic);
    let mut alerts = found.between(truth, &sources, targeted).filter(|(alert, ..)| shows(alert)).peekable();
    let (source, target) = match alerts.peek() {
        Some((_, source, target)) => (source.clone(), target.clone()),
        None => {
            let first = |names: &[String]| names.first().cloned().unwrap_or_default();
            (first(&truth.attackers), first(&truth.compromised))
        }
    };
    Step { tactic, technique, source, target, alerts: kinds(alerts.map(|(alert, ..)| alert)) }
}

/// What stands behind the label of a finding.
fn finding<'a>(path: &Path, text: &'a str, (field, labels): Label) -> Result<&'a str, FileError> {
    let found = text.lines().find_map(|line| {
        let (label, rest) = line.split_once(':')?;
        let label = label.trim().to_lowercase();
        labels.iter().any(|known| label.ends_with(known)).then(|| rest.trim().trim_end_matches('.'))
    });
    match found {
        Some("") => Err(malformed(path, field.to_owned(), "is empty".to_owned())),
        Some(rest) => Ok(rest),
        None => {
            let label = labels.first().copied().unwrap_or_default();
            Err(malformed(path, field.to_owned(), format!("no line begins with `… {label}:`")))
        }
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn host(path: &Path, truth: &Truth, field: &str, name: &str) -> Result<String, FileError> {
    truth.host(name).map(|host| host.address.clone()).ok_or_else(|| {
        let reason = format!("{name:?} is neither in the system description nor among the systems");
        malformed(path, field.to_owned(), reason)
    })
}
