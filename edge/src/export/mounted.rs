//! Sticks, as the system has mounted them.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is mounted where this process sees it (proc(5)).
const MOUNTS: &str = "/proc/self/mountinfo";
/// What is no file system yet: it becomes one when it is asked for, or never.
const AUTOMOUNT: &str = "autofs";

/// A mounted file system that results can be carried away on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stick {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Room on it, in MiB.
    pub free_mib: u64,
    /// Whether nothing can be written to it.
    pub read_only: bool,
}

/// The file systems that are mounted on one of these folders or below, in the order of their paths.
///
/// # Errors
/// When the system does not tell its mounts. A stick that was pulled out is left out.
pub fn sticks(folders: &[PathBuf]) -> io::Result<Vec<Stick>> {
    let mounts = fs::read(MOUNTS)?;
    let found = below(&mounts, folders).into_iter().filter_map(|(path, read_only)| {
        let space = rustix::fs::statvfs(&path).ok()?;
        let free_mib = space.f_bavail.saturating_mul(space.f_frsize) >> 20;
        Some(Stick { path, free_mib, read_only })
    });
    Ok(found.collect())
}

/// Mount points on or below one of `folders`, each once, and whether each is only to be read.
fn below(mountinfo: &[u8], folders: &[PathBuf]) -> Vec<(PathBuf, bool)> {
    let mut found: Vec<(PathBuf, bool)> = Vec::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let Some((path, read_only)) = mount(line) else { continue };
        if !folders.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        // What was mounted last on a path is what is seen there.
        found.retain(|(other, _)| *other != path);
        found.push((path, read_only));
    }
    found.sort();
    found
}

/// Mount point of a line, and whether it is only to be read.
fn mount(line: &[u8]) -> Option<(PathBuf, bool)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = unescaped(fields.nth(4)?);
    let options = fields.next()?;
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = after.next()?;
    let of_the_device = after.nth(1)?;
    let read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|option| option == b"ro");
    (kind != AUTOMOUNT.as_bytes()).then(|| (path, read_only(options) || read_only(of_the_device)))
}

/// A path in which blanks are written as `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    Path::new(&std::ffi::OsString::from_vec(bytes)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:17 / /media/usb\\040stick rw,nosuid shared:3 - vfat /dev/sdb1 rw,uid=990
31 22 8:33 / /media/locked rw,nosuid shared:4 - vfat /dev/sdc1 ro
32 22 0:40 / /media/later rw - autofs systemd-1 rw,fd=50
33 22 8:49 / /mediathek rw - ext4 /dev/sdd1 rw
34 22 8:50 / /mnt ro,relatime - ext4 /dev/sde1 rw
broken line
";

    #[test]
    fn sticks_are_told_from_other_mounts() {
        let folders = [PathBuf::from("/media"), PathBuf::from("/mnt")];
        let expected = [("/media/locked", true), ("/media/usb stick", false), ("/mnt", true)];
        let expected: Vec<_> = expected.iter().map(|(path, ro)| (PathBuf::from(path), *ro)).collect();
        assert_eq!(below(LINES, &folders), expected);
        assert_eq!(below(LINES, &[]), []);
        let twice = [LINES, b"40 22 8:65 / /mnt rw - vfat /dev/sdf1 rw"].concat();
        assert!(below(&twice, &folders).contains(&(PathBuf::from("/mnt"), false)), "the upper one is seen");
    }

    #[test]
    fn a_mounted_file_system_is_found_with_its_room() {
        let found = sticks(&[PathBuf::from("/dev/shm")]).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].path.as_path(), found[0].read_only), (Path::new("/dev/shm"), false));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sticks(&[dir.path().to_owned()]).unwrap(), [], "a folder is no stick");
    }
}
