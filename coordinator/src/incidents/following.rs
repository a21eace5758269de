//! Following all incidents at once, as a queue shows them: those that are there, then each change of one.
//!
//! A write that changes an incident is told to everybody who follows ([`Telling`]). Who is behind by more than [`BEHIND`] changes,
//! and whoever begins, reads the store instead, so a slow reader costs no memory: it misses states in between and never the last
//! one. Changes that another coordinator writes are looked for once a second, while anybody follows.
//!
//! Invariant: of each incident its states are told in their order, each once; the last one is told to all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use countermove_proto::v1::watch_incidents_response::Update;
use countermove_proto::v1::{Incident, IncidentStatus, Present};
use countermove_proto::{Error, IncidentId, Outage};
use futures::future::{BoxFuture, FutureExt};
use futures::{Stream, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::filter::Filter;
use super::projection::summary;
use super::store::{Append, EventLog, Head, Ledger, Notifications, Part, Record, StoreError, StoredInput};
use super::{Incidents, Stop};

/// Changes that are remembered for those who have not heard of them.
const BEHIND: usize = 1024;
/// Incidents that are read at a time.
const READ: usize = 256;
/// Time without news after which a sign of life is told.
const SILENCE: Duration = Duration::from_secs(15);
/// Time between two looks for what other coordinators wrote.
const LOOK: Duration = Duration::from_secs(1);

/// Where changes are told. Clones are the same.
#[derive(Clone)]
pub(super) struct News(broadcast::Sender<Arc<Incident>>);

impl News {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    fn tell(&self, incident: &Incident) {
        if self.0.receiver_count() > 0 {
            // Whoever has gone meanwhile does not want to hear it.
            let _ = self.0.send(Arc::new(summary(incident.clone())));
        }
    }
}

/// A log that tells of each change as soon as it is written.
pub(super) struct Telling {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) news: News,
    /// Hears of each write that brings notifications.
    pub(super) notifies: watch::Sender<()>,
}

impl EventLog for Telling {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let changed = append.changes.then(|| Arc::clone(&append.incident));
            let notifies = !append.notifications.is_empty();
            self.log.append(append).await?;
            if notifies {
                self.notifies.send_replace(());
            }
            if let Some(incident) = changed {
                self.news.tell(&incident);
            }
            Ok(())
        }
        .boxed()
    }

    fn records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.log.records(id, after, limit)
    }

    fn inputs(
        &self,
        id: IncidentId,
        after: u64,
        until: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredInput>, StoreError>> {
        self.log.inputs(id, after, until)
    }

    fn head(&self, id: IncidentId) -> BoxFuture<'_, Result<Head, StoreError>> {
        self.log.head(id)
    }

    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>> {
        self.log.get(id)
    }

    fn list(&self, part: Part) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        self.log.list(part)
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<(IncidentId, u64)>, StoreError>> {
        self.log.unfinished()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.log.ledger()
    }

    fn notifications(&self) -> Option<&dyn Notifications> {
        self.log.notifications()
    }
}

impl Incidents {
    /// The incidents that fit a filter and that the caller may see, and what becomes of them, until this coordinator stops.
    pub(crate) fn follow<F>(
        &self,
        filter: Filter,
        may: F,
    ) -> impl Stream<Item = Result<Update, Error>> + Send + use<F>
    where
        F: Fn(&Incident) -> bool + Send + 'static,
    {
        let queue = Queue {
            // Before anything is read: what is written from now on is heard of.
            news: self.0.news.0.subscribe(),
            stop: self.0.stop.subscribe(),
            incidents: self.clone(),
            filter: filter.of_open_ones(),
            may: Box::new(may),
            told: HashMap::new(),
            ready: VecDeque::new(),
            reading: Some(Reading::default()),
            over: false,
        };
        stream::unfold(queue, |mut queue| async move { queue.next().await.map(|update| (update, queue)) })
    }

    /// Looks for what other coordinators write as long as anybody follows, until the process stops. Of no use where there can be no
    /// others.
    pub(super) async fn keep_looking(&self) {
        let mut known: HashMap<IncidentId, (u64, Option<Incident>)> = HashMap::new();
        let mut stop = self.0.stop.subscribe();
        let mut beat = interval(LOOK);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop >= Stop::HandOver) => return,
                _ = beat.tick() => {}
            }
            if self.0.news.0.receiver_count() == 0 {
                known.clear();
            } else if let Err(error) = self.look(&mut known).await {
                tracing::debug!(%error, "what other coordinators write was not read");
            }
        }
    }

    /// Tells what others have written since the last look.
    async fn look(&self, known: &mut HashMap<IncidentId, (u64, Option<Incident>)>) -> Result<(), StoreError> {
        let unfinished: HashMap<IncidentId, u64> = self.0.log.unfinished().await?.into_iter().collect();
        let ended = known.keys().filter(|id| !unfinished.contains_key(id)).copied();
        for id in ended.collect::<Vec<_>>() {
            match self.0.log.get(id).await {
                Ok(incident) => self.0.news.tell(&incident),
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            known.remove(&id);
        }
        for (id, sequence) in unfinished {
            let before = known.get(&id);
            // What is planned here is told when it is written.
            if self.lock().contains_key(&id) {
                known.insert(id, (sequence, None));
            } else if before.is_none_or(|(seen, _)| *seen < sequence) {
                let incident = match self.0.log.get(id).await {
                    Err(StoreError::NotFound(_)) => continue,
                    read => read?,
                };
                let content = Incident { last_sequence: 0, update_time: None, ..incident.clone() };
                if before.and_then(|(_, content)| content.as_ref()) != Some(&content) {
                    self.0.news.tell(&incident);
                }
                known.insert(id, (sequence, Some(content)));
            }
        }
        Ok(())
    }
}

/// What one caller follows.
struct Queue {
    incidents: Incidents,
    filter: Filter,
    may: Box<dyn Fn(&Incident) -> bool + Send>,
    news: broadcast::Receiver<Arc<Incident>>,
    stop: watch::Receiver<Stop>,
    told: HashMap<IncidentId, Told>,
    ready: VecDeque<Update>,
    /// How far the store was read, until all of it was.
    reading: Option<Reading>,
    over: bool,
}

/// What was told of an incident.
#[derive(Clone, Copy)]
struct Told {
    sequence: u64,
    /// Whether it is among those that the caller follows.
    is_there: bool,
}

/// Reading what is there.
#[derive(Default)]
struct Reading {
    after: Option<IncidentId>,
    /// Those that were told of and have not been seen in the store again; absent until reading begins.
    missed: Option<Vec<IncidentId>>,
}

impl Queue {
    async fn next(&mut self) -> Option<Result<Update, Error>> {
        while !self.over {
            if let Some(update) = self.ready.pop_front() {
                return Some(Ok(self.now(update)));
            }
            let read = match self.reading.take() {
                Some(reading) => self.read(reading).await,
                None => self.hear().await,
            };
            if let Err(error) = read {
                self.over = true;
                return Some(Err(error));
            }
        }
        None
    }

    /// Reads the next part of what is there; at the end says that it is all.
    async fn read(&mut self, mut reading: Reading) -> Result<(), Error> {
        let incidents = self.incidents.clone();
        let _turn = incidents.0.turns.take().await;
        let shown = self.told.iter().filter(|(_, told)| told.is_there).map(|(id, _)| *id);
        let mut missed = reading.missed.take().unwrap_or_else(|| shown.collect());
        let part = Part {
            after: reading.after,
            oldest_first: true,
            open_only: self.filter.is_of_open_ones(),
            limit: READ,
        };
        let log = Arc::clone(&self.incidents.0.log);
        let incidents = log.list(part).await?;
        let is_last = incidents.len() < READ;
        for incident in incidents {
            let Ok(id) = incident.name.parse() else { continue };
            reading.after = Some(id);
            missed.retain(|missed| *missed != id);
            self.take(id, incident);
        }
        if !is_last {
            self.reading = Some(Reading { missed: Some(missed), ..reading });
            return Ok(());
        }
        // They have ended, or were forgotten.
        for id in missed {
            match log.get(id).await {
                Ok(incident) => self.take(id, summary(incident)),
                Err(StoreError::NotFound(_)) => {
                    self.told.remove(&id);
                    let mut gone = Incident { name: id.name(), ..Incident::default() };
                    gone.set_status(IncidentStatus::Ended);
                    self.ready.push_back(Update::Left(gone));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.ready.push_back(self.present());
        Ok(())
    }

    /// Waits for the next change.
    async fn hear(&mut self) -> Result<(), Error> {
        let heard = tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop >= Stop::HandOver) => Ok(Err(RecvError::Closed)),
            heard = timeout(SILENCE, self.news.recv()) => heard,
        };
        let Ok(heard) = heard else {
            self.ready.push_back(self.present());
            return Ok(());
        };
        match heard {
            Ok(incident) => {
                if let Ok(id) = incident.name.parse() {
                    self.take(id, Incident::clone(&incident));
                }
                Ok(())
            }
            Err(RecvError::Lagged(_)) => {
                self.reading = Some(Reading::default());
                Ok(())
            }
            Err(RecvError::Closed) => Err(Error::Unavailable {
                cause: Outage::Draining,
                message: "this coordinator is about to stop; go on at another one".to_owned(),
                retry_after: Duration::from_secs(1),
            }),
        }
    }

    /// Takes a state of an incident, as lists show it.
    fn take(&mut self, id: IncidentId, incident: Incident) {
        if !(self.may)(&incident) {
            return;
        }
        let before = self.told.get(&id).copied();
        if before.is_some_and(|told| told.sequence >= incident.last_sequence) {
            return;
        }
        let was_there = before.is_some_and(|told| told.is_there);
        let is_there = self.filter.fits(&incident);
        if incident.status() == IncidentStatus::Ended && !is_there {
            // It never changes again.
            self.told.remove(&id);
        } else {
            self.told.insert(id, Told { sequence: incident.last_sequence, is_there });
        }
        match (was_there, is_there) {
            (_, true) => self.ready.push_back(Update::Incident(incident)),
            (true, false) => self.ready.push_back(Update::Left(incident)),
            (false, false) => {}
        }
    }

    /// The update with what is known at this moment alone.
    fn now(&self, update: Update) -> Update {
        match update {
            Update::Incident(incident) => Update::Incident(self.incidents.with_progress(incident)),
            other => other,
        }
    }

    fn present(&self) -> Update {
        let incidents = self.told.values().filter(|told| told.is_there).count();
        Update::Present(Present { incidents: u32::try_from(incidents).unwrap_or(u32::MAX) })
    }
}
