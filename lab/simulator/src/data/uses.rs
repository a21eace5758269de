//! What a rule can show: which tactic, against which kind of service, on which system; and which everyday traffic
//! sets it off.
//!
//! A rule shows a tactic if its class can stand for it ([`crate::tactics_of_class`]) and a row of the marks says that
//! rules of its category and wording do.

use std::collections::{BTreeMap, HashMap};

use Tactic::*;
use countermove_incident::Tactic;

use super::Rule;
use super::marks::{DANGER_WORDS, DEVICE_WORDS, KIND_WORDS, LINUX_WORDS, MARKS, Mark, UNUSED, WINDOWS_WORDS};
use crate::classes::tactics_of_class;
use crate::rng::Rng;

/// What traffic has to do with, at the attacked host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Web,
    Ssh,
    Smb,
    Ftp,
    Mail,
    MySql,
    SqlServer,
    Rdp,
    Dns,
    Snmp,
    Voip,
    Control,
    /// What a person's browser or mail program fetches.
    Browser,
    /// Traffic from the host out to the attacker.
    Outbound(OutsideUse),
    /// Any service.
    Any,
}

/// How traffic leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum OutsideUse {
    /// As a request for a name.
    Names,
    /// Otherwise.
    Other,
}

/// Operating system, as far as it matters to an exploit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Os {
    Linux,
    Windows,
    /// Either; also firmware.
    Any,
}

/// Everyday traffic that sets rules off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Noise {
    /// From inside to the Internet: updates, chats, downloads.
    Outgoing,
    /// From the Internet to what it can reach: scans that find nothing.
    Incoming,
    /// A scanner that looks for weak spots on request.
    Audit,
}

impl Rule {
    /// Tactics that the rule's category, class and wording show; none if they show none clearly.
    pub fn tactics(&self) -> Vec<Tactic> {
        tactics(self, &self.message.to_lowercase())
    }

    /// Whether the rule names what a policy forbids, a list holds or a person does, and no attack.
    pub fn is_everyday(&self) -> bool {
        let lower = self.message.to_lowercase();
        let harmless = match noise(self, &lower) {
            Some(Noise::Outgoing) => true,
            Some(Noise::Incoming) => self.category != "SCAN",
            Some(Noise::Audit) | None => false,
        };
        harmless && tactics(self, &lower).is_empty()
    }
}

pub(crate) fn tactics(rule: &Rule, lower: &str) -> Vec<Tactic> {
    if UNUSED.contains(&rule.category.as_str()) || DEVICE_WORDS.iter().any(|word| names(lower, word)) {
        return Vec::new();
    }
    let named = |Mark(_, categories, words): &&Mark| {
        (categories.is_empty() || categories.contains(&rule.category.as_str()))
            && (words.is_empty() || words.iter().any(|word| names(lower, word)))
    };
    let possible = tactics_of_class(rule.class.short_name);
    let mut found: Vec<Tactic> = MARKS.iter().filter(named).map(|Mark(tactic, ..)| *tactic).collect();
    found.sort_unstable();
    found.dedup();
    found.retain(|tactic| possible.contains(tactic));
    // A page that asks for a password is a way in, whatever brand or business it imitates.
    if lower.contains("phish") {
        found.retain(|tactic| *tactic == InitialAccess);
    }
    // Whoever guesses passwords is past looking around, and whoever attacks over the web has not got in by it.
    if found.contains(&CredentialAccess) {
        found.retain(|tactic| !matches!(tactic, Reconnaissance | InitialAccess | Discovery));
    }
    if found.contains(&Persistence) {
        found.retain(|tactic| *tactic != InitialAccess);
    }
    found
}

/// Whether the text holds the word, or a longer one that begins with it: `rdp` is not in `wordpress`.
fn names(text: &str, word: &str) -> bool {
    let begins = |start: usize| {
        !word.starts_with(|c: char| c.is_alphanumeric())
            || !text.get(..start).is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric()))
    };
    text.match_indices(word).any(|(start, _)| begins(start))
}

pub(crate) fn os(rule: &Rule, lower: &str) -> Os {
    let has = |words: &[&str]| words.iter().any(|word| names(lower, word));
    match (has(WINDOWS_WORDS), has(LINUX_WORDS)) {
        (true, false) => Os::Windows,
        (false, true) => Os::Linux,
        _ if rule.category == "ACTIVEX" => Os::Windows,
        _ => Os::Any,
    }
}

/// What a rule that shows the tactic has to do with; nothing if it watches a port on which no host here answers.
pub(crate) fn kind(rule: &Rule, tactic: Tactic, lower: &str) -> Option<Kind> {
    let outbound =
        || Kind::Outbound(if rule.port == Some(53) { OutsideUse::Names } else { OutsideUse::Other });
    match tactic {
        CommandAndControl | Exfiltration => return Some(outbound()),
        Impact if rule.category != "DOS" => return Some(outbound()),
        Persistence if rule.category == "MALWARE" => return Some(outbound()),
        Discovery | Stealth if lower.contains("external ip") || lower.contains("ip check") => {
            return Some(outbound());
        }
        _ => {}
    }
    let by_port = match rule.port {
        Some(22) => Some(Kind::Ssh),
        Some(139 | 445) => Some(Kind::Smb),
        Some(21) => Some(Kind::Ftp),
        Some(25 | 110 | 143 | 587 | 993 | 995) => Some(Kind::Mail),
        Some(3306) => Some(Kind::MySql),
        Some(1433 | 1434) => Some(Kind::SqlServer),
        Some(3389) => Some(Kind::Rdp),
        Some(53) => Some(Kind::Dns),
        Some(161 | 162) => Some(Kind::Snmp),
        Some(5060) => Some(Kind::Voip),
        _ => None,
    };
    if by_port.is_some() {
        return by_port;
    }
    match rule.category.as_str() {
        "WEB_CLIENT" | "ACTIVEX" | "CURRENT_EVENTS" => return Some(Kind::Browser),
        "WEB_SERVER" | "WEB_SPECIFIC_APPS" => return Some(Kind::Web),
        "SCADA" => return Some(Kind::Control),
        "NETBIOS" => return Some(Kind::Smb),
        "SHELLCODE" => return Some(Kind::Any),
        _ => {}
    }
    let by_word = KIND_WORDS.iter().find(|(_, words)| words.iter().any(|word| names(lower, word)));
    match (by_word, rule.port) {
        (Some((kind, _)), _) => Some(*kind),
        (None, Some(80 | 443 | 8080)) => Some(Kind::Web),
        (None, None) => Some(Kind::Any),
        (None, Some(_)) => None,
    }
}

/// The everyday traffic that sets a rule off. A rule that shows an attack on its way out of the network is none of it, or
/// nobody could tell a quiet day from an incident.
pub(crate) fn noise(rule: &Rule, lower: &str) -> Option<Noise> {
    let shown = tactics(rule, lower);
    let shows_only = |harmless: &[Tactic]| shown.iter().all(|tactic| harmless.contains(tactic));
    let mild = rule.priority >= 2 || rule.class.short_name == "policy-violation";
    match rule.category.as_str() {
        "GAMES" | "CHAT" | "P2P" | "POLICY" | "INFO" | "USER_AGENTS" | "DNS"
            if mild && !DANGER_WORDS.iter().any(|word| names(lower, word)) =>
        {
            shows_only(&[Stealth, Discovery]).then_some(Noise::Outgoing)
        }
        "TOR" | "DROP" => Some(Noise::Incoming),
        // Whatever is on the Internet is asked for its passwords all day.
        "SCAN" if mild => {
            shows_only(&[Reconnaissance, Discovery, CredentialAccess]).then_some(Noise::Incoming)
        }
        "WEB_SERVER" | "WEB_SPECIFIC_APPS" | "SNMP" => Some(Noise::Audit),
        _ => None,
    }
}

/// Rules by category.
type Shelves = BTreeMap<String, Vec<u32>>;

/// Finds rules by what they show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    attacks: HashMap<(Tactic, Kind, Os), Vec<Vec<u32>>>,
    noise: HashMap<Noise, Vec<Vec<u32>>>,
}

impl Index {
    pub(crate) fn new(rules: &[Rule]) -> Index {
        let mut attacks: HashMap<(Tactic, Kind, Os), Shelves> = HashMap::new();
        let mut everyday: HashMap<Noise, Shelves> = HashMap::new();
        for (place, rule) in (0_u32..).zip(rules) {
            let lower = rule.message.to_lowercase();
            for tactic in tactics(rule, &lower) {
                let Some(kind) = kind(rule, tactic, &lower) else { continue };
                let key = (tactic, kind, os(rule, &lower));
                attacks.entry(key).or_default().entry(rule.category.clone()).or_default().push(place);
            }
            if let Some(noise) = noise(rule, &lower) {
                everyday.entry(noise).or_default().entry(rule.category.clone()).or_default().push(place);
            }
        }
        // In the order of the categories' names, so that what is picked does not depend on a map's order.
        Index {
            attacks: attacks
                .into_iter()
                .map(|(key, shelves)| (key, shelves.into_values().collect()))
                .collect(),
            noise: everyday
                .into_iter()
                .map(|(key, shelves)| (key, shelves.into_values().collect()))
                .collect(),
        }
    }

    pub(crate) fn pick(&self, tactic: Tactic, kind: Kind, os: Os, rng: &mut Rng) -> Option<usize> {
        let shelves = |os| self.attacks.get(&(tactic, kind, os)).map_or(&[][..], Vec::as_slice);
        let (own, any) = (shelves(os), if os == Os::Any { &[][..] } else { shelves(Os::Any) });
        let number = rng.below(own.len() + any.len());
        pick_from(own.iter().chain(any).nth(number)?, rng)
    }

    pub(crate) fn pick_noise(&self, noise: Noise, rng: &mut Rng) -> Option<usize> {
        pick_from(rng.pick(self.noise.get(&noise)?)?, rng)
    }
}

fn pick_from(shelf: &[u32], rng: &mut Rng) -> Option<usize> {
    rng.pick(shelf).and_then(|place| usize::try_from(*place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Vocabulary, folder_for_tests};

    fn uses(message: &str, class: &str, port: Option<u16>) -> (Vec<Tactic>, Os, Kind) {
        let rule = Rule {
            sid: 1,
            rev: 1,
            class: countermove_incident::AlertClass::find(class).unwrap(),
            priority: 1,
            protocol: "TCP".to_owned(),
            port,
            category: super::super::rules::category(message),
            message: message.to_owned(),
        };
        let lower = message.to_lowercase();
        let tactics = tactics(&rule, &lower);
        let kind = kind(&rule, tactics.first().copied().unwrap_or(Reconnaissance), &lower).unwrap();
        (tactics, os(&rule, &lower), kind)
    }

    #[test]
    fn rules_show_what_their_words_say() {
        let case = |message, class, port| uses(message, class, port);
        assert_eq!(
            case("ET SCAN SSH Brute Force Login Attempt", "attempted-recon", Some(22)),
            (vec![CredentialAccess], Os::Any, Kind::Ssh)
        );
        assert_eq!(
            case("ET EXPLOIT Possible ETERNALROMANCE MS17-010", "trojan-activity", None),
            (vec![InitialAccess, LateralMovement], Os::Windows, Kind::Smb)
        );
        assert_eq!(
            case("ET MALWARE Win32/Example Checkin", "trojan-activity", Some(80)),
            (vec![CommandAndControl], Os::Any, Kind::Outbound(OutsideUse::Other))
        );
        assert_eq!(case("ET DELETED WebShell upload", "web-application-attack", Some(80)).0, []);
        assert_eq!(case("ET POLICY Cleartext WordPress Login", "policy-violation", Some(80)).0, []);
        assert_eq!(case("ET GAMES Some game", "policy-violation", None).0, []);
    }

    #[test]
    fn everyday_traffic_shows_no_attack_on_its_way_out() {
        let vocabularies = [
            Some(Vocabulary::builtin()),
            folder_for_tests().map(|folder| Vocabulary::read(&folder).unwrap()),
        ];
        for vocabulary in vocabularies.iter().flatten() {
            let mut seen = 0;
            for rule in vocabulary.rules() {
                let lower = rule.message.to_lowercase();
                if noise(rule, &lower) == Some(Noise::Outgoing) {
                    seen += 1;
                    let shown = tactics(rule, &lower);
                    assert!(
                        !shown.contains(&Impact) && !shown.contains(&CommandAndControl),
                        "{}",
                        rule.message
                    );
                }
            }
            assert!(seen >= 4, "{seen} of {} rules", vocabulary.rules().len());
        }
    }

    #[test]
    fn every_tactic_has_rules_for_the_services_that_matter() {
        let mut vocabularies = vec![Vocabulary::builtin()];
        vocabularies.extend(folder_for_tests().map(|folder| Vocabulary::read(&folder).unwrap()));
        for vocabulary in vocabularies {
            let has = |tactic, kind| {
                [Os::Linux, Os::Windows]
                    .map(|os| vocabulary.rule_for(tactic, kind, os, &mut Rng::new(3)).is_some())
            };
            let outbound = Kind::Outbound(OutsideUse::Other);
            for (tactic, kind) in [
                (Reconnaissance, Kind::Web),
                (InitialAccess, Kind::Web),
                (CredentialAccess, Kind::Ssh),
                (Persistence, Kind::Web),
                (LateralMovement, Kind::Smb),
                (LateralMovement, Kind::Ssh),
                (CommandAndControl, outbound),
                (Exfiltration, outbound),
                (Impact, outbound),
            ] {
                assert_eq!(
                    has(tactic, kind),
                    [true; 2],
                    "{tactic} {kind:?} {} rules",
                    vocabulary.rules().len()
                );
            }
            let rdp = vocabulary.rule_for(LateralMovement, Kind::Rdp, Os::Windows, &mut Rng::new(3));
            assert!(rdp.is_some(), "{} rules", vocabulary.rules().len());
            for noise in [Noise::Outgoing, Noise::Incoming, Noise::Audit] {
                assert!(vocabulary.noise(noise, &mut Rng::new(3)).is_some(), "{noise:?}");
            }
        }
    }
}
