//! Space: what may go, and in which order. What was not acknowledged never does.

use std::fs;
use std::io;

use contract::result::DropReason;
use rusqlite::params;

use super::error::Doing;
use super::resend::drop_rows;
use super::{Store, StoreError, io_error};

const DAY_MS: i64 = 86_400_000;

/// A file that may go.
pub(super) struct Candidate {
    id: i64,
    image_id: String,
    extension: String,
    size_bytes: u64,
}

impl Store {
    /// Moves what could not be moved before, makes room, and forgets old studies. Says how many images
    /// went.
    ///
    /// # Errors
    /// When SQLite fails or a file cannot be moved or removed.
    pub fn upkeep(&self) -> Result<usize, StoreError> {
        self.finish_moves()?;
        Ok(self.bound_images()? + self.forget_old()?)
    }

    /// Acknowledged studies, step by step with their age: their images go, then what could name a patient, then the
    /// rows.
    fn forget_old(&self) -> Result<usize, StoreError> {
        // An older revision may still be in the outbox, set aside: the newer one has arrived in its place.
        const OLD: &str = "open = 0 AND acked_revision = revision
                           AND NOT EXISTS (SELECT 1 FROM outbox WHERE study_id = studies.id AND dead = 0)
                           AND studies.closed_at_ms < ";
        let limits = &self.inner.limits;
        let now_ms = self.now_ms();
        let before = |days: u32| now_ms - i64::from(days) * DAY_MS;
        let (images_ms, names_ms, all_ms) = (
            before(limits.image_retention_days.min(limits.retention_days)),
            before(limits.identifier_retention_days),
            before(limits.retention_days),
        );
        let images = self.candidates(&format!(
            "SELECT images.id, image_id, extension, size_bytes FROM images JOIN studies ON studies.id = study_id
             WHERE file != 'dropped' AND {OLD} {images_ms}"
        ))?;
        let dropped = self.drop_oldest(images, u64::MAX)?;
        self.write("forget old studies", |tx| {
            let named = format!("anonymous = 0 AND {OLD} ?1");
            tx.execute(
                &format!(
                    "UPDATE images SET source_name = '', overruled_by = NULL
                     WHERE study_id IN (SELECT id FROM studies WHERE {named})"
                ),
                [names_ms],
            )?;
            // The key was made from the reference and stays; both must stay unique.
            tx.execute(
                &format!(
                    "UPDATE studies SET anonymous = 1, local_reference = NULL, origin = 'forgotten/' || id,
                                        reference = 'forgotten/' || id
                     WHERE {named}"
                ),
                [names_ms],
            )?;
            let old = format!("(SELECT id FROM studies WHERE {OLD} ?1)");
            drop_rows(tx, now_ms, DropReason::Superseded, &format!("study_id IN {old}"), all_ms)?;
            tx.execute(&format!("DELETE FROM images WHERE study_id IN {old}"), [all_ms])?;
            tx.execute(&format!("DELETE FROM studies WHERE id IN {old}"), [all_ms])?;
            tx.execute("DELETE FROM audit WHERE at_ms < ?1", [all_ms])
        })?;
        Ok(dropped)
    }

    /// Removes images of acknowledged studies, oldest first, until all images together fit `images_max_mib`.
    pub(super) fn bound_images(&self) -> Result<usize, StoreError> {
        let kept_bytes = self.bytes_in("images")?;
        let over_bytes = kept_bytes.saturating_sub(self.inner.limits.images_max_mib << 20);
        if over_bytes == 0 {
            return Ok(0);
        }
        let candidates = self.candidates(
            "SELECT images.id, image_id, extension, size_bytes FROM images JOIN studies ON studies.id = study_id
             WHERE file = 'images' AND state != 'waiting' AND open = 0 AND acked_revision = revision
             ORDER BY images.id",
        )?;
        self.drop_oldest(candidates, over_bytes)
    }

    /// Removes rejected files, oldest first, until they fit `rejected_max_mib`.
    pub(super) fn bound_rejected(&self) -> Result<usize, StoreError> {
        let over_bytes = self.bytes_in("rejected")?.saturating_sub(self.inner.limits.rejected_max_mib << 20);
        if over_bytes == 0 {
            return Ok(0);
        }
        let candidates = self.candidates(
            "SELECT id, image_id, extension, size_bytes FROM images WHERE file = 'rejected' ORDER BY id",
        )?;
        self.drop_oldest(candidates, over_bytes)
    }

    fn bytes_in(&self, place: &str) -> Result<u64, StoreError> {
        self.connection()
            .query_row("SELECT coalesce(sum(size_bytes), 0) FROM images WHERE file = ?1", [place], |row| {
                row.get(0)
            })
            .doing("measure the images")
    }

    pub(super) fn candidates(&self, sql: &str) -> Result<Vec<Candidate>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql).doing("list images")?;
        let rows = statement
            .query_map([], |row| {
                Ok(Candidate {
                    id: row.get(0)?,
                    image_id: row.get(1)?,
                    extension: row.get(2)?,
                    size_bytes: row.get(3)?,
                })
            })
            .doing("list images")?;
        rows.collect::<rusqlite::Result<_>>().doing("list images")
    }

    /// The files first, then the row: a crash between the two leaves a row that the next round drops.
    pub(super) fn drop_oldest(
        &self,
        candidates: Vec<Candidate>,
        over_bytes: u64,
    ) -> Result<usize, StoreError> {
        let mut freed_bytes = 0;
        let mut dropped = 0;
        for candidate in candidates {
            if freed_bytes >= over_bytes {
                break;
            }
            let Candidate { id, image_id, extension, size_bytes } = candidate;
            let files = [
                self.image_file(&image_id),
                self.rejected_file(&image_id, &extension),
                self.reason_file(&image_id),
            ];
            for file in files {
                match fs::remove_file(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(io_error("remove", &file)(error));
                    }
                    _ => {}
                }
            }
            self.write("drop an image", |tx| {
                tx.execute("UPDATE images SET file = 'dropped' WHERE id = ?1", params![id])
            })?;
            freed_bytes += size_bytes;
            dropped += 1;
        }
        Ok(dropped)
    }
}
