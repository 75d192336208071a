//! Space: what may go, and in which order. What was not acknowledged never does.

use std::fs;
use std::io;

use rusqlite::params;

use super::error::Doing;
use super::{Store, StoreError, io_error};

const DAY_MS: i64 = 86_400_000;

/// A file that may go.
struct Candidate {
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

    /// Removes what is known of acknowledged studies closed more than `retention_days` ago: files, then rows.
    fn forget_old(&self) -> Result<usize, StoreError> {
        const OLD: &str = "open = 0 AND acked_revision = revision AND closed_at_ms < ";
        let before_ms = self.now_ms() - i64::from(self.inner.limits.retention_days) * DAY_MS;
        let images = self.candidates(&format!(
            "SELECT images.id, image_id, extension, size_bytes FROM images JOIN studies ON studies.id = study_id
             WHERE file != 'dropped' AND {OLD} {before_ms}"
        ))?;
        let dropped = self.drop_oldest(images, u64::MAX)?;
        self.write("forget old studies", |tx| {
            let old = format!("(SELECT id FROM studies WHERE {OLD} ?1)");
            tx.execute(&format!("DELETE FROM images WHERE study_id IN {old}"), [before_ms])?;
            tx.execute(&format!("DELETE FROM studies WHERE id IN {old}"), [before_ms])?;
            tx.execute("DELETE FROM audit WHERE at_ms < ?1", [before_ms])
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

    fn candidates(&self, sql: &str) -> Result<Vec<Candidate>, StoreError> {
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
    fn drop_oldest(&self, candidates: Vec<Candidate>, over_bytes: u64) -> Result<usize, StoreError> {
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
