//! Results on their way out.
//!
//! A row comes into being in the transaction that closes its study, and leaves only when the broker has
//! acknowledged it. `seq` counts up from 1 without a hole and is never used twice. A row that the broker
//! refused [`FAILURES_MAX`] times becomes dead: it stays, is counted in health, and waits for an engineer. Where there is
//! never a network, rows are exported and carried by hand; once they are delivered so, they leave as if acknowledged.
//!
//! What has left can be sent again, and what will not come is explained: [`super::resend`].

use std::time::Duration;

use contract::result::DropReason;
use hmac::Mac;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Doing;
use super::resend::{bury, keep_sent};
use super::{Store, StoreError, audit, meta, set_meta};
use crate::clock::timestamp;

/// Permanent failures after which a row is dead.
pub(super) const FAILURES_MAX: i64 = 5;

const LATEST_CLOSED_AT: &str = "latest_closed_at_ms";
const LATEST_SEQ: &str = "latest_seq";
const LATEST_PAYLOAD: &str = "latest_payload";

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in the sequence.
    pub seq: u64,
    /// What the payload is.
    pub kind: RowKind,
    /// A `StudyResult` or a `Tombstone` as JSON, without its delivery fields.
    pub payload_json: String,
}

/// What stands at a place of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// A result.
    Result,
    /// What is said in place of one.
    Tombstone,
}

/// What is sent before what; within a lane the order is that of `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Tombstones.
    Tombstones,
    /// Results whose answer is `abnormal`.
    Abnormal,
    /// All other results.
    Others,
}

impl OutboxRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { seq: row.get(0)?, kind: RowKind::Result, payload_json: row.get(1)? })
    }
}

/// What is known of a row, for whoever looks after the station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutboxEntry {
    /// Its place in the sequence.
    pub seq: u64,
    /// The study's number for the register book.
    pub number: Option<String>,
    /// The study's revision.
    pub revision: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// How often the broker has refused it.
    pub attempts: u32,
    /// Whether it is set aside until somebody retries it.
    pub dead: bool,
    /// Why it was refused last.
    pub last_error: Option<String>,
}

impl OutboxEntry {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            number: row.get(1)?,
            revision: row.get(2)?,
            created_at: timestamp(row.get(3)?),
            attempts: row.get(4)?,
            dead: row.get(5)?,
            last_error: row.get(6)?,
        })
    }
}

impl Store {
    /// The identity of this sequence: a new state directory starts a new one.
    pub fn outbox_id(&self) -> Result<String, StoreError> {
        Ok(self.inner.outbox_id.clone())
    }

    /// A name for one purpose: always the same, and nobody without the site's key can guess it.
    pub fn private_name(&self, purpose: &str) -> String {
        let mut mac = self.mac();
        mac.update(purpose.as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..8])
    }

    /// Rows still to be acknowledged, dead ones left out, from the one after `after_seq` on, in order.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn unsent(&self, after_seq: u64, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, payload FROM outbox WHERE dead = 0 AND seq > ?1 ORDER BY seq LIMIT ?2",
            )
            .doing("read the outbox")?;
        let rows =
            statement.query_map(params![after_seq, limit], OutboxRow::read).doing("read the outbox")?;
        rows.collect::<rusqlite::Result<_>>().doing("read the outbox")
    }

    /// The rows of a lane still to be acknowledged, from the one after `after_seq` on, in order.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn unsent_in(&self, lane: Lane, after_seq: u64, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let abnormal = match lane {
            Lane::Tombstones => return self.unsent_tombstones(after_seq, limit),
            Lane::Abnormal => true,
            Lane::Others => false,
        };
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, payload FROM outbox WHERE dead = 0 AND abnormal = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )
            .doing("read the outbox")?;
        let rows = statement
            .query_map(params![abnormal, after_seq, limit], OutboxRow::read)
            .doing("read the outbox")?;
        rows.collect::<rusqlite::Result<_>>().doing("read the outbox")
    }

    /// The lowest `seq` of which neither a result nor a tombstone was acknowledged, dead rows left out: theirs are
    /// the tombstones that say so.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn oldest_unsent_seq(&self) -> Result<Option<u64>, StoreError> {
        const SQL: &str = "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM outbox WHERE dead = 0
                           UNION ALL SELECT min(seq) FROM tombstones WHERE sent = 0)";
        self.connection()
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .doing("read the outbox")
    }

    /// The highest `seq` up to which everything was acknowledged, results or tombstones; 0 before the first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn seq_acked_through(&self) -> Result<u64, StoreError> {
        if let Some(oldest) = self.oldest_unsent_seq()? {
            return Ok(oldest.saturating_sub(1));
        }
        last_seq(&self.connection()).doing("read the outbox")
    }

    /// Takes acknowledged rows out of the outbox, in one transaction, and lets `latest` move forward. Rows that are not
    /// there any more are none of the caller's worry.
    ///
    /// # Errors
    /// When SQLite fails; the rows are then still there.
    pub fn acked(&self, seqs: &[u64]) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        self.write("record acknowledgements", |tx| leave(tx, now_ms, seqs, "acknowledged").map(drop))
    }

    /// Takes rows out of the outbox that were carried to the centre by hand, as if they had been acknowledged. Says how
    /// many there were; rows that are not there any more are none of the caller's worry.
    ///
    /// # Errors
    /// When SQLite fails; all rows are then still there.
    pub fn delivered(&self, seqs: &[u64]) -> Result<usize, StoreError> {
        let now_ms = self.now_ms();
        self.write("record results carried by hand", |tx| leave(tx, now_ms, seqs, "delivered_by_hand"))
    }

    /// What is known of the rows still to be acknowledged, dead ones included, in order, from the one after
    /// `after_seq` on.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn outbox_rows(&self, after_seq: u64, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, json_extract(payload, '$.study.number'), revision, created_at_ms, attempts, dead,
                        last_error
                 FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )
            .doing("read the outbox")?;
        let rows =
            statement.query_map(params![after_seq, limit], OutboxEntry::read).doing("read the outbox")?;
        rows.collect::<rusqlite::Result<_>>().doing("read the outbox")
    }

    /// Rows still to be acknowledged as [`Store::unsent`] gives them, but dead ones too: what is to be carried by
    /// hand.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn export(&self, after_seq: u64, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT seq, payload FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")
            .doing("read the outbox")?;
        let rows =
            statement.query_map(params![after_seq, limit], OutboxRow::read).doing("read the outbox")?;
        rows.collect::<rusqlite::Result<_>>().doing("read the outbox")
    }

    /// Records that the broker refused a row for good. Says whether the row is now dead.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn failed(&self, seq: u64, reason: &str) -> Result<bool, StoreError> {
        let now_ms = self.now_ms();
        self.write("record a refused result", |tx| {
            let dead = tx
                .query_row(
                    "UPDATE outbox SET attempts = attempts + 1, last_error = ?2, dead = (attempts + 1 >= ?3)
                     WHERE seq = ?1 RETURNING dead, study_id",
                    params![seq, reason, FAILURES_MAX],
                    |row| Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?)),
                )
                .optional()?;
            let Some((dead, study_id)) = dead else { return Ok(false) };
            if dead {
                let detail = format!("seq {seq}: {reason}");
                audit(tx, now_ms, "refused_by_broker", Some(study_id), None, Some(&detail))?;
                bury(tx, now_ms, seq, DropReason::SetAside, Some(reason))?;
            }
            Ok(dead)
        })
    }

    /// Lets dead rows be sent again; says how many there were. Their tombstones are not sent any more, unless they
    /// already were.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn revive_dead(&self) -> Result<usize, StoreError> {
        self.write("revive dead results", |tx| {
            tx.execute("DELETE FROM tombstones WHERE seq IN (SELECT seq FROM outbox WHERE dead = 1)", [])?;
            tx.execute("UPDATE outbox SET dead = 0, attempts = 0 WHERE dead = 1", [])
        })
    }

    /// Results not yet acknowledged, dead ones left out.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn depth(&self) -> Result<u64, StoreError> {
        self.connection()
            .query_row("SELECT count(*) FROM outbox WHERE dead = 0", [], |row| row.get(0))
            .doing("read the outbox")
    }

    /// Age of the oldest result not yet acknowledged, dead ones left out.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn oldest_age(&self) -> Result<Option<Duration>, StoreError> {
        let oldest_ms: Option<i64> = self
            .connection()
            .query_row("SELECT created_at_ms FROM outbox WHERE dead = 0 ORDER BY seq LIMIT 1", [], |row| {
                row.get(0)
            })
            .optional()
            .doing("read the outbox")?;
        let age_ms = |created_ms| u64::try_from(self.now_ms() - created_ms).unwrap_or(0);
        Ok(oldest_ms.map(|created_ms| Duration::from_millis(age_ms(created_ms))))
    }

    /// Results the broker refused for good.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn dead_count(&self) -> Result<u64, StoreError> {
        self.connection()
            .query_row("SELECT count(*) FROM outbox WHERE dead = 1", [], |row| row.get(0))
            .doing("read the outbox")
    }

    /// The acknowledged result that was closed last, to be republished at each connect.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn latest(&self) -> Result<Option<OutboxRow>, StoreError> {
        let connection = self.connection();
        let payload = meta(&connection, LATEST_PAYLOAD).doing("read the latest result")?;
        let seq = meta(&connection, LATEST_SEQ).doing("read the latest result")?;
        let seq = seq.and_then(|text| text.parse().ok());
        Ok(payload.zip(seq).map(|(payload_json, seq)| OutboxRow { seq, kind: RowKind::Result, payload_json }))
    }
}

/// Takes rows out, lets `latest` move forward and says how many were there.
fn leave(tx: &Transaction<'_>, now_ms: i64, seqs: &[u64], event: &str) -> rusqlite::Result<usize> {
    let mut left = 0;
    let mut newest: Option<(i64, u64, String)> = None;
    for &seq in seqs {
        let Some((study_id, closed_at_ms, payload)) = leave_one(tx, seq)? else { continue };
        left += 1;
        audit(tx, now_ms, event, Some(study_id), None, Some(&format!("seq {seq}")))?;
        if newest.as_ref().is_none_or(|(at_ms, newest_seq, _)| (closed_at_ms, seq) > (*at_ms, *newest_seq)) {
            newest = Some((closed_at_ms, seq, payload));
        }
    }
    if let Some((closed_at_ms, seq, payload)) = newest {
        let number = |key| Ok(meta(tx, key)?.and_then(|text| text.parse::<i64>().ok()).unwrap_or(i64::MIN));
        let before: rusqlite::Result<(i64, i64)> =
            number(LATEST_CLOSED_AT).and_then(|closed| Ok((closed, number(LATEST_SEQ)?)));
        if (closed_at_ms, i64::try_from(seq).unwrap_or(i64::MAX)) > before? {
            set_meta(tx, LATEST_CLOSED_AT, &closed_at_ms.to_string())?;
            set_meta(tx, LATEST_SEQ, &seq.to_string())?;
            set_meta(tx, LATEST_PAYLOAD, &payload)?;
        }
    }
    Ok(left)
}

/// Takes one row out: its study, when that was closed, and the payload.
fn leave_one(tx: &Transaction<'_>, seq: u64) -> rusqlite::Result<Option<(i64, i64, String)>> {
    keep_sent(tx, seq)?;
    let row = tx
        .prepare_cached(
            "DELETE FROM outbox WHERE seq = ?1 RETURNING study_id, revision, closed_at_ms, payload",
        )?
        .query_row([seq], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((study_id, revision, closed_at_ms, payload)) = row else { return Ok(None) };
    tx.prepare_cached("UPDATE studies SET acked_revision = max(acked_revision, ?2) WHERE id = ?1")?
        .execute(params![study_id, revision])?;
    // Whatever was said in its place is no longer true.
    tx.prepare_cached("DELETE FROM tombstones WHERE seq = ?1")?.execute([seq])?;
    Ok(Some((study_id, closed_at_ms, payload)))
}

/// The highest `seq` given so far; 0 before the first.
pub(super) fn last_seq(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'", [], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}
