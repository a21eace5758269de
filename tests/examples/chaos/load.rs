//! The load: incidents that are planned through whichever coordinator answers, and the checks of what came of each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_tests::{evidence, long_log};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tonic::transport::{Channel, Endpoint};

use crate::receiver::Receiver;

/// Time that a round may take before an incident counts as lost.
const ROUND: Duration = Duration::from_secs(600);

/// Time to tell what happened to an incident that goes on.
const HISTORY: Duration = Duration::from_secs(3);

/// Decisions of a plan, as text.
pub(crate) type Decisions = String;
/// Decisions of each plan, by the seed.
pub(crate) type Plans = BTreeMap<u64, Decisions>;

/// Every tenth incident waits for a person before each step.
const INTERACTIVE: (u64, u64) = (10, 3);
/// Every fiftieth has a log of this many bytes, which whoever takes it over reads again.
const LARGE: (u64, u64) = (50, 7);
const LARGE_LOG: usize = 22_000_000;

fn is_one_of(index: u64, (every, which): (u64, u64)) -> bool {
    index % every == which
}

/// Plans so many incidents at once, with the seeds from 0 on, and checks each. Approved actions have to reach the receiver, if
/// there is one.
pub(crate) async fn plan_all(
    urls: &[String],
    incidents: u64,
    receiver: Option<Receiver>,
) -> Result<Plans, String> {
    let clients = Clients::new(urls, receiver);
    let running: FuturesUnordered<_> = (0..incidents).map(|index| clients.plan(index)).collect();
    let plans: Vec<Result<(u64, Decisions), String>> = running.collect().await;
    plans.into_iter().collect()
}

/// Clients of all coordinators: what one does not answer is asked of the next.
struct Clients {
    all: Vec<IncidentServiceClient<Channel>>,
    /// The same with more time, for long logs.
    patient: Vec<IncidentServiceClient<Channel>>,
    receiver: Option<Receiver>,
}

/// An incident that is planned, and until when it has to end.
struct Planned {
    index: u64,
    name: String,
    until: Instant,
}

impl Clients {
    fn new(urls: &[String], receiver: Option<Receiver>) -> Self {
        let connect = |url: &String, time| {
            let endpoint =
                Endpoint::from_shared(url.clone()).unwrap_or_else(|error| panic!("{url}: {error}"));
            let endpoint =
                endpoint.connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(time));
            IncidentServiceClient::new(endpoint.connect_lazy())
        };
        let all = |time| urls.iter().map(|url| connect(url, time)).collect();
        Self { all: all(10), patient: all(60), receiver }
    }

    /// Plans one incident and gives its decisions.
    async fn plan(&self, index: u64) -> Result<(u64, Decisions), String> {
        let planned = self.create(index).await?;
        let (name, until) = (&planned.name, planned.until);
        let incident = loop {
            let incident = self.get(&planned).await?;
            match incident.status() {
                api::IncidentStatus::Ended => break incident,
                api::IncidentStatus::AwaitingApproval => self.approve(&planned, &incident).await?,
                api::IncidentStatus::AwaitingOutcome => self.report(&planned, &incident).await?,
                api::IncidentStatus::Planning | api::IncidentStatus::Unspecified => {}
            }
            if Instant::now() > until {
                let history = self.history(name).await;
                return Err(format!("{name} (seed {index}) did not end: {:?}\n{history}", incident.status()));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        };
        // One for which no action is left says so, and was planned all the same.
        if incident.plan.as_ref().is_none_or(|plan| plan.end() == api::PlanEnd::Failed) {
            let events = self.insist(&planned, async |client| self.events(client, name).await).await?;
            let notices = notices(&events);
            return Err(format!("{name} (seed {index}) failed: {}\n{notices}", incident.error));
        }
        let verify = api::VerifyIncidentRequest { name: name.clone(), sequence: 0 };
        let verified =
            self.insist(&planned, async |client| client.verify_incident(verify.clone()).await).await?;
        if verified.broken_event > 0 {
            return Err(format!("{name}: event {} is broken: {}", verified.broken_event, verified.problem));
        }
        let events = self.insist(&planned, async |client| self.events(client, name).await).await?;
        told_once(name, &events)?;
        Ok((index, decisions(&incident)))
    }

    /// What happened to an incident that goes on, a line each, as whichever coordinator answers first has it.
    async fn history(&self, name: &str) -> String {
        let mut lines = String::new();
        for client in &self.all {
            let request = api::WatchIncidentRequest { name: name.to_owned(), resume_after: 0 };
            let Ok(answer) = client.clone().watch_incident(request).await else { continue };
            let mut watch = answer.into_inner();
            // It goes on, so what has not come by then is not there yet.
            let until = tokio::time::Instant::now() + HISTORY;
            while let Ok(Ok(Some(update))) = tokio::time::timeout_at(until, watch.message()).await {
                lines.extend(match update.update {
                    Some(Update::Event(event)) => Some(line(&event)),
                    _ => None,
                });
            }
            if !lines.is_empty() {
                break;
            }
        }
        lines
    }

    async fn create(&self, index: u64) -> Result<Planned, String> {
        let mode = match is_one_of(index, INTERACTIVE) {
            true => api::PlanMode::Interactive,
            false => api::PlanMode::Offline,
        };
        let options = api::PlanOptions {
            seed: Some(index),
            max_steps: 3,
            max_depth: 5,
            mode: mode.into(),
            ..api::PlanOptions::default()
        };
        let mut evidence = evidence();
        if is_one_of(index, LARGE) {
            evidence.alerts = long_log(0, LARGE_LOG);
        }
        let request = api::CreateIncidentRequest {
            evidence: Some(evidence),
            options: Some(options),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::CreateIncidentRequest::default()
        };
        let mut planned = Planned { index, name: String::new(), until: Instant::now() + ROUND };
        let clients = if is_one_of(index, LARGE) { &self.patient } else { &self.all };
        let created =
            insist(clients, &planned, async |client| client.create_incident(request.clone()).await).await?;
        planned.name = created.incident.ok_or("CreateIncident gave no incident")?.name;
        Ok(planned)
    }

    async fn get(&self, planned: &Planned) -> Result<api::Incident, String> {
        let get = api::GetIncidentRequest { name: planned.name.clone() };
        let got = self.insist(planned, async |client| client.get_incident(get.clone()).await).await?;
        Ok(got.incident.ok_or("GetIncident gave no incident")?)
    }

    /// Approves what was chosen. Whether it counted is seen in the incident.
    async fn approve(&self, planned: &Planned, incident: &api::Incident) -> Result<(), String> {
        let Some(step) = last_step(incident) else { return Err("there is no step to approve".to_owned()) };
        let request = api::ApproveActionRequest {
            name: planned.name.clone(),
            step: step.index,
            plan_hash: step.plan_hash.clone(),
            approver: "chaos".to_owned(),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::ApproveActionRequest::default()
        };
        self.insist_or_late(planned, async |client| client.approve_action(request.clone()).await.map(drop))
            .await
    }

    /// Reports that a step brought one thing about, once the receiver has it.
    async fn report(&self, planned: &Planned, incident: &api::Incident) -> Result<(), String> {
        let Some(step) = last_step(incident) else { return Err("there is no step to report".to_owned()) };
        if let Some(receiver) = &self.receiver {
            let delivery = incident.deliveries.iter().find(|delivery| delivery.step == step.index);
            let Some(delivery) = delivery else {
                return Err(format!("{}: step {} is approved and goes nowhere", planned.name, step.index));
            };
            match delivery.status() {
                // It is looked at again.
                api::DeliveryStatus::Pending => return Ok(()),
                api::DeliveryStatus::Taken if receiver.took(&delivery.id) => {}
                status => {
                    return Err(format!(
                        "{}: the delivery of step {} is {status:?} ({}), and the receiver has {}it",
                        planned.name,
                        step.index,
                        delivery.problem,
                        if receiver.took(&delivery.id) { "" } else { "not " }
                    ));
                }
            }
        }
        let request = api::ReportOutcomeRequest {
            name: planned.name.clone(),
            step: step.index,
            state: step.state_before.map(one_better),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::ReportOutcomeRequest::default()
        };
        self.insist_or_late(planned, async |client| client.report_outcome(request.clone()).await.map(drop))
            .await
    }

    /// As [`Self::insist`], for a change that may have been made by a call whose answer was lost.
    async fn insist_or_late(
        &self,
        planned: &Planned,
        call: impl AsyncFn(&mut IncidentServiceClient<Channel>) -> Result<(), tonic::Status>,
    ) -> Result<(), String> {
        self.insist(planned, async |client| match call(client).await {
            // The incident says what came of it.
            Err(status) if status.code() == tonic::Code::FailedPrecondition => Ok(tonic::Response::new(())),
            answer => answer.map(tonic::Response::new),
        })
        .await
    }

    /// Asks one coordinator after the other until one answers.
    async fn insist<T>(
        &self,
        planned: &Planned,
        call: impl AsyncFn(&mut IncidentServiceClient<Channel>) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, String> {
        insist(&self.all, planned, call).await
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
}

async fn insist<T>(
    clients: &[IncidentServiceClient<Channel>],
    planned: &Planned,
    call: impl AsyncFn(&mut IncidentServiceClient<Channel>) -> Result<tonic::Response<T>, tonic::Status>,
) -> Result<T, String> {
    let mut last = String::new();
    for client in clients.iter().cycle().skip(planned.index as usize % clients.len()) {
        match call(&mut client.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => last = status.to_string(),
        }
        if Instant::now() > planned.until {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("no coordinator answers: {last}"))
}

fn last_step(incident: &api::Incident) -> Option<&api::PlanStep> {
    incident.plan.as_ref()?.steps.last()
}

/// The state with the first thing true that was not.
fn one_better(mut state: api::RecoveryState) -> api::RecoveryState {
    let facts = [
        &mut state.is_attack_contained,
        &mut state.is_knowledge_sufficient,
        &mut state.are_forensics_preserved,
        &mut state.is_eradicated,
        &mut state.is_hardened,
        &mut state.is_recovered,
    ];
    if let Some(fact) = facts.into_iter().find(|fact| !**fact) {
        *fact = true;
    }
    state
}

/// What was decided, without what depends on time and place.
fn decisions(incident: &api::Incident) -> Decisions {
    let mut plan = incident.plan.clone().unwrap_or_default();
    plan.usage = None;
    for step in &mut plan.steps {
        step.usage = None;
        // When it was decided and approved is another time each time, and hashes cover the name of the incident.
        (step.decide_time, step.approvals) = (None, Vec::new());
        step.plan_hash.clear();
        step.candidates.iter_mut().for_each(|candidate| candidate.plan_hash.clear());
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

/// When something happened to an incident, and the beginning of what it was.
fn line(event: &api::IncidentEvent) -> String {
    let time = event.time.as_ref().map(ToString::to_string).unwrap_or_default();
    let what: String = format!("{:?}", event.kind).chars().take(120).collect();
    format!("  {} {time} {what}\n", event.sequence)
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
