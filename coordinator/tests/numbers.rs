//! Numbers as nobody means them, in every message that a coordinator reads: from a client, and from a worker. Whatever comes,
//! it answers, with a refusal that names the field or with what was asked for, and goes on.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use countermove_proto::testing::{Extreme, extremes, methods};
use countermove_proto::v1::{self, IncidentStatus, PlanEnd, PlanMode, PlanOptions, WorkerStatus};
use countermove_proto::{Error, RequestId, WorkerId};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use support::cluster::{Cluster, Setup, create_request, options};
use support::worker::Script;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Time in which an answer has to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The request with one number changed.
fn with<M: Message + Default + Clone>(request: &M, extreme: &Extreme) -> M {
    let mut request = request.clone();
    request.merge(extreme.bytes.as_slice()).unwrap();
    request
}

/// What a caller may hear: that its message cannot be used, or that there is no such thing.
fn is_refusal(status: &Status) -> bool {
    let ours = matches!(
        Error::from(status),
        Error::InvalidArgument(_) | Error::NotFound { .. } | Error::Precondition { .. }
    );
    ours && status.code() != Code::Internal
}

/// Calls that carry bytes, so that one test reaches every method, those of tomorrow as well.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// The first message of the answer to a call; `None` if the answer holds none.
async fn call(channel: &Channel, path: &str, request: Vec<u8>) -> Result<Option<Vec<u8>>, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path = path.parse().expect("a path");
    client.server_streaming(tonic::Request::new(request), path, Bytes).await?.into_inner().message().await
}

/// A plan of one step with little in it.
fn short() -> PlanOptions {
    PlanOptions { max_steps: 1, candidates: 2, rollouts: 2, max_depth: 3, ..options() }
}

#[tokio::test]
async fn every_number_of_a_new_incident_is_taken_or_refused_by_name() {
    let cluster = Cluster::start(Setup::default()).await;
    let (mut taken, mut refused) = (0, 0);
    for extreme in extremes("countermove.v1.CreateIncidentRequest") {
        let request = with(&create_request(short()), &extreme);
        let request = v1::CreateIncidentRequest { request_id: RequestId::generate().to_string(), ..request };
        let created = tokio::time::timeout(PATIENCE, cluster.api().create_incident(request)).await;
        let created = match created.unwrap_or_else(|_| panic!("{extreme:?}: no answer")) {
            Ok(created) => created.into_inner(),
            Err(status) => {
                assert!(is_refusal(&status), "{extreme:?}: {status:?}");
                refused += 1;
                continue;
            }
        };
        taken += 1;
        let incident = created.incident.expect("an incident");
        assert!(created.digest.is_some() && !incident.name.is_empty(), "{extreme:?} gave an empty answer");
        if incident.options.unwrap_or_default().mode() == PlanMode::Interactive {
            let name = incident.name.clone();
            let request = v1::CancelIncidentRequest { name, ..Default::default() };
            cluster.api().cancel_incident(request).await.unwrap();
        }
        let ended = cluster.ended(&incident.name).await;
        assert_ne!(ended.end(), PlanEnd::Failed, "{extreme:?}: {}", ended.error);
        let stands = cluster.get(&incident.name).await;
        assert_eq!(stands.status(), IncidentStatus::Ended, "{extreme:?}");
    }
    assert!(taken > 20 && refused > 20, "{taken} were taken and {refused} refused");
}

#[tokio::test]
async fn every_number_of_the_other_calls_is_taken_or_refused_by_name() {
    let cluster = Cluster::start(Setup::default()).await;
    let name = cluster.create(short()).await;
    cluster.ended(&name).await;
    let interactive = PlanOptions { mode: PlanMode::Interactive.into(), ..short() };
    let waiting = cluster.create(interactive).await;
    let mut watch = cluster.watch(&waiting, 0).await;
    watch.until(|kind| matches!(kind, v1::incident_event::Kind::Decided(_)).then_some(())).await;
    // Names are the first field of every request that has one; what else a call needs is here.
    let state = Some(v1::RecoveryState::default());
    let outcome = v1::ReportOutcomeRequest { name: waiting.clone(), state, ..Default::default() };
    let (reason, plan_hash) = ("no".to_owned(), "0".repeat(64));
    let rejection =
        v1::RejectActionRequest { name: waiting.clone(), reason, validate_only: true, ..Default::default() };
    let approval = v1::ApproveActionRequest { name: waiting.clone(), plan_hash, ..Default::default() };
    let mut calls = 0;
    for method in methods("countermove.v1") {
        for extreme in extremes(&method.request) {
            let mut request = match method.name.as_str() {
                // It has a test of its own.
                "CreateIncident" => continue,
                "ReportOutcome" => outcome.encode_to_vec(),
                "RejectAction" => rejection.encode_to_vec(),
                "ApproveAction" => approval.encode_to_vec(),
                name if name.starts_with("List") || name == "WatchIncidents" => Vec::new(),
                _ => v1::GetIncidentRequest { name: name.clone() }.encode_to_vec(),
            };
            request.extend(&extreme.bytes);
            calls += 1;
            let what = format!("{} with {} = {}", method.name, extreme.field, extreme.value);
            let path = format!("/{}/{}", method.service, method.name);
            let answer = tokio::time::timeout(PATIENCE, call(&cluster.channel(), &path, request)).await;
            match answer.unwrap_or_else(|_| panic!("{what}: no answer")) {
                // An empty list is an empty message: nothing is signed in memory, and nobody is asked who calls.
                Ok(Some(_)) if ["ListCheckpoints", "ListTokens"].contains(&method.name.as_str()) => {}
                Ok(Some(_)) if method.name == "ListIncidents" && extreme.field.starts_with("filter") => {}
                Ok(answer) => {
                    assert!(answer.is_some_and(|message| !message.is_empty()), "{what} answers nothing");
                    assert_ne!(method.name, "ApproveAction", "{what} approves by a hash of nothing");
                }
                // Where nobody is asked who calls there are no tokens, whatever they are to be.
                Err(status) if method.name == "CreateToken" => {
                    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{what}: {status:?}");
                }
                Err(status) => assert!(is_refusal(&status), "{what}: {status:?}"),
            }
        }
    }
    assert!(calls > 20, "{calls} calls");
    assert_eq!(cluster.get(&waiting).await.status(), IncidentStatus::AwaitingApproval);
}

#[tokio::test]
async fn whatever_numbers_a_worker_answers_an_incident_ends_and_the_coordinator_goes_on() {
    let cluster = Cluster::start(Setup { scripts: vec![Script::named("w-1")], ..Setup::default() }).await;
    let script = &cluster.workers[0].script;
    let mut failed = 0;
    for message in ["countermove.worker.v1.GenerateResponse", "countermove.worker.v1.RunRolloutsResponse"] {
        for extreme in extremes(message) {
            let what = format!("{message}.{} = {}", extreme.field, extreme.value);
            *script.garbled.lock().unwrap() = Some((message, extreme.bytes));
            // An operator believes it again each time.
            let id = WorkerId::new("w-1").unwrap();
            cluster.fleet.set_drained(&id, false, false).unwrap();
            support::ready(&cluster.fleet, 1).await;
            let name = cluster.create(short()).await;
            let ended = tokio::time::timeout(PATIENCE, cluster.ended(&name)).await;
            let ended = ended.unwrap_or_else(|_| panic!("{what}: the incident never ends"));
            assert_eq!(ended.end() == PlanEnd::Failed, !ended.error.is_empty(), "{what}: {}", ended.error);
            failed += u32::from(ended.end() == PlanEnd::Failed);
            let incident = cluster.get(&name).await;
            for candidate in incident.plan.unwrap_or_default().steps.iter().flat_map(|step| &step.candidates)
            {
                let cost = candidate.cost.unwrap_or_default();
                let figures = [cost.mean, cost.variance, cost.low, cost.high];
                assert!(figures.into_iter().flatten().all(f64::is_finite), "{what}: {cost:?}");
            }
        }
    }
    assert!(failed > 10, "{failed} incidents failed: most of these answers cannot be used");
    *script.garbled.lock().unwrap() = None;
    cluster.fleet.set_drained(&WorkerId::new("w-1").unwrap(), false, false).unwrap();
    support::ready(&cluster.fleet, 1).await;
    let name = cluster.create(short()).await;
    assert_ne!(cluster.ended(&name).await.end(), PlanEnd::Failed, "an honest worker is believed again");
}

#[tokio::test]
async fn a_worker_whose_figures_cannot_be_is_refused_by_name() {
    let message = "countermove.worker.v1.GetModelResponse";
    let mut refused = Vec::new();
    for extreme in extremes(message) {
        let what = format!("{} = {}", extreme.field, extreme.value);
        let script = Script::named("w-1");
        *script.garbled.lock().unwrap() = Some((message, extreme.bytes));
        let worker = support::worker::FakeWorker::start(script);
        let fleet = support::fleet([worker.url.clone()]);
        let known = || fleet.list()[0].status();
        support::until(&what, || matches!(known(), WorkerStatus::Ready | WorkerStatus::Refused)).await;
        if known() == WorkerStatus::Refused {
            let reason = fleet.list()[0].status_reason.clone();
            assert!(!reason.is_empty(), "{what}: nobody says why");
            refused.push(what);
        }
    }
    assert!(refused.contains(&"capacity = 4294967295".to_owned()), "{refused:?}");
    assert!(!refused.contains(&"capacity = 1".to_owned()), "{refused:?}");
}
