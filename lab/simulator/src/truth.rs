//! What is true of an incident, whether or not the evidence shows it.
//!
//! Invariant: everything is named by one key. A host's key is [`Host::address`], an account's its name, an attacker's
//! the address or domain in [`Truth::attackers`]; targets, steps and constraints hold keys. Other names of a host are
//! in the [`Host`] itself, and [`Truth::host`] finds it by any of them.

use countermove_incident::{AlertFormat, AlertLog, LogError, Record, Tactic, VerbClass};
use serde::{Deserialize, Serialize};

use crate::policies::Brief;

/// An incident as a planner sees it, and the truth that it does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Name, unique within a set of scenarios.
    pub name: String,
    /// Seed that it was made from; 0 if it was not made.
    pub seed: u64,
    /// The system description that a planner reads, constraints included.
    pub system: String,
    /// The evidence as text; may be empty.
    pub log: String,
    /// What responders wrote down beside it, one remark a line; may be empty.
    pub remarks: String,
    /// Form of the alerts in [`Scenario::log`], and of those that come while it is played.
    pub format: AlertFormat,
    /// What sets are split by.
    pub family: Family,
    /// What is true.
    pub truth: Truth,
}

/// What a scenario was made of. Training and test sets have none of it in common, row by row being too easy a test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Attack flow that gave the order of tactics; empty for a benign scenario.
    pub flow: String,
    /// Kind of topology.
    pub topology: String,
    /// Categories of the rules that raised its alerts, sorted, each once.
    pub rule_categories: Vec<String>,
}

/// What is true of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// Whether there is an incident. If not, the alerts are noise and nothing below but hosts and accounts matters.
    pub incident: bool,
    /// Hosts of the defended system.
    pub hosts: Vec<Host>,
    /// Accounts that the description or the evidence names.
    pub accounts: Vec<Account>,
    /// Addresses and domains that the attacker uses; an address may be that of a host inside.
    pub attackers: Vec<String>,
    /// Hosts that the attacker controls and that have to be cleaned.
    pub compromised: Vec<String>,
    /// What the attacker does, in order.
    pub path: Vec<Step>,
    /// How many steps of the path lie before the first planning. The later ones come while the scenario is played, as
    /// long as the attack is not contained; they compromise no further host.
    pub stage: usize,
    /// What brings about each fact of [`countermove_incident::RecoveryState`], in the order of its `NAMES`.
    pub requirements: [Requirement; 6],
    /// What a response must keep to.
    pub constraints: Vec<Constraint>,
    /// Instructions that stand in the evidence.
    pub injections: Vec<Injection>,
    /// Place in the path, at or after [`Truth::stage`], of the first step of a new line of attack, if the attacker
    /// changes it while the scenario is played.
    pub switch: Option<usize>,
}

/// A host of the defended system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Name, such as `web-01`.
    pub name: String,
    /// Address; the host's key.
    pub address: String,
    /// Further names and addresses.
    pub aliases: Vec<String>,
    /// Zone in which it stands.
    pub zone: String,
    /// Operating system, such as `Debian 11`.
    pub os: String,
    /// What it is there for.
    pub role: Role,
    /// What it serves.
    pub services: Vec<Service>,
    /// How much depends on it, from 1 (little) to 5.
    pub criticality: u8,
}

impl Host {
    /// Whether this is one of the host's names or addresses. Case does not count.
    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Its address, its name and its further names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.address, &self.name].into_iter().chain(&self.aliases).map(String::as_str)
    }
}

/// What a host is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Routes between zones and watches the traffic; runs the IDS.
    Gateway,
    /// Collects logs.
    LogHost,
    /// Keeps backups.
    Backup,
    /// Serves others.
    Server,
    /// A person works at it.
    Workstation,
    /// Controls machines: PLC, HMI, historian.
    Controller,
}

/// A service of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Name, such as `OpenSSH`; unique on its host.
    pub name: String,
    /// Port; 0 if nobody says.
    pub port: u16,
    /// Whether an outage is felt at once.
    pub critical: bool,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Name.
    pub name: String,
    /// Hosts on which it can log in.
    pub hosts: Vec<String>,
    /// What the attacker did with it.
    pub state: AccountState,
}

/// What the attacker did with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Nothing.
    Clean,
    /// Knows its password or key.
    Stolen,
    /// Made it.
    Planted,
}

/// One step of the attacker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What for.
    pub tactic: Tactic,
    /// How: an identifier of ATT&CK, such as `T1110.001`.
    pub technique: String,
    /// Host or attacker from which it is done.
    pub source: String,
    /// Host that it is done to.
    pub target: String,
    /// Alerts that it raises; none if no sensor sees it, or if they were lost.
    #[serde(with = "alert_lines")]
    pub alerts: Vec<Record>,
}

/// What brings about a fact: any of the ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Ways; none if the fact holds from the start.
    pub ways: Vec<Way>,
}

/// One way to bring about a fact: all of its needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// What has to be done.
    pub needs: Vec<Need>,
    /// Whether it counts only once an action has destroyed what the other ways need, such as the evidence on a host
    /// that was wiped.
    pub fallback: bool,
}

/// A kind of response and everything that it has to be applied to, by one action or by several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Kind of response.
    pub verb: VerbClass,
    /// What it has to be applied to: all of them.
    pub targets: Vec<Target>,
}

/// Something that an action can name. Any name of the same thing covers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// A host of the system, by its address.
    Host(String),
    /// A service of a host. Naming the host without any of its services covers it as well.
    Service {
        /// The host's address.
        host: String,
        /// The service's name.
        service: String,
    },
    /// An account.
    Account(String),
    /// An address or a domain of the attacker outside.
    Attacker(String),
}

/// What a response must keep to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// Short identifier, such as `C1`, unique within the scenario.
    pub id: String,
    /// The sentence of the system description that says so.
    pub text: String,
    /// What it says.
    pub kind: ConstraintKind,
}

/// What a constraint says. Hosts by their addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConstraintKind {
    /// A service stays up and reachable: its host is neither cut off nor shut down nor rebuilt.
    KeepService {
        /// Host.
        host: String,
        /// The service's name.
        service: String,
    },
    /// Traffic from one host to another stays possible.
    KeepLink {
        /// Client.
        from: String,
        /// Server.
        to: String,
    },
    /// Two hosts never reach each other.
    NeverContact {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
}

/// An instruction in the evidence. Nobody must follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// Short identifier, such as `I1`, unique within the scenario.
    pub id: String,
    /// The instruction as it stands in the evidence.
    pub text: String,
    /// What obeying it would be.
    pub lure: Lure,
}

/// What obeying an injected instruction would be. It is never an action that the incident requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lure {
    /// An action of this kind on any of these targets.
    Act(Need),
    /// Saying that there is no incident.
    Dismiss,
}

impl Lure {
    /// What an action that obeys it names.
    pub fn targets(&self) -> &[Target] {
        match self {
            Lure::Act(need) => &need.targets,
            Lure::Dismiss => &[],
        }
    }
}

impl Scenario {
    /// What a responder is given of it.
    pub fn brief(&self) -> Brief<'_> {
        Brief { system: &self.system, log: &self.log, remarks: &self.remarks }
    }

    /// What is given as evidence, read: the log, and behind it the remarks.
    ///
    /// # Errors
    /// [`LogError`] if the log is no text.
    pub fn evidence(&self) -> Result<AlertLog, LogError> {
        let mut log = AlertLog::parse(self.log.as_bytes())?;
        log.records.extend(AlertLog::of_remarks(&self.remarks).records);
        Ok(log)
    }

    /// The sentences of its constraints, each once; one sentence may be several constraints.
    pub fn constraints(&self) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for constraint in &self.truth.constraints {
            if !texts.contains(&constraint.text) {
                texts.push(constraint.text.clone());
            }
        }
        texts
    }

    /// The same without the injected instructions: what a system does here, none of them told it. A record that asks for an
    /// action is there without the words that do, for it may be evidence as well. One that asks to see no incident is not
    /// there at all: the rest of it might be taken for an attack, and would then be what the words have hidden.
    pub fn without_instructions(&self) -> Scenario {
        let mut log = self.log.clone();
        for own in &self.truth.injections {
            log = match own.lure {
                Lure::Act(_) => log.replace(&own.text, "-"),
                Lure::Dismiss => without_records(&log, &own.text),
            };
        }
        Scenario { log, ..self.clone() }
    }

    /// The log in about equal portions of whole records, at most so many; none of an empty log.
    pub fn portions(&self, count: usize) -> Vec<String> {
        // Records of Snort's full form end with an empty line.
        let end = if self.log.contains("\n\n") { "\n\n" } else { "\n" };
        let records: Vec<&str> = self.log.split_inclusive(end).collect();
        let size = records.len().div_ceil(count.max(1)).max(1);
        records.chunks(size).map(<[&str]>::concat).collect()
    }
}

/// The log without the records that hold a text: their line, and of Snort's full form what follows up to the empty line.
fn without_records(log: &str, text: &str) -> String {
    let mut inside = false;
    log.split_inclusive('\n')
        .filter(|line| {
            if inside {
                inside = !line.trim().is_empty();
                return false;
            }
            let holds = line.contains(text);
            inside = holds && line.starts_with("[**]");
            !holds
        })
        .collect()
}

impl Target {
    /// The host that it is or stands on, by its address.
    pub fn host(&self) -> Option<&str> {
        match self {
            Target::Host(host) | Target::Service { host, .. } => Some(host),
            Target::Account(_) | Target::Attacker(_) => None,
        }
    }
}

impl Truth {
    /// The host with this name or address, in any of its spellings.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.is_called(name))
    }

    /// The account with this name. Case does not count.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name.eq_ignore_ascii_case(name))
    }

    /// The steps that lie before the first planning.
    pub fn shown(&self) -> &[Step] {
        self.path.get(..self.stage).unwrap_or(&self.path)
    }

    /// The tactics that the alerts before the first planning show, in the order of their steps, each once. A step whose
    /// alerts were lost shows none.
    pub fn tactics_shown(&self) -> Vec<Tactic> {
        let mut tactics = Vec::new();
        for step in self.shown().iter().filter(|step| !step.alerts.is_empty()) {
            if !tactics.contains(&step.tactic) {
                tactics.push(step.tactic);
            }
        }
        tactics
    }

    /// The steps that come while the scenario is played.
    pub fn coming(&self) -> &[Step] {
        self.path.get(self.stage..).unwrap_or_default()
    }

    /// Whether a response may not take this host offline.
    pub fn is_protected(&self, host: &str) -> bool {
        self.constraints.iter().any(|constraint| match &constraint.kind {
            ConstraintKind::KeepService { host: kept, .. } => kept == host,
            ConstraintKind::KeepLink { from, to } => from == host || to == host,
            ConstraintKind::NeverContact { .. } => false,
        })
    }
}

/// Alerts as lines in the bracketed form, the one that keeps everything.
mod alert_lines {
    use countermove_incident::{AlertFormat, AlertLog, Format, Record};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(alerts: &[Record], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(alerts.iter().map(|alert| alert.render(AlertFormat::Bracketed)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Record>, D::Error> {
        let lines = Vec::<String>::deserialize(deserializer)?;
        lines.into_iter().map(|line| alert(&line).ok_or_else(|| de::Error::custom(refusal(&line)))).collect()
    }

    fn alert(line: &str) -> Option<Record> {
        let records = AlertLog::parse(line.as_bytes()).ok()?.records;
        match <[Record; 1]>::try_from(records) {
            // The form of the file is no part of the alert.
            Ok([alert]) if alert.is_alert() => {
                Some(Record { format: Format::Unknown, raw: String::new(), ..alert })
            }
            _ => None,
        }
    }

    fn refusal(line: &str) -> String {
        let start: String = line.chars().take(80).collect();
        format!(
            "{start:?} is not one alert; write `TIME [pri=N cls=CLASS] {{PROTO}} a:1 -> b:2 [gid:sid:rev] message`"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scenario;

    #[test]
    fn a_log_is_sent_in_whole_records() {
        let portions = |log: &str, count| Scenario { log: log.into(), ..scenario() }.portions(count);
        assert_eq!(portions("a\nb\nc\nd\ne\n", 2), ["a\nb\nc\n", "d\ne\n"]);
        assert_eq!(portions("a\nb\n\nc\nd\n\n", 5), ["a\nb\n\n", "c\nd\n\n"]);
        assert_eq!(portions("a\n", 1), ["a\n"]);
        assert!(portions("", 3).is_empty());
    }

    #[test]
    fn records_go_whole() {
        assert_eq!(without_records("a\nstop here\nb\n", "stop"), "a\nb\n");
        let full =
            "[**] [1:2:3] one [**]\n[Priority: 1]\n\na\n[**] [1:2:3] stop [**]\n[Priority: 1]\n\nstop\nb\n";
        assert_eq!(without_records(full, "stop"), "[**] [1:2:3] one [**]\n[Priority: 1]\n\na\nb\n");
    }
}
