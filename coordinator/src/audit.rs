//! The audit log: every change that somebody asked for, and everything that was refused, with who, what, when and from where.
//!
//! Contract: an entry is in the store before its call is answered, and a call whose entry cannot be written is answered with
//! UNAVAILABLE, also if it was carried out: the caller asks again under its `request_id`, which has no second effect. Entries are
//! chained in one log of the store, and checkpoints say how far it goes, so that none can be changed or taken away unseen.
//!
//! What the gate refuses reaches no service, and what only reads changes nothing: of these, and of changes of tokens, the gate tells
//! ([`Refusals`]), and they are written soon after. Whoever is refused may ask very often, so what cannot be kept up with is counted
//! in an entry of its own instead of one for each.
//!
//! An entry says nothing of evidence: texts of a request are told by their digest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use countermove_proto::v1::AuditEntry;
use countermove_proto::{Error, Outage, timestamp};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::access::{Record, Told, right};
use crate::incidents::EventLog;

/// Longest text of a field, in characters: what comes from outside is cut.
const LONGEST: usize = 512;
/// Entries of refusals that wait to be written.
const WAITING: usize = 256;
/// Services whose changes are written down by [`Audited`](crate::service::Audited).
const AUDITED: [&str; 2] = ["countermove.v1.IncidentService/", "countermove.v1.ClusterService/"];

/// Where entries go. Clones are the same.
#[derive(Clone)]
pub struct Audit(Arc<dyn EventLog>);

impl Audit {
    /// Writes to the ledger of this store; to nowhere, if it has none.
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self(log)
    }

    /// Writes an entry down. Id and time are set here.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it cannot be written.
    pub async fn record(&self, entry: AuditEntry) -> Result<(), Error> {
        let Some(ledger) = self.0.ledger() else { return Ok(()) };
        let cut = |text: String| -> String { text.chars().take(LONGEST).collect() };
        let entry = AuditEntry {
            id: Uuid::now_v7().to_string(),
            time: Some(timestamp(SystemTime::now())),
            who: cut(entry.who),
            subject: cut(entry.subject),
            tenant: cut(entry.tenant),
            request_id: cut(entry.request_id),
            detail: cut(entry.detail),
            message: cut(entry.message),
            ..entry
        };
        let written = ledger.add_entry(entry.encode_to_vec()).await;
        written.map(drop).map_err(|error| {
            tracing::error!(method = entry.method, subject = entry.subject, %error, "an audit entry was not written");
            Error::Unavailable {
                cause: Outage::Store,
                message: format!("the audit log cannot be written: {error}; ask again under the same request_id"),
                retry_after: Duration::from_secs(1),
            }
        })
    }

    /// Writes down how a call ended, and gives its answer.
    ///
    /// # Errors
    /// That of the call, or as [`Self::record`].
    pub async fn settle<T>(
        &self,
        mut entry: AuditEntry,
        answer: Result<Response<T>, Status>,
    ) -> Result<Response<T>, Status> {
        let (code, message) = match &answer {
            Ok(_) => (Code::Ok, String::new()),
            Err(status) => (status.code(), status.message().to_owned()),
        };
        (entry.code, entry.message) = (code.into(), message);
        self.record(entry).await?;
        answer
    }
}

/// Writes down what the gate tells that no service writes down.
pub struct Refusals {
    waiting: mpsc::Sender<AuditEntry>,
    missed: Arc<AtomicU64>,
}

impl Refusals {
    /// Writes to this log, in a task that ends with it. Needs a tokio runtime around it.
    pub fn start(audit: Audit) -> Self {
        let (waiting, mut inbox) = mpsc::channel::<AuditEntry>(WAITING);
        let missed = Arc::<AtomicU64>::default();
        let uncounted = Arc::clone(&missed);
        tokio::spawn(async move {
            while let Some(entry) = inbox.recv().await {
                // One that cannot be written was said in the log, as each refusal is.
                let _ = audit.record(entry).await;
                let missed = uncounted.swap(0, Ordering::Relaxed);
                if missed > 0 {
                    let detail = format!("{missed} more refusals came faster than they can be written");
                    let entry =
                        AuditEntry { detail, code: Code::ResourceExhausted.into(), ..AuditEntry::default() };
                    let _ = audit.record(entry).await;
                }
            }
        });
        Self { waiting, missed }
    }
}

impl Record for Refusals {
    fn tell(&self, told: &Told) {
        let is_audited = AUDITED.iter().any(|service| told.what.starts_with(service))
            && right(&format!("/{}", told.what)).is_some_and(|right| right.changes);
        if told.was_let_through && is_audited {
            return;
        }
        let entry = AuditEntry {
            who: told.who.clone(),
            from: told.from.map(|from| from.to_string()).unwrap_or_default(),
            method: told.what.rsplit('/').next().unwrap_or_default().to_owned(),
            detail: told.by.as_ref().map(|by| format!("passed on by {by}")).unwrap_or_default(),
            code: told.outcome.into(),
            message: told.why.clone(),
            ..AuditEntry::default()
        };
        if self.waiting.try_send(entry).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::MemoryStore;

    #[tokio::test]
    async fn what_the_gate_refuses_is_written_once_and_a_flood_of_it_is_counted() {
        let store = Arc::new(MemoryStore::new(1));
        let refusals = Refusals::start(Audit::new(store.clone()));
        let told = |what: &str, outcome, was_let_through| Told {
            who: "ann".into(),
            what: format!("countermove.v1.{what}"),
            when: SystemTime::now(),
            from: Some("203.0.113.9".parse().unwrap()),
            by: None,
            outcome,
            why: "no".into(),
            was_let_through,
        };
        refusals.tell(&told("IncidentService/ApproveAction", Code::PermissionDenied, false));
        // The service wrote this one.
        refusals.tell(&told("IncidentService/ApproveAction", Code::PermissionDenied, true));
        refusals.tell(&told("IncidentService/GetIncident", Code::NotFound, true));
        refusals.tell(&told("AccessService/CreateToken", Code::Ok, true));
        for _ in 0..2 * WAITING {
            refusals.tell(&told("Other/Call", Code::Unimplemented, false));
        }
        let kept = loop {
            let kept = store.ledger().unwrap().entries(0, 9999).await.unwrap();
            if kept.len() > WAITING {
                break kept;
            }
            tokio::task::yield_now().await;
        };
        let entries: Vec<AuditEntry> =
            kept.iter().map(|record| AuditEntry::decode(record.entry.as_slice()).unwrap()).collect();
        let methods: Vec<&str> = entries.iter().map(|entry| entry.method.as_str()).collect();
        assert_eq!(methods[0], "ApproveAction");
        assert!(methods.contains(&"GetIncident") && methods.contains(&"CreateToken"));
        assert_eq!(methods.iter().filter(|method| **method == "ApproveAction").count(), 1);
        assert!(entries.iter().any(|entry| entry.detail.contains("came faster")), "the rest is counted");
        assert_eq!((entries[0].who.as_str(), entries[0].from.as_str()), ("ann", "203.0.113.9"));
    }

    #[tokio::test]
    async fn a_call_that_was_refused_is_written_down_and_answered_as_before() {
        let store = Arc::new(MemoryStore::new(1));
        let audit = Audit::new(store.clone());
        let entry =
            AuditEntry { method: "ApproveAction".into(), who: "x".repeat(9000), ..AuditEntry::default() };
        let refused: Result<Response<()>, Status> = Err(Status::failed_precondition("too late"));
        let answer = audit.settle(entry.clone(), refused).await.unwrap_err();
        assert_eq!((answer.code(), answer.message()), (Code::FailedPrecondition, "too late"));
        assert!(audit.settle(entry, Ok(Response::new(()))).await.is_ok());
        let kept = store.ledger().unwrap().entries(0, 9).await.unwrap();
        let entries: Vec<AuditEntry> =
            kept.iter().map(|record| AuditEntry::decode(record.entry.as_slice()).unwrap()).collect();
        assert_eq!(entries.iter().map(|entry| entry.code).collect::<Vec<_>>(), [9, 0]);
        assert_eq!((entries[0].message.as_str(), entries[0].who.len()), ("too late", LONGEST));
        assert!(entries[0].time.is_some() && entries[0].id != entries[1].id);
    }
}
