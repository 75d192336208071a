//! From bytes to one grey plane, displayed the way a radiologist would see it.
//!
//! [`decode`] takes a file's bytes: PNG, JPEG, TIFF, PNM or DICOM. [`frame`] takes a raw plane of a V4L2
//! device. Sizes are checked against [`Limits`] before pixels are allocated; a file that ends too early is
//! refused, never filled up.

mod dicom;
pub mod frame;
mod jpeg;
mod raster;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A decoded radiograph: one grey plane in which a higher sample is brighter (bone is bright).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Radiograph {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// White: no sample is above it.
    pub max_value: u16,
    /// Whether 0 to `max_value` is the range to display. If not (raw frames, DICOM without a VOI window),
    /// preprocessing finds a window from the samples.
    pub windowed: bool,
    /// Share of the pixels that visibly had colour before they became grey, in thousandths; 0 of a grey source.
    pub coloured_permille: u16,
    /// `width * height` samples, row by row.
    pub samples: Vec<u16>,
}

/// Why an image is refused, as published.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The file ends before the image does.
    Truncated,
    /// The bytes are of no known image format.
    NotAnImage,
    /// A known format whose content is broken.
    Corrupt,
    /// More pixels or bytes than allowed.
    TooLarge,
    /// Too few pixels to be a radiograph.
    TooSmall,
    /// DICOM in a transfer syntax that cannot be decoded.
    UnsupportedTransferSyntax,
    /// An image of a kind that is not a single grey radiograph (several frames, no pixels, floating point).
    UnsupportedImage,
    /// Every sample has (nearly) the same value, or there is nothing but noise.
    Blank,
    /// The model gave something that is not a number.
    ModelOutput,
    /// Too little signal: dark, or lost in noise.
    UnderExposed,
    /// Burnt out to white.
    OverExposed,
    /// Too many samples at the ends of the range, where differences are lost.
    Clipped,
    /// Bone is dark and the background bright.
    Inverted,
    /// The samples span a small part of the range.
    LowContrast,
    /// The collimator cut anatomy off, or left too small a field.
    Cropped,
    /// An earlier plate, sent again.
    Duplicate,
    /// A photograph, a page, a screen or noise.
    NotARadiograph,
}

/// What [`decode`] refuses for its size, before it allocates anything for the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_max_bytes: u64,
    /// The most pixels, width times height.
    pub pixels_max: u64,
    /// The shortest side, in pixels.
    pub side_min_px: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_max_bytes: 64 << 20, pixels_max: 60_000_000, side_min_px: 64 }
    }
}

impl Limits {
    /// Refuses an image whose sides are outside the limits.
    fn check_size(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        if width.min(height) < self.side_min_px {
            return Err(DecodeError::TooSmall { width, height, side_min_px: self.side_min_px });
        }
        if u64::from(width) * u64::from(height) > self.pixels_max {
            return Err(DecodeError::TooManyPixels { width, height, pixels_max: self.pixels_max });
        }
        Ok(())
    }
}

/// The formats [`decode`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PNG, 1 to 16 bit, grey, RGB or palette, with or without alpha.
    Png,
    /// JPEG, baseline or progressive.
    Jpeg,
    /// TIFF, its first page.
    Tiff,
    /// PNM (PBM, PGM, PPM, PAM), text or binary.
    Pnm,
    /// DICOM, with or without the preamble.
    Dicom,
}

impl Format {
    /// The format by its first bytes; file names are not looked at.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // First: the preamble may hold another format's header, such as TIFF's.
            _ if dicom::is_dicom(bytes) => Some(Self::Dicom),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..] => Some(Self::Pnm),
            _ => None,
        }
    }

    /// The usual file extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Tiff => "tif",
            Self::Pnm => "pnm",
            Self::Dicom => "dcm",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Tiff => "TIFF",
            Self::Pnm => "PNM",
            Self::Dicom => "DICOM",
        })
    }
}

/// What [`decode`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The plane.
    pub radiograph: Radiograph,
    /// The format it came in.
    pub format: Format,
    /// What a DICOM file's header says.
    pub dicom: Option<DicomFacts>,
}

/// What a DICOM header says that the station groups and types studies by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DicomFacts {
    /// Study Instance UID (0020,000D). It identifies a patient's study: never published or logged.
    pub study_instance_uid: Option<String>,
    /// Body Part Examined (0018,0015), as written.
    pub body_part: Option<String>,
    /// The UID of the transfer syntax.
    pub transfer_syntax: String,
}

/// How much of a DICOM file's start [`dicom_head`] needs at most, in bytes.
pub const DICOM_HEAD_MAX_BYTES: u64 = 8 << 20;

/// What a DICOM file says before its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DicomHead {
    /// What studies are grouped and typed by.
    pub facts: DicomFacts,
    /// SOP Class UID (0008,0016).
    pub sop_class_uid: Option<String>,
    /// SOP Instance UID (0008,0018). It identifies an image: never published or logged.
    pub sop_instance_uid: Option<String>,
}

/// Why bytes did not become a radiograph. Texts name no file and carry no patient data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file is larger than [`Limits::file_max_bytes`].
    #[error("the file has {found} bytes, more than the {max} allowed; raise the limit or send a smaller one")]
    FileTooLarge {
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The bytes are of no format that is read here.
    #[error("not an image ({0}); PNG, JPEG, TIFF, PNM and DICOM are read")]
    NotAnImage(&'static str),
    /// The file ends before the image does.
    #[error("the {format} file ends before its image does ({detail}); copy or export it again")]
    Truncated {
        /// The format.
        format: Format,
        /// What is missing.
        detail: String,
    },
    /// The content contradicts the format.
    #[error("the {format} file is broken ({detail}); copy or export it again")]
    Corrupt {
        /// The format.
        format: Format,
        /// What is wrong.
        detail: String,
    },
    /// More pixels than [`Limits::pixels_max`].
    #[error(
        "{width}x{height} px are more than the {pixels_max} pixels allowed; raise the limit or scale it down"
    )]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit in pixels.
        pixels_max: u64,
    },
    /// Its header asks for more memory than the allowed pixels take.
    #[error(
        "the {format} file asks for more memory than {pixels_max} pixels take; raise the limit or scale it down"
    )]
    TooMuchMemory {
        /// The format.
        format: Format,
        /// The limit in pixels.
        pixels_max: u64,
    },
    /// A side shorter than [`Limits::side_min_px`].
    #[error(
        "{width}x{height} px is too small for a radiograph (at least {side_min_px} px a side); send the original"
    )]
    TooSmall {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit in pixels.
        side_min_px: u32,
    },
    /// DICOM in a transfer syntax that is not decoded here.
    #[error(
        "the DICOM transfer syntax {uid} ({name}) is not supported; export it as JPEG 2000, JPEG, RLE or uncompressed"
    )]
    UnsupportedTransferSyntax {
        /// Its UID.
        uid: String,
        /// Its name, or `unknown`.
        name: String,
    },
    /// An image of a kind that is not a single grey radiograph.
    #[error(
        "the {format} file is not a single radiograph that can be read: {detail}; export it as one still image"
    )]
    UnsupportedImage {
        /// The format.
        format: Format,
        /// What it is instead.
        detail: String,
    },
}

impl DecodeError {
    /// The name of the refusal, as published.
    pub fn reason(&self) -> RejectReason {
        match self {
            Self::FileTooLarge { .. } | Self::TooManyPixels { .. } | Self::TooMuchMemory { .. } => {
                RejectReason::TooLarge
            }
            Self::NotAnImage(_) => RejectReason::NotAnImage,
            Self::Truncated { .. } => RejectReason::Truncated,
            Self::Corrupt { .. } => RejectReason::Corrupt,
            Self::TooSmall { .. } => RejectReason::TooSmall,
            Self::UnsupportedTransferSyntax { .. } => RejectReason::UnsupportedTransferSyntax,
            Self::UnsupportedImage { .. } => RejectReason::UnsupportedImage,
        }
    }
}

/// Decodes a file's bytes, whatever its name says.
///
/// 8-bit rasters have a `max_value` of 255; 16-bit ones 2^n - 1 with the least n of 8 to 16 that holds the
/// largest sample, so that 12-bit data in 16-bit words is not shown nearly black. Colour becomes luma
/// (ITU-R BT.601); alpha is ignored; an Exif orientation is applied. DICOM goes through its modality and VOI
/// transformations and is inverted when MONOCHROME1.
///
/// # Errors
/// When the bytes are of no known format, cut off, broken, outside the limits, or not a single radiograph.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    let found = bytes.len() as u64;
    if found > limits.file_max_bytes {
        return Err(DecodeError::FileTooLarge { found, max: limits.file_max_bytes });
    }
    let Some(format) = Format::detect(bytes) else {
        return Err(DecodeError::NotAnImage(describe_unknown(bytes)));
    };
    contain_panic(format, || match format {
        Format::Dicom => {
            let (radiograph, facts) = dicom::decode(bytes, limits)?;
            Ok(Decoded { radiograph, format, dicom: Some(facts) })
        }
        Format::Jpeg => Ok(Decoded { radiograph: jpeg::decode(bytes, limits)?, format, dicom: None }),
        _ => Ok(Decoded { radiograph: raster::decode(bytes, format, limits)?, format, dicom: None }),
    })
}

/// What the start of a DICOM file says of its study, its first [`DICOM_HEAD_MAX_BYTES`] or all of it, without decoding
/// its pixels; `None` when it is not readable DICOM.
pub fn dicom_facts(start: &[u8]) -> Option<DicomFacts> {
    if Format::detect(start) != Some(Format::Dicom) {
        return None;
    }
    contain_panic(Format::Dicom, || dicom::facts(start)).ok()
}

/// What the start of a DICOM file says, its first [`DICOM_HEAD_MAX_BYTES`] or all of it: refuses what [`decode`]
/// would refuse without looking at the pixels, such as an image that is too large.
///
/// # Errors
/// When it is not DICOM with pixels that can be decoded, its sides are outside the limits, or no pixels begin
/// within what was given.
pub fn dicom_head(start: &[u8], limits: &Limits) -> Result<DicomHead, DecodeError> {
    if Format::detect(start) != Some(Format::Dicom) {
        return Err(DecodeError::NotAnImage(describe_unknown(start)));
    }
    contain_panic(Format::Dicom, || dicom::head(start, limits))
}

/// Whether DICOM pixels in a transfer syntax, named by its UID, can be decoded.
pub fn decodes_transfer_syntax(uid: &str) -> bool {
    dicom::decodes(uid)
}

/// Broken files have made decoders panic before; that must not take the service down.
fn contain_panic<T>(
    format: Format,
    decode: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(DecodeError::Corrupt { format, detail: "its content made the decoder fail".to_owned() })
    })
}

fn describe_unknown(bytes: &[u8]) -> &'static str {
    let head = &bytes[..bytes.len().min(512)];
    let is_text = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e) || *b >= 0x80;
    if head.is_empty() {
        "the file is empty"
    } else if head.iter().all(is_text) {
        "it looks like text"
    } else {
        "its first bytes are of no known format"
    }
}
