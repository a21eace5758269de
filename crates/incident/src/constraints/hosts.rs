//! Which names are one host, and where a text names hosts.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Entities, Entity, EntityKind, Network};

/// A host by all of its names and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNames {
    /// As the sentence names it.
    name: String,
    /// Normal forms of all names, that one included.
    all: Vec<String>,
}

impl HostNames {
    /// A host with these names, the first of which is shown.
    pub fn new(name: impl Into<String>, others: impl IntoIterator<Item = String>) -> HostNames {
        let name = name.into();
        let mut all = vec![Entity::normal_host(&name)];
        for other in others {
            let other = Entity::normal_host(&other);
            if !all.contains(&other) {
                all.push(other);
            }
        }
        HostNames { name, all }
    }

    /// The name that people read.
    pub fn shown(&self) -> &str {
        &self.name
    }

    /// Normal forms of all names.
    pub fn all(&self) -> &[String] {
        &self.all
    }
}

/// How a host stands in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preposition {
    /// It is what something is done to.
    None,
    /// Behind `from`, or the first behind `between`.
    From,
    /// Behind `between`, while a text is read.
    Between,
    /// Behind `to`, `with` or `towards`.
    To,
    /// Behind `on`, `at` or another word that says where.
    At,
}

/// A place where a text names something that a rule can be about.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    /// The byte at which it begins.
    pub(super) start: usize,
    /// What it is; `None` for a name that only the system description tells.
    pub(super) kind: Option<EntityKind>,
    pub(super) behind: Preposition,
    /// As the text writes it.
    pub(super) value: String,
    normal: String,
    network: Option<Network>,
}

impl Mention {
    /// Whether it names the host, or a network that one of its addresses is in.
    pub(super) fn is(&self, host: &HostNames) -> bool {
        let inside = |network: Network| {
            host.all
                .iter()
                .filter_map(|name| name.parse::<IpAddr>().ok())
                .any(|address| network.contains(address))
        };
        host.all.contains(&self.normal) || self.network.is_some_and(inside)
    }
}

/// Every place at which the text names an entity, or one of `hosts` by a plain word, in order.
pub(super) fn mentions<'a>(text: &str, hosts: impl IntoIterator<Item = &'a HostNames>) -> Vec<Mention> {
    let mut mentions: Vec<Mention> = Vec::new();
    for (start, entity) in Entities::places(text) {
        let network = Network::parse(&entity.value).filter(|_| entity.kind == EntityKind::Network);
        let (kind, normal) = (Some(entity.kind), entity.normal());
        mentions.push(Mention {
            start,
            kind,
            behind: Preposition::None,
            value: entity.value,
            normal,
            network,
        });
    }
    let plain: Vec<&str> = hosts.into_iter().flat_map(|host| host.all.iter().map(String::as_str)).collect();
    for (start, word) in names_in(text) {
        let lower = Entity::normal_host(word);
        let known = mentions.iter().any(|mention| mention.start == start);
        if !known && plain.contains(&lower.as_str()) {
            let value = word.to_owned();
            let (kind, behind) = (None, Preposition::None);
            mentions.push(Mention { start, kind, behind, value, normal: lower, network: None });
        }
    }
    mentions.sort_by_key(|mention| mention.start);
    let mut last: Option<(usize, Preposition)> = None;
    for mention in &mut mentions {
        mention.behind = match (preposition(text, mention.start), last) {
            (Some(own), _) => own,
            // `between A and B` is from A to B. Else what is listed stands behind the same word: `from A and B`.
            (None, Some((end, of_last))) if is_list(text.get(end..mention.start)) => match of_last {
                Preposition::Between => Preposition::To,
                of_last => of_last,
            },
            (None, _) => Preposition::None,
        };
        last = Some((end_of(text, mention), mention.behind));
    }
    for mention in mentions.iter_mut().filter(|mention| mention.behind == Preposition::Between) {
        mention.behind = Preposition::From;
    }
    mentions
}

fn end_of(text: &str, mention: &Mention) -> usize {
    let written = text.get(mention.start..).unwrap_or_default();
    let length = match written.get(..mention.value.len()) {
        Some(same) if same.eq_ignore_ascii_case(&mention.value) => mention.value.len(),
        // Written in another form, such as one of a range.
        _ => written.find(char::is_whitespace).unwrap_or(written.len()),
    };
    mention.start + length
}

/// Whether only a comma, an `and` or a bracket stands between two names.
fn is_list(between: Option<&str>) -> bool {
    between.is_some_and(|between| {
        let words = between.split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '/'));
        let mut words = words.filter(|word| !word.is_empty()).map(str::to_lowercase);
        words.all(|word| {
            matches!(word.as_str(), "and" | "or" | "the") || NOUNS.contains(&word.trim_end_matches('s'))
        })
    })
}

/// What stands before a host's name or number and says no more.
const NOUNS: [&str; 10] = [
    "server",
    "host",
    "node",
    "workstation",
    "machine",
    "client",
    "gateway",
    "firewall",
    "router",
    "network",
];

/// What the words before a name say about its place; articles and nouns of hosts are skipped.
fn preposition(text: &str, start: usize) -> Option<Preposition> {
    let before = text.get(..start)?;
    let words = before.rsplit(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words.take(3) {
        match word.to_lowercase().as_str() {
            "from" => return Some(Preposition::From),
            "between" => return Some(Preposition::Between),
            "to" | "with" | "towards" => return Some(Preposition::To),
            "on" | "at" | "via" | "through" | "by" | "using" | "in" => return Some(Preposition::At),
            "the" | "a" | "an" => {}
            word if NOUNS.contains(&word.trim_end_matches('s')) => {}
            _ => return None,
        }
    }
    None
}

/// Runs of characters that a host's name may have, with their places.
fn names_in(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut rest = 0;
    text.split_inclusive(move |c: char| !is_part(c)).filter_map(move |piece| {
        let start = rest;
        rest += piece.len();
        let word = piece.trim_matches(|c: char| !c.is_alphanumeric());
        let offset = piece.find(word).filter(|_| !word.is_empty())?;
        Some((start + offset, word))
    })
}

/// Names and addresses that the system description puts side by side.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Other names of a name, by its normal form.
    others: HashMap<String, Vec<String>>,
}

/// Words that stand before an address and are no names.
const NO_NAMES: [&str; 28] = [
    "address",
    "addresses",
    "and",
    "at",
    "container",
    "firewall",
    "from",
    "gateway",
    "has",
    "host",
    "hosts",
    "in",
    "ip",
    "ipv4",
    "ipv6",
    "is",
    "machine",
    "network",
    "on",
    "router",
    "server",
    "servers",
    "subnet",
    "the",
    "to",
    "with",
    "zone",
    "name",
];

impl Names {
    /// What a description tells: `web-01 (10.0.2.13, …)`, `web-01 at 10.0.2.13`, `web-01: 10.0.2.13`, `web-01 | 10.0.2.13`,
    /// `10.0.2.13 (web-01)` and `10.0.2.13 web-01 [`.
    pub(super) fn of(system: &str) -> Names {
        let mut names = Names::default();
        let places = Entities::places(system);
        let addresses = places.iter().filter(|(_, entity)| entity.kind == EntityKind::Address);
        for (start, address) in addresses {
            let named =
                name_before(system, *start, &places).or_else(|| name_behind(system, *start, &address.value));
            if let Some(name) = named {
                names.join(&name, &address.value);
            }
        }
        names
    }

    /// The host of this name.
    pub(super) fn host(&self, name: &str) -> HostNames {
        HostNames::new(name, self.others.get(&Entity::normal_host(name)).into_iter().flatten().cloned())
    }

    /// Hosts that a sentence names, each once, with the places of the first mention.
    pub(super) fn mentions(&self, sentence: &str) -> Vec<Mention> {
        let hosts: Vec<HostNames> = self.others.keys().map(|name| self.host(name)).collect();
        mentions(sentence, &hosts)
    }

    fn join(&mut self, name: &str, address: &str) {
        let (name, address) = (Entity::normal_host(name), Entity::normal_host(address));
        // A host with two addresses has each of them as a name of the other.
        let mut group = vec![name.clone(), address];
        for member in group.clone() {
            group.extend(self.others.get(&member).into_iter().flatten().cloned());
        }
        group.sort_unstable();
        group.dedup();
        for member in &group {
            let others = group.iter().filter(|other| *other != member).cloned().collect();
            self.others.insert(member.clone(), others);
        }
    }
}

fn name_before(text: &str, start: usize, places: &[(usize, Entity)]) -> Option<String> {
    let before = text.get(..start)?;
    let link = [" (", " at ", ": ", " = ", " | ", " - "].into_iter().find(|link| before.ends_with(link))?;
    let before = before.strip_suffix(link)?;
    // `Server 6` has a space in it, and its place is that of the number.
    let numbered = places.iter().rev().find(|(place, entity)| {
        let written = before.get(*place..).unwrap_or_default();
        entity.kind == EntityKind::Host && !written.is_empty() && entity.value.ends_with(written)
    });
    if let Some((_, entity)) = numbered {
        return Some(entity.value.clone());
    }
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let word = before.rsplit(|c: char| !is_part(c)).next().unwrap_or_default();
    is_name(word).then(|| word.to_owned())
}

fn name_behind(text: &str, start: usize, address: &str) -> Option<String> {
    let behind = text.get(start..)?.strip_prefix(address)?;
    let (word, closed) = match behind.strip_prefix(" (") {
        Some(rest) => (rest.split([')', ',']).next()?, true),
        None => {
            let (word, rest) = behind.strip_prefix(' ')?.split_once(' ')?;
            (word, rest.starts_with('['))
        }
    };
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    (closed && word.chars().all(is_part) && is_name(word)).then(|| word.to_owned())
}

fn is_name(word: &str) -> bool {
    word.len() > 1
        && word.chars().any(char::is_alphabetic)
        && word.parse::<IpAddr>().is_err()
        && !NO_NAMES.contains(&word.to_lowercase().as_str())
}
