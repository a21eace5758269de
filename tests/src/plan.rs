//! Planning through the API, and comparing two plans.

use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use tokio::time::timeout_at;
use tonic::Streaming;

use crate::cluster::Cluster;
use crate::{PATIENCE_SECONDS, evidence};

/// Options of a plan that takes seconds: two steps of two candidates with three rollouts each, no reasoning.
pub fn small_options(seed: u64) -> api::PlanOptions {
    api::PlanOptions {
        candidates: 2,
        rollouts: 3,
        max_depth: 2,
        max_steps: 1,
        exhaustive: true,
        seed: Some(seed),
        thinking_tokens: Some(0),
        ..api::PlanOptions::default()
    }
}

/// An incident that is being planned and watched.
pub struct Planning<'a> {
    /// Name of the incident.
    pub name: String,
    /// Events seen so far, without gaps.
    pub events: Vec<api::IncidentEvent>,
    /// What is being done now, as far as the coordinator has said.
    progress: api::Progress,
    cluster: &'a Cluster,
    stream: Streaming<api::WatchIncidentResponse>,
}

/// An incident that is looked away from, to be watched again.
pub struct Unwatched {
    name: String,
    events: Vec<api::IncidentEvent>,
}

/// A plan that has ended.
pub struct PlanRun {
    /// The incident as it stands at the end.
    pub incident: api::Incident,
    /// Its whole history.
    pub events: Vec<api::IncidentEvent>,
    /// The plan as JSON.
    pub document: serde_json::Value,
    /// Time from the first request to the last event.
    pub elapsed: Duration,
}

impl<'a> Planning<'a> {
    /// Creates an incident from the sample evidence and watches it.
    ///
    /// # Panics
    /// If the coordinator refuses it.
    pub async fn start(cluster: &'a Cluster, options: api::PlanOptions) -> Self {
        let request = api::CreateIncidentRequest {
            evidence: Some(evidence()),
            options: Some(options),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::CreateIncidentRequest::default()
        };
        let answer = cluster.incidents().create_incident(request).await;
        let created = answer.unwrap_or_else(|status| panic!("CreateIncident: {status}")).into_inner();
        let name = created.incident.unwrap_or_else(|| panic!("CreateIncident gave no incident")).name;
        Self::resume(cluster, Unwatched { name, events: Vec::new() }).await
    }

    /// Looks away.
    pub fn pause(self) -> Unwatched {
        Unwatched { name: self.name, events: self.events }
    }

    /// Watches an incident again, after the last event that was seen.
    ///
    /// # Panics
    /// If the coordinator refuses it.
    pub async fn resume(cluster: &'a Cluster, Unwatched { name, events }: Unwatched) -> Self {
        let request = api::WatchIncidentRequest { name: name.clone(), resume_after: events.len() as u64 };
        let answer = cluster.incidents().watch_incident(request).await;
        let stream = answer.unwrap_or_else(|status| panic!("WatchIncident: {status}")).into_inner();
        Self { name, events, progress: api::Progress::default(), cluster, stream }
    }

    /// Takes the next update; false after the last.
    ///
    /// # Panics
    /// If the stream breaks, events come out of order, or nothing comes for too long.
    pub async fn next(&mut self) -> bool {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
        let message = timeout_at(deadline, self.stream.message())
            .await
            .unwrap_or_else(|_| {
                panic!("no update of {} for {PATIENCE_SECONDS} s: {:?}", self.name, self.progress)
            })
            .unwrap_or_else(|status| panic!("WatchIncident broke: {status}"));
        match message.map(|message| message.update) {
            None => false,
            Some(Some(Update::Event(event))) => {
                let expected = self.events.len() as u64 + 1;
                assert_eq!(event.sequence, expected, "events are numbered without gaps");
                self.events.push(event);
                true
            }
            Some(Some(Update::Progress(progress))) => {
                self.progress = progress;
                true
            }
            Some(None) => panic!("an update of {} is empty", self.name),
        }
    }

    /// Takes updates until `holds`.
    ///
    /// # Panics
    /// If planning ends before that.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        while !holds(self) {
            assert!(
                self.next().await,
                "planning ended before this happened: {what}; events: {:#?}",
                self.events
            );
        }
    }

    /// Whether rollouts of some step are under way: candidates are proposed, and none is chosen yet. That is told by events, since
    /// progress is told so seldom that a quick plan is past its rollouts before it is.
    pub fn in_rollouts(&self) -> bool {
        let turn = |event: &api::IncidentEvent| match event.kind {
            Some(Kind::Proposed(_)) => Some(true),
            Some(Kind::Decided(_) | Kind::Ended(_)) => Some(false),
            _ => None,
        };
        self.events.iter().rev().find_map(turn).unwrap_or(false)
    }

    /// Watches to the end.
    ///
    /// # Panics
    /// If it does not end as the contract says.
    pub async fn finish(mut self) -> PlanRun {
        let start = Instant::now();
        while self.next().await {}
        let elapsed = start.elapsed();
        let last = self.events.last().and_then(|event| event.kind.as_ref());
        assert!(
            matches!(last, Some(Kind::Ended(_))),
            "the last event of an incident says that it ended: {last:#?}"
        );
        let request = api::GetIncidentRequest { name: self.name.clone() };
        let answer = self.cluster.incidents().get_incident(request).await;
        let answer = answer.unwrap_or_else(|status| panic!("GetIncident: {status}")).into_inner();
        let incident = answer.incident.unwrap_or_else(|| panic!("GetIncident gave no incident"));
        let request =
            api::ExportPlanRequest { name: self.name.clone(), format: api::ExportFormat::Json.into() };
        let answer = self.cluster.incidents().export_plan(request).await;
        let export = answer.unwrap_or_else(|status| panic!("ExportPlan: {status}")).into_inner();
        let document = serde_json::from_slice(&export.content)
            .unwrap_or_else(|error| panic!("the exported plan is no JSON: {error}"));
        PlanRun { incident, events: self.events, document, elapsed }
    }
}

impl PlanRun {
    /// Plans the sample evidence from the beginning to the end.
    ///
    /// # Panics
    /// If planning breaks.
    pub async fn of(cluster: &Cluster, options: api::PlanOptions) -> Self {
        let start = Instant::now();
        let mut run = Planning::start(cluster, options).await.finish().await;
        run.elapsed = start.elapsed();
        run
    }

    /// Why planning ended.
    pub fn end(&self) -> api::PlanEnd {
        self.incident.plan.as_ref().map(api::Plan::end).unwrap_or_default()
    }

    /// The workers that ran rollouts, in alphabetical order.
    pub fn workers(&self) -> Vec<String> {
        let mut names: Vec<String> = self.rollouts().map(|rollout| rollout.worker.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The rollouts in the order in which they ended.
    pub fn rollouts(&self) -> impl Iterator<Item = &api::RolloutFinished> {
        self.events.iter().filter_map(|event| match &event.kind {
            Some(Kind::Rollout(rollout)) => Some(rollout),
            _ => None,
        })
    }

    /// What the coordinator told about its workers and other matters.
    pub fn notices(&self) -> Vec<&str> {
        let notice = |event: &'_ api::IncidentEvent| matches!(event.kind, Some(Kind::Notice(_)));
        self.events
            .iter()
            .filter(|event| notice(event))
            .filter_map(|event| match &event.kind {
                Some(Kind::Notice(notice)) => Some(notice.text.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// Everything that a plan decides, as text that two runs can be compared by: no times, no usage, no names of workers
/// or of the incident itself, rollouts in the order of their keys.
pub fn fingerprint(run: &PlanRun) -> String {
    let mut incident = run.incident.clone();
    incident.name = String::new();
    incident.create_time = None;
    incident.update_time = None;
    // A lost worker adds a notice to the history, and rollouts of a lost worker are not reported twice.
    incident.last_sequence = 0;
    if let Some(plan) = &mut incident.plan {
        plan.usage = None;
        for step in &mut plan.steps {
            step.usage = None;
            step.decide_time = None;
            step.plan_hash.clear();
            step.candidates.iter_mut().for_each(|candidate| candidate.plan_hash.clear());
        }
    }
    let mut rollouts: Vec<_> = run
        .rollouts()
        .map(|rollout| {
            (rollout.step, rollout.candidate, rollout.rollout, rollout.end(), rollout.cost, rollout.depth)
        })
        .collect();
    rollouts.sort_by_key(|rollout| (rollout.0, rollout.1, rollout.2));
    format!("{incident:#?}\n{rollouts:#?}")
}
