//! The fifteen enterprise tactics of MITRE ATT&CK v19: what an attacker wants at a moment.
//!
//! Version 19 made two tactics of Defense Evasion. The older name is read as the first of them, [`Tactic::Stealth`], which kept its
//! identifier; a technique that is named beside it may tell that the other one is meant ([`Tactic::meant`]).
//!
//! Invariant: [`Tactic::ALL`] is in the order of the wire enum `countermove.v1.Tactic`, so position + 1 is its number.

use std::fmt;

use crate::technique;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A tactic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tactic {
    /// TA0043: gather what is needed to plan.
    Reconnaissance,
    /// TA0042: get hold of infrastructure, accounts and tools.
    ResourceDevelopment,
    /// TA0001: get in.
    InitialAccess,
    /// TA0002: run code.
    Execution,
    /// TA0003: stay.
    Persistence,
    /// TA0004: gain permissions.
    PrivilegeEscalation,
    /// TA0005: avoid being seen.
    Stealth,
    /// TA0006: steal names and passwords.
    CredentialAccess,
    /// TA0007: learn about the system from inside.
    Discovery,
    /// TA0008: move to other hosts.
    LateralMovement,
    /// TA0009: gather data.
    Collection,
    /// TA0011: talk to compromised hosts.
    CommandAndControl,
    /// TA0010: take data out.
    Exfiltration,
    /// TA0040: destroy, encrypt or interrupt.
    Impact,
    /// TA0112: turn off or weaken what protects and records.
    DefenseImpairment,
}

impl Tactic {
    /// All tactics, in the order of the wire enum.
    pub const ALL: [Tactic; 15] = [
        Tactic::Reconnaissance,
        Tactic::ResourceDevelopment,
        Tactic::InitialAccess,
        Tactic::Execution,
        Tactic::Persistence,
        Tactic::PrivilegeEscalation,
        Tactic::Stealth,
        Tactic::CredentialAccess,
        Tactic::Discovery,
        Tactic::LateralMovement,
        Tactic::Collection,
        Tactic::CommandAndControl,
        Tactic::Exfiltration,
        Tactic::Impact,
        Tactic::DefenseImpairment,
    ];

    /// ATT&CK's identifier, such as `TA0043`.
    pub fn id(self) -> &'static str {
        match self {
            Tactic::Reconnaissance => "TA0043",
            Tactic::ResourceDevelopment => "TA0042",
            Tactic::InitialAccess => "TA0001",
            Tactic::Execution => "TA0002",
            Tactic::Persistence => "TA0003",
            Tactic::PrivilegeEscalation => "TA0004",
            Tactic::Stealth => "TA0005",
            Tactic::CredentialAccess => "TA0006",
            Tactic::Discovery => "TA0007",
            Tactic::LateralMovement => "TA0008",
            Tactic::Collection => "TA0009",
            Tactic::CommandAndControl => "TA0011",
            Tactic::Exfiltration => "TA0010",
            Tactic::Impact => "TA0040",
            Tactic::DefenseImpairment => "TA0112",
        }
    }

    /// ATT&CK's name, such as `Command and Control`.
    pub fn name(self) -> &'static str {
        match self {
            Tactic::Reconnaissance => "Reconnaissance",
            Tactic::ResourceDevelopment => "Resource Development",
            Tactic::InitialAccess => "Initial Access",
            Tactic::Execution => "Execution",
            Tactic::Persistence => "Persistence",
            Tactic::PrivilegeEscalation => "Privilege Escalation",
            Tactic::Stealth => "Stealth",
            Tactic::CredentialAccess => "Credential Access",
            Tactic::Discovery => "Discovery",
            Tactic::LateralMovement => "Lateral Movement",
            Tactic::Collection => "Collection",
            Tactic::CommandAndControl => "Command and Control",
            Tactic::Exfiltration => "Exfiltration",
            Tactic::Impact => "Impact",
            Tactic::DefenseImpairment => "Defense Impairment",
        }
    }

    /// The tactic with this name or identifier. Case, spaces and punctuation do not count, so `command-and-control`,
    /// `Command & Control`, `C2` and `TA0011` are all the same one; neither does the British spelling `defence`. Version 18's `Defense Evasion` is
    /// [`Tactic::Stealth`].
    pub fn parse(text: &str) -> Option<Tactic> {
        let folded = fold(text);
        let folded = match folded.as_str() {
            "c2" | "cnc" | "candc" => "commandandcontrol",
            "defenceevasion" | "defenseevasion" => "stealth",
            "defenceimpairment" => "defenseimpairment",
            "recon" => "reconnaissance",
            other => other,
        };
        Tactic::ALL.into_iter().find(|tactic| folded == fold(tactic.name()) || folded == fold(tactic.id()))
    }
}

impl Tactic {
    /// The tactic that a source means which names these techniques beside it: version 18's Defense Evasion, read as
    /// [`Tactic::Stealth`], is [`Tactic::DefenseImpairment`] where techniques of that one alone are named.
    pub fn meant(self, techniques: &[impl AsRef<str>]) -> Tactic {
        let serves = |wanted: Tactic| {
            let named = techniques.iter().filter_map(|id| technique(id.as_ref()));
            named.filter(|technique| technique.tactics.contains(&wanted)).count() > 0
        };
        let impairs =
            self == Tactic::Stealth && serves(Tactic::DefenseImpairment) && !serves(Tactic::Stealth);
        if impairs { Tactic::DefenseImpairment } else { self }
    }
}

impl fmt::Display for Tactic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Tactic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Tactic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Tactic::parse(&text)
            .ok_or_else(|| de::Error::custom(format_args!("{text:?} is not an enterprise tactic of ATT&CK")))
    }
}

fn fold(text: &str) -> String {
    text.replace('&', "and").chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_found_in_any_spelling() {
        for tactic in Tactic::ALL {
            assert_eq!(Tactic::parse(tactic.name()), Some(tactic));
            assert_eq!(Tactic::parse(tactic.id()), Some(tactic));
            assert_eq!(Tactic::parse(&tactic.name().to_uppercase().replace(' ', "-")), Some(tactic));
            assert_eq!(Tactic::parse(&format!(" {} ", tactic.id().to_lowercase())), Some(tactic));
        }
        assert_eq!(Tactic::parse("Command & Control"), Some(Tactic::CommandAndControl));
        assert_eq!(Tactic::parse("defence evasion"), Some(Tactic::Stealth));
        assert_eq!(Tactic::parse("TA0099"), None);
        assert_eq!(Tactic::parse(""), None);
    }

    #[test]
    fn techniques_tell_which_heir_of_defense_evasion_is_meant() {
        let evasion = Tactic::parse("Defense Evasion").unwrap();
        assert_eq!(evasion.meant(&["T1562.001"]), Tactic::DefenseImpairment);
        assert_eq!(evasion.meant(&["T1685", "T1059"]), Tactic::DefenseImpairment);
        for techniques in [&["T1027"][..], &["T1562.001", "T1027"], &["T1110"], &[]] {
            assert_eq!(evasion.meant(techniques), Tactic::Stealth, "{techniques:?}");
        }
        assert_eq!(Tactic::Impact.meant(&["T1562.001"]), Tactic::Impact);
    }

    #[test]
    fn positions_are_those_of_the_enum() {
        for (position, tactic) in Tactic::ALL.into_iter().enumerate() {
            assert_eq!(tactic as usize, position);
        }
    }

    #[test]
    fn serde_uses_the_name() {
        let json = serde_json::to_string(&Tactic::ALL).unwrap();
        assert!(json.contains("\"Command and Control\""));
        assert_eq!(serde_json::from_str::<Vec<Tactic>>(&json).unwrap(), Tactic::ALL);
        assert!(serde_json::from_str::<Tactic>("\"Lunch\"").unwrap_err().to_string().contains("Lunch"));
    }
}
