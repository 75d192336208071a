//! What the technician asks for: a study opened, closed, reopened or purged; an image added, dropped or overruled.

use std::fs;

use contract::radiograph::RejectReason;
use contract::result::{DropReason, ViewResult};
use contract::study::StudyType;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Doing;
use super::files::Staged;
use super::images::{Accepted, Origin};
use super::resend::drop_rows;
use super::studies::{StudyId, open_study};
use super::{Store, StoreError, audit, io_error, json_error, random_hex, sync_dir};

/// Longest reference, in characters.
pub(super) const REFERENCE_MAX_CHARS: usize = 64;
/// Longest initials, in characters.
pub(super) const INITIALS_MAX_CHARS: usize = 8;

/// Why something the technician asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It cannot be done as things are.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What stands against it, in words for the technician.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such study.
    #[error("there is no study {0}; look for its number in the history")]
    NoStudy(String),
    /// No such image.
    #[error("there is no such image; reload the page")]
    NoImage,
    /// The study is closed.
    #[error("study {0} is closed; reopen it first")]
    Closed(String),
    /// The study is open.
    #[error("study {0} is still open; close it first")]
    Open(String),
    /// Nothing to close.
    #[error("study {0} has no views; take one, or discard the study")]
    NoViews(String),
    /// As many views as a study may have.
    #[error(
        "study {number} has {views_max} views, as many as a study may have (study.views_max); open another"
    )]
    Full {
        /// The study.
        number: String,
        /// The limit.
        views_max: u32,
    },
    /// The broker has not acknowledged its result.
    #[error("the result of study {0} has not been sent yet; purging it now would lose it")]
    Unsent(String),
    /// An image that was not rejected, or for a reason that cannot be overruled.
    #[error("this image cannot be overruled: {0}; take it again")]
    NotOverrulable(&'static str),
    /// Too long, or empty where it may not be.
    #[error("{what} must have {min} to {max} characters")]
    Text {
        /// Of what.
        what: &'static str,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
}

/// An image about to be accepted into a study that the technician names.
#[derive(Clone, Debug)]
pub struct ByHand<'a> {
    /// What it is called locally.
    pub source_name: &'a str,
    /// The file's extension, without dot.
    pub extension: &'a str,
    /// How the frame it was made from was exposed, as JSON, where it was captured here.
    pub exposure: Option<String>,
    /// As many views as the study may have.
    pub views_max: u32,
}

/// A study as these actions need it.
struct Found {
    id: StudyId,
    number: String,
    open: bool,
    views: u32,
    sent: bool,
}

fn find(tx: &Connection, number: &str) -> rusqlite::Result<Result<Found, Refused>> {
    let found = tx
        .query_row(
            "SELECT id, number, open, (SELECT count(*) FROM images WHERE study_id = studies.id AND excluded = 0),
                    revision = acked_revision
             FROM studies WHERE number = ?1",
            [number],
            |row| {
                Ok(Found {
                    id: StudyId(row.get(0)?),
                    number: row.get(1)?,
                    open: row.get(2)?,
                    views: row.get(3)?,
                    sent: row.get(4)?,
                })
            },
        )
        .optional()?;
    Ok(found.ok_or_else(|| Refused::NoStudy(number.to_owned())))
}

fn short_text(what: &'static str, text: &str, min: usize, max: usize) -> Result<String, Refused> {
    let text = text.trim();
    let printable = !text.chars().any(char::is_control);
    if printable && (min..=max).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    Err(Refused::Text { what, min, max })
}

impl Store {
    /// A write that may be refused.
    fn at_desk<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection, i64) -> rusqlite::Result<Result<T, Refused>>,
    ) -> Result<T, DeskError> {
        let now_ms = self.now_ms();
        self.write_unless(doing, |tx| Ok(work(tx, now_ms)?.map_err(DeskError::from)))
    }

    /// Opens a study for the technician and gives its number. `reference` is what the technician calls it; it never
    /// leaves the station.
    ///
    /// # Errors
    /// When the reference is too long or SQLite fails.
    pub fn open_by_hand(&self, study_type: &StudyType, reference: Option<&str>) -> Result<String, DeskError> {
        let reference =
            reference.map(|text| short_text("the reference", text, 0, REFERENCE_MAX_CHARS)).transpose()?;
        let reference = reference.filter(|text| !text.is_empty());
        let origin = Origin {
            name: format!("by-hand/{}", random_hex::<8>()),
            study_type: Some(study_type.clone()),
            single: false,
        };
        self.at_desk("open a study", |tx, now_ms| {
            let (id, number) = open_study(self, tx, &origin, false, now_ms)?;
            tx.execute(
                "UPDATE studies SET by_hand = 1, local_reference = ?2 WHERE id = ?1",
                params![id.0, reference],
            )?;
            Ok(Ok(number))
        })
    }

    /// Accepts a staged image into an open study; one that it `replaces` is dropped in the same transaction.
    ///
    /// # Errors
    /// When the study is not open or full, or the store fails; the image is then not accepted and nothing dropped.
    pub fn accept_by_hand(
        &self,
        staged: Staged,
        number: &str,
        replaces: Option<&str>,
        image: &ByHand<'_>,
    ) -> Result<Accepted, DeskError> {
        let views_max = image.views_max;
        let names = (image.source_name, image.extension);
        self.accept_into(staged, names, image.exposure.as_deref(), |tx, now_ms| {
            let mut study = match find(tx, number)? {
                Ok(study) if study.open => study,
                Ok(study) => return Ok(Err(Refused::Closed(study.number).into())),
                Err(refused) => return Ok(Err(refused.into())),
            };
            if let Some(image_id) = replaces {
                let dropped = tx.execute(
                    "UPDATE images SET excluded = 1 WHERE image_id = ?1 AND study_id = ?2 AND excluded = 0",
                    params![image_id, study.id.0],
                )?;
                if dropped == 0 {
                    return Ok(Err(Refused::NoImage.into()));
                }
                study.views -= 1;
                audit(tx, now_ms, "retaken", Some(study.id.0), Some(image_id), None)?;
            }
            if study.views >= views_max {
                // This takes back that an image was dropped.
                return Ok(Err(Refused::Full { number: study.number, views_max }.into()));
            }
            Ok(Ok((study.id, study.number)))
        })
    }

    /// Asks for a study to be closed: at once, or when its images are scored.
    ///
    /// # Errors
    /// When there is no such open study, it has no views, or SQLite fails.
    pub fn ask_to_close(&self, number: &str) -> Result<(), DeskError> {
        self.at_desk("close a study", |tx, now_ms| {
            let study = match find(tx, number)? {
                Ok(study) => study,
                Err(refused) => return Ok(Err(refused)),
            };
            if !study.open {
                return Ok(Err(Refused::Closed(study.number)));
            }
            if study.views == 0 {
                return Ok(Err(Refused::NoViews(study.number)));
            }
            tx.execute("UPDATE studies SET close_asked = 1 WHERE id = ?1", [study.id.0])?;
            audit(tx, now_ms, "close_asked", Some(study.id.0), None, None)?;
            Ok(Ok(()))
        })
    }

    /// Opens a closed study again; its next closing makes a new revision that supersedes the old one.
    ///
    /// # Errors
    /// When there is no such closed study or SQLite fails.
    pub fn reopen(&self, number: &str) -> Result<(), DeskError> {
        self.at_desk("reopen a study", |tx, now_ms| {
            let study = match find(tx, number)? {
                Ok(study) if study.open => return Ok(Err(Refused::Open(study.number))),
                Ok(study) => study,
                Err(refused) => return Ok(Err(refused)),
            };
            tx.execute(
                "UPDATE studies SET open = 1, by_hand = 1, close_asked = 0, last_image_at_ms = ?2 WHERE id = ?1",
                params![study.id.0, now_ms],
            )?;
            audit(tx, now_ms, "reopened", Some(study.id.0), None, None)?;
            Ok(Ok(()))
        })
    }

    /// Drops an image from its study and gives the study's number. A study that was closed is closed again without
    /// it, as a new revision. The file stays until its retention ends.
    ///
    /// # Errors
    /// When there is no such image or SQLite fails.
    pub fn drop_image(&self, image_id: &str) -> Result<String, DeskError> {
        self.at_desk("drop an image", |tx, now_ms| {
            let dropped = tx
                .query_row(
                    "UPDATE images SET excluded = 1 WHERE image_id = ?1 AND excluded = 0 RETURNING study_id",
                    [image_id],
                    |row| row.get::<_, i64>(0),
                )
                .optional()?;
            let Some(study_id) = dropped else { return Ok(Err(Refused::NoImage)) };
            audit(tx, now_ms, "dropped", Some(study_id), Some(image_id), None)?;
            close_again(tx, study_id).map(Ok)
        })
    }

    /// Lets an image that the acquisition gate rejected be scored all the same, and gives its study's number.
    /// `initials` say who wants it so and stay on the station. `may` says which reasons can be overruled.
    ///
    /// # Errors
    /// When there is no such image, it cannot be overruled, its file is gone, or the store fails.
    pub fn overrule(
        &self,
        image_id: &str,
        initials: &str,
        may: impl Fn(RejectReason) -> bool,
    ) -> Result<String, DeskError> {
        const DOING: &str = "overrule the gate";
        let initials = short_text("the initials", initials, 1, INITIALS_MAX_CHARS)?;
        let (extension, view): (String, Option<String>) = self
            .connection()
            .query_row(
                "SELECT extension, view FROM images
                 WHERE image_id = ?1 AND excluded = 0 AND state = 'rejected'",
                [image_id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .doing(DOING)?
            .ok_or(Refused::NotOverrulable("it was not rejected"))?;
        let view: Option<ViewResult> =
            view.as_deref().map(serde_json::from_str).transpose().map_err(json_error("view"))?;
        let reason = view.and_then(|view| view.rejected).map(|rejection| rejection.reason);
        if !reason.is_some_and(may) {
            return Err(Refused::NotOverrulable("nothing could be scored").into());
        }
        // First the file, then the row: after a crash between the two the row still says rejected, and the next
        // start moves the file back.
        let (kept, back) = (self.rejected_file(image_id, &extension), self.image_file(image_id));
        match fs::rename(&kept, &back) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !back.exists() => {
                return Err(Refused::NotOverrulable("its file is no longer kept").into());
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error("move back", &back)(error).into());
            }
            _ => {}
        }
        sync_dir(&self.images_dir()).map_err(io_error("sync", &self.images_dir()))?;
        crate::transition("overrule.renamed");
        let _ = fs::remove_file(self.reason_file(image_id));
        self.at_desk(DOING, |tx, now_ms| {
            let study_id: i64 = tx.query_row(
                "UPDATE images SET state = 'waiting', file = 'images', overruled_by = ?2 WHERE image_id = ?1
                 RETURNING study_id",
                params![image_id, initials],
                |row| row.get(0),
            )?;
            let reason = serde_json::to_string(&reason).unwrap_or_default();
            audit(tx, now_ms, "overruled", Some(study_id), Some(image_id), Some(&reason))?;
            close_again(tx, study_id).map(Ok)
        })
    }

    /// Removes a study at once: its files, names and rows. One that is open and has no views is discarded so too.
    ///
    /// # Errors
    /// When there is no such study, it is open with views, or its result was not acknowledged and `unsent` is not set;
    /// when a file cannot be removed or SQLite fails.
    pub fn purge(&self, number: &str, unsent: bool) -> Result<(), DeskError> {
        const DOING: &str = "purge a study";
        let study = find(&self.connection(), number).doing(DOING)??;
        if study.open && study.views > 0 {
            return Err(Refused::Open(study.number).into());
        }
        if !study.sent && !unsent {
            return Err(Refused::Unsent(study.number).into());
        }
        let images = self.candidates(&format!(
            "SELECT id, image_id, extension, size_bytes FROM images WHERE study_id = {}",
            study.id.0
        ))?;
        self.drop_oldest(images, u64::MAX)?;
        self.at_desk(DOING, |tx, now_ms| {
            drop_rows(tx, now_ms, DropReason::Purged, "study_id = ?1", study.id.0)?;
            tx.execute("DELETE FROM images WHERE study_id = ?1", [study.id.0])?;
            tx.execute("DELETE FROM studies WHERE id = ?1", [study.id.0])?;
            audit(tx, now_ms, "purged", Some(study.id.0), None, None)?;
            Ok(Ok(()))
        })
    }
}

/// A closed study is opened, to be closed again as soon as its images are scored; an open one stays as it is. Gives
/// its number.
fn close_again(tx: &Connection, study_id: i64) -> rusqlite::Result<String> {
    tx.execute("UPDATE studies SET open = 1, close_asked = 1 WHERE id = ?1 AND open = 0", [study_id])?;
    tx.query_row("SELECT number FROM studies WHERE id = ?1", [study_id], |row| row.get(0))
}
