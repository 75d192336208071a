//! Results sent again, and what is said in place of those that do not come.
//!
//! A result that leaves the outbox is kept for as long as its study. Whoever sees a hole in the sequence asks for it again.
//! Each `seq` of the range is then answered under its own key: by its result while the station has it, else by a
//! tombstone. A tombstone is also written, in the same transaction, when a result that was not acknowledged is purged, or
//! set aside because the broker refuses it. It is sent until it was acknowledged, or refused as often as a result may be.

use contract::command::Resent;
use contract::result::{DropReason, DroppedStudy, Tombstone};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::error::Doing;
use super::outbox::{FAILURES_MAX, last_seq};
use super::{OutboxRow, RowKind, Store, StoreError};
use crate::clock::timestamp;

/// Tombstones kept after they were acknowledged; the oldest go beyond it.
const TOMBSTONES_KEPT: u64 = 10_000;

impl Store {
    pub(super) fn unsent_tombstones(
        &self,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        const DOING: &str = "read the tombstones";
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, payload FROM tombstones WHERE sent = 0 AND seq > ?1 ORDER BY seq LIMIT ?2",
            )
            .doing(DOING)?;
        let rows = statement
            .query_map(params![after_seq, limit], |row| {
                Ok(OutboxRow { seq: row.get(0)?, kind: RowKind::Tombstone, payload_json: row.get(1)? })
            })
            .doing(DOING)?;
        rows.collect::<rusqlite::Result<_>>().doing(DOING)
    }

    /// Records that tombstones were acknowledged.
    ///
    /// # Errors
    /// When SQLite fails; they are then sent again.
    pub fn tombstones_acked(&self, seqs: &[u64]) -> Result<(), StoreError> {
        self.write("record acknowledged tombstones", |tx| {
            for seq in seqs {
                tx.prepare_cached("UPDATE tombstones SET sent = 1 WHERE seq = ?1")?.execute([seq])?;
            }
            tx.execute(
                "DELETE FROM tombstones WHERE sent = 1 AND seq <=
                     (SELECT seq FROM tombstones WHERE sent = 1 ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
                [TOMBSTONES_KEPT],
            )?;
            Ok(())
        })
    }

    /// Records that the broker refused a tombstone for good; after several times it counts as sent.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn tombstone_failed(&self, seq: u64) -> Result<(), StoreError> {
        self.write("record a refused tombstone", |tx| {
            tx.execute(
                "UPDATE tombstones SET attempts = attempts + 1, sent = (attempts + 1 >= ?2) WHERE seq = ?1",
                params![seq, FAILURES_MAX],
            )?;
            Ok(())
        })
    }
}

/// Puts acknowledged results of a range back into the outbox, and dead ones among the living; what is kept no longer is
/// answered by a tombstone.
pub(super) fn resend(
    tx: &Transaction<'_>,
    now_ms: i64,
    from_seq: u64,
    to_seq: u64,
) -> rusqlite::Result<Resent> {
    let to_seq = to_seq.min(last_seq(tx)?);
    let range = params![from_seq, to_seq];
    tx.execute("UPDATE outbox SET dead = 0, attempts = 0 WHERE dead = 1 AND seq BETWEEN ?1 AND ?2", range)?;
    let waiting: u64 =
        tx.query_row("SELECT count(*) FROM outbox WHERE seq BETWEEN ?1 AND ?2", range, |row| row.get(0))?;
    let requeued = tx.execute(
        "INSERT INTO outbox (seq, kind, study_id, revision, created_at_ms, closed_at_ms, abnormal, payload)
         SELECT seq, kind, study_id, revision, ?3, closed_at_ms,
                coalesce(payload ->> '$.answer' = 'abnormal', 0), payload
         FROM sent WHERE seq BETWEEN ?1 AND ?2 AND seq NOT IN (SELECT seq FROM outbox) ORDER BY seq",
        params![from_seq, to_seq, now_ms],
    )? as u64;
    tx.execute(
        "DELETE FROM tombstones WHERE seq BETWEEN ?1 AND ?2 AND seq IN (SELECT seq FROM outbox)",
        range,
    )?;
    let mut missing = 0;
    for seq in from_seq.max(1)..=to_seq {
        let waits = tx
            .prepare_cached("SELECT count(*) > 0 FROM outbox WHERE seq = ?1")?
            .query_row([seq], |row| row.get::<_, bool>(0))?;
        if !waits {
            missing += 1;
            say_again(tx, now_ms, seq)?;
        }
    }
    Ok(Resent { requeued, waiting, missing })
}

/// Keeps a result that leaves the outbox, so that it can be sent again.
pub(super) fn keep_sent(tx: &Connection, seq: u64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO sent (seq, kind, study_id, revision, closed_at_ms, payload)
         SELECT seq, kind, study_id, revision, closed_at_ms, payload FROM outbox WHERE seq = ?1",
    )?
    .execute([seq])
    .map(drop)
}

/// Lets a place's tombstone be sent again, or writes one.
fn say_again(tx: &Connection, now_ms: i64, seq: u64) -> rusqlite::Result<()> {
    let known =
        tx.prepare_cached("UPDATE tombstones SET sent = 0, attempts = 0 WHERE seq = ?1")?.execute([seq])? > 0;
    if known { Ok(()) } else { bury(tx, now_ms, seq, DropReason::NotKept, None) }
}

/// Writes the tombstone of a place in the sequence. The study is named where its result may be known to the centre in
/// another revision.
pub(super) fn bury(
    tx: &Connection,
    now_ms: i64,
    seq: u64,
    reason: DropReason,
    detail: Option<&str>,
) -> rusqlite::Result<()> {
    let study = match reason {
        DropReason::SetAside | DropReason::Superseded => study_of(tx, seq)?,
        DropReason::Purged | DropReason::NotKept => None,
    };
    let tombstone = Tombstone {
        delivery: None,
        reason,
        may_follow: reason == DropReason::SetAside,
        study,
        detail: detail.map(str::to_owned),
        at: timestamp(now_ms),
    };
    let payload = serde_json::to_string(&tombstone)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    tx.prepare_cached("INSERT OR REPLACE INTO tombstones (seq, payload) VALUES (?1, ?2)")?
        .execute(params![seq, payload])?;
    Ok(())
}

/// Takes the rows of studies that go out of the sequence, each with a tombstone unless it had left. `whose` is a condition
/// on `study_id` with one parameter.
pub(super) fn drop_rows(
    tx: &Connection,
    now_ms: i64,
    reason: DropReason,
    whose: &str,
    parameter: i64,
) -> rusqlite::Result<()> {
    let seqs: Vec<u64> = tx
        .prepare(&format!("SELECT seq FROM outbox WHERE {whose}"))?
        .query_map([parameter], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for seq in seqs {
        bury(tx, now_ms, seq, reason, None)?;
    }
    tx.execute(&format!("DELETE FROM outbox WHERE {whose}"), [parameter])?;
    Ok(())
}

fn study_of(tx: &Connection, seq: u64) -> rusqlite::Result<Option<DroppedStudy>> {
    const SQL: &str =
        "SELECT study_key, outbox.revision FROM outbox JOIN studies ON studies.id = study_id WHERE seq = ?1";
    tx.prepare_cached(SQL)?
        .query_row([seq], |row| Ok(DroppedStudy { key: row.get(0)?, revision: row.get(1)? }))
        .optional()
}
