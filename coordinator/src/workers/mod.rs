//! The workers of this coordinator: who they are, which of them take work, and what they hold now.
//!
//! One task per worker keeps contact ([`link`]); one table, behind one short lock, says what is known. Work is sent
//! over a [`Lease`], which counts what runs where and gives it back when it is dropped.
//!
//! Invariants: work goes only to workers that hold the cluster's model and this coordinator's templates. A worker's
//! `running` is the sum of its leases. A lease of a lost contact is told so through [`Lease::lost`].

mod admission;
mod entry;
mod link;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use countermove_proto::v1::{self, ModelIdentity};
use countermove_proto::worker::v1::GetModelResponse;
use countermove_proto::{Error, Resource, WorkerId};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

pub use countermove_membership::Backoff;
pub use link::LinkOptions;

use crate::discovery::{Discovery, Members, WorkerUrl};
use crate::dispatch::placement::Load;
use admission::Requirements;
use entry::{Contact, Entry, Refused, Session, Standing};

/// How workers are chosen and kept.
#[derive(Clone, Debug, Default)]
pub struct FleetOptions {
    /// Digest of the coordinator's own templates, which every worker has to have as well.
    pub templates_sha256: String,
    /// Digest of the weights that every worker has to hold; absent: those of the first worker.
    pub model_sha256: Option<String>,
    /// How contact is kept.
    pub link: LinkOptions,
}

/// All workers. Clones are the same fleet; its tasks end when the last clone is dropped and [`Fleet::stop`] was called.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    /// Bumped whenever a worker may have become usable or is no longer so.
    changes: watch::Sender<u64>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Table {
    workers: BTreeMap<WorkerUrl, Member>,
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
    /// Some worker takes work.
    Now,
    /// All workers that would take work are full; the first asked to be left alone until then.
    At(Instant),
    /// No worker takes work.
    Nobody,
}

/// The right to run work on one worker.
#[derive(Debug)]
pub(crate) struct Lease {
    fleet: Fleet,
    url: WorkerUrl,
    worker: WorkerId,
    session: Session,
    held: u32,
}

impl Fleet {
    /// Starts a task that follows `discovery` and one for each worker. Needs a tokio runtime around it.
    pub fn start(discovery: &dyn Discovery, options: FleetOptions) -> Self {
        let fleet = Self(Arc::new(Inner {
            table: Mutex::new(Table {
                workers: BTreeMap::new(),
                requirements: Requirements {
                    templates_sha256: options.templates_sha256,
                    weights_sha256: options.model_sha256,
                    model: None,
                },
            }),
            changes: watch::Sender::new(0),
            stop: CancellationToken::new(),
        }));
        let mut members = discovery.members();
        let (follower, stop, link) = (fleet.clone(), fleet.0.stop.clone(), options.link);
        // Members are known from the start; contact takes its time.
        fleet.set_members(&members.borrow_and_update().clone(), link);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = members.changed() => if changed.is_err() { stop.cancelled().await },
                    () = stop.cancelled() => {}
                }
                if stop.is_cancelled() {
                    follower.set_members(&Members::new(), link);
                    return;
                }
                let now = members.borrow_and_update().clone();
                follower.set_members(&now, link);
            }
        });
        fleet
    }

    /// Breaks off contact with all workers.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// The model that the cluster plans with; absent until a worker was taken in.
    pub fn model(&self) -> Option<ModelIdentity> {
        self.lock().requirements.model.clone()
    }

    /// All workers by address, refused and lost ones included.
    pub fn list(&self) -> Vec<v1::Worker> {
        self.lock().workers.values().map(|member| member.entry.message()).collect()
    }

    /// One worker.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: &WorkerId) -> Result<v1::Worker, Error> {
        let mut table = self.lock();
        table.find(id).map(|member| member.entry.message()).ok_or_else(|| not_found(id))
    }

    /// Sends a worker nothing new, or takes that back. With `check_only` nothing changes.
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
            member.entry.message()
        };
        tracing::info!(worker = %id, drained, "worker drain changed");
        self.bump();
        Ok(message)
    }

    /// Changes whenever a worker may have become usable, or is no longer so.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether any worker takes work, full ones included.
    pub fn any_ready(&self) -> bool {
        self.outlook() != Outlook::Nobody
    }

    pub(crate) fn outlook(&self) -> Outlook {
        let now = Instant::now();
        let table = self.lock();
        let ready = table.workers.values().filter(|member| member.entry.standing() == Standing::Ready);
        let mut first: Option<Instant> = None;
        for member in ready {
            match member.entry.resting_until.filter(|&until| until > now) {
                None => return Outlook::Now,
                Some(until) => first = Some(first.map_or(until, |first| first.min(until))),
            }
        }
        first.map_or(Outlook::Nobody, Outlook::At)
    }

    /// Says in one sentence why there is nobody, naming each worker.
    pub(crate) fn why_nobody(&self) -> String {
        let table = self.lock();
        if table.workers.is_empty() {
            return "no worker is known; start one and name it with --workers".to_owned();
        }
        let reasons: Vec<_> = table
            .workers
            .values()
            .take(8)
            .map(|member| {
                let why = match member.entry.standing() {
                    Standing::Ready => "it is full".to_owned(),
                    Standing::Connecting(reason) | Standing::Draining(reason) => reason,
                    Standing::Lost(reason) => format!("it was lost: {reason}"),
                    Standing::Refused(reason) => format!("it was refused: {reason}"),
                };
                format!("{} ({why})", member.entry.url)
            })
            .collect();
        let more = match table.workers.len().saturating_sub(8) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("no worker takes work: {}{more}", reasons.join(", "))
    }

    /// Lets `choose` pick among the workers that can be used now and leases what it picked, in one step.
    ///
    /// `choose` sees the load of each worker and gives how many sequences go to each. `warm` says whether a worker
    /// holds the caller's prefix.
    pub(crate) fn lease(
        &self,
        warm: impl Fn(&WorkerId) -> bool,
        choose: impl FnOnce(&[(WorkerId, Load)]) -> Vec<u32>,
    ) -> Vec<Lease> {
        let now = Instant::now();
        let mut table = self.lock();
        let mut usable: Vec<&mut Entry> = table
            .workers
            .values_mut()
            .map(|m| &mut m.entry)
            .filter(|entry| entry.usable(now).is_some())
            .collect();
        let loads: Vec<_> = usable
            .iter()
            .filter_map(|entry| entry.usable(now).map(|(profile, _)| (entry, profile)))
            .map(|(entry, profile)| {
                let load =
                    Load { capacity: profile.capacity, running: entry.running, warm: warm(&profile.id) };
                (profile.id.clone(), load)
            })
            .collect();
        let shares = choose(&loads);
        let mut leases = Vec::new();
        for ((entry, (worker, _)), share) in usable.iter_mut().zip(loads).zip(shares) {
            let Some(session) = entry.usable(now).map(|(_, session)| session.clone()).filter(|_| share > 0)
            else {
                continue;
            };
            entry.running = entry.running.saturating_add(share);
            leases.push(Lease { fleet: self.clone(), url: entry.url.clone(), worker, session, held: share });
        }
        leases
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock; should it ever, the table is still the best that is known.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bump(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn set_members(&self, members: &Members, options: LinkOptions) {
        let mut table = self.lock();
        table.workers.retain(|url, member| {
            let stays = members.get(url) == Some(&member.process);
            if !stays {
                tracing::info!(worker = %url, "worker is no longer a member");
                member.entry.lose("it is no longer a member".to_owned());
                if let Some(task) = &member.task {
                    task.abort();
                }
            }
            stays
        });
        for (url, process) in members {
            if let Slot::Vacant(slot) = table.workers.entry(url.clone()) {
                let recheck = Arc::new(Notify::new());
                let task = tokio::spawn(link::keep(self.clone(), url.clone(), Arc::clone(&recheck), options));
                slot.insert(Member {
                    process: process.clone(),
                    entry: Entry::new(url.clone()),
                    recheck,
                    task: Some(task.abort_handle()),
                });
            }
        }
        drop(table);
        self.bump();
    }

    /// Takes in a worker that answered, or refuses it.
    fn take_in(&self, url: &WorkerUrl, answer: &GetModelResponse, session: Session) {
        {
            let mut table = self.lock();
            let checked = table.check(url, answer);
            let Some(member) = table.workers.get_mut(url) else { return };
            match checked {
                Ok(profile) => {
                    tracing::info!(worker = %profile.id, address = %url, capacity = profile.capacity, "worker is ready");
                    let model = profile.model.clone();
                    member.entry.accept(profile, session);
                    table.requirements.model.get_or_insert_with(|| {
                        tracing::info!(
                            model = model.name,
                            weights = model.weights_sha256,
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
                    member.entry.contact = Contact::Up(session);
                    member.entry.last_seen = Some(SystemTime::now());
                }
            }
        }
        self.bump();
    }

    /// Notes that a worker answered again. What stood in its way may be gone, so a refused one is checked again.
    fn seen(&self, url: &WorkerUrl, answer: &GetModelResponse) {
        let session = {
            let mut table = self.lock();
            let Some(member) = table.workers.get_mut(url) else { return };
            member.entry.last_seen = Some(SystemTime::now());
            match (&member.entry.contact, &member.entry.refused) {
                (Contact::Up(session), Some(_)) => session.clone(),
                _ => return,
            }
        };
        self.take_in(url, answer, session);
    }

    fn mark_lost(&self, url: &WorkerUrl, reason: String) {
        {
            let mut table = self.lock();
            let Some(member) = table.workers.get_mut(url) else { return };
            if matches!(member.entry.contact, Contact::Up(_)) {
                tracing::warn!(worker = %member.entry.id(), address = %url, reason, "worker is lost");
            }
            match &member.entry.contact {
                // The first reason says most; the later ones are about connecting again.
                Contact::Lost { .. } => return,
                Contact::None { .. } | Contact::Up(_) => member.entry.lose(reason),
            }
        }
        self.bump();
    }

    fn mark_serving(&self, url: &WorkerUrl, serving: bool) {
        {
            let mut table = self.lock();
            let Some(member) = table.workers.get_mut(url) else { return };
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
    fn find(&mut self, id: &WorkerId) -> Option<&mut Member> {
        self.workers.values_mut().find(|member| member.entry.id() == *id)
    }

    /// Checks a worker's answer, and that it is not one that is known by another address already.
    fn check(&self, url: &WorkerUrl, answer: &GetModelResponse) -> Result<admission::Profile, String> {
        let profile = self.requirements.check(answer)?;
        let twin = self.workers.values().find(|member| {
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

impl Lease {
    pub(crate) fn worker(&self) -> &WorkerId {
        &self.worker
    }

    pub(crate) fn url(&self) -> &WorkerUrl {
        &self.url
    }

    /// Sequences that it stands for.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    pub(crate) fn channel(&self) -> Channel {
        self.session.channel.clone()
    }

    /// Ends when contact with the worker is lost.
    pub(crate) async fn lost(&self) {
        self.session.lost.cancelled().await;
    }

    /// Gives one sequence back, since it has ended, and counts it as a finished rollout.
    pub(crate) fn rollout_finished(&mut self) {
        let held = self.held.min(1);
        self.held -= held;
        self.update(|entry| {
            entry.running = entry.running.saturating_sub(held);
            entry.rollouts_finished += 1;
        });
    }

    pub(crate) fn count_tokens(&self, tokens: u64) {
        self.update(|entry| entry.tokens += tokens);
    }

    /// Leaves the worker alone for a while, since it is full.
    pub(crate) fn rest(&self, time: Duration) {
        let until = Instant::now() + time.clamp(Duration::from_millis(10), Duration::from_secs(60));
        self.update(|entry| entry.resting_until = Some(until));
    }

    /// Takes the worker out until it answers again, since the transport failed.
    pub(crate) fn eject(&self, reason: &str) {
        let recheck = {
            let mut table = self.fleet.lock();
            let Some(member) = table.workers.get_mut(&self.url) else { return };
            match &member.entry.contact {
                // Another session than ours has begun: what failed was the old one.
                Contact::Up(session) if !session.lost.is_cancelled() && !self.session.lost.is_cancelled() => {
                }
                _ => return,
            }
            tracing::warn!(worker = %self.worker, address = %self.url, reason, "worker is ejected");
            member.entry.lose(reason.to_owned());
            Arc::clone(&member.recheck)
        };
        recheck.notify_one();
        self.fleet.bump();
    }

    fn update(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(member) = self.fleet.lock().workers.get_mut(&self.url) {
            change(&mut member.entry);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let held = self.held;
        self.update(|entry| entry.running = entry.running.saturating_sub(held));
    }
}

fn not_found(id: &WorkerId) -> Error {
    Error::NotFound { kind: Resource::Worker, name: id.name() }
}
