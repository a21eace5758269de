//! The clauses of an action's sentences.

use std::ops::Range;

use countermove_incident::{VerbClass, VerbForm, VerbUse, Word};

use super::mood::{Mood, Moods, Reading, moods};
use super::names::{Mention, Names, Subject};
use super::roles::{self, Parts};
use super::{Clause, Deed};

/// A verb, a kind of response or one that opens a way, and the mood it has.
struct Verb {
    deed: Deed,
    mood: Mood,
    /// Position of its word.
    word: usize,
    place: Range<usize>,
    /// Position of the first word of its sentence.
    sentence: usize,
    passive: bool,
}

/// Every clause of a text, with the byte at which its verb stands.
pub(super) fn clauses(text: &str, names: &Names) -> Vec<(usize, Clause)> {
    let words = Word::all(text);
    let mentions = names.mentions(text, &words);
    let uses = uses(text, &words);
    let place_of = |verb: &VerbUse| words.partition_point(|word| word.place.end <= verb.place.start);
    let places: Vec<usize> = uses.iter().map(|(_, verb)| place_of(verb)).collect();
    let plain: Vec<VerbUse> = uses.iter().map(|(_, verb)| verb.clone()).collect();
    let named: Vec<usize> = mentions.iter().map(|mention| mention.start).collect();
    let reading = Reading { text, words: &words, uses: &plain, places: &places, named: &named };
    let moods = moods(&reading);
    let verbs: Vec<Verb> = uses
        .iter()
        .zip(&places)
        .zip(&moods.uses)
        .filter(|(((_, verb), _), mood)| **mood != Mood::Aside || verb.form != VerbForm::Other)
        .map(|(((deed, verb), &word), &mood)| Verb {
            deed: *deed,
            mood,
            word,
            place: verb.place.clone(),
            sentence: sentence_of(&words, word),
            passive: verb.form == VerbForm::Participle,
        })
        .filter(|verb| verb.mood != Mood::Aside || !verb.passive)
        .collect();
    Reader { text, words: &words, mentions: &mentions, moods: &moods, verbs: &verbs, names }.read()
}

/// Whether the text says that there is no incident.
pub(super) fn dismisses(text: &str) -> bool {
    const SAYINGS: [&str; 12] = [
        "no incident",
        "no action is needed",
        "no action is required",
        "no action needed",
        "no action required",
        "no response is needed",
        "false positive",
        "false alarm",
        "ignore the alert",
        "dismiss the alert",
        "close the incident",
        "close the ticket",
    ];
    let words: Vec<String> = Word::all(text).into_iter().map(|word| word.lower).collect();
    let line = words.join(" ");
    let denied = |start: usize| {
        let before = line.get(..start).unwrap_or_default().trim_end();
        ["not a", "not", "no", "never", "not an"].iter().any(|word| before.ends_with(word))
    };
    SAYINGS.iter().any(|saying| line.match_indices(saying).any(|(start, _)| !denied(start)))
}

/// Verbs that let something through.
const OPENERS: [&str; 9] =
    ["allow", "permit", "whitelist", "allowlist", "connect", "bridge", "route", "unblock", "reconnect"];

/// Verbs of response and verbs that open a way, in order.
fn uses(text: &str, words: &[Word]) -> Vec<(Deed, VerbUse)> {
    let mut all: Vec<(Deed, VerbUse)> =
        VerbClass::uses(text).into_iter().map(|verb| (Deed::Respond(verb.class), verb)).collect();
    for (position, word) in words.iter().enumerate() {
        let Some(ending) = OPENERS.iter().find_map(|opener| word.lower.strip_prefix(opener)) else {
            continue;
        };
        // `connections` and `routers` are no verbs.
        let form = match ending {
            "" if position == 0 || word.opens => VerbForm::Imperative,
            "" => match words.get(position - 1).map_or("", |before| before.lower.as_str()) {
                "and" | "or" | "then" | "to" | "not" | "also" | "should" | "must" | "never" => {
                    VerbForm::Imperative
                }
                _ => continue,
            },
            "ing" if word.opens || position == 0 => VerbForm::Gerund,
            _ => continue,
        };
        all.push((Deed::Open, VerbUse { class: VerbClass::Restore, form, place: word.place.clone() }));
    }
    all.sort_by_key(|(_, verb)| verb.place.start);
    all
}

fn sentence_of(words: &[Word], word: usize) -> usize {
    (0..=word).rev().find(|&position| words.get(position).is_some_and(|word| word.begins)).unwrap_or(0)
}

struct Reader<'a> {
    text: &'a str,
    words: &'a [Word],
    mentions: &'a [Mention],
    moods: &'a Moods,
    verbs: &'a [Verb],
    names: &'a Names,
}

impl Reader<'_> {
    fn read(&self) -> Vec<(usize, Clause)> {
        let mut parts: Vec<Parts> = (0..self.verbs.len()).map(|number| self.own_parts(number)).collect();
        for number in (0..self.verbs.len()).rev() {
            self.take_from_next(number, &mut parts);
        }
        for number in 0..self.verbs.len() {
            self.take_from_former(number, &mut parts);
        }
        let clauses = self.verbs.iter().zip(parts).map(|(verb, parts)| {
            let interrupts = interrupts(
                verb.deed,
                self.text.get(verb.place.clone()).unwrap_or_default(),
                &self.behind(verb),
            );
            let Parts { objects, peers } = parts;
            (verb.place.start, Clause { deed: verb.deed, mood: verb.mood, objects, peers, interrupts })
        });
        clauses.collect()
    }

    /// The end of the sentence in which a verb stands, as a word's position.
    fn sentence_end(&self, word: usize) -> usize {
        let behind = self.words.iter().skip(word + 1).position(|word| word.begins);
        behind.map_or(self.words.len(), |length| word + 1 + length)
    }

    /// The words behind a verb, up to the next verb.
    fn behind(&self, verb: &Verb) -> Vec<&str> {
        let end = self.clause_end(verb);
        self.words
            .get(verb.word + 1..end)
            .unwrap_or_default()
            .iter()
            .map(|word| word.lower.as_str())
            .collect()
    }

    fn clause_end(&self, verb: &Verb) -> usize {
        let next = self.verbs.iter().map(|other| other.word).find(|&other| other > verb.word);
        next.unwrap_or(usize::MAX).min(self.sentence_end(verb.word))
    }

    /// What the words between the verb and the next one name; for a verb in the passive, what those before it name.
    fn own_parts(&self, number: usize) -> Parts {
        let Some(verb) = self.verbs.get(number) else { return Parts::default() };
        let kind = match verb.deed {
            Deed::Respond(kind) => Some(kind),
            Deed::Open => None,
        };
        let same_word = self.verbs.get(number + 1).is_some_and(|next| next.word == verb.word);
        let end = if same_word { self.sentence_end(verb.word) } else { self.clause_end(verb) };
        let cuts = cuts_hosts(self.text.get(verb.place.clone()).unwrap_or_default());
        let mut parts = self.parts_within(verb, kind, cuts, verb.word + 1, end);
        let first = !self.verbs.iter().take(number).any(|other| other.sentence == verb.sentence);
        if first {
            let front = self.parts_within(verb, kind, cuts, verb.sentence, verb.word);
            if verb.passive {
                let objects = [front.objects, front.peers].concat();
                let peers = [parts.objects, parts.peers].concat();
                let peers = if kind == Some(VerbClass::Contain) { peers } else { Vec::new() };
                return Parts { objects, peers };
            }
            // `On Server 3, kill …`
            if parts.objects.is_empty() {
                parts.objects = front.objects;
            }
        }
        parts
    }

    fn parts_within(
        &self,
        verb: &Verb,
        kind: Option<VerbClass>,
        cuts: bool,
        from: usize,
        to: usize,
    ) -> Parts {
        let Some(words) = self.words.get(from..to).filter(|words| !words.is_empty()) else {
            return Parts::default();
        };
        let (start, end) =
            (words.first().map_or(0, |word| word.place.start), words.last().map_or(0, |word| word.place.end));
        let mine = self.moods.regions.get(verb.word);
        let spoken_of = |mention: &&Mention| {
            let word = self.words.partition_point(|word| word.place.end <= mention.start);
            let region = self.moods.regions.get(word);
            region
                .zip(mine)
                .is_none_or(|(region, mine)| region.part == mine.part || matches!(region.mood, Mood::Told))
        };
        let inside = self.mentions.iter().filter(|mention| (start..end).contains(&mention.start));
        let mentions: Vec<&Mention> = inside.filter(spoken_of).collect();
        roles::parts(kind, cuts, words, &mentions, self.names)
    }

    /// `Isolate and re-image A`: the first verb acts on what the second one does.
    fn take_from_next(&self, number: usize, parts: &mut [Parts]) {
        let (Some(verb), Some(next)) = (self.verbs.get(number), self.verbs.get(number + 1)) else { return };
        let between = self.words.get(verb.word + 1..next.word).unwrap_or_default();
        let joined = between.iter().all(|word| {
            ["and", "or", "then", "also", "immediately", "nor"].contains(&word.lower.as_str())
                || word.lower.ends_with("ly")
        });
        let empty = parts.get(number).is_some_and(|parts| parts.objects.is_empty());
        if empty && joined && verb.sentence == next.sentence && verb.mood == next.mood {
            let taken = parts.get(number + 1).cloned().unwrap_or_default();
            if let Some(parts) = parts.get_mut(number) {
                *parts = taken;
            }
        }
    }

    /// `Isolate A and re-image it`, and lines under a heading that names a host.
    fn take_from_former(&self, number: usize, parts: &mut [Parts]) {
        const PRONOUNS: [&str; 7] = ["it", "its", "them", "their", "they", "both", "same"];
        let Some(verb) = self
            .verbs
            .get(number)
            .filter(|_| parts.get(number).is_some_and(|parts| parts.objects.is_empty()))
        else {
            return;
        };
        let end = self.clause_end(verb);
        let words = self.words.get(verb.word..end).unwrap_or_default();
        let points_back = words.iter().any(|word| PRONOUNS.contains(&word.lower.as_str()))
            || words.windows(2).any(|pair| {
                let [first, second] = pair else { return false };
                ["this", "that", "the", "each"].contains(&first.lower.as_str())
                    && ["host", "server", "machine", "system", "account", "hosts", "servers", "accounts"]
                        .contains(&second.lower.as_str())
            });
        let former = (0..number).rev().find(|&other| {
            let same_sentence = self.verbs.get(other).is_some_and(|other| other.sentence == verb.sentence);
            parts.get(other).is_some_and(|parts| !parts.objects.is_empty()) && (same_sentence || points_back)
        });
        let objects = match former.and_then(|former| parts.get(former)) {
            Some(parts) => parts.objects.clone(),
            None if points_back => self.named_before(verb),
            None => self.heading(verb),
        };
        if let Some(parts) = parts.get_mut(number) {
            parts.objects = objects;
        }
    }

    /// What was named last before the verb, since a word points back to it.
    fn named_before(&self, verb: &Verb) -> Vec<Subject> {
        let before = self.mentions.iter().rev().filter(|mention| mention.start < verb.place.start);
        before
            .map(|mention| &mention.subjects)
            .find(|subjects| {
                subjects.iter().any(|subject| !matches!(subject, Subject::Service(_) | Subject::Other(_)))
            })
            .cloned()
            .unwrap_or_default()
    }

    /// The hosts and accounts of the last line before the verb that ends in a colon.
    fn heading(&self, verb: &Verb) -> Vec<Subject> {
        heading(self.text, verb.place.start, self.mentions)
    }
}

/// The hosts and accounts that the last line before `place` that ends in a colon names.
pub(super) fn heading(text: &str, place: usize, mentions: &[Mention]) -> Vec<Subject> {
    const LINES: usize = 64;
    let mut end = text.get(..place).unwrap_or_default().rfind('\n').unwrap_or(0);
    for _ in 0..LINES {
        let above = text.get(..end).unwrap_or_default();
        let start = above.rfind('\n').map_or(0, |at| at + 1);
        let line = above.get(start..).unwrap_or_default();
        let own = mentions.iter().filter(|mention| (start..end).contains(&mention.start));
        let subjects: Vec<Subject> = own.flat_map(|mention| mention.subjects.iter().cloned()).collect();
        if line.trim_end().ends_with(':') && !subjects.is_empty() {
            return subjects.into_iter().filter(|subject| !matches!(subject, Subject::Service(_))).collect();
        }
        if start == 0 {
            return Vec::new();
        }
        end = start - 1;
    }
    Vec::new()
}

/// Verbs that are done to a host itself.
fn cuts_hosts(verb: &str) -> bool {
    const STEMS: [&str; 10] =
        ["isolat", "quarantin", "disconnect", "shut", "power", "tak", "turn", "unplug", "detach", "switch"];
    let lower = verb.to_lowercase();
    STEMS.iter().any(|stem| lower.starts_with(stem))
}

/// Whether a verb stops what it is done to.
fn interrupts(deed: Deed, verb: &str, behind: &[&str]) -> bool {
    const REBUILDS: [&str; 6] = ["reimag", "rebuil", "reinstall", "wip", "eras", "imag"];
    let lower = verb.to_lowercase().replace('-', "");
    match deed {
        Deed::Respond(VerbClass::Contain) => true,
        Deed::Respond(VerbClass::Eradicate) => {
            REBUILDS.iter().any(|stem| lower.starts_with(stem))
                || lower.starts_with("uninstall")
                    && !behind.iter().any(|word| ["malware", "miner", "backdoor"].contains(word))
        }
        _ => false,
    }
}
