//! What the technician's page shows. It stays on the station: it maps an image to its file's name.

use std::path::PathBuf;

use contract::result::{StudyResult, ViewResult};
use contract::study::StudyType;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Doing;
use super::{Store, StoreError, json_error};
use crate::clock::timestamp;

/// A study as the technician sees it.
#[derive(Clone, Debug)]
pub struct StudyRow {
    /// Its place in the order of opening.
    pub id: i64,
    /// The number for the register book.
    pub number: String,
    /// What the technician calls it.
    pub reference: Option<String>,
    /// What its files share at their source, such as `XR_WRIST/folder`.
    pub origin: String,
    /// What was radiographed.
    pub study_type: Option<StudyType>,
    /// Whether it still takes images.
    pub open: bool,
    /// Whether it closes as soon as its images are scored.
    pub closing: bool,
    /// Whether the technician opened or reopened it.
    pub by_hand: bool,
    /// Revisions closed so far.
    pub revision: u32,
    /// The newest revision the broker acknowledged.
    pub acknowledged_revision: u32,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last closed.
    pub closed_at: Option<Timestamp>,
    /// The newest revision's result.
    pub result: Option<StudyResult>,
    /// Its images, in the order of acceptance.
    pub images: Vec<ImageRow>,
}

/// An image as the technician sees it.
#[derive(Clone, Debug)]
pub struct ImageRow {
    /// The station's name for it.
    pub image_id: String,
    /// The file's name at its source; empty once it was forgotten.
    pub source_name: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where it is on its way.
    pub state: ImageState,
    /// What came of it; `None` while it waits for the first time.
    pub view: Option<ViewResult>,
    /// Whether its file is still kept.
    pub kept: bool,
}

/// Where an image is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Accepted, not yet scored.
    Waiting,
    /// Scored.
    Scored,
    /// Not usable, or flagged by the acquisition gate.
    Rejected,
    /// Dropped or retaken by the technician.
    Dropped,
}

/// Which studies to list.
#[derive(Clone, Debug, Default)]
pub struct StudyFilter {
    /// Part of the number, of the reference, of the study type or of the origin.
    pub query: Option<String>,
    /// Only open ones, or only closed ones.
    pub open: Option<bool>,
    /// Only those opened before the study with this id.
    pub before: Option<i64>,
    /// How many at most.
    pub limit: usize,
}

const DOING: &str = "read the studies";
const COLUMNS: &str =
    "id, number, local_reference, study_type, open, close_asked, by_hand, revision, acked_revision,
                       opened_at_ms, closed_at_ms, result, origin";

impl Store {
    /// Studies, the newest first.
    ///
    /// # Errors
    /// When SQLite fails or a stored result cannot be read.
    pub fn studies(&self, filter: &StudyFilter) -> Result<Vec<StudyRow>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM studies
                 WHERE (?1 IS NULL OR instr(lower(number || ' ' || coalesce(local_reference, '') || ' ' ||
                                                  coalesce(study_type, '') || ' ' ||
                                                  iif(origin LIKE 'by-hand/%', '', origin)), lower(?1)) > 0)
                       AND (?2 IS NULL OR open = ?2) AND (?3 IS NULL OR id < ?3)
                 ORDER BY id DESC LIMIT ?4"
            ))
            .doing(DOING)?;
        let rows = statement
            .query_map(params![filter.query, filter.open, filter.before, filter.limit], read_study)
            .doing(DOING)?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>().doing(DOING)?;
        rows.into_iter().map(|row| row.complete(&connection)).collect()
    }

    /// The newest studies, newest first.
    ///
    /// # Errors
    /// As [`Store::studies`].
    pub fn newest_studies(&self, limit: usize) -> Result<Vec<StudyRow>, StoreError> {
        self.studies(&StudyFilter { limit, ..StudyFilter::default() })
    }

    /// One study by its number.
    ///
    /// # Errors
    /// As [`Store::studies`].
    pub fn study(&self, number: &str) -> Result<Option<StudyRow>, StoreError> {
        let connection = self.connection();
        let sql = format!("SELECT {COLUMNS} FROM studies WHERE number = ?1");
        let row = connection.query_row(&sql, [number], read_study).optional().doing(DOING)?;
        row.map(|row| row.complete(&connection)).transpose()
    }

    /// Where an image's bytes lie; `None` when it is not known or its file is no longer kept.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn image_path(&self, image_id: &str) -> Result<Option<PathBuf>, StoreError> {
        let found = self
            .connection()
            .query_row(
                "SELECT image_id, extension, file FROM images WHERE image_id = ?1",
                params![image_id],
                |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)),
            )
            .optional()
            .doing("look for an image")?;
        // The path is made from the row, never from what the caller named.
        Ok(found.and_then(|(image_id, extension, place)| match place.as_str() {
            "images" => Some(self.image_file(&image_id)),
            "rejected" => Some(self.rejected_file(&image_id, &extension)),
            _ => None,
        }))
    }
}

/// A row whose JSON was not read yet.
struct RawStudy {
    row: StudyRow,
    result: Option<String>,
}

fn read_study(row: &Row<'_>) -> rusqlite::Result<RawStudy> {
    let study_type: Option<String> = row.get(3)?;
    Ok(RawStudy {
        row: StudyRow {
            id: row.get(0)?,
            number: row.get(1)?,
            reference: row.get(2)?,
            origin: row.get(12)?,
            study_type: study_type.and_then(|text| text.parse().ok()),
            open: row.get(4)?,
            closing: row.get(5)?,
            by_hand: row.get(6)?,
            revision: row.get(7)?,
            acknowledged_revision: row.get(8)?,
            opened_at: timestamp(row.get(9)?),
            closed_at: row.get::<_, Option<i64>>(10)?.map(timestamp),
            result: None,
            images: Vec::new(),
        },
        result: row.get(11)?,
    })
}

impl RawStudy {
    fn complete(self, connection: &Connection) -> Result<StudyRow, StoreError> {
        let result = self.result.map(|json| serde_json::from_str(&json)).transpose();
        let result = result.map_err(json_error("result"))?;
        let images = images(connection, self.row.id)?;
        Ok(StudyRow { result, images, ..self.row })
    }
}

fn images(connection: &Connection, study_id: i64) -> Result<Vec<ImageRow>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT image_id, source_name, accepted_at_ms, view, file != 'dropped', state, excluded
             FROM images WHERE study_id = ?1 ORDER BY id",
        )
        .doing(DOING)?;
    let rows = statement
        .query_map([study_id], |row| {
            let state: String = row.get(5)?;
            let image = ImageRow {
                image_id: row.get(0)?,
                source_name: row.get(1)?,
                accepted_at: timestamp(row.get(2)?),
                state: match (row.get(6)?, state.as_str()) {
                    (true, _) => ImageState::Dropped,
                    (false, "scored") => ImageState::Scored,
                    (false, "rejected") => ImageState::Rejected,
                    (false, _) => ImageState::Waiting,
                },
                view: None,
                kept: row.get(4)?,
            };
            Ok((image, row.get::<_, Option<String>>(3)?))
        })
        .doing(DOING)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>().doing(DOING)?;
    rows.into_iter()
        .map(|(image, view)| {
            let view =
                view.map(|json| serde_json::from_str(&json)).transpose().map_err(json_error("view"))?;
            Ok(ImageRow { view, ..image })
        })
        .collect()
}
