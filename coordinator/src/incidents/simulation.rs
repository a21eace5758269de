//! Ownership of incidents, played through: several coordinators that crash, freeze, wake and lose the store, on one
//! clock that only the play moves. Everything is drawn from a seed, so a play that goes wrong can be repeated.
//!
//! The real [`Log`] and chain run over a model of the store that keeps the same contract as the databases; what a
//! coordinator does between two calls is reduced to claiming, going on, and telling its work piece by piece.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    CandidatesProposed, Incident, IncidentCreated, PlanEnd, PlanEnded, PlanStep, RolloutFinished,
};
use countermove_proto::{IncidentId, RequestId};
use countermove_tests::Dice;
use futures::future::{BoxFuture, FutureExt, ready};

use super::log::Log;
use super::store::{
    Append, Claim, EventLog, Head, Held, KnownRequest, OwnerId, Ownership, Part, Record, RequestKey, Saved,
    StoreError, StoredInput, events, replay, verify,
};

/// Plays; each has its own seed.
const PLAYS: u64 = 10_000;
/// What happens in a play before the faults stop.
const MOVES: usize = 120;
const COORDINATORS: usize = 3;
const INCIDENTS: usize = 3;
const STEPS: u32 = 3;
const ROLLOUTS: u32 = 2;
/// Milliseconds.
const LEASE: u64 = 1000;

#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    let mut faults = Faults::default();
    for seed in 0..PLAYS {
        let mut play = Play::new(seed);
        for _ in 0..MOVES {
            play.step();
        }
        play.calm_down();
        play.check();
        faults.add(play.faults);
    }
    eprintln!("{PLAYS} plays, {} incidents ended; {faults:?}", PLAYS as usize * INCIDENTS);
    let Faults { crashes, freezes, outages, lost_answers, takeovers, fenced } = faults;
    let seen = [crashes, freezes, outages, lost_answers, takeovers, fenced];
    assert!(seen.iter().all(|&count| count > PLAYS / 10), "every fault was met often: {faults:?}");
}

/// What was done to the coordinators, and how often it bit.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    crashes: u64,
    freezes: u64,
    outages: u64,
    lost_answers: u64,
    takeovers: u64,
    fenced: u64,
}

impl Faults {
    fn add(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.freezes += other.freezes;
        self.outages += other.outages;
        self.lost_answers += other.lost_answers;
        self.takeovers += other.takeovers;
        self.fenced += other.fenced;
    }
}

struct Play {
    seed: u64,
    dice: Dice,
    store: Arc<ModelStore>,
    coordinators: Vec<Coordinator>,
    ids: Vec<IncidentId>,
    faults: Faults,
}

struct Coordinator {
    me: OwnerId,
    frozen: bool,
    held: BTreeMap<IncidentId, Work>,
}

/// An incident that a coordinator believes to own, and the pieces of its step that it has told.
struct Work {
    log: Log,
    step: u32,
    told: u32,
}

impl Play {
    fn new(seed: u64) -> Self {
        let coordinators = (0..COORDINATORS).map(|_| Coordinator::new()).collect();
        let store = Arc::new(ModelStore::default());
        let mut play = Self {
            seed,
            dice: Dice::new(seed),
            store,
            coordinators,
            ids: Vec::new(),
            faults: Faults::default(),
        };
        for index in 0..INCIDENTS {
            let coordinator = &mut play.coordinators[index % COORDINATORS];
            let claim = Claim { id: IncidentId::generate(), owner: coordinator.me, epoch: 1 };
            let mut log = Log::new(claim, Arc::clone(&play.store) as Arc<dyn EventLog>);
            now(play.store.renew(coordinator.me, String::new(), Duration::from_millis(LEASE))).unwrap();
            let created = Kind::Created(IncidentCreated::default());
            now(log.write(vec![created], None, Some(0u32.to_be_bytes().to_vec()))).unwrap();
            coordinator.held.insert(claim.id, Work { log, step: 0, told: 0 });
            play.ids.push(claim.id);
        }
        play
    }

    /// One thing happens.
    fn step(&mut self) {
        let who = self.dice.position(COORDINATORS);
        match self.dice.roll(100) {
            0..3 => {
                self.faults.crashes += 1;
                self.coordinators[who] = Coordinator::new();
            }
            3..8 => {
                let frozen = &mut self.coordinators[who].frozen;
                *frozen = !*frozen;
                self.faults.freezes += u64::from(*frozen);
            }
            8..11 => {
                self.faults.outages += 1;
                self.store.lock().mood = Mood::Away;
            }
            11..14 => {
                self.faults.lost_answers += 1;
                self.store.lock().mood = Mood::LosesAnswers;
            }
            14..26 => self.store.lock().mood = Mood::Well,
            26..40 => self.store.lock().clock += self.dice.roll(700),
            40..60 => self.beat(who),
            _ => self.work(who),
        }
    }

    /// Renews the lease and takes over what nobody owns.
    fn beat(&mut self, who: usize) {
        let coordinator = &mut self.coordinators[who];
        let lease = Duration::from_millis(LEASE);
        if coordinator.frozen {
            return;
        }
        let Ok(owned) = now(self.store.renew(coordinator.me, String::new(), lease)) else { return };
        // What another one has taken over is let go of.
        coordinator.held.retain(|&id, work| owned.contains(&Held { id, epoch: work.log.claim().epoch }));
        let orphans =
            owned.iter().map(|held| held.id).filter(|id| !coordinator.held.contains_key(id)).collect();
        let Ok(claims) = now(self.store.claim(coordinator.me, orphans, 10)) else { return };
        for claim in claims {
            self.faults.takeovers += 1;
            let store = Arc::clone(&self.store) as Arc<dyn Ownership>;
            let adopted = now(async {
                let saved = store.saved(claim.id).await?;
                let told = events(&*store, claim.id, saved.session.0, 1000).await?;
                let told: Vec<Kind> = told.into_iter().filter_map(|event| event.kind).collect();
                let step = u32::from_be_bytes(saved.session.1.as_slice().try_into().expect("four bytes"));
                let log = Log::resume(
                    claim,
                    store.clone(),
                    replay(&*store, claim.id).await?.0,
                    saved.head.hash,
                    told,
                );
                Ok::<_, StoreError>(Work { log, step, told: 0 })
            });
            if let Ok(work) = adopted {
                coordinator.held.insert(claim.id, work);
            }
        }
    }

    /// Tells the next piece of some incident's work.
    fn work(&mut self, who: usize) {
        let coordinator = &mut self.coordinators[who];
        let ids: Vec<_> = coordinator.held.keys().copied().collect();
        if coordinator.frozen || ids.is_empty() {
            return;
        }
        let id = ids[self.dice.position(ids.len())];
        let Some(work) = coordinator.held.get_mut(&id) else { return };
        match now(work.tell()) {
            Ok(true) => {}
            Ok(false) => {
                coordinator.held.remove(&id);
            }
            // As the actor does: whatever the store says, the rest is left to the next owner.
            Err(error) => {
                self.faults.fenced += u64::from(matches!(error, StoreError::Fenced(_)));
                coordinator.held.remove(&id);
            }
        }
    }

    /// No more faults: everybody wakes and the store answers. Then everything has to come to its end.
    fn calm_down(&mut self) {
        self.store.lock().mood = Mood::Well;
        for coordinator in &mut self.coordinators {
            coordinator.frozen = false;
        }
        for _ in 0..200 {
            self.store.lock().clock += LEASE / 4;
            for who in 0..COORDINATORS {
                self.beat(who);
                for _ in 0..8 {
                    self.work(who);
                }
            }
        }
    }

    fn check(&self) {
        let seed = self.seed;
        for &id in &self.ids {
            let kinds: Vec<Kind> = now(events(&*self.store, id, 0, 1000))
                .unwrap()
                .into_iter()
                .filter_map(|event| event.kind)
                .collect();
            assert!(matches!(kinds.last(), Some(Kind::Ended(_))), "{id} has ended, seed {seed}: {kinds:?}");
            let told: Vec<String> = kinds.iter().map(name).collect();
            let distinct: HashSet<_> = told.iter().collect();
            assert_eq!(distinct.len(), told.len(), "nothing is told twice, seed {seed}: {told:?}");
            let expected = 2 + STEPS * (2 + ROLLOUTS);
            assert_eq!(told.len(), expected as usize, "nothing is missing, seed {seed}: {told:?}");
            let found = now(verify(&*self.store, id, 0)).unwrap();
            assert_eq!(found.broken, None, "the chain is whole, seed {seed}");
        }
    }
}

impl Coordinator {
    fn new() -> Self {
        Self { me: OwnerId::generate(), frozen: false, held: BTreeMap::new() }
    }
}

impl Work {
    /// Tells the next piece; false after the last.
    async fn tell(&mut self) -> Result<bool, StoreError> {
        let step = self.step;
        match self.told {
            0 => {
                let proposed = CandidatesProposed { step, ..CandidatesProposed::default() };
                self.log.append(Kind::Proposed(proposed), None).await?;
            }
            rollout @ 1..=ROLLOUTS => {
                let rollout = RolloutFinished { step, rollout: rollout - 1, ..RolloutFinished::default() };
                self.log.append(Kind::Rollout(rollout), None).await?;
            }
            _ => {
                let mut kinds = vec![Kind::Decided(PlanStep { index: step, ..PlanStep::default() })];
                let over = step + 1 == STEPS;
                if over {
                    let end = PlanEnd::StepLimit.into();
                    kinds.push(Kind::Ended(PlanEnded { end, ..PlanEnded::default() }));
                }
                self.log.write(kinds, None, Some((step + 1).to_be_bytes().to_vec())).await?;
                (self.step, self.told) = (step + 1, 0);
                return Ok(!over);
            }
        }
        self.told += 1;
        Ok(true)
    }
}

fn name(kind: &Kind) -> String {
    match kind {
        Kind::Proposed(proposed) => format!("candidates {}", proposed.step),
        Kind::Rollout(rollout) => format!("rollout {} {}", rollout.step, rollout.rollout),
        Kind::Decided(step) => format!("decision {}", step.index),
        Kind::Created(_) => "creation".to_owned(),
        Kind::Ended(_) => "end".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Runs a future that waits for nothing but the store, which answers at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the store answers at once")
}

/// How the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    /// Nothing reaches it.
    Away,
    /// Writes are done, and nobody hears of it.
    LosesAnswers,
}

/// The contract of the databases in a few lines, on the play's clock.
#[derive(Default)]
struct ModelStore(Mutex<Model>);

#[derive(Default)]
struct Model {
    clock: u64,
    mood: Mood,
    leases: BTreeMap<[u8; 16], u64>,
    incidents: BTreeMap<IncidentId, Kept>,
}

struct Kept {
    claim: Claim,
    head: Head,
    incident: Arc<Incident>,
    records: Vec<Record>,
    session: (u64, Vec<u8>),
}

impl ModelStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    fn read<T>(&self, id: IncidentId, read: impl FnOnce(&Kept) -> T) -> Result<T, StoreError> {
        let model = self.lock();
        model.reach()?;
        model.incidents.get(&id).map(read).ok_or(StoreError::NotFound(id))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Model) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut model = self.lock();
        model.reach()?;
        let done = change(&mut model)?;
        match model.mood {
            Mood::LosesAnswers => Err(StoreError::Unavailable("the answer was lost".to_owned())),
            _ => Ok(done),
        }
    }
}

impl Model {
    fn reach(&self) -> Result<(), StoreError> {
        match self.mood {
            Mood::Away => Err(StoreError::Unavailable("it is away".to_owned())),
            _ => Ok(()),
        }
    }

    fn write(&mut self, append: Append) -> Result<(), StoreError> {
        let (claim, head) = (append.claim, append.head().expect("a record"));
        let Some(kept) = self.incidents.get_mut(&claim.id) else {
            let session = (head.sequence, append.session.unwrap_or_default());
            let kept = Kept { claim, head, incident: append.incident, records: append.records, session };
            self.incidents.insert(claim.id, kept);
            return Ok(());
        };
        if kept.claim != claim {
            return Err(StoreError::Fenced(claim.id));
        }
        if append.first() != kept.head.sequence + 1 {
            let last = kept.head.sequence;
            return Err(StoreError::Sequence { id: claim.id, last, offered: append.first() });
        }
        kept.records.extend(append.records);
        (kept.head, kept.incident) = (head, append.incident);
        if let Some(session) = append.session {
            kept.session = (head.sequence, session);
        }
        Ok(())
    }
}

impl EventLog for ModelStore {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(self.change(|model| model.write(append))).boxed()
    }

    fn records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let records = self.read(id, |kept| {
            kept.records.iter().filter(|record| record.sequence > after).take(limit).cloned().collect()
        });
        ready(records).boxed()
    }

    fn inputs(
        &self,
        _id: IncidentId,
        _after: u64,
        _until: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredInput>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn head(&self, id: IncidentId) -> BoxFuture<'_, Result<Head, StoreError>> {
        ready(self.read(id, |kept| kept.head)).boxed()
    }

    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>> {
        ready(self.read(id, |kept| Incident::clone(&kept.incident))).boxed()
    }

    fn list(&self, _part: Part) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<(IncidentId, u64)>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }
}

impl Ownership for ModelStore {
    fn request(&self, _id: RequestId) -> BoxFuture<'_, Result<Option<KnownRequest>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn answer(&self, _key: RequestKey, _answer: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }

    fn saved(&self, id: IncidentId) -> BoxFuture<'_, Result<Saved, StoreError>> {
        let saved = self.read(id, |kept| Saved {
            head: kept.head,
            inputs: Vec::new(),
            session: kept.session.clone(),
            age: None,
        });
        ready(saved).boxed()
    }

    fn renew(
        &self,
        owner: OwnerId,
        _address: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Vec<Held>, StoreError>> {
        let renewed = self.change(|model| {
            model.leases.insert(*owner.as_bytes(), model.clock + ttl.as_millis() as u64);
            let mine = model.incidents.values().filter(|kept| kept.claim.owner == owner && !kept.head.ended);
            Ok(mine.map(|kept| Held { id: kept.claim.id, epoch: kept.claim.epoch }).collect())
        });
        ready(renewed).boxed()
    }

    fn claim(
        &self,
        owner: OwnerId,
        orphans: Vec<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>, StoreError>> {
        let claimed = self.change(|model| {
            let (clock, leases) = (model.clock, model.leases.clone());
            let alive = |owner: OwnerId| leases.get(owner.as_bytes()).is_some_and(|&until| until > clock);
            let free = model.incidents.values_mut().filter(|kept| {
                let claim = kept.claim;
                let is_orphan = claim.owner == owner && orphans.contains(&claim.id);
                !kept.head.ended && (is_orphan || !alive(claim.owner))
            });
            let claims = free.take(limit).map(|kept| {
                kept.claim = Claim { owner, epoch: kept.claim.epoch + 1, ..kept.claim };
                kept.claim
            });
            Ok(claims.collect())
        });
        ready(claimed).boxed()
    }

    fn leave(&self, owner: OwnerId) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(self.change(|model| {
            model.leases.remove(owner.as_bytes());
            Ok(())
        }))
        .boxed()
    }

    fn owner(&self, _id: IncidentId, _me: OwnerId) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn forget(
        &self,
        _age: Option<Duration>,
        _requests: Duration,
        _most: u32,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        ready(Ok(0)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}
