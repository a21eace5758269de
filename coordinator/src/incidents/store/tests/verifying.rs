//! What `incidents verify` finds of what was done to a store behind its back.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_log_verifies() {
    for Kept { store, .. } in &logs().await {
        let mut log = begun(store.clone(), claim()).await;
        for number in 0..600 {
            log.append(note(&number.to_string()), None).await.unwrap();
        }
        let found = verify(&**store, log.id(), 0).await.unwrap();
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
        let found = verify(&*store, log.id(), 0).await.unwrap();
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
    let whole = verify(&*store, log.id(), 0).await.unwrap();
    assert_eq!((whole.events, whole.broken, whole.differs), (2, None, None));
    let mut forged = store.get(log.id()).await.unwrap();
    forged.plan.as_mut().unwrap().steps[0].reason = "Shut down db01".to_owned();
    let hex: String = forged.encode_to_vec().iter().map(|byte| format!("{byte:02X}")).collect();
    edit(&path, &format!("UPDATE incidents SET projection = X'{hex}'")).await;
    let found = verify(&*store, log.id(), 0).await.unwrap();
    assert_eq!((found.events, found.broken), (2, None), "the events are whole");
    assert!(found.differs.unwrap().contains("is not what they make of it"));
    let (incident, hash) = replay(&*store, log.id()).await.unwrap();
    assert_eq!(incident.plan.unwrap().steps[0].reason, "Block all traffic");
    assert_eq!(hash, found.head);
    edit(&path, "UPDATE incidents SET projection = X'FF'").await;
    assert!(
        verify(&*store, log.id(), 0).await.unwrap().differs.is_some(),
        "one that cannot be read is found as well"
    );
    edit(&path, "UPDATE events SET event = X'2200' WHERE sequence = 2").await;
    assert!(matches!(replay(&*store, log.id()).await, Err(StoreError::Corrupt(_))));
}
