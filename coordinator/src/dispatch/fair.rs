//! Whose turn it is: start-time fair queueing by tokens. Pure: no clock, no I/O.
//!
//! Work is shared on three levels: between priority classes by weight, between the tenants of a class alike, and between
//! the incidents of a tenant alike; one incident's work goes in order of arrival. On each level a flow has a tag, the
//! virtual time at which its next piece of work begins. The lowest tag goes first; a piece of work pushes its flow's tag
//! on by its tokens, and a flow that comes back begins beside those that wait (Goyal, Vin and Cheng, "Start-time fair
//! queuing", 1996).
//!
//! Questions and rollouts are charged to the same account. Among the incidents of a tenant questions go first. They go
//! before the rollouts of other tenants and classes as well, as long as their own is ahead by no more than a *lead*:
//! whoever keeps to its share asks at once, and a flood of questions takes nobody's share of rollouts.
//!
//! - Over any time in which two tenants of a class have work waiting, what they were given differs by no more than the
//!   lead and their two largest pieces of work. A tenant that floods takes no more than its share; one that was idle has
//!   saved up none.
//! - Every flow's turn comes, since the tags of the others only grow: a class of a low weight gets little and never
//!   nothing.
//! - While anything waits it is somebody's turn. Whether it had more than others that are at work is said beside, since
//!   what it begins takes speed from theirs.
//! - Work is charged by what it is expected to take, and corrected by what it took.

use std::collections::{BTreeMap, BTreeSet};

use countermove_planner::Purpose;
use countermove_proto::v1::Priority;
use countermove_proto::{IncidentId, Tenant};

use super::Payer;

/// Identifies a place in a queue. Later ones are larger.
pub(crate) type Ticket = u64;

/// Where work comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) payer: Payer,
    pub(crate) incident: IncidentId,
}

/// Kinds of work for which there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) decisions: bool,
    pub(crate) rollouts: bool,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) purpose: Purpose,
    pub(crate) ticket: Ticket,
    /// It had more than somebody else, class or tenant, that has work waiting or running.
    pub(crate) is_ahead: bool,
}

/// What waits, and who had how much.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    classes: Level<Priority>,
    tenants: BTreeMap<Priority, Level<Tenant>>,
    incidents: BTreeMap<Payer, Level<IncidentId>>,
    /// Pieces of work that wait, by where they stand.
    waiting: BTreeMap<(IncidentId, Purpose, Ticket), u32>,
}

/// Virtual time that a token takes in a class: the reciprocal of its weight. While all three have work waiting, urgent
/// incidents get 64 of 73 tokens, normal ones 8, and those in the background 1.
fn pace(priority: Priority) -> u64 {
    match priority {
        Priority::Urgent => 1,
        Priority::Unspecified | Priority::Normal => 8,
        Priority::Background => 64,
    }
}

impl FairQueue {
    /// Adds pieces of work to those that wait under a ticket. A ticket is for work of one kind.
    pub(crate) fn wait(&mut self, origin: &Origin, purpose: Purpose, ticket: Ticket, count: u32) {
        if count == 0 {
            return;
        }
        *self.waiting.entry((origin.incident, purpose, ticket)).or_default() += count;
        let Origin { payer, incident } = origin;
        self.classes.wait(&payer.priority(), purpose, count);
        self.tenants.entry(payer.priority()).or_default().wait(payer.tenant(), purpose, count);
        self.incidents.entry(payer.clone()).or_default().wait(incident, purpose, count);
    }

    /// Takes away all that waits under a ticket, and says how much that was.
    pub(crate) fn withdraw(&mut self, origin: &Origin, purpose: Purpose, ticket: Ticket) -> u32 {
        let count = self.waiting.remove(&(origin.incident, purpose, ticket)).unwrap_or(0);
        self.each_level(origin, |share| share.withdraw(purpose, count));
        count
    }

    /// Whose turn it is of those that wait for something for which there is room; `None` if nothing does. Questions may
    /// have a lead of so many tokens over the rollouts of others.
    pub(crate) fn next(&self, open: Open, lead: u64) -> Option<Next> {
        let (_, &priority) = self.classes.first(open, lead)?;
        let tenants = self.tenants.get(&priority)?;
        let (_, tenant) = tenants.first(open, lead)?;
        let payer = Payer::new(priority, tenant.clone());
        let (purpose, &incident) = self.incidents.get(&payer)?.first(open, u64::MAX)?;
        let tickets = (incident, purpose, Ticket::MIN)..=(incident, purpose, Ticket::MAX);
        let (&(_, _, ticket), _) = self.waiting.range(tickets).next()?;
        let lead = if purpose == Purpose::Decision { lead } else { 0 };
        let is_ahead = self.classes.is_ahead(&priority, lead) || tenants.is_ahead(tenant, lead);
        Some(Next { purpose, ticket, is_ahead })
    }

    /// Begins a piece of work that waits under a ticket, and charges what it is expected to take, in tokens.
    pub(crate) fn begin(&mut self, origin: &Origin, purpose: Purpose, ticket: Ticket, tokens: u64) {
        let key = (origin.incident, purpose, ticket);
        let Some(count) = self.waiting.get_mut(&key) else { return };
        *count -= 1;
        if *count == 0 {
            self.waiting.remove(&key);
        }
        self.each_level(origin, |share| share.begin(purpose, tokens));
    }

    /// Ends pieces of work that were charged with `charged` tokens and took `used`.
    pub(crate) fn end(&mut self, origin: &Origin, count: u32, charged: u64, used: u64) {
        self.each_level(origin, |share| share.end(count, charged, used));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Pieces of work that wait under a ticket.
    pub(crate) fn waiting(&self, origin: &Origin, purpose: Purpose, ticket: Ticket) -> u32 {
        self.waiting.get(&(origin.incident, purpose, ticket)).copied().unwrap_or(0)
    }

    fn each_level(&mut self, Origin { payer, incident }: &Origin, change: impl Fn(&mut Share<'_>)) {
        let priority = payer.priority();
        self.classes.change(&priority, pace(priority), &change);
        if let Some(tenants) = self.tenants.get_mut(&priority) {
            tenants.change(payer.tenant(), 1, &change);
        }
        if let Some(incidents) = self.incidents.get_mut(payer) {
            incidents.change(incident, 1, &change);
            // A level on which nothing waits and nothing runs has nothing to remember.
            if incidents.flows.is_empty() {
                self.incidents.remove(payer);
            }
        }
    }
}

/// Flows beside each other. One that has nothing here is remembered only while it is ahead of the others.
#[derive(Debug)]
struct Level<K> {
    /// Virtual time: the lowest tag among those that waited when the last piece of work began.
    now: u64,
    flows: BTreeMap<K, Flow>,
    /// By tag, those with questions waiting.
    decisions: BTreeSet<(u64, K)>,
    /// By tag, those with rollouts waiting.
    rollouts: BTreeSet<(u64, K)>,
    /// By tag, those that have work waiting or running.
    busy: BTreeSet<(u64, K)>,
    /// By tag, those that have nothing here.
    idle: BTreeSet<(u64, K)>,
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        let none = BTreeSet::new;
        Self {
            now: 0,
            flows: BTreeMap::new(),
            decisions: none(),
            rollouts: none(),
            busy: none(),
            idle: none(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// Virtual time at which its next piece of work begins.
    tag: u64,
    decisions: u32,
    rollouts: u32,
    running: u32,
}

/// One flow of a level, as it is changed.
struct Share<'a> {
    now: &'a mut u64,
    /// The lowest tag of those that wait.
    lowest: u64,
    pace: u64,
    flow: &'a mut Flow,
}

impl<K: Ord + Clone> Level<K> {
    fn wait(&mut self, key: &K, purpose: Purpose, count: u32) {
        self.flows.entry(key.clone()).or_default();
        self.change(key, 1, |share| share.wait(purpose, count));
    }

    /// The flow whose turn it is among those that wait for what is open, and for what. Of equal ones the first in order:
    /// the more urgent class, the older incident.
    fn first(&self, open: Open, lead: u64) -> Option<(Purpose, &K)> {
        let decision = self.decisions.first().filter(|_| open.decisions);
        let rollout = self.rollouts.first().filter(|_| open.rollouts);
        match (decision, rollout) {
            (Some((question, key)), Some((rollout, _))) if question.saturating_sub(lead) <= *rollout => {
                Some((Purpose::Decision, key))
            }
            (_, Some((_, key))) => Some((Purpose::Rollout, key)),
            (Some((_, key)), None) => Some((Purpose::Decision, key)),
            (None, None) => None,
        }
    }

    /// Whether a flow had more than another one that has work here, by more than a lead.
    fn is_ahead(&self, key: &K, lead: u64) -> bool {
        let tag = self.flows.get(key).map_or(0, |flow| flow.tag);
        self.busy.first().is_some_and(|(lowest, _)| tag.saturating_sub(lead) > *lowest)
    }

    fn change(&mut self, key: &K, pace: u64, change: impl Fn(&mut Share<'_>)) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let before = *flow;
        let tags = [&self.decisions, &self.rollouts].into_iter().filter_map(|flows| flows.first());
        let lowest = tags.map(|&(tag, _)| tag).min().unwrap_or(self.now);
        change(&mut Share { now: &mut self.now, lowest, pace, flow });
        let after = *flow;
        self.sort(key, before, after);
        self.forget();
    }

    /// Keeps the orders true after a change.
    fn sort(&mut self, key: &K, before: Flow, after: Flow) {
        let orders = [
            (&mut self.decisions, before.decisions > 0, after.decisions > 0),
            (&mut self.rollouts, before.rollouts > 0, after.rollouts > 0),
            (&mut self.busy, !before.is_idle(), !after.is_idle()),
            (&mut self.idle, before.is_idle(), after.is_idle()),
        ];
        for (order, was_there, is_there) in orders {
            if was_there && !(is_there && before.tag == after.tag) {
                order.remove(&(before.tag, key.clone()));
            }
            if is_there {
                order.insert((after.tag, key.clone()));
            }
        }
    }

    /// Forgets those that have nothing here and would come back as somebody new does: they are not ahead, or nobody is
    /// there to be ahead of.
    fn forget(&mut self) {
        let is_over = self.idle.len() == self.flows.len();
        while let Some((tag, key)) = self.idle.pop_first() {
            if tag > self.now && !is_over {
                self.idle.insert((tag, key));
                break;
            }
            self.flows.remove(&key);
        }
    }
}

impl Flow {
    fn is_idle(&self) -> bool {
        self.decisions == 0 && self.rollouts == 0 && self.running == 0
    }

    fn waiting(&mut self, purpose: Purpose) -> &mut u32 {
        match purpose {
            Purpose::Decision => &mut self.decisions,
            Purpose::Rollout => &mut self.rollouts,
        }
    }
}

impl Share<'_> {
    fn wait(&mut self, purpose: Purpose, count: u32) {
        if self.flow.decisions == 0 && self.flow.rollouts == 0 {
            self.flow.tag = self.flow.tag.max(*self.now);
        }
        *self.flow.waiting(purpose) += count;
    }

    fn withdraw(&mut self, purpose: Purpose, count: u32) {
        let waiting = self.flow.waiting(purpose);
        *waiting = waiting.saturating_sub(count);
    }

    fn begin(&mut self, purpose: Purpose, tokens: u64) {
        // Not what begins now, which may have gone ahead: whoever comes next has no less than those that wait.
        *self.now = self.lowest.max(*self.now);
        self.flow.tag = self.flow.tag.saturating_add(tokens.saturating_mul(self.pace));
        self.flow.running += 1;
        self.withdraw(purpose, 1);
    }

    fn end(&mut self, count: u32, charged: u64, used: u64) {
        let tag = self.flow.tag.saturating_add(used.saturating_mul(self.pace));
        self.flow.tag = tag.saturating_sub(charged.saturating_mul(self.pace));
        self.flow.running = self.flow.running.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Purpose = Purpose::Rollout;

    impl Open {
        const ALL: Self = Self { decisions: true, rollouts: true };
    }

    fn next(queue: &FairQueue) -> Option<Ticket> {
        queue.next(Open::ALL, 0).map(|next| next.ticket)
    }

    fn origin(priority: Priority, tenant: &str) -> Origin {
        let incident = IncidentId::generate();
        Origin { payer: Payer::new(priority, tenant.parse().unwrap()), incident }
    }

    /// Begins `count` pieces of work and gives how many tokens each of the origins got. A piece takes what `tokens` says.
    fn serve(
        queue: &mut FairQueue,
        origins: &[Origin],
        count: usize,
        tokens: impl Fn(usize) -> u64,
    ) -> Vec<u64> {
        let mut got = vec![0; origins.len()];
        for _ in 0..count {
            let ticket = next(queue).expect("something waits");
            let place = usize::try_from(ticket).unwrap();
            queue.begin(&origins[place], KIND, ticket, tokens(place));
            queue.end(&origins[place], 1, tokens(place), tokens(place));
            got[place] += tokens(place);
        }
        got
    }

    fn queue(origins: &[Origin], count: u32) -> FairQueue {
        let mut queue = FairQueue::default();
        for (ticket, origin) in (0..).zip(origins) {
            queue.wait(origin, KIND, ticket, count);
        }
        queue
    }

    #[test]
    fn a_tenant_with_many_incidents_gets_no_more_than_one_with_few() {
        let mut origins: Vec<_> = (0..9).map(|_| origin(Priority::Normal, "flood")).collect();
        origins.push(origin(Priority::Normal, "quiet"));
        let got = serve(&mut queue(&origins, 1000), &origins, 180, |_| 10);
        assert_eq!(got[9], 900);
        assert!(got[..9].iter().all(|&tokens| tokens == 100), "its incidents share alike: {got:?}");
    }

    #[test]
    fn shares_are_counted_in_tokens() {
        let origins = [origin(Priority::Normal, "long"), origin(Priority::Normal, "short")];
        let got = serve(&mut queue(&origins, 1000), &origins, 110, |place| [100, 10][place]);
        assert_eq!(got, [1000, 1000]);
    }

    #[test]
    fn classes_share_by_weight_and_the_background_is_never_left_out() {
        let classes = [Priority::Urgent, Priority::Normal, Priority::Background];
        let origins = classes.map(|priority| origin(priority, "one"));
        let got = serve(&mut queue(&origins, 10_000), &origins, 7300, |_| 1);
        assert_eq!(got, [6400, 800, 100]);
    }

    #[test]
    fn urgent_work_goes_first_when_it_comes() {
        let origins = [origin(Priority::Normal, "one"), origin(Priority::Urgent, "one")];
        let mut queue = queue(&origins[..1], 100);
        serve(&mut queue, &origins, 50, |_| 10);
        queue.wait(&origins[1], KIND, 1, 5);
        assert_eq!(serve(&mut queue, &origins, 5, |_| 10), [0, 50]);
    }

    #[test]
    fn who_was_idle_has_saved_nothing_up() {
        let origins = [origin(Priority::Normal, "busy"), origin(Priority::Normal, "late")];
        let mut queue = queue(&origins[..1], 1000);
        serve(&mut queue, &origins, 500, |_| 10);
        queue.wait(&origins[1], KIND, 1, 1000);
        assert_eq!(serve(&mut queue, &origins, 100, |_| 10), [500, 500]);
    }

    #[test]
    fn what_was_used_corrects_what_was_expected() {
        let origins = [origin(Priority::Normal, "modest"), origin(Priority::Normal, "greedy")];
        let mut queue = queue(&origins, 1000);
        let mut used = [0_u64; 2];
        for _ in 0..220 {
            let ticket = next(&queue).unwrap();
            let place = usize::try_from(ticket).unwrap();
            // Both are expected to take the same; one takes ten times as much.
            queue.begin(&origins[place], KIND, ticket, 50);
            queue.end(&origins[place], 1, 50, [10, 100][place]);
            used[place] += [10, 100][place];
        }
        assert_eq!(used, [2000, 2000]);
    }

    #[test]
    fn an_incidents_own_work_goes_in_order_and_can_be_withdrawn() {
        let one = origin(Priority::Normal, "one");
        let mut queue = FairQueue::default();
        queue.wait(&one, KIND, 7, 2);
        queue.wait(&one, KIND, 8, 1);
        assert_eq!((next(&queue), queue.waiting(&one, KIND, 7)), (Some(7), 2));
        assert_eq!(queue.withdraw(&one, KIND, 7), 2);
        assert_eq!(next(&queue), Some(8));
        queue.begin(&one, KIND, 8, 5);
        assert!(queue.is_empty() && next(&queue).is_none());
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let mut queue = FairQueue::default();
        for ticket in 0..100 {
            let one = origin(Priority::Normal, &format!("tenant-{ticket}"));
            queue.wait(&one, KIND, ticket, 1);
            queue.begin(&one, KIND, ticket, 10);
            queue.end(&one, 1, 10, 10);
            let another = origin(Priority::Urgent, &format!("tenant-{ticket}"));
            queue.wait(&another, KIND, ticket, 3);
            queue.withdraw(&another, KIND, ticket);
        }
        assert!(queue.incidents.is_empty() && queue.waiting.is_empty());
        assert!(queue.tenants.values().all(|level| level.flows.len() <= 1));
    }

    #[test]
    fn a_tenants_questions_go_before_its_rollouts_and_before_those_of_others_by_a_lead() {
        let flood = [origin(Priority::Normal, "flood"), origin(Priority::Normal, "flood")];
        let few = origin(Priority::Normal, "few");
        let mut queue = FairQueue::default();
        queue.wait(&flood[0], Purpose::Rollout, 0, 10);
        queue.wait(&flood[1], Purpose::Decision, 1, 100);
        queue.wait(&few, Purpose::Rollout, 2, 100);
        let mut serve = |open| {
            let next = queue.next(open, 500)?;
            let origin = if next.ticket == 2 { &few } else { &flood[next.ticket as usize] };
            queue.begin(origin, next.purpose, next.ticket, 100);
            queue.end(origin, 1, 100, 100);
            Some(next.ticket)
        };
        let tickets: Vec<_> = (0..16).filter_map(|_| serve(Open::ALL)).collect();
        assert_eq!(
            tickets[..6],
            [1; 6],
            "five before the others', and the one that begins when they are even"
        );
        assert_eq!(tickets[6..], [2, 1, 2, 1, 2, 1, 2, 1, 2, 1], "then they share");
        let rollouts = Open { decisions: false, rollouts: true };
        assert_eq!((0..3).filter_map(|_| serve(rollouts)).collect::<Vec<_>>(), [2, 2, 2], "who had less");
        let nothing = Open { decisions: false, rollouts: false };
        assert_eq!(serve(nothing), None);
    }

    #[test]
    fn who_comes_while_another_has_gone_ahead_begins_beside_those_that_wait() {
        let (ahead, waits, late) = (
            origin(Priority::Normal, "ahead"),
            origin(Priority::Normal, "waits"),
            origin(Priority::Normal, "late"),
        );
        let mut queue = FairQueue::default();
        queue.wait(&waits, Purpose::Rollout, 0, 10);
        queue.wait(&ahead, Purpose::Decision, 1, 10);
        for _ in 0..5 {
            let next = queue.next(Open::ALL, 1000).unwrap();
            assert_eq!(next.ticket, 1);
            queue.begin(&ahead, next.purpose, 1, 100);
        }
        queue.wait(&late, Purpose::Rollout, 2, 10);
        assert_eq!(queue.tenants[&Priority::Normal].flows[late.payer.tenant()].tag, 0);
    }

    #[test]
    fn who_had_more_than_others_at_work_is_told_apart() {
        let (flood, few) = (origin(Priority::Normal, "flood"), origin(Priority::Normal, "few"));
        let mut queue = queue(std::slice::from_ref(&flood), 100);
        let is_ahead = |queue: &FairQueue, lead| queue.next(Open::ALL, lead).unwrap().is_ahead;
        queue.begin(&flood, KIND, 0, 100);
        queue.begin(&flood, KIND, 0, 100);
        assert!(!is_ahead(&queue, 0), "it is alone");
        queue.wait(&few, KIND, 1, 1);
        assert_eq!((next(&queue), is_ahead(&queue, 0)), (Some(1), false));
        queue.begin(&few, KIND, 1, 50);
        assert_eq!((next(&queue), is_ahead(&queue, 0)), (Some(0), true), "few runs, and had less");
        queue.wait(&flood, Purpose::Decision, 2, 1);
        assert!(is_ahead(&queue, 0) && !is_ahead(&queue, 100), "a question has a lead");
        queue.end(&few, 1, 50, 300);
        assert!(!is_ahead(&queue, 0), "few has gone");
        let background = origin(Priority::Background, "few");
        queue.wait(&background, KIND, 3, 2);
        queue.begin(&background, KIND, 3, 1000);
        assert!(!is_ahead(&queue, 0), "a class of low weight is ahead with little");
    }

    /// Something that happens to a queue of up to six origins.
    #[derive(Clone, Debug)]
    enum Move {
        Wait(usize, u32),
        Withdraw(usize),
        /// Begins the next piece of work, which takes so many tokens and ends after so many moves.
        Begin(u64, usize),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (2_usize..6, 1_u32..4).prop_map(|(who, count)| Move::Wait(who, count)),
            (2_usize..6).prop_map(Move::Withdraw),
            (1_u64..=100, 0_usize..12).prop_map(|(tokens, moves)| Move::Begin(tokens, moves)),
            (1_u64..=100, 0_usize..12).prop_map(|(tokens, moves)| Move::Begin(tokens, moves)),
        ];
        proptest::collection::vec(one, 1..300)
    }

    proptest! {
        /// The first two tenants always have work waiting; the others, of all classes, come and go.
        #[test]
        fn backlogged_tenants_of_a_class_differ_by_the_lead_and_two_pieces_of_work_at_most(
            moves in moves(),
            skip in 0_usize..200,
            lead in prop_oneof![Just(0_u64), 1_u64..1000],
            asks in any::<bool>(),
        ) {
            let mut origins = vec![origin(Priority::Normal, "a"), origin(Priority::Normal, "b")];
            origins.extend([Priority::Urgent, Priority::Normal, Priority::Normal, Priority::Background]
                .iter().zip(["c", "d", "e", "c"]).map(|(&priority, tenant)| origin(priority, tenant)));
            let purpose = |who: usize| if asks && who.is_multiple_of(2) { Purpose::Decision } else { Purpose::Rollout };
            let mut queue = FairQueue::default();
            for (who, origin) in origins.iter().enumerate().take(2) {
                queue.wait(origin, purpose(who), who as Ticket, 100_000);
            }
            let (mut got, mut since) = ([0_i64; 6], None);
            for (index, step) in moves.into_iter().enumerate() {
                if index == skip {
                    since = Some(got);
                }
                match step {
                    Move::Wait(who, count) => queue.wait(&origins[who], purpose(who), who as Ticket, count),
                    Move::Withdraw(who) => { queue.withdraw(&origins[who], purpose(who), who as Ticket); }
                    Move::Begin(tokens, _) => {
                        let next = queue.next(Open::ALL, lead).expect("work is never left while some waits");
                        let who = usize::try_from(next.ticket).unwrap();
                        prop_assert_eq!(next.purpose, purpose(who));
                        prop_assert!(queue.waiting(&origins[who], next.purpose, next.ticket) > 0);
                        queue.begin(&origins[who], next.purpose, next.ticket, tokens);
                        queue.end(&origins[who], 1, tokens, tokens);
                        got[who] += i64::try_from(tokens).unwrap();
                    }
                }
                let since = since.unwrap_or_default();
                let difference = (got[0] - since[0]) - (got[1] - since[1]);
                prop_assert!(difference.unsigned_abs() <= lead + 200, "{difference} with a lead of {lead}");
            }
        }

        /// Estimates are corrected when work ends, up to twelve moves later; then the error of what runs comes on top.
        #[test]
        fn late_corrections_even_out(moves in moves()) {
            const EXPECTED: u64 = 50;
            let origins = [origin(Priority::Normal, "a"), origin(Priority::Normal, "b")];
            let mut queue = queue(&origins, 100_000);
            let (mut used, mut running) = ([0_i64; 2], Vec::new());
            for (index, step) in moves.into_iter().enumerate() {
                let Move::Begin(tokens, moves) = step else { continue };
                let ticket = next(&queue).expect("work is never left while some waits");
                let who = usize::try_from(ticket).unwrap();
                queue.begin(&origins[who], KIND, ticket, EXPECTED);
                running.push((index + moves, who, tokens));
                used[who] += i64::try_from(tokens).unwrap();
                running.retain(|&(end, who, tokens)| {
                    if end <= index {
                        queue.end(&origins[who], 1, EXPECTED, tokens);
                    }
                    end > index
                });
                // At most a dozen pieces run, each wrong by 50 tokens at most, and as many were begun before they ended.
                let bound = 2 * 100 + 2 * 12 * 50;
                prop_assert!((used[0] - used[1]).abs() <= bound, "{used:?}");
            }
        }

        #[test]
        fn everything_that_waits_has_its_turn(counts in proptest::collection::vec((0_usize..3, 0_usize..3, 1_u32..5), 1..20)) {
            let classes = [Priority::Urgent, Priority::Normal, Priority::Background];
            let origins: Vec<_> = counts.iter().map(|c| origin(classes[c.0], ["a", "b", "c"][c.1])).collect();
            let mut queue = FairQueue::default();
            for (ticket, (origin, count)) in (0..).zip(origins.iter().zip(&counts)) {
                queue.wait(origin, KIND, ticket, count.2);
            }
            let total: u32 = counts.iter().map(|count| count.2).sum();
            let got = serve(&mut queue, &origins, total as usize, |_| 1);
            prop_assert!(queue.is_empty());
            prop_assert!(got.iter().zip(&counts).all(|(&got, count)| got == u64::from(count.2)));
        }
    }
}
