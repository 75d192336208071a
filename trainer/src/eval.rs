//! How good a network is on a split: per study, per image and per study type, with intervals.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;

use contract::bundle::BundleManifest;
use contract::preprocess::normalise;
use contract::preprocess::{Plane, PreprocessSpec};
use contract::study::{Answer, StudyType, sigmoid, study_score};
use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use crate::dataset::{Planes, Split, Study};
use crate::metrics::{Case, Confusion, RESAMPLES, auroc, bootstrap_ci95};

/// Images that go through the network at a time.
const BATCH: usize = 16;
/// The seed of every interval, so that an evaluation repeats.
const SEED: u64 = 0x756c_6e61;
/// The threshold of sensitivity, specificity and kappa.
pub const THRESHOLD: f64 = 0.5;

/// What an evaluation found; as JSON it is what `trainer evaluate --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Which split.
    pub split: String,
    /// `bundle` when probabilities are calibrated ones of a bundle's ONNX file, else `run`.
    pub source: Source,
    /// The threshold of sensitivity, specificity and kappa.
    pub threshold: f64,
    /// Over studies, each scored by the mean over its views.
    pub study: Measures,
    /// Over single images.
    pub image: Measures,
    /// Over the studies of each type.
    pub per_type: BTreeMap<StudyType, Measures>,
    /// Every study, in the order of the data set.
    pub studies: Vec<StudyScore>,
    /// Images that could not be read: path below the data set's root, and why.
    pub unreadable: Vec<(String, String)>,
}

/// What was evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A run's best network; probabilities are plain sigmoids of its logits.
    Run,
    /// A bundle's ONNX file; probabilities are calibrated.
    Bundle,
}

/// Measures of a group of cases. What is undefined (a class is missing) is null, and `note` says why.
/// Intervals are 95 % bootstrap intervals `[low, high]` over patients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// Cases.
    pub n: usize,
    /// Abnormal ones among them.
    pub positives: usize,
    /// Area under the ROC curve.
    pub auroc: Option<f64>,
    /// Its interval.
    pub auroc_ci95: Option<[f64; 2]>,
    /// Cohen's kappa at the threshold.
    pub kappa: Option<f64>,
    /// Its interval.
    pub kappa_ci95: Option<[f64; 2]>,
    /// Share of abnormal cases at or above the threshold.
    pub sensitivity: Option<f64>,
    /// Its interval.
    pub sensitivity_ci95: Option<[f64; 2]>,
    /// Share of normal cases below the threshold.
    pub specificity: Option<f64>,
    /// Its interval.
    pub specificity_ci95: Option<[f64; 2]>,
    /// Of a bundle's studies: kappa at each study type's decision point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_kappa: Option<f64>,
    /// Of a bundle's studies: how the answers fell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// Why a measure is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The answers to abnormal and to normal studies, each `[normal, uncertain, abnormal]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// To the abnormal ones.
    pub positives: [usize; 3],
    /// To the normal ones.
    pub negatives: [usize; 3],
}

/// One study's score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyScore {
    /// The study's path below the data set's root.
    pub path: String,
    /// Its type.
    #[serde(rename = "type")]
    pub study_type: StudyType,
    /// What the radiologist said.
    pub abnormal: bool,
    /// Mean of its views' probabilities.
    pub probability: f64,
    /// A bundle's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Its views.
    pub views: Vec<ViewScore>,
    #[serde(skip)]
    patient: String,
}

/// One view's score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewScore {
    /// The image's path below the data set's root.
    pub path: String,
    /// Probability of abnormality.
    pub probability: f64,
    /// The network's output.
    pub logit: f64,
}

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
    for start in (0..planes.len()).step_by(BATCH) {
        let end = planes.len().min(start + BATCH);
        let output = forward(&inputs((start..end).map(|image| planes.plane(image)), &planes.spec));
        let output = output.map_err(EvalError::Model)?.to_kind(Kind::Double);
        logits.extend(Vec::<f64>::try_from(output).map_err(EvalError::Torch)?);
        log::debug!("scored {end} of {} images", planes.len());
    }
    match logits.iter().position(|logit| !logit.is_finite()) {
        None => Ok(logits),
        Some(image) => Err(EvalError::NotFinite { path: view_path(planes, image), logit: logits[image] }),
    }
}

/// Normalised planes, f32 `[B, 3, H, W]`.
pub(crate) fn inputs<'a>(planes: impl Iterator<Item = &'a [u8]>, spec: &PreprocessSpec) -> Tensor {
    let (width_px, height_px) = (spec.width_px, spec.height_px);
    let values: Vec<f32> = planes
        .flat_map(|samples| normalise(&Plane { width_px, height_px, samples: samples.to_vec() }, spec))
        .collect();
    Tensor::from_slice(&values).view([-1, 3, i64::from(height_px), i64::from(width_px)])
}

/// Judges the logits of a split's planes: with a bundle's manifest by its calibration and operating points,
/// without by plain sigmoids.
pub fn report(planes: &Planes, logits: &[f64], split: Split, manifest: Option<&BundleManifest>) -> Report {
    let studies = score(planes, logits, manifest);
    let all: Vec<&StudyScore> = studies.iter().collect();
    let mut by_type: BTreeMap<StudyType, Vec<&StudyScore>> = BTreeMap::new();
    for study in &studies {
        by_type.entry(study.study_type.clone()).or_default().push(study);
    }
    let images: Vec<(Case, &str)> = studies
        .iter()
        .flat_map(|s| s.views.iter().map(|view| ((view.probability, s.abnormal), s.patient.as_str())))
        .collect();
    Report {
        split: split.to_string(),
        source: if manifest.is_some() { Source::Bundle } else { Source::Run },
        threshold: THRESHOLD,
        study: study_measures(&all, manifest),
        image: measures(&images, "images"),
        per_type: by_type.into_iter().map(|(t, group)| (t, study_measures(&group, manifest))).collect(),
        studies,
        unreadable: planes.unreadable.clone(),
    }
}

fn score(planes: &Planes, logits: &[f64], manifest: Option<&BundleManifest>) -> Vec<StudyScore> {
    let mut views: Vec<Vec<ViewScore>> = vec![Vec::new(); planes.studies.len()];
    for (image, &logit) in logits.iter().enumerate() {
        let probability = manifest.map_or_else(|| sigmoid(logit), |m| m.calibration.probability(logit));
        let path = view_path_after(planes, image, views[planes.study[image]].len());
        views[planes.study[image]].push(ViewScore { path, probability, logit });
    }
    let scored = planes.studies.iter().zip(views).filter_map(|(study, views)| {
        let Study { study_type, patient, path, abnormal, .. } = study.clone();
        let probability = study_score(&views.iter().map(|view| view.probability).collect::<Vec<_>>())?;
        let answer = manifest.map(|m| m.answer(Some(&study_type), probability).answer);
        Some(StudyScore { path, study_type, abnormal, probability, answer, views, patient })
    });
    scored.collect()
}

/// The path of an image below the data set's root.
fn view_path(planes: &Planes, image: usize) -> String {
    let earlier = planes.study[..image].iter().filter(|&&study| study == planes.study[image]).count();
    view_path_after(planes, image, earlier)
}

/// The same when `earlier` images of its study come before it.
fn view_path_after(planes: &Planes, image: usize, earlier: usize) -> String {
    let study = &planes.studies[planes.study[image]];
    let name = study.images.get(earlier).and_then(|path| path.file_name()).unwrap_or_default();
    format!("{}/{}", study.path, name.to_string_lossy())
}

fn study_measures(studies: &[&StudyScore], manifest: Option<&BundleManifest>) -> Measures {
    let cases: Vec<(Case, &str)> =
        studies.iter().map(|s| ((s.probability, s.abnormal), s.patient.as_str())).collect();
    let mut measures = measures(&cases, "studies");
    if let Some(manifest) = manifest {
        let calls: Vec<Case> = studies
            .iter()
            .map(|s| {
                let (points, _) = manifest.operating_points.for_type(&s.study_type);
                (f64::from(u8::from(s.probability >= points.decision)), s.abnormal)
            })
            .collect();
        let both_classes = measures.note.is_none();
        measures.decision_kappa = Confusion::at(THRESHOLD, &calls).kappa().filter(|_| both_classes);
        let mut answers = Answers::default();
        for study in studies {
            let row = if study.abnormal { &mut answers.positives } else { &mut answers.negatives };
            match study.answer {
                Some(Answer::Normal) => row[0] += 1,
                Some(Answer::Abnormal) => row[2] += 1,
                Some(Answer::Uncertain) | None => row[1] += 1,
            }
        }
        measures.answers = Some(answers);
    }
    measures
}

fn measures(scored: &[(Case, &str)], what: &str) -> Measures {
    let (cases, patients): (Vec<Case>, Vec<&str>) = scored.iter().copied().unzip();
    let table = Confusion::at(THRESHOLD, &cases);
    let interval = |statistic: &dyn Fn(&[Case]) -> Option<f64>| {
        bootstrap_ci95(&cases, &patients, RESAMPLES, SEED, statistic)
    };
    let of_table = |measure: fn(&Confusion) -> Option<f64>| {
        interval(&|resample: &[Case]| measure(&Confusion::at(THRESHOLD, resample)))
    };
    let positives = cases.iter().filter(|case| case.1).count();
    let note = match (positives, cases.len() - positives) {
        (0, _) => Some(format!("no abnormal {what}: AUROC, kappa and sensitivity say nothing")),
        (_, 0) => Some(format!("no normal {what}: AUROC, kappa and specificity say nothing")),
        _ => None,
    };
    // With one class kappa is 0 or undefined whatever the network does.
    let both = note.is_none();
    let auroc_found = auroc(&cases);
    Measures {
        n: cases.len(),
        positives,
        auroc: auroc_found,
        auroc_ci95: auroc_found.and_then(|_| interval(&auroc)),
        kappa: table.kappa().filter(|_| both),
        kappa_ci95: if both { of_table(Confusion::kappa) } else { None },
        sensitivity: table.sensitivity(),
        sensitivity_ci95: of_table(Confusion::sensitivity),
        specificity: table.specificity(),
        specificity_ci95: of_table(Confusion::specificity),
        decision_kappa: None,
        answers: None,
        note,
    }
}

impl fmt::Display for Report {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Run => "a run, probabilities not calibrated",
            Source::Bundle => "a bundle's ONNX file, probabilities calibrated",
        };
        writeln!(
            f,
            "{} split; {source}; threshold {}; [95 % interval over patients]",
            self.split, self.threshold
        )?;
        writeln!(
            f,
            "{:<14} {:>6} {:>8}  {:<21}{:<21}{:<21}{:<21}{}",
            "",
            "n",
            "abnormal",
            "AUROC",
            "kappa",
            "sensitivity",
            "specificity",
            if self.source == Source::Bundle { "kappa at decision" } else { "" }
        )?;
        let rows = [("studies", &self.study)]
            .into_iter()
            .chain(self.per_type.iter().map(|(study_type, measures)| (study_type.as_str(), measures)))
            .chain([("images", &self.image)]);
        for (name, m) in rows {
            let mut line = format!("{name:<14} {:>6} {:>8}  ", m.n, m.positives);
            for (value, interval) in [
                (m.auroc, m.auroc_ci95),
                (m.kappa, m.kappa_ci95),
                (m.sensitivity, m.sensitivity_ci95),
                (m.specificity, m.specificity_ci95),
            ] {
                line.push_str(&format!("{:<21}", cell(value, interval)));
            }
            line.extend(m.decision_kappa.map(|kappa| format!("{kappa:.3}")));
            writeln!(f, "{}", line.trim_end())?;
        }
        for (name, m) in [("studies", &self.study), ("images", &self.image)] {
            if let Some(note) = &m.note {
                writeln!(f, "{name}: {note}")?;
            }
        }
        if let Some(Answers { positives, negatives }) = self.study.answers {
            let [normal, uncertain, abnormal] = positives;
            writeln!(
                f,
                "abnormal studies answered: {normal} normal, {uncertain} uncertain, {abnormal} abnormal"
            )?;
            let [normal, uncertain, abnormal] = negatives;
            writeln!(
                f,
                "normal studies answered: {normal} normal, {uncertain} uncertain, {abnormal} abnormal"
            )?;
        }
        write!(f, "{} images could not be read", self.unreadable.len())
    }
}

fn cell(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    match (value, interval) {
        (Some(value), Some([low, high])) => format!("{value:.3} [{low:.3} {high:.3}]"),
        (Some(value), None) => format!("{value:.3}"),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
