//! What signatures and checkpoints show of what was done to a store behind its back, by somebody who can write all of it and has
//! no key.

use std::path::{Path, PathBuf};

use countermove_ledger::{Anchored, AuditChain, Checkpoint, FileKey, Signed, Signer, TrustedKeys};
use countermove_proto::v1::AuditEntry;

use super::*;

/// A store in a file that signs.
struct Signing {
    store: Arc<SqlStore>,
    path: PathBuf,
    key: Arc<FileKey>,
    folder: TempDir,
}

impl Signing {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("incidents.db");
        let key = Arc::new(FileKey::open(&folder.path().join("key")).unwrap());
        let store = Arc::new(open(&path, &key).await);
        Self { store, path, key, folder }
    }

    fn log(&self) -> Arc<dyn EventLog> {
        self.store.clone()
    }

    fn trusted(&self) -> TrustedKeys {
        TrustedKeys::new([self.key.key()])
    }

    /// An incident of five events, the third with alerts.
    async fn incident(&self) -> Log {
        let mut log = begun(self.log(), claim()).await;
        log.append(note("2"), None).await.unwrap();
        log.append(note("3"), Some(Enclosure::of(&Input::Alerts("more".to_owned())))).await.unwrap();
        log.write(vec![note("4"), note("5")], None, Some(b"session 2".to_vec())).await.unwrap();
        log
    }

    /// What is wrong with an incident by its own log and the checkpoint that names it last.
    async fn problem(&self, id: IncidentId) -> Option<String> {
        let found = verify(&*self.store, id, 0).await.unwrap();
        found.broken.map(|(event, problem)| format!("{event}: {problem}")).or(found.differs)
    }

    /// All checkpoints, checked as a client does.
    async fn anchored(&self) -> Result<Anchored, String> {
        let mut anchored = Anchored::default();
        for kept in self.store.checkpoints(0, 1000).await.unwrap() {
            let signed = Signed::from_line(&kept.line, &self.trusted()).map_err(|error| error.to_string())?;
            anchored.take(&signed.checkpoint, &kept.heads)?;
        }
        Ok(anchored)
    }
}

async fn open(path: &Path, key: &Arc<FileKey>) -> SqlStore {
    let store = SqlStore::open(&StoreUrl::Sqlite(path.to_path_buf())).await.unwrap();
    store.signed_by(key.clone(), &TrustedKeys::default())
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Writes the chain of the file's only incident anew after its last event was changed, as whoever knows the encoding can.
async fn rewrite(store: &SqlStore, path: &Path, id: IncidentId, sequence: u64) {
    let records = store.records(id, 0, 100).await.unwrap();
    let mut previous = records[usize::try_from(sequence).unwrap() - 2].hash;
    for record in &records[usize::try_from(sequence).unwrap() - 1..] {
        let link = Link {
            id,
            sequence: record.sequence,
            previous,
            event: &record.event,
            input_sha256: record.input_sha256,
            session_sha256: record.session_sha256,
        };
        previous = link.hash();
        let number = record.sequence;
        run(path, &format!("UPDATE events SET hash = X'{}' WHERE sequence = {number}", hex_of(&previous)))
            .await;
    }
    run(path, &format!("UPDATE incidents SET last_hash = X'{}'", hex_of(&previous))).await;
}

#[tokio::test]
async fn what_is_written_is_signed_and_nothing_is_wrong_with_it() {
    let signing = Signing::new().await;
    let mut log = signing.incident().await;
    let found = verify(&*signing.store, log.id(), 3).await.unwrap();
    assert_eq!((found.events, found.signed, found.broken, found.differs), (5, 5, None, None));
    assert_eq!(found.at, Some(signing.store.records(log.id(), 2, 1).await.unwrap()[0].hash));
    assert_eq!(signing.store.make_checkpoint().await.unwrap(), Some(1));
    assert_eq!(signing.store.make_checkpoint().await.unwrap(), None, "nothing has changed");
    end(&mut log).await;
    let other = signing.incident().await;
    assert_eq!(signing.store.make_checkpoint().await.unwrap(), Some(2));
    let anchored = signing.anchored().await.unwrap();
    let mut sequences: Vec<u64> = anchored.heads().map(|head| head.sequence).collect();
    sequences.sort_unstable();
    assert_eq!((anchored.count(), sequences), (2, vec![5, 6]));
    assert_eq!(signing.store.anchored(log.id()).await.unwrap().unwrap().sequence, 6);
    assert_eq!((signing.problem(log.id()).await, signing.problem(other.id()).await), (None, None));
    // One that is forgotten is said to be.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(signing.store.forget(Some(Duration::ZERO), Duration::ZERO, 9).await.unwrap(), 1);
    assert_eq!(signing.store.make_checkpoint().await.unwrap(), Some(3));
    let anchored = signing.anchored().await.unwrap();
    assert_eq!((anchored.heads().count(), anchored.head(log.id())), (1, None));
}

#[tokio::test]
async fn a_chain_that_is_written_anew_is_found_by_its_signatures() {
    for statement in [
        "UPDATE events SET event = X'2200' WHERE sequence = 3",
        // The last one alone: its hash is checked by nothing but the signature.
        "UPDATE events SET event = X'2200' WHERE sequence = 5",
    ] {
        let signing = Signing::new().await;
        let log = signing.incident().await;
        // An event that decodes to another notice of the same number.
        let event = statement.chars().last().map(|last| last.to_digit(10).unwrap()).unwrap();
        let forged =
            IncidentEvent { sequence: event.into(), kind: Some(note("forged")), ..Default::default() };
        let statement = statement.replace("2200", &hex_of(&forged.encode_to_vec()));
        edit(&signing.path, &statement).await;
        rewrite(&signing.store, &signing.path, log.id(), event.into()).await;
        let problem = signing.problem(log.id()).await.unwrap();
        assert!(problem.contains("signature is not that of its content"), "{problem}");
        assert!(
            matches!(replay(&*signing.store, log.id()).await, Err(StoreError::Corrupt(_))),
            "nobody goes on"
        );
        // Without its signatures it is a log of somebody without the key.
        run(&signing.path, &format!("UPDATE events SET signature = NULL WHERE sequence >= {event}")).await;
        let problem = signing.problem(log.id()).await.unwrap();
        assert!(problem.contains("not signed"), "{problem}");
        assert!(matches!(replay(&*signing.store, log.id()).await, Err(StoreError::Corrupt(_))));
        run(&signing.path, "UPDATE events SET signature = NULL").await;
        let problem = signing.problem(log.id()).await.unwrap();
        assert!(problem.contains("after number 0 are not signed"), "{problem}");
    }
}

#[tokio::test]
async fn a_signature_of_another_key_counts_for_nothing() {
    let signing = Signing::new().await;
    let log = signing.incident().await;
    let stranger = FileKey::open(&signing.folder.path().join("another")).unwrap();
    let last = signing.store.records(log.id(), 4, 1).await.unwrap().remove(0);
    let digest = countermove_ledger::head_digest(log.id(), 5, &last.hash);
    let forged = stranger.sign(digest).await.unwrap().to_bytes();
    edit(&signing.path, &format!("UPDATE events SET signature = X'{}' WHERE sequence = 5", hex_of(&forged)))
        .await;
    let problem = signing.problem(log.id()).await.unwrap();
    assert!(problem.starts_with("5: ") && problem.contains("none of those that are trusted"), "{problem}");
}

#[tokio::test]
async fn a_log_that_was_cut_and_whose_end_was_moved_is_found_by_its_checkpoint() {
    let signing = Signing::new().await;
    let log = signing.incident().await;
    signing.store.make_checkpoint().await.unwrap();
    let third = signing.store.records(log.id(), 2, 1).await.unwrap().remove(0);
    edit(&signing.path, "DELETE FROM events WHERE sequence > 3").await;
    edit(
        &signing.path,
        &format!("UPDATE incidents SET last_sequence = 3, last_hash = X'{}'", hex_of(&third.hash)),
    )
    .await;
    let problem = signing.problem(log.id()).await.unwrap();
    assert!(problem.starts_with("4: ") && problem.contains("a checkpoint names event 5"), "{problem}");
    // Whoever takes the checkpoint's word away as well changes the checkpoint.
    edit(&signing.path, "DELETE FROM heads").await;
    assert!(signing.anchored().await.unwrap_err().contains("names other incidents"));
}

#[tokio::test]
async fn an_incident_that_is_gone_is_missed() {
    let signing = Signing::new().await;
    let (kept, gone) = (signing.incident().await, signing.incident().await);
    signing.store.make_checkpoint().await.unwrap();
    for (table, column) in [("events", "incident"), ("inputs", "incident"), ("incidents", "id")] {
        let id = hex_of(gone.id().as_bytes());
        edit(&signing.path, &format!("DELETE FROM {table} WHERE {column} = X'{id}'")).await;
    }
    let anchored = signing.anchored().await.unwrap();
    let missed: Vec<IncidentId> = {
        let mut missed = Vec::new();
        for head in anchored.heads() {
            if signing.store.head(head.incident).await == Err(StoreError::NotFound(head.incident)) {
                missed.push(head.incident);
            }
        }
        missed
    };
    assert_eq!(missed, [gone.id()]);
    assert_eq!(signing.problem(kept.id()).await, None);
    // Nor can it be called forgotten: that would be another checkpoint.
    edit(
        &signing.path,
        &format!(
            "UPDATE heads SET sequence = 0, hash = zeroblob(32) WHERE incident = X'{}'",
            hex_of(gone.id().as_bytes())
        ),
    )
    .await;
    assert!(signing.anchored().await.is_err());
}

#[tokio::test]
async fn an_earlier_state_of_the_whole_store_is_found_by_what_was_written_down_elsewhere() {
    let signing = Signing::new().await;
    let mut log = signing.incident().await;
    signing.store.make_checkpoint().await.unwrap();
    let anchor = |anchored: &Anchored| -> Checkpoint { *anchored.last().unwrap() };
    let first = anchor(&signing.anchored().await.unwrap());
    end(&mut log).await;
    signing.store.make_checkpoint().await.unwrap();
    let second = anchor(&signing.anchored().await.unwrap());
    // All that came after the first checkpoint is taken away, and nothing in the store says so.
    let fifth = signing.store.records(log.id(), 4, 1).await.unwrap().remove(0);
    for statement in [
        "DELETE FROM events WHERE sequence > 5".to_owned(),
        format!(
            "UPDATE incidents SET last_sequence = 5, end_time = NULL, anchored = 5, last_hash = X'{}'",
            hex_of(&fifth.hash)
        ),
        "DELETE FROM checkpoints WHERE number = 2".to_owned(),
        "DELETE FROM heads WHERE number = 2".to_owned(),
    ] {
        edit(&signing.path, &statement).await;
    }
    let rolled_back = signing.anchored().await.unwrap();
    assert_eq!(rolled_back.compare(&first), Ok(()));
    let problem = rolled_back.compare(&second).unwrap_err();
    assert!(problem.contains("ends with checkpoint 1") && problem.contains("number 2"), "{problem}");
    // A new second one does not fit either.
    log_again(&signing, log.id()).await;
    signing.store.make_checkpoint().await.unwrap();
    let forked = signing.anchored().await.unwrap();
    assert!(forked.compare(&second).unwrap_err().contains("not the one that the anchor has"));
}

async fn log_again(signing: &Signing, id: IncidentId) {
    edit(
        &signing.path,
        &format!("UPDATE incidents SET anchored = 0 WHERE id = X'{}'", hex_of(id.as_bytes())),
    )
    .await;
}

#[tokio::test]
async fn a_session_that_was_changed_is_found() {
    let signing = Signing::new().await;
    let log = signing.incident().await;
    assert_eq!(signing.problem(log.id()).await, None);
    edit(&signing.path, "UPDATE incidents SET session = X'00'").await;
    let problem = signing.problem(log.id()).await.unwrap();
    assert!(
        problem.contains("the session that is kept is not the one that was saved with event 5"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_entries_are_chained_however_many_write_at_once() {
    for Kept { store, .. } in &logs().await {
        let ledger = store.ledger().unwrap();
        let entry = |number: u32| AuditEntry { detail: number.to_string(), ..AuditEntry::default() };
        let adding = (0..20).map(|number| ledger.add_entry(entry(number).encode_to_vec()));
        let mut numbers = futures::future::try_join_all(adding).await.unwrap();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=20).collect::<Vec<u64>>());
        let mut chain = AuditChain::default();
        for record in
            ledger.entries(0, 12).await.unwrap().iter().chain(&ledger.entries(12, 99).await.unwrap())
        {
            chain.take(record).unwrap();
        }
        assert_eq!(chain.number, 20);
        assert_eq!(ledger.entries(20, 9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn whatever_was_done_to_the_audit_log_shows() {
    for (statement, number) in [
        ("UPDATE audit SET entry = X'00' WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number = 2", 2),
        ("UPDATE audit SET number = 9 WHERE number = 3", 3),
        ("DELETE FROM audit WHERE number = 3", 3),
    ] {
        let signing = Signing::new().await;
        for detail in ["one", "two", "three"] {
            let entry = AuditEntry { detail: detail.to_owned(), ..AuditEntry::default() };
            signing.store.add_entry(entry.encode_to_vec()).await.unwrap();
        }
        assert_eq!(signing.store.make_checkpoint().await.unwrap(), Some(1), "it is new as well");
        let known = signing.anchored().await.unwrap().last().unwrap().audit;
        assert_eq!(known.number, 3);
        edit(&signing.path, statement).await;
        let mut chain = AuditChain::default();
        let broken =
            signing.store.entries(0, 9).await.unwrap().iter().any(|record| chain.take(record).is_err());
        assert!(broken || chain != known, "{statement}");
        assert_eq!(chain.number, number - 1, "{statement}");
    }
}

#[tokio::test]
async fn a_store_of_an_earlier_release_is_signed_from_its_first_checkpoint_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("incidents.db");
    let old: Arc<dyn Ownership> = Arc::new(SqlStore::open(&StoreUrl::Sqlite(path.clone())).await.unwrap());
    let log = begun(old.clone(), claim()).await;
    let id = log.id();
    old.close().await;
    drop((log, old));
    let key = Arc::new(FileKey::open(&folder.path().join("key")).unwrap());
    let store = open(&path, &key).await;
    let found = verify(&store, id, 0).await.unwrap();
    assert!(found.differs.unwrap().contains("written by an earlier release"));
    assert_eq!(store.make_checkpoint().await.unwrap(), Some(1));
    let found = verify(&store, id, 0).await.unwrap();
    assert_eq!((found.signed, found.broken, found.differs), (1, None, None));
}
