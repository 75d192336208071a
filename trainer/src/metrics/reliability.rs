//! Measures of probabilities: whether of the cases given 0.7, seven of ten are abnormal.

use super::Case;

/// Bins of the reliability diagram and of the expected calibration error, as in arXiv 1706.04599.
pub const BINS: usize = 15;

/// The cases of one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Cases.
    pub count: f64,
    /// Abnormal ones among them.
    pub positives: f64,
    /// The sum of their probabilities.
    pub probabilities: f64,
}

impl Bin {
    /// Mean probability; `None` when the bin is empty.
    pub fn probability(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.probabilities / self.count)
    }

    /// Share of abnormal cases; `None` when the bin is empty.
    pub fn abnormal(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.positives / self.count)
    }
}

/// The bin of a probability: bin `b` of [`BINS`] holds `b / BINS <= p < (b + 1) / BINS`, the last one also 1.
pub(super) fn bin_of(probability: f64) -> usize {
    (1..BINS).rev().find(|&b| probability >= b as f64 / BINS as f64).unwrap_or(0)
}

/// The cases in [`BINS`] bins of equal width.
pub fn reliability(cases: &[Case]) -> [Bin; BINS] {
    let mut bins = [Bin::default(); BINS];
    for &(probability, abnormal) in cases {
        add(&mut bins, bin_of(probability), (probability, abnormal), 1.0);
    }
    bins
}

pub(super) fn add(bins: &mut [Bin; BINS], bin: usize, (probability, abnormal): Case, weight: f64) {
    let bin = &mut bins[bin];
    bin.count += weight;
    bin.probabilities += weight * probability;
    bin.positives += if abnormal { weight } else { 0.0 };
}

/// Expected calibration error of the probability of abnormality: over [`BINS`] bins of equal width, the mean
/// of |share of abnormal cases - mean probability|, weighted by the bins' cases. `None` without cases.
pub fn expected_calibration_error(cases: &[Case]) -> Option<f64> {
    ece_of(&reliability(cases))
}

pub(super) fn ece_of(bins: &[Bin; BINS]) -> Option<f64> {
    let count: f64 = bins.iter().map(|bin| bin.count).sum();
    let gaps: f64 = bins.iter().map(|bin| (bin.positives - bin.probabilities).abs()).sum();
    (count > 0.0).then(|| gaps / count)
}

/// The Brier score: the mean squared difference between probability and truth. `None` without cases.
pub fn brier(cases: &[Case]) -> Option<f64> {
    let sum: f64 = cases.iter().map(|&case| squared_error(case)).sum();
    (!cases.is_empty()).then(|| sum / cases.len() as f64)
}

pub(super) fn squared_error((probability, abnormal): Case) -> f64 {
    (probability - f64::from(u8::from(abnormal))).powi(2)
}
