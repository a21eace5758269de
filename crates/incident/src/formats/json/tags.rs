//! Severities and ATT&CK tags in the words that sources use for them.

use crate::Tactic;

/// Most techniques that a record names.
const MAX_TECHNIQUES: usize = 16;

/// A severity in words, on the records' scale. Abbreviations are hayabusa's and Suricata rule writers'. Words that say
/// nothing, and unknown ones, are unset.
pub(in super::super) fn severity(word: &str) -> Option<u8> {
    match word.trim().to_ascii_lowercase().as_str() {
        "fatal" | "emergency" | "emer" | "critical" | "crit" | "severe" | "very high" | "high" | "major"
        | "error" => Some(1),
        "medium" | "med" | "moderate" | "warning" | "warn" | "minor" => Some(2),
        "low" => Some(3),
        "informational" | "information" | "info" | "notice" | "debug" => Some(4),
        _ => None,
    }
}

/// A risk score of 0 to 100 as Elastic divides it: up to 21 low, 47 medium, above high and critical.
pub(super) fn risk(score: u64) -> Option<u8> {
    match score {
        0 => None,
        1..=21 => Some(3),
        22..=47 => Some(2),
        _ => Some(1),
    }
}

/// ATT&CK tactics and techniques, each once, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Tags {
    pub(super) tactics: Vec<Tactic>,
    pub(super) techniques: Vec<String>,
}

impl Tags {
    /// Takes a tag if it names a tactic or a technique, by identifier or by name, with the prefix of Sigma
    /// (`attack.credential-access`), of Falco (`mitre_execution`) or without one. Others are passed over.
    pub(super) fn take(&mut self, tag: &str) {
        let tag = tag.trim();
        let bare = strip_prefix(tag, "attack.").or_else(|| strip_prefix(tag, "mitre_")).unwrap_or(tag);
        if let Some(technique) = technique(bare) {
            if self.techniques.len() < MAX_TECHNIQUES && !self.techniques.contains(&technique) {
                self.techniques.push(technique);
            }
        } else if let Some(tactic) = tactic(bare)
            && !self.tactics.contains(&tactic)
        {
            self.tactics.push(tactic);
        }
    }

    /// The tactics, with the one that is meant where version 18 had one name for two.
    pub(super) fn tactics(&self) -> Vec<Tactic> {
        let meant = self.tactics.iter().map(|tactic| tactic.meant(&self.techniques));
        meant.fold(Vec::new(), |mut all, tactic| {
            if !all.contains(&tactic) {
                all.push(tactic);
            }
            all
        })
    }

    /// Takes each of them.
    pub(super) fn take_all<T: AsRef<str>>(&mut self, tags: impl IntoIterator<Item = T>) {
        for tag in tags {
            self.take(tag.as_ref());
        }
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// `T1110.001` from any spelling of it (`t1110.001`, `T1110_001`, `T1110.001 Password Guessing`).
fn technique(text: &str) -> Option<String> {
    let rest = text.strip_prefix(['T', 't'])?;
    let number = rest.get(..4).filter(|number| is_number(number))?;
    let behind = rest.get(4..)?;
    let sub = behind.strip_prefix(['.', '_']).and_then(|sub| sub.get(..3)).filter(|sub| is_number(sub));
    let end = if sub.is_some() { behind.get(4..)? } else { behind };
    let ends = !end.starts_with(|c: char| c.is_alphanumeric() || c == '.' || c == '_');
    ends.then(|| sub.map_or_else(|| format!("T{number}"), |sub| format!("T{number}.{sub}")))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn tactic(text: &str) -> Option<Tactic> {
    // Names are short; anything longer is no tag.
    if text.len() > 64 {
        return None;
    }
    Tactic::parse(text).or_else(|| {
        let name = match text.to_ascii_lowercase().replace(['-', '_', ' '], "").as_str() {
            // hayabusa's short names.
            "recon" => "Reconnaissance",
            "resdev" => "Resource Development",
            "initaccess" => "Initial Access",
            "exec" => "Execution",
            "persis" => "Persistence",
            "privesc" => "Privilege Escalation",
            "evas" => "Stealth",
            "credaccess" => "Credential Access",
            "disc" => "Discovery",
            "latmov" => "Lateral Movement",
            "collect" => "Collection",
            "exfil" => "Exfiltration",
            _ => return None,
        };
        Tactic::parse(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_in_every_spelling() {
        let mut tags = Tags::default();
        tags.take_all([
            "attack.credential-access",
            "attack.t1110.001",
            "T1110_001",
            "T1110 Brute Force",
            "mitre_execution",
            "CredAccess",
            "LatMov",
            "TA0040",
            "attack.stealth",
            "attack.s0002",
            "car.2013-05-009",
            "container",
            "",
            "T",
            "T11100",
            "Thing",
            "tlp.amber",
            "cve.2021-44228",
            "T1110.1",
        ]);
        assert_eq!(tags.techniques, ["T1110.001", "T1110"]);
        assert_eq!(
            tags.tactics[..4],
            [Tactic::CredentialAccess, Tactic::Execution, Tactic::LateralMovement, Tactic::Impact]
        );
        assert_eq!(tags.tactics.len(), 5);
    }

    #[test]
    fn severities_are_on_one_scale_and_unknown_is_unset() {
        for (word, expected) in
            [("Critical", 1), ("high", 1), ("med", 2), ("Moderate", 2), ("low", 3), ("Informational", 4)]
        {
            assert_eq!(severity(word), Some(expected), "{word}");
        }
        for word in ["", "none", "unknown", "0", "other"] {
            assert_eq!(severity(word), None, "{word}");
        }
        assert_eq!([0, 21, 47, 73, 99].map(risk), [None, Some(3), Some(2), Some(1), Some(1)]);
    }
}
