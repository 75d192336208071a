//! Durable files: written beside their name, synced, renamed into place, the directory synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::exit::Fault;

/// Writes a file so that a reader, also after a crash, sees either the old or the whole new content.
///
/// # Errors
/// [`Fault::Io`] naming the file; the old content is then untouched and nothing is left beside it.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let written = path.with_file_name(format!(
        "{}.tmp",
        path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default()
    ));
    let write = || -> io::Result<()> {
        let mut file = File::create(&written)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&written, path)?;
        sync_directory(path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&written);
        io_fault(format!("writing {}", path.display()))(source)
    })
}

/// Makes a rename inside the directory of `path` last.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(io_fault(format!("reading {}", path.display())))
}

/// Gives an I/O error its context, and says what to do when the disk is full.
pub(crate) fn io_fault(doing: String) -> impl FnOnce(io::Error) -> Fault {
    move |source| {
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let hint =
            if full { " (what was there is untouched: make room, then go on with --resume)" } else { "" };
        Fault::Io { doing: format!("{doing}{hint}"), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        // A directory in the way of the temporary file makes the write fail before the rename.
        fs::create_dir(dir.path().join("a.json.tmp")).unwrap();
        let error = write_atomic(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("a.json"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
