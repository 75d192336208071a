//! `trainer index`, `explore`, `pack` and `bench loader`, the binary itself, and training from a packed cache.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use contract::preprocess::PreprocessSpec;
use serde_json::Value;
use tempfile::TempDir;
use trainer::dataset::{Index, Split};
use trainer::model::Widths;
use trainer::run::{DataFacts, Run};
use trainer::train::{Config, Outcome, Session, Start, train};

/// Phantoms in the MURA layout: `studies` of them, at 128 px.
fn phantoms(directory: &TempDir, studies: usize) -> PathBuf {
    let root = directory.path().join("data");
    let types = ["--types", "XR_WRIST,XR_HAND"];
    let made = trainer("synth")
        .arg("--out")
        .arg(&root)
        .args(["--studies", &studies.to_string(), "--seed", "3", "--size", "128"])
        .args(types)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    root
}

fn trainer(command: &str) -> Command {
    let mut process = Command::new(env!("CARGO_BIN_EXE_trainer"));
    process.arg(command);
    process
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command with `--data` and `--out` to its good end; gives its standard output.
fn done(command: &str, data: &Path, out: &Path, flags: &[&str]) -> String {
    let output = with(command, data, out, flags);
    assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn with(command: &str, data: &Path, out: &Path, flags: &[&str]) -> Output {
    trainer(command).arg("--data").arg(data).arg("--out").arg(out).args(flags).output().unwrap()
}

/// The first image of the first study below a split.
fn first_image(root: &Path, split: Split) -> PathBuf {
    let index = Index::scan(root).unwrap();
    index.split(split)[0].images[0].clone()
}

#[test]
fn index_lists_what_can_be_used_and_what_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let (data, out) = (phantoms(&directory, 16), directory.path().join("lists"));
    let broken = first_image(&data, Split::Train);
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(broken.with_file_name("notes.txt"), b"").unwrap();
    fs::write(broken.with_file_name("._image1.png"), b"").unwrap();

    let said = done("index", &data, &out, &[]);
    assert!(said.contains("1 entries skipped, 1 unreadable images"), "{said}");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let path = broken.strip_prefix(&data).unwrap().to_str().unwrap();
    let unreadable = read("unreadable.csv");
    assert!(unreadable.starts_with("path,reason\n") && unreadable.contains(path), "{unreadable}");
    assert!(read("skipped.csv").contains("notes.txt,not an image file"));
    assert!(!read("train_images.csv").contains(path));
    let counted: usize = ["train", "valid"]
        .iter()
        .flat_map(|split| {
            let studies = read(&format!("{split}_studies.csv"));
            assert!(studies.starts_with("path,count,label,patient,study_type\n"));
            studies
                .lines()
                .skip(1)
                .map(|l| l.split(',').nth(1).unwrap().parse::<usize>().unwrap())
                .collect::<Vec<_>>()
        })
        .sum();
    let images = read("train_images.csv").lines().count() + read("valid_images.csv").lines().count() - 2;
    assert_eq!(counted, images);

    done("index", &data, &out, &["--no-check"]);
    assert!(read("train_images.csv").contains(path));
}

#[test]
fn explore_makes_one_page_that_needs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (data, out) = (phantoms(&directory, 24), directory.path().join("looks"));
    let said = done("explore", &data, &out, &["--per-sheet", "3"]);
    assert!(said.contains("4 figures and 4 sample sheets"), "{said}");
    let page = fs::read_to_string(out.join("explore.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 4);
    assert_eq!(page.matches("data:image/png;base64,").count(), 4);
    assert!(!page.contains("https://") && page.contains("drawn phantoms"));
    for file in
        ["patients-per-type.svg", "studies-per-patient.svg", "labels-per-type.svg", "images-per-study.svg"]
    {
        assert!(fs::read_to_string(out.join(file)).unwrap().starts_with("<svg"), "{file}");
    }
    let sheet = fs::read(out.join("XR_HAND-abnormal.png")).unwrap();
    let again = directory.path().join("again");
    done("explore", &data, &again, &["--per-sheet", "3"]);
    assert!(fs::read(again.join("XR_HAND-abnormal.png")).unwrap() == sheet, "the seed decides");
    done("explore", &data, &again, &["--per-sheet", "3", "--seed", "2"]);
    assert!(fs::read_to_string(again.join("explore.html")).unwrap() != page, "another seed shows others");
}

#[test]
fn a_killed_packing_goes_on_and_ends_as_an_unbroken_one() {
    let directory = tempfile::tempdir().unwrap();
    let (data, out) = (phantoms(&directory, 30), directory.path().join("cache"));
    let size = ["--size", "320"];
    for _ in 0..3 {
        let mut process = trainer("pack")
            .arg("--data")
            .arg(&data)
            .arg("--out")
            .arg(&out)
            .args(size)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let log = out.join("packing.log");
        let before = fs::metadata(&log).map_or(0, |m| m.len());
        while fs::metadata(&log).map_or(0, |m| m.len()) <= before + 16
            && process.try_wait().unwrap().is_none()
            && begun.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
    done("pack", &data, &out, &size);
    let unbroken = directory.path().join("unbroken");
    done("pack", &data, &unbroken, &size);
    for file in ["cache.json", "index.json", "planes.u8", "truth.csv"] {
        assert!(fs::read(out.join(file)).unwrap() == fs::read(unbroken.join(file)).unwrap(), "{file}");
    }
    let said = done("pack", &data, &out, &size);
    assert!(said.contains("is whole already"), "{said}");
    let refused = with("pack", &data, &out, &["--size", "96"]);
    assert_eq!(refused.status.code(), Some(65));
    assert!(text(&refused.stderr).contains("choose another directory"), "{}", text(&refused.stderr));
    let refused = with("index", &out, &directory.path().join("lists"), &[]);
    assert_eq!(refused.status.code(), Some(66));
    assert!(text(&refused.stderr).contains("is a packed cache"), "{}", text(&refused.stderr));
}

#[test]
fn the_loader_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let (data, out) = (phantoms(&directory, 8), directory.path().join("cache"));
    let bench = |data: &Path| {
        let line =
            ["loader", "--size", "64", "--batch", "4", "--seconds", "0.2", "--device", "cpu", "--json"];
        let output = trainer("bench").args(line).arg("--data").arg(data).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let lines = report["lines"].as_array().unwrap().clone();
        assert!(lines.iter().all(|line| line["images_per_s"].as_f64().unwrap() > 1.0), "{report}");
        lines.len()
    };
    assert_eq!(bench(&data), 6);
    done("pack", &data, &out, &["--size", "64"]);
    assert_eq!(bench(&out), 5);
}

/// Trains a tiny network for an epoch; gives its best weights.
fn trained(index: &Index, directory: &Path) -> Vec<u8> {
    let config = Config { size_px: 64, epochs: 1, batch: 4, ..Config::default() };
    let planes = |split| index.planes(index.split(split), &config.spec()).unwrap();
    let (train_planes, valid) = (planes(Split::Train), planes(Split::Valid));
    let data = DataFacts::of(&train_planes, &valid);
    let run = Run::create(directory, config, Widths::uniform(6, &[1, 2], 3, 5), data).unwrap();
    let session =
        Session { run: &run, train: &train_planes, valid: &valid, device: tch::Device::Cpu, stop: &|| false };
    assert!(matches!(train(&session, Start::Fresh).unwrap(), Outcome::Finished(_)));
    fs::read(run.best_path()).unwrap()
}

#[test]
fn training_from_a_cache_gives_the_same_weights() {
    let directory = tempfile::tempdir().unwrap();
    let (data, out) = (phantoms(&directory, 12), directory.path().join("cache"));
    done("pack", &data, &out, &["--size", "64"]);
    let from_files = trained(&Index::open(&data).unwrap(), &directory.path().join("run-files"));
    let index = Index::open(&out).unwrap();
    assert_eq!(index.packed_spec(), Some(&PreprocessSpec::square(64)));
    let from_cache = trained(&index, &directory.path().join("run-cache"));
    assert!(from_files == from_cache, "the weights differ");
    let facts = |run: &str| fs::read_to_string(directory.path().join(run).join("data.json")).unwrap();
    assert_eq!(facts("run-files"), facts("run-cache"));

    // A run at another size does not take the cache, and leaves nothing behind.
    let run = directory.path().join("run-other");
    let refused = trainer("train")
        .arg("--data")
        .arg(&out)
        .arg("--run")
        .arg(&run)
        .args(["--size", "96"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(65));
    assert!(text(&refused.stderr).contains("asked for are 96x96 px"), "{}", text(&refused.stderr));
    assert!(!run.exists());
}
