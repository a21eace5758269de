//! Reading. Everything is one statement, so it sees one state of the database.

use std::time::Duration;

use countermove_proto::v1::Incident;
use countermove_proto::{IncidentId, RequestId};
use futures::TryStreamExt;
use prost::Message;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::super::super::projection::summary;
use super::super::chain::Hash;
use super::super::{Head, Input, KnownRequest, OwnerId, Part, Record, Saved, StoreError, StoredInput};
use super::writing::{bytes, signed};
use super::{Fault, SqlStore, made};

const INCIDENT: &str = "SELECT last_sequence, last_hash, update_time, end_time, projection, session, \
                        session_sequence FROM incidents WHERE id = $1";

impl SqlStore {
    pub(super) async fn read_records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Record>, Fault> {
        let rows = sqlx::query(
            "SELECT sequence, event, input_sha256, session_sha256, hash, signature FROM events \
             WHERE incident = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
        )
        .bind(bytes(id))
        .bind(signed(after))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *self.reader().await?)
        .await?;
        if rows.is_empty() {
            // Nothing new, or nothing at all?
            self.read_head(id).await?;
        }
        rows.iter().map(record).collect()
    }

    pub(super) async fn read_inputs(
        &self,
        id: IncidentId,
        after: u64,
        until: u64,
    ) -> Result<Vec<StoredInput>, Fault> {
        let mut inputs = Vec::new();
        let keep = |sequence, content: &[u8]| {
            inputs.push((sequence, content.to_vec()));
            Ok(())
        };
        self.each_input(id, after, until, keep).await?;
        Ok(inputs)
    }

    /// Reads one input after the other: they may be large, and the rows of all would be a second copy.
    async fn each_input(
        &self,
        id: IncidentId,
        after: u64,
        until: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), Fault> + Send,
    ) -> Result<(), Fault> {
        let mut reader = self.reader().await?;
        let mut rows = sqlx::query(
            "SELECT sequence, content FROM inputs WHERE incident = $1 AND sequence > $2 AND sequence <= $3 \
             ORDER BY sequence",
        )
        .bind(bytes(id))
        .bind(signed(after))
        .bind(signed(until))
        .fetch(&mut *reader);
        while let Some(row) = rows.try_next().await? {
            take(number(&row, "sequence")?, row.try_get("content")?)?;
        }
        Ok(())
    }

    pub(super) async fn read_head(&self, id: IncidentId) -> Result<Head, Fault> {
        let row = sqlx::query("SELECT last_sequence, last_hash, end_time FROM incidents WHERE id = $1")
            .bind(bytes(id))
            .fetch_optional(&mut *self.reader().await?)
            .await?
            .ok_or(StoreError::NotFound(id))?;
        head(&row)
    }

    pub(super) async fn read_incident(&self, id: IncidentId) -> Result<Incident, Fault> {
        incident(&self.read_row(id).await?)
    }

    pub(super) async fn read_list(&self, part: Part) -> Result<Vec<Incident>, Fault> {
        let first = if part.oldest_first { u8::MIN } else { u8::MAX };
        let after = part.after.map_or_else(|| vec![first; 16], bytes);
        let (beyond, order) = if part.oldest_first { (">", "ASC") } else { ("<", "DESC") };
        let open = if part.open_only { "AND end_time IS NULL" } else { "" };
        let rows = sqlx::query(made(format!(
            "SELECT last_sequence, update_time, projection FROM incidents WHERE id {beyond} $1 {open} \
             ORDER BY id {order} LIMIT $2",
        )))
        .bind(after)
        .bind(i64::try_from(part.limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *self.reader().await?)
        .await?;
        rows.iter().map(|row| incident(row).map(summary)).collect()
    }

    pub(super) async fn read_unfinished(&self) -> Result<Vec<(IncidentId, u64)>, Fault> {
        let rows = sqlx::query("SELECT id, last_sequence FROM incidents WHERE end_time IS NULL")
            .fetch_all(&self.pool)
            .await?;
        let open = |row: &AnyRow| Ok((incident_id(row.try_get("id")?)?, number(row, "last_sequence")?));
        rows.iter().map(open).collect()
    }

    pub(super) async fn read_request(&self, id: RequestId) -> Result<Option<KnownRequest>, Fault> {
        let row = sqlx::query("SELECT fingerprint, incident, sequence, answer FROM requests WHERE id = $1")
            .bind(id.as_bytes().to_vec())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let incident: Option<Vec<u8>> = row.try_get("incident")?;
        let sequence: Option<i64> = row.try_get("sequence")?;
        let effect = match (incident, sequence) {
            (Some(id), Some(sequence)) => Some((incident_id(id)?, unsigned(sequence)?)),
            _ => None,
        };
        Ok(Some(KnownRequest {
            fingerprint: hash(&row, "fingerprint")?,
            effect,
            answer: row.try_get("answer")?,
        }))
    }

    pub(super) async fn read_saved(&self, id: IncidentId) -> Result<Saved, Fault> {
        let row = self.read_row(id).await?;
        let head = head(&row)?;
        let session: Option<Vec<u8>> = row.try_get("session")?;
        let sequence: Option<i64> = row.try_get("session_sequence")?;
        let (Some(session), Some(sequence)) = (session, sequence) else {
            return Err(StoreError::Corrupt(format!("{id} has no saved session")).into());
        };
        let mut inputs = Vec::new();
        let decode = |_, content: &[u8]| {
            inputs.push(Input::decode(content)?);
            Ok(())
        };
        self.each_input(id, 0, head.sequence, decode).await?;
        let age = self.read_age(id).await?;
        Ok(Saved { head, inputs, session: (unsigned(sequence)?, session), age })
    }

    pub(super) async fn read_owner(&self, id: IncidentId, me: OwnerId) -> Result<Option<String>, Fault> {
        let select = format!(
            "SELECT c.address FROM incidents i JOIN coordinators c ON c.id = i.owner \
             WHERE i.id = $1 AND i.end_time IS NULL AND i.owner <> $2 AND c.lease_until > {}",
            self.dialect.now()
        );
        let row = sqlx::query(made(select))
            .bind(bytes(id))
            .bind(me.as_bytes().to_vec())
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        Ok(row.map(|row| row.try_get("address")).transpose()?)
    }

    /// Time since an incident was created, by the database's clock.
    async fn read_age(&self, id: IncidentId) -> Result<Option<Duration>, Fault> {
        let select = format!("SELECT {} - created AS age FROM incidents WHERE id = $1", self.dialect.now());
        let row =
            sqlx::query(made(select)).bind(bytes(id)).fetch_optional(&mut *self.reader().await?).await?;
        let age: Option<i64> = row.ok_or(StoreError::NotFound(id))?.try_get("age")?;
        Ok(age.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or(0))))
    }

    async fn read_row(&self, id: IncidentId) -> Result<AnyRow, Fault> {
        let row = sqlx::query(INCIDENT).bind(bytes(id)).fetch_optional(&mut *self.reader().await?).await?;
        Ok(row.ok_or(StoreError::NotFound(id))?)
    }
}

/// The incident of a row. Number and time of its last event stand beside it.
fn incident(row: &AnyRow) -> Result<Incident, Fault> {
    let projection: Vec<u8> = row.try_get("projection")?;
    let mut incident = Incident::decode(projection.as_slice())
        .map_err(|error| StoreError::Corrupt(format!("an incident: {error}")))?;
    incident.last_sequence = number(row, "last_sequence")?;
    let time: i64 = row.try_get("update_time")?;
    incident.update_time = Some(prost_types::Timestamp {
        seconds: time.div_euclid(1_000_000_000),
        // Below a thousand million, so it fits.
        nanos: i32::try_from(time.rem_euclid(1_000_000_000)).unwrap_or(0),
    });
    Ok(incident)
}

fn head(row: &AnyRow) -> Result<Head, Fault> {
    let end: Option<i64> = row.try_get("end_time")?;
    Ok(Head { sequence: number(row, "last_sequence")?, hash: hash(row, "last_hash")?, ended: end.is_some() })
}

fn record(row: &AnyRow) -> Result<Record, Fault> {
    Ok(Record {
        sequence: number(row, "sequence")?,
        event: row.try_get("event")?,
        input_sha256: optional_hash(row, "input_sha256")?,
        session_sha256: optional_hash(row, "session_sha256")?,
        hash: hash(row, "hash")?,
        signature: row.try_get("signature")?,
    })
}

pub(super) fn number(row: &AnyRow, column: &str) -> Result<u64, Fault> {
    unsigned(row.try_get(column)?)
}

pub(super) fn hash(row: &AnyRow, column: &str) -> Result<Hash, Fault> {
    fixed(row.try_get(column)?, column)
}

pub(super) fn incident_id(id: Vec<u8>) -> Result<IncidentId, Fault> {
    Ok(IncidentId::from_bytes(fixed(id, "incident")?))
}

fn optional_hash(row: &AnyRow, column: &str) -> Result<Option<Hash>, Fault> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    bytes.map(|bytes| fixed(bytes, column)).transpose()
}

fn fixed<const N: usize>(bytes: Vec<u8>, column: &str) -> Result<[u8; N], Fault> {
    let size = bytes.len();
    let fixed = <[u8; N]>::try_from(bytes);
    Ok(fixed.map_err(|_| StoreError::Corrupt(format!("{column} has {size} bytes instead of {N}")))?)
}

fn unsigned(number: i64) -> Result<u64, Fault> {
    let unsigned = u64::try_from(number);
    Ok(unsigned.map_err(|_| StoreError::Corrupt(format!("a number is {number}")))?)
}
