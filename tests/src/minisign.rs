//! Keys and signatures by the real minisign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use tempfile::TempDir;

use crate::bin;

/// A key pair in a folder of its own.
pub struct Signer {
    dir: TempDir,
    public_key: String,
}

impl Signer {
    /// Makes a key pair without a password.
    ///
    /// # Errors
    /// When minisign is missing.
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut make = minisign();
        make.arg("-G")
            .arg("-W")
            .arg("-p")
            .arg(dir.path().join("key.pub"))
            .arg("-s")
            .arg(dir.path().join("key"));
        bin::succeed(&mut make).context("minisign is needed; `make deps` fetches it")?;
        let text = fs::read_to_string(dir.path().join("key.pub"))?;
        let public_key = text.lines().nth(1).context("a public key")?.to_owned();
        Ok(Self { dir, public_key })
    }

    /// The public key as a configuration has it.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// The file of the secret key.
    pub fn secret_key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// The content of the `.minisig` file of some bytes.
    ///
    /// # Errors
    /// When minisign fails.
    pub fn sign(&self, bytes: &[u8]) -> anyhow::Result<String> {
        let dir = tempfile::tempdir()?;
        let message = dir.path().join("message");
        let signature = dir.path().join("signature");
        fs::write(&message, bytes)?;
        let mut sign = minisign();
        sign.arg("-S").arg("-s").arg(self.secret_key()).arg("-m").arg(&message).arg("-x").arg(&signature);
        bin::succeed(&mut sign)?;
        read(&signature)
    }
}

fn minisign() -> Command {
    let mut command = Command::new("minisign");
    command.stdin(Stdio::null());
    command
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}
