//! Whether an image is alike all over, as gravel, cloth, paper, clouds or leaves are.
//!
//! A radiograph is one part projected before a background: its steps crowd at skin and cortices, much of it is quiet,
//! and what is near has much in common. Three measures say how far an image is from that, each 1 for noise of any one
//! colour and near 0 for a few large shapes; [`alike`] is their mean.

use std::f32::consts::FRAC_PI_4;

use super::grid::{Grid, mean};

/// Blocks a side that are compared with each other.
const BLOCKS: usize = 8;
/// Radius of the mean that keeps the noise of detector and compression out of the blocks' comparison.
const NOISE_RADIUS: usize = 3;
/// The distance at which levels are compared, of the longer side.
const REACH_SHARE: f32 = 1.0 / 32.0;

/// How alike the parts of an image are, 0 to 1. `smooth` is the grid blurred by one cell.
pub(super) fn alike(grid: &Grid, smooth: &Grid) -> f32 {
    (evenness(&grid.blurred(NOISE_RADIUS)) + spread(smooth) + fineness(grid)) / 3.0
}

/// How even the blocks are in how much their levels change: the geometric mean of the blocks' mean gradients over the
/// arithmetic one, as the flatness of a spectrum is measured.
fn evenness(grid: &Grid) -> f32 {
    let (width, height) = (grid.width.saturating_sub(1), grid.height.saturating_sub(1));
    if width < BLOCKS || height < BLOCKS {
        return 0.0;
    }
    let (mut sums, mut counts) = ([0f32; BLOCKS * BLOCKS], [0f32; BLOCKS * BLOCKS]);
    for (at, step) in grid.gradient().into_iter().enumerate() {
        let block = at / width * BLOCKS / height * BLOCKS + at % width * BLOCKS / width;
        sums[block] += step;
        counts[block] += 1.0;
    }
    let means = sums.iter().zip(counts).map(|(sum, count)| sum / count + 1e-5);
    let logs: Vec<f32> = means.clone().map(f32::ln).collect();
    mean(&logs).exp() / mean(&means.collect::<Vec<_>>())
}

/// How evenly the steps are spread over the cells: their squared mean over their mean square, as a share of what it is
/// where levels are normally distributed (pi / 4, of Rayleigh's distribution).
fn spread(grid: &Grid) -> f32 {
    let steps = grid.gradient();
    let squares = steps.iter().map(|step| step * step).sum::<f32>() / steps.len().max(1) as f32;
    (mean(&steps).powi(2) / squares.max(1e-9) / FRAC_PI_4).min(1.0)
}

/// How little two levels at some distance have in common: half their mean squared difference over the variance
/// (Matheron's semivariogram).
fn fineness(grid: &Grid) -> f32 {
    let reach = ((grid.width.max(grid.height) as f32 * REACH_SHARE).round() as usize).max(1);
    if grid.width <= reach || grid.height <= reach {
        return 0.0;
    }
    let level = mean(&grid.values);
    let squares: Vec<f32> = grid.values.iter().map(|value| (value - level).powi(2)).collect();
    let (mut differences, mut pairs) = (0f32, 0f32);
    for y in 0..grid.height - reach {
        for x in 0..grid.width - reach {
            let here = grid.at(x, y);
            differences += (grid.at(x + reach, y) - here).powi(2) + (grid.at(x, y + reach) - here).powi(2);
            pairs += 2.0;
        }
    }
    (differences / (2.0 * pairs * mean(&squares).max(1e-6))).min(1.0)
}
