//! Where incidents are kept: for each an append-only, hash-chained log of numbered events, what came from outside with
//! them, and what is needed to go on.
//!
//! Contract: events of an incident are numbered from 1 without gaps. Only the owner of an incident writes to it: an
//! [`Append`] names the owner's [`Claim`] and the number that it expects to give, and fails if another owner has taken
//! over since, or if somebody else's event lies in between. What is appended is there as a whole or not at all, and
//! stays there when the process dies.
//!
//! Two traits say what a store can do: every one is an [`EventLog`], and one that outlives the process is an
//! [`Ownership`] as well. [`MemoryStore`] is for one process that may forget; [`SqlStore`] keeps SQLite files and
//! PostgreSQL databases.

mod chain;
mod ledger;
mod memory;
mod metered;
mod notifications;
mod sql;
#[cfg(test)]
mod tests;
mod url;
mod verify;
mod view;

use std::sync::Arc;
use std::time::Duration;

use countermove_proto::v1::{self, Evidence, Incident, IncidentEvent};
use countermove_proto::{Error, IncidentId, Outage, RequestId, Resource};
use futures::future::BoxFuture;
use prost::Message;
use uuid::Uuid;

pub use chain::Hash;
pub(crate) use chain::{Link, sha256};
pub use ledger::{KeptCheckpoint, Ledger, SavedSession};
pub use memory::MemoryStore;
pub use notifications::{Notifications, Waiting};
pub use sql::SqlStore;
pub use url::{StoreUrl, StoreUrlError, UnprotectedStore};
pub(crate) use verify::{Finding, replay, verify};
pub(crate) use view::View;

/// A process that may own incidents. Each start of a coordinator is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnerId(Uuid);

/// The right to write to an incident: who has it, and the how-manieth owner that is. A claim with a lower epoch than the
/// incident's is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The incident.
    pub id: IncidentId,
    /// Who owns it.
    pub owner: OwnerId,
    /// Counts owners from 1.
    pub epoch: u64,
}

/// An incident in somebody's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The incident.
    pub id: IncidentId,
    /// Counts owners from 1.
    pub epoch: u64,
}

/// What came from outside with an event, and what an owner that takes the incident over needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Evidence with which the incident was created.
    Evidence(Evidence),
    /// Alerts that were added to it.
    Alerts(String),
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number.
    pub sequence: u64,
    /// The event, encoded. These bytes are what the hash is about; they are never encoded anew.
    pub event: Vec<u8>,
    /// SHA-256 of the input that came with it.
    pub input_sha256: Option<Hash>,
    /// SHA-256 of the session as it was saved with it.
    pub session_sha256: Option<Hash>,
    /// Chains it to the one before.
    pub hash: Hash,
    /// Signature of the log's end that it was when it was written, as far as the store signs.
    pub signature: Option<Vec<u8>>,
}

/// A mutation as its caller named it, so that repeating it has no second effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The caller's id.
    pub id: RequestId,
    /// SHA-256 of method and payload.
    pub fingerprint: Hash,
}

/// What is known of a request that had an effect.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRequest {
    /// SHA-256 of method and payload.
    pub fingerprint: Hash,
    /// The incident that it changed and the number of the event that it made; absent if it changed nothing.
    pub effect: Option<(IncidentId, u64)>,
    /// The answer, encoded. Absent if the process died between effect and answer.
    pub answer: Option<Vec<u8>>,
}

/// Events that are written together.
#[derive(Clone, Debug)]
pub struct Append {
    /// By whom.
    pub claim: Claim,
    /// The events, in order, at least one. The first has to follow the incident's last one; 1 creates the incident.
    pub records: Vec<Record>,
    /// What came with one of them.
    pub input: Option<StoredInput>,
    /// The session as it is after them; takes the place of the one before.
    pub session: Option<Vec<u8>>,
    /// The request that they answer.
    pub request: Option<RequestKey>,
    /// The incident as it is after them.
    pub incident: Arc<Incident>,
    /// Whether they change more of it than number and time of its last event.
    pub changes: bool,
    /// Who has to be told of it.
    pub notifications: Vec<Waiting>,
}

/// Which incidents a list gives, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The list goes on after this one.
    pub after: Option<IncidentId>,
    /// In the order of their creation; else newest first.
    pub oldest_first: bool,
    /// Those that have not ended.
    pub open_only: bool,
    /// Most that are given.
    pub limit: usize,
}

/// The end of an incident's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last event.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
    /// Whether planning has ended.
    pub ended: bool,
}

/// An input as it is kept: the number of its event, and the [encoded](Input::encode) content.
pub type StoredInput = (u64, Vec<u8>);

/// What an owner needs to go on with an incident.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The end of its log.
    pub head: Head,
    /// Everything that came from outside, in order.
    pub inputs: Vec<Input>,
    /// The session, and the number of the event with which it was saved.
    pub session: (u64, Vec<u8>),
    /// Time since the incident was created, by the store's clock, which is one for all owners; absent for one that was created
    /// when stores did not tell.
    pub age: Option<Duration>,
}

/// The logs of incidents, and what they make of each incident.
pub trait EventLog: Send + Sync + 'static {
    /// Writes events.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Up to `limit` records after the number `after`, in order.
    fn records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Inputs with numbers above `after` and up to `until`, in order, as far as they are kept.
    fn inputs(
        &self,
        id: IncidentId,
        after: u64,
        until: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredInput>, StoreError>>;

    /// The end of an incident's log.
    fn head(&self, id: IncidentId) -> BoxFuture<'_, Result<Head, StoreError>>;

    /// An incident as it stands, as it was kept beside its events. Where it matters what it says, [`replay`] is asked.
    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>>;

    /// A part of the incidents, as lists show them: without steps and decisions of their plans.
    fn list(&self, part: Part) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>>;

    /// Incidents that have not ended, and the number of the last event of each.
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<(IncidentId, u64)>, StoreError>>;

    /// What proves its content, if anything does.
    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }

    /// Where notifications wait to be delivered, if it keeps any.
    fn notifications(&self) -> Option<&dyn Notifications> {
        None
    }
}

/// A log that outlives the process, with what is needed so that one process goes on where another one stopped: who owns
/// what, and which requests had their effect already.
pub trait Ownership: EventLog {
    /// What is known of a request.
    fn request(&self, id: RequestId) -> BoxFuture<'_, Result<Option<KnownRequest>, StoreError>>;

    /// Keeps the answer to a request that had an effect. One that had none may have none again.
    fn answer(&self, key: RequestKey, answer: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What an owner needs to go on.
    fn saved(&self, id: IncidentId) -> BoxFuture<'_, Result<Saved, StoreError>>;

    /// Says that `owner` is alive for `ttl` from now on, and where it is reached. Gives the unfinished incidents that it owns.
    fn renew(
        &self,
        owner: OwnerId,
        address: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Vec<Held>, StoreError>>;

    /// Gives `owner` up to `limit` unfinished incidents that nobody works on: those whose owner is not alive, and of its
    /// own the `orphans`.
    fn claim(
        &self,
        owner: OwnerId,
        orphans: Vec<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>, StoreError>>;

    /// Says that `owner` is gone; others may take what it owned at once.
    fn leave(&self, owner: OwnerId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Where the owner of an unfinished incident is reached, if that is another process than `me` and alive.
    fn owner(&self, id: IncidentId, me: OwnerId) -> BoxFuture<'_, Result<Option<String>, StoreError>>;

    /// Forgets up to `most` incidents that ended longer than `age` ago, if an age is given, and requests older than
    /// `requests`. Gives the number of incidents.
    fn forget(
        &self,
        age: Option<Duration>,
        requests: Duration,
        most: u32,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Ends its work in good order. Nothing is asked afterwards.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Where a coordinator keeps its incidents.
#[derive(Clone)]
pub enum Store {
    /// With the process they are gone: nobody goes on with them.
    Passing(Arc<dyn EventLog>),
    /// Other processes go on with them.
    Lasting(Arc<dyn Ownership>),
}

impl Store {
    /// The logs.
    pub fn log(&self) -> Arc<dyn EventLog> {
        match self {
            Self::Passing(log) => Arc::clone(log),
            Self::Lasting(shared) => Arc::clone(shared) as Arc<dyn EventLog>,
        }
    }

    /// Who owns what, where that outlives the process.
    pub fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        match self {
            Self::Passing(_) => None,
            Self::Lasting(shared) => Some(Arc::clone(shared)),
        }
    }
}

impl Store {
    /// Ends its work in good order. Nothing is asked afterwards.
    pub async fn close(&self) {
        if let Self::Lasting(shared) = self {
            shared.close().await;
        }
    }
}

impl From<MemoryStore> for Store {
    fn from(store: MemoryStore) -> Self {
        Self::Passing(Arc::new(store))
    }
}

impl From<Arc<SqlStore>> for Store {
    fn from(store: Arc<SqlStore>) -> Self {
        Self::Lasting(store)
    }
}

impl From<SqlStore> for Store {
    fn from(store: SqlStore) -> Self {
        Self::Lasting(Arc::new(store))
    }
}

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such incident, or no longer.
    #[error("there is no incident named `{0}`")]
    NotFound(IncidentId),
    /// The event's number does not follow the last one.
    #[error("event {offered} of {id} does not follow event {last}")]
    Sequence {
        /// The incident.
        id: IncidentId,
        /// Number of the last event.
        last: u64,
        /// Number that was offered.
        offered: u64,
    },
    /// Another owner has taken the incident over.
    #[error("{0} was taken over by another coordinator")]
    Fenced(IncidentId),
    /// A request with this id had its effect already.
    #[error("request {0} was carried out already")]
    Repeated(RequestId),
    /// The store cannot be reached, or is full, or failed. Nothing was written, as far as is known.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// What is kept cannot be understood.
    #[error("the store holds what cannot be read: {0}")]
    Corrupt(String),
}

/// Up to `limit` events after the number `after`, in order.
///
/// # Errors
/// Those of the store.
pub(crate) async fn events(
    log: &dyn EventLog,
    id: IncidentId,
    after: u64,
    limit: usize,
) -> Result<Vec<IncidentEvent>, StoreError> {
    log.records(id, after, limit).await?.iter().map(Record::decode).collect()
}

impl Record {
    /// The event.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn decode(&self) -> Result<IncidentEvent, StoreError> {
        IncidentEvent::decode(self.event.as_slice())
            .map_err(|error| StoreError::Corrupt(format!("event {}: {error}", self.sequence)))
    }
}

impl Append {
    /// Number of the first event.
    pub(super) fn first(&self) -> u64 {
        self.records.first().map_or(0, |record| record.sequence)
    }

    /// The log's end after it.
    pub(super) fn head(&self) -> Option<Head> {
        let last = self.records.last()?;
        let ended = self.incident.status() == v1::IncidentStatus::Ended;
        Some(Head { sequence: last.sequence, hash: last.hash, ended })
    }
}

impl Input {
    /// What it counts for in the sum of an incident's evidence, in bytes.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Evidence(evidence) => evidence.encoded_len(),
            Self::Alerts(text) => text.len(),
        }
    }

    /// Its form in the store: a byte for its kind, then the content.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Evidence(evidence) => {
                let mut bytes = vec![1];
                bytes.extend_from_slice(&evidence.encode_to_vec());
                bytes
            }
            Self::Alerts(text) => {
                let mut bytes = vec![2];
                bytes.extend_from_slice(text.as_bytes());
                bytes
            }
        }
    }

    /// # Errors
    /// [`StoreError::Corrupt`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |problem: String| StoreError::Corrupt(format!("an input: {problem}"));
        match bytes.split_first() {
            Some((1, content)) => {
                Evidence::decode(content).map(Self::Evidence).map_err(|error| corrupt(error.to_string()))
            }
            Some((2, content)) => String::from_utf8(content.to_vec())
                .map(Self::Alerts)
                .map_err(|error| corrupt(error.to_string())),
            _ => Err(corrupt("its kind is not known".to_owned())),
        }
    }
}

impl OwnerId {
    /// An id that nobody has.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let unavailable =
            |cause, message| Self::Unavailable { cause, message, retry_after: Duration::from_secs(1) };
        match error {
            StoreError::NotFound(id) => Self::NotFound { kind: Resource::Incident, name: id.name() },
            StoreError::Fenced(_) | StoreError::Sequence { .. } | StoreError::Repeated(_) => {
                unavailable(Outage::Owner, format!("{error}; ask again"))
            }
            StoreError::Unavailable(_) => unavailable(Outage::Store, error.to_string()),
            StoreError::Corrupt(_) => Self::Internal(error.to_string()),
        }
    }
}
