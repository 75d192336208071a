//! Measures of how cases are ranked: the ROC and the precision-recall curve and the areas under them.

use super::Case;

/// The cases of one score. Weights count a case as often as a resample holds it; plain cases weigh 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    score: f64,
    positives: f64,
    negatives: f64,
}

/// Adds a case to steps that are in falling order of score. Cases come in that order too.
pub(super) fn add(steps: &mut Vec<Step>, (score, abnormal): Case, weight: f64) {
    let (positives, negatives) = if abnormal { (weight, 0.0) } else { (0.0, weight) };
    match steps.last_mut() {
        Some(step) if step.score == score => {
            step.positives += positives;
            step.negatives += negatives;
        }
        _ => steps.push(Step { score, positives, negatives }),
    }
}

/// The steps of cases in any order; `None` when a score is NaN.
fn steps(cases: &[Case]) -> Option<Vec<Step>> {
    if cases.iter().any(|case| case.0.is_nan()) {
        return None;
    }
    let mut sorted = cases.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut steps = Vec::new();
    for case in sorted {
        add(&mut steps, case, 1.0);
    }
    Some(steps)
}

fn totals(steps: &[Step]) -> (f64, f64) {
    steps.iter().fold((0.0, 0.0), |(p, n), step| (p + step.positives, n + step.negatives))
}

/// The area under the ROC curve: the chance that an abnormal case scores above a normal one, ties counting
/// half (the Mann-Whitney statistic, by ranks). `None` when a class is missing or a score is NaN.
pub fn auroc(cases: &[Case]) -> Option<f64> {
    auroc_of(&steps(cases)?)
}

pub(super) fn auroc_of(steps: &[Step]) -> Option<f64> {
    let (positives, negatives) = totals(steps);
    // Twice the statistic, so that ties stay whole numbers: each negative loses to every positive above its
    // group of ties and to half of those within it.
    let mut twice = 0.0;
    let mut above = 0.0;
    for step in steps {
        twice += step.negatives * (2.0 * above + step.positives);
        above += step.positives;
    }
    (positives > 0.0 && negatives > 0.0).then(|| twice / (2.0 * positives * negatives))
}

/// Average precision: the mean of the precision at each threshold, weighted by the recall it adds. `None`
/// when a class is missing or a score is NaN.
pub fn average_precision(cases: &[Case]) -> Option<f64> {
    average_precision_of(&steps(cases)?)
}

pub(super) fn average_precision_of(steps: &[Step]) -> Option<f64> {
    let (positives, negatives) = totals(steps);
    let (mut sum, mut hits, mut called) = (0.0, 0.0, 0.0);
    for step in steps {
        hits += step.positives;
        called += step.positives + step.negatives;
        if called > 0.0 {
            sum += step.positives * (hits / called);
        }
    }
    (positives > 0.0 && negatives > 0.0).then(|| sum / positives)
}

/// A point of the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Cases at or above this score are called abnormal; infinite at the curve's first point.
    pub threshold: f64,
    /// Share of normal cases called abnormal.
    pub false_positive_rate: f64,
    /// Share of abnormal cases called abnormal.
    pub sensitivity: f64,
}

/// The ROC curve from (0, 0) to (1, 1), a point for every distinct score, thresholds falling. `None` when a
/// class is missing or a score is NaN.
pub fn roc(cases: &[Case]) -> Option<Vec<RocPoint>> {
    let steps = steps(cases)?;
    let (positives, negatives) = totals(&steps);
    let (mut hits, mut alarms) = (0.0, 0.0);
    let mut curve = vec![RocPoint { threshold: f64::INFINITY, false_positive_rate: 0.0, sensitivity: 0.0 }];
    for step in &steps {
        hits += step.positives;
        alarms += step.negatives;
        curve.push(RocPoint {
            threshold: step.score,
            false_positive_rate: alarms / negatives,
            sensitivity: hits / positives,
        });
    }
    (positives > 0.0 && negatives > 0.0).then_some(curve)
}

/// A point of the precision-recall curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecallPoint {
    /// Cases at or above this score are called abnormal.
    pub threshold: f64,
    /// Share of the cases called abnormal that are.
    pub precision: f64,
    /// Share of abnormal cases called abnormal.
    pub recall: f64,
}

/// The precision-recall curve, a point for every distinct score, thresholds falling, so that recall grows.
/// `None` when a class is missing or a score is NaN.
pub fn precision_recall(cases: &[Case]) -> Option<Vec<PrecisionRecallPoint>> {
    let steps = steps(cases)?;
    let (positives, negatives) = totals(&steps);
    let (mut hits, mut called) = (0.0, 0.0);
    let curve = steps.iter().map(|step| {
        hits += step.positives;
        called += step.positives + step.negatives;
        PrecisionRecallPoint { threshold: step.score, precision: hits / called, recall: hits / positives }
    });
    let curve = curve.collect();
    (positives > 0.0 && negatives > 0.0).then_some(curve)
}
