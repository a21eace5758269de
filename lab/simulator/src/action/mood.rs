//! Whether a sentence tells somebody to do what its verbs say, or forbids it, asks for it, or speaks of it in passing.

use countermove_incident::{VerbForm, VerbUse, Word};

/// How a sentence means a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mood {
    /// It is to be done.
    Told,
    /// It is not to be done: `do not block`, `without isolating`.
    Refused,
    /// It may be done: a question, a condition, something to consider.
    Open,
    /// It is what another action is for, when it happens, or what is said about something.
    Aside,
}

/// What is known of a place in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// How a verb would be meant here.
    pub(super) mood: Mood,
    /// Number of the part of the sentence.
    pub(super) part: usize,
}

/// Every word's region, and the mood of every use of a verb.
pub(super) struct Moods {
    pub(super) regions: Vec<Region>,
    pub(super) uses: Vec<Mood>,
}

const NEGATORS: &[&str] =
    &["not", "dont", "never", "cannot", "cant", "wont", "shouldnt", "mustnt", "neither", "no", "nobody"];
/// Negators of the verb in `-ing` behind them, and of nothing that follows it.
const SOFT_NEGATORS: &[&str] =
    &["without", "avoid", "refrain", "avoiding", "instead", "rather", "stop", "cease"];
const DOUBTS: &[&str] = &[
    "consider",
    "considering",
    "plan",
    "planning",
    "prepare",
    "preparing",
    "ability",
    "able",
    "capability",
    "discuss",
    "think",
    "maybe",
    "perhaps",
    "possibly",
    "could",
    "might",
    "may",
    "can",
    "option",
    "options",
    "ready",
    "propose",
    "if",
    "unless",
    "provided",
    "assuming",
    "wonder",
];
const TIMES: &[&str] = &["before", "after", "once", "until", "while", "when", "whenever"];
const REMARKS: &[&str] = &["which", "who", "whose", "that", "where", "because", "since", "as"];
const QUESTIONS: &[&str] = &[
    "what", "which", "why", "how", "who", "where", "is", "are", "was", "were", "does", "did", "could",
    "would", "can", "may", "might", "shall", "should", "has",
];
/// Words behind which `to` begins what is to be done, not what it is for.
const WANTS: &[&str] = &[
    "need",
    "needs",
    "have",
    "has",
    "want",
    "sure",
    "remember",
    "proceed",
    "continue",
    "try",
    "team",
    "is",
    "are",
    "ought",
    "going",
    "required",
    "advised",
    "recommended",
    "necessary",
    "important",
    "best",
    "next",
    "step",
    "then",
    "also",
    "and",
    "administrators",
    "admins",
    "admin",
    "engineers",
    "staff",
    "responders",
    "operator",
    "operators",
    "us",
    "them",
];
/// Words behind `to` that make it a direction.
const DIRECTIONS: &[&str] = &[
    "",
    "the",
    "a",
    "an",
    "any",
    "all",
    "its",
    "other",
    "internal",
    "external",
    "our",
    "each",
    "both",
    "this",
    "those",
    "port",
    "ports",
    "host",
    "server",
    "servers",
    "hosts",
    "zone",
    "every",
    "attacker",
    "new",
    "known",
    "good",
    "full",
    "normal",
    "production",
    "service",
    "read",
    "only",
    "and",
    "from",
    "ssh",
    "samba",
    "http",
    "their",
    "his",
    "their",
];

/// A text, read as far as its words, verbs and names.
pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    pub(super) words: &'a [Word],
    pub(super) uses: &'a [VerbUse],
    /// Position of the word of each use.
    pub(super) places: &'a [usize],
    /// Bytes at which something is named, in order.
    pub(super) named: &'a [usize],
}

/// The moods of a text's verbs.
pub(super) fn moods(reading: &Reading<'_>) -> Moods {
    let Reading { words, uses, .. } = *reading;
    let mut moods = Moods { regions: Vec::with_capacity(words.len()), uses: vec![Mood::Aside; uses.len()] };
    let mut start = 0;
    while start < words.len() {
        let length =
            words.iter().skip(start + 1).position(|word| word.begins).map_or(words.len() - start, |n| n + 1);
        let end = start + length;
        Sentence::new(reading, start, end).read(&mut moods);
        start = end;
    }
    moods
}

struct Sentence<'a> {
    reading: &'a Reading<'a>,
    start: usize,
    end: usize,
    /// What the whole sentence is.
    base: Mood,
    region: Region,
    /// Whether the part ends at the next verb that tells something, or at the next comma.
    soft: bool,
    /// Whether the part's own verb was read.
    verb_read: bool,
    told: bool,
}

impl<'a> Sentence<'a> {
    fn new(reading: &'a Reading<'a>, start: usize, end: usize) -> Self {
        let words = reading.words;
        let from = words.get(end - 1).map_or(0, |word| word.place.end);
        let to = words.get(end).map_or(reading.text.len(), |word| word.place.start);
        let word = |position: usize| words.get(start + position).map_or("", |word| word.lower.as_str());
        let asks = QUESTIONS.contains(&word(0))
            || ["do", "have"].contains(&word(0)) && ["we", "you", "they", "i"].contains(&word(1));
        let is_question = asks || reading.text.get(from..to).unwrap_or_default().contains('?');
        let base = if is_question { Mood::Open } else { Mood::Told };
        let region = Region { mood: base, part: start };
        Sentence { reading, start, end, base, region, soft: false, verb_read: false, told: false }
    }

    fn read(mut self, out: &mut Moods) {
        let first_use = self.reading.places.partition_point(|&place| place < self.start);
        let mut next_use = first_use;
        for position in self.start..self.end {
            self.turn(position);
            while let Some(verb) = self
                .reading
                .uses
                .get(next_use)
                .filter(|_| self.reading.places.get(next_use) == Some(&position))
            {
                let mood = self.mood(position, verb);
                // `Update the rules to block A`: what the first verb does is said by the second.
                let says_how = ["updat", "chang", "configur", "reconfigur", "allow", "permit", "connect"]
                    .iter()
                    .any(|stem| self.lower(position).starts_with(stem));
                self.told |= mood == Mood::Told && !says_how;
                if let Some(place) = out.uses.get_mut(next_use) {
                    *place = mood;
                }
                next_use += 1;
            }
            out.regions.push(self.region);
        }
        // `Isolate it if it is compromised` depends on something as well.
        let conditional =
            out.regions.get(self.start..).unwrap_or_default().iter().any(|region| region.part == CONDITION);
        if conditional {
            for mood in out.uses.iter_mut().take(next_use).skip(first_use).filter(|mood| **mood == Mood::Told)
            {
                *mood = Mood::Open;
            }
        }
        self.promote_nouns(first_use..next_use, out);
    }

    fn lower(&self, position: usize) -> &'a str {
        let word = self.reading.words.get(position).filter(|_| (self.start..self.end).contains(&position));
        word.map_or("", |word| word.lower.as_str())
    }

    fn opens(&self, position: usize) -> bool {
        self.reading.words.get(position).is_some_and(|word| word.opens)
    }

    fn enter(&mut self, position: usize, mood: Mood, soft: bool) {
        // A question stays one, whatever its parts say.
        let mood = if self.base == Mood::Open && mood == Mood::Told { Mood::Open } else { mood };
        self.region = Region { mood, part: position };
        self.soft = soft;
        self.verb_read = false;
    }

    /// Changes the region at the words that begin or end one.
    fn turn(&mut self, position: usize) {
        let (word, next) = (self.lower(position), self.lower(position + 1));
        let before = if position > self.start { self.lower(position - 1) } else { "" };
        let inside = self.region.mood != self.base;
        if inside && self.opens(position) && self.soft {
            self.enter(position, self.base, false);
        }
        match word {
            "but" | "however" | "yet" | "then" if self.region.part != CONDITION => {
                self.enter(position, self.base, false)
            }
            "instead" if next != "of" => self.enter(position, self.base, false),
            "not" if next == "only" => {}
            "rather" if next != "than" => {}
            "stop" | "cease" if !next.ends_with("ing") => {}
            "no" if ["longer", "later"].contains(&next) => {}
            "if" if IDIOMS.contains(&next) => {}
            "if" if ["check", "determine", "see", "verify", "confirm", "test"].contains(&before) => {
                self.enter(position, Mood::Aside, false);
            }
            "if" | "unless" | "provided" | "assuming" => {
                self.enter(position, Mood::Open, false);
                self.region.part = CONDITION;
            }
            "as" if ["well", "soon", "a", "an", "root"].contains(&next)
                || ["well", "such"].contains(&before) => {}
            "that" | "which" if ["is", "are"].contains(&next) && !self.told => {}
            "not" if ["is", "are", "was", "were", "has", "have", "did", "does"].contains(&before) => {
                self.enter(position, Mood::Refused, true);
            }
            word if NEGATORS.contains(&word) => self.enter(position, Mood::Refused, false),
            word if SOFT_NEGATORS.contains(&word) => self.enter(position, Mood::Refused, true),
            word if DOUBTS.contains(&word) && self.region.mood != Mood::Refused => {
                self.enter(position, Mood::Open, false);
            }
            word if TIMES.contains(&word) => self.enter(position, Mood::Aside, true),
            word if REMARKS.contains(&word) && self.region.mood == Mood::Told => {
                self.enter(position, Mood::Aside, true);
            }
            "to" if self.told
                && self.is_purpose(position, before, next)
                && self.region.mood == Mood::Told =>
            {
                self.enter(position, Mood::Aside, true);
            }
            _ => {}
        }
    }

    fn is_purpose(&self, position: usize, before: &str, next: &str) -> bool {
        let place = self.reading.words.get(position + 1).map_or(0, |word| word.place.start);
        let is_name = self.reading.named.binary_search(&place).is_ok();
        !is_name && !WANTS.contains(&before) && !DIRECTIONS.contains(&next)
    }

    fn mood(&mut self, position: usize, verb: &VerbUse) -> Mood {
        let tells = matches!(verb.form, VerbForm::Imperative) || self.is_passive(position, verb);
        let leaves = tells && self.region.mood != self.base && self.may_leave(position);
        if leaves {
            self.enter(position, self.base, false);
        }
        self.verb_read = true;
        let before = if position > self.start { self.lower(position - 1) } else { "" };
        match verb.form {
            VerbForm::Imperative => self.region.mood,
            VerbForm::Gerund if ["of", "from"].contains(&before) && self.region.mood == Mood::Told => {
                Mood::Aside
            }
            VerbForm::Gerund => self.region.mood,
            VerbForm::Participle if self.is_passive(position, verb) || position == self.start => {
                self.region.mood
            }
            VerbForm::Participle | VerbForm::Other => Mood::Aside,
        }
    }

    /// Whether a verb that tells something ends the part that it stands in: behind a comma or an `and`, once a soft
    /// part has had its verb (`without rebooting it, and save …`), or when a ban is over (`do not block A, isolate B`).
    fn may_leave(&self, position: usize) -> bool {
        let joined = ["and", "then", "also"].contains(&self.lower(position.saturating_sub(1)));
        let part = self.region.part;
        if self.soft {
            return part != CONDITION && (self.opens(position) || joined) && position > part + 1;
        }
        let later_or = (position..self.end).any(|position| ["or", "nor"].contains(&self.lower(position)));
        let is_over = match self.region.mood {
            Mood::Refused => self.verb_read,
            Mood::Open => part != CONDITION,
            Mood::Told | Mood::Aside => false,
        };
        is_over && self.opens(position) && !later_or
    }

    /// `should be isolated`, `has to be blocked`.
    fn is_passive(&self, position: usize, verb: &VerbUse) -> bool {
        const MODALS: &[&str] = &["should", "must", "will", "shall", "to", "not", "needs"];
        let mut behind = (self.start..position).rev().map(|position| self.lower(position));
        let mut near = behind.by_ref().skip_while(|word| word.ends_with("ly"));
        verb.form == VerbForm::Participle
            && near.next() == Some("be")
            && near.next().is_some_and(|word| MODALS.contains(&word))
    }

    /// A sentence that tells nothing by a verb may do so by a noun in front: `Immediate isolation of 10.0.2.13`.
    fn promote_nouns(&self, uses: std::ops::Range<usize>, out: &mut Moods) {
        const STATES: &[&str] = &[
            "is",
            "are",
            "was",
            "were",
            "has",
            "have",
            "had",
            "failed",
            "did",
            "does",
            "will",
            "would",
            "could",
            "looks",
            "seems",
            "no",
            "not",
            "happened",
            "worked",
            "succeeded",
            "about",
        ];
        let tells = |place: usize| {
            self.reading
                .uses
                .get(place)
                .is_some_and(|verb| verb.form != VerbForm::Other && verb.form != VerbForm::Participle)
        };
        let states = (self.start..self.end).any(|position| STATES.contains(&self.lower(position)));
        if self.base != Mood::Told || states || uses.clone().any(tells) {
            return;
        }
        for place in uses {
            let (Some(verb), Some(&position)) =
                (self.reading.uses.get(place), self.reading.places.get(place))
            else {
                continue;
            };
            let of = ["of", "for", "on", "from"].contains(&self.lower(position + 1));
            if verb.form == VerbForm::Other && of && position <= self.start + 3 {
                if let Some(mood) = out.uses.get_mut(place) {
                    *mood = Mood::Told;
                }
                return;
            }
        }
    }
}

/// Number of the part that a condition is.
const CONDITION: usize = usize::MAX;
const IDIOMS: &[&str] = &[
    "possible",
    "necessary",
    "needed",
    "required",
    "feasible",
    "applicable",
    "available",
    "present",
    "any",
    "not",
];
