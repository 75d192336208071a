//! JPEG: files, and the codestreams of 8 bit and lossy in DICOM. The `image` crate decodes a cut file
//! silently, so `zune-jpeg` is called here itself, strictly, after the file's structure was walked to its end.

use image::DynamicImage;
use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::{DecodeError, Format, Limits, Radiograph, raster};

/// What a frame header (ITU-T T.81 annex B.2.2) and the segments before it say.
pub(super) struct FrameHeader {
    /// The SOF marker's second byte, C0 to CF: the coding process.
    pub process: u8,
    /// Bits a sample.
    pub precision: u8,
    pub width: u32,
    pub height: u32,
    pub components: u8,
    /// Whether a JFIF or Adobe segment says what the components are.
    pub marked: bool,
}

impl FrameHeader {
    /// Whether samples are predicted, not transformed.
    pub(super) fn is_lossless(&self) -> bool {
        matches!(self.process, 0xc3 | 0xc7 | 0xcb | 0xcf)
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut marked = false;
        let mut rest = bytes.get(2..)?;
        loop {
            // Fill bytes may precede a marker.
            let [0xff, marker, after @ ..] = rest else { return None };
            if *marker == 0xff {
                rest = &rest[1..];
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*after.first()?, *after.get(1)?]));
            let segment = after.get(2..length)?;
            match marker {
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    let [precision, h1, h0, w1, w0, components, ..] = *segment else { return None };
                    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
                    let (width, height) = (width.into(), height.into());
                    return Some(Self { process: *marker, precision, width, height, components, marked });
                }
                0xe0 => marked |= segment.starts_with(b"JFIF"),
                0xee => marked |= segment.starts_with(b"Adobe"),
                0xd8..=0xda => return None,
                _ => {}
            }
            rest = &after[length..];
        }
    }
}

/// Decodes a JPEG file.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Radiograph, DecodeError> {
    if !is_complete(bytes) {
        let detail = "it has no end-of-image marker after its scans".to_owned();
        return Err(DecodeError::Truncated { format: Format::Jpeg, detail });
    }
    let Some(header) = FrameHeader::read(bytes) else {
        return Err(DecodeError::Corrupt {
            format: Format::Jpeg,
            detail: "it has no frame header".to_owned(),
        });
    };
    limits.check_size(header.width, header.height)?;
    let Pixels { mut bytes, mut channels, orientation, ycbcr } = decode_pixels(bytes, Format::Jpeg, false)?;
    let mut coloured_permille = None;
    if ycbcr && channels == 3 {
        let is_coloured = |pixel: &&[u8]| {
            pixel[1..].iter().any(|chroma| raster::chroma_is_visible(u16::from(*chroma), 255))
        };
        let coloured = bytes.chunks_exact(3).filter(is_coloured).count();
        coloured_permille = Some(raster::permille(coloured, bytes.len() / 3));
        // The luma of YCbCr is Y itself.
        bytes = bytes.into_iter().step_by(3).collect();
        channels = 1;
    }
    let image = if channels == 1 {
        image::GrayImage::from_raw(header.width, header.height, bytes).map(DynamicImage::ImageLuma8)
    } else {
        image::RgbImage::from_raw(header.width, header.height, bytes).map(DynamicImage::ImageRgb8)
    };
    let image = image.ok_or_else(|| DecodeError::Corrupt {
        format: Format::Jpeg,
        detail: "it holds fewer pixels than it says".to_owned(),
    })?;
    let radiograph = raster::to_radiograph(image, orientation, Format::Jpeg)?;
    let coloured_permille = coloured_permille.unwrap_or(radiograph.coloured_permille);
    Ok(Radiograph { coloured_permille, ..radiograph })
}

/// Decoded 8-bit samples: luma (`channels` is 1), RGB or YCbCr (3).
pub(super) struct Pixels {
    pub bytes: Vec<u8>,
    pub channels: usize,
    pub orientation: Orientation,
    pub ycbcr: bool,
}

/// Decodes a lossy codestream of 8 bit whose sizes have been checked. Three components that nothing marks are
/// taken for YCbCr, as JFIF has it, unless `unmarked_is_rgb`.
pub(super) fn decode_pixels(
    bytes: &[u8],
    format: Format,
    unmarked_is_rgb: bool,
) -> Result<Pixels, DecodeError> {
    let side_max = usize::from(u16::MAX);
    let options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(side_max).set_max_height(side_max);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| explain(format, error))?;
    // Asked for YCbCr, the decoder leaves the components as they are. A file's chroma says whether it is a photograph.
    let (output, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::YCbCr) if unmarked_is_rgb || format == Format::Jpeg => (ColorSpace::YCbCr, 3),
        Some(ColorSpace::Luma | ColorSpace::YCbCr) => (ColorSpace::Luma, 1),
        _ => (ColorSpace::RGB, 3),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let bytes = decoder.decode().map_err(|error| explain(format, error))?;
    let orientation = decoder
        .exif()
        .and_then(|chunk| Orientation::from_exif_chunk(chunk))
        .unwrap_or(Orientation::NoTransforms);
    Ok(Pixels { bytes, channels, orientation, ycbcr: output == ColorSpace::YCbCr })
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

fn explain(format: Format, error: DecodeErrors) -> DecodeError {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => {
            DecodeError::Truncated { format, detail: "its JPEG scan data ends early".to_owned() }
        }
        DecodeErrors::Unsupported(_) => DecodeError::UnsupportedImage {
            format,
            detail: format!("a JPEG process that is not supported: {error}"),
        },
        _ => DecodeError::Corrupt { format, detail: format!("its JPEG data: {error}") },
    }
}
