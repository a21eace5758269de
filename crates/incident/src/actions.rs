//! What kind of response an action is, read from its text.
//!
//! It looks at verbs alone and knows nothing of what they act on, so it is a hint for grouping and pricing candidates,
//! not a judgement of whether an action works.

use serde::{Deserialize, Serialize};

/// A kind of response, in the order in which the six facts of recovery follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerbClass {
    /// Cut a host, an address or an account off.
    Contain,
    /// Keep evidence.
    Preserve,
    /// Find out more.
    Analyse,
    /// Remove what the attacker left.
    Eradicate,
    /// Close the way in.
    Harden,
    /// Bring services back.
    Restore,
}

impl VerbClass {
    /// The kinds that the text names, in the order in which it names them, each once. None if no verb is known.
    pub fn of(action: &str) -> Vec<VerbClass> {
        let words: Vec<String> = action
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .filter(|word| !word.is_empty())
            .map(|word| word.to_lowercase().replace('-', ""))
            .collect();
        let mut classes = Vec::new();
        for (place, word) in words.iter().enumerate() {
            let behind = words.get(place + 1..).unwrap_or_default();
            if let Some(class) = class_of(word, behind)
                && !classes.contains(&class)
            {
                classes.push(class);
            }
        }
        classes
    }
}

/// Beginnings of verbs. A longer one goes before a shorter one that it begins with.
const VERBS: [(&str, VerbClass); 74] = [
    ("isolat", VerbClass::Contain),
    ("quarantin", VerbClass::Contain),
    ("unblock", VerbClass::Restore),
    ("unlock", VerbClass::Restore),
    ("enabl", VerbClass::Restore),
    ("block", VerbClass::Contain),
    ("disconnect", VerbClass::Contain),
    ("contain", VerbClass::Contain),
    ("drop", VerbClass::Contain),
    ("deny", VerbClass::Contain),
    ("sinkhol", VerbClass::Contain),
    ("nullrout", VerbClass::Contain),
    ("blackhol", VerbClass::Contain),
    ("sever", VerbClass::Contain),
    ("suspend", VerbClass::Contain),
    ("lock", VerbClass::Contain),
    ("segment", VerbClass::Contain),
    ("disabl", VerbClass::Contain),
    ("preserv", VerbClass::Preserve),
    ("captur", VerbClass::Preserve),
    ("snapshot", VerbClass::Preserve),
    ("acquir", VerbClass::Preserve),
    ("collect", VerbClass::Preserve),
    ("export", VerbClass::Preserve),
    ("archiv", VerbClass::Preserve),
    ("dump", VerbClass::Preserve),
    ("image", VerbClass::Preserve),
    ("imaging", VerbClass::Preserve),
    ("copy", VerbClass::Preserve),
    ("analys", VerbClass::Analyse),
    ("analyz", VerbClass::Analyse),
    ("investigat", VerbClass::Analyse),
    ("inspect", VerbClass::Analyse),
    ("examin", VerbClass::Analyse),
    ("review", VerbClass::Analyse),
    ("identif", VerbClass::Analyse),
    ("determin", VerbClass::Analyse),
    ("correlat", VerbClass::Analyse),
    ("trac", VerbClass::Analyse),
    ("hunt", VerbClass::Analyse),
    ("scan", VerbClass::Analyse),
    ("audit", VerbClass::Analyse),
    ("search", VerbClass::Analyse),
    ("list", VerbClass::Analyse),
    ("find", VerbClass::Analyse),
    ("eradicat", VerbClass::Eradicate),
    ("remov", VerbClass::Eradicate),
    ("delet", VerbClass::Eradicate),
    ("terminat", VerbClass::Eradicate),
    ("kill", VerbClass::Eradicate),
    ("wip", VerbClass::Eradicate),
    ("evict", VerbClass::Eradicate),
    ("clean", VerbClass::Eradicate),
    ("purg", VerbClass::Eradicate),
    ("uninstall", VerbClass::Eradicate),
    ("reimag", VerbClass::Eradicate),
    ("reinstall", VerbClass::Eradicate),
    ("rebuil", VerbClass::Eradicate),
    ("revok", VerbClass::Eradicate),
    ("patch", VerbClass::Harden),
    ("updat", VerbClass::Harden),
    ("upgrad", VerbClass::Harden),
    ("harden", VerbClass::Harden),
    ("rotat", VerbClass::Harden),
    ("reset", VerbClass::Harden),
    ("enforc", VerbClass::Harden),
    ("restrict", VerbClass::Harden),
    ("chang", VerbClass::Harden),
    ("restor", VerbClass::Restore),
    ("recover", VerbClass::Restore),
    ("resum", VerbClass::Restore),
    ("restart", VerbClass::Restore),
    ("reconnect", VerbClass::Restore),
    ("reenabl", VerbClass::Restore),
];

/// What is disabled to close a way in, not to cut somebody off.
const FEATURES: [&str; 12] = [
    "password",
    "passwords",
    "authentication",
    "service",
    "services",
    "cgi",
    "module",
    "root",
    "anonymous",
    "guest",
    "protocol",
    "feature",
];

fn class_of(word: &str, behind: &[String]) -> Option<VerbClass> {
    let (_, class) = VERBS.iter().find(|(beginning, _)| is_verb(word, beginning))?;
    let near = behind.get(..behind.len().min(4)).unwrap_or(behind);
    let names = |words: &[&str]| near.iter().any(|word| words.contains(&word.as_str()));
    Some(match class {
        VerbClass::Contain
            if word.starts_with("disabl") && names(&FEATURES) && !names(&["account", "accounts"]) =>
        {
            VerbClass::Harden
        }
        VerbClass::Preserve if word.starts_with("image") && names(&["golden", "clean"]) => {
            VerbClass::Eradicate
        }
        class => *class,
    })
}

/// Whether a word is a form of the verb that begins like this: no longer than an ending allows, so that `container`,
/// `server` and `severity` are none of `contain` and `sever`.
fn is_verb(word: &str, beginning: &str) -> bool {
    const ENDINGS: [&str; 18] = [
        "", "e", "y", "s", "es", "ed", "d", "ing", "ting", "ping", "king", "ning", "ion", "ying", "ies",
        "ied", "t", "ment",
    ];
    word.strip_prefix(beginning).is_some_and(|ending| ENDINGS.contains(&ending))
        || word == format!("{beginning}ation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_told_apart() {
        use VerbClass::*;
        for (action, expected) in [
            ("Isolate 10.0.2.13 from the network.", &[Contain][..]),
            ("Block the attacker 203.0.113.9 on the gateway's firewall", &[Contain]),
            ("Disable the compromised account svc_backup.", &[Contain]),
            ("Disable password authentication for SSH.", &[Harden]),
            ("Capture memory and take a disk image of server_ssh", &[Preserve]),
            ("Collect auth.log, then analyse it for further logins", &[Preserve, Analyse]),
            ("Remove the web shell and kill its processes", &[Eradicate]),
            ("Re-image 10.0.2.13 and restore its data from backup", &[Eradicate, Restore]),
            ("Patch bash and rotate all credentials", &[Harden]),
            ("Unblock 10.0.2.14", &[Restore]),
            ("Write a report.", &[]),
            ("The container server's severity", &[]),
            ("", &[]),
        ] {
            assert_eq!(VerbClass::of(action), expected, "{action}");
        }
    }
}
