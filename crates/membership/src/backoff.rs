//! How long to wait before a connection is tried again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Bounds of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait, before jitter.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row: twice the one before, up to the longest, of which a part between
    /// a half and the whole is taken so that many processes do not come back at the same moment.
    pub fn wait(&self, failures: u32) -> Duration {
        self.jittered(failures, jitter())
    }

    /// As [`Backoff::wait`], with the part drawn: 0 takes the half, 1 the whole.
    fn jittered(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
        doubled.min(self.most).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// A number in [0, 1) from the standard library's per-process keys; good enough to spread waits.
fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    // 53 bits fill a mantissa exactly.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) };
        let waits: Vec<_> = (0..8).map(|n| backoff.jittered(n, 1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.jittered(u32::MAX, 1.0), Duration::from_secs(5));
    }

    #[test]
    fn jitter_takes_between_a_half_and_the_whole() {
        let backoff = Backoff::default();
        assert_eq!(backoff.jittered(0, 0.0), Duration::from_millis(50));
        let waits: Vec<_> = (0..200).map(|_| backoff.wait(3)).collect();
        assert!(waits.iter().all(|&w| w >= Duration::from_millis(400) && w <= Duration::from_millis(800)));
        assert!(waits.iter().any(|w| *w != waits[0]), "it varies");
    }
}
