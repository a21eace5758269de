//! What an organisation can do while an attack goes on, in what network, and what it is worth to it.
//!
//! A catalogue is written by whoever defends the network, in TOML; `deploy/catalogue.toml` is a sample with every field
//! explained. Where an incident comes with one, its actions are those of the catalogue and no others.
//!
//! Time passes in rounds: one action, whatever the attacker does meanwhile, and what was seen of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::text::from_toml;

/// Most hosts of a catalogue: each decision looks at every one of them many thousand times.
const MOST_HOSTS: usize = 256;
/// Most zones.
const MOST_ZONES: usize = 64;
/// Most actions.
const MOST_ACTIONS: usize = 32;
/// Most bytes of a name.
const LONGEST_NAME: usize = 128;
/// Most bytes of the text of an action.
const LONGEST_TEXT: usize = 200;
/// Largest price or loss.
const MOST: f64 = 1e6;
/// Stands in the text of an action for the host that it is done to.
const HOST: &str = "{host}";

/// What an organisation can do while an attack goes on, in what network, and what it is worth to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Rounds that are looked ahead at most.
    pub horizon: u32,
    /// The hold on a host from which on it costs what is stated of it; a user's unless something else is said.
    #[serde(default = "any_hold")]
    pub harms_from: Hold,
    /// What an attacker is reckoned to achieve.
    pub attacker: AttackerRates,
    /// The network, zone by zone.
    #[serde(rename = "zone")]
    pub zones: Vec<Zone>,
    /// What is particular about single hosts.
    #[serde(default, rename = "host")]
    pub hosts: Vec<HostNote>,
    /// What can be done.
    #[serde(rename = "action")]
    pub actions: Vec<CatalogueAction>,
}

/// Chances of an attacker in one round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackerRates {
    /// That an attempt on a host succeeds where nothing stands against it.
    pub breaks_in: f64,
    /// That a successful attempt gives full control at once, and not only a user's rights.
    pub takes_over: f64,
    /// That sensors notice a probe or an attempt.
    pub noticed: f64,
    /// That sensors report a host to which nothing was done.
    pub false_alarm: f64,
}

/// Hosts that stand in the network alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Names of its hosts.
    pub hosts: Vec<String>,
    /// Names of the zones that its hosts reach, its own among them if they reach each other.
    pub reaches: Vec<String>,
    /// What each round costs in which an attacker holds one of its hosts.
    pub loss: f64,
}

/// What is particular about a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostNote {
    /// Its name, which is in a zone.
    pub name: String,
    /// What a round costs in which an attacker holds it, in the place of its zone's.
    pub loss: Option<f64>,
    /// What each round costs besides in which an attacker who controls it does what it came for.
    #[serde(default)]
    pub ruin: f64,
    /// Hosts that one learns of on it, beside those of its own zone.
    #[serde(default)]
    pub knows: Vec<String>,
    /// Whether the attacker is there from the start and cannot be put out.
    #[serde(default)]
    pub is_lost: bool,
}

/// How far an attacker has come on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Not at all.
    #[default]
    None,
    /// With a user's rights.
    User,
    /// With full control.
    Administrator,
}

/// Something that can be done in a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueAction {
    /// What to do, in one imperative sentence; `{host}` stands for the host that it is done to. Without it the action is done to
    /// none.
    pub text: String,
    /// Why one would do it, in one sentence.
    pub explanation: String,
    /// What it costs.
    #[serde(default)]
    pub cost: f64,
    /// The firmest hold that it ends.
    #[serde(default)]
    pub ends: Hold,
    /// The chance that it can be carried out at all, which one learns by trying.
    #[serde(default = "one")]
    pub fits: f64,
    /// The chance that it does what it is for if it was carried out, which one does not learn.
    #[serde(default = "one")]
    pub works: f64,
    /// The chance that it finds what an attacker with full control left behind; 0: it does not look.
    #[serde(default)]
    pub finds: f64,
    /// The share of attempts on the host that it turns away from then on; of several each that of the rest.
    #[serde(default)]
    pub deflects: f64,
    /// The share that all of them together turn away at most.
    #[serde(default = "one")]
    pub deflects_at_most: f64,
    /// What stands in the message of a record of an attempt that it has turned away; empty: no record tells.
    #[serde(default)]
    pub alert: String,
    /// How often it is of use to try on one host.
    #[serde(default = "without_bound")]
    pub most: u32,
    /// Whether it takes away from the host what deflects.
    #[serde(default)]
    pub clears: bool,
    /// How many different people have to approve it, where people approve: 1 or 2.
    #[serde(default = "one_person")]
    pub approvers: u32,
}

fn one() -> f64 {
    1.0
}

pub(crate) fn one_person() -> u32 {
    1
}

fn any_hold() -> Hold {
    Hold::User
}

fn without_bound() -> u32 {
    u32::MAX
}

/// Why a catalogue cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// It is not TOML of this form.
    #[error("the catalogue cannot be read: {0}")]
    Form(String),
    /// A field cannot be used.
    #[error("{field} {fault}")]
    Field {
        /// The field, as TOML addresses it.
        field: String,
        /// What is wrong with it.
        fault: String,
    },
}

fn fault(field: impl Into<String>, fault: impl Into<String>) -> CatalogueError {
    CatalogueError::Field { field: field.into(), fault: fault.into() }
}

impl CatalogueAction {
    /// The action's text for a host; for an action that is done to none, its text.
    pub fn on(&self, host: Option<&str>) -> String {
        host.map_or_else(|| self.text.clone(), |host| self.text.replace(HOST, host))
    }

    /// Whether it is done to a host.
    pub fn is_on_host(&self) -> bool {
        self.text.contains(HOST)
    }

    /// Whom a text tells to do this to: which of these hosts, or none for an action that is done to none. `None` if it tells something
    /// else.
    pub fn told_by<'h>(&self, text: &str, hosts: impl IntoIterator<Item = &'h str>) -> Option<Option<usize>> {
        if !self.is_on_host() {
            return (self.text == text).then_some(None);
        }
        hosts.into_iter().position(|host| self.on(Some(host)) == text).map(Some)
    }
}

impl Catalogue {
    /// Reads a catalogue from TOML and checks it.
    ///
    /// # Errors
    /// If it is not TOML of this form, or [`Catalogue::validate`] refuses it.
    pub fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
        let catalogue: Catalogue = from_toml(text).map_err(CatalogueError::Form)?;
        catalogue.validate()?;
        Ok(catalogue)
    }

    /// Checks every number and every name.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn validate(&self) -> Result<(), CatalogueError> {
        if !(1..=64).contains(&self.horizon) {
            return Err(fault("horizon", format!("is {}, but it must be from 1 to 64", self.horizon)));
        }
        let AttackerRates { breaks_in, takes_over, noticed, false_alarm } = self.attacker;
        for (field, chance) in [
            ("attacker.breaks_in", breaks_in),
            ("attacker.takes_over", takes_over),
            ("attacker.noticed", noticed),
            ("attacker.false_alarm", false_alarm),
        ] {
            share(field, chance)?;
        }
        if self.harms_from == Hold::None {
            return Err(fault("harms_from", "is \"none\", but it must be \"user\" or \"administrator\""));
        }
        self.validate_network()?;
        self.validate_actions()
    }

    /// How many people have to approve an action, by its text; 1 if it is none of these.
    pub fn approvers(&self, text: &str) -> u32 {
        let hosts = || self.zones.iter().flat_map(|zone| &zone.hosts).map(String::as_str);
        let told = self.actions.iter().find(|action| action.told_by(text, hosts()).is_some());
        told.map_or(1, |action| action.approvers)
    }

    fn validate_network(&self) -> Result<(), CatalogueError> {
        let zones: BTreeSet<&str> = self.zones.iter().map(|zone| zone.name.as_str()).collect();
        if zones.len() < self.zones.len() {
            return Err(fault("zone", "has a name that another zone has as well"));
        }
        let mut hosts = BTreeSet::new();
        for (position, zone) in self.zones.iter().enumerate() {
            let at = format!("zone {}", position + 1);
            name(&at, &zone.name)?;
            amount(&format!("loss of {at}"), zone.loss)?;
            if let Some(unknown) = zone.reaches.iter().find(|name| !zones.contains(name.as_str())) {
                return Err(fault(at, format!("reaches {unknown:?}, which is no zone")));
            }
            for host in &zone.hosts {
                name(&format!("a host of {at}"), host)?;
                if !hosts.insert(host.as_str()) {
                    return Err(fault(at, format!("names the host {host:?}, which was named before")));
                }
            }
        }
        if self.zones.len() > MOST_ZONES {
            let found = self.zones.len();
            return Err(fault("zone", format!("is there {found} times, but at most {MOST_ZONES} are taken")));
        }
        if hosts.is_empty() || hosts.len() > MOST_HOSTS {
            let found = hosts.len();
            return Err(fault("zone", format!("has {found} hosts in all, but it must be 1 to {MOST_HOSTS}")));
        }
        let mut noted = BTreeSet::new();
        for note in &self.hosts {
            let at = format!("host {:?}", note.name);
            if !hosts.contains(note.name.as_str()) {
                return Err(fault(at, "is in no zone"));
            }
            if !noted.insert(note.name.as_str()) {
                return Err(fault(at, "is told of twice"));
            }
            amount(&format!("loss of {at}"), note.loss.unwrap_or_default())?;
            amount(&format!("ruin of {at}"), note.ruin)?;
            if let Some(unknown) = note.knows.iter().find(|name| !hosts.contains(name.as_str())) {
                return Err(fault(at, format!("knows {unknown:?}, which is in no zone")));
            }
        }
        Ok(())
    }

    fn validate_actions(&self) -> Result<(), CatalogueError> {
        if self.actions.is_empty() || self.actions.len() > MOST_ACTIONS {
            let found = self.actions.len();
            return Err(fault(
                "action",
                format!("is there {found} times, but it must be 1 to {MOST_ACTIONS}"),
            ));
        }
        let mut texts = BTreeSet::new();
        for (position, action) in self.actions.iter().enumerate() {
            let at = format!("action {}", position + 1);
            if action.text.trim().is_empty() || action.text.len() > LONGEST_TEXT {
                return Err(fault(format!("text of {at}"), format!("has to have 1 to {LONGEST_TEXT} bytes")));
            }
            if action.text.contains('\n') || action.explanation.contains('\n') {
                return Err(fault(at, "goes over more than one line"));
            }
            if !texts.insert(action.text.as_str()) {
                return Err(fault(at, "has the text of one before"));
            }
            amount(&format!("cost of {at}"), action.cost)?;
            share(&format!("fits of {at}"), action.fits)?;
            share(&format!("works of {at}"), action.works)?;
            share(&format!("finds of {at}"), action.finds)?;
            share(&format!("deflects of {at}"), action.deflects)?;
            if !(1..=2).contains(&action.approvers) {
                return Err(fault(
                    format!("approvers of {at}"),
                    format!("is {}, but it must be 1 or 2", action.approvers),
                ));
            }
            share(&format!("deflects_at_most of {at}"), action.deflects_at_most)?;
            if action.alert.len() > LONGEST_TEXT {
                return Err(fault(format!("alert of {at}"), format!("has more than {LONGEST_TEXT} bytes")));
            }
            if !action.alert.is_empty() && action.deflects == 0.0 {
                return Err(fault(format!("alert of {at}"), "is given, but it deflects nothing"));
            }
            let does =
                action.ends > Hold::None || action.finds > 0.0 || action.deflects > 0.0 || action.clears;
            if does && !action.is_on_host() {
                return Err(fault(
                    format!("text of {at}"),
                    format!("has to say {HOST}: it does something to a host"),
                ));
            }
        }
        Ok(())
    }
}

/// Written so that NaN fails.
fn share(field: &str, value: f64) -> Result<(), CatalogueError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(fault(field, format!("is {value}, but it must be from 0 to 1")))
}

fn amount(field: &str, value: f64) -> Result<(), CatalogueError> {
    if (0.0..=MOST).contains(&value) {
        return Ok(());
    }
    Err(fault(field, format!("is {value}, but it must be from 0 to {MOST}")))
}

fn name(of: &str, value: &str) -> Result<(), CatalogueError> {
    let is_usable = (1..=LONGEST_NAME).contains(&value.len()) && !value.chars().any(char::is_whitespace);
    if is_usable {
        Ok(())
    } else {
        Err(fault(of, format!("has to have 1 to {LONGEST_NAME} bytes without spaces")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: &str = r#"
        horizon = 10
        attacker = { breaks_in = 0.9, takes_over = 0.5, noticed = 0.9, false_alarm = 0.01 }
        [[zone]]
        name = "office"
        hosts = ["pc1", "pc2"]
        reaches = ["office"]
        loss = 0.1
        [[host]]
        name = "pc2"
        loss = 3
        [[action]]
        text = "Restore {host}"
        explanation = "It puts the attacker out."
        cost = 1
        ends = "administrator"
        clears = true
    "#;

    #[test]
    fn a_catalogue_is_read() {
        let catalogue = Catalogue::parse(SMALL).unwrap();
        assert_eq!(catalogue.zones[0].hosts, ["pc1", "pc2"]);
        assert_eq!(catalogue.hosts[0].loss, Some(3.0));
        let restore = &catalogue.actions[0];
        assert_eq!(restore.on(Some("pc1")), "Restore pc1");
        assert_eq!((restore.ends, restore.works, restore.most), (Hold::Administrator, 1.0, u32::MAX));
    }

    #[test]
    fn the_sample_is_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/catalogue.toml");
        let catalogue = Catalogue::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(catalogue.actions.iter().any(CatalogueAction::is_on_host));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (was, becomes, told) in [
            ("horizon = 10", "horizon = 0", "horizon is 0, but it must be from 1 to 64"),
            ("breaks_in = 0.9", "breaks_in = nan", "attacker.breaks_in is NaN"),
            ("noticed = 0.9", "noticed = 1.1", "attacker.noticed is 1.1, but it must be from 0 to 1"),
            ("loss = 0.1", "loss = -1", "loss of zone 1 is -1"),
            (
                r#"reaches = ["office"]"#,
                r#"reaches = ["plant"]"#,
                "zone 1 reaches \"plant\", which is no zone",
            ),
            (r#""pc1", "pc2""#, r#""pc1", "pc1""#, "names the host \"pc1\", which was named before"),
            (r#"name = "pc2""#, r#"name = "pc3""#, "host \"pc3\" is in no zone"),
            ("cost = 1", "cost = inf", "cost of action 1 is inf"),
            ("horizon = 10", "horizon = 10\nharms_from = \"none\"", "harms_from is \"none\", but it must be"),
            ("cost = 1", "fits = 2", "fits of action 1 is 2, but it must be from 0 to 1"),
            ("cost = 1", "alert = \"decoy\"", "alert of action 1 is given, but it deflects nothing"),
            ("Restore {host}", "Restore it", "text of action 1 has to say {host}"),
            ("cost = 1", "price = 1", "the catalogue cannot be read: unknown field `price`"),
            (
                "\"pc1\", \"pc2\"",
                "\"pc 1\", \"pc2\"",
                "a host of zone 1 has to have 1 to 128 bytes without spaces",
            ),
        ] {
            assert!(SMALL.contains(was), "{was}");
            let error = Catalogue::parse(&SMALL.replace(was, becomes)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = Catalogue::parse(&text);
        }
    }
}
