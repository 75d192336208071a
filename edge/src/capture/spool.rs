//! The watched folder.

use std::path::PathBuf;

use contract::study::StudyType;
use serde::Deserialize;

use crate::config::within;

/// `[spool]`: a folder that is watched for images.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// The folder.
    pub dir: PathBuf,
    /// Longest time between two scans, in milliseconds.
    #[serde(default = "default_rescan_ms")]
    pub rescan_ms: u64,
    /// How long a file must have kept its size and time before it is taken, in milliseconds.
    #[serde(default = "default_settle_ms")]
    pub settle_ms: u64,
    /// The type of a study whose files say nothing of it.
    #[serde(default)]
    pub default_study_type: Option<StudyType>,
}

fn default_rescan_ms() -> u64 {
    1000
}

fn default_settle_ms() -> u64 {
    500
}

impl SpoolConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do. The folder is not opened.
    pub fn check(&self) -> Result<(), String> {
        within("spool.rescan_ms", self.rescan_ms, 50, 600_000)?;
        within("spool.settle_ms", self.settle_ms, 0, 600_000)
    }
}
