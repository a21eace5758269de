//! Tokens by which services call, in the same database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countermove_proto::TokenId;
use futures::future::{BoxFuture, FutureExt};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::super::StoreError;
use super::{Fault, SqlStore};
use crate::access::{Grants, KeptToken, TokenStore};

const COLUMNS: &str = "SELECT id, hash, description, grants, creator, created, expires, revoked FROM tokens";

impl SqlStore {
    async fn write_token(&self, token: &KeptToken) -> Result<(), Fault> {
        let _writer = self.writer().await;
        let grants =
            serde_json::to_string(&token.grants).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        // A write whose connection broke is tried again, and may have been done the first time.
        let insert = "INSERT INTO tokens (id, hash, description, grants, creator, created, expires) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";
        sqlx::query(insert)
            .bind(token.id.as_bytes().to_vec())
            .bind(token.hash.to_vec())
            .bind(token.description.clone())
            .bind(grants)
            .bind(token.creator.clone())
            .bind(milliseconds(token.created))
            .bind(milliseconds(token.expires))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn read_token(&self, id: TokenId) -> Result<Option<KeptToken>, Fault> {
        let query = format!("{COLUMNS} WHERE id = $1");
        let found =
            sqlx::query(super::made(query)).bind(id.as_bytes().to_vec()).fetch_optional(&self.pool).await?;
        found.map(|row| token(&row)).transpose()
    }

    async fn read_tokens(&self) -> Result<Vec<KeptToken>, Fault> {
        let query = format!("{COLUMNS} ORDER BY created DESC, id DESC");
        sqlx::query(super::made(query)).fetch_all(&self.pool).await?.iter().map(token).collect()
    }

    async fn write_revocation(&self, id: TokenId, at: SystemTime) -> Result<(), Fault> {
        let _writer = self.writer().await;
        sqlx::query("UPDATE tokens SET revoked = $2 WHERE id = $1 AND revoked IS NULL")
            .bind(id.as_bytes().to_vec())
            .bind(milliseconds(at))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

impl TokenStore for SqlStore {
    fn add(&self, token: KeptToken) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.patiently(|| self.write_token(&token)).await }.boxed()
    }

    fn find(&self, id: TokenId) -> BoxFuture<'_, Result<Option<KeptToken>, StoreError>> {
        async move { self.patiently(|| self.read_token(id)).await }.boxed()
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<KeptToken>, StoreError>> {
        async move { self.patiently(|| self.read_tokens()).await }.boxed()
    }

    fn revoke(&self, id: TokenId, at: SystemTime) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.patiently(|| self.write_revocation(id, at)).await }.boxed()
    }
}

fn token(row: &AnyRow) -> Result<KeptToken, Fault> {
    let broken = |what: &str| StoreError::Corrupt(format!("a token's {what} cannot be read"));
    let bytes = |column: &str| row.try_get::<Vec<u8>, _>(column);
    let grants: String = row.try_get("grants")?;
    Ok(KeptToken {
        id: TokenId::from_bytes(bytes("id")?.try_into().map_err(|_| broken("id"))?),
        hash: bytes("hash")?.try_into().map_err(|_| broken("hash"))?,
        description: row.try_get("description")?,
        grants: serde_json::from_str::<Grants>(&grants).map_err(|_| broken("grants"))?,
        creator: row.try_get("creator")?,
        created: time(row.try_get("created")?),
        expires: time(row.try_get("expires")?),
        revoked: row.try_get::<Option<i64>, _>("revoked")?.map(time),
    })
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(milliseconds: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
    // What no clock can show is before everything: of no use, as a token that has expired.
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use countermove_tests::Postgres;

    use super::*;
    use crate::incidents::StoreUrl;

    async fn keeps(url: StoreUrl) {
        let store = SqlStore::open(&url).await.unwrap();
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let made = |id: u8, created: SystemTime| KeptToken {
            id: TokenId::from_bytes([id; 8]),
            hash: [id; 32],
            description: "it's a test".into(),
            grants: Grants::all(),
            creator: "ann".into(),
            created,
            expires: now + Duration::from_secs(60),
            revoked: None,
        };
        let (first, second) = (made(1, now), made(2, now + Duration::from_secs(1)));
        store.add(first.clone()).await.unwrap();
        store.add(first.clone()).await.unwrap();
        store.add(second.clone()).await.unwrap();
        assert_eq!(store.all().await.unwrap(), [second.clone(), first.clone()]);
        assert_eq!(store.find(first.id).await.unwrap(), Some(first.clone()));
        assert_eq!(store.find(TokenId::from_bytes([9; 8])).await.unwrap(), None);
        store.revoke(first.id, now).await.unwrap();
        store.revoke(first.id, now + Duration::from_secs(5)).await.unwrap();
        assert_eq!(store.find(first.id).await.unwrap().unwrap().revoked, Some(now), "the first time counts");
        assert_eq!(store.find(second.id).await.unwrap().unwrap().revoked, None);
    }

    #[tokio::test]
    async fn tokens_are_kept_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        keeps(StoreUrl::Sqlite(folder.path().join("tokens.db"))).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tokens_are_kept_in_a_server() {
        let Some(server) = Postgres::start() else { return };
        keeps(server.url().parse().unwrap()).await;
    }
}
