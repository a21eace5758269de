//! Serving a replica under its settings: announced on standard output, and registered where they say so.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Context, anyhow};
use countermove_planner::{Answers, Templates};
#[cfg(feature = "etcd")]
use countermove_proto::WorkerId;
use countermove_proto::v1::ModelIdentity;
use countermove_serving::Port;
use countermove_transport::Exposure;
use tokio::net::TcpListener;
#[cfg(feature = "etcd")]
use tokio::sync::oneshot;

use crate::config::Config;
use crate::server::serve_and_count;
use crate::service::{Limits, Replica, ServedModel, Worker};
use crate::simulate::SimulatedModel;

/// Time that the registration of a worker that failed has to be taken back.
#[cfg(feature = "etcd")]
const UNREGISTER: std::time::Duration = std::time::Duration::from_millis(250);

/// A replica that needs no model, with so many tokens a second.
///
/// # Errors
/// If the templates cannot be used.
pub fn simulated(config: &Config, pace: u32) -> anyhow::Result<Replica<SimulatedModel>> {
    let templates = Templates::load(config.templates.as_deref())?;
    let identity = ModelIdentity { templates_sha256: templates.digest(), ..SimulatedModel::identity() };
    let context_length = config.load.context_length.unwrap_or(1 << 17);
    let model = SimulatedModel::start(f64::from(pace));
    Ok(Replica { model, templates, identity, context_length, answers: Answers::default() })
}

/// Serves, and is registered meanwhile where the flags say so. The registration is taken back after the drain: before it
/// coordinators would take the worker for lost, with its work.
///
/// # Errors
/// Those of [`crate::serve`].
pub async fn serve_with<M: ServedModel>(
    config: &Config,
    replica: Replica<M>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<bool> {
    let limits = Limits { batch: config.engine.max_sequences, places: config.places };
    let address = listener.local_addr().context("the socket has no address")?;
    let figures = match config.metrics_listen {
        Some(address) => Some(figures_at(address).await?),
        None => None,
    };
    #[cfg(feature = "etcd")]
    let registered = config.registry.clone().map(|registry| {
        let (leave, left) = oneshot::channel::<()>();
        let registration = countermove_membership::Registration {
            url: registry.advertise.unwrap_or_else(|| match config.tls {
                Some(_) => format!("https://{address}"),
                None => format!("http://{address}"),
            }),
            capacity: u32::try_from(limits.batch).unwrap_or(u32::MAX),
            weights_sha256: replica.identity.weights_sha256.clone(),
            process: WorkerId::generate().as_str().to_owned(),
        };
        let id = config.id.as_str().to_owned();
        let keep = countermove_membership::etcd::register(
            registry.endpoints,
            id,
            registration,
            registry.lease,
            // A sender that is gone means the same as a word.
            async move { drop(left.await) },
        );
        (leave, tokio::spawn(keep))
    });
    let port = Port { listener, tls: config.tls.clone(), connection_age: config.connection_age };
    let worker = Worker::new(config.id.clone(), replica, limits);
    announce(&format!("listening on {address}"))?;
    match &config.tls {
        Some(tls) => tracing::info!(
            id = tls.id().as_ref().map(tracing::field::display),
            "only coordinators with a certificate are served"
        ),
        None if config.exposure == Exposure::Open => {
            tracing::warn!(
                "--insecure: whoever reaches this port may ask this worker anything, and read what goes by"
            );
        }
        None => {}
    }
    tracing::info!(%address, worker = config.id.as_str(), batch = limits.batch, "serving");
    let served = serve_and_count(worker, port, figures, config.drain_timeout, shutdown).await;
    #[cfg(feature = "etcd")]
    if let Some((leave, kept)) = registered {
        drop(leave);
        match served {
            Ok(_) => kept.await.context("the registration failed")?,
            // One that cannot be taken back in time runs out.
            Err(_) => drop(tokio::time::timeout(UNREGISTER, kept).await),
        }
    }
    Ok(served?)
}

/// A listener for those who read figures.
async fn figures_at(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let cannot = || format!("--metrics-listen {address} cannot be listened on");
    let listener = TcpListener::bind(address).await.with_context(cannot)?;
    let address = listener.local_addr().with_context(cannot)?;
    tracing::info!(%address, "metrics are read at this address");
    Ok(listener)
}

fn announce(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(|error| anyhow!("standard output cannot be written: {error}"))
}
