//! What makes a store's content provable: signatures over the ends of incidents' logs, checkpoints over all of them, and the chain
//! of the audit log.
//!
//! A hash chain alone is rewritten by whoever can write the store. So the coordinator signs each end of a log that it writes
//! ([`head_digest`]), and from time to time a [`Checkpoint`]: which incidents have which end, how far the audit log goes, and the
//! hash of the checkpoint before. What a checkpoint says is written down elsewhere as well, where whoever changes the store cannot
//! reach it; then an earlier state that is put back shows, too.
//!
//! Both sides use this crate: the coordinator that writes, and the client that checks and need not believe the coordinator.
//!
//! Invariant: the encodings that are hashed and signed never change, so what was signed stays verifiable by any later version.

mod audit;
mod checkpoint;
mod keys;

pub use audit::{AuditChain, AuditRecord};
pub use checkpoint::{Anchored, Checkpoint, Head, LineError, Signed, heads_digest};
pub use keys::{FileKey, Key, KeyError, Signature, SignatureFault, Signer, TrustedKeys};

use countermove_proto::IncidentId;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What is signed of an incident's log that ends with this event: `SHA-256("countermove.head.v1" ‖ 0 ‖ incident ‖ sequence ‖ hash)`,
/// the incident as its 16 bytes and the number as a big-endian `u64`.
pub fn head_digest(incident: IncidentId, sequence: u64, hash: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"countermove.head.v1\0");
    hasher.update(incident.as_bytes());
    hasher.update(sequence.to_be_bytes());
    hasher.update(hash);
    hasher.finalize().into()
}
