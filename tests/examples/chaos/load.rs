//! The load: incidents that are planned through whichever coordinator answers, and the checks of what came of each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_tests::evidence;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tonic::transport::{Channel, Endpoint};

/// Time that a round may take before an incident counts as lost.
const ROUND: Duration = Duration::from_secs(600);

/// Decisions of a plan, as text.
pub(crate) type Decisions = String;
/// Decisions of each plan, by the seed.
pub(crate) type Plans = BTreeMap<u64, Decisions>;

/// Plans so many incidents at once, with the seeds from 0 on, and checks each.
pub(crate) async fn plan_all(urls: &[String], incidents: u64) -> Result<Plans, String> {
    let clients = Clients::new(urls);
    let running: FuturesUnordered<_> = (0..incidents).map(|index| clients.plan(index)).collect();
    let plans: Vec<Result<(u64, Decisions), String>> = running.collect().await;
    plans.into_iter().collect()
}

/// Clients of all coordinators: what one does not answer is asked of the next.
struct Clients(Vec<IncidentServiceClient<Channel>>);

impl Clients {
    fn new(urls: &[String]) -> Self {
        let connect = |url: &String| {
            let endpoint =
                Endpoint::from_shared(url.clone()).unwrap_or_else(|error| panic!("{url}: {error}"));
            let endpoint = endpoint.connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(10));
            IncidentServiceClient::new(endpoint.connect_lazy())
        };
        Self(urls.iter().map(connect).collect())
    }

    /// Plans one incident and gives its decisions.
    async fn plan(&self, index: u64) -> Result<(u64, Decisions), String> {
        let options =
            api::PlanOptions { seed: Some(index), max_steps: 3, max_depth: 5, ..api::PlanOptions::default() };
        let request = api::CreateIncidentRequest {
            evidence: Some(evidence()),
            options: Some(options),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::CreateIncidentRequest::default()
        };
        let until = Instant::now() + ROUND;
        let first = index as usize;
        let created =
            self.insist(first, until, async |client| client.create_incident(request.clone()).await).await?;
        let name = created.incident.ok_or("CreateIncident gave no incident")?.name;
        let get = api::GetIncidentRequest { name: name.clone() };
        let incident = loop {
            let got =
                self.insist(first, until, async |client| client.get_incident(get.clone()).await).await?;
            let incident = got.incident.ok_or("GetIncident gave no incident")?;
            if incident.status() == api::IncidentStatus::Ended {
                break incident;
            }
            if Instant::now() > until {
                return Err(format!("{name} (seed {index}) did not end: {:?}", incident.status()));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        };
        if !incident.error.is_empty() {
            let events = self.insist(first, until, async |client| self.events(client, &name).await).await?;
            let notices = notices(&events);
            return Err(format!("{name} (seed {index}) failed: {}\n{notices}", incident.error));
        }
        let verify = api::VerifyIncidentRequest { name: name.clone() };
        let verified =
            self.insist(first, until, async |client| client.verify_incident(verify.clone()).await).await?;
        if verified.broken_event > 0 {
            return Err(format!("{name}: event {} is broken: {}", verified.broken_event, verified.problem));
        }
        let events = self.insist(first, until, async |client| self.events(client, &name).await).await?;
        told_once(&name, &events)?;
        Ok((index, decisions(&incident)))
    }

    async fn events(
        &self,
        client: &mut IncidentServiceClient<Channel>,
        name: &str,
    ) -> Result<tonic::Response<Vec<api::IncidentEvent>>, tonic::Status> {
        let request = api::WatchIncidentRequest { name: name.to_owned(), resume_after: 0 };
        let mut watch = client.watch_incident(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(update) = watch.message().await? {
            if let Some(Update::Event(event)) = update.update {
                events.push(event);
            }
        }
        Ok(tonic::Response::new(events))
    }

    /// Asks one coordinator after the other until one answers.
    async fn insist<T>(
        &self,
        first: usize,
        until: Instant,
        call: impl AsyncFn(&mut IncidentServiceClient<Channel>) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, String> {
        let mut last = String::new();
        for client in self.0.iter().cycle().skip(first % self.0.len()) {
            match call(&mut client.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => last = status.to_string(),
            }
            if Instant::now() > until {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("no coordinator answers: {last}"))
    }
}

/// What was decided, without what depends on time and place.
fn decisions(incident: &api::Incident) -> Decisions {
    let mut plan = incident.plan.clone().unwrap_or_default();
    plan.usage = None;
    for step in &mut plan.steps {
        step.usage = None;
        // It covers the name of the incident.
        step.plan_hash.clear();
    }
    format!("{plan:?}")
}

/// What an incident's readers were told on the way, a line each.
fn notices(events: &[api::IncidentEvent]) -> String {
    let line = |event: &api::IncidentEvent| match event.kind.as_ref()? {
        Kind::Notice(notice) => {
            let time = event.time.as_ref().map(ToString::to_string).unwrap_or_default();
            Some(format!("  {time} {}\n", notice.text))
        }
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

/// Checks that events are numbered without a gap and that nothing was told twice.
fn told_once(name: &str, events: &[api::IncidentEvent]) -> Result<(), String> {
    if !events.iter().map(|event| event.sequence).eq(1..=events.len() as u64) {
        return Err(format!("{name}: the numbers of its events have a gap"));
    }
    let mut told: Vec<String> = events
        .iter()
        .filter_map(|event| match event.kind.as_ref()? {
            Kind::Rollout(r) => Some(format!("rollout {} {} {}", r.step, r.candidate, r.rollout)),
            Kind::Proposed(proposed) => Some(format!("candidates {}", proposed.step)),
            Kind::Decided(step) => Some(format!("decision {}", step.index)),
            Kind::Created(_) => Some("creation".to_owned()),
            Kind::Assessed(_) => Some("assessment".to_owned()),
            Kind::Ended(_) => Some("end".to_owned()),
            _ => None,
        })
        .collect();
    told.sort_unstable();
    match told.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{name}: told twice: {}", pair[0])),
        None => Ok(()),
    }
}
