//! `trainer export` and `trainer evaluate`, the binary itself, on a network with random weights.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod random;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use random::{data_set, random_run};
use serde_json::Value;

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
    let reason = manifest["cross_fit"]["reason"].as_str().unwrap();
    assert!(reason.contains("4 patients with an abnormal and 4 with a normal study"), "{reason}");
    assert!(manifest["files"]["model-card.md"].is_object());
    let card = fs::read_to_string(bundle.join("model-card.md")).unwrap();
    for words in [
        "DEMONSTRATION MODEL",
        "## Intended use",
        "XR_HAND, XR_WRIST",
        "96x96 px",
        "export again with --data-licence",
        "8 golden images",
        "size_px = 64",
        "Not measured: 4 patients",
    ] {
        assert!(card.contains(words), "`{words}` is not in: {card}");
    }

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
fn operating_points_are_measured_on_patients_that_they_were_not_found_on() {
    let directory = tempfile::tempdir().unwrap();
    let labels: Vec<&str> = (0..24).map(|i| if i % 3 == 0 { "positive" } else { "negative" }).collect();
    let (data, run) = (data_set(&directory, &labels), random_run(&directory));
    let out = directory.path().join("bundle");
    let arguments: [(&str, &Path); 3] = [("--run", &run), ("--data", &data), ("--out", &out)];
    let flags =
        ["--rule-out-sensitivity", "0.8", "--rule-in-specificity", "0.7", "--data-licence", "CC0 1.0"];
    let export = trainer("export", &arguments, &flags);
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    assert!(String::from_utf8_lossy(&export.stdout).contains("on patients they were not found on (5 folds)"));
    let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let found = &manifest["cross_fit"];
    assert_eq!(
        (&found["rule_out_sensitivity_target"], &found["folds"]),
        (&Value::from(0.8), &Value::from(5))
    );
    assert_eq!((found["pooled"]["studies"].as_u64(), found["patients"].as_u64()), (Some(24), Some(24)));
    assert!(found["pooled"]["decision_kappa"].is_number() && found["per_type"]["XR_HAND"].is_object());
    assert!(found["caveat"].as_str().unwrap().contains("chosen on the same validation"));
    let card = fs::read_to_string(out.join("model-card.md")).unwrap();
    assert!(card.contains("Licence of the data: CC0 1.0") && card.contains("kappa at decision"), "{card}");
    fails(&trainer("export", &arguments, &["--rule-out-sensitivity", "0"]), 2, &["above 0, at most 1"]);
    fails(&trainer("export", &arguments, &["--rule-in-specificity", "1.5"]), 2, &["above 0, at most 1"]);
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
