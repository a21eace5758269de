//! The workers of this coordinator: who they are, which of them take work, and what they hold now.
//!
//! One task per worker keeps contact ([`link`]); one table, behind one short lock, says what is known. Work is sent
//! over a [`Lease`], which counts what runs where and gives it back when it is dropped.
//!
//! Invariants: work goes only to workers that hold the cluster's model and the same templates, of those that this coordinator has. What a worker
//! has, in sequences and in tokens still expected, is the sum of its leases. A lease of a lost contact is told so through
//! [`Lease::lost`].

mod admission;
mod board;
mod entry;
mod lease;
mod link;
mod load;
mod meter;
mod roster;
#[cfg(feature = "simulation")]
mod uncalled;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use countermove_planner::Purpose;
use countermove_planner::Templates;
use countermove_proto::v1::{self, ModelIdentity};
use countermove_proto::worker::v1::GetModelResponse;
use countermove_proto::{Error, Resource, WorkerId};
use countermove_transport::Dial;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

pub(crate) use board::{Board, Group, Number};
pub use countermove_membership::Backoff;
pub(crate) use lease::Lease;
use lease::Tally;
pub use link::LinkOptions;
#[cfg(test)]
pub(crate) use load::Load;
pub(crate) use load::Openness;
use load::remaining;

use crate::discovery::{Discovery, Members, WorkerUrl};
use crate::metrics::Metrics;
use admission::Requirements;
use entry::{Connection, Contact, Entry, Refused, Standing};
use roster::Roster;

/// How long the first incident waits for the first worker, where that one settles which templates are planned with: one that starts
/// together with the coordinator has most likely loaded its model by then.
const FIRST_WORKER: Duration = Duration::from_secs(5);

/// How workers are chosen and kept.
#[derive(Clone, Debug, Default)]
pub struct FleetOptions {
    /// Templates that workers may have, of which they all need the same. Where an incident comes before the first worker and has waited
    /// for it ([`FIRST_WORKER`]), they need the first of these.
    pub templates: Vec<Arc<Templates>>,
    /// Digest of the weights that every worker has to hold; absent: those of the first worker.
    pub model_sha256: Option<String>,
    /// How contact is kept.
    pub link: LinkOptions,
    /// How workers are called.
    pub dial: Dial,
    /// Who counts what is done with them.
    pub metrics: Metrics,
}

/// All workers. Clones are the same fleet; its tasks end when the last clone is dropped and [`Fleet::stop`] was called.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    /// Bumped whenever a worker may have become usable or is no longer so.
    changes: watch::Sender<u64>,
    /// Whether somebody takes work; changes only when that does, since all work that waits for a place hears of it.
    outlooks: watch::Sender<Outlooks>,
    /// Told whenever a lease gave something back.
    freed: watch::Sender<()>,
    link: LinkOptions,
    dial: Dial,
    templates: Vec<Arc<Templates>>,
    metrics: Metrics,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Table {
    roster: Roster,
    requirements: Requirements,
}

#[derive(Debug)]
struct Member {
    /// Tells its process from another one at the same address; empty where discovery does not.
    process: String,
    entry: Entry,
    recheck: Arc<Notify>,
    task: Option<AbortHandle>,
}

/// What can be said about finding a worker now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Some worker takes work, be it only when it has room again.
    Someone,
    /// No worker takes work.
    Nobody,
}

/// What can be said for each kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlooks {
    decisions: Outlook,
    rollouts: Outlook,
}

impl Outlooks {
    /// That for work of this kind.
    pub(crate) fn of(self, purpose: Purpose) -> Outlook {
        match purpose {
            Purpose::Decision => self.decisions,
            Purpose::Rollout => self.rollouts,
        }
    }
}

/// A replica of this coordinator's own is known to the fleet as long as this is there.
#[derive(Debug)]
pub(crate) struct Attached {
    fleet: Fleet,
    url: WorkerUrl,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut table = self.fleet.lock();
        self.fleet.drop_member(&mut table, &self.url, "it has ended");
        drop(table);
        self.fleet.bump();
    }
}

/// Sequences that go to one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assignment<T> {
    /// Whose they are.
    pub(crate) to: T,
    pub(crate) worker: Number,
    pub(crate) purpose: Purpose,
    pub(crate) sequences: u32,
    /// Tokens that each of them is expected to take.
    pub(crate) each: u64,
}

impl Fleet {
    /// Starts a task that follows `discovery` and one for each worker. Needs a tokio runtime around it.
    pub fn start(discovery: &dyn Discovery, options: FleetOptions) -> Self {
        let fleet = Self(Arc::new(Inner {
            table: Mutex::new(Table {
                roster: Roster::default(),
                requirements: Requirements {
                    templates_sha256: options.templates.iter().map(|templates| templates.digest()).collect(),
                    weights_sha256: options.model_sha256,
                    model: None,
                },
            }),
            changes: watch::Sender::new(0),
            outlooks: watch::Sender::new(Outlooks { decisions: Outlook::Nobody, rollouts: Outlook::Nobody }),
            freed: watch::Sender::new(()),
            link: options.link,
            dial: options.dial,
            templates: options.templates,
            metrics: options.metrics,
            stop: CancellationToken::new(),
        }));
        let mut members = discovery.members();
        let (follower, stop) = (fleet.clone(), fleet.0.stop.clone());
        // Members are known from the start; contact takes its time.
        fleet.set_members(&members.borrow_and_update().clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = members.changed() => if changed.is_err() { stop.cancelled().await },
                    () = stop.cancelled() => {}
                }
                if stop.is_cancelled() {
                    follower.set_members(&Members::new());
                    return;
                }
                let now = members.borrow_and_update().clone();
                follower.set_members(&now);
            }
        });
        fleet
    }

    /// Who counts what is done with the workers.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Breaks off contact with all workers.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// The templates that an incident is planned with: those of `recorded`, where it is taken up again, or of the cluster's
    /// workers, or the first ones if none has come. Workers with others are refused from then on. `None` if there are none.
    pub(crate) fn templates(&self, recorded: Option<&ModelIdentity>) -> Option<Arc<Templates>> {
        let mut table = self.lock();
        let Requirements { templates_sha256, model, .. } = &mut table.requirements;
        let known = [recorded, model.as_ref()].into_iter().flatten().map(|model| &model.templates_sha256);
        let place = known.filter_map(|digest| templates_sha256.iter().position(|own| own == digest)).next();
        let digest = templates_sha256.get(place.unwrap_or(0)).cloned()?;
        templates_sha256.retain(|own| *own == digest);
        self.0.templates.iter().find(|templates| templates.digest() == digest).cloned()
    }

    /// Waits until the first worker has settled which templates are planned with, or has had its time to come.
    pub(crate) async fn settled(&self) {
        let settles = async {
            let mut changes = self.changes();
            loop {
                let is_open = {
                    let Requirements { templates_sha256, model, .. } = &self.lock().requirements;
                    model.is_none() && templates_sha256.len() > 1
                };
                if !is_open || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // What is not settled by then is settled by the incident.
        let _ = timeout(FIRST_WORKER, settles).await;
    }

    /// The model that the cluster plans with; absent until a worker was taken in.
    pub fn model(&self) -> Option<ModelIdentity> {
        self.lock().requirements.model.clone()
    }

    /// All workers by address, refused and lost ones included.
    pub fn list(&self) -> Vec<v1::Worker> {
        self.lock().roster.iter().map(|(_, member)| member.entry.message()).collect()
    }

    /// One worker.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: &WorkerId) -> Result<v1::Worker, Error> {
        let mut table = self.lock();
        table.find(id).map(|member| member.entry.message()).ok_or_else(|| not_found(id))
    }

    /// Sends a worker nothing new, or takes that back, and with it that it is not believed. With `check_only` nothing changes.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_drained(&self, id: &WorkerId, drained: bool, check_only: bool) -> Result<v1::Worker, Error> {
        let message = {
            let mut table = self.lock();
            let member = table.find(id).ok_or_else(|| not_found(id))?;
            if check_only {
                return Ok(member.entry.message());
            }
            member.entry.drained = drained;
            if !drained && member.entry.distrusted.take().is_some() {
                tracing::warn!(worker = %id, "a worker that was not believed is used again");
            }
            member.entry.message()
        };
        tracing::info!(worker = %id, drained, "worker drain changed");
        self.bump();
        Ok(message)
    }

    /// Believes nothing of a worker any more, until an operator resumes it or this coordinator is started again: its calls are
    /// given up and it gets no other. False if that was known.
    pub(crate) fn distrust(&self, id: &WorkerId, reason: &str) -> bool {
        let recheck = {
            let mut table = self.lock();
            let Some(member) = table.find(id).filter(|member| member.entry.distrusted.is_none()) else {
                return false;
            };
            tracing::error!(worker = %id, address = %member.entry.url, reason, "a worker is not believed any more");
            member.entry.distrusted = Some(reason.to_owned());
            if member.entry.lose(reason.to_owned()) {
                self.0.metrics.lost();
            }
            Arc::clone(&member.recheck)
        };
        recheck.notify_one();
        self.bump();
        true
    }

    /// Counts a rollout that these workers gave and others were asked for as well.
    pub(crate) fn count_check<'a>(&self, workers: impl Iterator<Item = &'a WorkerId>, is_confirmed: bool) {
        let mut table = self.lock();
        for id in workers {
            let Some(member) = table.find(id) else { continue };
            member.entry.checked += 1;
            member.entry.disputed += u64::from(!is_confirmed);
        }
    }

    /// Changes whenever a worker may have become usable, or is no longer so.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether any worker takes rollouts, full ones included: without one no plan comes to its end.
    pub fn any_ready(&self) -> bool {
        self.0.outlooks.borrow().of(Purpose::Rollout) != Outlook::Nobody
    }

    /// Takes in a replica of this coordinator's own, for questions alone, until what is returned is dropped.
    pub(crate) fn attach(&self, url: WorkerUrl) -> Attached {
        {
            let mut table = self.lock();
            // Nobody else listens at its address, so what was known of it is over.
            self.drop_member(&mut table, &url, "another process is at its address");
            self.add_member(&mut table, &url, String::new(), true);
        }
        self.bump();
        Attached { fleet: self.clone(), url }
    }

    /// Whether somebody takes work of each kind, and every change of that.
    pub(crate) fn outlooks(&self) -> watch::Receiver<Outlooks> {
        self.0.outlooks.subscribe()
    }

    /// Says in one sentence why there is nobody, naming each worker.
    pub(crate) fn why_nobody(&self) -> String {
        let table = self.lock();
        if table.roster.len() == 0 {
            return "no worker is known; start one and name it with --workers".to_owned();
        }
        let reasons: Vec<_> = table
            .roster
            .iter()
            .take(8)
            .map(|(_, member)| {
                let why = match member.entry.standing() {
                    Standing::Ready => "it is this coordinator's own and runs no rollouts".to_owned(),
                    Standing::Connecting(reason) | Standing::Draining(reason) => reason,
                    Standing::Lost(reason) => format!("it was lost: {reason}"),
                    Standing::Refused(reason) => format!("it was refused: {reason}"),
                };
                format!("{} ({why})", member.entry.url)
            })
            .collect();
        let more = match table.roster.len().saturating_sub(8) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("no worker takes work: {}{more}", reasons.join(", "))
    }

    /// When the first of the workers that asked to be left alone may be asked again.
    pub(crate) fn next_rested(&self) -> Option<Instant> {
        self.lock().roster.next_rested(Instant::now())
    }

    /// Changes whenever a lease has given something back.
    pub(crate) fn freed(&self) -> watch::Receiver<()> {
        self.0.freed.subscribe()
    }

    /// Lets `assign` hand out sequences to the workers that can be used now, in one step with leasing them.
    pub(crate) fn lease<T>(&self, assign: impl FnOnce(&mut Board) -> Vec<Assignment<T>>) -> Vec<(T, Lease)> {
        let now = Instant::now();
        let mut table = self.lock();
        let assignments = assign(table.roster.board(now));
        let mut leases = Vec::with_capacity(assignments.len());
        for Assignment { to, worker: number, purpose, sequences, each } in assignments {
            let Some(Member { entry, .. }) = table.roster.at_mut(number) else { continue };
            let Some((profile, connection)) = entry.usable() else { continue };
            let (worker, connection) = (profile.id.clone(), connection.clone());
            entry.begin(purpose, sequences, remaining(sequences, each, 0), now);
            let lease = Lease {
                fleet: self.clone(),
                url: entry.url.clone(),
                worker,
                connection,
                member: number,
                purpose,
                held: sequences,
                each,
                tokens: Tally::default(),
            };
            leases.push((to, lease));
        }
        leases
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; should it ever, the table is still the best that is known.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that the table has changed. Nobody holds its lock meanwhile.
    fn bump(&self) {
        self.0.outlooks.send_if_modified(|known| {
            // Read within, so that of two changes at the same time the later word is of both.
            let outlooks = self.lock().outlooks();
            std::mem::replace(known, outlooks) != outlooks
        });
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn set_members(&self, members: &Members) {
        let mut table = self.lock();
        let gone: Vec<_> = table
            .roster
            .iter()
            .filter(|(url, member)| !member.entry.is_own && members.get(*url) != Some(&member.process))
            .map(|(url, _)| url.clone())
            .collect();
        for url in gone {
            tracing::info!(worker = %url, "worker is no longer a member");
            self.drop_member(&mut table, &url, "it is no longer a member");
        }
        for (url, process) in members {
            self.add_member(&mut table, url, process.clone(), false);
        }
        drop(table);
        self.bump();
    }

    /// Begins to keep contact with a worker, unless somebody is known at its address.
    fn add_member(&self, table: &mut Table, url: &WorkerUrl, process: String, is_own: bool) {
        table.roster.add(url, || {
            let recheck = Arc::new(Notify::new());
            let task = tokio::spawn(link::keep(self.clone(), url.clone(), Arc::clone(&recheck), self.0.link));
            let mut entry = Entry::new(url.clone());
            entry.is_own = is_own;
            Member { process, entry, recheck, task: Some(task.abort_handle()) }
        });
    }

    fn drop_member(&self, table: &mut Table, url: &WorkerUrl, reason: &str) {
        let Some(mut member) = table.roster.remove(url) else { return };
        member.entry.lose(reason.to_owned());
        if let Some(task) = &member.task {
            task.abort();
        }
    }

    /// Takes in a worker that answered, or refuses it.
    fn take_in(&self, url: &WorkerUrl, answer: &GetModelResponse, connection: Connection) {
        {
            let mut table = self.lock();
            let checked = table.check(url, answer);
            let Some(member) = table.roster.get_mut(url) else { return };
            match checked {
                Ok(profile) => {
                    tracing::info!(worker = %profile.id, address = %url, capacity = profile.capacity, "worker is ready");
                    let model = profile.model.clone();
                    member.entry.accept(profile, connection);
                    if let Some(load) = &answer.load {
                        member.entry.told(load, Instant::now());
                    }
                    table.requirements.model.get_or_insert_with(|| {
                        tracing::info!(
                            model = model.name,
                            weights = model.weights_sha256,
                            arithmetic = model.arithmetic,
                            "model of the cluster is set"
                        );
                        model
                    });
                }
                Err(reason) => {
                    let refused = Refused {
                        reason,
                        worker_id: WorkerId::new(&answer.worker_id).ok(),
                        protocol_version: answer.protocol_version,
                        model: answer.model.clone(),
                    };
                    if member.entry.refused.as_ref() != Some(&refused) {
                        tracing::warn!(address = %url, reason = refused.reason, "worker is refused");
                    }
                    member.entry.refused = Some(refused);
                    member.entry.contact = Contact::Up(connection);
                    member.entry.last_seen = Some(SystemTime::now());
                }
            }
        }
        self.bump();
    }

    /// Notes that a worker answered again. What stood in its way may be gone, so a refused one is checked again.
    fn seen(&self, url: &WorkerUrl, answer: &GetModelResponse) {
        let connection = {
            let mut table = self.lock();
            let Some(member) = table.roster.get_mut(url) else { return };
            member.entry.last_seen = Some(SystemTime::now());
            if let Some(profile) = &mut member.entry.profile {
                let efficient = admission::efficient(answer);
                if profile.efficient != efficient {
                    tracing::debug!(worker = %profile.id, efficient, "worker has measured itself");
                }
                profile.efficient = efficient;
            }
            let is_less = answer.load.as_ref().is_some_and(|load| member.entry.told(load, Instant::now()));
            if is_less {
                self.0.freed.send_replace(());
            }
            match (&member.entry.contact, &member.entry.refused) {
                (Contact::Up(connection), Some(_)) => connection.clone(),
                _ => return,
            }
        };
        self.take_in(url, answer, connection);
    }

    /// New calls go over this connection; contact goes on.
    fn renew(&self, url: &WorkerUrl, channel: &Channel) {
        let mut table = self.lock();
        if let Some(Contact::Up(connection)) =
            table.roster.get_mut(url).map(|member| &mut member.entry.contact)
        {
            connection.channel = channel.clone();
        }
    }

    fn mark_lost(&self, url: &WorkerUrl, reason: String) {
        {
            let mut table = self.lock();
            let Some(member) = table.roster.get_mut(url) else { return };
            if matches!(member.entry.contact, Contact::Up(_)) {
                tracing::warn!(worker = %member.entry.id(), address = %url, reason, "worker is lost");
            }
            match &member.entry.contact {
                // The first reason says most; the later ones are about connecting again.
                Contact::Lost { .. } => return,
                Contact::None { .. } | Contact::Up(_) => {
                    if member.entry.lose(reason) {
                        self.0.metrics.lost();
                    }
                }
            }
        }
        self.bump();
    }

    fn mark_serving(&self, url: &WorkerUrl, serving: bool) {
        {
            let mut table = self.lock();
            let Some(member) = table.roster.get_mut(url) else { return };
            if member.entry.serving == serving {
                return;
            }
            member.entry.serving = serving;
            tracing::info!(worker = %member.entry.id(), serving, "worker health changed");
        }
        self.bump();
    }
}

impl Table {
    fn outlooks(&self) -> Outlooks {
        let of = |purpose| match self.roster.iter().any(|(_, member)| member.entry.takes(purpose)) {
            true => Outlook::Someone,
            false => Outlook::Nobody,
        };
        Outlooks { decisions: of(Purpose::Decision), rollouts: of(Purpose::Rollout) }
    }

    fn find(&mut self, id: &WorkerId) -> Option<&mut Member> {
        let url = self.roster.iter().find(|(_, member)| member.entry.id() == *id)?.0.clone();
        self.roster.get_mut(&url)
    }

    /// Checks a worker's answer, and that it is not one that is known by another address already.
    fn check(&self, url: &WorkerUrl, answer: &GetModelResponse) -> Result<admission::Profile, String> {
        // What the cluster plans with is for those to say that run rollouts.
        let is_own = self.roster.get(url).is_some_and(|member| member.entry.is_own);
        if is_own && self.requirements.model.is_none() {
            return Err(
                "no other worker has answered yet, so the model of the cluster is not known".to_owned()
            );
        }
        let profile = self.requirements.check(answer)?;
        let twin = self.roster.iter().map(|(_, member)| member).find(|member| {
            let entry = &member.entry;
            entry.url != *url
                && entry.refused.is_none()
                && matches!(entry.contact, Contact::Up(_))
                && entry.profile.as_ref().is_some_and(|known| known.id == profile.id)
        });
        match twin {
            Some(twin) => {
                Err(format!("a worker with its id {} is in use at {}", profile.id.as_str(), twin.entry.url))
            }
            None => Ok(profile),
        }
    }
}

fn not_found(id: &WorkerId) -> Error {
    Error::NotFound { kind: Resource::Worker, name: id.name() }
}
