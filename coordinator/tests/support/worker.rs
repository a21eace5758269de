//! A worker that follows a script instead of a model, over real sockets, on a thread and a runtime of its own, so that
//! it can be killed and frozen like a process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use countermove_coordinator::discovery::WorkerUrl;
use countermove_planner::{
    LanguageModel, Question, RolloutBatch, RolloutEnd, RolloutKey, RolloutResult, TokenCounter, Usage,
};
use countermove_proto::v1::ModelIdentity;
use countermove_proto::worker::v1 as wire;
use countermove_proto::worker::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use countermove_proto::{Error, PROTOCOL_VERSION};
use countermove_wire::{FromDomain, FromMessage, IntoMessage, cancelled_rollouts, rollout_result_message};
use futures::StreamExt;
use futures::stream::{FuturesUnordered, Stream};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::model::ScriptedModel;

/// What a worker says and does. Tests change it while the worker runs.
#[derive(Debug)]
pub struct Script {
    pub id: Mutex<String>,
    pub identity: Mutex<ModelIdentity>,
    pub protocol_version: Mutex<u32>,
    pub capacity: u32,
    /// Time that each rollout takes before it starts.
    pub rollout_delay: Mutex<Duration>,
    /// Time that an answer takes.
    pub answer_delay: Mutex<Duration>,
    /// Errors for the next calls of RunRollouts, first come first.
    pub rollout_errors: Mutex<Vec<Error>>,
    /// Errors for the next calls of Generate.
    pub answer_errors: Mutex<Vec<Error>>,
    /// Ends calls of RunRollouts after this many results, without a word.
    pub results_per_call: Mutex<Option<usize>>,
    /// A rollout that never ends at the worker that gets it first; workers that share this have one such rollout.
    pub stalled: Arc<Mutex<Option<RolloutKey>>>,
    /// Whether it was this worker that got it first.
    pub stalls: AtomicBool,
    /// Takes so much longer for a rollout, wherever it runs.
    pub delayed: Mutex<Option<(RolloutKey, Duration)>>,
    /// Rollouts that it was told to cancel, with the names of their calls.
    pub cancelled: Mutex<Vec<(String, RolloutKey)>>,
    /// Does not know how to cancel one.
    pub is_deaf: AtomicBool,
    /// What is merged into each message of this name that it sends.
    pub garbled: Mutex<Option<(&'static str, Vec<u8>)>>,
    /// Changes each result before it is sent.
    pub forges: Mutex<Option<fn(&mut RolloutResult)>>,
    /// Sends results of rollouts by another policy than it was asked for, each whole in itself.
    pub lies: AtomicBool,
    /// Sends each result twice.
    pub stutters: AtomicBool,
    /// Rollouts that came, in order.
    pub rollouts: Mutex<Vec<RolloutKey>>,
    pub questions: AtomicUsize,
    /// When a question came, by its seed.
    pub arrivals: Mutex<HashMap<u64, Instant>>,
    /// Calls that are open now.
    pub open: Arc<AtomicUsize>,
    pub model: ScriptedModel,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            id: Mutex::new("w-1".to_owned()),
            identity: Mutex::new(identity()),
            protocol_version: Mutex::new(PROTOCOL_VERSION),
            capacity: 8,
            rollout_delay: Mutex::default(),
            answer_delay: Mutex::default(),
            rollout_errors: Mutex::default(),
            answer_errors: Mutex::default(),
            results_per_call: Mutex::default(),
            stalled: Arc::default(),
            stalls: AtomicBool::new(false),
            delayed: Mutex::default(),
            cancelled: Mutex::default(),
            is_deaf: AtomicBool::new(false),
            garbled: Mutex::default(),
            forges: Mutex::default(),
            lies: AtomicBool::new(false),
            stutters: AtomicBool::new(false),
            rollouts: Mutex::default(),
            questions: AtomicUsize::new(0),
            arrivals: Mutex::default(),
            open: Arc::default(),
            model: ScriptedModel,
        }
    }
}

impl Script {
    pub fn named(id: &str) -> Self {
        Self { id: Mutex::new(id.to_owned()), ..Self::default() }
    }

    pub fn with_capacity(id: &str, capacity: u32) -> Self {
        Self { capacity, ..Self::named(id) }
    }

    pub fn slow(id: &str, delay: Duration) -> Self {
        Self { rollout_delay: Mutex::new(delay), ..Self::named(id) }
    }

    /// Waits until this rollout of this call is cancelled.
    async fn is_cancelled(&self, call: &str, key: RolloutKey) {
        let is_it = |cancelled: &(String, RolloutKey)| cancelled.0 == call && cancelled.1 == key;
        while !self.cancelled.lock().unwrap().iter().any(is_it) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn rollouts(&self) -> Vec<RolloutKey> {
        self.rollouts.lock().unwrap().clone()
    }

    /// The message as it is sent: with a number that nobody means, if the test wants that.
    fn sent<M: Message + Default>(&self, name: &str, mut message: M) -> M {
        if let Some((_, bytes)) =
            self.garbled.lock().unwrap().as_ref().filter(|(garbled, _)| *garbled == name)
        {
            message.merge(bytes.as_slice()).expect("it is a field of this message");
        }
        message
    }

    pub fn open_calls(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// The model that workers of a test hold unless they are told otherwise.
pub fn identity() -> ModelIdentity {
    ModelIdentity {
        name: "scripted".to_owned(),
        weights_sha256: "ab".repeat(32),
        adapter_sha256: String::new(),
        tokenizer_sha256: "cd".repeat(32),
        templates_sha256: super::templates().digest(),
        arithmetic: "scripted/1".to_owned(),
    }
}

/// A running worker.
pub struct FakeWorker {
    pub url: WorkerUrl,
    pub script: Arc<Script>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    freeze: blocking::Sender<blocking::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeWorker {
    /// Starts a worker at a free port.
    pub fn start(script: Script) -> Self {
        Self::start_at(script, "127.0.0.1:0".parse().unwrap())
    }

    pub fn start_at(script: Script, address: SocketAddr) -> Self {
        let script = Arc::new(script);
        let listener = std::net::TcpListener::bind(address).expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel();
        let (freeze, frozen) = blocking::channel::<blocking::Receiver<()>>();
        let served = Arc::clone(&script);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.spawn(serve(listener, served));
            runtime.spawn(async move {
                // Blocking here stops everything on this runtime, as SIGSTOP stops a process.
                loop {
                    match frozen.try_recv() {
                        Ok(thaw) => drop(thaw.recv()),
                        Err(blocking::TryRecvError::Disconnected) => return,
                        Err(blocking::TryRecvError::Empty) => {
                            tokio::time::sleep(Duration::from_millis(5)).await
                        }
                    }
                }
            });
            // Dropping the runtime drops its tasks and closes their sockets, as SIGKILL does.
            let _ = runtime.block_on(stopped);
        });
        let url = format!("http://{address}").parse().expect("url");
        Self { url, script, address, stop: Some(stop), freeze, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the worker in the middle of everything.
    pub fn kill(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the worker's thread");
        }
    }

    /// Stops its clock until what is returned is dropped.
    pub fn freeze(&self) -> blocking::Sender<()> {
        let (thaw, thawed) = blocking::channel();
        self.freeze.send(thawed).expect("the worker runs");
        thaw
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(listener: std::net::TcpListener, script: Arc<Script>) {
    let listener = TcpListener::from_std(listener).expect("listener");
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<WorkerServiceServer<Service>>().await;
    tonic::transport::Server::builder()
        .add_service(health_service)
        .add_service(WorkerServiceServer::new(Service(script)))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .expect("serve");
}

struct Service(Arc<Script>);

/// Counts a call as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(script: &Script) -> Self {
        script.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&script.open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Service {
    async fn get_model(
        &self,
        _: Request<wire::GetModelRequest>,
    ) -> Result<Response<wire::GetModelResponse>, Status> {
        let message = wire::GetModelResponse {
            worker_id: self.0.id.lock().unwrap().clone(),
            protocol_version: *self.0.protocol_version.lock().unwrap(),
            model: Some(self.0.identity.lock().unwrap().clone()),
            capacity: self.0.capacity,
            context_length: 4096,
            ..wire::GetModelResponse::default()
        };
        Ok(Response::new(self.0.sent("countermove.worker.v1.GetModelResponse", message)))
    }

    type GenerateStream = Answers<wire::GenerateResponse>;

    async fn generate(
        &self,
        request: Request<wire::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        use wire::generate_response::Event;
        let (script, now) = (Arc::clone(&self.0), Instant::now());
        script.questions.fetch_add(1, Ordering::SeqCst);
        let seed = request.get_ref().sampling.map_or(0, |sampling| sampling.seed);
        script.arrivals.lock().unwrap().insert(seed, now);
        if let Some(error) = next(&script.answer_errors) {
            return Err(error.into());
        }
        let question = Question::from_message(request.into_inner())?;
        let open = Open::new(&script);
        let delay = *script.answer_delay.lock().unwrap();
        Ok(Response::new(Box::pin(async_stream::try_stream! {
            let _open = open;
            yield wire::GenerateResponse { event: Some(Event::Progress(wire::GenerateProgress { tokens: 3 })), load: None };
            tokio::time::sleep(delay).await;
            let answer = script.model.ask(question, &TokenCounter::default()).await.map_err(Error::from_domain)?;
            let answer = wire::GenerateResponse { event: Some(Event::Answer(answer.into_message())), load: None };
            yield script.sent("countermove.worker.v1.GenerateResponse", answer);
        })))
    }

    async fn cancel_rollouts(
        &self,
        request: Request<wire::CancelRolloutsRequest>,
    ) -> Result<Response<wire::CancelRolloutsResponse>, Status> {
        if self.0.is_deaf.load(Ordering::SeqCst) {
            return Err(Status::unimplemented("an earlier release"));
        }
        let request = request.into_inner();
        let keys = cancelled_rollouts(&request).map(|key| (request.call.clone(), key));
        self.0.cancelled.lock().unwrap().extend(keys);
        Ok(Response::new(wire::CancelRolloutsResponse {}))
    }

    type RunRolloutsStream = Answers<wire::RunRolloutsResponse>;

    async fn run_rollouts(
        &self,
        request: Request<wire::RunRolloutsRequest>,
    ) -> Result<Response<Self::RunRolloutsStream>, Status> {
        use wire::run_rollouts_response::Event;
        let script = Arc::clone(&self.0);
        let request = request.into_inner();
        let call = request.call.clone();
        let batch = RolloutBatch::from_message(request)?;
        script.rollouts.lock().unwrap().extend(batch.rollouts.iter().map(|spec| spec.key));
        if let Some(error) = next(&script.rollout_errors) {
            return Err(error.into());
        }
        let open = Open::new(&script);
        let came = |key: &mut RolloutKey| batch.rollouts.iter().any(|spec| spec.key == *key);
        let stalled = script.stalled.lock().unwrap().take_if(came);
        script.stalls.fetch_or(stalled.is_some(), Ordering::SeqCst);
        let (delay, most) = (*script.rollout_delay.lock().unwrap(), *script.results_per_call.lock().unwrap());
        Ok(Response::new(Box::pin(async_stream::try_stream! {
            let _open = open;
            yield wire::RunRolloutsResponse { event: Some(Event::Progress(wire::GenerateProgress { tokens: 5 })), load: None };
            let mut running: FuturesUnordered<_> = batch
                .rollouts
                .iter()
                .enumerate()
                .map(|(position, spec)| {
                    let (script, batch, call) = (&script, &batch, &call);
                    let stalls = stalled == Some(spec.key);
                    let delayed = script.delayed.lock().unwrap().filter(|delayed| delayed.0 == spec.key);
                    async move {
                        // One after the other, so that a worker can be killed between two.
                        tokio::time::sleep(delay * u32::try_from(position + 1).unwrap()).await;
                        if stalls {
                            script.is_cancelled(call, spec.key).await;
                            return (spec, cancelled(spec.key));
                        }
                        tokio::time::sleep(delayed.map(|delayed| delayed.1).unwrap_or_default()).await;
                        let mut asked = batch.clone();
                        if script.lies.load(Ordering::SeqCst) {
                            asked.policy.temperature = 0.0;
                        }
                        let mut result = script.model.roll_out(&asked, spec).await;
                        if let Some(forge) = *script.forges.lock().unwrap() {
                            forge(&mut result);
                        }
                        (spec, result)
                    }
                })
                .collect();
            let mut sent = 0;
            while let Some((spec, result)) = running.next().await {
                if most.is_some_and(|most| sent >= most) {
                    break;
                }
                let result = Some(Event::Result(rollout_result_message(result, spec.seed)));
                let message = wire::RunRolloutsResponse { event: result, load: None };
                let message = script.sent("countermove.worker.v1.RunRolloutsResponse", message);
                for _ in 0..1 + usize::from(script.stutters.load(Ordering::SeqCst)) {
                    yield message.clone();
                }
                sent += 1;
            }
        })))
    }
}

/// Tokens of a rollout up to where it was cancelled.
pub const BROKEN_OFF: u64 = 42;

fn cancelled(key: RolloutKey) -> RolloutResult {
    RolloutResult {
        key,
        end: RolloutEnd::Cancelled,
        steps: Vec::new(),
        cost: 0.0,
        fault: String::new(),
        usage: Usage { sampled_tokens: BROKEN_OFF, rollouts: 1, ..Usage::default() },
    }
}

fn next(errors: &Mutex<Vec<Error>>) -> Option<Error> {
    let mut errors = errors.lock().unwrap();
    if errors.is_empty() { None } else { Some(errors.remove(0)) }
}

/// What a result is for, so that two runs can be compared.
pub fn outcome(result: &countermove_planner::RolloutResult) -> (RolloutKey, RolloutEnd, String) {
    (result.key, result.end, format!("{:?} {}", result.steps, result.cost))
}
