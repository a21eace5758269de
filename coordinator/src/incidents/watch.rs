//! Following an incident: what lies behind, then what comes, to the last event.
//!
//! The log's end is only a signal that there is more to read; events themselves always come from the store, so a slow
//! reader costs no memory and misses nothing. Signs of life are the latest only, at most five a second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{IncidentEvent, PlanningStage, Progress};
use countermove_proto::{Error, IncidentId};
use futures::Stream;
use futures::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::store::Store;

/// Events read at a time.
pub(super) const PART: usize = 256;

/// Least time between two signs of life.
const PROGRESS: Duration = Duration::from_millis(200);

/// The updates of an incident after some event.
pub(crate) struct Updates {
    store: Arc<dyn Store>,
    id: IncidentId,
    after: u64,
    ready: VecDeque<IncidentEvent>,
    /// The ends to follow; absent for an incident that nobody plans.
    live: Option<(watch::Receiver<u64>, watch::Receiver<Progress>)>,
    next_progress: Instant,
    over: bool,
}

impl Updates {
    pub(super) fn new(
        store: Arc<dyn Store>,
        id: IncidentId,
        after: u64,
        live: Option<(watch::Receiver<u64>, watch::Receiver<Progress>)>,
    ) -> Self {
        Self { store, id, after, ready: VecDeque::new(), live, next_progress: Instant::now(), over: false }
    }

    /// The updates one by one.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Update, Error>> + Send {
        stream::unfold(
            self,
            |mut updates| async move { updates.next().await.map(|update| (update, updates)) },
        )
    }

    /// The next update; `None` after the last event.
    async fn next(&mut self) -> Option<Result<Update, Error>> {
        while !self.over {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.sequence;
                self.over = matches!(event.kind, Some(Kind::Ended(_)));
                return Some(Ok(Update::Event(event)));
            }
            // What is seen here is older than what is read next, so nothing falls between.
            if let Some((last, _)) = &mut self.live {
                last.borrow_and_update();
            }
            match self.store.events(self.id, self.after, PART).await {
                Ok(events) if !events.is_empty() => self.ready = events.into(),
                Ok(_) => {
                    if let Some(progress) = self.wait().await {
                        return Some(Ok(Update::Progress(progress)));
                    }
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error.into()));
                }
            }
        }
        None
    }

    /// Waits for an event, or for a sign of life to tell.
    async fn wait(&mut self) -> Option<Progress> {
        let Some((last, progress)) = &mut self.live else {
            // Nobody writes any more, and everything was read.
            self.over = true;
            return None;
        };
        let due = self.next_progress;
        tokio::select! {
            biased;
            changed = last.changed() => {
                if changed.is_err() {
                    self.live = None;
                }
                None
            }
            news = async { sleep_until(due).await; progress.changed().await } => {
                if news.is_err() {
                    self.live = None;
                    return None;
                }
                self.next_progress = Instant::now() + PROGRESS;
                let news = *progress.borrow_and_update();
                (news.stage() != PlanningStage::Unspecified).then_some(news)
            }
        }
    }
}
