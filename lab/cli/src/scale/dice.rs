//! Random numbers that are the same again.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Dice of one thing that is simulated.
pub(super) struct Dice(SplitMix64);

impl Dice {
    /// Those of a number, by a seed.
    pub(super) fn of(seed: u64, number: u64) -> Self {
        let mut mixed = SplitMix64::seed_from_u64(seed);
        let seed = mixed.next_u64();
        Self(SplitMix64::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// From 0 to below 1.
    pub(super) fn part(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.part()).ln()
    }
}
