//! Whose turn it is: start-time fair queueing by tokens. Pure: no clock, no I/O.
//!
//! Work is shared on three levels: between priority classes by weight, between the tenants of a class alike, and between
//! the incidents of a tenant alike; one incident's work goes in order of arrival. On each level a flow has a tag, the
//! virtual time at which its next piece of work begins. The lowest tag goes first; a piece of work pushes its flow's tag
//! on by its tokens, and a flow that comes back begins where the work that was begun last began (Goyal, Vin and Cheng,
//! "Start-time fair queuing", 1996).
//!
//! - Over any time in which two tenants of a class have work waiting, what they were given differs by no more than their
//!   two largest pieces of work. A tenant that floods takes no more than its share; one that was idle has saved up none.
//! - Every flow's turn comes, since the tags of the others only grow: a class of a low weight gets little and never
//!   nothing.
//! - While anything waits it is somebody's turn.
//! - Work is charged by what it is expected to take, and corrected by what it took.

use std::collections::BTreeMap;

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

/// What waits, and who had how much.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    classes: Level<Priority>,
    tenants: BTreeMap<Priority, Level<Tenant>>,
    incidents: BTreeMap<Payer, Level<IncidentId>>,
    /// Pieces of work that wait, by where they stand.
    waiting: BTreeMap<(IncidentId, Ticket), u32>,
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
    /// Adds pieces of work to those that wait under a ticket.
    pub(crate) fn wait(&mut self, origin: &Origin, ticket: Ticket, count: u32) {
        if count == 0 {
            return;
        }
        *self.waiting.entry((origin.incident, ticket)).or_default() += count;
        let Origin { payer, incident } = origin;
        self.classes.wait(&payer.priority(), count);
        self.tenants.entry(payer.priority()).or_default().wait(payer.tenant(), count);
        self.incidents.entry(payer.clone()).or_default().wait(incident, count);
    }

    /// Takes away all that waits under a ticket, and says how much that was.
    pub(crate) fn withdraw(&mut self, origin: &Origin, ticket: Ticket) -> u32 {
        let count = self.waiting.remove(&(origin.incident, ticket)).unwrap_or(0);
        self.each_level(origin, |level| level.withdraw(count));
        self.forget_idle(&origin.payer);
        count
    }

    /// The ticket whose turn it is; `None` if nothing waits.
    pub(crate) fn next(&self) -> Option<Ticket> {
        let priority = self.classes.first()?;
        let tenant = self.tenants.get(priority)?.first()?;
        let incident = self.incidents.get(&Payer::new(*priority, tenant.clone()))?.first()?;
        let (&(_, ticket), _) =
            self.waiting.range((*incident, Ticket::MIN)..=(*incident, Ticket::MAX)).next()?;
        Some(ticket)
    }

    /// Begins a piece of work that waits under a ticket, and charges what it is expected to take, in tokens.
    pub(crate) fn begin(&mut self, origin: &Origin, ticket: Ticket, tokens: u64) {
        let key = (origin.incident, ticket);
        let Some(count) = self.waiting.get_mut(&key) else { return };
        *count -= 1;
        if *count == 0 {
            self.waiting.remove(&key);
        }
        self.each_level(origin, |level| level.begin(tokens));
    }

    /// Ends pieces of work that were charged with `charged` tokens and took `used`.
    pub(crate) fn end(&mut self, origin: &Origin, count: u32, charged: u64, used: u64) {
        self.each_level(origin, |level| level.end(count, charged, used));
        self.forget_idle(&origin.payer);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Pieces of work that wait under a ticket.
    pub(crate) fn waiting(&self, origin: &Origin, ticket: Ticket) -> u32 {
        self.waiting.get(&(origin.incident, ticket)).copied().unwrap_or(0)
    }

    /// A level on which nothing waits and nothing runs has nothing to remember.
    fn forget_idle(&mut self, payer: &Payer) {
        if self.incidents.get(payer).is_some_and(Level::is_idle) {
            self.incidents.remove(payer);
        }
    }

    fn each_level(&mut self, Origin { payer, incident }: &Origin, change: impl Fn(&mut Share<'_>)) {
        let priority = payer.priority();
        self.classes.change(&priority, pace(priority), &change);
        if let Some(tenants) = self.tenants.get_mut(&priority) {
            tenants.change(payer.tenant(), 1, &change);
        }
        if let Some(incidents) = self.incidents.get_mut(payer) {
            incidents.change(incident, 1, &change);
        }
    }
}

/// Flows beside each other.
#[derive(Debug)]
struct Level<K> {
    /// Virtual time: the tag with which the last piece of work began.
    now: u64,
    flows: BTreeMap<K, Flow>,
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        Self { now: 0, flows: BTreeMap::new() }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// Virtual time at which its next piece of work begins.
    tag: u64,
    waiting: u32,
    running: u32,
}

/// One flow of a level, as it is changed.
struct Share<'a> {
    now: &'a mut u64,
    pace: u64,
    flow: &'a mut Flow,
}

impl<K: Ord + Clone> Level<K> {
    fn wait(&mut self, key: &K, count: u32) {
        // Whoever has nothing here and is not ahead would come back as somebody new does.
        let now = self.now;
        let idle = self.is_idle();
        self.flows.retain(|_, flow| flow.waiting > 0 || flow.running > 0 || (flow.tag > now && !idle));
        let flow = self.flows.entry(key.clone()).or_default();
        if flow.waiting == 0 {
            flow.tag = flow.tag.max(now);
        }
        flow.waiting += count;
    }

    /// The flow whose turn it is. Of equal ones the first in order: the more urgent class, the older incident.
    fn first(&self) -> Option<&K> {
        let waiting = self.flows.iter().filter(|(_, flow)| flow.waiting > 0);
        waiting.min_by_key(|(_, flow)| flow.tag).map(|(key, _)| key)
    }

    fn change(&mut self, key: &K, pace: u64, change: impl Fn(&mut Share<'_>)) {
        if let Some(flow) = self.flows.get_mut(key) {
            change(&mut Share { now: &mut self.now, pace, flow });
        }
    }
}

impl<K> Level<K> {
    fn is_idle(&self) -> bool {
        self.flows.values().all(|flow| flow.waiting == 0 && flow.running == 0)
    }
}

impl Share<'_> {
    fn withdraw(&mut self, count: u32) {
        self.flow.waiting = self.flow.waiting.saturating_sub(count);
    }

    fn begin(&mut self, tokens: u64) {
        *self.now = self.flow.tag.max(*self.now);
        self.flow.tag = self.flow.tag.saturating_add(tokens.saturating_mul(self.pace));
        self.flow.waiting = self.flow.waiting.saturating_sub(1);
        self.flow.running += 1;
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
            let ticket = queue.next().expect("something waits");
            let place = usize::try_from(ticket).unwrap();
            queue.begin(&origins[place], ticket, tokens(place));
            queue.end(&origins[place], 1, tokens(place), tokens(place));
            got[place] += tokens(place);
        }
        got
    }

    fn queue(origins: &[Origin], count: u32) -> FairQueue {
        let mut queue = FairQueue::default();
        for (ticket, origin) in (0..).zip(origins) {
            queue.wait(origin, ticket, count);
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
        queue.wait(&origins[1], 1, 5);
        assert_eq!(serve(&mut queue, &origins, 5, |_| 10), [0, 50]);
    }

    #[test]
    fn who_was_idle_has_saved_nothing_up() {
        let origins = [origin(Priority::Normal, "busy"), origin(Priority::Normal, "late")];
        let mut queue = queue(&origins[..1], 1000);
        serve(&mut queue, &origins, 500, |_| 10);
        queue.wait(&origins[1], 1, 1000);
        assert_eq!(serve(&mut queue, &origins, 100, |_| 10), [500, 500]);
    }

    #[test]
    fn what_was_used_corrects_what_was_expected() {
        let origins = [origin(Priority::Normal, "modest"), origin(Priority::Normal, "greedy")];
        let mut queue = queue(&origins, 1000);
        let mut used = [0_u64; 2];
        for _ in 0..220 {
            let ticket = queue.next().unwrap();
            let place = usize::try_from(ticket).unwrap();
            // Both are expected to take the same; one takes ten times as much.
            queue.begin(&origins[place], ticket, 50);
            queue.end(&origins[place], 1, 50, [10, 100][place]);
            used[place] += [10, 100][place];
        }
        assert_eq!(used, [2000, 2000]);
    }

    #[test]
    fn an_incidents_own_work_goes_in_order_and_can_be_withdrawn() {
        let one = origin(Priority::Normal, "one");
        let mut queue = FairQueue::default();
        queue.wait(&one, 7, 2);
        queue.wait(&one, 8, 1);
        assert_eq!((queue.next(), queue.waiting(&one, 7)), (Some(7), 2));
        assert_eq!(queue.withdraw(&one, 7), 2);
        assert_eq!(queue.next(), Some(8));
        queue.begin(&one, 8, 5);
        assert!(queue.is_empty() && queue.next().is_none());
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let mut queue = FairQueue::default();
        for ticket in 0..100 {
            let one = origin(Priority::Normal, &format!("tenant-{ticket}"));
            queue.wait(&one, ticket, 1);
            queue.begin(&one, ticket, 10);
            queue.end(&one, 1, 10, 10);
            let another = origin(Priority::Urgent, &format!("tenant-{ticket}"));
            queue.wait(&another, ticket, 3);
            queue.withdraw(&another, ticket);
        }
        assert!(queue.incidents.is_empty() && queue.waiting.is_empty());
        assert!(queue.tenants.values().all(|level| level.flows.len() <= 1));
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
        fn backlogged_tenants_of_a_class_differ_by_two_pieces_of_work_at_most(moves in moves(), skip in 0_usize..200) {
            let mut origins = vec![origin(Priority::Normal, "a"), origin(Priority::Normal, "b")];
            origins.extend([Priority::Urgent, Priority::Normal, Priority::Normal, Priority::Background]
                .iter().zip(["c", "d", "e", "c"]).map(|(&priority, tenant)| origin(priority, tenant)));
            let mut queue = queue(&origins[..2], 100_000);
            let (mut got, mut since) = ([0_i64; 6], None);
            for (index, step) in moves.into_iter().enumerate() {
                if index == skip {
                    since = Some(got);
                }
                match step {
                    Move::Wait(who, count) => queue.wait(&origins[who], who as Ticket, count),
                    Move::Withdraw(who) => { queue.withdraw(&origins[who], who as Ticket); }
                    Move::Begin(tokens, _) => {
                        let ticket = queue.next().expect("work is never left while some waits");
                        let who = usize::try_from(ticket).unwrap();
                        queue.begin(&origins[who], ticket, tokens);
                        queue.end(&origins[who], 1, tokens, tokens);
                        got[who] += i64::try_from(tokens).unwrap();
                    }
                }
                let since = since.unwrap_or_default();
                let difference = (got[0] - since[0]) - (got[1] - since[1]);
                prop_assert!(difference.abs() <= 200, "{difference}");
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
                let ticket = queue.next().expect("work is never left while some waits");
                let who = usize::try_from(ticket).unwrap();
                queue.begin(&origins[who], ticket, EXPECTED);
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
                queue.wait(origin, ticket, count.2);
            }
            let total: u32 = counts.iter().map(|count| count.2).sum();
            let got = serve(&mut queue, &origins, total as usize, |_| 1);
            prop_assert!(queue.is_empty());
            prop_assert!(got.iter().zip(&counts).all(|(&got, count)| got == u64::from(count.2)));
        }
    }
}
