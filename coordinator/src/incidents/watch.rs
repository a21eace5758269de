//! Following an incident: what lies behind, then what comes, to the last event.
//!
//! The log's end is only a signal that there is more to read; events themselves always come from the store, so a slow
//! reader costs no memory and misses nothing. Signs of life are the latest only, at most five a second. An incident that
//! another coordinator plans is followed by looking into the store again and again, without signs of life.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{Incident, IncidentEvent, PlanningStage, Progress};
use countermove_proto::{Error, IncidentId, Outage};
use futures::Stream;
use futures::stream;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::Stop;
use super::store::{self, EventLog};

/// Events read at a time.
pub(super) const PART: usize = 256;

/// Least time between two signs of life.
const PROGRESS: Duration = Duration::from_millis(200);

/// Time between two looks for events of another coordinator.
const LOOK: Duration = Duration::from_millis(250);

/// Streams that read the store at the same time.
pub(super) const READING: usize = 4;

/// Turns of the streams at the store. They wait for each other, so that calls find it free however many streams there are. Clones are the
/// same.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(READING)))
    }

    /// Waits for a turn; it ends when what is given is dropped.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.0.acquire().await.ok()
    }
}

/// The updates of an incident after some event.
pub(crate) struct Updates {
    store: Arc<dyn EventLog>,
    turns: Turns,
    id: IncidentId,
    after: u64,
    ready: VecDeque<IncidentEvent>,
    /// The ends to follow; absent for an incident that nobody plans here.
    live: Option<(watch::Receiver<Arc<Incident>>, watch::Receiver<Progress>)>,
    next_progress: Instant,
    stop: watch::Receiver<Stop>,
    over: bool,
}

impl Updates {
    pub(super) fn new(
        store: Arc<dyn EventLog>,
        turns: Turns,
        id: IncidentId,
        after: u64,
        live: Option<(watch::Receiver<Arc<Incident>>, watch::Receiver<Progress>)>,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        let next_progress = Instant::now();
        Self { store, turns, id, after, ready: VecDeque::new(), live, next_progress, stop, over: false }
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
            if let Some((now, _)) = &mut self.live {
                now.borrow_and_update();
            }
            let read = {
                let _turn = self.turns.take().await;
                store::events(&*self.store, self.id, self.after, PART).await
            };
            match read {
                Ok(events) if !events.is_empty() => self.ready = events.into(),
                Ok(_) if self.live.is_some() => {
                    if let Some(progress) = self.wait().await {
                        return Some(Ok(Update::Progress(progress)));
                    }
                }
                Ok(_) => match self.look_later().await {
                    Ok(()) => {}
                    Err(error) => {
                        self.over = true;
                        return Some(Err(error));
                    }
                },
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
        let (now, progress) = self.live.as_mut()?;
        let due = self.next_progress;
        tokio::select! {
            biased;
            changed = now.changed() => {
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

    /// Waits a while for somebody else's events; the end of an incident that has ended.
    async fn look_later(&mut self) -> Result<(), Error> {
        let head = {
            let _turn = self.turns.take().await;
            self.store.head(self.id).await?
        };
        if head.ended {
            // What was written between the two looks is still read.
            self.over = head.sequence <= self.after;
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => Ok(()),
            _ = self.stop.wait_for(|stop| *stop >= Stop::HandOver) => Err(Error::Unavailable {
                cause: Outage::Draining,
                message: "this coordinator is about to stop; go on at another one".to_owned(),
                retry_after: Duration::from_secs(1),
            }),
        }
    }
}
