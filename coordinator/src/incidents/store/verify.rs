//! Checks that the log of an incident is what was written.

use countermove_proto::IncidentId;

use super::chain::{Hash, Link, sha256};
use super::{EventLog, Record, StoreError};

/// Records read at a time.
const PART: usize = 256;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Events that are whole, up to the first broken one.
    pub(crate) events: u64,
    /// Hash of the last whole event.
    pub(crate) head: Hash,
    /// Inputs that are no longer kept and so could not be checked.
    pub(crate) inputs_gone: u64,
    /// The first event that is not what was written, and what is wrong with it.
    pub(crate) broken: Option<(u64, String)>,
}

/// Reads a log from its beginning and checks every event against its hash, its input and the hash before.
///
/// # Errors
/// Those of the store. A broken chain is a finding and no error.
pub(crate) async fn verify(log: &dyn EventLog, id: IncidentId) -> Result<Finding, StoreError> {
    // The end first: events that are written meanwhile are not missed below.
    let end = log.head(id).await?;
    let mut found = Finding { events: 0, head: [0; 32], inputs_gone: 0, broken: None };
    while found.broken.is_none() {
        let records = log.records(id, found.events, PART).await?;
        let Some(last) = records.last().map(|record| record.sequence) else { break };
        let inputs = log.inputs(id, found.events, last).await?;
        for record in &records {
            let input = inputs.iter().find(|(sequence, _)| *sequence == record.sequence);
            if let Some(problem) = problem(id, &found, record, input.map(|(_, bytes)| bytes.as_slice())) {
                found.broken = Some((found.events + 1, problem));
                break;
            }
            found.inputs_gone += u64::from(record.input_sha256.is_some() && input.is_none());
            found.events = record.sequence;
            found.head = record.hash;
        }
    }
    if found.broken.is_none() && found.events < end.sequence {
        let problem = format!("it is missing, and the log should end with event {}", end.sequence);
        found.broken = Some((found.events + 1, problem));
    }
    if found.broken.is_none() && found.events == end.sequence && found.head != end.hash {
        found.events -= 1;
        found.broken = Some((end.sequence, "its hash is not the one that the incident ends with".to_owned()));
    }
    Ok(found)
}

fn problem(id: IncidentId, found: &Finding, record: &Record, input: Option<&[u8]>) -> Option<String> {
    if record.sequence != found.events + 1 {
        return Some(format!("it is missing; the next one that is there has the number {}", record.sequence));
    }
    let link = Link {
        id,
        sequence: record.sequence,
        previous: found.head,
        event: &record.event,
        input_sha256: record.input_sha256,
        session_sha256: record.session_sha256,
    };
    if link.hash() != record.hash {
        return Some("its hash does not fit its content and the event before".to_owned());
    }
    if let (Some(expected), Some(bytes)) = (record.input_sha256, input)
        && sha256(bytes) != expected
    {
        return Some("the evidence or alerts that came with it were changed".to_owned());
    }
    match record.decode() {
        Ok(event) if event.sequence == record.sequence => None,
        Ok(event) => Some(format!("it calls itself number {}", event.sequence)),
        Err(error) => Some(error.to_string()),
    }
}
