//! What a reader makes of a group of records: a model, or the words alone. Two readers are pooled, and one that nobody tuned is read beside
//! what it says of nothing.

use countermove_incident::Tactic;

/// Tactics that a log can show: resource development happens elsewhere.
pub(crate) fn visible_tactics() -> impl Iterator<Item = Tactic> {
    Tactic::ALL.into_iter().filter(|tactic| *tactic != Tactic::ResourceDevelopment)
}

/// What a reader makes of a group: how likely it shows an ordinary day, and each tactic.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Probability that it shows no attack, from 0 to 1.
    pub everyday: f32,
    /// Probability of each tactic, the likeliest first; with `everyday` they add up to 1.
    pub tactics: Vec<(Tactic, f32)>,
}

impl Reading {
    /// That it surely shows this tactic, or surely none.
    pub fn sure(shows: Option<Tactic>) -> Reading {
        match shows {
            Some(tactic) => Reading { everyday: 0.0, tactics: vec![(tactic, 1.0)] },
            None => Reading { everyday: 1.0, tactics: Vec::new() },
        }
    }

    /// What the options of an answer say, with their probabilities; each names a tactic or none.
    pub fn of_options(options: impl IntoIterator<Item = (Option<Tactic>, f32)>) -> Reading {
        let mut reading = Reading { everyday: 0.0, tactics: Vec::new() };
        for (shows, probability) in options {
            match shows {
                Some(tactic) => reading.tactics.push((tactic, probability)),
                None => reading.everyday += probability,
            }
        }
        reading.tactics.sort_by(|a, b| b.1.total_cmp(&a.1));
        reading
    }

    /// The likeliest tactic, if it shows one.
    pub(crate) fn tactic(&self) -> Option<Tactic> {
        self.tactics.first().map(|(tactic, _)| *tactic)
    }

    /// How likely it shows each tactic if it is part of an attack.
    pub(crate) fn shares(&self) -> Vec<(Tactic, f32)> {
        let total: f32 = self.tactics.iter().map(|(_, probability)| probability).sum();
        let share = |probability: f32| if total > 0.0 { probability / total } else { 0.0 };
        self.tactics.iter().map(|(tactic, probability)| (*tactic, share(*probability))).collect()
    }

    /// What a model reads that nobody tuned: how much more likely it finds each option here than where a record says nothing
    /// (`nothing`; contextual calibration, Zhao et al., arXiv 2102.09690), so that what it leans to anyway has no say. A record that
    /// says nothing is as likely of an ordinary day as of an attack, of each tactic alike.
    #[must_use]
    pub fn beside(&self, nothing: &Reading) -> Reading {
        let tactics = self.tactics.len().max(1) as f32;
        let more = |own: f32, other: f32| (own.max(LEAST) / other.max(LEAST)).powf(UNTUNED);
        let everyday = more(self.everyday, nothing.everyday);
        let tactics = self
            .tactics
            .iter()
            .map(|(tactic, own)| (*tactic, more(*own, nothing.of(*tactic)) / tactics))
            .collect();
        Reading { everyday, tactics }.summed_to_one()
    }

    /// How likely it shows a tactic.
    fn of(&self, tactic: Tactic) -> f32 {
        let known = self.tactics.iter().find(|(other, _)| *other == tactic);
        known.map_or(0.0, |(_, probability)| *probability)
    }

    /// The same proportions, the likeliest tactic first, so that all add up to 1.
    fn summed_to_one(mut self) -> Reading {
        self.tactics.sort_by(|a, b| b.1.total_cmp(&a.1));
        let total: f32 = self.everyday + self.tactics.iter().map(|(_, part)| part).sum::<f32>();
        self.tactics.iter_mut().for_each(|(_, part)| *part /= total);
        self.everyday /= total;
        self
    }

    /// What the model and the words alone make of it together.
    pub fn pooled(&self, wording: &Reading) -> Reading {
        self.pooled_by(wording, (MODEL_WORTH, WORDING_WORTH))
    }

    /// What two readers make of it together: their probabilities multiplied, each raised to what it is worth. Where they differ, whoever
    /// is surer has more to say.
    pub fn pooled_by(&self, wording: &Reading, (own_worth, worth): (f32, f32)) -> Reading {
        let together = |own: f32, other: f32| own.max(LEAST).powf(own_worth) * other.max(LEAST).powf(worth);
        let everyday = together(self.everyday, wording.everyday);
        let tactics =
            self.tactics.iter().map(|(tactic, own)| (*tactic, together(*own, wording.of(*tactic)))).collect();
        Reading { everyday, tactics }.summed_to_one()
    }

    /// Log-odds that it shows an attack, bounded, since no model is as sure as its numbers can be.
    pub(crate) fn log_odds(&self) -> f32 {
        let attack = (1.0 - self.everyday).clamp(0.0, 1.0);
        (attack / (1.0 - attack)).ln().clamp(-MOST_SURE, MOST_SURE)
    }
}

/// Bound of what one reader alone can say, in log-odds.
const MOST_SURE: f32 = 4.0;
/// Less than this no reader means.
const LEAST: f32 = 1e-4;
/// What the model is worth in a pool, as the power of its probabilities.
const MODEL_WORTH: f32 = 0.6;
/// What a model is worth that nobody tuned, as a further power of how much likelier it finds each option than where nothing is said.
/// Set by hand, from what surprises least beside the words: 0.3 with 135 million weights, none with 500 million or 1.5 billion
/// (docs/perception.md).
const UNTUNED: f32 = 0.3;
/// What the words alone are worth in a pool, likewise.
const WORDING_WORTH: f32 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_nobody_tuned_is_read_beside_what_it_says_of_nothing() {
        let leaning =
            Reading::of_options([(None, 0.05), (Some(Tactic::Impact), 0.9), (Some(Tactic::Discovery), 0.05)]);
        let same = leaning.beside(&leaning);
        assert!((same.everyday - 0.5).abs() < 1e-6 && same.log_odds().abs() < 1e-5, "{same:?}");
        assert!(same.tactics.iter().all(|(_, share)| (share - 0.25).abs() < 1e-6), "{same:?}");
        let more =
            Reading::of_options([(None, 0.05), (Some(Tactic::Impact), 0.8), (Some(Tactic::Discovery), 0.15)]);
        let read = more.beside(&leaning);
        assert_eq!(read.tactic(), Some(Tactic::Discovery), "three times as likely as of nothing");
        let whole = read.everyday + read.tactics.iter().map(|(_, share)| share).sum::<f32>();
        assert!((whole - 1.0).abs() < 1e-6 && read.log_odds() > 0.0, "{read:?}");
    }

    #[test]
    fn options_make_a_reading() {
        let options = [(Some(Tactic::Impact), 0.2), (None, 0.3), (Some(Tactic::Execution), 0.5)];
        let reading = Reading::of_options(options);
        assert_eq!((reading.everyday, reading.tactic()), (0.3, Some(Tactic::Execution)));
    }
}
