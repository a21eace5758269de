//! A store in an SQLite file or a PostgreSQL database. One code for both: what differs is in [`Dialect`].
//!
//! Contract: a write is one transaction, on disk when it returns. A write whose connection broke is tried again until
//! [`PATIENCE`] is over, and is not done twice: the chain's hash tells whether it was done the first time. A connection
//! over which nothing comes counts as broken. Leases are
//! measured with the database's clock alone, so the clocks of coordinators do not matter.
//!
//! An SQLite file belongs to one process and one user ([`mod@file`]). PostgreSQL is for several.

mod file;
mod ledger;
mod notifications;
mod ownership;
mod reading;
mod schema;
mod tenants;
mod tokens;
mod writing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countermove_ledger::{Signer, TrustedKeys};
use countermove_proto::v1::Incident;
use countermove_proto::{IncidentId, RequestId};
use futures::future::{BoxFuture, FutureExt};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{
    Append, Claim, EventLog, Head, Held, KnownRequest, Ledger, Notifications, OwnerId, Ownership, Part,
    Record, RequestKey, Saved, StoreError, StoreUrl, StoredInput,
};
use file::{FileLock, Identity};
use schema::migrate;

/// How long an operation is tried again while the database does not answer: as long as it takes to restart one.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// Time that a connection may take to come up or to become free.
const CONNECT: Duration = Duration::from_secs(5);
/// Time that one try may take at a PostgreSQL: a network that is cut says nothing, and a connection over it would be waited
/// for as long as TCP does.
const ANSWER: Duration = Duration::from_secs(5);
/// Milliseconds after which PostgreSQL ends a transaction in which nothing happens: its coordinator is frozen or cut off, and
/// nobody else could take the incident over that it holds.
const IDLE: u32 = 3000;
/// Connections to PostgreSQL.
const CONNECTIONS: u32 = 8;

/// Keeps incidents in a database.
pub struct SqlStore {
    pool: AnyPool,
    dialect: Dialect,
    /// SQLite has one writer at a time; waiting here is cheaper than finding the file busy.
    writer: tokio::sync::Mutex<()>,
    /// Where it is, for what the pool does not tell.
    address: String,
    /// Who signs what is written.
    signer: Option<Arc<dyn Signer>>,
    /// Whose signatures are believed.
    trusted: TrustedKeys,
    /// Held as long as the file is used.
    _lock: Option<FileLock>,
}

/// What differs between the databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Milliseconds since 1970 by the database's clock.
    fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// Settings of a connection.
    async fn set_up(self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let settings = match self {
            // Readers see the last commit and never wait; a commit is on disk before it returns.
            Self::Sqlite => ["journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000"]
                .map(|setting| format!("PRAGMA {setting}"))
                .to_vec(),
            // The cluster's own work sees all rows; what is read for a caller is read within its view.
            Self::Postgres => vec![
                format!("SET idle_in_transaction_session_timeout = {IDLE}"),
                "SET countermove.tenants = '*'".to_owned(),
            ],
        };
        for setting in settings {
            connection.execute(made(setting)).await?;
        }
        Ok(())
    }
}

impl SqlStore {
    /// Opens the store, makes it if it is not there, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what is wrong, or if `url` names memory.
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let failed = |problem: &dyn std::fmt::Display| {
            StoreError::Unavailable(format!("{url} cannot be opened: {problem}"))
        };
        sqlx::any::install_default_drivers();
        let (address, dialect, mut lock) = match url {
            StoreUrl::Memory => return Err(failed(&"memory is no database")),
            StoreUrl::Sqlite(path) => {
                let lock = file::prepare(path).map_err(|problem| failed(&problem))?;
                (sqlite_address(path), Dialect::Sqlite, Some(lock))
            }
            StoreUrl::Postgres(address) if cfg!(feature = "postgres") => {
                (address.clone(), Dialect::Postgres, None)
            }
            StoreUrl::Postgres(_) => {
                return Err(failed(
                    &"this program was built without the feature postgres; build it with it, or use sqlite:PATH",
                ));
            }
        };
        // The pool would try again and again, and say nothing of why.
        connect(&address, dialect).await.map_err(|problem| failed(&problem))?;
        let connections = match dialect {
            Dialect::Sqlite => 4,
            Dialect::Postgres => CONNECTIONS,
        };
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT)
            .after_connect(move |connection, _| Box::pin(dialect.set_up(connection)))
            .after_release(move |connection, _| {
                Box::pin(async move {
                    // A rollback may still be under way.
                    match timeout(ANSWER, connection.ping()).await {
                        Ok(answered) => answered?,
                        Err(late) => return Err(sqlx::Error::Io(late.into())),
                    }
                    // A full disk makes SQLite end a transaction by itself, of which sqlx does not hear: it would nest the
                    // next one in it, and after a rollback of that keep the file locked with nothing of it on disk.
                    Ok(dialect != Dialect::Sqlite || !connection.is_in_transaction())
                })
            })
            .connect(&address)
            .await
            .map_err(|error| failed(&plain(&error)))?;
        let store = Self {
            pool,
            dialect,
            address,
            writer: tokio::sync::Mutex::new(()),
            signer: None,
            trusted: TrustedKeys::default(),
            _lock: None,
        };
        if let Err(problem) = store.take_in_use(lock.as_mut()).await {
            store.pool.close().await;
            return Err(failed(&problem));
        }
        Ok(Self { _lock: lock, ..store })
    }

    /// Signs what is written from now on, and believes signatures of this signer and of these others.
    #[must_use]
    pub fn signed_by(self, signer: Arc<dyn Signer>, others: &TrustedKeys) -> Self {
        let trusted = TrustedKeys::new(others.keys().iter().copied().chain([signer.key()]));
        Self { signer: Some(signer), trusted, ..self }
    }

    /// Brings the store up to date and counts one more opening, if it is the one that was here.
    async fn take_in_use(&self, lock: Option<&mut FileLock>) -> Result<(), String> {
        let Some(lock) = lock else {
            migrate(&self.pool, self.dialect).await.map_err(|error| error.to_string())?;
            self.name_tenants().await.map_err(|error| error.to_string())?;
            self.warn_of_a_role_that_sees_all().await;
            return self.count_opening().await.map(drop).map_err(|error| error.to_string());
        };
        self.recognise(lock).await?;
        migrate(&self.pool, self.dialect).await.map_err(|error| error.to_string())?;
        self.name_tenants().await.map_err(|error| error.to_string())?;
        self.settle_in(lock).await
    }

    /// Whether the file holds the store that was there when it was opened last.
    async fn recognise(&self, lock: &mut FileLock) -> Result<(), String> {
        let is_known = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'store'";
        let known: i64 =
            sqlx::query_scalar(is_known).fetch_one(&self.pool).await.map_err(|error| plain(&error))?;
        let found = match known {
            0 => None,
            _ => self.read_identity().await.map_err(|error| error.to_string())?,
        };
        // A file without an id is empty, or of a release that gave none.
        lock.check(found.unwrap_or(Identity { id: Uuid::nil(), opened: 0 }))
    }

    /// Makes a file this process's own.
    async fn settle_in(&self, lock: &mut FileLock) -> Result<(), String> {
        // The lock says that no other process is alive.
        let alone = sqlx::query("DELETE FROM coordinators").execute(&self.pool).await;
        alone.map_err(|error| plain(&error))?;
        let identity = self.count_opening().await.map_err(|error| error.to_string())?;
        self.checkpoint().await.map_err(|error| plain(&error))?;
        lock.note(identity)
    }

    /// Brings everything into the one file, so that a copy of it alone is whole.
    async fn checkpoint(&self) -> Result<(), sqlx::Error> {
        let _writer = self.writer().await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await.map(drop)
    }

    /// Closes all connections; what is asked afterwards fails.
    async fn shut(&self) {
        let closing = async {
            if self.dialect == Dialect::Sqlite
                && let Err(error) = self.checkpoint().await
            {
                tracing::warn!(
                    error = plain(&error),
                    "what was written last stays in the -wal file beside the store"
                );
            }
            self.pool.close().await;
        };
        if timeout(CONNECT, closing).await.is_err() {
            tracing::warn!("the store was still in use when it was closed");
        }
    }

    /// Does `work`, again and again while the database does not answer, at most for [`PATIENCE`].
    async fn patiently<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.in_time(work()).await {
                Ok(value) => return Ok(value),
                Err(Fault::Said(error)) => return Err(error),
                Err(Fault::Sql(error)) if is_passing(&error) && Instant::now() < until => {
                    tracing::warn!(error = plain(&error), "store does not answer; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                // The pool says that no connection came up, and not why.
                Err(Fault::Sql(sqlx::Error::PoolTimedOut)) => {
                    let why = connect(&self.address, self.dialect).await;
                    return Err(StoreError::Unavailable(why.err().unwrap_or_else(|| {
                        format!("all connections were in use for {} s", PATIENCE.as_secs())
                    })));
                }
                Err(fault) => return Err(said(fault)),
            }
        }
    }

    /// One try. A file always answers, and a writer may wait long for its turn.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        match self.dialect {
            Dialect::Sqlite => work.await,
            Dialect::Postgres => {
                timeout(ANSWER, work).await.unwrap_or_else(|late| Err(sqlx::Error::Io(late.into()).into()))
            }
        }
    }

    /// Holds the writer's place where there is only one.
    async fn writer(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match self.dialect {
            Dialect::Sqlite => Some(self.writer.lock().await),
            Dialect::Postgres => None,
        }
    }
}

/// Why an operation did not succeed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The database failed.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// The store has an answer, and it is this error.
    #[error(transparent)]
    Said(#[from] StoreError),
}

impl EventLog for SqlStore {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.patiently(|| self.write(&append)).await }.boxed()
    }

    fn records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        async move { self.patiently(|| self.read_records(id, after, limit)).await }.boxed()
    }

    fn inputs(
        &self,
        id: IncidentId,
        after: u64,
        until: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredInput>, StoreError>> {
        async move { self.patiently(|| self.read_inputs(id, after, until)).await }.boxed()
    }

    fn head(&self, id: IncidentId) -> BoxFuture<'_, Result<Head, StoreError>> {
        async move { self.patiently(|| self.read_head(id)).await }.boxed()
    }

    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>> {
        async move { self.patiently(|| self.read_incident(id)).await }.boxed()
    }

    fn list(&self, part: Part) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        async move { self.patiently(|| self.read_list(part)).await }.boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<(IncidentId, u64)>, StoreError>> {
        async move { self.patiently(|| self.read_unfinished()).await }.boxed()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }

    fn notifications(&self) -> Option<&dyn Notifications> {
        Some(self)
    }
}

impl Ownership for SqlStore {
    fn request(&self, id: RequestId) -> BoxFuture<'_, Result<Option<KnownRequest>, StoreError>> {
        async move { self.patiently(|| self.read_request(id)).await }.boxed()
    }

    fn answer(&self, key: RequestKey, answer: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.patiently(|| self.write_answer(key, &answer)).await }.boxed()
    }

    fn saved(&self, id: IncidentId) -> BoxFuture<'_, Result<Saved, StoreError>> {
        async move { self.patiently(|| self.read_saved(id)).await }.boxed()
    }

    fn renew(
        &self,
        owner: OwnerId,
        address: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Vec<Held>, StoreError>> {
        // Not patient: whoever renews does so again soon, and wants to know that it did not work.
        async move {
            self.in_time(self.write_lease(owner, &address, ttl)).await.map_err(said)?;
            self.in_time(self.read_held(owner)).await.map_err(said)
        }
        .boxed()
    }

    fn claim(
        &self,
        owner: OwnerId,
        orphans: Vec<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>, StoreError>> {
        async move { self.in_time(self.write_claims(owner, &orphans, limit)).await.map_err(said) }.boxed()
    }

    fn leave(&self, owner: OwnerId) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.in_time(self.delete_lease(owner)).await.map_err(said) }.boxed()
    }

    fn owner(&self, id: IncidentId, me: OwnerId) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        async move { self.patiently(|| self.read_owner(id, me)).await }.boxed()
    }

    fn forget(
        &self,
        age: Option<Duration>,
        requests: Duration,
        most: u32,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move { self.delete_old(age, requests, most).await.map_err(said) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shut().boxed()
    }
}

fn said(fault: Fault) -> StoreError {
    match fault {
        Fault::Sql(error) if is_damage(&error) => StoreError::Corrupt(plain(&error)),
        Fault::Sql(error) => StoreError::Unavailable(plain(&error)),
        Fault::Said(error) => error,
    }
}

/// A statement that is put together from this program's own words; what comes from outside is bound to it.
fn made(statement: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(statement)
}

/// Tries one connection and closes it again.
async fn connect(address: &str, dialect: Dialect) -> Result<(), String> {
    let connecting = async {
        let mut connection = AnyConnection::connect(address).await?;
        dialect.set_up(&mut connection).await?;
        connection.close().await
    };
    match timeout(CONNECT, connecting).await {
        Ok(connected) => connected.map_err(|error| plain(&error)),
        Err(_) => Err(plain(&sqlx::Error::PoolTimedOut)),
    }
}

/// The file as a URL, made if it is not there.
fn sqlite_address(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut address = "sqlite://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address.push_str("?mode=rwc");
    address
}

/// Whether the same operation may succeed a little later: the connection broke, the database restarts, is busy or full.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| match code.parse::<u32>() {
            // SQLite, extended codes: busy, locked, failed to read or write, full, cannot open.
            Ok(code) if code < 10_000 && error.constraint().is_none() => {
                matches!(code & 0xff, 5 | 6 | 10 | 13 | 14)
            }
            // PostgreSQL: connection lost, out of something, about to stop or start, in the way of another transaction.
            _ => ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class)),
        }),
        _ => false,
    }
}

/// Whether the database itself cannot be read any more: SQLite's `corrupt` and `not a database`, PostgreSQL's `data corrupted`
/// and `index corrupted`.
fn is_damage(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().is_some_and(|code| match code.parse::<u32>() {
        Ok(code) if code < 10_000 => matches!(code & 0xff, 11 | 26),
        _ => matches!(&*code, "XX001" | "XX002"),
    })
}

/// What went wrong, without the words around it.
fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::PoolTimedOut => format!("no connection came up within {} s", CONNECT.as_secs()),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use countermove_tests::Postgres;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_coordinator_that_freezes_in_a_transaction_keeps_nothing_from_others() {
        let Some(server) = Postgres::start() else { return };
        let open = async || SqlStore::open(&server.url().parse().unwrap()).await.unwrap();
        let (frozen, other) = (open().await, open().await);
        let id = IncidentId::generate();
        let insert = "INSERT INTO incidents (id, owner, epoch, last_sequence, last_hash, update_time, projection) \
                      VALUES ($1, $2, 1, 1, $2, 0, $2)";
        let (key, nobody) = (id.as_bytes().to_vec(), vec![0u8; 16]);
        sqlx::query(insert).bind(key.clone()).bind(nobody).execute(&frozen.pool).await.unwrap();
        let mut transaction = frozen.pool.begin().await.unwrap();
        let write = "UPDATE incidents SET last_sequence = 2 WHERE id = $1";
        sqlx::query(write).bind(key).execute(&mut *transaction).await.unwrap();
        // Here it stops.
        let claims = other.claim(OwnerId::generate(), Vec::new(), 1).await.unwrap();
        assert_eq!(claims.len(), 1);
        assert!(transaction.commit().await.is_err(), "what it writes afterwards is refused");
    }
}
