//! The replica of a coordinator's own: what it gets, and that it lives exactly as long as it should.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use countermove_coordinator::dispatch::{DispatchOptions, Dispatcher, IncidentWorkers, Payer};
use countermove_coordinator::replica::Replica;
use countermove_coordinator::workers::Fleet;
use countermove_planner::{LanguageModel, TokenCounter};
use countermove_proto::IncidentId;
use countermove_proto::v1::WorkerStatus;
use support::worker::{FakeWorker, Script};
use support::{fleet, question, ready, until};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A program that does what a worker process does as far as its parent can see, for a worker that runs elsewhere.
fn stand_in(address: &str, pids: &Path) -> String {
    format!("echo $$ >> '{}'; echo listening on {address}; cat > /dev/null", pids.display())
}

fn replica(worker: &FakeWorker, pids: &Path) -> Replica {
    let script = stand_in(&worker.address().to_string(), pids);
    Replica::new(PathBuf::from("/bin/sh"), vec!["-c".into(), script.into()])
}

fn pids(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn runs(pid: &str) -> bool {
    Command::new("kill").args(["-0", pid]).stderr(Stdio::null()).status().unwrap().success()
}

fn incident(fleet: &Fleet) -> IncidentWorkers {
    let options = DispatchOptions { worker_wait: Duration::from_millis(300), ..DispatchOptions::default() };
    let dispatcher = Dispatcher::start(fleet.clone(), options);
    IncidentWorkers::new(dispatcher, IncidentId::generate(), Payer::default(), None, None)
}

/// A fleet of one worker and a replica of the coordinator's own.
struct Kept {
    own: FakeWorker,
    other: FakeWorker,
    fleet: Fleet,
    folder: TempDir,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
}

impl Kept {
    async fn start() -> Self {
        let own = FakeWorker::start(Script::named("own"));
        let other = FakeWorker::start(Script::named("w-1"));
        let folder = tempfile::tempdir().unwrap();
        let fleet = fleet([other.url.clone()]);
        ready(&fleet, 1).await;
        let stop = CancellationToken::new();
        let replica = replica(&own, &folder.path().join("pids"));
        let keeping = tokio::spawn(replica.keep(fleet.clone(), stop.clone()));
        ready(&fleet, 2).await;
        Self { own, other, fleet, folder, stop, keeping }
    }

    /// The processes that it was, in order.
    fn pids(&self) -> Vec<String> {
        pids(&self.folder.path().join("pids"))
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.keeping).await.unwrap();
    }
}

#[tokio::test]
async fn it_answers_questions_and_alone_makes_no_coordinator_ready() {
    let mut kept = Kept::start().await;
    let fleet = kept.fleet.clone();
    assert!(fleet.any_ready());

    kept.other.kill();
    until("the loss", || fleet.list().iter().any(|worker| worker.status() == WorkerStatus::Lost)).await;
    assert!(!fleet.any_ready(), "nobody runs rollouts");
    assert!(incident(&fleet).ask(question("What now?", 1), &TokenCounter::default()).await.is_ok());
    assert_eq!(kept.own.script.questions.load(Ordering::SeqCst), 1);

    kept.stop().await;
    assert_eq!(fleet.list().len(), 1, "it is no longer known");
    let pid = kept.pids().pop().unwrap();
    until("its end", || !runs(&pid)).await;
}

#[tokio::test]
async fn it_waits_for_a_worker_that_says_what_the_cluster_plans_with() {
    let own = FakeWorker::start(Script::named("own"));
    own.script.identity.lock().unwrap().weights_sha256 = "ef".repeat(32);
    let mut worker = FakeWorker::start(Script::named("w-1"));
    let address = worker.address();
    worker.kill();
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet([worker.url.clone()]);
    let stop = CancellationToken::new();
    let kept = tokio::spawn(replica(&own, &folder.path().join("pids")).keep(fleet.clone(), stop.clone()));
    let reason = |part: &str| fleet.list().iter().any(|worker| worker.status_reason.contains(part));
    until("the first refusal", || reason("not known")).await;
    let _worker = FakeWorker::start_at(Script::named("w-1"), address);
    ready(&fleet, 1).await;
    until("the refusal of another model", || reason("weights")).await;
    assert!(fleet.any_ready(), "the worker's model counts");
    stop.cancel();
    kept.await.unwrap();
}

#[tokio::test]
async fn it_is_started_again_when_it_dies() {
    let mut kept = Kept::start().await;
    let first = kept.pids().pop().unwrap();
    assert!(Command::new("kill").args(["-KILL", &first]).status().unwrap().success());
    until("another process", || kept.pids().len() == 2).await;
    ready(&kept.fleet, 2).await;
    kept.stop().await;
}

#[tokio::test]
async fn it_dies_with_the_coordinator_even_if_that_is_killed() {
    let own = FakeWorker::start(Script::named("own"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    // Beside the coordinator stands a program by the worker's name.
    let program = folder.path().join("countermove-coordinator");
    std::fs::copy(env!("CARGO_BIN_EXE_countermove-coordinator"), &program).unwrap();
    let sibling = folder.path().join("countermove-worker");
    std::fs::write(&sibling, format!("#!/bin/sh\n{}\n", stand_in(&own.address().to_string(), &file)))
        .unwrap();
    std::fs::set_permissions(&sibling, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut coordinator = Command::new(&program)
        .args(["--listen", "127.0.0.1:0", "--store", "memory:", "--workers", "http://127.0.0.1:9"])
        .args(["--model", "any"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the replica", || !pids(&file).is_empty()).await;
    let pid = pids(&file).pop().unwrap();
    assert!(runs(&pid));
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    until("its end", || !runs(&pid)).await;
}
