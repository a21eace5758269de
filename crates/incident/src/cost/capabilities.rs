//! What an organisation can do itself, to what, how and by whom, where it is not as its kind of response is in general.

use std::collections::HashSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::minutes::{ActionMinutes, TableError};
use crate::actions::{Part, TargetKind};
use crate::{Entity, Network, VerbClass};

/// Most names and networks on which one of them cannot be done.
const MOST_EXCEPT: usize = 10_000;
/// Longest text of one of them, in bytes.
const LONGEST: usize = 256;
/// Stands in a text for whom or what it is done to.
const TARGET: &str = "{target}";

/// What can be done to one kind of target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// The kind of response.
    pub does: VerbClass,
    /// What it is done to.
    pub to: TargetKind,
    /// Whether it can be done at all. Only containment knows other ways, so only it may be impossible.
    #[serde(default = "yes")]
    pub possible: bool,
    /// Names, addresses and networks on which it cannot be done; likewise.
    #[serde(default)]
    pub except: Vec<String>,
    /// Minutes of work, in the place of those of its kind.
    #[serde(default)]
    pub work: Option<f64>,
    /// Minutes of outage of each host that it is done to, likewise.
    #[serde(default)]
    pub outage: Option<f64>,
    /// The chance that it works where it reaches everybody, above 0 and at most 1; without it the model says.
    #[serde(default)]
    pub works: Option<f64>,
    /// How many different people have to approve it, where people approve: 1 or 2.
    #[serde(default = "crate::catalogue::one_person")]
    pub approvers: u32,
    /// Who carries it out.
    #[serde(default)]
    pub by: String,
    /// How it is taken back; `{target}` stands for whom or what it was done to.
    #[serde(default)]
    pub undo: String,
    /// The command that carries it out on one target; likewise.
    #[serde(default)]
    pub command: String,
}

fn yes() -> bool {
    true
}

impl Capability {
    /// The one of these that is about this: of a table there is one at most.
    pub fn of(all: &[Capability], does: VerbClass, to: TargetKind) -> Option<&Capability> {
        all.iter().find(|own| (own.does, own.to) == (does, to))
    }

    /// On whom it cannot be done, ready to be asked about many.
    pub fn exceptions(&self) -> Exceptions {
        let networks = self.except.iter().filter_map(|except| Network::parse(except)).collect();
        Exceptions { names: self.except.iter().map(|except| Entity::normal_host(except)).collect(), networks }
    }

    /// What it takes where its kind takes this.
    pub(super) fn minutes(&self, kind: ActionMinutes) -> ActionMinutes {
        ActionMinutes { work: self.work.unwrap_or(kind.work), outage: self.outage.unwrap_or(kind.outage) }
    }

    fn validate(&self, at: usize) -> Result<(), TableError> {
        let fault = |what: String| Err(TableError::Capabilities(format!("response {at} {what}")));
        if self.does != VerbClass::Contain && (!self.possible || !self.except.is_empty()) {
            return fault(format!(
                "says where it is impossible to {}, but recovery needs it; only containment has other ways: say with `by` who does it",
                self.does.name()
            ));
        }
        if self.except.len() > MOST_EXCEPT {
            return fault(format!(
                "has {} exceptions, and at most {MOST_EXCEPT} are taken",
                self.except.len()
            ));
        }
        let too_long = |text: &String| text.len() > LONGEST || text.contains(char::is_control);
        if let Some(name) = self.except.iter().find(|name| name.trim().is_empty() || too_long(name)) {
            return fault(format!(
                "excepts {name:?}, which is empty, longer than {LONGEST} bytes or no line"
            ));
        }
        for (field, text) in [("by", &self.by), ("undo", &self.undo), ("command", &self.command)] {
            if too_long(text) {
                return fault(format!(
                    "has a text in `{field}` that is longer than {LONGEST} bytes or no line"
                ));
            }
        }
        // Written so that NaN fails.
        if let Some(works) = self.works.filter(|works| !(*works > 0.0 && *works <= 1.0)) {
            return fault(format!("works with a chance of {works}, but it must be above 0 and at most 1"));
        }
        if !(1..=2).contains(&self.approvers) {
            return fault(format!("has {} approvers, but it must be 1 or 2", self.approvers));
        }
        Ok(())
    }
}

/// On whom something cannot be done.
#[derive(Clone, Debug)]
pub struct Exceptions {
    names: HashSet<String>,
    networks: Vec<Network>,
}

impl Exceptions {
    /// Whether it cannot be done to whoever has this name or address.
    pub fn hold(&self, name: &str) -> bool {
        let is_in = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        self.names.contains(&Entity::normal_host(name)) || name.parse().is_ok_and(is_in)
    }
}

/// Checks those of one table.
pub(super) fn validate(all: &[Capability]) -> Result<(), TableError> {
    for (position, capability) in all.iter().enumerate() {
        let at = position + 1;
        let before = all.get(..position).unwrap_or_default();
        if Capability::of(before, capability.does, capability.to).is_some() {
            let (does, to) = (capability.does.name(), capability.to.name());
            return Err(TableError::Capabilities(format!(
                "response {at} is another one that tells how to {does} {to}s"
            )));
        }
        capability.validate(at)?;
    }
    Ok(())
}

/// How one part of an action is carried out on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The kind of response.
    pub does: VerbClass,
    /// Whom or what it is done to.
    pub target: String,
    /// Who does it; empty if nobody said.
    pub by: String,
    /// The command that does it; likewise.
    pub command: String,
    /// How it is taken back; likewise.
    pub undo: String,
}

/// How an action is carried out, target by target, as far as the organisation says. `known` are names that are told by no form of
/// their own.
pub(super) fn orders(all: &[Capability], action: &str, known: &[&str]) -> Vec<Order> {
    let mut orders = Vec::new();
    for Part { class, to, names } in Part::of(action, known) {
        let Some(capability) = Capability::of(all, class, to) else { continue };
        let Capability { by, command, undo, .. } = capability;
        if [by, command, undo].iter().all(|text| text.is_empty()) {
            continue;
        }
        for target in names {
            let filled = |text: &str| filled(text, &target);
            let (command, undo) = (filled(command), filled(undo));
            orders.push(Order { does: class, by: by.clone(), command, undo, target });
        }
    }
    orders
}

/// A text with a name in the place of the mark. Names come from evidence, where others choose them: one that could mean something to a
/// shell is not filled in.
fn filled(text: &str, target: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '@' | '/' | '+');
    match target.chars().all(is_plain) && !target.starts_with('-') {
        true => text.replace(TARGET, target),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MinuteTable;

    fn table(responses: &str) -> Result<MinuteTable, String> {
        let text = format!("other = {{ work = 30 }}\n[actions.contain]\nwork = 10\noutage = 60\n{responses}");
        MinuteTable::parse(&text).map_err(|error| error.to_string())
    }

    const ISOLATE: &str = "[[response]]\ndoes = \"contain\"\nto = \"host\"\nexcept = [\"dc01\", \"10.9.0.0/16\"]\nwork = 5\noutage = 240\n\
        works = 0.9\napprovers = 2\nby = \"the EDR team\"\nundo = \"lift the isolation of {target}\"\ncommand = \"edr isolate {target}\"\n";

    #[test]
    fn who_is_excepted_is_known_by_any_name_and_by_networks() {
        let table = table(ISOLATE).unwrap();
        let exceptions = table.capabilities[0].exceptions();
        for (name, is_excepted) in
            [("DC01", true), ("10.9.3.4", true), ("10.0.0.5", false), ("web01", false), ("", false)]
        {
            assert_eq!(exceptions.hold(name), is_excepted, "{name}");
        }
    }

    #[test]
    fn an_action_is_told_target_by_target() {
        let table = table(ISOLATE).unwrap();
        let orders =
            table.orders("Isolate 10.0.2.13 and web01 from the network and block 203.0.113.9", &["web01"]);
        let told: Vec<(&str, &str, &str)> = orders
            .iter()
            .map(|order| (order.target.as_str(), order.command.as_str(), order.by.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("10.0.2.13", "edr isolate 10.0.2.13", "the EDR team"),
                ("web01", "edr isolate web01", "the EDR team")
            ]
        );
        assert_eq!(orders[0].undo, "lift the isolation of 10.0.2.13");
    }

    #[test]
    fn a_name_that_means_something_to_a_shell_is_filled_into_nothing() {
        for name in ["x;reboot", "$(id)", "a b", "--all", "`id`", "a|b", "x'y"] {
            assert_eq!(filled("lock {target}", name), "lock {target}", "{name}");
        }
        assert_eq!(filled("lock {target}", "bob@corp.example"), "lock bob@corp.example");
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_a_sentence() {
        for (responses, expected) in [
            ("[[response]]\ndoes = \"restore\"\nto = \"host\"\npossible = false", "recovery needs it"),
            ("[[response]]\ndoes = \"dance\"\nto = \"host\"", "dance"),
            ("[[response]]\ndoes = \"contain\"\nto = \"cloud\"", "cloud"),
            ("[[response]]\ndoes = \"contain\"\nto = \"host\"\nworks = 0", "chance of 0"),
            ("[[response]]\ndoes = \"contain\"\nto = \"host\"\nworks = nan", "chance of NaN"),
            ("[[response]]\ndoes = \"contain\"\nto = \"host\"\napprovers = 3", "3 approvers"),
            ("[[response]]\ndoes = \"contain\"\nto = \"host\"\nexcept = [\" \"]", "excepts \" \""),
            ("[[response]]\ndoes = \"contain\"\nto = \"host\"\nby = \"a\\nb\"", "`by`"),
            ("[[response]]\ndoes = \"contain\"\nto = \"host\"\nwork = -1", "work of response 1 is -1"),
        ] {
            let error = table(responses).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{responses}: {error}");
        }
        let twice = table(&ISOLATE.repeat(2)).unwrap_err();
        assert!(twice.contains("response 2 is another one that tells how to contain hosts"), "{twice}");
    }
}
