//! A reduced copy of a radiograph, on which its structure is measured.

use contract::radiograph::Radiograph;

/// Longest side of the reduced copy, in cells.
const SIDE_MAX: usize = 256;

/// Means of square blocks of samples, row by row, as shares of white.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

impl Grid {
    /// Reduces a radiograph by a whole factor; samples beyond the last whole block are left out.
    pub(super) fn reduce(radiograph: &Radiograph) -> Self {
        let (width, height) = (radiograph.width as usize, radiograph.height as usize);
        let block = width.max(height).div_ceil(SIDE_MAX).max(1);
        let (columns, rows) = ((width / block).max(1), (height / block).max(1));
        let block_w = block.min(width.max(1));
        let mut values = Vec::with_capacity(columns * rows);
        let mut sums = vec![0u32; columns];
        let white = f64::from(radiograph.max_value.max(1));
        // A block has at most 65536 samples as long as no side is above 65536, so that a sum fits.
        for band in radiograph.samples.chunks(width.max(1) * block).take(rows) {
            sums.fill(0);
            let mut lines = 0usize;
            for line in band.chunks_exact(width.max(1)) {
                lines += 1;
                for (sum, cell) in sums.iter_mut().zip(line.chunks_exact(block_w)) {
                    *sum += cell.iter().map(|sample| u32::from(*sample)).sum::<u32>();
                }
            }
            let scale = 1.0 / (white * (lines.max(1) * block_w) as f64);
            values.extend(sums.iter().map(|sum| (f64::from(*sum) * scale) as f32));
        }
        values.resize(columns * rows, 0.0);
        Self { width: columns, height: rows, values }
    }

    pub(super) fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    /// The same copy with black and white put to the given levels.
    pub(super) fn stretched(&self, black: f32, white: f32) -> Self {
        let span = (white - black).max(1e-4);
        let values = self.values.iter().map(|value| ((value - black) / span).clamp(-0.25, 1.25)).collect();
        Self { width: self.width, height: self.height, values }
    }

    /// A rectangle of it.
    pub(super) fn cut(&self, rect: Rect) -> Self {
        let mut values = Vec::with_capacity(rect.width() * rect.height());
        for y in rect.top..rect.bottom {
            values.extend_from_slice(&self.values[y * self.width + rect.left..y * self.width + rect.right]);
        }
        Self { width: rect.width(), height: rect.height(), values }
    }

    /// Means over a square of `2 * radius + 1` cells around each cell, at the rims over what lies inside.
    pub(super) fn blurred(&self, radius: usize) -> Self {
        let across = blur_lines(&self.values, self.width, radius);
        let turned = transpose(&across, self.width);
        let down = blur_lines(&turned, self.height, radius);
        Self { width: self.width, height: self.height, values: transpose(&down, self.height) }
    }

    /// Least cell within `radius`, by columns and rows.
    pub(super) fn eroded(&self, radius: usize) -> Self {
        let across = window_lines(&self.values, self.width, radius, f32::min);
        let turned = transpose(&across, self.width);
        let down = window_lines(&turned, self.height, radius, f32::min);
        Self { width: self.width, height: self.height, values: transpose(&down, self.height) }
    }

    /// Greatest cell within `radius`, by columns and rows.
    pub(super) fn dilated(&self, radius: usize) -> Self {
        let across = window_lines(&self.values, self.width, radius, f32::max);
        let turned = transpose(&across, self.width);
        let down = window_lines(&turned, self.height, radius, f32::max);
        Self { width: self.width, height: self.height, values: transpose(&down, self.height) }
    }

    /// Sizes of the steps from each cell to its right and lower neighbours.
    pub(super) fn gradient(&self) -> Vec<f32> {
        let mut steps = Vec::with_capacity(self.values.len());
        for y in 0..self.height.saturating_sub(1) {
            for x in 0..self.width.saturating_sub(1) {
                let here = self.at(x, y);
                let (right, down) = (self.at(x + 1, y) - here, self.at(x, y + 1) - here);
                steps.push((right * right + down * down).sqrt());
            }
        }
        steps
    }
}

/// A rectangle of cells; right and bottom lie outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) right: usize,
    pub(super) bottom: usize,
}

impl Rect {
    pub(super) fn width(self) -> usize {
        self.right - self.left
    }

    pub(super) fn height(self) -> usize {
        self.bottom - self.top
    }
}

/// Levels, for quantiles.
#[derive(Clone, Debug)]
pub(super) struct Levels(Vec<f32>);

impl Levels {
    pub(super) fn of(values: impl IntoIterator<Item = f32>) -> Self {
        Self(values.into_iter().collect())
    }

    /// The level below which a share of the values lies; 0 where there are none.
    pub(super) fn at(&mut self, share: f64) -> f32 {
        let last = self.0.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        if place > last || self.0.is_empty() {
            return 0.0;
        }
        *self.0.select_nth_unstable_by(place, f32::total_cmp).1
    }
}

/// The share of values for which something holds; 0 of none.
pub(super) fn share_of<'a>(values: impl IntoIterator<Item = &'a f32>, holds: impl Fn(f32) -> bool) -> f32 {
    let (mut held, mut all) = (0usize, 0usize);
    for value in values {
        all += 1;
        held += usize::from(holds(*value));
    }
    held as f32 / all.max(1) as f32
}

/// A mean; 0 of none.
pub(super) fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len().max(1) as f32
}

fn transpose(values: &[f32], width: usize) -> Vec<f32> {
    let height = values.len() / width.max(1);
    let mut turned = Vec::with_capacity(values.len());
    for x in 0..width {
        turned.extend((0..height).map(|y| values[y * width + x]));
    }
    turned
}

fn blur_lines(values: &[f32], width: usize, radius: usize) -> Vec<f32> {
    let mut blurred = Vec::with_capacity(values.len());
    let mut sums = vec![0f64; width + 1];
    for line in values.chunks_exact(width) {
        for (x, value) in line.iter().enumerate() {
            sums[x + 1] = sums[x] + f64::from(*value);
        }
        blurred.extend((0..width).map(|x| {
            let (from, to) = (x.saturating_sub(radius), (x + radius + 1).min(width));
            ((sums[to] - sums[from]) / (to - from) as f64) as f32
        }));
    }
    blurred
}

/// The least or greatest of the values up to `radius` away, whatever the radius in three choices a value: the best from
/// either end of its stretch of the window's length (van Herk, 1992).
fn window_lines(
    values: &[f32],
    width: usize,
    radius: usize,
    choose: impl Fn(f32, f32) -> f32 + Copy,
) -> Vec<f32> {
    let window = 2 * radius + 1;
    let mut chosen = Vec::with_capacity(values.len());
    let (mut from_left, mut from_right) = (vec![0f32; width], vec![0f32; width]);
    for line in values.chunks_exact(width) {
        for x in 0..width {
            from_left[x] = if x.is_multiple_of(window) { line[x] } else { choose(from_left[x - 1], line[x]) };
        }
        for x in (0..width).rev() {
            let ends = x + 1 == width || (x + 1).is_multiple_of(window);
            from_right[x] = if ends { line[x] } else { choose(from_right[x + 1], line[x]) };
        }
        chosen.extend((0..width).map(|x| {
            let (first, last) = (x.saturating_sub(radius), (x + radius).min(width - 1));
            // At the rims the window is cut, and may lie in one stretch.
            if first / window == last / window && !first.is_multiple_of(window) {
                line[first..=last].iter().copied().fold(line[x], choose)
            } else if first / window == last / window {
                from_left[last]
            } else {
                choose(from_right[first], from_left[last])
            }
        }));
    }
    chosen
}
