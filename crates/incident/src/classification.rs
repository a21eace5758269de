//! Alert classes: the names that rule sets give to what an alert stands for.
//!
//! Names vary in case, punctuation and wording between Snort, Suricata and their versions. They are compared in one
//! normal form: lower case, words apart by one space, known variants and short names put to the usual description.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A class that Snort's or Suricata's own configuration knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertClass {
    /// Short name, such as `attempted-recon`.
    pub short_name: &'static str,
    /// Description as alerts print it, such as `Attempted Information Leak`.
    pub description: &'static str,
    /// Priority of a rule that sets none, from 1 (high).
    pub priority: u8,
}

impl AlertClass {
    /// The class with this name or description, in any spelling.
    pub fn find(name: &str) -> Option<&'static AlertClass> {
        // One class's short name, `denial-of-service`, is another's description but for its hyphens. A name of
        // several words is a description.
        let name = name.trim_matches(|c: char| !c.is_alphanumeric());
        let folded = fold(name);
        let words = name.contains(char::is_whitespace);
        let (first, second) = if words { (&NAMES.long, &NAMES.short) } else { (&NAMES.short, &NAMES.long) };
        first.get(&folded).or_else(|| second.get(&folded)).copied()
    }
}

/// The normal form in which classes are compared. A known class gives its folded description (`attempted information
/// leak`), an unknown one its own name, folded.
pub fn normalise_classification(name: &str) -> String {
    match AlertClass::find(name) {
        Some(class) => fold(class.description),
        None => fold(name),
    }
}

const fn class(short_name: &'static str, description: &'static str, priority: u8) -> AlertClass {
    AlertClass { short_name, description, priority }
}

/// The classes that Snort 2, Snort 3 and Suricata ship, with their default priorities.
pub const ALERT_CLASSES: &[AlertClass] = &[
    class("not-suspicious", "Not Suspicious Traffic", 3),
    class("unknown", "Unknown Traffic", 3),
    class("bad-unknown", "Potentially Bad Traffic", 2),
    class("attempted-recon", "Attempted Information Leak", 2),
    class("successful-recon-limited", "Information Leak", 2),
    class("successful-recon-largescale", "Large Scale Information Leak", 2),
    class("attempted-dos", "Attempted Denial of Service", 2),
    class("successful-dos", "Denial of Service", 2),
    class("attempted-user", "Attempted User Privilege Gain", 1),
    class("unsuccessful-user", "Unsuccessful User Privilege Gain", 1),
    class("successful-user", "Successful User Privilege Gain", 1),
    class("attempted-admin", "Attempted Administrator Privilege Gain", 1),
    class("successful-admin", "Successful Administrator Privilege Gain", 1),
    class("rpc-portmap-decode", "Decode of an RPC Query", 2),
    class("shellcode-detect", "Executable Code was Detected", 1),
    class("string-detect", "A Suspicious String was Detected", 3),
    class("suspicious-filename-detect", "A Suspicious Filename was Detected", 2),
    class("suspicious-login", "An Attempted Login Using a Suspicious Username was Detected", 2),
    class("system-call-detect", "A System Call was Detected", 2),
    class("tcp-connection", "A TCP Connection was Detected", 4),
    class("trojan-activity", "A Network Trojan was Detected", 1),
    class("unusual-client-port-connection", "A Client was Using an Unusual Port", 2),
    class("network-scan", "Detection of a Network Scan", 3),
    class("denial-of-service", "Detection of a Denial of Service Attack", 2),
    class("non-standard-protocol", "Detection of a Non-Standard Protocol or Event", 2),
    class("protocol-command-decode", "Generic Protocol Command Decode", 3),
    class("web-application-activity", "Access to a Potentially Vulnerable Web Application", 2),
    class("web-application-attack", "Web Application Attack", 1),
    class("misc-activity", "Misc activity", 3),
    class("misc-attack", "Misc Attack", 2),
    class("icmp-event", "Generic ICMP event", 3),
    class("inappropriate-content", "Inappropriate Content was Detected", 1),
    class("policy-violation", "Potential Corporate Privacy Violation", 1),
    class("default-login-attempt", "Attempt to Login By a Default Username and Password", 2),
    class("sdf", "Sensitive Data was Transmitted Across the Network", 2),
    class("file-format", "Known malicious file or file based exploit", 1),
    class("malware-cnc", "Known malware command and control traffic", 1),
    class("client-side-exploit", "Known client side exploit attempt", 1),
    class("targeted-activity", "Targeted Malicious Activity was Detected", 1),
    class("exploit-kit", "Exploit Kit Activity Detected", 1),
    class("external-ip-check", "Device Retrieving External IP Address Detected", 2),
    class("domain-c2", "Domain Observed Used for C2 Detected", 1),
    class("pup-activity", "Possibly Unwanted Program Detected", 2),
    class("credential-theft", "Successful Credential Theft Detected", 1),
    class("social-engineering", "Possible Social Engineering Attempted", 2),
    class("coin-mining", "Crypto Currency Mining Activity Detected", 2),
    class("command-and-control", "Malware Command and Control Activity Detected", 1),
];

/// Wordings in the field that mean a class of [`ALERT_CLASSES`], beyond its two names.
const ALIASES: &[(&str, &str)] = &[
    ("A Network Trojan Detected", "trojan-activity"),
    ("Network Trojan Detected", "trojan-activity"),
    ("A Network Trojan was Detected", "trojan-activity"),
    ("Attempted Admin Privilege Gain", "attempted-admin"),
    ("Successful Admin Privilege Gain", "successful-admin"),
    ("Executable Code Detected", "shellcode-detect"),
    ("Suspicious String Detected", "string-detect"),
    ("A Suspicious String Detected", "string-detect"),
    ("A Suspicious Filename Detected", "suspicious-filename-detect"),
    ("A System Call Detected", "system-call-detect"),
    ("A TCP Connection Detected", "tcp-connection"),
    ("Network Scan", "network-scan"),
    ("Detection of Network Scan", "network-scan"),
    ("Miscellaneous Activity", "misc-activity"),
    ("Miscellaneous Attack", "misc-attack"),
    ("Inappropriate Content Detected", "inappropriate-content"),
    ("Potentially Bad Traffic Detected", "bad-unknown"),
    ("Access to a Vulnerable Web Application", "web-application-activity"),
    ("Malware Command and Control Activity", "command-and-control"),
    ("Targeted Malicious Activity Detected", "targeted-activity"),
    ("Attempt to Login By a Default Username", "default-login-attempt"),
];

struct Names {
    short: HashMap<String, &'static AlertClass>,
    /// Descriptions and aliases.
    long: HashMap<String, &'static AlertClass>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names { short: HashMap::new(), long: HashMap::new() };
    for class in ALERT_CLASSES {
        names.short.insert(fold(class.short_name), class);
        names.long.insert(fold(class.description), class);
    }
    for (alias, short_name) in ALIASES {
        if let Some(class) = names.short.get(&fold(short_name)).copied() {
            names.long.insert(fold(alias), class);
        }
    }
    names
});

/// Lower case, with every run of other characters than letters and digits as one space.
fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_alphanumeric() {
            folded.extend(c.to_lowercase());
        } else if !folded.is_empty() && !folded.ends_with(' ') {
            folded.push(' ');
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variants_are_one_class() {
        for name in [
            "A Network Trojan was Detected",
            "A Network Trojan Detected",
            "a network-trojan was detected.",
            "trojan-activity",
            "TROJAN_ACTIVITY",
        ] {
            assert_eq!(normalise_classification(name), "a network trojan was detected", "{name}");
        }
        assert_eq!(normalise_classification("attempted-recon"), "attempted information leak");
        assert_eq!(normalise_classification("  Home-made: Class! "), "home made class");
        assert_eq!(normalise_classification(""), "");
    }

    #[test]
    fn names_are_distinct_and_aliases_lead_somewhere() {
        for class in ALERT_CLASSES {
            assert_eq!(AlertClass::find(class.short_name), Some(class));
            assert_eq!(AlertClass::find(class.description), Some(class));
            assert!((1..=4).contains(&class.priority));
        }
        for (alias, short_name) in ALIASES {
            assert_eq!(AlertClass::find(alias).map(|class| class.short_name), Some(*short_name));
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable(name in any::<String>()) {
            let normal = normalise_classification(&name);
            prop_assert_eq!(normalise_classification(&normal), normal.clone());
            prop_assert_eq!(normalise_classification(&format!("  {name}. ")), normal);
        }
    }
}
