//! The `trainer` binary on a small data set and a small network.

#![allow(clippy::unwrap_used, dead_code)] // Helpers of tests, outside of what clippy counts as one.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Settings of a run of seconds.
pub(crate) const SETTINGS: &str = "\
size_px = 64
epochs = 3
batch = 4
checkpoint_every_steps = 2
log_every_steps = 2
keep_best = 2
dropout = 0.1
[adam]
lr = 0.001
[network]
stem = 6
layers = [1, 2]
growth = 3
bottleneck = 5
";

/// The binary with a command line, to be run or spawned; one thread, so that tests side by side stay quick.
pub(crate) fn command<S: AsRef<OsStr>>(line: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(line).env("OMP_NUM_THREADS", "1");
    command
}

/// Runs it to its end.
pub(crate) fn trainer<S: AsRef<OsStr>>(line: &[S]) -> Output {
    command(line).output().unwrap()
}

/// Runs it, expects success and gives its standard output.
pub(crate) fn succeeds<S: AsRef<OsStr> + Debug>(line: &[S]) -> String {
    let output = trainer(line);
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it and expects a failure with a code and with words in its message.
pub(crate) fn fails<S: AsRef<OsStr> + Debug>(line: &[S], code: i32, words: &[&str]) {
    let output = trainer(line);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line:?}: {message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

/// Draws phantoms into `DIR/data` and writes [`SETTINGS`] into `DIR/train.toml`; returns both paths.
pub(crate) fn data_and_settings(dir: &Path, studies: u32) -> (String, String) {
    let (data, settings) = (text(&dir.join("data")), text(&dir.join("train.toml")));
    succeeds(&["synth", "--out", &data, "--studies", &studies.to_string(), "--seed", "3", "--size", "64"]);
    fs::write(&settings, SETTINGS).unwrap();
    (data, settings)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Every file below a directory with its content, sorted.
pub(crate) fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = walkdir::WalkDir::new(dir)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_file())
        .map(|path| (path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}
