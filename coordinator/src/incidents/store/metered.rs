//! A store whose work is timed, and from whose log it is seen which incidents begin and end.

use std::sync::Arc;
use std::time::Duration;

use countermove_proto::v1::{Incident, IncidentStatus};
use countermove_proto::{IncidentId, RequestId};
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{
    Append, Claim, EventLog, Head, Held, KnownRequest, Ledger, Notifications, OwnerId, Ownership, Part,
    Record, RequestKey, Saved, Store, StoreError, StoredInput,
};
use crate::metrics::Metrics;

/// Does what the store within does, and tells how long that took.
struct Metered<S: ?Sized> {
    store: Arc<S>,
    metrics: Metrics,
}

impl Store {
    /// The same store, timed.
    #[must_use]
    pub fn metered(self, metrics: &Metrics) -> Self {
        let metrics = metrics.clone();
        match self {
            Self::Passing(store) => Self::Passing(Arc::new(Metered { store, metrics })),
            Self::Lasting(store) => Self::Lasting(Arc::new(Metered { store, metrics })),
        }
    }
}

impl<S: Send + Sync + ?Sized> Metered<S> {
    fn time<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        work: BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let done = work.await;
            self.metrics.stored(operation, begun.elapsed(), done.is_ok());
            done
        })
    }
}

impl<S: EventLog + ?Sized> EventLog for Metered<S> {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        let is_first = append.records.first().is_some_and(|record| record.sequence == 1);
        let ended = (append.incident.status() == IncidentStatus::Ended).then(|| Arc::clone(&append.incident));
        Box::pin(async move {
            self.time("append", self.store.append(append)).await?;
            if is_first {
                self.metrics.created();
            }
            // Nothing follows the last event, so each end is written once.
            if let Some(incident) = ended {
                self.metrics.ended(&incident);
            }
            Ok(())
        })
    }

    fn records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.time("read", self.store.records(id, after, limit))
    }

    fn inputs(
        &self,
        id: IncidentId,
        after: u64,
        until: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredInput>, StoreError>> {
        self.time("read", self.store.inputs(id, after, until))
    }

    fn head(&self, id: IncidentId) -> BoxFuture<'_, Result<Head, StoreError>> {
        self.time("read", self.store.head(id))
    }

    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>> {
        self.time("read", self.store.get(id))
    }

    fn list(&self, part: Part) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        self.time("list", self.store.list(part))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<(IncidentId, u64)>, StoreError>> {
        self.time("list", self.store.unfinished())
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.store.ledger()
    }

    fn notifications(&self) -> Option<&dyn Notifications> {
        self.store.notifications()
    }
}

impl<S: Ownership + ?Sized> Ownership for Metered<S> {
    fn request(&self, id: RequestId) -> BoxFuture<'_, Result<Option<KnownRequest>, StoreError>> {
        self.time("request", self.store.request(id))
    }

    fn answer(&self, key: RequestKey, answer: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.time("request", self.store.answer(key, answer))
    }

    fn saved(&self, id: IncidentId) -> BoxFuture<'_, Result<Saved, StoreError>> {
        self.time("read", self.store.saved(id))
    }

    fn renew(
        &self,
        owner: OwnerId,
        address: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Vec<Held>, StoreError>> {
        self.time("lease", self.store.renew(owner, address, ttl))
    }

    fn claim(
        &self,
        owner: OwnerId,
        orphans: Vec<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>, StoreError>> {
        self.time("lease", self.store.claim(owner, orphans, limit))
    }

    fn leave(&self, owner: OwnerId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.time("lease", self.store.leave(owner))
    }

    fn owner(&self, id: IncidentId, me: OwnerId) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        self.time("read", self.store.owner(id, me))
    }

    fn forget(
        &self,
        age: Option<Duration>,
        requests: Duration,
        most: u32,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.time("forget", self.store.forget(age, requests, most))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}
