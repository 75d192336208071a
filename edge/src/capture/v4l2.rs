//! Frames from a V4L2 frame grabber.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::within;

/// `[v4l2]`: a frame grabber, read when the technician asks for a frame.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V4l2Config {
    /// The device, best under `/dev/v4l/by-id`.
    pub device: PathBuf,
    /// Pixel format: GREY, Y10, Y12, Y16, YUYV or MJPG.
    #[serde(default = "default_fourcc")]
    pub fourcc: String,
    /// Frame width in pixels.
    pub width_px: u32,
    /// Frame height in pixels.
    pub height_px: u32,
    /// Whether bone is dark in the frame.
    #[serde(default)]
    pub invert: bool,
    /// How long a frame may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Frames thrown away after the stream starts.
    #[serde(default = "default_warmup_frames")]
    pub warmup_frames: u32,
}

fn default_fourcc() -> String {
    "GREY".to_owned()
}

fn default_timeout_ms() -> u64 {
    2000
}

fn default_warmup_frames() -> u32 {
    3
}

impl V4l2Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do. The device is not opened.
    pub fn check(&self) -> Result<(), String> {
        const KNOWN: [&str; 6] = ["GREY", "Y10", "Y12", "Y16", "YUYV", "MJPG"];
        if !KNOWN.contains(&self.fourcc.trim_end()) {
            return Err(format!("v4l2.fourcc is `{}`; expected one of {}", self.fourcc, KNOWN.join(", ")));
        }
        within("v4l2.width_px", u64::from(self.width_px), 64, 16_384)?;
        within("v4l2.height_px", u64::from(self.height_px), 64, 16_384)?;
        within("v4l2.timeout_ms", self.timeout_ms, 100, 60_000)?;
        within("v4l2.warmup_frames", u64::from(self.warmup_frames), 0, 100)
    }
}
