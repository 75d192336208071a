//! Python for tests that compare with what others compute.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs a script with `input` on its standard input and gives its standard output. The packages are those that
/// `scripts/test-deps.sh` fetches (`make deps`); without them this panics and says so.
pub(crate) fn python(script: &str, input: &str) -> String {
    let packages = std::env::var_os("ULNA_PYTHONPATH").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../third_party/python")),
        PathBuf::from,
    );
    assert!(packages.is_dir(), "{} is missing: run `make deps`", packages.display());
    let mut process = Command::new("python3")
        .args(["-c", script])
        .env("PYTHONPATH", packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "python3 ended with {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
