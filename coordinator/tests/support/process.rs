//! Coordinators as processes, which can be killed.

use std::process::Command;
use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{
    GetIncidentRequest, Incident, IncidentEvent, PlanOptions, PlanStep, VerifyIncidentRequest,
    WatchIncidentRequest,
};
use countermove_tests::{Process, Signal};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::cluster::create_request;

/// Time that anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A coordinator that runs.
pub struct Coordinator {
    pub process: Process,
    pub url: String,
}

impl Coordinator {
    /// Starts one over these workers and this store.
    pub fn start(workers: &str, store: &str, flags: &[&str]) -> Self {
        let flags: Vec<&str> = ["--workers", workers].iter().chain(flags).copied().collect();
        Self::start_with(store, &flags)
    }

    /// Starts one with these flags. Whoever it replaces counts as gone after a second, unless the flags say otherwise.
    pub fn start_with(store: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countermove-coordinator"));
        command.args(["--listen", "127.0.0.1:0", "--store", store]);
        if !flags.contains(&"--lease") {
            command.args(["--lease", "1"]);
        }
        command.args(flags);
        let mut process = Process::start("coordinator", &mut command);
        let url = format!("http://{}", process.address(PATIENCE));
        Self { process, url }
    }

    /// Kills it.
    pub async fn kill(mut self) {
        self.process.signal(Signal::Kill);
        self.process.exit_code(PATIENCE).await;
    }

    pub fn api(&self) -> IncidentServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(self.url.clone()).expect("an address");
        IncidentServiceClient::new(endpoint.connect_lazy())
    }

    pub async fn create(&self, options: PlanOptions) -> String {
        let created = self.api().create_incident(create_request(options)).await.expect("created");
        created.into_inner().incident.expect("an incident").name
    }

    pub async fn get(&self, name: &str) -> Incident {
        let request = GetIncidentRequest { name: name.to_owned() };
        self.api().get_incident(request).await.expect("an answer").into_inner().incident.expect("an incident")
    }

    /// Events after a number: until one fits, or to the end.
    pub async fn events(&self, name: &str, after: u64, fits: impl Fn(&Kind) -> bool) -> Vec<IncidentEvent> {
        let request = WatchIncidentRequest { name: name.to_owned(), resume_after: after };
        let mut watch = self.api().watch_incident(request).await.expect("a watch").into_inner();
        let mut events = Vec::new();
        while let Some(update) = timeout(PATIENCE, watch.message()).await.expect("in time").expect("whole") {
            if let Some(Update::Event(event)) = update.update {
                let found = event.kind.as_ref().is_some_and(&fits);
                events.push(event);
                if found {
                    break;
                }
            }
        }
        events
    }

    /// Checks the chain, and gives the number of its events.
    pub async fn verify(&self, name: &str) -> u64 {
        let request = VerifyIncidentRequest { name: name.to_owned(), sequence: 0 };
        let found = self.api().verify_incident(request).await.expect("an answer").into_inner();
        assert_eq!((found.broken_event, found.problem.as_str()), (0, ""));
        found.events
    }
}

/// What was decided, without what depends on time.
pub fn decisions(incident: &Incident) -> Vec<PlanStep> {
    let mut steps = incident.plan.clone().expect("a plan").steps;
    for step in &mut steps {
        step.usage = None;
        step.decide_time = None;
        step.candidates.iter_mut().for_each(|candidate| candidate.plan_hash.clear());
        // It covers the name of the incident.
        step.plan_hash.clear();
    }
    steps
}

/// Checks that events are numbered without a gap and tell nothing twice.
pub fn assert_told_once(events: &[IncidentEvent]) {
    assert!(events.iter().map(|event| event.sequence).eq(1..=events.len() as u64), "numbers have no gap");
    let mut told: Vec<String> = events
        .iter()
        .filter_map(|event| match event.kind.as_ref()? {
            Kind::Rollout(r) => Some(format!("rollout {} {} {}", r.step, r.candidate, r.rollout)),
            Kind::Proposed(p) => Some(format!("candidates of step {}", p.step)),
            Kind::Decided(step) => Some(format!("decision {}", step.index)),
            Kind::Approved(approved) => Some(format!("approval {}", approved.step)),
            Kind::Outcome(outcome) => Some(format!("outcome {}", outcome.step)),
            Kind::Created(_) => Some("creation".to_owned()),
            Kind::Assessed(_) => Some("assessment".to_owned()),
            Kind::Ended(_) => Some("end".to_owned()),
            _ => None,
        })
        .collect();
    let count = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), count, "something was told twice: {told:#?}");
}
