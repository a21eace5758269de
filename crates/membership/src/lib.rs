//! Who is a worker of the cluster.
//!
//! A worker registers itself under a lease and renews it; coordinators follow who comes and goes. What is here knows
//! nothing of either of them, and nothing of planning.
//!
//! Contract: a registration is made only where there is none, so two processes with one id never take turns. Each has
//! an [`Incarnation`] that no former one had, by which coordinators tell a process from its successor at the same
//! address. When the registry cannot be reached, followers go on with the members they know, and workers register
//! again when it is back.

mod backoff;
#[cfg(feature = "etcd")]
pub mod etcd;
mod follow;
mod register;
pub mod registry;
#[cfg(test)]
mod simulation;
mod view;

use serde::{Deserialize, Serialize};

pub use backoff::Backoff;
pub use follow::follow;
pub use register::register;
pub use view::View;

/// Tells registrations of one id apart: a later one has a larger number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

/// A worker as it registers itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Where it is reached, `http://host:port`.
    pub url: String,
    /// Sequences that it decodes in one batch.
    pub capacity: u32,
    /// SHA-256 of its weights.
    pub weights_sha256: String,
    /// Drawn when the process starts: tells it from a successor with the same id.
    pub process: String,
}

/// A worker that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it said of itself.
    pub registration: Registration,
    /// Which registration of its id this is.
    pub incarnation: Incarnation,
}

impl Registration {
    /// Its form in the registry, JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers alone: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote. Fields of later versions are ignored.
    ///
    /// # Errors
    /// If it is no registration.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn registrations_come_back(url in "\\PC{0,40}", capacity: u32, process in "\\PC{0,20}") {
            let registration = Registration { url, capacity, weights_sha256: "ab".repeat(32), process };
            prop_assert_eq!(Registration::decode(&registration.encode()).unwrap(), registration);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            let _ = Registration::decode(&bytes);
        }
    }
}
