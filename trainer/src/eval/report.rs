//! What an evaluation found; as JSON it is what `trainer evaluate --json` prints.

use std::collections::BTreeMap;

use contract::bundle::BundleManifest;
use contract::study::{Answer, StudyType};
use serde::Serialize;

use super::findings::{Findings, PerFinding, measure};
use super::score::{StudyScore, score};
use super::{Decision, SEED, THRESHOLD, decision};
use crate::dataset::{Planes, Split};
use crate::metrics::{BINS, Case, Confusion, Panel, RESAMPLES, Scored};

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Which split.
    pub split: String,
    /// `bundle` when probabilities are calibrated ones of a bundle's ONNX file, `ensemble` when they are means
    /// over several networks, else `run`.
    pub source: Source,
    /// Names and circumstances.
    pub about: About,
    /// The threshold of sensitivity, specificity, F1 and kappa.
    pub threshold: f64,
    /// Bins of the calibration error.
    pub ece_bins: usize,
    /// Bootstrap resamples behind each interval.
    pub resamples: usize,
    /// The decision points.
    pub decision: Decision,
    /// Over studies, each scored by the mean over its views.
    pub study: Measures,
    /// Over single images.
    pub image: Measures,
    /// Over the studies of each type.
    pub per_type: BTreeMap<StudyType, Measures>,
    /// Over the abnormal studies with each finding, where findings are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_finding: Option<PerFinding>,
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
    /// Several networks; an image's probability is the mean of theirs.
    Ensemble,
    /// A bundle's ONNX file; probabilities are calibrated.
    Bundle,
}

/// Names and circumstances of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The networks, as they were named on the command line.
    pub members: Vec<String>,
    /// The data set, likewise.
    pub data: String,
    /// Whether the data set is one of drawn phantoms.
    pub phantoms: bool,
    /// What the networks were trained on, in words.
    pub trained_on: String,
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
    /// Average precision.
    pub average_precision: Option<f64>,
    /// Its interval.
    pub average_precision_ci95: Option<[f64; 2]>,
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
    /// F1 of the class abnormal at the threshold.
    pub f1: Option<f64>,
    /// Its interval.
    pub f1_ci95: Option<[f64; 2]>,
    /// Expected calibration error of the probability of abnormality.
    pub ece: Option<f64>,
    /// Its interval. Resampling adds noise to every bin, so it tends to lie above the value.
    pub ece_ci95: Option<[f64; 2]>,
    /// Brier score.
    pub brier: Option<f64>,
    /// Its interval.
    pub brier_ci95: Option<[f64; 2]>,
    /// Counts at the threshold.
    pub confusion: Confusion,
    /// Cohen's kappa at each study's decision point. Null for images: decisions are about studies.
    pub decision_kappa: Option<f64>,
    /// Its interval.
    pub decision_kappa_ci95: Option<[f64; 2]>,
    /// Share of abnormal studies at or above their decision point.
    pub decision_sensitivity: Option<f64>,
    /// Its interval.
    pub decision_sensitivity_ci95: Option<[f64; 2]>,
    /// Share of normal studies below their decision point.
    pub decision_specificity: Option<f64>,
    /// Its interval.
    pub decision_specificity_ci95: Option<[f64; 2]>,
    /// Counts at the decision points.
    pub decision_confusion: Option<Confusion>,
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

impl Report {
    /// Judges the logits of a split's planes: `members` holds those of each network, one per image. With a
    /// bundle's manifest the one network is judged by its calibration and operating points, without by plain
    /// sigmoids.
    pub fn new(
        planes: &Planes,
        members: &[&[f64]],
        split: Split,
        manifest: Option<&BundleManifest>,
        findings: Option<&Findings>,
    ) -> Self {
        let mut studies = score(planes, members, manifest);
        let decision = match manifest {
            Some(manifest) => decision::of_bundle(manifest, &mut studies),
            None => decision::cross_fitted(&mut studies),
        };
        let mut by_type: BTreeMap<StudyType, Vec<&StudyScore>> = BTreeMap::new();
        for study in &studies {
            by_type.entry(study.study_type.clone()).or_default().push(study);
        }
        let images: Vec<Scored<'_>> = studies.iter().flat_map(StudyScore::scored_views).collect();
        Self {
            split: split.to_string(),
            source: match (manifest, members) {
                (Some(_), _) => Source::Bundle,
                (None, [_, _, ..]) => Source::Ensemble,
                (None, _) => Source::Run,
            },
            about: About::default(),
            threshold: THRESHOLD,
            ece_bins: BINS,
            resamples: RESAMPLES,
            decision,
            study: Measures::of_studies(&studies.iter().collect::<Vec<_>>()),
            image: Measures::of(&images, "images"),
            per_type: by_type.iter().map(|(t, group)| (t.clone(), Measures::of_studies(group))).collect(),
            per_finding: findings.map(|findings| measure(findings, &studies, THRESHOLD)),
            studies,
            unreadable: planes.unreadable.clone(),
        }
    }

    /// The studies' probabilities and truths.
    pub fn cases(&self) -> Vec<Case> {
        self.studies.iter().map(|study| study.scored().case).collect()
    }
}

impl StudyScore {
    pub(super) fn scored(&self) -> Scored<'_> {
        let case = (self.probability, self.abnormal);
        Scored { case, decided: self.decision_abnormal, patient: &self.patient }
    }

    fn scored_views(&self) -> impl Iterator<Item = Scored<'_>> {
        let scored = |probability| Scored {
            case: (probability, self.abnormal),
            decided: None,
            patient: self.patient.as_str(),
        };
        self.views.iter().map(move |view| scored(view.probability))
    }
}

impl Measures {
    fn of_studies(studies: &[&StudyScore]) -> Self {
        let scored: Vec<Scored<'_>> = studies.iter().map(|study| study.scored()).collect();
        let mut measures = Self::of(&scored, "studies");
        if studies.iter().any(|study| study.answer.is_some()) {
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

    fn of(scored: &[Scored<'_>], what: &str) -> Self {
        let cases: Vec<Case> = scored.iter().map(|one| one.case).collect();
        let positives = cases.iter().filter(|case| case.1).count();
        let note = match (positives, cases.len() - positives) {
            (0, _) => Some(format!("no abnormal {what}: AUROC, kappa, F1 and sensitivity say nothing")),
            (_, 0) => Some(format!("no normal {what}: AUROC, kappa, F1 and specificity say nothing")),
            _ => None,
        };
        let found = Panel::new(scored, THRESHOLD).estimates(RESAMPLES, SEED);
        let mut decisions = Some(Confusion::default());
        for one in scored {
            match (one.decided, &mut decisions) {
                (Some(called), Some(table)) => table.add(one.case.1, called, 1),
                _ => decisions = None,
            }
        }
        Self {
            n: cases.len(),
            positives,
            auroc: found.auroc.value,
            auroc_ci95: found.auroc.ci95,
            average_precision: found.average_precision.value,
            average_precision_ci95: found.average_precision.ci95,
            kappa: found.kappa.value,
            kappa_ci95: found.kappa.ci95,
            sensitivity: found.sensitivity.value,
            sensitivity_ci95: found.sensitivity.ci95,
            specificity: found.specificity.value,
            specificity_ci95: found.specificity.ci95,
            f1: found.f1.value,
            f1_ci95: found.f1.ci95,
            ece: found.ece.value,
            ece_ci95: found.ece.ci95,
            brier: found.brier.value,
            brier_ci95: found.brier.ci95,
            confusion: Confusion::at(THRESHOLD, &cases),
            decision_kappa: found.decision_kappa.value,
            decision_kappa_ci95: found.decision_kappa.ci95,
            decision_sensitivity: found.decision_sensitivity.value,
            decision_sensitivity_ci95: found.decision_sensitivity.ci95,
            decision_specificity: found.decision_specificity.value,
            decision_specificity_ci95: found.decision_specificity.ci95,
            decision_confusion: decisions,
            answers: None,
            note,
        }
    }
}
