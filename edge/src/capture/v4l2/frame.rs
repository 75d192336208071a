//! From a device's buffer to the image file that the station accepts.
//!
//! A raw frame has no window of its own. It is windowed here, once, by the same percentiles as the model's
//! preprocessing would, and kept as a 16-bit PNG whose black is 0 and whose white is 65535: decoding that file
//! gives a windowed radiograph, so that scoring, the technician's page and a later look at the file all
//! show the same picture, and a frame is a file like any other from then on. How much of its range the device had
//! used is measured before, because the file shows it no more.

use std::io::Cursor;

use contract::preprocess::{PreprocessSpec, apply_window};
use contract::radiograph::frame::{FourCc, FrameError, FrameLayout, unpack};
use contract::radiograph::{DecodeError, Limits, Radiograph, decode};
use image::{ImageBuffer, ImageFormat, Luma};

use crate::quality::RawExposure;

/// How a device's frames are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PixelFormat {
    /// A plane of samples.
    Raw(FourCc),
    /// A JPEG file a frame.
    Mjpg,
}

impl PixelFormat {
    /// Reads the config's spelling; trailing blanks do not matter.
    pub(super) fn parse(fourcc: &str) -> Result<Self, FrameError> {
        if fourcc.trim_end() == "MJPG" { Ok(Self::Mjpg) } else { fourcc.parse().map(Self::Raw) }
    }

    /// The code as V4L2 writes it.
    pub(super) fn code(self) -> [u8; 4] {
        match self {
            Self::Raw(fourcc) => fourcc.code(),
            Self::Mjpg => *b"MJPG",
        }
    }
}

/// What the samples of a device's frames mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Samples {
    /// Bone is dark.
    pub(super) invert: bool,
    /// Bits that the device fills, where they are fewer than the format's.
    pub(super) bits: Option<u32>,
}

/// The bytes of one frame with what the device said of them.
#[derive(Clone, Debug)]
pub(super) struct RawFrame {
    /// What the device filled in, without the rest of its buffer.
    pub(super) bytes: Vec<u8>,
    /// How to read them.
    pub(super) format: PixelFormat,
    /// Width in pixels.
    pub(super) width: u32,
    /// Height in pixels.
    pub(super) height: u32,
    /// Bytes from one row to the next; means nothing for MJPG.
    pub(super) stride_bytes: u32,
}

/// A captured frame, as an image file.
#[derive(Clone, Debug)]
pub struct CapturedFrame {
    /// A 16-bit grey PNG.
    pub png: Vec<u8>,
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// How the frame was exposed, before it was windowed.
    pub exposure: RawExposure,
}

/// Why a frame did not become an image file.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableFrame {
    /// The plane does not fit its layout.
    #[error(transparent)]
    Layout(#[from] FrameError),
    /// The JPEG of a frame is broken.
    #[error("an MJPG frame cannot be decoded: {0}")]
    Jpeg(#[from] DecodeError),
    /// The PNG could not be written.
    #[error("the frame cannot be written as PNG: {0}")]
    Png(#[from] image::ImageError),
    /// The PNG's sample count contradicts its sides: a bug.
    #[error("the frame's samples do not fill its {0}x{1} px")]
    Samples(u32, u32),
}

/// The mean of frames that were taken one after the other: the quantum noise of one falls with the square root of
/// their number.
#[derive(Debug, Default)]
pub(super) struct Mean {
    samples: Samples,
    first: Option<Radiograph>,
    /// Of all frames but the first; empty while there is only that one.
    sums: Vec<u32>,
    frames: u32,
}

impl Mean {
    pub(super) fn of(samples: Samples) -> Self {
        Self { samples, ..Self::default() }
    }

    /// Adds a frame.
    pub(super) fn add(&mut self, frame: RawFrame, limits: &Limits) -> Result<(), UnreadableFrame> {
        let frame = frame.into_radiograph(self.samples, limits)?;
        self.frames += 1;
        let Some(first) = &self.first else {
            self.first = Some(frame);
            return Ok(());
        };
        if frame.samples.len() != first.samples.len() || frame.max_value != first.max_value {
            return Err(UnreadableFrame::Samples(frame.width, frame.height));
        }
        self.sums.resize(frame.samples.len(), 0);
        self.sums.iter_mut().zip(&frame.samples).for_each(|(sum, sample)| *sum += u32::from(*sample));
        Ok(())
    }

    /// The mean as an image file.
    pub(super) fn into_png(self, spec: &PreprocessSpec) -> Result<CapturedFrame, UnreadableFrame> {
        let inverted = self.samples.invert;
        let raw = self.into_radiograph()?;
        let exposure = RawExposure::of(&raw, inverted);
        let radiograph = apply_window(raw, spec);
        let (width, height) = (radiograph.width, radiograph.height);
        let plane = ImageBuffer::<Luma<u16>, _>::from_raw(width, height, radiograph.samples)
            .ok_or(UnreadableFrame::Samples(width, height))?;
        let mut png = Cursor::new(Vec::new());
        plane.write_to(&mut png, ImageFormat::Png)?;
        Ok(CapturedFrame { png: png.into_inner(), width_px: width, height_px: height, exposure })
    }

    /// The mean lies between whole samples: it is kept in as many of the 16 bits as there are.
    fn into_radiograph(self) -> Result<Radiograph, UnreadableFrame> {
        let mut mean = self.first.ok_or(UnreadableFrame::Samples(0, 0))?;
        if self.frames > 1 {
            let scale = u32::from(u16::MAX / mean.max_value.max(1));
            for (sample, sum) in mean.samples.iter_mut().zip(&self.sums) {
                let sum = u64::from(sum + u32::from(*sample)) * u64::from(scale);
                *sample = ((sum + u64::from(self.frames / 2)) / u64::from(self.frames)) as u16;
            }
            mean.max_value *= scale as u16;
        }
        Ok(mean)
    }
}

impl RawFrame {
    fn into_radiograph(self, samples: Samples, limits: &Limits) -> Result<Radiograph, UnreadableFrame> {
        let Self { bytes, format, width, height, stride_bytes } = self;
        let Samples { invert, bits } = samples;
        match format {
            PixelFormat::Raw(fourcc) => {
                let layout = FrameLayout { fourcc, width, height, stride_bytes, sample_bits: bits };
                Ok(unpack(&bytes, &layout, invert)?)
            }
            PixelFormat::Mjpg => {
                let mut radiograph = decode(&bytes, limits)?.radiograph;
                if invert {
                    let white = radiograph.max_value;
                    radiograph.samples.iter_mut().for_each(|sample| *sample = white - *sample);
                }
                // The JPEG only carries the frame; it says no more about a window than a plane does.
                radiograph.windowed = false;
                Ok(radiograph)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::preprocess::to_plane;

    use super::*;

    /// A frame with a dark, flat border and a bright ramp, 12 bit, in rows padded to `stride_bytes`.
    fn ramp(width: u32, height: u32, stride_bytes: u32) -> RawFrame {
        let mut bytes = Vec::new();
        for y in 0..height {
            let mut row: Vec<u8> =
                (0..width).flat_map(|x| (300 + (x * 7 + y * 3) as u16 % 1200).to_le_bytes()).collect();
            row.resize(stride_bytes as usize, 0xee);
            bytes.extend(row);
        }
        RawFrame { bytes, format: PixelFormat::Raw(FourCc::Y12), width, height, stride_bytes }
    }

    fn png(frame: RawFrame, invert: bool, spec: &PreprocessSpec) -> Result<CapturedFrame, UnreadableFrame> {
        let mut mean = Mean::of(Samples { invert, bits: None });
        mean.add(frame, &Limits::default())?;
        mean.into_png(spec)
    }

    #[test]
    fn the_mean_of_frames_is_finer_than_each() {
        let flat = |level: u8| RawFrame {
            bytes: vec![level; 64 * 64],
            format: PixelFormat::Raw(FourCc::Grey),
            width: 64,
            height: 64,
            stride_bytes: 64,
        };
        let mut mean = Mean::default();
        for level in [100, 101, 101, 101] {
            mean.add(flat(level), &Limits::default()).unwrap();
        }
        let mean = mean.into_radiograph().unwrap();
        assert_eq!(mean.max_value, 65_535);
        assert!(
            mean.samples.iter().all(|&sample| sample == (100.75f64 * 257.0).round() as u16),
            "{:?}",
            mean.samples[0]
        );

        let mut uneven = Mean::default();
        uneven.add(flat(1), &Limits::default()).unwrap();
        assert!(uneven.add(ramp(64, 64, 128), &Limits::default()).is_err());
    }

    #[test]
    fn a_stored_frame_is_displayed_as_the_raw_frame_is() {
        let spec = PreprocessSpec::square(64);
        for invert in [false, true] {
            let frame = ramp(200, 128, 416);
            let samples = Samples { invert, bits: None };
            let raw = frame.clone().into_radiograph(samples, &Limits::default()).unwrap();
            let stored = png(frame, invert, &spec).unwrap();
            let again = decode(&stored.png, &Limits::default()).unwrap().radiograph;
            assert!(again.windowed);
            assert_eq!((again.width, again.height, again.max_value), (200, 128, u16::MAX));

            let direct = to_plane(&raw, &spec).unwrap();
            let through_file = to_plane(&again, &spec).unwrap();
            let off = direct.samples.iter().zip(&through_file.samples).map(|(a, b)| a.abs_diff(*b)).max();
            // Windowing before or after the resize differs only where a pixel mixes clipped samples.
            assert!(off <= Some(2), "largest difference {off:?}, invert {invert}");
        }
    }

    #[test]
    fn a_blank_frame_stays_blank() {
        let frame = RawFrame {
            bytes: vec![7; 64 * 64],
            format: PixelFormat::Raw(FourCc::Grey),
            width: 64,
            height: 64,
            stride_bytes: 64,
        };
        let stored = png(frame, false, &PreprocessSpec::square(64)).unwrap();
        let again = decode(&stored.png, &Limits::default()).unwrap().radiograph;
        assert!(again.samples.iter().all(|&sample| sample == 0));
    }

    #[test]
    fn a_jpeg_frame_is_windowed_like_a_plane() {
        let grey = ImageBuffer::<Luma<u8>, _>::from_fn(96, 80, |x, y| Luma([60 + ((x + y) / 3) as u8]));
        let mut jpeg = Cursor::new(Vec::new());
        grey.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let frame = RawFrame {
            bytes: jpeg.into_inner(),
            format: PixelFormat::Mjpg,
            width: 96,
            height: 80,
            stride_bytes: 0,
        };
        let stored = png(frame, true, &PreprocessSpec::square(64)).unwrap();
        let again = decode(&stored.png, &Limits::default()).unwrap().radiograph;
        assert_eq!((again.width, again.height, again.max_value), (96, 80, u16::MAX));
        // Inverted: the dark upper left corner has become the bright one.
        assert!(again.samples[0] > 60_000 && *again.samples.last().unwrap() < 5_000);
    }

    #[test]
    fn a_short_frame_is_an_error() {
        let mut frame = ramp(64, 64, 128);
        frame.bytes.truncate(1000);
        let error = png(frame, false, &PreprocessSpec::square(64)).unwrap_err();
        assert!(error.to_string().contains("1000 of"), "{error}");
    }

    #[test]
    fn formats_are_read_as_written_in_the_config() {
        assert_eq!(PixelFormat::parse("Y16").unwrap().code(), *b"Y16 ");
        assert_eq!(PixelFormat::parse("Y10 ").unwrap().code(), *b"Y10 ");
        assert_eq!(PixelFormat::parse("MJPG").unwrap(), PixelFormat::Mjpg);
        assert!(PixelFormat::parse("RGB3").is_err());
    }
}
