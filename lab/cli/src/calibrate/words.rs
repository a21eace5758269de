//! The baseline beside the model: a linear model over the words of a record and the pairs of words that stand together, a softmax
//! regression fitted by AdaGrad. It knows no language, only which words stood under which label.

use std::hash::{DefaultHasher, Hash, Hasher};

use countermove_dataset::{Example, Task};
use countermove_incident::Tactic;

use super::shown;

/// An ordinary day, then the tactics.
const CLASSES: usize = Tactic::ALL.len() + 1;
/// Places for words and pairs; what falls on the same place is one feature.
const PLACES: usize = 1 << 18;
/// Times that the rows are gone through.
const EPOCHS: usize = 12;
const LEARNING_RATE: f32 = 0.5;

/// A linear model over words.
pub(super) struct Words {
    /// One number for each place and class.
    weights: Vec<[f32; CLASSES]>,
    /// Rows that it was fitted on.
    pub(super) rows: usize,
}

impl Words {
    /// Fitted on the rows of perception among these.
    pub(super) fn fit(rows: &[Example]) -> Words {
        let mut rows: Vec<(Vec<usize>, usize)> = rows
            .iter()
            .filter(|row| row.task == Task::Incident)
            .map(|row| (features(row), class(shown(&row.answer))))
            .collect();
        // The same order on every machine, whatever order the file has.
        rows.sort_by_cached_key(hash);
        let mut words = Words { weights: vec![[0.0; CLASSES]; PLACES], rows: rows.len() };
        let mut squares = vec![[0.0_f32; CLASSES]; PLACES];
        for _ in 0..EPOCHS {
            for (features, right) in &rows {
                let mut slope = words.probabilities(features);
                slope[*right] -= 1.0;
                for &place in features {
                    for ((weight, square), slope) in
                        words.weights[place].iter_mut().zip(&mut squares[place]).zip(slope)
                    {
                        *square += slope * slope;
                        *weight -= LEARNING_RATE * slope / (square.sqrt() + 1e-6);
                    }
                }
            }
        }
        words
    }

    /// Each option with its probability; none stands for an ordinary day.
    pub(super) fn read(&self, row: &Example) -> Vec<(Option<Tactic>, f64)> {
        let all = [None].into_iter().chain(Tactic::ALL.map(Some));
        all.zip(self.probabilities(&features(row)).map(f64::from)).collect()
    }

    /// Over the root of how many features there are, so that a long record is no surer than a short one.
    fn probabilities(&self, features: &[usize]) -> [f32; CLASSES] {
        let mut sums = [0.0_f32; CLASSES];
        for weights in features.iter().filter_map(|place| self.weights.get(*place)) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight;
            }
        }
        let scale = (features.len().max(1) as f32).sqrt();
        let most = sums.iter().copied().fold(f32::MIN, f32::max);
        let raised = sums.map(|sum| ((sum - most) / scale).exp());
        let total: f32 = raised.iter().sum();
        raised.map(|one| one / total)
    }
}

fn class(shows: Option<Tactic>) -> usize {
    let tactic = shows.and_then(|tactic| Tactic::ALL.iter().position(|own| *own == tactic));
    tactic.map_or(0, |at| at + 1)
}

/// Places of the words of a record and of its pairs of words, each once.
fn features(row: &Example) -> Vec<usize> {
    let text = row.prompt.last().map_or("", String::as_str).to_lowercase();
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let pairs = words.iter().zip(words.iter().skip(1));
    let mut places: Vec<usize> = words
        .iter()
        .map(hash)
        .chain(pairs.map(|pair| hash(&pair)))
        .map(|hash| hash as usize % PLACES)
        .collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use countermove_dataset::Split;

    use super::*;

    fn row(record: &str, answer: &str) -> Example {
        Example {
            task: Task::Incident,
            split: Split::Train,
            scenario: String::new(),
            system: String::new(),
            prompt: vec!["What does the record show?".into(), record.into()],
            think: String::new(),
            answer: format!("{{\"Shows\": \"{answer}\"}}"),
        }
    }

    #[test]
    fn words_that_stood_under_a_label_speak_for_it() {
        let rows = [
            row("mimikatz dumped the memory of lsass", "Credential Access"),
            row("lsass was read by a program", "Credential Access"),
            row("files encrypted, ransom note left", "Impact"),
            row("many files encrypted on the share", "Impact"),
            row("a user opened the calendar", "Everyday Traffic"),
            row("the calendar was opened on the share", "Everyday Traffic"),
        ];
        let words = Words::fit(&rows);
        let first = |record: &str| {
            let read = words.read(&row(record, ""));
            assert!((read.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-5);
            read.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).and_then(|(option, _)| option)
        };
        assert_eq!(words.rows, 6);
        assert_eq!(first("memory of lsass dumped"), Some(Tactic::CredentialAccess));
        assert_eq!(first("all files encrypted"), Some(Tactic::Impact));
        assert_eq!(first("calendar opened"), None);
        let mut other = rows.clone();
        other.reverse();
        assert_eq!(words.read(&rows[0]), Words::fit(&other).read(&rows[0]), "the order does not matter");
    }
}
