//! What a piece of work will probably take, from what others took. Pure.

use countermove_planner::Usage;

/// Weight of the newest piece of work in the average.
const NEWEST: f64 = 1.0 / 16.0;

/// A moving average of tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Average(f64);

impl Average {
    /// Begins with a guess, in tokens.
    pub(super) fn new(guess: u32) -> Self {
        Self(guess.into())
    }

    /// Takes in what a piece of work took.
    pub(super) fn add(&mut self, tokens: u64) {
        self.0 += (tokens as f64 - self.0) * NEWEST;
    }

    /// Tokens of the next piece of work, at least one.
    pub(super) fn tokens(&self) -> u64 {
        // Far below what a `u64` holds, since every sample is a count of tokens.
        (self.0.round() as u64).max(1)
    }
}

/// Tokens that the model computed for an answer: what it chose or was forced to, and what of the prompt was not in the
/// cache.
pub(super) fn computed(usage: &Usage) -> u64 {
    let read = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    read.saturating_add(usage.generated())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_what_is_taken() {
        let mut average = Average::new(400);
        assert_eq!(average.tokens(), 400);
        for _ in 0..200 {
            average.add(1000);
        }
        assert_eq!(average.tokens(), 1000);
        let mut average = Average::new(1600);
        average.add(0);
        assert_eq!(average.tokens(), 1500, "one piece of work is one of sixteen");
    }

    #[test]
    fn what_was_cached_costs_nothing() {
        let usage = Usage {
            prompt_tokens: 1000,
            cached_tokens: 900,
            sampled_tokens: 40,
            forced_tokens: 10,
            ..Usage::default()
        };
        assert_eq!(computed(&usage), 150);
    }
}
