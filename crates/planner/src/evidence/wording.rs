//! What the words of a record say without anybody who understands them: a linear model over words, over pairs that stand together and
//! over how words begin, fitted on records that others have labelled.
//!
//! A small language model has read little of what sensors write, and such a model has read nothing else: each sees attacks that the other
//! misses. So the two are pooled ([`Reading::pooled`](super::reading::Reading::pooled)). `countermove-lab wording` makes the numbers.

use std::sync::LazyLock;

use countermove_incident::Tactic;

use super::reading::{Reading, visible_tactics};

/// Places for words, pairs and beginnings; what falls on the same place is one feature.
const PLACES: usize = 1 << 17;
/// Letters that a word begins with which count by themselves, so that its other forms are known.
const BEGINNING: usize = 5;
/// Most words that are looked at: no line that a person would read in full is longer, and an attacker may send one that is.
const MOST_WORDS: usize = 512;
/// What it can say: an ordinary day, then the tactics that a log can show.
const OPTIONS: usize = 15;

/// One number for each option.
pub type Scores = [f32; OPTIONS];

/// A linear model over the words of records.
#[derive(Clone, Debug, PartialEq)]
pub struct Wording {
    /// What each option gets whatever the words are.
    always: Scores,
    /// What one step of a weight is worth.
    step: f32,
    /// For each place what it adds to each option, in steps.
    weights: Vec<[i8; OPTIONS]>,
}

/// The model that ships.
static SHIPPED: LazyLock<Wording> = LazyLock::new(|| {
    // A test sees to it that the file is whole; of one that is not nothing would be said.
    let nothing = || Wording::new([0.0; OPTIONS], &[]);
    Wording::from_bytes(include_bytes!("../../data/wording.bin")).unwrap_or_else(nothing)
});

impl Wording {
    /// The model that ships with the planner.
    pub fn shipped() -> &'static Wording {
        &SHIPPED
    }

    /// The options, in the order of scores: none is an ordinary day.
    pub fn options() -> impl Iterator<Item = Option<Tactic>> {
        [None].into_iter().chain(visible_tactics().map(Some))
    }

    /// A model of so many places, each a number for each option; they are rounded to one of 255 steps.
    pub fn new(always: Scores, weights: &[Scores]) -> Wording {
        let most = weights.iter().flatten().fold(0.0_f32, |most, weight| most.max(weight.abs()));
        let step = if most > 0.0 { most / f32::from(i8::MAX) } else { 1.0 };
        // Within ±127 by the choice of the step.
        let rounded = |weight: f32| (weight / step).round() as i8;
        let mut weights: Vec<[i8; OPTIONS]> = weights.iter().map(|own| own.map(rounded)).collect();
        weights.resize(PLACES, [0; OPTIONS]);
        Wording { always, step, weights }
    }

    /// What the words of a text say: the probability of an ordinary day, and of each tactic.
    pub fn read(&self, text: &str) -> Reading {
        let places = places(text);
        let mut scores = self.always;
        let scale = self.step / (places.len().max(1) as f32).sqrt();
        for weights in places.iter().filter_map(|place| self.weights.get(*place)) {
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += f32::from(*weight) * scale;
            }
        }
        Reading::of_options(Wording::options().zip(softmax(scores)))
    }

    /// As a file holds it: what each option always gets, the step, then the weights place by place; numbers of four bytes have the
    /// lowest byte first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.always.iter().chain([&self.step]).flat_map(|number| number.to_le_bytes());
        numbers.chain(self.weights.iter().flatten().map(|weight| weight.cast_unsigned())).collect()
    }

    /// Reads what [`Wording::to_bytes`] writes; none if it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Wording> {
        let (head, weights) = bytes.split_at_checked(4 * (OPTIONS + 1))?;
        let (numbers, _) = head.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|number| f32::from_le_bytes(*number));
        let mut always = [0.0; OPTIONS];
        always.iter_mut().zip(&mut numbers).for_each(|(own, number)| *own = number);
        let step = numbers.next()?;
        let (weights, rest) = weights.as_chunks::<OPTIONS>();
        let is_whole = rest.is_empty() && weights.len() == PLACES;
        let is_finite = always.iter().chain([&step]).all(|number| number.is_finite());
        let weights = weights.iter().map(|own| own.map(u8::cast_signed)).collect();
        (is_whole && is_finite).then_some(Wording { always, step, weights })
    }
}

/// Where the words of a text, their pairs and their beginnings count, each place once and in order. The same on every machine.
pub fn places(text: &str) -> Vec<usize> {
    let text = text.to_lowercase();
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).take(MOST_WORDS).collect();
    let pairs = words.iter().zip(words.iter().skip(1));
    let beginnings =
        words.iter().filter_map(|word| word.char_indices().nth(BEGINNING).map(|(end, _)| &word[..end]));
    let mut places: Vec<usize> = words
        .iter()
        .map(|word| place(0, &[word]))
        .chain(pairs.map(|(first, second)| place(1, &[first, second])))
        .chain(beginnings.map(|beginning| place(2, &[beginning])))
        .collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// Probabilities from scores.
pub fn softmax(scores: Scores) -> Scores {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let raised = scores.map(|score| (score - most).exp());
    let total: f32 = raised.iter().sum();
    raised.map(|one| one / total)
}

/// The place of words of one kind: FNV-1a over their bytes, with its high bits folded in, since its low ones alone are poor.
fn place(kind: u8, words: &[&str]) -> usize {
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = words.iter().flat_map(|word| [0].into_iter().chain(word.bytes()));
    let hash = [kind]
        .into_iter()
        .chain(bytes)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // Less than the number of places, which fits.
    ((hash ^ (hash >> 32)) % PLACES as u64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_options_are_as_many_as_are_scored() {
        assert_eq!(Wording::options().count(), OPTIONS);
        assert!(Wording::shipped().read("ransom").everyday < 0.5, "the file that ships is whole");
    }

    #[test]
    fn a_word_that_speaks_for_a_tactic_is_heard_in_its_other_forms() {
        let at = Wording::options().position(|option| option == Some(Tactic::Impact)).unwrap();
        let mut weights = vec![[0.0; OPTIONS]; PLACES];
        for place in places("encrypted") {
            weights[place][at] = 3.0;
        }
        let wording = Wording::new([0.0; OPTIONS], &weights);
        let impact = |text: &str| {
            let tactics = wording.read(text).tactics;
            tactics.iter().find(|(tactic, _)| *tactic == Tactic::Impact).map_or(0.0, |(_, chance)| *chance)
        };
        assert!(impact("files encrypted") > impact("files Encrypting now"), "the word itself says more");
        assert!(impact("Encrypting files") > impact("files") + 0.02);
        assert!((impact("") - 1.0 / 15.0).abs() < 1e-6, "no words say nothing");
    }

    #[test]
    fn what_ships_knows_what_the_words_of_attacks_are() {
        let wording = Wording::shipped();
        for (text, tactic) in [
            ("LSASS memory dumped by procdump", Tactic::CredentialAccess),
            ("Volume shadow copies deleted, files encrypted, ransom note", Tactic::Impact),
            ("ET SCAN Nmap scripting engine user agent", Tactic::Reconnaissance),
        ] {
            let first = wording.read(text).tactics.first().map(|(tactic, _)| *tactic);
            assert_eq!(first, Some(tactic), "{text}: {:?}", wording.read(text));
        }
        let quiet = wording.read("Started Session 12 of user ann.");
        assert!(quiet.everyday > 0.5, "{quiet:?}");
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_nothing_else_is() {
        let bytes = Wording::shipped().to_bytes();
        let read = Wording::from_bytes(&bytes);
        assert_eq!(read.as_ref(), Some(Wording::shipped()));
        for cut in [0, 1, 63, 64, 65, bytes.len() - 1] {
            assert_eq!(Wording::from_bytes(&bytes[..cut]), None, "{cut} bytes");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_text_says_is_a_distribution(text in ".{0,80}") {
            let wording = Wording::shipped();
            let reading = wording.read(&text);
            let sum: f32 = reading.everyday + reading.tactics.iter().map(|(_, chance)| chance).sum::<f32>();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
        }
    }
}
