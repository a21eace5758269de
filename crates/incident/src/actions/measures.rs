//! What responders call the parts of an action: response actions of RE&CT (atc-project/atc-react, Apache-2.0) and techniques of MITRE
//! D3FEND.
//!
//! A part is a verb with what stands behind it up to the next one; what it is done to says which of the measures of its kind it is:
//! a host is isolated, an address or a domain is blocked, an account is locked.

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

impl Measure {
    /// The measures that an action takes, in its order, each once; none where it tells of no kind of response.
    pub fn of(action: &str) -> Vec<Measure> {
        let verbs = told(VerbClass::uses(action));
        let mut measures = Vec::new();
        for (position, verb) in verbs.iter().enumerate() {
            let end = verbs.get(position + 1).map_or(action.len(), |next| next.place.start);
            for object in objects(action.get(verb.place.start..end).unwrap_or_default(), verb) {
                let measure = Measure::new(verb.class, object);
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

/// What a part of an action is done to; a host where it does not say.
fn objects(part: &str, verb: &VerbUse) -> Vec<Object> {
    let words = Word::all(part);
    let begins =
        |with: &[&str]| words.iter().any(|word| with.iter().any(|stem| word.lower.starts_with(stem)));
    if begins(&CREDENTIALS) {
        return vec![Object::Credential];
    }
    if begins(&["account", "user"]) {
        return vec![Object::Account];
    }
    let is_traffic = begins(&["traffic", "connection"])
        || verb.class == VerbClass::Contain
            && words.first().is_some_and(|word| FILTERS.iter().any(|stem| word.lower.starts_with(stem)));
    let object = |kind: EntityKind| match kind {
        EntityKind::Account => Object::Account,
        EntityKind::Address | EntityKind::Network if is_traffic => Object::Address,
        EntityKind::Domain | EntityKind::Host if is_traffic => Object::Domain,
        _ => Object::Host,
    };
    let mut objects = Vec::new();
    for object in Entities::find(part).iter().map(|entity| object(entity.kind)) {
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    if objects.is_empty() {
        objects.push(Object::Host);
    }
    objects
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
    fn a_technique_has_a_name_in_the_ontology() {
        let measures = Measure::of("Isolate 10.0.0.5");
        assert_eq!(
            measures.first().map(|measure| measure.d3fend.iri()).as_deref(),
            Some("d3f:NetworkIsolation")
        );
    }
}
