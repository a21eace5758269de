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
use countermove_proto::v1::{Priority, QueuedWork};
use countermove_proto::{IncidentId, Tenant};

use super::Payer;

#[cfg(test)]
mod tests;

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
        self.each_level(origin, |account| account.withdraw(purpose, count));
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
        self.each_level(origin, |account| account.begin(purpose, tokens));
    }

    /// Ends pieces of work that were charged with `charged` tokens and took `used`.
    pub(crate) fn end(&mut self, origin: &Origin, count: u32, charged: u64, used: u64) {
        self.each_level(origin, |account| account.end(count, charged, used));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits and runs, the most urgent first and then by tenant.
    pub(crate) fn flows(&self) -> Vec<QueuedWork> {
        let of_class = |(priority, level): (&Priority, &Level<Tenant>)| {
            let priority = i32::from(*priority);
            let busy =
                level.flows.iter().filter(|(_, flow)| flow.decisions + flow.rollouts + flow.running > 0);
            let queued = busy.map(|(tenant, flow)| QueuedWork {
                tenant: tenant.to_string(),
                priority,
                waiting_questions: flow.decisions,
                waiting_rollouts: flow.rollouts,
                running: flow.running,
            });
            queued.collect::<Vec<_>>()
        };
        self.tenants.iter().flat_map(of_class).collect()
    }

    /// Pieces of work that wait under a ticket.
    pub(crate) fn waiting(&self, origin: &Origin, purpose: Purpose, ticket: Ticket) -> u32 {
        self.waiting.get(&(origin.incident, purpose, ticket)).copied().unwrap_or(0)
    }

    fn each_level(&mut self, Origin { payer, incident }: &Origin, change: impl Fn(&mut Account<'_>)) {
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
struct Account<'a> {
    now: &'a mut u64,
    /// The lowest tag of those that wait.
    lowest: u64,
    pace: u64,
    flow: &'a mut Flow,
}

impl<K: Ord + Clone> Level<K> {
    fn wait(&mut self, key: &K, purpose: Purpose, count: u32) {
        self.flows.entry(key.clone()).or_default();
        self.change(key, 1, |account| account.wait(purpose, count));
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

    fn change(&mut self, key: &K, pace: u64, change: impl Fn(&mut Account<'_>)) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let before = *flow;
        let tags = [&self.decisions, &self.rollouts].into_iter().filter_map(|flows| flows.first());
        let lowest = tags.map(|&(tag, _)| tag).min().unwrap_or(self.now);
        change(&mut Account { now: &mut self.now, lowest, pace, flow });
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

impl Account<'_> {
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
