//! The task that keeps contact with one worker: connects, asks what it holds, watches its health, and begins again
//! with growing waits when anything fails.
//!
//! Contract: a worker that dies, hangs or is cut off is noticed within [`LinkOptions::keep_alive_interval`] plus
//! [`LinkOptions::keep_alive_timeout`]; one that a call found broken, at once. Another process at the same address is
//! taken in like a new worker.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use countermove_membership::Backoff;
use countermove_proto::Error;
use countermove_proto::worker::v1::worker_service_client::WorkerServiceClient;
use countermove_proto::worker::v1::{GetModelRequest, GetModelResponse};
use countermove_transport::Dial;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::entry::Connection;
use super::{Fleet, WorkerUrl};

/// Name under which a worker's health is asked.
const WORKER_SERVICE: &str = "countermove.worker.v1.WorkerService";

/// How contact is kept.
#[derive(Clone, Copy, Debug)]
pub struct LinkOptions {
    /// Time that a connection may take.
    pub connect_timeout: Duration,
    /// Time without a frame after which the peer is pinged.
    pub keep_alive_interval: Duration,
    /// Time that the answer to a ping may take.
    pub keep_alive_timeout: Duration,
    /// Time between two questions for what the worker holds.
    pub probe_interval: Duration,
    /// Time after which a new connection takes the place of the old one, with the certificates of then; what runs on the old one
    /// goes on there. Below the age that the worker gives connections, so that none is lost to it. Absent: never.
    pub renew: Option<Duration>,
    /// Time that the answer may take.
    pub probe_timeout: Duration,
    /// Waits between attempts.
    pub backoff: Backoff,
}

impl Default for LinkOptions {
    /// Dead peers are noticed within ten seconds; a machine that is busy with the model has five to answer a ping.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            keep_alive_interval: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(5),
            probe_interval: Duration::from_secs(2),
            renew: Some(Duration::from_secs(900)),
            probe_timeout: Duration::from_secs(8),
            backoff: Backoff::default(),
        }
    }
}

/// Keeps contact with one worker until it is dropped.
pub(super) async fn keep(fleet: Fleet, url: WorkerUrl, recheck: Arc<Notify>, options: LinkOptions) {
    let mut failures: u32 = 0;
    loop {
        let begun = tokio::time::Instant::now();
        let end = contact(&fleet, &url, &recheck, &options).await;
        tracing::debug!(worker = %url, reason = end.reason, "contact with worker ended");
        fleet.mark_lost(&url, end.reason);
        // A contact that broke at once is a failure too, or a worker that crashes on connection is hammered.
        let lasted = begun.elapsed() > options.backoff.most;
        failures = if end.answered && lasted { 0 } else { failures + 1 };
        tokio::time::sleep(options.backoff.wait(failures.saturating_sub(1))).await;
    }
}

/// Why a contact ended.
struct End {
    reason: String,
    /// Whether the worker ever answered.
    answered: bool,
}

/// One contact from connection to loss.
async fn contact(fleet: &Fleet, url: &WorkerUrl, recheck: &Notify, options: &LinkOptions) -> End {
    let mut channel = match connect(&fleet.0.dial, url, options).await {
        Ok(channel) => channel,
        Err(reason) => return End { reason, answered: false },
    };
    let answer = match ask(&channel, options).await {
        Ok(answer) => answer,
        Err(reason) => return End { reason, answered: false },
    };
    let connection = Connection { channel: channel.clone(), lost: CancellationToken::new() };
    let mut process = answer.worker_id.clone();
    fleet.take_in(url, &answer, connection.clone());

    let mut health = watch_health(&channel, options).await;
    let mut renewal = pin!(renewal(options.renew));
    let mut probe = interval(options.probe_interval);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    probe.reset();
    let reason = loop {
        tokio::select! {
            () = recheck.notified() => break "a call to it failed".to_owned(),
            status = next_health(&mut health) => match status {
                Ok(serving) => fleet.mark_serving(url, serving),
                Err(reason) => break reason,
            },
            () = &mut renewal => {
                match renew(fleet, url, options, &process).await {
                    Ok(new) => {
                        fleet.renew(url, &new);
                        health = watch_health(&new, options).await;
                        channel = new;
                    }
                    // The old one goes on for as long as the worker lets it.
                    Err(reason) => tracing::warn!(worker = %url, reason, "the connection to a worker cannot be renewed"),
                }
                renewal.set(self::renewal(options.renew));
            }
            _ = probe.tick() => match ask(&channel, options).await {
                Ok(answer) if answer.worker_id != process => {
                    // The channel came back by itself to another process.
                    process.clone_from(&answer.worker_id);
                    fleet.mark_lost(url, "it was restarted".to_owned());
                    let connection = Connection { channel: channel.clone(), lost: CancellationToken::new() };
                    fleet.take_in(url, &answer, connection);
                    health = watch_health(&channel, options).await;
                }
                Ok(answer) => fleet.seen(url, &answer),
                Err(reason) => break reason,
            },
        }
    };
    connection.lost.cancel();
    End { reason, answered: true }
}

/// Ends when it is time for a new connection.
async fn renewal(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

/// A new connection to the same process.
async fn renew(
    fleet: &Fleet,
    url: &WorkerUrl,
    options: &LinkOptions,
    process: &str,
) -> Result<Channel, String> {
    let channel = connect(&fleet.0.dial, url, options).await?;
    match ask(&channel, options).await? {
        answer if answer.worker_id == process => Ok(channel),
        _ => Err("it was restarted".to_owned()),
    }
}

async fn connect(dial: &Dial, url: &WorkerUrl, options: &LinkOptions) -> Result<Channel, String> {
    let route = dial.to(url.as_str(), |endpoint| {
        endpoint
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_timeout)
            .keep_alive_while_idle(true)
    });
    let route = route.map_err(|error| error.to_string())?;
    // The stack's own timeout covers the connection; this one covers a peer that accepts and says nothing.
    match timeout(options.connect_timeout * 2, route.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(format!("no connection: {}", causes(&error))),
        Err(_) => Err("no connection: it accepts and says nothing".to_owned()),
    }
}

async fn ask(channel: &Channel, options: &LinkOptions) -> Result<GetModelResponse, String> {
    let mut client = WorkerServiceClient::new(channel.clone());
    let mut request = Request::new(GetModelRequest {});
    request.set_timeout(options.probe_timeout);
    match timeout(options.probe_timeout, client.get_model(request)).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if status.code() == Code::Unimplemented => {
            Err("it is not a Countermove worker".to_owned())
        }
        Ok(Err(status)) => Err(Error::from(status).to_string()),
        Err(_) => Err(format!("it did not answer within {:.0?}", options.probe_timeout)),
    }
}

/// The stream of a worker's health; `None` from a worker that does not offer it.
async fn watch_health(channel: &Channel, options: &LinkOptions) -> Option<Streaming<HealthCheckResponse>> {
    let request = HealthCheckRequest { service: WORKER_SERVICE.to_owned() };
    let mut client = HealthClient::new(channel.clone());
    match timeout(options.probe_timeout, client.watch(request)).await {
        Ok(Ok(response)) => Some(response.into_inner()),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// The next word on a worker's health: whether it serves.
async fn next_health(health: &mut Option<Streaming<HealthCheckResponse>>) -> Result<bool, String> {
    let Some(stream) = health else { return std::future::pending().await };
    match stream.message().await {
        Ok(Some(response)) => Ok(response.status() != ServingStatus::NotServing),
        Ok(None) => Err("it closed the connection".to_owned()),
        Err(status) if is_refusal(&status) => {
            *health = None;
            std::future::pending().await
        }
        Err(status) => Err(Error::from(status).to_string()),
    }
}

fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::Unimplemented | Code::NotFound | Code::PermissionDenied)
}

/// An error and what lies behind it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    text
}
