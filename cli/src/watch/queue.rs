//! The queue: what waits for whom, in which order.

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use countermove_proto::system_time;
use countermove_proto::v1::watch_incidents_response::Update;
use countermove_proto::v1::{Incident, IncidentStatus};

use super::rights::{Caller, Deed};
use crate::render::tenant;

/// Parts of the queue, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Decision,
    Outcome,
    Planning,
    Ended,
}

impl Group {
    /// The part that an incident stands in.
    pub(super) fn of(incident: &Incident) -> Self {
        match incident.status() {
            IncidentStatus::AwaitingApproval => Self::Decision,
            IncidentStatus::AwaitingOutcome => Self::Outcome,
            IncidentStatus::Ended => Self::Ended,
            IncidentStatus::Planning | IncidentStatus::Unspecified => Self::Planning,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Decision => "Waits for a decision",
            Self::Outcome => "Waits for an outcome",
            Self::Planning => "Being planned",
            Self::Ended => "Ended",
        }
    }
}

/// Since when it waits: for a decision since the step was decided, else since its last event.
pub(super) fn since(incident: &Incident) -> SystemTime {
    let decided = incident.pending.as_ref().filter(|_| Group::of(incident) == Group::Decision);
    let decided = decided.and_then(|pending| pending.decide_time);
    let time = decided.or(incident.update_time).or(incident.create_time);
    time.and_then(system_time).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Whether somebody who may do so has to do something.
pub(super) fn waits_for(caller: Option<&Caller>, incident: &Incident) -> bool {
    let deed = match Group::of(incident) {
        Group::Decision => Deed::Approve,
        Group::Outcome => Deed::Act,
        Group::Planning | Group::Ended => return false,
    };
    caller.is_some_and(|caller| caller.may(deed, tenant(incident)))
}

/// The incidents that the caller may see and that fit the filter.
#[derive(Debug, Default)]
pub(super) struct Queue {
    all: BTreeMap<String, Incident>,
    /// Those that were told of since the stream was opened.
    told: HashSet<String>,
    /// Whether all that is there was told once.
    pub(super) is_present: bool,
    selected: Option<String>,
}

impl Queue {
    /// What is there, in order: what waits oldest first, what has ended newest first.
    pub(super) fn ordered(&self) -> Vec<&Incident> {
        let mut all: Vec<&Incident> = self.all.values().collect();
        all.sort_by(|a, b| {
            let age = || match Group::of(a) {
                Group::Ended => since(b).cmp(&since(a)),
                _ => since(a).cmp(&since(b)),
            };
            Group::of(a).cmp(&Group::of(b)).then_with(age).then_with(|| a.name.cmp(&b.name))
        });
        all
    }

    /// How many wait for the caller.
    pub(super) fn waiting(&self, caller: Option<&Caller>) -> usize {
        self.all.values().filter(|incident| waits_for(caller, incident)).count()
    }

    /// The name of the selected one; the first if none was selected, or that one is gone.
    pub(super) fn selected(&self) -> Option<&str> {
        match &self.selected {
            Some(name) if self.all.contains_key(name) => Some(name),
            _ => self.ordered().first().map(|incident| incident.name.as_str()),
        }
    }

    /// Selects the one that stands so many rows further on.
    pub(super) fn step(&mut self, rows: isize) {
        let order = self.ordered();
        let at = self.selected().and_then(|name| order.iter().position(|incident| incident.name == name));
        let to = at.unwrap_or_default().saturating_add_signed(rows).min(order.len().saturating_sub(1));
        self.selected = order.get(to).map(|incident| incident.name.clone());
    }

    /// Selects one by its name.
    pub(super) fn select(&mut self, name: &str) {
        self.selected = Some(name.to_owned());
    }

    /// The one that waits for the caller after (or before) this one, around the end.
    pub(super) fn neighbour(&self, caller: Option<&Caller>, of: &str, is_next: bool) -> Option<String> {
        let mut order = self.ordered();
        order.retain(|incident| incident.name == of || waits_for(caller, incident));
        let at = order.iter().position(|incident| incident.name == of);
        let to = match (at, is_next) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % order.len(),
            (Some(at), false) => (at + order.len() - 1) % order.len(),
        };
        order.get(to).map(|incident| incident.name.clone()).filter(|name| name != of)
    }

    /// Takes what the stream tells.
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Incident(incident) => {
                self.told.insert(incident.name.clone());
                self.put(incident);
            }
            // What fits the filter no more is gone, but for what has ended: that is listed.
            Update::Left(incident) if incident.status() == IncidentStatus::Ended => self.put(incident),
            Update::Left(incident) => {
                self.all.remove(&incident.name);
            }
            Update::Present(_) => {
                // What was not told again after a break is gone.
                let told = std::mem::take(&mut self.told);
                if !self.is_present {
                    self.all.retain(|name, incident| {
                        incident.status() == IncidentStatus::Ended || told.contains(name)
                    });
                }
                self.is_present = true;
            }
        }
    }

    /// The stream begins anew: what is there is told again.
    pub(super) fn begin_anew(&mut self) {
        self.told.clear();
        self.is_present = false;
    }

    /// Takes an incident as it is, unless a later state of it is known.
    pub(super) fn put(&mut self, incident: Incident) {
        let known = self.all.get(&incident.name).map_or(0, |known| known.last_sequence);
        if known <= incident.last_sequence {
            self.all.insert(incident.name.clone(), incident);
        }
    }

    /// Forgets all, since the filter changed.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.begin_anew();
    }
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{PendingAction, Present};
    use prost_types::Timestamp;

    use super::*;

    fn incident(name: &str, status: IncidentStatus, seconds: i64) -> Incident {
        let time = Some(Timestamp { seconds, nanos: 0 });
        let mut incident = Incident { name: name.into(), update_time: time, ..Incident::default() };
        incident.set_status(status);
        incident
    }

    fn anybody() -> Option<Caller> {
        Some(Caller { name: String::new(), grants: Vec::new() })
    }

    fn queue() -> Queue {
        use IncidentStatus::{AwaitingApproval, AwaitingOutcome, Ended, Planning};
        let mut queue = Queue::default();
        let mut late = incident("late", AwaitingApproval, 5);
        // Its last event is younger than what it waits with.
        late.pending = Some(PendingAction {
            decide_time: Some(Timestamp { seconds: 2, nanos: 0 }),
            ..PendingAction::default()
        });
        for one in [
            incident("old end", Ended, 1),
            incident("new end", Ended, 9),
            incident("plan", Planning, 1),
            incident("outcome", AwaitingOutcome, 1),
            incident("early", AwaitingApproval, 3),
            late,
        ] {
            queue.put(one);
        }
        queue
    }

    fn names(queue: &Queue) -> Vec<&str> {
        queue.ordered().iter().map(|incident| incident.name.as_str()).collect()
    }

    #[test]
    fn what_waits_stands_oldest_first_and_what_has_ended_newest_first() {
        let mut queue = queue();
        assert_eq!(names(&queue), ["late", "early", "outcome", "plan", "new end", "old end"]);
        assert_eq!(queue.waiting(anybody().as_ref()), 3);
        assert_eq!(queue.waiting(None), 0, "nobody knows yet who sits here");
        assert_eq!(queue.selected(), Some("late"));
        queue.step(2);
        assert_eq!(queue.selected(), Some("outcome"));
        queue.step(-9);
        assert_eq!(queue.selected(), Some("late"));
        queue.step(99);
        assert_eq!(queue.selected(), Some("old end"));
    }

    #[test]
    fn a_selection_stays_on_its_incident() {
        let mut queue = queue();
        queue.select("early");
        queue.put(incident("earlier", IncidentStatus::AwaitingApproval, 0));
        assert_eq!(queue.selected(), Some("early"));
        queue.take(Update::Left(incident("early", IncidentStatus::Planning, 9)));
        assert_eq!(queue.selected(), Some("earlier"), "where it is gone, the first is selected");
    }

    #[test]
    fn what_was_not_told_again_after_a_break_is_gone_unless_it_has_ended() {
        let mut queue = queue();
        queue.begin_anew();
        queue.take(Update::Incident(incident("plan", IncidentStatus::AwaitingApproval, 9)));
        assert_eq!(queue.ordered().len(), 6);
        queue.take(Update::Present(Present { incidents: 1 }));
        assert_eq!(names(&queue), ["plan", "new end", "old end"]);
        // A sign of life later on takes nothing away.
        queue.take(Update::Present(Present { incidents: 1 }));
        assert_eq!(queue.ordered().len(), 3);
    }

    #[test]
    fn an_older_state_does_not_take_the_place_of_a_later_one() {
        let mut queue = Queue::default();
        let later = Incident { last_sequence: 9, ..incident("x", IncidentStatus::Ended, 1) };
        queue.put(later);
        queue.put(Incident { last_sequence: 8, ..incident("x", IncidentStatus::Planning, 1) });
        assert_eq!(Group::of(queue.ordered()[0]), Group::Ended);
    }

    #[test]
    fn the_next_that_waits_is_found_from_any_incident() {
        let (queue, caller) = (queue(), anybody());
        let next = |of: &str, is_next| queue.neighbour(caller.as_ref(), of, is_next);
        assert_eq!(next("late", true).as_deref(), Some("early"));
        assert_eq!(next("late", false).as_deref(), Some("outcome"));
        assert_eq!(next("plan", true).as_deref(), Some("late"));
        assert_eq!(next("not known", true).as_deref(), Some("late"));
        assert_eq!(Queue::default().neighbour(None, "x", true), None);
    }
}
