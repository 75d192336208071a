//! Measures of calls: what a threshold makes of the scores.

use serde::Serialize;

use super::Case;

/// Counts of a 2 by 2 table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
            table.add(abnormal, score >= threshold, 1);
        }
        table
    }

    /// Counts `times` cases of one kind.
    pub fn add(&mut self, abnormal: bool, called_abnormal: bool, times: u64) {
        let cell = match (abnormal, called_abnormal) {
            (true, true) => &mut self.true_positives,
            (false, true) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (true, false) => &mut self.false_negatives,
        };
        *cell += times;
    }

    /// The share of abnormal cases called abnormal; `None` without abnormal cases.
    pub fn sensitivity(&self) -> Option<f64> {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// The share of normal cases called normal; `None` without normal cases.
    pub fn specificity(&self) -> Option<f64> {
        share(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// F1 of the class abnormal, the harmonic mean of precision and sensitivity; `None` when no case is or
    /// is called abnormal.
    pub fn f1(&self) -> Option<f64> {
        let twice = 2 * self.true_positives;
        share(twice, twice + self.false_positives + self.false_negatives)
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
