//! Model work on workers: the planner's [`LanguageModel`] and [`RolloutRunner`](countermove_planner::RolloutRunner),
//! answered by a fleet.
//!
//! Contract: a question or a rollout is answered once, whatever happens to workers meanwhile; what it is answered with
//! does not depend on where it ran or when. A broken worker's work goes to the others. When nobody takes work for
//! [`DispatchOptions::worker_wait`], the work fails with a sentence that names every worker and what is wrong with it.
//! Dropping a future or a stream cancels its calls, and the workers stop decoding.
//!
//! The work of all incidents goes through one queue ([`queue`]), which shares the workers between tenants by tokens
//! ([`fair`]) and sends each piece where it is done soonest ([`placement`]). What is slow may be started twice
//! ([`hedging`]), and a few rollouts are, so that workers that lie are found out ([`checking`]).

mod call;
mod checking;
mod estimate;
mod fair;
mod hedging;
mod notices;
mod payer;
mod placement;
mod queue;
mod rollouts;
#[cfg(feature = "simulation")]
mod uncalled;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use countermove_planner::{Answer, LanguageModel, ModelError, Purpose, Question, TokenCounter};
use countermove_proto::worker::v1::GenerateRequest;
use countermove_proto::{Error, IncidentId, WorkerId};
use countermove_telemetry::TRACE;
use countermove_wire::{FromDomain, model_error};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, info_span};

pub use hedging::Hedging;
pub use notices::{NoticeInbox, Notices, notices};
pub use payer::Payer;
pub use queue::Dispatcher;
#[cfg(feature = "simulation")]
pub use uncalled::{Asker, Place, RolloutTurn};

use crate::workers::{Fleet, Lease, Outlook};
use fair::Origin;
use placement::{Verdict, judge};
use queue::{Grant, Warm};

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
    /// When a rollout or a question is started a second time; absent: never.
    pub hedging: Option<Hedging>,
    /// Share of the rollouts that run on two workers and have to agree, from 0 to 1.
    pub checked: f64,
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
            hedging: Some(Hedging::default()),
            checked: 0.0,
        }
    }
}

/// The fleet as one incident sees it: its work, its deadline, and the workers that hold its prefix already.
/// Clones are the same.
#[derive(Clone, Debug)]
pub struct IncidentWorkers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dispatcher: Dispatcher,
    origin: Origin,
    deadline: Option<Instant>,
    notices: Option<Notices>,
    warm: Warm,
}

/// Counts the failures of one piece of work and says when to stop.
#[derive(Clone, Copy, Debug, Default)]
struct Patience {
    /// How often it lost its worker.
    losses: u32,
    /// How often it failed on a worker that was not lost.
    failures: u32,
}

impl Patience {
    /// In parts: a lost worker counts one, any other failure [`LOSSES`].
    fn spent(self) -> u32 {
        self.failures.saturating_mul(LOSSES).saturating_add(self.losses)
    }
}

impl IncidentWorkers {
    /// The fleet for one incident. Sentences for the incident's readers go to `notices`.
    pub fn new(
        dispatcher: Dispatcher,
        incident: IncidentId,
        payer: Payer,
        deadline: Option<Instant>,
        notices: Option<Notices>,
    ) -> Self {
        let origin = Origin { payer, incident };
        Self(Arc::new(Shared { dispatcher, origin, deadline, notices, warm: Warm::default() }))
    }

    /// On whose account it works.
    fn tenant(&self) -> String {
        self.0.origin.payer.tenant().to_string()
    }

    fn fleet(&self) -> &Fleet {
        self.0.dispatcher.fleet()
    }

    fn options(&self) -> &DispatchOptions {
        self.0.dispatcher.options()
    }

    fn turn(&self, purpose: Purpose) -> queue::Turn {
        self.0.dispatcher.turn(purpose, self.0.origin.clone(), self.0.warm.clone())
    }

    fn warmed(&self, worker: &WorkerId) {
        self.0.warm.warmed(worker);
    }

    /// A place for one question, as soon as it is its turn.
    async fn wait_for_place(&self) -> Result<Grant, ModelError> {
        let turn = self.turn(Purpose::Decision);
        turn.want(1);
        tokio::select! {
            biased;
            grants = turn.granted() => {
                // One was asked for, so there is no second one to lose.
                grants.into_iter().next().ok_or_else(|| ModelError::Failed("a place was lost".to_owned()))
            }
            error = self.nobody(Purpose::Decision) => Err(error),
            () = passed(self.0.deadline) => {
                Err(ModelError::Unavailable("the deadline passed before a worker had room".to_owned()))
            }
        }
    }

    /// Ends when nobody has taken work of this kind for [`DispatchOptions::worker_wait`], with who there is and why not.
    async fn nobody(&self, purpose: Purpose) -> ModelError {
        let mut outlooks = self.fleet().outlooks();
        let mut alone: Option<Instant> = None;
        loop {
            let outlook = outlooks.borrow_and_update().of(purpose);
            let until = match outlook {
                Outlook::Someone => {
                    alone = None;
                    None
                }
                Outlook::Nobody => {
                    let until = *alone.get_or_insert_with(Instant::now) + self.options().worker_wait;
                    if until <= Instant::now() {
                        return ModelError::Unavailable(self.fleet().why_nobody());
                    }
                    Some(until)
                }
            };
            tokio::select! {
                // The fleet is there as long as this is.
                _ = outlooks.changed() => {}
                () = passed(until) => {}
            }
        }
    }

    /// Acts on a failed call. An error ends the work.
    fn settle(&self, lease: &Lease, error: Error, patience: &mut Patience) -> Result<(), ModelError> {
        let verdict = judge(&error);
        tracing::debug!(incident = %self.0.origin.incident, worker = %lease.worker(), %error, ?verdict, "call failed");
        match verdict {
            Verdict::Rest(time) => {
                lease.rest(time);
                return Ok(());
            }
            Verdict::GiveUp => return Err(model_error(error)),
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
        match verdict {
            Verdict::Eject => patience.losses += 1,
            _ => patience.failures += 1,
        }
        if patience.spent() >= self.options().attempts.saturating_mul(LOSSES) {
            return Err(match verdict {
                Verdict::Eject => ModelError::Unavailable(format!(
                    "the same work lost its worker {} times and failed {} times; the last time: {error}",
                    patience.losses, patience.failures
                )),
                _ => model_error(error),
            });
        }
        Ok(())
    }

    fn notice(&self, sentence: String) {
        if let Some(notices) = &self.0.notices {
            notices.tell(sentence);
        }
    }

    /// Time that a call may take.
    fn call_time(&self) -> Duration {
        let left = self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A timeout of nothing would be a malformed header.
        left.map_or(self.options().call_timeout, |left| left.max(Duration::from_millis(1)))
    }
}

impl IncidentWorkers {
    /// Asks a question once, in a place that was granted for it.
    async fn attempt(
        &self,
        mut grant: Grant,
        request: GenerateRequest,
        tokens: &TokenCounter,
    ) -> (Grant, Result<Answer, Error>) {
        let time = self.call_time();
        let span = info_span!(target: TRACE, "question", worker = %grant.lease().worker());
        let call = call::generate(&mut grant, request, time, self.options().silence, tokens);
        let outcome = timeout(time, call.instrument(span)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Error::DeadlineExceeded("the deadline passed before the model answered".to_owned()))
        });
        (grant, outcome)
    }

    /// A place for a second copy of a question that was begun at `begun` on `first`, once it is slow and a worker would be idle
    /// otherwise.
    async fn second_place(&self, begun: Instant, first: &WorkerId) -> Grant {
        let Some(Hedging { least, .. }) = self.options().hedging else { return std::future::pending().await };
        let Shared { dispatcher, origin, warm, .. } = &*self.0;
        loop {
            let slow = dispatcher.question_patience().and_then(|patience| begun.checked_add(patience));
            if slow.is_some_and(|slow| slow <= Instant::now())
                && let Some(grant) = dispatcher.spare(Purpose::Decision, origin, warm, first)
            {
                return grant;
            }
            // What is usual changes, and so does who has room.
            let again = Instant::now() + least;
            tokio::time::sleep_until(slow.map_or(again, |slow| slow.max(again))).await;
        }
    }
}

impl LanguageModel for IncidentWorkers {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        let tenant = self.tenant();
        let request = GenerateRequest::from_domain(&Question { tenant, ..question });
        let mut patience = Patience::default();
        loop {
            let grant = self.wait_for_place().await?;
            let (first, begun) = (grant.lease().worker().clone(), Instant::now());
            let mut tries = FuturesUnordered::from_iter([self.attempt(grant, request.clone(), tokens)]);
            let mut hedge = pin!(self.second_place(begun, &first).fuse());
            while !tries.is_empty() {
                let (mut grant, outcome) = tokio::select! {
                    Some(ended) = tries.next() => ended,
                    grant = &mut hedge => {
                        let (incident, second) = (self.0.origin.incident, grant.lease().worker());
                        tracing::info!(%incident, worker = %first, hedge = %second, "a slow question is asked once more");
                        tries.push(self.attempt(grant, request.clone(), tokens));
                        continue;
                    }
                };
                match outcome {
                    Ok(answer) => {
                        self.0.dispatcher.answered(begun.elapsed());
                        self.warmed(grant.lease().worker());
                        tokens.add(grant.finished(&answer.usage));
                        return Ok(answer);
                    }
                    Err(error) => self.settle(grant.lease(), error, &mut patience)?,
                }
            }
        }
    }
}

async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
