//! What callers read of incidents: as they stand, as a list, as events, and as they go on.

use std::sync::Arc;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{Incident, IncidentEvent, IncidentStatus, PlanningStage};
use countermove_proto::{Error, IncidentId, remark};

use super::command::Changed;
use super::store::{self, EventLog, Finding, Part};
use super::watch::{self, Updates};
use super::{Incidents, projection};

impl Incidents {
    /// What a change whose answer was lost came to: the incident as it stands, and what the event with this number says
    /// of the log.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn recall(&self, id: IncidentId, sequence: u64) -> Result<Changed, Error> {
        let incident = self.get(id).await?;
        let events = store::events(&*self.0.log, id, sequence.saturating_sub(1), 1).await?;
        let (digest, repeated) = match events.into_iter().find_map(|event| event.kind) {
            Some(Kind::Created(created)) => (created.digest, 0),
            Some(Kind::Alerts(alerts)) => (alerts.digest, alerts.repeated_records),
            _ => (None, 0),
        };
        Ok(Changed { incident, digest: digest.unwrap_or_default(), repeated })
    }

    /// Checks the log of an incident against its hashes, signatures and checkpoints; also tells the hash of the event with the number `at`.
    ///
    /// # Errors
    /// [`Error::NotFound`], or that of the store.
    pub(crate) async fn verify(&self, id: IncidentId, at: u64) -> Result<Finding, Error> {
        Ok(store::verify(&*self.0.log, id, at).await?)
    }

    /// The logs of all incidents, and what proves them.
    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.0.log)
    }

    /// One incident as its events make it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn get(&self, id: IncidentId) -> Result<Incident, Error> {
        let here = self.lock().get(&id).map(|handle| Arc::clone(&handle.now.borrow()));
        let last = self.0.log.head(id).await?.sequence;
        match here {
            // Another coordinator may have written since.
            Some(incident) if incident.last_sequence >= last => Ok(Incident::clone(&incident)),
            _ => Ok(store::replay(&*self.0.log, id).await?.0),
        }
    }

    /// A part of the incidents, without steps and decisions of their plans.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn list(&self, part: Part) -> Result<Vec<Incident>, Error> {
        let incidents = self.0.log.list(part).await?.into_iter();
        Ok(incidents.map(|incident| self.with_progress(incident)).collect())
    }

    /// One incident as callers see it: with the action that waits, and with what is done at this moment.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn shown(&self, id: IncidentId) -> Result<Incident, Error> {
        let mut incident = self.get(id).await?;
        incident.pending = projection::pending(&incident);
        Ok(self.with_progress(incident))
    }

    /// An incident with what planning does at this moment, if it is planned here.
    pub(super) fn with_progress(&self, mut incident: Incident) -> Incident {
        let id = incident.name.parse::<IncidentId>();
        let progress = id.ok().and_then(|id| self.lock().get(&id).map(|handle| *handle.progress.borrow()));
        let is_open = incident.status() != IncidentStatus::Ended;
        incident.progress =
            progress.filter(|progress| is_open && progress.stage() != PlanningStage::Unspecified);
        incident
    }

    /// What happened to an incident after event `after`, and what happens from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::InvalidArgument`] for a number that no event has yet.
    pub(crate) async fn watch(&self, id: IncidentId, after: u64) -> Result<Updates, Error> {
        // The handle first: an incident that ends in between is then followed to its end.
        let handle = self.lock().get(&id).cloned();
        let last = self.0.log.head(id).await?.sequence;
        if after > last {
            return Err(Error::invalid(
                "resume_after",
                format!("it is {after}, and the incident's last event is {last}"),
            ));
        }
        let live = handle.map(|handle| (handle.now, handle.progress));
        let (log, turns) = (Arc::clone(&self.0.log), self.0.turns.clone());
        Ok(Updates::new(log, turns, id, after, live, self.0.stop.subscribe()))
    }

    /// What an incident's events have to say besides the plan.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn notices(&self, id: IncidentId) -> Result<Vec<String>, Error> {
        let (mut notices, mut after) = (Vec::new(), 0);
        loop {
            let events = store::events(&*self.0.log, id, after, watch::PART).await?;
            let Some(last) = events.last() else { return Ok(notices) };
            after = last.sequence;
            notices.extend(events.iter().filter_map(|event| event.kind.as_ref().and_then(remark)));
        }
    }

    /// All events of an incident, in order.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn events(&self, id: IncidentId) -> Result<Vec<IncidentEvent>, Error> {
        let mut all: Vec<IncidentEvent> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event.sequence);
            let more = store::events(&*self.0.log, id, after, watch::PART).await?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }
}
