//! What the end-to-end tests stand on: the real binaries, a real mosquitto, real files.

pub mod authority;
pub mod bin;
pub mod broker;
pub mod browser;
pub mod collector;
pub mod dcmtk;
pub mod http;
pub mod infer;
pub mod made;
pub mod made_bundle;
pub mod minisign;
pub mod mosquitto;
pub mod nginx;
pub mod port;
pub mod proxy;
pub mod release;
pub mod scripted;
pub mod simulated;
pub mod station;
pub mod wait;
pub mod webdriver;
pub mod websocket;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The bundle in the repository.
pub fn demo_bundle() -> PathBuf {
    std::env::var_os("ULNA_TEST_BUNDLE").map_or_else(|| repository().join("edge/demo/bundle"), PathBuf::from)
}

/// The phantom studies in the repository: `(TYPE, study, files)`, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn demo_studies() -> anyhow::Result<Vec<(String, String, Vec<PathBuf>)>> {
    let mut studies = Vec::new();
    for study_type in sorted_entries(&repository().join("edge/demo/studies"))? {
        for study in sorted_entries(&study_type)? {
            studies.push((name(&study_type), name(&study), sorted_entries(&study)?));
        }
    }
    anyhow::ensure!(
        studies.len() >= 8,
        "edge/demo/studies holds {} studies; run make demo-bundle",
        studies.len()
    );
    Ok(studies)
}

/// A folder's entries by name.
///
/// # Errors
/// When it cannot be read.
pub fn sorted_entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    use anyhow::Context;
    let read =
        || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect() };
    let mut entries = read().with_context(|| format!("cannot list {}", dir.display()))?;
    entries.sort();
    Ok(entries)
}

/// A path's last part.
pub fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Real radiographs beside the repository, where they exist. A test that finds none says so.
pub fn real_radiographs() -> Option<PathBuf> {
    let dir = repository().parent()?.join("shared/data/radiographs");
    if dir.is_dir() {
        return Some(dir);
    }
    println!("SKIPPED: there are no real radiographs in {}", dir.display());
    None
}
