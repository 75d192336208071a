//! Golden pairs: images of the validation split with the logit that libtorch gives for them.
//!
//! An image is stored as its preprocessed plane in an 8-bit grey PNG. So it holds no metadata, and its bytes
//! go through the same decoding and preprocessing as any other image on their way to a logit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Cursor;

use contract::preprocess::{PreprocessSpec, to_plane};
use contract::radiograph::{Limits, decode};
use contract::study::StudyType;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use tch::Tensor;

use crate::dataset::Planes;
use crate::eval::inputs;

/// Golden pairs in a bundle, where the split has that many images.
pub const GOLDEN_PAIRS: usize = 8;

/// Why no golden image could be made or read.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The PNG could not be written.
    #[error("writing a golden image: {0}")]
    Encode(#[from] image::ImageError),
    /// The PNG does not go through the station's way to a plane.
    #[error("reading a golden image back: {0}")]
    Decode(String),
    /// No image of the split is usable.
    #[error("no image of the validation split can be a golden image (the first: {0})")]
    None(String),
}

/// Images for golden pairs, in the order they are stored: both classes in turn, within each class the
/// study types in turn, each study once as long as there are others. At most `count`.
pub fn choose(planes: &Planes, count: usize) -> Vec<usize> {
    let mut queues: BTreeMap<(bool, &StudyType), VecDeque<usize>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let (first, further): (Vec<usize>, Vec<usize>) =
        (0..planes.len()).partition(|&image| seen.insert(planes.study[image]));
    for image in first.into_iter().chain(further) {
        let study = &planes.studies[planes.study[image]];
        queues.entry((study.abnormal, &study.study_type)).or_default().push_back(image);
    }
    let mut classes: [VecDeque<VecDeque<usize>>; 2] = Default::default();
    for ((abnormal, _), queue) in queues {
        classes[usize::from(abnormal)].push_back(queue);
    }
    let mut chosen = Vec::new();
    while chosen.len() < count && classes.iter().any(|class| !class.is_empty()) {
        for class in &mut classes {
            // The type at the front gives an image and goes to the back.
            let Some(mut queue) = class.pop_front() else { continue };
            chosen.extend(queue.pop_front());
            if !queue.is_empty() {
                class.push_back(queue);
            }
        }
    }
    chosen.truncate(count);
    chosen
}

/// A preprocessed plane as an 8-bit grey PNG.
///
/// # Errors
/// When the encoder fails.
pub fn to_png(samples: &[u8], spec: &PreprocessSpec) -> Result<Vec<u8>, GoldenError> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(Cursor::new(&mut png), CompressionType::Best, FilterType::Adaptive)
        .write_image(samples, spec.width_px, spec.height_px, ExtendedColorType::L8)?;
    Ok(png)
}

/// The model's input for an image's bytes, f32 `[1, 3, H, W]`: what the station feeds its model.
///
/// # Errors
/// When the bytes are refused or cannot be resized.
pub fn to_input(bytes: &[u8], spec: &PreprocessSpec) -> Result<Tensor, GoldenError> {
    let refused = |reason: String| GoldenError::Decode(reason);
    let decoded = decode(bytes, &Limits::default()).map_err(|error| refused(error.to_string()))?;
    let plane = to_plane(&decoded.radiograph, spec).map_err(|error| refused(error.to_string()))?;
    Ok(inputs(std::iter::once(plane.samples.as_slice()), spec))
}
