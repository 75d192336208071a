//! Where the binaries under test are. `scripts/run-tests.py` builds them and names them in the environment.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::Context;

/// The station.
///
/// # Errors
/// When it was not built.
pub fn edge() -> anyhow::Result<PathBuf> {
    find("ULNA_EDGE_BIN", "edge", "cargo build -p edge")
}

/// The station that can be halted at its crash points.
///
/// # Errors
/// When it was not built.
pub fn edge_failpoints() -> anyhow::Result<PathBuf> {
    find(
        "ULNA_EDGE_FAILPOINTS_BIN",
        "edge-failpoints",
        "cargo build -p edge --features failpoints && cp target/debug/edge target/debug/edge-failpoints",
    )
}

/// The trainer.
///
/// # Errors
/// When it was not built.
pub fn trainer() -> anyhow::Result<PathBuf> {
    find("ULNA_TRAINER_BIN", "trainer", "make libtorch && cargo build -p trainer")
}

/// The folder with the dashboard's page.
///
/// # Errors
/// When it was not built.
pub fn dashboard() -> anyhow::Result<PathBuf> {
    let dir = crate::repository().join("deploy/dashboard/dist");
    anyhow::ensure!(
        dir.join("index.html").is_file(),
        "{} holds no page; build it: make dashboard",
        dir.display()
    );
    Ok(dir)
}

fn find(variable: &str, name: &str, build: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR")
                .map_or_else(|| crate::repository().join("target"), PathBuf::from);
            target.join("debug").join(name)
        },
        PathBuf::from,
    );
    anyhow::ensure!(path.is_file(), "{} is missing; build it: {build} (or set {variable})", path.display());
    Ok(path)
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> anyhow::Result<Output> {
    command.output().with_context(|| format!("cannot run {command:?}"))
}

/// Runs a command that must succeed and gives its standard output.
///
/// # Errors
/// When it fails, with what it said.
pub fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output = output(command)?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
