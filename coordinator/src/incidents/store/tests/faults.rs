//! Databases that restart, run full or fall silent while they are written to.

use super::*;

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
    let found = verify(&*store, id, 0).await.unwrap();
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
    let found = verify(&*store, log.id(), 0).await.unwrap();
    assert_eq!((found.events, found.broken), (2, None));
}
