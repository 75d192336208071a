//! From the logits of images to the scores of studies.

use contract::bundle::BundleManifest;
use contract::study::{Answer, StudyType, sigmoid, study_score};
use serde::Serialize;

use crate::dataset::{Planes, Study};

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
    /// Whether it is called abnormal at its decision point (see [`super::Decision`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_abnormal: Option<bool>,
    /// A bundle's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Its views.
    pub views: Vec<ViewScore>,
    #[serde(skip)]
    pub(super) patient: String,
}

/// One view's score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewScore {
    /// The image's path below the data set's root.
    pub path: String,
    /// Probability of abnormality; of an ensemble the mean of its members'.
    pub probability: f64,
    /// The network's output; of an ensemble the logit of that mean.
    pub logit: f64,
    /// The output of each member of an ensemble.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub member_logits: Vec<f64>,
}

/// Scores the studies. `members` holds one logit per image for each network; a bundle has one.
pub(super) fn score(
    planes: &Planes,
    members: &[&[f64]],
    manifest: Option<&BundleManifest>,
) -> Vec<StudyScore> {
    let mut views: Vec<Vec<ViewScore>> = vec![Vec::new(); planes.studies.len()];
    for image in 0..planes.len() {
        let logits: Vec<f64> = members.iter().map(|logits| logits[image]).collect();
        let views = &mut views[planes.study[image]];
        views.push(view(view_path_after(planes, image, views.len()), logits, manifest));
    }
    let scored = planes.studies.iter().zip(views).filter_map(|(study, views)| {
        let Study { study_type, patient, path, abnormal, .. } = study.clone();
        let probability = study_score(&views.iter().map(|view| view.probability).collect::<Vec<_>>())?;
        let answer = manifest.map(|m| m.answer(None, Some(&study_type), probability).answer);
        Some(StudyScore {
            path,
            study_type,
            abnormal,
            probability,
            decision_abnormal: None,
            answer,
            views,
            patient,
        })
    });
    scored.collect()
}

fn view(path: String, logits: Vec<f64>, manifest: Option<&BundleManifest>) -> ViewScore {
    if let [logit] = logits[..] {
        let probability = manifest.map_or_else(|| sigmoid(logit), |m| m.calibration.probability(logit));
        return ViewScore { path, probability, logit, member_logits: Vec::new() };
    }
    let probability = logits.iter().map(|&logit| sigmoid(logit)).sum::<f64>() / logits.len() as f64;
    ViewScore { path, probability, logit: mean_logit(&logits), member_logits: logits }
}

/// The logit of the mean of the members' probabilities, finite however sure they are.
fn mean_logit(logits: &[f64]) -> f64 {
    // Logarithms of sums of sigmoid(z) and of 1 - sigmoid(z) = sigmoid(-z); the number of members cancels.
    let log_sum = |sign: f64| {
        let logs = logits.iter().map(|logit| -softplus(-sign * logit));
        let highest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
        highest + logs.map(|log| (log - highest).exp()).sum::<f64>().ln()
    };
    log_sum(1.0) - log_sum(-1.0)
}

/// ln(1 + exp(x)) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The path of an image below the data set's root.
pub(super) fn view_path(planes: &Planes, image: usize) -> String {
    let earlier = planes.study[..image].iter().filter(|&&study| study == planes.study[image]).count();
    view_path_after(planes, image, earlier)
}

/// The same when `earlier` images of its study come before it.
fn view_path_after(planes: &Planes, image: usize, earlier: usize) -> String {
    let study = &planes.studies[planes.study[image]];
    let name = study.images.get(earlier).and_then(|path| path.file_name()).unwrap_or_default();
    format!("{}/{}", study.path, name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logit_of_a_mean_is_exact_and_stays_finite() {
        for logits in [[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [4.0, 4.0, 4.0]] {
            let mean = logits.iter().map(|&z| sigmoid(z)).sum::<f64>() / 3.0;
            assert!((sigmoid(mean_logit(&logits)) - mean).abs() < 1e-14);
        }
        assert!((mean_logit(&[900.0, 900.0]) - 900.0).abs() < 1e-9);
        assert!(mean_logit(&[900.0, -900.0]).abs() < 1e-9);
    }
}
