//! From a radiograph to the model's input. The only implementation: the trainer's cache, evaluation and
//! golden images and the station all call it.
//!
//! Two steps, so that training can put its augmentation between them:
//! [`to_plane`] windows and resizes to u8 `[H, W]`; [`normalise`] gives f32 `[3, H, W]`.

use std::borrow::Cow;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U16;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::radiograph::Radiograph;

/// ImageNet's channel means, which MURA's recipe normalises to.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// ImageNet's channel deviations.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// The largest model input, in pixels a side.
pub const MAX_SIDE_PX: u32 = 4096;

/// How a radiograph becomes the model's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreprocessSpec {
    /// Width of the input in pixels.
    pub width_px: u32,
    /// Height of the input in pixels.
    pub height_px: u32,
    /// What happens to a radiograph of another aspect ratio.
    pub aspect: Aspect,
    /// The share of darkest samples that a window found from the data sets to black, 0 to below 0.5. Only
    /// for radiographs that bring no window of their own (raw frames, DICOM without VOI).
    pub window_low: f64,
    /// The share of brightest samples that such a window sets to white.
    pub window_high: f64,
    /// Subtracted from each channel after scaling to 0..1.
    pub mean: [f32; 3],
    /// Divides each channel afterwards.
    pub std: [f32; 3],
}

/// What happens to a radiograph of another aspect ratio than the input's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// It is stretched, as in MURA's recipe.
    Squash,
    /// It is fitted and centred on black.
    Letterbox,
}

impl PreprocessSpec {
    /// A square input with ImageNet's statistics.
    pub fn square(side_px: u32) -> Self {
        Self {
            width_px: side_px,
            height_px: side_px,
            aspect: Aspect::Letterbox,
            window_low: 0.005,
            window_high: 0.005,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }

    /// Says what about the values cannot be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sides = [self.width_px, self.height_px];
        if sides.iter().any(|side| !(32..=MAX_SIDE_PX).contains(side)) {
            return Err(format!("the input size {}x{} is outside 32 to {MAX_SIDE_PX}", sides[0], sides[1]));
        }
        if [self.window_low, self.window_high].iter().any(|share| !(0.0..0.5).contains(share)) {
            return Err("the window shares must lie between 0 and 0.5".to_owned());
        }
        if self.std.iter().any(|std| !(std.is_finite() && *std > 0.0))
            || self.mean.iter().any(|m| !m.is_finite())
        {
            return Err("the channel statistics must be finite, the deviations above zero".to_owned());
        }
        Ok(())
    }

    /// Samples in one normalised input: `3 * H * W`.
    pub fn input_len(&self) -> usize {
        3 * self.plane_len()
    }

    /// Samples in one plane: `H * W`.
    pub fn plane_len(&self) -> usize {
        self.width_px as usize * self.height_px as usize
    }
}

/// A preprocessed grey plane, u8 `[H, W]`, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// `H * W` samples.
    pub samples: Vec<u8>,
}

/// Why a radiograph could not be resized. Its sizes were checked when it was decoded, so this is a bug or a
/// lack of memory.
#[derive(Debug, thiserror::Error)]
#[error("cannot resize a radiograph of {width}x{height} px: {reason}")]
pub struct PreprocessError {
    width: u32,
    height: u32,
    reason: String,
}

/// Windows and resizes a radiograph to the spec's size.
///
/// # Errors
/// When the resizer refuses the sizes.
pub fn to_plane(radiograph: &Radiograph, spec: &PreprocessSpec) -> Result<Plane, PreprocessError> {
    let (black, white) = if radiograph.windowed {
        (0, radiograph.max_value)
    } else {
        percentile_window(radiograph, spec.window_low, spec.window_high)
    };
    let Placement { left, top, width, height } = placement(radiograph, spec);
    // A mean of neighbours lies between whole samples, and a narrow window would stretch its rounding.
    let shift = if radiograph.windowed { 0 } else { radiograph.max_value.leading_zeros() };
    let (black, white) = (black << shift, white << shift);
    let resized = resize(radiograph, shift, width, height).map_err(|reason| PreprocessError {
        width: radiograph.width,
        height: radiograph.height,
        reason,
    })?;

    let mut samples = vec![0u8; spec.plane_len()];
    let span = f32::from(white.saturating_sub(black).max(1));
    for (row, line) in resized.pixels().chunks_exact(width as usize).enumerate() {
        let start = (top as usize + row) * spec.width_px as usize + left as usize;
        let target = &mut samples[start..start + width as usize];
        for (to, from) in target.iter_mut().zip(line) {
            let value = from.0.clamp(black, white.max(black)) - black;
            // Rounded: `round` is a call for each pixel where the processor is not known to have an instruction for it.
            *to = (f32::from(value) / span * 255.0 + 0.5) as u8;
        }
    }
    Ok(Plane { width_px: spec.width_px, height_px: spec.height_px, samples })
}

/// A radiograph with its window applied: `windowed`, 0 to 65535. One that was windowed already comes back as
/// it is. For storing a raw frame as a file that is displayed the same way as the frame.
pub fn apply_window(radiograph: Radiograph, spec: &PreprocessSpec) -> Radiograph {
    if radiograph.windowed {
        return radiograph;
    }
    let (black, white) = percentile_window(&radiograph, spec.window_low, spec.window_high);
    let span = u64::from(white.saturating_sub(black).max(1));
    let full = u64::from(u16::MAX);
    let spread = |sample: u16| {
        let above_black = u64::from(sample.clamp(black, white.max(black)) - black);
        ((above_black * full + span / 2) / span) as u16
    };
    let samples = radiograph.samples.iter().map(|&sample| spread(sample)).collect();
    Radiograph { max_value: u16::MAX, windowed: true, samples, ..radiograph }
}

/// The three equal channels of a plane, scaled to 0..1 and normalised: f32 `[3, H, W]`.
pub fn normalise(plane: &Plane, spec: &PreprocessSpec) -> Vec<f32> {
    let mut input = Vec::with_capacity(3 * plane.samples.len());
    for (mean, std) in spec.mean.iter().zip(spec.std) {
        let lut: Vec<f32> = (0..=255u8).map(|value| (f32::from(value) / 255.0 - mean) / std).collect();
        input.extend(plane.samples.iter().map(|&value| lut[usize::from(value)]));
    }
    input
}

/// Where in the model's input a radiograph comes to lie, in the input's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Columns to its left.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// Where [`to_plane`] puts a radiograph: the whole input, or the largest centred part of it that keeps the
/// aspect ratio.
pub fn placement(radiograph: &Radiograph, spec: &PreprocessSpec) -> Placement {
    if spec.aspect == Aspect::Squash {
        return Placement { left: 0, top: 0, width: spec.width_px, height: spec.height_px };
    }
    let scale_x = f64::from(spec.width_px) / f64::from(radiograph.width);
    let scale_y = f64::from(spec.height_px) / f64::from(radiograph.height);
    let scale = scale_x.min(scale_y);
    let fit = |side: u32, limit: u32| ((f64::from(side) * scale).round() as u32).clamp(1, limit);
    let (width, height) = (fit(radiograph.width, spec.width_px), fit(radiograph.height, spec.height_px));
    Placement { left: (spec.width_px - width) / 2, top: (spec.height_px - height) / 2, width, height }
}

/// Area-weighted bilinear resize of 16-bit samples (native byte order), moved up by `shift` bits before, in integer
/// arithmetic.
///
/// The typed call: the untyped one compiles every pixel type's kernels into this crate, minutes of them.
fn resize(
    radiograph: &Radiograph,
    shift: u32,
    width: u32,
    height: u32,
) -> Result<TypedImage<'static, U16>, String> {
    let samples: Cow<'_, [u16]> = match shift {
        0 => Cow::Borrowed(&radiograph.samples),
        _ => radiograph.samples.iter().map(|sample| sample << shift).collect(),
    };
    let bytes: &[u8] = bytemuck::cast_slice(&samples);
    let source = TypedImageRef::<U16>::from_buffer(radiograph.width, radiograph.height, bytes)
        .map_err(|error| error.to_string())?;
    let mut target = TypedImage::new(width, height);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| error.to_string())?;
    Ok(target)
}

/// The sample values below which a share `low` and above which a share `high` of all samples lie.
///
/// Counted first by their upper eight bits, then those that share a bound's upper bits by their lower ones: tables of all values would
/// not fit into the cache in which counting is fast.
fn percentile_window(radiograph: &Radiograph, low: f64, high: f64) -> (u16, u16) {
    let Some(last) = radiograph.samples.len().checked_sub(1) else { return (0, 0) };
    let rank = |share: f64| ((share * radiograph.samples.len() as f64) as usize).min(last);
    let ranks = [rank(low), last - rank(high)];
    let halves = |sample: u16| {
        let [upper, lower] = sample.min(radiograph.max_value).to_be_bytes();
        (usize::from(upper), usize::from(lower))
    };
    // Four tables in turn: neighbours are often alike, and would wait for each other's count.
    let [mut a, mut b, mut c, mut d] = [[0u32; 256]; 4];
    let (fours, rest) = radiograph.samples.as_chunks();
    for [first, second, third, fourth] in fours {
        a[halves(*first).0] += 1;
        b[halves(*second).0] += 1;
        c[halves(*third).0] += 1;
        d[halves(*fourth).0] += 1;
    }
    for sample in rest {
        a[halves(*sample).0] += 1;
    }
    let upper_counts = std::array::from_fn(|i| a[i] + b[i] + c[i] + d[i]);
    let bounds = ranks.map(|rank| at_rank(&upper_counts, rank));
    let [(lowest, _), (highest, _)] = bounds;
    let mut lower_counts = [[0u32; 256]; 2];
    let mut count = |samples: &[u16]| {
        for (upper, lower) in samples.iter().map(|sample| halves(*sample)) {
            if upper == lowest {
                lower_counts[0][lower] += 1;
            }
            if upper == highest {
                lower_counts[1][lower] += 1;
            }
        }
    };
    // Most stretches have no sample of either, which vector instructions see: sums, and no branch, for each.
    let (stretches, rest) = radiograph.samples.as_chunks::<32>();
    for stretch in stretches {
        let mut those = 0;
        for sample in stretch {
            let upper = sample.min(&radiograph.max_value) >> 8;
            those += u16::from(upper == lowest as u16) + u16::from(upper == highest as u16);
        }
        if those > 0 {
            count(stretch);
        }
    }
    count(rest);
    let [black, white] = [0, 1].map(|i| {
        let (upper, rank) = bounds[i];
        (upper << 8 | at_rank(&lower_counts[i], rank).0) as u16
    });
    (black, white)
}

/// Of things counted by their value, the value of the one that `rank` others come before, and how many of the same value do.
fn at_rank(counts: &[u32; 256], mut rank: usize) -> (usize, usize) {
    for (value, count) in counts.iter().enumerate() {
        match rank.checked_sub(*count as usize) {
            Some(rest) => rank = rest,
            None => return (value, rank),
        }
    }
    (0, 0)
}
