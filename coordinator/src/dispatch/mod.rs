//! Model work on workers: the planner's [`LanguageModel`] and [`RolloutRunner`](countermove_planner::RolloutRunner),
//! answered by a fleet.
//!
//! Contract: a question or a rollout is answered once, whatever happens to workers meanwhile; what it is answered with
//! does not depend on where it ran. A broken worker's work goes to the others. When nobody takes work for
//! [`DispatchOptions::worker_wait`], the work fails with a sentence that names every worker and what is wrong with it.
//! Dropping a future or a stream cancels its calls, and the workers stop decoding.

mod call;
pub(crate) mod placement;
mod rollouts;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countermove_planner::{Answer, LanguageModel, ModelError, Question, TokenCounter};
use countermove_proto::worker::v1::GenerateRequest;
use countermove_proto::{Error, IncidentId, WorkerId};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::workers::{Fleet, Lease, Outlook};
use placement::{Verdict, judge, pick};

/// How work is sent.
#[derive(Clone, Copy, Debug)]
pub struct DispatchOptions {
    /// How long work waits for a worker when there is none.
    pub worker_wait: Duration,
    /// Longest silence of a worker within a call. Workers report progress several times a second while they decode,
    /// but say nothing while they read a long prompt or work off what came before.
    pub silence: Duration,
    /// Bound of a call for work that has no deadline of its own.
    pub call_timeout: Duration,
    /// How often work may fail on a worker before it is given up. It may lose its worker [`LOSSES`] times as often.
    pub attempts: u32,
}

/// Lost workers that weigh as much as one failure: that a worker is lost says little about the work that it had, since
/// machines that are restarted or cut off lose it as well. It is bounded because there may be work that kills workers.
pub const LOSSES: u32 = 5;

impl Default for DispatchOptions {
    fn default() -> Self {
        Self {
            worker_wait: Duration::from_secs(10),
            silence: Duration::from_secs(120),
            call_timeout: Duration::from_secs(3600),
            attempts: 5,
        }
    }
}

/// The fleet as one incident sees it: its work, its deadline, and the workers that hold its prefix already.
/// Clones are the same.
#[derive(Clone, Debug)]
pub struct IncidentWorkers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fleet: Fleet,
    options: DispatchOptions,
    incident: IncidentId,
    deadline: Option<Instant>,
    notices: Option<mpsc::Sender<String>>,
    warm: Mutex<HashSet<WorkerId>>,
}

/// Counts the failures of one piece of work and says when to stop.
#[derive(Clone, Debug, Default)]
struct Patience {
    /// In parts: a lost worker counts one, any other failure [`LOSSES`].
    failures: u32,
}

impl IncidentWorkers {
    /// The fleet for one incident. Sentences for the incident's readers go to `notices`; one that does not fit is lost.
    pub fn new(
        fleet: Fleet,
        options: DispatchOptions,
        incident: IncidentId,
        deadline: Option<Instant>,
        notices: Option<mpsc::Sender<String>>,
    ) -> Self {
        Self(Arc::new(Shared { fleet, options, incident, deadline, notices, warm: Mutex::default() }))
    }

    fn lease_one(&self) -> Option<Lease> {
        let leases = self.0.fleet.lease(
            |worker| self.is_warm(worker),
            |loads| {
                let loads: Vec<_> = loads.iter().map(|(_, load)| *load).collect();
                let chosen = pick(&loads);
                (0..loads.len()).map(|index| u32::from(Some(index) == chosen)).collect()
            },
        );
        leases.into_iter().next()
    }

    fn is_warm(&self, worker: &WorkerId) -> bool {
        self.0.warm.lock().unwrap_or_else(PoisonError::into_inner).contains(worker)
    }

    fn warmed(&self, worker: &WorkerId) {
        self.0.warm.lock().unwrap_or_else(PoisonError::into_inner).insert(worker.clone());
    }

    /// A lease on a worker, as soon as one takes work.
    async fn wait_for_lease(&self) -> Result<Lease, ModelError> {
        let mut alone = None;
        loop {
            let mut changes = self.0.fleet.changes();
            changes.borrow_and_update();
            if let Some(lease) = self.lease_one() {
                return Ok(lease);
            }
            self.wait_for_change(&mut changes, &mut alone).await?;
        }
    }

    /// Waits until something may have become better. `alone` remembers since when there has been nobody.
    async fn wait_for_change(
        &self,
        changes: &mut tokio::sync::watch::Receiver<u64>,
        alone: &mut Option<Instant>,
    ) -> Result<(), ModelError> {
        let until = match self.0.fleet.outlook() {
            // It became usable between the caller's look and this one.
            Outlook::Now => return Ok(()),
            Outlook::At(until) => {
                *alone = None;
                until
            }
            Outlook::Nobody => {
                let since = *alone.get_or_insert_with(Instant::now);
                let until = since + self.0.options.worker_wait;
                if until <= Instant::now() {
                    return Err(ModelError::Unavailable(self.0.fleet.why_nobody()));
                }
                until
            }
        };
        let _ = tokio::time::timeout_at(until, changes.changed()).await;
        Ok(())
    }

    /// Acts on a failed call. An error ends the work.
    fn settle(&self, lease: &Lease, error: Error, patience: &mut Patience) -> Result<(), ModelError> {
        let verdict = judge(&error);
        tracing::debug!(incident = %self.0.incident, worker = %lease.worker(), %error, ?verdict, "call failed");
        match verdict {
            Verdict::Rest(time) => {
                lease.rest(time);
                return Ok(());
            }
            Verdict::GiveUp => return Err(error.into()),
            Verdict::Eject => {
                lease.eject(&error.to_string());
                self.notice(format!(
                    "worker {} at {} was lost: {error}",
                    lease.worker().as_str(),
                    lease.url()
                ));
            }
            Verdict::Retry => {}
        }
        patience.failures += if matches!(verdict, Verdict::Eject) { 1 } else { LOSSES };
        if patience.failures >= self.0.options.attempts.saturating_mul(LOSSES) {
            return Err(match verdict {
                Verdict::Eject => ModelError::Unavailable(format!(
                    "too many workers were lost over the same work; the last: {error}"
                )),
                _ => error.into(),
            });
        }
        Ok(())
    }

    fn notice(&self, sentence: String) {
        if let Some(notices) = &self.0.notices {
            let _ = notices.try_send(sentence);
        }
    }

    /// Time that a call may take.
    fn call_time(&self) -> Duration {
        let left = self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A timeout of nothing would be a malformed header.
        left.map_or(self.0.options.call_timeout, |left| left.max(Duration::from_millis(1)))
    }
}

impl LanguageModel for IncidentWorkers {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        let request = GenerateRequest::from(&question);
        let mut patience = Patience::default();
        loop {
            let lease = self.wait_for_lease().await?;
            let time = self.call_time();
            let call = call::generate(&lease, request.clone(), time, self.0.options.silence, tokens);
            let outcome = match timeout(time, call).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    Err(Error::DeadlineExceeded("the deadline passed before the model answered".to_owned()))
                }
            };
            match outcome {
                Ok(answer) => {
                    self.warmed(lease.worker());
                    return Ok(answer);
                }
                Err(error) => self.settle(&lease, error, &mut patience)?,
            }
        }
    }
}
