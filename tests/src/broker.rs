//! A real mosquitto on a loopback port of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::{bin, port, repository, wait};

/// The log-in for dashboards at [`Broker::of_centre`]: name and password.
pub const DASHBOARD: (&str, &str) = ("anna", "read-only");

/// mosquitto, killed when dropped. Stopped and started again it keeps its port and its persistent sessions.
pub struct Broker {
    port: u16,
    /// The ports of the centre's other listeners: websockets, and one for whoever watches a test.
    others: Option<(u16, u16)>,
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
        let port = port::claim()?;
        let dir = tempfile::tempdir()?;
        let config = format!(
            "listener {port} 127.0.0.1\npersistence true\npersistence_location {}/\nautosave_interval 1\n\
             user root\nlog_type error\nlog_type warning\n{lines}",
            dir.path().display()
        );
        fs::write(dir.path().join("mosquitto.conf"), config)?;
        let mut broker = Self { port, others: None, dir, process: None };
        broker.restart()?;
        Ok(broker)
    }

    /// Starts the centre's broker as `deploy/broker` has it, but for the ports, the folder and the user; and with one more
    /// listener, in plain text, by which a test sees everything.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn of_centre(authority: &Authority) -> anyhow::Result<Self> {
        let (port, websocket_port, observer_port) = (port::claim()?, port::claim()?, port::claim()?);
        let dir = tempfile::tempdir()?;
        let root = format!("{}/", dir.path().display());
        let deployed = |name: &str| fs::read_to_string(repository().join("deploy/broker").join(name));
        let config = deployed("mosquitto.conf")?
            .replace("/etc/mosquitto/", &root)
            .replace("listener 8883\n", &format!("listener {port} 127.0.0.1\n"))
            .replace("listener 9001\n", &format!("listener {websocket_port} 127.0.0.1\n"));
        // What the distribution's own file says before it includes this one.
        let distribution = format!("user root\npersistence_location {root}\n");
        let observer = format!("listener {observer_port} 127.0.0.1\nallow_anonymous true\n");
        fs::write(dir.path().join("mosquitto.conf"), distribution + &config + &observer)?;
        fs::write(dir.path().join("ulna.acl"), deployed("acl")?)?;
        fs::write(dir.path().join("ulna-dashboards.acl"), deployed("acl-dashboards")?)?;
        fs::create_dir(dir.path().join("certs"))?;
        let mut passwords = Command::new("mosquitto_passwd");
        passwords.args(["-b", "-c"]).arg(dir.path().join("ulna-dashboards.passwd"));
        bin::succeed(passwords.args([DASHBOARD.0, DASHBOARD.1]))?;
        let mut broker = Self { port, others: Some((websocket_port, observer_port)), dir, process: None };
        broker.install(authority)?;
        broker.restart()?;
        Ok(broker)
    }

    /// Puts the authority, its list of revoked certificates and the broker's certificate into place.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn install(&self, authority: &Authority) -> anyhow::Result<()> {
        let certs = self.dir.path().join("certs");
        let identity = authority.broker();
        fs::copy(identity.ca, certs.join("ulna-ca.pem"))?;
        fs::copy(authority.dir().join("crl.pem"), certs.join("ulna-crl.pem"))?;
        fs::copy(identity.cert, certs.join("ulna-broker.pem"))?;
        fs::copy(identity.key, certs.join("ulna-broker.key"))?;
        Ok(())
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

    /// The port of the centre's websocket listener on 127.0.0.1.
    ///
    /// # Errors
    /// When it is not the centre's broker.
    pub fn websocket_port(&self) -> anyhow::Result<u16> {
        Ok(self.others.context("this broker has one listener only")?.0)
    }

    /// The port by which a test sees everything at the centre's broker.
    ///
    /// # Errors
    /// When it is not the centre's broker.
    pub fn observer_port(&self) -> anyhow::Result<u16> {
        Ok(self.others.context("this broker has one listener only")?.1)
    }

    /// Its process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("mosquitto is not running")?.id())
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
        let signal = if paused { "-STOP" } else { "-CONT" };
        bin::succeed(Command::new("kill").args([signal, &self.pid()?.to_string()])).map(drop)
    }

    /// Has it read its access lists, passwords and certificates again, as `systemctl reload` does.
    ///
    /// # Errors
    /// When it is not running.
    pub fn reload(&self) -> anyhow::Result<()> {
        bin::succeed(Command::new("kill").args(["-HUP", &self.pid()?.to_string()]))?;
        // It does so before it looks at its sockets again.
        thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    /// Stops it as `systemctl stop` does: it saves its sessions.
    ///
    /// # Errors
    /// When it does not end within 30 s.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        bin::succeed(Command::new("kill").args(["-TERM", &self.pid()?.to_string()]))?;
        let mut process = self.process.take().context("mosquitto is not running")?;
        let ended =
            wait::until("mosquitto to end", Duration::from_secs(30), || process.try_wait().ok().flatten());
        ended.map(drop).inspect_err(|_| drop(process.kill()))
    }

    /// Has the broker save its sessions as they are now, and kills it.
    ///
    /// # Errors
    /// When it does not run, or does not save.
    pub fn save_and_kill(&mut self) -> anyhow::Result<()> {
        let (database, pid) = (self.dir.path().join("mosquitto.db"), self.pid()?.to_string());
        // Each save is another file. The first may have begun before now, the second has not.
        for _ in 0..2 {
            let before = fs::metadata(&database).map(|file| file.ino()).ok();
            bin::succeed(Command::new("kill").args(["-USR1", &pid]))?;
            wait::until("mosquitto to save its sessions", Duration::from_secs(10), || {
                let now = fs::metadata(&database).map(|file| file.ino()).ok();
                (now.is_some() && now != before).then_some(())
            })?;
        }
        self.kill();
        Ok(())
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
        let others = self.others.into_iter().flat_map(|(websocket, observer)| [websocket, observer]);
        for port in others.chain([self.port]) {
            let address = (Ipv4Addr::LOCALHOST, port);
            wait::until("mosquitto to listen", Duration::from_secs(10), || TcpStream::connect(address).ok())?;
        }
        let pid = self.pid()?;
        wait::until("mosquitto to be ready", Duration::from_secs(10), || catches_hangup(pid).then_some(()))
    }
}

/// Whether SIGHUP would be understood by a process, which else ends by it: mosquitto listens before it is ready for signals.
fn catches_hangup(pid: u32) -> bool {
    const HANGUP: u64 = 1;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
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
