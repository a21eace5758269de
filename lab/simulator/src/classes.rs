//! Which tactics an alert class can stand for.
//!
//! Snort's and Suricata's classes say what a rule's author made of the traffic, not what the attacker wants, so one
//! class serves several tactics; they stand in the order of how telling the class is of them. Classes of traffic that
//! is merely odd serve none. Resource development happens outside the network and raises no alerts.

use Tactic::*;
use countermove_incident::{AlertClass, Tactic};

/// The tactics that alerts of this class can stand for, the likeliest first; none if the class is unknown.
pub fn tactics_of_class(class: &str) -> &'static [Tactic] {
    let Some(class) = AlertClass::find(class) else { return &[] };
    TACTICS.iter().find(|(name, _)| *name == class.short_name).map_or(&[], |(_, tactics)| tactics)
}

/// The classes whose alerts can stand for this tactic, those that tell most of it first.
pub fn classes_of_tactic(tactic: Tactic) -> Vec<&'static AlertClass> {
    let mut found: Vec<(usize, &str)> = TACTICS
        .iter()
        .filter_map(|(name, tactics)| Some((tactics.iter().position(|own| *own == tactic)?, *name)))
        .collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().filter_map(|(_, name)| AlertClass::find(name)).collect()
}

const TACTICS: &[(&str, &[Tactic])] = &[
    ("not-suspicious", &[]),
    ("unknown", &[]),
    (
        "bad-unknown",
        &[
            CommandAndControl,
            Stealth,
            InitialAccess,
            LateralMovement,
            Execution,
            Reconnaissance,
            Exfiltration,
            CredentialAccess,
            Persistence,
            Discovery,
            Collection,
            Impact,
        ],
    ),
    ("attempted-recon", &[Reconnaissance, Discovery, CredentialAccess]),
    ("successful-recon-limited", &[Discovery, Collection, CredentialAccess]),
    ("successful-recon-largescale", &[Discovery, Collection]),
    ("attempted-dos", &[Impact]),
    ("successful-dos", &[Impact]),
    (
        "attempted-user",
        &[InitialAccess, Execution, CredentialAccess, LateralMovement, PrivilegeEscalation, Persistence],
    ),
    ("unsuccessful-user", &[CredentialAccess, InitialAccess]),
    ("successful-user", &[Execution, PrivilegeEscalation, Discovery, Collection, CredentialAccess]),
    (
        "attempted-admin",
        &[
            InitialAccess,
            PrivilegeEscalation,
            LateralMovement,
            CredentialAccess,
            Execution,
            Collection,
            Persistence,
        ],
    ),
    (
        "successful-admin",
        &[PrivilegeEscalation, Execution, Persistence, LateralMovement, CredentialAccess, InitialAccess],
    ),
    ("rpc-portmap-decode", &[Reconnaissance, Discovery]),
    ("shellcode-detect", &[Execution, InitialAccess, LateralMovement]),
    ("string-detect", &[Discovery, Stealth]),
    ("suspicious-filename-detect", &[CredentialAccess, Persistence, Stealth, Execution]),
    ("suspicious-login", &[CredentialAccess, LateralMovement]),
    ("system-call-detect", &[Execution]),
    ("tcp-connection", &[]),
    (
        "trojan-activity",
        &[
            CommandAndControl,
            Execution,
            Persistence,
            Exfiltration,
            Impact,
            Collection,
            LateralMovement,
            InitialAccess,
            Reconnaissance,
            Stealth,
            CredentialAccess,
        ],
    ),
    ("unusual-client-port-connection", &[Stealth, CommandAndControl]),
    ("network-scan", &[Reconnaissance, Discovery]),
    ("denial-of-service", &[Impact]),
    ("non-standard-protocol", &[CommandAndControl, Stealth]),
    ("protocol-command-decode", &[LateralMovement, Discovery, CommandAndControl, CredentialAccess]),
    ("web-application-activity", &[Persistence, InitialAccess, Reconnaissance, Execution]),
    (
        "web-application-attack",
        &[
            InitialAccess,
            Execution,
            Persistence,
            Reconnaissance,
            PrivilegeEscalation,
            CredentialAccess,
            Collection,
        ],
    ),
    (
        "misc-activity",
        &[
            Reconnaissance,
            CredentialAccess,
            InitialAccess,
            CommandAndControl,
            Exfiltration,
            LateralMovement,
            Execution,
            Impact,
        ],
    ),
    ("misc-attack", &[InitialAccess, CommandAndControl, LateralMovement, Reconnaissance, Discovery]),
    ("icmp-event", &[Reconnaissance, Discovery]),
    ("inappropriate-content", &[]),
    (
        "policy-violation",
        &[Exfiltration, Discovery, CommandAndControl, LateralMovement, Collection, Impact, CredentialAccess],
    ),
    ("default-login-attempt", &[CredentialAccess, InitialAccess]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    #[test]
    fn every_row_is_a_known_class_and_stands_once() {
        for (place, (name, tactics)) in TACTICS.iter().enumerate() {
            assert_eq!(AlertClass::find(name).map(|class| class.short_name), Some(*name));
            assert!(TACTICS[..place].iter().all(|(other, _)| other != name), "{name} stands twice");
            for (place, tactic) in tactics.iter().enumerate() {
                assert!(!tactics[..place].contains(tactic), "{name} names {tactic} twice");
            }
        }
    }

    #[test]
    fn every_tactic_that_a_network_shows_has_classes() {
        for tactic in Tactic::ALL {
            let classes = classes_of_tactic(tactic);
            let unseen = matches!(tactic, ResourceDevelopment | DefenseImpairment);
            assert_eq!(classes.is_empty(), unseen, "{tactic}");
            for class in classes {
                assert!(
                    tactics_of_class(class.description).contains(&tactic),
                    "{tactic} {}",
                    class.short_name
                );
            }
        }
    }

    #[test]
    fn the_table_is_that_of_the_configuration() {
        let Some(folder) = data::folder_for_tests() else { return };
        let classes = data::read_classes(&folder.join(data::CLASSIFICATION_FILE)).expect("the file is read");
        let named: Vec<&str> = classes.iter().map(|class| class.short_name.as_str()).collect();
        let rows: Vec<&str> = TACTICS.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, rows);
        for class in &classes {
            let known = AlertClass::find(&class.short_name).expect("a class of the table");
            assert_eq!((known.description, known.priority), (class.description.as_str(), class.priority));
        }
    }
}
