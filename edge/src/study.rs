//! When a study is closed.

use serde::Deserialize;

use crate::config::within;

/// `[study]`: when a study is taken to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudyConfig {
    /// Seconds without a new image after which a study is closed.
    pub idle_close_s: u64,
    /// Most views of one study; it is closed when it has them, and a further image reopens it.
    pub views_max: u32,
}

impl Default for StudyConfig {
    fn default() -> Self {
        Self { idle_close_s: 20, views_max: 32 }
    }
}

impl StudyConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong and what it may be.
    pub fn check(&self) -> Result<(), String> {
        within("study.idle_close_s", self.idle_close_s, 1, 86_400)?;
        within("study.views_max", u64::from(self.views_max), 1, 1000)
    }
}
