//! A batch of rollouts over all workers.
//!
//! Each worker gets a share in one call, neighbours in the batch together, since rollouts of one candidate share the
//! most. No worker holds more than one batch of the run's rollouts at a time; it gets more when half of them are done,
//! so that a fast worker runs more than a slow one. What a broken call leaves behind goes back to the queue with the
//! attempt counted, and to whoever has room.
//!
//! Invariant: every rollout is in exactly one place: waiting, in one call, or reported.

use std::collections::HashMap;

use countermove_planner::{
    ModelError, RolloutBatch, RolloutKey, RolloutReport, RolloutResult, RolloutRunner, RolloutSpec,
    TokenCounter,
};
use countermove_proto::{Error, WorkerId, run_rollouts_request};
use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use tokio::sync::watch;
use tokio::time::Instant;

use super::placement::spread;
use super::{IncidentWorkers, Patience, call};
use crate::workers::{Lease, Outlook};

impl RolloutRunner for IncidentWorkers {
    fn run(
        &self,
        batch: RolloutBatch,
        tokens: &TokenCounter,
    ) -> BoxStream<'static, Result<RolloutReport, ModelError>> {
        let run = Run::new(self.clone(), batch, tokens.clone());
        stream::unfold(run, |mut run| async move { run.next().await.map(|item| (item, run)) }).boxed()
    }
}

/// A rollout that waits, or that a call runs.
#[derive(Clone, Debug)]
struct Task {
    spec: RolloutSpec,
    attempt: u32,
    patience: Patience,
}

/// What a call is about.
#[derive(Debug)]
struct Share {
    worker: WorkerId,
    tasks: HashMap<RolloutKey, Task>,
}

/// Something that a call brought. The lease comes back with its end.
#[derive(Debug)]
enum News {
    Result(RolloutResult),
    /// `None`: the worker ended it as it should.
    Ended(Option<Error>, Lease),
}

type CallId = u64;

struct Run {
    workers: IncidentWorkers,
    /// What all rollouts share; its own list of rollouts is empty.
    batch: RolloutBatch,
    tokens: TokenCounter,
    waiting: Vec<Task>,
    shares: HashMap<CallId, Share>,
    calls: SelectAll<BoxStream<'static, (CallId, News)>>,
    next_call: CallId,
    alone: Option<Instant>,
    ended: bool,
}

impl Run {
    fn new(workers: IncidentWorkers, mut batch: RolloutBatch, tokens: TokenCounter) -> Self {
        let waiting = std::mem::take(&mut batch.rollouts)
            .into_iter()
            .map(|spec| Task { spec, attempt: 0, patience: Patience::default() })
            .collect();
        Self {
            workers,
            batch,
            tokens,
            waiting,
            shares: HashMap::new(),
            calls: SelectAll::new(),
            next_call: 0,
            alone: None,
            ended: false,
        }
    }

    /// The next result; `None` after the last, or after an error.
    async fn next(&mut self) -> Option<Result<RolloutReport, ModelError>> {
        while !self.ended {
            let mut changes = self.workers.0.fleet.changes();
            changes.borrow_and_update();
            self.place();
            if self.waiting.is_empty() && self.shares.is_empty() {
                return None;
            }
            match self.step(&mut changes).await {
                Ok(Some(report)) => return Some(Ok(report)),
                Ok(None) => {}
                Err(error) => {
                    // What still runs is of no use to anybody.
                    self.ended = true;
                    self.calls.clear();
                    self.shares.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Waits for one thing to happen.
    async fn step(
        &mut self,
        changes: &mut watch::Receiver<u64>,
    ) -> Result<Option<RolloutReport>, ModelError> {
        if let Some(deadline) = self.workers.0.deadline.filter(|&deadline| deadline <= Instant::now()) {
            let late = Instant::now().saturating_duration_since(deadline);
            tracing::debug!(incident = %self.workers.0.incident, ?late, "deadline passed during rollouts");
            return Err(ModelError::Unavailable("the deadline passed before all rollouts ended".to_owned()));
        }
        if self.shares.is_empty() {
            let deadline = self.workers.0.deadline;
            let (workers, alone) = (&self.workers, &mut self.alone);
            tokio::select! {
                waited = workers.wait_for_change(changes, alone) => waited?,
                () = passed(deadline) => {}
            }
            return Ok(None);
        }
        self.alone = None;
        let (some_wait, rested) = (!self.waiting.is_empty(), self.rested());
        let deadline = self.workers.0.deadline;
        tokio::select! {
            news = self.calls.next() => match news {
                Some((call, news)) => self.take(call, news),
                // Every share has a call that says when it ends.
                None => Err(ModelError::Failed("a call ended without a word".to_owned())),
            },
            _ = changes.changed(), if some_wait => Ok(None),
            () = passed(rested), if some_wait && rested.is_some() => Ok(None),
            () = passed(deadline) => Ok(None),
        }
    }

    /// When a full worker may be asked again.
    fn rested(&self) -> Option<Instant> {
        match self.workers.0.fleet.outlook() {
            Outlook::At(until) => Some(until),
            Outlook::Now | Outlook::Nobody => None,
        }
    }

    /// Hands what waits to the workers that have room.
    fn place(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut held: HashMap<WorkerId, u32> = HashMap::new();
        for share in self.shares.values() {
            *held.entry(share.worker.clone()).or_default() +=
                u32::try_from(share.tasks.len()).unwrap_or(u32::MAX);
        }
        let count = self.waiting.len();
        let leases = self.workers.0.fleet.lease(
            |worker| self.workers.is_warm(worker),
            |workers| {
                let room: Vec<_> = workers
                    .iter()
                    .map(|(worker, load)| room(load.capacity, held.get(worker).copied().unwrap_or(0), count))
                    .collect();
                let loads: Vec<_> = workers.iter().map(|(_, load)| *load).collect();
                spread(&loads, &room, count)
            },
        );
        for lease in leases {
            let share = usize::try_from(lease.held()).unwrap_or(usize::MAX).min(self.waiting.len());
            let tasks = self.waiting.drain(..share).collect();
            self.start(lease, tasks);
        }
    }

    fn start(&mut self, lease: Lease, tasks: Vec<Task>) {
        let call = self.next_call;
        self.next_call += 1;
        self.workers.warmed(lease.worker());
        let specs: Vec<_> = tasks.iter().map(|task| task.spec.clone()).collect();
        let tasks: HashMap<_, _> = tasks.into_iter().map(|task| (task.spec.key, task)).collect();
        let request =
            run_rollouts_request(&self.batch, &specs, |key| tasks.get(key).map_or(0, |task| task.attempt));
        let time = self.workers.call_time();
        let silence = self.workers.0.options.silence;
        self.shares.insert(call, Share { worker: lease.worker().clone(), tasks });
        let tokens = self.tokens.clone();
        let opening = async move {
            match call::Rollouts::open(&lease, request, time, silence, tokens).await {
                Ok(rollouts) => Progress::Open(lease, rollouts),
                Err(error) => Progress::Broken(lease, error),
            }
        };
        let news = stream::once(opening).flat_map(|begun| stream::unfold(begun, Progress::step));
        self.calls.push(news.map(move |news| (call, news)).boxed());
    }

    /// Takes in what a call brought.
    fn take(&mut self, call: CallId, news: News) -> Result<Option<RolloutReport>, ModelError> {
        match news {
            News::Result(result) => {
                let Some(share) = self.shares.get_mut(&call) else { return Ok(None) };
                // A result that nobody asked this call for, or that came already.
                let Some(_) = share.tasks.remove(&result.key) else { return Ok(None) };
                Ok(Some(RolloutReport { result, worker: share.worker.name() }))
            }
            News::Ended(error, lease) => {
                let Some(share) = self.shares.remove(&call) else { return Ok(None) };
                if share.tasks.is_empty() {
                    return Ok(None);
                }
                let error = error.unwrap_or_else(|| {
                    Error::Internal(format!(
                        "the worker ended the call with {} rollouts missing",
                        share.tasks.len()
                    ))
                });
                self.put_back(share.tasks.into_values().collect(), &lease, error)?;
                Ok(None)
            }
        }
    }

    fn put_back(&mut self, mut tasks: Vec<Task>, lease: &Lease, error: Error) -> Result<(), ModelError> {
        tracing::info!(
            incident = %self.workers.0.incident,
            worker = %lease.worker(),
            rollouts = tasks.len(),
            %error,
            "rollouts go back to the queue"
        );
        let mut patience =
            tasks.iter().map(|task| task.patience.clone()).max_by_key(|p| p.failures).unwrap_or_default();
        let before = patience.failures;
        self.workers.settle(lease, error, &mut patience)?;
        let failed = patience.failures - before;
        for task in &mut tasks {
            task.attempt += 1;
            task.patience.failures += failed;
        }
        self.waiting.append(&mut tasks);
        // What belongs together stays together.
        self.waiting.sort_unstable_by_key(|task| task.spec.key);
        Ok(())
    }
}

/// A call under way.
enum Progress {
    Open(Lease, call::Rollouts),
    Broken(Lease, Error),
    Over,
}

impl Progress {
    async fn step(self) -> Option<(News, Self)> {
        match self {
            Self::Open(mut lease, mut rollouts) => Some(match rollouts.next(&lease).await {
                Ok(Some(result)) => {
                    lease.rollout_finished();
                    (News::Result(result), Self::Open(lease, rollouts))
                }
                Ok(None) => (News::Ended(None, lease), Self::Over),
                Err(error) => (News::Ended(Some(error), lease), Self::Over),
            }),
            Self::Broken(lease, error) => Some((News::Ended(Some(error), lease), Self::Over)),
            Self::Over => None,
        }
    }
}

/// How many more rollouts of one run a worker may get: up to one batch, and none while more than half of a batch is
/// there, so that calls stay few.
fn room(capacity: u32, held: u32, waiting: usize) -> u32 {
    let room = capacity.saturating_sub(held);
    let all_fit = usize::try_from(room).unwrap_or(usize::MAX) >= waiting;
    if held == 0 || all_fit || held <= capacity / 2 { room } else { 0 }
}

async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_gets_a_batch_and_then_more_when_half_is_done() {
        assert_eq!(room(8, 0, 100), 8);
        assert_eq!(room(8, 8, 100), 0);
        assert_eq!(room(8, 5, 100), 0);
        assert_eq!(room(8, 4, 100), 4);
        assert_eq!(room(8, 7, 1), 1, "the last ones go at once");
        assert_eq!(room(1, 0, 3), 1);
    }
}
