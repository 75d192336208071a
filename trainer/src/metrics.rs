//! What MURA is judged by: AUROC, Cohen's kappa, sensitivity, specificity, and bootstrap intervals over
//! patients. Pure functions on scored cases (studies or images).

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A scored case: the probability (or any score that grows with it) and whether the case is abnormal.
pub type Case = (f64, bool);

/// Resamples behind an interval, unless a caller has reason for another number.
pub const RESAMPLES: usize = 1000;

/// The area under the ROC curve: the chance that an abnormal case scores above a normal one, ties counting
/// half (the Mann-Whitney statistic, by ranks). `None` when a class is missing or a score is NaN.
pub fn auroc(cases: &[Case]) -> Option<f64> {
    if cases.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    let mut sorted = cases.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = sorted.iter().filter(|case| case.1).count() as f64;
    let negatives = sorted.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    // Twice the statistic, so that ties stay whole numbers: each positive beats every negative below its
    // group of ties and half of those within it.
    let mut twice = 0.0;
    let mut negatives_below = 0.0;
    for ties in sorted.chunk_by(|a, b| a.0 == b.0) {
        let tied_positives = ties.iter().filter(|case| case.1).count() as f64;
        let tied_negatives = ties.len() as f64 - tied_positives;
        twice += tied_positives * (2.0 * negatives_below + tied_negatives);
        negatives_below += tied_negatives;
    }
    Some(twice / (2.0 * positives * negatives))
}

/// Counts of a 2 by 2 table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Abnormal and called abnormal.
    pub true_positives: u64,
    /// Normal but called abnormal.
    pub false_positives: u64,
    /// Normal and called normal.
    pub true_negatives: u64,
    /// Abnormal but called normal.
    pub false_negatives: u64,
}

impl Confusion {
    /// Calls a case abnormal when its score is at or above the threshold.
    pub fn at(threshold: f64, cases: &[Case]) -> Self {
        let mut table = Self::default();
        for &(score, abnormal) in cases {
            let cell = match (abnormal, score >= threshold) {
                (true, true) => &mut table.true_positives,
                (false, true) => &mut table.false_positives,
                (false, false) => &mut table.true_negatives,
                (true, false) => &mut table.false_negatives,
            };
            *cell += 1;
        }
        table
    }

    /// The share of abnormal cases called abnormal; `None` without abnormal cases.
    pub fn sensitivity(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// The share of normal cases called normal; `None` without normal cases.
    pub fn specificity(&self) -> Option<f64> {
        share(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Cohen's kappa: agreement beyond what the margins give by chance. `None` when chance alone agrees
    /// fully (no cases, or truth and calls are one and the same constant).
    pub fn kappa(&self) -> Option<f64> {
        let [tp, fp, tn, fnn] =
            [self.true_positives, self.false_positives, self.true_negatives, self.false_negatives]
                .map(|count| count as f64);
        let n = tp + fp + tn + fnn;
        let observed = (tp + tn) / n;
        let expected = ((tp + fnn) * (tp + fp) + (tn + fp) * (tn + fnn)) / (n * n);
        (n > 0.0 && expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Cohen's kappa between the truth and the calls at a threshold; see [`Confusion::kappa`].
pub fn kappa(cases: &[Case], threshold: f64) -> Option<f64> {
    Confusion::at(threshold, cases).kappa()
}

/// Sensitivity at a threshold; see [`Confusion::sensitivity`].
pub fn sensitivity(cases: &[Case], threshold: f64) -> Option<f64> {
    Confusion::at(threshold, cases).sensitivity()
}

/// Specificity at a threshold; see [`Confusion::specificity`].
pub fn specificity(cases: &[Case], threshold: f64) -> Option<f64> {
    Confusion::at(threshold, cases).specificity()
}

/// The 95 % percentile bootstrap interval `[low, high]` of a statistic, resampling patients with
/// replacement: a patient's cases are not independent, so they come or stay away together.
///
/// `patients[i]` is whose `cases[i]` is. The same seed gives the same interval. Resamples in which the
/// statistic is undefined are left out; `None` with fewer than two patients or when more than half of
/// the resamples are undefined.
pub fn bootstrap_ci95<P: Ord>(
    cases: &[Case],
    patients: &[P],
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[Case]) -> Option<f64>,
) -> Option<[f64; 2]> {
    let mut by_patient: BTreeMap<&P, Vec<Case>> = BTreeMap::new();
    for (case, patient) in cases.iter().zip(patients) {
        by_patient.entry(patient).or_default().push(*case);
    }
    let groups: Vec<Vec<Case>> = by_patient.into_values().collect();
    if groups.len() < 2 {
        return None;
    }
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut values = Vec::with_capacity(resamples);
    let mut drawn = Vec::with_capacity(2 * cases.len());
    for _ in 0..resamples {
        drawn.clear();
        for _ in 0..groups.len() {
            drawn.extend_from_slice(&groups[random.random_range(0..groups.len())]);
        }
        values.extend(statistic(&drawn));
    }
    if values.is_empty() || values.len() * 2 < resamples {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some([quantile(&values, 0.025), quantile(&values, 0.975)])
}

/// A quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    low + (high - low) * position.fract()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cases() -> impl Strategy<Value = Vec<Case>> {
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
    }

    #[test]
    fn what_is_undefined_is_none() {
        assert_eq!(auroc(&[]), None);
        assert_eq!(auroc(&[(0.5, true)]), None);
        assert_eq!(auroc(&[(f64::NAN, true), (0.2, false)]), None);
        assert_eq!(kappa(&[(0.9, true), (0.8, true)], 0.5), None);
        assert_eq!(sensitivity(&[(0.5, false)], 0.5), None);
        assert_eq!(specificity(&[(0.5, true)], 0.5), None);
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
