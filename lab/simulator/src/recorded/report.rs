//! `incident.json`: a report with the attack path, the service constraints and an expert's plan.
//!
//! - Compromised is every asset that the report calls so; the attacker is the address behind `Attacker IP:`.
//! - The steps are those of `attack_path`; a step has the alerts that the log shows from its source to its target.
//! - Every line of `specification` becomes constraints.
//! - Knowledge is sufficient from the start if the operator's feedback, which is evidence, names every compromised host.
//! - To be hardened is what the alerts show to be attacked: nobody can know of another way in.

use std::sync::LazyLock;

use countermove_incident::{Tactic, Technique, VerbClass, Word};
use regex::Regex;
use serde::Deserialize;

use super::{Found, MOST_RECORD, kinds, serving, system, techniques_in};
use crate::action::{Names, Subject};
use crate::generate::requirements;
use crate::incident_files::{FileError, from_json, malformed, read_text};
use crate::truth::{Constraint, ConstraintKind, Need, Requirement, Step, Target, Truth, Way};

/// The record.
pub(super) const FILE: &str = "incident.json";

/// Place of the facts in [`countermove_incident::RecoveryState::NAMES`].
const KNOWN: usize = 1;
const HARDENED: usize = 4;

/// What is read of the record; the rest repeats other files or is an expert's answer.
#[derive(Debug, Deserialize)]
struct Record {
    incident_report: String,
    attack_path: String,
    specification: String,
    #[serde(default)]
    operator_feedback: String,
}

static LINKS: LazyLock<Regex> = LazyLock::new(|| {
    // A fixed pattern; the test of the shipped record compiles it.
    #[allow(clippy::unwrap_used, reason = "a fixed pattern")]
    Regex::new(r"\bS(\d+)-S(\d+)\b").unwrap()
});

/// The truth that the record tells, and what of it is evidence.
pub(super) fn read(found: &Found<'_>) -> Result<(Truth, String), FileError> {
    let path = found.folder.join(FILE);
    let record: Record = from_json(&path, &read_text(&path, MOST_RECORD)?)?;
    let bad = |field: &str, reason: String| malformed(&path, field.to_owned(), reason);
    let mut truth = Truth { incident: true, hosts: system::hosts(found.system), ..Truth::default() };
    let report = &record.incident_report;
    truth.attackers = behind(report, "Attacker IP:").map(str::to_owned).collect();
    if truth.attackers.is_empty() {
        return Err(bad("incident_report", "has no line `Attacker IP: ADDRESS`".to_owned()));
    }
    truth.compromised = compromised(&truth, report);
    if truth.compromised.is_empty() {
        let reason = "has no line `- HOST: Compromised …` with a host of the description".to_owned();
        return Err(bad("incident_report", reason));
    }
    let techniques = techniques_in(report);
    if techniques.is_empty() {
        return Err(bad("incident_report", "names no technique of ATT&CK, such as T1110".to_owned()));
    }
    truth.path = attack(found, &truth, &record.attack_path, &techniques)
        .map_err(|reason| bad("attack_path", reason))?;
    truth.stage = truth.path.len();
    truth.constraints = constraints(found.system, &truth, &record.specification)
        .map_err(|reason| bad("specification", reason))?;
    let pivots: Vec<String> = truth
        .compromised
        .iter()
        .filter(|host| truth.path.iter().any(|step| step.source == **host))
        .cloned()
        .collect();
    let fallen: Vec<_> = truth.compromised.iter().map(|host| (host.as_str(), None)).collect();
    truth.requirements = requirements(&truth, &fallen, &pivots, &truth.attackers);
    let told = Names::new(&truth).hosts_in(&record.operator_feedback);
    if truth.compromised.iter().all(|host| told.contains(host)) {
        truth.requirements[KNOWN] = Requirement::default();
    }
    let attacked = attacked(found, &truth);
    if !attacked.is_empty() {
        let needs = vec![Need { verb: VerbClass::Harden, targets: attacked }];
        truth.requirements[HARDENED] = Requirement { ways: vec![Way { needs, fallback: false }] };
    }
    Ok((truth, record.operator_feedback))
}

/// First words behind a label, one a line.
fn behind<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        line.trim_start_matches(['-', ' ']).strip_prefix(label)?.split_whitespace().next()
    })
}

/// `- Server 3 (10.0.3.3): Compromised via SSH brute-force.`
fn compromised(truth: &Truth, report: &str) -> Vec<String> {
    let names = Names::new(truth);
    let lines = report.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split_once(':'));
    let mut hosts = Vec::new();
    for (asset, finding) in lines {
        if finding.trim().to_lowercase().starts_with("compromised") {
            hosts.extend(names.hosts_in(asset).into_iter().take(1));
        }
    }
    hosts.dedup();
    hosts
}

/// `1. Initial access — SSH brute-force into Server 3: From the attacker host (192.168.1.50), …`
fn attack(
    found: &Found<'_>,
    truth: &Truth,
    text: &str,
    techniques: &[&'static Technique],
) -> Result<Vec<Step>, String> {
    let names = Names::new(truth);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut path = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let number = place + 1;
        let step = line.strip_prefix(&format!("{number}. ")).and_then(|line| line.split_once(": "));
        let (title, body) =
            step.ok_or_else(|| format!("line {number} is not `{number}. TITLE: WHAT HAPPENED`"))?;
        let lower = title.to_lowercase();
        let tactic = Tactic::ALL.into_iter().find(|tactic| lower.contains(&tactic.name().to_lowercase()));
        let tactic = tactic.ok_or_else(|| format!("the title of step {number} names no tactic"))?;
        let target = names.hosts_in(title).pop();
        let target = target.ok_or_else(|| format!("the title of step {number} names no host"))?;
        let source = names.ends_in(body).into_iter().find(|name| *name != target);
        let source = source.ok_or_else(|| format!("step {number} does not say where it is done from"))?;
        // As many techniques as steps are one for each.
        let technique = match techniques.get(place).filter(|_| techniques.len() == lines.len()) {
            Some(technique) => technique.id.to_owned(),
            None => serving(techniques, tactic),
        };
        let ends = [std::slice::from_ref(&source), std::slice::from_ref(&target)];
        let alerts = kinds(found.between(truth, ends[0], ends[1]).map(|(alert, ..)| alert));
        path.push(Step { tactic, technique, source, target, alerts });
    }
    if path.is_empty() { Err("is empty".to_owned()) } else { Ok(path) }
}

/// Hosts that alerts show to be attacked by the attacker or by a host that it took.
fn attacked(found: &Found<'_>, truth: &Truth) -> Vec<Target> {
    let sources = [truth.attackers.as_slice(), truth.compromised.as_slice()].concat();
    let hosts: Vec<String> = truth.hosts.iter().map(|host| host.address.clone()).collect();
    let mut attacked: Vec<Target> =
        found.between(truth, &sources, &hosts).map(|(_, _, target)| Target::Host(target)).collect();
    attacked.sort();
    attacked.dedup();
    attacked
}

/// Every line of a specification as what can be watched; several for one that speaks of all links.
fn constraints(system: &str, truth: &Truth, specification: &str) -> Result<Vec<Constraint>, String> {
    let names = Names::new(truth);
    let links = links(system, truth);
    let mut constraints: Vec<Constraint> = Vec::new();
    for text in specification.lines().filter_map(|line| line.trim().strip_prefix("- ")) {
        let lower = text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let kinds: Vec<ConstraintKind> = match names.hosts_in(text).as_slice() {
            [server, client, ..] if has(&["accessible from", "reachable from"]) => {
                vec![ConstraintKind::KeepLink { from: client.clone(), to: server.clone() }]
            }
            [first, second, ..] if has(&["must not communicate", "must never", "must not reach"]) => {
                vec![ConstraintKind::NeverContact { first: first.clone(), second: second.clone() }]
            }
            [host, ..] if has(&["must not be", "must remain", "must stay"]) => {
                kept_service(&names, truth, host, text).into_iter().collect()
            }
            [] if has(&["links between adjacent"]) => links
                .iter()
                .map(|(from, to)| ConstraintKind::KeepLink { from: from.clone(), to: to.clone() })
                .collect(),
            [] if has(&["only communicate with"]) => strangers(&links),
            _ => Vec::new(),
        };
        if kinds.is_empty() {
            return Err(format!("nobody can watch whether a response keeps to {text:?}"));
        }
        for kind in kinds {
            let id = format!("C{}", constraints.len() + 1);
            constraints.push(Constraint { id, text: text.to_owned(), kind });
        }
    }
    Ok(constraints)
}

/// The service of the host that the text names, else its first.
fn kept_service(names: &Names, truth: &Truth, host: &str, text: &str) -> Option<ConstraintKind> {
    let services = &truth.host(host)?.services;
    let named = names.subjects_in(text);
    let service = services
        .iter()
        .find(|service| named.contains(&Subject::Service(service.name.clone())))
        .or(services.first())?;
    Some(ConstraintKind::KeepService { host: host.to_owned(), service: service.name.clone() })
}

/// `S1-S2 (Zone 1)`: hosts that may talk to each other.
fn links(system: &str, truth: &Truth) -> Vec<(String, String)> {
    let host = |part: Option<regex::Match<'_>>| {
        let number = part?.as_str();
        truth.host(&format!("Server {number}")).map(|host| host.address.clone())
    };
    LINKS.captures_iter(system).filter_map(|link| Some((host(link.get(1))?, host(link.get(2))?))).collect()
}

/// Pairs of hosts that have links, and none between them.
fn strangers(links: &[(String, String)]) -> Vec<ConstraintKind> {
    let mut hosts: Vec<&String> = links.iter().flat_map(|(from, to)| [from, to]).collect();
    hosts.sort();
    hosts.dedup();
    let linked = |one: &String, other: &String| {
        links.iter().any(|(from, to)| from == one && to == other || from == other && to == one)
    };
    let mut pairs = Vec::new();
    for (place, one) in hosts.iter().enumerate() {
        for other in hosts.iter().skip(place + 1).filter(|other| !linked(one, other)) {
            pairs.push(ConstraintKind::NeverContact { first: (*one).clone(), second: (*other).clone() });
        }
    }
    pairs
}

impl Names {
    /// Everything that a text names, in order, each once.
    fn subjects_in(&self, text: &str) -> Vec<Subject> {
        let mut found = Vec::new();
        for subject in self.mentions(text, &Word::all(text)).into_iter().flat_map(|mention| mention.subjects)
        {
            if !found.contains(&subject) {
                found.push(subject);
            }
        }
        found
    }

    /// Hosts that a text names, in order, by their addresses.
    fn hosts_in(&self, text: &str) -> Vec<String> {
        let host = |subject| if let Subject::Host(host) = subject { Some(host) } else { None };
        self.subjects_in(text).into_iter().filter_map(host).collect()
    }

    /// Hosts and attackers that a text names, in order.
    fn ends_in(&self, text: &str) -> Vec<String> {
        let end = |subject| match subject {
            Subject::Host(name) | Subject::Attacker(name) => Some(name),
            _ => None,
        };
        self.subjects_in(text).into_iter().filter_map(end).collect()
    }
}
