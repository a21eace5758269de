//! The tables, and how an older store becomes a newer one: the files in `migrations`, by sqlx's migrator.
//!
//! Invariant: a migration that was released never changes; sqlx keeps its hash and refuses a store that was made by another
//! one. One more version is one more file, and a store of a later version than this program knows is left alone.

use futures::future::{BoxFuture, FutureExt, ready};
use sqlx::error::BoxDynError;
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};
use sqlx::{AnyPool, SqlSafeStr};

use super::{Dialect, made};

/// Statements of each version, the first being version 1, as PostgreSQL reads them.
const MIGRATIONS: [(&str, &str); 5] = [
    ("incidents", include_str!("migrations/0001_incidents.sql")),
    ("store", include_str!("migrations/0002_store.sql")),
    ("created", include_str!("migrations/0003_created.sql")),
    ("tokens", include_str!("migrations/0004_tokens.sql")),
    ("ledger", include_str!("migrations/0005_ledger.sql")),
];

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

/// Brings the store to the latest version. One process at a time: others wait.
pub(super) async fn migrate(pool: &AnyPool, dialect: Dialect) -> Result<(), SchemaError> {
    let migrated = async { Migrator::new(dialect).await?.run(pool).await };
    migrated.await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => SchemaError::Newer { found },
        error => SchemaError::Migration(error),
    })
}

impl MigrationSource<'static> for Dialect {
    fn resolve(self) -> BoxFuture<'static, Result<Vec<Migration>, BoxDynError>> {
        let migrations = (1..).zip(MIGRATIONS).map(|(version, (name, statements))| {
            let statements = match self {
                Self::Sqlite => statements.replace("BYTEA", "BLOB"),
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
        ready(Ok(migrations.collect())).boxed()
    }
}
