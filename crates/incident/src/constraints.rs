//! Rules that a response has to keep, read from the sentences of whoever is responsible for the system.
//!
//! Four kinds are understood: a host or its service stays up, a link between two hosts stays, two hosts never reach each
//! other, and something is never done to a host. [`Constraints::read`] says of every sentence that is none of these that
//! it is not understood; nobody may take it for kept.
//!
//! Reading is literal and errs towards forbidding: a condition in a sentence (`while workstations are in use`) does not
//! loosen it. Checking an action looks at its text alone, as everything that knows no truth has to: what an action breaks
//! without naming it, such as `shut everything down`, is not found.

mod hosts;
mod reading;

use serde::{Deserialize, Serialize};

pub use hosts::HostNames;
use hosts::{Mention, Names, Preposition};

use crate::actions::{VerbForm, VerbUse, Word};
use crate::{EntityKind, VerbClass};

/// What a constraint demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The host stays reachable and its services work.
    KeepUp(HostNames),
    /// The first host can reach the second.
    KeepLink(HostNames, HostNames),
    /// Neither host can reach the other.
    NeverContact(HostNames, HostNames),
    /// No verb that begins like this is done to the host; an empty beginning stands for every change.
    Forbid(String, HostNames),
}

/// A sentence that was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// The sentence as it was given.
    pub text: String,
    /// What it demands.
    pub rule: Rule,
}

/// The rules of one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// What was understood; a sentence about several hosts makes several.
    pub rules: Vec<Constraint>,
    /// Sentences that were not understood, as given.
    pub not_understood: Vec<String>,
}

/// A constraint that an action would break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken<'a> {
    /// The constraint.
    pub constraint: &'a Constraint,
    /// What the action would do, such as `cut off 10.0.2.14`.
    pub deed: String,
}

/// One verb of an action with the hosts that stand with it.
struct Clause<'a> {
    class: VerbClass,
    /// Words from the verb to the next one.
    words: &'a [Word],
    mentions: &'a [Mention],
}

impl Constraints {
    /// Reads sentences about a system. Its description says which names and addresses are one host.
    pub fn read(sentences: &[String], system: &str) -> Constraints {
        let names = Names::of(system);
        let mut constraints = Constraints::default();
        for sentence in sentences {
            let rules = reading::rules(sentence, &names);
            if rules.is_empty() {
                constraints.not_understood.push(sentence.trim().to_owned());
            }
            let constraint = |rule| Constraint { text: sentence.trim().to_owned(), rule };
            constraints.rules.extend(rules.into_iter().map(constraint));
        }
        constraints
    }

    /// The first constraint that the action breaks, as far as its text tells.
    pub fn broken_by(&self, action: &str) -> Option<Broken<'_>> {
        if self.rules.is_empty() {
            return None;
        }
        let words = Word::all(action);
        let hosts = self.rules.iter().flat_map(|constraint| constraint.rule.hosts());
        let mentions = hosts::mentions(action, hosts);
        let clauses = clauses(action, &words, &mentions);
        self.rules.iter().find_map(|constraint| {
            let deed = match &constraint.rule {
                Rule::Forbid(stem, host) => forbidden(stem, host, &words, &mentions, &clauses),
                Rule::NeverContact(first, second) => opened(first, second, &words, &mentions),
                rule => clauses.iter().find_map(|clause| clause.cuts(rule)),
            };
            deed.map(|deed| Broken { constraint, deed })
        })
    }
}

impl Rule {
    /// The hosts that it is about.
    pub fn hosts(&self) -> impl Iterator<Item = &HostNames> {
        let (first, second) = match self {
            Rule::KeepUp(host) | Rule::Forbid(_, host) => (host, None),
            Rule::KeepLink(first, second) | Rule::NeverContact(first, second) => (first, Some(second)),
        };
        [first].into_iter().chain(second)
    }
}

impl std::fmt::Display for Broken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "It would {}, and a constraint says: {:?}", self.deed, self.constraint.text)
    }
}

/// The verbs that tell somebody to do something; all verbs if none does.
fn clauses<'a>(action: &str, words: &'a [Word], mentions: &'a [Mention]) -> Vec<Clause<'a>> {
    let uses = VerbClass::uses(action);
    let told = |verb: &&VerbUse| matches!(verb.form, VerbForm::Imperative | VerbForm::Gerund);
    let anything_told = uses.iter().any(|verb| told(&verb));
    let uses: Vec<&VerbUse> = uses.iter().filter(|verb| !anything_told || told(verb)).collect();
    let mut clauses = Vec::new();
    for (position, verb) in uses.iter().enumerate() {
        // What stands before the first verb belongs to it: `on web-01, stop the service`.
        let begin = if position == 0 { 0 } else { verb.place.start };
        let end = uses.get(position + 1).map_or(action.len(), |next| next.place.start);
        let own = verb.place.start;
        if is_negated(words, own) {
            continue;
        }
        clauses.push(Clause {
            class: verb.class,
            words: between(words, own, end, |word| word.place.start),
            mentions: between(mentions, begin, end, |mention| mention.start),
        });
    }
    clauses
}

/// The part of a list in the order of places that lies from `begin` to before `end`.
fn between<T>(list: &[T], begin: usize, end: usize, place: impl Fn(&T) -> usize) -> &[T] {
    let first = list.partition_point(|item| place(item) < begin);
    let last = list.partition_point(|item| place(item) < end);
    list.get(first..last).unwrap_or_default()
}

/// Whether one of the two words before this place forbids what stands there.
fn is_negated(words: &[Word], place: usize) -> bool {
    const NEGATIONS: [&str; 6] = ["not", "never", "without", "avoid", "dont", "nor"];
    let before = words.partition_point(|word| word.place.start < place);
    let near = words.get(before.saturating_sub(2)..before).unwrap_or_default();
    near.iter().any(|word| NEGATIONS.contains(&word.lower.as_str()))
}

/// Beginnings of verbs after which a host does not serve while it is cleaned.
const REBUILDS: [&str; 6] = ["reimag", "rebuil", "reinstall", "wip", "format", "destroy"];

impl Clause<'_> {
    /// What this clause does against a rule that keeps something up.
    fn cuts(&self, rule: &Rule) -> Option<String> {
        let rebuilds =
            self.words.first().is_some_and(|verb| REBUILDS.iter().any(|stem| verb.lower.starts_with(stem)));
        if self.class != VerbClass::Contain && !rebuilds {
            return None;
        }
        let (objects, peers) = self.ends();
        let has = |list: &[&Mention], host: &HostNames| list.iter().any(|mention| mention.is(host));
        match rule {
            // A cut from some hosts leaves it up for the others; a cut from a whole network does not.
            Rule::KeepUp(host) => {
                let some = peers.iter().any(|peer| peer.kind != Some(EntityKind::Network));
                (has(&objects, host) && !some).then(|| format!("cut off {}", host.shown()))
            }
            Rule::KeepLink(from, to) => {
                let cut = |one: &HostNames, other: &HostNames| {
                    has(&objects, one) && (peers.is_empty() || has(&peers, other))
                };
                let both = has(&objects, from) && has(&objects, to);
                (cut(from, to) || cut(to, from) || both && !peers.is_empty())
                    .then(|| format!("cut {} off from {}", from.shown(), to.shown()))
            }
            Rule::NeverContact(..) | Rule::Forbid(..) => None,
        }
    }

    /// What is cut off, and from what in particular. `Block 203.0.113.9 on web-01` cuts off the address alone;
    /// `block traffic from A to B` cuts both off from each other; `block traffic to B` cuts off B.
    fn ends(&self) -> (Vec<&Mention>, Vec<&Mention>) {
        let of = |wanted: &[Preposition]| -> Vec<&Mention> {
            self.mentions.iter().filter(|mention| wanted.contains(&mention.behind)).collect()
        };
        let (objects, places) = (of(&[Preposition::None]), of(&[Preposition::At]));
        let (from, to) = (of(&[Preposition::From]), of(&[Preposition::To]));
        match (objects.is_empty(), from.is_empty(), to.is_empty()) {
            (false, _, _) => (objects, [from, to].concat()),
            (true, false, false) => (from, to),
            (true, false, true) => (from, Vec::new()),
            (true, true, false) => (to, Vec::new()),
            // Nothing else is named: `stop the Samba service on server_samba`.
            (true, true, true) => (places, Vec::new()),
        }
    }
}

/// Whether a forbidden verb is done to the host. An empty stem stands for whatever changes something.
fn forbidden(
    stem: &str,
    host: &HostNames,
    words: &[Word],
    mentions: &[Mention],
    clauses: &[Clause<'_>],
) -> Option<String> {
    let named = |mentions: &[Mention]| mentions.iter().any(|mention| mention.is(host));
    if stem.is_empty() {
        let changes =
            |clause: &&Clause<'_>| !matches!(clause.class, VerbClass::Preserve | VerbClass::Analyse);
        let mut changing = clauses.iter().filter(changes);
        return changing.any(|clause| named(clause.mentions)).then(|| format!("change {}", host.shown()));
    }
    let verb =
        words.iter().find(|word| word.lower.starts_with(stem) && !is_negated(words, word.place.start))?;
    named(mentions).then(|| format!("{} {}", verb.lower, host.shown()))
}

/// Beginnings of verbs that let two hosts reach each other.
const OPENS: [&str; 9] =
    ["allow", "permit", "open", "connect", "reconnect", "unblock", "bridg", "route", "enabl"];

fn opened(first: &HostNames, second: &HostNames, words: &[Word], mentions: &[Mention]) -> Option<String> {
    let opens = |word: &&Word| {
        let verb = OPENS.iter().any(|stem| word.lower.starts_with(stem));
        // `the open port` and `the connection` are no verbs.
        verb && !word.lower.ends_with("ion") && word.lower != "router" && !is_negated(words, word.place.start)
    };
    let verb = words.iter().find(opens)?;
    let behind = between(mentions, verb.place.start, usize::MAX, |mention| mention.start);
    let named = |host: &HostNames| behind.iter().any(|mention| mention.is(host));
    (named(first) && named(second))
        .then(|| format!("let {} and {} reach each other", first.shown(), second.shown()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYSTEM: &str = "Server 1 (10.0.2.1, Debian 11): Nginx\nServer 2 (10.0.2.2): vsftpd\nServer 3 (10.0.3.3)\n\
        Server 4 (10.0.3.4)\nServer 6 (10.0.4.6, Debian 8): PostgreSQL 9.4, Samba\nserver_samba at 10.0.2.12 shares \
        files, mercury at 10.0.2.30 prints.\n  10.0.2.40 venus [Debian 12] nginx on port 80\njupiter | 10.0.2.50 | dmz";

    fn constraints(sentences: &[&str]) -> Constraints {
        let sentences: Vec<String> = sentences.iter().map(|&sentence| sentence.to_owned()).collect();
        Constraints::read(&sentences, SYSTEM)
    }

    fn breaks(sentence: &str, action: &str) -> bool {
        let constraints = constraints(&[sentence]);
        assert!(constraints.not_understood.is_empty(), "{sentence} was not understood");
        constraints.broken_by(action).is_some()
    }

    #[test]
    fn a_host_that_has_to_stay_up_is_not_cut_off() {
        for sentence in [
            "PostgreSQL on 10.0.4.6 stays up.",
            "Server 6 PostgreSQL must not be taken offline (all services depend on it)",
            "PostgreSQL 9.4 on Server 6 has to stay up and reachable at all times.",
            "An outage of PostgreSQL on server-6 is not acceptable.",
        ] {
            for action in [
                "Isolate 10.0.4.6 from the network.",
                "Isolate Server 6.",
                "Block all traffic to server 6.",
                "Stop the PostgreSQL service on 10.0.4.6.",
                "Save the logs of 10.0.4.6, then re-image 10.0.4.6.",
                "Isolate 10.0.4.6 from 10.0.2.0/24.",
                "On Server 6, shut down the database.",
            ] {
                assert!(breaks(sentence, action), "{sentence} | {action}");
            }
            for action in [
                "Block all traffic from 203.0.113.7.",
                "Block 203.0.113.7 on Server 6.",
                "Isolate 10.0.4.6 from 203.0.113.7.",
                "Isolate 10.0.2.12 and save the logs of 10.0.4.6.",
                "Do not isolate Server 6.",
                "Remove the malware from 10.0.4.6 without isolating 10.0.4.6.",
                "Disable the svc_backup account on Server 6.",
                "Patch Samba on 10.0.4.6.",
                "Save the logs and a memory image of 10.0.4.6",
            ] {
                assert!(!breaks(sentence, action), "{sentence} | {action}");
            }
        }
    }

    #[test]
    fn a_link_that_has_to_stay_is_not_cut() {
        for sentence in [
            "Server 2 FTP service must remain accessible from Server 1",
            "Server 1 must be able to reach Server 2 without interruption.",
            "The connection from Server 1 to 10.0.2.2 must stay open.",
        ] {
            for (action, broken) in [
                ("Isolate 10.0.2.2.", true),
                ("Isolate Server 1 from the network.", true),
                ("Block traffic from 10.0.2.1 to 10.0.2.2.", true),
                ("Isolate Server 2 from Server 1.", true),
                ("Isolate Server 2 from Server 3.", false),
                ("Block 203.0.113.7.", false),
                ("Search the logs of 10.0.2.2.", false),
            ] {
                assert_eq!(breaks(sentence, action), broken, "{sentence} | {action}");
            }
        }
    }

    #[test]
    fn hosts_that_must_never_reach_each_other_are_not_joined() {
        for sentence in [
            "Server 3 and Server 4 must not communicate with each other despite sharing Zone 2",
            "10.0.3.3 and Server 4 must never be able to reach each other.",
            "No traffic may pass between Server 3 and Server 4.",
        ] {
            for (action, broken) in [
                ("Allow 10.0.3.3 to reach 10.0.3.4.", true),
                ("Open port 22 between Server 3 and Server 4.", true),
                ("Block traffic between Server 3 and Server 4.", false),
                ("Do not allow Server 3 to reach Server 4.", false),
                ("Allow Server 3 to reach Server 6.", false),
            ] {
                assert_eq!(breaks(sentence, action), broken, "{sentence} | {action}");
            }
        }
    }

    #[test]
    fn what_is_forbidden_is_not_done() {
        let restart = "server_samba must not be restarted while workstations are in use.";
        assert!(breaks(restart, "Restart server_samba."));
        assert!(breaks(restart, "Reboot nothing, but restart the service on 10.0.2.12."));
        assert!(!breaks(restart, "Restart Server 6."));
        assert!(!breaks(restart, "Restore the services of server_samba and check them"));
        let change = "The backups on server_samba must not be changed.";
        assert!(breaks(change, "Remove old files from server_samba."));
        assert!(!breaks(change, "Copy the logs of server_samba."));
        assert!(breaks("Never patch Server 6.", "Patch Samba on 10.0.4.6."));
    }

    #[test]
    fn plain_words_are_hosts_where_the_description_says_so() {
        assert!(breaks("CUPS on mercury must not be taken offline.", "Isolate mercury from the network."));
        assert!(breaks("CUPS on mercury must not be taken offline.", "Isolate 10.0.2.30."));
        assert!(breaks("An outage of nginx on venus is not acceptable.", "Isolate 10.0.2.40."));
        assert!(breaks("jupiter has to stay up and reachable at all times.", "Isolate 10.0.2.50."));
    }

    #[test]
    fn a_sentence_about_several_hosts_is_kept_for_each() {
        let both = constraints(&["Server 1 and Server 6 must stay up."]);
        assert_eq!(both.rules.len(), 2);
        assert!(both.broken_by("Isolate 10.0.2.1.").is_some());
        let broken = both.broken_by("Isolate 10.0.4.6.").unwrap().to_string();
        assert_eq!(
            broken,
            "It would cut off Server 6, and a constraint says: \"Server 1 and Server 6 must stay up.\""
        );
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let sentences = [
            "All topology links between adjacent hosts must remain operational",
            "Servers may only communicate with their designated adjacent neighbors (network segmentation)",
            "The shop on server_samba may be offline for two hours at most.",
            "Patient data must not leave the server network for analysis.",
            "",
        ];
        let read = constraints(&sentences);
        assert!(read.rules.is_empty(), "{:?}", read.rules);
        assert_eq!(read.not_understood, sentences);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(sentence in any::<String>(), action in any::<String>(), system in any::<String>()) {
            let _ = Constraints::read(std::slice::from_ref(&sentence), &system).broken_by(&action);
            let _ = constraints(&[&sentence]).broken_by(&action);
        }

        #[test]
        fn telling_words_are_survived(
            words in proptest::collection::vec(
                "(Server 6|10\\.0\\.4\\.6|mercury|must|not|be|isolate|restarted|from|to|on|reach|é|without|,|never|up)", 0..14),
        ) {
            let text = words.join(" ");
            let read = constraints(&[&text, "Server 6 must stay up."]);
            let _ = read.broken_by(&text);
            // Every sentence is either a rule or not understood.
            prop_assert!(read.rules.iter().any(|rule| rule.text == text.trim()) != read.not_understood.contains(&text.trim().to_owned()));
        }
    }
}
