//! What one piece of work tells, on its way to the log.
//!
//! Rollouts end one by one and faster than a store takes writes, so they go to the log in lots: the first of a lot waits for no more than
//! [`LOT`], and for no more than [`MOST`] others. While the store is slow lots are larger, so that an incident writes for a small part of
//! the time. Whatever else is told goes at once, with what came before it. A sign of life is shown at once and never kept.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countermove_planner::{PlanEvent, PlanSink};
use countermove_proto::v1::Progress;
use countermove_wire::IntoMessage;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// How long a rollout waits for others before it is written.
const LOT: Duration = Duration::from_millis(100);
/// How long it does at most while the store is slow.
const LONGEST: Duration = Duration::from_secs(2);
/// The part of its time, one in so many, for which an incident writes lots at most, as long as none waits for longer than that.
const PART: u32 = 10;
/// Rollouts with which a lot is full.
const MOST: usize = 64;

/// What the planner told and nobody has written yet.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Waiting {
    events: Vec<PlanEvent>,
    /// When those that can be told before the work is done are to be written, if there are any.
    due: Option<Instant>,
    /// How long a rollout waits for others now.
    patience: Duration,
}

impl Outbox {
    /// One that shows signs of life there.
    pub(super) fn new(progress: watch::Sender<Progress>) -> Self {
        let waiting = Waiting { events: Vec::new(), due: None, patience: LOT };
        Self { waiting: Mutex::new(waiting), filled: Notify::new(), progress }
    }

    /// Ends when something has to be written. Dropping it loses nothing.
    pub(super) async fn due(&self) {
        loop {
            let due = self.lock().due;
            match due {
                None => self.filled.notified().await,
                Some(due) if due <= Instant::now() => return,
                Some(due) => {
                    tokio::select! {
                        () = sleep_until(due) => {}
                        () = self.filled.notified() => {}
                    }
                }
            }
        }
    }

    /// Notes how long the store took for what was taken last.
    pub(super) fn wrote(&self, took: Duration) {
        self.lock().patience = took.saturating_mul(PART).clamp(LOT, LONGEST);
    }

    pub(super) fn take(&self) -> Vec<PlanEvent> {
        std::mem::take(&mut self.lock().events)
    }

    /// What can be told before the work is done. What it comes to is told and saved in one, when it is.
    pub(super) fn take_told(&self) -> Vec<PlanEvent> {
        let mut waiting = self.lock();
        waiting.due = None;
        let told = waiting.events.iter().position(concludes).unwrap_or(waiting.events.len());
        waiting.events.drain(..told).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlanSink for Outbox {
    fn emit(&self, event: PlanEvent) {
        if let PlanEvent::Progress(progress) = event {
            self.progress.send_replace(progress.into_message());
            return;
        }
        let mut waiting = self.lock();
        let now = Instant::now();
        let is_full = waiting.events.len() + 1 >= MOST;
        if matches!(event, PlanEvent::Rollout(_)) && !is_full {
            let due = now + waiting.patience;
            waiting.due.get_or_insert(due);
        } else if !concludes(&event) {
            waiting.due = Some(now);
        }
        waiting.events.push(event);
        drop(waiting);
        self.filled.notify_one();
    }
}

/// Whether an event says what the work came to.
fn concludes(event: &PlanEvent) -> bool {
    !matches!(event, PlanEvent::Proposed { .. } | PlanEvent::Rollout(_) | PlanEvent::Notice(_))
}

#[cfg(test)]
mod tests {
    use countermove_planner::{
        PlanningStage, Progress as Sign, RolloutEnd, RolloutKey, RolloutReport, RolloutResult, Usage,
    };
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    fn rollout(number: u32) -> PlanEvent {
        let result = RolloutResult {
            key: RolloutKey { step: 1, candidate: 0, rollout: number },
            end: RolloutEnd::Terminal,
            steps: Vec::new(),
            cost: 1.0,
            fault: String::new(),
            usage: Usage::default(),
        };
        PlanEvent::Rollout(RolloutReport { result, worker: String::new() })
    }

    fn outbox() -> Outbox {
        Outbox::new(watch::Sender::new(Progress::default()))
    }

    fn is_due(outbox: &Outbox) -> bool {
        outbox.due().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn rollouts_are_written_in_lots_by_time_and_by_number() {
        let outbox = outbox();
        outbox.emit(rollout(0));
        advance(LOT / 2).await;
        outbox.emit(rollout(1));
        assert!(!is_due(&outbox));
        advance(LOT / 2).await;
        assert!(is_due(&outbox), "the first one has waited");
        assert_eq!(outbox.take_told(), [rollout(0), rollout(1)]);
        assert!(!is_due(&outbox));
        let begun = Instant::now();
        outbox.emit(rollout(2));
        outbox.due().await;
        assert!(begun.elapsed() >= LOT && begun.elapsed() < 2 * LOT, "{:?}", begun.elapsed());
        outbox.take_told();
        (1..MOST as u32).for_each(|number| outbox.emit(rollout(number)));
        assert!(!is_due(&outbox));
        outbox.emit(rollout(0));
        assert!(is_due(&outbox), "it is full");
        assert_eq!(outbox.take_told().len(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn lots_grow_while_the_store_is_slow_and_shrink_again() {
        let outbox = outbox();
        for (took, waits) in [(50, 500), (60_000, 2000), (1, 100)] {
            outbox.wrote(Duration::from_millis(took));
            outbox.emit(rollout(0));
            advance(Duration::from_millis(waits - 1)).await;
            assert!(!is_due(&outbox));
            advance(Duration::from_millis(1)).await;
            assert!(is_due(&outbox));
            outbox.take_told();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_else_is_told_goes_at_once_in_order_and_what_the_work_came_to_waits_for_its_end() {
        let outbox = outbox();
        outbox.emit(rollout(0));
        let notice = PlanEvent::Notice("a worker was lost".to_owned());
        outbox.emit(notice.clone());
        assert!(is_due(&outbox));
        assert_eq!(outbox.take_told(), [rollout(0), notice]);
        let approved = PlanEvent::Approved { step: 1, plan_hash: String::new() };
        outbox.emit(approved.clone());
        assert!(!is_due(&outbox) && outbox.take_told().is_empty());
        assert_eq!(outbox.take(), [approved]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_is_shown_at_once_and_never_written() {
        let outbox = outbox();
        let sign = Sign {
            stage: PlanningStage::Rollouts,
            step: 2,
            rollouts_finished: 7,
            rollouts_total: 9,
            tokens: 1,
        };
        outbox.emit(PlanEvent::Progress(sign));
        assert_eq!(outbox.progress.borrow().rollouts_finished, 7);
        assert!(!is_due(&outbox) && outbox.take().is_empty());
    }
}
