//! The state directory: the pipeline itself, and the only place that speaks SQL.
//!
//! ```text
//! lock                        held by the one process that uses the directory
//! site.key                    32 random bytes, mode 0600, made at the first start; `study.key` is an HMAC under it.
//!                             The unit's credential ulna.site-key takes its place
//! ulna.sqlite                 studies, images, outbox, commands, audit (WAL, synchronous=FULL: a commit is on the disk)
//! images/<image_id>           an accepted image; images/<image_id>.tmp while it is being written
//! rejected/<image_id>.<ext>   an image that could not be used, with <image_id>.reason.json beside it
//! ```
//!
//! The life of an image: its bytes are written to a temporary file, synced, renamed to `images/<image_id>`, the
//! directory synced, and its row committed; only then is it *accepted* and its source removed. A worker scores
//! it (`waiting` to `scored`) or rejects it (`waiting` to `rejected`, the file moves to `rejected/`). The life
//! of a study: open from its first image until it is closed; closing writes its result, `seq`, outbox row and
//! new state in one transaction; a late image opens it again, and the next closing writes the next revision.
//!
//! At the start a file without a row is removed, and a rejected image's file that was not moved yet is moved. Limits:
//! rejected files beyond `rejected_max_mib`, and images of acknowledged studies beyond `images_max_mib`, go,
//! oldest first; results that were not acknowledged never do. A place in the sequence whose result does not come gets a
//! tombstone that says why.

mod commands;
mod daily;
mod desk;
mod error;
mod files;
mod images;
mod inspect;
mod instances;
mod limits;
mod outbox;
mod page;
mod resend;
mod schema;
mod site_key;
mod studies;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rand::Rng;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Deserialize;

pub use commands::{AckKey, Effect, NewCommand, PendingCommand, StoredAck, Taken};
pub use desk::{ByHand, DeskError, Refused};
pub use error::StoreError;
pub(crate) use files::write_durably;
pub use files::{SourceFacts, StageError, Staged};
pub use images::{Accepted, Claim, NewImage, Origin};
pub use inspect::{AuditFacts, Inspection, OutboxFacts, StatePaths, state_paths};
pub use instances::{InstanceError, InstanceName};
pub use outbox::{Lane, OutboxEntry, OutboxRow, RowKind};
pub use page::{ImageRow, ImageState, StudyFilter, StudyRow};
pub use studies::{Closed, Grouping, OpenStudy, StudyId};

use crate::clock::{WallClock, timestamp};
use crate::config::within;
use error::Doing;

const DATABASE_FILE: &str = "ulna.sqlite";
const LOCK_FILE: &str = "lock";
/// Rows of the audit table; the oldest go beyond it.
const AUDIT_ROWS_MAX: i64 = 100_000;

/// `[limits]`: how much space the station may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Rejected files, in MiB; beyond it the oldest go.
    pub rejected_max_mib: u64,
    /// Images, in MiB; beyond it those of acknowledged studies go, oldest first.
    pub images_max_mib: u64,
    /// Free space in MiB below which no image is accepted.
    pub disk_free_min_mib: u64,
    /// Days after which the images of an acknowledged study go.
    pub image_retention_days: u32,
    /// Days after which what could name a patient goes: file names, references, folder names, initials.
    pub identifier_retention_days: u32,
    /// Days after which an acknowledged study is forgotten altogether.
    pub retention_days: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            rejected_max_mib: 256,
            images_max_mib: 2048,
            disk_free_min_mib: 200,
            image_retention_days: 30,
            identifier_retention_days: 30,
            retention_days: 90,
        }
    }
}

impl LimitsConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong and what it may be.
    pub fn check(&self) -> Result<(), String> {
        const TIB_IN_MIB: u64 = 1 << 20;
        within("limits.rejected_max_mib", self.rejected_max_mib, 0, TIB_IN_MIB)?;
        within("limits.images_max_mib", self.images_max_mib, 1, TIB_IN_MIB)?;
        within("limits.disk_free_min_mib", self.disk_free_min_mib, 0, TIB_IN_MIB)?;
        let days = [
            ("limits.image_retention_days", self.image_retention_days),
            ("limits.identifier_retention_days", self.identifier_retention_days),
            ("limits.retention_days", self.retention_days),
        ];
        days.into_iter().try_for_each(|(key, days)| within(key, u64::from(days), 1, 36_500))
    }
}

/// The store. Clones share one connection; calls are short and serialised.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Mutex<Connection>,
    dir: PathBuf,
    outbox_id: String,
    site_key: [u8; site_key::LEN],
    clock: WallClock,
    limits: LimitsConfig,
    /// Rows of images that a worker of this process works on.
    claimed: Mutex<BTreeSet<i64>>,
    /// Counts what was committed, so that whoever shows the store knows when to look again.
    changes: AtomicU64,
    // Its lock ends with the process, however that ends.
    _lock: File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a state directory, making what is missing; a new one is its user's alone, since it holds patients' images.
    ///
    /// # Errors
    /// When another process uses it, a newer version wrote it, it is damaged, or a file cannot be made.
    pub fn open(dir: &Path, limits: LimitsConfig) -> Result<Self, StoreError> {
        for sub in [dir.to_owned(), dir.join("images"), dir.join("rejected")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&sub);
            made.map_err(io_error("make the directory", &sub))?;
        }
        let lock = take_lock(dir)?;
        let site_key = site_key::load(dir)?;

        let path = dir.join(DATABASE_FILE);
        let mut connection = Connection::open(&path).doing("open its database")?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA busy_timeout = 5000; PRAGMA journal_size_limit = 16777216;",
            )
            .doing("set up its database")?;
        if let Err(found) = schema::migrate(&mut connection).doing("set up its tables")? {
            return Err(StoreError::Newer { path, found, known: schema::VERSION });
        }
        let outbox_id = match meta(&connection, "outbox_id").doing("read its identity")? {
            Some(id) => id,
            None => {
                let id = random_hex::<8>();
                set_meta(&connection, "outbox_id", &id).doing("write its identity")?;
                id
            }
        };
        let wall_ms = meta(&connection, "wall_ms").doing("read its clock")?;
        let clock = WallClock::new(wall_ms.and_then(|text| text.parse().ok()).unwrap_or(0));
        let inner = Inner {
            connection: Mutex::new(connection),
            dir: dir.to_owned(),
            outbox_id,
            site_key,
            clock,
            limits,
            claimed: Mutex::default(),
            changes: AtomicU64::new(0),
            _lock: lock,
        };
        let store = Self { inner: Arc::new(inner) };
        store.recover_files()?;
        Ok(store)
    }

    /// Wall time: never before what the store has already recorded.
    pub fn now(&self) -> Timestamp {
        timestamp(self.now_ms())
    }

    fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }

    /// A panic while the lock was held has rolled its transaction back, so the connection is still good.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one write transaction. It takes the write lock at once, so it cannot fail half-way for want of it;
    /// the wall clock is persisted with it.
    fn write<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.write_unless(doing, |tx| work(tx).map(Ok))
    }

    /// [`Self::write`] for work that may find a reason against itself: then nothing is changed.
    fn write_unless<T, E: From<StoreError>>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<T, E>>,
    ) -> Result<T, E> {
        let mut connection = self.connection();
        let tx = Transaction::new(&mut connection, TransactionBehavior::Immediate).doing(doing)?;
        // Dropped without a commit, the transaction is rolled back.
        let value = work(&tx).doing(doing)??;
        set_meta(&tx, "wall_ms", &self.now_ms().to_string()).doing(doing)?;
        tx.commit().doing(doing)?;
        self.changed();
        Ok(value)
    }

    fn changed(&self) {
        self.inner.changes.fetch_add(1, Ordering::Release);
    }

    /// Another number than before when something was committed since.
    pub fn changes(&self) -> u64 {
        self.inner.changes.load(Ordering::Acquire)
    }
}

fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn set_meta(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
        [key, value],
    )?;
    Ok(())
}

/// What happened, for whoever asks later. Holds no file name and no patient.
fn audit(
    tx: &Connection,
    at_ms: i64,
    event: &str,
    study_id: Option<i64>,
    image_id: Option<&str>,
    detail: Option<&str>,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO audit (at_ms, event, study_id, image_id, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![at_ms, event, study_id, image_id, detail])?;
    let newest = tx.last_insert_rowid();
    tx.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([newest - AUDIT_ROWS_MAX])?;
    Ok(())
}

fn random_hex<const LEN: usize>() -> String {
    let mut bytes = [0u8; LEN];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(dir.to_owned())),
        Err(errno) => Err(io_error("lock", &path)(errno.into())),
    }
}

/// Makes renames and removals in a directory last.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// An error of the state directory's files.
pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}

fn json_error(what: &'static str) -> impl FnOnce(serde_json::Error) -> StoreError {
    move |source| StoreError::Json { what, source }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::result as test_result;
