//! What is measured of a radiograph before anything is judged.

use contract::radiograph::Radiograph;
use serde::{Deserialize, Serialize};

use super::exposure::Exposure;
use super::field::Field;
use super::grid::{Grid, Levels, Rect};
use super::{polarity, texture};

/// About this many samples are looked at for noise and repetition.
const PROBES: usize = 200_000;
/// About this many are counted to find the ends of the range.
const COUNTED: usize = 2_000_000;

/// A radiograph's reduced copy and the exposed field in it, as shares of white.
#[derive(Clone, Debug)]
pub(super) struct Reduced {
    pub(super) grid: Grid,
    pub(super) field: Field,
    /// What of the copy lies in the field.
    pub(super) inside: Grid,
}

impl Reduced {
    pub(super) fn of(radiograph: &Radiograph) -> Self {
        let grid = Grid::reduce(radiograph);
        let mut all = Levels::of(grid.values.iter().copied());
        let field = Field::find(&grid.stretched(all.at(0.005), all.at(0.995)));
        let inside = grid.cut(field.rect);
        Self { grid, field, inside }
    }

    /// How the radiograph of which this is a copy was exposed.
    pub(super) fn exposure(&self, radiograph: &Radiograph) -> Exposure {
        let (low_end, high_end) = Plane::of(radiograph, &self.grid, self.field.rect).ends();
        let mut levels = Levels::of(self.inside.values.iter().copied());
        let [dark, quartile, bright] = [0.005, 0.25, 0.995].map(|share| levels.at(share));
        Exposure { dark, quartile, bright, low_end, high_end }
    }
}

/// Measures of one radiograph.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) reduced: Reduced,
    pub(super) exposure: Exposure,
    /// The field with the background that it was trimmed of, stretched to its range, each cell the mean of its surroundings.
    pub(super) smooth: Grid,
    /// How sure it is that bone is dark.
    pub(super) inversion: f32,
    /// How alike its parts are.
    pub(super) alike: f32,
    /// Standard deviation of the noise in the field, as a share of the field's range.
    pub(super) noise: f32,
    /// Share of neighbouring samples that are equal, those at the ends left out.
    pub(super) repeats: f32,
    /// Grey levels between the ends.
    pub(super) distinct: f32,
    /// Share of the ways out of what lies at the upper end that cross a quarter of the range within three samples.
    pub(super) steep: f32,
}

/// An end of the samples' range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct End {
    /// Where it lies, as a share of white.
    pub(super) level: f32,
    /// Share of the samples that lie there.
    pub(super) share: f32,
}

impl Facts {
    pub(super) fn of(radiograph: &Radiograph) -> Self {
        let reduced = Reduced::of(radiograph);
        let exposure = reduced.exposure(radiograph);
        let Exposure { low_end, high_end, .. } = exposure;
        let Reduced { grid, field, .. } = &reduced;
        let plane = Plane::of(radiograph, grid, field.rect);
        let lit = grid.cut(field.lit(grid));
        let mut lit_levels = Levels::of(lit.values.iter().copied());
        let lit = lit.stretched(lit_levels.at(0.005), lit_levels.at(0.995));
        let smooth = lit.blurred(1);
        let inversion = polarity::inversion(&lit, &smooth);
        let alike = texture::alike(&lit, &smooth);
        let range = exposure.range().max(1e-4);
        let signal = exposure.dark + 0.2 * range;
        let noise = plane.noise(1, signal).max(plane.noise(2, signal)) / range;
        let repeats = plane.repeats(low_end.level, high_end.level);
        let distinct = (high_end.level - low_end.level) * f32::from(radiograph.max_value.min(255));
        let steep = plane.steep(low_end.level, high_end.level);
        Self { reduced, exposure, smooth, inversion, alike, noise, repeats, distinct, steep }
    }

    /// The field, stretched to its own range.
    pub(super) fn stretched(&self) -> Grid {
        self.reduced.inside.stretched(self.exposure.dark, self.exposure.bright)
    }
}

/// The field's samples at full resolution.
struct Plane<'a> {
    radiograph: &'a Radiograph,
    rect: Rect,
    white: f32,
}

impl<'a> Plane<'a> {
    fn of(radiograph: &'a Radiograph, grid: &Grid, cells: Rect) -> Self {
        let (width, height) = (radiograph.width as usize, radiograph.height as usize);
        let (x, y) = (width / grid.width.max(1), height / grid.height.max(1));
        let rect = Rect {
            left: cells.left * x,
            top: cells.top * y,
            right: (cells.right * x).min(width),
            bottom: (cells.bottom * y).min(height),
        };
        Self { radiograph, rect, white: f32::from(radiograph.max_value.max(1)) }
    }

    fn row(&self, y: usize) -> &[u16] {
        let start = y * self.radiograph.width as usize;
        &self.radiograph.samples[start + self.rect.left..start + self.rect.right]
    }

    /// Rows to look at, so that about [`PROBES`] samples are seen.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let step = (self.rect.width() * self.rect.height() / PROBES).max(1);
        (self.rect.top + 2..self.rect.bottom.saturating_sub(2)).step_by(step)
    }

    /// The ends of the range, a thousandth of the samples left out at each as labels and dead pixels, and the
    /// shares that lie within a hundredth of the range from them.
    fn ends(&self) -> (End, End) {
        let mut histogram = vec![0u32; usize::from(u16::MAX) + 1];
        let mut total = 0;
        let step = (self.rect.width() * self.rect.height() / COUNTED).max(1);
        for y in (self.rect.top..self.rect.bottom).step_by(step) {
            for sample in self.row(y) {
                histogram[usize::from(*sample)] += 1;
            }
            total += self.rect.width();
        }
        let tail = (total / 1000) as u64;
        let low = quantile(histogram.iter().enumerate(), tail);
        let high = quantile(histogram.iter().enumerate().rev(), tail);
        let near = (high.saturating_sub(low) as f32 * 0.01).round() as usize;
        let share = |from: usize, to: usize| {
            let held: u64 =
                histogram[from..=to.min(usize::from(u16::MAX))].iter().map(|n| u64::from(*n)).sum();
            held as f32 / total.max(1) as f32
        };
        let low_end = End { level: low as f32 / self.white, share: share(0, low + near) };
        let high_from = high.saturating_sub(near);
        let high_end =
            End { level: high as f32 / self.white, share: share(high_from, usize::from(u16::MAX)) };
        (low_end, high_end)
    }

    /// The noise's standard deviation as a share of white, from second differences in both directions (Immerkaer,
    /// Fast Noise Variance Estimation, 1996), by their median, which edges do not move. `scale` is the side of
    /// the squares of samples that are averaged first, so that noise smoothed by compression is seen too. Only where
    /// there is anatomy, brighter than `signal`: background is black in many images, whatever the exposure was.
    fn noise(&self, scale: usize, signal: f32) -> f32 {
        let signal = signal * self.white * (scale * scale) as f32;
        let columns = self.rect.width() / scale;
        let reach = 2 * scale;
        if self.rect.width() <= 2 * reach || self.rect.height() <= 2 * reach {
            return 0.0;
        }
        // Sums of the squares above, in and below a row's.
        let mut lines = [vec![0i32; columns], vec![0i32; columns], vec![0i32; columns]];
        let mut found = Vec::with_capacity(PROBES);
        for y in self.rows() {
            if y < self.rect.top + scale || y + reach > self.rect.bottom {
                continue;
            }
            for (at, sums) in lines.iter_mut().enumerate() {
                sums.fill(0);
                for line in 0..scale {
                    let row = self.row(y + at * scale + line - scale);
                    for (sum, square) in sums.iter_mut().zip(row.chunks_exact(scale)) {
                        *sum += square.iter().map(|sample| i32::from(*sample)).sum::<i32>();
                    }
                }
            }
            let [above, here, below] = &lines;
            for x in 1..columns - 1 {
                if (here[x] as f32) < signal {
                    continue;
                }
                let cross = here[x - 1] + here[x + 1] + above[x] + below[x];
                let corners = above[x - 1] + above[x + 1] + below[x - 1] + below[x + 1];
                found.push((4 * here[x] - 2 * cross + corners).abs());
            }
        }
        let middle = found.len() / 2;
        if found.is_empty() {
            return 0.0;
        }
        let (_, median, _) = found.select_nth_unstable(middle);
        *median as f32 / (scale * scale) as f32 / 6.0 / 0.6745 / self.white
    }

    fn steep(&self, low: f32, high: f32) -> f32 {
        let top = high * self.white;
        let (at_end, far) = (top - 0.02 * (high - low) * self.white, top - 0.25 * (high - low) * self.white);
        let (mut steep, mut all) = (0usize, 0usize);
        for y in self.rows() {
            let row = self.row(y);
            for next in row.windows(4) {
                let [first, second, _, last] = [0, 1, 2, 3].map(|at| f32::from(next[at]));
                if first >= at_end && second < at_end {
                    all += 1;
                    steep += usize::from(last.min(f32::from(next[2])) <= far);
                }
            }
        }
        if all < 20 { 0.0 } else { steep as f32 / all as f32 }
    }

    fn repeats(&self, low: f32, high: f32) -> f32 {
        let (low, high) = ((low * self.white) as u16, (high * self.white).round() as u16);
        let (mut equal, mut all) = (0usize, 0usize);
        for y in self.rows() {
            for pair in self.row(y).windows(2) {
                if pair[0] > low && pair[0] < high {
                    all += 1;
                    equal += usize::from(pair[0] == pair[1]);
                }
            }
        }
        equal as f32 / all.max(1) as f32
    }
}

/// The first value at which more than `tail` samples have been counted.
fn quantile<'a>(counts: impl Iterator<Item = (usize, &'a u32)>, tail: u64) -> usize {
    let mut seen = 0;
    for (value, count) in counts {
        seen += u64::from(*count);
        if seen > tail {
            return value;
        }
    }
    0
}
