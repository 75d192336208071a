//! Every measure of a group of cases and its interval, from resamples that all measures share.
//!
//! The cases are sorted once. A resample only changes how often each case counts, so it costs one pass over
//! them; a thousand resamples of MURA's validation split and its seven types take
//! well under a second.

use std::collections::BTreeMap;

use super::curve::{self, Step};
use super::reliability::{self, BINS, Bin};
use super::{Case, Confusion, bootstrap};

/// A case of a [`Panel`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<'a> {
    /// Probability and truth.
    pub case: Case,
    /// Whether it is called abnormal at its decision point, where there is one.
    pub decided: Option<bool>,
    /// Whose case it is.
    pub patient: &'a str,
}

/// Every measure of a group. What is undefined is `None`: sensitivity without abnormal cases, specificity
/// without normal ones, and AUROC, average precision, kappa and F1 when either class is missing (with one
/// class kappa and F1 are the same whatever a network does); those of decisions also when a case has none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures<T = Option<f64>> {
    /// Area under the ROC curve.
    pub auroc: T,
    /// Area under the precision-recall curve, step-wise.
    pub average_precision: T,
    /// Cohen's kappa at the threshold.
    pub kappa: T,
    /// At the threshold.
    pub sensitivity: T,
    /// At the threshold.
    pub specificity: T,
    /// F1 at the threshold.
    pub f1: T,
    /// Expected calibration error.
    pub ece: T,
    /// Brier score.
    pub brier: T,
    /// Cohen's kappa of the decisions.
    pub decision_kappa: T,
    /// Sensitivity of the decisions.
    pub decision_sensitivity: T,
    /// Specificity of the decisions.
    pub decision_specificity: T,
}

/// A measure and its 95 % bootstrap interval over patients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// On the cases themselves.
    pub value: Option<f64>,
    /// `[low, high]`; `None` where the value is, with fewer than two patients, and when more than half of the
    /// resamples leave the measure undefined.
    pub ci95: Option<[f64; 2]>,
}

/// Cases in the order that makes measuring them again and again cheap.
#[derive(Clone, Debug)]
pub struct Panel {
    /// By falling score.
    cases: Vec<Prepared>,
    threshold: f64,
    patients: usize,
}

#[derive(Clone, Copy, Debug)]
struct Prepared {
    case: Case,
    decided: Option<bool>,
    patient: usize,
    bin: usize,
}

impl Panel {
    /// Of cases whose probabilities are finite; sensitivity, specificity, F1 and kappa are at `threshold`.
    pub fn new(scored: &[Scored<'_>], threshold: f64) -> Self {
        let mut places: BTreeMap<&str, usize> = scored.iter().map(|one| (one.patient, 0)).collect();
        places.values_mut().enumerate().for_each(|(place, value)| *value = place);
        let prepare = |one: &Scored<'_>| Prepared {
            case: one.case,
            decided: one.decided,
            patient: places[one.patient],
            bin: reliability::bin_of(one.case.0),
        };
        let mut cases: Vec<Prepared> = scored.iter().map(prepare).collect();
        cases.sort_by(|a, b| b.case.0.total_cmp(&a.case.0));
        Self { cases, threshold, patients: places.len() }
    }

    /// How many patients there are. Weights are theirs in the order of their names.
    pub fn patients(&self) -> usize {
        self.patients
    }

    /// The measures when the cases of patient `i` count `times[i]` times.
    ///
    /// # Panics
    /// When `times` is shorter than there are patients.
    pub fn figures(&self, times: &[u32]) -> Figures {
        let mut steps: Vec<Step> = Vec::with_capacity(self.cases.len());
        let mut bins = [Bin::default(); BINS];
        let (mut at, mut decisions, mut all_decided) = (Confusion::default(), Confusion::default(), true);
        let mut squares = 0.0;
        for one in &self.cases {
            let times = times[one.patient];
            if times == 0 {
                continue;
            }
            let (weight, count) = (f64::from(times), u64::from(times));
            curve::add(&mut steps, one.case, weight);
            reliability::add(&mut bins, one.bin, one.case, weight);
            at.add(one.case.1, one.case.0 >= self.threshold, count);
            match one.decided {
                Some(called) => decisions.add(one.case.1, called, count),
                None => all_decided = false,
            }
            squares += weight * reliability::squared_error(one.case);
        }
        let n: f64 = bins.iter().map(|bin| bin.count).sum();
        let auroc = curve::auroc_of(&steps);
        let both = |value: Option<f64>| value.filter(|_| auroc.is_some());
        let decided = |value: Option<f64>| value.filter(|_| all_decided);
        Figures {
            auroc,
            average_precision: curve::average_precision_of(&steps),
            kappa: both(at.kappa()),
            sensitivity: at.sensitivity(),
            specificity: at.specificity(),
            f1: both(at.f1()),
            ece: reliability::ece_of(&bins),
            brier: (n > 0.0).then(|| squares / n),
            decision_kappa: decided(both(decisions.kappa())),
            decision_sensitivity: decided(decisions.sensitivity()),
            decision_specificity: decided(decisions.specificity()),
        }
    }

    /// The measures of the cases as they are, with intervals from `resamples` resamples of the patients.
    pub fn estimates(&self, resamples: usize, seed: u64) -> Figures<Estimate> {
        let found = self.figures(&vec![1; self.patients]);
        let mut resampled = Vec::new();
        if self.patients > 1 {
            bootstrap::resample(self.patients, resamples, seed, |times| resampled.push(self.figures(times)));
        }
        let estimate = |of: fn(&Figures) -> Option<f64>| {
            let value = of(&found);
            let interval = || bootstrap::interval(resampled.iter().filter_map(of).collect(), resamples);
            Estimate { value, ci95: value.and_then(|_| interval()) }
        };
        Figures {
            auroc: estimate(|f| f.auroc),
            average_precision: estimate(|f| f.average_precision),
            kappa: estimate(|f| f.kappa),
            sensitivity: estimate(|f| f.sensitivity),
            specificity: estimate(|f| f.specificity),
            f1: estimate(|f| f.f1),
            ece: estimate(|f| f.ece),
            brier: estimate(|f| f.brier),
            decision_kappa: estimate(|f| f.decision_kappa),
            decision_sensitivity: estimate(|f| f.decision_sensitivity),
            decision_specificity: estimate(|f| f.decision_specificity),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::cases;
    use super::super::{auroc, bootstrap_ci95, brier, expected_calibration_error, sensitivity};
    use super::*;

    /// Three cases to a patient; decided at 0.3.
    fn scored<'a>(cases: &[Case], patients: &'a [String]) -> Vec<Scored<'a>> {
        let one = |(i, &case): (usize, &Case)| Scored {
            case,
            decided: Some(case.0 >= 0.3),
            patient: &patients[i / 3],
        };
        cases.iter().enumerate().map(one).collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("patient{i:03}")).collect()
    }

    fn close(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-12,
            (a, b) => a == b,
        }
    }

    proptest! {
        #[test]
        fn weights_are_repetitions(cases in cases(), times in prop::collection::vec(0u32..4, 20)) {
            let names = names(20);
            let panel = Panel::new(&scored(&cases, &names), 0.5);
            let weighted = panel.figures(&times);
            let repeated: Vec<Case> = cases
                .iter()
                .enumerate()
                .flat_map(|(i, &case)| vec![case; times[i / 3] as usize])
                .collect();
            let table = Confusion::at(0.5, &repeated);
            let both = |value: Option<f64>| value.filter(|_| auroc(&repeated).is_some());
            prop_assert!(close(weighted.auroc, auroc(&repeated)));
            prop_assert!(close(weighted.kappa, both(table.kappa())));
            prop_assert!(close(weighted.f1, both(table.f1())));
            prop_assert!(close(weighted.sensitivity, table.sensitivity()));
            prop_assert!(close(weighted.ece, expected_calibration_error(&repeated)));
            prop_assert!(close(weighted.brier, brier(&repeated)));
            prop_assert!(close(weighted.decision_kappa, both(Confusion::at(0.3, &repeated).kappa())));
            prop_assert!(close(weighted.decision_sensitivity, sensitivity(&repeated, 0.3)));
        }
    }

    #[test]
    fn the_shared_resamples_give_the_interval_of_each_measure_alone() {
        let cases: Vec<Case> = (0..90).map(|i| (f64::from(i * 37 % 90) / 90.0, i % 5 < 2)).collect();
        let names = names(30);
        let patients: Vec<&String> = (0..90).map(|i| &names[i / 3]).collect();
        let found = Panel::new(&scored(&cases, &names), 0.5).estimates(300, 9);
        for (estimate, alone) in [
            (found.auroc, bootstrap_ci95(&cases, &patients, 300, 9, auroc)),
            (found.sensitivity, bootstrap_ci95(&cases, &patients, 300, 9, |c| sensitivity(c, 0.5))),
            (found.ece, bootstrap_ci95(&cases, &patients, 300, 9, expected_calibration_error)),
        ] {
            let ([a, b], [c, d]) = (estimate.ci95.unwrap(), alone.unwrap());
            assert!((a - c).abs() < 1e-12 && (b - d).abs() < 1e-12, "{estimate:?} {alone:?}");
        }
    }

    #[test]
    fn a_case_without_a_decision_leaves_decisions_undefined() {
        let names = names(2);
        let mut scored = scored(&[(0.9, true), (0.2, false), (0.6, false), (0.4, true)], &names);
        scored[2].decided = None;
        let found = Panel::new(&scored, 0.5).estimates(50, 1);
        assert_eq!(found.decision_kappa, Estimate::default());
        assert_eq!(found.kappa.value, Some(0.0));
    }
}
