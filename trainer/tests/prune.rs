//! `trainer prune` in several steps, through the binary: what it leaves, and that being killed does not change it.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod small;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use small::{command, data_and_settings, fails, succeeds, text};

/// Wide enough that channels can go in groups.
const NETWORK: &str = "stem = 16\nlayers = [2, 2]\ngrowth = 8\nbottleneck = 16\n";

/// Kills `line` as soon as `sign` is there, or after `longest`.
fn kill_at(line: &[&str], sign: &Path, longest: Duration) {
    let mut process = command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !sign.exists() && started.elapsed() < longest && process.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(1));
    }
    let _ = process.kill();
    process.wait().unwrap();
}

#[test]
fn a_pruning_in_steps_goes_on_where_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, settings) = data_and_settings(dir.path(), 24);
    let config = fs::read_to_string(&settings).unwrap();
    let head = config.split("[network]\n").next().unwrap();
    fs::write(&settings, format!("{head}[network]\n{NETWORK}")).unwrap();
    let at = |name: &str| dir.path().join(name);
    let dense = text(&at("dense"));
    succeeds(&["train", "--data", &data, "--run", &dense, "--config", &settings, "--device", "cpu"]);

    let (straight, killed) = (text(&at("straight")), text(&at("killed")));
    let line = |out: &'static str| {
        let out = if out == "straight" { straight.as_str() } else { killed.as_str() };
        let line =
            ["prune", "--run", &dense, "--data", &data, "--out", out, "--device", "cpu", "--macs", "0.4"];
        [&line[..], &["--steps", "2", "--step-epochs", "2", "--epochs", "2", "--distill", "0.5"]].concat()
    };
    let table = succeeds(&line("straight"));
    assert_eq!(table.lines().filter(|line| line.contains('%')).count(), 3, "{table}");

    let resumed = [&line("killed")[..], &["--resume"]].concat();
    for sign in
        ["killed/steps.csv", "killed/steps/1/train.toml", "killed/steps/1/metrics.csv", "killed/train.toml"]
    {
        kill_at(&resumed, &at(sign), Duration::from_secs(60));
    }
    let other: Vec<&str> = resumed.iter().map(|word| if *word == "0.4" { "0.3" } else { word }).collect();
    fails(&other, 65, &["was begun to keep", "--macs and --steps"]);
    fails(&line("killed"), 65, &["--resume"]);
    succeeds(&resumed);

    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    for file in ["best.safetensors", "prune.json", "steps.csv", "trade-off.svg", "widths.json"] {
        assert!(read(&format!("straight/{file}")) == read(&format!("killed/{file}")), "{file} differs");
    }
    assert!(!at("straight/steps/1/checkpoints").exists(), "a finished step keeps no checkpoint");
    let whole: serde_json::Value = serde_json::from_slice(&read("straight/prune.json")).unwrap();
    let share = whole["macs_after"].as_f64().unwrap() / whole["macs_before"].as_f64().unwrap();
    assert!(share <= 0.4, "{share} of the multiply-accumulates are left");
    assert_eq!(whole["widths_before"]["stem"], 16, "the plan is told against the dense network");
}

#[test]
fn impossible_prunings_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (data, settings) = data_and_settings(dir.path(), 24);
    let dense = text(&dir.path().join("dense"));
    let out = text(&dir.path().join("out"));
    succeeds(&["train", "--data", &data, "--run", &dense, "--config", &settings, "--device", "cpu"]);
    let line = ["prune", "--run", &dense, "--data", &data, "--out", &out, "--device", "cpu"];
    for (rest, code, words) in [
        (vec!["--macs", "0.5", "--teacher", &dense], 65, "--distill SHARE"),
        (vec!["--macs", "0.5", "--distill", "1.5"], 65, "--distill is 1.5"),
        (vec!["--macs", "0.5", "--steps", "0"], 2, "--steps"),
        (vec!["--macs", "0.5", "--importance", "magic"], 2, "bn-scale"),
        (vec!["--macs", "1.5"], 65, "--macs is 1.5"),
    ] {
        fails(&[&line[..], &rest].concat(), code, &[words]);
        assert!(!Path::new(&out).exists(), "{rest:?} left something behind");
    }
}
