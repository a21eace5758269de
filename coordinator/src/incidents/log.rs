//! The writing end of one incident's log.

use std::sync::Arc;
use std::time::SystemTime;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{Incident, IncidentEvent};
use countermove_proto::{IncidentId, timestamp};
use tokio::sync::watch;

use super::store::{Input, Store, StoreError};

/// Numbers events, writes them and tells watchers. There is one for each incident that goes on.
#[derive(Clone)]
pub(super) struct Log {
    id: IncidentId,
    store: Arc<dyn Store>,
    /// Number of the last event.
    last: Arc<watch::Sender<u64>>,
}

impl Log {
    /// The log of a new incident.
    pub(super) fn new(id: IncidentId, store: Arc<dyn Store>) -> Self {
        Self { id, store, last: Arc::new(watch::Sender::new(0)) }
    }

    pub(super) fn id(&self) -> IncidentId {
        self.id
    }

    /// Follows the number of the last event; closed when nobody writes any more.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Writes one event.
    pub(super) async fn append(&mut self, kind: Kind, input: Option<Input>) -> Result<(), StoreError> {
        let sequence = *self.last.borrow() + 1;
        let event = IncidentEvent { sequence, time: Some(timestamp(SystemTime::now())), kind: Some(kind) };
        self.store.append(self.id, event, input).await?;
        self.last.send_replace(sequence);
        Ok(())
    }

    /// The incident as it stands.
    pub(super) async fn incident(&self) -> Result<Incident, StoreError> {
        self.store.get(self.id).await
    }
}
