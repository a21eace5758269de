//! What responders call the parts of an action: response actions of RE&CT (atc-project/atc-react, Apache-2.0) and techniques of MITRE
//! D3FEND.
//!
//! A part is a verb with what stands behind it up to the next one; what it is done to says which of the measures of its kind it is:
//! a host is isolated, an address or a domain is blocked, an account is locked.

use serde::{Deserialize, Serialize};

use super::{VerbClass, VerbUse, Word, told};
use crate::{Entities, EntityKind};

/// An entry of a catalogue that others keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Identifier, such as `D3-NI` or `RA3601`.
    pub id: &'static str,
    /// Name, such as `Network Isolation` or `lock user account`.
    pub name: &'static str,
}

impl Named {
    /// The name of a technique in the D3FEND ontology, such as `d3f:NetworkIsolation`.
    pub fn iri(self) -> String {
        format!("d3f:{}", self.name.replace(' ', ""))
    }
}

/// What one part of an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// What kind of response it is.
    pub class: VerbClass,
    /// The response action of RE&CT that comes nearest; none where it has none.
    pub react: Option<Named>,
    /// The technique of MITRE D3FEND that comes nearest. It has none for keeping evidence; nearest is the record of what data there is
    /// and where.
    pub d3fend: Named,
}

/// Whom or what a part of an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A host of the system.
    Host,
    /// Whom traffic comes from or goes to: an address or a domain.
    Address,
    /// An account, its passwords and its sessions.
    Account,
}

impl TargetKind {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            TargetKind::Host => "host",
            TargetKind::Address => "address",
            TargetKind::Account => "account",
        }
    }
}

/// A part of an action: what is done, to what kind of target, and to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The kind of response.
    pub class: VerbClass,
    /// The kind of target.
    pub to: TargetKind,
    /// The targets by their names, in the action's order.
    pub names: Vec<String>,
}

impl Part {
    /// The parts of an action, in its order, each kind with each kind of target once; none where it tells of no kind of response.
    /// `known` are names that are told by no form of their own, such as those of accounts.
    pub fn of(action: &str, known: &[&str]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for Segment { class, objects, named } in segments(action, known) {
            for object in objects {
                let names = named.iter().filter(|(own, _)| *own == object).map(|(_, name)| name.clone());
                let to = object.target();
                match parts.iter_mut().find(|part| (part.class, part.to) == (class, to)) {
                    Some(part) => part.names.extend(names),
                    None => parts.push(Part { class, to, names: names.collect() }),
                }
            }
        }
        parts
    }
}

/// What a part of an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Host,
    /// Traffic from or to an address.
    Address,
    /// Traffic from or to a domain.
    Domain,
    Account,
    /// What opens an account: passwords, sessions, tokens, factors.
    Credential,
}

impl Object {
    fn target(self) -> TargetKind {
        match self {
            Object::Host => TargetKind::Host,
            Object::Address | Object::Domain => TargetKind::Address,
            Object::Account | Object::Credential => TargetKind::Account,
        }
    }
}

impl Measure {
    /// The measures that an action takes, in its order, each once; none where it tells of no kind of response.
    pub fn of(action: &str) -> Vec<Measure> {
        let mut measures = Vec::new();
        for Segment { class, objects, .. } in segments(action, &[]) {
            for measure in objects.into_iter().map(|object| Measure::new(class, object)) {
                if !measures.contains(&measure) {
                    measures.push(measure);
                }
            }
        }
        measures
    }

    fn new(class: VerbClass, object: Object) -> Measure {
        use Object::{Account, Address, Credential, Domain, Host};
        let (react, d3fend) = match (class, object) {
            (VerbClass::Contain, Host) => {
                (("RA3102", "block internal ip address"), ("D3-NI", "Network Isolation"))
            }
            (VerbClass::Contain, Address) => {
                (("RA3101", "block external ip address"), ("D3-NTF", "Network Traffic Filtering"))
            }
            (VerbClass::Contain, Domain) => {
                (("RA3103", "block external domain"), ("D3-DNSDL", "DNS Denylisting"))
            }
            (VerbClass::Contain, Account) => (("RA3601", "lock user account"), ("D3-AL", "Account Locking")),
            (VerbClass::Contain | VerbClass::Eradicate, Credential) => {
                (("RA4601", "revoke authentication credentials"), ("D3-CR", "Credential Revocation"))
            }
            (VerbClass::Preserve, Account | Credential) => (("", ""), ("D3-DI", "Data Inventory")),
            (VerbClass::Preserve, _) => (("RA2311", "collect file"), ("D3-DI", "Data Inventory")),
            (VerbClass::Analyse, Address) => (
                ("RA2114", "list hosts communicated with external ip"),
                ("D3-NTA", "Network Traffic Analysis"),
            ),
            (VerbClass::Analyse, Domain) => (
                ("RA2113", "list hosts communicated with external domain"),
                ("D3-NTA", "Network Traffic Analysis"),
            ),
            (VerbClass::Analyse, Account | Credential) => {
                (("RA2601", "list users authenticated"), ("D3-UBA", "User Behavior Analysis"))
            }
            (VerbClass::Analyse, Host) => {
                (("RA2401", "list processes executed"), ("D3-PM", "Platform Monitoring"))
            }
            (VerbClass::Eradicate, Account) => {
                (("RA4602", "remove user account"), ("D3-CE", "Credential Eviction"))
            }
            (VerbClass::Eradicate, _) => (("RA4301", "remove file"), ("D3-FEV", "File Eviction")),
            (VerbClass::Harden, Account | Credential) => {
                (("RA4601", "revoke authentication credentials"), ("D3-CRO", "Credential Rotation"))
            }
            (VerbClass::Harden, _) => (("RA3001", "patch vulnerability"), ("D3-SU", "Software Update")),
            (VerbClass::Restore, Account | Credential) => {
                (("RA5601", "unlock locked user account"), ("D3-RUAA", "Restore User Account Access"))
            }
            (VerbClass::Restore, _) => {
                (("RA5002", "restore data from backup"), ("D3-RS", "Restore Software"))
            }
        };
        let named = |(id, name)| Named { id, name };
        Measure {
            class,
            react: Some(named(react)).filter(|named| !named.id.is_empty()),
            d3fend: named(d3fend),
        }
    }
}

/// Beginnings of words for what opens an account.
const CREDENTIALS: [&str; 7] = ["password", "credential", "session", "token", "factor", "key", "certificate"];
/// Beginnings of verbs that stop traffic and leave who sends it as he is.
const FILTERS: [&str; 7] = ["block", "deny", "drop", "filter", "sinkhole", "blacklist", "blocklist"];

/// A verb with what stands behind it up to the next one, and what it is done to.
struct Segment {
    class: VerbClass,
    /// A host where it does not say.
    objects: Vec<Object>,
    /// Those that it names.
    named: Vec<(Object, String)>,
}

/// The segments of an action; `known` are names that are told by no form of their own.
fn segments(action: &str, known: &[&str]) -> Vec<Segment> {
    let verbs = told(VerbClass::uses(action));
    let ends = verbs.iter().skip(1).map(|next| next.place.start).chain([action.len()]);
    let text = |verb: &VerbUse, end: usize| action.get(verb.place.start..end).unwrap_or_default();
    verbs.iter().zip(ends).map(|(verb, end)| segment(verb.class, text(verb, end), known)).collect()
}

fn segment(class: VerbClass, text: &str, known: &[&str]) -> Segment {
    let words = Word::all(text);
    let begins =
        |with: &[&str]| words.iter().any(|word| with.iter().any(|stem| word.lower.starts_with(stem)));
    let whole = match () {
        () if begins(&CREDENTIALS) => Some(Object::Credential),
        () if begins(&["account", "user"]) => Some(Object::Account),
        () => None,
    };
    let is_traffic = begins(&["traffic", "connection"])
        || class == VerbClass::Contain
            && words.first().is_some_and(|word| FILTERS.iter().any(|stem| word.lower.starts_with(stem)));
    let object = |kind: EntityKind| match (whole, kind) {
        (Some(whole), _) => whole,
        (None, EntityKind::Account) => Object::Account,
        (None, EntityKind::Address | EntityKind::Network) if is_traffic => Object::Address,
        (None, EntityKind::Domain | EntityKind::Host) if is_traffic => Object::Domain,
        _ => Object::Host,
    };
    let mut named: Vec<(Object, String)> = Vec::new();
    for entity in Entities::find(text) {
        named.push((object(entity.kind), entity.value));
    }
    let lower = text.to_lowercase();
    for name in known.iter().filter(|name| has_name(&lower, &name.to_lowercase())) {
        if !named.iter().any(|(_, found)| found.eq_ignore_ascii_case(name)) {
            named.push((object(EntityKind::Host), (*name).to_owned()));
        }
    }
    let mut objects: Vec<Object> = whole.into_iter().collect();
    for (object, _) in &named {
        if !objects.contains(object) {
            objects.push(*object);
        }
    }
    if objects.is_empty() {
        objects.push(Object::Host);
    }
    Segment { class, objects, named }
}

/// Whether a text has a name in it that does not go on on either side; both in lower case.
fn has_name(text: &str, name: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@');
    let is_whole = |at: usize| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let mut behind = text.get(at + name.len()..).unwrap_or_default().chars();
        let (next, after) = (behind.next(), behind.next());
        // A dot ends a sentence, or goes on with a domain.
        let is_domain = next == Some('.') && after.is_some_and(char::is_alphanumeric);
        !before.is_some_and(|c| goes_on(c) || c == '.') && !next.is_some_and(goes_on) && !is_domain
    };
    !name.is_empty() && text.match_indices(name).any(|(at, _)| is_whole(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(action: &str) -> Vec<(&'static str, &'static str)> {
        let of = |measure: Measure| (measure.react.map_or("", |react| react.id), measure.d3fend.id);
        Measure::of(action).into_iter().map(of).collect()
    }

    #[test]
    fn each_part_is_called_by_what_it_is_done_to() {
        assert_eq!(
            ids(
                "Isolate 10.0.2.13 from the network, disable the account shop_rw and block all traffic from 203.0.113.7 and \
                 files.example.com"
            ),
            [("RA3102", "D3-NI"), ("RA3601", "D3-AL"), ("RA3101", "D3-NTF"), ("RA3103", "D3-DNSDL")]
        );
        for (action, measures) in [
            ("Block 203.0.113.7", vec![("RA3101", "D3-NTF")]),
            (
                "Patch and harden 10.0.2.13 and reset the password of bob",
                vec![("RA3001", "D3-SU"), ("RA4601", "D3-CRO")],
            ),
            ("Save the logs and a memory image of 10.0.2.13", vec![("RA2311", "D3-DI")]),
            ("Search the logs of 10.0.2.13 for what the attacker did", vec![("RA2401", "D3-PM")]),
            ("Search the sign-ins of the account bob", vec![("RA2601", "D3-UBA")]),
            (
                "Remove the sessions, tokens and factors of the account bob and delete the account svc_helper",
                vec![("RA4601", "D3-CR"), ("RA4602", "D3-CE")],
            ),
            ("Restore the services of 10.0.2.13 and check them", vec![("RA5002", "D3-RS")]),
            ("Write a report", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(ids(action), measures, "{action}");
        }
    }

    #[test]
    fn parts_name_their_targets() {
        let parts = Part::of(
            "Isolate 10.0.2.13 and web01 from the network, disable the account bob-2 and block all traffic from 203.0.113.7",
            &["web01", "bob-2", "bob", "10.0.2.1"],
        );
        let told: Vec<(VerbClass, TargetKind, Vec<&str>)> = parts
            .iter()
            .map(|part| (part.class, part.to, part.names.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            told,
            [
                (VerbClass::Contain, TargetKind::Host, vec!["10.0.2.13", "web01"]),
                (VerbClass::Contain, TargetKind::Account, vec!["bob-2"]),
                (VerbClass::Contain, TargetKind::Address, vec!["203.0.113.7"]),
            ]
        );
        assert!(Part::of("Write a report about web01", &["web01"]).is_empty());
    }

    #[test]
    fn a_technique_has_a_name_in_the_ontology() {
        let measures = Measure::of("Isolate 10.0.0.5");
        assert_eq!(
            measures.first().map(|measure| measure.d3fend.iri()).as_deref(),
            Some("d3f:NetworkIsolation")
        );
    }
}
