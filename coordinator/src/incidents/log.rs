//! The writing end of one incident's log.
//!
//! Invariant: what is in [`Log::incident`] is what the events in the store make, folded here and read from nowhere else. An event that a former owner wrote for work that is
//! now done once more is not written a second time.

use std::sync::Arc;
use std::time::SystemTime;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{Incident, IncidentEvent};
use countermove_proto::{IncidentId, timestamp};
use prost::Message;
use tokio::sync::watch;

use super::projection;
use super::store::{Append, Claim, EventLog, Hash, Input, Link, Record, RequestKey, StoreError, sha256};
use crate::notify::Notify;

/// An input as it is kept, and its digest.
pub(super) struct Enclosure {
    bytes: Vec<u8>,
    sha256: Hash,
}

/// Numbers events, chains them, writes them and tells watchers. There is one for each incident that goes on.
pub(super) struct Log {
    claim: Claim,
    store: Arc<dyn EventLog>,
    hash: Hash,
    /// What a former owner wrote of the work that this one does again.
    told: Vec<Kind>,
    /// The request that the next event answers.
    request: Option<RequestKey>,
    /// Who is told of the states that it brings the incident into.
    notify: Option<Notify>,
    /// The incident after its last event.
    now: watch::Sender<Arc<Incident>>,
}

impl Log {
    /// The log of a new incident.
    pub(super) fn new(claim: Claim, store: Arc<dyn EventLog>) -> Self {
        let incident = projection::empty(claim.id.name());
        Self {
            claim,
            store,
            hash: [0; 32],
            told: Vec::new(),
            request: None,
            notify: None,
            now: watch::Sender::new(Arc::new(incident)),
        }
    }

    /// Has these told of the states that it brings the incident into.
    pub(super) fn telling(self, notify: Option<Notify>) -> Self {
        Self { notify, ..self }
    }

    /// The log of an incident that was begun by another owner. `incident` is what
    /// its events make of it, `hash` that of the last one, and `told` are those that were written since its session was
    /// saved.
    pub(super) fn resume(
        claim: Claim,
        store: Arc<dyn EventLog>,
        incident: Incident,
        hash: Hash,
        told: Vec<Kind>,
    ) -> Self {
        let now = watch::Sender::new(Arc::new(incident));
        Self { claim, store, hash, told, request: None, notify: None, now }
    }

    /// The right to write to it.
    pub(super) fn claim(&self) -> Claim {
        self.claim
    }

    pub(super) fn id(&self) -> IncidentId {
        self.claim.id
    }

    /// Whether work is done that a former owner began and told of.
    pub(super) fn repeats_work(&self) -> bool {
        self.told.iter().any(|kind| matches!(kind, Kind::Revised(_) | Kind::Proposed(_) | Kind::Rollout(_)))
    }

    /// Follows the incident; closed when this owner writes no more.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<Incident>> {
        self.now.subscribe()
    }

    /// Names the request that the next event answers; `None` if it answers none.
    pub(super) fn answers(&mut self, request: Option<RequestKey>) {
        self.request = request;
    }

    /// Writes one event, and what came with it.
    pub(super) async fn append(&mut self, kind: Kind, input: Option<Enclosure>) -> Result<(), StoreError> {
        self.write(vec![kind], input, None).await
    }

    /// Writes events, and the session as it is after them; all or nothing.
    pub(super) async fn write(
        &mut self,
        mut kinds: Vec<Kind>,
        input: Option<Enclosure>,
        session: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        kinds.retain(|kind| !self.told.iter().any(|told| same_work(told, kind)));
        let before = self.now.borrow().last_sequence;
        let (Some(position), first) = (kinds.len().checked_sub(1), before + 1) else {
            return Ok(());
        };
        let session_sha256 = session.as_deref().map(sha256);
        let (mut incident, mut hash) = (Incident::clone(&self.now.borrow()), self.hash);
        let changes = kinds.iter().any(projection::is_changed_by);
        let mut records = Vec::with_capacity(kinds.len());
        for (index, kind) in kinds.into_iter().enumerate() {
            let (sequence, is_last) = (first + index as u64, index == position);
            let event =
                IncidentEvent { sequence, time: Some(timestamp(SystemTime::now())), kind: Some(kind) };
            projection::apply(&mut incident, &event);
            let event = event.encode_to_vec();
            let input_sha256 = input.as_ref().filter(|_| is_last).map(|input| input.sha256);
            let session_sha256 = session_sha256.filter(|_| is_last);
            let link =
                Link { id: self.id(), sequence, previous: hash, event: &event, input_sha256, session_sha256 };
            hash = link.hash();
            records.push(Record {
                sequence,
                event,
                input_sha256,
                session_sha256,
                hash,
                // The store signs.
                signature: None,
            });
        }
        let (last, incident) = (first + position as u64, Arc::new(incident));
        let saved = session.is_some();
        let notifications = self.notify.as_ref().map(|notify| notify.due(&self.now.borrow(), &incident));
        let append = Append {
            claim: self.claim,
            records,
            input: input.map(|input| (last, input.bytes)),
            session,
            request: self.request,
            incident: Arc::clone(&incident),
            changes,
            notifications: notifications.unwrap_or_default(),
        };
        self.store.append(append).await?;
        (self.hash, self.request) = (hash, None);
        if saved {
            self.told.clear();
        }
        self.now.send_replace(incident);
        Ok(())
    }

    /// The incident as it stands.
    pub(super) fn incident(&self) -> Arc<Incident> {
        Arc::clone(&self.now.borrow())
    }
}

/// Whether two events tell of the same piece of work, whoever did it.
fn same_work(told: &Kind, kind: &Kind) -> bool {
    match (told, kind) {
        (Kind::Revised(a), Kind::Revised(b)) => a.step == b.step,
        (Kind::Proposed(a), Kind::Proposed(b)) => a.step == b.step,
        (Kind::Rollout(a), Kind::Rollout(b)) => {
            (a.step, a.candidate, a.rollout) == (b.step, b.candidate, b.rollout)
        }
        (Kind::Notice(a), Kind::Notice(b)) => a == b,
        _ => false,
    }
}

impl Enclosure {
    /// Takes its time for a log of many MiB.
    pub(super) fn of(input: &Input) -> Self {
        let bytes = input.encode();
        Self { sha256: sha256(&bytes), bytes }
    }
}
