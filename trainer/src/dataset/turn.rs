//! The augmentation of training on the CPU, plane by plane: what [`super::augment::augment`] does with
//! tensors, within one grey level.

use super::augment::Change;

/// Binary digits of a bilinear weight.
const WEIGHT_BITS: u32 = 11;
const ONE: u32 = 1 << WEIGHT_BITS;

/// Rotates and inverts planes of one size. Keeps its working memory between planes.
#[derive(Clone, Debug)]
pub struct Turner {
    width: usize,
    height: usize,
    /// The plane inside a black border of one sample.
    bordered: Vec<u8>,
}

impl Turner {
    /// For planes of `width` x `height` samples.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, bordered: vec![0; (width + 2) * (height + 2)] }
    }

    /// Writes what `change` makes of `plane`, both `H * W`, into `target`: bilinear, black outside.
    ///
    /// # Panics
    /// When a length is not `H * W`.
    pub fn turn(&mut self, plane: &[u8], change: &Change, target: &mut [u8]) {
        let (width, height) = (self.width, self.height);
        assert!(plane.len() == width * height && target.len() == width * height, "planes of one size");
        let stride = width + 2;
        for (from, to) in plane.chunks_exact(width).zip(self.bordered[stride..].chunks_exact_mut(stride)) {
            to[1..=width].copy_from_slice(from);
        }
        let (sin, cos) = change.rotation_deg.to_radians().sin_cos();
        let hand = if change.flip { -1.0 } else { 1.0 };
        let (middle_x, middle_y) = (width as f64 / 2.0, height as f64 / 2.0);
        let (step_x, step_y) = (hand * cos, -sin);
        for (y, row) in target.chunks_exact_mut(width).enumerate() {
            // Where the row's first sample comes from, in the bordered plane, whose samples lie at whole numbers.
            let (x0, y0) = (0.5 - middle_x, y as f64 + 0.5 - middle_y);
            let start_x = hand * (cos * x0 + sin * y0) + middle_x + 0.5;
            let start_y = -sin * x0 + cos * y0 + middle_y + 0.5;
            // Four neighbours exist from 0 to below the last sample of the border.
            let inside =
                meet(span(start_x, step_x, (width + 1) as f64), span(start_y, step_y, (height + 1) as f64));
            let (first, end) = clip(inside, width);
            row[..first].fill(0);
            row[end..].fill(0);
            self.sample_row(&mut row[first..end], (start_x, step_x), (start_y, step_y), first);
        }
    }

    /// Fills the part of a row whose neighbours all exist; `first` is its place in the row.
    fn sample_row(&self, row: &mut [u8], (x, step_x): (f64, f64), (y, step_y): (f64, f64), first: usize) {
        const FRACTION_BITS: u32 = 32;
        let fixed = |value: f64| (value * (1u64 << FRACTION_BITS) as f64) as i64;
        let weight = |at: i64| (at as u32) >> (FRACTION_BITS - WEIGHT_BITS);
        let stride = self.width + 2;
        let (mut at_x, mut at_y) = (fixed(x + first as f64 * step_x), fixed(y + first as f64 * step_y));
        let (step_x, step_y) = (fixed(step_x), fixed(step_y));
        for target in row {
            let corner = (at_y >> FRACTION_BITS) as usize * stride + (at_x >> FRACTION_BITS) as usize;
            let (right, below) = (weight(at_x), weight(at_y));
            let four = &self.bordered[corner..corner + stride + 2];
            let upper = u32::from(four[0]) * (ONE - right) + u32::from(four[1]) * right;
            let lower = u32::from(four[stride]) * (ONE - right) + u32::from(four[stride + 1]) * right;
            let sum = upper * (ONE - below) + lower * below;
            *target = ((sum + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)) as u8;
            at_x += step_x;
            at_y += step_y;
        }
    }
}

/// The places `t` (real, from, to) for which `0 <= start + t * step < end`, a little inside so that rounding
/// never leaves it.
fn span(start: f64, step: f64, end: f64) -> (f64, f64) {
    const MARGIN: f64 = 1e-4;
    let (low, high) = (MARGIN, end - MARGIN);
    if step.abs() < 1e-12 {
        return if start > low && start < high { (f64::NEG_INFINITY, f64::INFINITY) } else { (0.0, -1.0) };
    }
    let (a, b) = ((low - start) / step, (high - start) / step);
    (a.min(b), a.max(b))
}

fn meet(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0.max(b.0), a.1.min(b.1))
}

/// The whole places within a span and within a row, as `first..end`.
fn clip((from, to): (f64, f64), width: usize) -> (usize, usize) {
    let first = from.ceil().clamp(0.0, width as f64) as usize;
    let end = (to.floor() + 1.0).clamp(0.0, width as f64) as usize;
    (first, end.max(first))
}

#[cfg(test)]
mod tests {
    use contract::preprocess::PreprocessSpec;
    use proptest::prelude::*;
    use tch::Tensor;

    use super::*;
    use crate::dataset::augment::augment;

    fn turned(plane: &[u8], (width, height): (usize, usize), change: Change) -> Vec<u8> {
        let mut target = vec![7; plane.len()];
        Turner::new(width, height).turn(plane, &change, &mut target);
        target
    }

    /// Grey levels of the tensor version.
    fn by_tensors(plane: &[u8], (width, height): (usize, usize), change: Change) -> Vec<f32> {
        let spec = PreprocessSpec {
            width_px: width as u32,
            height_px: height as u32,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..PreprocessSpec::square(64)
        };
        let planes = Tensor::from_slice(plane).view([1, height as i64, width as i64]);
        let input = augment(&planes, &[change], &spec).get(0).get(0) * 255.0;
        Vec::try_from(input.flatten(0, -1)).unwrap()
    }

    #[test]
    fn nothing_to_change_changes_nothing() {
        let plane: Vec<u8> = (0..40 * 64u32).map(|i| (i * 37 % 251) as u8).collect();
        let still = Change { rotation_deg: 0.0, flip: false };
        assert_eq!(turned(&plane, (64, 40), still), plane);
        let flipped = turned(&plane, (64, 40), Change { flip: true, ..still });
        for (row, from) in flipped.chunks(64).zip(plane.chunks(64)) {
            assert!(row.iter().eq(from.iter().rev()));
        }
        let over = turned(&plane, (64, 40), Change { rotation_deg: 180.0, flip: false });
        assert!(over.iter().eq(plane.iter().rev()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_agrees_with_the_tensors_within_one_grey_level(
            width in 32usize..90, height in 32usize..90,
            rotation_deg in -180.0..180.0f64, flip: bool, seed: u32, smooth: bool,
        ) {
            let sample = |i: usize| if smooth {
                ((i % width) * 3 + i / width) as u8
            } else {
                ((i as u32).wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8
            };
            let plane: Vec<u8> = (0..width * height).map(sample).collect();
            let change = Change { rotation_deg, flip };
            let expected = by_tensors(&plane, (width, height), change);
            for (place, (a, b)) in turned(&plane, (width, height), change).iter().zip(expected).enumerate() {
                prop_assert!((f32::from(*a) - b).abs() <= 1.0, "{} at {place}: {a} and {b}", width);
            }
        }
    }
}
