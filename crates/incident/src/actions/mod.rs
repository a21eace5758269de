//! What kind of response an action is, read from its text.
//!
//! It looks at verbs and at the words that stand close to them, and knows nothing of what they act on, so it is a hint
//! for grouping and pricing candidates, not a judgement of whether an action works.

mod effects;
mod measures;
mod verbs;
mod words;

use std::ops::Range;

pub use effects::{Reversibility, destroys_evidence};
pub use measures::{Measure, Named, Part, TargetKind};
use serde::{Deserialize, Serialize};
pub use words::Word;

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

/// How a verb stands in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerbForm {
    /// `block`, where a sentence tells somebody to.
    Imperative,
    /// `blocking`.
    Gerund,
    /// `blocked`.
    Participle,
    /// A noun (`a memory image`, `isolation`) or the verb of a statement (`this blocks`).
    Other,
}

/// A verb of response in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerbUse {
    /// What kind of response it is.
    pub class: VerbClass,
    /// How it stands there.
    pub form: VerbForm,
    /// Where it stands, in bytes.
    pub place: Range<usize>,
}

impl VerbClass {
    /// The kinds that the text tells somebody to do, in the order in which it names them, each once. If it tells
    /// nothing (`isolation of 10.0.2.13`, `10.0.2.13 is blocked`), the kinds that it names in any other way.
    pub fn of(action: &str) -> Vec<VerbClass> {
        let mut classes = Vec::new();
        for verb in told(VerbClass::uses(action)) {
            if !classes.contains(&verb.class) {
                classes.push(verb.class);
            }
        }
        classes
    }

    /// Every verb of response in the text, in order.
    pub fn uses(text: &str) -> Vec<VerbUse> {
        let words = Word::all(text);
        let mut uses = Vec::new();
        for (position, word) in words.iter().enumerate() {
            let behind = words.get(position + 1..).unwrap_or_default();
            let before = words.get(..position).unwrap_or_default();
            let Some((stem, ending)) = verbs::verb(&word.lower) else { continue };
            let Some(class) = verbs::class_of(stem, before, behind) else { continue };
            let form = form_of(ending, word, before);
            uses.push(VerbUse { class, form, place: word.place.clone() });
        }
        uses
    }
}

/// The verbs that tell somebody to do something; if none does, all of them.
fn told(mut uses: Vec<VerbUse>) -> Vec<VerbUse> {
    let is_told = |verb: &VerbUse| matches!(verb.form, VerbForm::Imperative | VerbForm::Gerund);
    if uses.iter().any(is_told) {
        uses.retain(is_told);
    }
    uses
}

/// Words in front of which a verb tells somebody to do something.
const LEADS: [&str; 36] = [
    "and",
    "or",
    "then",
    "to",
    "also",
    "please",
    "must",
    "should",
    "will",
    "shall",
    "can",
    "could",
    "would",
    "may",
    "might",
    "not",
    "dont",
    "never",
    "first",
    "next",
    "finally",
    "now",
    "we",
    "i",
    "you",
    "team",
    "lastly",
    "once",
    "instead",
    "but",
    "additionally",
    "nor",
    "t",
    "safely",
    "let",
    "us",
];

/// Words in front of which a word in `-ing` is something that is done: `by blocking`, `start isolating`.
const GERUND_LEADS: [&str; 16] = [
    "and", "or", "then", "by", "start", "begin", "without", "before", "after", "avoid", "of", "while",
    "when", "stop", "consider", "from",
];

fn form_of(ending: &str, word: &Word, before: &[Word]) -> VerbForm {
    let last = before.last().filter(|_| !word.opens).map(|word| word.lower.as_str());
    let led = |leads: &[&str]| last.is_none_or(|last| leads.contains(&last) || last.ends_with("ly"));
    match ending {
        _ if ending.ends_with("ing") && led(&GERUND_LEADS) => VerbForm::Gerund,
        "ed" | "d" | "ied" | "ted" | "ped" | "ned" | "ged" => VerbForm::Participle,
        "" | "e" | "y" | "t" if led(&LEADS) => VerbForm::Imperative,
        _ => VerbForm::Other,
    }
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

    #[test]
    fn a_verb_is_told_from_the_noun_and_the_participle_that_look_like_it() {
        use VerbClass::*;
        for (action, expected) in [
            ("unblock blocked ip", &[Restore][..]),
            ("restore quarantined email message", &[Restore]),
            ("Restore the database from the latest snapshot.", &[Restore]),
            ("Review the audit log and the patch level of server_ssh.", &[Analyse]),
            ("Delete the copy of /usr/bin/find in /tmp/scan.", &[Eradicate]),
            ("Immediate isolation of 10.0.2.13", &[Contain]),
            ("10.0.2.13 is isolated.", &[Contain]),
            ("Contain the attack by blocking 203.0.113.9.", &[Contain]),
            ("Investigate which hosts were scanned and which files were removed.", &[Analyse]),
        ] {
            assert_eq!(VerbClass::of(action), expected, "{action}");
        }
    }

    #[test]
    fn the_words_behind_a_verb_decide() {
        use VerbClass::*;
        for (action, expected) in [
            ("Take server_ssh offline.", &[Contain][..]),
            ("Shut down the Samba service on server_samba.", &[Contain]),
            ("Update the firewall rules to drop traffic from 203.0.113.9.", &[Contain]),
            ("Add a WAF rule on Server 1 to block SQL injection patterns.", &[Harden]),
            ("Enable two-factor authentication for all accounts.", &[Harden]),
            ("Enable the disabled account svc_backup.", &[Restore]),
            ("Take a forensic image of server_ssh.", &[Preserve]),
            ("Back up /var/log of server_ssh.", &[Preserve]),
            ("Save the logs of server_ssh.", &[Preserve]),
            ("Bring server_ssh back online.", &[Restore]),
            ("Start the nginx service on server_web1.", &[Restore]),
            ("Verify service restoration.", &[Restore]),
            ("Check that PostgreSQL on Server 6 is reachable and functional.", &[Restore]),
            ("Check the logs of server_ssh for logins.", &[Analyse]),
            ("Take over the investigation.", &[Analyse]),
            ("Check in with the team.", &[]),
        ] {
            assert_eq!(VerbClass::of(action), expected, "{action}");
        }
    }

    #[test]
    fn a_use_says_where_and_how_a_verb_stands() {
        let text = "Do not block 10.0.2.13, but start isolating the scanned host.";
        let found: Vec<(&str, VerbForm)> =
            VerbClass::uses(text).into_iter().map(|verb| (&text[verb.place], verb.form)).collect();
        assert_eq!(
            found,
            [
                ("block", VerbForm::Imperative),
                ("isolating", VerbForm::Gerund),
                ("scanned", VerbForm::Participle)
            ]
        );
    }
}
