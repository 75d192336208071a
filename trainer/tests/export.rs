//! `trainer export` and `trainer evaluate`, the binary itself, on a network with random weights.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tch::nn::VarStore;
use tch::{Device, no_grad};
use tempfile::TempDir;
use trainer::model::{DenseNet, Widths, tensors_to_bytes};
use trainer::run::{DataFacts, Run};
use trainer::train::Config;

/// A data set whose validation split has `labels`, two views each; returns its root.
fn data_set(directory: &TempDir, labels: &[&str]) -> PathBuf {
    let root = directory.path().join("data");
    for (number, label) in labels.iter().enumerate() {
        let study_type = ["XR_WRIST", "XR_HAND"][number / 2 % 2];
        let study = root.join(format!("valid/{study_type}/patient{number:05}/study1_{label}"));
        fs::create_dir_all(&study).unwrap();
        for view in 1..=2u32 {
            let step = number as u32 + view;
            let image = image::GrayImage::from_fn(96, 80, |x, y| {
                image::Luma([(x * step / 3 + y * (view + 1) + (x * y * step) % 37) as u8])
            });
            image.save(study.join(format!("image{view}.png"))).unwrap();
        }
    }
    root
}

/// A run with random weights at 64 px; returns its directory.
fn random_run(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("run");
    let widths = Widths::uniform(6, &[1, 2], 3, 5);
    let data = DataFacts {
        train_images: 40,
        train_studies: 20,
        valid_images: 16,
        valid_studies: 8,
        study_types: BTreeSet::from(["XR_WRIST".parse().unwrap(), "XR_HAND".parse().unwrap()]),
        fingerprint: String::new(),
    };
    let config = Config { size_px: 64, ..Config::default() };
    let run = Run::create(&path, config, widths.clone(), data).unwrap();
    tch::manual_seed(4);
    let store = VarStore::new(Device::Cpu);
    let _net = DenseNet::new(&store.root(), &widths);
    no_grad(|| {
        for (name, mut variable) in store.variables() {
            if name.ends_with("running_var") {
                variable.copy_(&(variable.rand_like() + 0.5));
            }
        }
    });
    let tensors: Vec<_> = store.variables().into_iter().collect();
    fs::write(run.best_path(), tensors_to_bytes(&tensors, HashMap::new()).unwrap()).unwrap();
    run.commit().unwrap();
    path
}

fn trainer(command: &str, arguments: &[(&str, &Path)], flags: &[&str]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_trainer"));
    process.arg(command);
    for (name, path) in arguments {
        process.arg(name).arg(path);
    }
    process.args(flags).output().unwrap()
}

/// Expects a failure with a code and with words in its message.
fn fails(output: &Output, code: i32, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const BOTH: [&str; 8] =
    ["negative", "positive", "positive", "negative", "negative", "positive", "negative", "positive"];

#[test]
fn a_bundle_is_exported_evaluated_and_guarded() {
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (data_set(&directory, &BOTH), random_run(&directory));
    let bundle = directory.path().join("bundle");
    let export =
        trainer("export", &[("--run", &run), ("--data", &data), ("--out", &bundle)], &["--size", "96"]);
    let printed = String::from_utf8_lossy(&export.stdout).into_owned();
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    assert!(printed.contains("96x96 px") && printed.contains("8 golden pairs"), "{printed}");
    let manifest: Value = serde_json::from_slice(&fs::read(bundle.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["purpose"], "demo");
    assert_eq!(manifest["training"]["train_images"], 40);
    assert_eq!(manifest["study_types"], serde_json::json!(["XR_HAND", "XR_WRIST"]));

    let report = json(&trainer("evaluate", &[("--bundle", &bundle), ("--data", &data)], &["--json"]));
    assert_eq!(report["source"], "bundle");
    assert_eq!((report["study"]["n"].as_u64(), report["image"]["positives"].as_u64()), (Some(8), Some(8)));
    for key in ["auroc", "kappa", "sensitivity", "specificity", "decision_kappa"] {
        assert!(report["study"][key].is_number(), "{key}: {}", report["study"]);
    }
    assert_eq!(report["study"]["auroc_ci95"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["study"]["auroc"], manifest["training"]["valid_auroc"]);

    // At its own size the run's logits are those of a bundle of that size.
    let small = directory.path().join("small");
    let export = trainer("export", &[("--run", &run), ("--data", &data), ("--out", &small)], &[]);
    assert!(export.status.success());
    let of_run =
        json(&trainer("evaluate", &[("--run", &run), ("--data", &data)], &["--json", "--split", "valid"]));
    let of_small = json(&trainer("evaluate", &[("--bundle", &small), ("--data", &data)], &["--json"]));
    for (a, b) in of_run["studies"].as_array().unwrap().iter().zip(of_small["studies"].as_array().unwrap()) {
        assert_eq!((&a["path"], &a["type"]), (&b["path"], &b["type"]));
        let logit = |study: &Value| study["views"][1]["logit"].as_f64().unwrap();
        assert!((logit(a) - logit(b)).abs() < 1e-4, "{a} {b}");
        assert!(a["views"][1]["path"].as_str().unwrap().ends_with("/image2.png"));
    }

    let table = trainer("evaluate", &[("--bundle", &bundle), ("--data", &data)], &[]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("XR_HAND"));

    let model = bundle.join("model.onnx");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&model, bytes).unwrap();
    let arguments: [(&str, &Path); 2] = [("--bundle", &bundle), ("--data", &data)];
    fails(&trainer("evaluate", &arguments, &["--json"]), 65, &["damaged", "model.onnx", "again"]);
    fs::remove_file(&model).unwrap();
    fails(&trainer("evaluate", &arguments, &[]), 65, &["incomplete", "model.onnx"]);
    fs::remove_dir_all(&bundle).unwrap();
    fails(&trainer("evaluate", &arguments, &[]), 66, &["manifest.json"]);
}

#[test]
fn a_split_without_positives_is_measured_as_far_as_it_goes_and_not_exported() {
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (data_set(&directory, &["negative"; 3]), random_run(&directory));
    let report = json(&trainer("evaluate", &[("--run", &run), ("--data", &data)], &["--json"]));
    assert!(report["study"]["auroc"].is_null());
    assert!(report["study"]["note"].as_str().unwrap().contains("no abnormal studies"));

    let out = directory.path().join("bundle");
    let arguments: [(&str, &Path); 3] = [("--run", &run), ("--data", &data), ("--out", &out)];
    fails(&trainer("export", &arguments, &[]), 65, &["0 abnormal and 6 normal images", "add studies"]);
    assert!(!out.exists());
    let arguments: [(&str, &Path); 2] = [("--run", &run), ("--data", &data)];
    fails(&trainer("evaluate", &arguments, &["--split", "train"]), 65, &["no studies in train"]);
}

#[test]
fn what_cannot_be_exported_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (data_set(&directory, &BOTH), random_run(&directory));
    let out = directory.path().join("bundle");
    let arguments: [(&str, &Path); 3] = [("--run", &run), ("--data", &data), ("--out", &out)];
    fails(&trainer("export", &arguments, &["--purpose", "diagnosis"]), 2, &["clinical-evaluation"]);
    fails(&trainer("export", &arguments, &["--size", "32"]), 65, &["64 px"]);
    fs::write(data.join("truth.csv"), b"path\n").unwrap();
    fails(&trainer("export", &arguments, &["--purpose", "clinical-evaluation"]), 65, &["phantoms"]);
    let occupied: [(&str, &Path); 3] = [("--run", &run), ("--data", &data), ("--out", &data)];
    fails(&trainer("export", &occupied, &[]), 65, &["not a bundle"]);
    let nowhere = directory.path().join("nowhere");
    fails(
        &trainer("export", &[("--run", &nowhere), ("--data", &data), ("--out", &out)], &[]),
        66,
        &["nowhere"],
    );
    assert!(!out.exists());
}
