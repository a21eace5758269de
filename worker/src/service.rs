//! The gRPC service: checks requests, finds room for them and starts their work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use countermove_model::EngineStats;
use countermove_planner::{Answers, LanguageModel, Question, RolloutBatch, Templates};
use countermove_proto::v1::ModelIdentity;
use countermove_proto::worker::v1 as wire;
use countermove_proto::{Error, Outage, PROTOCOL_VERSION, WorkerId};
use countermove_telemetry::{TRACE, continued};
use countermove_wire::{FromMessage, cancelled_rollouts};
use futures::FutureExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span};

use crate::admission::{Admission, Overloaded};
use crate::call::{self, Call, Slot};
use crate::cancelling::Cancelling;
use crate::deadline;

/// Most prompt text in one call, in bytes. Far more than any context holds, far less than memory.
const MAX_TEXT_BYTES: usize = 4 << 20;

/// A model as a worker serves it: in batches.
pub trait ServedModel: LanguageModel {
    /// What it is doing and has done.
    fn stats(&self) -> EngineStats;

    /// Waits until it can answer nothing any more, which is never while all is well.
    fn ended(&self) -> impl Future<Output = ()> + Send;
}

/// What a worker holds: the model and what identifies it.
#[derive(Debug)]
pub struct Replica<M> {
    /// The model.
    pub model: M,
    /// Templates that rollouts are prompted with.
    pub templates: Templates,
    /// Digests of both.
    pub identity: ModelIdentity,
    /// Longest sequence, prompt and answer together, in tokens.
    pub context_length: usize,
    /// What it has answered to the questions of rollouts.
    pub answers: Answers,
}

impl<M> Replica<M> {
    /// The same with another model in its place.
    pub fn with_model<N>(self, place: impl FnOnce(M) -> N) -> Replica<N> {
        let Self { model, templates, identity, context_length, answers } = self;
        Replica { model: place(model), templates, identity, context_length, answers }
    }
}

/// How much a worker takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequences decoded in one batch.
    pub batch: usize,
    /// Rollouts taken on in all, decoding and waiting together.
    pub places: usize,
}

/// The service behind `countermove.worker.v1.WorkerService`. Clones are the same worker.
#[derive(Debug)]
pub struct Worker<M>(Arc<Inner<M>>);

#[derive(Debug)]
struct Inner<M> {
    id: WorkerId,
    replica: Arc<Replica<M>>,
    limits: Limits,
    admission: Admission,
    cancelling: Cancelling,
    running: TaskTracker,
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl<M> Clone for Worker<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: ServedModel> Worker<M> {
    /// A worker that takes calls as soon as it is served.
    pub fn new(id: WorkerId, replica: Replica<M>, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            id,
            replica: Arc::new(replica),
            limits,
            admission: Admission::new(limits.batch, limits.places),
            cancelling: Cancelling::default(),
            running: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
        }))
    }

    /// What the model is doing and has done.
    pub(crate) fn stats(&self) -> EngineStats {
        self.0.replica.model.stats()
    }

    /// What it holds.
    pub(crate) fn identity(&self) -> &ModelIdentity {
        &self.0.replica.identity
    }

    /// Sequences that are decoded in one batch at most.
    pub(crate) fn batch(&self) -> usize {
        self.0.limits.batch
    }

    /// Whether it takes work.
    pub(crate) fn accepts(&self) -> bool {
        !self.0.draining.is_cancelled()
    }

    /// Calls that run now.
    pub fn running(&self) -> usize {
        self.0.running.len()
    }

    /// Waits until the model can answer nothing any more.
    pub(crate) async fn model_ended(&self) {
        self.0.replica.model.ended().await;
    }

    /// Refuses new work from now on.
    pub(crate) fn start_drain(&self) {
        self.0.draining.cancel();
        self.0.running.close();
    }

    /// Waits until all work has ended; what still runs after `timeout` is stopped. Gives whether nothing had to be.
    pub(crate) async fn finish(&self, timeout: Duration) -> bool {
        let finished = tokio::time::timeout(timeout, self.0.running.wait()).await.is_ok();
        if !finished {
            self.0.stopping.cancel();
            self.0.running.wait().await;
        }
        finished
    }

    fn accept(&self) -> Result<(), Error> {
        if self.0.draining.is_cancelled() {
            return Err(draining());
        }
        Ok(())
    }

    /// Runs a call as a task of its own, so that it can be waited for when the worker drains. It ends early when the
    /// client is gone, the deadline has passed or the worker stops.
    fn start<T, F>(&self, call: Call<T>, work: F) -> Response<ReceiverStream<Result<T, Status>>>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let Call { sender, receiver, last, deadline } = call;
        let stopping = self.0.stopping.clone();
        self.0.running.spawn(async move {
            // A stream that ends without its answer would be taken for one: who panics has failed.
            let work = AssertUnwindSafe(work).catch_unwind();
            let end = tokio::select! {
                end = work => end.unwrap_or_else(|_| Err(Error::Internal("the work panicked".to_owned()))),
                () = sender.closed() => return,
                () = deadline::passed(deadline) => {
                    Err(Error::DeadlineExceeded("the deadline passed before the work was done".to_owned()))
                }
                () = stopping.cancelled() => Err(draining()),
            };
            if let Err(error) = end {
                tracing::debug!(%error, "call ended with an error");
                last.send(Err(error.into()));
            }
        });
        Response::new(ReceiverStream::new(receiver))
    }
}

#[tonic::async_trait]
impl<M: ServedModel> wire::worker_service_server::WorkerService for Worker<M> {
    async fn get_model(
        &self,
        _request: Request<wire::GetModelRequest>,
    ) -> Result<Response<wire::GetModelResponse>, Status> {
        let inner = &self.0;
        Ok(Response::new(wire::GetModelResponse {
            worker_id: inner.id.as_str().to_owned(),
            protocol_version: PROTOCOL_VERSION,
            model: Some(inner.replica.identity.clone()),
            capacity: saturate(inner.limits.batch),
            context_length: saturate(inner.replica.context_length),
            rollout_places: saturate(inner.admission.rollout_places()),
            decision_places: saturate(inner.admission.decision_places()),
            efficient_sequences: saturate(inner.replica.model.stats().efficient_sequences),
            load: Some(inner.admission.load()),
        }))
    }

    type GenerateStream = ReceiverStream<Result<wire::GenerateResponse, Status>>;

    async fn generate(
        &self,
        request: Request<wire::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        self.accept()?;
        let deadline = deadline::of_request(request.metadata());
        let span = continued(request.metadata(), || info_span!(target: TRACE, "generate"));
        let question = Question::from_message(request.into_inner())?;
        check_text("segments", question.prompt.segments.iter().chain([&question.prompt.system]))?;
        let place = self.0.admission.decision().map_err(|full| exhausted("decisions", full))?;
        let (call, mut rooms) = Call::new(1, deadline)?;
        let room =
            rooms.pop().ok_or_else(|| Error::Internal("the call has no room for its answer".to_owned()))?;
        let (replica, admission) = (Arc::clone(&self.0.replica), self.0.admission.clone());
        let work = call::generate(replica, question, call.sender.clone(), room, admission);
        let work = async move {
            let _place = place;
            work.await
        };
        Ok(self.start(call, work.instrument(span)))
    }

    type RunRolloutsStream = ReceiverStream<Result<wire::RunRolloutsResponse, Status>>;

    async fn run_rollouts(
        &self,
        request: Request<wire::RunRolloutsRequest>,
    ) -> Result<Response<Self::RunRolloutsStream>, Status> {
        self.accept()?;
        let deadline = deadline::of_request(request.metadata());
        let span = continued(request.metadata(), || info_span!(target: TRACE, "run_rollouts"));
        let mut request = request.into_inner();
        let name = std::mem::take(&mut request.call);
        let batch = RolloutBatch::from_message(request)?;
        self.check_batch(&batch)?;
        let count = batch.rollouts.len();
        let places = self.0.admission.rollouts(count).map_err(|full| exhausted("rollouts", full))?;
        let (registered, tokens) =
            self.0.cancelling.register(&name, batch.rollouts.iter().map(|spec| spec.key))?;
        tracing::debug!(incident = batch.incident, rollouts = count, "rollouts taken on");
        let (call, rooms) = Call::new(count, deadline)?;
        let slot = |((place, room), cancelled)| Slot { place, room, cancelled };
        let slots = places.into_iter().zip(rooms).zip(tokens).map(slot).collect();
        let (replica, admission) = (Arc::clone(&self.0.replica), self.0.admission.clone());
        let work = call::run_rollouts(replica, batch, slots, call.sender.clone(), admission);
        let work = async move {
            let _registered = registered;
            work.await
        };
        Ok(self.start(call, work.instrument(span)))
    }

    async fn cancel_rollouts(
        &self,
        request: Request<wire::CancelRolloutsRequest>,
    ) -> Result<Response<wire::CancelRolloutsResponse>, Status> {
        let request = request.into_inner();
        self.0.cancelling.cancel(&request.call, cancelled_rollouts(&request));
        Ok(Response::new(wire::CancelRolloutsResponse {}))
    }
}

impl<M: ServedModel> Worker<M> {
    fn check_batch(&self, batch: &RolloutBatch) -> Result<(), Error> {
        let most = self.0.admission.rollout_places();
        if batch.rollouts.is_empty() || batch.rollouts.len() > most {
            return Err(Error::invalid(
                "rollouts",
                format!("there are {}, and this worker takes 1 to {most} in one call", batch.rollouts.len()),
            ));
        }
        let parts = batch.rollouts.iter().flat_map(|spec| spec.history.iter().chain([&spec.action]));
        check_text("rollouts", batch.context.iter().chain([&batch.system]).chain(parts))
    }
}

fn check_text<'a>(field: &str, parts: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let bytes: usize = parts.map(String::len).sum();
    if bytes > MAX_TEXT_BYTES {
        return Err(Error::invalid(
            field,
            format!("the text has {bytes} bytes, at most {MAX_TEXT_BYTES} are taken"),
        ));
    }
    Ok(())
}

fn exhausted(what: &str, full: Overloaded) -> Error {
    Error::Exhausted {
        message: format!("this worker holds {} {what} already and has no room for this call", full.taken),
        retry_after: full.retry_after,
    }
}

fn draining() -> Error {
    Error::Unavailable {
        cause: Outage::Draining,
        message: "this worker is about to stop and takes no new work".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}

pub(crate) fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
