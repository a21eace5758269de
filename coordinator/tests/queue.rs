//! Following all incidents at once, and lists of some of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use countermove_proto::v1::watch_incidents_response::Update;
use countermove_proto::v1::{
    CancelIncidentRequest, CreateIncidentRequest, GetQueueRequest, Incident, IncidentFilter, IncidentStatus,
    ListIncidentsRequest, PlanMode, PlanOptions, Present, WatchIncidentsRequest,
};
use support::cluster::{Cluster, Setup, create_request, fields, options};
use tonic::Streaming;

type Updates = Streaming<countermove_proto::v1::WatchIncidentsResponse>;

const STREAMS: usize = 200;
const INCIDENTS: usize = 12;

async fn follow(cluster: &Cluster, filter: IncidentFilter) -> Updates {
    let request = WatchIncidentsRequest { filter: Some(filter) };
    cluster.api().watch_incidents(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Updates) -> Update {
    let message = tokio::time::timeout(Duration::from_secs(60), stream.message()).await.expect("in time");
    message.unwrap().expect("more").update.expect("an update")
}

/// Reads until so many incidents have left, and gives the last state of each; what is told of one only moves on.
async fn until_left(mut stream: Updates, count: usize) -> BTreeMap<String, Incident> {
    let mut last: HashMap<String, Incident> = HashMap::new();
    let mut left = BTreeMap::new();
    while left.len() < count {
        match next(&mut stream).await {
            Update::Incident(incident) => {
                assert!(!left.contains_key(&incident.name), "it has left");
                let before = last.insert(incident.name.clone(), incident.clone());
                assert!(before.is_none_or(|before| before.last_sequence < incident.last_sequence));
            }
            Update::Left(incident) => {
                assert!(last[&incident.name].last_sequence < incident.last_sequence);
                assert_eq!(incident.status(), IncidentStatus::Ended);
                left.insert(incident.name.clone(), incident);
            }
            Update::Present(_) => {}
        }
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_hear_of_every_incident_to_its_end() {
    let cluster = Cluster::start(Setup::default()).await;
    let mut readers = Vec::new();
    for number in 0..STREAMS {
        let mut stream = follow(&cluster, IncidentFilter::default()).await;
        // Half of them know that nothing is there before anything comes.
        if number % 2 == 0 {
            assert_eq!(next(&mut stream).await, Update::Present(Present { incidents: 0 }));
        }
        readers.push(tokio::spawn(until_left(stream, INCIDENTS)));
    }
    let mut names = Vec::new();
    for _ in 0..INCIDENTS {
        names.push(cluster.create(options()).await);
    }
    names.sort();
    let mut first = None;
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), names);
        assert_eq!(*first.get_or_insert_with(|| seen.clone()), seen, "all heard the same");
    }
    for (name, told) in first.unwrap() {
        assert_eq!(told.last_sequence, cluster.get(&name).await.last_sequence);
    }
}

#[tokio::test]
async fn a_reader_that_fell_far_behind_hears_the_last_state_of_each() {
    let cluster = Cluster::start(Setup { most_active: 2000, ..Setup::default() }).await;
    let mut stream = follow(&cluster, IncidentFilter::default()).await;
    assert_eq!(next(&mut stream).await, Update::Present(Present { incidents: 0 }));
    // More changes than are remembered, and more bytes than the connection holds, before anything is read.
    let mut names = Vec::new();
    for _ in 0..700 {
        let interactive = PlanOptions { mode: PlanMode::Interactive.into(), ..options() };
        let name = cluster.create(interactive).await;
        let cancel = CancelIncidentRequest { name: name.clone(), ..CancelIncidentRequest::default() };
        cluster.api().cancel_incident(cancel).await.unwrap();
        names.push(name);
    }
    let last = cluster.create(PlanOptions { mode: PlanMode::Interactive.into(), ..options() }).await;
    let mut there: BTreeMap<String, Incident> = BTreeMap::new();
    while there.get(&last).is_none_or(|last| last.status() != IncidentStatus::AwaitingApproval) {
        match next(&mut stream).await {
            Update::Incident(incident) => drop(there.insert(incident.name.clone(), incident)),
            Update::Left(incident) => drop(there.remove(&incident.name).expect("it was there")),
            Update::Present(_) => {}
        }
    }
    assert_eq!(there.keys().collect::<Vec<_>>(), [&last], "whatever has ended has left");
    assert!(there[&last].pending.as_ref().unwrap().decide_time.is_some());
}

#[tokio::test]
async fn a_queue_shows_what_waits_and_lets_go_of_what_does_not() {
    let cluster = Cluster::start(Setup::default()).await;
    let request = CreateIncidentRequest {
        labels: [("team".to_owned(), "emea".to_owned())].into(),
        external_id: "INC-7".to_owned(),
        ..create_request(PlanOptions { mode: PlanMode::Interactive.into(), ..options() })
    };
    let made = cluster.api().create_incident(request.clone()).await.unwrap().into_inner().incident.unwrap();
    assert_eq!((&made.labels, made.external_id.as_str()), (&request.labels, "INC-7"));
    let other = cluster.create(options()).await;

    let statuses = vec![IncidentStatus::AwaitingApproval.into()];
    let mut stream = follow(&cluster, IncidentFilter { statuses, ..IncidentFilter::default() }).await;
    let waiting = loop {
        match next(&mut stream).await {
            Update::Incident(incident) => break incident,
            Update::Present(_) => {}
            Update::Left(left) => panic!("{left:?}"),
        }
    };
    assert_eq!(waiting.name, made.name);
    let whole = cluster.get(&made.name).await;
    let step = &whole.plan.as_ref().unwrap().steps[0];
    let pending = waiting.pending.as_ref().unwrap();
    assert_eq!(whole.pending.as_ref(), Some(pending));
    assert_eq!((pending.step, &pending.plan_hash), (0, &step.plan_hash));
    assert_eq!(pending.action, step.candidates[step.chosen as usize].action);
    assert!(waiting.plan.unwrap().steps.is_empty() && waiting.progress.unwrap().tokens > 0);
    let cancel = CancelIncidentRequest { name: made.name.clone(), ..CancelIncidentRequest::default() };
    cluster.api().cancel_incident(cancel).await.unwrap();
    loop {
        match next(&mut stream).await {
            Update::Left(left) => break assert_eq!(left.name, made.name),
            Update::Present(_) => {}
            Update::Incident(again) => assert_eq!(again.name, made.name),
        }
    }

    let list = async |filter: IncidentFilter, order_by: &str| -> Vec<String> {
        let request = ListIncidentsRequest {
            filter: Some(filter),
            order_by: order_by.to_owned(),
            ..ListIncidentsRequest::default()
        };
        let page = cluster.api().list_incidents(request).await.unwrap().into_inner();
        page.incidents.into_iter().map(|incident| incident.name).collect()
    };
    let default = IncidentFilter::default;
    assert_eq!(list(default(), "").await, [other.as_str(), made.name.as_str()]);
    assert_eq!(list(default(), "create_time").await, [made.name.as_str(), other.as_str()]);
    let labelled = IncidentFilter { labels: request.labels, ..default() };
    assert_eq!(list(labelled, "create_time desc").await, [made.name.as_str()]);
    assert_eq!(list(IncidentFilter { text: "inc-7".into(), ..default() }, "").await, [made.name.as_str()]);
    assert!(list(IncidentFilter { external_id: "INC".into(), ..default() }, "").await.is_empty());

    let wrong = ListIncidentsRequest { order_by: "priority".into(), ..ListIncidentsRequest::default() };
    assert_eq!(fields(cluster.api().list_incidents(wrong).await), ["order_by"]);
    let wrong = WatchIncidentsRequest { filter: Some(IncidentFilter { statuses: vec![77], ..default() }) };
    assert_eq!(fields(cluster.api().watch_incidents(wrong).await), ["filter.statuses"]);
    let wrong = CreateIncidentRequest {
        labels: [("a key".to_owned(), String::new())].into(),
        ..create_request(options())
    };
    assert_eq!(fields(cluster.api().create_incident(wrong).await), ["labels"]);
}

#[tokio::test]
async fn what_waits_for_workers_is_told_by_tenant() {
    let cluster = Cluster::start(Setup::default()).await;
    for worker in &cluster.workers {
        *worker.script.answer_delay.lock().unwrap() = Duration::from_secs(30);
    }
    let request = CreateIncidentRequest { tenant: "red".to_owned(), ..create_request(options()) };
    cluster.api().create_incident(request).await.unwrap();
    let mut api = cluster.cluster_api();
    for _ in 0..200 {
        let queue = api.get_queue(GetQueueRequest {}).await.unwrap().into_inner();
        assert_eq!(queue.incidents, 1);
        if let [red] = &queue.queued[..] {
            assert_eq!(red.tenant, "red");
            assert!(red.waiting_questions + red.running > 0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing waits or runs");
}
