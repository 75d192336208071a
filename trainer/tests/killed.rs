//! A training run that is killed at any moment ends, resumed, as if nothing had happened.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod small;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use small::{command, content, data_and_settings, fails, succeeds, text};

/// How often the run is killed; more with ULNA_KILLS.
const KILLS: u64 = 5;

/// What of a run must not depend on how often it was killed: weights, newest checkpoint, metrics. Left out
/// are the earlier checkpoint, which may be another step's, and what a clock stands in.
fn outcome(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = content(run);
    let is_checkpoint = |path: &Path| path.starts_with("checkpoints");
    let newest = files.iter().map(|(path, _)| path).filter(|path| is_checkpoint(path)).max().unwrap().clone();
    files.retain(|(path, _)| (!is_checkpoint(path) || *path == newest) && !path.starts_with("tensorboard"));
    for (path, bytes) in &mut files {
        if path.ends_with("metrics.csv") {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let without_clock = |line: &str| line.split(',').take(7).collect::<Vec<_>>().join(",");
            *bytes = text.lines().map(without_clock).collect::<Vec<_>>().join("\n").into_bytes();
        }
    }
    files
}

/// Compares what two runs ended with, file by file.
fn assert_same(straight: &Path, killed: &Path) {
    let (expected, found) = (outcome(straight), outcome(killed));
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found));
    for ((path, expected), (_, found)) in expected.iter().zip(&found) {
        assert!(expected == found, "{} differs", path.display());
    }
}

/// Waits for a random time, or every second time until the process is just writing a checkpoint; at most so
/// long.
fn wait_for_a_bad_moment(run: &Path, number: u64, longest: Duration) {
    let started = Instant::now();
    // Any sequence will do, as long as the moments differ.
    let share = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
    let at_least = longest.mul_f64(0.2 + 0.6 * share);
    sleep(at_least);
    let is_written = || {
        let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.path().extension().is_some_and(|ext| ext == "tmp"))
    };
    while number % 2 == 1 && started.elapsed() < longest && !is_written() {
        sleep(Duration::from_micros(100));
    }
}

/// Kills a process with SIGKILL; whether it was still running.
fn kill(mut process: Child) -> bool {
    let running = process.try_wait().unwrap().is_none();
    let _ = process.kill();
    process.wait().unwrap();
    running
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_like_an_undisturbed_one() {
    let dir = tempfile::tempdir().unwrap();
    let (data, settings) = data_and_settings(dir.path(), 40);
    let (straight, killed) = (dir.path().join("straight"), dir.path().join("killed"));
    let line = |run: &Path| -> [String; 9] {
        let run = text(run);
        ["train", "--data", &data, "--config", &settings, "--device=cpu", "--resume", "--run", &run]
            .map(str::to_owned)
    };
    let started = Instant::now();
    succeeds(&line(&straight));
    let whole = started.elapsed();

    let kills = std::env::var("ULNA_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let arguments = line(&killed);
    let mut hits = 0;
    for number in 0..kills {
        let process = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_a_bad_moment(&killed, number, whole);
        if kill(process) {
            hits += 1;
        } else {
            // It was done: that is compared, and the next kills meet another run.
            assert_same(&straight, &killed);
            fs::remove_dir_all(&killed).unwrap();
        }
    }
    let said = succeeds(&arguments);
    assert!(said.contains("trained to the end of epoch 3"), "{said}");
    assert!(2 * hits >= kills, "only {hits} of {kills} kills met a running process");

    assert_same(&straight, &killed);
}

#[test]
fn a_run_that_is_told_to_stop_leaves_a_checkpoint_and_is_trained_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (data, settings) = data_and_settings(dir.path(), 24);
    let run = dir.path().join("run");
    let run_text = text(&run);
    let line = ["train", "--data", &data, "--config", &settings, "--device=cpu", "--run", &run_text];
    let line = [&line[..], &["--epochs", "100000", "--resume"]].concat();
    let process = command(&line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !run.join("metrics.csv").is_file() && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
    fails(&line, 65, &["another process is training"]);
    let told = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
    assert!(told.success());
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    let said = said.lines().last().unwrap();
    assert!(said.starts_with("stopped after step"), "{said}");
    let step: u64 = said.split(' ').nth(3).unwrap().parse().unwrap();
    let newest = content(&run.join("checkpoints")).pop().unwrap().0;
    assert!(text(&newest).contains(&format!("-step-{step:08}-")), "{said} {}", newest.display());
}
