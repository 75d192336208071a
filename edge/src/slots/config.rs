//! `[model]` of the station's configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::within;
use crate::inference::{Execution, Precision};

/// `[model]`: what an installed bundle must do, and whom its server must be vouched for by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// How long one view may take on this machine, in milliseconds.
    pub view_max_ms: u64,
    /// What the network's products are computed with: f16 on processors that have it (`asimdhp`); others stay with f32.
    pub precision: Precision,
    /// Authorities of servers that bundles are fetched from.
    pub ca_file: PathBuf,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            view_max_ms: 10_000,
            precision: Precision::default(),
            ca_file: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
        }
    }
}

impl ModelConfig {
    /// How the station runs its model.
    pub fn execution(&self) -> Execution {
        Execution::Dense(self.precision)
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong and why.
    pub fn check(&self) -> Result<(), String> {
        within("model.view_max_ms", self.view_max_ms, 1, 600_000)
    }
}
