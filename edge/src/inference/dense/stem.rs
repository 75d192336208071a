//! The network's first layers: a convolution with a stride of 2, ReLU, a maximum over 3x3 pixels with a stride of 2.
//!
//! The image is first split into its even and odd rows and columns, with the border of zeros around it. What one tap of the filter
//! sees of neighbouring pixels then stands side by side, and packing for the matrix product is copying.

use multiversion::multiversion;

use super::block::Convolution;
use super::kernel::{Channels, Epilogue, Kernel, LANES, Numbers, Panels};
use super::lanes::{Lanes, Vector};
use super::number::Number;

/// A stem as it stands in the graph.
#[derive(Clone, Debug)]
pub(super) struct StemSpec {
    /// Channels that come in.
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// The filter's side, an odd number; the border is half of it.
    pub(super) side: usize,
    pub(super) conv: Convolution,
}

impl StemSpec {
    /// The convolution's height and width: half, rounded up.
    fn convolved(&self) -> [usize; 2] {
        [self.height.div_ceil(2), self.width.div_ceil(2)]
    }

    /// Channels, height and width of what comes out.
    pub(super) fn output(&self) -> [usize; 3] {
        let [height, width] = self.convolved();
        [self.conv.channels, height.div_ceil(2), width.div_ceil(2)]
    }
}

/// A stem made ready for this processor.
#[derive(Debug)]
pub(super) struct Stem<E: Number> {
    spec: StemSpec,
    kernel: Kernel<E>,
    filters: Channels<E>,
    bias: Vec<E>,
    /// From one row of a split image to the next; the convolution's rows are as far apart, and end in pixels that are not used.
    row: usize,
    /// Pixels of one split image, with slack behind it that is read and not used.
    split: usize,
    /// Pixels of one convolved plane, made up to whole panels.
    pitch: usize,
}

/// Memory that a stem writes in passing.
#[derive(Debug, Default)]
pub(super) struct Scratch<E> {
    split: Numbers<f32>,
    packed: Numbers<E>,
    convolved: Numbers<E>,
    line: Numbers<f32>,
}

impl<E: Number> Stem<E> {
    /// Packs the weights; none where there is no kernel for this processor that fits.
    pub(super) fn new(spec: StemSpec) -> Option<Self> {
        let [height, width] = spec.convolved();
        let row = width + spec.side / 2;
        let depth = spec.channels * spec.side * spec.side;
        let kernel = Kernel::choose(height * row, depth, spec.conv.channels)?;
        let weights = &spec.conv.weights;
        let filters =
            kernel.pack_channels((spec.conv.channels, depth), |channel, k| weights[channel * depth + k]);
        let mut bias: Vec<E> = spec.conv.bias.iter().flatten().map(|value| E::of(*value)).collect();
        bias.resize(filters.written(), E::default());
        let pitch = kernel.whole_pixels(height * row);
        let split = pitch + (spec.side / 2 + 1) * (row + 1);
        Some(Self { kernel, filters, bias, row, split, pitch, spec })
    }

    /// Computes the stem: `image` as `[channel][height][width]`, `out` likewise.
    pub(super) fn run(&self, image: &[f32], out: &mut [f32], scratch: &mut Scratch<E>) {
        let Self { kernel, filters, bias, pitch, spec, .. } = self;
        let Scratch { split, packed, convolved, line } = scratch;
        split.reserve(4 * spec.channels * self.split);
        split.fill(0.0);
        self.split(image, split);
        // The last row is read in whole lanes.
        convolved.reserve(filters.written() * pitch + LANES);
        let epilogue = Epilogue { bias: Some(bias), relu: true };
        kernel.product(filters, epilogue, (convolved, *pitch), packed, |panels, packed| {
            self.pack(split, panels, packed);
        });
        line.reserve(self.row + 2 * LANES);
        let [height, width] = spec.convolved();
        let area = height.div_ceil(2) * width.div_ceil(2);
        for (channel, out) in out.chunks_exact_mut(area).enumerate() {
            let plane = &convolved[channel * pitch..];
            greatest_of_nine(plane, (height, width, self.row), line, out);
        }
    }

    /// Even and odd rows and columns of each channel, four images, each with the border's zeros.
    fn split(&self, image: &[f32], split: &mut [f32]) {
        let StemSpec { channels, height, width, side, .. } = self.spec;
        let border = side / 2;
        for channel in 0..channels {
            let image = &image[channel * height * width..][..height * width];
            for (y, line) in image.chunks_exact(width).enumerate() {
                let y = y + border;
                for odd in 0..2 {
                    // The first pixel whose column, with the border, is odd or even.
                    let first = (odd + border) % 2;
                    let part = (channel * 2 + y % 2) * 2 + odd;
                    let to = &mut split[part * self.split + y / 2 * self.row + (first + border) / 2..];
                    for (to, pixel) in to.iter_mut().zip(line.iter().skip(first).step_by(2)) {
                        *to = *pixel;
                    }
                }
            }
        }
    }

    /// Packs panels of pixels: for each tap of the filter, what it sees.
    fn pack(&self, split: &[f32], Panels { mr, first, count }: Panels, packed: &mut [E]) {
        let side = self.spec.side;
        let taps = side * side;
        let depth = self.filters.depth();
        for tap in 0..depth {
            let (channel, y, x) = (tap / taps, tap % taps / side, tap % side);
            let part = (channel * 2 + y % 2) * 2 + x % 2;
            let seen = &split[part * self.split + first + y / 2 * self.row + x / 2..];
            copy_panels(seen, (tap * mr, depth * mr), (count, mr), packed);
        }
    }
}

/// Copies so many stretches of `mr` pixels to where they belong in panels.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn copy_panels<E: Number>(
    from: &[f32],
    (start, step): (usize, usize),
    (count, mr): (usize, usize),
    packed: &mut [E],
) {
    for panel in 0..count {
        let from = from[panel * mr..][..mr].as_chunks::<LANES>().0;
        let to = packed[start + panel * step..][..mr].as_chunks_mut::<LANES>().0;
        for (to, from) in to.iter_mut().zip(from) {
            *to = E::from_f32s(*from);
        }
    }
}

/// The greatest of 3x3 pixels around every other one, of pixels that are not negative: a border of zeros changes nothing.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn greatest_of_nine<E: Number>(
    plane: &[E],
    (height, width, row): (usize, usize, usize),
    line: &mut [f32],
    out: &mut [f32],
) {
    const L: usize = LANES;
    let across = width.div_ceil(2);
    // `line`: maxima of three rows, with a zero before and behind.
    line[0] = 0.0;
    for (y, out) in out.chunks_exact_mut(across).enumerate() {
        let lines = [(2 * y).saturating_sub(1), 2 * y, (2 * y + 1).min(height - 1)];
        let mut x = 0;
        while x < width {
            let mut greatest = Lanes::<L>::load(&plane[lines[0] * row + x..]);
            for other in &lines[1..] {
                greatest = greatest.max(Lanes::load(&plane[other * row + x..]));
            }
            greatest.store(&mut line[1 + x..]);
            x += L;
        }
        line[1 + width..1 + width + L].fill(0.0);
        for (x, out) in out.iter_mut().enumerate() {
            let [a, b, c] = [line[2 * x], line[2 * x + 1], line[2 * x + 2]];
            let greatest = if a < b { b } else { a };
            *out = if greatest < c { c } else { greatest };
        }
    }
}
