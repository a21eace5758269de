//! Incidents that outlive their coordinator: what is kept of a session, and how another owner goes on with it.
//!
//! Contract: an incident that was claimed goes on from the session that was saved last. Work that was under way then is
//! done again with the same seeds; what was told of it already is not told twice.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use countermove_incident::{AlertLog, Dossier, SourceName};
use countermove_planner::{Evidence, PlanSession, Planner};
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{Incident, PlanEnd, PlanEnded};
use countermove_proto::{Error, IncidentId, Outage, duration_from_message, system_time};
use tokio::time::Instant;

use super::actor::Beginning;
use super::log::Log;
use super::store::{self, Claim, Hash, Input, Ownership, Saved, StoreError};
use super::{GRACE, Incidents, read_evidence};
use crate::dispatch::{IncidentWorkers, Payer, notices};

/// A session with what the coordinator knows about its evidence, as one string of bytes: the number of reports of alerts
/// that the session has taken in, as a big-endian `u32`, then the session.
pub(super) fn save(session: &PlanSession, reports: u32) -> Vec<u8> {
    let mut bytes = reports.to_be_bytes().to_vec();
    bytes.extend_from_slice(&session.save());
    bytes
}

/// What is said to a change of an incident that has no owner at this moment.
pub(super) fn changes_hands(id: IncidentId) -> Error {
    Error::Unavailable {
        cause: Outage::Owner,
        message: format!("{id} is being taken over by another coordinator; ask again"),
        retry_after: Duration::from_secs(2),
    }
}

fn split(saved: &[u8]) -> Result<(u32, &[u8]), StoreError> {
    let (reports, session) = saved
        .split_first_chunk::<4>()
        .ok_or_else(|| StoreError::Corrupt("a saved session is cut off".to_owned()))?;
    Ok((u32::from_be_bytes(*reports), session))
}

/// Evidence as a session has it, and all of it.
struct Gathered {
    taken: Evidence,
    all: Evidence,
    /// What came that the session has not taken in.
    fresh: Vec<AlertLog>,
    dossier: Dossier,
    /// Bytes of all that came.
    length: usize,
    reports: u32,
}

/// Why an incident was not taken over.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// It may work next time, or elsewhere.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It never will.
    #[error("{0}")]
    Unusable(String),
}

impl Incidents {
    /// Goes on with an incident that was claimed, or ends it if nobody can. Says whether it goes on.
    pub(super) async fn take_over(&self, ownership: &dyn Ownership, claim: Claim) -> bool {
        match self.adopt(ownership, claim).await {
            Ok(()) => {
                tracing::info!(incident = %claim.id, epoch = claim.epoch, "incident taken over");
                return true;
            }
            Err(Refusal::Store(error)) => {
                tracing::warn!(incident = %claim.id, %error, "incident was not taken over");
            }
            Err(Refusal::Unusable(problem)) => {
                tracing::error!(incident = %claim.id, problem, "incident cannot be gone on with");
                if let Err(error) = self.give_up(claim, problem).await {
                    tracing::warn!(incident = %claim.id, %error, "its end could not be written");
                }
            }
        }
        false
    }

    /// Goes on with an incident.
    async fn adopt(&self, ownership: &dyn Ownership, claim: Claim) -> Result<(), Refusal> {
        let saved = ownership.saved(claim.id).await?;
        self.check_session(claim.id, &saved.session).await?;
        let told = self.told_since(claim.id, saved.session.0).await?;
        let Saved { head, inputs, session: (_, bytes), age } = saved;
        let (incident, hash) = self.replayed(claim.id).await?;
        if (incident.last_sequence, hash) != (head.sequence, head.hash) {
            return Err(Refusal::Unusable("its log does not end where it should".to_owned()));
        }
        let (taken, _) = split(&bytes)?;
        let age = age.unwrap_or_else(|| age_here(&incident));
        // The deadline is in the session, and the session needs the planner, which needs the deadline.
        let deadline = incident
            .options
            .as_ref()
            .and_then(|options| options.deadline)
            .and_then(duration_from_message)
            .map(|deadline| Instant::now() + deadline.saturating_sub(age) + GRACE);
        let (notify, notices) = notices();
        let (dispatcher, payer) = (self.0.dispatcher.clone(), Payer::of(&incident));
        let tenant = payer.tenant().clone();
        let workers = IncidentWorkers::new(dispatcher, claim.id, payer, deadline, Some(notify));
        let templates = self.templates(incident.model.as_ref()).await;
        let templates = templates.map_err(|error| Refusal::Unusable(error.to_string()))?;
        let planner = Arc::new(Planner::new(workers.clone(), workers, templates));
        let (session, gathered) = {
            let planner = Arc::clone(&planner);
            let work = move || {
                let gathered = gather(inputs, taken)?;
                let (_, session) = split(&bytes)?;
                let session = planner
                    .restore(session, &gathered.taken, age)
                    .map_err(|error| Error::Internal(error.to_string()))?;
                Ok((session, gathered))
            };
            self.compute(work).await.map_err(|error| Refusal::Unusable(error.to_string()))?
        };
        let log = Log::resume(claim, Arc::clone(&self.0.log), incident, hash, told)
            .telling(self.0.options.notify.clone());
        let (commands, progress, handle, working) = super::Handle::open(&log, tenant);
        let lost = handle.lost.clone();
        let place =
            self.register(claim.id, handle).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let beginning = Beginning {
            log,
            planner,
            fleet: self.0.fleet.clone(),
            cpu: self.0.cpu.clone(),
            patience: self.0.options.patience,
            policy: self.0.options.policy.clone(),
            session,
            evidence: gathered.all,
            fresh: gathered.fresh,
            dossier: gathered.dossier,
            length: gathered.length,
            reports: gathered.reports,
            taken,
            commands,
            webhook: self.0.options.webhook.clone(),
            notices,
            progress,
            working,
            lost,
            stop: self.0.stop.subscribe(),
        };
        self.start(beginning, place);
        Ok(())
    }

    /// Checks that a session is the one that the log says was saved.
    async fn check_session(&self, id: IncidentId, (sequence, bytes): &(u64, Vec<u8>)) -> Result<(), Refusal> {
        let records = self.0.log.records(id, sequence.saturating_sub(1), 1).await?;
        let logged = records.first().and_then(|record| record.session_sha256);
        if logged != Some(store::sha256(bytes)) {
            return Err(Refusal::Unusable("the saved session is not the one that was written".to_owned()));
        }
        Ok(())
    }

    /// The incident as its events make it. What is kept beside them may have been changed and is not gone on from.
    async fn replayed(&self, id: IncidentId) -> Result<(Incident, Hash), Refusal> {
        store::replay(&*self.0.log, id).await.map_err(|error| match error {
            StoreError::Corrupt(problem) => Refusal::Unusable(problem),
            error => error.into(),
        })
    }

    /// Events after the one with which the session was saved.
    async fn told_since(&self, id: IncidentId, saved: u64) -> Result<Vec<Kind>, StoreError> {
        let (mut told, mut after) = (Vec::new(), saved);
        loop {
            let events = store::events(&*self.0.log, id, after, super::watch::PART).await?;
            let Some(last) = events.last() else { return Ok(told) };
            after = last.sequence;
            told.extend(events.into_iter().filter_map(|event| event.kind));
        }
    }

    /// Ends an incident that cannot be gone on with here.
    pub(super) async fn give_up(&self, claim: Claim, problem: String) -> Result<(), StoreError> {
        let head = self.0.log.head(claim.id).await?;
        // One whose log is damaged has to end as well.
        let incident = match store::replay(&*self.0.log, claim.id).await {
            Err(StoreError::Corrupt(_)) => self.0.log.get(claim.id).await?,
            replayed => replayed?.0,
        };
        let ended = PlanEnded { end: PlanEnd::Failed.into(), error: problem, usage: None };
        let mut log = Log::resume(claim, Arc::clone(&self.0.log), incident, head.hash, Vec::new())
            .telling(self.0.options.notify.clone());
        log.append(Kind::Ended(ended), None).await
    }
}

/// Reads the evidence and merges the alerts that were reported since, in order.
fn gather(inputs: Vec<Input>, taken: u32) -> Result<Gathered, Error> {
    let mut inputs = inputs.into_iter();
    let first = inputs.next();
    let length = first.as_ref().map_or(0, Input::length);
    let Some(Input::Evidence(evidence)) = first else {
        return Err(Error::Internal("the evidence of the incident is not kept".to_owned()));
    };
    let (mut all, dossier) = read_evidence(evidence)?;
    let mut gathered =
        Gathered { taken: all.clone(), all: all.clone(), fresh: Vec::new(), dossier, length, reports: 0 };
    for input in inputs {
        gathered.length += input.length();
        let Input::Alerts(text) = input else { continue };
        let more = gathered
            .dossier
            .absorb(&SourceName::default(), text.as_bytes())
            .map_err(|error| Error::Internal(error.to_string()))?
            .log;
        gathered.reports += 1;
        if gathered.reports == taken {
            gathered.taken.log = gathered.dossier.log();
        } else if gathered.reports > taken && more.total() > 0 {
            gathered.fresh.push(more);
        }
    }
    all.log = gathered.dossier.log();
    gathered.all = all;
    Ok(gathered)
}

/// Time since an incident was created, by this machine's clock and that of whoever created it.
fn age_here(incident: &Incident) -> Duration {
    let created = incident.create_time.and_then(system_time);
    created.and_then(|created| SystemTime::now().duration_since(created).ok()).unwrap_or_default()
}
