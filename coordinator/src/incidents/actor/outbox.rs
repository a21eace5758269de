//! What one piece of work tells, on its way to the log.

use std::sync::{Mutex, MutexGuard, PoisonError};

use countermove_planner::{PlanEvent, PlanSink};
use tokio::sync::Notify;

/// What the planner told and nobody has written yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: Mutex<Vec<PlanEvent>>,
    filled: Notify,
}

impl Outbox {
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    pub(super) fn take(&self) -> Vec<PlanEvent> {
        std::mem::take(&mut *self.lock())
    }

    /// What can be told before the work is done. What it comes to is told and saved in one, when it is.
    pub(super) fn take_told(&self) -> Vec<PlanEvent> {
        let mut events = self.lock();
        let concludes = |event: &PlanEvent| {
            !matches!(
                event,
                PlanEvent::Proposed { .. }
                    | PlanEvent::Rollout(_)
                    | PlanEvent::Notice(_)
                    | PlanEvent::Progress(_)
            )
        };
        let told = events.iter().position(concludes).unwrap_or(events.len());
        events.drain(..told).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PlanEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlanSink for Outbox {
    fn emit(&self, event: PlanEvent) {
        self.lock().push(event);
        self.filled.notify_one();
    }
}
