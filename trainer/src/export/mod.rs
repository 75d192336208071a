//! From a trained network to the bundle that a station runs.
//!
//! [`assemble`] measures the network on a validation split, calibrates it, chooses operating points and
//! golden pairs and writes the ONNX file; [`card::text`] says in words what that is; [`bundle::write`] puts the
//! directory in place; [`verify`] reads it back and runs the file that was written.

pub mod bundle;
pub mod calibrate;
pub mod card;
pub mod crossfit;
pub mod golden;
pub mod interpret;
pub mod onnx;
pub mod onnx_proto;
pub mod recover;

use std::collections::BTreeSet;
use std::path::Path;

use contract::bundle::{Purpose, TrainingFacts, within_tolerance};
use contract::preprocess::PreprocessSpec;
use contract::study::StudyType;
use tch::{Device, no_grad};

use crate::dataset::Planes;
use crate::metrics::{self, Case};
use crate::model::{DenseNet, Widths};
use bundle::{Bundle, BundleError, Contents, Golden};
use calibrate::Targets;
use crossfit::{Scored, image_cases, judged};

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No calibration or operating points.
    #[error(transparent)]
    Calibration(#[from] calibrate::CalibrationError),
    /// The network is not exportable.
    #[error(transparent)]
    Onnx(#[from] onnx::OnnxError),
    /// No golden pairs.
    #[error(transparent)]
    Golden(#[from] golden::GoldenError),
    /// The bundle could not be written or read back.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The written file cannot be run.
    #[error(transparent)]
    Interpret(#[from] interpret::InterpretError),
    /// The written file does not compute what the network computed.
    #[error(
        "the written bundle gives {found} for {image} where the network gave {expected}: the export is wrong, \
         do not use it and report this"
    )]
    Drift {
        /// The golden image.
        image: String,
        /// What the network gave.
        expected: f64,
        /// What the file gives.
        found: f64,
    },
}

/// What an export says of a network that is not in its weights.
#[derive(Clone, Debug)]
pub struct Label {
    /// The bundle's name.
    pub name: String,
    /// The bundle's version.
    pub version: u32,
    /// What it may be used for.
    pub purpose: Purpose,
    /// Intended use, in words.
    pub intended_use: String,
    /// What the network was trained on, in words.
    pub dataset: String,
    /// Images in the training split.
    pub train_images: u64,
    /// The study types of the training split.
    pub study_types: BTreeSet<StudyType>,
}

/// The studies of a split with their views' logits.
pub fn scored(planes: &Planes, logits: &[f64]) -> Vec<Scored> {
    let mut views = vec![Vec::new(); planes.studies.len()];
    for (&study, &logit) in planes.study.iter().zip(logits) {
        views[study].push(logit);
    }
    let studies = planes.studies.iter().zip(views).map(|(study, logits)| Scored {
        study_type: study.study_type.clone(),
        patient: study.patient.clone(),
        abnormal: study.abnormal,
        logits,
    });
    studies.filter(|study| !study.logits.is_empty()).collect()
}

/// Everything a bundle is made of but its model card: `net` on the CPU, the validation split's planes at the input
/// size, the network's logit for each of them, and what the operating points are to keep.
///
/// # Errors
/// When a class is missing, a weight or logit is not finite, or no image makes a golden pair.
pub fn assemble(
    net: &DenseNet,
    planes: &Planes,
    logits: &[f64],
    label: Label,
    targets: Targets,
) -> Result<Contents, ExportError> {
    let studies = scored(planes, logits);
    let all: Vec<&Scored> = studies.iter().collect();
    let calibration = calibrate::temperature(&image_cases(&all))?;
    let judged = judged(&all, calibration);
    let cases: Vec<Case> = judged.iter().map(|&(_, probability, abnormal)| (probability, abnormal)).collect();

    let side_px = planes.spec.width_px;
    let macs = net.widths.macs(side_px);
    let training = TrainingFacts {
        architecture: architecture(&net.widths),
        dataset: label.dataset,
        train_images: label.train_images,
        valid_studies: studies.len() as u64,
        parameters: net.widths.parameters(),
        macs,
        macs_share: macs as f64 / Widths::densenet169().macs(side_px) as f64,
        valid_auroc: metrics::auroc(&cases),
        valid_kappa: metrics::kappa(&cases, crate::eval::THRESHOLD),
        trainer_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(Contents {
        name: label.name,
        version: label.version,
        purpose: label.purpose,
        input: planes.spec.clone(),
        calibration,
        operating_points: calibrate::operating_points(&judged, targets)?,
        study_types: label.study_types,
        training,
        intended_use: label.intended_use,
        model: onnx::to_bytes(net, &planes.spec)?,
        golden: golden_pairs(net, planes)?,
        cross_fit: Some(crossfit::cross_fit(&studies, targets)?),
        model_card: String::new(),
    })
}

/// The first images in [`golden::choose`]'s order that can be decoded again; a blank one cannot.
fn golden_pairs(net: &DenseNet, planes: &Planes) -> Result<Vec<Golden>, golden::GoldenError> {
    let mut pairs = Vec::new();
    let mut refused = None;
    for image in golden::choose(planes, planes.len()) {
        let png = golden::to_png(planes.plane(image), &planes.spec)?;
        match golden::to_input(&png, &planes.spec) {
            Ok(input) => {
                let logit = no_grad(|| net.forward_t(&input, false).logit.double_value(&[0]));
                pairs.push(Golden { png, logit });
            }
            Err(error) => refused = refused.or(Some(error.to_string())),
        }
        if pairs.len() == golden::GOLDEN_PAIRS {
            break;
        }
    }
    if pairs.is_empty() {
        return Err(golden::GoldenError::None(refused.unwrap_or_else(|| "the split is empty".to_owned())));
    }
    Ok(pairs)
}

fn architecture(widths: &Widths) -> String {
    let layers = |widths: &Widths| widths.blocks.iter().map(Vec::len).collect::<Vec<_>>();
    let full = Widths::densenet169();
    if *widths == full {
        "DenseNet169".to_owned()
    } else if layers(widths) == layers(&full) {
        "DenseNet169, narrowed".to_owned()
    } else {
        format!("DenseNet with blocks of {:?} layers", layers(widths))
    }
}

/// What [`verify`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verified {
    /// Size of all files together, in bytes, without the manifest.
    pub size_bytes: u64,
    /// The largest |delta| / max(1, |logit|) over the golden pairs.
    pub drift_max: f64,
}

/// Reads a bundle back, all hashes checked, and reproduces its golden pairs with the ONNX file in it.
///
/// # Errors
/// When it cannot be read or a golden pair drifts beyond the manifest's tolerance for f32.
pub fn verify(directory: &Path) -> Result<Verified, ExportError> {
    let bundle = Bundle::load(directory)?;
    let manifest = &bundle.manifest;
    let mut pairs = Vec::new();
    for pair in &manifest.golden {
        let missing = || BundleError::FileMissing(pair.image.clone());
        pairs.push((bundle.files.get(&pair.image).ok_or_else(missing)?.as_slice(), pair.logit));
    }
    let drifts = drifts(bundle.model(), &pairs, &manifest.input)?;
    for (pair, (found, _)) in manifest.golden.iter().zip(&drifts) {
        if !within_tolerance(pair.logit, *found, manifest.tolerance.f32) {
            let (image, expected, found) = (pair.image.clone(), pair.logit, *found);
            return Err(ExportError::Drift { image, expected, found });
        }
    }
    let drift_max = drifts.iter().map(|(_, drift)| *drift).fold(0.0, f64::max);
    let size_bytes = manifest.files.values().map(|facts| facts.size_bytes).sum();
    Ok(Verified { size_bytes, drift_max })
}

/// The largest |delta| / max(1, |logit|) over the golden pairs of a bundle that is not written yet.
///
/// # Errors
/// When the ONNX file cannot be run.
pub fn golden_drift(contents: &Contents) -> Result<f64, ExportError> {
    let pairs: Vec<_> = contents.golden.iter().map(|pair| (pair.png.as_slice(), pair.logit)).collect();
    let drifts = drifts(&contents.model, &pairs, &contents.input)?;
    Ok(drifts.iter().map(|(_, drift)| *drift).fold(0.0, f64::max))
}

/// The ONNX file's logit for each image and its |delta| / max(1, |logit|).
fn drifts(
    model: &[u8],
    pairs: &[(&[u8], f64)],
    spec: &PreprocessSpec,
) -> Result<Vec<(f64, f64)>, ExportError> {
    let model = interpret::Interpreter::new(model, Device::Cpu)?;
    let mut drifts = Vec::new();
    for &(png, expected) in pairs {
        let found = model.run(&golden::to_input(png, spec)?)?.logit.double_value(&[0]);
        drifts.push((found, (found - expected).abs() / expected.abs().max(1.0)));
    }
    Ok(drifts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Split;
    use crate::eval;
    use crate::eval::tests::planes;
    use crate::export::interpret::{InterpretError, Interpreter};
    use crate::export::onnx::tests::random_net;

    fn label() -> Label {
        Label {
            name: "test".into(),
            version: 3,
            purpose: Purpose::Demo,
            intended_use: "tests".into(),
            dataset: "ramps".into(),
            train_images: 7,
            study_types: BTreeSet::from(["XR_WRIST".parse().unwrap()]),
        }
    }

    fn exported(out: &Path) -> (Planes, Vec<f64>) {
        let (_store, net) = random_net(21);
        let planes = planes(24, &["XR_WRIST", "XR_HAND", "XR_ELBOW"]);
        let forward =
            |x: &tch::Tensor| Ok::<_, std::convert::Infallible>(no_grad(|| net.forward_t(x, false).logit));
        let logits = eval::logits(&planes, forward).unwrap();
        bundle::write(out, assemble(&net, &planes, &logits, label(), Targets::default()).unwrap()).unwrap();
        (planes, logits)
    }

    #[test]
    fn a_bundle_judges_as_the_network_did() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("bundle");
        let (planes, logits) = exported(&out);
        let verified = verify(&out).unwrap();
        assert!(verified.drift_max < 1e-4, "{}", verified.drift_max);

        let bundle = Bundle::load(&out).unwrap();
        let manifest = &bundle.manifest;
        assert_eq!((manifest.version, manifest.golden.len()), (3, golden::GOLDEN_PAIRS));
        assert_eq!(manifest.training.valid_studies, 24);
        let model = Interpreter::new(bundle.model(), Device::Cpu).unwrap();
        let again = eval::logits(&planes, |x| Ok::<_, InterpretError>(model.run(x)?.logit)).unwrap();
        for (a, b) in again.iter().zip(&logits) {
            assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{a} {b}");
        }
        let report = eval::report(&planes, &again, Split::Valid, Some(manifest));
        assert_eq!(
            report.study.auroc.map(|a| (a * 1e6).round()),
            manifest.training.valid_auroc.map(|a| (a * 1e6).round())
        );
        assert!(report.study.decision_kappa >= report.study.kappa);
        let probability = report.studies[0].views[0].probability;
        assert!((probability - manifest.calibration.probability(logits[0])).abs() < 1e-4);
    }

    #[test]
    fn golden_images_alternate_classes_and_vary_types_and_studies() {
        let planes = planes(24, &["XR_WRIST", "XR_HAND", "XR_ELBOW"]);
        let chosen = golden::choose(&planes, 8);
        let classes: Vec<bool> = chosen.iter().map(|&image| planes.abnormal[image]).collect();
        assert_eq!(classes, [false, true, false, true, false, true, false, true]);
        let studies: BTreeSet<usize> = chosen.iter().map(|&image| planes.study[image]).collect();
        assert_eq!(studies.len(), 8);
        let types: BTreeSet<&StudyType> = studies.iter().map(|&s| &planes.studies[s].study_type).collect();
        assert_eq!(types.len(), 3);
        let mut all = golden::choose(&planes, 1000);
        all.sort_unstable();
        assert_eq!(all, (0..48).collect::<Vec<_>>());
    }

    #[test]
    fn a_golden_image_is_its_plane_bit_for_bit() {
        let planes = planes(2, &["XR_WRIST"]);
        let png = golden::to_png(planes.plane(3), &planes.spec).unwrap();
        let input = golden::to_input(&png, &planes.spec).unwrap();
        assert_eq!(input, eval::inputs(std::iter::once(planes.plane(3)), &planes.spec));
        // Signature, header, data, end: no chunk that could carry metadata.
        for chunk in [b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME"] {
            assert!(!png.windows(4).any(|bytes| bytes == chunk));
        }
    }

    #[test]
    fn a_file_that_computes_something_else_is_found() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("bundle");
        let (_store, net) = random_net(22);
        let planes = planes(6, &["XR_WRIST"]);
        let logits: Vec<f64> = (0..12).map(|i| f64::from(i) / 12.0).collect();
        let mut contents = assemble(&net, &planes, &logits, label(), Targets::default()).unwrap();
        contents.golden[4].logit += 0.1 + 0.1 * contents.golden[4].logit.abs();
        bundle::write(&out, contents).unwrap();
        assert!(matches!(verify(&out), Err(ExportError::Drift { image, .. }) if image == "golden/4.png"));
    }
}
