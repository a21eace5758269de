//! A store in one file: opened again, by whom, of which release, and whether it is the one that was here.

use super::*;

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
    edit(&path, "UPDATE _sqlx_migrations SET version = 99 WHERE version = 7").await;
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
        "DROP TABLE tokens",
        "DROP TABLE checkpoints",
        "DROP TABLE heads",
        "DROP TABLE forgotten",
        "DROP TABLE audit",
        "DROP TABLE notifications",
        "ALTER TABLE events DROP COLUMN signature",
        "ALTER TABLE incidents DROP COLUMN anchored",
        "ALTER TABLE incidents DROP COLUMN created",
        "DROP INDEX incidents_unnamed",
        "ALTER TABLE incidents DROP COLUMN tenant",
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
