//! Reading an incident's log from its beginning, every event checked against the chain and the signatures: to say whether it is
//! what was written, and to make the incident of it.

use countermove_ledger::{TrustedKeys, head_digest};
use countermove_proto::IncidentId;
use countermove_proto::v1::Incident;

use super::super::projection;
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
    /// What is wrong with what is kept beside its events: the incident as lists show it, the session, the signatures.
    pub(crate) differs: Option<String>,
    /// Events that a signature covers, from the first on.
    pub(crate) signed: u64,
    /// Hash of the event that was asked for, if it is there.
    pub(crate) at: Option<Hash>,
}

/// Checks every event against its hash, its input and the hash before, and the incident that is kept beside them against
/// what they make of it. Also tells the hash of the event with the number `at`.
///
/// # Errors
/// Those of the store. A broken chain is a finding and no error.
pub(crate) async fn verify(log: &dyn EventLog, id: IncidentId, at: u64) -> Result<Finding, StoreError> {
    // What is compared comes first: events that are written meanwhile are not missed below.
    let end = log.head(id).await?;
    let kept = log.get(id).await;
    let (session, anchored, trusted) = match log.ledger() {
        Some(ledger) => (ledger.session(id).await?, ledger.anchored(id).await?, ledger.trusted()),
        None => (None, None, TrustedKeys::default()),
    };
    let anchored = anchored.filter(|head| head.sequence > 0);
    let signs = !trusted.keys().is_empty();
    let mut walk = Walk { trusted, at, ..Walk::new(id) };
    walk.anchored = anchored.map(|head| (head.sequence, None));
    walk.session = session.as_ref().map(|(sequence, _)| (*sequence, None));
    let mut then = None;
    while walk.found.broken.is_none() {
        let records = log.records(id, walk.found.events, PART).await?;
        let Some(last) = records.last().map(|record| record.sequence) else { break };
        let inputs = log.inputs(id, walk.found.events, last).await?;
        for record in &records {
            let input = inputs.iter().find(|(sequence, _)| *sequence == record.sequence);
            if !walk.take(record, input.map(|(_, bytes)| bytes.as_slice())) {
                break;
            }
            walk.found.inputs_gone += u64::from(record.input_sha256.is_some() && input.is_none());
            if kept.as_ref().is_ok_and(|kept| kept.last_sequence == record.sequence) {
                then = Some(walk.incident.clone());
            }
        }
    }
    let (saw_anchored, saw_session) = (walk.anchored, walk.session);
    let mut found = walk.found;
    if found.broken.is_none() && found.events < end.sequence {
        let problem = format!("it is missing, and the log should end with event {}", end.sequence);
        found.broken = Some((found.events + 1, problem));
    }
    if found.broken.is_none() && found.events == end.sequence && found.head != end.hash {
        found.events -= 1;
        found.broken = Some((end.sequence, "its hash is not the one that the incident ends with".to_owned()));
    }
    if let (None, Some(head), Some((_, seen))) = (&found.broken, anchored, saw_anchored)
        && seen != Some(head.hash)
    {
        let problem = match seen {
            None => format!("it is missing, and a checkpoint names event {} of this log", head.sequence),
            Some(_) => "a checkpoint names another event with this number".to_owned(),
        };
        found.broken = Some((head.sequence.min(found.events + 1), problem));
    } else if let Some(head) = anchored {
        found.signed = found.signed.max(head.sequence);
    }
    if found.broken.is_none() {
        found.differs = match (kept, then) {
            (Err(error @ StoreError::Corrupt(_)), _) => Some(error.to_string()),
            (Err(error), _) => return Err(error),
            (Ok(kept), Some(made)) if made != kept && projection::as_kept_before(made.clone()) != kept => Some(
                "the incident that is kept beside its events, which lists show, is not what they make of it"
                    .to_owned(),
            ),
            (Ok(_), _) => None,
        };
    }
    if let (None, Some((sequence, bytes)), Some((_, logged))) = (&found.broken, session, saw_session)
        && logged != Some(sha256(&bytes))
    {
        let problem = format!("the session that is kept is not the one that was saved with event {sequence}");
        found.differs = Some(problem);
    }
    if signs && found.broken.is_none() && found.signed < found.events {
        let problem = format!(
            "its events after number {} are not signed: they were written by an earlier release, or anew by somebody without \
             the key",
            found.signed
        );
        found.differs = Some(problem);
    }
    Ok(found)
}

/// The incident as its events make it, and the hash of the last one. What is kept beside the events is not looked at.
///
/// # Errors
/// [`StoreError::Corrupt`] if an event is not what was written, or that of the store.
pub(crate) async fn replay(log: &dyn EventLog, id: IncidentId) -> Result<(Incident, Hash), StoreError> {
    let trusted = log.ledger().map(|ledger| ledger.trusted()).unwrap_or_default();
    let mut walk = Walk { trusted, ..Walk::new(id) };
    loop {
        let records = log.records(id, walk.found.events, PART).await?;
        if records.is_empty() {
            // Whoever has no key can cut signatures off, and add nothing to a log that has some.
            let Finding { signed, events, head, .. } = walk.found;
            if signed > 0 && signed < events {
                let problem = format!("events of {id} after number {signed} are not signed");
                return Err(StoreError::Corrupt(problem));
            }
            return Ok((walk.incident, head));
        }
        for record in &records {
            if !walk.take(record, None)
                && let Some((number, problem)) = walk.found.broken
            {
                return Err(StoreError::Corrupt(format!("event {number} of {id}: {problem}")));
            }
        }
    }
}

/// A log, read so far.
struct Walk {
    id: IncidentId,
    found: Finding,
    incident: Incident,
    /// Whose signatures count; those of nobody are not looked at.
    trusted: TrustedKeys,
    /// The event whose hash is asked for.
    at: u64,
    /// The event that a checkpoint names, and its hash once it came.
    anchored: Option<(u64, Option<Hash>)>,
    /// The event that the session was saved with, and the session's hash once it came.
    session: Option<(u64, Option<Hash>)>,
}

impl Walk {
    fn new(id: IncidentId) -> Self {
        let found = Finding {
            events: 0,
            head: [0; 32],
            inputs_gone: 0,
            broken: None,
            differs: None,
            signed: 0,
            at: None,
        };
        Self {
            id,
            found,
            incident: projection::empty(id.name()),
            trusted: TrustedKeys::default(),
            at: 0,
            anchored: None,
            session: None,
        }
    }

    /// Takes the next record; false if it is not what was written.
    fn take(&mut self, record: &Record, input: Option<&[u8]>) -> bool {
        match self.checked(record, input) {
            Ok(event) => {
                projection::apply(&mut self.incident, &event);
                (self.found.events, self.found.head) = (record.sequence, record.hash);
                if record.signature.is_some() && !self.trusted.keys().is_empty() {
                    self.found.signed = record.sequence;
                }
                if record.sequence == self.at {
                    self.found.at = Some(record.hash);
                }
                for (place, seen) in
                    [(&mut self.anchored, Some(record.hash)), (&mut self.session, record.session_sha256)]
                {
                    if let Some((sequence, hash)) = place
                        && *sequence == record.sequence
                    {
                        *hash = seen;
                    }
                }
                true
            }
            Err(problem) => {
                self.found.broken = Some((self.found.events + 1, problem));
                false
            }
        }
    }

    fn checked(
        &self,
        record: &Record,
        input: Option<&[u8]>,
    ) -> Result<countermove_proto::v1::IncidentEvent, String> {
        if record.sequence != self.found.events + 1 {
            return Err(format!(
                "it is missing; the next one that is there has the number {}",
                record.sequence
            ));
        }
        let link = Link {
            id: self.id,
            sequence: record.sequence,
            previous: self.found.head,
            event: &record.event,
            input_sha256: record.input_sha256,
            session_sha256: record.session_sha256,
        };
        if link.hash() != record.hash {
            return Err("its hash does not fit its content and the event before".to_owned());
        }
        if let Some(signature) = record.signature.as_ref().filter(|_| !self.trusted.keys().is_empty()) {
            let digest = head_digest(self.id, record.sequence, &record.hash);
            self.trusted.check(&digest, signature).map_err(|fault| fault.to_string())?;
        }
        if let (Some(expected), Some(bytes)) = (record.input_sha256, input)
            && sha256(bytes) != expected
        {
            return Err("the evidence or alerts that came with it were changed".to_owned());
        }
        match record.decode() {
            Ok(event) if event.sequence == record.sequence => Ok(event),
            Ok(event) => Err(format!("it calls itself number {}", event.sequence)),
            Err(error) => Err(error.to_string()),
        }
    }
}
