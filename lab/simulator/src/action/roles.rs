//! What stands in which relation to a verb: what it is done to, the other end, the place where it is done.

use countermove_incident::{VerbClass, Word};

use super::names::{Mention, Names, Subject};

/// What a clause is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) objects: Vec<Subject>,
    pub(super) peers: Vec<Subject>,
}

/// How a mention is tied to its verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    Direct,
    From,
    To,
    Between,
    At,
    Except,
}

/// Sorts the mentions of a clause, given the words between the verb and the end of the clause. `cuts_hosts` says that
/// the verb is one that is done to hosts (`isolate`), so that a gateway may be its object.
pub(super) fn parts(
    kind: Option<VerbClass>,
    cuts_hosts: bool,
    words: &[Word],
    mentions: &[&Mention],
    names: &Names,
) -> Parts {
    let mut tied: Vec<(Tie, &Mention)> = Vec::with_capacity(mentions.len());
    let mut read = 0;
    for mention in mentions {
        let here = words.partition_point(|word| word.place.start < mention.start);
        let between = words.get(read..here).unwrap_or_default();
        // `server_ssh at 10.0.2.11` names one host twice.
        let again = tied.last().filter(|(_, last)| last.subjects == mention.subjects).map(|(tie, _)| *tie);
        let tie = again
            .or_else(|| tie(between))
            .or_else(|| tied.last().map(|(tie, _)| *tie))
            .unwrap_or(Tie::Direct);
        tied.push((tie, mention));
        read = here;
    }
    let excepted = of(&tied, &[Tie::Except]);
    let mut parts = match kind {
        Some(VerbClass::Contain) | None => cut(&tied, cuts_hosts, names),
        Some(VerbClass::Preserve) => kept(&tied),
        Some(VerbClass::Restore) => Parts {
            objects: of(&tied, &[Tie::Direct, Tie::At, Tie::To, Tie::Between]),
            peers: of(&tied, &[Tie::From]),
        },
        Some(VerbClass::Harden) => hardened(&tied),
        Some(VerbClass::Analyse | VerbClass::Eradicate) => Parts {
            objects: of(&tied, &[Tie::Direct, Tie::From, Tie::To, Tie::Between, Tie::At]),
            peers: Vec::new(),
        },
    };
    parts.objects.retain(|subject| !excepted.contains(subject));
    parts.peers.retain(|subject| !excepted.contains(subject));
    parts
}

/// The tie that the last telling word sets, if there is one.
fn tie(words: &[Word]) -> Option<Tie> {
    let lower = |position: usize| words.get(position).map_or("", |word| word.lower.as_str());
    (0..words.len()).rev().find_map(|position| {
        Some(match lower(position) {
            "from" => Tie::From,
            "to" | "into" | "toward" | "towards" | "against" | "with" | "reaching" | "accessing"
            | "contacting" => Tie::To,
            "between" => Tie::Between,
            "on" | "at" | "via" | "through" | "in" | "within" | "across" | "inside" | "using" | "by"
            | "onto" => Tie::At,
            "except" | "excluding" | "besides" | "not" => Tie::Except,
            "than" if ["rather", "other"].contains(&lower(position.wrapping_sub(1))) => Tie::Except,
            "of" | "for" | "as" | "including" => Tie::Direct,
            _ => return None,
        })
    })
}

fn of(tied: &[(Tie, &Mention)], ties: &[Tie]) -> Vec<Subject> {
    let mut out = Vec::new();
    for subject in
        tied.iter().filter(|(tie, _)| ties.contains(tie)).flat_map(|(_, mention)| &mention.subjects)
    {
        if !out.contains(subject) {
            out.push(subject.clone());
        }
    }
    out
}

/// `Isolate A from B`, `block traffic from A to B`, `block A at the gateway`, `cut the link between A and B`.
fn cut(tied: &[(Tie, &Mention)], cuts_hosts: bool, names: &Names) -> Parts {
    let (direct, from, to) = (of(tied, &[Tie::Direct]), of(tied, &[Tie::From]), of(tied, &[Tie::To]));
    let at = of(tied, &[Tie::At]);
    let is_service = |subject: &Subject| matches!(subject, Subject::Service(_));
    let is_gateway = |subject: &Subject| matches!(subject, Subject::Host(host) if names.is_gateway(host));
    let rules_only = |subjects: Vec<Subject>| -> Vec<Subject> {
        subjects.into_iter().filter(|subject| cuts_hosts || !is_gateway(subject)).collect()
    };
    // A rule is put on the gateway; it is about something else.
    let direct = rules_only(direct);
    let (services, direct): (Vec<Subject>, Vec<Subject>) = direct.into_iter().partition(is_service);
    if let Some(((_, first), others)) = tied.split_first().filter(|((tie, _), _)| *tie == Tie::Between) {
        let peers = of(others, &[Tie::Between]);
        let objects = first.subjects.iter().filter(|subject| !peers.contains(subject)).cloned().collect();
        return Parts { objects, peers };
    }
    let (mut objects, peers) = match (direct.is_empty(), from.is_empty(), to.is_empty()) {
        (false, ..) => (direct, [from, to].concat()),
        (true, false, _) => (from, [to, rules_only(at)].concat()),
        (true, true, false) => (to, Vec::new()),
        (true, true, true) => (rules_only(at), Vec::new()),
    };
    objects.extend(services);
    Parts { objects, peers }
}

/// `Copy the logs of A to B`, `save an image of A on B`.
fn kept(tied: &[(Tie, &Mention)]) -> Parts {
    let from = of(tied, &[Tie::Direct, Tie::From, Tie::Between]);
    let (at, to) = (of(tied, &[Tie::At]), of(tied, &[Tie::To]));
    if from.is_empty() { Parts { objects: at, peers: to } } else { Parts { objects: from, peers: to } }
}

/// `Restrict SSH on A to B`, `require keys for logins to A`.
fn hardened(tied: &[(Tie, &Mention)]) -> Parts {
    let own = of(tied, &[Tie::Direct, Tie::At]);
    let ends = of(tied, &[Tie::From, Tie::To, Tie::Between]);
    let has_place = own.iter().any(|subject| !matches!(subject, Subject::Service(_)));
    if has_place {
        Parts { objects: own, peers: ends }
    } else {
        Parts { objects: [own, ends].concat(), peers: Vec::new() }
    }
}
