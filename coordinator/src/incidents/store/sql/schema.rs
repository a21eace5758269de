//! The tables, and how an older store becomes a newer one.
//!
//! Invariant: a migration that was released never changes. One more version is one more entry in [`MIGRATIONS`], and a
//! store of a later version than this program knows is left alone.

use sqlx::{Any, Transaction};

use super::Dialect;

/// Statements of each version, the first being version 1. `BYTEA` is `BLOB` in SQLite.
const MIGRATIONS: &[&[&str]] = &[&[
    // Processes that may own incidents; `lease_until` is in milliseconds of the database's clock.
    "CREATE TABLE coordinators (
        id BYTEA PRIMARY KEY,
        address TEXT NOT NULL,
        lease_until BIGINT NOT NULL
    )",
    // `projection` is the incident as its events make it, but for number and time of its last event, which have
    // columns of their own; `session` is what an owner goes on from. Times are in nanoseconds since 1970.
    "CREATE TABLE incidents (
        id BYTEA PRIMARY KEY,
        owner BYTEA NOT NULL,
        epoch BIGINT NOT NULL,
        last_sequence BIGINT NOT NULL,
        last_hash BYTEA NOT NULL,
        update_time BIGINT NOT NULL,
        end_time BIGINT,
        projection BYTEA NOT NULL,
        session BYTEA,
        session_sequence BIGINT
    )",
    "CREATE INDEX incidents_open ON incidents (owner) WHERE end_time IS NULL",
    "CREATE TABLE events (
        incident BYTEA NOT NULL,
        sequence BIGINT NOT NULL,
        event BYTEA NOT NULL,
        input_sha256 BYTEA,
        session_sha256 BYTEA,
        hash BYTEA NOT NULL,
        PRIMARY KEY (incident, sequence)
    )",
    "CREATE TABLE inputs (
        incident BYTEA NOT NULL,
        sequence BIGINT NOT NULL,
        content BYTEA NOT NULL,
        PRIMARY KEY (incident, sequence)
    )",
    "CREATE TABLE requests (
        id BYTEA PRIMARY KEY,
        fingerprint BYTEA NOT NULL,
        incident BYTEA,
        sequence BIGINT,
        answer BYTEA,
        created BIGINT NOT NULL
    )",
    "CREATE INDEX requests_created ON requests (created)",
]];

/// Why a store cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrationError {
    #[error(
        "it has version {found}, and this program knows versions up to {known}: install the later release"
    )]
    Newer { found: i64, known: usize },
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Brings the store to the latest version. One process at a time: others wait.
pub(super) async fn migrate(
    transaction: &mut Transaction<'static, Any>,
    dialect: Dialect,
) -> Result<(), MigrationError> {
    if dialect == Dialect::Postgres {
        // The key is any number that nobody else uses.
        sqlx::query("SELECT pg_advisory_xact_lock(7700001)").execute(&mut **transaction).await?;
    }
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        .execute(&mut **transaction)
        .await?;
    let found: Option<i64> =
        sqlx::query_scalar("SELECT MAX(version) FROM schema_version").fetch_one(&mut **transaction).await?;
    let found = found.unwrap_or(0);
    let done = usize::try_from(found).unwrap_or(0);
    if done > MIGRATIONS.len() {
        return Err(MigrationError::Newer { found, known: MIGRATIONS.len() });
    }
    for (version, statements) in (1i64..).zip(MIGRATIONS).skip(done) {
        for statement in *statements {
            let statement = match dialect {
                Dialect::Sqlite => statement.replace("BYTEA", "BLOB"),
                Dialect::Postgres => (*statement).to_owned(),
            };
            sqlx::query(&statement).execute(&mut **transaction).await?;
        }
        sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
            .bind(version)
            .execute(&mut **transaction)
            .await?;
        tracing::info!(version, "store was brought up to date");
    }
    Ok(())
}
