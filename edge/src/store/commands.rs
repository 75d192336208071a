//! Commands that were taken, and what was answered.
//!
//! An id comes in once: its row is committed before anything is done, and what is done in the store, the answer and the
//! row's new state are one transaction. So a command is executed once, whatever is sent again and whenever the power
//! fails. An answer is kept until the broker has acknowledged it; a row until its command has been expired for
//! [`KEPT_AFTER_EXPIRY_MS`], so that a repetition is known as one.
//!
//! Acknowledged results are kept beside the outbox for as long as their studies, to be sent again when asked.

use contract::command::{CommandAck, CommandOutcome, Resent, SetPoints};
use rusqlite::{OptionalExtension, Transaction, params};

use super::error::Doing;
use super::resend::resend;
use super::{Store, StoreError, audit, meta, set_meta};

/// How long an expired command is still remembered, in milliseconds.
const KEPT_AFTER_EXPIRY_MS: i64 = 7 * 86_400_000;
/// Most commands remembered.
const KEPT_MAX: i64 = 1000;

const SET_POINTS: &str = "set_points";

/// A command that was judged worth executing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCommand {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The message as it came.
    pub message: String,
    /// Until when it may be executed, milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// What became of a command that was to be taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// It waits to be executed.
    New,
    /// Its id is known; what was answered last, if anything was.
    Known(Option<CommandAck>),
    /// Too many are remembered.
    Full,
}

/// A command that waits to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCommand {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The message as it came.
    pub message: String,
    /// What was answered so far: that it waits, or is being executed.
    pub said: Option<CommandOutcome>,
}

/// An answer to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAck {
    /// Which answer this is.
    pub key: AckKey,
    /// The answer.
    pub ack: CommandAck,
}

/// One answer to one command: a later one to the same has a higher number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckKey {
    /// The command's id.
    pub id: String,
    /// Counts its answers.
    pub number: u32,
}

/// What executing a command changes in the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Acknowledged results are sent again.
    Resend {
        /// The first `seq`.
        from_seq: u64,
        /// The last `seq`.
        to_seq: u64,
    },
    /// Other operating points are in force.
    SetPoints(SetPoints),
}

impl Store {
    /// Takes a command, unless its id is known.
    ///
    /// # Errors
    /// When SQLite fails; it is then not taken.
    pub fn take_command(&self, command: &NewCommand) -> Result<Taken, StoreError> {
        let now_ms = self.now_ms();
        let taken = self.write("take a command", |tx| {
            let known: Option<Option<String>> = tx
                .query_row("SELECT ack FROM commands WHERE id = ?1", [&command.id], |row| row.get(0))
                .optional()?;
            if let Some(ack) = known {
                return Ok(Taken::Known(ack.and_then(|json| serde_json::from_str(&json).ok())));
            }
            tx.execute(
                "DELETE FROM commands WHERE state = 'answered' AND ack_sent = 1 AND expires_at_ms < ?1",
                [now_ms - KEPT_AFTER_EXPIRY_MS],
            )?;
            let kept: i64 = tx.query_row("SELECT count(*) FROM commands", [], |row| row.get(0))?;
            if kept >= KEPT_MAX {
                return Ok(Taken::Full);
            }
            tx.execute(
                "INSERT INTO commands (id, name, message, taken_at_ms, expires_at_ms, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'pending')",
                params![command.id, command.name, command.message, now_ms, command.expires_at_ms],
            )?;
            Ok(Taken::New)
        })?;
        crate::transition("command.taken");
        Ok(taken)
    }

    /// Commands that wait to be executed, in the order they came.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn pending_commands(&self) -> Result<Vec<PendingCommand>, StoreError> {
        const DOING: &str = "read the commands";
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT id, name, message, ack FROM commands WHERE state = 'pending' ORDER BY rowid",
            )
            .doing(DOING)?;
        let rows = statement
            .query_map([], |row| {
                let ack: Option<String> = row.get(3)?;
                let ack = ack.and_then(|json| serde_json::from_str::<CommandAck>(&json).ok());
                Ok(PendingCommand {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    message: row.get(2)?,
                    said: ack.map(|ack| ack.outcome),
                })
            })
            .doing(DOING)?;
        rows.collect::<rusqlite::Result<_>>().doing(DOING)
    }

    /// Records that a command waits or is being executed, and what is said of it. It stays to be settled.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn command_goes_on(&self, id: &str, ack: CommandAck) -> Result<StoredAck, StoreError> {
        self.write("record what a command waits for", |tx| record(tx, id, "pending", ack))
    }

    /// Executes a command's effect and records its answer, in one transaction. `answer` is given what came of a resend.
    ///
    /// # Errors
    /// When SQLite fails; nothing has then happened, and the command still waits.
    pub fn answer_command(
        &self,
        id: &str,
        effect: &Effect,
        answer: impl FnOnce(Resent) -> CommandAck,
    ) -> Result<StoredAck, StoreError> {
        let now_ms = self.now_ms();
        let stored = self.write("execute a command", |tx| {
            let resent = match effect {
                Effect::None => Resent::default(),
                Effect::Resend { from_seq, to_seq } => resend(tx, now_ms, *from_seq, *to_seq)?,
                Effect::SetPoints(set) => {
                    set_points(tx, now_ms, set)?;
                    Resent::default()
                }
            };
            let stored = record(tx, id, "answered", answer(resent))?;
            let ack = &stored.ack;
            let detail =
                format!("{} {id}: {}", ack.command, ack.reason.map_or("done".to_owned(), |r| word(&r)));
            audit(tx, now_ms, "command", None, None, Some(&detail))?;
            crate::transition("command.before_commit");
            Ok(stored)
        })?;
        crate::transition("command.answered");
        Ok(stored)
    }

    /// Answers that the broker has not acknowledged, oldest first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn unsent_acks(&self) -> Result<Vec<StoredAck>, StoreError> {
        const DOING: &str = "read the answers to commands";
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT id, ack_number, ack FROM commands WHERE ack IS NOT NULL AND ack_sent = 0 ORDER BY rowid",
            )
            .doing(DOING)?;
        let rows = statement
            .query_map([], |row| {
                let key = AckKey { id: row.get(0)?, number: row.get(1)? };
                Ok((key, row.get::<_, String>(2)?))
            })
            .doing(DOING)?;
        let rows: Vec<(AckKey, String)> = rows.collect::<rusqlite::Result<_>>().doing(DOING)?;
        let read =
            |(key, json): (AckKey, String)| Some(StoredAck { key, ack: serde_json::from_str(&json).ok()? });
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Records that the broker has an answer. One that was followed by another is none of the caller's worry.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn ack_sent(&self, key: &AckKey) -> Result<(), StoreError> {
        self.write("record an answer's delivery", |tx| {
            tx.execute(
                "UPDATE commands SET ack_sent = 1 WHERE id = ?1 AND ack_number = ?2",
                params![key.id, key.number],
            )
            .map(|_| ())
        })
    }

    /// The operating points that a command has set in place of the bundle's own; `None` where none has, or for another
    /// bundle.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn points_in_force(&self, bundle_sha256: &str) -> Result<Option<SetPoints>, StoreError> {
        let json = meta(&self.connection(), SET_POINTS).doing("read the operating points")?;
        let set: Option<SetPoints> = json.and_then(|json| serde_json::from_str(&json).ok());
        Ok(set.filter(|set| set.settings.bundle_sha256 == bundle_sha256))
    }
}

fn record(tx: &Transaction<'_>, id: &str, state: &str, ack: CommandAck) -> rusqlite::Result<StoredAck> {
    let number = tx.query_row(
        "UPDATE commands SET state = ?2, ack = ?3, ack_number = ack_number + 1, ack_sent = 0
         WHERE id = ?1 AND state = 'pending' RETURNING ack_number",
        params![id, state, json(&ack)?],
        |row| row.get(0),
    )?;
    Ok(StoredAck { key: AckKey { id: id.to_owned(), number }, ack })
}

fn set_points(tx: &Transaction<'_>, now_ms: i64, set: &SetPoints) -> rusqlite::Result<()> {
    let before = meta(tx, SET_POINTS)?;
    if set.settings.is_empty() {
        tx.execute("DELETE FROM meta WHERE key = ?1", [SET_POINTS])?;
    } else {
        set_meta(tx, SET_POINTS, &json(set)?)?;
    }
    let before = before.as_deref().unwrap_or("the bundle's own");
    let detail = format!("{} by {}; before: {before}", json(&set.settings)?, set.by);
    audit(tx, now_ms, "operating_points_set", None, None, Some(&detail))
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A unit variant's name as it is published.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
