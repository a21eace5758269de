//! How likely each group of a log is part of an attack: what the model makes of its records and what their words alone say, weighed with
//! what the source says of them and with what else the log shows.
//!
//! The rule is a logistic one: each piece of evidence adds to the log-odds what [`WEIGHTS`] says, and the sum is the probability. No
//! single piece decides, the model's included, and each judgement tells what spoke for it and against it.
//!
//! What a record says is worth what its source is. In a log that tells of few, the records are what somebody chose to tell, and their words
//! decide; in one of much at once, from sensors that fire at many who have nothing in common or of all that hosts write, most of it is
//! nothing whatever it says, and what else the log shows of the same hosts decides, by [`AMONG_NOISE`]. Between the two the weights go over
//! into each other.

use std::collections::BTreeMap;

use countermove_incident::{AlertClass, Familiarity, Origin};

use crate::evidence::groups::{GroupView, GroupWords};
use crate::evidence::hosts::Hosts;
use crate::evidence::lines::{Guesses, Lines};
use crate::evidence::parts::Parts;
use crate::evidence::reading::Reading;
use crate::evidence::surroundings::between;
use crate::evidence::wording::Wording;

/// So many failed logins from one place are no slips.
const MANY_FAILED: u64 = 3;
/// A piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Piece {
    /// The model's own log-odds, times the weight.
    Model,
    /// What the words of the record alone say, in log-odds beyond those of no words.
    Wording,
    /// The source says that it is severe.
    High,
    /// The source says that it is of medium severity.
    Medium,
    /// The source says that it is of low severity.
    Low,
    /// The source says that it is for information only.
    Lowest,
    /// The source names a tactic or a technique of ATT&CK.
    Tagged,
    /// The class stands for an attack that got somewhere.
    Hostile,
    /// The class stands for what is no attack by itself.
    Harmless,
    /// The sensor blocked it.
    Blocked,
    /// The description says that the sender looks at others by order.
    ByOrder,
    /// It is a severe alert whose outside end shows in another serious group, or that stays among own hosts.
    ComesBack,
    /// Its rule is one of those for malware by its vendor's own names.
    Malware,
    /// How many other messages of alerts of the same host came within a quarter of an hour; this and the next four count as logarithms of
    /// one more.
    Close,
    /// How many other messages of serious alerts the same two show in.
    SameTwo,
    /// How many of severe alerts a host acts in that acts in it.
    ActsAgain,
    /// How many of severe alerts a host acts in afterwards that it is aimed at.
    GoesOn,
    /// How many messages of severe alerts have nothing to do with it.
    Apart,
    /// A host only asks others for a name or the time.
    Asks,
    /// Whoever looked at its sender by order gets an answer.
    Answers,
    /// A login failed once or twice, as people mistype.
    Slip,
    /// Logins failed again and again from one place.
    Guessing,
    /// One of those who failed so got in.
    GotIn,
    /// It is an ordinary log of a host or a service, which is mostly about ordinary days.
    Log,
    /// It is in no form that is known, so that nobody can tell whose words it holds.
    Unfamiliar,
    /// Its like is seen on most of the organisation's ordinary days, of the same hosts, accounts and addresses.
    Daily,
    /// It is on some of them.
    Usual,
    /// Its like is, of others.
    UsualOfOthers,
    /// An account acts from outside from where it never did on ordinary days: in log-odds, by how seldom one does so there.
    Stranger,
    /// It acts from where it does.
    AtHome,
    /// It has to do with somebody outside with whom nothing had on ordinary days: likewise.
    NewOutside,
    /// It has to do with those outside with whom something had.
    KnownOutside,
    /// How many other messages that are like nothing on ordinary days came with it, of the same host or account: as a logarithm of one more,
    /// as the next two.
    StrangeBeside,
    /// How many programs that no ordinary day knows it and these tell of.
    StrangePrograms,
    /// How many words it has that no ordinary day held.
    StrangeWords,
    /// What holds for every group.
    Always,
    /// It is no alert, and stands beside what is enough of an attack.
    Beside,
}

/// What each piece adds to the log-odds in a log that tells of few. Set by hand (docs/perception.md).
const WEIGHTS: [(Piece, f32); 26] = [
    (Piece::Model, 0.9),
    (Piece::Wording, 0.4),
    (Piece::High, 1.0),
    (Piece::Medium, 0.4),
    (Piece::Low, -0.8),
    (Piece::Lowest, -1.5),
    (Piece::Tagged, 2.0),
    (Piece::Hostile, 0.8),
    (Piece::Harmless, -0.8),
    (Piece::Blocked, -2.0),
    (Piece::ByOrder, -8.0),
    (Piece::Answers, -2.0),
    (Piece::ComesBack, 1.0),
    (Piece::Slip, -2.0),
    (Piece::Guessing, 3.0),
    (Piece::GotIn, 2.5),
    (Piece::Log, -1.7),
    (Piece::Unfamiliar, -0.5),
    (Piece::Daily, -5.0),
    (Piece::Usual, -3.0),
    (Piece::UsualOfOthers, -0.5),
    (Piece::Stranger, 0.4),
    (Piece::AtHome, -0.9),
    (Piece::NewOutside, 0.8),
    (Piece::KnownOutside, -1.5),
    (Piece::Always, -0.3),
];

/// The same among noise. Fitted to logs that others wrote, but for what these do not show, which is as above, and for what is as on ordinary
/// days (docs/perception.md). What weighs nothing stands here for whoever fits the weights anew, or severity and class alone.
const AMONG_NOISE: [(Piece, f32); 33] = [
    (Piece::Model, 0.1),
    (Piece::High, 0.2),
    (Piece::Medium, 0.0),
    (Piece::Low, -0.2),
    (Piece::Lowest, -0.4),
    (Piece::Tagged, 0.0),
    (Piece::Hostile, 0.0),
    (Piece::Harmless, 0.0),
    (Piece::Blocked, -0.5),
    (Piece::ByOrder, -8.0),
    (Piece::Answers, -2.0),
    (Piece::Malware, 1.5),
    (Piece::Close, 1.1),
    (Piece::SameTwo, 1.4),
    (Piece::ActsAgain, 1.25),
    (Piece::GoesOn, 1.45),
    (Piece::Apart, -0.4),
    (Piece::Asks, -1.5),
    (Piece::Log, 0.8),
    (Piece::Slip, -1.0),
    (Piece::Guessing, -0.5),
    (Piece::GotIn, 2.5),
    (Piece::Stranger, 0.4),
    (Piece::AtHome, -0.9),
    (Piece::NewOutside, 0.8),
    (Piece::KnownOutside, -1.5),
    (Piece::Daily, -3.0),
    (Piece::Usual, -2.5),
    (Piece::UsualOfOthers, -1.0),
    (Piece::StrangeBeside, 0.95),
    (Piece::StrangePrograms, 1.15),
    (Piece::StrangeWords, 0.65),
    (Piece::Always, -2.2),
];

/// What weighs otherwise among noise where ordinary days stand beside it: what is like nothing on them tells more of a host than what else
/// was raised there. Fitted likewise.
const BESIDE_DAYS: [(Piece, f32); 8] = [
    (Piece::Close, 0.0),
    (Piece::SameTwo, 0.0),
    (Piece::ActsAgain, 0.0),
    (Piece::GoesOn, 0.0),
    (Piece::Apart, 0.0),
    (Piece::Log, 0.0),
    (Piece::UsualOfOthers, -0.2),
    (Piece::Always, -3.1),
];

/// How likely an attacker who acts with somebody's account does so from where its owner never was, set by hand.
const FROM_NEW: f32 = 0.8;
/// More messages that have nothing to do with a group count as so many, which is what the logs show that the weights were fitted to: whoever
/// floods a sensor gains no more.
const MOST_APART: usize = 12;

/// What a group that is no alert gains beside what is enough of an attack, in log-odds: nobody writes logs for attacks, and where there is one
/// it is in them. Set by hand with the weight of [`Piece::Log`] (docs/perception.md).
const BESIDE: f32 = 1.2;

/// Classes of alerts about what an attack has reached.
const HOSTILE: [&str; 6] = [
    "trojan-activity",
    "successful-admin",
    "successful-user",
    "shellcode-detect",
    "web-application-attack",
    "attempted-admin",
];
/// What vendors call their rules for malware, behind their own name or at the beginning: Emerging Threats' categories and Snort's.
const MALWARE_RULES: [&str; 15] = [
    "MALWARE",
    "TROJAN",
    "CNC",
    "ATTACK_RESPONSE",
    "CURRENT_EVENTS",
    "EXPLOIT_KIT",
    "PHISHING",
    "COINMINER",
    "MOBILE_MALWARE",
    "WORM",
    "MALWARE-CNC",
    "MALWARE-BACKDOOR",
    "MALWARE-OTHER",
    "EXPLOIT-KIT",
    "INDICATOR-COMPROMISE",
];
/// How vendors begin the names of their rules where the category follows.
const VENDORS: [&str; 3] = ["ET", "ETPRO", "GPL"];
/// Classes of alerts about what is no attack by itself.
const HARMLESS: [&str; 7] = [
    "not-suspicious",
    "misc-activity",
    "policy-violation",
    "protocol-command-decode",
    "inappropriate-content",
    "tcp-connection",
    "icmp-event",
];

/// How likely a group is part of an attack, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    /// Probability that it is, from 0 to 1.
    pub attack: f32,
    /// How much of the log is about others, from 0 to 1.
    pub noise: f32,
    /// What each piece of evidence added to the log-odds, the weightiest first.
    pub pieces: Vec<(Piece, f32)>,
}

impl Judgement {
    /// The pieces in words, the weightiest first; what holds for every group is left out, and what weighs next to nothing.
    pub(crate) fn because(&self) -> String {
        let told = self.pieces.iter().filter(|(piece, added)| *piece != Piece::Always && added.abs() >= 0.05);
        let told: Vec<String> = told.map(|(piece, added)| format!("{} {added:+.1}", piece.name())).collect();
        told.join(", ")
    }
}

impl Piece {
    fn name(self) -> &'static str {
        match self {
            Piece::Model => "the model",
            Piece::Wording => "the words alone",
            Piece::High => "high severity",
            Piece::Medium => "medium severity",
            Piece::Low => "low severity",
            Piece::Lowest => "for information only",
            Piece::Tagged => "the source's own ATT&CK tag",
            Piece::Hostile => "a class of attacks",
            Piece::Harmless => "a class of harmless traffic",
            Piece::Blocked => "blocked by the sensor",
            Piece::ByOrder => "the sender looks by order",
            Piece::ComesBack => "a severe alert that does not stand alone",
            Piece::Malware => "a rule for malware",
            Piece::Close => "other alerts of the same host, close to it",
            Piece::SameTwo => "other alerts of the same two",
            Piece::ActsAgain => "other severe alerts of the same host",
            Piece::GoesOn => "what its target did afterwards",
            Piece::Apart => "severe alerts that have nothing to do with it",
            Piece::Asks => "a question for a name or the time",
            Piece::Answers => "an answer to who looks by order",
            Piece::Slip => "a login that failed once or twice",
            Piece::Guessing => "logins that failed again and again",
            Piece::GotIn => "one of them worked in the end",
            Piece::Log => "an ordinary log",
            Piece::Unfamiliar => "in no known form",
            Piece::Daily => "as on most ordinary days",
            Piece::Usual => "as on ordinary days",
            Piece::UsualOfOthers => "as on ordinary days, of others",
            Piece::Stranger => "its account never came from there on ordinary days",
            Piece::AtHome => "its account comes from there on ordinary days",
            Piece::NewOutside => "whom nobody met on ordinary days",
            Piece::KnownOutside => "those outside are there on ordinary days",
            Piece::StrangeBeside => "what else no ordinary day had, of the same, close to it",
            Piece::StrangePrograms => "programs that no ordinary day knows",
            Piece::StrangeWords => "words that no ordinary day held",
            Piece::Always => "before any evidence",
            Piece::Beside => "beside an attack",
        }
    }
}

/// A piece of evidence on a group with its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct WeighedEvidence {
    /// What it is, as a plan tells it, and whether it counts as it does among noise.
    pub name: String,
    /// Log-odds of the model and of the words, logarithms of counts, of all others whether there is it, as 0 or 1; of a log between quiet
    /// and noisy that part of it that counts so.
    pub value: f32,
    /// What it adds to the log-odds for each one of its value.
    pub weight: f32,
}

/// What the words of a group's records alone say.
pub(crate) fn wording(group: &GroupView) -> Reading {
    let GroupWords { message, classification, .. } = &group.words;
    Wording::shipped().read(&format!("{message}\n{classification}"))
}

/// All pieces of evidence on a group, also those that there are not. `words` are what [`wording`] says of it.
pub(crate) fn evidence(
    group: &GroupView,
    reading: &Reading,
    words: &Reading,
    hosts: &Hosts,
    lines: &Lines,
) -> Vec<WeighedEvidence> {
    let told = |(piece, weight, value): (Piece, f32, f32), among: &str| {
        let name = format!("{}{among}", piece.name());
        WeighedEvidence { name, value, weight }
    };
    let [quiet, noisy] = weighed(group, reading, words, hosts, lines);
    let quiet = quiet.into_iter().map(|piece| told(piece, ""));
    quiet.chain(noisy.into_iter().map(|piece| told(piece, ", among noise"))).collect()
}

/// Weighs the evidence on a group. `words` are what [`wording`] says of it.
pub(crate) fn judge(
    group: &GroupView,
    reading: &Reading,
    words: &Reading,
    hosts: &Hosts,
    lines: &Lines,
) -> Judgement {
    let mut pieces: BTreeMap<Piece, f32> = BTreeMap::new();
    for (piece, weight, value) in weighed(group, reading, words, hosts, lines).concat() {
        *pieces.entry(piece).or_default() += weight * value;
    }
    let pieces = pieces.into_iter().filter(|(_, added)| *added != 0.0);
    Judgement::of(pieces.collect(), group.around.noise)
}

/// Each piece with its weight, and with what it says before it is weighed, as in any log and as among noise.
fn weighed(
    group: &GroupView,
    reading: &Reading,
    words: &Reading,
    hosts: &Hosts,
    lines: &Lines,
) -> [Vec<(Piece, f32, f32)>; 2] {
    let guesses = lines.guesses(&group.records);
    let count = |others: usize| (others as f32).ln_1p();
    let value = |piece| match piece {
        Piece::Model => reading.log_odds(),
        // Of logins that failed it matters how many did, which no word says.
        Piece::Wording if guesses.failed > 0 => 0.0,
        Piece::Wording => words.log_odds() - Wording::shipped().read("").log_odds(),
        Piece::Stranger => surprise(group.origin),
        Piece::NewOutside => surprise(group.beyond),
        Piece::Close => count(group.around.close),
        Piece::SameTwo => count(group.around.same_two),
        Piece::ActsAgain => count(group.around.acts_again),
        Piece::GoesOn => count(group.around.goes_on),
        Piece::Apart => count(group.around.apart.min(MOST_APART)),
        Piece::StrangeBeside => count(group.around.strange),
        Piece::StrangePrograms => count(group.around.strange_programs),
        Piece::StrangeWords => count(group.strange_words),
        piece => f32::from(u8::from(holds(piece, group, hosts, guesses))),
    };
    let noise = group.around.noise;
    let quiet = WEIGHTS.iter().map(|(piece, weight)| (*piece, *weight, (1.0 - noise) * value(*piece)));
    let beside_days = |piece: Piece| {
        let mut others = BESIDE_DAYS.iter().filter(|_| group.is_beside_days);
        others.find(|(other, _)| *other == piece).map(|(_, weight)| *weight)
    };
    let noisy = AMONG_NOISE
        .iter()
        .map(|(piece, weight)| (*piece, beside_days(*piece).unwrap_or(*weight), noise * value(*piece)));
    [quiet.collect(), noisy.collect()]
}

/// What it says in log-odds that somebody is new: the less, the more often somebody is.
fn surprise(origin: Option<Origin>) -> f32 {
    match origin {
        Some(Origin::New(seldom)) => (FROM_NEW / seldom).ln().max(0.0),
        Some(Origin::Usual) | None => 0.0,
    }
}

/// From these log-odds on a group counts as part of an attack: where it is likelier than not.
const LIKELY: f32 = 0.0;
/// The same among noise, where such a group is enough by itself: 30 %. Whoever misses an attack, or every second record of one, loses more than
/// whoever looks in vain.
const LIKELY_AMONG_NOISE: f32 = -0.847;
/// What is enough among noise where ordinary days stand beside it: likelier than not.
const ENOUGH_BESIDE_DAYS: f32 = 0.0;
/// So much has to speak for an attack before there is one, in log-odds: one group that is part of it with a chance of 70 %, or several
/// with a name in common that are so together.
const ENOUGH: f32 = 0.847;
/// The same where nothing does but alerts that their own sensors call less than severe, 80 %: most of these are nobody's attack.
const ENOUGH_MILD: f32 = 1.386;

impl Judgement {
    fn of(mut pieces: Vec<(Piece, f32)>, noise: f32) -> Judgement {
        pieces.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let sum: f32 = pieces.iter().map(|(_, added)| added).sum();
        Judgement { attack: 1.0 / (1.0 + (-sum).exp()), noise, pieces }
    }

    /// The same where other groups are enough to say that there is an attack.
    pub(crate) fn beside_an_attack(self, group: &GroupView) -> Judgement {
        if group.is_alert {
            return self;
        }
        let beside = (Piece::Beside, between(self.noise, BESIDE, 0.0));
        Judgement::of(self.pieces.into_iter().chain([beside]).collect(), self.noise)
    }

    /// Whether the group counts as part of an attack.
    pub(crate) fn is_likely(&self) -> bool {
        self.log_odds() >= between(self.noise, LIKELY, LIKELY_AMONG_NOISE)
    }

    fn log_odds(&self) -> f32 {
        self.pieces.iter().map(|(_, added)| added).sum()
    }

    /// The log-odds that count for whether there is an attack: of what is no alert without what the alerts around it say, which say so
    /// themselves.
    fn by_itself(&self, group: &GroupView) -> f32 {
        let is_own = |piece: Piece| {
            group.is_alert
                || !matches!(
                    piece,
                    Piece::Close | Piece::SameTwo | Piece::ActsAgain | Piece::GoesOn | Piece::Apart
                )
        };
        self.pieces.iter().filter(|(piece, _)| is_own(*piece)).map(|(_, added)| added).sum()
    }
}

/// Whether what is likely part of an attack is enough to say that there is one: many groups that are each a little likelier than not
/// have to be about somebody together, or every long log would hold an attack. Among noise what groups say together is part of what each does.
pub(crate) fn is_enough<'a>(all: impl IntoIterator<Item = (&'a GroupView, &'a Judgement)>) -> bool {
    // What speaks against each, and whether more than what the sensor itself calls minor or nobody understood does.
    let mut by_name: BTreeMap<&str, (f32, bool, f32)> = BTreeMap::new();
    for (group, judgement) in all.into_iter().filter(|(_, judgement)| judgement.is_likely()) {
        let Parts { outside, from_inside, aimed_at, .. } = &group.parts;
        let names = outside.iter().chain(from_inside).chain(aimed_at).map(String::as_str);
        let (log_odds, is_serious) = (judgement.by_itself(group), group.is_serious());
        let is_mild = group.is_alert && group.severity.is_some_and(|severity| severity > 1);
        let enough = if is_mild { ENOUGH_MILD } else { ENOUGH };
        let alone = if group.is_beside_days { ENOUGH_BESIDE_DAYS } else { LIKELY_AMONG_NOISE };
        if is_serious && log_odds >= between(judgement.noise, enough, alone) {
            return true;
        }
        for name in names {
            let (sum, serious, least) = by_name.entry(name).or_insert((0.0, false, ENOUGH_MILD));
            *sum += (1.0 - judgement.noise) * log_odds;
            *serious |= is_serious;
            *least = least.min(enough);
        }
    }
    by_name.values().any(|(sum, is_serious, enough)| *is_serious && sum >= enough)
}

/// Whether there is this piece of evidence on a group.
fn holds(piece: Piece, group: &GroupView, hosts: &Hosts, guesses: Guesses) -> bool {
    let class = || AlertClass::find(&group.words.classification).map_or("", |class| class.short_name);
    match piece {
        Piece::Model
        | Piece::Wording
        | Piece::Close
        | Piece::Stranger
        | Piece::NewOutside
        | Piece::SameTwo
        | Piece::ActsAgain
        | Piece::GoesOn
        | Piece::Apart
        | Piece::StrangeBeside
        | Piece::StrangePrograms
        | Piece::StrangeWords
        | Piece::Always => true,
        // That follows from what all groups say.
        Piece::Beside => false,
        Piece::High => group.severity == Some(1),
        Piece::Medium => group.severity == Some(2),
        Piece::Low => group.severity == Some(3),
        Piece::Lowest => group.severity.is_some_and(|severity| severity > 3),
        Piece::Tagged => group.is_alert && (!group.tactics.is_empty() || !group.techniques.is_empty()),
        Piece::Hostile => HOSTILE.contains(&class()),
        Piece::Harmless => HARMLESS.contains(&class()),
        Piece::Blocked => group.is_blocked,
        Piece::ByOrder => group.is_by_order(hosts),
        Piece::ComesBack => group.around.comes_back,
        Piece::Malware => is_for_malware(&group.words.message),
        Piece::Asks => {
            let Parts { from_inside, aimed_at, .. } = &group.parts;
            group.parts.met().next().is_none() && aimed_at.is_empty() && !from_inside.is_empty()
        }
        Piece::Answers => group.around.answers,
        Piece::Slip => (1..MANY_FAILED).contains(&guesses.failed),
        Piece::Guessing => guesses.failed >= MANY_FAILED,
        Piece::GotIn => guesses.failed >= MANY_FAILED && guesses.worked,
        Piece::Log => !group.is_alert,
        Piece::Unfamiliar => group.is_unfamiliar,
        Piece::Daily => group.familiarity == Familiarity::Daily,
        Piece::Usual => group.familiarity == Familiarity::Usual,
        Piece::AtHome => group.origin == Some(Origin::Usual),
        Piece::KnownOutside => group.beyond == Some(Origin::Usual),
        Piece::UsualOfOthers => group.familiarity == Familiarity::UsualOfOthers,
    }
}

/// Whether the rule that matched is one for malware, as its vendor names it.
fn is_for_malware(message: &str) -> bool {
    let mut words = message.split_whitespace();
    let category = match words.next() {
        Some(vendor) if VENDORS.contains(&vendor) => words.next(),
        first => first,
    };
    category.is_some_and(|category| MALWARE_RULES.contains(&category))
}

#[cfg(test)]
mod tests {
    use countermove_incident::Tactic;

    use super::*;
    use crate::evidence::surroundings::Surroundings;

    fn group() -> GroupView {
        GroupView { is_alert: true, ..GroupView::default() }
    }

    fn reading(everyday: f32) -> Reading {
        Reading { everyday, tactics: vec![(Tactic::CommandAndControl, 1.0 - everyday)] }
    }

    fn judged(group: &GroupView, reading: &Reading) -> Judgement {
        judge(group, reading, &wording(group), &Hosts::default(), &Lines::default())
    }

    #[test]
    fn more_evidence_for_an_attack_makes_it_likelier() {
        let of = |group: &GroupView, everyday| judged(group, &reading(everyday)).attack;
        let plain = group();
        assert!(of(&plain, 0.1) > of(&plain, 0.5) && of(&plain, 0.5) > of(&plain, 0.9));
        let severities = [Some(1), Some(2), None, Some(3), Some(4)];
        let by_severity = severities.map(|severity| of(&GroupView { severity, ..group() }, 0.5));
        assert!(by_severity.is_sorted_by(|a, b| a > b), "{by_severity:?}");
        let tagged = GroupView { tactics: [Tactic::Impact].into(), ..group() };
        assert!(of(&tagged, 0.5) > of(&plain, 0.5));
        assert!(of(&GroupView { is_blocked: true, ..group() }, 0.5) < of(&plain, 0.5));
    }

    #[test]
    fn what_is_as_on_ordinary_days_is_less_likely_an_attack() {
        let of = |familiarity| judged(&GroupView { familiarity, ..group() }, &reading(0.2)).attack;
        let all =
            [Familiarity::Daily, Familiarity::Usual, Familiarity::UsualOfOthers, Familiarity::New].map(of);
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        assert_eq!(all[3], judged(&group(), &reading(0.2)).attack, "what is new says nothing");
    }

    #[test]
    fn beside_ordinary_days_counts_what_these_never_had_in_place_of_other_alerts() {
        let of = |is_beside_days, strange: usize, close: usize| {
            let around = Surroundings {
                noise: 1.0,
                strange,
                strange_programs: strange,
                close,
                ..Surroundings::default()
            };
            judged(&GroupView { is_beside_days, strange_words: strange, around, ..group() }, &reading(0.5))
                .attack
        };
        assert!(of(true, 4, 0) > of(true, 1, 0) && of(true, 1, 0) > of(true, 0, 0));
        assert_eq!(of(true, 0, 4), of(true, 0, 0), "other alerts are as usual there as anything");
        assert!(of(false, 0, 4) > of(false, 0, 0));
    }

    #[test]
    fn what_spoke_for_it_adds_up_to_the_probability() {
        let group = GroupView {
            severity: Some(1),
            around: Surroundings { comes_back: true, ..Surroundings::default() },
            ..group()
        };
        let judgement = judged(&group, &reading(0.2));
        let sum: f32 = judgement.pieces.iter().map(|(_, added)| added).sum();
        assert!((judgement.attack - 1.0 / (1.0 + (-sum).exp())).abs() < 1e-6);
        assert!(judgement.pieces.is_sorted_by(|a, b| a.1.abs() >= b.1.abs()), "{:?}", judgement.pieces);
        assert_eq!(
            judgement.because(),
            "the model +1.2, high severity +1.0, a severe alert that does not stand alone +1.0"
        );
        assert!(judged(&group, &Reading::sure(None)).attack > 0.0, "nobody is that sure");
    }

    #[test]
    fn a_little_about_nobody_in_particular_is_not_enough() {
        let about = |name: &str| {
            let mut group = group();
            group.parts.outside.insert(name.to_owned());
            let judgement = judged(&group, &reading(0.3));
            assert!(judgement.is_likely() && judgement.attack < 0.75, "{judgement:?}");
            (group, judgement)
        };
        let enough = |all: &[(GroupView, Judgement)]| is_enough(all.iter().map(|(group, own)| (group, own)));
        let apart = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(about);
        assert!(!enough(&apart));
        assert!(enough(&[about("192.0.2.1"), about("192.0.2.1"), about("192.0.2.1")]));
        let severe = GroupView { severity: Some(1), ..group() };
        let judgement = judged(&severe, &reading(0.2));
        assert!(enough(&[(severe, judgement)]), "one that is likely enough is enough");
        assert!(!enough(&[]));
        let mild = GroupView { severity: Some(2), ..about("192.0.2.1").0 };
        let [likely, likelier] = [0.3, 0.1].map(|everyday| judged(&mild, &reading(everyday)));
        assert!((0.7..0.8).contains(&likely.attack) && likelier.attack > 0.8, "{likely:?} {likelier:?}");
        assert!(!enough(&[(mild.clone(), likely)]), "the sensor does not call it severe");
        assert!(enough(&[(mild, likelier)]));
        let minor = GroupView { severity: Some(3), ..about("192.0.2.1").0 };
        let judgement = judged(&minor, &Reading::sure(Some(Tactic::Impact)));
        assert!(
            judgement.is_likely() && !enough(&[(minor.clone(), judgement.clone())]),
            "minor alone never is"
        );
        assert!(enough(&[(minor, judgement), about("192.0.2.1")]));
    }

    fn among(noise: f32, around: Surroundings) -> GroupView {
        GroupView { severity: Some(1), around: Surroundings { noise, ..around }, ..group() }
    }

    #[test]
    fn among_noise_what_else_is_seen_of_the_same_hosts_decides() {
        let alone = Surroundings::default();
        let of = |group: &GroupView, everyday| judged(group, &reading(everyday)).attack;
        assert!(of(&among(0.0, alone), 0.02) > 0.9 && of(&among(1.0, alone), 0.02) < 0.3);
        let half = of(&among(0.5, alone), 0.02);
        assert!(half > of(&among(1.0, alone), 0.02) && half < of(&among(0.0, alone), 0.02));
        for around in [
            Surroundings { same_two: 3, ..alone },
            Surroundings { acts_again: 3, ..alone },
            Surroundings { goes_on: 3, ..alone },
        ] {
            assert!(of(&among(1.0, around), 0.5) > of(&among(1.0, alone), 0.02), "{around:?}");
            assert_eq!(of(&among(0.0, around), 0.5), of(&among(0.0, alone), 0.5), "{around:?}");
        }
        let apart = |apart| of(&among(1.0, Surroundings { apart, ..alone }), 0.5);
        assert!(apart(0) > apart(3) && apart(3) > apart(MOST_APART));
        assert_eq!(apart(MOST_APART), apart(5_000), "whoever floods a sensor gains no more");
        let answer = Surroundings { answers: true, ..alone };
        assert!(of(&among(0.0, answer), 0.5) < of(&among(0.0, alone), 0.5));
    }

    #[test]
    fn evidence_tells_what_counts_as_in_any_log_and_what_as_among_noise() {
        let group = among(0.25, Surroundings { same_two: 2, ..Surroundings::default() });
        let told = evidence(&group, &reading(0.2), &wording(&group), &Hosts::default(), &Lines::default());
        let sum: f32 = told.iter().map(|piece| piece.value * piece.weight).sum();
        let judgement = judged(&group, &reading(0.2));
        assert!((judgement.log_odds() - sum).abs() < 1e-5, "{sum} {judgement:?}");
        let value = |name: &str| told.iter().find(|piece| piece.name == name).map(|piece| piece.value);
        assert_eq!((value("high severity"), value("high severity, among noise")), (Some(0.75), Some(0.25)));
        let names: std::collections::BTreeSet<&str> = told.iter().map(|piece| piece.name.as_str()).collect();
        assert_eq!(names.len(), told.len());
    }

    #[test]
    fn among_noise_one_group_is_enough_and_none_is_counted_twice() {
        let judged = |group: GroupView, everyday: f32| {
            let judgement = judged(&group, &reading(everyday));
            (group, judgement)
        };
        let enough = |all: &[(GroupView, Judgement)]| is_enough(all.iter().map(|(group, own)| (group, own)));
        let some = |same_two: usize| {
            let mut group = among(1.0, Surroundings { same_two, ..Surroundings::default() });
            group.parts.outside.insert("192.0.2.1".into());
            judged(group, 0.4)
        };
        let (weak, strong) = (some(0), some(4));
        assert!(!weak.1.is_likely() && strong.1.is_likely(), "{weak:?} {strong:?}");
        assert!(enough(&[strong]));
        assert!(!enough(&vec![weak; 5]), "that they are of one is part of what each says");
    }

    #[test]
    fn what_stands_beside_alerts_makes_no_incident_by_itself() {
        let around = Surroundings { close: 4, goes_on: 3, ..Surroundings::default() };
        let of = |is_alert: bool| {
            let group = GroupView { is_alert, is_log: !is_alert, ..among(1.0, around) };
            let judgement = judged(&group, &reading(0.9));
            (group, judgement)
        };
        let enough = |(group, judgement): (GroupView, Judgement)| is_enough([(&group, &judgement)]);
        let line = of(false);
        assert!(line.1.attack > 0.5, "it is likely part of it, if there is one: {line:?}");
        assert!(enough(of(true)) && !enough(line));
    }

    #[test]
    fn who_is_outside_counts_by_how_seldom_somebody_new_is() {
        let of = |beyond| judged(&GroupView { beyond, ..group() }, &reading(0.5)).attack;
        let new = |seldom| of(Some(Origin::New(seldom)));
        let nothing = of(None);
        assert!(new(0.05) > new(0.4) && new(0.4) > nothing);
        assert_eq!(new(0.9), nothing, "where ever others come somebody new says nothing");
        assert!(of(Some(Origin::Usual)) < nothing);
        let acts = |origin| judged(&GroupView { origin, ..group() }, &reading(0.5)).attack;
        assert!(acts(Some(Origin::New(0.05))) > acts(Some(Origin::New(0.4))));
        assert!(acts(Some(Origin::Usual)) < acts(None));
    }

    #[test]
    fn rules_for_malware_are_known_by_their_vendors_names() {
        for (message, is) in [
            ("ET MALWARE Cobalt Strike Beacon", true),
            ("ETPRO TROJAN Win32/X Checkin", true),
            ("MALWARE-CNC Win.Trojan.Zeus outbound connection", true),
            ("ET POLICY Possible MALWARE download", false),
            ("ET", false),
            ("", false),
        ] {
            assert_eq!(is_for_malware(message), is, "{message}");
        }
    }
}
