//! Seeds that follow from one root, so that a plan can be repeated and a rollout gives the same tokens anywhere.
//!
//! Invariant: the encoding below never changes. A stored plan stays repeatable, and two versions agree on a rollout.

use sha2::{Digest, Sha256};

/// The seed of one random choice: the first eight bytes, big-endian, of
/// `SHA-256("countermove.seed.v1" ‖ 0 ‖ root ‖ len(purpose) ‖ purpose ‖ len(path) ‖ path…)`, with every number as a
/// big-endian `u64` and lengths in bytes and in entries. Lengths stand in front, so no two questions encode alike.
pub fn derive_seed(root: u64, purpose: &str, path: &[u64]) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(b"countermove.seed.v1\0");
    hasher.update(root.to_be_bytes());
    hasher.update((purpose.len() as u64).to_be_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update((path.len() as u64).to_be_bytes());
    for position in path {
        hasher.update(position.to_be_bytes());
    }
    let digest = hasher.finalize();
    digest.iter().take(8).fold(0, |seed, &byte| seed << 8 | u64::from(byte))
}

/// A number from 0 to below 1 by a seed: its upper 53 bits, without rounding.
pub(crate) fn chance(seed: u64) -> f64 {
    (seed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn seeds_never_change() {
        // Computed with Python's hashlib over the documented encoding.
        assert_eq!(derive_seed(0, "rollout", &[0, 0, 0]), 0x368b_cb9f_e4f6_c0c6);
        assert_eq!(derive_seed(u64::MAX, "", &[]), 0xe2c9_3a5d_cacd_8570);
    }

    #[test]
    fn different_questions_have_different_seeds() {
        let mut seen = HashSet::new();
        for root in 0..4 {
            for purpose in ["rollout", "candidate", ""] {
                for path in [&[][..], &[0], &[0, 0], &[0, 1], &[1, 0], &[256]] {
                    assert!(seen.insert(derive_seed(root, purpose, path)));
                }
            }
        }
    }
}
