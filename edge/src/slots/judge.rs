//! Whether a bundle may be used on this station, by what its manifest says and who signed it. Pure.

use contract::bundle::{BundleManifest, Purpose};

use super::error::Refusal;
use crate::config::Config;
use crate::trust::{self, TrustedKey};

/// This program's version.
const EDGE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What this station asks of a bundle.
#[derive(Clone, Debug)]
pub struct Rules {
    keys: Vec<TrustedKey>,
    allow_demo_model: bool,
}

impl Rules {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self { keys: config.trust.bundle_keys.clone(), allow_demo_model: config.allow_demo_model }
    }

    /// The id of the key that signed a manifest, whose signature is a `.minisig` file's content.
    ///
    /// # Errors
    /// When there is no signature, or none that counts.
    pub fn signer(&self, manifest: &[u8], signature: Option<&str>) -> Result<String, Refusal> {
        if self.keys.is_empty() {
            return Err(Refusal::NoKeys);
        }
        let signature = signature.ok_or(Refusal::Unsigned)?;
        let key = trust::verify(&self.keys, manifest, signature).map_err(Refusal::Signature)?;
        Ok(key.id().to_owned())
    }

    /// Whether the station runs what a manifest describes.
    ///
    /// # Errors
    /// When it does not.
    pub fn allow(&self, manifest: &BundleManifest) -> Result<(), Refusal> {
        if !manifest.suits(EDGE_VERSION) {
            let needed = manifest.edge_version_min.clone().unwrap_or_default();
            return Err(Refusal::Edge { needed, own: EDGE_VERSION });
        }
        if manifest.purpose == Purpose::Demo && !self.allow_demo_model {
            return Err(Refusal::Demo);
        }
        Ok(())
    }
}

/// Versions only rise: an older bundle that somebody kept, signature and all, must not come back.
pub(super) fn newer(found: u32, newest: u32) -> Result<(), Refusal> {
    if found > newest { Ok(()) } else { Err(Refusal::Older { found, newest }) }
}
