//! Workers that die, freeze or leave in the middle of a plan, and callers who give up: the plan stays the same, or
//! everything stops.

use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_tests::{
    Cli, Cluster, ClusterOptions, PlanRun, Planning, Process, Signal, exclusive, fingerprint,
    marked_processes, small_options, wait_until,
};

/// Enough rollouts to be caught in the middle of them, also where a cache that is warm answers most of what they ask.
fn options() -> api::PlanOptions {
    api::PlanOptions { candidates: 4, rollouts: 96, max_depth: 8, ..small_options(2026) }
}

/// Plans until rollouts are under way and the worker `id` has some of them.
async fn into_rollouts<'a>(cluster: &'a Cluster, id: &str) -> Planning<'a> {
    let mut planning = Planning::start(cluster, options()).await;
    planning.until("rollouts begin", Planning::in_rollouts).await;
    cluster.wait_for(id, "busy", |worker| worker.running > 0).await;
    planning
}

#[tokio::test]
async fn a_worker_killed_or_frozen_in_the_middle_changes_nothing_but_the_time() {
    let _turn = exclusive();
    let expected = {
        let cluster = Cluster::of(2).await;
        PlanRun::of(&cluster, options()).await
    };
    for signal in [Signal::Kill, Signal::Stop] {
        let mut cluster = Cluster::of(2).await;
        // The process is taken out of the cluster, so that it can be hurt while the cluster is watched.
        let mut victim = cluster.workers.pop().expect("two workers");
        let survivor = cluster.workers[0].id.clone();
        let planning = into_rollouts(&cluster, &victim.id).await;
        victim.process.signal(signal);
        let hurt = Instant::now();

        let run = planning.finish().await;
        eprintln!("{signal:?}: the plan ended {:.1?} after the blow", hurt.elapsed());
        assert_eq!(fingerprint(&expected), fingerprint(&run), "after {signal:?}");
        let names = run.workers();
        assert!(names.iter().any(|name| name.ends_with(&survivor)), "{names:?}");
        assert!(
            run.notices().iter().any(|text| text.contains(&victim.id)),
            "a notice names the lost worker: {:?}",
            run.notices()
        );
        cluster.wait_for(&victim.id, "lost", |worker| worker.status() == api::WorkerStatus::Lost).await;
    }
}

#[tokio::test]
async fn a_coordinator_killed_in_the_middle_changes_nothing_but_the_time() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let mut cluster = Cluster::start(ClusterOptions {
        workers: 2,
        coordinator_flags: vec!["--store".to_owned(), store],
        ..ClusterOptions::default()
    })
    .await;
    let expected = PlanRun::of(&cluster, options()).await;
    let mut planning = Planning::start(&cluster, options()).await;
    planning.until("rollouts begin", Planning::in_rollouts).await;
    let unwatched = planning.pause();
    let hurt = Instant::now();
    cluster.replace_coordinator().await;
    let run = Planning::resume(&cluster, unwatched).await.finish().await;
    eprintln!("the plan ended {:.1?} after the coordinator's death", hurt.elapsed());
    assert_eq!(fingerprint(&expected), fingerprint(&run));
    let verified = Cli::new(&cluster.url, ["incidents", "verify", &run.incident.name]).run().await;
    verified.assert_success();
    assert!(verified.stdout.contains("all as written"), "{verified:?}");
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_is_used_again() {
    let _turn = exclusive();
    let mut cluster = Cluster::of(1).await;
    let mut worker = cluster.workers.pop().expect("one worker");
    worker.process.signal(Signal::Stop);
    cluster.wait_for(&worker.id, "lost", |found| found.status() == api::WorkerStatus::Lost).await;
    worker.process.signal(Signal::Continue);
    cluster.wait_for(&worker.id, "ready again", |found| found.status() == api::WorkerStatus::Ready).await;
}

#[tokio::test]
async fn a_worker_told_to_end_finishes_its_work_and_exits_with_zero() {
    let _turn = exclusive();
    let mut cluster = Cluster::of(2).await;
    let mut leaving = cluster.workers.pop().expect("two workers");
    let planning = into_rollouts(&cluster, &leaving.id).await;
    leaving.process.signal(Signal::Terminate);
    let run = planning.finish().await;
    assert_eq!(run.incident.error, "");
    assert_eq!(leaving.process.exit_code(Duration::from_secs(60)).await, 0);

    // Idle processes leave at once.
    let mut idle = cluster.workers.pop().expect("one worker is left");
    let start = Instant::now();
    idle.process.signal(Signal::Terminate);
    assert_eq!(idle.process.exit_code(Duration::from_secs(20)).await, 0);
    cluster.coordinator.signal(Signal::Terminate);
    assert_eq!(cluster.coordinator.exit_code(Duration::from_secs(20)).await, 0);
    assert!(start.elapsed() < Duration::from_secs(20), "idle processes took {:?} to leave", start.elapsed());
}

#[tokio::test]
async fn a_drained_worker_gets_nothing_new_until_it_is_resumed() {
    let _turn = exclusive();
    let cluster = Cluster::of(2).await;
    let name = format!("workers/{}", cluster.workers[1].id);
    let request_id = || uuid::Uuid::now_v7().to_string();
    let drain =
        api::DrainWorkerRequest { name: name.clone(), request_id: request_id(), validate_only: false };
    let answer = cluster.cluster().drain_worker(drain).await.expect("DrainWorker").into_inner();
    assert_eq!(answer.worker.unwrap_or_default().status(), api::WorkerStatus::Draining);
    let run = PlanRun::of(&cluster, small_options(8)).await;
    assert_eq!(run.incident.error, "");
    assert_eq!(run.workers().len(), 1, "{:?}", run.workers());
    assert!(run.workers()[0].ends_with(&cluster.workers[0].id), "{:?}", run.workers());

    let resume =
        api::ResumeWorkerRequest { name: name.clone(), request_id: request_id(), validate_only: false };
    let answer = cluster.cluster().resume_worker(resume).await.expect("ResumeWorker").into_inner();
    assert_eq!(answer.worker.unwrap_or_default().status(), api::WorkerStatus::Ready);
    let run = PlanRun::of(&cluster, small_options(8)).await;
    assert_eq!(run.workers().len(), 2, "{:?}", run.workers());
}

#[tokio::test]
async fn cancelling_an_incident_stops_the_decode() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let planning = into_rollouts(&cluster, &cluster.workers[0].id).await;
    let request = api::CancelIncidentRequest {
        name: planning.name.clone(),
        request_id: uuid::Uuid::now_v7().to_string(),
        validate_only: false,
    };
    cluster.incidents().cancel_incident(request).await.expect("CancelIncident");
    cluster.wait_until_idle(Duration::from_secs(5)).await;
    let run = planning.finish().await;
    assert_eq!(run.end(), api::PlanEnd::Cancelled);
    assert_idle_at_worker(&cluster).await;
}

#[tokio::test]
async fn a_deadline_ends_planning_and_the_decode() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    // Far below what reading the evidence takes on any machine, so that the work is always cut in the middle.
    let deadline = prost_types::Duration { seconds: 0, nanos: 50_000_000 };
    let start = Instant::now();
    let run = PlanRun::of(&cluster, api::PlanOptions { deadline: Some(deadline), ..options() }).await;
    assert_eq!(run.end(), api::PlanEnd::Deadline, "{:#?}", run.incident);
    assert!(start.elapsed() < Duration::from_secs(6), "planning went on for {:?}", start.elapsed());
    cluster.wait_until_idle(Duration::from_secs(5)).await;
    assert_idle_at_worker(&cluster).await;
}

/// The coordinator may believe that a worker is idle; its CPU time tells.
async fn assert_idle_at_worker(cluster: &Cluster) {
    for worker in &cluster.workers {
        let pid = worker.process.pid();
        wait_until("the worker's CPU rests", Duration::from_secs(5), || async move {
            let before = cpu_ticks(pid);
            tokio::time::sleep(Duration::from_millis(300)).await;
            (cpu_ticks(pid) - before <= 3).then_some(())
        })
        .await;
    }
}

/// CPU time of a process in ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // Fields 14 and 15, counted behind the name, which may hold anything but ends with the last parenthesis.
    let behind = text.rsplit_once(')').expect("a name in parentheses").1;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[tokio::test]
async fn ctrl_c_on_plan_exits_with_130_and_leaves_nothing_running() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let folder = countermove_tests::incident_folder();
    let mut cli = Cli::new(&cluster.url, ["plan", "--incident"]).arg(folder);
    let mut plan = Process::start("countermove plan", cli.command());
    cluster.wait_for(&cluster.workers[0].id, "busy", |worker| worker.running > 0).await;
    plan.signal(Signal::Interrupt);
    assert_eq!(plan.exit_code(Duration::from_secs(10)).await, 130, "{}", plan.log());
    cluster.wait_until_idle(Duration::from_secs(5)).await;
    assert_idle_at_worker(&cluster).await;
}

#[tokio::test]
async fn ctrl_c_on_up_takes_its_coordinator_and_workers_with_it() {
    let _turn = exclusive();
    countermove_tests::default_model();
    let mark = format!("cluster-test-{}", std::process::id());
    let mut cli = Cli::new("", ["up", "--workers", "2", "--store", "memory:", "--listen", "127.0.0.1:0"])
        .env("COUNTERMOVE_TEST_MARK", &mark);
    let mut up = Process::start("countermove up", cli.command());
    let variable = format!("COUNTERMOVE_TEST_MARK={mark}");
    wait_until("up has started a coordinator and two workers", Duration::from_secs(60), || async {
        (marked_processes(&variable).len() >= 4).then_some(())
    })
    .await;
    up.signal(Signal::Interrupt);
    up.exit_code(Duration::from_secs(40)).await;
    let left = marked_processes(&variable);
    assert!(left.is_empty(), "these were left behind: {left:#?}");
}

#[tokio::test]
async fn up_that_is_killed_leaves_nothing_either() {
    let _turn = exclusive();
    countermove_tests::default_model();
    let mark = format!("cluster-test-kill-{}", std::process::id());
    let mut cli = Cli::new("", ["up", "--workers", "2", "--store", "memory:", "--listen", "127.0.0.1:0"])
        .env("COUNTERMOVE_TEST_MARK", &mark);
    let mut up = Process::start("countermove up", cli.command());
    let variable = format!("COUNTERMOVE_TEST_MARK={mark}");
    wait_until("up has started a coordinator and two workers", Duration::from_secs(60), || async {
        (marked_processes(&variable).len() >= 4).then_some(())
    })
    .await;
    up.signal(Signal::Kill);
    wait_until("nothing is left", Duration::from_secs(40), || async {
        marked_processes(&variable).is_empty().then_some(())
    })
    .await;
}
