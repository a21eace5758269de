//! A served worker with a model that is a fake: streaming, cancellation, overload, deadlines and drain, over a real
//! connection.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countermove_planner::{
    Answer, Answers, LanguageModel, ModelError, Question, Templates, TokenCounter, Usage, Weighed,
};
use countermove_proto::testing::{extremes, methods};
use countermove_proto::v1::{ModelIdentity, RecoveryState};
use countermove_proto::worker::v1 as wire;
use countermove_proto::worker::v1::generate_response::Event;
use countermove_proto::worker::v1::run_rollouts_response::Event as Update;
use countermove_proto::worker::v1::worker_service_client::WorkerServiceClient;
use countermove_proto::{Error, Outage, PROTOCOL_VERSION, WorkerId};
use countermove_worker::{EngineStats, Limits, Replica, ServeError, ServedModel, Worker, serve};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const PATIENCE: Duration = Duration::from_secs(10);

/// Answers every question by its schema once it has a pass from the gate.
#[derive(Clone)]
struct Fake {
    gate: Arc<Semaphore>,
    live: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
    fails: bool,
    /// Closed when the engine is to end.
    engine: Arc<Semaphore>,
}

impl Fake {
    fn new(passes: usize) -> Self {
        Self {
            gate: Arc::new(Semaphore::new(passes)),
            live: Arc::default(),
            peak: Arc::default(),
            fails: false,
            engine: Arc::new(Semaphore::new(0)),
        }
    }

    /// Ends as an engine does whose thread panics: with nothing answered.
    fn die(&self) {
        self.gate.close();
        self.engine.close();
    }

    fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    async fn wait_for_live(&self, count: usize) {
        let reached = async {
            while self.live.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let live = &self.live;
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{live:?} are live, not {count}"));
    }
}

/// One question that is being answered.
struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ServedModel for Fake {
    fn stats(&self) -> EngineStats {
        EngineStats { efficient_sequences: 1, ..EngineStats::default() }
    }

    async fn ended(&self) {
        assert!(self.engine.acquire().await.is_err(), "no pass is given");
    }
}

impl LanguageModel for Fake {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        let live = self.live.fetch_add(1, Ordering::SeqCst) + 1;
        let _live = Live(Arc::clone(&self.live));
        self.peak.fetch_max(live, Ordering::SeqCst);
        tokens.add(7);
        let pass = self.gate.acquire().await;
        if self.engine.is_closed() {
            return Err(ModelError::Unavailable("the engine has stopped".to_owned()));
        }
        pass.unwrap().forget();
        if self.fails {
            return Err(ModelError::Unavailable("the device failed".to_owned()));
        }
        let properties = question.format.json_schema.get("properties").cloned().unwrap_or_default();
        let json = if countermove_incident::RecoveryState::NAMES
            .iter()
            .any(|name| properties.get(*name).is_some())
        {
            let facts = countermove_incident::RecoveryState::NAMES.map(|name| (name.to_owned(), json!(true)));
            Value::Object(facts.into_iter().collect())
        } else {
            json!({"Action": "Isolate 10.0.0.5 from the network."})
        };
        Ok(Answer {
            untuned: false,
            thinking: "hm".to_owned(),
            json: json.to_string(),
            complete: true,
            options: vec![Weighed { value: json.to_string(), probability: 1.0 }],
            usage: Usage { sampled_tokens: 7, ..Usage::default() },
        })
    }
}

/// A served worker.
struct Served {
    url: String,
    client: WorkerServiceClient<Channel>,
    shutdown: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<bool, ServeError>>,
}

impl Served {
    async fn start(model: Fake, places: usize, drain_timeout: Duration) -> Self {
        let replica = Replica {
            model,
            templates: Templates::load(None).unwrap(),
            identity: ModelIdentity { name: "fake".to_owned(), ..ModelIdentity::default() },
            context_length: 2048,
            answers: Answers::default(),
        };
        let worker = Worker::new(WorkerId::new("w-1").unwrap(), replica, Limits { batch: 2, places });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, asked) = oneshot::channel();
        let ended = tokio::spawn(async move {
            serve(worker, listener, drain_timeout, async {
                asked.await.ok();
            })
            .await
        });
        let client = WorkerServiceClient::connect(url.clone()).await.unwrap();
        Self { url, client, shutdown: Some(shutdown), ended }
    }

    fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    async fn ended(self) -> bool {
        drop(self.client);
        tokio::time::timeout(PATIENCE, self.ended).await.expect("it does not end").unwrap().unwrap()
    }

    async fn health(&self) -> ServingStatus {
        let endpoint = tonic::transport::Endpoint::from_shared(self.url.clone()).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        client.check(request).await.unwrap().into_inner().status()
    }
}

fn rollouts(count: u32) -> wire::RunRolloutsRequest {
    wire::RunRolloutsRequest {
        tenant: String::new(),
        incident: "incidents/test".to_owned(),
        system: "You respond to incidents.".to_owned(),
        context: vec!["A server at 10.0.0.5.".to_owned()],
        policy: Some(wire::RolloutPolicy { max_depth: 4, temperature: 0.6, top_p: 0.9, thinking_tokens: 0 }),
        rollouts: (0..count)
            .map(|rollout| wire::RolloutSpec {
                key: Some(wire::RolloutKey {
                    step: 1,
                    candidate: rollout % 3,
                    rollout,
                    seed: u64::from(rollout) + 100,
                }),
                // All that is missing is what the action brings about.
                state: Some(RecoveryState {
                    is_attack_contained: false,
                    is_knowledge_sufficient: true,
                    are_forensics_preserved: true,
                    is_eradicated: true,
                    is_hardened: true,
                    is_recovered: true,
                }),
                history: Vec::new(),
                // Each another question, which nobody has asked before.
                action: format!("Block 10.0.0.{rollout} at the gateway."),
                common_seed: 0,
            })
            .collect(),
        ..wire::RunRolloutsRequest::default()
    }
}

fn question() -> wire::GenerateRequest {
    wire::GenerateRequest {
        tenant: String::new(),
        system: "You respond to incidents.".to_owned(),
        segments: vec!["What now?".to_owned()],
        answer: Some(wire::AnswerFormat {
            thinking_tokens: 16,
            json_schema: r#"{"type": "object"}"#.to_owned(),
            max_tokens: 64,
            weigh_options: false,
        }),
        sampling: Some(wire::Sampling { temperature: 0.0, top_p: 1.0, seed: 1 }),
    }
}

#[tokio::test]
async fn rollouts_run_at_once_and_each_result_carries_its_key() {
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 64, PATIENCE).await;
    let mut stream = served.client.run_rollouts(rollouts(9)).await.unwrap().into_inner();
    fake.wait_for_live(9).await;
    // A sign of life comes before any result.
    let first = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
    assert!(
        matches!(first.event, Some(Update::Progress(wire::GenerateProgress { tokens: 63 }))),
        "{first:?}"
    );
    assert_eq!(first.load, Some(wire::WorkerLoad { rollouts: 9, decisions: 0 }));
    fake.open();
    let (mut seen, mut loads) = (Vec::new(), Vec::new());
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(Update::Result(result)) = message.event {
            assert_eq!(result.end(), countermove_proto::v1::RolloutEnd::Terminal, "{result:?}");
            let key = result.key.unwrap();
            assert_eq!(result.steps[0].action, format!("Block 10.0.0.{} at the gateway.", key.rollout));
            assert_eq!((key.step, key.seed), (1, u64::from(key.rollout) + 100));
            seen.push(key.rollout);
            loads.extend(message.load.map(|load| load.rollouts));
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..9).collect::<Vec<_>>());
    assert_eq!(
        loads,
        (1..=9).rev().collect::<Vec<_>>(),
        "each with the one that ended, and none that had before"
    );
    let model = served.client.get_model(wire::GetModelRequest {}).await.unwrap().into_inner();
    assert_eq!(model.load, Some(wire::WorkerLoad::default()), "it says as well that it has nothing");
    assert!(fake.peak.load(Ordering::SeqCst) >= 9);
}

#[tokio::test]
async fn a_client_that_goes_stops_the_work() {
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 64, PATIENCE).await;
    let stream = served.client.run_rollouts(rollouts(6)).await.unwrap();
    let answer = served.client.generate(question()).await.unwrap();
    fake.wait_for_live(7).await;
    drop((stream, answer));
    fake.wait_for_live(0).await;
    served.shut_down();
    assert!(served.ended().await);
}

#[tokio::test]
async fn one_rollout_of_a_call_is_cancelled_and_the_others_go_on() {
    use countermove_proto::v1::RolloutEnd;
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 2, PATIENCE).await;
    let request = wire::RunRolloutsRequest { call: "a call".to_owned(), ..rollouts(2) };
    let key = request.rollouts[0].key;
    let mut stream = served.client.run_rollouts(request.clone()).await.unwrap().into_inner();
    fake.wait_for_live(2).await;
    let again = Error::from(served.client.run_rollouts(request).await.unwrap_err());
    assert!(matches!(again, Error::Exhausted { .. }), "{again:?}");

    let cancel = |call: &str| wire::CancelRolloutsRequest {
        call: call.to_owned(),
        rollouts: key.into_iter().collect(),
    };
    served.client.cancel_rollouts(cancel("another")).await.unwrap();
    served.client.cancel_rollouts(cancel("")).await.unwrap();
    served.client.cancel_rollouts(cancel("a call")).await.unwrap();
    let mut results = Vec::new();
    while results.is_empty() {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        results.extend(match message.event {
            Some(Update::Result(result)) => Some(result),
            _ => None,
        });
    }
    let cancelled = results.pop().unwrap();
    assert_eq!((cancelled.key, cancelled.end()), (key, RolloutEnd::Cancelled));
    assert_eq!(cancelled.usage.unwrap().sampled_tokens, 7, "what it took up to then");
    fake.wait_for_live(1).await;
    let same_name = wire::RunRolloutsRequest { call: "a call".to_owned(), ..rollouts(1) };
    let taken = Error::from(served.client.run_rollouts(same_name.clone()).await.unwrap_err());
    assert!(
        matches!(&taken, Error::InvalidArgument(violations) if violations[0].field == "call"),
        "{taken:?}"
    );
    let beside = served.client.run_rollouts(rollouts(1)).await;
    assert!(beside.is_ok(), "its place is free");

    fake.open();
    let (messages, error) = drain(Ok(tonic::Response::new(stream))).await;
    let ends: Vec<_> = messages
        .iter()
        .filter_map(|message| match &message.event {
            Some(Update::Result(result)) => Some(result.end()),
            _ => None,
        })
        .collect();
    assert_eq!((ends, error), (vec![RolloutEnd::Terminal], None));
    drain(beside).await;
    let (_, error) = drain(served.client.run_rollouts(same_name).await).await;
    assert_eq!(error, None, "the name went with its call");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_time_to_come_back() {
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 4, PATIENCE).await;
    let stream = served.client.run_rollouts(rollouts(3)).await.unwrap();
    fake.wait_for_live(3).await;
    let error = Error::from(served.client.run_rollouts(rollouts(2)).await.unwrap_err());
    assert!(matches!(error, Error::Exhausted { .. }), "{error:?}");
    assert!(error.retry_after().unwrap() > Duration::ZERO);
    let error = Error::from(served.client.run_rollouts(rollouts(5)).await.unwrap_err());
    assert!(
        matches!(error, Error::InvalidArgument(_)),
        "more than ever fits is no matter of time: {error:?}"
    );

    // A decision never waits behind rollouts.
    let answer = served.client.generate(question()).await.unwrap();
    fake.wait_for_live(4).await;
    assert!(matches!(
        Error::from(served.client.generate(question()).await.unwrap_err()),
        Error::Exhausted { .. }
    ));
    drop((stream, answer));
    fake.wait_for_live(0).await;
    let again = served.client.run_rollouts(rollouts(4)).await;
    assert!(again.is_ok(), "places come back: {again:?}");
}

#[tokio::test]
async fn a_deadline_ends_the_work() {
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 8, PATIENCE).await;
    let mut request = tonic::Request::new(rollouts(2));
    request.set_timeout(Duration::from_millis(300));
    // The header alone: tonic's client would end the call by itself.
    let timeout = request.metadata().get("grpc-timeout").unwrap().clone();
    let mut request = tonic::Request::new(rollouts(2));
    request.metadata_mut().insert("grpc-timeout", timeout);
    let mut stream = served.client.run_rollouts(request).await.unwrap().into_inner();
    let end = loop {
        match tokio::time::timeout(PATIENCE, stream.message()).await.unwrap() {
            Ok(Some(_)) => {}
            end => break end.unwrap_err(),
        }
    };
    assert!(matches!(Error::from(end), Error::DeadlineExceeded(_)));
    fake.wait_for_live(0).await;
}

#[tokio::test]
async fn a_drain_refuses_new_work_and_finishes_what_runs() {
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 64, PATIENCE).await;
    assert_eq!(served.health().await, ServingStatus::Serving);
    let mut stream = served.client.run_rollouts(rollouts(3)).await.unwrap().into_inner();
    fake.wait_for_live(3).await;
    served.shut_down();
    let refused = tokio::time::timeout(PATIENCE, async {
        loop {
            match served.client.generate(question()).await {
                Err(status) => break Error::from(status),
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(matches!(refused, Error::Unavailable { cause: Outage::Draining, .. }), "{refused:?}");
    assert_eq!(served.health().await, ServingStatus::NotServing);
    fake.open();
    let mut results = 0;
    while let Some(message) = stream.message().await.unwrap() {
        results += usize::from(matches!(message.event, Some(Update::Result(_))));
    }
    assert_eq!(results, 3, "what ran was finished");
    assert!(served.ended().await);
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 64, Duration::from_millis(100)).await;
    let mut stream = served.client.run_rollouts(rollouts(3)).await.unwrap().into_inner();
    fake.wait_for_live(3).await;
    served.shut_down();
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            end => break Error::from(end.unwrap_err()),
        }
    };
    assert!(matches!(end, Error::Unavailable { cause: Outage::Draining, .. }), "{end:?}");
    assert!(!served.ended().await, "something was stopped");
    fake.wait_for_live(0).await;
}

#[tokio::test]
async fn an_answer_comes_after_progress() {
    let fake = Fake::new(0);
    let mut served = Served::start(fake.clone(), 8, PATIENCE).await;
    let mut stream = served.client.generate(question()).await.unwrap().into_inner();
    let first = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
    assert!(matches!(first.event, Some(Event::Progress(wire::GenerateProgress { tokens: 7 }))), "{first:?}");
    fake.open();
    let Some(Event::Answer(answer)) = stream.message().await.unwrap().unwrap().event else {
        panic!("no answer")
    };
    assert!(answer.complete && answer.json.contains("Isolate") && answer.thinking == "hm");
    assert!(stream.message().await.unwrap().is_none(), "the answer is the last message");
}

#[tokio::test]
async fn a_model_that_is_gone_ends_the_call_so_that_others_take_over() {
    let fake = Fake { fails: true, ..Fake::new(100) };
    let mut served = Served::start(fake, 8, PATIENCE).await;
    let mut stream = served.client.run_rollouts(rollouts(2)).await.unwrap().into_inner();
    let end = loop {
        match stream.message().await {
            Ok(Some(message)) => assert!(!matches!(message.event, Some(Update::Result(_))), "{message:?}"),
            end => break Error::from(end.unwrap_err()),
        }
    };
    assert!(end.is_retryable(), "{end:?}");
}

#[tokio::test]
async fn bad_requests_name_the_field() {
    let mut served = Served::start(Fake::new(0), 8, PATIENCE).await;
    let mut twice = rollouts(2);
    twice.rollouts[1].key = twice.rollouts[0].key;
    let deep = wire::RunRolloutsRequest { policy: Some(wire::RolloutPolicy::default()), ..rollouts(1) };
    let long = wire::RunRolloutsRequest { context: vec!["x".repeat(5 << 20)], ..rollouts(1) };
    for (request, field) in [
        (rollouts(0), "rollouts"),
        (twice, "rollouts"),
        (deep, "policy"),
        (long, "rollouts"),
        (Default::default(), "policy"),
    ] {
        match Error::from(served.client.run_rollouts(request).await.unwrap_err()) {
            Error::InvalidArgument(violations) => {
                assert!(violations[0].field.starts_with(field), "{violations:?}")
            }
            other => panic!("{other:?}"),
        }
    }
    let broken = wire::GenerateRequest {
        answer: Some(wire::AnswerFormat {
            json_schema: "{".to_owned(),
            max_tokens: 1,
            ..wire::AnswerFormat::default()
        }),
        ..question()
    };
    assert!(matches!(
        Error::from(served.client.generate(broken).await.unwrap_err()),
        Error::InvalidArgument(_)
    ));
}

#[tokio::test]
async fn the_worker_says_what_it_is() {
    let mut served = Served::start(Fake::new(0), 8, PATIENCE).await;
    let model = served.client.get_model(wire::GetModelRequest {}).await.unwrap().into_inner();
    assert_eq!((model.worker_id.as_str(), model.protocol_version), ("w-1", PROTOCOL_VERSION));
    assert_eq!((model.capacity, model.context_length), (2, 2048));
    assert_eq!(model.model.unwrap().name, "fake");
}

/// Messages of a stream until its end, and how it ended.
async fn drain<T>(
    answer: Result<tonic::Response<tonic::Streaming<T>>, tonic::Status>,
) -> (Vec<T>, Option<Error>) {
    let mut stream = match answer {
        Ok(stream) => stream.into_inner(),
        Err(status) => return (Vec::new(), Some(status.into())),
    };
    let mut messages = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("the call hangs");
        match next {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(status) => return (messages, Some(status.into())),
        }
    }
}

#[tokio::test]
async fn whatever_numbers_come_a_call_is_refused_by_name_or_answered_in_full() {
    let fake = Fake::new(0);
    fake.open();
    let mut served = Served::start(fake, 64, PATIENCE).await;
    let (mut refused, mut answered) = (0, 0);
    for method in methods("countermove.worker.v1") {
        for extreme in extremes(&method.request) {
            let what = format!("{} with {} = {}", method.name, extreme.field, extreme.value);
            let (whole, error) = match method.name.as_str() {
                "Generate" => {
                    let mut request = question();
                    request.merge(extreme.bytes.as_slice()).unwrap();
                    let (messages, error) = drain(served.client.generate(request).await).await;
                    (messages.iter().any(|message| matches!(message.event, Some(Event::Answer(_)))), error)
                }
                "RunRollouts" => {
                    let mut request = rollouts(2);
                    request.merge(extreme.bytes.as_slice()).unwrap();
                    let asked = request.rollouts.len();
                    let (messages, error) = drain(served.client.run_rollouts(request).await).await;
                    let results =
                        messages.iter().filter(|message| matches!(message.event, Some(Update::Result(_))));
                    (results.count() == asked, error)
                }
                "CancelRollouts" => {
                    let request = wire::CancelRolloutsRequest::decode(extreme.bytes.as_slice()).unwrap();
                    (true, served.client.cancel_rollouts(request).await.err().map(Error::from))
                }
                other => panic!("{other} takes numbers, and this test does not know it"),
            };
            match error {
                Some(Error::InvalidArgument(_)) => refused += 1,
                Some(error) => panic!("{what}: {error:?}"),
                None => {
                    assert!(whole, "{what} ends well and without its answer");
                    answered += 1;
                }
            }
        }
    }
    assert!(refused > 20 && answered > 10, "{refused} were refused and {answered} answered");
}

#[tokio::test]
async fn a_model_that_panics_is_a_failed_call_and_no_empty_answer() {
    let fake = Fake::new(0);
    // A closed gate makes the fake's own code panic.
    fake.gate.close();
    let mut served = Served::start(fake, 8, PATIENCE).await;
    let (messages, error) = drain(served.client.run_rollouts(rollouts(1)).await).await;
    assert!(matches!(error, Some(Error::Internal(_))), "{error:?} after {messages:?}");
    let (_, error) = drain(served.client.generate(question()).await).await;
    assert!(matches!(error, Some(Error::Internal(_))), "{error:?}");
}

#[tokio::test]
async fn a_worker_whose_engine_ended_says_so_and_ends_with_an_error_within_a_second() {
    for draining in [false, true] {
        let fake = Fake::new(0);
        let mut served = Served::start(fake.clone(), 64, PATIENCE).await;
        let mut rollouts = served.client.run_rollouts(rollouts(3)).await.unwrap().into_inner();
        let mut answer = served.client.generate(question()).await.unwrap().into_inner();
        fake.wait_for_live(4).await;
        let endpoint = tonic::transport::Endpoint::from_shared(served.url.clone()).unwrap();
        let mut health = HealthClient::new(endpoint.connect().await.unwrap());
        let watch = tonic_health::pb::HealthCheckRequest { service: String::new() };
        let mut health = health.watch(watch).await.unwrap().into_inner();
        assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        if draining {
            served.shut_down();
            assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        }

        let begun = std::time::Instant::now();
        fake.die();
        if !draining {
            assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        }
        let lost = loop {
            match rollouts.message().await {
                Ok(Some(message)) => assert!(matches!(message.event, Some(Update::Progress(_)))),
                Ok(None) => panic!("a stream without its results ends as if it had them"),
                Err(status) => break Error::from(status),
            }
        };
        assert!(lost.is_retryable(), "{lost:?}");
        let lost = loop {
            match answer.message().await {
                Ok(Some(message)) => assert!(matches!(message.event, Some(Event::Progress(_)))),
                Ok(None) => panic!("there was no answer"),
                Err(status) => break Error::from(status),
            }
        };
        assert!(lost.is_retryable(), "{lost:?}");
        let end = tokio::time::timeout(PATIENCE, served.ended).await.expect("it serves on").unwrap();
        assert!(matches!(end, Err(ServeError::ModelEnded)), "{end:?}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_peers_word_on_the_one_before() {
    let fake = Fake::new(0);
    fake.open();
    let served = Served::start(fake, 64, PATIENCE).await;
    let mut slow = 0;
    for _ in 0..40 {
        let begun = std::time::Instant::now();
        // Two messages, which are two writes: without the option the second waits until the first is acknowledged.
        let mut client = served.client.clone();
        let mut answer = client.generate(question()).await.unwrap().into_inner();
        while answer.message().await.unwrap().is_some() {}
        slow += usize::from(begun.elapsed() >= Duration::from_millis(38));
    }
    assert!(slow < 10, "{slow} of 40 answers took as long as a delayed acknowledgement");
}
