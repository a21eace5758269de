//! Notifications on their way to their receivers.
//!
//! Contract: each waits in the store from the write on that it tells of, until a receiver took it or it was tried often enough; whoever
//! is alive delivers it, those of coordinators that are gone included. So a receiver gets each at least once, under one id. A receiver
//! that hangs holds up nothing but what is its own.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::store::Waiting;
use super::{Incidents, Stop};
use crate::notify::Notify;
use crate::webhook::Undelivered;

/// Notifications that are under way to one receiver at most.
const AT_ONCE: usize = 16;
/// Time between two looks for those that others left behind; those of this coordinator are seen at once.
const LOOK: Duration = Duration::from_secs(5);

impl Incidents {
    /// Begins to deliver, until the process stops, if anybody is told of anything.
    pub(super) fn start_posting(&self) {
        let Some(notify) = &self.0.options.notify else { return };
        for receiver in notify.receivers() {
            let (this, notify, receiver) = (self.clone(), notify.clone(), receiver.to_owned());
            self.0.tasks.spawn(async move { this.keep_posting(notify, receiver).await });
        }
    }

    async fn keep_posting(&self, notify: Notify, receiver: String) {
        let (mut written, mut stop) = (self.0.written.subscribe(), self.0.stop.subscribe());
        let (mut under_way, mut ids) = (JoinSet::new(), HashSet::new());
        loop {
            written.mark_unchanged();
            for waiting in self.waiting(&receiver).await {
                // One that is under way is in the store still.
                if under_way.len() < AT_ONCE && ids.insert(waiting.id.clone()) {
                    let notify = notify.clone();
                    under_way.spawn(async move { (notify.deliver(&waiting).await, waiting) });
                }
            }
            let done = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                Some(done) = under_way.join_next() => done,
                _ = written.changed() => continue,
                () = tokio::time::sleep(LOOK) => continue,
            };
            match done {
                Ok((delivered, waiting)) => {
                    self.settle(&waiting, delivered).await;
                    ids.remove(&waiting.id);
                }
                Err(error) => {
                    tracing::error!(%error, receiver, "the delivery of a notification broke off");
                    // Which one it was nobody can say; all are tried again, and receivers tell repetitions.
                    under_way = JoinSet::new();
                    ids.clear();
                }
            }
        }
    }

    async fn waiting(&self, receiver: &str) -> Vec<Waiting> {
        let Some(notifications) = self.0.log.notifications() else { return Vec::new() };
        // Those under way come first, being the oldest.
        let waiting = notifications.waiting(self.0.me, receiver.to_owned(), 2 * AT_ONCE).await;
        waiting.unwrap_or_else(|error| {
            tracing::warn!(%error, "notifications could not be looked for");
            Vec::new()
        })
    }

    /// Notes what became of one.
    async fn settle(&self, waiting: &Waiting, delivered: Result<u32, Undelivered>) {
        let Waiting { receiver, id, .. } = waiting;
        if let Some(notifications) = self.0.log.notifications()
            && let Err(error) = notifications.settle(receiver.clone(), id.clone()).await
        {
            tracing::warn!(%error, "a notification that was delivered is kept and may be sent again");
        }
        self.metrics().notified(delivered.is_ok());
        match delivered {
            Ok(attempts) => tracing::info!(receiver, id, attempts, "a notification was taken"),
            Err(Undelivered { attempts, problem }) => {
                tracing::warn!(receiver, id, attempts, problem, "a notification was given up");
            }
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<Stop>) {
    // A sender that is gone means the same as a signal.
    let _ = stop.wait_for(|stop| *stop >= Stop::HandOverNow).await;
}
