//! A worker without a model: it says of itself what a test wants it to say, and does no work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countermove_proto::v1::ModelIdentity;
use countermove_proto::worker::v1 as wire;
use countermove_proto::worker::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A model identity that no real model has.
pub fn identity(name: &str) -> ModelIdentity {
    let digest = |seed: char| seed.to_string().repeat(64);
    ModelIdentity {
        name: name.to_owned(),
        weights_sha256: digest('a'),
        adapter_sha256: String::new(),
        tokenizer_sha256: digest('b'),
        templates_sha256: digest('c'),
        arithmetic: "none/1".to_owned(),
    }
}

/// A port for a fake worker that does not serve yet: connections to it hang.
pub struct ReservedPort {
    /// Where it will listen.
    pub url: String,
    listener: TcpListener,
}

impl ReservedPort {
    /// Takes a free port.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn new() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap_or_else(|error| panic!("no free port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        Self { url: format!("http://{address}"), listener }
    }
}

/// A fake worker that serves until it is dropped.
pub struct FakeWorker {
    /// Where it listens.
    pub url: String,
    asked: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl FakeWorker {
    /// Starts a worker that describes itself as `answer`.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(answer: wire::GetModelResponse) -> Self {
        Self::start_on(ReservedPort::new().await, answer).await
    }

    /// Starts a worker on a port that was reserved before.
    pub async fn start_on(port: ReservedPort, answer: wire::GetModelResponse) -> Self {
        let ReservedPort { url, listener } = port;
        let asked = Arc::new(AtomicUsize::new(0));
        let service = Service { answer, asked: Arc::clone(&asked) };
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<WorkerServiceServer<Service>>().await;
        let server = tokio::spawn(async move {
            let served = Server::builder()
                .add_service(health_service)
                .add_service(WorkerServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await;
            if let Err(error) = served {
                eprintln!("the fake worker stopped: {error}");
            }
        });
        Self { url, asked, server }
    }

    /// Pieces of work that the coordinator has sent here.
    pub fn work(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Service {
    answer: wire::GetModelResponse,
    asked: Arc<AtomicUsize>,
}

impl Service {
    fn refuse(&self) -> Status {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Status::unavailable("this worker is a fake")
    }
}

#[tonic::async_trait]
impl WorkerService for Service {
    type GenerateStream = BoxStream<'static, Result<wire::GenerateResponse, Status>>;
    type RunRolloutsStream = BoxStream<'static, Result<wire::RunRolloutsResponse, Status>>;

    async fn get_model(
        &self,
        _request: Request<wire::GetModelRequest>,
    ) -> Result<Response<wire::GetModelResponse>, Status> {
        Ok(Response::new(self.answer.clone()))
    }

    async fn generate(
        &self,
        _request: Request<wire::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        Err(self.refuse())
    }

    async fn cancel_rollouts(
        &self,
        _request: Request<wire::CancelRolloutsRequest>,
    ) -> Result<Response<wire::CancelRolloutsResponse>, Status> {
        Err(self.refuse())
    }

    async fn run_rollouts(
        &self,
        _request: Request<wire::RunRolloutsRequest>,
    ) -> Result<Response<Self::RunRolloutsStream>, Status> {
        Err(self.refuse())
    }
}
