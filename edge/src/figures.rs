//! Figures of the machine and the state directory, for reports that are passed on.

use std::fs;
use std::path::Path;
use std::thread;

use contract::command::{FolderFigures, MachineFacts};

use crate::store::state_paths;

/// The machine that this runs on.
pub fn machine() -> MachineFacts {
    let uname = rustix::system::uname();
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    MachineFacts {
        os: os.trim_matches('"').to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        cores: thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
    }
}

/// Size of a state directory's database; 0 where there is none.
pub fn database_bytes(state_dir: &Path) -> u64 {
    fs::metadata(state_paths(state_dir).database).map_or(0, |facts| facts.len())
}

/// A folder's files, counted; what cannot be looked at counts as nothing.
pub fn folder(dir: &Path) -> FolderFigures {
    let Ok(entries) = fs::read_dir(dir) else { return FolderFigures::default() };
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    sizes.fold(FolderFigures::default(), |sum, bytes| FolderFigures {
        files: sum.files + 1,
        bytes: sum.bytes + bytes,
    })
}
