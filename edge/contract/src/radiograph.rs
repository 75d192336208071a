//! From bytes to one grey plane, displayed the way a radiologist would see it.

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
    /// Every sample has (nearly) the same value.
    Blank,
    /// The model gave something that is not a number.
    ModelOutput,
}
