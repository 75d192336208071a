//! What calibration and operating points achieve on studies that they were not found on.
//!
//! Points that keep a sensitivity of 0.95 on the studies they were found on keep less on others. So patients are
//! dealt into five folds; temperature and points are found on four of them and judge the studies of the fifth;
//! the judgements of all five are counted together. The bundle's own temperature and points are found on all
//! studies. Folds depend on the patients and a fixed seed only.

use std::collections::BTreeMap;

use contract::bundle::{Achieved, AnswerCounts, CrossFit};
use contract::study::{Answer, StudyType, study_score};

use super::calibrate::{self, CalibrationError, Targets};
use crate::metrics::{self, Case, FOLDS, RESAMPLES, bootstrap_ci95, deal};

/// The seed of the intervals, so that an export repeats.
const SEED: u64 = 0x756c_6e61;
/// What is said of the values, whatever they are.
const CAVEAT: &str = "Temperature and operating points were found on other patients than those counted here, but the \
    epoch whose weights are exported (and, of a pruned network, its fine-tuning) was chosen on the same validation \
    split, and the radiographs come from the same source: expect less elsewhere.";

/// A study of the validation split with its views' logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// What was radiographed.
    pub study_type: StudyType,
    /// Whose it is.
    pub patient: String,
    /// What the radiologist said.
    pub abnormal: bool,
    /// The network's output for each view, before calibration; not empty.
    pub logits: Vec<f64>,
}

impl Scored {
    /// The study's probability at a temperature.
    pub fn probability(&self, calibration: contract::bundle::Calibration) -> f64 {
        let views: Vec<f64> = self.logits.iter().map(|&logit| calibration.probability(logit)).collect();
        study_score(&views).unwrap_or(f64::NAN)
    }
}

/// Studies as operating points are chosen from: type, calibrated probability, truth.
pub fn judged(
    studies: &[&Scored],
    calibration: contract::bundle::Calibration,
) -> Vec<(StudyType, f64, bool)> {
    studies.iter().map(|s| (s.study_type.clone(), s.probability(calibration), s.abnormal)).collect()
}

/// The logit of every view with its study's truth.
pub fn image_cases(studies: &[&Scored]) -> Vec<Case> {
    studies.iter().flat_map(|s| s.logits.iter().map(|&logit| (logit, s.abnormal))).collect()
}

/// Cross-fits temperature and operating points. With fewer than [`FOLDS`] patients with an abnormal or with a
/// normal study there is no value but a reason.
///
/// # Errors
/// When a logit is not finite.
pub fn cross_fit(studies: &[Scored], targets: Targets) -> Result<CrossFit, CalibrationError> {
    let folds = fold_of_each(studies);
    let patients = |abnormal: Option<bool>| {
        let of_class = studies.iter().filter(|s| abnormal.is_none_or(|a| s.abnormal == a));
        of_class.map(|s| &s.patient).collect::<std::collections::BTreeSet<_>>().len()
    };
    let mut found = CrossFit {
        rule_out_sensitivity_target: targets.rule_out_sensitivity,
        rule_in_specificity_target: targets.rule_in_specificity,
        folds: FOLDS as u32,
        patients: patients(None) as u64,
        pooled: None,
        per_type: BTreeMap::new(),
        reason: None,
        caveat: CAVEAT.to_owned(),
    };
    let [abnormal, normal] = [true, false].map(|class| patients(Some(class)));
    if abnormal.min(normal) < FOLDS {
        found.reason = Some(format!(
            "{abnormal} patients with an abnormal and {normal} with a normal study are too few: {FOLDS} folds need at \
             least {FOLDS} of each"
        ));
        return Ok(found);
    }
    let mut calls = Vec::with_capacity(studies.len());
    for fold in 0..FOLDS {
        let part = |held_out: bool| {
            let picked = studies.iter().zip(&folds).filter(move |(_, f)| (**f == fold) == held_out);
            picked.map(|(study, _)| study).collect::<Vec<_>>()
        };
        let learned = part(false);
        let calibration = calibrate::temperature(&image_cases(&learned))?;
        let points = calibrate::operating_points(&judged(&learned, calibration), targets)?;
        for study in part(true) {
            let (points, _) = points.for_type(&study.study_type);
            let probability = study.probability(calibration);
            calls.push(Call {
                study,
                answer: points.answer(probability),
                decision: probability >= points.decision,
            });
        }
    }
    let mut by_type: BTreeMap<&StudyType, Vec<&Call<'_>>> = BTreeMap::new();
    for call in &calls {
        by_type.entry(&call.study.study_type).or_default().push(call);
    }
    found.pooled = Some(achieved(&calls.iter().collect::<Vec<_>>()));
    found.per_type = by_type.into_iter().map(|(t, calls)| (t.clone(), achieved(&calls))).collect();
    Ok(found)
}

/// What was said of a study by points that did not know it.
struct Call<'a> {
    study: &'a Scored,
    answer: Answer,
    decision: bool,
}

fn achieved(calls: &[&Call<'_>]) -> Achieved {
    let patients: Vec<&str> = calls.iter().map(|call| call.study.patient.as_str()).collect();
    let (mut abnormal, mut normal) = (AnswerCounts::default(), AnswerCounts::default());
    for call in calls {
        if call.study.abnormal { &mut abnormal } else { &mut normal }.count(call.answer);
    }
    let cases = |called: fn(&Call<'_>) -> bool| -> Vec<Case> {
        calls.iter().map(|call| (f64::from(u8::from(called(call))), call.study.abnormal)).collect()
    };
    let measured = |cases: &[Case], statistic: &dyn Fn(&[Case]) -> Option<f64>| {
        let value = statistic(cases);
        (value, value.and_then(|_| bootstrap_ci95(cases, &patients, RESAMPLES, SEED, statistic)))
    };
    let (rule_out_sensitivity, rule_out_sensitivity_ci95) =
        measured(&cases(|call| call.answer != Answer::Normal), &|c| metrics::sensitivity(c, 0.5));
    let (rule_in_specificity, rule_in_specificity_ci95) =
        measured(&cases(|call| call.answer == Answer::Abnormal), &|c| metrics::specificity(c, 0.5));
    // With one class kappa is 0 or undefined whatever the network does.
    let both = abnormal.total() > 0 && normal.total() > 0;
    let (decision_kappa, decision_kappa_ci95) =
        measured(&cases(|call| call.decision), &|c| metrics::kappa(c, 0.5).filter(|_| both));
    Achieved {
        studies: calls.len() as u64,
        abnormal,
        normal,
        rule_out_sensitivity,
        rule_out_sensitivity_ci95,
        rule_in_specificity,
        rule_in_specificity_ci95,
        uncertain_share: (abnormal.uncertain + normal.uncertain) as f64 / calls.len() as f64,
        decision_kappa,
        decision_kappa_ci95,
    }
}

fn fold_of_each(studies: &[Scored]) -> Vec<usize> {
    deal(studies.iter().map(|s| (s.patient.as_str(), &s.study_type, s.abnormal)))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// Studies whose logits are noise around +-`distance`; two studies of two views per patient, of the same truth.
    fn drawn(patients: usize, distance: f64, seed: u64) -> Vec<Scored> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut studies = Vec::new();
        for patient in 0..patients {
            let abnormal = patient % 2 == 0;
            for study in 0..2 {
                let middle = if abnormal { distance } else { -distance };
                let mut logit = || middle + (0..6).map(|_| random.random_range(-1.0..1.0)).sum::<f64>();
                studies.push(Scored {
                    study_type: ["XR_WRIST", "XR_HAND"][study].parse().unwrap(),
                    patient: format!("patient{patient:05}"),
                    abnormal,
                    logits: vec![logit(), logit()],
                });
            }
        }
        studies
    }

    #[test]
    fn a_patient_is_in_one_fold_and_folds_are_alike() {
        let studies = drawn(53, 1.0, 1);
        let folds = fold_of_each(&studies);
        for (a, b) in studies.iter().zip(&folds).zip(studies.iter().zip(&folds).skip(1)) {
            assert!(a.0.patient != b.0.patient || a.1 == b.1);
        }
        for fold in 0..FOLDS {
            let of_fold: Vec<_> = studies.iter().zip(&folds).filter(|(_, f)| **f == fold).collect();
            assert!((20..=22).contains(&of_fold.len()), "{}", of_fold.len());
            let abnormal = of_fold.iter().filter(|(s, _)| s.abnormal).count();
            assert!((10..=12).contains(&abnormal), "{abnormal}");
        }
        // The order in which studies come does not matter.
        let mut turned: Vec<_> = studies.clone();
        turned.reverse();
        let mut again = fold_of_each(&turned);
        again.reverse();
        assert_eq!(again, folds);
    }

    #[test]
    fn every_study_is_judged_once_and_the_same_again() {
        let studies = drawn(120, 0.7, 2);
        let found = cross_fit(&studies, Targets::default()).unwrap();
        assert_eq!(found, cross_fit(&studies, Targets::default()).unwrap());
        let pooled = found.pooled.unwrap();
        assert_eq!((found.patients, pooled.studies), (120, 240));
        assert_eq!((pooled.abnormal.total(), pooled.normal.total()), (120, 120));
        assert_eq!(found.per_type.values().map(|a| a.studies).sum::<u64>(), 240);
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        assert_eq!(pooled.rule_out_sensitivity, Some(1.0 - share(pooled.abnormal.normal, 120)));
        assert_eq!(pooled.rule_in_specificity, Some(1.0 - share(pooled.normal.abnormal, 120)));
        let [low, high] = pooled.rule_out_sensitivity_ci95.unwrap();
        assert!(low < 0.95 && 0.9 < high, "{low} {high}");
        assert!(pooled.decision_kappa.is_some_and(|kappa| (0.3..0.95).contains(&kappa)));
    }

    #[test]
    fn points_found_on_noise_promise_more_than_they_keep() {
        // Logits that know nothing: the decision point found on a split has some kappa there, none elsewhere.
        let (mut same, mut other) = (0.0, 0.0);
        for seed in 0..20 {
            let studies = drawn(40, 0.0, seed);
            let all: Vec<&Scored> = studies.iter().collect();
            let calibration = calibrate::temperature(&image_cases(&all)).unwrap();
            let judged = judged(&all, calibration);
            let points = calibrate::operating_points(&judged, Targets::default()).unwrap().pooled;
            let cases: Vec<Case> = judged.iter().map(|(_, p, abnormal)| (*p, *abnormal)).collect();
            same += metrics::kappa(&cases, points.decision).unwrap() / 20.0;
            let found = cross_fit(&studies, Targets::default()).unwrap();
            other += found.pooled.unwrap().decision_kappa.unwrap() / 20.0;
        }
        assert!(same > 0.1 && other.abs() < 0.08, "{same} on the same studies, {other} on others");
    }

    #[test]
    fn too_few_patients_are_a_reason_and_one_class_in_a_type_is_null() {
        let few = cross_fit(&drawn(8, 1.0, 3), Targets::default()).unwrap();
        assert!(few.pooled.is_none() && few.per_type.is_empty());
        assert!(few.reason.unwrap().contains("4 patients with an abnormal and 4 with a normal study"));

        let mut studies = drawn(60, 1.0, 4);
        for study in &mut studies {
            if !study.abnormal {
                study.study_type = "XR_WRIST".parse().unwrap();
            }
        }
        let found = cross_fit(&studies, Targets::default()).unwrap();
        let hand = &found.per_type[&"XR_HAND".parse().unwrap()];
        assert_eq!((hand.studies, hand.normal.total()), (30, 0));
        assert!(hand.rule_out_sensitivity.is_some());
        assert_eq!((hand.rule_in_specificity, hand.decision_kappa), (None, None));
    }
}
