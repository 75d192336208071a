//! `trainer evaluate`, the binary itself, on phantoms and networks with random weights: ensembles, findings, the
//! report's files, bad input.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tch::Device;
use tch::nn::VarStore;
use tempfile::TempDir;
use trainer::model::{DenseNet, Widths, tensors_to_bytes};
use trainer::run::{DataFacts, Run};
use trainer::train::Config;

/// A run with random weights; returns its directory.
fn random_run(directory: &TempDir, name: &str, size_px: u32, seed: i64) -> PathBuf {
    let path = directory.path().join(name);
    let widths = Widths::uniform(6, &[1, 2], 3, 5);
    let data = DataFacts {
        train_images: 40,
        train_studies: 20,
        valid_images: 16,
        valid_studies: 8,
        study_types: BTreeSet::from(["XR_WRIST".parse().unwrap()]),
        fingerprint: String::new(),
    };
    let run = Run::create(&path, Config { size_px, ..Config::default() }, widths.clone(), data).unwrap();
    tch::manual_seed(seed);
    let store = VarStore::new(Device::Cpu);
    let _net = DenseNet::new(&store.root(), &widths);
    let tensors: Vec<_> = store.variables().into_iter().collect();
    fs::write(run.best_path(), tensors_to_bytes(&tensors, HashMap::new()).unwrap()).unwrap();
    run.commit().unwrap();
    path
}

fn phantoms(directory: &TempDir) -> PathBuf {
    let data = directory.path().join("data");
    let options = ["--studies", "120", "--seed", "3", "--size", "64", "--types", "XR_WRIST,XR_HAND"];
    let output = trainer("synth", &[("--out", &data)], &options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    data
}

fn trainer(command: &str, arguments: &[(&str, &Path)], flags: &[&str]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_trainer"));
    process.arg(command);
    for (name, path) in arguments {
        process.arg(name).arg(path);
    }
    process.args(flags).output().unwrap()
}

fn evaluate(arguments: &[(&str, &Path)], flags: &[&str]) -> Value {
    let output = trainer("evaluate", arguments, &[flags, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn fails(arguments: &[(&str, &Path)], flags: &[&str], code: i32, words: &[&str]) {
    let output = trainer("evaluate", arguments, flags);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

/// The number behind a key, as a fraction of a probability.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn an_ensemble_on_phantoms_is_measured_in_full_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let data = phantoms(&directory);
    // Two input sizes: each network sees its own planes.
    let (one, other) = (random_run(&directory, "one", 64, 4), random_run(&directory, "other", 96, 5));
    let out = directory.path().join("report");
    let arguments: [(&str, &Path); 4] =
        [("--run", &one), ("--run", &other), ("--data", &data), ("--out", &out)];
    let report = evaluate(&arguments, &[]);
    assert_eq!(report["source"], "ensemble");
    assert_eq!((&report["about"]["phantoms"], &report["ece_bins"]), (&Value::from(true), &Value::from(15)));
    assert_eq!(report["about"]["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["decision"]["source"], "cross_fitted");
    for group in [&report["study"], &report["per_type"]["XR_WRIST"], &report["per_type"]["XR_HAND"]] {
        for key in ["auroc", "kappa", "decision_kappa", "sensitivity", "specificity", "f1", "ece", "brier"] {
            assert!(group[key].is_number(), "{key}: {group}");
            let interval = group[format!("{key}_ci95")].as_array().unwrap();
            assert!(number(&interval[0]) <= number(&interval[1]), "{key}: {group}");
        }
    }
    assert!(report["image"]["auroc"].is_number() && report["image"]["decision_kappa"].is_null());

    // The study's probability is the mean over its views of the mean over the members.
    let alone = [&one, &other].map(|run| evaluate(&[("--run", run), ("--data", &data)], &[]));
    assert_eq!(alone[0]["source"], "run");
    for (i, study) in report["studies"].as_array().unwrap().iter().enumerate() {
        let mean = alone.iter().map(|run| number(&run["studies"][i]["probability"])).sum::<f64>() / 2.0;
        assert!((number(&study["probability"]) - mean).abs() < 1e-12, "{study}");
        assert_eq!(study["views"][0]["member_logits"][1], alone[1]["studies"][i]["views"][0]["logit"]);
    }

    let findings = &report["per_finding"];
    assert!(findings["source"].as_str().unwrap().ends_with("truth.csv"));
    assert_eq!(findings["abnormal_without"], 0);
    let mut with_findings = 0;
    for finding in ["fracture", "hardware", "degenerative", "other"] {
        let measures = &findings["measures"][finding];
        with_findings += measures["n"].as_u64().unwrap();
        assert!(measures["auroc"].is_number() && measures["sensitivity_ci95"].is_array(), "{measures}");
    }
    assert_eq!(Some(with_findings), report["study"]["positives"].as_u64());

    let written: Value = serde_json::from_slice(&fs::read(out.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(written, report);
    for picture in ["roc", "precision-recall", "reliability", "confusion"] {
        let svg = fs::read_to_string(out.join(format!("{picture}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{picture}");
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 4);
    for words in
        ["drawn phantoms", "hidden test set", "1712.06957", "image level", "0.778", "Decision support only"]
    {
        assert!(page.contains(words), "{words}");
    }
    for outside in ["src=\"http", "href=", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn the_kept_networks_of_a_run_are_an_ensemble() {
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (phantoms(&directory), random_run(&directory, "run", 64, 4));
    let arguments: [(&str, &Path); 2] = [("--run", &run), ("--data", &data)];
    fails(&arguments, &["--members", "best"], 66, &["run/best", "--members"]);
    fs::create_dir(run.join("best")).unwrap();
    for name in ["epoch-001.safetensors", "epoch-002.safetensors"] {
        fs::copy(run.join("best.safetensors"), run.join("best").join(name)).unwrap();
    }
    let (ensemble, alone) = (evaluate(&arguments, &["--members", "best"]), evaluate(&arguments, &[]));
    assert_eq!((&ensemble["source"], &alone["source"]), (&Value::from("ensemble"), &Value::from("run")));
    // The same network twice is the network.
    assert_eq!(ensemble["study"]["auroc_ci95"], alone["study"]["auroc_ci95"]);
    let table = trainer("evaluate", &arguments, &["--members", "best"]);
    let table = String::from_utf8_lossy(&table.stdout);
    assert!(table.contains("an ensemble of 2 networks") && table.contains("drawn phantoms"), "{table}");

    fs::write(run.join("best/epoch-003.safetensors"), b"torn").unwrap();
    fails(&arguments, &["--members", "best"], 65, &["epoch-003.safetensors"]);
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (phantoms(&directory), random_run(&directory, "run", 64, 4));
    let both: [(&str, &Path); 2] = [("--run", &run), ("--data", &data)];
    let csv = directory.path().join("findings.csv");
    let with = |text: &str| {
        fs::write(&csv, text).unwrap();
        [both[0], both[1], ("--findings", csv.as_path())]
    };
    fails(&with("path,fractures\n"), &[], 65, &["findings.csv", "`fractures`", "degenerative"]);
    fails(&with("path,finding\nvalid/XR_HAND/p/study1_positive,other\n"), &[], 65, &["not in the data set"]);
    let nowhere = directory.path().join("nowhere");
    fails(&[both[0], both[1], ("--findings", &nowhere)], &[], 66, &["nowhere"]);
    fails(&[both[0], both[0], both[1]], &[], 65, &["named twice"]);
    fails(&[both[0], both[1], ("--out", &csv)], &[], 74, &["findings.csv"]);
    fails(&[both[0], both[1], ("--bundle", &run)], &[], 2, &["--bundle"]);
    fails(&both[1..], &[], 2, &["--run"]);
    fails(&[("--run", &nowhere), both[1]], &[], 66, &["holds no run"]);
}
