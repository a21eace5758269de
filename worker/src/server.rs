//! Serving, and ending without losing work.

use std::future::Future;
use std::io;
use std::time::Duration;

use countermove_proto::worker::v1::worker_service_server::WorkerServiceServer;
use countermove_proto::{Answers, FILE_DESCRIPTOR_SET};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

use crate::service::{ServedModel, Worker};

/// Largest request, in bytes: prompts are text, and far shorter.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Time that idle connections have to close after the last work ended.
const CLOSING: Duration = Duration::from_secs(2);

/// Why a worker stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors for reflection are broken: a fault of the build.
    #[error("reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server failed.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

/// Serves until `shutdown` ends, then drains: health says NOT_SERVING, new work is refused, running work has
/// `drain_timeout` to finish and is stopped then, and connections close. Gives whether everything finished by itself.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve<M: ServedModel>(
    worker: Worker<M>,
    listener: TcpListener,
    drain_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<bool, ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<WorkerServiceServer<Worker<M>>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The descriptors hold the services of both servers; only what this one serves is listed.
            .with_service_name(countermove_proto::worker::v1::worker_service_server::SERVICE_NAME)
            .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
    };
    let service = WorkerServiceServer::new(worker.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
    let (close, closed) = oneshot::channel::<()>();
    let server = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .layer(Answers::within(None))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            // A dropped sender means the same as a sent signal.
            let _ = closed.await;
        });
    let mut server = std::pin::pin!(server);
    tokio::select! {
        end = &mut server => {
            end?;
            return Ok(true);
        }
        () = shutdown => {}
    }

    tracing::info!(running = worker.running(), "draining");
    for name in ["", <WorkerServiceServer<Worker<M>> as tonic::server::NamedService>::NAME] {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    worker.start_drain();
    let finished = tokio::select! {
        end = &mut server => {
            end?;
            return Ok(worker.running() == 0);
        }
        finished = worker.finish(drain_timeout) => finished,
    };
    drop(close);
    // Health watchers never hang up by themselves.
    if let Ok(end) = tokio::time::timeout(CLOSING, server).await {
        end?;
    }
    Ok(finished)
}
