//! Which workers are taken in, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use countermove_coordinator::discovery::{MemoryDiscovery, StaticDiscovery};
use countermove_coordinator::workers::{Fleet, FleetOptions};
use countermove_planner::{Profile, Templates};
use countermove_proto::v1::{Worker, WorkerStatus};
use countermove_proto::{Error, PROTOCOL_VERSION, WorkerId};
use support::worker::{FakeWorker, Script, identity};
use support::{fleet, quick_links, ready, templates, until};

fn refused(fleet: &Fleet) -> Vec<Worker> {
    fleet.list().into_iter().filter(|worker| worker.status() == WorkerStatus::Refused).collect()
}

#[tokio::test]
async fn a_worker_of_another_protocol_version_is_refused_by_name() {
    let worker = FakeWorker::start(Script::default());
    let other = PROTOCOL_VERSION + 1;
    *worker.script.protocol_version.lock().unwrap() = other;
    let fleet = fleet([worker.url.clone()]);
    until("the refusal", || refused(&fleet).len() == 1).await;
    let listed = &refused(&fleet)[0];
    assert_eq!((listed.name.as_str(), listed.protocol_version), ("workers/w-1", other));
    assert!(listed.status_reason.contains(&format!("version {other}")), "{}", listed.status_reason);
    assert!(!fleet.any_ready());
}

#[tokio::test]
async fn the_first_worker_sets_the_model_and_another_one_is_refused() {
    let first = FakeWorker::start(Script::named("w-1"));
    let fleet = {
        let discovery = MemoryDiscovery::default();
        discovery.add(first.url.clone());
        let options =
            FleetOptions { templates: vec![templates()], link: quick_links(), ..FleetOptions::default() };
        let fleet = Fleet::start(&discovery, options);
        ready(&fleet, 1).await;
        assert_eq!(fleet.model(), Some(identity()));
        let other = FakeWorker::start(Script::named("w-2"));
        other.script.identity.lock().unwrap().weights_sha256 = "ee".repeat(32);
        discovery.add(other.url.clone());
        until("the refusal", || refused(&fleet).len() == 1).await;
        assert!(refused(&fleet)[0].status_reason.contains("weights"));
        // A worker that is started again with the right model is taken in.
        *other.script.identity.lock().unwrap() = identity();
        ready(&fleet, 2).await;
        discovery.remove(&other.url);
        until("the removal", || fleet.list().len() == 1).await;
        fleet
    };
    assert_eq!(fleet.list()[0].name, "workers/w-1", "without discovery the last members stay");
}

#[tokio::test]
async fn the_first_worker_says_which_of_the_built_in_templates_all_have() {
    let large = Arc::new(Templates::built_in(Profile::Large).unwrap());
    let prompting = |name: &str, templates: &Templates| {
        let worker = FakeWorker::start(Script::named(name));
        worker.script.identity.lock().unwrap().templates_sha256 = templates.digest();
        worker
    };
    let first = prompting("w-1", &large);
    let discovery = MemoryDiscovery::default();
    discovery.add(first.url.clone());
    let options = FleetOptions {
        templates: vec![templates(), Arc::clone(&large)],
        link: quick_links(),
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(&discovery, options);
    ready(&fleet, 1).await;
    let other = prompting("w-2", &templates());
    discovery.add(other.url.clone());
    until("the refusal", || refused(&fleet).len() == 1).await;
    assert!(refused(&fleet)[0].status_reason.contains("templates"), "{}", refused(&fleet)[0].status_reason);
}

#[tokio::test]
async fn a_pinned_model_refuses_the_first_worker_too() {
    let worker = FakeWorker::start(Script::default());
    let options = FleetOptions {
        templates: vec![templates()],
        model_sha256: Some("ff".repeat(32)),
        link: quick_links(),
        ..FleetOptions::default()
    };
    let fleet = Fleet::start(&StaticDiscovery::new([worker.url.clone()]), options);
    until("the refusal", || refused(&fleet).len() == 1).await;
    assert!(refused(&fleet)[0].status_reason.contains("--model-sha256"));
    assert_eq!(fleet.model(), None);
}

#[tokio::test]
async fn one_worker_under_two_addresses_counts_once() {
    let worker = FakeWorker::start(Script::default());
    let alias = format!("http://localhost:{}", worker.address().port()).parse().unwrap();
    let fleet = fleet([worker.url.clone(), alias]);
    until("the refusal", || refused(&fleet).len() == 1).await;
    ready(&fleet, 1).await;
    assert!(refused(&fleet)[0].status_reason.contains("in use at"));
}

#[tokio::test]
async fn something_that_is_no_worker_is_not_taken_in() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let fleet = fleet([url]);
    until("an attempt", || !fleet.list()[0].status_reason.contains("not answered yet")).await;
    let listed = &fleet.list()[0];
    assert_eq!(listed.status(), WorkerStatus::Connecting);
    assert!(!listed.status_reason.is_empty());
}

#[tokio::test]
async fn a_drained_worker_gets_nothing_until_it_is_resumed() {
    let worker = FakeWorker::start(Script::default());
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    let id = WorkerId::new("w-1").unwrap();
    assert_eq!(fleet.set_drained(&id, true, true).unwrap().status(), WorkerStatus::Ready, "only checked");
    assert_eq!(fleet.set_drained(&id, true, false).unwrap().status(), WorkerStatus::Draining);
    assert!(!fleet.any_ready());
    assert_eq!(fleet.set_drained(&id, false, false).unwrap().status(), WorkerStatus::Ready);
    assert!(fleet.any_ready());
    let nobody = fleet.get(&WorkerId::new("w-9").unwrap());
    assert!(matches!(nobody, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn links_end_when_the_fleet_is_stopped() {
    let worker = FakeWorker::start(Script::default());
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    fleet.stop();
    until("the end", || fleet.list().is_empty()).await;
}
