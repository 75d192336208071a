//! A real mosquitto on a loopback port of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::{bin, wait};

/// mosquitto, killed when dropped. Stopped and started again it keeps its port and its persistent sessions.
pub struct Broker {
    port: u16,
    dir: TempDir,
    process: Option<Child>,
}

impl Broker {
    /// Starts a broker that lets everybody do everything.
    ///
    /// # Errors
    /// When mosquitto is missing or does not answer.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("allow_anonymous true\n")
    }

    /// Starts a broker with further lines of `mosquitto.conf`.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_with(lines: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let dir = tempfile::tempdir()?;
        let config = format!(
            "listener {port} 127.0.0.1\npersistence true\npersistence_location {}/\nautosave_interval 1\n\
             user root\nlog_type error\nlog_type warning\n{lines}",
            dir.path().display()
        );
        fs::write(dir.path().join("mosquitto.conf"), config)?;
        let mut broker = Self { port, dir, process: None };
        broker.restart()?;
        Ok(broker)
    }

    /// A broker that is not running yet.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_stopped() -> anyhow::Result<Self> {
        let mut broker = Self::start()?;
        broker.kill();
        Ok(broker)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A folder of the broker's own, for ACL and password files.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Kills the broker with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops the broker where it is, its connections open, or lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, paused: bool) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the broker is not running")?;
        let signal = if paused { "-STOP" } else { "-CONT" };
        bin::succeed(Command::new("kill").args([signal, &process.id().to_string()])).map(drop)
    }

    /// Kills the broker after it had the time to save its sessions, which it does every second.
    pub fn save_and_kill(&mut self) {
        thread::sleep(Duration::from_millis(1500));
        self.kill();
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let config = self.dir.path().join("mosquitto.conf");
        let process = Command::new(mosquitto()?)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start mosquitto")?;
        self.process = Some(process);
        let address = (Ipv4Addr::LOCALHOST, self.port);
        wait::until("mosquitto to listen", Duration::from_secs(10), || TcpStream::connect(address).ok())?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn mosquitto() -> anyhow::Result<PathBuf> {
    ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .context("mosquitto is not installed; `make deps` fetches it")
}

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// When none is.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
