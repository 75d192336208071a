//! The centre's authority, made by `deploy/broker/certificates.sh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::{bin, repository};

/// An authority and what it has issued, in a folder of its own.
pub struct Authority {
    dir: TempDir,
}

/// A certificate, its key, and the authority that a client with it trusts.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM file of the authority.
    pub ca: PathBuf,
    /// PEM file of the certificate.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

impl Identity {
    /// Copies certificate and key to another place, the key first. The authority stays where it is.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn copy_to(&self, cert: &Path, key: &Path) -> anyhow::Result<()> {
        fs::copy(&self.key, key)?;
        fs::copy(&self.cert, cert)?;
        Ok(())
    }

    /// `[mqtt]` of a station that comes in with it.
    pub fn config(&self) -> String {
        let (ca, cert, key) = (self.ca.display(), self.cert.display(), self.key.display());
        format!("ca_file = \"{ca}\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n")
    }
}

impl Authority {
    /// An authority with a certificate for a broker on this machine.
    ///
    /// # Errors
    /// When the script fails; openssl may be missing.
    pub fn new() -> anyhow::Result<Self> {
        let authority = Self { dir: tempfile::tempdir()? };
        authority.script(&["ca", "Test centre"])?;
        authority.script(&["broker", "localhost", "127.0.0.1", "::1"])?;
        Ok(authority)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the script, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_script(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(repository().join("deploy/broker/certificates.sh"));
        bin::output(command.arg("--dir").arg(self.dir()).args(arguments))
    }

    /// Runs the script, which must succeed.
    ///
    /// # Errors
    /// When it does not, with what it said.
    pub fn script(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.try_script(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "certificates.sh {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A station's identity, made where there is none yet.
    ///
    /// # Errors
    /// As [`Authority::script`].
    pub fn station(&self, name: &str) -> anyhow::Result<Identity> {
        self.client("station", "stations", name)
    }

    /// The identity of a program of the centre.
    ///
    /// # Errors
    /// As [`Authority::script`].
    pub fn centre(&self, name: &str) -> anyhow::Result<Identity> {
        self.client("centre", "centre", name)
    }

    fn client(&self, command: &str, folder: &str, name: &str) -> anyhow::Result<Identity> {
        let identity = self.identity(&format!("{folder}/{name}"));
        if !identity.cert.exists() {
            self.script(&[command, name])?;
        }
        Ok(identity)
    }

    /// A client's certificate of the authority for any times, as `date -d` reads them, which the script would not make.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn client_between(&self, name: &str, from: &str, until: &str) -> anyhow::Result<Identity> {
        self.between("client_certificate", name, from, until)
    }

    /// The same for the broker.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn broker_between(&self, from: &str, until: &str) -> anyhow::Result<Identity> {
        self.between("broker_certificate", "broker", from, until)
    }

    fn between(&self, extensions: &str, name: &str, from: &str, until: &str) -> anyhow::Result<Identity> {
        let number = crate::sorted_entries(&self.dir().join("issued"))?.len();
        let path = format!("{name}-{number}");
        let openssl = |arguments: String| {
            let mut command = Command::new("openssl");
            command.args(arguments.split(' ')).current_dir(self.dir());
            bin::succeed(command.env("NAMES", "DNS:localhost,IP:127.0.0.1")).map(drop)
        };
        let time = |text: &str| {
            bin::succeed(Command::new("date").args(["-u", "-d", text, "+%Y%m%d%H%M%SZ"]))
                .map(|time| time.trim().to_owned())
        };
        let (from, until) = (time(from)?, time(until)?);
        openssl(format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {path}.key"))?;
        openssl(format!("req -config openssl.cnf -new -key {path}.key -subj /CN={name} -out {path}.csr"))?;
        openssl(format!(
            "ca -config openssl.cnf -batch -notext -in {path}.csr -extensions {extensions} -startdate {from} \
             -enddate {until} -out {path}.pem"
        ))?;
        Ok(self.identity(&path))
    }

    fn identity(&self, path: &str) -> Identity {
        let file = |ending: &str| self.dir().join(format!("{path}.{ending}"));
        Identity { ca: self.dir().join("ca.pem"), cert: file("pem"), key: file("key") }
    }

    /// The broker's identity.
    pub fn broker(&self) -> Identity {
        self.identity("broker/broker")
    }
}
