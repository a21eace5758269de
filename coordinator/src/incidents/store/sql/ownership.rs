//! Who owns which incident.
//!
//! A coordinator is alive while its lease has not run out. Liveness alone decides who may take an incident over;
//! safety comes from the epoch, which every append is fenced by: a coordinator that was taken for dead and is not can
//! write nothing any more.

use std::time::Duration;

use countermove_proto::IncidentId;
use sqlx::Row;
use uuid::Uuid;

use super::super::{Claim, Held, OwnerId, StoreError};
use super::file::Identity;
use super::reading::{incident_id, number};
use super::writing::{bytes, signed};
use super::{Fault, SqlStore, made};

/// For how long the address of a coordinator that is gone is kept.
const GONE: Duration = Duration::from_secs(3600);
/// For how long a notification is kept that nobody delivers.
const UNTAKEN: Duration = Duration::from_secs(7 * 24 * 3600);

impl SqlStore {
    pub(super) async fn write_lease(
        &self,
        owner: OwnerId,
        address: &str,
        ttl: Duration,
    ) -> Result<(), Fault> {
        let _writer = self.writer().await;
        let upsert = format!(
            "INSERT INTO coordinators (id, address, lease_until) VALUES ($1, $2, {} + $3) \
             ON CONFLICT (id) DO UPDATE SET address = excluded.address, lease_until = excluded.lease_until",
            self.dialect.now()
        );
        sqlx::query(made(upsert))
            .bind(owner.as_bytes().to_vec())
            .bind(address.to_owned())
            .bind(milliseconds(ttl))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Which store this is.
    pub(super) async fn read_identity(&self) -> Result<Option<Identity>, Fault> {
        let row = sqlx::query("SELECT id, opened FROM store").fetch_optional(&self.pool).await?;
        row.map(|row| {
            let id = row.try_get::<Vec<u8>, _>("id")?;
            let id = Uuid::from_slice(&id).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            Ok(Identity { id, opened: number(&row, "opened")? })
        })
        .transpose()
    }

    /// Counts one more opening of the store, and gives it its id at the first.
    pub(super) async fn count_opening(&self) -> Result<Identity, Fault> {
        let _writer = self.writer().await;
        let counted = sqlx::query("UPDATE store SET opened = opened + 1").execute(&self.pool).await?;
        if counted.rows_affected() == 0 {
            sqlx::query("INSERT INTO store (id, opened) VALUES ($1, 1)")
                .bind(Uuid::now_v7().as_bytes().to_vec())
                .execute(&self.pool)
                .await?;
        }
        Ok(self.read_identity().await?.ok_or(StoreError::Corrupt("the store has no id".to_owned()))?)
    }

    pub(super) async fn read_held(&self, owner: OwnerId) -> Result<Vec<Held>, Fault> {
        let rows = sqlx::query("SELECT id, epoch FROM incidents WHERE owner = $1 AND end_time IS NULL")
            .bind(owner.as_bytes().to_vec())
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| Ok(Held { id: incident_id(row.try_get("id")?)?, epoch: number(row, "epoch")? }))
            .collect()
    }

    pub(super) async fn delete_lease(&self, owner: OwnerId) -> Result<(), Fault> {
        let _writer = self.writer().await;
        sqlx::query("DELETE FROM coordinators WHERE id = $1")
            .bind(owner.as_bytes().to_vec())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(super) async fn write_claims(
        &self,
        owner: OwnerId,
        orphans: &[IncidentId],
        limit: usize,
    ) -> Result<Vec<Claim>, Fault> {
        let select = format!(
            "SELECT i.id, i.epoch FROM incidents i WHERE i.end_time IS NULL AND NOT EXISTS \
             (SELECT 1 FROM coordinators c WHERE c.id = i.owner AND c.lease_until > {}) ORDER BY i.id LIMIT $1",
            self.dialect.now()
        );
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut free = sqlx::query(made(select)).bind(most).fetch_all(&self.pool).await?;
        for id in orphans.iter().take(limit.saturating_sub(free.len())) {
            let own = "SELECT id, epoch FROM incidents WHERE id = $1 AND owner = $2 AND end_time IS NULL";
            let own = sqlx::query(own).bind(bytes(*id)).bind(owner.as_bytes().to_vec());
            free.extend(own.fetch_optional(&self.pool).await?);
        }
        let mut claims = Vec::new();
        for row in free {
            let (id, epoch) = (incident_id(row.try_get("id")?)?, number(&row, "epoch")?);
            let _writer = self.writer().await;
            // Of several that want it, the first gets it; the others find another epoch.
            let taken = sqlx::query(
                "UPDATE incidents SET owner = $1, epoch = epoch + 1 \
                 WHERE id = $2 AND epoch = $3 AND end_time IS NULL",
            )
            .bind(owner.as_bytes().to_vec())
            .bind(bytes(id))
            .bind(signed(epoch))
            .execute(&self.pool)
            .await?;
            if taken.rows_affected() == 1 {
                claims.push(Claim { id, owner, epoch: epoch + 1 });
            }
        }
        Ok(claims)
    }

    pub(super) async fn delete_old(
        &self,
        age: Option<Duration>,
        requests: Duration,
        most: u32,
    ) -> Result<u64, Fault> {
        let _writer = self.writer().await;
        let now = self.dialect.now();
        let mut transaction = self.pool.begin().await?;
        sqlx::query(made(format!("DELETE FROM requests WHERE created < {now} - $1")))
            .bind(milliseconds(requests))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(made(format!("DELETE FROM coordinators WHERE lease_until < {now} - $1")))
            .bind(milliseconds(GONE))
            .execute(&mut *transaction)
            .await?;
        // Those of receivers that nobody knows any more.
        sqlx::query(made(format!("DELETE FROM notifications WHERE created < {now} - $1")))
            .bind(milliseconds(UNTAKEN))
            .execute(&mut *transaction)
            .await?;
        let mut forgotten = 0;
        if let Some(age) = age {
            // The end's time is in nanoseconds.
            let old = sqlx::query(made(format!(
                "SELECT id FROM incidents WHERE end_time < ({now} - $1) * 1000000 ORDER BY id LIMIT $2"
            )))
            .bind(milliseconds(age))
            .bind(i64::from(most))
            .fetch_all(&mut *transaction)
            .await?;
            for row in old {
                let id: Vec<u8> = row.try_get("id")?;
                sqlx::query("INSERT INTO forgotten (incident) VALUES ($1) ON CONFLICT DO NOTHING")
                    .bind(id.clone())
                    .execute(&mut *transaction)
                    .await?;
                for (table, column) in [("events", "incident"), ("inputs", "incident"), ("incidents", "id")] {
                    sqlx::query(made(format!("DELETE FROM {table} WHERE {column} = $1")))
                        .bind(id.clone())
                        .execute(&mut *transaction)
                        .await?;
                }
                forgotten += 1;
            }
        }
        transaction.commit().await?;
        Ok(forgotten)
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
