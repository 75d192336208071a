//! JPEG files (baseline and progressive, 8 bit). The `image` crate decodes a cut file silently, so
//! `zune-jpeg` is called here itself, strictly, after the file's structure was walked to its end.

use image::DynamicImage;
use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::{DecodeError, Format, Limits, Radiograph, raster};

/// Decodes a JPEG file.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Radiograph, DecodeError> {
    if !is_complete(bytes) {
        let detail = "it has no end-of-image marker after its scans".to_owned();
        return Err(DecodeError::Truncated { format: Format::Jpeg, detail });
    }
    let side_max = usize::from(u16::MAX);
    let options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(side_max).set_max_height(side_max);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(explain)?;
    let Some((width, height)) = decoder.dimensions() else {
        return Err(corrupt("it has no frame header".to_owned()));
    };
    let (width, height) = (width as u32, height as u32);
    limits.check_size(width, height)?;

    // The luma of YCbCr is Y itself (JFIF); other colour spaces go through RGB.
    let is_luma = matches!(decoder.input_colorspace(), Some(ColorSpace::Luma | ColorSpace::YCbCr));
    let output = if is_luma { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let pixels = decoder.decode().map_err(explain)?;
    let orientation = decoder
        .exif()
        .and_then(|chunk| Orientation::from_exif_chunk(chunk))
        .unwrap_or(Orientation::NoTransforms);
    let image = if is_luma {
        image::GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
    } else {
        image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
    };
    let image = image.ok_or_else(|| corrupt("it holds fewer pixels than it says".to_owned()))?;
    raster::to_radiograph(image, orientation, Format::Jpeg)
}

/// Walks the marker segments and the entropy-coded data between them (ITU-T T.81 annex B) to the EOI marker.
/// A thumbnail inside an application segment has its own EOI, which is stepped over with its segment.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    let mut seen_scan = false;
    loop {
        // What is not a marker here is entropy-coded data: FF 00 is a stuffed byte, FF D0 to D7 a restart.
        let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff)) else {
            return false;
        };
        let Some(&marker) = bytes.get(at + offset + 1) else { return false };
        at += offset + if marker == 0xff { 1 } else { 2 };
        match marker {
            0xd9 => return seen_scan,
            0x00 | 0x01 | 0xd0..=0xd8 | 0xff => {}
            _ => {
                seen_scan |= marker == 0xda;
                let Some(length) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([length[0], length[1]]));
            }
        }
    }
}

fn explain(error: DecodeErrors) -> DecodeError {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => {
            let detail = "its scan data ends early".to_owned();
            DecodeError::Truncated { format: Format::Jpeg, detail }
        }
        DecodeErrors::Unsupported(_) => DecodeError::UnsupportedImage {
            format: Format::Jpeg,
            detail: format!("a JPEG process that is not supported: {error}"),
        },
        _ => corrupt(error.to_string()),
    }
}

fn corrupt(detail: String) -> DecodeError {
    DecodeError::Corrupt { format: Format::Jpeg, detail }
}
