//! What can go wrong with the state directory.

use std::io;
use std::path::PathBuf;

/// Why the store could not do something. Nothing it was asked to do has then happened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("the store cannot {doing}: {source}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A file of the state directory could not be written, read or moved.
    #[error("cannot {doing} {path}: {source}; check the space and the permissions of the state directory")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the state directory.
    #[error(
        "the state directory {0} is in use by another `edge run`; stop that one first or name another state_dir"
    )]
    InUse(PathBuf),
    /// A newer version wrote the file.
    #[error(
        "the store {path} was written by a newer version (format {found}, this one knows {known}); install that version again"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: usize,
        /// The newest known.
        known: usize,
    },
    /// A file that should be whole is not.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A payload or a view could not be written or read as JSON.
    #[error("the store holds a {what} that is not JSON of this version: {source}")]
    Json {
        /// Of what kind.
        what: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// Whether there was no space left.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Sql { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// Says what was being done when SQLite failed.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for rusqlite::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Sql { doing, source })
    }
}
