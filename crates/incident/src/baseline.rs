//! What an organisation's logs say on ordinary days, so that what happens there every day is told from what never did.
//!
//! A baseline is learnt from logs of days on which nothing happened, by whoever vouches for that, and written as JSON with one kind of
//! record a line: a person can read it, and strike out what should not count. Records are of one kind if they say the same but for
//! numbers and identifiers. With each kind stand those of whom it was seen: who wrote it, the account, and the addresses, outside ones
//! by network. And whatever it was: the networks outside that anything had to do with, of each account those from where it acted, and the
//! programs and words that were seen at all.
//!
//! Invariants: a kind, or whom it is of, counts only if it was seen on several days, and of alerts of the highest severity on most; what is longer
//! than [`LONGEST`] is of no kind, so that nothing hides behind a cut; and learning takes bounded memory, whatever the logs hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Entities, EntityKind, Format, Network, Record, RecordKind, SensorVerdict};

mod learning;
mod vocabulary;

pub use learning::{BaselineLearner, LastDay, Learnt};
pub use vocabulary::Strange;
use vocabulary::Vocabulary;

/// Longest text of a baseline, in bytes.
const LONGEST_TEXT: usize = 256 << 10;
/// Longest text of a kind, in bytes.
const LONGEST: usize = 600;
/// Longest text of whom a kind was seen of, in bytes.
const LONGEST_NAMES: usize = 256;
/// Most of those that one kind has.
const MOST_NAMES: usize = 64;
/// Days on which a kind, or somebody of whom it is, has to be seen to be usual.
const SEVERAL: u32 = 2;
/// Days on which somebody has to be seen, beside half of all, for that to be on most days.
const MOST_DAYS: u32 = 4;
/// From where so many accounts come, any of the organisation's does.
const SHARED: usize = 3;
/// What stands in place of addresses outside, where ever others come; no name holds it.
const ANYBODY: &str = "*";
/// From this length on a word of letters and digits is an identifier.
const IDENTIFIER: usize = 20;

/// What an organisation's logs say on ordinary days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Baseline {
    days: u32,
    /// By what they say.
    kinds: BTreeMap<String, Seen>,
    /// Of accounts the networks outside from where they do what they do, and on how many days.
    origins: BTreeMap<String, BTreeMap<String, u32>>,
    /// How often an account came from somewhere new on these days.
    came: Came,
    /// Networks and domains outside that anything had to do with, and on how many days.
    outside: BTreeMap<String, u32>,
    /// How often such a one was new.
    met: Came,
    /// Programs and words.
    vocabulary: Vocabulary,
}

/// How often something was seen, each once a day, and how often nobody saw it on any other day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Came {
    times: u64,
    new: u64,
}

impl Came {
    /// How likely what is seen on a further day is new, from 0 to 1.
    fn new_share(self) -> f32 {
        (self.new as f32 + 1.0) / (self.times as f32 + 2.0)
    }

    fn check(self) -> Result<(), BaselineError> {
        let Came { times, new } = self;
        let wrong = || BaselineError::Content(format!("{new} of {times} were new, which cannot be"));
        if new > times { Err(wrong()) } else { Ok(()) }
    }
}

/// How a kind of record was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    days: u32,
    /// Of whom, and on how many days.
    of: BTreeMap<String, u32>,
}

/// How well a baseline knows a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Familiarity {
    /// Its like is seen on most ordinary days, of the same hosts, accounts and addresses.
    Daily,
    /// It is on some of them.
    Usual,
    /// Its like is, of others.
    UsualOfOthers,
    /// Nothing like it is.
    #[default]
    New,
}

/// Whether somebody outside, or from where an account acts, is there on ordinary days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin {
    /// It is.
    Usual,
    /// It is not; with how likely such a one is new on an ordinary day, from 0 to 1, by the days that the baseline was learnt from.
    New(f32),
}

impl Origin {
    fn of(is_usual: bool, came: Came) -> Origin {
        if is_usual { Origin::Usual } else { Origin::New(came.new_share()) }
    }

    /// What is said of both: that one is new.
    #[must_use]
    pub fn with(self, other: Origin) -> Origin {
        if self == Origin::Usual { other } else { self }
    }
}

/// What a baseline knows of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How well.
    pub familiarity: Familiarity,
    /// Whether that is so because ever others come from outside, of whom this may be one.
    pub of_anybody: bool,
}

/// Why a baseline cannot be used, or not be learnt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// It is not JSON of this form.
    #[error("the baseline cannot be read: {0}")]
    Form(String),
    /// It is too long.
    #[error("the baseline has {0} bytes, and at most {LONGEST_TEXT} are taken")]
    Length(usize),
    /// What it says cannot be so.
    #[error("{0}")]
    Content(String),
    /// There are too few days to tell what is usual.
    #[error("the logs are of {0}; a baseline needs those of two days or more")]
    Days(String),
}

/// A baseline as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    days: u32,
    #[serde(default)]
    met: Came,
    #[serde(default)]
    outside: BTreeMap<String, u32>,
    #[serde(default)]
    came: Came,
    #[serde(default)]
    origins: Vec<Account>,
    #[serde(default)]
    programs: BTreeSet<String>,
    #[serde(default)]
    words: BTreeSet<String>,
    kinds: Vec<Kind>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    account: String,
    from: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    says: String,
    days: u32,
    #[serde(default)]
    of: BTreeMap<String, u32>,
}

impl Baseline {
    /// Reads what [`Baseline::to_text`] wrote, or a person did.
    ///
    /// # Errors
    /// If it is too long, no JSON of this form, or says what cannot be so.
    pub fn parse(text: &str) -> Result<Baseline, BaselineError> {
        if text.len() > LONGEST_TEXT {
            return Err(BaselineError::Length(text.len()));
        }
        let document: Document =
            serde_json::from_str(text).map_err(|error| BaselineError::Form(error.to_string()))?;
        document.try_into()
    }

    /// The text of it: JSON, one kind a line.
    pub fn to_text(&self) -> String {
        let mut text = format!("{{\"days\": {}", self.days);
        if !self.outside.is_empty() {
            let Came { times, new } = self.met;
            text.push_str(&format!(", \"met\": {{\"times\": {times}, \"new\": {new}}}, \"outside\": {{"));
            for (at, (network, days)) in self.outside.iter().enumerate() {
                text.push_str(if at == 0 { "\n" } else { ",\n" });
                text.push_str(&outside_line(network, *days));
            }
            text.push_str("\n}");
        }
        if !self.origins.is_empty() {
            let Came { times, new } = self.came;
            text.push_str(&format!(", \"came\": {{\"times\": {times}, \"new\": {new}}}"));
        }
        for (at, (account, from)) in self.origins.iter().enumerate() {
            text.push_str(if at == 0 { ", \"origins\": [\n" } else { ",\n" });
            text.push_str(&origin_line(account, from));
        }
        if !self.origins.is_empty() {
            text.push_str("\n]");
        }
        self.vocabulary.write(&mut text);
        text.push_str(", \"kinds\": [");
        for (at, (says, seen)) in self.kinds.iter().enumerate() {
            text.push_str(if at == 0 { "\n" } else { ",\n" });
            text.push_str(&line(says, seen));
        }
        text.push_str("\n]}\n");
        text
    }

    /// Days that it was learnt from.
    pub fn days(&self) -> u32 {
        self.days
    }

    /// Kinds of records that it knows.
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// What it knows of a record.
    pub fn known(&self, record: &Record) -> Known {
        let Some(seen) = kind_of(record).and_then(|kind| self.kinds.get(&kind)) else {
            return Known::default();
        };
        let names = Names::of(record);
        let on = |days: u32| match days >= MOST_DAYS && days.saturating_mul(2) >= self.days {
            true => Familiarity::Daily,
            false => Familiarity::Usual,
        };
        let (exact, of_anybody) = (seen.of.get(&names.exact), seen.of.get(&names.of_anybody));
        let familiarity = exact.or(of_anybody).map_or(Familiarity::UsualOfOthers, |days| on(*days));
        if is_severe(record) && familiarity != Familiarity::Daily {
            return Known::default();
        }
        Known { familiarity, of_anybody: exact.is_none() && of_anybody.is_some() }
    }

    /// Whether the account of a record acts from where it does on ordinary days; nothing where it acts from inside or does not, where the
    /// record does not say from where, and of a baseline that knows no origin of anybody.
    pub fn origin(&self, record: &Record) -> Option<Origin> {
        let (account, network) = origin_of(record).filter(|_| !self.origins.is_empty())?;
        let is_usual = self.origins.get(&account).is_some_and(|from| from.contains_key(&network));
        // The organisation's own offices, and what its people go through.
        Some(Origin::of(is_usual || is_shared(&self.origins, &network), self.came))
    }

    /// What in a record nothing had on ordinary days.
    pub fn strange(&self, record: &Record) -> Strange {
        self.vocabulary.strange(record)
    }

    /// Whether the network of an address outside, or the domain of a name, had to do with anything on ordinary days; nothing of what is
    /// inside, and of a baseline that knows none.
    pub fn outside(&self, address: &str) -> Option<Origin> {
        let network = wide_network(address).filter(|_| !self.outside.is_empty())?;
        Some(Origin::of(self.outside.contains_key(&network), self.met))
    }
}

/// A network or domain with its days as a line of JSON.
fn outside_line(network: &str, days: u32) -> String {
    format!("{}: {days}", serde_json::Value::from(network))
}

/// Whether so many accounts come from a network that any does.
fn is_shared(origins: &BTreeMap<String, BTreeMap<String, u32>>, network: &str) -> bool {
    origins.values().filter(|from| from.contains_key(network)).count() >= SHARED
}

/// An account with its origins as a line of JSON.
fn origin_line(account: &str, from: &BTreeMap<String, u32>) -> String {
    let line = Account { account: account.to_owned(), from: from.clone() };
    // Strings and numbers cannot fail to be JSON.
    serde_json::to_string(&line).unwrap_or_default()
}

/// A kind as a line of JSON.
fn line(says: &str, seen: &Seen) -> String {
    let kind = Kind { says: says.to_owned(), days: seen.days, of: seen.of.clone() };
    // Strings and a number cannot fail to be JSON.
    serde_json::to_string(&kind).unwrap_or_default()
}

impl TryFrom<Document> for Baseline {
    type Error = BaselineError;

    fn try_from(
        Document { days, met, outside, came, origins, programs, words, kinds }: Document,
    ) -> Result<Self, BaselineError> {
        let mut known = BTreeMap::new();
        let mut accounts = BTreeMap::new();
        came.check()?;
        met.check()?;
        let vocabulary = Vocabulary { programs, words };
        vocabulary.check()?;
        if let Some((network, seen)) = outside.iter().find(|(_, seen)| **seen > days) {
            return Err(BaselineError::Content(format!(
                "{network:?} was seen on {seen} of {days} days, which cannot be"
            )));
        }
        if let Some(long) = outside.keys().find(|network| network.is_empty() || network.len() > LONGEST_NAMES)
        {
            return Err(BaselineError::Content(format!("{long:?} must have 1 to {LONGEST_NAMES} bytes")));
        }
        for Account { account, from } in origins {
            let wrong = |what: String| Err(BaselineError::Content(format!("the account {account:?} {what}")));
            if account.is_empty()
                || account.len() > LONGEST_NAMES
                || from.is_empty()
                || from.len() > MOST_NAMES
            {
                return wrong(format!("must have 1 to {LONGEST_NAMES} bytes and 1 to {MOST_NAMES} networks"));
            }
            if let Some((network, seen)) = from.iter().find(|(_, seen)| **seen > days) {
                return wrong(format!("came from {network:?} on {seen} of {days} days, which cannot be"));
            }
            if accounts.contains_key(&account) {
                return wrong("stands there twice".to_owned());
            }
            accounts.insert(account, from);
        }
        for Kind { says, days: seen, of } in kinds {
            let wrong = |what: String| Err(BaselineError::Content(format!("the kind {says:?} {what}")));
            if says.is_empty() || says.len() > LONGEST {
                return wrong(format!("has {} bytes, and must have 1 to {LONGEST}", says.len()));
            }
            if seen > days {
                return wrong(format!("was seen on {seen} of {days} days, which cannot be"));
            }
            if let Some(long) = of.keys().find(|names| names.is_empty() || names.len() > LONGEST_NAMES) {
                return wrong(format!("is of {long:?}, which must have 1 to {LONGEST_NAMES} bytes"));
            }
            if let Some((names, own)) = of.iter().find(|(_, own)| **own > seen) {
                return wrong(format!(
                    "was seen of {names:?} on {own} days and at all on {seen}, which cannot be"
                ));
            }
            if of.len() > MOST_NAMES {
                return wrong(format!("is of {}, and at most {MOST_NAMES} are taken", of.len()));
            }
            if known.contains_key(&says) {
                return wrong("stands there twice".to_owned());
            }
            known.insert(says, Seen { days: seen, of });
        }
        Ok(Baseline { days, kinds: known, origins: accounts, came, outside, met, vocabulary })
    }
}

impl From<Baseline> for Document {
    fn from(baseline: Baseline) -> Self {
        let kind = |(says, seen): (String, Seen)| Kind { says, days: seen.days, of: seen.of };
        let account = |(account, from)| Account { account, from };
        Document {
            days: baseline.days,
            met: baseline.met,
            outside: baseline.outside,
            came: baseline.came,
            origins: baseline.origins.into_iter().map(account).collect(),
            programs: baseline.vocabulary.programs,
            words: baseline.vocabulary.words,
            kinds: baseline.kinds.into_iter().map(kind).collect(),
        }
    }
}

/// Whether it is an alert of the highest severity. What such a one tells of is usual only where it comes on most days, and of the same: a
/// sensor that is wrong is so again and again, and whoever vouches for those days has seen it.
fn is_severe(record: &Record) -> bool {
    record.is_alert() && record.alert_kind().priority == Some(1)
}

/// Words of a record by which something did not work.
pub const FAILS: [&str; 7] = ["fail", "invalid", "denied", "incorrect", "wrong", "refused", "rejected"];

/// The account that does what a log tells, in lower case and without its domain, and the network outside that it does it from: of
/// addresses alone, which belong to who uses them, and so wide that a provider's are one.
fn origin_of(record: &Record) -> Option<(String, String)> {
    let is_own = record.kind == RecordKind::Log && record.verdict != Some(SensorVerdict::Blocked);
    let account = bare_account(&record.account);
    if !is_own || account.is_empty() || account.len() > LONGEST_NAMES {
        return None;
    }
    let said = record.message.to_lowercase().replace(&record.account.to_lowercase(), "");
    // Whoever only tries an account is not its owner.
    if FAILS.iter().any(|word| said.contains(word)) {
        return None;
    }
    let source = record.source.as_ref().filter(|end| end.ip().is_some())?;
    Some((account, wide_network(&source.address)?))
}

/// The network of an address outside, so wide that what moves about within one provider stays in it, or the domain of a name.
fn wide_network(address: &str) -> Option<String> {
    let narrow = outside(address)?;
    let Ok(ip) = address.parse::<IpAddr>() else { return Some(narrow) };
    Network::around(ip, if ip.is_ipv4() { 16 } else { 32 }).map(|network| network.to_string())
}

/// The networks and domains outside that a record has to do with.
fn met(record: &Record) -> impl Iterator<Item = String> {
    let ends = [&record.source, &record.destination].into_iter().flatten();
    ends.filter_map(|end| wide_network(&end.address)).filter(|network| network.len() <= LONGEST_NAMES)
}

/// The name of an account in lower case without its domain, which some sources write and others do not.
pub fn bare_account(account: &str) -> String {
    let name = account.rsplit('\\').next().unwrap_or(account);
    name.split('@').next().filter(|name| !name.is_empty()).unwrap_or(name).to_lowercase()
}

/// What records of one kind have in common; none of a record that is of no kind: one that no format understood, a remark, or one that
/// says too much.
fn kind_of(record: &Record) -> Option<String> {
    if record.kind == RecordKind::Unknown || record.format == Format::Remark {
        return None;
    }
    let mut said = match record.is_alert() {
        true => {
            let kind = record.alert_kind();
            let priority = kind.priority.map(|priority| format!(" P{priority}")).unwrap_or_default();
            format!("{} {}{priority}: {}", record.rule, kind.classification, record.message)
        }
        false => format!("{}: {}", record.sensor, record.message),
    };
    for more in [&record.detail, &record.process, &record.file] {
        if !more.is_empty() && !record.message.contains(more.as_str()) {
            said.push_str(" | ");
            said.push_str(more);
        }
    }
    match record.verdict {
        Some(SensorVerdict::Blocked) => said.push_str(" | blocked"),
        Some(SensorVerdict::Allowed) => said.push_str(" | allowed"),
        None => {}
    }
    // Readers cut what is long, and say so.
    if said.contains('…') {
        return None;
    }
    for end in [&record.source, &record.destination].into_iter().flatten() {
        if end.address.contains(['.', ':']) {
            said = said.replace(&end.address, "@");
        }
    }
    let kind = masked(&said);
    (kind.len() <= LONGEST).then_some(kind)
}

/// Names of days and months, as times have them.
const CALENDAR: [&str; 19] = [
    "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
    "Sep", "Oct", "Nov", "Dec",
];

/// The text with numbers, identifiers and dates as `#`. Everything else stays, so that a word which was never seen is never hidden; and
/// so do the answers of web servers.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let is_answer =
            out.ends_with('"') && word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        if !out.is_empty() {
            out.push(' ');
        }
        if is_answer {
            out.push_str(word);
            continue;
        }
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let ends = |c: char| c.is_alphanumeric() != first.is_alphanumeric();
            let (part, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
            if first.is_alphanumeric() {
                mask_part(&mut out, part)
            } else {
                out.push_str(part)
            }
            rest = behind;
        }
    }
    out
}

/// A part of a word that has letters and digits alone.
fn mask_part(out: &mut String, part: &str) {
    let has_digit = part.contains(|c: char| c.is_numeric());
    let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if has_digit && (is_hex || part.len() >= IDENTIFIER) || CALENDAR.contains(&part) {
        out.push('#');
        return;
    }
    let mut in_number = false;
    for c in part.chars() {
        if !c.is_numeric() {
            out.push(c);
        } else if !in_number {
            out.push('#');
        }
        in_number = c.is_numeric();
    }
}

/// Who has to do with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    /// Its host, its account and all addresses.
    exact: String,
    /// The same with anybody in place of addresses outside.
    of_anybody: String,
}

impl Names {
    fn of(record: &Record) -> Names {
        let ends = [&record.source, &record.destination].into_iter().flatten();
        let mut addresses: BTreeSet<String> = ends.map(|end| end.address.clone()).collect();
        if !record.is_alert() {
            let told = Entities::find(&record.message);
            addresses.extend(told.of(EntityKind::Address).map(str::to_owned));
        }
        // A name that somebody chose is one word, and not anybody.
        let word = |name: &str| name.replace(|c: char| c.is_whitespace() || ANYBODY.contains(c), "_");
        let own = [&record.host, &record.account].into_iter().filter(|name| !name.is_empty());
        let own: Vec<String> = own.map(|name| word(name)).collect();
        let (mut exact, mut of_anybody) = (BTreeSet::new(), BTreeSet::new());
        for address in addresses.iter().map(|address| word(address)) {
            match outside(&address) {
                Some(network) => {
                    of_anybody.insert(ANYBODY.to_owned());
                    exact.insert(network);
                }
                None => {
                    of_anybody.insert(address.clone());
                    exact.insert(address);
                }
            }
        }
        let told = |addresses: BTreeSet<String>| {
            let all: Vec<&str> = own.iter().chain(&addresses).map(String::as_str).collect();
            if all.is_empty() { "-".to_owned() } else { all.join(" ") }
        };
        Names { exact: told(exact), of_anybody: told(of_anybody) }
    }

    /// Whether there are addresses outside.
    fn has_outside(&self) -> bool {
        self.exact != self.of_anybody
    }
}

/// The network of an address outside, of a name with a domain the domain; none of an address that is private, or of a plain name.
fn outside(address: &str) -> Option<String> {
    let Ok(ip) = address.parse::<IpAddr>() else {
        let mut labels = address.rsplit('.');
        let (top, domain) = (labels.next()?, labels.next()?);
        return Some(format!("{domain}.{top}"));
    };
    let (is_own, prefix) = match ip {
        IpAddr::V4(v4) => (
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast(),
            24,
        ),
        IpAddr::V6(v6) => (
            v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
            48,
        ),
    };
    if is_own {
        return None;
    }
    Network::around(ip, prefix).map(|network| network.to_string())
}

#[cfg(test)]
mod tests;
