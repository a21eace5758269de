//! Load on a coordinator: plans with a simulated model, and how long each took.

use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incident_response::Update;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::samples::evidence;

/// Connections of one watch that may break.
const MOST_BREAKS: u32 = 20;

/// A client that connects when it is used first.
///
/// # Panics
/// If `url` is none.
pub fn lazy_client(url: &str) -> IncidentServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap_or_else(|error| panic!("{url}: {error}"));
    IncidentServiceClient::new(endpoint.connect_lazy())
}

/// Plans the sample incident in three steps and gives the time that it took.
///
/// # Errors
/// One sentence that says why there is no plan.
pub async fn timed_plan(client: IncidentServiceClient<Channel>, seed: u64) -> Result<Duration, String> {
    timed_plan_of(client, evidence(), seed).await
}

/// As [`timed_plan`], of any evidence.
///
/// # Errors
/// As [`timed_plan`].
pub async fn timed_plan_of(
    mut client: IncidentServiceClient<Channel>,
    evidence: api::Evidence,
    seed: u64,
) -> Result<Duration, String> {
    let options =
        api::PlanOptions { seed: Some(seed), max_steps: 3, max_depth: 5, ..api::PlanOptions::default() };
    let request = api::CreateIncidentRequest {
        evidence: Some(evidence),
        options: Some(options),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..api::CreateIncidentRequest::default()
    };
    let begun = Instant::now();
    let created = loop {
        match client.create_incident(request.clone()).await {
            Ok(created) => break created.into_inner(),
            Err(status) => wait_as_told(status).await?,
        }
    };
    let name = created.incident.ok_or("CreateIncident gave no incident")?.name;
    let mut request = api::WatchIncidentRequest { name, resume_after: 0 };
    let mut breaks = 0;
    loop {
        let mut watch = loop {
            match client.watch_incident(request.clone()).await {
                Ok(watch) => break watch.into_inner(),
                Err(status) => wait_as_told(status).await?,
            }
        };
        loop {
            let update = match watch.message().await {
                Ok(update) => update.ok_or("the incident's events ended without an end")?.update,
                // A connection ends when it is old, and who watches goes on over another one, as commands do.
                Err(status) if breaks < MOST_BREAKS && is_broken(&status) => {
                    breaks += 1;
                    break;
                }
                Err(status) => return Err(status.to_string()),
            };
            let Some(Update::Event(api::IncidentEvent { kind, sequence, .. })) = update else { continue };
            request.resume_after = sequence;
            if let Some(Kind::Ended(ended)) = kind {
                return match ended.end() {
                    api::PlanEnd::Failed => Err(ended.error),
                    _ => Ok(begun.elapsed()),
                };
            }
        }
    }
}

/// Whether the connection of a call broke, which says nothing about what it asked for.
fn is_broken(status: &Status) -> bool {
    use std::error::Error as _;
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
        && status.source().is_some()
}

/// Waits for as long as a coordinator says that the same call makes sense after; what it does not say this of is an error.
async fn wait_as_told(status: Status) -> Result<(), String> {
    let text = status.to_string();
    let time = countermove_proto::Error::from(status).retry_after().ok_or(text)?;
    tokio::time::sleep(time).await;
    Ok(())
}

/// The value at a part of the way, of sorted values; zero if there are none.
pub fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
}
