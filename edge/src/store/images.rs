//! Images: accepted, claimed by a worker, scored or rejected.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use contract::result::{Rejection, ViewResult};
use contract::study::StudyType;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::Doing;
use super::files::{SourceFacts, StageError, Staged};
use super::studies::{Grouping, StudyId, study_for};
use super::{Store, StoreError, audit, io_error, json_error, random_hex, sync_dir};

/// What the images of one study share at their source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Its name at the source, such as `XR_WRIST/folder`: never leaves the station.
    pub name: String,
    /// What was radiographed, where the source says it.
    pub study_type: Option<StudyType>,
    /// One image is the whole study.
    pub single: bool,
}

/// An image about to be accepted.
#[derive(Clone, Debug)]
pub struct NewImage<'a> {
    /// The study it belongs to.
    pub origin: &'a Origin,
    /// The file's name at its source, for the local page.
    pub source_name: &'a str,
    /// The file's extension, without dot: the name it gets under `rejected/`.
    pub extension: &'a str,
    /// When the study is full or too old to be opened again.
    pub grouping: Grouping,
}

/// An accepted image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The station's random name for it.
    pub image_id: String,
    /// The number of its study.
    pub study_number: String,
    /// Whether it had been accepted before (its source was not removed because of a crash).
    pub again: bool,
}

/// An image that one worker works on. Given back when dropped.
#[derive(Debug)]
pub struct Claim {
    id: i64,
    store: Store,
    /// The image's name.
    pub image_id: String,
    /// Its study.
    pub study: StudyId,
    /// The technician wants it scored whatever the acquisition gate says.
    pub overruled: bool,
    /// How the frame it was made from was exposed, as JSON, where it was captured here.
    pub exposure: Option<String>,
    /// Its study's number.
    pub study_number: String,
    extension: String,
}

impl Claim {
    /// Where its bytes lie.
    pub fn path(&self) -> PathBuf {
        self.store.image_file(&self.image_id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.inner.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

const ACCEPT: &str = "accept an image";

/// An image's row before its study is known.
struct NewRow<'a> {
    image_id: &'a str,
    fingerprint: &'a str,
    size_bytes: u64,
    source_name: &'a str,
    extension: &'a str,
    exposure: Option<&'a str>,
    rejected: Option<&'a ViewResult>,
}

impl Store {
    /// Accepts a staged image: renames it into place, syncs the directory and commits its row. Once this
    /// returns, the image survives whatever happens and its source may be removed.
    ///
    /// # Errors
    /// When a file cannot be renamed or SQLite fails; the image is then not accepted.
    pub fn accept(&self, staged: Staged, image: &NewImage<'_>) -> Result<Accepted, StoreError> {
        let names = (image.source_name, image.extension);
        self.accept_into(staged, names, None, |tx, now_ms| {
            study_for(self, tx, image.origin, image.grouping, now_ms).map(Ok)
        })
    }

    /// Accepts a staged image into the study that `place` gives. `names` are the file's name at its source and its
    /// extension, `exposure` a captured frame's.
    pub(super) fn accept_into<E: From<StoreError>>(
        &self,
        staged: Staged,
        names: (&str, &str),
        exposure: Option<&str>,
        place: impl FnOnce(&Connection, i64) -> rusqlite::Result<Result<(StudyId, String), E>>,
    ) -> Result<Accepted, E> {
        if let Some(again) = self.accepted_before(&staged.fingerprint)? {
            return Ok(again);
        }
        let path = self.image_file(&staged.image_id);
        fs::rename(&staged.temporary, &path).map_err(io_error("rename an image to", &path))?;
        sync_dir(&self.images_dir()).map_err(io_error("sync", &self.images_dir()))?;
        crate::transition("accept.renamed");

        let row = NewRow {
            image_id: &staged.image_id,
            fingerprint: &staged.fingerprint,
            size_bytes: staged.size_bytes,
            source_name: names.0,
            extension: names.1,
            exposure,
            rejected: None,
        };
        match self.insert_image(&row, place) {
            Ok(study_number) => {
                crate::transition("accept.committed");
                Ok(Accepted { image_id: staged.image_id.clone(), study_number, again: false })
            }
            Err(error) => {
                // A failed commit may be on the disk all the same: the file goes only if the row is not there.
                if matches!(self.accepted_before(&staged.fingerprint), Ok(None)) {
                    let _ = fs::remove_file(&path);
                }
                Err(error)
            }
        }
    }

    /// Accepts a file that is too large to be read as a rejected view, and moves it to `rejected/`. It is not
    /// kept where it is larger than all rejected files together may be.
    ///
    /// # Errors
    /// When the file cannot be read or moved, or SQLite fails.
    pub fn accept_too_large(
        &self,
        facts: &SourceFacts,
        path: &Path,
        image: &NewImage<'_>,
        rejection: Rejection,
    ) -> Result<Accepted, StageError> {
        let mut file = File::open(path).map_err(StageError::Read)?;
        let fingerprint = self.fingerprint_large(facts, &mut file)?;
        let keep = facts.size_bytes <= self.inner.limits.rejected_max_mib << 20;
        let kept_bytes = if keep { facts.size_bytes } else { 0 };
        let accepted = match self.accepted_before(&fingerprint)? {
            Some(again) => again,
            None => {
                let image_id = random_hex::<8>();
                let view = ViewResult::refused(Some(image_id.clone()), rejection.clone());
                let row = NewRow {
                    image_id: &image_id,
                    fingerprint: &fingerprint,
                    size_bytes: kept_bytes,
                    source_name: image.source_name,
                    extension: image.extension,
                    exposure: None,
                    rejected: Some(&view),
                };
                let study_number = self.insert_image(&row, |tx, now_ms| {
                    study_for(self, tx, image.origin, image.grouping, now_ms).map(Ok::<_, StoreError>)
                })?;
                crate::transition("accept.committed");
                Accepted { image_id, study_number, again: false }
            }
        };
        if !keep {
            fs::remove_file(path).map_err(StageError::Read)?;
        }
        self.move_to_rejected(&accepted.image_id, image.extension, &accepted.study_number, &rejection, path)?;
        self.bound_rejected()?;
        Ok(accepted)
    }

    fn accepted_before(&self, fingerprint: &str) -> Result<Option<Accepted>, StoreError> {
        self.connection()
            .query_row(
                "SELECT image_id, number FROM images JOIN studies ON studies.id = study_id WHERE fingerprint = ?1",
                [fingerprint],
                |row| Ok(Accepted { image_id: row.get(0)?, study_number: row.get(1)?, again: true }),
            )
            .optional()
            .doing(ACCEPT)
    }

    /// The row, in the study that `place` gives, which is open from then on. Gives the study's number.
    fn insert_image<E: From<StoreError>>(
        &self,
        row: &NewRow<'_>,
        place: impl FnOnce(&Connection, i64) -> rusqlite::Result<Result<(StudyId, String), E>>,
    ) -> Result<String, E> {
        let now_ms = self.now_ms();
        let view = row.rejected.map(serde_json::to_string).transpose().map_err(json_error("view"))?;
        let (state, file) = if view.is_some() { ("rejected", "rejected") } else { ("waiting", "images") };
        self.write_unless(ACCEPT, |tx| {
            let (study, number) = match place(tx, now_ms)? {
                Ok(placed) => placed,
                Err(refused) => return Ok(Err(refused)),
            };
            tx.execute(
                "INSERT INTO images (image_id, study_id, fingerprint, source_name, extension, size_bytes,
                                     accepted_at_ms, state, file, view, exposure)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    row.image_id,
                    study.0,
                    row.fingerprint,
                    row.source_name,
                    row.extension,
                    row.size_bytes,
                    now_ms,
                    state,
                    file,
                    view,
                    row.exposure
                ],
            )?;
            tx.execute(
                "UPDATE studies SET open = 1, last_image_at_ms = ?2 WHERE id = ?1",
                params![study.0, now_ms],
            )?;
            audit(tx, now_ms, "accepted", Some(study.0), Some(row.image_id), None)?;
            Ok(Ok(number))
        })
    }

    /// Gives the oldest waiting image that no other worker has, in the order of acceptance.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn claim(&self) -> Result<Option<Claim>, StoreError> {
        const CLAIM: &str = "claim an image";
        // Claims live in memory: only one process uses the store, so a crash gives all of them back.
        let mut claimed = self.inner.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT images.id, image_id, study_id, extension, number, overruled_by IS NOT NULL, exposure
                 FROM images JOIN studies ON studies.id = study_id
                 WHERE state = 'waiting' AND excluded = 0 ORDER BY images.id LIMIT ?1",
            )
            .doing(CLAIM)?;
        let mut rows = statement.query([claimed.len() + 1]).doing(CLAIM)?;
        while let Some(row) = rows.next().doing(CLAIM)? {
            let id: i64 = row.get(0).doing(CLAIM)?;
            if claimed.contains(&id) {
                continue;
            }
            let claim = Claim {
                id,
                store: self.clone(),
                image_id: row.get(1).doing(CLAIM)?,
                study: StudyId(row.get(2).doing(CLAIM)?),
                extension: row.get(3).doing(CLAIM)?,
                study_number: row.get(4).doing(CLAIM)?,
                overruled: row.get(5).doing(CLAIM)?,
                exposure: row.get(6).doing(CLAIM)?,
            };
            claimed.insert(id);
            return Ok(Some(claim));
        }
        Ok(None)
    }

    /// Commits what came of an image: a scored view, or a rejected one, whose file then moves to `rejected/`.
    ///
    /// # Errors
    /// When SQLite fails: the image then waits again. When a file cannot be moved: the next start moves it.
    pub fn finish(&self, claim: &Claim, view: &ViewResult) -> Result<(), StoreError> {
        self.finish_with_plate(claim, view, None)
    }

    /// [`Store::finish`] with the signature by which the plate is known again.
    ///
    /// # Errors
    /// As there.
    pub fn finish_with_plate(
        &self,
        claim: &Claim,
        view: &ViewResult,
        plate: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let json = serde_json::to_string(view).map_err(json_error("view"))?;
        let (state, place) =
            if view.rejected.is_some() { ("rejected", "rejected") } else { ("scored", "images") };
        {
            let doing = "record a score";
            let mut connection = self.connection();
            let tx = Transaction::new(&mut connection, TransactionBehavior::Immediate).doing(doing)?;
            tx.execute(
                "UPDATE images SET state = ?2, file = ?3, view = ?4, plate = ?5 WHERE id = ?1",
                params![claim.id, state, place, json, plate],
            )
            .doing(doing)?;
            audit(&tx, now_ms, state, Some(claim.study.0), Some(&claim.image_id), None).doing(doing)?;
            crate::transition("score.before_commit");
            tx.commit().doing(doing)?;
        }
        self.changed();
        crate::transition("score.committed");
        if let Some(rejection) = &view.rejected {
            let source = self.image_file(&claim.image_id);
            self.move_to_rejected(
                &claim.image_id,
                &claim.extension,
                &claim.study_number,
                rejection,
                &source,
            )?;
            self.bound_rejected()?;
        }
        Ok(())
    }

    /// Signatures of the newest plates that count, each with its study's number; the claimed image's own left out.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn plates(&self, claim: &Claim, limit: usize) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        const DOING: &str = "read earlier plates";
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT number, plate FROM images JOIN studies ON studies.id = study_id
                 WHERE plate IS NOT NULL AND state = 'scored' AND excluded = 0 AND images.id != ?1
                 ORDER BY images.id DESC LIMIT ?2",
            )
            .doing(DOING)?;
        let rows = statement
            .query_map(params![claim.id, limit], |row| Ok((row.get(0)?, row.get(1)?)))
            .doing(DOING)?;
        rows.collect::<rusqlite::Result<_>>().doing(DOING)
    }

    /// Moves the files of rejected images that still lie under `images/`.
    pub(super) fn finish_moves(&self) -> Result<(), StoreError> {
        const DOING: &str = "list rejected images";
        let rejected = {
            let connection = self.connection();
            let mut statement = connection
                .prepare(
                    "SELECT image_id, extension, number, view FROM images JOIN studies ON studies.id = study_id
                     WHERE file = 'rejected'",
                )
                .doing(DOING)?;
            let rows = statement
                .query_map([], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, String>(3)?,
                    ))
                })
                .doing(DOING)?;
            rows.collect::<rusqlite::Result<Vec<_>>>().doing(DOING)?
        };
        for (image_id, extension, number, view) in rejected {
            let source = self.image_file(&image_id);
            if !source.exists() {
                continue;
            }
            let view: ViewResult = serde_json::from_str(&view).map_err(json_error("view"))?;
            if let Some(rejection) = &view.rejected {
                self.move_to_rejected(&image_id, &extension, &number, rejection, &source)?;
            }
        }
        self.bound_rejected()?;
        Ok(())
    }

    /// Images accepted and not yet scored.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn images_waiting(&self) -> Result<u64, StoreError> {
        self.connection()
            .query_row("SELECT count(*) FROM images WHERE state = 'waiting' AND excluded = 0", [], |row| {
                row.get(0)
            })
            .doing("count waiting images")
    }
}
