//! Random numbers from a seed, so that a run that goes wrong can be repeated.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Dice of a seed.
#[derive(Clone, Debug)]
pub struct Dice(SplitMix64);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// A number below `sides`, which is above zero.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0.next_u64() % sides
    }

    /// A position in something of this length, which is above zero.
    pub fn position(&mut self, length: usize) -> usize {
        self.roll(length as u64) as usize
    }
}
