//! Registration and following over a real etcd.
#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countermove_membership::etcd::{Endpoints, follow, register};
use countermove_membership::{Member, Registration};
use countermove_tests::Etcd;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The shortest lease that etcd grants with the election timeout of these tests.
const LEASE: Duration = Duration::from_secs(2);
/// Time that anything may take.
const PATIENCE: Duration = Duration::from_secs(40);

type Members = BTreeMap<String, Member>;

fn endpoints(etcd: &Etcd) -> Endpoints {
    etcd.url().parse().unwrap()
}

fn registration(process: &str) -> Registration {
    Registration {
        url: "http://127.0.0.1:7701".into(),
        capacity: 16,
        weights_sha256: "ab".repeat(32),
        process: process.into(),
    }
}

struct Worker {
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Worker {
    fn start(etcd: &Etcd, id: &str, process: &str) -> Self {
        let (leave, left) = oneshot::channel::<()>();
        let shutdown = async move { drop(left.await) };
        let task =
            tokio::spawn(register(endpoints(etcd), id.to_owned(), registration(process), LEASE, shutdown));
        Self { leave: Some(leave), task }
    }

    /// Ends it without a word.
    fn die(&self) {
        self.task.abort();
    }

    async fn leave(mut self) {
        drop(self.leave.take());
        self.task.await.unwrap();
    }
}

fn followed(etcd: &Etcd, grace: Duration) -> watch::Receiver<Members> {
    let (sender, receiver) = watch::channel(Members::new());
    tokio::spawn(follow(endpoints(etcd), grace, sender));
    receiver
}

async fn until(
    members: &mut watch::Receiver<Members>,
    what: &str,
    holds: impl FnMut(&Members) -> bool,
) -> Members {
    timeout(PATIENCE, members.wait_for(holds)).await.expect(what).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_comes_stays_and_leaves() {
    let Some(etcd) = Etcd::start() else { return };
    let mut members = followed(&etcd, LEASE);
    let (one, two) = (Worker::start(&etcd, "w-1", "a"), Worker::start(&etcd, "w-2", "b"));
    let seen = until(&mut members, "both", |members| members.len() == 2).await;
    assert_eq!(seen["w-1"].registration, registration("a"));
    // Somebody who comes late reads what is there.
    until(&mut followed(&etcd, LEASE), "both", |members| members.len() == 2).await;
    one.leave().await;
    until(&mut members, "one left", |members| members.keys().eq(["w-2"])).await;
    // One that dies goes with its lease, and its successor comes after it, under a later number.
    let before = seen["w-2"].incarnation;
    let heir = Worker::start(&etcd, "w-2", "c");
    two.die();
    let seen = until(&mut members, "the heir", |members| {
        members.get("w-2").is_some_and(|member| member.registration.process == "c")
    })
    .await;
    assert!(seen["w-2"].incarnation > before);
    drop(heir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_all_of_etcd_loses_no_worker() {
    let Some(mut etcd) = Etcd::start() else { return };
    let mut members = followed(&etcd, PATIENCE);
    let worker = Worker::start(&etcd, "w-1", "a");
    let first = until(&mut members, "the worker", |members| members.len() == 1).await;
    let (mut watched, empty_views) = (members.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&empty_views);
    tokio::spawn(async move {
        while watched.changed().await.is_ok() {
            if watched.borrow_and_update().is_empty() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    // Longer than the lease; then it comes back, once with what it knew and once with nothing.
    for empty in [false, true] {
        etcd.kill();
        tokio::time::sleep(LEASE * 2).await;
        assert_eq!(members.borrow().len(), 1);
        match empty {
            false => etcd.resume(),
            true => etcd.resume_empty(),
        }
        // Whoever asks etcd anew sees the worker again.
        until(&mut followed(&etcd, LEASE), "the worker again", |members| members.len() == 1).await;
    }
    let last = members.borrow().clone();
    assert_eq!(last["w-1"].registration, first["w-1"].registration);
    assert_eq!(empty_views.load(Ordering::SeqCst), 0, "it was a member all the time");
    // A follower that is not back yet would take the one that leaves now for missing, and keep it for its patience.
    let other = Worker::start(&etcd, "w-2", "b");
    until(&mut members, "another one", |members| members.len() == 2).await;
    worker.leave().await;
    until(&mut members, "the worker left", |members| members.keys().eq(["w-2"])).await;
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_finds_back_after_compaction() {
    let Some(mut etcd) = Etcd::start() else { return };
    let mut members = followed(&etcd, LEASE);
    let stays = Worker::start(&etcd, "w-1", "a");
    let goes = Worker::start(&etcd, "w-2", "b");
    until(&mut members, "both", |members| members.len() == 2).await;
    etcd.kill();
    goes.die();
    etcd.resume();
    // The history in which the second one goes is thrown away before or after the follower has read it.
    let mut client = etcd_client::Client::connect([etcd.url()], None).await.unwrap();
    for _ in 0..20 {
        let put = client.put("elsewhere", "x", None).await.unwrap();
        let revision = put.header().unwrap().revision();
        client.compact(revision, None).await.unwrap();
    }
    until(&mut members, "the one that stayed", |members| members.keys().eq(["w-1"])).await;
    drop(stays);
}
