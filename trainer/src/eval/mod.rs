//! How good a network is on a split: per study, per image, per study type and per finding, with intervals; as
//! a table, as JSON, and as a page with pictures.

mod decision;
mod findings;
mod html;
mod paper;
mod pictures;
mod report;
mod score;
mod text;

use std::convert::Infallible;

use contract::bundle::BundleManifest;
use contract::preprocess::normalise;
use contract::preprocess::{Plane, PreprocessSpec};
use tch::{Device, Kind, TchError, Tensor, no_grad};

pub use decision::{Decision, DecisionSource};
pub use findings::{Finding, FindingMeasures, Findings, PerFinding};
pub use html::page;
pub use pictures::{Pictures, pictures};
pub use report::{About, Answers, Measures, Report, Source};
pub use score::{StudyScore, ViewScore};

use crate::dataset::{Planes, Split};
use crate::metrics::{Case, Confusion, auroc};
use crate::model::DenseNet;
use crate::progress;

/// Images that go through the network at a time.
const BATCH: usize = 16;
/// The seed of every interval, so that an evaluation repeats.
const SEED: u64 = 0x756c_6e61;
/// The threshold of sensitivity, specificity, F1 and kappa.
pub const THRESHOLD: f64 = 0.5;

/// Why a split could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError<E = Infallible> {
    /// The model failed.
    #[error(transparent)]
    Model(E),
    /// libtorch failed.
    #[error("reading the logits of a batch: {0}")]
    Torch(TchError),
    /// The model gave NaN or infinity.
    #[error("the model gives {logit} for {path}: its weights are broken, train it again")]
    NotFinite {
        /// The image.
        path: String,
        /// What the model gave.
        logit: f64,
    },
}

/// The logits of every plane, in order. `forward` takes f32 `[B, 3, H, W]` on the CPU, normalised as the
/// station does it, and gives `[B]`.
///
/// # Errors
/// When `forward` fails or gives a value that is not finite.
pub fn logits<E>(
    planes: &Planes,
    mut forward: impl FnMut(&Tensor) -> Result<Tensor, E>,
) -> Result<Vec<f64>, EvalError<E>> {
    let mut logits = Vec::with_capacity(planes.len());
    let bar = progress::bar(Some(planes.len() as u64), "scoring", "images");
    for start in (0..planes.len()).step_by(BATCH) {
        let end = planes.len().min(start + BATCH);
        let output = forward(&inputs((start..end).map(|image| planes.plane(image)), &planes.spec));
        let output = output.map_err(EvalError::Model)?.to_kind(Kind::Double);
        logits.extend(Vec::<f64>::try_from(output).map_err(EvalError::Torch)?);
        bar.set_position(end as u64);
        log::debug!("scored {end} of {} images", planes.len());
    }
    bar.finish_and_clear();
    match logits.iter().position(|logit| !logit.is_finite()) {
        None => Ok(logits),
        Some(image) => {
            Err(EvalError::NotFinite { path: score::view_path(planes, image), logit: logits[image] })
        }
    }
}

/// [`logits`] of a network that is on `device`.
///
/// # Errors
/// As [`logits`].
pub fn network_logits(net: &DenseNet, device: Device, planes: &Planes) -> Result<Vec<f64>, EvalError> {
    logits(planes, |x| no_grad(|| Ok(net.forward_t(&x.to_device(device), false).logit)))
}

/// Normalised planes, f32 `[B, 3, H, W]`.
pub(crate) fn inputs<'a>(planes: impl Iterator<Item = &'a [u8]>, spec: &PreprocessSpec) -> Tensor {
    let (width_px, height_px) = (spec.width_px, spec.height_px);
    let values: Vec<f32> = planes
        .flat_map(|samples| normalise(&Plane { width_px, height_px, samples: samples.to_vec() }, spec))
        .collect();
    Tensor::from_slice(&values).view([-1, 3, i64::from(height_px), i64::from(width_px)])
}

/// Judges the logits of one network for a split's planes: with a bundle's manifest by its calibration and
/// operating points, without by plain sigmoids. See [`Report::new`] for ensembles and findings.
pub fn report(planes: &Planes, logits: &[f64], split: Split, manifest: Option<&BundleManifest>) -> Report {
    Report::new(planes, &[logits], split, manifest, None)
}

/// How a network does on a split's studies, in short; none where a class is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// Study-level AUROC.
    pub auroc: Option<f64>,
    /// Study-level kappa at 0.5.
    pub kappa: Option<f64>,
}

/// Only AUROC and kappa at [`THRESHOLD`] over studies, without intervals.
pub fn judge(planes: &Planes, logits: &[f64]) -> Judged {
    let studies = score::score(planes, &[logits], None);
    let cases: Vec<Case> = studies.iter().map(|study| (study.probability, study.abnormal)).collect();
    Judged { auroc: auroc(&cases), kappa: Confusion::at(THRESHOLD, &cases).kappa() }
}

#[cfg(test)]
pub(crate) mod tests {
    use contract::study::sigmoid;

    use super::*;
    use crate::dataset::Study;

    /// Planes of 64 px with two views per study, patients with two studies each, classes in turn; the images
    /// are ramps whose slope depends on the image.
    pub(crate) fn planes(studies: usize, types: &[&str]) -> Planes {
        let spec = PreprocessSpec::square(64);
        let study = |number: usize| {
            let study_type = types[number / 2 % types.len()];
            let path = format!("valid/{study_type}/patient{:05}/study{}_x", number / 2, number % 2);
            Study {
                study_type: study_type.parse().unwrap(),
                patient: format!("patient{:05}", number / 2),
                abnormal: number % 2 == 1,
                images: (1..=2).map(|view| format!("/data/{path}/image{view}.png").into()).collect(),
                path,
            }
        };
        let studies: Vec<Study> = (0..studies).map(study).collect();
        let study: Vec<usize> = (0..2 * studies.len()).map(|image| image / 2).collect();
        let sample =
            |image: usize, pixel: usize| ((pixel % 64) * (image % 5 + 1) + pixel / 64 * (image % 3)) as u8;
        Planes {
            samples: (0..study.len())
                .flat_map(|image| (0..64 * 64).map(move |p| sample(image, p)))
                .collect::<Vec<u8>>()
                .into(),
            abnormal: study.iter().map(|&s| studies[s].abnormal).collect(),
            spec,
            study,
            studies,
            unreadable: vec![("valid/XR_HAND/patient9/study1_x/image3.png".into(), "truncated".into())],
        }
    }

    #[test]
    fn a_study_is_the_mean_of_its_views_and_keeps_their_paths() {
        let planes = planes(4, &["XR_WRIST", "XR_HAND"]);
        let logits = [-2.0, 0.0, 3.0, 1.0, -1.0, -1.0, 0.5, 2.0];
        let report = report(&planes, &logits, Split::Valid, None);
        assert_eq!((report.study.n, report.study.positives), (4, 2));
        assert_eq!((report.image.n, report.image.positives), (8, 4));
        assert_eq!(report.study.auroc, Some(1.0));
        assert_eq!(report.study.kappa, Some(1.0));
        let first = &report.studies[0];
        assert!((first.probability - f64::midpoint(sigmoid(-2.0), 0.5)).abs() < 1e-12);
        assert_eq!(first.views[1].path, "valid/XR_WRIST/patient00000/study0_x/image2.png");
        assert_eq!(report.per_type.len(), 2);

        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["study"]["auroc"], 1.0);
        assert_eq!(json["per_type"]["XR_HAND"]["n"], 2);
        assert_eq!(json["studies"][0]["type"], "XR_WRIST");
        assert_eq!(json["studies"][3]["views"][0]["logit"], 0.5);
        assert!(json["studies"][0].get("patient").is_none());
        let table = report.to_string();
        assert!(table.contains("XR_WRIST") && table.contains("1 images could not be read"), "{table}");
    }

    #[test]
    fn a_missing_class_is_null_with_a_note() {
        let mut planes = planes(4, &["XR_WRIST"]);
        planes.studies.iter_mut().for_each(|study| study.abnormal = false);
        planes.abnormal.fill(false);
        let report = report(&planes, &[0.5; 8], Split::Valid, None);
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["study"]["auroc"].is_null() && json["study"]["kappa"].is_null());
        assert!(json["study"]["sensitivity"].is_null());
        assert_eq!(json["study"]["specificity"], 0.0);
        assert!(json["study"]["note"].as_str().unwrap().contains("no abnormal studies"));
        assert!(report.to_string().contains("no abnormal studies"));
    }

    #[test]
    fn batches_do_not_change_the_order_and_a_nan_is_named() {
        let planes = planes(20, &["XR_WRIST"]);
        let mean = |x: &Tensor| Ok::<_, Infallible>(x.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float));
        let found = logits(&planes, mean).unwrap();
        assert_eq!(found.len(), 40);
        for image in [0, 15, 16, 39] {
            let x = inputs(std::iter::once(planes.plane(image)), &planes.spec);
            assert!((found[image] - x.mean(Kind::Float).double_value(&[])).abs() < 1e-5);
        }
        let error = logits(&planes, |x| Ok::<_, Infallible>(mean(x)? * f64::NAN)).unwrap_err().to_string();
        assert!(error.contains("patient00000/study0_x/image1.png"), "{error}");
    }
}
