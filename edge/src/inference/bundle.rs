//! Loading a bundle directory: every file is read, measured and hashed before anything uses it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use contract::bundle::{BundleManifest, FileFacts, MANIFEST_FILE, MODEL_FILE, ManifestError};
use contract::result::ModelSummary;
use sha2::{Digest, Sha256};

/// Largest manifest that is read.
pub const MANIFEST_MAX_BYTES: u64 = 1 << 20;
/// Far above any DenseNet169 (56 MB dense in f32), far below what would exhaust a station.
const FILE_MAX_BYTES: u64 = 256 << 20;

/// A verified bundle with its files in memory. Drop it once the [`super::Model`] is loaded.
pub struct Bundle {
    /// The manifest.
    pub manifest: BundleManifest,
    /// The manifest as it lies there: what is signed.
    pub manifest_json: Vec<u8>,
    /// SHA-256 of the manifest's bytes: the bundle's identity.
    pub manifest_sha256: String,
    files: BTreeMap<String, Vec<u8>>,
}

/// Why a bundle directory is not usable.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file could not be read.
    #[error(
        "cannot read {path}: {source}; install the bundle again, or copy a whole one there if bundle_dir names it"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is not usable.
    #[error("the bundle {dir} is not usable: {source}")]
    Manifest {
        /// The bundle directory.
        dir: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// A file is not the one the manifest lists.
    #[error(
        "{path} is damaged: its {what} is {found}, but {MANIFEST_FILE} says {expected}; install or copy the bundle again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// `size` or `SHA-256`.
        what: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl Bundle {
    /// Reads a bundle directory and verifies the size and hash of every file.
    ///
    /// # Errors
    /// When a file is missing or unreadable, the manifest is not usable, or a file differs from it.
    pub fn load(dir: &Path) -> Result<Self, BundleError> {
        let manifest_json = read_limited(&dir.join(MANIFEST_FILE), MANIFEST_MAX_BYTES)?;
        let manifest = BundleManifest::parse(&manifest_json)
            .map_err(|source| BundleError::Manifest { dir: dir.to_owned(), source })?;

        let mut files = BTreeMap::new();
        for (name, facts) in &manifest.files {
            files.insert(name.clone(), read_file(&dir.join(name), facts)?);
        }
        let manifest_sha256 = identity(&manifest_json);
        Ok(Self { manifest, manifest_json, manifest_sha256, files })
    }

    /// The model as results name it.
    pub fn summary(&self) -> ModelSummary {
        ModelSummary::new(&self.manifest, self.manifest_sha256.clone())
    }

    pub(super) fn onnx(&self) -> &[u8] {
        self.file(MODEL_FILE)
    }

    /// A listed file's bytes. `BundleManifest::parse` made sure that the model and the golden images are listed.
    pub(crate) fn file(&self, name: &str) -> &[u8] {
        self.files.get(name).map_or(&[], Vec::as_slice)
    }
}

/// A bundle's identity: the SHA-256 of its manifest's bytes.
pub fn identity(manifest_json: &[u8]) -> String {
    hex::encode(Sha256::digest(manifest_json))
}

/// Reads a file that a manifest lists.
///
/// # Errors
/// When it cannot be read, or its size or its hash is another.
pub fn read_file(path: &Path, facts: &FileFacts) -> Result<Vec<u8>, BundleError> {
    let bytes = read_limited(path, FILE_MAX_BYTES)?;
    let damaged = |what, found: String, expected: String| {
        Err(BundleError::Damaged { path: path.to_owned(), what, found, expected })
    };
    if bytes.len() as u64 != facts.size_bytes {
        let (found, expected) = (bytes.len(), facts.size_bytes);
        return damaged("size", format!("{found} bytes"), format!("{expected} bytes"));
    }
    let found = hex::encode(Sha256::digest(&bytes));
    if !found.eq_ignore_ascii_case(&facts.sha256) {
        return damaged("SHA-256", found, facts.sha256.clone());
    }
    Ok(bytes)
}

fn read_limited(path: &Path, max_bytes: u64) -> Result<Vec<u8>, BundleError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            return Err(io::Error::other(format!("it is larger than {} MiB", max_bytes >> 20)));
        }
        Ok(bytes)
    };
    read().map_err(|source| BundleError::Read { path: path.to_owned(), source })
}
