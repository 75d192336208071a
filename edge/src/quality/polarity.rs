//! Whether bone is bright, as it should be.

use super::grid::{Grid, Levels, mean, share_of};

/// Share of the field that counts as its smooth part.
const SMOOTH_SHARE: f64 = 0.3;
/// Where neighbouring cells differ by no more, of the field's range, the field is even.
const EVEN: f32 = 0.01;
/// A field less even than this has no background; one by [`EVEN_RISE`] more even surely has.
const EVEN_MIN_SHARE: f32 = 0.35;
const EVEN_RISE: f32 = 0.15;

/// How sure it is that bone is dark: -1 surely bright, 1 surely dark. `smooth` is the grid blurred by one cell.
///
/// Two things do not depend on the exposure: bone is denser than what it lies in, so narrow bright ridges outweigh
/// narrow dark ones, and what the beam reaches unhindered is the smoothest part of the image and lies at its dark end.
pub(super) fn inversion(grid: &Grid, smooth: &Grid) -> f32 {
    // A field that anatomy fills, such as a chest, has no such part, and its smoothest third says less.
    let even = share_of(&smooth.gradient(), |step| step <= EVEN);
    let trust = ((even - EVEN_MIN_SHARE) / EVEN_RISE).clamp(0.0, 1.0);
    0.5 * trust * smooth_end(grid) + 0.5 * ridges(smooth)
}

/// Whether the smoothest third lies at the bright end (1) or the dark one (-1).
fn smooth_end(grid: &Grid) -> f32 {
    let mean_of = grid.blurred(3);
    let squares = Grid { values: grid.values.iter().map(|value| value * value).collect(), ..grid.clone() };
    let mean_square = squares.blurred(3);
    let spread: Vec<f32> = mean_of.values.iter().zip(&mean_square.values).map(|(m, s)| s - m * m).collect();
    let limit = Levels::of(spread.iter().copied()).at(SMOOTH_SHARE);
    let smooth: Vec<f32> =
        spread.iter().zip(&mean_of.values).filter(|(s, _)| **s <= limit).map(|(_, m)| *m).collect();
    (2.0 * mean(&smooth) - 1.0).clamp(-1.0, 1.0)
}

/// Whether narrow dark lines outweigh narrow bright ones, by what a closing fills and an opening takes away.
fn ridges(smooth: &Grid) -> f32 {
    let radius = (smooth.width.max(smooth.height) / 24).max(2);
    let opened = smooth.eroded(radius).dilated(radius);
    let closed = smooth.dilated(radius).eroded(radius);
    let bright: f32 = smooth.values.iter().zip(&opened.values).map(|(a, b)| a - b).sum();
    let dark: f32 = closed.values.iter().zip(&smooth.values).map(|(a, b)| a - b).sum();
    (dark - bright) / (dark + bright).max(1e-6)
}
