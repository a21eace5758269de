//! `countermove.v1.AuditService`.

use std::sync::Arc;

use countermove_proto::Error;
use countermove_proto::v1::audit_service_server::AuditService;
use countermove_proto::v1::{
    AuditRecord, Checkpoint, CheckpointHead, ListAuditEntriesRequest, ListAuditEntriesResponse,
    ListCheckpointsRequest, ListCheckpointsResponse,
};
use tonic::{Request, Response, Status};

use super::pages::{List, page_size};
use crate::incidents::{EventLog, KeptCheckpoint};

/// Heads of a page of checkpoints after which it ends.
const HEADS: usize = 4096;

/// The service over this coordinator's store.
#[derive(Clone)]
pub struct AuditApi(Arc<dyn EventLog>);

impl AuditApi {
    /// A service over this store.
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self(log)
    }
}

/// The number after which a page begins.
fn after(list: List, token: &str) -> Result<u64, Error> {
    let Some(key) = list.key(token)? else { return Ok(0) };
    let bytes = key.try_into().map_err(|_| Error::invalid("page_token", "it names no number"))?;
    Ok(u64::from_be_bytes(bytes))
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let request = request.into_inner();
        let (size, after) = (page_size(request.page_size)?, after(List::AuditEntries, &request.page_token)?);
        let Some(ledger) = self.0.ledger() else {
            return Ok(Response::new(ListAuditEntriesResponse::default()));
        };
        let mut records = ledger.entries(after, size + 1).await.map_err(Error::from)?;
        let more = records.len() > size;
        records.truncate(size);
        let next_page_token = match records.last() {
            Some(last) if more => List::AuditEntries.token(&last.number.to_be_bytes()),
            _ => String::new(),
        };
        let entries = records.into_iter().map(|record| AuditRecord {
            number: record.number,
            entry: record.entry,
            sha256: hex::encode(record.hash),
        });
        Ok(Response::new(ListAuditEntriesResponse { entries: entries.collect(), next_page_token }))
    }

    async fn list_checkpoints(
        &self,
        request: Request<ListCheckpointsRequest>,
    ) -> Result<Response<ListCheckpointsResponse>, Status> {
        let request = request.into_inner();
        let (size, mut after) =
            (page_size(request.page_size)?, after(List::Checkpoints, &request.page_token)?);
        let Some(ledger) = self.0.ledger() else {
            return Ok(Response::new(ListCheckpointsResponse::default()));
        };
        let (mut checkpoints, mut heads, mut more) = (Vec::new(), 0, false);
        // One by one, since some name many heads.
        while checkpoints.len() < size && heads < HEADS {
            let kept = ledger.checkpoints(after, 2).await.map_err(Error::from)?;
            more = kept.len() > 1;
            let Some(next) = kept.into_iter().next() else { break };
            (after, heads) = (next.number, heads + next.heads.len());
            checkpoints.push(told(next));
            if !more {
                break;
            }
        }
        let next_page_token =
            if more { List::Checkpoints.token(&after.to_be_bytes()) } else { String::new() };
        let keys = ledger.trusted().keys().iter().map(ToString::to_string).collect();
        Ok(Response::new(ListCheckpointsResponse { checkpoints, next_page_token, keys }))
    }
}

fn told(kept: KeptCheckpoint) -> Checkpoint {
    let head = |head: &countermove_ledger::Head| CheckpointHead {
        incident: head.incident.name(),
        sequence: head.sequence,
        sha256: hex::encode(head.hash),
    };
    let heads = kept.heads.iter().map(head).collect();
    Checkpoint { number: kept.number, line: kept.line, heads }
}
