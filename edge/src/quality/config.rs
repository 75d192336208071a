//! `[quality]`: from when on a radiograph is flagged.

use contract::radiograph::RejectReason;
use serde::Deserialize;

use crate::config::within;

/// Thresholds of the gate. Levels are per cent of white, shares per cent of the exposed field, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QualityConfig {
    /// Reasons that are not looked for at all, by name.
    pub off: Vec<RejectReason>,
    /// Shortest side in pixels; below it an image cannot be used at all.
    pub side_min_px: u32,
    /// Least of the longer side in pixels; below it the image is taken for a preview.
    pub long_side_min_px: u32,
    /// Under-exposed when the brightest half per cent of the samples do not reach it.
    pub dark_max_pct: u8,
    /// Under-exposed when noise is more than this, in tenths of a per cent of the image's range.
    pub noise_max_permille: u16,
    /// Over-exposed when more than this share is burnt out to white.
    pub burnt_max_pct: u8,
    /// Over-exposed when three quarters of the samples are brighter.
    pub bright_min_pct: u8,
    /// Clipped when more than this share lies at the upper end of the samples.
    pub clipped_high_max_pct: u8,
    /// Clipped when more than this share lies at the lower end, where surroundings are always dark.
    pub clipped_low_max_pct: u8,
    /// Low contrast when the samples span less than this.
    pub contrast_min_pct: u8,
    /// Cropped when the shutters leave less than this share of the image.
    pub field_min_pct: u8,
    /// Cropped when anatomy ends at a shutter that covers this much of the image's side.
    pub shutter_max_pct: u8,
    /// How sure the gate must be that bone is dark before it says so; from 0 on the scale -100 to 100.
    pub inverted_min_pct: u8,
    /// Not a radiograph when more than this share of the pixels has colour.
    pub colour_max_pct: u8,
    /// Not a radiograph when its parts are more alike, from 0 (a few shapes before a background) to 100 (noise).
    pub alike_max_pct: u8,
    /// The same plate when two signatures agree in this many thousandths.
    pub duplicate_min_permille: u16,
}

impl Default for QualityConfig {
    fn default() -> Self {
        Self {
            off: Vec::new(),
            side_min_px: 128,
            long_side_min_px: 256,
            dark_max_pct: 36,
            noise_max_permille: 45,
            burnt_max_pct: 5,
            bright_min_pct: 80,
            clipped_high_max_pct: 4,
            clipped_low_max_pct: 70,
            contrast_min_pct: 35,
            field_min_pct: 36,
            shutter_max_pct: 9,
            inverted_min_pct: 12,
            colour_max_pct: 5,
            alike_max_pct: 60,
            duplicate_min_permille: 968,
        }
    }
}

impl QualityConfig {
    /// Says what about the values cannot be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        within("quality.side_min_px", u64::from(self.side_min_px), 16, 4096)?;
        within("quality.long_side_min_px", u64::from(self.long_side_min_px), 16, 4096)?;
        within("quality.noise_max_permille", u64::from(self.noise_max_permille), 1, 1000)?;
        within("quality.duplicate_min_permille", u64::from(self.duplicate_min_permille), 500, 1000)?;
        let shares = [
            ("quality.dark_max_pct", self.dark_max_pct),
            ("quality.burnt_max_pct", self.burnt_max_pct),
            ("quality.bright_min_pct", self.bright_min_pct),
            ("quality.clipped_high_max_pct", self.clipped_high_max_pct),
            ("quality.clipped_low_max_pct", self.clipped_low_max_pct),
            ("quality.contrast_min_pct", self.contrast_min_pct),
            ("quality.field_min_pct", self.field_min_pct),
            ("quality.shutter_max_pct", self.shutter_max_pct),
            ("quality.inverted_min_pct", self.inverted_min_pct),
            ("quality.colour_max_pct", self.colour_max_pct),
            ("quality.alike_max_pct", self.alike_max_pct),
        ];
        shares.into_iter().try_for_each(|(key, value)| within(key, u64::from(value), 0, 100))?;
        match self.off.iter().find(|reason| !super::REASONS.contains(reason)) {
            Some(reason) => Err(format!(
                "quality.off names {reason:?}, which the quality gate does not look for; remove it"
            )),
            None => Ok(()),
        }
    }
}
