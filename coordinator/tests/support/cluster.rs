//! A coordinator in this process, its scripted workers, and clients of both services.

use std::time::Duration;

use countermove_coordinator::discovery::WorkerUrl;
use countermove_coordinator::dispatch::DispatchOptions;
use countermove_coordinator::incidents::{IncidentOptions, Incidents, MemoryStore};
use countermove_coordinator::server::serve;
use countermove_coordinator::webhook::Webhook;
use countermove_coordinator::workers::Fleet;
use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{
    CreateIncidentRequest, Evidence, GetIncidentRequest, Incident, IncidentEvent, PlanEnded, PlanOptions,
    WatchIncidentRequest,
};
use countermove_proto::{Error, MAX_EVIDENCE_MESSAGE_BYTES, RequestId};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::worker::{FakeWorker, Script};
use super::{fleet, ready};

pub const SYSTEM: &str = "A small shop. The gateway is at 10.0.0.1. The web server at 10.0.0.5 runs Apache. The \
                          database at 10.0.0.6 holds orders. Staff work at 10.0.0.20.";

pub const ALERTS: &str = "\
03/14-01:15:00.325789  [**] [1:2001219:20] ET SCAN Potential SSH Scan [**] [Classification: Attempted Information Leak] [Priority: 2] {TCP} 203.0.113.9:44211 -> 10.0.0.5:22
03/14-01:15:02.100000  [**] [1:2001219:20] ET SCAN Potential SSH Scan [**] [Classification: Attempted Information Leak] [Priority: 2] {TCP} 203.0.113.9:44215 -> 10.0.0.6:22
03/14-01:20:07.500000  [**] [1:2006546:9] ET SCAN LibSSH Brute Force [**] [Classification: Attempted Administrator Privilege Gain] [Priority: 1] {TCP} 203.0.113.9:44300 -> 10.0.0.5:22
";

/// A running coordinator.
pub struct Cluster {
    pub workers: Vec<FakeWorker>,
    pub fleet: Fleet,
    pub incidents: Incidents,
    channel: Channel,
    shutdown: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// How a coordinator of a test is started.
pub struct Setup {
    pub scripts: Vec<Script>,
    pub others: Vec<WorkerUrl>,
    pub most_active: usize,
    pub webhook: Option<Webhook>,
    pub patience: Option<Duration>,
    pub drain: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            scripts: vec![Script::named("w-1"), Script::named("w-2")],
            others: Vec::new(),
            most_active: 100,
            webhook: None,
            patience: None,
            drain: Duration::from_millis(300),
        }
    }
}

impl Cluster {
    pub async fn start(setup: Setup) -> Self {
        let workers: Vec<_> = setup.scripts.into_iter().map(FakeWorker::start).collect();
        let fleet = fleet(workers.iter().map(|worker| worker.url.clone()).chain(setup.others));
        ready(&fleet, workers.len()).await;
        let options = IncidentOptions {
            dispatch: DispatchOptions {
                worker_wait: Duration::from_millis(300),
                ..DispatchOptions::default()
            },
            most_active: setup.most_active,
            webhook: setup.webhook,
            patience: setup.patience,
            ..IncidentOptions::default()
        };
        let incidents = Incidents::new(MemoryStore::new(50), fleet.clone(), options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, stopped) = oneshot::channel();
        let served = (incidents.clone(), fleet.clone());
        let server = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(served.0, served.1, listener.into(), setup.drain, stopped).await.unwrap();
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { workers, fleet, incidents, channel, shutdown: Some(shutdown), server }
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn api(&self) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.channel())
            .max_encoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
    }

    pub fn cluster_api(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel())
    }

    /// Creates an incident and gives its name.
    pub async fn create(&self, options: PlanOptions) -> String {
        let response = self.api().create_incident(create_request(options)).await.unwrap().into_inner();
        response.incident.unwrap().name
    }

    pub async fn get(&self, name: &str) -> Incident {
        let request = GetIncidentRequest { name: name.to_owned() };
        self.api().get_incident(request).await.unwrap().into_inner().incident.unwrap()
    }

    /// Opens a watch and reads it to its end.
    pub async fn events(&self, name: &str, resume_after: u64) -> Vec<IncidentEvent> {
        let mut watch = self.watch(name, resume_after).await;
        let mut events = Vec::new();
        while let Some(event) = watch.event().await {
            events.push(event);
        }
        events
    }

    pub async fn watch(&self, name: &str, resume_after: u64) -> Watch {
        let request = WatchIncidentRequest { name: name.to_owned(), resume_after };
        Watch(self.api().watch_incident(request).await.unwrap().into_inner())
    }

    /// Waits for the end of an incident and gives it.
    pub async fn ended(&self, name: &str) -> PlanEnded {
        match self.events(name, 0).await.pop().and_then(|event| event.kind) {
            Some(Kind::Ended(ended)) => ended,
            other => panic!("the last event is {other:?}"),
        }
    }

    /// Tells the server to stop.
    pub fn stop(&mut self) {
        drop(self.shutdown.take());
    }

    /// Waits until the server has stopped.
    pub async fn stopped(&mut self) {
        (&mut self.server).await.unwrap();
    }
}

/// The updates of an incident.
pub struct Watch(tonic::Streaming<countermove_proto::v1::WatchIncidentResponse>);

impl Watch {
    /// The next update of any kind.
    pub async fn update(&mut self) -> Option<Update> {
        let next =
            tokio::time::timeout(Duration::from_secs(20), self.0.message()).await.expect("an update in time");
        next.unwrap().map(|response| response.update.expect("an update"))
    }

    /// The next event.
    pub async fn event(&mut self) -> Option<IncidentEvent> {
        loop {
            match self.update().await? {
                Update::Event(event) => return Some(event),
                Update::Progress(_) => {}
            }
        }
    }

    /// Reads until an event that fits.
    pub async fn until<T>(&mut self, mut fits: impl FnMut(Kind) -> Option<T>) -> T {
        loop {
            let event = self.event().await.expect("more events");
            if let Some(found) = event.kind.and_then(&mut fits) {
                return found;
            }
        }
    }
}

pub fn evidence() -> Evidence {
    Evidence {
        system_description: SYSTEM.to_owned(),
        alerts: ALERTS.to_owned(),
        constraints: vec!["The web server stays reachable.".to_owned()],
        ..Evidence::default()
    }
}

pub fn create_request(options: PlanOptions) -> CreateIncidentRequest {
    CreateIncidentRequest {
        evidence: Some(evidence()),
        options: Some(options),
        request_id: RequestId::generate().to_string(),
        ..CreateIncidentRequest::default()
    }
}

/// Options of a short plan that can be repeated, with a number of rollouts that is known.
pub fn options() -> PlanOptions {
    PlanOptions { seed: Some(7), max_steps: 4, rollouts: 3, exhaustive: true, ..PlanOptions::default() }
}

/// The error behind a refused call.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> Error {
    Error::from(result.expect_err("the call should be refused"))
}

/// Fields that a refused call names.
pub fn fields<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> Vec<String> {
    match refusal(result) {
        Error::InvalidArgument(violations) => {
            violations.into_iter().map(|violation| violation.field).collect()
        }
        other => panic!("{other:?}"),
    }
}
