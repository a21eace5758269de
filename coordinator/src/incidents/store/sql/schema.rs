//! The tables, and how an older store becomes a newer one: the files in `migrations`, by sqlx's migrator.
//!
//! Invariant: a migration that was released never changes; sqlx keeps its hash and refuses a store that was made by another
//! one. One more version is one more file, and a store of a later version than this program knows is left alone.

use futures::future::{BoxFuture, FutureExt, ready};
use sqlx::error::BoxDynError;
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};
use sqlx::{AnyPool, Row, SqlSafeStr};

use super::{Dialect, made};

/// Statements of each version, the first being version 1, as PostgreSQL reads them.
const MIGRATIONS: [(&str, &str); 7] = [
    ("incidents", include_str!("migrations/0001_incidents.sql")),
    ("store", include_str!("migrations/0002_store.sql")),
    ("created", include_str!("migrations/0003_created.sql")),
    ("tokens", include_str!("migrations/0004_tokens.sql")),
    ("ledger", include_str!("migrations/0005_ledger.sql")),
    ("tenants", include_str!("migrations/0006_tenants.sql")),
    ("notifications", include_str!("migrations/0007_notifications.sql")),
];
/// What stands behind this line of a migration is for PostgreSQL alone.
const POSTGRES_ALONE: &str = "-- PostgreSQL alone:";

/// Why a store cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error(
        "it has version {found}, and this program knows versions up to {}: install the later release",
        MIGRATIONS.len()
    )]
    Newer { found: i64 },
    #[error(transparent)]
    Migration(MigrateError),
}

/// Brings the store to the latest version. One process at a time: others wait. Of a store that is there already nothing is asked but
/// to read: a role that may change no tables can use it.
pub(super) async fn migrate(pool: &AnyPool, dialect: Dialect) -> Result<(), SchemaError> {
    let migrator = Migrator::new(dialect).await.map_err(SchemaError::Migration)?;
    if is_current(pool, &migrator).await {
        return Ok(());
    }
    let migrated = async { migrator.run(pool).await };
    migrated.await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => SchemaError::Newer { found },
        error => SchemaError::Migration(error),
    })
}

/// Whether all migrations were made, by these very statements. What cannot be read is not.
async fn is_current(pool: &AnyPool, migrator: &Migrator) -> bool {
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations ORDER BY version");
    let Ok(rows) = rows.fetch_all(pool).await else { return false };
    let made: Result<Vec<(i64, Vec<u8>)>, sqlx::Error> =
        rows.iter().map(|row| Ok((row.try_get("version")?, row.try_get("checksum")?))).collect();
    let known = migrator.iter().map(|known| (known.version, known.checksum.to_vec()));
    made.is_ok_and(|made| made.into_iter().eq(known))
}

impl MigrationSource<'static> for Dialect {
    fn resolve(self) -> BoxFuture<'static, Result<Vec<Migration>, BoxDynError>> {
        ready(Ok(self.migrations(MIGRATIONS.len()))).boxed()
    }
}

impl Dialect {
    /// The first so many migrations.
    fn migrations(self, count: usize) -> Vec<Migration> {
        let migrations = (1..).zip(MIGRATIONS).take(count).map(|(version, (name, statements))| {
            let statements = match self {
                Self::Sqlite => {
                    let common = statements.split(POSTGRES_ALONE).next().unwrap_or(statements);
                    common.replace("BYTEA", "BLOB")
                }
                Self::Postgres => statements.to_owned(),
            };
            Migration::new(
                version,
                name.into(),
                MigrationType::Simple,
                made(statements).into_sql_str(),
                false,
            )
        });
        migrations.collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The first versions of the tables.
    #[derive(Debug)]
    struct UpTo(Dialect, usize);

    impl MigrationSource<'static> for UpTo {
        fn resolve(self) -> BoxFuture<'static, Result<Vec<Migration>, BoxDynError>> {
            ready(Ok(self.0.migrations(self.1))).boxed()
        }
    }

    /// Makes a store as a release before had it.
    pub(in super::super) async fn migrate_to(pool: &AnyPool, dialect: Dialect, version: usize) {
        Migrator::new(UpTo(dialect, version)).await.unwrap().run(pool).await.unwrap();
    }
}
