//! What a registry has to offer, so that registering and following are one code over etcd and over the model of it that
//! the simulation among the tests plays with.
//!
//! Contract: every change has a number of its own, larger than all before it, unless the registry loses its data and
//! begins to count anew. A key that is bound to a lease goes when the lease is revoked or runs out. Every call ends within
//! a bounded time.

use std::time::Duration;

use crate::Backoff;

/// Waiting times between two tries.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) };

/// Why the registry cannot be used now, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// Name of a lease.
pub type LeaseId = i64;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The worker's id.
    pub id: String,
    /// Its registration.
    pub value: Vec<u8>,
    /// Number of the change that wrote it.
    pub revision: u64,
}

/// What came of an attempt to make a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    Yes,
    /// There is one already, or there was: it may be gone by now.
    Taken(Option<Entry>),
}

/// Every key, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Number of the last change that it shows.
    pub revision: u64,
    /// The keys.
    pub entries: Vec<Entry>,
}

/// What a watch brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Changes in their order.
    Changes(Vec<Change>),
    /// What comes next is no longer kept: everything has to be read anew.
    Compacted,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(Entry),
    /// It is gone.
    Gone {
        /// The worker's id.
        id: String,
        /// Number of the change.
        revision: u64,
    },
}

/// A registry that can be connected to.
pub trait Registry: Send + Sync + 'static {
    /// A connection.
    type Connection: Connection;

    /// Connects.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Fault>> + Send;

    /// How long to wait after so many failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        RETRY.wait(failures)
    }
}

/// A connection to a registry.
pub trait Connection: Send {
    /// A way to renew one lease.
    type Renewals: Renewals;
    /// A stream of changes.
    type Watch: Watch;

    /// A new lease, and how long it lasts from now.
    fn grant(&mut self, ttl: Duration) -> impl Future<Output = Result<(LeaseId, Duration), Fault>> + Send;

    /// Makes a key under a lease, if there is none.
    fn create(
        &mut self,
        id: &str,
        value: Vec<u8>,
        lease: LeaseId,
    ) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Writes a key anew under another lease, if it still is as `revision` wrote it. Gives whether it was.
    fn replace(
        &mut self,
        id: &str,
        value: Vec<u8>,
        lease: LeaseId,
        revision: u64,
    ) -> impl Future<Output = Result<bool, Fault>> + Send;

    /// Ends a lease, and the keys under it.
    fn revoke(&mut self, lease: LeaseId) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Opens the way to renew a lease.
    fn renewals(&mut self, lease: LeaseId) -> impl Future<Output = Result<Self::Renewals, Fault>> + Send;

    /// Reads every key.
    fn list(&mut self) -> impl Future<Output = Result<Listing, Fault>> + Send;

    /// Follows what changes from this number on.
    fn watch(&mut self, from: u64) -> impl Future<Output = Result<Self::Watch, Fault>> + Send;
}

/// Renews a lease.
pub trait Renewals: Send {
    /// Renews it and gives how long it lasts from now; zero if it has run out. May take for ever.
    fn renew(&mut self) -> impl Future<Output = Result<Duration, Fault>> + Send;
}

/// A stream of changes.
pub trait Watch: Send {
    /// The next news. Safe to drop at any point.
    fn next(&mut self) -> impl Future<Output = Result<News, Fault>> + Send;
}
