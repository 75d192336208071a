//! Intervals by resampling patients: a patient's cases are not independent, so they come or stay away
//! together.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Case;

/// Resamples behind an interval, unless a caller has reason for another number.
pub const RESAMPLES: usize = 1000;

/// Calls `each` with how often every one of `patients` patients is in a resample, `resamples` times. The same
/// seed gives the same resamples.
pub fn resample(patients: usize, resamples: usize, seed: u64, mut each: impl FnMut(&[u32])) {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut times = vec![0u32; patients];
    for _ in 0..resamples {
        times.fill(0);
        for _ in 0..patients {
            times[random.random_range(0..patients)] += 1;
        }
        each(&times);
    }
}

/// The 95 % percentile interval `[low, high]` of the values that a statistic takes over `resamples`
/// resamples. `None` when more than half of them are undefined.
pub fn interval(mut values: Vec<f64>, resamples: usize) -> Option<[f64; 2]> {
    if values.is_empty() || values.len() * 2 < resamples {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some([quantile(&values, 0.025), quantile(&values, 0.975)])
}

/// The 95 % percentile bootstrap interval `[low, high]` of a statistic, resampling patients with
/// replacement.
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
    let mut values = Vec::with_capacity(resamples);
    let mut drawn = Vec::with_capacity(2 * cases.len());
    resample(groups.len(), resamples, seed, |times| {
        drawn.clear();
        for (group, &times) in groups.iter().zip(times) {
            (0..times).for_each(|_| drawn.extend_from_slice(group));
        }
        values.extend(statistic(&drawn));
    });
    interval(values, resamples)
}

/// A quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    low + (high - low) * position.fract()
}
