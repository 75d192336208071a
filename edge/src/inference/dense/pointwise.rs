//! A 1x1 convolution: a matrix product over the channels of each pixel.

use multiversion::multiversion;

use super::kernel::{Epilogue, Floats, Kernel};
use super::lanes::Lanes;

/// Packed pixels that a second-level cache holds beside a panel of weights, in numbers.
const PACKED_MAX: usize = 32 * 1024;

/// Scale and shift of each channel, and a ReLU: what is left of a batch normalisation at inference.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// A 1x1 convolution, with bias and ReLU where it has them.
#[derive(Debug)]
pub(super) struct Pointwise {
    kernel: Kernel,
    depth: usize,
    /// Channels that come out, made up to whole panels.
    channels: usize,
    weights: Floats,
    bias: Option<Vec<f32>>,
    relu: bool,
}

impl Pointwise {
    /// From weights as `[out][in]`.
    pub(super) fn new(
        kernel: Kernel,
        depth: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
    ) -> Self {
        let channels = weights.len() / depth;
        let packed = kernel.pack_channels(depth, |channel, k| weights[channel * depth + k], channels);
        let channels = kernel.whole_channels(channels);
        let bias = bias.map(|bias| {
            let mut bias = bias.to_vec();
            bias.resize(channels, 0.0);
            bias
        });
        Self { kernel, depth, channels, weights: packed, bias, relu }
    }

    /// Channels that it writes: those that it has, made up to whole panels.
    pub(super) fn channels_written(&self) -> usize {
        self.channels
    }

    /// How much of `panels` it needs.
    pub(super) fn panels_len(&self, pixels: usize) -> usize {
        Kernel::packed_len(self.depth, self.at_once(pixels) * self.kernel.mr)
    }

    /// Panels of pixels that are packed, then multiplied.
    fn at_once(&self, pixels: usize) -> usize {
        (PACKED_MAX / (self.depth * self.kernel.mr)).clamp(1, pixels.div_ceil(self.kernel.mr))
    }

    /// Convolves the first `pixels` of each plane of `input`, made up to whole panels, after `affine` and a ReLU where there is
    /// one; planes are `pitch` apart, those of `out` `out_pitch`.
    pub(super) fn run(
        &self,
        (input, pitch): (&[f32], usize),
        affine: Option<&Affine>,
        pixels: usize,
        (out, out_pitch): (&mut [f32], usize),
        panels: &mut Floats,
    ) {
        let Self { kernel, depth, channels, weights, bias, relu } = self;
        let total = pixels.div_ceil(kernel.mr);
        let epilogue = Epilogue { bias: bias.as_deref(), relu: *relu };
        let mut first = 0;
        while first < total {
            let count = self.at_once(pixels).min(total - first);
            let start = first * kernel.mr;
            pack(&input[start..], pitch, affine, (*depth, kernel.mr), count, panels);
            let out = &mut out[start..];
            kernel.multiply(
                *depth,
                (panels, count),
                (weights, channels / kernel.nr),
                epilogue,
                out,
                out_pitch,
            );
            first += count;
        }
    }
}

/// Packs the first pixels of each plane: `[panel][channel][pixel of the panel]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn pack(
    input: &[f32],
    pitch: usize,
    affine: Option<&Affine>,
    (depth, mr): (usize, usize),
    count: usize,
    panels: &mut [f32],
) {
    const L: usize = Kernel::LANES;
    for channel in 0..depth {
        let plane = &input[channel * pitch..][..count * mr];
        let (scale, shift) = match affine {
            Some(affine) => (affine.scale[channel], Lanes([affine.shift[channel]; L])),
            None => (1.0, Lanes::ZERO),
        };
        for panel in 0..count {
            let to = &mut panels[(panel * depth + channel) * mr..][..mr];
            let pixels = &plane[panel * mr..][..mr];
            for lane in (0..mr).step_by(L) {
                let mut value = Lanes::<L>::load(&pixels[lane..]);
                if affine.is_some() {
                    value = (value * scale + shift).relu();
                }
                value.store(&mut to[lane..]);
            }
        }
    }
}

/// Scale, shift, ReLU and the mean of four: a batch normalisation before a 2x2 pooling. The four pixels of a pooled one stand
/// at the same place of four stretches of the plane.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
pub(super) fn pool(stretches: [&[f32]; 4], scale: f32, shift: f32, out: &mut [f32]) {
    let (whole, rest) = out.as_chunks_mut::<{ Kernel::LANES }>();
    let done = whole.len() * Kernel::LANES;
    for (i, out) in whole.iter_mut().enumerate() {
        *out = mean_of_four(stretches, i * Kernel::LANES, scale, shift).0;
    }
    for (i, out) in rest.iter_mut().enumerate() {
        *out = mean_of_four::<1>(stretches, done + i, scale, shift).0[0];
    }
}

#[inline(always)]
fn mean_of_four<const L: usize>(stretches: [&[f32]; 4], at: usize, scale: f32, shift: f32) -> Lanes<L> {
    let mut sum = Lanes::ZERO;
    for stretch in stretches {
        sum = sum + (Lanes::load(&stretch[at..]) * scale + Lanes([shift; L])).relu();
    }
    sum * 0.25
}
