//! Coordinators that are killed in the middle, as processes, over scripted workers: nothing is lost, nothing is told
//! twice, and the plan is the one of an undisturbed run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    ApproveActionRequest, CancelIncidentRequest, CreateIncidentRequest, DeliveryStatus, Incident,
    IncidentStatus, ListIncidentsRequest, PlanEnd, PlanMode, PlanOptions, Priority, RecoveryState,
    ReportAlertsRequest, ReportOutcomeRequest,
};
use countermove_proto::{Error, RequestId};
use countermove_tests::{Postgres, Signal};
use support::cluster::{ALERTS, Cluster, Setup, create_request, options};
use support::process::{Coordinator, assert_told_once, decisions};
use support::receiver::{header, receive};
use support::worker::{FakeWorker, Script};

/// Workers that take their time, so that a plan can be caught in the middle.
fn workers(delay: u64) -> (Vec<FakeWorker>, String) {
    let delay = Duration::from_millis(delay);
    let workers: Vec<_> =
        ["w-1", "w-2"].map(|id| FakeWorker::start(Script::slow(id, delay))).into_iter().collect();
    let urls = workers.iter().map(|worker| worker.url.to_string()).collect::<Vec<_>>().join(",");
    (workers, urls)
}

/// The plan that nobody disturbed.
async fn undisturbed() -> Incident {
    let cluster = Cluster::start(Setup::default()).await;
    let name = cluster.create(options()).await;
    cluster.ended(&name).await;
    cluster.get(&name).await
}

fn id() -> String {
    RequestId::generate().to_string()
}

/// Repeats a call while the incident changes hands.
async fn insist<T>(call: impl AsyncFn() -> Result<tonic::Response<T>, tonic::Status>) -> T {
    for _ in 0..200 {
        match call().await {
            Ok(answer) => return answer.into_inner(),
            Err(status)
                if matches!(Error::from(&status), Error::Unavailable { .. } | Error::Transport(_)) =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(status) => panic!("{status:?}"),
        }
    }
    panic!("it stays unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_killed_anywhere_goes_on_where_it_was() {
    let expected = decisions(&undisturbed().await);
    let (_workers, urls) = workers(20);
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let mut coordinator = Coordinator::start(&urls, &store, &[]);
    let name = coordinator.create(options()).await;
    let mut events = Vec::new();
    // One death at each kind of place; a plan that is over before is no fault of the test.
    let places: [fn(&Kind) -> bool; 6] = [
        |kind| matches!(kind, Kind::Created(_)),
        |kind| matches!(kind, Kind::Assessed(_)),
        |kind| matches!(kind, Kind::Proposed(_)),
        |kind| matches!(kind, Kind::Rollout(_)),
        |kind| matches!(kind, Kind::Rollout(r) if r.rollout == 2),
        |kind| matches!(kind, Kind::Decided(_)),
    ];
    for place in places {
        events.extend(coordinator.events(&name, events.len() as u64, place).await);
        coordinator.kill().await;
        coordinator = Coordinator::start(&urls, &store, &[]);
    }
    events.extend(coordinator.events(&name, events.len() as u64, |_| false).await);
    assert_told_once(&events);
    assert!(matches!(events.last().and_then(|event| event.kind.as_ref()), Some(Kind::Ended(_))));
    let incident = coordinator.get(&name).await;
    assert_eq!(incident.error, "");
    assert_eq!(decisions(&incident), expected);
    assert_eq!(coordinator.verify(&name).await, events.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_finds_the_incident_waiting_where_it_waited() {
    let (_workers, urls) = workers(0);
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let coordinator = Coordinator::start(&urls, &store, &[]);
    let interactive = PlanOptions { mode: PlanMode::Interactive.into(), max_steps: 2, ..options() };
    let create = CreateIncidentRequest {
        tenant: "blue-team".to_owned(),
        priority: Priority::Urgent.into(),
        ..create_request(interactive)
    };
    let created = coordinator.api().create_incident(create.clone()).await.unwrap().into_inner();
    let name = created.incident.clone().unwrap().name;
    coordinator.events(&name, 0, |kind| matches!(kind, Kind::Decided(_))).await;
    let waiting = coordinator.get(&name).await;
    assert_eq!(waiting.status(), IncidentStatus::AwaitingApproval);
    assert_eq!((waiting.tenant.as_str(), waiting.priority()), ("blue-team", Priority::Urgent));
    coordinator.kill().await;

    let coordinator = Coordinator::start(&urls, &store, &[]);
    // What planning does at this moment is no part of it.
    let as_kept = |incident: Incident| Incident { progress: None, ..incident };
    assert_eq!(as_kept(coordinator.get(&name).await), as_kept(waiting.clone()));
    let again = coordinator.api().create_incident(create).await.unwrap().into_inner();
    assert_eq!(again, created, "the request is remembered");
    let step = &waiting.plan.as_ref().unwrap().steps[0];
    let action = &step.candidates.iter().find(|c| c.index == step.chosen).unwrap().action;
    let approve = ApproveActionRequest {
        name: name.clone(),
        step: 0,
        action: action.clone().unwrap().text,
        approver: "the night shift".to_owned(),
        plan_hash: step.plan_hash.clone(),
        request_id: id(),
        validate_only: false,
    };
    let mut api = coordinator.api();
    let approved =
        insist(async || coordinator.api().approve_action(approve.clone()).await).await.incident.unwrap();
    assert_eq!(approved.status(), IncidentStatus::AwaitingOutcome);
    let alerts = ReportAlertsRequest {
        name: name.clone(),
        alerts: ALERTS.replace("10.0.0.6", "10.0.0.20"),
        request_id: id(),
        validate_only: false,
    };
    let digest = api.report_alerts(alerts.clone()).await.unwrap().into_inner().digest.unwrap();
    coordinator.kill().await;

    let coordinator = Coordinator::start(&urls, &store, &[]);
    let repeated =
        insist(async || coordinator.api().approve_action(approve.clone()).await).await.incident.unwrap();
    assert_eq!(repeated, approved, "the first answer, and no second approval");
    let repeated =
        insist(async || coordinator.api().report_alerts(alerts.clone()).await).await.digest.unwrap();
    assert_eq!(repeated, digest);
    let other = ApproveActionRequest { approver: "somebody else".to_owned(), ..approve };
    assert!(coordinator.api().approve_action(other).await.is_err(), "the id was used for another request");
    let outcome = ReportOutcomeRequest {
        name: name.clone(),
        step: 0,
        state: Some(RecoveryState { is_attack_contained: true, ..RecoveryState::default() }),
        request_id: id(),
        ..ReportOutcomeRequest::default()
    };
    insist(async || coordinator.api().report_outcome(outcome.clone()).await).await;
    let seen = coordinator.get(&name).await.last_sequence;
    let more = coordinator.events(&name, 0, |kind| matches!(kind, Kind::Decided(s) if s.index == 1)).await;
    assert!(more.len() as u64 > seen.min(4));
    assert_told_once(&more);
    let alerts = more.iter().filter(|event| matches!(event.kind, Some(Kind::Alerts(_)))).count();
    assert_eq!(alerts, 1, "reported once");
    coordinator.verify(&name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_action_reaches_the_receiver_over_the_end_of_its_coordinator() {
    let (_workers, urls) = workers(0);
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of more than thirty-two bytes").unwrap();
    let listener = std::sync::Arc::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}/actions", listener.local_addr().unwrap());
    let flags = ["--webhook", &url, "--webhook-secret", secret.to_str().unwrap(), "--allow-local"];
    let receive = |status| {
        let listener = std::sync::Arc::clone(&listener);
        tokio::task::spawn_blocking(move || receive(&listener, status))
    };
    let mut coordinator = Coordinator::start(&urls, &store, &flags);
    let interactive = PlanOptions { mode: PlanMode::Interactive.into(), max_steps: 2, ..options() };
    let name = coordinator.create(interactive).await;
    coordinator.events(&name, 0, |kind| matches!(kind, Kind::Decided(_))).await;
    let step = coordinator.get(&name).await.plan.unwrap().steps[0].clone();
    let approve = ApproveActionRequest {
        name: name.clone(),
        approver: "the night shift".to_owned(),
        plan_hash: step.plan_hash.clone(),
        request_id: id(),
        ..ApproveActionRequest::default()
    };
    let refused = receive(503);
    coordinator.api().approve_action(approve).await.unwrap();
    let (first, _) = refused.await.unwrap();
    coordinator.process.signal(Signal::Terminate);
    assert_eq!(coordinator.process.exit_code(Duration::from_secs(30)).await, 0);

    let taken = receive(204);
    let coordinator = Coordinator::start(&urls, &store, &flags);
    let (second, body) =
        tokio::time::timeout(Duration::from_secs(25), taken).await.expect("in time").unwrap();
    assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"));
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&told["approver"], &told["plan_hash"]),
        (&"the night shift".into(), &step.plan_hash.as_str().into())
    );
    let is_taken =
        |kind: &Kind| matches!(kind, Kind::Delivery(told) if told.status() == DeliveryStatus::Taken);
    coordinator.events(&name, 0, is_taken).await;
    coordinator.verify(&name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_coordinator_answers_and_one_goes_on_for_another() {
    let Some(server) = Postgres::start() else { return };
    let expected = decisions(&undisturbed().await);
    let (_workers, urls) = workers(30);
    let a = Coordinator::start(&urls, &server.url(), &[]);
    let b = Coordinator::start(&urls, &server.url(), &[]);
    let create = create_request(options());
    let created = a.api().create_incident(create.clone()).await.unwrap().into_inner();
    let name = created.incident.clone().unwrap().name;
    assert_eq!(
        b.api().create_incident(create).await.unwrap().into_inner(),
        created,
        "one request, one incident"
    );
    let listed = b.api().list_incidents(ListIncidentsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.incidents.iter().map(|i| &i.name).collect::<Vec<_>>(), [&name]);
    // A watcher at the coordinator that does not plan it sees the same events, also over the other one's death.
    let watcher = {
        let (b, name) = (b.api(), name.clone());
        tokio::spawn(async move {
            let mut b = b;
            let request = countermove_proto::v1::WatchIncidentRequest { name, resume_after: 0 };
            let mut watch = b.watch_incident(request).await.unwrap().into_inner();
            let mut events = Vec::new();
            while let Some(update) = watch.message().await.unwrap() {
                if let Some(countermove_proto::v1::watch_incident_response::Update::Event(event)) =
                    update.update
                {
                    events.push(event);
                }
            }
            events
        })
    };
    a.events(&name, 0, |kind| matches!(kind, Kind::Rollout(r) if r.step == 1)).await;
    a.kill().await;
    let events = watcher.await.unwrap();
    assert_told_once(&events);
    let incident = b.get(&name).await;
    assert_eq!((incident.error.as_str(), incident.last_sequence), ("", events.len() as u64));
    assert_eq!(decisions(&incident), expected);
    assert_eq!(b.verify(&name).await, events.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_coordinator_that_wakes_up_can_write_nothing() {
    let Some(server) = Postgres::start() else { return };
    let expected = decisions(&undisturbed().await);
    let (_workers, urls) = workers(30);
    let mut a = Coordinator::start(&urls, &server.url(), &[]);
    let b = Coordinator::start(&urls, &server.url(), &[]);
    let name = a.create(options()).await;
    a.events(&name, 0, |kind| matches!(kind, Kind::Rollout(_))).await;
    a.process.signal(Signal::Stop);
    // While it is frozen a change finds no owner, or one that does not answer.
    let events = b.events(&name, 0, |kind| matches!(kind, Kind::Decided(s) if s.index == 1)).await;
    a.process.signal(Signal::Continue);
    let rest = b.events(&name, events.len() as u64, |_| false).await;
    let events: Vec<_> = events.into_iter().chain(rest).collect();
    assert_told_once(&events);
    assert_eq!(decisions(&a.get(&name).await), expected, "also as the one that was frozen tells it");
    assert_eq!(a.verify(&name).await, events.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_told_to_end_hands_over_at_once() {
    let Some(server) = Postgres::start() else { return };
    let expected = decisions(&undisturbed().await);
    let (_workers, urls) = workers(30);
    // Nobody would notice by the lease before the test's patience is over.
    let mut a = Coordinator::start(&urls, &server.url(), &["--lease", "600"]);
    let b = Coordinator::start(&urls, &server.url(), &[]);
    let name = a.create(options()).await;
    a.events(&name, 0, |kind| matches!(kind, Kind::Rollout(_))).await;
    a.process.signal(Signal::Terminate);
    assert_eq!(a.process.exit_code(Duration::from_secs(30)).await, 0);
    let events = b.events(&name, 0, |_| false).await;
    assert_told_once(&events);
    assert_eq!(decisions(&b.get(&name).await), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_the_owner_through_any_coordinator() {
    let Some(server) = Postgres::start() else { return };
    let (_workers, urls) = workers(0);
    let a = Coordinator::start(&urls, &server.url(), &[]);
    let b = Coordinator::start(&urls, &server.url(), &[]);
    let interactive = PlanOptions { mode: PlanMode::Interactive.into(), ..options() };
    let name = a.create(interactive).await;
    b.events(&name, 0, |kind| matches!(kind, Kind::Decided(_))).await;
    let plan = b.get(&name).await.plan.unwrap();
    let wrong = ApproveActionRequest {
        name: name.clone(),
        action: "dance".into(),
        plan_hash: plan.steps[0].plan_hash.clone(),
        ..ApproveActionRequest::default()
    };
    let refused = b.api().approve_action(wrong).await.unwrap_err();
    assert!(
        matches!(Error::from(&refused), Error::Precondition { .. }),
        "the owner's own words: {refused:?}"
    );
    let cancel = CancelIncidentRequest { name: name.clone(), request_id: id(), validate_only: false };
    let ended = b.api().cancel_incident(cancel.clone()).await.unwrap().into_inner().incident.unwrap();
    assert_eq!(ended.plan.unwrap().end(), PlanEnd::Cancelled);
    a.kill().await;
    let again = b.api().cancel_incident(cancel).await.unwrap().into_inner().incident.unwrap();
    assert_eq!(again.status(), IncidentStatus::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_way_is_gone_on_with() {
    let expected = decisions(&undisturbed().await);
    let (_workers, urls) = workers(20);
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("incidents.db"), folder.path().join("copy.db"));
    let coordinator = Coordinator::start(&urls, &format!("sqlite:{}", file.display()), &[]);
    let name = coordinator.create(options()).await;
    let before = coordinator.events(&name, 0, |kind| matches!(kind, Kind::Decided(_))).await;
    // As docs/operations.md says, beside the running process.
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("VACUUM INTO '{}'", copy.display())))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    coordinator.kill().await;
    // The key goes with it, or nobody would believe what it signed.
    std::fs::copy(file.with_extension("db.key"), copy.with_extension("db.key")).unwrap();

    let restored = Coordinator::start(&urls, &format!("sqlite:{}", copy.display()), &[]);
    let events = restored.events(&name, 0, |_| false).await;
    assert_eq!(events[..before.len()], before);
    assert_told_once(&events);
    assert_eq!(decisions(&restored.get(&name).await), expected);
    restored.verify(&name).await;

    let (Some(source), Some(target)) = (Postgres::start(), Postgres::start()) else { return };
    let coordinator = Coordinator::start(&urls, &source.url(), &[]);
    let name = coordinator.create(options()).await;
    coordinator.events(&name, 0, |kind| matches!(kind, Kind::Decided(_))).await;
    let copy = folder.path().join("copy.sql");
    std::fs::write(&copy, source.client("pg_dump", ["--no-owner"])).unwrap();
    coordinator.kill().await;
    // The server's user may not read this test's folder.
    target.restore(&copy);
    let restored = Coordinator::start(&urls, &target.url(), &[]);
    assert_told_once(&restored.events(&name, 0, |_| false).await);
    assert_eq!(decisions(&restored.get(&name).await), expected);
    restored.verify(&name).await;
}
