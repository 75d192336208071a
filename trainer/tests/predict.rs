//! `trainer predict` and `trainer diagram`, the binary itself, on a network with random weights.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod random;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use random::{data_set, random_run};
use serde_json::Value;
use trainer::model::{LayerWidths, Widths};

fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn views_and_studies_are_scored_and_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (data_set(&directory, &["negative", "positive"]), random_run(&directory));
    let study = data.join("valid/XR_WRIST/patient00000/study1_negative");
    let image = study.join("image2.png");
    let out = directory.path().join("seen");
    let output = trainer(&[
        "predict",
        "--run",
        text(&run),
        "--out",
        text(&out),
        "--json",
        "--activation-map",
        text(&study),
        text(&image),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = lines(&output);
    assert_eq!(found.len(), 2);
    assert_eq!(
        (&found[0]["study_type"], &found[0]["calibrated"]),
        (&Value::from("XR_WRIST"), &Value::from(false))
    );
    let views = found[0]["views"].as_array().unwrap();
    assert_eq!(views.len(), 2);
    // The file named alone is the folder's second view.
    assert_eq!(found[1]["views"][0]["logit"], views[1]["logit"]);
    let probabilities: Vec<f64> = views.iter().map(|view| view["probability"].as_f64().unwrap()).collect();
    let mean = probabilities.iter().sum::<f64>() / 2.0;
    assert!((found[0]["probability"].as_f64().unwrap() - mean).abs() < 1e-12);
    let map = &views[0]["activation_map"];
    let cells = map["width"].as_u64().unwrap() * map["height"].as_u64().unwrap();
    assert_eq!(map["values"].as_array().unwrap().len() as u64, cells);

    let mut names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["0001-image1.png", "0002-image2.png", "0003-image2.png", "index.html"]);
    let picture = image::open(out.join("0001-image1.png")).unwrap();
    assert!(picture.width() >= 96 && picture.height() > 80, "{}x{}", picture.width(), picture.height());
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.contains("image1.png: probability") && !page.contains("patient00000"));
    assert_eq!(page.matches("data:image/png").count(), 3);

    // A folder above studies is all of them; the words name each.
    let whole = trainer(&["predict", "--run", text(&run), text(&data)]);
    let words = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(whole.status.success() && words.matches("not calibrated").count() == 2, "{words}");
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_scored() {
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (data_set(&directory, &["negative"]), random_run(&directory));
    let study = data.join("valid/XR_WRIST/patient00000/study1_negative");
    let whole = fs::read(study.join("image1.png")).unwrap();
    fs::write(study.join("image1.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(study.join("image3.png"), b"words, not pixels").unwrap();
    let output = trainer(&["predict", "--run", text(&run), "--json", text(&study)]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(65), "{errors}");
    assert!(
        errors.contains("2 of 3 inputs could not be scored") && errors.contains("image3.png"),
        "{errors}"
    );
    let found = lines(&output);
    let views = found[0]["views"].as_array().unwrap();
    assert!(views[0]["error"].as_str().unwrap().contains("ends before"), "{}", views[0]);
    assert!(views[1]["logit"].is_number() && views[2]["error"].as_str().unwrap().contains("not an image"));
    assert_eq!(found[0]["probability"], views[1]["probability"]);

    let code = |arguments: &[&str]| trainer(arguments).status.code();
    let nowhere = directory.path().join("nowhere");
    assert_eq!(code(&["predict", "--run", text(&run), text(&nowhere)]), Some(66));
    assert_eq!(code(&["predict", "--run", text(&nowhere), text(&study)]), Some(66));
    assert_eq!(code(&["predict", "--bundle", text(&run), text(&study)]), Some(66));
    assert_eq!(code(&["predict", "--run", text(&run), "--cam-max", "0", text(&study)]), Some(2));
    assert_eq!(code(&["predict", "--run", text(&run), "--device", "cuda:7", text(&study)]), Some(66));
    let file = study.join("image2.png");
    assert_eq!(code(&["predict", "--run", text(&run), "--out", text(&file), text(&study)]), Some(74));
}

#[test]
fn a_network_is_drawn_before_and_after_pruning() {
    let directory = tempfile::tempdir().unwrap();
    let run = random_run(&directory);
    let svg = directory.path().join("pictures/net.svg");
    let output = trainer(&["diagram", "--run", text(&run), "--out", text(&svg)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let drawing = fs::read_to_string(&svg).unwrap();
    assert!(
        drawing.starts_with("<svg") && drawing.contains("as trained") && !drawing.contains("before pruning")
    );

    let mut before = Widths::uniform(6, &[1, 2], 3, 5);
    before.blocks[1][0] = LayerWidths { bottleneck: 20, growth: 9 };
    let record = serde_json::json!({ "widths_before": before, "macs_target_share": 0.5 });
    fs::write(run.join("prune.json"), record.to_string()).unwrap();
    let html = directory.path().join("net.html");
    assert!(
        trainer(&["diagram", "--run", text(&run), "--out", text(&html), "--size", "128"]).status.success()
    );
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("before pruning") && page.contains("after pruning") && page.contains("128x128"));

    let fails = |out: &Path, code: i32, words: &str| {
        let output = trainer(&["diagram", "--run", text(&run), "--out", text(out)]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && message.contains(words), "{message}");
    };
    fails(&directory.path().join("net.pdf"), 65, ".svg or .html");
    fs::write(run.join("prune.json"), b"{").unwrap();
    fails(&svg, 65, "prune.json is broken");
}
