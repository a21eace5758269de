//! Dispatch over real sockets: where rollouts go, and what happens when workers fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use countermove_coordinator::dispatch::{DispatchOptions, IncidentWorkers};
use countermove_coordinator::workers::Fleet;
use countermove_incident::{Constraints, Pricing, RecoveryState};
use countermove_planner::{
    AnswerFormat, LanguageModel, ModelError, Prompt, Purpose, Question, Roles, RolloutBatch, RolloutKey,
    RolloutPolicy, RolloutReport, RolloutRunner, RolloutSpec, Sampling, TokenCounter,
};
use countermove_proto::v1::WorkerStatus;
use countermove_proto::{Error, IncidentId, Outage};
use futures::StreamExt;
use support::worker::{FakeWorker, Script, outcome};
use support::{fleet, ready, until};

fn options() -> DispatchOptions {
    DispatchOptions { worker_wait: Duration::from_millis(300), ..DispatchOptions::default() }
}

fn workers(fleet: &Fleet) -> IncidentWorkers {
    IncidentWorkers::new(fleet.clone(), options(), IncidentId::generate(), None, None)
}

fn batch(candidates: u32, rollouts: u32) -> RolloutBatch {
    let keys = (0..candidates).flat_map(|candidate| (0..rollouts).map(move |rollout| (candidate, rollout)));
    let specs = keys.map(|(candidate, rollout)| RolloutSpec {
        key: RolloutKey { step: 0, candidate, rollout },
        seed: u64::from(candidate) * 1000 + u64::from(rollout),
        state: RecoveryState::default(),
        history: Vec::new(),
        action: format!("Isolate host {candidate}"),
    });
    RolloutBatch {
        incident: "incidents/test".into(),
        system: "You plan.".into(),
        context: vec!["Evidence.".into()],
        entities: Roles { systems: vec!["10.0.0.5".into()], ..Roles::default() },
        policy: RolloutPolicy { max_depth: 8, temperature: 0.6, top_p: 0.9, thinking_tokens: 0 },
        pricing: Pricing::default(),
        constraints: Constraints::default(),
        rollouts: specs.collect(),
    }
}

fn question() -> Question {
    Question {
        prompt: Prompt { system: "You plan.".into(), segments: vec!["What now?".into()] },
        format: AnswerFormat {
            thinking_tokens: 0,
            json_schema: serde_json::json!({"type": "object", "properties": {"Yes": {"type": "boolean"}}}),
            max_tokens: 16,
        },
        sampling: Sampling { temperature: 0.6, top_p: 0.9, seed: 1 },
        purpose: Purpose::Decision,
    }
}

type Outcomes = BTreeMap<RolloutKey, String>;

async fn run(
    workers: &IncidentWorkers,
    batch: RolloutBatch,
) -> Result<(Outcomes, Vec<RolloutReport>), ModelError> {
    let count = batch.rollouts.len();
    let mut stream = workers.run(batch, &TokenCounter::default());
    let mut reports = Vec::new();
    while let Some(report) = stream.next().await {
        reports.push(report?);
    }
    let outcomes: Outcomes =
        reports.iter().map(|report| (report.result.key, format!("{:?}", outcome(&report.result)))).collect();
    assert_eq!((outcomes.len(), reports.len()), (count, count), "each rollout is reported once");
    Ok((outcomes, reports))
}

/// What a single undisturbed worker makes of a batch.
async fn reference(batch: RolloutBatch) -> Outcomes {
    let worker = FakeWorker::start(Script::default());
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    run(&workers(&fleet), batch).await.unwrap().0
}

#[tokio::test]
async fn rollouts_are_spread_by_capacity_and_results_do_not_depend_on_it() {
    let small = FakeWorker::start(Script::with_capacity("w-1", 4));
    let large = FakeWorker::start(Script::with_capacity("w-2", 12));
    let fleet = fleet([small.url.clone(), large.url.clone()]);
    ready(&fleet, 2).await;
    let (outcomes, reports) = run(&workers(&fleet), batch(4, 4)).await.unwrap();
    assert_eq!(outcomes, reference(batch(4, 4)).await);
    assert_eq!((small.script.rollouts().len(), large.script.rollouts().len()), (4, 12));
    assert!(reports.iter().all(|report| ["workers/w-1", "workers/w-2"].contains(&report.worker.as_str())));
    let listed = fleet.list();
    assert_eq!(listed.iter().map(|worker| worker.rollouts_finished).sum::<u64>(), 16);
    assert!(listed.iter().all(|worker| worker.running == 0 && worker.tokens_generated > 0));
}

#[tokio::test]
async fn a_batch_beyond_all_capacity_is_handed_out_bit_by_bit() {
    let one = FakeWorker::start(Script::with_capacity("w-1", 3));
    let two = FakeWorker::start(Script::with_capacity("w-2", 3));
    let fleet = fleet([one.url.clone(), two.url.clone()]);
    ready(&fleet, 2).await;
    let (outcomes, _) = run(&workers(&fleet), batch(8, 8)).await.unwrap();
    assert_eq!(outcomes, reference(batch(8, 8)).await);
    assert!(one.script.rollouts().len() >= 3 && two.script.rollouts().len() >= 3);
}

#[tokio::test]
async fn a_killed_workers_rollouts_go_to_the_others() {
    let mut dying = FakeWorker::start(Script::slow("w-1", Duration::from_millis(40)));
    let living = FakeWorker::start(Script::named("w-2"));
    let fleet = fleet([dying.url.clone(), living.url.clone()]);
    ready(&fleet, 2).await;
    let workers = workers(&fleet);
    let work = tokio::spawn(async move { run(&workers, batch(3, 3)).await });
    until("work on both", || !dying.script.rollouts().is_empty() && !living.script.rollouts().is_empty())
        .await;
    dying.kill();
    let (outcomes, _) = work.await.unwrap().unwrap();
    assert_eq!(outcomes, reference(batch(3, 3)).await);
    let again = living.script.rollouts().iter().filter(|(_, attempt)| *attempt == 1).count();
    assert!(again > 0, "what was lost came with its attempt counted");
    assert!(fleet.list().iter().any(|worker| worker.status() == WorkerStatus::Lost));
}

#[tokio::test]
async fn work_outlives_a_worker_that_is_lost_again_and_again() {
    let slow = || Script::slow("w-1", Duration::from_secs(600));
    let mut worker = FakeWorker::start(slow());
    let (address, fleet) = (worker.address(), fleet([worker.url.clone()]));
    ready(&fleet, 1).await;
    let patient = DispatchOptions { worker_wait: Duration::from_secs(60), ..DispatchOptions::default() };
    let workers = IncidentWorkers::new(fleet.clone(), patient, IncidentId::generate(), None, None);
    let work = tokio::spawn(async move { run(&workers, batch(1, 2)).await });
    // More often than work may fail.
    for _ in 0..2 * patient.attempts {
        until("it has the work", || worker.script.open_calls() > 0).await;
        worker.kill();
        worker = FakeWorker::start_at(slow(), address);
    }
    until("it has the work", || worker.script.open_calls() > 0).await;
    worker.kill();
    let _worker = FakeWorker::start_at(Script::named("w-1"), address);
    let (outcomes, _) = work.await.unwrap().unwrap();
    assert_eq!(outcomes, reference(batch(1, 2)).await);
}

#[tokio::test]
async fn a_frozen_workers_rollouts_go_to_the_others_and_it_comes_back() {
    let frozen = FakeWorker::start(Script::slow("w-1", Duration::from_millis(40)));
    let living = FakeWorker::start(Script::named("w-2"));
    let fleet = fleet([frozen.url.clone(), living.url.clone()]);
    ready(&fleet, 2).await;
    let begun = Instant::now();
    let workers = workers(&fleet);
    let work = tokio::spawn(async move { run(&workers, batch(3, 3)).await });
    until("work on both", || !frozen.script.rollouts().is_empty() && !living.script.rollouts().is_empty())
        .await;
    let thaw = frozen.freeze();
    let (outcomes, _) = work.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "it was noticed after {:?}", begun.elapsed());
    assert_eq!(outcomes, reference(batch(3, 3)).await);
    drop(thaw);
    ready(&fleet, 2).await;
}

#[tokio::test]
async fn a_restarted_worker_is_taken_in_again() {
    let mut first = FakeWorker::start(Script::named("w-1"));
    let fleet = fleet([first.url.clone()]);
    ready(&fleet, 1).await;
    let address = first.address();
    first.kill();
    until("the loss", || fleet.list()[0].status() == WorkerStatus::Lost).await;
    let _second = FakeWorker::start_at(Script::named("w-2"), address);
    ready(&fleet, 1).await;
    assert_eq!(fleet.list()[0].name, "workers/w-2");
    assert!(run(&workers(&fleet), batch(2, 2)).await.is_ok());
}

#[tokio::test]
async fn a_full_worker_is_left_alone_for_as_long_as_it_says() {
    let worker = FakeWorker::start(Script::default());
    let full = Error::Exhausted { message: "full".into(), retry_after: Duration::from_millis(150) };
    *worker.script.rollout_errors.lock().unwrap() = vec![full; 3];
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let begun = Instant::now();
    run(&workers(&fleet), batch(2, 2)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    assert_eq!(worker.script.rollouts().len(), 16);
    assert_eq!(fleet.list()[0].status(), WorkerStatus::Ready, "a full worker is no lost worker");
}

#[tokio::test]
async fn a_worker_that_ends_calls_early_is_asked_for_the_rest() {
    let worker = FakeWorker::start(Script::default());
    *worker.script.results_per_call.lock().unwrap() = Some(3);
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    run(&workers(&fleet), batch(2, 4)).await.unwrap();
    let attempts: Vec<_> = worker.script.rollouts().iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(attempts, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]);
}

#[tokio::test]
async fn work_that_fails_everywhere_is_given_up() {
    let worker = FakeWorker::start(Script::default());
    *worker.script.rollout_errors.lock().unwrap() = vec![Error::ModelFailed("a NaN".into()); 50];
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let error = run(&workers(&fleet), batch(1, 2)).await.unwrap_err();
    assert!(matches!(&error, ModelError::Failed(text) if text.contains("NaN")), "{error}");
    assert_eq!(worker.script.rollouts().len(), 10, "each was tried five times");
    assert_eq!(fleet.list()[0].running, 0);
}

#[tokio::test]
async fn a_question_that_no_model_can_take_is_not_tried_again() {
    let worker = FakeWorker::start(Script::default());
    *worker.script.answer_errors.lock().unwrap() = vec![Error::ModelRefused("too long".into())];
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let error = workers(&fleet).ask(question(), &TokenCounter::default()).await.unwrap_err();
    assert_eq!(error, ModelError::Refused("too long".into()));
    assert_eq!(worker.script.questions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn results_that_come_twice_count_once() {
    let worker = FakeWorker::start(Script::default());
    worker.script.stutters.store(true, Ordering::SeqCst);
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    run(&workers(&fleet), batch(2, 3)).await.unwrap();
}

#[tokio::test]
async fn dropping_the_stream_stops_the_workers() {
    let worker = FakeWorker::start(Script::slow("w-1", Duration::from_secs(60)));
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let workers = workers(&fleet);
    let mut stream = workers.run(batch(2, 2), &TokenCounter::default());
    assert!(tokio::time::timeout(Duration::from_millis(200), stream.next()).await.is_err());
    until("an open call", || worker.script.open_calls() == 1).await;
    assert_eq!(fleet.list()[0].running, 4);
    drop(stream);
    until("the call's end", || worker.script.open_calls() == 0).await;
    assert_eq!(fleet.list()[0].running, 0);
}

#[tokio::test]
async fn dropping_a_question_stops_the_worker() {
    let worker = FakeWorker::start(Script::default());
    *worker.script.answer_delay.lock().unwrap() = Duration::from_secs(60);
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let (workers, tokens) = (workers(&fleet), TokenCounter::default());
    let asking = workers.ask(question(), &tokens);
    assert!(tokio::time::timeout(Duration::from_millis(300), asking).await.is_err());
    until("the call's end", || worker.script.open_calls() == 0).await;
    assert_eq!(tokens.total(), 3, "progress was counted");
}

#[tokio::test]
async fn a_draining_worker_is_left_for_the_others() {
    let leaving = FakeWorker::start(Script::named("w-1"));
    let staying = FakeWorker::start(Script::named("w-2"));
    let gone = Error::Unavailable {
        cause: Outage::Draining,
        message: "stopping".into(),
        retry_after: Duration::from_secs(5),
    };
    *leaving.script.rollout_errors.lock().unwrap() = vec![gone; 9];
    let fleet = fleet([leaving.url.clone(), staying.url.clone()]);
    ready(&fleet, 2).await;
    run(&workers(&fleet), batch(3, 3)).await.unwrap();
    assert!(staying.script.rollouts().len() >= 9);
}

#[tokio::test]
async fn without_a_worker_the_error_names_each_and_what_is_wrong_with_it() {
    let other = FakeWorker::start(Script::named("w-2"));
    other.script.identity.lock().unwrap().templates_sha256 = "00".repeat(32);
    let closed = "http://127.0.0.1:9".parse().unwrap();
    let fleet = fleet([closed, other.url.clone()]);
    until("the refusal", || fleet.list().iter().any(|worker| worker.status() == WorkerStatus::Refused)).await;
    let begun = Instant::now();
    let error = run(&workers(&fleet), batch(1, 1)).await.unwrap_err().to_string();
    assert!(begun.elapsed() >= Duration::from_millis(300), "it waits for a worker first");
    for part in ["http://127.0.0.1:9", "refused", other.url.as_str(), "templates"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[tokio::test]
async fn work_waits_for_a_worker_that_comes_in_time() {
    let mut worker = FakeWorker::start(Script::default());
    let address = worker.address();
    worker.kill();
    let fleet = fleet([worker.url.clone()]);
    let patient = DispatchOptions { worker_wait: Duration::from_secs(10), ..options() };
    let workers = IncidentWorkers::new(fleet, patient, IncidentId::generate(), None, None);
    let work = tokio::spawn(async move { run(&workers, batch(1, 3)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let _late = FakeWorker::start_at(Script::default(), address);
    work.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_deadline_ends_the_wait() {
    let worker = FakeWorker::start(Script::slow("w-1", Duration::from_secs(60)));
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(300);
    let workers = IncidentWorkers::new(fleet, options(), IncidentId::generate(), Some(deadline), None);
    let begun = Instant::now();
    let error = run(&workers, batch(1, 2)).await.unwrap_err();
    assert!(matches!(error, ModelError::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    until("the call's end", || worker.script.open_calls() == 0).await;
}
