//! What every store does, tried on each kind; in the files beside, what only some can do or suffer.

mod faults;
mod files;
mod proving;
mod verifying;

use std::sync::Arc;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    IncidentCreated, IncidentStatus, Notice, PlanEnd, PlanEnded, PlanOptions, PlanStep, RolloutFinished,
};
use countermove_tests::Postgres;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::log::{Enclosure, Log};
use super::*;

/// A store, and what it needs to live.
struct Kept<S: ?Sized> {
    store: Arc<S>,
    _folder: Option<TempDir>,
    _server: Option<Postgres>,
}

async fn sqlite() -> Kept<dyn Ownership> {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("a folder/incidents%3F.db"));
    Kept { store: Arc::new(SqlStore::open(&url).await.unwrap()), _folder: Some(folder), _server: None }
}

/// All kinds of stores that outlive the process and can be had here.
async fn lasting() -> Vec<Kept<dyn Ownership>> {
    let mut stores = vec![sqlite().await];
    if let Some(server) = Postgres::start() {
        let store = SqlStore::open(&server.url().parse().unwrap()).await.unwrap();
        stores.push(Kept { store: Arc::new(store), _folder: None, _server: Some(server) });
    }
    stores
}

/// Those, and the one that does not.
async fn logs() -> Vec<Kept<dyn EventLog>> {
    let lasting = lasting().await.into_iter();
    let mut logs: Vec<_> = lasting
        .map(|Kept { store, _folder, _server }| {
            let store: Arc<dyn EventLog> = store;
            Kept { store, _folder, _server }
        })
        .collect();
    logs.push(Kept { store: Arc::new(MemoryStore::new(100)), _folder: None, _server: None });
    logs
}

fn claim() -> Claim {
    Claim { id: IncidentId::generate(), owner: OwnerId::generate(), epoch: 1 }
}

fn created() -> Kind {
    Kind::Created(IncidentCreated { options: Some(PlanOptions::default()), ..IncidentCreated::default() })
}

fn note(text: &str) -> Kind {
    Kind::Notice(Notice { text: text.to_owned() })
}

fn evidence() -> Input {
    Input::Evidence(Evidence { alerts: "a log\n".to_owned(), ..Evidence::default() })
}

fn key() -> RequestKey {
    RequestKey { id: RequestId::generate(), fingerprint: [7; 32] }
}

/// An incident with an event, by its owner.
async fn begun(store: Arc<dyn EventLog>, claim: Claim) -> Log {
    let mut log = Log::new(claim, store);
    log.write(vec![created()], Some(Enclosure::of(&evidence())), Some(b"session 1".to_vec())).await.unwrap();
    log
}

async fn end(log: &mut Log) {
    log.append(Kind::Ended(PlanEnded { end: PlanEnd::Recovered.into(), ..PlanEnded::default() }), None)
        .await
        .unwrap();
}

/// Somebody with access to the file.
async fn edit(path: &std::path::Path, statement: &str) {
    assert!(run(path, statement).await > 0, "{statement}");
}

async fn run(path: &std::path::Path, statement: &str) -> u64 {
    let url = format!("sqlite://{}", path.display());
    sqlx::any::install_default_drivers();
    let pool = sqlx::any::AnyPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&pool).await.unwrap();
    pool.close().await;
    done.rows_affected()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_in_order_and_in_parts() {
    for Kept { store, .. } in &logs().await {
        let claim = claim();
        let mut log = begun(store.clone(), claim).await;
        log.write(vec![note("2"), note("3")], None, None).await.unwrap();
        log.append(note("4"), None).await.unwrap();
        let numbers = async |after, limit| -> Vec<u64> {
            let events = events(&**store, claim.id, after, limit).await.unwrap();
            events.iter().map(|event| event.sequence).collect()
        };
        assert_eq!(numbers(0, 2).await, [1, 2]);
        assert_eq!(numbers(2, 100).await, [3, 4]);
        assert_eq!(numbers(4, 100).await, [0u64; 0]);
        assert_eq!(numbers(u64::MAX, 100).await, [0u64; 0]);
        let head = store.head(claim.id).await.unwrap();
        assert_eq!((head.sequence, head.ended), (4, false));
        let stranger = IncidentId::generate();
        assert_eq!(store.records(stranger, 0, 9).await, Err(StoreError::NotFound(stranger)));
        assert_eq!(store.get(stranger).await.unwrap_err(), StoreError::NotFound(stranger));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_what_its_events_make_of_it() {
    for Kept { store, .. } in &logs().await {
        let claim = claim();
        let mut log = begun(store.clone(), claim).await;
        log.append(Kind::Decided(PlanStep::default()), None).await.unwrap();
        log.append(Kind::Rollout(RolloutFinished::default()), None).await.unwrap();
        let incident = store.get(claim.id).await.unwrap();
        assert_eq!(incident, *log.incident(), "number and time of the last event as well");
        assert_eq!(incident.plan.unwrap().steps.len(), 1);
        end(&mut log).await;
        let incident = store.get(claim.id).await.unwrap();
        assert_eq!((incident.status(), incident.last_sequence), (IncidentStatus::Ended, 4));
        assert!(store.head(claim.id).await.unwrap().ended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_are_listed_in_both_orders_without_steps() {
    for Kept { store, .. } in &logs().await {
        let mut names = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let mut log = begun(store.clone(), claim()).await;
            log.append(Kind::Decided(PlanStep::default()), None).await.unwrap();
            names.insert(0, log.id().name());
            ids.push(log.id());
        }
        let listed = async |part| -> Vec<String> {
            let list = store.list(part).await.unwrap();
            assert!(list.iter().all(|incident| incident.plan.as_ref().unwrap().steps.is_empty()));
            list.into_iter().map(|incident| incident.name).collect()
        };
        let newest = Part { after: None, oldest_first: false, open_only: false, limit: 3 };
        assert_eq!(listed(newest).await, names[..3]);
        assert_eq!(listed(Part { after: Some(ids[2]), limit: 9, ..newest }).await, names[3..]);

        let mut log = begun(store.clone(), claim()).await;
        log.append(Kind::Ended(PlanEnded::default()), None).await.unwrap();
        names.reverse();
        let open = Part { oldest_first: true, open_only: true, ..newest };
        assert_eq!(listed(open).await, names[..3]);
        assert_eq!(
            listed(Part { after: Some(ids[2]), ..open }).await,
            names[3..],
            "the ended one is left out"
        );
        assert_eq!(listed(Part { after: Some(ids[4]), open_only: false, ..open }).await, [log.id().name()]);
        let mut unfinished = store.unfinished().await.unwrap();
        unfinished.sort();
        assert_eq!(unfinished, ids.iter().map(|id| (*id, 2)).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_owner_writes() {
    for Kept { store, .. } in &lasting().await {
        let first = claim();
        let mut log = begun(store.clone(), first).await;
        let mut twin = begun(store.clone(), claim()).await;
        // Somebody writes with the same claim in between: the number gives it away.
        let head = store.head(first.id).await.unwrap();
        let mut other =
            Log::resume(first, store.clone(), Incident::clone(&log.incident()), head.hash, Vec::new());
        other.append(note("in between"), None).await.unwrap();
        let refused = log.append(note("too late"), None).await;
        assert_eq!(refused, Err(StoreError::Sequence { id: first.id, last: 2, offered: 2 }));
        // Nobody renewed, so another one may take it over; the first is fenced off.
        let heir = OwnerId::generate();
        let mut claims = store.claim(heir, vec![], 10).await.unwrap();
        claims.sort_by_key(|claim| claim.id);
        assert_eq!(claims.iter().map(|claim| claim.id).collect::<Vec<_>>(), [first.id, twin.id()]);
        assert!(claims.iter().all(|claim| (claim.owner, claim.epoch) == (heir, 2)));
        assert_eq!(other.append(note("a ghost"), None).await, Err(StoreError::Fenced(first.id)));
        assert_eq!(twin.append(note("a ghost"), None).await, Err(StoreError::Fenced(twin.id())));
        let head = store.head(first.id).await.unwrap();
        assert_eq!(head.sequence, 2, "nothing of it was written");
        let mut mine =
            Log::resume(claims[0], store.clone(), Incident::clone(&other.incident()), head.hash, Vec::new());
        mine.append(note("the heir"), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_not_done_twice() {
    for Kept { store, .. } in &lasting().await {
        let claim = claim();
        let log = begun(store.clone(), claim).await;
        let record = |hash| Record {
            sequence: 2,
            event: vec![],
            input_sha256: None,
            session_sha256: None,
            hash,
            signature: None,
        };
        let append = Append {
            claim,
            records: vec![record([1; 32])],
            input: None,
            session: None,
            request: Some(key()),
            incident: log.incident(),
            changes: false,
            notifications: Vec::new(),
        };
        store.append(append.clone()).await.unwrap();
        store.append(append.clone()).await.unwrap();
        assert_eq!(store.records(claim.id, 0, 9).await.unwrap().len(), 2);
        let other = Append { records: vec![record([2; 32])], ..append };
        let refused = store.append(other).await;
        assert_eq!(refused, Err(StoreError::Sequence { id: claim.id, last: 2, offered: 2 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_waits_for_its_owner_and_is_left_to_whoever_is_alive() {
    const LONG: Duration = Duration::from_secs(60);
    for Kept { store, .. } in &lasting().await {
        let (claim, heir) = (claim(), OwnerId::generate());
        store.renew(claim.owner, "http://a".to_owned(), LONG).await.unwrap();
        store.renew(heir, "http://b".to_owned(), LONG).await.unwrap();
        let log = begun(store.clone(), claim).await;
        let told =
            Waiting { receiver: "chat".to_owned(), id: "incidents/x/ended".to_owned(), body: b"{}".to_vec() };
        let append = Append {
            claim,
            records: vec![Record {
                sequence: 2,
                event: vec![],
                input_sha256: None,
                session_sha256: None,
                hash: [1; 32],
                signature: None,
            }],
            input: None,
            session: None,
            request: None,
            incident: log.incident(),
            changes: false,
            notifications: vec![told.clone()],
        };
        store.append(append.clone()).await.unwrap();
        // Whose answer was lost is not told twice.
        store.append(append).await.unwrap();
        let notifications = store.notifications().unwrap();
        let waiting =
            async |owner, receiver: &str| notifications.waiting(owner, receiver.to_owned(), 9).await.unwrap();
        assert_eq!(waiting(claim.owner, "chat").await, std::slice::from_ref(&told));
        assert_eq!(waiting(claim.owner, "mail").await, []);
        assert_eq!(waiting(heir, "chat").await, [], "its owner is alive");
        store.leave(claim.owner).await.unwrap();
        assert_eq!(waiting(heir, "chat").await, std::slice::from_ref(&told));
        assert_eq!(waiting(claim.owner, "chat").await, [], "another one delivers it");
        notifications.settle("chat".to_owned(), told.id.clone()).await.unwrap();
        assert_eq!(waiting(heir, "chat").await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_nobody_alive_owns_is_claimed() {
    const LONG: Duration = Duration::from_secs(60);
    for Kept { store, .. } in &lasting().await {
        let (a, b) = (OwnerId::generate(), OwnerId::generate());
        store.renew(a, "http://a:1".into(), LONG).await.unwrap();
        store.renew(b, "http://b:1".into(), LONG).await.unwrap();
        let of_a = Claim { owner: a, ..claim() };
        let mut log = begun(store.clone(), of_a).await;
        let held = Held { id: of_a.id, epoch: 1 };
        assert_eq!(store.renew(a, "http://a:1".into(), LONG).await.unwrap(), [held]);
        assert_eq!(store.renew(b, "http://b:1".into(), LONG).await.unwrap(), []);
        assert_eq!(store.owner(of_a.id, b).await.unwrap().as_deref(), Some("http://a:1"));
        assert_eq!(store.owner(of_a.id, a).await.unwrap(), None, "it is its own");
        assert_eq!(store.claim(b, vec![], 10).await.unwrap(), []);
        assert_eq!(store.claim(a, vec![], 10).await.unwrap(), [], "it is at work on it");
        // What an owner has lost hold of itself comes back to it.
        assert_eq!(store.claim(b, vec![of_a.id], 10).await.unwrap(), [], "nobody else can say so");
        assert_eq!(store.claim(a, vec![of_a.id], 10).await.unwrap(), [Claim { epoch: 2, ..of_a }]);
        assert_eq!(log.append(note("x"), None).await, Err(StoreError::Fenced(of_a.id)));
        // One that has left, and one whose time is over.
        store.leave(a).await.unwrap();
        assert_eq!(store.owner(of_a.id, b).await.unwrap(), None);
        let taken = Claim { owner: b, epoch: 3, ..of_a };
        assert_eq!(store.claim(b, vec![], 10).await.unwrap(), [taken]);
        store.renew(b, "http://b:1".into(), Duration::ZERO).await.unwrap();
        let c = OwnerId::generate();
        let mut last = store.claim(c, vec![], 0).await.unwrap();
        assert_eq!(last, [], "no more than asked for");
        last = store.claim(c, vec![], 10).await.unwrap();
        assert_eq!(last, [Claim { owner: c, epoch: 4, ..of_a }]);
        let (head, incident) = (store.head(of_a.id).await.unwrap(), store.get(of_a.id).await.unwrap());
        let mut log = Log::resume(last[0], store.clone(), incident, head.hash, Vec::new());
        end(&mut log).await;
        assert_eq!(store.claim(a, vec![], 10).await.unwrap(), [], "what has ended is left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_finds_what_it_needs_to_go_on() {
    for Kept { store, .. } in &lasting().await {
        let claim = claim();
        let mut log = begun(store.clone(), claim).await;
        log.append(note("2"), Some(Enclosure::of(&Input::Alerts("more\n".to_owned())))).await.unwrap();
        log.write(vec![note("3")], None, Some(b"session 2".to_vec())).await.unwrap();
        log.append(note("4"), None).await.unwrap();
        let saved = store.saved(claim.id).await.unwrap();
        assert_eq!(saved.inputs, [evidence(), Input::Alerts("more\n".to_owned())]);
        assert_eq!(saved.session, (3, b"session 2".to_vec()));
        assert_eq!(saved.head.sequence, 4);
        let age = saved.age.unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(store.saved(claim.id).await.unwrap().age.unwrap() >= age + Duration::from_millis(20));
        end(&mut log).await;
        assert!(matches!(store.saved(claim.id).await, Err(StoreError::Corrupt(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_remembered_with_its_effect() {
    for Kept { store, .. } in &lasting().await {
        let (claim, key) = (claim(), key());
        let mut log = begun(store.clone(), claim).await;
        assert_eq!(store.request(key.id).await.unwrap(), None);
        log.answers(Some(key));
        log.append(note("the effect"), None).await.unwrap();
        log.append(note("another one"), None).await.unwrap();
        let known = KnownRequest { fingerprint: [7; 32], effect: Some((claim.id, 2)), answer: None };
        assert_eq!(store.request(key.id).await.unwrap().as_ref(), Some(&known));
        log.answers(Some(key));
        assert_eq!(log.append(note("once more"), None).await, Err(StoreError::Repeated(key.id)));
        assert_eq!(store.head(claim.id).await.unwrap().sequence, 3, "nothing of it was written");
        store.answer(key, b"yes".to_vec()).await.unwrap();
        let answered = KnownRequest { answer: Some(b"yes".to_vec()), ..known };
        assert_eq!(store.request(key.id).await.unwrap(), Some(answered));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_forgotten_and_what_goes_on_is_not() {
    for Kept { store, .. } in &lasting().await {
        let (going, mut ended) = (begun(store.clone(), claim()).await, begun(store.clone(), claim()).await);
        end(&mut ended).await;
        store.answer(key(), Vec::new()).await.unwrap();
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(store.forget(None, day, 9).await.unwrap(), 0);
        assert_eq!(store.forget(Some(day), day, 9).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(store.forget(Some(Duration::ZERO), day, 9).await.unwrap(), 1);
        assert!(store.get(going.id()).await.is_ok());
        assert_eq!(store.head(ended.id()).await.unwrap_err(), StoreError::NotFound(ended.id()));
    }
}

#[tokio::test]
async fn memory_forgets_ended_incidents_in_the_order_of_their_end() {
    let store: Arc<dyn EventLog> = Arc::new(MemoryStore::new(2));
    let mut logs = Vec::new();
    for _ in 0..4 {
        logs.push(begun(store.clone(), claim()).await);
    }
    for index in [2, 0, 1] {
        end(&mut logs[index]).await;
    }
    assert_eq!(store.get(logs[2].id()).await.unwrap_err(), StoreError::NotFound(logs[2].id()));
    assert!(store.get(logs[0].id()).await.is_ok() && store.get(logs[1].id()).await.is_ok());
    assert!(store.get(logs[3].id()).await.is_ok(), "what goes on is never forgotten");
}

#[tokio::test]
async fn a_request_without_effect_leaves_nothing_in_the_store() {
    for Kept { store, .. } in &lasting().await {
        let key = key();
        store.answer(key, vec![0; 1 << 20]).await.unwrap();
        assert_eq!(store.request(key.id).await.unwrap(), None);
    }
}

proptest! {
    #[test]
    fn inputs_come_back(alerts in "\\PC{0,80}", system in "\\PC{0,80}") {
        let evidence = Evidence { system_description: system, alerts: alerts.clone(), ..Evidence::default() };
        for input in [Input::Alerts(alerts), Input::Evidence(evidence)] {
            prop_assert_eq!(Input::decode(&input.encode()), Ok(input));
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes: Vec<u8>) {
        let _ = Input::decode(&bytes);
    }
}
