//! The command line against a real mosquitto and the real service.

mod bench;
mod doctor;
mod model;
mod outbox;
mod study;
mod support;
mod texts;
mod watch;

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Context;
use e2e::bin;
use serde_json::Value;

/// `edge` with a command such as `outbox list`, and a station's configuration.
fn edge(command: &str, config: &Path, more: &[&str]) -> anyhow::Result<Command> {
    let mut edge = Command::new(bin::edge()?);
    edge.args(command.split(' ')).args(more).arg("--config").arg(config);
    edge.env_remove("JOURNAL_STREAM").env_remove("ULNA_CONFIG");
    Ok(edge)
}

/// Runs it to its end.
fn run(command: &str, config: &Path, more: &[&str]) -> anyhow::Result<Output> {
    bin::output(&mut edge(command, config, more)?)
}

/// Runs it; it must succeed. Gives what it printed.
fn succeed(command: &str, config: &Path, more: &[&str]) -> anyhow::Result<String> {
    bin::succeed(&mut edge(command, config, more)?)
}

/// The same with `--json`.
fn json(command: &str, config: &Path, more: &[&str]) -> anyhow::Result<Value> {
    let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
    let text = succeed(command, config, &more)?;
    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
