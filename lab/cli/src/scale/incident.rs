//! One incident: its questions and rollouts take places in the real queue, run at simulated workers, and go elsewhere when these are
//! lost. A rollout that is slow is tried once more, by the real rules.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use countermove_coordinator::dispatch::{Asker, Place};
use countermove_planner::{ModelError, Purpose, Usage};
use futures::future::{AbortHandle, Abortable, LocalBoxFuture, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::dice::Dice;
use super::world::World;

/// An incident at one coordinator.
struct Incident {
    world: Rc<World>,
    asker: Asker,
    owner: usize,
    tenant: usize,
    dice: RefCell<Dice>,
    /// When the rollouts that wait to be told are written, if there are any.
    lot: Cell<Option<Instant>>,
}

/// How a try of a rollout ended.
enum End {
    Done,
    Lost,
    Refused(Duration),
}

/// A rollout at a worker.
struct Try {
    worker: usize,
    begun: Instant,
    abort: AbortHandle,
    place: Rc<RefCell<Place>>,
}

type Tries = FuturesUnordered<LocalBoxFuture<'static, Option<(usize, u64, End)>>>;

/// Plans an incident that comes at `at`, wherever it is owned, and notes what came of it.
pub(super) async fn plan(world: Rc<World>, number: usize, at: Instant) {
    sleep_until(at).await;
    let tenant = world.scenario.tenant(number);
    // Two in a row are of different tenants, so they go to each coordinator in pairs.
    let mut owner = number / 2 % world.scenario.coordinators;
    world.incidents.set(world.incidents.get() + 1);
    world.wrote();
    let done = Cell::new(0);
    loop {
        let dice = Dice::of(world.scenario.seed, (number as u64) << 8 | done.get() as u64);
        let asker = world.asker(owner, number);
        let incident = Incident {
            world: Rc::clone(&world),
            asker,
            owner,
            tenant,
            dice: RefCell::new(dice),
            lot: Cell::default(),
        };
        tokio::select! {
            biased;
            () = world.gone(owner) => {}
            ended = incident.go_on(&done) => {
                let mut figures = world.figures.borrow_mut();
                match ended {
                    Ok(()) => figures.plans.entry(tenant).or_default().push(at.elapsed()),
                    Err(_) => figures.failed += 1,
                }
                world.incidents.set(world.incidents.get() - 1);
                return;
            }
        }
        owner = world.take_over(number).await;
    }
}

impl Incident {
    /// Does what is left to do. Each piece of planning ends with a write.
    async fn go_on(&self, done: &Cell<usize>) -> Result<(), ModelError> {
        let demand = self.world.scenario.demand;
        while done.get() <= demand.steps {
            if done.get() == 0 {
                self.ask(demand.perception).await?;
            } else {
                self.ask(demand.candidates).await?;
                for &rollouts in demand.rounds {
                    self.roll_out(rollouts).await?;
                }
            }
            self.told_all();
            done.set(done.get() + 1);
        }
        self.world.wrote();
        Ok(())
    }

    /// Has a rollout written with others that end soon after the first of them.
    fn told(&self) {
        let now = Instant::now();
        match self.lot.get() {
            Some(due) if now <= due => return,
            Some(_) => self.world.wrote(),
            None => {}
        }
        self.lot.set(Some(now + self.world.scenario.demand.lot));
    }

    /// Writes what a piece of planning came to, with what still waits.
    fn told_all(&self) {
        if self.lot.take().is_some_and(|due| due < Instant::now()) {
            self.world.wrote();
        }
        self.world.wrote();
    }

    fn tokens(&self, mean: f64) -> f64 {
        self.dice.borrow_mut().exponential(mean).round().max(1.0)
    }

    /// Asks questions, all at once.
    async fn ask(&self, count: usize) -> Result<(), ModelError> {
        let mean = self.world.scenario.demand.question;
        let questions: Vec<_> = (0..count).map(|_| self.question(self.tokens(mean))).collect();
        join_all(questions).await.into_iter().collect()
    }

    async fn question(&self, tokens: f64) -> Result<(), ModelError> {
        loop {
            let asked = Instant::now();
            let waits = Waits::begin(&self.world, 1);
            let place = self.asker.question().await?;
            drop(waits);
            self.world.taken.set(self.world.taken.get() + 1);
            self.world.figures.borrow_mut().question_waits.push(asked.elapsed());
            let (first, begun) = (place.worker().clone(), Instant::now());
            let mut tries = FuturesUnordered::from_iter([self.try_question(place, tokens)]);
            let mut second = pin!(self.asker.second_place(begun, &first).fuse());
            while !tries.is_empty() {
                let (mut place, end) = tokio::select! {
                    biased;
                    Some(ended) = tries.next() => ended,
                    place = &mut second => {
                        self.world.figures.borrow_mut().hedges += 1;
                        tries.push(self.try_question(place, tokens));
                        continue;
                    }
                };
                match end {
                    End::Done => {
                        self.asker.answered(begun.elapsed());
                        self.asker.warmed(&place.worker().clone());
                        place.finished(&used(tokens));
                        self.world.worked(self.tenant, tokens);
                        return Ok(());
                    }
                    End::Lost => self.world.figures.borrow_mut().lost += 1,
                    End::Refused(time) => {
                        self.world.figures.borrow_mut().refused += 1;
                        place.rest(time);
                    }
                }
            }
        }
    }

    /// Asks a question once.
    async fn try_question(&self, place: Place, tokens: f64) -> (Place, End) {
        let worker = self.world.number(place.worker());
        let end = self.run(worker, Purpose::Decision, tokens, place.lost()).await;
        (place, end)
    }

    /// Runs one sequence at a worker.
    fn run<L: Future<Output = ()>>(
        &self,
        worker: usize,
        purpose: Purpose,
        tokens: f64,
        lost: L,
    ) -> impl Future<Output = End> + use<L> {
        let (world, owner) = (Rc::clone(&self.world), self.owner);
        async move {
            let work = async {
                world.way(owner, worker).await;
                let begun = world.with(worker, |worker| {
                    worker.take(owner, purpose, 1).map(|taken| (taken, worker.decode(purpose, tokens)))
                });
                match begun {
                    Some(Ok((taken, decoding))) => {
                        decoding.await;
                        world.tell(worker, owner);
                        drop(taken);
                        End::Done
                    }
                    Some(Err(time)) => End::Refused(time),
                    // It says nothing, until that is noticed.
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                end = work => end,
                () = lost => End::Lost,
            }
        }
    }

    /// Runs a round of rollouts, each once, and slow ones twice.
    async fn roll_out(&self, count: usize) -> Result<(), ModelError> {
        let mean = self.world.scenario.demand.rollout;
        let tokens: Vec<f64> = (0..count).map(|_| self.tokens(mean)).collect();
        let turn = self.asker.rollouts();
        let mut running: Tries = FuturesUnordered::new();
        let mut tries: BTreeMap<usize, BTreeMap<u64, Try>> = BTreeMap::new();
        let (mut waiting, mut waits) =
            ((0..count).rev().collect::<Vec<_>>(), Waits::begin(&self.world, count));
        let (mut since, mut next) = (Instant::now(), 0);
        let (mut finished, mut hedged) = (Vec::new(), BTreeSet::new());
        while finished.len() < count {
            turn.want(waiting.len());
            let look = if waiting.is_empty() {
                self.hedge(&tokens, &finished, &mut hedged, &mut tries, &running, &mut next)
            } else {
                None
            };
            tokio::select! {
                biased;
                places = turn.granted(), if !waiting.is_empty() => {
                    for mut place in places {
                        let room = (place.held() as usize).min(waiting.len());
                        place.keep(room);
                        let place = Rc::new(RefCell::new(place));
                        self.asker.warmed(&place.borrow().worker().clone());
                        for rollout in waiting.split_off(waiting.len() - room) {
                            waits.less();
                            self.world.taken.set(self.world.taken.get() + 1);
                            self.world.figures.borrow_mut().rollout_waits.push(since.elapsed());
                            self.begin(rollout, tokens[rollout], &place, &mut tries, &running, &mut next);
                        }
                    }
                }
                news = running.next(), if !running.is_empty() => {
                    // One that was broken off.
                    let Some(Some((rollout, number, end))) = news else { continue };
                    let Some(ended) = tries.get_mut(&rollout).and_then(|tries| tries.remove(&number)) else { continue };
                    match end {
                        End::Done => {
                            ended.place.borrow_mut().finished(&used(tokens[rollout]));
                            self.world.worked(self.tenant, tokens[rollout]);
                            finished.push(ended.begun.elapsed());
                            self.told();
                            for other in tries.remove(&rollout).into_iter().flat_map(BTreeMap::into_values) {
                                other.abort.abort();
                                other.place.borrow_mut().cancelled(&Usage::default());
                            }
                            continue;
                        }
                        End::Lost => self.world.figures.borrow_mut().lost += 1,
                        End::Refused(time) => {
                            self.world.figures.borrow_mut().refused += 1;
                            ended.place.borrow().rest(time);
                        }
                    }
                    if tries.get(&rollout).is_none_or(BTreeMap::is_empty) {
                        if waiting.is_empty() {
                            since = Instant::now();
                        }
                        waiting.push(rollout);
                        waits.more();
                    }
                }
                error = self.asker.nobody(), if running.is_empty() => return Err(error),
                () = at(look) => {}
            }
        }
        Ok(())
    }

    /// Starts a rollout where it has a place.
    fn begin(
        &self,
        rollout: usize,
        tokens: f64,
        place: &Rc<RefCell<Place>>,
        tries: &mut BTreeMap<usize, BTreeMap<u64, Try>>,
        running: &Tries,
        next: &mut u64,
    ) {
        let number = *next;
        *next += 1;
        let worker = self.world.number(place.borrow().worker());
        let run = self.run(worker, Purpose::Rollout, tokens, place.borrow().lost());
        let (abort, registration) = AbortHandle::new_pair();
        let run = Abortable::new(run, registration);
        running.push(Box::pin(async move { run.await.ok().map(|end| (rollout, number, end)) }));
        let begun = Try { worker, begun: Instant::now(), abort, place: Rc::clone(place) };
        tries.entry(rollout).or_default().insert(number, begun);
    }

    /// Tries slow rollouts once more, and says when to look again.
    fn hedge(
        &self,
        tokens: &[f64],
        finished: &[Duration],
        hedged: &mut BTreeSet<usize>,
        tries: &mut BTreeMap<usize, BTreeMap<u64, Try>>,
        running: &Tries,
        next: &mut u64,
    ) -> Option<Instant> {
        while hedged.len() < Asker::most_hedges(tokens.len()) {
            let patience = self.asker.patience(finished, tokens.len())?;
            let slowest = tries.iter().filter(|(rollout, _)| !hedged.contains(rollout));
            let slowest = slowest
                .flat_map(|(rollout, tries)| tries.values().map(move |at| (at.begun, *rollout, at.worker)));
            let (begun, rollout, worker) = slowest.min()?;
            let due = begun.checked_add(patience)?;
            if due > Instant::now() {
                return Some(due);
            }
            let not =
                tries.get(&rollout)?.values().find(|at| at.worker == worker)?.place.borrow().worker().clone();
            let Some(place) = self.asker.spare(&not) else { return Instant::now().checked_add(patience) };
            hedged.insert(rollout);
            self.world.figures.borrow_mut().hedges += 1;
            self.begin(rollout, tokens[rollout], &Rc::new(RefCell::new(place)), tries, running, next);
        }
        None
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What a piece of work took.
fn used(tokens: f64) -> Usage {
    Usage { sampled_tokens: tokens as u64, ..Usage::default() }
}

/// Pieces of work that wait. What is left of them when it is dropped does not wait any more.
struct Waits<'a> {
    world: &'a World,
    count: u64,
}

impl<'a> Waits<'a> {
    fn begin(world: &'a World, count: usize) -> Self {
        let mut waits = Self { world, count: 0 };
        (0..count).for_each(|_| waits.more());
        waits
    }

    fn more(&mut self) {
        self.count += 1;
        self.world.waiting.set(self.world.waiting.get() + 1);
    }

    fn less(&mut self) {
        self.count = self.count.saturating_sub(1);
        self.world.waiting.set(self.world.waiting.get().saturating_sub(1));
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.world.waiting.set(self.world.waiting.get().saturating_sub(self.count));
    }
}
