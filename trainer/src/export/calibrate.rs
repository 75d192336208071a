//! Calibration and operating points from a validation split.
//!
//! Calibration is one temperature on the image logits (Guo et al., arXiv 1706.04599). Operating points are
//! thresholds on the *study's* probability, which is the mean of its views' calibrated ones.

use std::collections::BTreeMap;

use contract::bundle::{Calibration, OperatingPointTable};
use contract::study::{OperatingPoints, StudyType, sigmoid};

use crate::metrics::{Case, Confusion};

/// What the operating points keep on the split they are found on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    /// The sensitivity of the rule-out point, above 0, at most 1.
    pub rule_out_sensitivity: f64,
    /// The specificity of the rule-in point, above 0, at most 1.
    pub rule_in_specificity: f64,
}

impl Default for Targets {
    fn default() -> Self {
        Self { rule_out_sensitivity: 0.95, rule_in_specificity: 0.95 }
    }
}

/// A study type has points of its own from this many studies of each class on.
pub const STUDIES_PER_CLASS_MIN: usize = 30;
/// The range of temperatures. A split that the network separates without error asks for a temperature
/// of zero; one that it cannot rank asks for infinity.
pub const TEMPERATURE_RANGE: [f64; 2] = [0.25, 10.0];

/// Why no calibration or points were found.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A class is missing.
    #[error(
        "the validation split has {positives} abnormal and {negatives} normal {what}; both classes are needed \
         to calibrate and to choose operating points: add studies of the missing class"
    )]
    OneClass {
        /// Studies or images.
        what: &'static str,
        /// How many are abnormal.
        positives: usize,
        /// How many are normal.
        negatives: usize,
    },
    /// A logit or probability is not a number.
    #[error("the model gave a value that is not a finite number; train it again with a lower learning rate")]
    NotFinite,
}

/// The temperature with the least negative log likelihood of image logits, within [`TEMPERATURE_RANGE`].
///
/// # Errors
/// When a class is missing or a logit is not finite.
pub fn temperature(image_logits: &[Case]) -> Result<Calibration, CalibrationError> {
    check("images", image_logits)?;
    // The likelihood is convex in b = 1 / temperature; its slope is the sum of (sigmoid(b z) - y) z.
    let slope = |b: f64| -> f64 {
        image_logits.iter().map(|&(z, abnormal)| (sigmoid(b * z) - f64::from(u8::from(abnormal))) * z).sum()
    };
    let [lowest, highest] = TEMPERATURE_RANGE;
    let (mut low, mut high) = (1.0 / highest, 1.0 / lowest);
    if slope(low) >= 0.0 {
        return Ok(Calibration { temperature: highest });
    }
    if slope(high) <= 0.0 {
        return Ok(Calibration { temperature: lowest });
    }
    while high - low > 1e-9 {
        let middle = f64::midpoint(low, high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    Ok(Calibration { temperature: 1.0 / f64::midpoint(low, high) })
}

/// The mean negative log likelihood of image logits under a calibration, in nats.
pub fn negative_log_likelihood(image_logits: &[Case], calibration: Calibration) -> f64 {
    let sum: f64 = image_logits
        .iter()
        .map(|&(logit, abnormal)| {
            let z = logit / calibration.temperature * if abnormal { 1.0 } else { -1.0 };
            // ln(1 + exp(-z)) without overflow.
            (-z).max(0.0) + (-z.abs()).exp().ln_1p()
        })
        .sum();
    sum / image_logits.len() as f64
}

/// Operating points over all studies and for each type with at least [`STUDIES_PER_CLASS_MIN`] studies of
/// each class. `studies` holds each study's type, calibrated probability and truth.
///
/// # Errors
/// When a class is missing over all studies or a probability is not finite.
pub fn operating_points(
    studies: &[(StudyType, f64, bool)],
    targets: Targets,
) -> Result<OperatingPointTable, CalibrationError> {
    let all: Vec<Case> = studies.iter().map(|&(_, probability, abnormal)| (probability, abnormal)).collect();
    let pooled = points(&all, targets)?;
    let mut by_type: BTreeMap<&StudyType, Vec<Case>> = BTreeMap::new();
    for (study_type, probability, abnormal) in studies {
        by_type.entry(study_type).or_default().push((*probability, *abnormal));
    }
    let mut per_type = BTreeMap::new();
    for (study_type, cases) in by_type {
        let positives = cases.iter().filter(|case| case.1).count();
        if positives >= STUDIES_PER_CLASS_MIN && cases.len() - positives >= STUDIES_PER_CLASS_MIN {
            per_type.insert(study_type.clone(), points(&cases, targets)?);
        }
    }
    Ok(OperatingPointTable { pooled, per_type })
}

/// The operating points of one group of studies.
///
/// Candidate thresholds lie midway between neighbouring probabilities (and between the outermost ones and
/// 0 or 1), so that the small drift between two runtimes moves no study of the split across a point.
fn points(cases: &[Case], targets: Targets) -> Result<OperatingPoints, CalibrationError> {
    check("studies", cases)?;
    let mut probabilities: Vec<f64> = cases.iter().map(|case| case.0).collect();
    probabilities.extend([0.0, 1.0]);
    probabilities.sort_by(f64::total_cmp);
    probabilities.dedup();
    let tables: Vec<(f64, Confusion)> = probabilities
        .windows(2)
        .map(|pair| f64::midpoint(pair[0], pair[1]))
        .map(|threshold| (threshold, Confusion::at(threshold, cases)))
        .collect();

    let rule_out = tables
        .iter()
        .rev()
        .find(|(_, table)| table.sensitivity().is_some_and(|s| s >= targets.rule_out_sensitivity))
        .map_or(0.0, |found| found.0);
    let rule_in = tables
        .iter()
        .find(|(_, table)| table.specificity().is_some_and(|s| s >= targets.rule_in_specificity))
        .map_or(1.0, |found| found.0);
    let kappa = |table: &Confusion| table.kappa().unwrap_or(f64::NEG_INFINITY);
    let decision = tables
        .iter()
        .max_by(|a, b| {
            // Among equals the one nearest 0.5.
            kappa(&a.1).total_cmp(&kappa(&b.1)).then((b.0 - 0.5).abs().total_cmp(&(a.0 - 0.5).abs()))
        })
        .map_or(0.5, |found| found.0);
    Ok(OperatingPoints::new(rule_out, rule_in, decision))
}

fn check(what: &'static str, cases: &[Case]) -> Result<(), CalibrationError> {
    if cases.iter().any(|case| !case.0.is_finite()) {
        return Err(CalibrationError::NotFinite);
    }
    let positives = cases.iter().filter(|case| case.1).count();
    let negatives = cases.len() - positives;
    if positives == 0 || negatives == 0 {
        return Err(CalibrationError::OneClass { what, positives, negatives });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use contract::study::Answer;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// Logits whose true probability is sigmoid(logit / temperature).
    fn drawn(temperature: f64, n: usize, seed: u64) -> Vec<Case> {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        (0..n)
            .map(|_| {
                let logit = random.random_range(-6.0..6.0);
                (logit, random.random_bool(sigmoid(logit / temperature)))
            })
            .collect()
    }

    #[test]
    fn the_temperature_that_made_the_labels_is_found() {
        for truth in [0.5, 1.0, 2.5] {
            let found = temperature(&drawn(truth, 20_000, 5)).unwrap().temperature;
            assert!((found / truth - 1.0).abs() < 0.06, "{found} for {truth}");
        }
    }

    #[test]
    fn the_temperature_is_bounded() {
        let separated = [(-1.0, false), (-2.0, false), (1.5, true)];
        assert_eq!(temperature(&separated).unwrap().temperature, TEMPERATURE_RANGE[0]);
        let inverted = [(-1.0, true), (1.5, false)];
        assert_eq!(temperature(&inverted).unwrap().temperature, TEMPERATURE_RANGE[1]);
    }

    #[test]
    fn a_missing_class_and_a_nan_are_refused() {
        let message = temperature(&[(1.0, false)]).unwrap_err().to_string();
        assert!(message.contains("0 abnormal and 1 normal images"), "{message}");
        assert!(matches!(temperature(&[(f64::NAN, true), (0.0, false)]), Err(CalibrationError::NotFinite)));
        assert!(operating_points(&[("XR_HAND".parse().unwrap(), 0.5, true)], Targets::default()).is_err());
    }

    proptest! {
        #[test]
        fn no_other_temperature_is_better(
            cases in prop::collection::vec((-8.0..8.0f64, any::<bool>()), 2..40),
            other in TEMPERATURE_RANGE[0]..TEMPERATURE_RANGE[1],
        ) {
            if let Ok(best) = temperature(&cases) {
                let least = negative_log_likelihood(&cases, best);
                let rival = negative_log_likelihood(&cases, Calibration { temperature: other });
                prop_assert!(least <= rival + 1e-9, "{least} at {}, {rival} at {other}", best.temperature);
            }
        }

        #[test]
        fn points_keep_their_promise_unless_they_crossed(
            cases in prop::collection::vec(((0u8..40).prop_map(|p| f64::from(p) / 40.0), any::<bool>()), 2..80),
            rule_out_sensitivity in 0.5..=1.0f64,
            rule_in_specificity in 0.5..=1.0f64,
        ) {
            let targets = Targets { rule_out_sensitivity, rule_in_specificity };
            let Ok(points) = points(&cases, targets) else { return Ok(()) };
            prop_assert!(points.rule_out <= points.rule_in);
            if !points.crossed {
                let out = Confusion::at(points.rule_out, &cases).sensitivity().unwrap();
                let rule_in = Confusion::at(points.rule_in, &cases).specificity().unwrap();
                prop_assert!(out >= rule_out_sensitivity, "{out}");
                prop_assert!(rule_in >= rule_in_specificity, "{rule_in}");
            }
            let best = Confusion::at(points.decision, &cases).kappa().unwrap_or(f64::NEG_INFINITY);
            for threshold in [0.0, 0.2125, 0.5, 0.7625] {
                let rival = Confusion::at(threshold, &cases).kappa();
                prop_assert!(rival.is_none_or(|rival| rival <= best + 1e-12));
            }
        }
    }

    #[test]
    fn separated_studies_cross_and_the_midpoint_separates_them() {
        let mut cases: Vec<Case> = (0..50).map(|i| (0.1 + 0.002 * f64::from(i), false)).collect();
        cases.extend((0..50).map(|i| (0.8 + 0.002 * f64::from(i), true)));
        let points = points(&cases, Targets::default()).unwrap();
        assert!(points.crossed);
        assert!(cases.iter().all(|&(p, abnormal)| {
            points.answer(p) == if abnormal { Answer::Abnormal } else { Answer::Normal }
        }));
        assert!((points.decision - 0.499).abs() < 1e-3, "{}", points.decision);
    }

    #[test]
    fn a_type_with_few_studies_of_a_class_has_no_points_of_its_own() {
        let wrist: StudyType = "XR_WRIST".parse().unwrap();
        let hand: StudyType = "XR_HAND".parse().unwrap();
        let mut studies = Vec::new();
        for i in 0..60 {
            let probability = f64::from(i * 37 % 60) / 60.0;
            studies.push((wrist.clone(), probability, i % 2 == 0));
            studies.push((hand.clone(), probability, i > 30));
        }
        let table = operating_points(&studies, Targets::default()).unwrap();
        assert_eq!(table.per_type.keys().collect::<Vec<_>>(), [&wrist]);
    }
}
