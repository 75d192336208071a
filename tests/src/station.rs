//! `edge run` as a process, with folders of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{bin, demo_bundle, http, port, wait};

/// The name all stations of the tests have.
pub const NAME: &str = "e2e";

/// A station's folders and config; the process may come and go.
pub struct Station {
    dir: TempDir,
    config: PathBuf,
    web_port: u16,
    process: Option<Running>,
    lines: Arc<Mutex<Vec<String>>>,
}

/// The process, and the thread that reads what it logs until it ends.
struct Running {
    child: Child,
    reader: JoinHandle<()>,
}

/// What differs from the usual test station.
pub struct Setup {
    /// The bundle it runs; `None` where its slots hold one.
    pub bundle: Option<PathBuf>,
    /// The broker's port on 127.0.0.1.
    pub broker_port: u16,
    /// Further lines of `[mqtt]`.
    pub mqtt: String,
    /// Further TOML, appended.
    pub extra: String,
    /// Whether the demo model is allowed.
    pub allow_demo_model: bool,
}

impl Setup {
    /// The demo bundle, publishing to a port.
    pub fn new(broker_port: u16) -> Self {
        Self {
            bundle: Some(demo_bundle()),
            broker_port,
            mqtt: String::new(),
            extra: String::new(),
            allow_demo_model: true,
        }
    }
}

impl Station {
    /// Makes the folders and the config; starts nothing.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn new(setup: &Setup) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let web_port = port::claim()?;
        let config = dir.path().join("edge.toml");
        let root = dir.path().display();
        fs::create_dir_all(dir.path().join("spool"))?;
        let bundle = setup.bundle.as_ref().map(|dir| format!("bundle_dir = \"{}\"\n", dir.display()));
        let text = format!(
            "station = \"{NAME}\"\nstate_dir = \"{root}/state\"\n{}\
             allow_demo_model = {}\n\n[quality]\noff = [\"too_small\", \"duplicate\"]\n\n[study]\nidle_close_s = 1\n\n[spool]\ndir = \"{root}/spool\"\n\
             rescan_ms = 100\nsettle_ms = 100\n\n[mqtt]\nport = {}\nbackoff_min_ms = 50\nbackoff_max_ms = 500\n\
             puback_timeout_s = 3\nkeep_alive_s = 5\n{}\n[web]\nlisten = \"127.0.0.1:{web_port}\"\n{}",
            bundle.unwrap_or_default(),
            setup.allow_demo_model,
            setup.broker_port,
            setup.mqtt,
            setup.extra,
        );
        fs::write(&config, text)?;
        Ok(Self { dir, config, web_port, process: None, lines: Arc::default() })
    }

    /// The config file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The station's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The watched folder.
    pub fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// The page's port on 127.0.0.1.
    pub fn web_port(&self) -> u16 {
        self.web_port
    }

    /// Starts `edge run`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.start_in(&[])
    }

    /// Starts `edge run` with variables in its environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_in(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        let binary = bin::edge()?;
        self.start_binary(&binary, environment)
    }

    /// Starts the build with crash points, set to halt at one.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_halting_at(&mut self, point: &str) -> anyhow::Result<()> {
        self.start_failing(&format!("{point}=sleep(60000)"))
    }

    /// Starts the build with crash points, with `FAILPOINTS` as given.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_failing(&mut self, failpoints: &str) -> anyhow::Result<()> {
        let binary = bin::edge_failpoints()?;
        self.start_binary(&binary, &[("FAILPOINTS", failpoints)])
    }

    fn start_binary(&mut self, binary: &Path, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "the station is running already");
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(&self.config).args(["--log-level", "trace"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        command.envs(environment.iter().copied());
        let mut process = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (lines, stderr) = (self.lines.clone(), process.stderr.take());
        let reader = thread::spawn(move || {
            for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
                let Ok(line) = line else { break };
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        self.process = Some(Running { child: process, reader });
        Ok(())
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it logs a line that contains a text.
    ///
    /// # Errors
    /// When it has not in time, with the end of its log.
    pub fn wait_for_line(&self, text: &str, timeout: Duration) -> anyhow::Result<String> {
        wait::until(&format!("`{text}` in the log"), timeout, || {
            self.log().into_iter().find(|line| line.contains(text))
        })
        .map_err(|error| error.context(self.tail()))
    }

    /// Waits until it has logged a text in `count` lines since its last start.
    ///
    /// # Errors
    /// When it has not in time, with the end of its log.
    pub fn wait_for_count(&self, text: &str, count: usize, timeout: Duration) -> anyhow::Result<()> {
        wait::until(&format!("{count} times `{text}` in the log"), timeout, || {
            (self.log().iter().filter(|line| line.contains(text)).count() >= count).then_some(())
        })
        .map_err(|error| error.context(self.tail()))
    }

    /// Waits until it has taken every file out of the spool.
    ///
    /// # Errors
    /// When it has not in time, with the end of its log.
    pub fn wait_until_spool_is_empty(&self, timeout: Duration) -> anyhow::Result<()> {
        wait::until("the spool to be empty", timeout, || (!holds_files(&self.spool())).then_some(()))
            .map_err(|error| error.context(self.tail()))
    }

    /// The end of its log, for error messages.
    pub fn tail(&self) -> String {
        let log = self.log();
        let recent = log.iter().filter(|line| !line.contains("edge::transition"));
        let mut lines: Vec<&str> = recent.rev().take(30).map(String::as_str).collect();
        lines.reverse();
        format!("the end of the station's log:\n{}", lines.join("\n"))
    }

    /// Asks its local API: the path after `/api/v1`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<http::Answer> {
        let path = format!("/api/v1{path}");
        http::ask(self.web_port, method, &path, "application/json", body.to_string().as_bytes())
    }

    /// Takes a study through the local API, as the page does: opened, one image, closed. Gives its number.
    ///
    /// # Errors
    /// When the station refuses any of it.
    pub fn take_study(&self, study_type: &str, image: &[u8]) -> anyhow::Result<String> {
        let expect = |answer: http::Answer, status| -> anyhow::Result<Value> {
            anyhow::ensure!(answer.status == status, "{}: {}", answer.status, answer.json()?);
            answer.json()
        };
        let opened = expect(self.ask("POST", "/studies", &json!({"study_type": study_type}))?, 201)?;
        let number = opened["number"].as_str().context("number")?.to_owned();
        let images = format!("/api/v1/studies/{number}/images");
        expect(http::ask(self.web_port, "POST", &images, "application/octet-stream", image)?, 201)?;
        expect(self.ask("POST", &format!("/studies/{number}/close"), &json!({}))?, 200)?;
        Ok(number)
    }

    /// The memory it has now, in KiB.
    ///
    /// # Errors
    /// When it is not running.
    pub fn memory_kib(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory it has had so far, in KiB.
    ///
    /// # Errors
    /// When it is not running.
    pub fn memory_peak_kib(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let process = self.process.as_ref().context("the station is not running")?;
        let status = fs::read_to_string(format!("/proc/{}/status", process.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
            let _ = process.reader.join();
        }
    }

    /// Asks it to stop with SIGTERM and waits.
    ///
    /// # Errors
    /// When it does not within 30 s.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let process = self.process.as_ref().context("the station is not running")?;
        bin::succeed(Command::new("kill").args(["-TERM", &process.child.id().to_string()]))?;
        self.wait_for_exit(Duration::from_secs(30))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_exit(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let mut process = self.process.take().context("the station is not running")?;
        let ended = wait::until("the station to end", timeout, || process.child.try_wait().ok().flatten());
        if ended.is_err() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        // What it said last is part of how it ended.
        let _ = process.reader.join();
        ended.map_err(|error| error.context(self.tail()))
    }

    /// Puts a study into the spool as the digitiser does: written beside it, renamed into place.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn drop_study(&self, study_type: &str, study: &str, files: &[PathBuf]) -> anyhow::Result<()> {
        let incoming = self.dir.path().join("incoming").join(study);
        fs::create_dir_all(&incoming)?;
        for file in files {
            fs::copy(file, incoming.join(crate::name(file)))?;
        }
        let folder = self.spool().join(study_type);
        fs::create_dir_all(&folder)?;
        fs::rename(&incoming, folder.join(study)).context("cannot rename the study into the spool")
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.kill();
    }
}

fn holds_files(dir: &Path) -> bool {
    // A folder that vanishes between two looks is an empty one.
    crate::sorted_entries(dir).unwrap_or_default().iter().any(|path| path.is_file() || holds_files(path))
}
