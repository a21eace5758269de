//! What other programs see of the servers: services, health, errors, and which workers are refused.

use std::collections::BTreeSet;
use std::time::Duration;

use countermove_proto::PROTOCOL_VERSION;
use countermove_proto::v1 as api;
use countermove_proto::worker::v1 as wire;
use countermove_tests::{
    Cli, Cluster, ClusterOptions, FakeWorker, PlanRun, Postgres, ReservedPort, Signal, Worker, evidence,
    exclusive, identity, small_options,
};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

async fn connect(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    endpoint.connect().await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Names of the services that a server lists, as grpcurl asks for them.
async fn reflected(channel: Channel) -> BTreeSet<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .expect("reflection")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("reflection lists no services: {answer:?}")
    };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in names.iter().filter(|name| name.starts_with("countermove.")) {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(name.clone())),
        };
        let mut answers = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(tokio_stream::once(request))
            .await
            .expect("reflection")
            .into_inner();
        let answer = answers.message().await.expect("an answer").expect("one answer");
        assert!(
            matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))),
            "{name} can be described: {answer:?}"
        );
    }
    names
}

async fn health(channel: Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).check(request).await;
    answer.unwrap_or_else(|status| panic!("health of {service:?}: {status}")).into_inner().status()
}

fn names(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test]
async fn a_store_that_does_not_answer_shows_in_health_and_so_does_its_return() {
    let _turn = exclusive();
    let Some(mut server) = Postgres::start() else { return };
    let cluster = Cluster::start(ClusterOptions {
        workers: 1,
        coordinator_flags: vec!["--store".to_owned(), server.url()],
        ..ClusterOptions::default()
    })
    .await;
    let service = "countermove.v1.IncidentService";
    let becomes = async |expected: ServingStatus| {
        let begun = std::time::Instant::now();
        while health(cluster.channel(), service).await != expected {
            assert!(begun.elapsed() < Duration::from_secs(60), "health does not become {expected:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    becomes(ServingStatus::Serving).await;
    server.stop();
    becomes(ServingStatus::NotServing).await;
    server.resume();
    becomes(ServingStatus::Serving).await;
}

#[tokio::test]
async fn both_servers_reflect_their_services_and_serve_health() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;

    let listed = reflected(cluster.channel()).await;
    let expected =
        names(&["countermove.v1.IncidentService", "countermove.v1.ClusterService", "grpc.health.v1.Health"]);
    assert!(listed.is_superset(&expected), "the coordinator lists {listed:?}");
    assert!(
        !listed.contains("countermove.worker.v1.WorkerService"),
        "the coordinator is no worker: {listed:?}"
    );
    for service in ["", "countermove.v1.IncidentService", "countermove.v1.ClusterService"] {
        assert_eq!(health(cluster.channel(), service).await, ServingStatus::Serving, "{service:?}");
    }

    let worker = connect(&cluster.workers[0].url).await;
    let listed = reflected(worker.clone()).await;
    let expected = names(&["countermove.worker.v1.WorkerService", "grpc.health.v1.Health"]);
    assert!(listed.is_superset(&expected), "the worker lists {listed:?}");
    for service in ["", "countermove.worker.v1.WorkerService"] {
        assert_eq!(health(worker.clone(), service).await, ServingStatus::Serving, "{service:?}");
    }
}

fn fake(id: &str, protocol_version: u32, model: api::ModelIdentity) -> wire::GetModelResponse {
    wire::GetModelResponse {
        worker_id: id.to_owned(),
        protocol_version,
        model: Some(model),
        capacity: 8,
        context_length: 2048,
        ..wire::GetModelResponse::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_of_another_protocol_or_model_is_refused_by_name_and_gets_no_work() {
    let _turn = exclusive();
    let worker = Worker::start(0, 1, &[]);
    let own = {
        use countermove_proto::worker::v1::worker_service_client::WorkerServiceClient;
        let mut client = WorkerServiceClient::new(connect(&worker.url).await);
        client.get_model(wire::GetModelRequest {}).await.expect("GetModel").into_inner()
    };
    assert_eq!(own.protocol_version, PROTOCOL_VERSION);
    let own_model = own.model.expect("a model");
    assert_eq!(own_model.weights_sha256, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");

    let newer =
        FakeWorker::start(fake("worker-from-the-future", PROTOCOL_VERSION + 41, own_model.clone())).await;
    // The model of the first worker that is taken counts, so the stranger comes later.
    let port = ReservedPort::new().await;
    let other_prompts = api::ModelIdentity { templates_sha256: "d".repeat(64), ..own_model.clone() };
    let prompted =
        FakeWorker::start(fake("worker-with-other-prompts", PROTOCOL_VERSION, other_prompts)).await;
    let cluster = Cluster::start(ClusterOptions {
        other_workers: vec![worker.url.clone(), newer.url.clone(), port.url.clone(), prompted.url.clone()],
        ..ClusterOptions::default()
    })
    .await;
    cluster.wait_for("test-worker-0", "ready", |found| found.status() == api::WorkerStatus::Ready).await;
    let other_model = api::ModelIdentity {
        templates_sha256: own_model.templates_sha256.clone(),
        ..identity("stranger-7b")
    };
    let stranger =
        FakeWorker::start_on(port, fake("worker-with-a-stranger", PROTOCOL_VERSION, other_model)).await;
    let refused = |worker: &api::Worker| worker.status() == api::WorkerStatus::Refused;
    let found = cluster.wait_for("worker-from-the-future", "refused", refused).await;
    assert!(
        found.status_reason.contains(&(PROTOCOL_VERSION + 41).to_string()),
        "the reason names the version: {found:?}"
    );
    assert_eq!(found.protocol_version, PROTOCOL_VERSION + 41);
    let found = cluster.wait_for("worker-with-a-stranger", "refused", refused).await;
    assert!(found.status_reason.contains("stranger-7b"), "the reason names the model: {found:?}");

    let found = cluster.wait_for("worker-with-other-prompts", "refused", refused).await;
    assert!(found.status_reason.contains("templates"), "the reason names the templates: {found:?}");

    let run = PlanRun::of(&cluster, small_options(3)).await;
    assert_eq!(run.incident.error, "");
    let work = [newer.work(), stranger.work(), prompted.work()];
    assert_eq!(work, [0; 3], "a refused worker gets no work");
    let listed = Cli::new(&cluster.url, ["workers", "list"]).run().await;
    listed.assert_success();
    for word in ["worker-from-the-future", "worker-with-a-stranger", "refused"] {
        assert!(listed.stdout.to_lowercase().contains(word), "{word} is in the list: {listed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_computes_in_another_way_is_refused_and_gets_no_work() {
    let _turn = exclusive();
    let mut other = Worker::start(1, 2, &["--weights".to_owned(), "f32".to_owned()]);
    // The first worker that answers says how the cluster computes, so the other one keeps silent meanwhile.
    other.process.signal(Signal::Stop);
    let cluster = Cluster::start(ClusterOptions {
        workers: 1,
        other_workers: vec![other.url.clone()],
        ..ClusterOptions::default()
    })
    .await;
    other.process.signal(Signal::Continue);
    let refused = |worker: &api::Worker| worker.status() == api::WorkerStatus::Refused;
    let found = cluster.wait_for(&other.id, "refused", refused).await;
    let own = cluster.wait_for("test-worker-0", "ready", |_| true).await.model.expect("a model");
    let its = found.model.expect("a model");
    assert_eq!((&own.weights_sha256, &own.adapter_sha256), (&its.weights_sha256, &its.adapter_sha256));
    assert!(own.arithmetic.contains("q8_0") && its.arithmetic.contains("f32"), "{own:?} and {its:?}");
    for word in [own.arithmetic.as_str(), &its.arithmetic, "--weights", "cluster of its own"] {
        assert!(found.status_reason.contains(word), "{word} is not in {:?}", found.status_reason);
    }

    let run = PlanRun::of(&cluster, small_options(3)).await;
    assert_eq!(run.incident.error, "");
    assert_eq!(run.incident.model.expect("a model").arithmetic, own.arithmetic);
    let found = cluster.wait_for(&other.id, "refused", refused).await;
    assert_eq!((found.rollouts_finished, found.tokens_generated), (0, 0), "it gets no work");
}

#[tokio::test]
async fn without_a_worker_a_plan_fails_with_one_clear_sentence() {
    let _turn = exclusive();
    // Nobody listens on the discard port of this machine.
    let cluster = Cluster::start(ClusterOptions {
        other_workers: vec!["http://127.0.0.1:9".to_owned()],
        ..ClusterOptions::default()
    })
    .await;
    let output =
        Cli::new(&cluster.url, ["plan", "--incident"]).arg(countermove_tests::incident_folder()).run().await;
    output.assert_failure(&["no worker", "127.0.0.1:9"]);
    assert!(output.elapsed < Duration::from_secs(60), "it took {:?}", output.elapsed);
    let listed = Cli::new(&cluster.url, ["workers", "list"]).run().await;
    listed.assert_success();
    assert!(listed.stdout.contains("127.0.0.1:9"), "the list names the address: {listed:#?}");
}

#[tokio::test]
async fn without_a_coordinator_the_command_says_where_it_looked() {
    let output = Cli::new("http://127.0.0.1:9", ["workers", "list"]).run().await;
    output.assert_refused(&["127.0.0.1:9"]);
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_refused_with_the_right_code() {
    let _turn = exclusive();
    let cluster = Cluster::start(ClusterOptions {
        other_workers: vec!["http://127.0.0.1:9".to_owned()],
        ..ClusterOptions::default()
    })
    .await;
    let mut client = cluster.incidents();
    let create = |evidence, options, request_id: &str| api::CreateIncidentRequest {
        evidence,
        options: Some(options),
        request_id: request_id.to_owned(),
        validate_only: true,
        ..api::CreateIncidentRequest::default()
    };
    let id = uuid::Uuid::now_v7().to_string();

    let status = client.create_incident(create(None, small_options(1), &id)).await.expect_err("no evidence");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("evidence") || status.message().contains("system"), "{status}");
    assert!(!status.details().is_empty(), "the status carries google.rpc details: {status}");

    let many = api::PlanOptions { candidates: 10_000, ..small_options(1) };
    let status =
        client.create_incident(create(Some(evidence()), many, &id)).await.expect_err("too many candidates");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("candidates"), "{status}");

    let status = client
        .create_incident(create(Some(evidence()), small_options(1), "not a uuid"))
        .await
        .expect_err("no UUID");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("request_id"), "{status}");

    let name = format!("incidents/{}", uuid::Uuid::now_v7());
    let status = client.get_incident(api::GetIncidentRequest { name }).await.expect_err("no such incident");
    assert_eq!(status.code(), Code::NotFound, "{status}");

    let bad_name = api::GetIncidentRequest { name: "../../etc/passwd".to_owned() };
    let status = client.get_incident(bad_name).await.expect_err("no name");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");

    // Checking starts nothing.
    let answer =
        client.create_incident(create(Some(evidence()), small_options(1), &id)).await.expect("a good one");
    assert_eq!(answer.into_inner().digest.unwrap_or_default().alerts, 4);
    let listed = client.list_incidents(api::ListIncidentsRequest::default()).await.expect("ListIncidents");
    assert!(listed.into_inner().incidents.is_empty(), "validate_only starts nothing");
}

#[tokio::test]
async fn a_repeated_request_id_creates_one_incident() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let mut client = cluster.incidents();
    let request = api::CreateIncidentRequest {
        evidence: Some(evidence()),
        options: Some(small_options(5)),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..api::CreateIncidentRequest::default()
    };
    let first = client.create_incident(request.clone()).await.expect("first").into_inner();
    let again = client.create_incident(request).await.expect("again").into_inner();
    let name = |response: &api::CreateIncidentResponse| response.incident.clone().unwrap_or_default().name;
    assert_eq!(name(&first), name(&again));
    let listed = client.list_incidents(api::ListIncidentsRequest::default()).await.expect("ListIncidents");
    assert_eq!(listed.into_inner().incidents.len(), 1);
    let cancel = api::CancelIncidentRequest {
        name: name(&first),
        request_id: uuid::Uuid::now_v7().to_string(),
        validate_only: false,
    };
    client.cancel_incident(cancel).await.expect("CancelIncident");
    cluster.wait_until_idle(Duration::from_secs(10)).await;
}
