//! The acquisition gate: named reasons for which a radiograph should be taken again rather than scored.
//!
//! [`judge`] measures one radiograph, on its histogram and on a reduced copy of at most 256 cells a side, so that
//! thresholds mean the same at any resolution. What is uniform at the rim (shutters, a film's edge) is left out first.
//! [`duplicate`] compares its [`Plate`] with those of earlier ones. Nothing here reads a file or a clock.

pub(crate) mod config;
mod content;
mod exposure;
mod facts;
mod field;
mod grid;
mod plate;
mod polarity;
#[cfg(test)]
mod tests;
mod texture;

use contract::radiograph::{Radiograph, RejectReason};
use contract::result::Rejection;

pub use config::QualityConfig;
pub use exposure::RawExposure;
pub use plate::{Plate, duplicate};

use facts::Facts;

/// The reasons that the gate looks for.
pub const REASONS: [RejectReason; 10] = [
    RejectReason::TooSmall,
    RejectReason::Blank,
    RejectReason::NotARadiograph,
    RejectReason::UnderExposed,
    RejectReason::OverExposed,
    RejectReason::Clipped,
    RejectReason::Inverted,
    RejectReason::LowContrast,
    RejectReason::Cropped,
    RejectReason::Duplicate,
];

/// The gravest flag in words, the others by name; none when there is no flag.
pub fn rejection(flags: &[Flag]) -> Option<Rejection> {
    let (first, others) = flags.split_first()?;
    let also = others.iter().map(|flag| flag.reason).collect();
    Some(Rejection { reason: first.reason, detail: first.detail.clone(), also })
}

/// Whether a technician may ask to have an image scored that was rejected for this reason. It is then judged again, and
/// a flag that is not overrulable still stands.
pub fn overrulable(reason: RejectReason) -> bool {
    REASONS.contains(&reason) && reason != RejectReason::Blank
}

/// Why a radiograph should be taken again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The reason's name.
    pub reason: RejectReason,
    /// What was found, with numbers, and what the technician should do.
    pub detail: String,
    /// Whether the technician may have it scored all the same.
    pub overrulable: bool,
}

/// A flag with its place among others.
struct Finding {
    reason: RejectReason,
    detail: String,
    overrulable: bool,
    /// Heavier ones come first.
    weight: f32,
}

/// Says for which reasons a radiograph should be taken again, gravest first; none when it is fine. `raw` is what was
/// measured of the frame from which it was made, where it came as one.
pub fn judge(radiograph: &Radiograph, raw: Option<&RawExposure>, config: &QualityConfig) -> Vec<Flag> {
    let mut found = Vec::new();
    too_small(radiograph, config, &mut found);
    if found.iter().all(|finding| finding.overrulable) {
        let facts = Facts::of(radiograph);
        content::blank(radiograph, raw, &facts, &mut found);
        content::not_a_radiograph(radiograph, &facts, config, &mut found);
        // Of an image without content only the exposure is worth saying.
        if !found.iter().any(|finding| finding.reason == RejectReason::Blank) {
            content::inverted(&facts, config, &mut found);
            content::cropped(&facts, config, &mut found);
        }
        exposure::look(&facts, radiograph.windowed, raw, config, &mut found);
    }
    found.retain(|finding| enabled(config, finding.reason));
    found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    // The frame and the image made of it may show the same fault.
    let mut named = Vec::new();
    found.retain(|finding| {
        !named.contains(&finding.reason) && {
            named.push(finding.reason);
            true
        }
    });
    found
        .into_iter()
        .map(|Finding { reason, detail, overrulable, .. }| Flag { reason, detail, overrulable })
        .collect()
}

fn enabled(config: &QualityConfig, reason: RejectReason) -> bool {
    !config.off.contains(&reason)
}

fn too_small(radiograph: &Radiograph, config: &QualityConfig, found: &mut Vec<Finding>) {
    let (width, height) = (radiograph.width, radiograph.height);
    let short = width.min(height) < config.side_min_px;
    if !short && width.max(height) >= config.long_side_min_px {
        return;
    }
    let expected = if short {
        format!("{} on each side", config.side_min_px)
    } else {
        format!("{} on its longer side", config.long_side_min_px)
    };
    found.push(Finding {
        reason: RejectReason::TooSmall,
        weight: if short { 100.0 } else { 90.0 },
        detail: format!(
            "the image is {width} x {height} pixels, a radiograph has at least {expected}; send the full image, not \
             its preview"
        ),
        overrulable: !short,
    });
}

/// A threshold in per cent as a share.
fn pct(value: u8) -> f32 {
    f32::from(value) / 100.0
}

/// A share in words.
fn share(value: f32) -> String {
    let pct = value * 100.0;
    if pct.abs() < 9.95 { format!("{pct:.1} %") } else { format!("{pct:.0} %") }
}
