//! A small data set and a run with random weights, for tests of the binary.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use tch::nn::VarStore;
use tch::{Device, no_grad};
use tempfile::TempDir;
use trainer::model::{DenseNet, Widths, tensors_to_bytes};
use trainer::run::{DataFacts, Run};
use trainer::train::Config;

/// A data set whose validation split has `labels`, two views each; returns its root.
pub(crate) fn data_set(directory: &TempDir, labels: &[&str]) -> PathBuf {
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
pub(crate) fn random_run(directory: &TempDir) -> PathBuf {
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
