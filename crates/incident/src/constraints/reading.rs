//! From a sentence to rules.

use super::Rule;
use super::hosts::{HostNames, Mention, Names, Preposition};
use crate::EntityKind;
use crate::actions::Word;

/// What the sentence demands; nothing if it is not understood.
pub(super) fn rules(sentence: &str, names: &Names) -> Vec<Rule> {
    let text = sentence.to_lowercase();
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    let mut mentions = names.mentions(sentence);
    mentions.retain(|mention| {
        matches!(mention.kind, None | Some(EntityKind::Address | EntityKind::Host | EntityKind::Domain))
    });
    let hosts = hosts(&mentions, names);
    // What may be is a permission, and a bound on it cannot be checked on a text.
    let allows = has(&[" may be ", " can be ", "at most"]) && !has(NEGATIONS);
    if hosts.is_empty() || allows {
        return Vec::new();
    }
    let negated = has(NEGATIONS);
    let relates = has(&["each other", "communicat", "contact", "traffic", " talk "]);
    if negated && relates && !has(OFFLINE) {
        return pair(&hosts).map(|(first, second)| Rule::NeverContact(first, second)).into_iter().collect();
    }
    let stays =
        has(STAYS) || negated && has(OFFLINE) || has(&["outage", "downtime"]) && (negated || has(&["no "]));
    if stays {
        return keep(&text, &mentions, hosts, names);
    }
    match forbidden_verb(sentence) {
        Some(stem) if negated => hosts.into_iter().map(|host| Rule::Forbid(stem.clone(), host)).collect(),
        _ => Vec::new(),
    }
}

const NEGATIONS: &[&str] = &[
    "must not",
    "must never",
    "may not",
    "cannot",
    "can not",
    "shall not",
    "should not",
    "never",
    "do not",
    "don't",
    "not be",
    "no traffic",
    "not acceptable",
    "no outage",
    "no downtime",
];
/// What a host that has to stay up may not be.
const OFFLINE: &[&str] = &[
    "offline",
    "interrupt",
    "stopped",
    "shut down",
    "switched off",
    "turned off",
    "isolat",
    "disconnect",
    "unavailable",
    "unreachable",
    "cut off",
    "taken down",
    "go down",
    "disabled",
    "blocked",
];
/// What says that something stays up.
const STAYS: &[&str] = &[
    "stay up",
    "stays up",
    "stay reachable",
    "stays reachable",
    "stay online",
    "stays online",
    "stay open",
    "stays open",
    "stay available",
    "stays available",
    "remain up",
    "remain reachable",
    "remain accessible",
    "remain available",
    "remain operational",
    "remain online",
    "remain open",
    "remains up",
    "remains reachable",
    "remains accessible",
    "remains available",
    "remains operational",
    "must be reachable",
    "must be available",
    "must be able to",
    "has to be able",
    "have to be able",
    "must keep",
    "has to keep",
    "have to keep",
    "keep running",
    "keeps running",
    "be kept up",
    "be kept running",
    "stay operational",
    "stay accessible",
    "keep serving",
    "keep up",
];

fn hosts(mentions: &[Mention], names: &Names) -> Vec<HostNames> {
    let mut hosts: Vec<HostNames> = Vec::new();
    for mention in mentions {
        if !hosts.iter().any(|host| mention.is(host)) {
            hosts.push(names.host(&mention.value));
        }
    }
    hosts
}

fn pair(hosts: &[HostNames]) -> Option<(HostNames, HostNames)> {
    match hosts {
        [first, second, ..] => Some((first.clone(), second.clone())),
        _ => None,
    }
}

/// A link if the sentence says from where to where, else that each host stays up.
fn keep(text: &str, mentions: &[Mention], hosts: Vec<HostNames>, names: &Names) -> Vec<Rule> {
    let at = |wanted: Preposition| mentions.iter().find(|mention| mention.behind == wanted);
    let reaches = [" reach ", " access ", " connect to "].iter().any(|verb| text.contains(verb));
    let link = match (hosts.as_slice(), at(Preposition::From)) {
        ([first, second], _) if reaches => Some((first.clone(), second.clone())),
        ([_, _], Some(from)) => {
            let from = names.host(&from.value);
            hosts.iter().find(|host| **host != from && host.all() != from.all()).map(|to| (from, to.clone()))
        }
        _ => None,
    };
    match link {
        Some((from, to)) => vec![Rule::KeepLink(from, to)],
        None => hosts.into_iter().map(Rule::KeepUp).collect(),
    }
}

/// Beginning of the verb behind `must not be`, `never` or `do not`; empty for a word that means any change.
fn forbidden_verb(sentence: &str) -> Option<String> {
    let words = Word::all(sentence);
    let negation = words.iter().rposition(|word| matches!(word.lower.as_str(), "not" | "never" | "dont"))?;
    let verb = words.iter().skip(negation + 1).find(|word| word.lower != "be" && !word.lower.is_empty())?;
    let stem = verb.lower.strip_suffix("ed").or_else(|| verb.lower.strip_suffix('e')).unwrap_or(&verb.lower);
    let any = ["chang", "touch", "alter", "modif", "tamper"].iter().any(|word| stem.starts_with(word));
    if any {
        return Some(String::new());
    }
    (stem.chars().count() >= 3).then(|| stem.to_owned())
}
