//! Incidents: taking them in, planning them, telling what happens.
//!
//! One task per incident owns its state ([`actor`]); everybody else asks it over a bounded channel, or reads the
//! store. An incident is its events: [`projection`] folds them, [`store`] keeps them.
//!
//! An incident is owned by one coordinator at a time. When that one is gone, another goes on with it ([`takeover`]).
//!
//! Invariants: events are numbered without gaps, and the last one is `ended`. A watcher sees each event after the
//! number it names once, in order, whatever happens meanwhile.

mod actor;
mod baseline;
mod command;
mod courier;
mod duties;
mod filter;
mod following;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod log;
mod places;
mod posting;
mod projection;
mod reading;
mod seal;
#[cfg(test)]
mod simulation;
mod store;
mod takeover;
#[cfg(test)]
mod tests;
mod watch;

use std::any::Any;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countermove_incident::{AlertLog, Dossier, SourceName};
use countermove_planner::{Evidence, PlanOptions, Planner, Templates};
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{self, DigestReport, Incident, IncidentCreated, IncidentStatus, Progress};
use countermove_proto::{Error, IncidentId, Outage, Tenant};
use countermove_wire::{FromDomain, plan_options, pricing};
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot, watch as latest};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use baseline::BaselineFile;
pub(crate) use command::{Change, Changed, Found};
pub use duties::Sharing;
pub(crate) use filter::{Filter, KnownAs};
pub(crate) use store::View;
pub use store::{
    Append, Claim, EventLog, Hash, Head, Held, Input, KeptCheckpoint, KnownRequest, Ledger, MemoryStore,
    Notifications, OwnerId, Ownership, Part, Record, RequestKey, Saved, SavedSession, SqlStore, Store,
    StoreError, StoreUrl, StoreUrlError, StoredInput, UnprotectedStore, Waiting,
};

use crate::access::PolicyFile;
use crate::cpu::Cpu;
use crate::dispatch::{DispatchOptions, Dispatcher, IncidentWorkers, Payer, notices};
use crate::metrics::Metrics;
use crate::notify::Notify;
use crate::webhook::Webhook;
use crate::workers::Fleet;
use actor::Beginning;
use command::Command;
use following::{News, Telling};
use log::{Enclosure, Log};
use places::{Full, admit};
use watch::Turns;

/// Most evidence of one incident in all, reports of alerts included, in bytes: whoever takes the incident over reads all of it.
const EVIDENCE: usize = 128 << 20;
/// Commands that wait for one incident at most.
const COMMANDS: usize = 16;
/// The calls of an incident outlast its deadline by this, so that it ends by its deadline and not by a failed call.
const GRACE: Duration = Duration::from_secs(2);

/// How incidents are planned.
#[derive(Clone, Debug)]
pub struct IncidentOptions {
    /// Options for what a caller leaves open.
    pub defaults: PlanOptions,
    /// How work is sent to workers.
    pub dispatch: DispatchOptions,
    /// Incidents that may be planned at the same time.
    pub most_active: usize,
    /// Who is told of approved actions.
    pub webhook: Option<Webhook>,
    /// Who is told how incidents stand.
    pub notify: Option<Notify>,
    /// Threads that compute.
    pub compute_threads: usize,
    /// How long an incident waits for a person's word before planning ends; absent: for ever.
    pub patience: Option<Duration>,
    /// What says which actions two people have to approve.
    pub policy: Option<PolicyFile>,
    /// What is usual, for incidents that do not say it.
    pub baseline: Option<BaselineFile>,
}

impl Default for IncidentOptions {
    fn default() -> Self {
        Self {
            defaults: PlanOptions::default(),
            dispatch: DispatchOptions::default(),
            most_active: 1000,
            webhook: None,
            notify: None,
            compute_threads: 2,
            patience: None,
            policy: None,
            baseline: None,
        }
    }
}

/// All incidents of this coordinator. Clones are the same.
#[derive(Clone)]
pub struct Incidents(Arc<Inner>);

struct Inner {
    log: Arc<dyn EventLog>,
    /// Where changes are told of which `log` has written.
    news: News,
    /// Whose turn it is to read `log` for a stream.
    turns: Turns,
    /// Absent if nobody goes on with what is kept.
    ownership: Option<Arc<dyn Ownership>>,
    fleet: Fleet,
    dispatcher: Dispatcher,
    cpu: Cpu,
    options: IncidentOptions,
    active: Mutex<HashMap<IncidentId, Handle>>,
    draining: AtomicBool,
    stop: latest::Sender<Stop>,
    me: OwnerId,
    /// Whether the store answers.
    answers: latest::Sender<bool>,
    /// Tells that there are notifications to deliver.
    written: latest::Sender<()>,
    tasks: TaskTracker,
}

/// How much is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// Nothing.
    Never,
    /// No new piece of work begins: another coordinator goes on.
    HandOver,
    /// Work is broken off as well.
    HandOverNow,
    /// Work is broken off, and nobody goes on: planning ends.
    End,
}

/// A place among the incidents that are planned here, for as long as this is there.
struct Place {
    incidents: Incidents,
    id: IncidentId,
    /// Of which owner it is: one that has the incident again, from a lease that ran out, keeps the place that it took since.
    epoch: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut active = self.incidents.lock();
        if active.get(&self.id).is_some_and(|handle| handle.epoch == self.epoch) {
            active.remove(&self.id);
        }
    }
}

/// What an incident is planned from, as a caller sent it.
#[derive(Clone, Debug)]
pub(crate) struct NewIncident {
    pub(crate) evidence: v1::Evidence,
    pub(crate) options: v1::PlanOptions,
    pub(crate) cost_model: Option<v1::CostModel>,
    /// What can be done while the attack goes on, as TOML; empty: nobody says.
    pub(crate) catalogue: String,
    pub(crate) payer: Payer,
    /// Who creates it; empty where nobody is asked.
    pub(crate) creator: String,
    pub(crate) known_as: KnownAs,
}

/// An incident that goes on.
#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    /// The incident after its last event; without one until it is in the store.
    now: latest::Receiver<Arc<Incident>>,
    progress: latest::Receiver<Progress>,
    working: Arc<AtomicBool>,
    /// On whose account it is planned.
    tenant: Tenant,
    /// Counts the owners of the incident up to this one.
    epoch: u64,
    /// Cancelled when another coordinator was found to own it.
    lost: CancellationToken,
}

impl Incidents {
    /// Plans with these workers and keeps what happens in this store. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn new(store: impl Into<Store>, fleet: Fleet, options: IncidentOptions) -> io::Result<Self> {
        let store = store.into().metered(fleet.metrics());
        let (news, written) = (News::new(), latest::Sender::new(()));
        let this = Self(Arc::new(Inner {
            log: Arc::new(Telling { log: store.log(), news: news.clone(), notifies: written.clone() }),
            news,
            turns: Turns::new(),
            ownership: store.ownership(),
            dispatcher: Dispatcher::start(fleet.clone(), options.dispatch),
            fleet,
            cpu: Cpu::start(options.compute_threads)?,
            options,
            active: Mutex::default(),
            draining: AtomicBool::new(false),
            stop: latest::Sender::new(Stop::Never),
            me: OwnerId::generate(),
            answers: latest::Sender::new(true),
            written,
            tasks: TaskTracker::new(),
        }));
        this.start_posting();
        Ok(this)
    }

    /// The templates of an incident that is new, or was planned with this model before. The first one waits a little for a worker.
    async fn templates(&self, recorded: Option<&v1::ModelIdentity>) -> Result<Arc<Templates>, Error> {
        if recorded.is_none() {
            self.0.fleet.settled().await;
        }
        let none = || Error::Internal("this coordinator was started without prompt templates".to_owned());
        self.0.fleet.templates(recorded).ok_or_else(none)
    }

    /// Takes an incident in and starts to plan it. With `check_only` it is read and checked, and nothing starts.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the field, [`Error::Exhausted`] if there are too many, and
    /// [`Error::Unavailable`] when the coordinator is about to stop.
    pub(crate) async fn create(
        &self,
        order: NewIncident,
        check_only: bool,
        request: Option<RequestKey>,
    ) -> Result<(Incident, DigestReport), Error> {
        self.accept()?;
        let NewIncident { mut evidence, options, cost_model, catalogue, payer, creator, known_as } = order;
        let KnownAs { labels, external_id } = known_as;
        let id = IncidentId::generate();
        let mut options = plan_options(&options, &self.0.options.defaults, draw_seed)?;
        options.pricing = pricing(cost_model, &options.pricing)?;
        options.catalogue = countermove_wire::catalogue(&catalogue, options.mode)?.map(Arc::new);
        let in_force = v1::PlanOptions::from_domain(&options);
        let cost_model = Some(v1::CostModel::from_domain(&options.pricing));
        let (account, priority) = (payer.tenant().clone(), payer.priority().into());
        let tenant = account.to_string();

        let deadline = options.deadline.and_then(|deadline| Instant::now().checked_add(deadline + GRACE));
        let (notify, notices) = notices();
        let dispatcher = self.0.dispatcher.clone();
        let workers = IncidentWorkers::new(dispatcher, id, payer, deadline, Some(notify));
        let planner = Arc::new(Planner::new(workers.clone(), workers, self.templates(None).await?));
        if let Some(file) = self.0.options.baseline.clone().filter(|_| evidence.baseline.is_empty()) {
            evidence.baseline = self.compute(move || Ok(file.now())).await?.to_string();
        }
        let (read, dossier, session) = {
            let (planner, evidence) = (Arc::clone(&planner), evidence.clone());
            self.compute(move || {
                let (read, dossier) = read_evidence(evidence)?;
                let session = planner
                    .session(id.name(), &read, options)
                    .map_err(|error| Error::invalid("evidence", error.to_string()))?;
                Ok((read, dossier, session))
            })
            .await?
        };
        let digest = DigestReport::from_domain(session.digest().clone());
        if check_only {
            let mut incident = projection::empty(String::new());
            incident.options = Some(in_force);
            incident.cost_model = cost_model;
            (incident.tenant, incident.priority) = (tenant, priority);
            (incident.labels, incident.external_id) = (labels, external_id);
            return Ok((incident, digest));
        }

        let created = IncidentCreated {
            options: Some(in_force),
            digest: Some(digest.clone()),
            cost_model,
            tenant,
            priority,
            creator,
            labels,
            external_id,
            catalogue,
        };
        let mut log = Log::new(Claim { id, owner: self.0.me, epoch: 1 }, Arc::clone(&self.0.log))
            .telling(self.0.options.notify.clone());
        let (commands, progress, handle, working) = Handle::open(&log, account);
        let lost = handle.lost.clone();
        let place = self.register(id, handle)?;
        log.answers(request);
        let saved = takeover::save(&session, 0);
        let evidence = Input::Evidence(evidence);
        let length = evidence.length();
        let input = self.compute(move || Ok(Enclosure::of(&evidence))).await?;
        log.write(vec![Kind::Created(created)], Some(input), Some(saved)).await?;
        let incident = Incident::clone(&log.incident());
        tracing::info!(incident = %id, "incident created");
        let beginning = Beginning {
            log,
            planner,
            fleet: self.0.fleet.clone(),
            cpu: self.0.cpu.clone(),
            patience: self.0.options.patience,
            policy: self.0.options.policy.clone(),
            session,
            evidence: read,
            fresh: Vec::new(),
            dossier,
            length,
            reports: 0,
            taken: 0,
            commands,
            webhook: self.0.options.webhook.clone(),
            notices,
            progress,
            working,
            lost,
            stop: self.0.stop.subscribe(),
        };
        self.start(beginning, place);
        Ok((incident, digest))
    }

    /// Does what takes its time where nobody waits for it who answers calls.
    ///
    /// # Errors
    /// That of the work, or [`Error::Internal`] if it panicked.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.0.cpu.run(work).await;
        done.map_err(|error| Error::Internal(format!("the request could not be worked on: {error}")))?
    }

    /// Starts the task of an incident. Should it panic, the incident ends as failed, and its place is free again.
    fn start(&self, beginning: Beginning, place: Place) {
        let (this, claim) = (self.clone(), beginning.log.claim());
        self.0.tasks.spawn(async move {
            let id = claim.id;
            let planned = AssertUnwindSafe(Box::pin(actor::run(beginning))).catch_unwind().await;
            if let Err(panic) = planned {
                // What it wrote is in the store; what it knew besides is not to be trusted any more.
                let problem = format!("a fault of this program broke planning off: {}", said(&*panic));
                tracing::error!(incident = %id, problem, "an incident's task panicked");
                if let Err(error) = this.give_up(claim, problem).await {
                    tracing::error!(incident = %id, %error, "the end of an incident could not be written");
                }
            }
            drop(place);
            tracing::info!(incident = %id, "incident is no longer planned here");
        });
    }

    /// Asks an incident for a change. With `check_only` it says what would come of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] if the incident waits for something else,
    /// [`Error::Unavailable`] while it changes hands, or that of the change.
    pub(crate) async fn change(
        &self,
        id: IncidentId,
        change: Change,
        check_only: bool,
        request: Option<RequestKey>,
    ) -> Result<Changed, Error> {
        let cancels = change == Change::Cancel;
        let handle = self.lock().get(&id).cloned();
        if let Some(handle) = handle {
            let (reply, answer) = oneshot::channel();
            let sent = handle.commands.send(Command { change, check_only, request, reply }).await;
            if let (Ok(()), Ok(answer)) = (sent, answer.await) {
                return answer;
            }
        }
        let incident = self.get(id).await?;
        match (incident.status() == IncidentStatus::Ended, cancels) {
            (false, _) => Err(takeover::changes_hands(id)),
            // Only cancelling it again is no fault.
            (true, true) => Ok(Changed { incident, digest: DigestReport::default(), repeated: 0 }),
            (true, false) => Err(command::over(id)),
        }
    }

    /// Address of the coordinator that plans an incident, if that is another one.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn elsewhere(&self, id: IncidentId) -> Result<Option<String>, Error> {
        match &self.0.ownership {
            Some(ownership) if !self.lock().contains_key(&id) => Ok(ownership.owner(id, self.0.me).await?),
            _ => Ok(None),
        }
    }

    /// On whose account an incident is planned here; `None` if it is not planned here.
    pub(crate) fn tenant(&self, id: IncidentId) -> Option<Tenant> {
        self.lock().get(&id).map(|handle| handle.tenant.clone())
    }

    /// Work that waits for workers or runs there.
    pub(crate) fn queued(&self) -> Vec<v1::QueuedWork> {
        self.0.dispatcher.queued()
    }

    /// What outlives the process, if anything does.
    pub(crate) fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        self.0.ownership.clone()
    }

    /// Incidents that go on.
    pub fn active(&self) -> usize {
        self.lock().len()
    }

    /// Whether new incidents are taken.
    pub fn accepts(&self) -> bool {
        !self.0.draining.load(Ordering::SeqCst)
    }

    /// Takes no new incident from now on.
    pub fn start_drain(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
    }

    /// Stops planning. What outlives the process is left to other coordinators as soon as its piece of work is done;
    /// what does not has `bound` to end, and is ended then. Work that takes longer than `bound` is broken off.
    pub async fn finish(&self, bound: Duration) {
        self.start_drain();
        let until = Instant::now() + bound;
        let ownership = self.0.ownership.as_deref();
        if ownership.is_some() {
            self.0.stop.send_replace(Stop::HandOver);
        }
        let rest = || if ownership.is_some() { self.active() } else { self.at_work() };
        while rest() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match self.at_work() {
            0 => {}
            incidents if ownership.is_some() => {
                tracing::warn!(incidents, "work was broken off; others will do it again")
            }
            incidents => tracing::warn!(incidents, "incidents were ended before their plans were done"),
        }
        self.0.stop.send_replace(if ownership.is_some() { Stop::HandOverNow } else { Stop::End });
        self.0.tasks.close();
        self.0.tasks.wait().await;
        if let Some(ownership) = ownership
            && let Err(error) = ownership.leave(self.0.me).await
        {
            tracing::warn!(%error, "others will notice only later that this coordinator is gone");
        }
    }

    /// Who counts what is done here.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.0.fleet.metrics()
    }

    /// Tells how each incident stands that is planned here.
    pub(crate) fn each_status(&self, mut tell: impl FnMut(IncidentStatus)) {
        self.lock().values().for_each(|handle| tell(handle.now.borrow().status()));
    }

    /// Incidents that may be planned here at the same time.
    pub(crate) fn most_active(&self) -> usize {
        self.0.options.most_active
    }

    /// Time that the computing threads were at work, all together, and how many there are.
    pub(crate) fn computing(&self) -> (Duration, usize) {
        self.0.cpu.worked()
    }

    fn at_work(&self) -> usize {
        self.lock().values().filter(|handle| handle.working.load(Ordering::SeqCst)).count()
    }

    fn accept(&self) -> Result<(), Error> {
        if !self.accepts() {
            return Err(Error::Unavailable {
                cause: Outage::Draining,
                message: "this coordinator is about to stop and takes no new incident".to_owned(),
                retry_after: Duration::from_secs(5),
            });
        }
        Ok(())
    }

    /// Takes a place for an incident. Whoever had it here under an earlier claim has lost it.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if there is none, or none for this tenant.
    fn register(&self, id: IncidentId, handle: Handle) -> Result<Place, Error> {
        let mut active = self.lock();
        let (most, taken) = (self.0.options.most_active, active.len());
        let own = active.values().filter(|known| known.tenant == handle.tenant).count();
        if let Err(full) = admit(most, taken, own) {
            let message = match full {
                Full::All => format!("{taken} incidents are being planned already, and no more are taken"),
                Full::Share => format!(
                    "{taken} of {most} incidents are being planned already, {own} of them for the tenant {}; the \
                     places that are left are kept for other tenants",
                    handle.tenant
                ),
            };
            return Err(Error::Exhausted { message, retry_after: Duration::from_secs(10) });
        }
        let epoch = handle.epoch;
        if let Some(before) = active.insert(id, handle) {
            before.lost.cancel();
        }
        Ok(Place { incidents: self.clone(), id, epoch })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IncidentId, Handle>> {
        // Nothing panics while it holds the lock.
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Both ends of what ties an incident's task to its callers.
    fn open(
        log: &Log,
        tenant: Tenant,
    ) -> (mpsc::Receiver<Command>, latest::Sender<Progress>, Self, Arc<AtomicBool>) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (progress, progress_now) = latest::channel(Progress::default());
        let working = Arc::new(AtomicBool::new(true));
        let handle = Self {
            commands,
            now: log.follow(),
            progress: progress_now,
            working: Arc::clone(&working),
            tenant,
            epoch: log.claim().epoch,
            lost: CancellationToken::new(),
        };
        (inbox, progress, handle, working)
    }
}

/// Reads the evidence, and keeps what is needed to add to it. Records that were read before go before text.
fn read_evidence(evidence: v1::Evidence) -> Result<(Evidence, Dossier), Error> {
    let mut dossier = Dossier::default();
    if !evidence.records.is_empty() {
        let log = AlertLog::from_bytes(&evidence.records)
            .map_err(|error| Error::invalid("evidence.records", error.to_string()))?;
        dossier.absorb_log(&log);
    }
    if !evidence.alerts.is_empty() || evidence.records.is_empty() {
        dossier
            .absorb(&SourceName::default(), evidence.alerts.as_bytes())
            .map_err(|error| Error::invalid("evidence.alerts", error.to_string()))?;
    }
    dossier.absorb_log(&AlertLog::of_remarks(&evidence.remarks));
    let baseline = countermove_wire::baseline(&evidence.baseline)?.map(Arc::new);
    let read = Evidence {
        system_description: evidence.system_description,
        log: dossier.log(),
        constraints: evidence.constraints,
        notes: evidence.notes,
        baseline,
    };
    Ok((read, dossier))
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}

/// A seed below 2^53, which every JSON reader keeps as it is.
fn draw_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 11
}
