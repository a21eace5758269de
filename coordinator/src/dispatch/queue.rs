//! The queue in front of the fleet: work of all incidents waits here, and goes to workers as they have room.
//!
//! Whose turn it is says [`FairQueue`], where it goes [`placement`](super::placement); this module holds both to what is
//! known of the workers, and hands out what was granted. Questions and rollouts have a queue each, and questions go first.
//!
//! Invariants: a worker gets no more than it has room for. While work waits, no worker that wants some goes without. What
//! was charged to a payer is what its work took, as soon as it has ended. What is granted and not taken is given back
//! when its [`Turn`] is dropped. Locks are taken in the order queue, fleet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use countermove_planner::Usage;
use countermove_proto::WorkerId;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::DispatchOptions;
use super::estimate::{Average, computed};
use super::fair::{FairQueue, Origin, Ticket};
use super::passed;
use super::placement::{Kind, Load, pick, speeds};
use crate::workers::{Fleet, Lease, Share};

/// Tokens of a question and of a rollout before any was seen.
const FIRST_GUESS: [u32; 2] = [256, 512];

/// Hands the work of all incidents out to the workers. Clones are the same; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Dispatcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fleet: Fleet,
    options: DispatchOptions,
    lines: Mutex<Lines>,
    _stop: DropGuard,
}

/// Workers that hold an incident's prefix.
pub(super) type Warm = Arc<Mutex<HashSet<WorkerId>>>;

/// A place in the queue. Dropping it gives up what waits there, and what was granted and not taken.
#[derive(Debug)]
pub(super) struct Turn {
    dispatcher: Dispatcher,
    kind: Kind,
    origin: Origin,
    ticket: Ticket,
    wake: Arc<Notify>,
}

/// Work that a worker has been granted. Settles what was charged for it as it ends, or when it is dropped.
#[derive(Debug)]
pub(super) struct Grant {
    lease: Lease,
    dispatcher: Dispatcher,
    kind: Kind,
    origin: Origin,
}

/// Both queues.
#[derive(Debug)]
struct Lines {
    decisions: Line,
    rollouts: Line,
    next_ticket: Ticket,
}

/// What waits of one kind.
#[derive(Debug)]
struct Line {
    kind: Kind,
    queue: FairQueue,
    average: Average,
    waiters: HashMap<Ticket, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    origin: Origin,
    warm: Warm,
    granted: Vec<Lease>,
    wake: Arc<Notify>,
}

impl Dispatcher {
    /// A queue in front of these workers. Needs a tokio runtime around it.
    pub fn start(fleet: Fleet, options: DispatchOptions) -> Self {
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            fleet: fleet.clone(),
            options,
            lines: Mutex::new(Lines::new()),
            _stop: stop.clone().drop_guard(),
        });
        tokio::spawn(follow(fleet, Arc::downgrade(&inner), stop));
        Self(inner)
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.0.fleet
    }

    pub(super) fn options(&self) -> &DispatchOptions {
        &self.0.options
    }

    /// Takes a place in the queue, at which nothing waits yet.
    pub(super) fn turn(&self, kind: Kind, origin: Origin, warm: Warm) -> Turn {
        let wake = Arc::new(Notify::new());
        let mut lines = self.lock();
        let ticket = lines.next_ticket;
        lines.next_ticket += 1;
        let waiter = Waiter { origin: origin.clone(), warm, granted: Vec::new(), wake: Arc::clone(&wake) };
        lines.of(kind).waiters.insert(ticket, waiter);
        Turn { dispatcher: self.clone(), kind, origin, ticket, wake }
    }

    /// A rollout's place on another worker than `not`, if nothing waits and one of them would decode it at once.
    pub(super) fn spare(&self, origin: &Origin, warm: &Warm, not: &WorkerId) -> Option<Grant> {
        let mut lines = self.lock();
        let Lines { rollouts: line, next_ticket, .. } = &mut *lines;
        if !line.queue.is_empty() {
            return None;
        }
        let each = line.average.tokens();
        let leases = self.0.fleet.lease(|workers| {
            let loads: Vec<_> = workers.iter().map(|(_, load)| *load).collect();
            let may = |worker: usize| workers[worker].0 != *not && loads[worker].is_free();
            let warm = lock(warm);
            let is_warm = |worker: usize| warm.contains(&workers[worker].0);
            let chosen = pick(&loads, &speeds(&loads), may, is_warm, (Kind::Rollout, each));
            let share = |worker| Share { to: (), worker, kind: Kind::Rollout, sequences: 1, each };
            chosen.map(share).into_iter().collect()
        });
        let ((), lease) = leases.into_iter().next()?;
        let ticket = *next_ticket;
        *next_ticket += 1;
        line.queue.wait(origin, ticket, 1);
        line.queue.begin(origin, ticket, each);
        Some(Grant { lease, dispatcher: self.clone(), kind: Kind::Rollout, origin: origin.clone() })
    }

    /// Hands out what there is room for.
    fn hand_out(&self) {
        let mut lines = self.lock();
        if lines.decisions.queue.is_empty() && lines.rollouts.queue.is_empty() {
            return;
        }
        let leases = self.0.fleet.lease(|workers| lines.assign(workers));
        for ((kind, ticket), lease) in leases {
            // Nobody leaves while the queue is locked, so whoever was chosen is there.
            if let Some(waiter) = lines.of(kind).waiters.get_mut(&ticket) {
                waiter.granted.push(lease);
                waiter.wake.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        lock(&self.0.lines)
    }
}

/// Hands out what waits whenever a worker may have room.
async fn follow(fleet: Fleet, dispatcher: Weak<Inner>, stop: CancellationToken) {
    let (mut changes, mut freed) = (fleet.changes(), fleet.freed());
    loop {
        changes.mark_unchanged();
        freed.mark_unchanged();
        let Some(inner) = dispatcher.upgrade() else { return };
        Dispatcher(inner).hand_out();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            freed = freed.changed() => if freed.is_err() { return },
            () = passed(fleet.next_rested()) => {}
        }
    }
}

impl Lines {
    fn new() -> Self {
        let [decision, rollout] = FIRST_GUESS;
        Self {
            decisions: Line::new(Kind::Decision, decision),
            rollouts: Line::new(Kind::Rollout, rollout),
            next_ticket: 0,
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Line {
        match kind {
            Kind::Decision => &mut self.decisions,
            Kind::Rollout => &mut self.rollouts,
        }
    }

    /// Who gets what, and where. Begins what it assigns.
    fn assign(&mut self, workers: &[(WorkerId, Load)]) -> Vec<Share<(Kind, Ticket)>> {
        let mut loads: Vec<_> = workers.iter().map(|(_, load)| *load).collect();
        let speeds = speeds(&loads);
        let mut shares = self.decisions.assign(workers, &mut loads, &speeds);
        shares.extend(self.rollouts.assign(workers, &mut loads, &speeds));
        shares
    }
}

impl Line {
    fn new(kind: Kind, guess: u32) -> Self {
        Self { kind, queue: FairQueue::default(), average: Average::new(guess), waiters: HashMap::new() }
    }

    fn assign(
        &mut self,
        workers: &[(WorkerId, Load)],
        loads: &mut [Load],
        speeds: &[f64],
    ) -> Vec<Share<(Kind, Ticket)>> {
        let (kind, each) = (self.kind, self.average.tokens());
        let wants: Vec<bool> = loads.iter().map(|load| load.wants(kind)).collect();
        let mut assigned: BTreeMap<(Ticket, usize), u32> = BTreeMap::new();
        while let Some(ticket) = self.queue.next() {
            // Whatever waits has a waiter: both come and go together.
            let Some(waiter) = self.waiters.get(&ticket) else { break };
            let warm = lock(&waiter.warm);
            let is_warm = |worker: usize| warm.contains(&workers[worker].0);
            let may = |worker: usize| wants[worker] && loads[worker].has_room(kind);
            let Some(worker) = pick(loads, speeds, may, is_warm, (kind, each)) else { break };
            self.queue.begin(&waiter.origin, ticket, each);
            loads[worker].add(kind, each);
            *assigned.entry((ticket, worker)).or_default() += 1;
        }
        let mut shares = Vec::new();
        for ((ticket, worker), mut count) in assigned {
            // A worker takes at least a batch in one call.
            let most = workers[worker].1.capacity.max(1);
            while count > 0 {
                let sequences = count.min(most);
                shares.push(Share { to: (kind, ticket), worker, kind, sequences, each });
                count -= sequences;
            }
        }
        shares
    }
}

impl Turn {
    /// Says how many pieces of work are to be done. Those that were granted and not taken count among them.
    pub(super) fn want(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        {
            let mut lines = self.dispatcher.lock();
            let line = lines.of(self.kind);
            let Some(waiter) = line.waiters.get(&self.ticket) else { return };
            let granted = waiter.granted.iter().map(Lease::held).sum();
            let wanted = count.saturating_sub(granted);
            let waiting = line.queue.waiting(&self.origin, self.ticket);
            if wanted <= waiting {
                if wanted < waiting {
                    line.queue.withdraw(&self.origin, self.ticket);
                    line.queue.wait(&self.origin, self.ticket, wanted);
                }
                return;
            }
            line.queue.wait(&self.origin, self.ticket, wanted - waiting);
        }
        self.dispatcher.hand_out();
    }

    /// What was granted, as soon as something is. Safe to drop at any point.
    pub(super) async fn granted(&self) -> Vec<Grant> {
        loop {
            let grants = self.take();
            if !grants.is_empty() {
                return grants;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Vec<Grant> {
        let mut lines = self.dispatcher.lock();
        let waiter = lines.of(self.kind).waiters.get_mut(&self.ticket);
        let leases = waiter.map(|waiter| std::mem::take(&mut waiter.granted)).unwrap_or_default();
        leases.into_iter().map(|lease| self.grant(lease)).collect()
    }

    fn grant(&self, lease: Lease) -> Grant {
        Grant { lease, dispatcher: self.dispatcher.clone(), kind: self.kind, origin: self.origin.clone() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Out of the lock before they are dropped: they give back what they were charged.
        let unused = self.take();
        {
            let mut lines = self.dispatcher.lock();
            let line = lines.of(self.kind);
            line.queue.withdraw(&self.origin, self.ticket);
            line.waiters.remove(&self.ticket);
        }
        drop(unused);
    }
}

impl Grant {
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Notes that one piece of work has ended.
    pub(super) fn finished(&mut self, usage: &Usage) {
        let tokens = computed(usage);
        self.lease.finished(tokens, usage.sampled_tokens + usage.forced_tokens);
        self.settle(1, self.lease.each(), tokens, true);
    }

    /// Gives all but `count` pieces of work back, which were not begun.
    pub(super) fn keep(&mut self, count: usize) {
        let kept = u32::try_from(count).unwrap_or(u32::MAX);
        let unused = self.lease.held().saturating_sub(kept);
        if unused > 0 {
            self.lease.unused(unused);
            self.settle(unused, self.lease.each().saturating_mul(unused.into()), 0, false);
        }
    }

    pub(super) fn count_tokens(&mut self, tokens: u64) {
        self.lease.count_tokens(tokens);
    }

    fn settle(&self, count: u32, charged: u64, used: u64, is_typical: bool) {
        let mut lines = self.dispatcher.lock();
        let line = lines.of(self.kind);
        line.queue.end(&self.origin, count, charged, used);
        // What failed at once says nothing of what the next will take.
        if is_typical && used > 0 {
            line.average.add(used);
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let held = self.lease.held();
        if held > 0 {
            let charged = self.lease.each().saturating_mul(held.into());
            self.settle(held, charged, self.lease.seen(), false);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks; should it ever, the counts are still the best that is known.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use countermove_proto::IncidentId;
    use countermove_proto::v1::Priority;
    use proptest::prelude::*;

    use super::super::Payer;
    use super::*;
    use crate::workers::Places;

    fn worker(id: usize, capacity: u32) -> (WorkerId, Load) {
        let load = Load {
            capacity,
            places: Places::default(),
            rollouts: 0,
            decisions: 0,
            outstanding: 0,
            rate: None,
        };
        (WorkerId::new(&format!("w-{id}")).unwrap(), load)
    }

    /// Lines at which `counts` of each kind wait, one ticket each.
    fn lines(counts: &[(Kind, u32)]) -> Lines {
        let mut lines = Lines::new();
        for (ticket, &(kind, count)) in (0..).zip(counts) {
            let payer = Payer::new(Priority::Normal, format!("tenant-{ticket}").parse().unwrap());
            let origin = Origin { payer, incident: IncidentId::generate() };
            let line = lines.of(kind);
            line.queue.wait(&origin, ticket, count);
            let (warm, wake) = (Warm::default(), Arc::new(Notify::new()));
            line.waiters.insert(ticket, Waiter { origin, warm, granted: Vec::new(), wake });
        }
        lines
    }

    fn given(shares: &[Share<(Kind, Ticket)>], ticket: Ticket) -> u32 {
        shares.iter().filter(|share| share.to.1 == ticket).map(|share| share.sequences).sum()
    }

    #[test]
    fn a_worker_gets_a_batch_and_a_half_and_the_tenants_share_it() {
        let mut lines = lines(&[(Kind::Rollout, 100), (Kind::Rollout, 100)]);
        let shares = lines.assign(&[worker(1, 8)]);
        assert_eq!((given(&shares, 0), given(&shares, 1)), (6, 6));
        assert!(shares.iter().all(|share| share.sequences <= 8));
    }

    #[test]
    fn questions_go_before_rollouts_and_leave_them_half_a_batch() {
        let mut lines = lines(&[(Kind::Rollout, 100), (Kind::Decision, 100)]);
        let shares = lines.assign(&[worker(1, 8)]);
        assert_eq!((given(&shares, 1), given(&shares, 0)), (10, 4));
        assert_eq!(shares[0].kind, Kind::Decision);
    }

    #[test]
    fn no_call_has_more_than_a_batch() {
        let mut lines = lines(&[(Kind::Rollout, 100)]);
        let shares = lines.assign(&[worker(1, 8)]);
        assert_eq!(shares.iter().map(|share| share.sequences).collect::<Vec<_>>(), [8, 4]);
    }

    #[test]
    fn a_question_goes_back_to_the_worker_that_holds_the_prefix() {
        let mut lines = lines(&[(Kind::Decision, 1)]);
        let workers = [worker(1, 8), worker(2, 8)];
        let waiter = lines.decisions.waiters.get_mut(&0).unwrap();
        lock(&waiter.warm).insert(workers[1].0.clone());
        assert_eq!(lines.assign(&workers)[0].worker, 1);
    }

    proptest! {
        #[test]
        fn no_worker_that_wants_work_goes_without_and_none_gets_too_much(
            workers in proptest::collection::vec((1_u32..40, 0_u32..60, 0_u32..40, 0_u64..10_000), 0..6),
            waiting in proptest::collection::vec((any::<bool>(), 1_u32..60), 0..8),
        ) {
            let of = |decision| if decision { Kind::Decision } else { Kind::Rollout };
            let counts: Vec<_> = waiting.iter().map(|&(decision, count)| (of(decision), count)).collect();
            let mut lines = lines(&counts);
            let mut workers: Vec<_> = (0..).zip(&workers).map(|(id, &(capacity, rollouts, decisions, outstanding))| {
                let (id, load) = worker(id, capacity);
                (id, Load { rollouts, decisions, outstanding, ..load })
            }).collect();
            let before = workers.clone();
            for share in lines.assign(&workers) {
                let load = &mut workers[share.worker].1;
                prop_assert!(before[share.worker].1.wants(share.kind));
                prop_assert!(share.sequences >= 1 && share.sequences <= load.capacity);
                for _ in 0..share.sequences {
                    prop_assert!(load.has_room(share.kind));
                    load.add(share.kind, share.each);
                }
            }
            for kind in [Kind::Decision, Kind::Rollout] {
                let line = lines.of(kind);
                let taken: u32 = counts.iter().filter(|count| count.0 == kind).map(|count| count.1).sum();
                let left: u32 = line.waiters.iter().map(|(&t, w)| line.queue.waiting(&w.origin, t)).sum();
                prop_assert!(left <= taken);
                prop_assert!(left == 0 || workers.iter().all(|(_, load)| !load.wants(kind)));
            }
        }
    }
}
