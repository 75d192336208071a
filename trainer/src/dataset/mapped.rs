//! A file's bytes as memory: the trainer's only unsafe code.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file, for reading. `file` may be closed afterwards.
///
/// While it is mapped, nobody may change or shorten the file: a finished cache is never written to again,
/// and `trainer pack` refuses a directory that holds one. When something else does shorten it, reading past
/// its new end kills the process with SIGBUS; a training run then goes on from its last checkpoint with
/// `--resume`. Removing the file is harmless: its bytes stay until they are unmapped.
///
/// # Errors
/// When the file is empty or cannot be mapped.
#[allow(unsafe_code)]
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is read-only and its length was taken from the open file. What makes mapping
    // unsafe is another process that changes the file meanwhile; the contract above rules that out, and
    // every plane is compared with its checksum after this call and before its first use.
    unsafe { Mmap::map(file) }
}
