//! Results in a folder that can be carried: one file each, and a manifest with their hashes.
//!
//! ```text
//! ulna-<station>-<outbox_id>-<20261123T081500Z>/
//!     manifest.json         format, station, outbox, when, and each file's name, seq, size and SHA-256
//!     result-00000001.json  a StudyResult as the broker would get it
//! ```
//!
//! All of it is written under a name that begins with a dot, synced, dropped from the cache, read back and compared,
//! and only then renamed: a folder with the final name is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use contract::result::StudyResult;
use jiff::Timestamp;
use rustix::fs::Advice;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MANIFEST_FILE: &str = "manifest.json";

/// The manifest.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Of this file: 1.
    format: u32,
    station: String,
    outbox_id: String,
    exported_at: Timestamp,
    edge_version: String,
    results: Vec<ManifestEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestEntry {
    file: String,
    seq: u64,
    size_bytes: u64,
    sha256: String,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The folder.
    pub dir: PathBuf,
    /// Places in the sequence, in order.
    pub seqs: Vec<u64>,
    /// Of the manifest, in hexadecimal.
    pub manifest_sha256: String,
}

/// Why a folder could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    /// The stick does not do something.
    #[error("cannot {doing} {path}: {source}; check that the stick is there, may be written and has room")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The stick does not keep what it is given.
    #[error("{0} reads back otherwise than it was written: the stick is damaged, take another")]
    Damaged(PathBuf),
    /// The outbox holds something else than results.
    #[error("a line of the outbox is not a result that was numbered: {0}; report it")]
    Line(String),
}

/// A folder that goes again unless it is finished.
struct Draft {
    dir: PathBuf,
    finished: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed says by its name that it is not whole.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Writes what `lines` gives to a new folder in `to`; nothing and `None` when it gives nothing.
///
/// # Errors
/// When the folder cannot be written or reads back otherwise, or `lines` fails; no folder is then left.
pub fn write<E: From<StickError>>(
    to: &Path,
    station: &str,
    at: Timestamp,
    lines: impl FnOnce(&mut dyn FnMut(&str) -> Result<(), E>) -> Result<(), E>,
) -> Result<Option<Written>, E> {
    let mut draft: Option<Draft> = None;
    let mut entries = Vec::new();
    let mut outbox = String::new();
    lines(&mut |line| {
        let result: StudyResult =
            serde_json::from_str(line).map_err(|error| StickError::Line(error.to_string()))?;
        let delivery = result.delivery.ok_or_else(|| StickError::Line("it has no seq".to_owned()))?;
        let draft = match &mut draft {
            Some(draft) => draft,
            empty => {
                let dir = to.join(format!(".ulna-{station}-{}.tmp", at.as_millisecond()));
                fs::create_dir(&dir).map_err(failed("make the folder", &dir))?;
                empty.insert(Draft { dir, finished: false })
            }
        };
        outbox = delivery.outbox_id;
        let file = format!("result-{:08}.json", delivery.seq);
        let bytes = format!("{line}\n").into_bytes();
        let sha256 = write_file(&draft.dir.join(&file), &bytes)?;
        entries.push(ManifestEntry { file, seq: delivery.seq, size_bytes: bytes.len() as u64, sha256 });
        Ok(())
    })?;
    let Some(mut draft) = draft else { return Ok(None) };

    let seqs = entries.iter().map(|entry| entry.seq).collect();
    let manifest = Manifest {
        format: 1,
        station: station.to_owned(),
        outbox_id: outbox,
        exported_at: at,
        edge_version: env!("CARGO_PKG_VERSION").to_owned(),
        results: entries,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| StickError::Line(error.to_string()))?;
    let manifest_sha256 = write_file(&draft.dir.join(MANIFEST_FILE), &text)?;
    sync_dir(&draft.dir)?;
    for entry in &manifest.results {
        compare(&draft.dir.join(&entry.file), &entry.sha256)?;
    }
    compare(&draft.dir.join(MANIFEST_FILE), &manifest_sha256)?;

    let name = format!("ulna-{station}-{}-{}", manifest.outbox_id, at.strftime("%Y%m%dT%H%M%SZ"));
    let dir = rename(&draft.dir, to, &name)?;
    draft.finished = true;
    sync_dir(to)?;
    Ok(Some(Written { dir, seqs, manifest_sha256 }))
}

/// Writes and syncs a file; gives the SHA-256 of what was to be written.
fn write_file(path: &Path, bytes: &[u8]) -> Result<String, StickError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(failed("write", path))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

/// Reads a file back, from the stick and not from memory where the system can do that.
fn compare(path: &Path, sha256: &str) -> Result<(), StickError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        fs::read(path)
    };
    let bytes = read().map_err(failed("read back", path))?;
    if hex::encode(Sha256::digest(&bytes)) != sha256 {
        return Err(StickError::Damaged(path.to_owned()));
    }
    Ok(())
}

/// An export of the same second gets a number of its own.
fn rename(from: &Path, to: &Path, name: &str) -> Result<PathBuf, StickError> {
    let dir = (1..100)
        .map(|number| to.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") }))
        .find(|dir| !dir.exists())
        .unwrap_or_else(|| to.join(name));
    fs::rename(from, &dir).map_err(failed("rename to its final name", &dir))?;
    Ok(dir)
}

/// Some file systems of sticks cannot sync a folder; the files themselves are synced all the same.
fn sync_dir(dir: &Path) -> Result<(), StickError> {
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(failed("sync", dir)(error)),
        _ => Ok(()),
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StickError + 'a {
    move |source| StickError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        let study = serde_json::json!({"key": null, "key_id": null, "number": "WRI-0001", "type": null, "revision": 1,
            "opened_at": null, "closed_at": null, "probability": 0.30000000000000004});
        let mut result = crate::store::test_result(serde_json::from_value(study).unwrap(), Vec::new());
        result.delivery = Some(contract::result::Delivery {
            station: "clinic-12".into(),
            outbox_id: "abc".into(),
            seq,
            oldest_unsent_seq: 1,
        });
        serde_json::to_string(&result).unwrap()
    }

    fn export(to: &Path, seqs: &[u64]) -> Result<Option<Written>, StickError> {
        write(to, "clinic-12", "2026-11-23T08:15:00Z".parse().unwrap(), |each| {
            seqs.iter().try_for_each(|seq| each(&line(*seq)))
        })
    }

    #[test]
    fn a_folder_is_whole_and_its_manifest_true() {
        let dir = tempfile::tempdir().unwrap();
        let written = export(dir.path(), &[3, 4]).unwrap().unwrap();
        assert_eq!(written.seqs, [3, 4]);
        assert_eq!(written.dir, dir.path().join("ulna-clinic-12-abc-20261123T081500Z"));
        let text = fs::read(written.dir.join(MANIFEST_FILE)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&text)), written.manifest_sha256);
        let manifest: Manifest = serde_json::from_slice(&text).unwrap();
        assert_eq!((manifest.format, manifest.station.as_str(), manifest.results.len()), (1, "clinic-12", 2));
        for (entry, seq) in manifest.results.iter().zip([3, 4]) {
            let bytes = fs::read(written.dir.join(&entry.file)).unwrap();
            assert_eq!(hex::encode(Sha256::digest(&bytes)), entry.sha256);
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("{}\n", line(seq)));
        }
        // Another of the same second stands beside it.
        let again = export(dir.path(), &[5]).unwrap().unwrap();
        assert!(again.dir.ends_with("ulna-clinic-12-abc-20261123T081500Z-2"), "{:?}", again.dir);
    }

    #[test]
    fn nothing_to_export_makes_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(export(dir.path(), &[]).unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_finished_goes_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = Timestamp::UNIX_EPOCH;
        let failure = write(dir.path(), "clinic-12", at, |each| {
            each(&line(1))?;
            each("{}")
        });
        assert!(matches!(failure, Err(StickError::Line(_))), "{failure:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let missing = export(&dir.path().join("none"), &[1]).unwrap_err();
        assert!(missing.to_string().contains("check that the stick"), "{missing}");
    }

    #[test]
    fn a_file_that_reads_back_otherwise_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        let sha256 = write_file(&path, b"whole").unwrap();
        assert!(compare(&path, &sha256).is_ok());
        fs::write(&path, "spoilt").unwrap();
        assert!(matches!(compare(&path, &sha256), Err(StickError::Damaged(_))));
    }
}
