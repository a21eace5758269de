//! Writing events and answers.

use countermove_ledger::head_digest;
use countermove_proto::IncidentId;
use prost::Message;
use sqlx::{Any, Row, SqlSafeStr, Transaction};

use super::super::{Append, Head, RequestKey, StoreError};
use super::reading::{hash, number};
use super::tenants::tenant_name;
use super::{Dialect, Fault, SqlStore, made, notifications};

/// Begins an incident; what stands behind it is the database's time.
const CREATE: &str = "INSERT INTO incidents (id, owner, epoch, last_sequence, last_hash, update_time, end_time, \
                      projection, session, session_sequence, tenant, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, \
                      $10, $11, ";

/// Fences: nothing happens unless the claim is the latest and nobody wrote in between.
const EXTEND: &str = "UPDATE incidents SET last_sequence = $4, last_hash = $5, update_time = $6, end_time = $7, \
                      projection = COALESCE($8, projection), \
                      session = CASE WHEN $12 = 1 THEN NULL ELSE COALESCE($9, session) END, \
                      session_sequence = COALESCE($10, session_sequence) \
                      WHERE id = $1 AND owner = $2 AND epoch = $3 AND last_sequence = $11";

impl SqlStore {
    pub(super) async fn write(&self, append: &Append) -> Result<(), Fault> {
        let Some(head) = append.head() else { return Ok(()) };
        let signature = self.signature(append.claim.id, head).await?;
        let _writer = self.writer().await;
        let mut transaction = self.pool.begin().await?;
        if !advance(&mut transaction, append, head, self.dialect).await? {
            transaction.rollback().await?;
            return self.why_not(append, head).await;
        }
        for record in &append.records {
            sqlx::query(
                "INSERT INTO events (incident, sequence, event, input_sha256, session_sha256, hash, signature) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(bytes(append.claim.id))
            .bind(signed(record.sequence))
            .bind(record.event.clone())
            .bind(record.input_sha256.map(Vec::from))
            .bind(record.session_sha256.map(Vec::from))
            .bind(record.hash.to_vec())
            .bind(signature.clone().filter(|_| record.sequence == head.sequence))
            .execute(&mut *transaction)
            .await?;
        }
        if let Some((sequence, content)) = &append.input {
            sqlx::query("INSERT INTO inputs (incident, sequence, content) VALUES ($1, $2, $3)")
                .bind(bytes(append.claim.id))
                .bind(signed(*sequence))
                .bind(content.clone())
                .execute(&mut *transaction)
                .await?;
        }
        if let Some(key) = append.request {
            let insert = format!(
                "INSERT INTO requests (id, fingerprint, incident, sequence, created) VALUES ($1, $2, $3, $4, {})",
                self.dialect.now()
            );
            let inserted = sqlx::query(made(insert))
                .bind(key.id.as_bytes().to_vec())
                .bind(key.fingerprint.to_vec())
                .bind(bytes(append.claim.id))
                .bind(signed(head.sequence))
                .execute(&mut *transaction)
                .await;
            match inserted {
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                    return Err(StoreError::Repeated(key.id).into());
                }
                inserted => inserted?,
            };
        }
        notifications::insert(&mut transaction, append, self.dialect).await?;
        Ok(transaction.commit().await?)
    }

    /// The signature of a log's end.
    async fn signature(&self, id: IncidentId, head: Head) -> Result<Option<Vec<u8>>, Fault> {
        let Some(signer) = &self.signer else { return Ok(None) };
        match signer.sign(head_digest(id, head.sequence, &head.hash)).await {
            Ok(signature) => Ok(Some(signature.to_bytes().to_vec())),
            Err(problem) => Err(StoreError::Unavailable(format!("nothing can be signed: {problem}")).into()),
        }
    }

    /// Why an append found no place: it was written already by a try whose answer was lost, or it may not be written.
    async fn why_not(&self, append: &Append, head: Head) -> Result<(), Fault> {
        let id = append.claim.id;
        let row = sqlx::query("SELECT owner, epoch, last_sequence, last_hash FROM incidents WHERE id = $1")
            .bind(bytes(id))
            .fetch_optional(&self.pool)
            .await?
            .ok_or(StoreError::NotFound(id))?;
        let last = number(&row, "last_sequence")?;
        if last == head.sequence && hash(&row, "last_hash")? == head.hash {
            return Ok(());
        }
        let owner: Vec<u8> = row.try_get("owner")?;
        if owner != append.claim.owner.as_bytes() || number(&row, "epoch")? != append.claim.epoch {
            return Err(StoreError::Fenced(id).into());
        }
        Err(StoreError::Sequence { id, last, offered: append.first() }.into())
    }

    pub(super) async fn write_answer(&self, key: RequestKey, answer: &[u8]) -> Result<(), Fault> {
        let _writer = self.writer().await;
        sqlx::query("UPDATE requests SET answer = $2 WHERE id = $1 AND fingerprint = $3")
            .bind(key.id.as_bytes().to_vec())
            .bind(answer.to_vec())
            .bind(key.fingerprint.to_vec())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// Moves the incident's end. False if it is not where the append begins, or not the claimant's.
async fn advance(
    transaction: &mut Transaction<'static, Any>,
    append: &Append,
    head: Head,
    dialect: Dialect,
) -> Result<bool, sqlx::Error> {
    let creates = append.first() == 1;
    let statement = match creates {
        true => made(format!("{CREATE}{})", dialect.now())).into_sql_str(),
        false => EXTEND.into_sql_str(),
    };
    let update_time = append.incident.update_time.map_or(0, nanoseconds);
    let projection = (creates || append.changes).then(|| append.incident.encode_to_vec());
    let session = append.session.clone();
    let session_sequence = session.as_ref().map(|_| signed(head.sequence));
    let query = sqlx::query(statement)
        .bind(bytes(append.claim.id))
        .bind(append.claim.owner.as_bytes().to_vec())
        .bind(signed(append.claim.epoch))
        .bind(signed(head.sequence))
        .bind(head.hash.to_vec())
        .bind(update_time)
        .bind(head.ended.then_some(update_time))
        .bind(projection)
        .bind(session)
        .bind(session_sequence);
    let query = match creates {
        true => query.bind(tenant_name(&append.incident)),
        // The session of an incident that has ended is of no use.
        false => query.bind(signed(append.first().saturating_sub(1))).bind(i64::from(head.ended)),
    };
    match query.execute(&mut **transaction).await {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(sqlx::Error::Database(error)) if creates && error.is_unique_violation() => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn bytes(id: IncidentId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// A number as databases have it. Sequence numbers stay far below the bound.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Nanoseconds since 1970; good until the year 2262.
fn nanoseconds(time: prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into())
}
