//! The measures agree with scikit-learn, and the calibration error with an independent numpy computation, on
//! random cases with and without ties, also where cases are weighted as in a bootstrap resample.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod python;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use trainer::metrics::{
    Case, Confusion, Panel, Scored, auroc, average_precision, brier, expected_calibration_error,
    precision_recall, roc,
};

const SCRIPT: &str = r#"
import json, sys, warnings
import numpy as np
from sklearn import metrics as m
warnings.filterwarnings("ignore")

def ece(p, y, w):
    # By the edges of the bins, from the definition: sum over bins of weight share * |abnormal share - mean probability|.
    edges = np.arange(16) / 15
    total = 0.0
    for b in range(15):
        inside = (p >= edges[b]) & ((p < edges[b + 1]) if b < 14 else (p <= 1))
        if w[inside].sum() > 0:
            total += w[inside].sum() / w.sum() * abs(np.average(y[inside], weights=w[inside]) - np.average(p[inside], weights=w[inside]))
    return total

def measures(p, y, w, t):
    c = (p >= t).astype(int)
    return {
        "auroc": m.roc_auc_score(y, p, sample_weight=w),
        "average_precision": m.average_precision_score(y, p, sample_weight=w),
        "kappa": m.cohen_kappa_score(y, c, sample_weight=w),
        "f1": m.f1_score(y, c, sample_weight=w),
        "sensitivity": m.recall_score(y, c, sample_weight=w),
        "specificity": m.recall_score(y, c, pos_label=0, sample_weight=w),
        "brier": m.brier_score_loss(y, p, sample_weight=w),
        "ece": ece(p, y, w),
    }

found = []
for case in json.load(sys.stdin):
    p, y, w, t = np.array(case["p"]), np.array(case["y"]), np.array(case["w"], dtype=float), case["t"]
    one = measures(p, y, np.ones(len(p)), t)
    kept = w > 0
    one["weighted"] = measures(p[kept], y[kept], w[kept], t) if len(set(y[kept])) == 2 else None
    fpr, tpr, thresholds = m.roc_curve(y, p, drop_intermediate=False)
    one["roc"] = [[a, b, c] for a, b, c in zip(fpr, tpr, thresholds) if np.isfinite(c)]
    precision, recall, thresholds = m.precision_recall_curve(y, p, drop_intermediate=False)
    one["pr"] = [[a, b, c] for a, b, c in zip(precision, recall, thresholds)][::-1]
    one["confusion"] = m.confusion_matrix(y, (p >= t).astype(int), labels=[0, 1]).ravel().tolist()
    found.append(one)
json.dump(found, sys.stdout)
"#;

/// A random set of cases with both classes: probabilities, how often each counts, and a threshold.
fn drawn(random: &mut Pcg64Mcg) -> (Vec<Case>, Vec<u32>, f64) {
    let n = random.random_range(2..120);
    // Ties at elevenths, ties at the edges of the bins, or hardly any.
    let steps = [11.0, 15.0, 60.0, 1e9][random.random_range(0..4)];
    let mut cases: Vec<Case> = (0..n)
        .map(|_| {
            let probability = (random.random_range(0.0..1.0f64) * (steps + 1.0)).floor().min(steps) / steps;
            (probability, random.random_bool(0.2 + 0.6 * probability))
        })
        .collect();
    cases[0].1 = true;
    cases[1].1 = false;
    let weights = (0..n).map(|_| random.random_range(0..4)).collect();
    // At times a threshold that scores are tied at.
    let threshold = if random.random_bool(0.5) { cases[0].0 } else { 0.5 };
    (cases, weights, threshold)
}

fn close(found: Option<f64>, expected: &Value, what: &str) {
    let (found, expected) = (found.unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() <= 1e-9, "{what}: {found}, scikit-learn {expected}");
}

fn points_close(found: &[[f64; 3]], expected: &Value, what: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        for (i, value) in found.iter().enumerate() {
            close(Some(*value), &expected[i], what);
        }
    }
}

#[test]
fn measures_agree_with_scikit_learn() {
    let mut random = Pcg64Mcg::seed_from_u64(20);
    let sets: Vec<_> = (0..120).map(|_| drawn(&mut random)).collect();
    let input: Vec<Value> = sets
        .iter()
        .map(|(cases, weights, threshold)| {
            let (p, y): (Vec<f64>, Vec<u8>) = cases.iter().map(|&(p, y)| (p, u8::from(y))).unzip();
            json!({"p": p, "y": y, "w": weights, "t": threshold})
        })
        .collect();
    let output = python::python(SCRIPT, &serde_json::to_string(&input).unwrap());
    let expected: Vec<Value> = serde_json::from_str(&output).unwrap();
    assert_eq!(expected.len(), sets.len());
    let mut weighted = 0;
    for ((cases, weights, threshold), expected) in sets.iter().zip(&expected) {
        let table = Confusion::at(*threshold, cases);
        for (name, found) in [
            ("auroc", auroc(cases)),
            ("average_precision", average_precision(cases)),
            ("kappa", table.kappa()),
            ("f1", table.f1().or(Some(0.0))),
            ("sensitivity", table.sensitivity()),
            ("specificity", table.specificity()),
            ("brier", brier(cases)),
            ("ece", expected_calibration_error(cases)),
        ] {
            close(found, &expected[name], name);
        }
        let counts =
            [table.true_negatives, table.false_positives, table.false_negatives, table.true_positives];
        assert_eq!(json!(counts), expected["confusion"]);
        let curve: Vec<[f64; 3]> = roc(cases).unwrap()[1..]
            .iter()
            .map(|point| [point.false_positive_rate, point.sensitivity, point.threshold])
            .collect();
        points_close(&curve, &expected["roc"], "ROC");
        let curve: Vec<[f64; 3]> = precision_recall(cases)
            .unwrap()
            .iter()
            .map(|point| [point.precision, point.recall, point.threshold])
            .collect();
        points_close(&curve, &expected["pr"], "precision and recall");
        weighted += usize::from(!expected["weighted"].is_null());
        resample_agrees(cases, weights, *threshold, &expected["weighted"]);
    }
    assert!(weighted > 80, "{weighted}");
}

/// The measures of a bootstrap resample are those of weighted cases.
fn resample_agrees(cases: &[Case], weights: &[u32], threshold: f64, expected: &Value) {
    if expected.is_null() {
        return;
    }
    // Names in the order of the cases, so that patient i is case i.
    let names: Vec<String> = (0..cases.len()).map(|i| format!("patient{i:04}")).collect();
    let scored: Vec<Scored<'_>> = cases
        .iter()
        .zip(&names)
        .map(|(&case, patient)| Scored { case, decided: Some(case.0 >= threshold), patient })
        .collect();
    let found = Panel::new(&scored, threshold).figures(weights);
    for (name, found) in [
        ("auroc", found.auroc),
        ("average_precision", found.average_precision),
        ("kappa", found.kappa),
        ("kappa", found.decision_kappa),
        ("f1", found.f1.or(Some(0.0))),
        ("sensitivity", found.sensitivity),
        ("specificity", found.specificity),
        ("brier", found.brier),
        ("ece", found.ece),
    ] {
        close(found, &expected[name], &format!("weighted {name}"));
    }
}
