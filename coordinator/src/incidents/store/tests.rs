//! What every store does, tried on each kind.

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
async fn incidents_are_listed_newest_first_without_steps() {
    for Kept { store, .. } in &logs().await {
        let mut names = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let mut log = begun(store.clone(), claim()).await;
            log.append(Kind::Decided(PlanStep::default()), None).await.unwrap();
            names.insert(0, log.id().name());
            ids.push(log.id());
        }
        let listed = async |before, limit| -> Vec<String> {
            let list = store.list(before, limit).await.unwrap();
            assert!(list.iter().all(|incident| incident.plan.as_ref().unwrap().steps.is_empty()));
            list.into_iter().map(|incident| incident.name).collect()
        };
        assert_eq!(listed(None, 3).await, names[..3]);
        assert_eq!(listed(Some(ids[2]), 9).await, names[3..]);
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
        let record =
            |hash| Record { sequence: 2, event: vec![], input_sha256: None, session_sha256: None, hash };
        let append = Append {
            claim,
            records: vec![record([1; 32])],
            input: None,
            session: None,
            request: Some(key()),
            incident: log.incident(),
            changes: false,
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
async fn a_file_is_opened_again_and_by_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("incidents.db"));
    let claim = claim();
    {
        let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&url).await.unwrap());
        begun(store.clone(), claim).await;
        let refused = SqlStore::open(&url).await.err().unwrap().to_string();
        assert!(refused.contains("another coordinator uses it"), "{refused}");
    }
    let store = SqlStore::open(&url).await.unwrap();
    assert_eq!(store.head(claim.id).await.unwrap().sequence, 1);
    let folder = SqlStore::open(&StoreUrl::Sqlite(folder.path().into())).await.err().unwrap().to_string();
    assert!(folder.contains("cannot be opened"), "{folder}");
}

#[tokio::test]
async fn a_store_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("incidents.db");
    let url = StoreUrl::Sqlite(path.clone());
    SqlStore::open(&url).await.unwrap().close().await;
    edit(&path, "UPDATE _sqlx_migrations SET version = 99 WHERE version = 3").await;
    let refused = SqlStore::open(&url).await.err().unwrap().to_string();
    assert!(refused.contains("version 99") && refused.contains("later release"), "{refused}");
}

/// As the first release wrote it, before migrations were counted by sqlx.
#[tokio::test]
async fn a_store_of_an_earlier_release_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("incidents.db");
    let url = StoreUrl::Sqlite(path.clone());
    let claim = claim();
    {
        let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&url).await.unwrap());
        begun(store.clone(), claim).await;
        store.close().await;
    }
    std::fs::remove_file(folder.path().join("incidents.db.lock")).unwrap();
    for statement in [
        "DROP TABLE _sqlx_migrations",
        "DROP TABLE store",
        "ALTER TABLE incidents DROP COLUMN created",
        "UPDATE schema_version SET version = 1",
    ] {
        run(&path, statement).await;
    }
    let store = SqlStore::open(&url).await.unwrap();
    assert_eq!(store.head(claim.id).await.unwrap().sequence, 1);
}

#[tokio::test]
async fn a_clean_end_leaves_everything_in_the_one_file_and_a_store_that_is_not_what_it_was_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("incidents.db");
    let url = StoreUrl::Sqlite(path.clone());
    let claim = claim();
    let beginning = folder.path().join("beginning.db");
    {
        let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&url).await.unwrap());
        std::fs::copy(&path, &beginning).unwrap();
        begun(store.clone(), claim).await;
        store.close().await;
    }
    // A copy of the file alone is the whole store.
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let whole = SqlStore::open(&StoreUrl::Sqlite(copy)).await.unwrap();
    assert_eq!(whole.head(claim.id).await.unwrap().sequence, 1);
    SqlStore::open(&url).await.unwrap().close().await;
    // An earlier state, another store, none, and a damaged one are no empty stores.
    let refused =
        async || SqlStore::open(&url).await.err().map(|error| error.to_string()).unwrap_or_default();
    let log = folder.path().join("incidents.db-wal");
    let put = |content: &[u8]| {
        let _ = std::fs::remove_file(&log);
        std::fs::write(&path, content).unwrap();
    };
    put(&std::fs::read(&beginning).unwrap());
    assert!(refused().await.contains("an earlier state of the store"), "{}", refused().await);
    put(b"");
    assert!(refused().await.contains("not the store that was here"), "{}", refused().await);
    put(&[b'x'; 8192]);
    assert!(refused().await.contains("not a database"), "{}", refused().await);
    std::fs::write(&log, b"garbage").unwrap();
    assert!(refused().await.contains("incidents.db-wal is damaged"), "{}", refused().await);
}

#[tokio::test]
async fn a_request_without_effect_leaves_nothing_in_the_store() {
    for Kept { store, .. } in &lasting().await {
        let key = key();
        store.answer(key, vec![0; 1 << 20]).await.unwrap();
        assert_eq!(store.request(key.id).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_log_verifies() {
    for Kept { store, .. } in &logs().await {
        let mut log = begun(store.clone(), claim()).await;
        for number in 0..600 {
            log.append(note(&number.to_string()), None).await.unwrap();
        }
        let found = verify(&**store, log.id()).await.unwrap();
        assert_eq!((found.events, found.broken), (601, None));
        assert_eq!(found.head, store.head(log.id()).await.unwrap().hash);
    }
}

#[tokio::test]
async fn the_first_broken_event_is_named_whatever_was_done_to_the_file() {
    for (what, first, word) in [
        ("UPDATE events SET event = X'2200' WHERE sequence = 3", 3, "hash"),
        ("UPDATE events SET hash = zeroblob(32) WHERE sequence = 3", 3, "hash"),
        ("UPDATE events SET session_sha256 = zeroblob(32) WHERE sequence = 3", 3, "hash"),
        ("UPDATE inputs SET content = X'0200' WHERE sequence = 4", 4, "alerts"),
        ("DELETE FROM events WHERE sequence = 3", 3, "missing"),
        ("DELETE FROM events WHERE sequence = 5", 5, "missing"),
        ("UPDATE incidents SET last_hash = zeroblob(32)", 5, "ends with"),
        ("UPDATE events SET sequence = 9 WHERE sequence = 5", 5, "missing"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("incidents.db");
        let url = StoreUrl::Sqlite(path.clone());
        let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&url).await.unwrap());
        let mut log = begun(store.clone(), claim()).await;
        log.append(note("2"), None).await.unwrap();
        log.append(note("3"), None).await.unwrap();
        log.append(note("4"), Some(Enclosure::of(&Input::Alerts("more".to_owned())))).await.unwrap();
        log.append(note("5"), None).await.unwrap();
        edit(&path, what).await;
        let found = verify(&*store, log.id()).await.unwrap();
        let (broken, problem) = found.broken.clone().unwrap_or_default();
        assert_eq!((broken, found.events), (first, first - 1), "{what}: {found:?}");
        assert!(problem.contains(word), "{what}: {problem}");
    }
}

/// What lists show is kept beside the events: whoever changes it changes nothing that is approved or sent, and is found out.
#[tokio::test]
async fn an_incident_that_is_not_what_its_events_make_is_found_and_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("incidents.db");
    let url = StoreUrl::Sqlite(path.clone());
    let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&url).await.unwrap());
    let mut log = begun(store.clone(), claim()).await;
    let step = PlanStep { reason: "Block all traffic".to_owned(), ..PlanStep::default() };
    log.append(Kind::Decided(step), None).await.unwrap();
    let whole = verify(&*store, log.id()).await.unwrap();
    assert_eq!((whole.events, whole.broken, whole.differs), (2, None, None));
    let mut forged = store.get(log.id()).await.unwrap();
    forged.plan.as_mut().unwrap().steps[0].reason = "Shut down db01".to_owned();
    let hex: String = forged.encode_to_vec().iter().map(|byte| format!("{byte:02X}")).collect();
    edit(&path, &format!("UPDATE incidents SET projection = X'{hex}'")).await;
    let found = verify(&*store, log.id()).await.unwrap();
    assert_eq!((found.events, found.broken), (2, None), "the events are whole");
    assert!(found.differs.unwrap().contains("is not what they make of it"));
    let (incident, hash) = replay(&*store, log.id()).await.unwrap();
    assert_eq!(incident.plan.unwrap().steps[0].reason, "Block all traffic");
    assert_eq!(hash, found.head);
    edit(&path, "UPDATE incidents SET projection = X'FF'").await;
    assert!(
        verify(&*store, log.id()).await.unwrap().differs.is_some(),
        "one that cannot be read is found as well"
    );
    edit(&path, "UPDATE events SET event = X'2200' WHERE sequence = 2").await;
    assert!(matches!(replay(&*store, log.id()).await, Err(StoreError::Corrupt(_))));
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
async fn a_write_waits_for_a_database_that_restarts() {
    let Some(mut server) = Postgres::start() else { return };
    let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&server.url().parse().unwrap()).await.unwrap());
    let mut log = begun(store.clone(), claim()).await;
    server.stop();
    let writing = tokio::spawn(async move {
        for number in 0..5 {
            log.append(note(&number.to_string()), None).await.unwrap();
        }
        log.id()
    });
    server.resume();
    let id = writing.await.unwrap();
    let found = verify(&*store, id).await.unwrap();
    assert_eq!((found.events, found.broken), (6, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_sqlite_ended_by_itself_spoils_none_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("incidents.db");
    let url = StoreUrl::Sqlite(path.clone());
    let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&url).await.unwrap());
    let mut log = begun(store.clone(), claim()).await;
    let pool = sqlx::any::AnyPoolOptions::new()
        .max_connections(1)
        .connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    // What a full disk comes to, without one.
    let full = "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ROLLBACK, 'no room'); END";
    sqlx::query(full).execute(&pool).await.unwrap();
    assert!(log.append(note("lost"), None).await.is_err());
    sqlx::query("DROP TRIGGER full").execute(&pool).await.unwrap();
    pool.close().await;
    // One that is rolled back for another reason, and then one that counts.
    let stranger = Claim { owner: OwnerId::generate(), ..claim() };
    let stranger = Claim { id: log.id(), ..stranger };
    let (head, incident) = (store.head(log.id()).await.unwrap(), store.get(log.id()).await.unwrap());
    let mut fenced = Log::resume(stranger, store.clone(), incident, head.hash, Vec::new());
    assert_eq!(fenced.append(note("fenced"), None).await, Err(StoreError::Fenced(log.id())));
    log.append(note("kept"), None).await.unwrap();
    let id = log.id();
    drop((log, fenced, store));
    // Another process reads what is on disk.
    let reader = sqlx::any::AnyPoolOptions::new()
        .max_connections(1)
        .connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    let (last,): (i64,) = sqlx::query_as("SELECT last_sequence FROM incidents WHERE id = $1")
        .bind(id.as_bytes().to_vec())
        .fetch_one(&reader)
        .await
        .unwrap();
    assert_eq!(last, 2, "what was told is on disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_over_which_nothing_comes_is_given_up() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let address = url.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).unwrap().to_owned();
    // A way to the server that can be cut without a word; ways that are opened later are whole.
    let (cut, is_cut) = tokio::sync::watch::channel(false);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = url.replace(&address, &listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (address, mut is_cut) = (address.clone(), is_cut.clone());
            let opened_later = *is_cut.borrow_and_update();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(address).await.unwrap();
                let silence = async {
                    let _ = is_cut.wait_for(|cut| *cut && !opened_later).await.map(drop);
                };
                let is_over = tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => true,
                    () = silence => false,
                };
                if !is_over {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&way.parse().unwrap()).await.unwrap());
    let mut log = begun(store.clone(), claim()).await;
    cut.send_replace(true);
    log.append(note("over another connection"), None).await.unwrap();
    let found = verify(&*store, log.id()).await.unwrap();
    assert_eq!((found.events, found.broken), (2, None));
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
