//! Rows of tenants, and who sees them.
//!
//! Invariant: on PostgreSQL what is read within a [`View`] is read in a transaction that names its tenants, and the policies of the
//! tables show it their rows alone, whatever the statement asks for. A file belongs to one process and has no policies.

use std::ops::{Deref, DerefMut};

use countermove_proto::Tenant;
use countermove_proto::v1::Incident;
use prost::Message;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Row, Transaction};

use super::super::view::View;
use super::{Dialect, Fault, SqlStore, made};

/// Incidents that are given their tenant at a time.
const NAMED: i64 = 500;

/// A connection to read with.
pub(super) enum Reader {
    /// That sees everything.
    All(PoolConnection<Any>),
    /// That sees what is its tenants'. It changes nothing, so that it need not be committed.
    Of(Transaction<'static, Any>),
}

impl Deref for Reader {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match self {
            Self::All(connection) => connection,
            Self::Of(transaction) => transaction,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::All(connection) => connection,
            Self::Of(transaction) => transaction,
        }
    }
}

/// The tenant of an incident as its row names it; empty, which is nobody's, where it cannot be read.
pub(super) fn tenant_name(incident: &Incident) -> String {
    Tenant::new(&incident.tenant).map(|tenant| tenant.to_string()).unwrap_or_default()
}

impl SqlStore {
    /// A connection that sees what the work at hand may see.
    pub(super) async fn reader(&self) -> Result<Reader, Fault> {
        match (self.dialect, View::current()) {
            (Dialect::Postgres, View::Of(tenants)) => {
                // Names have neither commas nor quotation marks.
                let names: Vec<&str> = tenants.iter().map(Tenant::as_str).collect();
                let begin = format!("BEGIN READ ONLY; SET LOCAL countermove.tenants = '{}'", names.join(","));
                Ok(Reader::Of(self.pool.begin_with(made(begin)).await?))
            }
            _ => Ok(Reader::All(self.pool.acquire().await?)),
        }
    }

    /// Gives incidents of earlier releases their tenant.
    pub(super) async fn name_tenants(&self) -> Result<(), Fault> {
        loop {
            let select = "SELECT id, projection FROM incidents WHERE tenant IS NULL ORDER BY id LIMIT $1";
            let rows = sqlx::query(select).bind(NAMED).fetch_all(&self.pool).await?;
            let _writer = self.writer().await;
            for row in &rows {
                let (id, projection): (Vec<u8>, Vec<u8>) = (row.try_get("id")?, row.try_get("projection")?);
                let tenant = Incident::decode(projection.as_slice()).map(|incident| tenant_name(&incident));
                sqlx::query("UPDATE incidents SET tenant = $2 WHERE id = $1 AND tenant IS NULL")
                    .bind(id)
                    .bind(tenant.unwrap_or_default())
                    .execute(&self.pool)
                    .await?;
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    /// Says where the policies hold nobody back.
    pub(super) async fn warn_of_a_role_that_sees_all(&self) {
        let asked = "SELECT CASE WHEN rolsuper OR rolbypassrls THEN 1 ELSE 0 END FROM pg_roles WHERE rolname = current_user";
        match sqlx::query_scalar::<_, i32>(asked).fetch_one(&self.pool).await {
            Ok(0) => {}
            Ok(_) => tracing::warn!(
                "the database's role is a superuser or has BYPASSRLS, so row-level security does not keep tenants apart: name a role \
                 in --store that is neither (docs/security.md)"
            ),
            Err(error) => tracing::warn!(%error, "it is not known whether the database's role sees all rows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countermove_proto::IncidentId;
    use countermove_proto::v1::incident_event::Kind;
    use countermove_proto::v1::{Evidence, IncidentCreated};
    use countermove_tests::Postgres;
    use sqlx::{AnyPool, Connection};

    use super::super::schema;
    use super::*;
    use crate::incidents::log::{Enclosure, Log};
    use crate::incidents::{Claim, EventLog, Input, OwnerId, Part, StoreError};

    /// All tables with rows that are somebody's.
    const GUARDED: [&str; 7] = ["incidents", "events", "inputs", "requests", "tokens", "audit", "heads"];

    fn view(tenants: &[&str]) -> View {
        View::Of(tenants.iter().map(|name| Tenant::new(name).unwrap()).collect())
    }

    async fn open(url: &str) -> Arc<SqlStore> {
        Arc::new(SqlStore::open(&url.parse().unwrap()).await.unwrap())
    }

    async fn incident(store: &Arc<SqlStore>, of: &str) -> IncidentId {
        let claim = Claim { id: IncidentId::generate(), owner: OwnerId::generate(), epoch: 1 };
        let created = IncidentCreated { tenant: of.to_owned(), ..IncidentCreated::default() };
        let evidence = Input::Evidence(Evidence { alerts: "a log\n".to_owned(), ..Evidence::default() });
        let mut log = Log::new(claim, store.clone());
        let session = Some(b"a session".to_vec());
        log.write(vec![Kind::Created(created)], Some(Enclosure::of(&evidence)), session).await.unwrap();
        claim.id
    }

    /// Rows of each table, by a statement that asks for no tenant.
    async fn rows(store: &SqlStore) -> Vec<i64> {
        let mut counted = Vec::new();
        for table in GUARDED {
            let count = made(format!("SELECT COUNT(*) FROM {table}"));
            let mut reader = store.reader().await.unwrap();
            counted.push(sqlx::query_scalar(count).fetch_one(&mut *reader).await.unwrap());
        }
        counted
    }

    async fn execute(pool: &AnyPool, statement: &str) {
        sqlx::query(made(statement.to_owned())).execute(pool).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_tenant_sees_its_own_rows_whatever_a_statement_asks_for() {
        let Some(server) = Postgres::start() else { return };
        let url = server.as_role("planner");
        let store = open(&url).await;
        let (blue, red) = (incident(&store, "blue").await, incident(&store, "red").await);
        for filled in [
            "INSERT INTO requests (id, fingerprint, created) VALUES ('\\x01', '\\x01', 1)",
            "INSERT INTO tokens (id, hash, description, grants, creator, created, expires) VALUES ('\\x01', '\\x01', '', '', '', 1, 1)",
            "INSERT INTO audit (number, entry, hash) VALUES (1, '\\x01', '\\x01')",
            "INSERT INTO heads (number, incident, sequence, hash) VALUES (1, '\\x01', 1, '\\x01')",
        ] {
            execute(&store.pool, filled).await;
        }
        assert_eq!(rows(&store).await, [2, 2, 2, 1, 1, 1, 1], "the cluster's own work sees all");

        view(&["blue"])
            .over(async {
                assert_eq!(rows(&store).await, [1, 1, 1, 0, 0, 0, 0]);
                assert_eq!(store.get(blue).await.unwrap().tenant, "blue");
                assert_eq!(store.get(red).await, Err(StoreError::NotFound(red)));
                assert_eq!(store.head(red).await, Err(StoreError::NotFound(red)));
                assert_eq!(store.records(red, 0, 10).await, Err(StoreError::NotFound(red)));
                assert_eq!(store.inputs(red, 0, 10).await.unwrap(), []);
                assert_eq!(store.records(blue, 0, 10).await.unwrap().len(), 1);
                let listed =
                    store.list(Part { after: None, oldest_first: true, open_only: false, limit: 10 });
                let names: Vec<String> =
                    listed.await.unwrap().into_iter().map(|incident| incident.name).collect();
                assert_eq!(names, [blue.name()]);
            })
            .await;
        assert_eq!(view(&["blue", "red"]).over(rows(&store)).await, [2, 2, 2, 0, 0, 0, 0]);
        assert_eq!(view(&[]).over(rows(&store)).await, [0; 7]);
        // What is seen in a call's stream is seen when the stream is polled.
        assert_eq!(view(&["blue"]).during(View::current), view(&["blue"]));

        // Nor does it write what is another's.
        let id = hex::encode(red.as_bytes());
        for (statement, changed) in [
            ("UPDATE incidents SET epoch = epoch".to_owned(), Some(1)),
            ("DELETE FROM events".to_owned(), Some(1)),
            ("UPDATE incidents SET tenant = 'red'".to_owned(), None),
            (format!("INSERT INTO inputs (incident, sequence, content) VALUES ('\\x{id}', 7, '')"), None),
        ] {
            let begin = made("BEGIN; SET LOCAL countermove.tenants = 'blue'".to_owned());
            let mut transaction = store.pool.begin_with(begin).await.unwrap();
            let done = sqlx::query(made(statement.clone())).execute(&mut *transaction).await;
            assert_eq!(done.ok().map(|done| done.rows_affected()), changed, "{statement}");
            transaction.rollback().await.unwrap();
        }
        // Whoever comes by the same role and says nothing sees nothing.
        let mut bare = AnyConnection::connect(&url).await.unwrap();
        let seen: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM incidents").fetch_one(&mut bare).await.unwrap();
        assert_eq!(seen, 0);
        assert_eq!(rows(&store).await[0], 2, "and a connection that served a tenant is as it was");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_earlier_store_learns_its_tenants_and_a_role_that_may_change_no_table_uses_it() {
        let Some(server) = Postgres::start() else { return };
        let url = server.as_role("owner");
        sqlx::any::install_default_drivers();
        let pool = AnyPool::connect(&url).await.unwrap();
        schema::tests::migrate_to(&pool, Dialect::Postgres, 5).await;
        let old = Incident { tenant: "blue".into(), ..Incident::default() }.encode_to_vec();
        for (id, projection) in [(1_u8, old), (2, b"no projection".to_vec())] {
            sqlx::query(
                "INSERT INTO incidents (id, owner, epoch, last_sequence, last_hash, update_time, projection) \
                 VALUES ($1, $1, 1, 1, $1, 1, $2)",
            )
            .bind(vec![id; 16])
            .bind(projection)
            .execute(&pool)
            .await
            .unwrap();
        }
        pool.close().await;
        let store = open(&url).await;
        let named: Vec<String> = sqlx::query_scalar("SELECT tenant FROM incidents ORDER BY id")
            .fetch_all(&store.pool)
            .await
            .unwrap();
        assert_eq!(named, ["blue", ""], "what cannot be read is nobody's");

        server.client(
            "psql",
            [
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                "CREATE ROLE app LOGIN",
                "-c",
                "\\c owner",
                "-c",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app",
            ],
        );
        let store = open(&server.url_of("app", "owner")).await;
        let red = incident(&store, "red").await;
        assert_eq!(store.get(red).await.unwrap().tenant, "red");
        assert_eq!(view(&["red"]).over(rows(&store)).await[..3], [1, 1, 1]);
    }
}
