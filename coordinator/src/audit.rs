//! The audit log: every change that somebody asked for, and everything that was refused, with who, what, when and from where.
//!
//! Contract: an entry is in the store before its call is answered, and a call whose entry cannot be written is answered with
//! UNAVAILABLE, also if it was carried out: the caller asks again under its `request_id`, which has no second effect. Entries are
//! chained in one log of the store, and checkpoints say how far it goes, so that none can be changed or taken away unseen.
//!
//! An entry says nothing of evidence: texts of a request are told by their digest.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use countermove_proto::v1::AuditEntry;
use countermove_proto::{Error, Outage, timestamp};
use prost::Message;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::incidents::EventLog;

/// Longest text of a field, in characters: what comes from outside is cut.
const LONGEST: usize = 512;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::MemoryStore;

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
