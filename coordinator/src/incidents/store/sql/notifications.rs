//! Notifications, in the same database.

use futures::future::{BoxFuture, FutureExt};
use sqlx::{Any, Row, Transaction};

use super::super::{Append, Notifications, OwnerId, StoreError, Waiting};
use super::{Dialect, Fault, SqlStore, made};

/// Writes those that belong to an append.
pub(super) async fn insert(
    transaction: &mut Transaction<'_, Any>,
    append: &Append,
    dialect: Dialect,
) -> Result<(), Fault> {
    for waiting in &append.notifications {
        let insert = format!(
            "INSERT INTO notifications (receiver, id, body, owner, created) VALUES ($1, $2, $3, $4, {}) \
             ON CONFLICT DO NOTHING",
            dialect.now()
        );
        sqlx::query(made(insert))
            .bind(waiting.receiver.clone())
            .bind(waiting.id.clone())
            .bind(waiting.body.clone())
            .bind(append.claim.owner.as_bytes().to_vec())
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

impl SqlStore {
    async fn read_waiting(
        &self,
        owner: OwnerId,
        receiver: &str,
        limit: usize,
    ) -> Result<Vec<Waiting>, Fault> {
        let select = format!(
            "SELECT id, body, owner FROM notifications n WHERE receiver = $1 AND (owner = $2 OR NOT EXISTS \
             (SELECT 1 FROM coordinators c WHERE c.id = n.owner AND c.lease_until > {})) ORDER BY created, id LIMIT $3",
            self.dialect.now()
        );
        let me = owner.as_bytes().to_vec();
        let rows = sqlx::query(made(select))
            .bind(receiver.to_owned())
            .bind(me.clone())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let (id, from): (String, Vec<u8>) = (row.try_get("id")?, row.try_get("owner")?);
            if from != me {
                let _writer = self.writer().await;
                // Of several that want it, the first gets it.
                let taken = sqlx::query(
                    "UPDATE notifications SET owner = $1 WHERE receiver = $2 AND id = $3 AND owner = $4",
                )
                .bind(me.clone())
                .bind(receiver.to_owned())
                .bind(id.clone())
                .bind(from)
                .execute(&self.pool)
                .await?;
                if taken.rows_affected() == 0 {
                    continue;
                }
            }
            all.push(Waiting { receiver: receiver.to_owned(), id, body: row.try_get("body")? });
        }
        Ok(all)
    }

    async fn delete_notification(&self, receiver: &str, id: &str) -> Result<(), Fault> {
        let _writer = self.writer().await;
        sqlx::query("DELETE FROM notifications WHERE receiver = $1 AND id = $2")
            .bind(receiver.to_owned())
            .bind(id.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

impl Notifications for SqlStore {
    fn waiting(
        &self,
        owner: OwnerId,
        receiver: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Waiting>, StoreError>> {
        // Not patient: whoever asks does so again soon.
        async move { self.in_time(self.read_waiting(owner, &receiver, limit)).await.map_err(super::said) }
            .boxed()
    }

    fn settle(&self, receiver: String, id: String) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.patiently(|| self.delete_notification(&receiver, &id)).await }.boxed()
    }
}
