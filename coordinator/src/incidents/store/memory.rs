//! A store for one process that may forget.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countermove_ledger::{AuditChain, AuditRecord, TrustedKeys};
use countermove_proto::IncidentId;
use countermove_proto::v1::Incident;
use futures::future::{BoxFuture, FutureExt, ready};

use super::super::projection::summary;
use super::ledger::{KeptCheckpoint, Ledger, SavedSession};
use super::{Append, EventLog, Head, Notifications, OwnerId, Part, Record, StoreError, StoredInput, Waiting};

/// Keeps incidents in memory: all that go on, and as many of the ended ones as it was told.
///
/// Neither evidence nor sessions nor requests are kept, since nobody could take an incident over when the process is gone.
#[derive(Debug)]
pub struct MemoryStore {
    kept: usize,
    logs: Mutex<Logs>,
    notifications: Mutex<VecDeque<Waiting>>,
    audit: Mutex<VecDeque<AuditRecord>>,
}

#[derive(Debug, Default)]
struct Logs {
    by_id: BTreeMap<IncidentId, Log>,
    /// In the order in which they ended.
    ended: VecDeque<IncidentId>,
}

#[derive(Debug)]
struct Log {
    head: Head,
    incident: Arc<Incident>,
    records: Vec<Record>,
}

impl MemoryStore {
    /// Keeps `kept` ended incidents; when one more ends, the one that ended first is forgotten.
    pub fn new(kept: usize) -> Self {
        Self {
            kept: kept.max(1),
            logs: Mutex::default(),
            notifications: Mutex::default(),
            audit: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        // A log is changed in one step after all checks, so it is whole even after a panic.
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, append: Append) -> Result<(), StoreError> {
        let (id, offered) = (append.claim.id, append.first());
        let Some(head) = append.head() else { return Ok(()) };
        let mut logs = self.lock();
        match logs.by_id.get_mut(&id) {
            None if offered == 1 => {
                let log = Log { head, incident: append.incident, records: append.records };
                logs.by_id.insert(id, log);
            }
            None => return Err(StoreError::NotFound(id)),
            Some(log) if offered != log.head.sequence + 1 => {
                return Err(StoreError::Sequence { id, last: log.head.sequence, offered });
            }
            Some(log) => {
                log.head = head;
                log.incident = append.incident;
                log.records.extend(append.records);
            }
        }
        self.outgoing().extend(append.notifications);
        if head.ended {
            logs.ended.push_back(id);
            while logs.ended.len() > self.kept {
                if let Some(oldest) = logs.ended.pop_front() {
                    logs.by_id.remove(&oldest);
                }
            }
        }
        Ok(())
    }

    fn read<T>(&self, id: IncidentId, read: impl FnOnce(&Log) -> T) -> Result<T, StoreError> {
        self.lock().by_id.get(&id).map(read).ok_or(StoreError::NotFound(id))
    }
}

impl EventLog for MemoryStore {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(self.write(append)).boxed()
    }

    fn records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let records = self.read(id, |log| {
            // Record n is at n - 1.
            let begin = usize::try_from(after).unwrap_or(usize::MAX).min(log.records.len());
            log.records[begin..].iter().take(limit).cloned().collect()
        });
        ready(records).boxed()
    }

    fn inputs(
        &self,
        _id: IncidentId,
        _after: u64,
        _until: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredInput>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn head(&self, id: IncidentId) -> BoxFuture<'_, Result<Head, StoreError>> {
        ready(self.read(id, |log| log.head)).boxed()
    }

    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>> {
        ready(self.read(id, |log| Incident::clone(&log.incident))).boxed()
    }

    fn list(&self, part: Part) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        let logs = self.lock();
        let range = match (part.after, part.oldest_first) {
            (None, _) => (Bound::Unbounded, Bound::Unbounded),
            (Some(after), true) => (Bound::Excluded(after), Bound::Unbounded),
            (Some(after), false) => (Bound::Unbounded, Bound::Excluded(after)),
        };
        let mut range = logs.by_id.range(range);
        let in_order =
            std::iter::from_fn(|| if part.oldest_first { range.next() } else { range.next_back() });
        let asked = in_order.filter(|(_, log)| !(part.open_only && log.head.ended)).take(part.limit);
        let incidents = asked.map(|(_, log)| summary(Incident::clone(&log.incident))).collect();
        ready(Ok(incidents)).boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<(IncidentId, u64)>, StoreError>> {
        let logs = self.lock();
        let open = logs.by_id.iter().filter(|(_, log)| !log.head.ended);
        ready(Ok(open.map(|(&id, log)| (id, log.head.sequence)).collect())).boxed()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }

    fn notifications(&self) -> Option<&dyn Notifications> {
        Some(self)
    }
}

impl MemoryStore {
    fn outgoing(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.notifications.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// They go with the process, as incidents do.
impl Notifications for MemoryStore {
    fn waiting(
        &self,
        _owner: OwnerId,
        receiver: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Waiting>, StoreError>> {
        let outgoing = self.outgoing();
        let its = outgoing.iter().filter(|waiting| waiting.receiver == receiver);
        ready(Ok(its.take(limit).cloned().collect())).boxed()
    }

    fn settle(&self, receiver: String, id: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.outgoing().retain(|waiting| waiting.receiver != receiver || waiting.id != id);
        ready(Ok(())).boxed()
    }
}

/// Entries of the audit log that are kept.
const ENTRIES: usize = 100_000;

impl MemoryStore {
    fn audit(&self) -> MutexGuard<'_, VecDeque<AuditRecord>> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The audit log is kept like incidents are: as long as the process lives. Nobody else reaches it, so nothing is signed.
impl Ledger for MemoryStore {
    fn add_entry(&self, entry: Vec<u8>) -> BoxFuture<'_, Result<u64, StoreError>> {
        let mut audit = self.audit();
        let last = audit.back().map(|last| AuditChain { number: last.number, hash: last.hash });
        let record = last.unwrap_or_default().next(entry);
        let number = record.number;
        audit.push_back(record);
        if audit.len() > ENTRIES {
            audit.pop_front();
        }
        ready(Ok(number)).boxed()
    }

    fn entries(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        let audit = self.audit();
        let later = audit.iter().filter(|record| record.number > after);
        ready(Ok(later.take(limit).cloned().collect())).boxed()
    }

    fn make_checkpoint(&self) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn checkpoints(
        &self,
        _after: u64,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Vec<KeptCheckpoint>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn anchored(
        &self,
        _id: IncidentId,
    ) -> BoxFuture<'_, Result<Option<countermove_ledger::Head>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn session(&self, _id: IncidentId) -> BoxFuture<'_, Result<Option<SavedSession>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn trusted(&self) -> TrustedKeys {
        TrustedKeys::default()
    }
}
