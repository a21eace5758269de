//! The contract of a registry in a few lines, on the clock of the runtime, with everything that can go wrong on the way
//! to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use countermove_tests::Dice;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::time;
use crate::registry::{
    Change, Connection, Created, Entry, Fault, LeaseId, Listing, News, Registry, Renewals, Watch,
};

/// Time after which a call without an answer fails, and a stream over which nothing can come.
const SILENCE: Duration = Duration::from_secs(3);

/// How the registry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Well,
    /// Nobody listens where it was.
    Away,
    /// What is asked is done, and nobody hears of it.
    LosesAnswers,
}

/// The registry.
pub(super) struct Model {
    state: Mutex<State>,
    /// Bumped with every change, and whenever streams have to look again.
    changed: watch::Sender<u64>,
}

struct State {
    dice: Dice,
    mood: Mood,
    /// Counts how often streams were broken by an outage or a loss of data.
    breaks: u64,
    revision: u64,
    keys: BTreeMap<String, (Entry, LeaseId)>,
    leases: BTreeMap<LeaseId, (Instant, Duration)>,
    next_lease: LeaseId,
    history: Vec<(u64, Change)>,
    /// Every registration that ever was, in the order in which they were made, over all losses of data.
    made: Vec<(Vec<u8>, u64)>,
    /// Nothing up to here is kept.
    compacted: u64,
}

/// One participant's way to the registry. Clones are the same.
#[derive(Clone)]
pub(super) struct Line {
    model: Arc<Model>,
    /// Nothing comes through, and nothing says so.
    cut: watch::Sender<bool>,
}

impl Model {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            dice: Dice::new(seed),
            mood: Mood::Well,
            breaks: 0,
            revision: 0,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            next_lease: 1,
            history: Vec::new(),
            made: Vec::new(),
            compacted: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: watch::Sender::new(0) })
    }

    pub(super) fn line(self: &Arc<Self>) -> Line {
        Line { model: Arc::clone(self), cut: watch::Sender::new(false) }
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        let mut state = self.lock();
        match (state.mood, mood) {
            (Mood::Away, Mood::Away) => {}
            (_, Mood::Away) => state.breaks += 1,
            // An etcd with a new leader gives every lease its whole time again.
            (Mood::Away, _) => {
                let now = Instant::now();
                state.leases.values_mut().for_each(|(until, ttl)| *until = now + *ttl);
            }
            _ => {}
        }
        state.mood = mood;
        drop(state);
        self.tell();
    }

    pub(super) fn mood(&self) -> Mood {
        self.lock().mood
    }

    /// Forgets everything, and begins to count anew.
    pub(super) fn lose_data(&self) {
        let mut state = self.lock();
        state.breaks += 1;
        (state.revision, state.compacted) = (0, 0);
        state.keys.clear();
        state.leases.clear();
        state.history.clear();
        drop(state);
        self.tell();
    }

    /// Throws the history away.
    pub(super) fn compact(&self) {
        let mut state = self.lock();
        state.compacted = state.revision;
        state.history.clear();
    }

    /// Ends the leases whose time has come. Nobody does while it is away.
    pub(super) fn tick(&self) {
        let mut state = self.lock();
        if state.mood == Mood::Away {
            return;
        }
        let now = Instant::now();
        let over: Vec<_> =
            state.leases.iter().filter(|(_, (until, _))| *until <= now).map(|(lease, _)| *lease).collect();
        let any = !over.is_empty();
        over.into_iter().for_each(|lease| state.revoke(lease));
        drop(state);
        if any {
            self.tell();
        }
    }

    /// The registrations.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.lock().keys.values().map(|(entry, _)| entry.clone()).collect()
    }

    /// Which registration of all that ever were this is.
    pub(super) fn place(&self, value: &[u8], revision: u64) -> Option<usize> {
        self.lock().made.iter().rposition(|(made, at)| made == value && *at == revision)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl State {
    fn change(&mut self, change: impl FnOnce(u64) -> Change) {
        self.revision += 1;
        let change = change(self.revision);
        self.history.push((self.revision, change));
    }

    fn write(&mut self, id: &str, value: Vec<u8>, lease: LeaseId) {
        let entry = Entry { id: id.to_owned(), value, revision: self.revision + 1 };
        self.made.push((entry.value.clone(), entry.revision));
        self.keys.insert(id.to_owned(), (entry.clone(), lease));
        self.change(|_| Change::Put(entry));
    }

    fn revoke(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        let under = self.keys.iter().filter(|(_, (_, bound))| *bound == lease);
        let ids: Vec<_> = under.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.keys.remove(&id);
            self.change(|revision| Change::Gone { id, revision });
        }
    }
}

impl Line {
    /// Loses all that is sent over it, or no longer.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    pub(super) fn is_cut(&self) -> bool {
        *self.cut.borrow()
    }

    /// A call: takes its time there and back, and may be lost on both ways.
    async fn call<T>(&self, work: impl FnOnce(&mut State) -> T) -> Result<T, Fault> {
        let (there, back) = {
            let mut state = self.model.lock();
            (time(&mut state.dice, 1, 20), time(&mut state.dice, 1, 20))
        };
        sleep(there).await;
        if self.is_cut() {
            sleep(SILENCE).await;
            return Err(fault("it does not answer"));
        }
        let (done, mood) = {
            let mut state = self.model.lock();
            if state.mood == Mood::Away {
                return Err(fault("nobody listens"));
            }
            (work(&mut state), state.mood)
        };
        self.model.tell();
        sleep(back).await;
        if self.is_cut() || mood == Mood::LosesAnswers {
            sleep(SILENCE).await;
            return Err(fault("it does not answer"));
        }
        Ok(done)
    }
}

impl Registry for Line {
    type Connection = ModelConnection;

    async fn connect(&self) -> Result<ModelConnection, Fault> {
        let breaks = self.call(|state| state.breaks).await?;
        Ok(ModelConnection { line: self.clone(), breaks })
    }

    fn pause(&self, failures: u32) -> Duration {
        // As the real one, with a jitter that a seed repeats.
        let most = 100_u64.saturating_mul(1 << failures.min(10)).min(5000);
        time(&mut self.model.lock().dice, most / 2, most)
    }
}

/// A connection.
pub(super) struct ModelConnection {
    line: Line,
    breaks: u64,
}

impl ModelConnection {
    async fn call<T>(&self, work: impl FnOnce(&mut State) -> T) -> Result<T, Fault> {
        let breaks = self.breaks;
        let done = self.line.call(|state| (state.breaks == breaks).then(|| work(state))).await?;
        done.ok_or_else(|| fault("the connection broke"))
    }
}

impl Connection for ModelConnection {
    type Renewals = Keeper;
    type Watch = Changes;

    async fn grant(&mut self, ttl: Duration) -> Result<(LeaseId, Duration), Fault> {
        self.call(|state| {
            let lease = state.next_lease;
            state.next_lease += 1;
            state.leases.insert(lease, (Instant::now() + ttl, ttl));
            (lease, ttl)
        })
        .await
    }

    async fn create(&mut self, id: &str, value: Vec<u8>, lease: LeaseId) -> Result<Created, Fault> {
        self.call(|state| {
            if let Some((there, _)) = state.keys.get(id) {
                return Ok(Created::Taken(Some(there.clone())));
            }
            // As etcd refuses a key under a lease that is over.
            if !state.leases.contains_key(&lease) {
                return Err(fault("there is no such lease"));
            }
            state.write(id, value, lease);
            Ok(Created::Yes)
        })
        .await?
    }

    async fn replace(
        &mut self,
        id: &str,
        value: Vec<u8>,
        lease: LeaseId,
        revision: u64,
    ) -> Result<bool, Fault> {
        self.call(|state| {
            let is_there = state.keys.get(id).is_some_and(|(there, _)| there.revision == revision);
            if is_there && !state.leases.contains_key(&lease) {
                return Err(fault("there is no such lease"));
            }
            if is_there {
                state.write(id, value, lease);
            }
            Ok(is_there)
        })
        .await?
    }

    async fn revoke(&mut self, lease: LeaseId) -> Result<(), Fault> {
        self.call(|state| state.revoke(lease)).await
    }

    async fn renewals(&mut self, lease: LeaseId) -> Result<Keeper, Fault> {
        self.call(|_| ()).await?;
        Ok(Keeper { connection: Self { line: self.line.clone(), breaks: self.breaks }, lease })
    }

    async fn list(&mut self) -> Result<Listing, Fault> {
        self.call(|state| Listing {
            revision: state.revision,
            entries: state.keys.values().map(|(entry, _)| entry.clone()).collect(),
        })
        .await
    }

    async fn watch(&mut self, from: u64) -> Result<Changes, Fault> {
        self.call(|_| ()).await?;
        Ok(Changes {
            line: self.line.clone(),
            breaks: self.breaks,
            from,
            changed: self.line.model.changed.subscribe(),
        })
    }
}

/// Renews a lease.
pub(super) struct Keeper {
    connection: ModelConnection,
    lease: LeaseId,
}

impl Renewals for Keeper {
    async fn renew(&mut self) -> Result<Duration, Fault> {
        let lease = self.lease;
        self.connection
            .call(|state| match state.leases.get_mut(&lease) {
                Some((until, ttl)) => {
                    *until = Instant::now() + *ttl;
                    *ttl
                }
                None => Duration::ZERO,
            })
            .await
    }
}

/// A stream of changes.
pub(super) struct Changes {
    line: Line,
    breaks: u64,
    from: u64,
    changed: watch::Receiver<u64>,
}

impl Watch for Changes {
    async fn next(&mut self) -> Result<News, Fault> {
        let mut cut = self.line.cut.subscribe();
        loop {
            self.changed.borrow_and_update();
            if *cut.borrow_and_update() {
                // It may come back before anybody notices; then the stream goes on.
                let back = tokio::time::timeout(SILENCE * 2, cut.wait_for(|cut| !cut)).await;
                if back.is_err() {
                    return Err(fault("nothing comes any more"));
                }
                continue;
            }
            let news = {
                let state = self.line.model.lock();
                if state.breaks != self.breaks {
                    return Err(fault("the connection broke"));
                }
                if self.from <= state.compacted {
                    return Ok(News::Compacted);
                }
                let fresh = state.history.iter().filter(|(revision, _)| *revision >= self.from);
                fresh.map(|(_, change)| change.clone()).collect::<Vec<_>>()
            };
            if !news.is_empty() {
                self.from += news.len() as u64;
                return Ok(News::Changes(news));
            }
            tokio::select! {
                biased;
                _ = self.changed.changed() => {}
                _ = cut.changed() => {}
            }
        }
    }
}

fn fault(what: &str) -> Fault {
    Fault(what.to_owned())
}
