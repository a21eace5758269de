//! What a store keeps besides its incidents so that its content can be proven: checkpoints over all logs, and the audit log.

use countermove_ledger::{AuditRecord, Head, TrustedKeys};
use countermove_proto::IncidentId;
use futures::future::BoxFuture;

use super::StoreError;

/// A checkpoint as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCheckpoint {
    /// Its number.
    pub number: u64,
    /// The signed checkpoint, as one line.
    pub line: String,
    /// The heads that it names, in the order of their incidents.
    pub heads: Vec<Head>,
}

/// A session as it is kept, behind the number of the event with which it was saved.
pub type SavedSession = (u64, Vec<u8>);

/// Keeps checkpoints and the audit log.
pub trait Ledger: Send + Sync + 'static {
    /// Adds an entry to the audit log, and gives its number.
    fn add_entry(&self, entry: Vec<u8>) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Up to `limit` entries of the audit log after the number `after`, in order.
    fn entries(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>>;

    /// Makes a checkpoint of what has changed since the last one; `None` if nothing has, another process was faster, or nobody
    /// signs here.
    fn make_checkpoint(&self) -> BoxFuture<'_, Result<Option<u64>, StoreError>>;

    /// Up to `limit` checkpoints after the number `after`, in order.
    fn checkpoints(&self, after: u64, limit: usize)
    -> BoxFuture<'_, Result<Vec<KeptCheckpoint>, StoreError>>;

    /// The end of an incident's log that the last checkpoint names which names it.
    fn anchored(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<Head>, StoreError>>;

    /// An incident's saved session and the number of the event with which it was saved, while there is one.
    fn session(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<SavedSession>, StoreError>>;

    /// Whose signatures are believed; nobody's if nothing is signed here.
    fn trusted(&self) -> TrustedKeys;
}
