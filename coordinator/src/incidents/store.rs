//! Where incidents are kept: for each an append-only log of numbered events, and the incident that they make.
//!
//! Contract: events of an incident are numbered from 1 without gaps. [`Store::append`] names the number that it
//! expects to give; somebody else's event in between makes it fail, so that only one owner can write at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{Evidence, Incident, IncidentEvent};
use countermove_proto::{Error, IncidentId, Resource};
use futures::future::{BoxFuture, FutureExt, ready};

use super::projection;

/// What came from outside with an event, and what an owner that takes the incident over needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Evidence with which the incident was created.
    Evidence(Evidence),
    /// Alerts that were added to it.
    Alerts(String),
}

/// Keeps incidents.
pub trait Store: Send + Sync + 'static {
    /// Writes the event with the number `event.sequence`, which has to follow the last one; 1 creates the incident.
    fn append(
        &self,
        id: IncidentId,
        event: IncidentEvent,
        input: Option<Input>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Up to `limit` events after the number `after`, in order.
    fn events(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<IncidentEvent>, StoreError>>;

    /// An incident as it stands.
    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>>;

    /// Up to `limit` incidents with ids below `before`, newest first, without the steps of their plans.
    fn list(
        &self,
        before: Option<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>>;
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
}

/// Keeps incidents in memory: all that go on, and as many of the ended ones as it was told.
///
/// Evidence is not kept, since nobody could take an incident over when the process is gone.
#[derive(Debug)]
pub struct MemoryStore {
    kept: usize,
    logs: Mutex<Logs>,
}

#[derive(Debug, Default)]
struct Logs {
    by_id: BTreeMap<IncidentId, Log>,
    /// In the order in which they ended.
    ended: VecDeque<IncidentId>,
}

#[derive(Debug)]
struct Log {
    incident: Incident,
    events: Vec<IncidentEvent>,
}

impl MemoryStore {
    /// Keeps `kept` ended incidents; when one more ends, the one that ended first is forgotten.
    pub fn new(kept: usize) -> Self {
        Self { kept: kept.max(1), logs: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        // A log is changed in one step after all checks, so it is whole even after a panic.
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: IncidentId, event: IncidentEvent) -> Result<(), StoreError> {
        let mut logs = self.lock();
        let last = logs.by_id.get(&id).map(|log| log.incident.last_sequence);
        match (last, event.sequence) {
            (None, 1) => {
                let log = Log { incident: projection::empty(id.name()), events: Vec::new() };
                logs.by_id.insert(id, log);
            }
            (None, _) => return Err(StoreError::NotFound(id)),
            (Some(last), offered) if offered != last + 1 => {
                return Err(StoreError::Sequence { id, last, offered });
            }
            (Some(_), _) => {}
        }
        let ended = matches!(event.kind, Some(Kind::Ended(_)));
        if let Some(log) = logs.by_id.get_mut(&id) {
            projection::apply(&mut log.incident, &event);
            log.events.push(event);
        }
        if ended {
            logs.ended.push_back(id);
            while logs.ended.len() > self.kept {
                if let Some(oldest) = logs.ended.pop_front() {
                    logs.by_id.remove(&oldest);
                }
            }
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn append(
        &self,
        id: IncidentId,
        event: IncidentEvent,
        _input: Option<Input>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(self.write(id, event)).boxed()
    }

    fn events(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<IncidentEvent>, StoreError>> {
        let events = self.lock().by_id.get(&id).ok_or(StoreError::NotFound(id)).map(|log| {
            // Event n is at n - 1.
            let begin = usize::try_from(after).unwrap_or(usize::MAX).min(log.events.len());
            log.events[begin..].iter().take(limit).cloned().collect()
        });
        ready(events).boxed()
    }

    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>> {
        let incident = self.lock().by_id.get(&id).map(|log| log.incident.clone());
        ready(incident.ok_or(StoreError::NotFound(id))).boxed()
    }

    fn list(
        &self,
        before: Option<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        let logs = self.lock();
        let newest_first =
            logs.by_id.iter().rev().filter(|(id, _)| before.is_none_or(|before| **id < before));
        let incidents = newest_first.take(limit).map(|(_, log)| without_steps(&log.incident)).collect();
        ready(Ok(incidents)).boxed()
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(id) => Self::NotFound { kind: Resource::Incident, name: id.name() },
            StoreError::Sequence { .. } => Self::Internal(error.to_string()),
        }
    }
}

fn without_steps(incident: &Incident) -> Incident {
    let mut incident = incident.clone();
    if let Some(plan) = &mut incident.plan {
        plan.steps.clear();
    }
    incident
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{IncidentCreated, Notice, PlanEnded, PlanStep};

    use super::*;

    fn event(sequence: u64, kind: Kind) -> IncidentEvent {
        IncidentEvent { sequence, time: None, kind: Some(kind) }
    }

    fn created() -> IncidentEvent {
        event(1, Kind::Created(IncidentCreated::default()))
    }

    fn notice(sequence: u64) -> IncidentEvent {
        event(sequence, Kind::Notice(Notice { text: format!("note {sequence}") }))
    }

    #[tokio::test]
    async fn events_are_read_in_order_and_in_parts() {
        let (store, id) = (MemoryStore::new(10), IncidentId::generate());
        store.append(id, created(), None).await.unwrap();
        for sequence in 2..=5 {
            store.append(id, notice(sequence), None).await.unwrap();
        }
        let numbers = async |after, limit| -> Vec<u64> {
            store.events(id, after, limit).await.unwrap().iter().map(|event| event.sequence).collect()
        };
        assert_eq!(numbers(0, 2).await, [1, 2]);
        assert_eq!(numbers(2, 100).await, [3, 4, 5]);
        assert_eq!(numbers(5, 100).await, [0u64; 0]);
        assert_eq!(numbers(u64::MAX, 100).await, [0u64; 0]);
    }

    #[tokio::test]
    async fn a_number_that_does_not_follow_is_refused() {
        let (store, id) = (MemoryStore::new(10), IncidentId::generate());
        assert_eq!(store.append(id, notice(2), None).await, Err(StoreError::NotFound(id)));
        store.append(id, created(), None).await.unwrap();
        for offered in [0, 1, 3] {
            let refused = store.append(id, notice(offered), None).await;
            assert_eq!(refused, Err(StoreError::Sequence { id, last: 1, offered }));
        }
        assert_eq!(store.get(id).await.unwrap().last_sequence, 1, "nothing was written");
    }

    #[tokio::test]
    async fn incidents_are_listed_newest_first_without_steps() {
        let store = MemoryStore::new(10);
        let ids: Vec<_> = (0..5).map(|_| IncidentId::generate()).collect();
        for &id in &ids {
            store.append(id, created(), None).await.unwrap();
            store.append(id, event(2, Kind::Decided(PlanStep::default())), None).await.unwrap();
        }
        let first = store.list(None, 3).await.unwrap();
        assert_eq!(
            first.iter().map(|i| i.name.clone()).collect::<Vec<_>>(),
            [ids[4].name(), ids[3].name(), ids[2].name()]
        );
        assert!(first[0].plan.as_ref().unwrap().steps.is_empty());
        assert_eq!(store.list(Some(ids[2]), 9).await.unwrap().len(), 2);
        assert_eq!(store.get(ids[0]).await.unwrap().plan.unwrap().steps.len(), 1);
    }

    #[tokio::test]
    async fn ended_incidents_are_forgotten_in_the_order_of_their_end() {
        let store = MemoryStore::new(2);
        let ids: Vec<_> = (0..4).map(|_| IncidentId::generate()).collect();
        for &id in &ids {
            store.append(id, created(), None).await.unwrap();
        }
        for &id in [&ids[2], &ids[0], &ids[1]] {
            store.append(id, event(2, Kind::Ended(PlanEnded::default())), None).await.unwrap();
        }
        assert_eq!(store.get(ids[2]).await, Err(StoreError::NotFound(ids[2])));
        assert!(store.get(ids[0]).await.is_ok() && store.get(ids[1]).await.is_ok());
        assert!(store.get(ids[3]).await.is_ok(), "what goes on is never forgotten");
    }
}
