//! A real web server with a certificate of the centre's authority, on a loopback port of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::{bin, port, wait};

/// nginx, killed when dropped. Stopped and started again it keeps its port and its files.
pub struct WebServer {
    port: u16,
    authority: Authority,
    dir: TempDir,
    process: Option<Child>,
}

impl WebServer {
    /// Serves what is below [`WebServer::root`]; `lines` are further ones of its `server` block.
    ///
    /// # Errors
    /// When nginx is missing or does not answer.
    pub fn start(lines: &str) -> anyhow::Result<Self> {
        let (port, authority) = (port::claim()?, Authority::new()?);
        let mut server = Self { port, authority, dir: tempfile::tempdir()?, process: None };
        fs::create_dir(server.root())?;
        let identity = server.authority.broker();
        let (cert, key) = (identity.cert.display(), identity.key.display());
        let root = server.dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"))
            .collect();
        let config = format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {root}/pid;\nerror_log {root}/error.log;\nevents {{}}\nhttp {{\n{temporary}\
             log_format ranges '$status $uri $http_range $body_bytes_sent';\naccess_log {root}/access.log ranges;\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; root {root}/www;\n{lines}\n}} }}\n"
        );
        fs::write(server.dir.path().join("nginx.conf"), config)?;
        server.restart()?;
        Ok(server)
    }

    /// PEM file of the authority that its certificate comes from.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.broker().ca
    }

    /// The folder it serves.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("www")
    }

    /// The address of something below it.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.port)
    }

    /// What it was asked: `STATUS PATH RANGE BYTES` for each request.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        Ok(fs::read_to_string(self.dir.path().join("access.log"))?.lines().map(str::to_owned).collect())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again.
    ///
    /// # Errors
    /// As [`WebServer::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(self.dir.path()).arg("-c").arg(self.dir.path().join("nginx.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().context("nginx is needed; `make deps` fetches it")?);
        let address = (Ipv4Addr::LOCALHOST, self.port);
        wait::until("nginx to listen", Duration::from_secs(10), || TcpStream::connect(address).ok())
            .with_context(|| fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default())
            .map(drop)
    }

    /// Copies a folder below what it serves.
    ///
    /// # Errors
    /// When that fails.
    pub fn publish(&self, dir: &Path, name: &str) -> anyhow::Result<()> {
        bin::succeed(Command::new("cp").arg("-rT").arg(dir).arg(self.root().join(name))).map(drop)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.kill();
    }
}
