//! PNG, TIFF and PNM through the `image` crate.

use std::error::Error;
use std::io::{Cursor, ErrorKind};

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::{DecodeError, Format, Limits, Radiograph};

/// Decodes a raster file other than JPEG.
pub(super) fn decode(bytes: &[u8], format: Format, limits: &Limits) -> Result<Radiograph, DecodeError> {
    let image_format = match format {
        Format::Png => {
            check_png_chunks(bytes)?;
            ImageFormat::Png
        }
        Format::Tiff => ImageFormat::Tiff,
        _ => ImageFormat::Pnm,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format);
    let mut allowed = image::Limits::no_limits();
    // Eight bytes a pixel (RGBA, 16 bit) for the image, as much again for the decoder's own buffers.
    allowed.max_alloc = Some(limits.pixels_max.saturating_mul(16).saturating_add(16 << 20));
    reader.limits(allowed);

    let mut decoder = reader.into_decoder().map_err(|error| explain(format, limits, &error))?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width, height)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|error| explain(format, limits, &error))?;
    to_radiograph(image, orientation, format)
}

/// One grey plane from whatever the decoder gave.
pub(super) fn to_radiograph(
    mut image: DynamicImage,
    orientation: Orientation,
    format: Format,
) -> Result<Radiograph, DecodeError> {
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    let coloured_permille = coloured_permille(&image);
    let (samples, max_value) = match &image {
        DynamicImage::ImageLuma8(plane) => (widen(plane, 1, |p| u16::from(p[0])), 255),
        DynamicImage::ImageLumaA8(plane) => (widen(plane, 2, |p| u16::from(p[0])), 255),
        DynamicImage::ImageRgb8(plane) => (widen(plane, 3, |p| luma(p[0], p[1], p[2])), 255),
        DynamicImage::ImageRgba8(plane) => (widen(plane, 4, |p| luma(p[0], p[1], p[2])), 255),
        DynamicImage::ImageLuma16(plane) => with_bits_used(widen(plane, 1, |p| p[0])),
        DynamicImage::ImageLumaA16(plane) => with_bits_used(widen(plane, 2, |p| p[0])),
        DynamicImage::ImageRgb16(plane) => with_bits_used(widen(plane, 3, |p| luma(p[0], p[1], p[2]))),
        DynamicImage::ImageRgba16(plane) => with_bits_used(widen(plane, 4, |p| luma(p[0], p[1], p[2]))),
        _ => {
            let detail = "its samples are floating point numbers".to_owned();
            return Err(DecodeError::UnsupportedImage { format, detail });
        }
    };
    Ok(Radiograph { width, height, max_value, windowed: true, coloured_permille, samples })
}

/// One sample for each pixel of `channels` values.
fn widen<T>(values: &[T], channels: usize, to_sample: impl Fn(&[T]) -> u16) -> Vec<u16> {
    values.chunks_exact(channels).map(to_sample).collect()
}

/// Share of an image's pixels that visibly have colour, in thousandths.
fn coloured_permille(image: &DynamicImage) -> u16 {
    fn of<T: Copy + Into<u32>>(values: &[T], channels: usize) -> u16 {
        let white = values.iter().map(|value| (*value).into()).max().unwrap_or(0).max(255) as u16;
        let is_coloured = |pixel: &&[T]| {
            let [red, green, blue] = [0, 1, 2].map(|channel| pixel[channel].into() as u16);
            is_coloured(red, green, blue, white)
        };
        let coloured = values.chunks_exact(channels).filter(is_coloured).count();
        permille(coloured, values.len() / channels)
    }
    match image {
        DynamicImage::ImageRgb8(plane) => of(plane, 3),
        DynamicImage::ImageRgba8(plane) => of(plane, 4),
        DynamicImage::ImageRgb16(plane) => of(plane, 3),
        DynamicImage::ImageRgba16(plane) => of(plane, 4),
        _ => 0,
    }
}

/// Whether a pixel's channels differ by more than a tint or a lossy compression's error, a ninth of white.
pub(super) fn is_coloured(red: u16, green: u16, blue: u16, white: u16) -> bool {
    red.max(green).max(blue) - red.min(green).min(blue) > white / 9
}

/// The same of a difference channel of YCbCr, whose middle is grey.
pub(super) fn chroma_is_visible(chroma: u16, white: u16) -> bool {
    chroma.abs_diff(white / 2 + 1) > white / 16
}

/// A share in thousandths; 0 of none.
pub(super) fn permille(part: usize, whole: usize) -> u16 {
    (part as u64 * 1000 / whole.max(1) as u64) as u16
}

/// Luma by ITU-R BT.601. The weights add up to one, so a grey pixel keeps its value.
pub(super) fn luma<T: Into<u32>>(red: T, green: T, blue: T) -> u16 {
    let sum =
        19_595 * u64::from(red.into()) + 38_470 * u64::from(green.into()) + 7_471 * u64::from(blue.into());
    ((sum + (1 << 15)) >> 16) as u16
}

/// Samples of 16-bit words with the white of the bits they use: 2^n - 1, n from 8 to 16.
fn with_bits_used(samples: Vec<u16>) -> (Vec<u16>, u16) {
    let largest = samples.iter().copied().max().unwrap_or(0);
    let bits = (16 - largest.leading_zeros()).max(8);
    (samples, (u32::MAX >> (32 - bits)) as u16)
}

/// Walks the chunks to IEND. A decoder that has read enough pixels would not notice a missing end, nor say
/// that a file is cut off rather than broken.
fn check_png_chunks(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut rest = &bytes[8..];
    // Each chunk is its length, its type, that many bytes and a checksum.
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let needed = (u32::from_be_bytes(*length) as usize).saturating_add(8);
        if after.len() < needed {
            break;
        }
        if after.starts_with(b"IEND") {
            return Ok(());
        }
        rest = &after[needed..];
    }
    Err(DecodeError::Truncated { format: Format::Png, detail: "it has no complete IEND chunk".to_owned() })
}

fn explain(format: Format, limits: &Limits, error: &ImageError) -> DecodeError {
    if ends_early(error) {
        return DecodeError::Truncated { format, detail: "data is missing at its end".to_owned() };
    }
    match error {
        ImageError::Limits(_) => DecodeError::TooMuchMemory { format, pixels_max: limits.pixels_max },
        ImageError::Unsupported(_) => DecodeError::UnsupportedImage { format, detail: error.to_string() },
        _ => DecodeError::Corrupt { format, detail: error.to_string() },
    }
}

/// Whether an unexpected end of the data is the error or among its causes.
fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = match error {
        ImageError::IoError(io) => Some(io),
        other => other.source(),
    };
    while let Some(current) = cause {
        if current.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = current.source();
    }
    false
}
