//! `edge watch` shows what arrives at a broker, and goes on when the broker was away.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use contract::result::StudyResult;
use e2e::broker::Broker;
use e2e::station::{NAME, Setup, Station};
use e2e::{bin, made};

const LONG: Duration = Duration::from_secs(60);

/// `edge watch` as a process, killed when dropped.
struct Watching {
    process: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Watching {
    /// Returns once it is connected.
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(bin::edge()?);
        command.arg("watch").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let lines = read(process.stdout.take().context("stdout")?);
        let errors = read(process.stderr.take().context("stderr")?);
        let watching = Self { process, lines, errors };
        watching.wait_for("connected to")?;
        Ok(watching)
    }

    fn wait_for(&self, text: &str) -> anyhow::Result<()> {
        loop {
            let line = self.errors.recv_timeout(LONG).with_context(|| format!("waiting for `{text}`"))?;
            if line.contains(text) {
                return Ok(());
            }
        }
    }

    fn next(&self) -> anyhow::Result<String> {
        self.lines.recv_timeout(LONG).context("no line")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

fn drop_study(station: &Station, dir: &Path, number: u32) -> anyhow::Result<()> {
    let made = made::study(dir, "XR_WRIST", &format!("study{number}"), 1, number)?;
    station.drop_study(made.study_type, &made.name, &made.files)
}

#[test]
fn results_are_shown_as_they_come_and_after_an_outage() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut broker = Broker::start()?;
    let port = broker.port().to_string();
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    let config = station.config().to_str().context("path")?.to_owned();
    // Two at once, and neither throws the other off.
    let all = Watching::start(&["--host", "127.0.0.1", "--port", &port])?;
    let mut own = Watching::start(&["--config", &config, "--json", "--count", "2"])?;

    drop_study(&station, dir.path(), 0)?;
    let line = all.next()?;
    assert!(line.starts_with(NAME) && line.contains("seq   1  WRI-0001"), "{line}");
    let result: StudyResult = serde_json::from_str(&own.next()?)?;
    assert_eq!(result.delivery.context("delivery")?.seq, 1);

    broker.kill();
    all.wait_for("trying again")?;
    own.wait_for("trying again")?;
    broker.restart()?;
    all.wait_for("connected to")?;
    own.wait_for("connected to")?;
    drop_study(&station, dir.path(), 1)?;
    assert!(all.next()?.contains("seq   2"));
    let result: StudyResult = serde_json::from_str(&own.next()?)?;
    assert_eq!(result.delivery.context("delivery")?.seq, 2);
    let ended = e2e::wait::until("watch to end by itself", LONG, || own.process.try_wait().ok().flatten())?;
    assert!(ended.success());
    Ok(())
}

#[test]
fn a_broker_that_lets_nobody_in_ends_it() -> anyhow::Result<()> {
    let broker = Broker::start_with("allow_anonymous false\n")?;
    let mut command = Command::new(bin::edge()?);
    command.args(["watch", "--host", "127.0.0.1", "--port", &broker.port().to_string()]);
    let output = bin::output(&mut command)?;
    assert_eq!(output.status.code(), Some(69));
    assert!(crate::stderr(&output).contains("check the user name"), "{}", crate::stderr(&output));
    let mut command = Command::new(bin::edge()?);
    let output = bin::output(command.args(["watch", "--host", "broker.example"]))?;
    assert_eq!(output.status.code(), Some(78));
    Ok(())
}
