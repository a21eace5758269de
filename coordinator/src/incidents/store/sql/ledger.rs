//! Checkpoints and the audit log in a database.

use countermove_ledger::{AuditChain, AuditRecord, Checkpoint, Head, Signed, TrustedKeys, heads_digest};
use countermove_proto::IncidentId;
use futures::future::{BoxFuture, FutureExt};
use sqlx::Row;

use super::super::ledger::{KeptCheckpoint, Ledger, SavedSession};
use super::super::{Hash, StoreError};
use super::reading::{hash, incident_id, number};
use super::writing::{bytes, signed};
use super::{Fault, SqlStore, made};

/// Heads that one checkpoint names at most; what is beyond has the next one.
const HEADS: i64 = 4096;
/// How often an entry is tried again if another process has written one with its number.
const TRIES: usize = 64;

/// What a checkpoint will say, as it was read.
struct Ground {
    previous: (u64, Hash),
    heads: Vec<Head>,
    audit: AuditChain,
    /// Whether the audit log has grown as well.
    grows: bool,
}

impl SqlStore {
    async fn last_entry(&self) -> Result<AuditChain, Fault> {
        let select = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1";
        let Some(row) = sqlx::query(select).fetch_optional(&self.pool).await? else {
            return Ok(AuditChain::default());
        };
        Ok(AuditChain { number: number(&row, "number")?, hash: hash(&row, "hash")? })
    }

    async fn write_entry(&self, entry: &[u8]) -> Result<u64, Fault> {
        let _writer = self.writer().await;
        for _ in 0..TRIES {
            let record = self.last_entry().await?.next(entry.to_vec());
            let insert = sqlx::query("INSERT INTO audit (number, entry, hash) VALUES ($1, $2, $3)")
                .bind(signed(record.number))
                .bind(record.entry)
                .bind(record.hash.to_vec());
            match insert.execute(&self.pool).await {
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
                written => {
                    written?;
                    return Ok(record.number);
                }
            }
        }
        Err(StoreError::Unavailable("others write to the audit log all the time".to_owned()).into())
    }

    async fn read_entries(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>, Fault> {
        let rows =
            sqlx::query("SELECT number, entry, hash FROM audit WHERE number > $1 ORDER BY number LIMIT $2")
                .bind(signed(after))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&self.pool)
                .await?;
        let record = |row: &sqlx::any::AnyRow| {
            Ok(AuditRecord {
                number: number(row, "number")?,
                entry: row.try_get("entry")?,
                hash: hash(row, "hash")?,
            })
        };
        rows.iter().map(record).collect()
    }

    /// What there is to say, and how far what was said before goes.
    async fn ground(&self) -> Result<Ground, Fault> {
        let select = "SELECT number, line, hash FROM checkpoints ORDER BY number DESC LIMIT 1";
        let last = sqlx::query(select).fetch_optional(&self.pool).await?;
        let (previous, known) = match &last {
            None => ((0, Hash::default()), AuditChain::default()),
            Some(row) => {
                let line: Vec<u8> = row.try_get("line")?;
                let known = Signed::read(&String::from_utf8_lossy(&line));
                let known = known.map_err(|error| StoreError::Corrupt(format!("a checkpoint: {error}")))?;
                ((number(row, "number")?, hash(row, "hash")?), known.checkpoint.audit)
            }
        };
        let grown = "SELECT id, last_sequence, last_hash FROM incidents WHERE last_sequence > anchored ORDER BY id LIMIT $1";
        let mut heads = Vec::new();
        for row in sqlx::query(grown).bind(HEADS).fetch_all(&self.pool).await? {
            heads.push(Head {
                incident: incident_id(row.try_get("id")?)?,
                sequence: number(&row, "last_sequence")?,
                hash: hash(&row, "last_hash")?,
            });
        }
        let gone = "SELECT incident FROM forgotten ORDER BY incident LIMIT $1";
        for row in sqlx::query(gone).bind(HEADS).fetch_all(&self.pool).await? {
            let incident = incident_id(row.try_get("incident")?)?;
            heads.push(Head { incident, sequence: 0, hash: Hash::default() });
        }
        heads.sort_unstable();
        heads.dedup_by_key(|head| head.incident);
        let audit = self.last_entry().await?;
        Ok(Ground { previous, heads, audit, grows: audit != known })
    }

    async fn write_checkpoint(&self) -> Result<Option<u64>, Fault> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let Ground { previous, heads, audit, grows } = self.ground().await?;
        if heads.is_empty() && !grows {
            return Ok(None);
        }
        let identity = self.read_identity().await?;
        let identity = identity.ok_or_else(|| StoreError::Corrupt("the store has no id".to_owned()))?;
        let now = format!("SELECT {} AS now", self.dialect.now());
        let time = number(&sqlx::query(made(now)).fetch_one(&self.pool).await?, "now")?;
        let checkpoint = Checkpoint {
            store: identity.id,
            number: previous.0 + 1,
            time,
            previous: previous.1,
            heads: heads.len() as u64,
            heads_sha256: heads_digest(&heads),
            audit,
        };
        let digest = checkpoint.hash();
        let signature = signer.sign(digest).await;
        let signature = signature
            .map_err(|problem| StoreError::Unavailable(format!("nothing can be signed: {problem}")))?;
        let line = Signed { checkpoint, signature }.to_line();
        let _writer = self.writer().await;
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query("INSERT INTO checkpoints (number, line, hash) VALUES ($1, $2, $3)")
            .bind(signed(checkpoint.number))
            .bind(line.into_bytes())
            .bind(digest.to_vec())
            .execute(&mut *transaction)
            .await;
        match inserted {
            // Another coordinator made this one.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                transaction.rollback().await?;
                return Ok(None);
            }
            inserted => inserted?,
        };
        for head in &heads {
            sqlx::query("INSERT INTO heads (number, incident, sequence, hash) VALUES ($1, $2, $3, $4)")
                .bind(signed(checkpoint.number))
                .bind(bytes(head.incident))
                .bind(signed(head.sequence))
                .bind(head.hash.to_vec())
                .execute(&mut *transaction)
                .await?;
            let noted = match head.sequence {
                0 => sqlx::query("DELETE FROM forgotten WHERE incident = $1").bind(bytes(head.incident)),
                sequence => sqlx::query("UPDATE incidents SET anchored = $2 WHERE id = $1")
                    .bind(bytes(head.incident))
                    .bind(signed(sequence)),
            };
            noted.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Some(checkpoint.number))
    }

    async fn read_checkpoints(&self, after: u64, limit: usize) -> Result<Vec<KeptCheckpoint>, Fault> {
        let rows =
            sqlx::query("SELECT number, line FROM checkpoints WHERE number > $1 ORDER BY number LIMIT $2")
                .bind(signed(after))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&self.pool)
                .await?;
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let (number, line) = (number(&row, "number")?, row.try_get::<Vec<u8>, _>("line")?);
            let select = "SELECT incident, sequence, hash FROM heads WHERE number = $1 ORDER BY incident";
            let heads = sqlx::query(select).bind(signed(number)).fetch_all(&self.pool).await?;
            let heads = heads.iter().map(head).collect::<Result<_, _>>()?;
            kept.push(KeptCheckpoint { number, line: String::from_utf8_lossy(&line).into_owned(), heads });
        }
        Ok(kept)
    }

    async fn read_anchored(&self, id: IncidentId) -> Result<Option<Head>, Fault> {
        let select =
            "SELECT incident, sequence, hash FROM heads WHERE incident = $1 ORDER BY number DESC LIMIT 1";
        let row = sqlx::query(select).bind(bytes(id)).fetch_optional(&self.pool).await?;
        row.as_ref().map(head).transpose()
    }

    async fn read_session(&self, id: IncidentId) -> Result<Option<SavedSession>, Fault> {
        let select = "SELECT session, session_sequence FROM incidents WHERE id = $1 AND session IS NOT NULL";
        let Some(row) = sqlx::query(select).bind(bytes(id)).fetch_optional(&self.pool).await? else {
            return Ok(None);
        };
        Ok(Some((number(&row, "session_sequence")?, row.try_get("session")?)))
    }
}

fn head(row: &sqlx::any::AnyRow) -> Result<Head, Fault> {
    Ok(Head {
        incident: incident_id(row.try_get("incident")?)?,
        sequence: number(row, "sequence")?,
        hash: hash(row, "hash")?,
    })
}

impl Ledger for SqlStore {
    fn add_entry(&self, entry: Vec<u8>) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move { self.patiently(|| self.write_entry(&entry)).await }.boxed()
    }

    fn entries(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        async move { self.patiently(|| self.read_entries(after, limit)).await }.boxed()
    }

    fn make_checkpoint(&self) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        // Not patient: it is made again soon.
        async move { self.in_time(self.write_checkpoint()).await.map_err(super::said) }.boxed()
    }

    fn checkpoints(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<KeptCheckpoint>, StoreError>> {
        async move { self.patiently(|| self.read_checkpoints(after, limit)).await }.boxed()
    }

    fn anchored(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        async move { self.patiently(|| self.read_anchored(id)).await }.boxed()
    }

    fn session(&self, id: IncidentId) -> BoxFuture<'_, Result<Option<SavedSession>, StoreError>> {
        async move { self.patiently(|| self.read_session(id)).await }.boxed()
    }

    fn trusted(&self) -> TrustedKeys {
        self.trusted.clone()
    }
}
