//! The chain: every event's hash covers the event, what came with it, and the hash before.
//!
//! Invariant: the encoding below never changes, so a chain stays verifiable by any later version.

use countermove_proto::IncidentId;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What the hash of an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) id: IncidentId,
    pub(crate) sequence: u64,
    /// Hash of the event before; zeros before the first.
    pub(crate) previous: Hash,
    /// The event as it is kept.
    pub(crate) event: &'a [u8],
    pub(crate) input_sha256: Option<Hash>,
    pub(crate) session_sha256: Option<Hash>,
}

impl Link<'_> {
    /// `SHA-256("countermove.event.v1" ‖ 0 ‖ previous ‖ incident ‖ sequence ‖ len(event) ‖ event ‖ input ‖ session)`, the
    /// incident as its 16 bytes, numbers as big-endian `u64`, the digests of input and session each behind a byte that
    /// is 1, or as a single 0 where there is none.
    pub(crate) fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"countermove.event.v1\0");
        hasher.update(self.previous);
        hasher.update(self.id.as_bytes());
        hasher.update(self.sequence.to_be_bytes());
        hasher.update((self.event.len() as u64).to_be_bytes());
        hasher.update(self.event);
        for digest in [self.input_sha256, self.session_sha256] {
            match digest {
                Some(digest) => {
                    hasher.update([1]);
                    hasher.update(digest);
                }
                None => hasher.update([0]),
            }
        }
        hasher.finalize().into()
    }
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let id = IncidentId::generate();
        let link = Link {
            id,
            sequence: 2,
            previous: [3; 32],
            event: b"abc",
            input_sha256: None,
            session_sha256: None,
        };
        let others = [
            Link { id: IncidentId::generate(), ..link },
            Link { sequence: 3, ..link },
            Link { previous: [4; 32], ..link },
            Link { event: b"abd", ..link },
            Link { event: b"ab", ..link },
            Link { input_sha256: Some([0; 32]), ..link },
            Link { session_sha256: Some([0; 32]), ..link },
        ];
        let mut hashes: Vec<_> = others.iter().map(Link::hash).chain([link.hash()]).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1);
    }

    #[test]
    fn the_encoding_never_changes() {
        let id = "incidents/01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let link = Link {
            id,
            sequence: 1,
            previous: [0; 32],
            event: b"event",
            input_sha256: Some([1; 32]),
            session_sha256: None,
        };
        // Computed with Python's hashlib over the documented encoding.
        assert_eq!(
            hex::encode(link.hash()),
            "118240c71fe829c28b768f8f215099b74eeddd7f232d0dcbd8adc40fc77f19b0"
        );
    }
}
