//! The acquisition gate: named reasons for which an image should be retaken rather than scored.

use contract::radiograph::{Radiograph, RejectReason};

/// Below this share of the display range, the spread of an image's middle samples carries no anatomy.
const SPREAD_MIN_SHARE: f64 = 0.01;
/// Share of the samples left out at each end, so that a marker or a dead pixel does not count as content.
const TAIL_SHARE: f64 = 0.01;

/// Why an image should be retaken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason's name.
    pub reason: RejectReason,
    /// What was found and what to do, in words.
    pub detail: String,
}

/// Whether the technician may have an image scored in spite of this reason: there is something to score.
pub fn overrulable(reason: RejectReason) -> bool {
    matches!(reason, RejectReason::Blank)
}

/// Checks a decoded radiograph, by the shortest side that counts as one in pixels.
///
/// # Errors
/// The first reason that applies: `too_small`, then `blank`.
pub fn check_sized(radiograph: &Radiograph, side_min_px: u32) -> Result<(), Refusal> {
    too_small(radiograph, side_min_px)?;
    blank(radiograph)
}

/// [`check_sized`] with the default shortest side.
///
/// # Errors
/// As [`check_sized`].
pub fn check(radiograph: &Radiograph) -> Result<(), Refusal> {
    check_sized(radiograph, 64)
}

fn too_small(radiograph: &Radiograph, side_min_px: u32) -> Result<(), Refusal> {
    let (width, height) = (radiograph.width, radiograph.height);
    if width.min(height) >= side_min_px {
        return Ok(());
    }
    Err(Refusal {
        reason: RejectReason::TooSmall,
        detail: format!(
            "the image is {width} x {height} pixels, a radiograph has at least {side_min_px} on each side; \
             send the full image, not its preview"
        ),
    })
}

/// A frame is blank when the spread of its samples, tails left out, is next to nothing: no exposure, a closed
/// shutter, an empty page. The spread is measured against the display range, or against the brightest sample
/// where there is none.
fn blank(radiograph: &Radiograph) -> Result<(), Refusal> {
    let mut histogram = vec![0usize; usize::from(u16::MAX) + 1];
    for sample in &radiograph.samples {
        histogram[usize::from(*sample)] += 1;
    }
    let tail = (radiograph.samples.len() as f64 * TAIL_SHARE) as usize;
    let low = quantile(histogram.iter().enumerate(), tail);
    let high = quantile(histogram.iter().enumerate().rev(), tail);
    let range = if radiograph.windowed { radiograph.max_value } else { high as u16 };
    let spread = high.saturating_sub(low) as f64;
    if spread > 0.0 && spread >= SPREAD_MIN_SHARE * f64::from(range) {
        return Ok(());
    }
    Err(Refusal {
        reason: RejectReason::Blank,
        detail: format!(
            "the image is blank: its samples lie between {low} and {high} of {}; check exposure and \
             digitiser, then take it again",
            radiograph.max_value
        ),
    })
}

/// The first value at which more than `tail` samples have been counted.
fn quantile<'a>(counts: impl Iterator<Item = (usize, &'a usize)>, tail: usize) -> usize {
    let mut seen = 0;
    for (value, count) in counts {
        seen += count;
        if seen > tail {
            return value;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn radiograph(width: u32, height: u32, sample: impl Fn(usize) -> u16) -> Radiograph {
        let samples = (0..(width * height) as usize).map(sample).collect();
        Radiograph { width, height, max_value: 4095, windowed: true, samples }
    }

    fn reason(radiograph: &Radiograph) -> Option<RejectReason> {
        check(radiograph).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_gradient_passes() {
        assert_eq!(reason(&radiograph(64, 64, |i| (i % 64 * 60) as u16)), None);
    }

    #[test]
    fn a_short_side_is_named_before_anything_else() {
        let refusal = check(&radiograph(63, 500, |_| 0)).unwrap_err();
        assert_eq!(refusal.reason, RejectReason::TooSmall);
        assert!(refusal.detail.contains("63 x 500"), "{}", refusal.detail);
    }

    #[test]
    fn a_flat_frame_is_blank_even_with_noise_and_dead_pixels() {
        assert_eq!(reason(&radiograph(100, 100, |_| 0)), Some(RejectReason::Blank));
        assert_eq!(reason(&radiograph(100, 100, |i| 2000 + (i % 30) as u16)), Some(RejectReason::Blank));
        let marked = radiograph(100, 100, |i| if i < 90 { 4095 } else { 7 });
        assert_eq!(reason(&marked), Some(RejectReason::Blank));
    }

    #[test]
    fn an_unwindowed_frame_is_measured_against_its_own_brightness() {
        let mut faint = radiograph(64, 64, |i| (i % 30) as u16);
        assert_eq!(reason(&faint), Some(RejectReason::Blank));
        faint.windowed = false;
        assert_eq!(reason(&faint), None);
    }
}
