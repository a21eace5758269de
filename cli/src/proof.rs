//! `countermove incidents verify`: whether what a coordinator keeps is what was written.
//!
//! Checkpoints and the audit log are checked here, with keys that the caller may bring along, and not by the coordinator that
//! is in question. That each incident is what its events make of it is the coordinator's word, but for the hashes, which the
//! checkpoints name.

use std::collections::BTreeSet;
use std::path::Path;

use countermove_ledger::{Anchored, AuditChain, AuditRecord, Checkpoint, Head, Key, Signed, TrustedKeys};
use countermove_proto::IncidentId;
use countermove_proto::v1::{
    CheckpointHead, ListAuditEntriesRequest, ListCheckpointsRequest, ListIncidentsRequest,
    VerifyIncidentRequest, VerifyIncidentResponse,
};

use tonic::{Code, Response};

use crate::client::Coordinator;
use crate::failure::Failure;
use crate::render;

/// Entries of a page.
const PAGE: i32 = 500;

/// What was found of one incident.
pub(crate) struct Checked {
    found: VerifyIncidentResponse,
}

impl Checked {
    /// What is fine about it.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn whole(self, name: &str) -> Result<Self, Failure> {
        let (name, found) = (render::one_line(name), &self.found);
        let problem = render::one_line(&found.problem);
        if found.broken_event > 0 {
            return Err(Failure::Failed(format!(
                "event {} of {name} is not what was written: {problem}; the {} before it are",
                found.broken_event, found.events
            )));
        }
        if !found.problem.is_empty() {
            return Err(Failure::Failed(format!(
                "{name}: all {} events are as written, and {problem}",
                found.events
            )));
        }
        Ok(self)
    }

    /// The same as a line.
    pub(crate) fn sentence(&self) -> String {
        let VerifyIncidentResponse { events, head_sha256, inputs_gone, signed_events, .. } = &self.found;
        let mut line = format!("{events} events, all as written, up to {head_sha256}");
        if *inputs_gone > 0 {
            line.push_str(&format!(" ({inputs_gone} inputs are no longer kept)"));
        }
        if *signed_events == 0 {
            line.push_str(" (nothing is signed)");
        }
        line.push('\n');
        line
    }
}

/// Has one incident checked, and asks for the hash of its event with this number. `None` if it is not there.
pub(crate) async fn incident(
    coordinator: &Coordinator,
    name: &str,
    sequence: u64,
) -> Result<Option<Checked>, Failure> {
    let request = VerifyIncidentRequest { name: name.to_owned(), sequence };
    let call = async |request| match coordinator.incidents().verify_incident(request).await {
        Ok(found) => Ok(Response::new(Some(found.into_inner()))),
        Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
        Err(status) => Err(status),
    };
    Ok(coordinator.call(request, call).await?.map(|found| Checked { found }))
}

/// Checks the checkpoints, every incident and the audit log, and says what is there.
///
/// # Errors
/// The first thing that is not what was written, or that the coordinator cannot be asked.
pub(crate) async fn everything(
    coordinator: &Coordinator,
    anchor: Option<&Path>,
    keys: &[Key],
) -> Result<String, Failure> {
    let (anchored, trusted) = checkpoints(coordinator, keys).await?;
    let mut told = format!("{} checkpoints", anchored.count());
    if let Some(path) = anchor {
        let lines = read_anchor(path, &trusted)?;
        let last = lines.iter().map(|line| line.number).max();
        let last =
            last.ok_or_else(|| Failure::Failed(format!("{}: it has no checkpoint", path.display())))?;
        for line in &lines {
            anchored.compare(line).map_err(Failure::Failed)?;
        }
        told.push_str(&format!(", as the anchor has them up to number {last}"));
    }
    let mut listed = names(coordinator).await?;
    let (mut incidents, mut events) = (0_u64, 0_u64);
    for head in anchored.heads() {
        listed.remove(&head.incident);
        let name = head.incident.name();
        let gone = || {
            let problem =
                format!("{name} is gone: a checkpoint names it, and none says that it was forgotten");
            Failure::Failed(problem)
        };
        let checked = incident(coordinator, &name, head.sequence).await?.ok_or_else(gone)?.whole(&name)?;
        if checked.found.sequence_sha256 != hex::encode(head.hash) {
            return Err(Failure::Failed(format!(
                "{name}: its event {} is not the one that a checkpoint names",
                head.sequence
            )));
        }
        (incidents, events) = (incidents + 1, events + checked.found.events);
    }
    // Those that are younger than the last checkpoint.
    for id in listed {
        let name = id.name();
        // One that was forgotten meanwhile is missed by nobody.
        let Some(checked) = incident(coordinator, &name, 0).await? else { continue };
        let checked = checked.whole(&name)?;
        (incidents, events) = (incidents + 1, events + checked.found.events);
    }
    let entries = audit(coordinator, anchored.last()).await?;
    Ok(format!(
        "{incidents} incidents with {events} events and {entries} entries of the audit log, all as written; {told}\n"
    ))
}

/// The audit log alone.
///
/// # Errors
/// As [`everything`].
pub(crate) async fn audit_log(coordinator: &Coordinator, keys: &[Key]) -> Result<String, Failure> {
    let (anchored, _) = checkpoints(coordinator, keys).await?;
    let entries = audit(coordinator, anchored.last()).await?;
    Ok(format!("{entries} entries of the audit log, all as written; {} checkpoints\n", anchored.count()))
}

/// All entries of the audit log, in order.
pub(crate) async fn entries(
    coordinator: &Coordinator,
    mut take: impl FnMut(AuditRecord) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut page_token = String::new();
    loop {
        let request = ListAuditEntriesRequest { page_size: PAGE, page_token };
        let call = async |request| coordinator.audit().list_audit_entries(request).await;
        let page = coordinator.call(request, call).await?;
        for record in page.entries {
            let hash = hash(&record.sha256)?;
            take(AuditRecord { number: record.number, entry: record.entry, hash })?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// Checks the audit log's chain, and that it is the one that the last checkpoint knew. Gives how many entries it has.
async fn audit(coordinator: &Coordinator, last: Option<&Checkpoint>) -> Result<u64, Failure> {
    let known = last.map(|last| last.audit).unwrap_or_default();
    let mut chain = AuditChain::default();
    let mut then = (known.number == 0).then_some(chain);
    entries(coordinator, |record| {
        let next = chain.number + 1;
        chain
            .take(&record)
            .map_err(|problem| Failure::Failed(format!("entry {next} of the audit log {problem}")))?;
        if chain.number == known.number {
            then = Some(chain);
        }
        Ok(())
    })
    .await?;
    match then {
        Some(then) if then == known => Ok(chain.number),
        Some(_) => Err(Failure::Failed(format!(
            "entry {} of the audit log is not the one that a checkpoint names",
            known.number
        ))),
        None => Err(Failure::Failed(format!(
            "the audit log ends with entry {}, and a checkpoint names entry {}",
            chain.number, known.number
        ))),
    }
}

/// Reads all checkpoints. Signatures of the given keys are believed; of those that the coordinator names, if none is given.
async fn checkpoints(coordinator: &Coordinator, keys: &[Key]) -> Result<(Anchored, TrustedKeys), Failure> {
    let (mut anchored, mut page_token) = (Anchored::default(), String::new());
    let mut trusted = TrustedKeys::new(keys.iter().copied());
    loop {
        let request = ListCheckpointsRequest { page_size: PAGE, page_token };
        let call = async |request| coordinator.audit().list_checkpoints(request).await;
        let page = coordinator.call(request, call).await?;
        if keys.is_empty() {
            let named = page.keys.iter().filter_map(|key| key.parse().ok());
            trusted = TrustedKeys::new(named);
        }
        for kept in page.checkpoints {
            let number = anchored.count() + 1;
            let wrong = |problem: String| Failure::Failed(format!("checkpoint {number} {problem}"));
            let signed = Signed::from_line(&kept.line, &trusted)
                .map_err(|error| wrong(format!("is not what was written: {error}")))?;
            let heads = kept.heads.iter().map(head).collect::<Result<Vec<_>, _>>()?;
            anchored.take(&signed.checkpoint, &heads).map_err(wrong)?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok((anchored, trusted));
        }
    }
}

fn read_anchor(path: &Path, trusted: &TrustedKeys) -> Result<Vec<Checkpoint>, Failure> {
    let problem = |problem: String| Failure::Failed(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let signed = Signed::from_line(line, trusted);
            signed.map(|signed| signed.checkpoint).map_err(|error| problem(format!("line {number}: {error}")))
        })
        .collect()
}

/// Names of all incidents that are listed.
async fn names(coordinator: &Coordinator) -> Result<BTreeSet<IncidentId>, Failure> {
    let (mut ids, mut page_token) = (BTreeSet::new(), String::new());
    loop {
        let request = ListIncidentsRequest { page_size: PAGE, page_token, ..ListIncidentsRequest::default() };
        let call = async |request| coordinator.incidents().list_incidents(request).await;
        let page = coordinator.call(request, call).await?;
        for incident in page.incidents {
            let id = incident.name.parse();
            ids.insert(id.map_err(|_| said("a name of an incident that is none".to_owned()))?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(ids);
        }
    }
}

fn head(head: &CheckpointHead) -> Result<Head, Failure> {
    let incident =
        head.incident.parse().map_err(|_| said("a head of an incident without a name".to_owned()))?;
    Ok(Head { incident, sequence: head.sequence, hash: hash(&head.sha256)? })
}

fn hash(text: &str) -> Result<[u8; 32], Failure> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| said("a hash that is none".to_owned()))
}

fn said(what: String) -> Failure {
    Failure::Failed(format!("the coordinator gave {what}"))
}
