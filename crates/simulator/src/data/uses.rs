//! What a rule can show: which tactic, against which kind of service, on which system; and which everyday traffic
//! sets it off.
//!
//! A rule shows a tactic if its class can stand for it ([`crate::tactics_of_class`]) and a row of [`MARKS`] says that
//! rules of its category and wording do.

use std::collections::{BTreeMap, HashMap};

use Tactic::*;
use countermove_incident::Tactic;

use super::Rule;
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

/// Rules of these categories whose message holds one of these words, all in lower case, show the tactic. No category
/// means any, no word means all.
struct Mark(Tactic, &'static [&'static str], &'static [&'static str]);

const MARKS: &[Mark] = &[
    Mark(Reconnaissance, &["SCAN"], &[]),
    Mark(Reconnaissance, &["WEB_SERVER"], &["scan", "probe", "easteregg", "fingerprint"]),
    Mark(
        InitialAccess,
        &[
            "WEB_SERVER",
            "WEB_SPECIFIC_APPS",
            "FTP",
            "SMTP",
            "SQL",
            "TELNET",
            "VOIP",
            "SNMP",
            "SCADA",
            "EXPLOIT",
        ],
        &[],
    ),
    Mark(InitialAccess, &["CURRENT_EVENTS", "WEB_CLIENT"], &["phish"]),
    Mark(Execution, &["SHELLCODE", "ACTIVEX"], &[]),
    Mark(Execution, &["WEB_CLIENT"], &["execution", "overflow", "exploit", "script", "download"]),
    Mark(Execution, &["ATTACK_RESPONSE"], &["meterpreter", "shell", "command", "execut"]),
    Mark(
        Execution,
        &["NETBIOS", "INFO", "POLICY"],
        &["powershell", "process execution", "psexec", "wscript"],
    ),
    Mark(
        Execution,
        &["WEB_SERVER", "WEB_SPECIFIC_APPS"],
        &["command", "cmd", "exec(", "code execution", "rce"],
    ),
    Mark(
        Persistence,
        &["WEB_SERVER", "ATTACK_RESPONSE", "EXPLOIT", "WEB_SPECIFIC_APPS", "MALWARE", "POLICY"],
        &[
            "webshell",
            "web shell",
            "phpshell",
            "backdoor",
            "c99",
            "chopper",
            "service created",
            "account creation",
            "shell upload",
            "startup",
            "registry",
        ],
    ),
    Mark(
        PrivilegeEscalation,
        &[],
        &[
            "privilege",
            "elevat",
            "rev2self",
            "local system",
            "hijack command",
            "setuid",
            "sudo",
            "getsystem",
            "7 cmd shell",
            "root login",
            "uid=0",
        ],
    ),
    Mark(
        DefenseEvasion,
        &["ATTACK_RESPONSE", "INFO", "POLICY", "WEB_CLIENT", "WEB_SERVER"],
        &[
            "obfuscat",
            "base64",
            "encoded",
            "hidden",
            "unusual port",
            "off-port",
            "off port",
            "split string",
            "non-standard",
            "spoof",
        ],
    ),
    Mark(
        CredentialAccess,
        &["SCAN", "EXPLOIT", "ATTACK_RESPONSE", "POLICY", "TELNET", "FTP", "INFO", "SNMP"],
        &[
            "brute",
            "password",
            "login attempt",
            "logins",
            "pwdump",
            "gsecdump",
            "mimikatz",
            "procdump",
            "credential",
            "ntlm",
            "kerberos",
            "gethash",
            "/etc/shadow",
            "community string",
        ],
    ),
    Mark(
        Discovery,
        &[],
        &[
            "enumerat",
            "ipconfig",
            "/etc/passwd",
            "directory listing",
            "systeminfo",
            "whoami",
            "id check",
            "external ip",
            "ip check",
            "tree connect",
            "bind",
            "command attempt without login",
            "interaction detected",
        ],
    ),
    Mark(Discovery, &["SCAN"], &["nmap", "behavioral", "sweep", "scan"]),
    Mark(LateralMovement, &["NETBIOS", "WORM"], &[]),
    Mark(
        LateralMovement,
        &["EXPLOIT", "POLICY", "INFO", "SCAN"],
        &[
            "ms17-010",
            "eternal",
            "smb",
            "psexec",
            "dcerpc",
            "netapi",
            "remote desktop",
            "rdp",
            "lateral",
            "winrm",
            "vnc",
            "radmin",
            "ssh",
            "terminal server",
            "mssql",
            "sql server",
        ],
    ),
    Mark(
        Collection,
        &[],
        &[
            "dump file",
            "screenshot",
            "keylog",
            "archive",
            "mailbox",
            "stealer",
            "clipboard",
            "cisco config",
            "interaction",
            "file download detected",
            "database error",
            "/etc/passwd",
            "error in http response",
        ],
    ),
    Mark(CommandAndControl, &["CNC", "TOR", "USER_AGENTS"], &[]),
    Mark(
        CommandAndControl,
        &["MALWARE"],
        &["checkin", "check-in", "cnc", "c2", "beacon", " rat ", "backdoor"],
    ),
    Mark(
        CommandAndControl,
        &["DNS", "POLICY", "INFO"],
        &[".onion", "dyndns", "dynamic_dns", "tor ", "socks", "suspicious", "remote admin"],
    ),
    Mark(
        Exfiltration,
        &["MALWARE", "POLICY", "INFO", "TFTP", "ATTACK_RESPONSE", "DNS", "CURRENT_EVENTS"],
        &[
            "exfil",
            "upload",
            "data transfer",
            "ftp stor",
            "dropbox",
            "pastebin",
            "mega.",
            "sending",
            "data post",
            "tunnel",
            "file transfer",
            "smtp us",
            "outbound",
        ],
    ),
    Mark(Impact, &["DOS"], &[]),
    Mark(
        Impact,
        &["MALWARE", "POLICY", "CURRENT_EVENTS", "INFO", "USER_AGENTS"],
        &["ransom", "locker", "cryptow", "crypto", "wiper", "miner", "mining", "stratum"],
    ),
];

/// Categories whose rules show nothing of an attack on such a system, or nothing any more.
const UNUSED: &[&str] = &["DELETED", "INAPPROPRIATE", "MOBILE_MALWARE"];

/// Words by which the kind of a rule that names no telling port is known; the first that fits.
const KIND_WORDS: &[(Kind, &[&str])] = &[
    (Kind::Smb, &["smb", "netbios", "dcerpc", "ms17-010", "eternal", "psexec", "pwdump", "gsecdump"]),
    (Kind::Rdp, &["remote desktop", "rdp", "terminal server"]),
    (Kind::Ssh, &["ssh"]),
    (Kind::Ftp, &["ftp"]),
    (Kind::MySql, &["mysql"]),
    (Kind::SqlServer, &["mssql", "sql server"]),
    (Kind::Voip, &["sip ", "voip", "asterisk"]),
    (Kind::Snmp, &["snmp"]),
    (Kind::Mail, &["smtp", "imap", "pop3", "exchange", "email"]),
    (Kind::Dns, &["dns"]),
    (Kind::Web, &["http", "web", "wordpress", "joomla", "php", "apache", "tomcat", "struts", "jenkins"]),
];

const WINDOWS_WORDS: &[&str] = &[
    "windows",
    "microsoft",
    "iis",
    ".asp",
    "exchange",
    "sharepoint",
    "ms0",
    "ms1",
    "dcerpc",
    "netbios",
    "powershell",
    "mssql",
    "terminal server",
    "remote desktop",
    "rdp",
    "psexec",
    "pwdump",
    "gsecdump",
    "procdump",
    "eternal",
    "wmi",
    ".exe",
    ".dll",
    "ntlm",
    "meterpreter",
    "coldfusion",
    "activex",
];

const LINUX_WORDS: &[&str] = &[
    "linux",
    "bash",
    "/etc/",
    "unix",
    "samba",
    "wordpress",
    "joomla",
    "phpmyadmin",
    ".php",
    "phpshell",
    "shellshock",
    "cve-2014-6271",
    "bsd",
    "perl",
    "busybox",
    "vsftpd",
    "proftpd",
    "uid=",
];

pub(crate) fn tactics(rule: &Rule, lower: &str) -> Vec<Tactic> {
    if UNUSED.contains(&rule.category.as_str()) {
        return Vec::new();
    }
    let named = |Mark(_, categories, words): &&Mark| {
        (categories.is_empty() || categories.contains(&rule.category.as_str()))
            && (words.is_empty() || words.iter().any(|word| lower.contains(word)))
    };
    let possible = tactics_of_class(rule.class.short_name);
    let mut found: Vec<Tactic> = MARKS.iter().filter(named).map(|Mark(tactic, ..)| *tactic).collect();
    found.sort_unstable();
    found.dedup();
    found.retain(|tactic| possible.contains(tactic));
    // Whoever guesses passwords is past looking around, and whoever attacks over the web has not got in by it.
    if found.contains(&CredentialAccess) {
        found.retain(|tactic| !matches!(tactic, Reconnaissance | InitialAccess | Discovery));
    }
    if found.contains(&Persistence) {
        found.retain(|tactic| *tactic != InitialAccess);
    }
    found
}

pub(crate) fn os(rule: &Rule, lower: &str) -> Os {
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    match (has(WINDOWS_WORDS), has(LINUX_WORDS)) {
        (true, false) => Os::Windows,
        (false, true) => Os::Linux,
        _ if rule.category == "ACTIVEX" => Os::Windows,
        _ => Os::Any,
    }
}

pub(crate) fn kind(rule: &Rule, tactic: Tactic, lower: &str) -> Kind {
    let outbound =
        || Kind::Outbound(if rule.port == Some(53) { OutsideUse::Names } else { OutsideUse::Other });
    match tactic {
        CommandAndControl | Exfiltration => return outbound(),
        Impact if rule.category != "DOS" => return outbound(),
        Persistence if rule.category == "MALWARE" => return outbound(),
        Discovery | DefenseEvasion if lower.contains("external ip") || lower.contains("ip check") => {
            return outbound();
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
    if let Some(kind) = by_port {
        return kind;
    }
    match rule.category.as_str() {
        "WEB_CLIENT" | "ACTIVEX" | "CURRENT_EVENTS" => return Kind::Browser,
        "WEB_SERVER" | "WEB_SPECIFIC_APPS" => return Kind::Web,
        "SCADA" => return Kind::Control,
        "NETBIOS" => return Kind::Smb,
        "SHELLCODE" => return Kind::Any,
        _ => {}
    }
    let by_word = KIND_WORDS.iter().find(|(_, words)| words.iter().any(|word| lower.contains(word)));
    match (by_word, rule.port) {
        (Some((kind, _)), _) => *kind,
        (None, Some(80 | 443 | 8080)) => Kind::Web,
        (None, _) => Kind::Any,
    }
}

pub(crate) fn noise(rule: &Rule, lower: &str) -> Option<Noise> {
    let mild = rule.priority >= 2 || rule.class.short_name == "policy-violation";
    match rule.category.as_str() {
        "GAMES" | "CHAT" | "P2P" if mild => Some(Noise::Outgoing),
        "POLICY" | "INFO" | "USER_AGENTS" | "DNS" if mild && !lower.contains("ransom") => {
            Some(Noise::Outgoing)
        }
        "TOR" | "DROP" => Some(Noise::Incoming),
        "SCAN" if mild => Some(Noise::Incoming),
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
                let key = (tactic, kind(rule, tactic, &lower), os(rule, &lower));
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
        let kind = kind(&rule, tactics.first().copied().unwrap_or(Reconnaissance), &lower);
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
        assert_eq!(case("ET GAMES Some game", "policy-violation", None).0, []);
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
            for (tactic, kind, expected) in [
                (Reconnaissance, Kind::Web, [true, true]),
                (InitialAccess, Kind::Web, [true, true]),
                (CredentialAccess, Kind::Ssh, [true, true]),
                (Persistence, Kind::Web, [true, true]),
                (LateralMovement, Kind::Smb, [true, true]),
                (LateralMovement, Kind::Ssh, [true, true]),
                (LateralMovement, Kind::Rdp, [false, true]),
                (CommandAndControl, outbound, [true, true]),
                (Exfiltration, outbound, [true, true]),
                (Impact, outbound, [true, true]),
            ] {
                assert_eq!(
                    has(tactic, kind),
                    expected,
                    "{tactic} {kind:?} {} rules",
                    vocabulary.rules().len()
                );
            }
            for noise in [Noise::Outgoing, Noise::Incoming, Noise::Audit] {
                assert!(vocabulary.noise(noise, &mut Rng::new(3)).is_some(), "{noise:?}");
            }
        }
    }
}
