//! Serving, and ending without losing what can be kept.
//!
//! Health has three names. The whole server (``) and `countermove.v1.ClusterService` serve until the process is told
//! to stop. `countermove.v1.IncidentService` serves while besides the store answers and some worker takes work: an incident
//! that is created without a worker waits, and fails when none comes. Use the first for liveness and the last for readiness.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countermove_proto::v1::access_service_server::AccessServiceServer;
use countermove_proto::v1::audit_service_server::AuditServiceServer;
use countermove_proto::v1::cluster_service_server::ClusterServiceServer;
use countermove_proto::v1::incident_service_server::IncidentServiceServer;
use countermove_proto::{Answers, FILE_DESCRIPTOR_SET, MAX_EVIDENCE_MESSAGE_BYTES};
use countermove_serving::{Bodies, KeepInUse, MessageLimits, Port};
use countermove_transport::Dial;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::access::Gate;
use crate::audit::{Audit, Refusals};
use crate::console::{Bundle, Console};
use crate::incidents::Incidents;
use crate::json::{Codec, Json};
use crate::service::{AccessApi, AuditApi, Audited, ClusterApi, IncidentApi};
use crate::shed;
use crate::workers::Fleet;

/// Calls of one connection that may be at work at the same time.
const CALLS_PER_CONNECTION: usize = 128;
/// Calls of the incident service whose messages are there that may be at work at the same time. Health and the cluster's state are told in any case.
const CALLS: usize = 512;
/// What the messages of the incident service may take together. Each of 60 MiB takes about twice as much while it is worked on,
/// so that all of them stay well within the gigabyte that a coordinator gets (`deploy/`).
const MESSAGES: MessageLimits =
    MessageLimits { coming: 2048, bytes: 256 << 20, longest: MAX_EVIDENCE_MESSAGE_BYTES };
/// Longest message of a service that takes no evidence, in bytes: as much as tonic takes.
const MESSAGE: usize = 4 << 20;
/// Longest headers of a call, in bytes.
const HEADERS: u32 = 16 << 10;
/// Time that an answer, or the beginning of a stream, may take.
const ANSWER: Duration = Duration::from_secs(60);
/// Time that watchers have to read the last events and idle connections to close.
const CLOSING: Duration = Duration::from_secs(2);

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors for reflection are broken: a fault of the build.
    #[error("reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The descriptors for JSON are broken: a fault of the build.
    #[error("JSON cannot be set up: {0}")]
    Json(#[from] prost_reflect::DescriptorError),
    /// The server failed.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
    /// Metrics cannot be read where they should be.
    #[error("--metrics-listen {0} cannot be listened on: {1}")]
    Metrics(SocketAddr, io::Error),
}

/// Where a coordinator is called, and how it calls others about what they own.
pub struct Front {
    /// Where connections come.
    pub port: Port,
    /// How other coordinators are called.
    pub peers: Dial,
    /// Who may call, and what for.
    pub gate: Gate,
    /// What is shown to browsers; absent: nothing.
    pub console: Option<Bundle>,
}

impl From<TcpListener> for Front {
    /// In plain text, on this machine, without asking who calls.
    fn from(listener: TcpListener) -> Self {
        Self {
            port: listener.into(),
            peers: Dial::default(),
            gate: Gate::open(),
            console: Some(Bundle::of_this_program()),
        }
    }
}

/// Serves until `shutdown` ends. Then health says NOT_SERVING, new incidents are refused, work has `drain_timeout` to end,
/// what is left is handed over or ended, as the store allows, and connections close.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    incidents: Incidents,
    fleet: Fleet,
    front: Front,
    drain_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ClusterServiceServer<ClusterApi>>().await;
    // Whoever asks before the fleet was looked at gets an answer, and not that there is no such service.
    health.set_service_status(INCIDENT_SERVICE, ServingStatus::NotServing).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The descriptors hold the services of both servers; only what this one serves is listed.
            .with_service_name(countermove_proto::v1::incident_service_server::SERVICE_NAME)
            .with_service_name(countermove_proto::v1::cluster_service_server::SERVICE_NAME)
            .with_service_name(countermove_proto::v1::access_service_server::SERVICE_NAME)
            .with_service_name(countermove_proto::v1::audit_service_server::SERVICE_NAME)
            .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
    };
    let audit = Audit::new(incidents.log());
    let gate = front.gate.telling(Arc::new(Refusals::start(audit.clone())));
    let _judging = gate.policy().map(|policy| AbortOnDropHandle::new(tokio::spawn(policy.clone().follow())));
    let incident_service = IncidentApi::new(incidents.clone(), front.peers, gate.policy().cloned());
    let incident_service = IncidentServiceServer::new(Audited::new(incident_service, audit.clone()))
        .max_decoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES);
    let cluster_service = ClusterApi::new(fleet.clone(), incidents.clone());
    let cluster_service = ClusterServiceServer::new(Audited::new(cluster_service, audit));
    let codec = Codec::new(incidents.clone())?;
    let port = front.port;
    let _renewing = port.renew();
    let bodies = Bodies::new(MESSAGES);
    let (close, closed) = oneshot::channel::<()>();
    let mut builder = Server::builder();
    if let Some(age) = port.connection_age {
        builder = builder.max_connection_age(age);
    }
    let server = builder
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .trace_fn(|request| tracing::debug_span!("call", path = request.uri().path()))
        .http2_max_header_list_size(HEADERS)
        // Browsers speak gRPC-Web, over HTTP/1.1 where there is no TLS, and others JSON. Behind `Json` it is gRPC like all other.
        .accept_http1(true)
        .layer(KeepInUse)
        .layer(Console { bundle: front.console, sites: gate.sites().clone() })
        .layer(Json(codec.clone()))
        .layer(incidents.metrics().calls())
        .layer(Answers::within(Some(ANSWER)))
        .layer(gate.clone())
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(
            bodies.whole(shed::bounded(codec.behind(incident_service, MAX_EVIDENCE_MESSAGE_BYTES), CALLS)),
        )
        .add_service(codec.behind(cluster_service, MESSAGE))
        .add_service(codec.behind(AccessServiceServer::new(AccessApi::new(gate)), MESSAGE))
        .add_service(codec.behind(AuditServiceServer::new(AuditApi::new(incidents.log())), MESSAGE))
        .serve_with_incoming_shutdown(port.incoming(), async {
            // A dropped sender means the same as a sent signal.
            let _ = closed.await;
        });
    let mut server = std::pin::pin!(server);
    tokio::select! {
        end = &mut server => return Ok(end?),
        () = shutdown => {}
        () = follow_readiness(&health, &fleet, incidents.store_answers()) => {}
    }

    tracing::info!(incidents = incidents.active(), "draining");
    for name in ["", INCIDENT_SERVICE, CLUSTER_SERVICE] {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    tokio::select! {
        end = &mut server => return Ok(end?),
        () = incidents.finish(drain_timeout) => {}
    }
    drop(close);
    // Health watchers never hang up by themselves.
    if let Ok(end) = tokio::time::timeout(CLOSING, server).await {
        end?;
    }
    fleet.stop();
    Ok(())
}

const INCIDENT_SERVICE: &str = <IncidentServiceServer<IncidentApi> as NamedService>::NAME;
const CLUSTER_SERVICE: &str = <ClusterServiceServer<ClusterApi> as NamedService>::NAME;

/// Keeps the health of the incident service as workers and store are. Never ends while there are both.
async fn follow_readiness(health: &HealthReporter, fleet: &Fleet, mut store: watch::Receiver<bool>) {
    let mut changes = fleet.changes();
    loop {
        changes.borrow_and_update();
        let is_ready = *store.borrow_and_update() && fleet.any_ready();
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status(INCIDENT_SERVICE, status).await;
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            changed = store.changed() => changed,
        };
        if changed.is_err() {
            return std::future::pending().await;
        }
    }
}
