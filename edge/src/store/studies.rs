//! Studies: opened by their first image, closed into the outbox, opened again by a late image.

use contract::result::{Outcome, StudyResult, StudySummary, ViewResult};
use contract::study::{Answer, StudyType};
use hmac::Mac;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::Doing;
use super::images::Origin;
use super::{Store, StoreError, audit, daily, json_error, meta, set_meta, site_key};
use crate::clock::timestamp;

/// A study's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StudyId(pub(super) i64);

/// When an image starts a new study although its origin already has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Most views of one study.
    pub views_max: u32,
    /// How long after closing a late image still opens the study again, in milliseconds. Later, the same
    /// folder name is taken for another patient's.
    pub reopen_max_ms: i64,
}

/// An open study, as the keeper sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStudy {
    /// Which one.
    pub id: StudyId,
    /// Its origin's name.
    pub origin: String,
    /// One image is the whole study.
    pub single: bool,
    /// Its images.
    pub views: u32,
    /// Those of them not yet scored.
    pub waiting: u32,
    /// The technician's: no source is asked whether it is complete.
    pub by_hand: bool,
    /// To be closed as soon as its images are scored.
    pub close_asked: bool,
}

/// A study that was just closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub number: String,
    /// The revision now in the outbox.
    pub revision: u32,
    /// Where in the sequence it stands.
    pub seq: u64,
    /// What came of it.
    pub outcome: Outcome,
}

const NEXT_NUMBER: &str = "next_study_number";

/// The study an image belongs to, opened if need be, and its number.
pub(super) fn study_for(
    store: &Store,
    tx: &Connection,
    origin: &Origin,
    grouping: Grouping,
    now_ms: i64,
) -> rusqlite::Result<(StudyId, String)> {
    let newest = tx
        .query_row(
            "SELECT id, number, open, closed_at_ms,
                    (SELECT count(*) FROM images WHERE study_id = studies.id AND excluded = 0)
             FROM studies WHERE origin = ?1 ORDER BY id DESC LIMIT 1",
            [&origin.name],
            |row| {
                let joins = row.get::<_, u32>(4)? < grouping.views_max
                    && (row.get::<_, bool>(2)?
                        || row
                            .get::<_, Option<i64>>(3)?
                            .is_some_and(|at| now_ms - at <= grouping.reopen_max_ms));
                Ok((StudyId(row.get(0)?), row.get::<_, String>(1)?, joins))
            },
        )
        .optional()?;
    match newest {
        Some((id, number, true)) if !origin.single => Ok((id, number)),
        older => open_study(store, tx, origin, older.is_some(), now_ms),
    }
}

pub(super) fn open_study(
    store: &Store,
    tx: &Connection,
    origin: &Origin,
    origin_was_used: bool,
    now_ms: i64,
) -> rusqlite::Result<(StudyId, String)> {
    let counter = meta(tx, NEXT_NUMBER)?.and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    set_meta(tx, NEXT_NUMBER, &(counter + 1).to_string())?;
    let number = format!("{}-{counter:04}", number_prefix(origin.study_type.as_ref()));
    let reference = if origin_was_used { format!("{}#{counter}", origin.name) } else { origin.name.clone() };
    let mut mac = store.mac();
    mac.update(reference.as_bytes());
    let key = hex::encode(mac.finalize().into_bytes());
    tx.execute(
        "INSERT INTO studies (origin, reference, study_key, key_id, number, study_type, single, open,
                              opened_at_ms, last_image_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8)",
        params![
            origin.name,
            reference,
            key,
            site_key::id(&store.inner.site_key),
            number,
            origin.study_type.as_ref().map(StudyType::as_str),
            origin.single,
            now_ms
        ],
    )?;
    let id = StudyId(tx.last_insert_rowid());
    audit(tx, now_ms, "opened", Some(id.0), None, Some(&number))?;
    Ok((id, number))
}

/// The first three letters of the body part; `UNK` where nobody said what it is.
fn number_prefix(study_type: Option<&StudyType>) -> String {
    let name = study_type.map_or("UNKNOWN", |study_type| study_type.as_str().trim_start_matches("XR_"));
    name.chars().filter(char::is_ascii_alphanumeric).take(3).collect()
}

impl Store {
    /// The open studies, oldest first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn open_studies(&self) -> Result<Vec<OpenStudy>, StoreError> {
        const DOING: &str = "list open studies";
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT studies.id, origin, single, count(image_id), coalesce(sum(state = 'waiting'), 0), by_hand,
                        close_asked
                 FROM studies LEFT JOIN images ON study_id = studies.id AND excluded = 0
                 WHERE open = 1 GROUP BY studies.id ORDER BY studies.id",
            )
            .doing(DOING)?;
        let rows = statement
            .query_map([], |row| {
                Ok(OpenStudy {
                    id: StudyId(row.get(0)?),
                    origin: row.get(1)?,
                    single: row.get(2)?,
                    views: row.get(3)?,
                    waiting: row.get(4)?,
                    by_hand: row.get(5)?,
                    close_asked: row.get(6)?,
                })
            })
            .doing(DOING)?;
        rows.collect::<rusqlite::Result<_>>().doing(DOING)
    }

    /// Whether an origin has studies and all of them are closed.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn is_closed(&self, origin: &str) -> Result<bool, StoreError> {
        self.connection()
            .query_row(
                "SELECT count(*) > 0 AND sum(open) = 0 FROM studies WHERE origin = ?1",
                [origin],
                |row| row.get::<_, Option<bool>>(0),
            )
            .map(|closed| closed.unwrap_or(false))
            .doing("look for a study")
    }

    /// Closes a study: its result, `seq`, outbox row and state in one transaction. `compose` makes the result
    /// from the study and its views, in their order of acceptance. `None` when the study is not open or one of
    /// its images still waits.
    ///
    /// # Errors
    /// When SQLite fails or the result cannot be written as JSON; the study is then still open.
    pub fn close(
        &self,
        id: StudyId,
        compose: impl FnOnce(StudySummary, Vec<ViewResult>) -> StudyResult,
    ) -> Result<Option<Closed>, StoreError> {
        const DOING: &str = "close a study";
        let now_ms = self.now_ms();
        let mut connection = self.connection();
        let tx = Transaction::new(&mut connection, TransactionBehavior::Immediate).doing(DOING)?;
        let Some(summary) = closing_summary(&tx, id, now_ms).doing(DOING)? else { return Ok(None) };
        let views = views(&tx, id).doing(DOING)?;
        let number = summary.number.clone().unwrap_or_default();
        let revision = summary.revision;

        let result = compose(summary, views);
        let payload = serde_json::to_string(&result).map_err(json_error("result"))?;
        let closed_at_ms = result.study.closed_at.map_or(now_ms, |at| at.as_millisecond());
        let abnormal = result.answer == Some(Answer::Abnormal);
        tx.execute(
            "INSERT INTO outbox (kind, study_id, revision, created_at_ms, closed_at_ms, abnormal, payload)
             VALUES ('result', ?1, ?2, ?3, ?4, ?5, ?6)",
            params![id.0, revision, now_ms, closed_at_ms, abnormal, payload],
        )
        .doing(DOING)?;
        let seq = u64::try_from(tx.last_insert_rowid()).unwrap_or(0);
        daily::count(&tx, revision_before(&tx, id).doing(DOING)?.as_ref(), &result).doing(DOING)?;
        tx.execute(
            "UPDATE studies SET open = 0, close_asked = 0, revision = ?2, closed_at_ms = ?3, result = ?4 WHERE id = ?1",
            params![id.0, revision, closed_at_ms, payload],
        )
        .doing(DOING)?;
        audit(&tx, now_ms, "closed", Some(id.0), None, Some(&format!("revision {revision} seq {seq}")))
            .doing(DOING)?;
        set_meta(&tx, "wall_ms", &now_ms.to_string()).doing(DOING)?;
        crate::transition("close.before_commit");
        tx.commit().doing(DOING)?;
        drop(connection);
        self.changed();
        crate::transition("close.committed");
        Ok(Some(Closed { number, revision, seq, outcome: result.outcome }))
    }
}

/// What a study publishes of itself; `None` when it may not be closed now.
fn closing_summary(tx: &Connection, id: StudyId, now_ms: i64) -> rusqlite::Result<Option<StudySummary>> {
    tx.query_row(
        "SELECT study_key, key_id, number, study_type, revision, opened_at_ms, coalesce(closed_at_ms, 0)
         FROM studies
         WHERE id = ?1 AND open = 1
               AND NOT EXISTS (SELECT 1 FROM images WHERE study_id = ?1 AND state = 'waiting' AND excluded = 0)",
        [id.0],
        |row| {
            let study_type: Option<String> = row.get(3)?;
            let closed_before_ms: i64 = row.get(6)?;
            Ok(StudySummary {
                key: row.get(0)?,
                key_id: row.get(1)?,
                number: row.get(2)?,
                study_type: study_type.and_then(|text| text.parse().ok()),
                revision: row.get::<_, u32>(4)? + 1,
                opened_at: Some(timestamp(row.get(5)?)),
                // A later revision closes later, whatever the clock says.
                closed_at: Some(timestamp(now_ms.max(closed_before_ms + 1))),
                probability: None,
            })
        },
    )
    .optional()
}

/// What the study published last; `None` also where that cannot be read any more.
fn revision_before(tx: &Connection, id: StudyId) -> rusqlite::Result<Option<StudyResult>> {
    let json: Option<String> =
        tx.query_row("SELECT result FROM studies WHERE id = ?1", [id.0], |row| row.get(0))?;
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}

fn views(tx: &Connection, id: StudyId) -> rusqlite::Result<Vec<ViewResult>> {
    let mut statement =
        tx.prepare_cached("SELECT view FROM images WHERE study_id = ?1 AND excluded = 0 ORDER BY id")?;
    let rows = statement.query_map([id.0], |row| {
        let json: String = row.get(0)?;
        serde_json::from_str(&json)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
    })?;
    rows.collect()
}
