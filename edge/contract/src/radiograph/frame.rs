//! Raw planes of a V4L2 capture device.
//!
//! The layouts are those of the kernel's userspace API guide, "Image Formats": samples of more than eight bits
//! stand in the low bits of little-endian 16-bit words; the luma of YUYV is every other byte.

use std::fmt;
use std::str::FromStr;

use super::Radiograph;

/// A pixel format that [`unpack`] reads. MJPG frames are JPEG files: give them to [`super::decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FourCc {
    /// `GREY`: 8 bit.
    Grey,
    /// `Y10 `: 10 bit in 16-bit words.
    Y10,
    /// `Y12 `: 12 bit in 16-bit words.
    Y12,
    /// `Y16 `: 16 bit.
    Y16,
    /// `YUYV`: 8 bit, with colour that is ignored.
    Yuyv,
}

impl FourCc {
    /// The code as V4L2 writes it.
    pub fn code(self) -> [u8; 4] {
        *match self {
            Self::Grey => b"GREY",
            Self::Y10 => b"Y10 ",
            Self::Y12 => b"Y12 ",
            Self::Y16 => b"Y16 ",
            Self::Yuyv => b"YUYV",
        }
    }

    /// The largest sample.
    pub fn max_value(self) -> u16 {
        match self {
            Self::Grey | Self::Yuyv => 255,
            Self::Y10 => 1023,
            Self::Y12 => 4095,
            Self::Y16 => u16::MAX,
        }
    }

    fn bytes_per_pixel(self) -> u64 {
        if self == Self::Grey { 1 } else { 2 }
    }
}

impl FromStr for FourCc {
    type Err = FrameError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        [Self::Grey, Self::Y10, Self::Y12, Self::Y16, Self::Yuyv]
            .into_iter()
            .find(|known| known.to_string() == code.trim_end())
            .ok_or_else(|| FrameError::UnknownFourCc(code.to_owned()))
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(String::from_utf8_lossy(&self.code()).trim_end())
    }
}

/// How a frame lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// The pixel format.
    pub fourcc: FourCc,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from one row to the next; at least a row's own.
    pub stride_bytes: u32,
    /// Bits that the device fills, where they are fewer than the format's: the low ones of each sample. What is above
    /// them counts as white.
    pub sample_bits: Option<u32>,
}

/// Why a frame could not be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a format that is read here.
    #[error("the pixel format `{0}` is not supported; set GREY, Y10, Y12, Y16 or YUYV")]
    UnknownFourCc(String),
    /// Sides or stride that cannot be right.
    #[error(
        "a {fourcc} frame of {width}x{height} px with {stride_bytes} bytes a row cannot be right; check the device's format"
    )]
    Layout {
        /// The pixel format.
        fourcc: FourCc,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes from one row to the next.
        stride_bytes: u32,
    },
    /// The buffer is shorter than the frame.
    #[error("the frame has {found} of {needed} bytes; capture again")]
    Short {
        /// Bytes in the buffer.
        found: u64,
        /// Bytes the layout needs.
        needed: u64,
    },
}

/// Unpacks a raw frame into a radiograph without a window. `invert` is for devices in whose frames bone is
/// dark. Bits above the format's depth are ignored; bytes after the last row too.
///
/// # Errors
/// When the layout cannot be right or the buffer is too short for it.
pub fn unpack(bytes: &[u8], layout: &FrameLayout, invert: bool) -> Result<Radiograph, FrameError> {
    let FrameLayout { fourcc, width, height, stride_bytes, sample_bits } = *layout;
    let row_bytes = u64::from(width) * fourcc.bytes_per_pixel();
    if width == 0 || height == 0 || u64::from(stride_bytes) < row_bytes {
        return Err(FrameError::Layout { fourcc, width, height, stride_bytes });
    }
    // Drivers leave out the padding after the last row.
    let needed = u64::from(stride_bytes) * u64::from(height - 1) + row_bytes;
    if (bytes.len() as u64) < needed {
        return Err(FrameError::Short { found: bytes.len() as u64, needed });
    }

    let mask = fourcc.max_value();
    let max_value = match sample_bits {
        Some(bits @ 1..16) => mask.min((1 << bits) - 1),
        _ => mask,
    };
    let flip = if invert { max_value } else { 0 };
    let sample = |word: u16| (word & mask).min(max_value) ^ flip;
    let mut samples = Vec::with_capacity(width as usize * height as usize);
    for row in bytes.chunks(stride_bytes as usize).take(height as usize) {
        let row = &row[..row_bytes as usize];
        match fourcc {
            FourCc::Grey => samples.extend(row.iter().map(|&byte| sample(u16::from(byte)))),
            FourCc::Yuyv => samples.extend(row.chunks_exact(2).map(|pair| sample(u16::from(pair[0])))),
            FourCc::Y10 | FourCc::Y12 | FourCc::Y16 => {
                samples
                    .extend(row.chunks_exact(2).map(|pair| sample(u16::from_le_bytes([pair[0], pair[1]]))));
            }
        }
    }
    Ok(Radiograph { width, height, max_value, windowed: false, coloured_permille: 0, samples })
}
