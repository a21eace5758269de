//! A coordinator that finds its workers by a real etcd, and loses it.
#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use countermove_membership::Registration;
use countermove_membership::etcd::register;
use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{ListWorkersRequest, WorkerStatus};
use countermove_tests::{Etcd, wait_until};
use support::cluster::{Cluster, Setup, options};
use support::process::{Coordinator, assert_told_once, decisions};
use support::worker::{FakeWorker, Script};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(40);

/// A scripted worker that is registered until it is dropped.
struct Registered {
    worker: FakeWorker,
    _leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Registered {
    fn start(etcd: &Etcd, id: &str) -> Self {
        let worker = FakeWorker::start(Script::slow(id, Duration::from_millis(60)));
        let registration = Registration {
            url: worker.url.to_string(),
            capacity: 8,
            weights_sha256: String::new(),
            process: id.to_owned(),
        };
        let (leave, left) = oneshot::channel::<()>();
        let shutdown = async move { drop(left.await) };
        let endpoints = etcd.url().parse().unwrap();
        let task = tokio::spawn(register(endpoints, id.to_owned(), registration, LEASE, shutdown));
        Self { worker, _leave: leave, task }
    }
}

async fn ready(coordinator: &Coordinator, ids: &[&str]) {
    let names: Vec<String> = ids.iter().map(|id| format!("workers/{id}")).collect();
    wait_until(&format!("{ids:?} are ready"), PATIENCE, || async {
        let mut cluster = ClusterServiceClient::connect(coordinator.url.clone()).await.ok()?;
        let listed = cluster.list_workers(ListWorkersRequest::default()).await.ok()?.into_inner().workers;
        let mut ready: Vec<_> = listed
            .iter()
            .filter(|worker| worker.status() == WorkerStatus::Ready)
            .map(|worker| worker.name.clone())
            .collect();
        ready.sort();
        (ready == names).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_etcd_stops_no_plan_and_loses_no_worker() {
    let expected = {
        let cluster = Cluster::start(Setup::default()).await;
        let name = cluster.create(options()).await;
        cluster.ended(&name).await;
        decisions(&cluster.get(&name).await)
    };
    let Some(mut etcd) = Etcd::start() else { return };
    let first = Registered::start(&etcd, "w-1");
    let second = Registered::start(&etcd, "w-2");
    let flags = ["--discovery", "etcd", "--etcd", &etcd.url()];
    let coordinator = Coordinator::start_with("memory:", &flags);
    ready(&coordinator, &["w-1", "w-2"]).await;

    let name = coordinator.create(options()).await;
    coordinator.events(&name, 0, |kind| matches!(kind, Kind::Rollout(_))).await;
    etcd.kill();
    let events = coordinator.events(&name, 0, |_| false).await;
    assert_told_once(&events);
    assert_eq!(decisions(&coordinator.get(&name).await), expected, "planned without etcd");
    tokio::time::sleep(LEASE * 2).await;
    ready(&coordinator, &["w-1", "w-2"]).await;

    // It comes back with nothing; whoever lives is found again, and whoever is new as well.
    etcd.resume_empty();
    let third = Registered::start(&etcd, "w-3");
    ready(&coordinator, &["w-1", "w-2", "w-3"]).await;
    // One that dies without a word goes with its lease.
    third.task.abort();
    ready(&coordinator, &["w-1", "w-2"]).await;
    let name = coordinator.create(options()).await;
    coordinator.events(&name, 0, |_| false).await;
    assert_eq!(decisions(&coordinator.get(&name).await), expected);
    assert!(!first.worker.script.rollouts().is_empty() && !second.worker.script.rollouts().is_empty());
}
