//! The files of the state directory: durable writes, moves to `rejected/`, and what a crash left behind.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use contract::result::Rejection;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::Serialize;
use sha2::Sha256;

use super::error::Doing;
use super::{Store, StoreError, io_error, random_hex, site_key, sync_dir};

const COPY_CHUNK_LEN: usize = 1 << 18;
/// Of a file too large to be taken, only this much of its start goes into the fingerprint.
const LARGE_FINGERPRINT_LEN: u64 = 1 << 20;

/// What is known of a file at its source before it is read.
#[derive(Clone, Debug)]
pub struct SourceFacts {
    /// Where it lies, relative to its source: part of the fingerprint, stored nowhere.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub modified_ns: i128,
}

/// An image's bytes, synced to a temporary file of the store. Removed unless it is accepted.
#[derive(Debug)]
pub struct Staged {
    pub(super) image_id: String,
    pub(super) size_bytes: u64,
    pub(super) fingerprint: String,
    pub(super) temporary: PathBuf,
}

impl Staged {
    /// The first `length_max_bytes` of its bytes.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn start(&self, length_max_bytes: u64) -> Result<Vec<u8>, StoreError> {
        let mut start = Vec::new();
        File::open(&self.temporary)
            .and_then(|file| file.take(length_max_bytes).read_to_end(&mut start))
            .map_err(io_error("read", &self.temporary))?;
        Ok(start)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After it was accepted the file has another name; a failure leaves it to the next start.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Why bytes could not be staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The source cannot be read.
    #[error("cannot read the image at its source: {0}")]
    Read(io::Error),
    /// The source changed while it was read, so somebody still writes it.
    #[error("the image is still being written")]
    Changed,
    /// There is more of it than may be.
    #[error("the image has more than {size_max_bytes} bytes")]
    TooLarge {
        /// The limit.
        size_max_bytes: u64,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `<image_id>.reason.json`, beside a rejected file.
#[derive(Serialize)]
struct Reason<'a> {
    image_id: &'a str,
    study_number: &'a str,
    #[serde(flatten)]
    rejection: &'a Rejection,
    rejected_at: Timestamp,
}

impl Store {
    /// Copies an image into the store and syncs it; nothing is accepted yet.
    ///
    /// # Errors
    /// When the source cannot be read or is not as long as `facts` says, or the store cannot be written.
    pub fn stage(&self, facts: &SourceFacts, source: &mut dyn Read) -> Result<Staged, StageError> {
        let (mut staged, content) = match self.copy_in(self.fingerprint_of(facts), facts.size_bytes, source) {
            Err(StageError::TooLarge { .. }) => return Err(StageError::Changed),
            copied => copied?,
        };
        if staged.size_bytes != facts.size_bytes {
            return Err(StageError::Changed);
        }
        staged.fingerprint = content;
        crate::transition("accept.written");
        Ok(staged)
    }

    /// Copies at most `size_max_bytes` to a temporary file and syncs it; gives `mac` of what it held before and the
    /// content, in hexadecimal. The fingerprint is left empty.
    pub(super) fn copy_in(
        &self,
        mut mac: Hmac<Sha256>,
        size_max_bytes: u64,
        source: &mut dyn Read,
    ) -> Result<(Staged, String), StageError> {
        let image_id = random_hex::<8>();
        let temporary = self.images_dir().join(format!("{image_id}.tmp"));
        let mut file = File::create(&temporary).map_err(io_error("make", &temporary))?;
        // From here on a failure removes the file again.
        let mut staged = Staged { image_id, size_bytes: 0, fingerprint: String::new(), temporary };
        let mut chunk = vec![0u8; COPY_CHUNK_LEN];
        loop {
            let read = match source.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(StageError::Read(error)),
            };
            staged.size_bytes += read as u64;
            if staged.size_bytes > size_max_bytes {
                return Err(StageError::TooLarge { size_max_bytes });
            }
            mac.update(&chunk[..read]);
            file.write_all(&chunk[..read]).map_err(io_error("write", &staged.temporary))?;
            crate::transition("accept.writing");
        }
        file.sync_all().map_err(io_error("sync", &staged.temporary))?;
        Ok((staged, hex::encode(mac.finalize().into_bytes())))
    }

    /// The fingerprint of a file that is too large to be copied: of its facts and its start.
    pub(super) fn fingerprint_large(
        &self,
        facts: &SourceFacts,
        source: &mut dyn Read,
    ) -> Result<String, StageError> {
        let mut mac = self.fingerprint_of(facts);
        let mut start = Vec::new();
        source.take(LARGE_FINGERPRINT_LEN).read_to_end(&mut start).map_err(StageError::Read)?;
        mac.update(&start);
        Ok(hex::encode(mac.finalize().into_bytes()))
    }

    fn fingerprint_of(&self, facts: &SourceFacts) -> Hmac<Sha256> {
        let mut mac = self.mac();
        mac.update(facts.path.as_bytes());
        mac.update(&[0]);
        mac.update(&facts.size_bytes.to_le_bytes());
        mac.update(&facts.modified_ns.to_le_bytes());
        mac
    }

    /// HMAC-SHA-256 under the site key.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        // A key shorter than the hash's block is padded with zeros: RFC 2104, section 2.
        let mut block = [0u8; 64];
        block[..site_key::LEN].copy_from_slice(&self.inner.site_key);
        Hmac::new(&block.into())
    }

    pub(super) fn images_dir(&self) -> PathBuf {
        self.inner.dir.join("images")
    }

    pub(super) fn rejected_dir(&self) -> PathBuf {
        self.inner.dir.join("rejected")
    }

    pub(super) fn image_file(&self, image_id: &str) -> PathBuf {
        self.images_dir().join(image_id)
    }

    pub(super) fn rejected_file(&self, image_id: &str, extension: &str) -> PathBuf {
        self.rejected_dir().join(format!("{image_id}.{extension}"))
    }

    pub(super) fn reason_file(&self, image_id: &str) -> PathBuf {
        self.rejected_dir().join(format!("{image_id}.reason.json"))
    }

    /// Writes the reason and moves the file beside it. Both may have happened before: a move whose source is
    /// gone is done.
    pub(super) fn move_to_rejected(
        &self,
        image_id: &str,
        extension: &str,
        study_number: &str,
        rejection: &Rejection,
        source: &Path,
    ) -> Result<(), StoreError> {
        let reason = Reason { image_id, study_number, rejection, rejected_at: self.now() };
        let json = serde_json::to_vec_pretty(&reason)
            .map_err(|source| StoreError::Json { what: "rejection", source })?;
        let reason_file = self.reason_file(image_id);
        write_durably(&reason_file, &mut json.as_slice()).map_err(io_error("write", &reason_file))?;
        let target = self.rejected_file(image_id, extension);
        let moved = match fs::rename(source, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => File::open(source)
                .and_then(|mut file| write_durably(&target, &mut file))
                .and_then(|()| fs::remove_file(source)),
            other => other,
        };
        moved
            .and_then(|()| sync_dir(&self.rejected_dir()))
            .map_err(io_error("move a rejected image to", &target))
    }

    /// Removes what a crash left behind: temporary files, images that were never accepted, and rejected images
    /// that were not moved yet.
    pub(super) fn recover_files(&self) -> Result<(), StoreError> {
        for dir in [self.images_dir(), self.rejected_dir()] {
            for entry in fs::read_dir(&dir).map_err(io_error("list", &dir))? {
                let entry = entry.map_err(io_error("list", &dir))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let image_id = name.split('.').next().unwrap_or_default();
                if name.ends_with(".tmp") || !self.knows_image(image_id)? {
                    let path = entry.path();
                    fs::remove_file(&path).map_err(io_error("remove", &path))?;
                }
            }
            sync_dir(&dir).map_err(io_error("sync", &dir))?;
        }
        self.finish_moves()
    }

    fn knows_image(&self, image_id: &str) -> Result<bool, StoreError> {
        self.connection()
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM images WHERE image_id = ?1 AND file != 'dropped')",
                [image_id],
                |row| row.get(0),
            )
            .doing("look for an image")
    }

    /// Free space for an unprivileged process where the state lies, in bytes.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn disk_free_bytes(&self) -> Result<u64, StoreError> {
        let facts = self.file_system()?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    /// Size of the file system where the state lies, in bytes.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn disk_total_bytes(&self) -> Result<u64, StoreError> {
        let facts = self.file_system()?;
        Ok(facts.f_blocks.saturating_mul(facts.f_frsize))
    }

    fn file_system(&self) -> Result<rustix::fs::StatVfs, StoreError> {
        let dir = &self.inner.dir;
        rustix::fs::statvfs(dir).map_err(|errno| io_error("measure the space of", dir)(errno.into()))
    }
}

/// Temporary file, sync, rename, sync of the directory.
pub(crate) fn write_durably(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let written = File::create(&temporary).and_then(|mut file| {
        io::copy(content, &mut file)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}
