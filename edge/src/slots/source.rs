//! Where a bundle comes from: a folder, such as a stick's, or a web server (see [`super::download`]).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::SlotsError;
use super::install::Part;

/// A bundle that can be read file by file.
pub trait Source {
    /// Where a file is, for people.
    fn place(&self, name: &str) -> String;

    /// A small file as a whole; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than `max_bytes`.
    fn small(&mut self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SlotsError>;

    /// Appends to `part` what it still lacks of a file. The bytes are not looked at.
    ///
    /// # Errors
    /// When the file cannot be read to its end, or `part` cannot be written.
    fn rest(&mut self, name: &str, part: &mut Part) -> Result<(), SlotsError>;
}

/// A bundle's folder.
pub struct Folder(pub PathBuf);

impl Source for Folder {
    fn place(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn small(&mut self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SlotsError> {
        let path = self.0.join(name);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > max_bytes {
                return Err(io::Error::other(format!("it is larger than {max_bytes} bytes")));
            }
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(unreadable(&path)(source)),
        }
    }

    fn rest(&mut self, name: &str, part: &mut Part) -> Result<(), SlotsError> {
        let path = self.0.join(name);
        let mut file = File::open(&path).map_err(unreadable(&path))?;
        file.seek(SeekFrom::Start(part.length())).map_err(unreadable(&path))?;
        part.append(&mut file, |source| unreadable(&path)(source))
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SlotsError {
    move |source| SlotsError::Source { place: path.display().to_string(), source }
}
