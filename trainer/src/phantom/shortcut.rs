//! What the phantoms' looks give away about the label: a logistic regression on the grey levels alone, which
//! knows nothing of where they are, must not tell abnormal studies from normal ones in the hard setting.

use super::{Difficulty, FindingKind, Options, VALID_SHARE, VIEWS_MAX, View, draw_study, plan};

const BINS: usize = 16;
const FEATURES: usize = BINS + 2;

/// Mean, deviation and histogram of an image.
fn features(view: &View) -> [f64; FEATURES] {
    let pixels = view.grey.len() as f64;
    let mean = view.grey.iter().map(|&grey| f64::from(grey)).sum::<f64>() / pixels;
    let variance = view.grey.iter().map(|&grey| (f64::from(grey) - mean).powi(2)).sum::<f64>() / pixels;
    let mut features = [0.0; FEATURES];
    (features[0], features[1]) = (mean, variance.sqrt());
    for &grey in &view.grey {
        features[2 + ((grey * BINS as f32) as usize).min(BINS - 1)] += 1.0 / pixels;
    }
    features
}

struct Logistic {
    mean: [f64; FEATURES],
    deviation: [f64; FEATURES],
    weights: [f64; FEATURES],
    bias: f64,
}

impl Logistic {
    /// Fits standardised features by gradient descent with a little weight decay.
    fn fit(samples: &[([f64; FEATURES], bool)]) -> Self {
        let n = samples.len() as f64;
        let mean = std::array::from_fn(|k| samples.iter().map(|(x, _)| x[k]).sum::<f64>() / n);
        let deviation = std::array::from_fn(|k| {
            let variance = samples.iter().map(|(x, _)| (x[k] - mean[k]).powi(2)).sum::<f64>() / n;
            variance.sqrt().max(1e-9)
        });
        let mut model = Self { mean, deviation, weights: [0.0; FEATURES], bias: 0.0 };
        for _ in 0..1500 {
            let (mut gradient, mut bias) = ([0.0; FEATURES], 0.0);
            for (x, abnormal) in samples {
                let error = 1.0 / (1.0 + (-model.logit(x)).exp()) - f64::from(u8::from(*abnormal));
                bias += error / n;
                for (k, g) in gradient.iter_mut().enumerate() {
                    *g += error * (x[k] - model.mean[k]) / model.deviation[k] / n;
                }
            }
            model.bias -= 0.5 * bias;
            for (weight, g) in model.weights.iter_mut().zip(gradient) {
                *weight -= 0.5 * (g + 1e-3 * *weight);
            }
        }
        model
    }

    fn logit(&self, x: &[f64; FEATURES]) -> f64 {
        let terms = (0..FEATURES).map(|k| self.weights[k] * (x[k] - self.mean[k]) / self.deviation[k]);
        self.bias + terms.sum::<f64>()
    }
}

/// The share of (abnormal, normal) pairs that the scores put in the right order; a tie counts half.
fn auroc(scores: &[(f64, bool)]) -> f64 {
    let (mut right, mut pairs) = (0.0, 0.0);
    for (ill, _) in scores.iter().filter(|s| s.1) {
        for (healthy, _) in scores.iter().filter(|s| !s.1) {
            pairs += 1.0;
            right += if ill > healthy {
                1.0
            } else if ill == healthy {
                0.5
            } else {
                0.0
            };
        }
    }
    right / pairs
}

/// AUROC of the regression on the second half of the studies, trained on the first: per image.
fn shortcut_auroc(options: &Options) -> f64 {
    let drawn: Vec<(usize, [f64; FEATURES], bool)> = plan(options)
        .iter()
        .flat_map(|study| {
            let views = draw_study(study, options);
            views
                .into_iter()
                .map(|view| (study.number, features(&view), study.finding.is_some()))
                .collect::<Vec<_>>()
        })
        .collect();
    let half =
        |second: bool| drawn.iter().filter(move |(study, ..)| (*study >= options.studies / 2) == second);
    let model = Logistic::fit(&half(false).map(|(_, x, y)| (*x, *y)).collect::<Vec<_>>());
    auroc(&half(true).map(|(_, x, y)| (model.logit(x), *y)).collect::<Vec<_>>())
}

#[test]
fn grey_levels_alone_do_not_tell_abnormal_from_normal() {
    let types = contract::study::MURA_TYPES.map(str::to_owned).to_vec();
    let options = Options {
        studies: 700,
        seed: 5,
        size_px: 96,
        difficulty: Difficulty::HARD,
        study_types: types,
        findings: FindingKind::ALL.to_vec(),
        valid_share: VALID_SHARE,
        views_max: VIEWS_MAX,
    };
    let auroc = shortcut_auroc(&options);
    println!("AUROC of a logistic regression on mean, deviation and histogram: {auroc:.3}");
    assert!(auroc <= 0.60, "{auroc}");
}

#[test]
fn the_regression_finds_a_shortcut_where_there_is_one() {
    let types = contract::study::MURA_TYPES.map(str::to_owned).to_vec();
    let options = Options {
        studies: 80,
        seed: 5,
        size_px: 64,
        difficulty: Difficulty::HARD,
        study_types: types,
        findings: FindingKind::ALL.to_vec(),
        valid_share: VALID_SHARE,
        views_max: VIEWS_MAX,
    };
    let samples: Vec<_> = plan(&options)
        .iter()
        .map(|study| {
            let mut view = draw_study(study, &options).swap_remove(0);
            if study.finding.is_some() {
                view.grey.iter_mut().take(300).for_each(|grey| *grey = 1.0);
            }
            (features(&view), study.finding.is_some())
        })
        .collect();
    let model = Logistic::fit(&samples[..40]);
    let scores: Vec<_> = samples[40..].iter().map(|(x, y)| (model.logit(x), *y)).collect();
    assert!(auroc(&scores) > 0.8, "{}", auroc(&scores));
}
