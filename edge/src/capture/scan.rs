//! One look at everything in a folder of studies.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use contract::study::StudyType;

use super::layout;

/// Folders below a study's are its own up to here.
const DEPTH_MAX: usize = 6;
/// Files of one scan; the others come when these are gone.
const FILES_MAX: usize = 20_000;

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Files, by name.
    pub(super) files: Vec<Found>,
    /// Folders of studies in which there is no file, relative to the scanned folder.
    pub(super) empty_folders: BTreeSet<PathBuf>,
    /// Folders beside those of the study types.
    pub(super) strangers: usize,
    /// Links, pipes and the like, and folders too deep to be looked into.
    pub(super) odd: usize,
    /// Folders that cannot be read.
    pub(super) closed_folders: usize,
    /// There were more files than one scan takes in.
    pub(super) cut_short: bool,
    /// A folder failed in a way that permissions do not explain: the medium may be going away.
    pub(super) failing: bool,
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its path relative to the scanned folder.
    pub(super) relative: PathBuf,
    /// Its size in bytes.
    pub(super) size_bytes: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub(super) modified_ns: i128,
    /// How long ago that was by the system's clock; `None` where that is in the future.
    pub(super) age: Option<Duration>,
    /// Whether its name, or that of a folder it lies in, says that it is still being written.
    pub(super) unfinished: bool,
}

impl Found {
    /// Its relative path as text.
    pub(super) fn name(&self) -> String {
        layout::text(self.relative.as_os_str())
    }
}

/// Scans a folder of studies.
///
/// # Errors
/// When the folder itself cannot be read. What cannot be read below it is left out, and said.
pub(super) fn scan(dir: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for entry in fs::read_dir(dir)? {
        let Ok(entry) = entry else {
            scan.failing = true;
            continue;
        };
        let name = entry.file_name();
        let path = PathBuf::from(&name);
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if metadata.is_file() {
            scan.add(path, &metadata);
        } else if metadata.is_dir() && name.to_str().is_some_and(|name| name.parse::<StudyType>().is_ok()) {
            scan.study_type_folder(dir, &path);
        } else if !is_unfinished(&name) && name != "lost+found" {
            *if metadata.is_dir() { &mut scan.strangers } else { &mut scan.odd } += 1;
        }
    }
    scan.files.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(scan)
}

impl Scan {
    fn study_type_folder(&mut self, dir: &Path, folder: &Path) {
        for (path, metadata) in self.entries(dir, folder) {
            if metadata.is_dir() {
                let before = (self.files.len(), self.closed_folders, self.odd);
                self.study_folder(dir, &path, 0);
                if (self.files.len(), self.closed_folders, self.odd) == before {
                    self.empty_folders.insert(path);
                }
            } else if metadata.is_file() {
                self.add(path, &metadata);
            } else {
                self.odd += 1;
            }
        }
    }

    fn study_folder(&mut self, dir: &Path, folder: &Path, depth: usize) {
        for (path, metadata) in self.entries(dir, folder) {
            if metadata.is_file() {
                self.add(path, &metadata);
            } else if metadata.is_dir() && depth < DEPTH_MAX {
                self.study_folder(dir, &path, depth + 1);
            } else {
                self.odd += 1;
            }
        }
    }

    /// What lies in a folder, with paths relative to `dir`.
    fn entries(&mut self, dir: &Path, folder: &Path) -> Vec<(PathBuf, Metadata)> {
        let list = match fs::read_dir(dir.join(folder)) {
            Ok(list) => list,
            Err(error) => {
                match error.kind() {
                    // Removed between two looks.
                    io::ErrorKind::NotFound => {}
                    io::ErrorKind::PermissionDenied => self.closed_folders += 1,
                    _ => self.failing = true,
                }
                return Vec::new();
            }
        };
        list.inspect(|entry| self.failing |= entry.is_err())
            .filter_map(Result::ok)
            .filter_map(|entry| Some((folder.join(entry.file_name()), entry.path().symlink_metadata().ok()?)))
            .collect()
    }

    fn add(&mut self, relative: PathBuf, metadata: &Metadata) {
        if self.files.len() >= FILES_MAX {
            self.cut_short = true;
            return;
        }
        let unfinished = relative.iter().any(is_unfinished);
        let modified = metadata.modified().ok();
        self.files.push(Found {
            relative,
            size_bytes: metadata.len(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            age: modified.and_then(|at| SystemTime::now().duration_since(at).ok()),
            unfinished,
        });
    }
}

/// Whether a name says that what bears it is still being written.
fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".part")
}

/// Removes a folder and the folders in it, unless there is a file.
pub(super) fn remove_empty_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_tree(&entry.path());
        }
    }
    // Not empty, or not ours: then it stays.
    let _ = fs::remove_dir(folder);
}
