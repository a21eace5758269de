//! The queue in front of the fleet: work of all incidents waits here, and goes to workers as they have room.
//!
//! Whose turn it is says [`FairQueue`], where it goes [`placement`](super::placement); this module holds both to what is
//! known of the workers, and hands out what was granted. What that costs depends on what has changed since the last time, not on how many
//! workers there are ([`Board`]). A question never waits for a batch to end: workers keep room for
//! questions beside their rollouts. It waits only while its tenant has had more than its share.
//!
//! Whoever had more than others that are at work fills a batch only as far as that makes the worker do more: each sequence
//! beyond would take its speed from theirs, and with few sequences at work they could not get their share back.
//!
//! Invariants: a worker gets no more than it has room for. While work waits, no place in a batch is left empty with which
//! the worker would do more. What was charged to a payer is what its work took, as soon as it has ended. What is granted and not taken is given back
//! when its [`Turn`] is dropped. Locks are taken in the order queue, fleet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use countermove_planner::{Purpose, Usage};
use countermove_proto::WorkerId;
use countermove_proto::v1::QueuedWork;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::DispatchOptions;
use super::estimate::{Average, computed};
use super::fair::{FairQueue, Next, Open, Origin, Ticket};
use super::hedging::Answered;
use super::passed;
use super::placement::{Wish, pick};
use crate::workers::{Assignment, Board, Fleet, Lease, Number, Openness};

/// Tokens of a question before any was seen.
const FIRST_DECISION: u32 = 256;
/// Tokens of a rollout before any was seen.
const FIRST_ROLLOUT: u32 = 512;
/// How many rollouts a tenant may be ahead of others while its questions still go before their rollouts: about those of
/// one plan under way, so that a tenant's next incident asks at once.
const LEAD: u64 = 16;

/// Hands the work of all incidents out to the workers. Clones are the same; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Dispatcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fleet: Fleet,
    options: DispatchOptions,
    line: Mutex<Line>,
    _stop: DropGuard,
}

/// Workers that hold an incident's prefix, so many of those that had work of it last. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Warm(Arc<Mutex<Vec<WorkerId>>>);

/// Most workers that are taken to hold a prefix: who has had no work of an incident for long has room for others'.
const WARM: usize = 16;

impl Warm {
    pub(super) fn warmed(&self, worker: &WorkerId) {
        let mut workers = lock(&self.0);
        let known = workers.iter().position(|known| known == worker);
        let last = known.unwrap_or_else(|| {
            workers.truncate(WARM - 1);
            workers.push(worker.clone());
            workers.len() - 1
        });
        workers[..=last].rotate_right(1);
    }
}

/// A place in the queue. Dropping it gives up what waits there, and what was granted and not taken.
#[derive(Debug)]
pub(super) struct Turn {
    dispatcher: Dispatcher,
    purpose: Purpose,
    origin: Origin,
    ticket: Ticket,
    wake: Arc<Notify>,
}

/// Work that a worker has been granted. Settles what was charged for it as it ends, or when it is dropped.
#[derive(Debug)]
pub(super) struct Grant {
    lease: Lease,
    dispatcher: Dispatcher,
    purpose: Purpose,
    origin: Origin,
}

/// What waits.
#[derive(Debug)]
struct Line {
    queue: FairQueue,
    waiters: HashMap<Ticket, Waiter>,
    next_ticket: Ticket,
    /// What a question takes.
    decision: Average,
    /// What a rollout takes.
    rollout: Average,
    answered: Answered,
}

#[derive(Debug)]
struct Waiter {
    origin: Origin,
    warm: Warm,
    granted: Vec<Lease>,
    wake: Arc<Notify>,
    /// Since when how many pieces of its work wait, oldest first.
    since: VecDeque<(Instant, u32)>,
}

impl Dispatcher {
    /// A queue in front of these workers. Needs a tokio runtime around it.
    pub fn start(fleet: Fleet, options: DispatchOptions) -> Self {
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            fleet: fleet.clone(),
            options,
            line: Mutex::new(Line::new()),
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

    /// Work that waits or runs.
    pub(crate) fn queued(&self) -> Vec<QueuedWork> {
        self.lock().queue.flows()
    }

    /// Takes a place in the queue, at which nothing waits yet.
    pub(super) fn turn(&self, purpose: Purpose, origin: Origin, warm: Warm) -> Turn {
        let wake = Arc::new(Notify::new());
        let mut line = self.lock();
        let ticket = line.ticket();
        let waiter = Waiter::new(origin.clone(), warm, Arc::clone(&wake));
        line.waiters.insert(ticket, waiter);
        Turn { dispatcher: self.clone(), purpose, origin, ticket, wake }
    }

    /// A place for a second copy of work on another worker than `not`, if nothing waits and one of them would decode it at once.
    pub(super) fn spare(
        &self,
        purpose: Purpose,
        origin: &Origin,
        warm: &Warm,
        not: &WorkerId,
    ) -> Option<Grant> {
        let mut line = self.lock();
        if !line.queue.is_empty() {
            return None;
        }
        let warm = lock(&warm.0);
        let tokens = line.average(purpose).tokens();
        let not = std::slice::from_ref(not);
        let grant =
            self.begun(&mut line, origin, Wish { purpose, tokens, least: Openness::Free, warm: &warm, not })?;
        self.0.fleet.metrics().hedged();
        if purpose == Purpose::Decision {
            line.answered.hedge();
        }
        Some(grant)
    }

    /// How long a question may take before it is slow; `None` if none is asked twice now.
    pub(super) fn question_patience(&self) -> Option<Duration> {
        let policy = self.0.options.hedging?;
        self.lock().answered.patience(&policy)
    }

    /// Notes how long a question took at its worker.
    pub(super) fn answered(&self, took: Duration) {
        self.lock().answered.count(took);
    }

    /// A rollout's place on a worker other than those, the one that would be done with it soonest, whatever waits: so few are asked
    /// for that they keep nobody waiting.
    pub(super) fn elsewhere(&self, origin: &Origin, not: &[WorkerId]) -> Option<Grant> {
        let mut line = self.lock();
        let tokens = line.rollout.tokens();
        let wish = Wish { purpose: Purpose::Rollout, tokens, least: Openness::Places, warm: &[], not };
        self.begun(&mut line, origin, wish)
    }

    /// Takes a place for one that does not wait, and charges for it.
    fn begun(&self, line: &mut Line, origin: &Origin, wish: Wish<'_>) -> Option<Grant> {
        let Wish { purpose, tokens: each, .. } = wish;
        let leases = self.0.fleet.lease(|board| {
            let worker = pick(board, wish);
            worker
                .map(|worker| Assignment { to: (), worker, purpose, sequences: 1, each })
                .into_iter()
                .collect()
        });
        let ((), lease) = leases.into_iter().next()?;
        let ticket = line.ticket();
        line.queue.wait(origin, purpose, ticket, 1);
        line.queue.begin(origin, purpose, ticket, each);
        Some(Grant { lease, dispatcher: self.clone(), purpose, origin: origin.clone() })
    }

    /// Hands out what there is room for.
    fn hand_out(&self) {
        let mut line = self.lock();
        if line.queue.is_empty() {
            return;
        }
        let leases = self.0.fleet.lease(|board| line.assign(board));
        for (ticket, lease) in leases {
            // Nobody leaves while the queue is locked, so whoever was chosen is there.
            if let Some(waiter) = line.waiters.get_mut(&ticket) {
                let served = waiter.served(lease.held());
                let tenant = waiter.origin.payer.tenant().as_str();
                for (time, count) in served {
                    for _ in 0..count {
                        self.0.fleet.metrics().waited(tenant, lease.purpose(), time);
                    }
                }
                waiter.granted.push(lease);
                waiter.wake.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        lock(&self.0.line)
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

impl Line {
    fn new() -> Self {
        Self {
            queue: FairQueue::default(),
            waiters: HashMap::new(),
            next_ticket: 0,
            decision: Average::new(FIRST_DECISION),
            rollout: Average::new(FIRST_ROLLOUT),
            answered: Answered::default(),
        }
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    /// Notes how many pieces of work wait under a ticket now.
    fn waits(&mut self, ticket: Ticket, count: u32) {
        if let Some(waiter) = self.waiters.get_mut(&ticket) {
            waiter.waits(count);
        }
    }

    fn average(&mut self, purpose: Purpose) -> &mut Average {
        match purpose {
            Purpose::Decision => &mut self.decision,
            Purpose::Rollout => &mut self.rollout,
        }
    }

    /// Who gets what, and where. Begins what it assigns.
    fn assign(&mut self, board: &mut Board) -> Vec<Assignment<Ticket>> {
        let lead = self.rollout.tokens().saturating_mul(LEAD);
        let mut assigned: BTreeMap<(Ticket, Number), (Purpose, u64, u32)> = BTreeMap::new();
        loop {
            let open =
                Open { decisions: board.wants(Purpose::Decision), rollouts: board.wants(Purpose::Rollout) };
            let Some(Next { purpose, ticket, is_ahead }) = self.queue.next(open, lead) else { break };
            let tokens = self.average(purpose).tokens();
            // Whatever waits has a waiter: both come and go together.
            let Some(waiter) = self.waiters.get(&ticket) else { break };
            let warm = lock(&waiter.warm.0);
            // At a worker questions overtake rollouts, so this holds for them as well.
            let least = if is_ahead { Openness::Gains } else { Openness::Wants };
            let wish = Wish { purpose, tokens, least, warm: &warm, not: &[] };
            let Some(worker) = pick(board, wish) else { break };
            self.queue.begin(&waiter.origin, purpose, ticket, tokens);
            board.add(worker, purpose, tokens);
            assigned.entry((ticket, worker)).or_insert((purpose, tokens, 0)).2 += 1;
        }
        let mut assignments = Vec::new();
        for ((ticket, worker), (purpose, each, mut count)) in assigned {
            // A worker takes at least a batch in one call.
            let most = board.capacity(worker);
            while count > 0 {
                let sequences = count.min(most);
                assignments.push(Assignment { to: ticket, worker, purpose, sequences, each });
                count -= sequences;
            }
        }
        assignments
    }
}

impl Waiter {
    fn new(origin: Origin, warm: Warm, wake: Arc<Notify>) -> Self {
        Self { origin, warm, granted: Vec::new(), wake, since: VecDeque::new() }
    }

    /// So many pieces wait now: what is more begins to, and of what is less the newest is gone.
    fn waits(&mut self, count: u32) {
        let known = self.since.iter().map(|(_, count)| count).sum::<u32>();
        if count > known {
            self.since.push_back((Instant::now(), count - known));
        }
        let mut surplus = known.saturating_sub(count);
        while let Some((_, newest)) = self.since.back_mut().filter(|_| surplus > 0) {
            let gone = surplus.min(*newest);
            (*newest, surplus) = (*newest - gone, surplus - gone);
            if *newest == 0 {
                self.since.pop_back();
            }
        }
    }

    /// How long so many pieces waited that have a worker now, the oldest first.
    fn served(&mut self, mut count: u32) -> Vec<(Duration, u32)> {
        let mut times = Vec::new();
        while let Some((since, oldest)) = self.since.front_mut().filter(|_| count > 0) {
            let served = count.min(*oldest);
            times.push((since.elapsed(), served));
            (*oldest, count) = (*oldest - served, count - served);
            if *oldest == 0 {
                self.since.pop_front();
            }
        }
        times
    }
}

impl Turn {
    /// Says how many pieces of work are to be done. Those that were granted and not taken count among them.
    pub(super) fn want(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        {
            let mut line = self.dispatcher.lock();
            let Some(waiter) = line.waiters.get(&self.ticket) else { return };
            let granted = waiter.granted.iter().map(Lease::held).sum();
            let wanted = count.saturating_sub(granted);
            let waiting = line.queue.waiting(&self.origin, self.purpose, self.ticket);
            if wanted <= waiting {
                if wanted < waiting {
                    line.queue.withdraw(&self.origin, self.purpose, self.ticket);
                    line.queue.wait(&self.origin, self.purpose, self.ticket, wanted);
                    line.waits(self.ticket, wanted);
                }
                return;
            }
            line.queue.wait(&self.origin, self.purpose, self.ticket, wanted - waiting);
            line.waits(self.ticket, wanted);
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
        let mut line = self.dispatcher.lock();
        let waiter = line.waiters.get_mut(&self.ticket);
        let leases = waiter.map(|waiter| std::mem::take(&mut waiter.granted)).unwrap_or_default();
        leases.into_iter().map(|lease| self.grant(lease)).collect()
    }

    fn grant(&self, lease: Lease) -> Grant {
        Grant {
            lease,
            dispatcher: self.dispatcher.clone(),
            purpose: self.purpose,
            origin: self.origin.clone(),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Out of the lock before they are dropped: they give back what they were charged.
        let unused = self.take();
        {
            let mut line = self.dispatcher.lock();
            line.queue.withdraw(&self.origin, self.purpose, self.ticket);
            line.waiters.remove(&self.ticket);
        }
        drop(unused);
    }
}

impl Grant {
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Notes that one piece of work has ended. Gives the tokens of it that the worker had not reported yet.
    pub(super) fn finished(&mut self, usage: &Usage) -> u64 {
        let tokens = computed(usage);
        let news = self.lease.finished(tokens, usage.generated());
        self.dispatcher.0.fleet.metrics().used(self.origin.payer.tenant().as_str(), usage);
        self.settle(1, self.lease.each(), tokens, true);
        news
    }

    /// As [`Self::finished`], for one that was cancelled: what it took says nothing of what the next will take.
    pub(super) fn cancelled(&mut self, usage: &Usage) -> u64 {
        let tokens = computed(usage);
        let news = self.lease.cancelled(tokens, usage.generated());
        self.dispatcher.0.fleet.metrics().used(self.origin.payer.tenant().as_str(), &discarded(usage));
        self.settle(1, self.lease.each(), tokens, false);
        news
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

    /// Counts tokens that the worker reported, and gives those that were not known of.
    pub(super) fn count_tokens(&mut self, tokens: u64) -> u64 {
        self.lease.count_tokens(tokens)
    }

    fn settle(&self, count: u32, charged: u64, used: u64, is_typical: bool) {
        let mut line = self.dispatcher.lock();
        line.queue.end(&self.origin, count, charged, used);
        // What failed at once says nothing of what the next will take.
        if is_typical && used > 0 {
            line.average(self.purpose).add(used);
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

/// The usage of work that no answer came of.
fn discarded(usage: &Usage) -> Usage {
    let discarded_tokens = usage.discarded_tokens.saturating_add(usage.generated());
    Usage { sampled_tokens: 0, forced_tokens: 0, discarded_tokens, ..*usage }
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
    use crate::workers::Load;

    fn worker(id: usize, capacity: u32) -> (WorkerId, Load) {
        (WorkerId::new(&format!("w-{id}")).unwrap(), Load::of(capacity))
    }

    impl Line {
        fn hand_out(&mut self, workers: &[(WorkerId, Load)]) -> Vec<Assignment<Ticket>> {
            self.assign(&mut Board::of(workers))
        }
    }

    /// A line at which `counts` of each kind wait, one ticket and tenant each.
    fn line(counts: &[(Purpose, u32)]) -> Line {
        let mut line = Line::new();
        for (ticket, &(purpose, count)) in (0..).zip(counts) {
            let payer = Payer::new(Priority::Normal, format!("tenant-{ticket}").parse().unwrap());
            let origin = Origin { payer, incident: IncidentId::generate() };
            line.queue.wait(&origin, purpose, ticket, count);
            let (warm, wake) = (Warm::default(), Arc::new(Notify::new()));
            line.waiters.insert(ticket, Waiter::new(origin, warm, wake));
        }
        line
    }

    fn given(assignments: &[Assignment<Ticket>], ticket: Ticket) -> u32 {
        assignments
            .iter()
            .filter(|assignment| assignment.to == ticket)
            .map(|assignment| assignment.sequences)
            .sum()
    }

    #[test]
    fn a_worker_gets_a_batch_and_a_half_and_the_tenants_share_it() {
        let mut line = line(&[(Purpose::Rollout, 100), (Purpose::Rollout, 100)]);
        let assignments = line.hand_out(&[worker(1, 8)]);
        assert_eq!((given(&assignments, 0), given(&assignments, 1)), (6, 6));
        assert!(assignments.iter().all(|assignment| assignment.sequences <= 8));
    }

    #[test]
    fn questions_go_before_rollouts_and_leave_them_half_a_batch() {
        let mut line = line(&[(Purpose::Rollout, 100), (Purpose::Decision, 100)]);
        let assignments = line.hand_out(&[worker(1, 8)]);
        assert_eq!((given(&assignments, 1), given(&assignments, 0)), (10, 4));
    }

    #[test]
    fn a_question_does_not_wait_for_the_rollouts_at_a_worker() {
        let mut line = line(&[(Purpose::Rollout, 100), (Purpose::Decision, 1)]);
        let mut full = worker(1, 8);
        full.1.rollouts = 12;
        let assignments = line.hand_out(&[full]);
        assert_eq!((given(&assignments, 1), given(&assignments, 0)), (1, 0));
    }

    #[test]
    fn a_flood_of_questions_overtakes_the_rollouts_of_others_by_a_lead() {
        let mut line = line(&[(Purpose::Rollout, 100), (Purpose::Decision, 100)]);
        let full = |rollouts| {
            let mut worker = worker(1, 8);
            worker.1.rollouts = rollouts;
            [worker]
        };
        let mut tokens = 0;
        loop {
            let given = given(&line.hand_out(&full(12)), 1);
            tokens += u64::from(given) * u64::from(FIRST_DECISION);
            if given == 0 {
                break;
            }
        }
        assert_eq!(
            tokens,
            LEAD * u64::from(FIRST_ROLLOUT) + u64::from(FIRST_DECISION),
            "the one that begins when they are even"
        );
        line.queue.withdraw(&line.waiters[&0].origin.clone(), Purpose::Rollout, 0);
        let assignments = line.hand_out(&full(12));
        assert_eq!(given(&assignments, 1), 10, "nobody else waits");
    }

    #[test]
    fn who_had_more_than_others_at_work_fills_a_batch_only_as_far_as_it_pays() {
        let mut line = line(&[(Purpose::Rollout, 100), (Purpose::Rollout, 1)]);
        line.queue.begin(&line.waiters[&0].origin.clone(), Purpose::Rollout, 0, 1_000_000);
        let mut one = worker(1, 8);
        one.1.efficient = 3;
        let assignments = line.hand_out(&[one.clone()]);
        assert_eq!((given(&assignments, 0), given(&assignments, 1)), (2, 1), "the other one first");
        one.1.rollouts = 3;
        assert!(line.hand_out(&[one.clone()]).is_empty(), "it would take speed from the other one");
        line.queue.end(&line.waiters[&1].origin.clone(), 1, 512, 512);
        assert_eq!(given(&line.hand_out(&[one]), 0), 9, "it is alone");
    }

    #[test]
    fn a_flood_of_questions_fills_a_place_that_would_be_empty() {
        let mut line = line(&[(Purpose::Rollout, 100), (Purpose::Decision, 100)]);
        line.queue.begin(&line.waiters[&1].origin.clone(), Purpose::Decision, 1, 1_000_000);
        let mut worker = worker(1, 8);
        (worker.1.rollouts, worker.1.places.rollouts) = (5, 5);
        assert_eq!(given(&line.hand_out(&[worker]), 1), 3);
    }

    #[test]
    fn no_call_has_more_than_a_batch() {
        let mut line = line(&[(Purpose::Rollout, 100)]);
        let assignments = line.hand_out(&[worker(1, 8)]);
        assert_eq!(assignments.iter().map(|assignment| assignment.sequences).collect::<Vec<_>>(), [8, 4]);
    }

    #[test]
    fn a_question_goes_back_to_the_worker_that_holds_the_prefix() {
        let mut line = line(&[(Purpose::Decision, 1)]);
        let workers = [worker(1, 8), worker(2, 8)];
        let waiter = line.waiters.get_mut(&0).unwrap();
        waiter.warm.warmed(&workers[1].0);
        assert_eq!(line.hand_out(&workers)[0].worker, 1);
    }

    #[test]
    fn who_had_work_last_is_taken_to_hold_the_prefix() {
        let warm = Warm::default();
        let ids: Vec<_> = (0..20).map(|id| worker(id, 1).0).collect();
        ids.iter().chain([&ids[9]]).for_each(|id| warm.warmed(id));
        let held = lock(&warm.0).clone();
        assert_eq!(
            (held.len(), &held[..3]),
            (WARM, [ids[9].clone(), ids[19].clone(), ids[18].clone()].as_slice())
        );
        assert!(held.contains(&ids[4]) && !held.contains(&ids[3]));
    }

    proptest! {
        #[test]
        fn no_worker_that_gains_by_work_goes_without_and_none_gets_too_much(
            workers in proptest::collection::vec((1_u32..40, 1_u32..40, 0_u32..60, 0_u32..40, 0_u64..10_000), 0..6),
            waiting in proptest::collection::vec((any::<bool>(), 1_u32..60), 0..8),
        ) {
            let of = |decision| if decision { Purpose::Decision } else { Purpose::Rollout };
            let counts: Vec<_> = waiting.iter().map(|&(decision, count)| (of(decision), count)).collect();
            let mut line = line(&counts);
            let mut workers: Vec<_> = (0..).zip(&workers).map(|(id, &(capacity, efficient, rollouts, decisions, outstanding))| {
                let (id, load) = worker(id, capacity);
                (id, Load { efficient: efficient.min(capacity), rollouts, decisions, outstanding, ..load })
            }).collect();
            let before = workers.clone();
            let mut assignments = line.hand_out(&workers);
            // Questions take room from rollouts and not the other way, and assignments are in no order of time.
            assignments.sort_by_key(|assignment| assignment.purpose == Purpose::Decision);
            for assignment in assignments {
                let at = assignment.worker as usize;
                let load = &mut workers[at].1;
                prop_assert!(before[at].1.openness(assignment.purpose) >= Openness::Wants);
                prop_assert!(assignment.sequences >= 1 && assignment.sequences <= load.capacity);
                for _ in 0..assignment.sequences {
                    prop_assert!(load.openness(assignment.purpose) >= Openness::Room);
                    load.add(assignment.purpose, assignment.each);
                }
            }
            for purpose in [Purpose::Decision, Purpose::Rollout] {
                let taken: u32 = counts.iter().filter(|count| count.0 == purpose).map(|count| count.1).sum();
                let left: u32 = line.waiters.iter().map(|(&t, w)| line.queue.waiting(&w.origin, purpose, t)).sum();
                prop_assert!(left <= taken);
                // Whoever is alone is never ahead of anybody.
                let pays = if counts.len() == 1 { Openness::Free } else { Openness::Gains };
                prop_assert!(left == 0 || workers.iter().all(|(_, load)| load.openness(purpose) < pays));
                // Rollouts overtake nothing.
                let overtaken = counts.len() == 1 && purpose == Purpose::Rollout;
                prop_assert!(left == 0 || !overtaken || workers.iter().all(|(_, load)| load.openness(purpose) < Openness::Wants));
            }
        }
    }
}
