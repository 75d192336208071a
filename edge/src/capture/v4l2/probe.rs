//! What a frame grabber offers, for `edge doctor`. Nothing is set and no stream is started, so a capture that runs
//! beside it is not disturbed.

use std::path::Path;

use v4l::Device;
use v4l::capability::Flags as Capability;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;

use super::device::DeviceError;

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub card: String,
    /// The kernel driver.
    pub driver: String,
    /// What it can give.
    pub formats: Vec<OfferedFormat>,
}

/// A pixel format and the sizes it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedFormat {
    /// Its four characters, trailing spaces left out.
    pub fourcc: String,
    /// Width and height in pixels; empty where the driver does not say.
    pub sizes_px: Vec<SizeRange>,
}

/// From the smallest to the largest, inclusive; the same for a single size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// Width and height of the smallest.
    pub min: (u32, u32),
    /// Width and height of the largest.
    pub max: (u32, u32),
}

impl Offer {
    /// Why a pixel format and size cannot be had; `None` where they can.
    pub fn objection(&self, fourcc: &str, width_px: u32, height_px: u32) -> Option<String> {
        let code = fourcc.trim_end();
        let Some(format) = self.formats.iter().find(|format| format.fourcc == code) else {
            return Some(format!("it offers no {code}, but {}", self.names()));
        };
        let fits = |range: &SizeRange| {
            (range.min.0..=range.max.0).contains(&width_px)
                && (range.min.1..=range.max.1).contains(&height_px)
        };
        if format.sizes_px.is_empty() || format.sizes_px.iter().any(fits) {
            return None;
        }
        let sizes: Vec<String> = format.sizes_px.iter().map(SizeRange::text).collect();
        Some(format!("it offers {code} not in {width_px}x{height_px} px, but in {}", sizes.join(", ")))
    }

    /// The formats' names.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.formats.iter().map(|format| format.fourcc.as_str()).collect();
        if names.is_empty() { "none at all".to_owned() } else { names.join(", ") }
    }
}

impl SizeRange {
    fn text(&self) -> String {
        let ((width, height), (width_max, height_max)) = (self.min, self.max);
        if self.min == self.max {
            return format!("{width}x{height}");
        }
        format!("{width}x{height} to {width_max}x{height_max}")
    }
}

/// Asks a device what it offers. The `v4l` crate may panic where a driver answers what it does not expect: call it where
/// that is caught.
///
/// # Errors
/// When it cannot be opened, is no frame grabber, or does not answer.
pub fn offer(path: &Path) -> Result<Offer, DeviceError> {
    let failed = |doing| {
        let device = path.to_owned();
        move |source| DeviceError::Ioctl { device, doing, source }
    };
    let device =
        Device::with_path(path).map_err(|source| DeviceError::Open { device: path.to_owned(), source })?;
    let about = device.query_caps().map_err(failed("reading its capabilities"))?;
    if !about.capabilities.contains(Capability::VIDEO_CAPTURE | Capability::STREAMING) {
        return Err(DeviceError::NotACapture { device: path.to_owned() });
    }
    let formats = device.enum_formats().map_err(failed("listing its formats"))?;
    let formats = formats
        .into_iter()
        .map(|format| OfferedFormat {
            fourcc: fourcc_text(&format.fourcc.repr),
            // Not every driver lists sizes.
            sizes_px: device.enum_framesizes(format.fourcc).unwrap_or_default().iter().map(size).collect(),
        })
        .collect();
    Ok(Offer { card: about.card, driver: about.driver, formats })
}

fn size(size: &v4l::FrameSize) -> SizeRange {
    match &size.size {
        FrameSizeEnum::Discrete(only) => {
            SizeRange { min: (only.width, only.height), max: (only.width, only.height) }
        }
        FrameSizeEnum::Stepwise(range) => {
            SizeRange { min: (range.min_width, range.min_height), max: (range.max_width, range.max_height) }
        }
    }
}

fn fourcc_text(code: &[u8; 4]) -> String {
    String::from_utf8_lossy(code).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_named_with_what_is() {
        let single = SizeRange { min: (640, 480), max: (640, 480) };
        let range = SizeRange { min: (64, 64), max: (2048, 2048) };
        let format = |fourcc: &str, sizes_px: &[SizeRange]| OfferedFormat {
            fourcc: fourcc.to_owned(),
            sizes_px: sizes_px.to_vec(),
        };
        let offer = Offer {
            card: "grabber".to_owned(),
            driver: "vivid".to_owned(),
            formats: vec![format("GREY", &[single]), format("Y16", &[range]), format("MJPG", &[])],
        };
        assert_eq!(offer.objection("GREY", 640, 480), None);
        assert_eq!(offer.objection("Y16 ", 1024, 64), None);
        assert_eq!(offer.objection("MJPG", 9000, 9000), None);
        assert_eq!(offer.objection("Y10", 640, 480).unwrap(), "it offers no Y10, but GREY, Y16, MJPG");
        assert_eq!(
            offer.objection("GREY", 640, 481).unwrap(),
            "it offers GREY not in 640x481 px, but in 640x480"
        );
        assert!(offer.objection("Y16", 4096, 64).unwrap().ends_with("in 64x64 to 2048x2048"));
    }

    #[test]
    fn something_else_than_a_device_is_an_error() {
        assert!(matches!(offer(Path::new("/dev/null")), Err(DeviceError::Ioctl { .. })));
        assert!(matches!(offer(Path::new("/dev/none")), Err(DeviceError::Open { .. })));
    }
}
