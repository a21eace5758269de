//! How many sequences a batch needs to be nearly as fast as a full one. Pure; the caller has the clock.
//!
//! The time of a step grows in a straight line with its tokens: a part that is there once (weights that are read), and a
//! part for each (what is computed). Where the first part is most of it, as on GPUs, only a full batch is fast; where it is
//! the second, as on CPUs, a part of it may do. A sequence brings several tokens to a step where its answer's format has
//! left no choice.

/// How much of the past a step leaves: some two hundred steps count.
const FADE: f64 = 0.995;
/// Steps, faded, before anything is said.
const ENOUGH: f64 = 50.0;
/// Deviation of the tokens a step, as a share of their mean, before anything is said: steps of one size tell no slope.
const SPREAD: f64 = 0.2;
/// Share of a full batch's speed that is nearly as fast.
const NEARLY: f64 = 0.9;

/// A step of an engine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    /// Tokens that went through the model, of prompts and of answers.
    pub(super) tokens: usize,
    /// Sequences that were answering.
    pub(super) answering: usize,
    /// Tokens of those.
    pub(super) of_answers: usize,
    /// What it took.
    pub(super) seconds: f64,
}

/// Fits the line through the steps of an engine. All but the number of steps are sums over them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Knee {
    steps: f64,
    tokens: f64,
    seconds: f64,
    squares: f64,
    products: f64,
    answering: f64,
    of_answers: f64,
}

impl Knee {
    /// Takes in a step.
    pub(super) fn step(&mut self, step: Step) {
        let tokens = step.tokens as f64;
        for (sum, new) in [
            (&mut self.steps, 1.0),
            (&mut self.tokens, tokens),
            (&mut self.seconds, step.seconds),
            (&mut self.squares, tokens * tokens),
            (&mut self.products, tokens * step.seconds),
            (&mut self.answering, step.answering as f64),
            (&mut self.of_answers, step.of_answers as f64),
        ] {
            *sum = *sum * FADE + new;
        }
    }

    /// The least sequences that are nearly as fast as `full`, from 1 to `full`; `None` while that is not known.
    pub(super) fn of(&self, full: usize) -> Option<usize> {
        if self.steps < ENOUGH || self.answering <= 0.0 {
            return None;
        }
        let (mean, time) = (self.tokens / self.steps, self.seconds / self.steps);
        let variance = self.squares / self.steps - mean * mean;
        if variance <= (SPREAD * mean).powi(2) {
            return None;
        }
        let token = ((self.products / self.steps - mean * time) / variance).max(0.0);
        let once = (time - token * mean).max(0.0);
        let each = token * self.of_answers / self.answering;
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

    /// Steps of one to `full` sequences with `each` tokens, beside prompts of up to 99 tokens.
    fn knee(once: f64, token: f64, each: usize, full: usize) -> Option<usize> {
        let mut knee = Knee::default();
        for step in 0..1000 {
            let answering = step % full + 1;
            let tokens = answering * each + step * 37 % 100;
            let seconds = once + token * tokens as f64;
            knee.step(Step { tokens, answering, of_answers: answering * each, seconds });
        }
        knee.of(full)
    }

    #[test]
    fn where_each_token_costs_a_few_sequences_do_and_where_it_is_free_only_a_full_batch() {
        assert_eq!(knee(0.0, 1e-3, 1, 32), Some(1));
        assert_eq!(knee(1e-2, 0.0, 1, 32), Some(29));
        let few = knee(3.2e-3, 1.4e-3, 1, 32).unwrap();
        let speed = |n: f64| n / (3.2e-3 + 1.4e-3 * n);
        assert!(
            speed(few as f64) >= 0.9 * speed(32.0) && speed(few as f64 - 1.0) < 0.9 * speed(32.0),
            "{few}"
        );
        assert!(knee(3.2e-3, 1.4e-3, 4, 32).unwrap() < few, "with several tokens each fewer do");
    }

    #[test]
    fn nothing_is_said_of_few_steps_of_steps_of_one_size_and_of_prompts_alone() {
        let step = |tokens| Step { tokens, answering: tokens, of_answers: tokens, seconds: 1e-3 };
        let mut few = Knee::default();
        (0..40).for_each(|index| few.step(step(index % 8)));
        assert_eq!(few.of(8), None);
        let mut alike = Knee::default();
        (0..1000).for_each(|_| alike.step(step(8)));
        assert_eq!(alike.of(8), None);
        let mut prompts = Knee::default();
        (0..1000)
            .for_each(|index| prompts.step(Step { tokens: index % 300, seconds: 1e-3, ..Step::default() }));
        assert_eq!(prompts.of(8), None);
    }

    proptest! {
        #[test]
        fn it_is_always_a_batch(
            steps in proptest::collection::vec((0_usize..100, 0_usize..100, 0.0_f64..1.0), 0..500),
            full in 0_usize..100,
        ) {
            let mut knee = Knee::default();
            for (tokens, answering, seconds) in steps {
                knee.step(Step { tokens, answering, of_answers: answering, seconds });
            }
            if let Some(sequences) = knee.of(full) {
                prop_assert!((1..=full.max(1)).contains(&sequences));
            }
        }
    }
}
