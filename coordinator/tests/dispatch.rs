//! Dispatch over real sockets: where rollouts go, and what happens when workers fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countermove_coordinator::dispatch::{DispatchOptions, Dispatcher, Hedging, IncidentWorkers, Payer};
use countermove_coordinator::workers::Fleet;
use countermove_incident::{Constraints, Pricing, RecoveryState};
use countermove_planner::{
    LanguageModel, ModelError, Roles, RolloutBatch, RolloutKey, RolloutPolicy, RolloutReport, RolloutRunner,
    RolloutSpec, TokenCounter,
};
use countermove_proto::v1::{Priority, WorkerStatus};
use countermove_proto::worker::v1 as wire;
use countermove_proto::{Error, IncidentId, Outage};
use futures::StreamExt;
use support::worker::{BROKEN_OFF, FakeWorker, Script, outcome};
use support::{fleet, question, ready, until};

fn options() -> DispatchOptions {
    DispatchOptions { worker_wait: Duration::from_millis(300), ..DispatchOptions::default() }
}

fn workers(fleet: &Fleet) -> IncidentWorkers {
    incident(&Dispatcher::start(fleet.clone(), options()), Payer::default())
}

fn incident(dispatcher: &Dispatcher, payer: Payer) -> IncidentWorkers {
    IncidentWorkers::new(dispatcher.clone(), IncidentId::generate(), payer, None, None)
}

fn batch(candidates: u32, rollouts: u32) -> RolloutBatch {
    let keys = (0..candidates).flat_map(|candidate| (0..rollouts).map(move |rollout| (candidate, rollout)));
    let specs = keys.map(|(candidate, rollout)| RolloutSpec {
        key: RolloutKey { step: 0, candidate, rollout },
        seed: u64::from(candidate) * 1000 + u64::from(rollout),
        common_seed: u64::from(rollout),
        state: RecoveryState::default(),
        history: Vec::new(),
        action: format!("Isolate host {candidate}"),
    });
    RolloutBatch {
        tenant: String::new(),
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

/// Has a worker say in each message of a name that it has so many rollouts.
fn says<M: prost::Message>(worker: &FakeWorker, name: &'static str, message: &M) {
    *worker.script.garbled.lock().unwrap() = Some((name, message.encode_to_vec()));
}

#[tokio::test]
async fn a_worker_that_is_full_of_others_work_gets_one_at_a_time_until_it_has_less() {
    let worker = FakeWorker::start(Script::slow("w-1", Duration::from_secs(60)));
    let having = |rollouts| wire::GetModelResponse {
        load: Some(wire::WorkerLoad { rollouts, decisions: 0 }),
        ..wire::GetModelResponse::default()
    };
    says(&worker, "countermove.worker.v1.GetModelResponse", &having(100));
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let workers = workers(&fleet);
    let running = tokio::spawn(async move { run(&workers, batch(2, 4)).await });
    until("a rollout", || !worker.script.rollouts().is_empty()).await;
    // Several probes.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(worker.script.rollouts().len(), 1);
    says(&worker, "countermove.worker.v1.GetModelResponse", &having(0));
    until("all of them", || worker.script.rollouts().len() == 8).await;
    running.abort();
}

#[tokio::test]
async fn a_worker_says_what_it_has_with_each_result() {
    let worker = FakeWorker::start(Script { capacity: 4, ..Script::slow("w-1", Duration::from_millis(20)) });
    let having = wire::RunRolloutsResponse {
        load: Some(wire::WorkerLoad { rollouts: 100, decisions: 0 }),
        ..wire::RunRolloutsResponse::default()
    };
    says(&worker, "countermove.worker.v1.RunRolloutsResponse", &having);
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let mut reports = workers(&fleet).run(batch(3, 4), &TokenCounter::default());
    for count in 1..=12 {
        reports.next().await.unwrap().unwrap();
        if count == 5 {
            assert_eq!(
                worker.script.rollouts().len(),
                6,
                "a batch and a half, and no more while one of them runs"
            );
        }
    }
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
    let lost = dying.script.rollouts();
    assert!(living.script.rollouts().iter().any(|key| lost.contains(key)), "what was lost came to the other");
    assert!(fleet.list().iter().any(|worker| worker.status() == WorkerStatus::Lost));
}

#[tokio::test]
async fn work_outlives_a_worker_that_is_lost_again_and_again() {
    let slow = || Script::slow("w-1", Duration::from_secs(600));
    let mut worker = FakeWorker::start(slow());
    let (address, fleet) = (worker.address(), fleet([worker.url.clone()]));
    ready(&fleet, 1).await;
    let patient = DispatchOptions { worker_wait: Duration::from_secs(60), ..DispatchOptions::default() };
    let workers = incident(&Dispatcher::start(fleet, patient), Payer::default());
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
    let came = worker.script.rollouts();
    assert_eq!(came.len(), 8 + 5 + 2, "each call is about what the one before left");
    let mut often: Vec<_> =
        came.iter().map(|key| came.iter().filter(|other| *other == key).count()).collect();
    often.sort_unstable();
    assert_eq!(often, [1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]);
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
    let error = workers(&fleet).ask(question("What now?", 1), &TokenCounter::default()).await.unwrap_err();
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
    let asking = workers.ask(question("What now?", 1), &tokens);
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
    let workers = incident(&Dispatcher::start(fleet, patient), Payer::default());
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
    let dispatcher = Dispatcher::start(fleet, options());
    let workers =
        IncidentWorkers::new(dispatcher, IncidentId::generate(), Payer::default(), Some(deadline), None);
    let begun = Instant::now();
    let error = run(&workers, batch(1, 2)).await.unwrap_err();
    assert!(matches!(error, ModelError::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    until("the call's end", || worker.script.open_calls() == 0).await;
}

/// Rollouts of a step of their own, so that they can be told from those of others.
fn batch_of(step: u32, candidates: u32, rollouts: u32) -> RolloutBatch {
    let mut batch = batch(candidates, rollouts);
    for spec in &mut batch.rollouts {
        spec.key.step = step;
    }
    batch
}

fn payer(priority: Priority, tenant: &str) -> Payer {
    Payer::new(priority, tenant.parse().unwrap())
}

/// Floods a worker of capacity 4 with 60 rollouts of one tenant, has another one send 6 when the worker is full, and
/// says how many of the first ones the worker got between then and the last of those; a busy machine may be late to send them.
async fn overtaken(late: Payer) -> usize {
    let worker = FakeWorker::start(Script { capacity: 4, ..Script::slow("w-1", Duration::from_millis(10)) });
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let dispatcher = Dispatcher::start(fleet, options());
    let flood = incident(&dispatcher, payer(Priority::Normal, "flood"));
    let flood = tokio::spawn(async move { run(&flood, batch_of(1, 6, 10)).await.unwrap() });
    until("a full worker", || worker.script.rollouts().len() >= 6).await;
    let late = incident(&dispatcher, late);
    let begun = worker.script.rollouts().len();
    run(&late, batch_of(2, 2, 3)).await.unwrap();
    flood.await.unwrap();
    let came = worker.script.rollouts();
    assert_eq!(came.len(), 66);
    let last = came.iter().rposition(|key| key.step == 2).unwrap();
    came[begun..last].iter().filter(|key| key.step == 1).count()
}

#[tokio::test]
async fn a_tenant_that_floods_gets_no_more_than_its_share() {
    let before = overtaken(payer(Priority::Normal, "quiet")).await;
    assert!(before < 30, "{before} of 60 went between the six of the other tenant");
}

#[tokio::test]
async fn urgent_rollouts_go_before_all_that_waits_and_the_background_behind() {
    let before = overtaken(payer(Priority::Urgent, "flood")).await;
    assert!(before < 20, "{before} of 60 went between the six urgent ones");
    let before = overtaken(payer(Priority::Background, "flood")).await;
    assert!(before > 30, "only {before} of 60 went before six in the background");
}

#[tokio::test]
async fn a_question_does_not_wait_for_rollouts() {
    let worker = FakeWorker::start(Script { capacity: 2, ..Script::slow("w-1", Duration::from_secs(60)) });
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let dispatcher = Dispatcher::start(fleet, options());
    let flood = incident(&dispatcher, payer(Priority::Urgent, "flood"));
    let mut stream = flood.run(batch(4, 4), &TokenCounter::default());
    assert!(tokio::time::timeout(Duration::from_millis(100), stream.next()).await.is_err());
    let background = incident(&dispatcher, payer(Priority::Background, "quiet"));
    let tokens = TokenCounter::default();
    let asking = background.ask(question("What now?", 1), &tokens);
    assert!(tokio::time::timeout(Duration::from_secs(10), asking).await.expect("an answer").is_ok());
}

fn hedging(policy: Option<Hedging>) -> DispatchOptions {
    DispatchOptions { hedging: policy, ..options() }
}

const QUICKLY: Hedging = Hedging { multiple: 2.0, least: Duration::from_millis(50) };

const STALLED: RolloutKey = RolloutKey { step: 0, candidate: 0, rollout: 0 };

/// Two workers, of which whichever gets it first stalls over one rollout.
async fn stalling() -> (Vec<FakeWorker>, Fleet) {
    let stalled = Arc::new(Mutex::new(Some(STALLED)));
    let start = |id| FakeWorker::start(Script { stalled: Arc::clone(&stalled), ..Script::named(id) });
    let workers = ["w-1", "w-2"].map(start);
    let fleet = fleet(workers.iter().map(|worker| worker.url.clone()));
    ready(&fleet, 2).await;
    (workers.into(), fleet)
}

/// The worker that stalls, and the other one.
fn stalled_and_other(workers: &mut [FakeWorker]) -> (&mut FakeWorker, &mut FakeWorker) {
    let [one, other] = workers else { panic!("two workers") };
    if one.script.stalls.load(Ordering::SeqCst) { (one, other) } else { (other, one) }
}

#[tokio::test]
async fn a_rollout_that_stalls_is_started_elsewhere_and_the_first_result_counts() {
    let (mut workers, fleet) = stalling().await;
    let hedged = incident(&Dispatcher::start(fleet.clone(), hedging(Some(QUICKLY))), Payer::default());
    let work = tokio::time::timeout(Duration::from_secs(20), run(&hedged, batch(2, 4)));
    let (outcomes, reports) = work.await.expect("it does not wait for the stalled one").unwrap();
    assert_eq!(outcomes, reference(batch(2, 4)).await);
    let (stalled, other) = stalled_and_other(&mut workers);
    let report = reports.iter().find(|report| report.result.key == STALLED).unwrap();
    assert_eq!(report.worker, format!("workers/{}", other.script.id.lock().unwrap()));
    let first = stalled.script.rollouts();
    let again: Vec<_> = other.script.rollouts().into_iter().filter(|key| first.contains(key)).collect();
    assert_eq!(again, [STALLED], "one of eight is started twice");
    until("the end of the other call", || stalled.script.open_calls() == 0).await;
    until("its place back", || fleet.list().iter().all(|worker| worker.running == 0)).await;
}

/// One that goes on at the worker that stalls when the copy's result is there.
const SIBLING: RolloutKey = RolloutKey { step: 0, candidate: 0, rollout: 1 };

#[tokio::test]
async fn a_stalled_rollout_is_broken_off_beside_its_siblings_when_the_copys_result_is_there() {
    let (mut workers, fleet) = stalling().await;
    for worker in &workers {
        *worker.script.delayed.lock().unwrap() = Some((SIBLING, Duration::from_millis(1500)));
    }
    let hedged = incident(&Dispatcher::start(fleet.clone(), hedging(Some(QUICKLY))), Payer::default());
    let (batch, tokens) = (batch(2, 4), TokenCounter::default());
    let mut stream = hedged.run(batch.clone(), &tokens);
    let reports = tokio::spawn(async move {
        let mut reports = Vec::new();
        while let Some(report) = stream.next().await {
            reports.push(report.unwrap());
        }
        reports
    });
    until("a stall", || workers.iter().any(|worker| worker.script.stalls.load(Ordering::SeqCst))).await;
    let (stalled, other) = stalled_and_other(&mut workers);
    assert!(stalled.script.rollouts().contains(&SIBLING), "neighbours go together");
    let cancelled = || stalled.script.cancelled.lock().unwrap().clone();
    until("the word that it is cancelled", || !cancelled().is_empty()).await;
    let keys: Vec<_> = cancelled().into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [STALLED]);
    assert_eq!(stalled.script.open_calls(), 1, "its sibling goes on");
    let running = || {
        fleet
            .list()
            .into_iter()
            .find(|worker| worker.address == stalled.url.as_str())
            .map(|worker| worker.running)
    };
    until("the place of what was cancelled", || running() == Some(1)).await;

    let reports = tokio::time::timeout(Duration::from_secs(20), reports).await.unwrap().unwrap();
    let outcomes: Outcomes =
        reports.iter().map(|report| (report.result.key, format!("{:?}", outcome(&report.result)))).collect();
    assert_eq!(outcomes, reference(batch).await);
    let sibling = reports.iter().find(|report| report.result.key == SIBLING).unwrap();
    assert_eq!(sibling.worker, format!("workers/{}", stalled.script.id.lock().unwrap()));
    assert!(!other.script.rollouts().contains(&SIBLING), "nor was it begun anew");
    let wanted: u64 = reports.iter().map(|report| report.result.usage.generated()).sum();
    assert_eq!(tokens.total(), wanted + BROKEN_OFF, "each token counts once, what was broken off as well");
    until("its place back", || fleet.list().iter().all(|worker| worker.running == 0)).await;
}

#[tokio::test]
async fn a_worker_that_cannot_cancel_a_rollout_is_not_waited_for() {
    let (mut workers, fleet) = stalling().await;
    for worker in &workers {
        worker.script.is_deaf.store(true, Ordering::SeqCst);
        *worker.script.delayed.lock().unwrap() = Some((SIBLING, Duration::from_millis(500)));
    }
    let hedged = incident(&Dispatcher::start(fleet.clone(), hedging(Some(QUICKLY))), Payer::default());
    let work = tokio::time::timeout(Duration::from_secs(20), run(&hedged, batch(2, 4)));
    let (outcomes, _) = work.await.expect("it does not wait for what nobody needs").unwrap();
    assert_eq!(outcomes, reference(batch(2, 4)).await);
    let (stalled, _) = stalled_and_other(&mut workers);
    until("the end of the call", || stalled.script.open_calls() == 0).await;
}

#[tokio::test]
async fn a_hedged_rollout_whose_first_worker_dies_goes_on_where_it_runs() {
    let (mut workers, fleet) = stalling().await;
    let slowly = Hedging { multiple: 2.0, least: Duration::from_millis(500) };
    let hedged = incident(&Dispatcher::start(fleet.clone(), hedging(Some(slowly))), Payer::default());
    let work = tokio::spawn(async move { run(&hedged, batch(2, 4)).await });
    let finished = || fleet.list().iter().map(|worker| worker.rollouts_finished).sum::<u64>();
    until("the others' end", || finished() == 7).await;
    let (stalled, other) = stalled_and_other(&mut workers);
    // The copy takes its time, so that the first one is lost while both run.
    *other.script.rollout_delay.lock().unwrap() = Duration::from_millis(500);
    until("the copy", || other.script.rollouts().contains(&STALLED)).await;
    stalled.kill();
    let (outcomes, _) = work.await.unwrap().unwrap();
    assert_eq!(outcomes, reference(batch(2, 4)).await);
    let copies = other.script.rollouts().iter().filter(|key| **key == STALLED).count();
    assert_eq!(copies, 1, "what runs elsewhere is not put back");
}

#[tokio::test]
async fn nothing_is_hedged_if_it_is_switched_off() {
    let (_workers, fleet) = stalling().await;
    let plain = incident(&Dispatcher::start(fleet, hedging(None)), Payer::default());
    let mut stream = plain.run(batch(2, 4), &TokenCounter::default());
    for _ in 0..7 {
        stream.next().await.unwrap().unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_millis(300), stream.next()).await.is_err());
}

#[tokio::test]
async fn a_question_that_stalls_is_asked_elsewhere_and_the_first_answer_counts() {
    let workers = ["w-1", "w-2"].map(|id| FakeWorker::start(Script::named(id)));
    let fleet = fleet(workers.iter().map(|worker| worker.url.clone()));
    ready(&fleet, 2).await;
    // So long that no other one is slow, however busy the machine is.
    let policy = Hedging { multiple: 2.0, least: Duration::from_secs(2) };
    let incident = incident(&Dispatcher::start(fleet.clone(), hedging(Some(policy))), Payer::default());
    let wanted = incident.ask(question("Who?", 7), &TokenCounter::default()).await.unwrap();
    // Nobody knows what is usual before.
    for seed in 0..40 {
        incident.ask(question("Who?", seed), &TokenCounter::default()).await.unwrap();
    }
    // All of them went where the first one did, which holds the prefix.
    let asked = |worker: &FakeWorker| worker.script.questions.load(Ordering::SeqCst);
    let [one, other] = &workers;
    let (slow, quick) = if asked(one) > 0 { (one, other) } else { (other, one) };
    assert_eq!((asked(slow), asked(quick)), (41, 0));
    *slow.script.answer_delay.lock().unwrap() = Duration::from_secs(60);
    let tokens = TokenCounter::default();
    let answer =
        tokio::time::timeout(Duration::from_secs(20), incident.ask(question("Who?", 7), &tokens)).await;
    assert_eq!(answer.expect("it does not wait for the slow one").unwrap(), wanted);
    assert_eq!((asked(slow), asked(quick)), (42, 1));
    until("the end of the other call", || slow.script.open_calls() == 0).await;
    until("its place back", || fleet.list().iter().all(|worker| worker.running == 0)).await;
}
