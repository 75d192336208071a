//! What the technician's page shows. It stays on the station: it maps an image to its file's name.

use std::path::PathBuf;

use contract::result::{StudyResult, ViewResult};
use contract::study::StudyType;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::Doing;
use super::{Store, StoreError, json_error};
use crate::clock::timestamp;

/// A study as the technician sees it.
#[derive(Clone, Debug)]
pub struct StudyRow {
    /// The number for the register book.
    pub number: String,
    /// What its files share at their source, such as `XR_WRIST/folder`.
    pub origin: String,
    /// What was radiographed.
    pub study_type: Option<StudyType>,
    /// Whether it still takes images.
    pub open: bool,
    /// Revisions closed so far.
    pub revision: u32,
    /// The newest revision the broker acknowledged.
    pub acknowledged_revision: u32,
    /// When its first image was accepted.
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
    /// The file's name at its source.
    pub source_name: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What came of it; `None` while it waits.
    pub view: Option<ViewResult>,
    /// Whether its file is still kept.
    pub kept: bool,
}

const DOING: &str = "read the studies";

impl Store {
    /// The newest studies, newest first.
    ///
    /// # Errors
    /// When SQLite fails or a stored result cannot be read.
    pub fn recent_studies(&self, limit: usize) -> Result<Vec<StudyRow>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT id, number, origin, study_type, open, revision, acked_revision, opened_at_ms,
                        closed_at_ms, result
                 FROM studies ORDER BY last_image_at_ms DESC, id DESC LIMIT ?1",
            )
            .doing(DOING)?;
        let rows = statement.query_map([limit], read_study).doing(DOING)?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>().doing(DOING)?;
        rows.into_iter().map(|row| row.complete(&connection)).collect()
    }

    /// One study by its number.
    ///
    /// # Errors
    /// As [`Store::recent_studies`].
    pub fn study(&self, number: &str) -> Result<Option<StudyRow>, StoreError> {
        let connection = self.connection();
        let row = connection
            .query_row(
                "SELECT id, number, origin, study_type, open, revision, acked_revision, opened_at_ms,
                        closed_at_ms, result
                 FROM studies WHERE number = ?1",
                [number],
                read_study,
            )
            .optional()
            .doing(DOING)?;
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
    id: i64,
    row: StudyRow,
    result: Option<String>,
}

fn read_study(row: &Row<'_>) -> rusqlite::Result<RawStudy> {
    let study_type: Option<String> = row.get(3)?;
    Ok(RawStudy {
        id: row.get(0)?,
        row: StudyRow {
            number: row.get(1)?,
            origin: row.get(2)?,
            study_type: study_type.and_then(|text| text.parse().ok()),
            open: row.get(4)?,
            revision: row.get(5)?,
            acknowledged_revision: row.get(6)?,
            opened_at: timestamp(row.get(7)?),
            closed_at: row.get::<_, Option<i64>>(8)?.map(timestamp),
            result: None,
            images: Vec::new(),
        },
        result: row.get(9)?,
    })
}

impl RawStudy {
    fn complete(self, connection: &Connection) -> Result<StudyRow, StoreError> {
        let result = self.result.map(|json| serde_json::from_str(&json)).transpose();
        let result = result.map_err(json_error("result"))?;
        let images = images(connection, self.id)?;
        Ok(StudyRow { result, images, ..self.row })
    }
}

fn images(connection: &Connection, study_id: i64) -> Result<Vec<ImageRow>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT image_id, source_name, accepted_at_ms, view, file != 'dropped'
             FROM images WHERE study_id = ?1 ORDER BY id",
        )
        .doing(DOING)?;
    let rows = statement
        .query_map([study_id], |row| {
            let image = ImageRow {
                image_id: row.get(0)?,
                source_name: row.get(1)?,
                accepted_at: timestamp(row.get(2)?),
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
