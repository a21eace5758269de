//! Rules of IDS, SIEM and EDR as public labels.

use std::path::Path;

use countermove_incident::Tactic;
use countermove_simulator::{Detection, Vocabulary};

use super::Labelled;
use super::stage::Form;
use crate::error::DatasetError;

/// Longest sentence that stands for a rule, in bytes.
const MAX_SENTENCE: usize = 160;

/// The rules of a data folder.
pub(super) fn read(folder: &Path) -> Result<Vec<Labelled>, DatasetError> {
    let mut all: Vec<Labelled> = Detection::read(folder)?.iter().filter_map(detection).collect();
    for rule in Vocabulary::read(folder)?.rules() {
        let is_everyday = rule.is_everyday();
        let shows = if is_everyday { Vec::new() } else { rule.tactics() };
        if !is_everyday && shows.is_empty() {
            continue;
        }
        all.push(Labelled {
            source: "emerging".into(),
            family: rule.message.clone(),
            texts: vec![rule.message.clone()],
            form: Form::Network,
            class: rule.class.description.to_owned(),
            severity: Some(rule.priority),
            shows,
        });
    }
    Ok(all)
}

/// A detection rule that names a tactic which a log can show.
fn detection(rule: &Detection) -> Option<Labelled> {
    let shows: Vec<Tactic> =
        rule.tactics.iter().copied().filter(|tactic| *tactic != Tactic::ResourceDevelopment).collect();
    if shows.is_empty() {
        return None;
    }
    let mut texts = vec![rule.title.clone()];
    texts.extend(first_sentence(&rule.description));
    let form = match rule.log_source.as_str() {
        text if text.contains("webserver") || text.contains("Suricata") || text.contains("firewall") => {
            Form::Network
        }
        text if text.contains("proxy") || text.contains("dns") || text.contains("network_connection") => {
            Form::Outbound
        }
        _ => Form::Title,
    };
    Some(Labelled {
        source: rule.source.clone(),
        family: rule.title.clone(),
        texts,
        form,
        class: String::new(),
        severity: severity(&rule.level),
        shows,
    })
}

/// A rule's level on the one scale: Sigma's words, Falco's priorities, and numbers up to 100 as Splunk's risk scores are.
fn severity(level: &str) -> Option<u8> {
    let level = level.trim().to_ascii_lowercase();
    Some(match level.as_str() {
        "critical" | "high" | "emergency" | "alert" | "error" => 1,
        "medium" | "warning" => 2,
        "low" | "notice" => 3,
        "informational" | "info" | "debug" => 4,
        number => match number.parse::<u8>().ok()? {
            0..=21 => 3,
            22..=47 => 2,
            _ => 1,
        },
    })
}

/// The first sentence of a description, without what authors begin it with.
pub(super) fn first_sentence(text: &str) -> Option<String> {
    let text = text.trim();
    let text = [
        "The following analytic detects ",
        "The following analytic identifies ",
        "This analytic detects ",
        "Detects ",
    ]
    .iter()
    .find_map(|begin| text.strip_prefix(begin))
    .unwrap_or(text);
    let end = text.find(". ").unwrap_or(text.len()).min(MAX_SENTENCE);
    let end = (0..=end).rev().find(|end| text.is_char_boundary(*end))?;
    let sentence = text.get(..end)?.trim().trim_end_matches('.');
    (sentence.len() > 20).then(|| sentence.to_owned())
}
