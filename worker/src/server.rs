//! Serving, and ending without losing work.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use countermove_proto::worker::v1::worker_service_server::WorkerServiceServer;
use countermove_proto::{Answers, FILE_DESCRIPTOR_SET};
use countermove_serving::{Bodies, KeepInUse, MessageLimits, Port};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic_health::ServingStatus;

use crate::metrics;
use crate::service::{ServedModel, Worker};

/// Largest request, in bytes: prompts are text, and far shorter.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// What requests may take together.
const MESSAGES: MessageLimits = MessageLimits { coming: 1024, bytes: 256 << 20, longest: MAX_REQUEST_BYTES };
/// Longest headers of a call, in bytes.
const HEADERS: u32 = 16 << 10;

/// Time that idle connections have to close after the last work ended.
const CLOSING: Duration = Duration::from_secs(2);

/// Time that calls have to tell their callers of a model that has ended, and connections to close: with both the process
/// is gone within a second.
const LAST_WORDS: Duration = Duration::from_millis(250);

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
    /// Nothing can be answered any more.
    #[error("the model's engine has ended, and a worker without one is of no use; the log says why it ended")]
    ModelEnded,
}

/// Serves until `shutdown` ends, then drains: health says NOT_SERVING, new work is refused, running work has
/// `drain_timeout` to finish and is stopped then, and connections close. Gives whether everything finished by itself.
///
/// # Errors
/// See [`ServeError`]. A model that has ended is one: health says NOT_SERVING then, calls end with what became of them, and
/// whoever started the process hears of it by its end and starts another one.
pub async fn serve<M: ServedModel>(
    worker: Worker<M>,
    port: impl Into<Port>,
    drain_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<bool, ServeError> {
    serve_and_count(worker, port, None, drain_timeout, shutdown).await
}

/// As [`serve`], with figures to read at another listener.
pub(crate) async fn serve_and_count<M: ServedModel>(
    worker: Worker<M>,
    port: impl Into<Port>,
    figures: Option<TcpListener>,
    drain_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<bool, ServeError> {
    let (page, calls) = metrics::page(&worker);
    let _figures = figures.map(|listener| {
        let worker = worker.clone();
        let is_ready = Arc::new(move || worker.accepts());
        AbortOnDropHandle::new(tokio::spawn(countermove_telemetry::serve(listener, Arc::new(page), is_ready)))
    });
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
    let port = port.into();
    let _renewing = port.renew();
    let mut builder = Server::builder();
    if let Some(age) = port.connection_age {
        builder = builder.max_connection_age(age);
    }
    let server = builder
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_header_list_size(HEADERS)
        .layer(KeepInUse)
        .layer(calls)
        .layer(Answers::within(None))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(Bodies::new(MESSAGES).whole(service))
        .serve_with_incoming_shutdown(port.incoming(), async {
            // A dropped sender means the same as a sent signal.
            let _ = closed.await;
        });
    let mut server = std::pin::pin!(server);
    let model_ended = tokio::select! {
        end = &mut server => {
            end?;
            return Ok(true);
        }
        () = shutdown => false,
        () = worker.model_ended() => true,
    };

    if model_ended {
        tracing::error!(running = worker.running(), "the model's engine has ended");
    } else {
        tracing::info!(running = worker.running(), "draining");
    }
    for name in ["", <WorkerServiceServer<Worker<M>> as tonic::server::NamedService>::NAME] {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    worker.start_drain();
    let work = async {
        tokio::select! {
            // Work that waits for the model has heard of its end.
            finished = worker.finish(if model_ended { LAST_WORDS } else { drain_timeout }) => (finished, false),
            // What begins to drain may lose its model as well.
            () = worker.model_ended(), if !model_ended => (worker.finish(LAST_WORDS).await, true),
        }
    };
    let (finished, ended_late) = tokio::select! {
        end = &mut server => {
            end?;
            return Ok(worker.running() == 0);
        }
        finished = work => finished,
    };
    drop(close);
    // Work that broke off because the model ended may be done before its end was seen.
    let ended = model_ended
        || ended_late
        || tokio::select! {
            biased;
            () = worker.model_ended() => true,
            () = std::future::ready(()) => false,
        };
    // Health watchers never hang up by themselves.
    if let Ok(end) = tokio::time::timeout(if ended { LAST_WORDS } else { CLOSING }, server).await {
        end?;
    }
    if ended { Err(ServeError::ModelEnded) } else { Ok(finished) }
}
