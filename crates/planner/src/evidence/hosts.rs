//! What the system description says of each host: its other names, what it is, and whether it has to stay up.
//!
//! Descriptions are prose, lists or tables, so this reads what stands beside an address: `web01 at 10.0.2.13 (Debian
//! 12) runs Apache.`, `- web01 (10.0.2.13, Debian 12): Apache`, `web01 10.0.2.13 (Apache), db01 10.0.2.14`, `10.0.2.13 web01 [Debian 12]
//! Apache`, `web01 | 10.0.2.13 | Apache`. What it does not find is missing from a prompt, never wrong in it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use countermove_incident::{Entities, EntityKind};

use crate::evidence::infrastructure::passes_traffic;
use crate::words::has_word;

/// Longest text about a host in a prompt, in bytes.
const MAX_ABOUT: usize = 80;
/// Longest sentence about what a host does to others.
const MAX_HABIT: usize = 90;
/// Most words of whoever has an address.
const MAX_OWNER: usize = 3;

/// What a host does that looks at others by order.
const LOOKS: [&str; 4] = ["scans", "monitors", "audits", "checks"];
/// The one of these that an entry of a list says of much else.
const OF_ANYTHING: &str = "checks";
/// What stands before such a word where the host itself does it, beside its address and the end of a bracket.
const JOINING: [&str; 2] = ["and", "also"];
/// What a host is that does so, by its kind or its product. The agents of products do not, on hosts that are looked at.
const SCANNERS: [&str; 8] =
    ["scanner", "nessus", "openvas", "greenbone", "qualys", "nexpose", "insightvm", "tenable"];
/// That none runs there.
const NO_AGENT: [&str; 2] = ["no agent", "without agent"];
/// What else is called a scanner.
const PAPER: [&str; 2] = ["print", "document"];
/// What is looked at by whoever looks at no host.
const NO_HOSTS: [&str; 9] =
    ["mail", "mails", "uploads", "downloads", "files", "attachments", "documents", "invoices", "reported"];
/// Between a host and one of these words they tell of somebody else who looks: `web01 is reached by the scanner`.
const OF_OTHERS: [&str; 9] = ["by", "from", "to", "for", "with", "of", "over", "on", "in"];
/// Words of a rule that says that something has to stay as it is.
const KEEPING: [&str; 9] =
    ["must", "has to", "have to", "stay", "remain", "keep", "outage", "cannot", "may not"];
/// Words of a rule that forbids two hosts to reach each other, which keeps neither of them up.
const FORBIDDING: [&str; 2] = ["never be able to reach", "no traffic may"];
/// Words that stand where a name would and are none.
const NO_NAMES: [&str; 44] = [
    "the",
    "is",
    "address",
    "addresses",
    "and",
    "ip",
    "network",
    "networks",
    "host",
    "hosts",
    "name",
    "of",
    "to",
    "a",
    "an",
    "are",
    "was",
    "were",
    "be",
    "in",
    "on",
    "at",
    "by",
    "for",
    "from",
    "or",
    "with",
    "has",
    "have",
    "all",
    "both",
    "each",
    "it",
    "its",
    "that",
    "which",
    "others",
    "runs",
    "public",
    "internal",
    "private",
    "static",
    "via",
    "vpn",
];
/// Text before an address in which its host's name is looked for, in bytes.
const MAX_BEFORE: usize = 512;
/// Longest name of a host, in bytes.
const MAX_NAME: usize = 64;

/// The hosts that a description tells of, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// Addresses by name, in lower case.
    names: BTreeMap<String, String>,
    /// Addresses by what else stands in the bracket with the address and tells one host from another, such as the identifier
    /// of an inventory, in lower case.
    aliases: BTreeMap<String, String>,
    /// Addresses by both kinds of names without what parts their words; none where several hosts are written so.
    run_together: BTreeMap<String, Option<String>>,
    /// What stands beside the address.
    about: BTreeMap<String, String>,
    /// Sentences that say that the host looks at others.
    habits: BTreeMap<String, String>,
    /// Hosts that pass traffic on or look at what passes, by address.
    passing: BTreeSet<String>,
    /// Words of the longest name.
    words: usize,
}

impl Hosts {
    /// Reads a description. `systems` are the addresses of the defended system.
    pub(crate) fn read(description: &str, systems: &[String]) -> Hosts {
        let mut hosts = Hosts::default();
        let systems: HashSet<&str> = systems.iter().map(String::as_str).collect();
        let lines: Vec<&str> = description.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let mut start = 0;
            for sentence in line.split_inclusive(". ") {
                let indented = lines.get(number + 1).filter(|next| next.starts_with("    "));
                hosts.read_sentence(sentence, indented.copied(), &systems);
                start += sentence.len();
            }
            debug_assert_eq!(start, line.len());
        }
        let sentences = lines.iter().flat_map(|line| line.split_inclusive(". "));
        let entries: Vec<&str> = sentences.flat_map(|sentence| hosts.entries(sentence, &systems)).collect();
        for sentence in entries {
            let trimmed = sentence.trim().trim_end_matches('.');
            let own = trimmed.trim_start_matches(|c: char| c.is_whitespace() || "-*•".contains(c));
            if let Some(address) = hosts.watcher(own, own.len() < trimmed.len(), &systems) {
                hosts.habits.entry(address).or_insert_with(|| shortened(own, MAX_HABIT));
            }
        }
        for (name, address) in hosts.names.iter().chain(&hosts.aliases) {
            hosts.words = hosts.words.max(word_places(name).count());
            let known = hosts.run_together.entry(run_together(name)).or_insert_with(|| Some(address.clone()));
            if known.as_ref() != Some(address) {
                *known = None;
            }
        }
        for (address, about) in &hosts.about {
            if passes_traffic(about) {
                hosts.passing.insert(address.clone());
            }
        }
        hosts
    }

    fn read_sentence(&mut self, sentence: &str, below: Option<&str>, systems: &HashSet<&str>) {
        let places: Vec<(usize, String)> = Entities::places(sentence)
            .into_iter()
            .filter(|(_, entity)| {
                entity.kind == EntityKind::Address && systems.contains(entity.value.as_str())
            })
            .map(|(place, entity)| (place, entity.value))
            .collect();
        // What passes traffic on has several addresses, one behind the other.
        let mut owner = places.first().and_then(|(place, _)| owner(sentence.get(..*place)?));
        for (number, (place, address)) in places.iter().enumerate() {
            let Some((before, rest)) = sentence.split_at_checked(*place) else { continue };
            let before = last(before, MAX_BEFORE);
            if number > 0 && ![" and", ","].iter().any(|end| before.trim_end().ends_with(end)) {
                owner = None;
            }
            let after = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '.' || c == ':');
            let (in_front, behind) = (name_before(before), name_behind(before, after));
            let name = in_front.clone().or_else(|| behind.clone()).or_else(|| owner.clone());
            if let Some(name) = &name {
                self.names.entry(name.to_lowercase()).or_insert_with(|| address.clone());
            }
            for alias in aliases(before) {
                self.aliases.entry(alias.to_lowercase()).or_insert_with(|| address.clone());
            }
            let length = rest.len() - after.len();
            let end = places
                .get(number + 1)
                .map_or(after.len(), |(next, _)| next.saturating_sub(place + length).min(after.len()));
            let own = after.get(..end).unwrap_or(after);
            let mut about = cleaned(own);
            if let Some(name) = behind.filter(|_| in_front.is_none()) {
                about = cleaned(about.strip_prefix(name.as_str()).unwrap_or(&about));
            }
            if let Some(below) = below {
                about = format!("{about}, {}", shortened(below.trim(), 2 * MAX_ABOUT));
            }
            let named = name.is_some();
            let known = self.about.contains_key(address);
            if !known && (named || !about.is_empty()) {
                let name = name.unwrap_or_else(|| address.clone());
                let about = if about.is_empty() { name } else { format!("{name}: {about}") };
                self.about.insert(address.clone(), shortened(&about, MAX_ABOUT));
            }
        }
    }

    /// The entries of a list in one sentence, each of which begins with a host of its own: `web01: Apache; db01: MySQL`.
    fn entries<'b>(&self, sentence: &'b str, systems: &HashSet<&str>) -> Vec<&'b str> {
        let is_entry = |behind: &str| self.subject(behind, systems).is_some();
        let ends =
            sentence.match_indices("; ").filter(|(at, _)| sentence.get(at + 2..).is_some_and(is_entry));
        let mut entries = Vec::new();
        let mut start = 0;
        for (end, _) in ends {
            entries.extend(sentence.get(start..end));
            start = end + 2;
        }
        entries.extend(sentence.get(start..));
        entries
    }

    /// The host that a text begins with, and where what is said of it begins.
    fn subject(&self, own: &str, systems: &HashSet<&str>) -> Option<(usize, String)> {
        let lower = own.to_lowercase();
        let named = word_places(&lower)
            .take(2)
            .filter_map(|(_, end)| Some((end, self.names.get(lower.get(..end)?)?.clone())))
            .last();
        named.or_else(|| {
            let (place, entity) = Entities::places(own).into_iter().next()?;
            // `Nessus scanner 10.0.2.14`: what it is stands in front.
            let is_told = || {
                let mut words = lower.get(..place).unwrap_or_default().split_whitespace();
                place > 0 && words.all(|word| SCANNERS.contains(&word))
            };
            let is_own = systems.contains(entity.value.as_str()) && (place == 0 || is_told());
            is_own.then_some((if place == 0 { entity.value.len() } else { 0 }, entity.value))
        })
    }

    /// The host that a sentence or an entry of a list begins with, if that says that it looks at others:
    /// `- vuln01 (10.0.2.14): scans all servers`, `10.0.2.14: our scanner`, `siem scans all servers every night`.
    fn watcher(&self, own: &str, is_listed: bool, systems: &HashSet<&str>) -> Option<String> {
        let lower = own.to_lowercase();
        if !LOOKS.iter().chain(&SCANNERS).any(|word| lower.contains(word)) {
            return None;
        }
        let (end, subject) = self.subject(own, systems)?;
        let said = lower.get(end..)?;
        let looks = looks(said, &subject, is_listed) && !PAPER.iter().any(|word| said.contains(word));
        looks.then_some(subject)
    }

    /// The names of the hosts in lower case, with their addresses.
    pub(crate) fn names(&self) -> &BTreeMap<String, String> {
        &self.names
    }

    /// All names of the hosts in lower case, with their addresses.
    pub(crate) fn all_names(&self) -> BTreeMap<String, String> {
        let mut all = self.aliases.clone();
        all.extend(self.names.clone());
        all
    }

    /// Addresses of the hosts that a text names.
    pub(crate) fn named_in(&self, text: &str) -> BTreeSet<String> {
        let lower = text.to_lowercase();
        let places: Vec<(usize, usize)> = word_places(&lower).collect();
        let mut found = BTreeSet::new();
        for (at, (start, _)) in places.iter().enumerate() {
            for (_, end) in places.iter().skip(at).take(self.words) {
                found.extend(self.find(lower.get(*start..*end).unwrap_or_default()).cloned());
            }
        }
        found
    }

    /// The address of the host with this name, also where it is told with its domain.
    pub(crate) fn address_of(&self, name: &str) -> Option<&str> {
        let lower = name.to_lowercase();
        let found = self.find(&lower).or_else(|| {
            let (first, _) = lower.split_once('.')?;
            // An address is no name with a domain.
            first.contains(char::is_alphabetic).then(|| self.find(first))?
        });
        found.map(String::as_str)
    }

    /// The address of the host with this name in lower case. People write of `server 4` and `mail_relay` whose logs come from `server-4`
    /// and `mailrelay`: where no name is written so, it is that of the one host whose name has the same letters and digits.
    fn find(&self, name: &str) -> Option<&String> {
        let written = self.names.get(name).or_else(|| self.aliases.get(name));
        written.or_else(|| self.run_together.get(&run_together(name))?.as_ref())
    }

    /// Whether the host passes traffic on, or looks at what passes: it shows in alerts that mean somebody behind it.
    pub(crate) fn passes_traffic(&self, address: &str) -> bool {
        self.passing.contains(address)
    }

    /// The host's name and what it is, as the description says; none if it says nothing.
    pub(crate) fn about(&self, address: &str) -> Option<&str> {
        self.about.get(address).map(String::as_str)
    }

    /// The sentence that says that the host looks at others, if there is one.
    pub(crate) fn habit(&self, address: &str) -> Option<&str> {
        self.habits.get(address).map(String::as_str)
    }

    /// Addresses of the hosts that a rule says have to stay up or reachable.
    pub(crate) fn kept(&self, rules: &[String]) -> Vec<String> {
        let mut kept = Vec::new();
        for rule in rules {
            let lower = rule.to_lowercase();
            let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
            if !has(&KEEPING) || has(&FORBIDDING) {
                continue;
            }
            let found = Entities::find(rule);
            let addresses = found.of(EntityKind::Address).filter(|address| self.about.contains_key(*address));
            let addresses: BTreeSet<String> = addresses.map(str::to_owned).collect();
            for address in addresses.into_iter().chain(self.named_in(rule)) {
                if !kept.contains(&address) {
                    kept.push(address);
                }
            }
        }
        kept
    }
}

/// Whether what a text in lower case says of the host with this address is that it looks at others.
fn looks(said: &str, address: &str, is_listed: bool) -> bool {
    let words = || word_places(said).map(|(start, end)| (start, said.get(start..end).unwrap_or_default()));
    let own = || words().take_while(|(_, word)| !OF_OTHERS.contains(word));
    let is_verb = |(start, word): (usize, &str)| {
        if !LOOKS.contains(&word) || is_listed && word == OF_ANYTHING {
            return false;
        }
        let is_own = match said.get(..start).unwrap_or_default().split_whitespace().next_back() {
            None => true,
            Some(last) => {
                last == address || JOINING.contains(&last) || last.ends_with([')', ',', ';', ':', '|', ']'])
            }
        };
        // `Samba for invoices and scans` keeps what was scanned.
        let behind = said.get(start + word.len()..).unwrap_or_default();
        let object = word_places(behind).next().and_then(|(start, end)| behind.get(start..end));
        is_own && object.is_some_and(|next| !OF_OTHERS.contains(&next) && !NO_HOSTS.contains(&next))
    };
    // What it does beside what it does to others: `collects logs from all and scans the servers`.
    let is_looked_at = has_word(said, "agent") && !NO_AGENT.iter().any(|without| said.contains(without));
    words().any(is_verb) || own().any(|(_, word)| SCANNERS.contains(&word)) && !is_looked_at
}

/// Where the words of a text begin and end; a hyphen does not part them.
fn word_places(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let inner = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text.get(rest..)?.find(inner)?;
        let tail = text.get(start..)?;
        let end = start + tail.find(|c| !inner(c)).unwrap_or(tail.len());
        rest = end;
        Some((start, end))
    })
}

/// A name without what parts its words.
fn run_together(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect()
}

/// The last bytes of a text.
fn last(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or_default()
}

/// Further names of a host in the bracket before its address: `laptop-001 (h-001-01, 10.0.1.11)`. A word that is no
/// identifier, such as a system's name, has no digit or no mark in it.
fn aliases(before: &str) -> impl Iterator<Item = &str> {
    let inside = before.rfind('(').and_then(|open| before.get(open + 1..)).filter(|own| !own.contains(')'));
    let is_identifier = |word: &&str| {
        is_name(word)
            && !word.contains(char::is_whitespace)
            && word.contains(|c: char| c.is_ascii_digit())
            && word.contains(['-', '_'])
    };
    inside.unwrap_or_default().split(',').map(str::trim).filter(is_identifier)
}

/// The name that stands in front of an address: `web01 at `, `web01 (`, `web01 | `, `The gateway (Debian 12) at `.
fn name_before(before: &str) -> Option<String> {
    let mut text = before.trim_end();
    text = if let Some(text) = text.strip_suffix(" at") {
        text.trim_end()
    } else if let Some(text) = text.strip_suffix(['(', '|']) {
        text.trim_end()
    } else if !text.ends_with(',') {
        return name_beside(before);
    } else {
        // `laptop-001 (h-001-01, `: the bracket holds more than the address.
        let open = text.rfind('(')?;
        text.get(open..).filter(|inside| !inside.contains(')'))?;
        text.get(..open)?.trim_end()
    };
    if text.ends_with(')') {
        text = text.get(..text.rfind('(')?)?.trim_end();
    }
    let mut words = text.rsplit(|c: char| c.is_whitespace() || c == '|');
    let last = words.next()?.trim_matches(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        // `Server 3`: a noun and a number.
        let noun = words.next()?;
        return noun
            .chars()
            .all(char::is_alphabetic)
            .then(|| format!("{noun} {last}"))
            .filter(|_| !noun.is_empty());
    }
    is_name(last).then(|| last.to_owned())
}

/// The name right beside an address: `dc01 10.0.2.13`, `dc01: 10.0.2.13`, `, bastion 10.0.2.14`. A word of prose is none: a name has a digit or a
/// mark in it, or is all that an entry says before the address.
fn name_beside(before: &str) -> Option<String> {
    let text = before.trim_end();
    let (text, is_joined) = match text.strip_suffix([':', '=']) {
        Some(text) => (text.trim_end(), true),
        None => (text, false),
    };
    let parts = |c: char| c.is_whitespace() || ",;:()".contains(c);
    let start = text.rfind(parts).map_or(0, |at| at + 1);
    let (front, name) = text.split_at_checked(start)?;
    let begins = || {
        let front = front.trim_end();
        front.is_empty() || front.ends_with([',', ';', ':', '(', '-', '*', '•']) || front.ends_with(" and")
    };
    let is_apart = before.len() > text.len();
    (is_apart && is_name(name) && (is_marked(name) || !is_joined && begins())).then(|| name.to_owned())
}

/// What has the address that follows and passes traffic on: `The gateway container has IP address `.
fn owner(before: &str) -> Option<String> {
    let (subject, has) = before.rsplit_once(" has ")?;
    let mut words: Vec<&str> = subject.split_whitespace().collect();
    if words.first().is_some_and(|word| ["the", "a", "an", "-", "*"].contains(&word.to_lowercase().as_str()))
    {
        words.remove(0);
    }
    let name = words.join(" ");
    let is_told = has.to_lowercase().contains("address") && (1..=MAX_OWNER).contains(&words.len());
    (is_told && is_name(&name) && passes_traffic(&name)).then_some(name)
}

/// The name behind an address that begins its line: `10.0.2.13 web01 [Debian 12]`, `10.0.2.13 | web01 | …`.
fn name_behind(before: &str, after: &str) -> Option<String> {
    if !before.chars().all(|c| c.is_whitespace() || matches!(c, '-' | '*' | '|')) {
        return None;
    }
    let after = after.trim_start_matches(|c: char| c.is_whitespace() || c == '|');
    // `10.0.2.13 web-01 Apache`: a word with a mark is a name by itself.
    let first = after.split(|c: char| c.is_whitespace() || "[|:,(;".contains(c)).next().unwrap_or_default();
    if is_marked(first) && is_name(first) {
        return Some(first.to_owned());
    }
    let name = after.get(..after.find(['[', '|', ':', ',', '('])?)?.trim();
    (name.split_whitespace().count() <= 2 && is_name(name)).then(|| name.to_owned())
}

/// Whether a digit or a mark in a word tells that it is a name, and none of prose.
fn is_marked(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit() || c == '-' || c == '_')
}

fn is_name(word: &str) -> bool {
    word.contains(char::is_alphabetic)
        && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '))
        && word.len() <= MAX_NAME
        && !NO_NAMES.contains(&word.to_lowercase().as_str())
}

/// What stands behind an address, without the punctuation that joins it to it.
fn cleaned(text: &str) -> String {
    let joins = |c: char| c.is_whitespace() || matches!(c, ',' | ')' | '|' | ';' | ':' | '-');
    let text = text.trim_matches(joins).trim_end_matches(['.', ' ', '(', '|']);
    let mut out = String::with_capacity(text.len());
    let mut open = 0_usize;
    for c in text.chars() {
        match c {
            '(' => open += 1,
            // A bracket that was opened before the address.
            ')' if open == 0 => {
                out.push(',');
                continue;
            }
            ')' => open -= 1,
            '|' => {
                out.push(',');
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out.replace(" ,", ",").replace(",,", ",")
}

/// At most so many bytes, cut between words.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = text.get(..end).unwrap_or_default();
    head.rsplit_once(' ').map_or(head, |(head, _)| head).trim_end_matches([',', ';']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn systems(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    #[test]
    fn whoever_has_two_addresses_is_one_host() {
        let systems = ["10.0.1.10", "10.0.2.10", "10.0.2.11", "10.0.2.12"].map(str::to_owned);
        let text = "The gateway container has IP address 10.0.1.10 on the client network and 10.0.2.10 on the server network. It runs Snort.\n\
                    The web server has the address 10.0.2.11, and nobody has said what 10.0.2.12 is.\n";
        let hosts = Hosts::read(text, &systems);
        let passing: Vec<&String> = systems.iter().filter(|address| hosts.passes_traffic(address)).collect();
        assert_eq!(passing, ["10.0.1.10", "10.0.2.10"]);
        assert_eq!(hosts.about("10.0.2.10"), Some("gateway container: on the server network"));
        assert_eq!(hosts.address_of("gateway container"), Some("10.0.1.10"));
        let listed = Hosts::read("A router has the addresses 10.0.1.10, 10.0.2.10 and 10.0.2.11.", &systems);
        assert!(systems.iter().take(3).all(|address| listed.passes_traffic(address)));
    }

    #[test]
    fn every_way_of_describing_a_host_is_read() {
        let own = systems(&["10.0.2.13", "10.0.2.14"]);
        for (text, about) in [
            ("web_shop at 10.0.2.13 (Debian 11) runs Apache.", "web_shop: (Debian 11) runs Apache"),
            (
                "In the DMZ, web_shop (10.0.2.13, Debian 11) takes orders.",
                "web_shop: Debian 11, takes orders",
            ),
            (
                "- web_shop (10.0.2.13, Debian 11), DMZ: Nginx; takes orders",
                "web_shop: Debian 11, DMZ: Nginx; takes orders",
            ),
            (
                "  10.0.2.13 web_shop [Debian 11] Nginx\n    takes orders, importance 4 of 5",
                "web_shop: [Debian 11] Nginx, takes orders, importance 4 of 5",
            ),
            ("web_shop | 10.0.2.13 | DMZ | Debian 11", "web_shop: DMZ, Debian 11"),
            ("- web_shop (h-001-01, 10.0.2.13): linux, owner u-001", "web_shop: linux, owner u-001"),
            ("Servers: db1 10.0.2.14 and web_shop 10.0.2.13 (Apache), Debian", "web_shop: (Apache), Debian"),
            ("web_shop: 10.0.2.13, Apache", "web_shop: Apache"),
            ("web_shop = 10.0.2.13 Apache", "web_shop: Apache"),
        ] {
            let hosts = Hosts::read(text, &own);
            assert_eq!(hosts.names().get("web_shop").map(String::as_str), Some("10.0.2.13"), "{text}");
            assert_eq!(hosts.about("10.0.2.13"), Some(about), "{text}");
        }
        let hosts =
            Hosts::read("Server 3 (10.0.2.13, Ubuntu 20): OpenSSH\nGateway at 10.0.2.14 runs Snort.", &own);
        assert_eq!(hosts.names().get("server 3").map(String::as_str), Some("10.0.2.13"));
        assert_eq!(hosts.names().get("gateway").map(String::as_str), Some("10.0.2.14"));
        let hosts = Hosts::read("gateway 10.0.2.14, Bastion 10.0.2.13: SSH", &own);
        assert_eq!(hosts.address_of("bastion"), Some("10.0.2.13"));
        assert_eq!(hosts.address_of("gateway"), Some("10.0.2.14"));
        for prose in [
            "The client has the address 10.0.2.13 and likes it.",
            "Our administrator works from 10.0.2.13, or VPN 10.0.2.14.",
            "Servers: 10.0.2.13, 10.0.2.14",
            "Nobody knows what 10.0.2.13 does; it is on Server 2019 10.0.2.14.",
        ] {
            let hosts = Hosts::read(prose, &own);
            assert!(hosts.names().is_empty(), "{hosts:?}");
        }
    }

    #[test]
    fn a_name_is_known_however_its_words_are_parted() {
        let text = "Server 4 (10.0.2.13): OpenSSH\nmail_relay (10.0.2.14): Postfix\nweb-1 (10.0.2.15): Nginx\nweb1 (10.0.2.16): Nginx";
        let hosts = Hosts::read(text, &systems(&["10.0.2.13", "10.0.2.14", "10.0.2.15", "10.0.2.16"]));
        for (name, address) in [
            ("server-4", Some("10.0.2.13")),
            ("SERVER4.example.com", Some("10.0.2.13")),
            ("mailrelay", Some("10.0.2.14")),
            ("web-1", Some("10.0.2.15")),
            ("web1", Some("10.0.2.16")),
            ("web_1", None),
            ("server-5", None),
        ] {
            assert_eq!(hosts.address_of(name), address, "{name}");
        }
        assert_eq!(hosts.named_in("keep server-4 up"), ["10.0.2.13".to_owned()].into());
    }

    #[test]
    fn what_stands_in_the_bracket_with_an_address_is_a_name_if_it_is_an_identifier() {
        let own = systems(&["10.0.2.13", "10.0.2.14"]);
        let hosts = Hosts::read(
            "- laptop-001 (h-001-01, 10.0.2.13): windows\n- db01 (Debian 11, 10.0.2.14): linux\n",
            &own,
        );
        let all = hosts.all_names();
        let known = all.iter().map(|(name, address)| (name.as_str(), address.as_str()));
        assert_eq!(
            known.collect::<Vec<_>>(),
            [("db01", "10.0.2.14"), ("h-001-01", "10.0.2.13"), ("laptop-001", "10.0.2.13")]
        );
        let named = hosts.named_in("auth_login user=u-001 src_host=H-001-01 dst=h-001-011");
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["10.0.2.13"]);
    }

    #[test]
    fn hosts_are_found_by_name_and_verbs_are_no_names() {
        let own = systems(&["10.0.2.13", "10.0.2.20", "10.0.2.35"]);
        let hosts = Hosts::read(
            "The workstations are at 10.0.2.20 to 10.0.2.35.\nweb_shop (h-001-01, 10.0.2.13): Apache\n",
            &own,
        );
        assert_eq!(hosts.names().keys().collect::<Vec<_>>(), ["web_shop"]);
        for name in ["web_shop", "WEB_SHOP.corp.example", "H-001-01"] {
            assert_eq!(hosts.address_of(name), Some("10.0.2.13"), "{name}");
        }
        for name in ["", "web", "10.0.2.13.example", "shop.example"] {
            assert_eq!(hosts.address_of(name), None, "{name}");
        }
        let hosts = Hosts::read("Server 3 (10.0.2.13, Ubuntu 20): OpenSSH", &own);
        assert_eq!(hosts.named_in("login on server 3, not on server 30").len(), 1);
        assert!(hosts.named_in("login on server 30").is_empty());
    }

    #[test]
    fn hosts_that_look_at_others_and_hosts_that_stay_up_are_known() {
        let own = systems(&["10.0.2.13", "10.0.2.14"]);
        let hosts = Hosts::read(
            "web_shop at 10.0.2.13 runs Apache. siem at 10.0.2.14 collects logs.\nsiem scans all servers every night; \
             that is allowed.",
            &own,
        );
        assert_eq!(hosts.habit("10.0.2.14"), Some("siem scans all servers every night; that is allowed"));
        assert_eq!(hosts.habit("10.0.2.13"), None);
        let listed = Hosts::read(
            "- 10.0.2.13: our Nessus, scans the servers on Tuesdays, also with a login\n* vuln01 (10.0.2.14): scanner",
            &own,
        );
        assert_eq!(
            listed.habit("10.0.2.13"),
            Some("10.0.2.13: our Nessus, scans the servers on Tuesdays, also with a login")
        );
        assert_eq!(listed.habit("10.0.2.14"), Some("vuln01 (10.0.2.14): scanner"));
        let products = Hosts::read(
            "10.0.2.13 Tenable Nessus, all of 10.0.2.0/24 on Sundays\n10.0.2.14 file server (Nessus agent)",
            &own,
        );
        assert!(products.habit("10.0.2.13").is_some() && products.habit("10.0.2.14").is_none());
        let agent = Hosts::read("files at 10.0.2.14 runs Samba.\nfiles has a Nessus agent.", &own);
        assert_eq!(agent.habit("10.0.2.14"), None, "it is looked at");
        let kept = Hosts::read("web_shop at 10.0.2.13 runs Samba for invoices and scans.", &own);
        assert_eq!(kept.habit("10.0.2.13"), None);
        let others = Hosts::read(
            "- pc7 (10.0.2.13): the auditor's laptop, monitored by siem01\n- mfp1 (10.0.2.14): printer and scanner",
            &own,
        );
        assert_eq!((others.habit("10.0.2.13"), others.habit("10.0.2.14")), (None, None));
        for looked_at in [
            " is monitored by siem",
            " answers health checks from siem",
            " is reached by the scanner, and Apache is checked daily",
            " is scanned by Nessus",
            " runs Apache; the scans by siem are allowed",
            " runs Apache and a tool that scans what is sent",
            " relays and scans mail",
            "10 scans all servers",
        ] {
            let text = format!("web_shop at 10.0.2.13 runs Apache.\nweb_shop{looked_at}.");
            let hosts = Hosts::read(&text, &own);
            assert_eq!(hosts.habit("10.0.2.13"), None, "{looked_at}");
        }
        for looks in [
            "checks all servers every minute",
            "(Debian 12) monitors the others",
            "is our vulnerability scanner",
            "collects logs from all hosts and scans them at night",
        ] {
            let hosts = Hosts::read(&format!("siem at 10.0.2.14 {looks}."), &own);
            assert!(hosts.habit("10.0.2.14").is_some(), "{looks}");
        }
        for listed in [
            "10.0.2.13 jump host of the administrators; 10.0.2.14 OpenVAS; others are clients",
            "WEB-1 10.0.2.13 Apache; SCAN-1 10.0.2.14 Greenbone and nmap (no agent)",
            "10.0.2.14 SCAN-1 Nessus, server network, every Tuesday; 10.0.2.13 web",
            "Nessus scanner 10.0.2.14 (account svc_scan) in the server network",
            "scan1 10.0.2.14: vulnerability scanner (OpenVAS), no agent",
        ] {
            let hosts = Hosts::read(listed, &own);
            assert!(hosts.habit("10.0.2.14").is_some() && hosts.habit("10.0.2.13").is_none(), "{listed}");
        }
        let rules = |rule: &str| hosts.kept(&[rule.to_owned()]);
        assert_eq!(rules("Apache on web_shop must not be taken offline."), ["10.0.2.13"]);
        assert_eq!(rules("10.0.2.14 has to remain accessible from web_shop."), ["10.0.2.14", "10.0.2.13"]);
        assert!(rules("siem and web_shop must never be able to reach each other.").is_empty());
        assert!(rules("The shop on web_shop may be offline for two hours.").is_empty());
        assert!(rules("web_shop2 must stay up.").is_empty());
    }

    proptest! {
        #[test]
        fn no_description_makes_it_panic(text in "(?s).{0,200}", tail in "[ -~é中\n(|)]{0,60}") {
            let own = systems(&["10.0.2.13", "2001:db8::5"]);
            let text = format!("{text}10.0.2.13{tail}2001:db8::5{text}");
            let hosts = Hosts::read(&text, &own);
            for about in own.iter().filter_map(|address| hosts.about(address)) {
                prop_assert!(about.len() <= MAX_ABOUT);
            }
        }
    }
}
