//! A client that behaves.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::{CreateIncidentRequest, GetIncidentRequest, WatchIncidentRequest};
use countermove_tests::{evidence, small_options};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

/// Where it calls from.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Time between two calls.
const PAUSE: Duration = Duration::from_millis(20);
/// Of its calls, one in so many is made over a new connection.
const ANEW: usize = 5;
/// Time after which a call has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Over what a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A connection that it has.
    Call,
    /// One that it makes.
    Connection,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) kind: Kind,
    pub(super) begun: Instant,
    pub(super) took: Duration,
    /// Why it failed, if it did.
    pub(super) problem: Option<String>,
}

/// Asks for an incident again and again, on a thread of its own, until the program ends.
pub(super) struct Caller(Arc<Mutex<Vec<Sample>>>);

impl Caller {
    /// Creates the incident and begins.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn start(address: &str) -> Result<Self, String> {
        let url = format!("http://{address}");
        let endpoint =
            Endpoint::from_shared(url).map_err(|error| error.to_string())?.local_address(Some(ADDRESS));
        let request = CreateIncidentRequest {
            evidence: Some(evidence()),
            options: Some(small_options(1)),
            ..CreateIncidentRequest::default()
        };
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        let mut client = IncidentServiceClient::new(channel);
        let created = client.create_incident(request).await;
        let incident = created.map_err(|status| status.to_string())?.into_inner().incident;
        let name = incident.ok_or("CreateIncident gave no incident")?.name;
        // What is idle is told nothing, so planning has to be over.
        let watched =
            client.watch_incident(WatchIncidentRequest { name: name.clone(), resume_after: 0 }).await;
        let mut watched = watched.map_err(|status| status.to_string())?.into_inner();
        while watched.message().await.map_err(|status| status.to_string())?.is_some() {}
        let samples = Arc::default();
        let kept = Arc::clone(&samples);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        thread::spawn(move || runtime.block_on(call(&endpoint, &name, &kept)));
        Ok(Self(samples))
    }

    /// What became of its calls so far.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn call(endpoint: &Endpoint, name: &str, samples: &Mutex<Vec<Sample>>) {
    let kept = endpoint.connect_lazy();
    for number in 1_usize.. {
        let kind = if number.is_multiple_of(ANEW) { Kind::Connection } else { Kind::Call };
        let begun = Instant::now();
        let asked = async {
            let channel = match kind {
                Kind::Call => kept.clone(),
                Kind::Connection => endpoint.connect().await.map_err(|error| format!("{error:?}"))?,
            };
            get(channel, name).await
        };
        let problem = match timeout(PATIENCE, asked).await {
            Ok(asked) => asked.err(),
            Err(_) => Some(format!("there was no answer after {PATIENCE:?}")),
        };
        let sample = Sample { kind, begun, took: begun.elapsed(), problem };
        samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn get(channel: Channel, name: &str) -> Result<(), String> {
    let request = GetIncidentRequest { name: name.to_owned() };
    let asked = IncidentServiceClient::new(channel).get_incident(request).await;
    asked.map(drop).map_err(|status| status.to_string())
}
