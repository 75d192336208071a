//! What MURA is judged by: AUROC, Cohen's kappa, sensitivity, specificity, F1, calibration error, and bootstrap
//! intervals over patients. Pure functions on scored cases (studies or images); `tests/sklearn.rs` compares
//! them with scikit-learn.

mod bootstrap;
mod confusion;
mod curve;
mod folds;
mod panel;
mod reliability;

pub use bootstrap::{RESAMPLES, bootstrap_ci95, interval, resample};
pub use confusion::{Confusion, kappa, sensitivity, specificity};
pub use curve::{PrecisionRecallPoint, RocPoint, auroc, average_precision, precision_recall, roc};
pub use folds::{FOLDS, deal};
pub use panel::{Estimate, Figures, Panel, Scored};
pub use reliability::{BINS, Bin, brier, expected_calibration_error, reliability};

/// A scored case: the probability (or any score that grows with it) and whether the case is abnormal.
pub type Case = (f64, bool);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    pub(super) fn cases() -> impl Strategy<Value = Vec<Case>> {
        // Few distinct scores, so that ties are common.
        prop::collection::vec(((0u8..12).prop_map(|score| f64::from(score) / 11.0), any::<bool>()), 0..60)
    }

    /// The definition: every pair of an abnormal and a normal case.
    fn auroc_by_pairs(cases: &[Case]) -> Option<f64> {
        let (mut sum, mut pairs) = (0.0, 0.0);
        for &(positive, _) in cases.iter().filter(|case| case.1) {
            for &(negative, _) in cases.iter().filter(|case| !case.1) {
                pairs += 1.0;
                sum +=
                    if positive > negative { 1.0 } else { f64::from(u8::from(positive == negative)) / 2.0 };
            }
        }
        (pairs > 0.0).then(|| sum / pairs)
    }

    proptest! {
        #[test]
        fn auroc_is_its_definition(cases in cases()) {
            match (auroc(&cases), auroc_by_pairs(&cases)) {
                (Some(fast), Some(slow)) => prop_assert!((fast - slow).abs() < 1e-12),
                (fast, slow) => prop_assert_eq!(fast, slow),
            }
        }

        #[test]
        fn auroc_turns_around_with_the_scores(cases in cases()) {
            let turned: Vec<Case> = cases.iter().map(|&(score, abnormal)| (-score, abnormal)).collect();
            if let (Some(one), Some(other)) = (auroc(&cases), auroc(&turned)) {
                prop_assert!((one + other - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn kappa_is_its_definition(cases in cases(), threshold in 0.0..1.0f64) {
            let n = cases.len() as f64;
            let share = |holds: &dyn Fn(&Case) -> bool| cases.iter().filter(|c| holds(c)).count() as f64 / n;
            let observed = share(&|c| (c.0 >= threshold) == c.1);
            let (truth, call) = (share(&|c| c.1), share(&|c| c.0 >= threshold));
            let expected = truth * call + (1.0 - truth) * (1.0 - call);
            match kappa(&cases, threshold) {
                Some(kappa) => prop_assert!((kappa - (observed - expected) / (1.0 - expected)).abs() < 1e-9),
                None => prop_assert!(cases.is_empty() || expected > 1.0 - 1e-12),
            }
        }

        #[test]
        fn sensitivity_falls_and_specificity_rises(cases in cases(), low in 0.0..1.0f64, step in 0.0..1.0f64) {
            let (low, high) = (Confusion::at(low, &cases), Confusion::at(low + step, &cases));
            prop_assert!(low.sensitivity() >= high.sensitivity());
            prop_assert!(low.specificity() <= high.specificity());
        }
    }

    #[test]
    fn known_values() {
        let cases = [(0.9, true), (0.8, true), (0.7, false), (0.6, true), (0.2, false), (0.1, false)];
        assert_eq!(auroc(&cases), Some(8.0 / 9.0));
        let table = Confusion::at(0.65, &cases);
        assert_eq!((table.sensitivity(), table.specificity()), (Some(2.0 / 3.0), Some(2.0 / 3.0)));
        // Observed 4/6, expected 1/2.
        assert!((table.kappa().unwrap() - 1.0 / 3.0).abs() < 1e-12);
        // Precision and sensitivity are both 2/3.
        assert!((table.f1().unwrap() - 2.0 / 3.0).abs() < 1e-12);
        // Precision 1, 1 and 3/4 where the three abnormal cases come in.
        assert!((average_precision(&cases).unwrap() - (1.0 + 1.0 + 0.75) / 3.0).abs() < 1e-12);
        // 0.6 and 0.65 share a bin: the gap between 1/2 abnormal and a mean of 0.625.
        let close = expected_calibration_error(&[(0.6, true), (0.65, false)]).unwrap();
        assert!((close - 0.125).abs() < 1e-12, "{close}");
        assert_eq!(brier(&[(0.5, true), (0.0, false)]), Some(0.125));
    }

    #[test]
    fn what_is_undefined_is_none() {
        assert_eq!(auroc(&[]), None);
        assert_eq!(auroc(&[(0.5, true)]), None);
        assert_eq!(auroc(&[(f64::NAN, true), (0.2, false)]), None);
        assert_eq!(kappa(&[(0.9, true), (0.8, true)], 0.5), None);
        assert_eq!(sensitivity(&[(0.5, false)], 0.5), None);
        assert_eq!(specificity(&[(0.5, true)], 0.5), None);
        assert_eq!((average_precision(&[(0.5, true)]), brier(&[])), (None, None));
        assert_eq!((expected_calibration_error(&[]), Confusion::default().f1()), (None, None));
        assert!(roc(&[(0.5, true)]).is_none() && precision_recall(&[(0.5, false)]).is_none());
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        // Sensitivity of 0.7 by construction; 95 % intervals over 200 draws of 100 patients.
        let mut random = Pcg64Mcg::seed_from_u64(7);
        let holds = (0..200)
            .filter(|&draw| {
                let cases: Vec<Case> =
                    (0..100).map(|_| (f64::from(u8::from(random.random_bool(0.7))), true)).collect();
                let patients: Vec<usize> = (0..100).collect();
                let [low, high] =
                    bootstrap_ci95(&cases, &patients, 300, draw, |c| sensitivity(c, 0.5)).unwrap();
                low <= 0.7 && 0.7 <= high
            })
            .count();
        assert!((178..=200).contains(&holds), "{holds} of 200");
    }

    #[test]
    fn a_patient_stays_together_and_a_seed_repeats() {
        // Ten copies of each case under one patient carry no more information than one.
        let single: Vec<Case> = (0..40).map(|i| (f64::from(i % 7) / 7.0, i % 3 == 0)).collect();
        let copies: Vec<Case> = single.iter().flat_map(|case| [*case; 10]).collect();
        let patients: Vec<usize> = (0..single.len()).collect();
        let patients_of_copies: Vec<usize> = patients.iter().flat_map(|p| [*p; 10]).collect();
        let one = bootstrap_ci95(&single, &patients, 500, 3, auroc).unwrap();
        let ten = bootstrap_ci95(&copies, &patients_of_copies, 500, 3, auroc).unwrap();
        assert!((one[0] - ten[0]).abs() < 1e-12 && (one[1] - ten[1]).abs() < 1e-12);
        assert_eq!(Some(one), bootstrap_ci95(&single, &patients, 500, 3, auroc));
        assert_ne!(Some(one), bootstrap_ci95(&single, &patients, 500, 4, auroc));
        assert_eq!(bootstrap_ci95(&single, &vec![0; single.len()], 100, 1, auroc), None);
    }
}
