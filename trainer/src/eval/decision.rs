//! The `decision` point: the threshold of the highest kappa, for each study type with enough studies.
//!
//! A bundle brings its points. A run and an ensemble have none, and a point found and judged on the same
//! studies would flatter them, so theirs are cross-fitted: each fold's studies are judged at the point that
//! the studies of the other folds give. Folds never share a patient.

use std::collections::BTreeMap;

use contract::bundle::{BundleManifest, OperatingPointTable};
use contract::study::StudyType;
use serde::Serialize;

use super::score::StudyScore;
use crate::export::calibrate::{self, Targets};
use crate::metrics::{FOLDS, deal};

/// Where the decision points come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// How they were found.
    pub source: DecisionSource,
    /// The point of study types without one of their own. For `cross_fitted` the one of the whole split; its
    /// studies were not judged at it.
    pub pooled: Option<f64>,
    /// Points of study types that have their own; for `cross_fitted` likewise.
    pub per_type: BTreeMap<StudyType, f64>,
    /// What to keep in mind about them.
    pub note: String,
}

/// How decision points were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionSource {
    /// They stand in the bundle's manifest.
    Bundle,
    /// On the other folds of the split.
    CrossFitted,
    /// They could not be found.
    None,
}

impl Decision {
    fn new(source: DecisionSource, table: &OperatingPointTable, note: String) -> Self {
        let per_type = table.per_type.iter().map(|(name, points)| (name.clone(), points.decision)).collect();
        Self { source, pooled: Some(table.pooled.decision), per_type, note }
    }

    fn none(note: String) -> Self {
        Self { source: DecisionSource::None, pooled: None, per_type: BTreeMap::new(), note }
    }
}

/// Judges every study at a bundle's decision points.
pub(super) fn of_bundle(manifest: &BundleManifest, studies: &mut [StudyScore]) -> Decision {
    let table = &manifest.operating_points;
    for study in studies {
        study.decision_abnormal = Some(called(table, study));
    }
    let note = "the bundle's points; on the split that they were found on, its kappa at them is optimistic";
    Decision::new(DecisionSource::Bundle, table, note.to_owned())
}

/// Judges every study at the points that other patients' studies give, or none where that is not possible.
pub(super) fn cross_fitted(studies: &mut [StudyScore]) -> Decision {
    let of_fold = fold_of_each(studies);
    let points = |keep: &dyn Fn(usize) -> bool| {
        let kept: Vec<_> = studies
            .iter()
            .zip(&of_fold)
            .filter(|&(_, &fold)| keep(fold))
            .map(|(study, _)| (study.study_type.clone(), study.probability, study.abnormal))
            .collect();
        calibrate::operating_points(&kept, Targets::default())
    };
    let tables: Result<Vec<OperatingPointTable>, _> =
        (0..FOLDS).map(|left_out| points(&|fold| fold != left_out)).collect();
    let (whole, tables) = match (points(&|_| true), tables) {
        (Ok(whole), Ok(tables)) if of_fold.contains(&(FOLDS - 1)) => (whole, tables),
        _ => {
            return Decision::none(format!(
                "no decision point: it takes {FOLDS} patients, and both classes among any {} of {FOLDS} parts of them",
                FOLDS - 1
            ));
        }
    };
    for (study, fold) in studies.iter_mut().zip(of_fold) {
        study.decision_abnormal = Some(called(&tables[fold], study));
    }
    let note = format!(
        "found by {FOLDS}-fold cross-fitting: each study is judged at the point that other patients' studies give; \
         the points listed are those of the whole split"
    );
    Decision::new(DecisionSource::CrossFitted, &whole, note)
}

fn called(table: &OperatingPointTable, study: &StudyScore) -> bool {
    study.probability >= table.for_type(&study.study_type).0.decision
}

fn fold_of_each(studies: &[StudyScore]) -> Vec<usize> {
    deal(studies.iter().map(|s| (s.patient.as_str(), &s.study_type, s.abnormal)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::metrics::{Case, Confusion};

    /// Studies of one type, two to a patient, with a probability that knows the truth as far as `strength`.
    fn studies(count: usize, strength: f64, seed: u64) -> Vec<StudyScore> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let study = |number: usize| {
            let abnormal = random.random_bool(0.45);
            let noise: f64 = random.random_range(0.0..1.0);
            StudyScore {
                path: format!("valid/XR_HAND/patient{}/study{number}", number / 2),
                study_type: "XR_HAND".parse().unwrap(),
                abnormal,
                probability: 0.4 * (strength * f64::from(u8::from(abnormal)) + (1.0 - strength) * noise),
                decision_abnormal: None,
                answer: None,
                views: Vec::new(),
                patient: format!("patient{}", number / 2),
            }
        };
        (0..count).map(study).collect()
    }

    fn kappa(studies: &[StudyScore], called: impl Fn(&StudyScore) -> bool) -> f64 {
        let cases: Vec<Case> = studies.iter().map(|s| (f64::from(u8::from(called(s))), s.abnormal)).collect();
        Confusion::at(0.5, &cases).kappa().unwrap_or(0.0)
    }

    #[test]
    fn cross_fitting_finds_a_point_where_one_half_finds_nothing() {
        let mut studies = studies(400, 0.5, 2);
        let decision = cross_fitted(&mut studies);
        assert_eq!(decision.source, DecisionSource::CrossFitted);
        assert!(decision.pooled.unwrap() < 0.4);
        assert_eq!(kappa(&studies, |s| s.probability >= 0.5), 0.0);
        assert!(kappa(&studies, |s| s.decision_abnormal.unwrap()) > 0.8);
    }

    #[test]
    fn cross_fitting_does_not_flatter_noise() {
        // On scores that know nothing a point found on the same studies has a kappa above zero by construction.
        let (mut fitted, mut flattered) = (0.0, 0.0);
        for seed in 0..20 {
            let mut studies = studies(80, 0.0, seed);
            let decision = cross_fitted(&mut studies);
            let point = decision.per_type.values().next().copied().or(decision.pooled).unwrap();
            fitted += kappa(&studies, |s| s.decision_abnormal.unwrap()) / 20.0;
            flattered += kappa(&studies, |s| s.probability >= point) / 20.0;
        }
        assert!(fitted < 0.06 && flattered > 0.1, "{fitted} {flattered}");
    }

    #[test]
    fn folds_share_no_patient_and_few_patients_have_no_point() {
        let mut many = studies(60, 0.5, 1);
        let folds = fold_of_each(&many);
        assert!(many.chunks(2).zip(folds.chunks(2)).all(|(_, fold)| fold[0] == fold[1]));
        assert_eq!(folds.iter().collect::<BTreeSet<_>>().len(), FOLDS);
        let decision = cross_fitted(&mut many[..6]);
        assert_eq!((decision.source, decision.pooled), (DecisionSource::None, None));
        assert!(decision.note.contains("patients") && many[0].decision_abnormal.is_none());
    }
}
