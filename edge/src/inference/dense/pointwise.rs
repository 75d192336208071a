//! A 1x1 convolution: a matrix product over the channels of each pixel.

use multiversion::multiversion;

use super::kernel::{Channels, Epilogue, Kernel, LANES, Numbers, Panels, Zmm};
use super::lanes::{Lanes, Vector, Vectors};
use super::number::Number;

/// Scale and shift of each channel, and a ReLU: what is left of a batch normalisation at inference.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// A 1x1 convolution, with bias and ReLU where it has them.
#[derive(Debug)]
pub(super) struct Pointwise<E: Number> {
    kernel: Kernel<E>,
    weights: Channels<E>,
    bias: Option<Vec<E>>,
    relu: bool,
}

impl<E: Number> Pointwise<E> {
    /// From weights as `[out][in]`.
    pub(super) fn new(
        kernel: Kernel<E>,
        depth: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
    ) -> Self {
        let shape = (weights.len() / depth, depth);
        let weights = kernel.pack_channels(shape, |channel, k| weights[channel * depth + k]);
        let bias = bias.map(|bias| {
            let mut bias: Vec<E> = bias.iter().map(|value| E::of(*value)).collect();
            bias.resize(weights.written(), E::default());
            bias
        });
        Self { kernel, weights, bias, relu }
    }

    /// Channels that it writes: those that it has, made up to whole panels.
    pub(super) fn channels_written(&self) -> usize {
        self.weights.written()
    }

    /// Convolves `input`, after `affine` and a ReLU where there is one, into `out`. Planes of both are `pitch` apart, which is whole
    /// panels.
    pub(super) fn run(
        &self,
        input: &[f32],
        affine: Option<&Affine>,
        (out, pitch): (&mut [E], usize),
        packed: &mut Numbers<E>,
    ) {
        let Self { kernel, weights, bias, relu } = self;
        let epilogue = Epilogue { bias: bias.as_deref(), relu: *relu };
        let pack = match kernel.vectors() {
            Vectors::Zmm => pack::<E, Zmm>,
            // Two at once would gain nothing here.
            Vectors::Sixteen | Vectors::Eight => pack::<E, Lanes<LANES>>,
        };
        kernel.product(weights, epilogue, (out, pitch), packed, |panels, packed| {
            pack(&input[panels.first..], pitch, affine, weights.depth(), panels, packed);
        });
    }
}

/// Packs the first pixels of each plane: `[panel][channel][pixel of the panel]`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn pack<E: Number, V: Vector>(
    input: &[f32],
    pitch: usize,
    affine: Option<&Affine>,
    depth: usize,
    Panels { mr, count, .. }: Panels,
    packed: &mut [E],
) {
    for channel in 0..depth {
        let plane = &input[channel * pitch..][..count * mr];
        let (scale, shift) = match affine {
            Some(affine) => (affine.scale[channel], V::all(affine.shift[channel])),
            None => (1.0, V::all(0.0)),
        };
        for panel in 0..count {
            let to = &mut packed[(panel * depth + channel) * mr..][..mr];
            let pixels = &plane[panel * mr..][..mr];
            for lane in (0..mr).step_by(V::LEN) {
                let mut value = V::load(&pixels[lane..]);
                if affine.is_some() {
                    value = value.times_plus(scale, shift).relu();
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
    let whole = out.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        mean_of_four::<Lanes<LANES>>(stretches, at, scale, shift).store(&mut out[at..]);
    }
    for at in whole..out.len() {
        mean_of_four::<Lanes<1>>(stretches, at, scale, shift).store(&mut out[at..]);
    }
}

#[inline(always)]
fn mean_of_four<V: Vector>(stretches: [&[f32]; 4], at: usize, scale: f32, shift: f32) -> V {
    let mut sum = V::all(0.0);
    for stretch in stretches {
        sum = sum + V::load(&stretch[at..]).times_plus(scale, V::all(shift)).relu();
    }
    sum * 0.25
}
