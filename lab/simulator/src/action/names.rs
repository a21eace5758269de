//! The names under which an action may speak of the parts of a system.

use std::net::IpAddr;

use countermove_incident::{Entities, Entity, EntityKind, Network, Word};

use crate::{Host, Role, Target, Truth};

/// A part of the system, or of the attacker, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A host, by its address.
    Host(String),
    /// An account, by its name.
    Account(String),
    /// An address or a domain of the attacker.
    Attacker(String),
    /// A service, by its name, on whichever host.
    Service(String),
    /// An address, a domain or an account that is none of these, as the text writes it.
    Other(String),
}

/// A place at which a text speaks of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// Byte at which it begins.
    pub(crate) start: usize,
    /// What it speaks of: several for a network, a zone or `all hosts`; none for something unnamed like `all users`.
    pub(crate) subjects: Vec<Subject>,
}

/// How a name may stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// By itself.
    Free,
    /// Close to one of these words, since it is an ordinary word as well.
    Near(&'static [&'static str]),
}

/// The names of a system.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Names in lower case that stand for themselves.
    words: Vec<(String, Context, Vec<Subject>)>,
    /// Normal forms of hosts' names, such as `server3` for `Server 3`.
    hosts: Vec<(String, Subject)>,
    addresses: Vec<(IpAddr, Subject)>,
    gateways: Vec<String>,
}

/// Words close to which an ordinary word is an account.
const ACCOUNT_WORDS: &[&str] = &[
    "account",
    "accounts",
    "user",
    "users",
    "username",
    "password",
    "passwords",
    "login",
    "logins",
    "credential",
    "credentials",
    "key",
    "keys",
    "session",
    "sessions",
    "passwd",
    "usermod",
    "userdel",
    "deluser",
    "chage",
    "pkill",
    "crontab",
];
/// Words close to which an ordinary word is a zone.
const ZONE_WORDS: &[&str] = &["zone", "network", "segment", "subnet", "vlan", "networks", "zones"];
/// Words of services' names that many services share.
const COMMON_WORDS: &[&str] = &[
    "service",
    "server",
    "http",
    "https",
    "database",
    "file",
    "files",
    "shares",
    "mail",
    "proxy",
    "portal",
    "internal",
    "cache",
    "small",
    "diagnostic",
    "upload",
    "nightly",
    "backups",
    "backup",
    "pipeline",
    "build",
    "remote",
    "desktop",
    "control",
    "web",
    "application",
    "client",
    "agent",
];
/// Names of the same service. The first that is part of a service's name decides.
const SERVICE_FAMILIES: [&[&str]; 10] = [
    &["openssh", "ssh", "sshd"],
    &["samba", "smb", "smbd", "cifs"],
    &["apache", "apache2", "httpd"],
    &["postgresql", "postgres"],
    &["vsftpd", "proftpd", "ftp"],
    &["postfix", "exim", "smtp"],
    &["mysql", "mariadb", "mysqld"],
    &["rdp", "remote desktop"],
    &["dnsmasq", "bind9", "dns"],
    &["redis", "redis-server"],
];

impl Names {
    /// The names of the system that an incident is in.
    pub fn new(truth: &Truth) -> Names {
        let mut names = Names::default();
        for host in &truth.hosts {
            names.add_host(host);
        }
        for account in &truth.accounts {
            names.add_account(&account.name);
        }
        for attacker in &truth.attackers {
            names.add_attacker(attacker);
        }
        for target in truth.injections.iter().flat_map(|injection| injection.lure.targets()) {
            if let Target::Attacker(name) = target
                && !truth.attackers.contains(name)
            {
                names.add_attacker(name);
            }
        }
        let mut zones: Vec<&str> = truth.hosts.iter().map(|host| host.zone.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        for zone in zones.into_iter().filter(|zone| zone.len() > 1) {
            let hosts = truth.hosts.iter().filter(|host| host.zone == zone);
            let subjects = hosts.map(|host| Subject::Host(host.address.clone())).collect();
            let telling = ZONE_WORDS.iter().any(|word| zone.to_ascii_lowercase().contains(word));
            let context = if telling { Context::Free } else { Context::Near(ZONE_WORDS) };
            names.words.push((zone.to_ascii_lowercase(), context, subjects));
        }
        names
    }

    fn add_host(&mut self, host: &Host) {
        let subject = Subject::Host(host.address.clone());
        for name in host.names() {
            if let Ok(address) = name.parse() {
                self.addresses.push((address, subject.clone()));
                continue;
            }
            self.hosts.push((normal(EntityKind::Host, name), subject.clone()));
            if name.len() > 1 {
                self.words.push((name.to_ascii_lowercase(), Context::Free, vec![subject.clone()]));
            }
        }
        if matches!(host.role, Role::Gateway) {
            self.gateways.push(host.address.clone());
        }
        for service in &host.services {
            for name in service_names(&service.name) {
                let subjects = vec![Subject::Service(service.name.clone())];
                if !self.words.iter().any(|(known, _, of)| *known == name && *of == subjects) {
                    self.words.push((name, Context::Free, subjects));
                }
            }
        }
    }

    fn add_account(&mut self, name: &str) {
        let telling = name.contains(|c: char| !c.is_ascii_alphabetic());
        let context = if telling { Context::Free } else { Context::Near(ACCOUNT_WORDS) };
        if !name.is_empty() {
            self.words.push((name.to_ascii_lowercase(), context, vec![Subject::Account(name.to_owned())]));
        }
    }

    fn add_attacker(&mut self, name: &str) {
        let subject = Subject::Attacker(name.to_owned());
        match name.parse() {
            Ok(address) => self.addresses.push((address, subject)),
            Err(_) if name.is_empty() => {}
            Err(_) => self.words.push((name.to_ascii_lowercase(), Context::Free, vec![subject])),
        }
    }

    /// Whether the host's task is to route, so that rules are put on it that are about others.
    pub(crate) fn is_gateway(&self, host: &str) -> bool {
        self.gateways.iter().any(|gateway| gateway == host)
    }

    /// Everything that the text speaks of, in order.
    pub(crate) fn mentions(&self, text: &str, words: &[Word]) -> Vec<Mention> {
        let mut found: Vec<Mention> = Vec::new();
        for (start, entity) in Entities::places(text) {
            if let Some(subjects) = self.of_entity(&entity) {
                found.push(Mention { start, subjects });
            }
        }
        let lower = text.to_ascii_lowercase();
        for (name, context, subjects) in &self.words {
            for (start, _) in lower.match_indices(name.as_str()) {
                if stands_alone(&lower, start, start + name.len()) && context.holds(start, words) {
                    found.push(Mention { start, subjects: subjects.clone() });
                }
            }
        }
        let narrower: Vec<usize> = found.iter().map(|mention| mention.start).collect();
        let is_narrowed = |start: usize| {
            // `All hosts in the dmz` are those of the dmz.
            let near = narrower.iter().filter(|&&other| other > start && other < start + 48);
            near.filter_map(|&other| text.get(start..other)).any(|between| {
                !between.contains(',')
                    && [" in ", " of ", " on ", " within "].iter().any(|word| between.contains(word))
            })
        };
        found.extend(self.everything(words).into_iter().filter(|mention| !is_narrowed(mention.start)));
        found.sort_by_key(|mention| mention.start);
        found.dedup_by(|later, first| {
            let same = later.start == first.start;
            if same {
                // What is known by its name is not unknown for looking like something else.
                first.subjects.append(&mut later.subjects);
                if first.subjects.iter().any(|subject| !matches!(subject, Subject::Other(_))) {
                    first.subjects.retain(|subject| !matches!(subject, Subject::Other(_)));
                }
            }
            same
        });
        for mention in &mut found {
            mention.subjects.sort();
            mention.subjects.dedup();
        }
        found
    }

    fn of_entity(&self, entity: &Entity) -> Option<Vec<Subject>> {
        let at = |wanted: IpAddr| -> Vec<Subject> {
            let same = self.addresses.iter().filter(|(address, _)| *address == wanted);
            same.map(|(_, subject)| subject.clone()).collect()
        };
        let known = match entity.kind {
            EntityKind::Vulnerability => return None,
            EntityKind::Address => entity.value.parse().map(at).unwrap_or_default(),
            EntityKind::Network => {
                let network = Network::parse(&entity.value)?;
                let inside = self.addresses.iter().filter(|(address, _)| network.contains(*address));
                inside.map(|(_, subject)| subject.clone()).collect()
            }
            EntityKind::Host => {
                let normal = entity.normal();
                self.hosts
                    .iter()
                    .filter(|(name, _)| *name == normal)
                    .map(|(_, subject)| subject.clone())
                    .collect()
            }
            // Domains and accounts that are known are found as words.
            EntityKind::Domain | EntityKind::Account => Vec::new(),
        };
        Some(if known.is_empty() { vec![Subject::Other(entity.value.clone())] } else { known })
    }

    /// `all hosts`, `every user account`, `the entire network`; but `all compromised hosts` names none.
    fn everything(&self, words: &[Word]) -> Vec<Mention> {
        const HOSTS: &[&str] = &[
            "host",
            "hosts",
            "server",
            "servers",
            "machine",
            "machines",
            "system",
            "systems",
            "endpoint",
            "endpoints",
            "network",
            "infrastructure",
            "environment",
        ];
        const ACCOUNTS: &[&str] =
            &["account", "accounts", "user", "users", "password", "passwords", "credentials", "secrets"];
        const PLAIN: &[&str] = &[
            "the",
            "of",
            "our",
            "internal",
            "user",
            "service",
            "server",
            "domain",
            "ssh",
            "local",
            "existing",
            "system",
            "remaining",
            "other",
            "password",
            "hosts",
            "servers",
            "and",
            "keys",
            "passwords",
        ];
        let mut found = Vec::new();
        for (position, word) in words.iter().enumerate() {
            if !["all", "every", "each", "entire", "whole"].contains(&word.lower.as_str()) {
                continue;
            }
            let behind = words.iter().skip(position + 1).take(5);
            let run: Vec<&str> =
                behind.take_while(|word| !word.opens).map(|word| word.lower.as_str()).collect();
            let noun = run.iter().position(|word| HOSTS.contains(word) || ACCOUNTS.contains(word));
            let Some(noun) = noun.filter(|&noun| run.iter().take(noun).all(|word| PLAIN.contains(word)))
            else {
                continue;
            };
            let accounts = run.iter().skip(noun).any(|word| ACCOUNTS.contains(word));
            let subjects = self.all(accounts);
            found.push(Mention { start: word.place.start, subjects });
        }
        found
    }

    fn all(&self, accounts: bool) -> Vec<Subject> {
        let of_words = self.words.iter().flat_map(|(_, _, subjects)| subjects);
        let of_addresses = self.addresses.iter().map(|(_, subject)| subject);
        let wanted = |subject: &&Subject| match subject {
            Subject::Host(_) => !accounts,
            Subject::Account(_) => accounts,
            _ => false,
        };
        let mut all: Vec<Subject> = of_words.chain(of_addresses).filter(wanted).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Context {
    fn holds(self, start: usize, words: &[Word]) -> bool {
        let Context::Near(near) = self else { return true };
        let here = words.partition_point(|word| word.place.end <= start);
        let around = words.get(here.saturating_sub(4)..words.len().min(here + 4)).unwrap_or_default();
        around.iter().any(|word| near.contains(&word.lower.as_str()))
    }
}

fn normal(kind: EntityKind, value: &str) -> String {
    Entity { kind, value: value.to_owned() }.normal()
}

/// In which words a text may speak of a service.
fn service_names(name: &str) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    let parts: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|part| part.len() > 3).collect();
    let telling =
        parts.iter().filter(|part| !COMMON_WORDS.contains(part) && part.contains(char::is_alphabetic));
    let mut names: Vec<String> = telling.map(|part| (*part).to_owned()).collect();
    if let Some(family) =
        SERVICE_FAMILIES.iter().find(|family| family.iter().any(|word| has_word(&lower, word)))
    {
        names.extend(family.iter().map(|word| (*word).to_owned()));
    }
    names.push(lower);
    names.sort();
    names.dedup();
    names
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| stands_alone(text, start, start + word.len()))
}

/// Whether the bytes between these places are a name by themselves and no part of a longer one.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let before = text.get(..start).and_then(|before| before.chars().next_back());
    let mut behind = text.get(end..).unwrap_or_default().chars();
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let next = behind.next();
    let goes_on = next.is_some_and(is_part)
        || next == Some('.') && behind.next().is_some_and(char::is_alphanumeric)
        || next == Some('@');
    !goes_on && !before.is_some_and(|c| is_part(c) || matches!(c, '.' | '@'))
}
