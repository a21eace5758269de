//! How many sequences a batch needs to be nearly as fast as a full one. Pure; the caller has the clock.
//!
//! The time of a step grows in a straight line with its sequences: a part that is there for one (weights that are read
//! once), and a part for each (what is computed). Where the first part is most of it, as on GPUs, only a full batch is
//! fast; where it is the second, as on CPUs, a quarter of it may do.

/// How much of the past a step leaves: a thousand steps or so count.
const FADE: f64 = 0.999;
/// Steps, faded, before anything is said.
const ENOUGH: f64 = 200.0;
/// Variance of the sequences a step before anything is said: batches of one size tell no slope.
const SPREAD: f64 = 2.0;
/// Share of a full batch's speed that is nearly as fast.
const NEARLY: f64 = 0.9;

/// Fits the line through the steps of an engine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Knee {
    steps: f64,
    sequences: f64,
    seconds: f64,
    squares: f64,
    products: f64,
}

impl Knee {
    /// Takes in a step that chose one token for each of its sequences.
    pub(super) fn step(&mut self, sequences: usize, seconds: f64) {
        let sequences = sequences as f64;
        for (sum, new) in [
            (&mut self.steps, 1.0),
            (&mut self.sequences, sequences),
            (&mut self.seconds, seconds),
            (&mut self.squares, sequences * sequences),
            (&mut self.products, sequences * seconds),
        ] {
            *sum = *sum * FADE + new;
        }
    }

    /// The least sequences that are nearly as fast as `full`, from 1 to `full`; `None` while that is not known.
    pub(super) fn of(&self, full: usize) -> Option<usize> {
        if self.steps < ENOUGH {
            return None;
        }
        let (mean, time) = (self.sequences / self.steps, self.seconds / self.steps);
        let variance = self.squares / self.steps - mean * mean;
        if variance < SPREAD {
            return None;
        }
        let each = ((self.products / self.steps - mean * time) / variance).max(0.0);
        let once = (time - each * mean).max(0.0);
        // n / (once + n each) = NEARLY * full / (once + full each), solved for n.
        let full_batch = full as f64;
        let sequences = NEARLY * full_batch * once / (once + (1.0 - NEARLY) * full_batch * each);
        // Of a line that stands for nothing, as of steps that took no time, nothing follows.
        sequences.is_finite().then(|| (sequences.ceil() as usize).clamp(1, full.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn knee(once: f64, each: f64, full: usize) -> Option<usize> {
        let mut knee = Knee::default();
        for step in 0..1000 {
            let sequences = step % full + 1;
            knee.step(sequences, once + each * sequences as f64);
        }
        knee.of(full)
    }

    #[test]
    fn where_each_sequence_costs_a_few_do_and_where_it_is_free_only_a_full_batch() {
        assert_eq!(knee(0.0, 1e-3, 32), Some(1));
        assert_eq!(knee(1e-2, 0.0, 32), Some(29));
        // Measured with the default model: 3.2 ms and 1.4 ms for each.
        let few = knee(3.2e-3, 1.4e-3, 32).unwrap();
        let speed = |n: f64| n / (3.2e-3 + 1.4e-3 * n);
        assert!(
            speed(few as f64) >= 0.9 * speed(32.0) && speed(few as f64 - 1.0) < 0.9 * speed(32.0),
            "{few}"
        );
    }

    #[test]
    fn nothing_is_said_of_few_steps_and_of_batches_of_one_size() {
        let mut knee = Knee::default();
        (0..100).for_each(|step| knee.step(step % 8, 1e-3));
        assert_eq!(knee.of(8), None);
        let mut knee = Knee::default();
        (0..1000).for_each(|_| knee.step(8, 1e-3));
        assert_eq!(knee.of(8), None);
    }

    proptest! {
        #[test]
        fn it_is_always_a_batch(steps in proptest::collection::vec((0_usize..100, 0.0_f64..1.0), 0..500), full in 0_usize..100) {
            let mut knee = Knee::default();
            for (sequences, seconds) in steps {
                knee.step(sequences, seconds);
            }
            if let Some(sequences) = knee.of(full) {
                prop_assert!((1..=full.max(1)).contains(&sequences));
            }
        }
    }
}
