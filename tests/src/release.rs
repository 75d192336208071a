//! Bundles as a centre releases them: small, with a version, signed.

use std::fs;
use std::path::Path;

use contract::bundle::{BundleManifest, MANIFEST_FILE, SIGNATURE_FILE};
use contract::preprocess::Aspect;

use crate::demo_bundle;
use crate::made_bundle::{facts, sha256, write_mean};
use crate::minisign::Signer;

/// The file that gives a bundle weight.
pub const BALLAST: &str = "ballast.bin";

/// Writes a bundle of a version to a folder, signs it, and gives the SHA-256 of its manifest. It carries as much ballast
/// as it is told.
///
/// # Errors
/// When a file cannot be written or signed.
pub fn write(dir: &Path, version: u32, ballast_bytes: usize, signer: &Signer) -> anyhow::Result<String> {
    write_mean(dir, &demo_bundle(), Aspect::Squash)?;
    // Different in each version, so that nothing of one passes for another's.
    let ballast: Vec<u8> =
        (0..ballast_bytes).map(|at| (at as u32 / 251).wrapping_mul(version) as u8).collect();
    fs::write(dir.join(BALLAST), &ballast)?;
    change(dir, Some(signer), |manifest| {
        manifest.version = version;
        manifest.files.insert(BALLAST.to_owned(), facts(&ballast));
    })
}

/// Changes a bundle's manifest and signs it again, or takes its signature away; gives the manifest's SHA-256.
///
/// # Errors
/// When a file cannot be read, written or signed.
pub fn change(
    dir: &Path,
    signer: Option<&Signer>,
    change: impl FnOnce(&mut BundleManifest),
) -> anyhow::Result<String> {
    let path = dir.join(MANIFEST_FILE);
    let mut manifest = BundleManifest::parse(&fs::read(&path)?)?;
    change(&mut manifest);
    let json = serde_json::to_vec_pretty(&manifest)?;
    fs::write(&path, &json)?;
    match signer {
        Some(signer) => fs::write(dir.join(SIGNATURE_FILE), signer.sign(&json)?)?,
        None => fs::remove_file(dir.join(SIGNATURE_FILE))?,
    }
    Ok(sha256(&json))
}
