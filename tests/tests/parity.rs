//! One bundle, three engines: libtorch (the trainer), tract (the station) and ONNX Runtime give the same logits and
//! the same activation maps; and ONNX's own checker accepts the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use contract::bundle::{BundleManifest, MANIFEST_FILE, MODEL_FILE, within_tolerance};
use contract::preprocess::{normalise, to_plane};
use contract::radiograph::{Limits, decode};
use e2e::infer::infer;
use e2e::{bin, demo_bundle, demo_studies, made, repository};
use serde_json::Value;

/// Of logits and of every place of the maps: |delta| <= TOLERANCE * max(1, |value|).
const TOLERANCE: f64 = 1e-4;

/// Checks the file, then runs it on the inputs of a raw file and prints a JSON line for each.
const ONNX_RUNTIME: &str = r#"
import json, sys
import numpy, onnx, onnxruntime
model, inputs = sys.argv[1:]
onnx.checker.check_model(model, full_check=True)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape
for radiograph in numpy.fromfile(inputs, "<f4").reshape([-1] + shape):
    logit, grid = session.run(["logit", "activation_map"], {"radiograph": radiograph})
    print(json.dumps({"logit": float(logit[0, 0]), "map": [float(value) for value in grid[0].ravel()]}))
"#;

/// What an engine gives for one image.
#[derive(Debug)]
struct Output {
    logit: f64,
    map: Vec<f64>,
}

fn numbers(values: &Value) -> anyhow::Result<Vec<f64>> {
    values.as_array().context("no list")?.iter().map(|v| v.as_f64().context("no number")).collect()
}

fn libtorch(what: &str, path: &Path, images: &[PathBuf]) -> anyhow::Result<Vec<Output>> {
    let mut command = Command::new(bin::trainer()?);
    command.args(["predict", "--json", "--activation-map", "--device", "cpu", what]).arg(path).args(images);
    let output = |line: &str| -> anyhow::Result<Output> {
        let view = &serde_json::from_str::<Value>(line)?["views"][0];
        let map = numbers(&view["activation_map"]["values"])?;
        Ok(Output { logit: view["logit"].as_f64().context("no logit")?, map })
    };
    bin::succeed(&mut command)?.lines().map(output).collect()
}

fn tract(bundle: &Path, images: &[PathBuf]) -> anyhow::Result<Vec<Output>> {
    let inferred = infer(bundle, images)?;
    ensure!(inferred.code == Some(0), "edge infer: {}", inferred.stderr);
    let output = |study: &contract::result::StudyResult| -> anyhow::Result<Output> {
        let view = study.views.first().context("no view")?;
        let map = view.activation_map.as_ref().context("no map")?;
        let map = map.values.iter().map(|value| f64::from(*value)).collect();
        Ok(Output { logit: view.logit.context("no logit")?, map })
    };
    inferred.studies.iter().map(|(_, study)| output(study)).collect()
}

fn onnx_runtime(bundle: &Path, images: &[PathBuf], work: &Path) -> anyhow::Result<Vec<Output>> {
    let manifest = BundleManifest::parse(&fs::read(bundle.join(MANIFEST_FILE))?)?;
    let mut inputs = Vec::new();
    for image in images {
        let radiograph = decode(&fs::read(image)?, &Limits::default())?.radiograph;
        let input = normalise(&to_plane(&radiograph, &manifest.input)?, &manifest.input);
        inputs.extend(input.iter().flat_map(|value| value.to_le_bytes()));
    }
    let file = work.join("inputs.f32");
    fs::write(&file, inputs)?;
    let packages = std::env::var_os("ULNA_PYTHONPATH")
        .map_or_else(|| repository().join("third_party/python"), PathBuf::from);
    ensure!(packages.is_dir(), "{} is missing: run `make deps`", packages.display());
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).args(["-c", ONNX_RUNTIME]).arg(bundle.join(MODEL_FILE)).arg(file);
    let output = |line: &str| -> anyhow::Result<Output> {
        let line: Value = serde_json::from_str(line)?;
        Ok(Output { logit: line["logit"].as_f64().context("no logit")?, map: numbers(&line["map"])? })
    };
    bin::succeed(&mut python)?.lines().map(output).collect()
}

/// Compares the engines on a bundle; libtorch runs the file and, where it is there, the run it was exported from.
fn compare(bundle: &Path, run: Option<&Path>, images: &[PathBuf]) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let expected = match run {
        Some(run) => libtorch("--run", run, images)?,
        None => libtorch("--bundle", bundle, images)?,
    };
    let engines = [
        ("libtorch on the file", libtorch("--bundle", bundle, images)?),
        ("tract", tract(bundle, images)?),
        ("ONNX Runtime", onnx_runtime(bundle, images, work.path())?),
    ];
    for (engine, found) in engines {
        assert_eq!((found.len(), expected.len()), (images.len(), images.len()), "{engine}");
        let mut drift = [0f64; 2];
        for ((found, expected), image) in found.iter().zip(&expected).zip(images) {
            assert_eq!(found.map.len(), expected.map.len(), "{engine}");
            let places = found.map.iter().zip(&expected.map).map(|(f, e)| (*f, *e, 1));
            for (found, expected, what) in std::iter::once((found.logit, expected.logit, 0)).chain(places) {
                let image = image.display();
                let close = within_tolerance(expected, found, TOLERANCE);
                assert!(close, "{engine}, {image}: {found}, libtorch {expected}");
                drift[what] = drift[what].max((found - expected).abs() / expected.abs().max(1.0));
            }
        }
        println!("{engine}: largest drift {:.1e} of logits, {:.1e} of maps", drift[0], drift[1]);
    }
    Ok(())
}

#[test]
fn three_engines_agree_on_the_demo_bundle() -> anyhow::Result<()> {
    let images: Vec<PathBuf> = demo_studies()?.into_iter().flat_map(|(_, _, files)| files).take(8).collect();
    compare(&demo_bundle(), None, &images)
}

#[test]
fn three_engines_agree_on_a_dense_and_on_a_narrowed_network() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let work = dir.path();
    let trainer = |arguments: &str| -> anyhow::Result<String> {
        let mut command = Command::new(bin::trainer()?);
        command.current_dir(work).args(arguments.split_whitespace());
        bin::succeed(&mut command).with_context(|| format!("trainer {arguments}"))
    };
    trainer("synth --out data --studies 30 --seed 5 --size 96")?;
    trainer("train --data data --run dense --size 64 --epochs 1 --device cpu --batch 16")?;
    trainer("prune --run dense --data data --out narrow --macs 0.3 --epochs 1 --device cpu")?;
    let made = made::study(work, "XR_HAND", "made", 5, 3)?;
    for run in ["dense", "narrow"] {
        trainer(&format!("export --run {run} --data data --out {run}-bundle --device cpu"))?;
        println!("{run}:");
        compare(&work.join(format!("{run}-bundle")), Some(&work.join(run)), &made.files)?;
    }
    Ok(())
}
