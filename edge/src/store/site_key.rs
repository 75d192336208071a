//! The site key: 32 random bytes, under which `study.key` is an HMAC.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use sha2::{Digest, Sha256};

use super::{StoreError, io_error, sync_dir};

/// In the state directory.
const FILE: &str = "site.key";
/// Bytes.
pub(super) const LEN: usize = 32;
/// The unit's credential that is taken in place of the file.
const CREDENTIAL: &str = "ulna.site-key";
/// Where systemd keeps it while the unit runs, and takes it from.
const CREDENTIAL_FOLDERS: [&str; 2] = ["/run/credentials/ulna-edge.service", "/etc/credstore"];

/// Where the key of a state directory lies, seen from outside of the service.
pub(super) fn path(dir: &Path) -> PathBuf {
    let given = CREDENTIAL_FOLDERS.map(|folder| Path::new(folder).join(CREDENTIAL));
    given.into_iter().find(|path| path.exists()).unwrap_or_else(|| dir.join(FILE))
}

/// Reads the key that the unit was given as a credential, else the state directory's, else makes one: written to a
/// temporary file and renamed, so it is whole or not there.
pub(super) fn load(dir: &Path) -> Result<[u8; LEN], StoreError> {
    let credential = env::var_os("CREDENTIALS_DIRECTORY").map(|given| Path::new(&given).join(CREDENTIAL));
    match credential.filter(|path| path.exists()) {
        Some(path) => read_or_make(&path),
        None => read_or_make(&dir.join(FILE)),
    }
}

fn read_or_make(path: &Path) -> Result<[u8; LEN], StoreError> {
    match File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(LEN as u64 + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
            bytes.try_into().map_err(|bytes: Vec<u8>| StoreError::Damaged {
                path: path.to_owned(),
                problem: format!(
                    "it must hold {LEN} bytes, found {}; restore it from a backup, or remove it to start a \
                     new key (study keys then change)",
                    bytes.len()
                ),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0u8; LEN];
            rand::rng().fill_bytes(&mut key);
            let temporary = path.with_extension("key.tmp");
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options
                .open(&temporary)
                .and_then(|mut file| {
                    file.write_all(&key)?;
                    file.sync_all()
                })
                .and_then(|()| fs::rename(&temporary, path))
                .and_then(|()| sync_dir(path.parent().unwrap_or(Path::new("."))))
                .map_err(io_error("write", path))?;
            Ok(key)
        }
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// The key's public name: the first 8 hexadecimal digits of its SHA-256.
pub(super) fn id(site_key: &[u8; LEN]) -> String {
    let mut text = hex::encode(Sha256::digest(site_key));
    text.truncate(8);
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_private_and_lasting_and_must_be_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let first = read_or_make(&path).unwrap();
        assert_eq!(read_or_make(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(id(&first).len(), 8);
        fs::write(&path, "short").unwrap();
        let error = read_or_make(&path).unwrap_err();
        assert!(error.to_string().contains("it must hold 32 bytes, found 5"), "{error}");
    }
}
