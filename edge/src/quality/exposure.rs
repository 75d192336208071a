//! Flags of the exposure and of what the digitiser made of it.

use contract::radiograph::{Radiograph, RejectReason};
use serde::{Deserialize, Serialize};

use super::facts::{End, Facts, Reduced};
use super::{Finding, QualityConfig, pct, share};

/// Share of white from which samples at the upper end count as burnt out.
const WHITE_SHARE: f32 = 0.94;
/// A raw frame need not use its converter's whole range; its levels are asked for a quarter of the thresholds.
const RAW_LEVELS: f32 = 0.25;
/// At most as dark is the lower end of a radiograph that only lacks signal.
const DARK_FLOOR: f32 = 0.12;
/// A frame whose levels differ by no more than this, of its brightest, has nothing on it.
const EMPTY_SPAN: f32 = 0.01;

/// Levels of the exposed field by which its exposure is judged, as shares of white.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Exposure {
    /// Half a per cent of the field is darker.
    pub(super) dark: f32,
    /// A quarter is darker.
    pub(super) quartile: f32,
    /// Half a per cent is brighter.
    pub(super) bright: f32,
    /// Samples at the ends of the field's range, at full resolution.
    pub(super) low_end: End,
    pub(super) high_end: End,
}

impl Exposure {
    /// The span of the field's levels, as a share of white.
    pub(super) fn range(&self) -> f32 {
        self.bright - self.dark
    }
}

/// The exposure of a frame as its device delivered it: the stored image is windowed, and shows no more how much of its
/// converter's range the frame had used. Measured before that, and kept beside the image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawExposure {
    #[serde(flatten)]
    exposure: Exposure,
    /// Whether bone was dark in what the device delivered: most signal is then where there is no anatomy.
    inverted: bool,
}

impl RawExposure {
    /// Measures a frame before it is windowed, bone bright. `inverted` says whether the device delivered it dark.
    pub fn of(frame: &Radiograph, inverted: bool) -> Self {
        Self { exposure: Reduced::of(frame).exposure(frame), inverted }
    }

    /// As it is stored; `None` for what no frame has, a level that is not a number.
    pub fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// What was stored; `None` when it is nothing that this version stores.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The least and the most signal, as shares of the converter's range.
    fn signal(&self) -> (f32, f32) {
        let Exposure { dark, bright, .. } = self.exposure;
        if self.inverted { (1.0 - bright, 1.0 - dark) } else { (dark, bright) }
    }

    /// Whether the signal was the same everywhere.
    pub(super) fn empty(&self) -> bool {
        let (least, most) = self.signal();
        most - least < EMPTY_SPAN * most.max(1e-4)
    }
}

/// Too little or too much signal, clipping, a squeezed range. `raw` is what was measured of the frame that the
/// radiograph was made from, where it came as one.
pub(super) fn look(
    facts: &Facts,
    windowed: bool,
    raw: Option<&RawExposure>,
    config: &QualityConfig,
    found: &mut Vec<Finding>,
) {
    let exposure = facts.exposure;
    if windowed {
        look_displayed(&exposure, config, found);
    } else {
        look_raw(&RawExposure { exposure, inverted: false }, config, found);
    }
    if let Some(raw) = raw {
        look_raw(raw, config, found);
    }
    noisy(facts.noise, config, found);
}

fn look_displayed(exposure: &Exposure, config: &QualityConfig, found: &mut Vec<Finding>) {
    let limit = pct(config.dark_max_pct);
    if exposure.bright < limit {
        let what = format!(
            "its brightest parts reach {} of white, {} are expected",
            share(exposure.bright),
            share(limit)
        );
        under(if exposure.dark <= DARK_FLOOR { 70.0 } else { 40.0 }, &what, found);
    }
    let bright = pct(config.bright_min_pct);
    // Even what should be dark is bright.
    if !burnt(exposure, config, found) && (exposure.quartile >= bright || exposure.dark >= bright * 0.7) {
        let what = format!(
            "its darkest parts reach {} of white, three quarters are above {}",
            share(exposure.dark),
            share(exposure.quartile)
        );
        over(50.0, &what, found);
    }
    clipped(exposure, config, found);
    low_contrast(exposure.range(), pct(config.contrast_min_pct), found);
}

fn look_raw(raw: &RawExposure, config: &QualityConfig, found: &mut Vec<Finding>) {
    let (least, most) = raw.signal();
    let limit = pct(config.dark_max_pct) * RAW_LEVELS;
    if most < limit {
        let what = format!(
            "the strongest signal is {} of what the device can deliver, at least {} are expected",
            share(most),
            share(limit)
        );
        under(70.0, &what, found);
    }
    // A detector may saturate where there is no anatomy: of one that delivers bone dark that is no fault.
    let burnt = !raw.inverted && burnt(&raw.exposure, config, found);
    if !burnt && least > 1.0 - limit {
        let what = format!("even the weakest signal is {} of what the device can deliver", share(least));
        over(65.0, &what, found);
    }
    clipped(&raw.exposure, config, found);
    // A raw frame has no range of its own: its span is measured against its level.
    let span = (most - least) / most.max(1e-4);
    low_contrast(span, pct(config.contrast_min_pct) / 2.0, found);
}

fn under(weight: f32, what: &str, found: &mut Vec<Finding>) {
    found.push(Finding {
        reason: RejectReason::UnderExposed,
        weight,
        detail: format!(
            "the image is under-exposed: {what}; check tube voltage, exposure time and distance, raise the \
             exposure and take it again"
        ),
        overrulable: true,
    });
}

fn noisy(noise: f32, config: &QualityConfig, found: &mut Vec<Finding>) {
    let limit = f32::from(config.noise_max_permille) / 1000.0;
    if noise > limit {
        let what = format!("noise is {} of its range, at most {} is usual", share(noise), share(limit));
        under(40.0, &what, found);
    }
}

fn over(weight: f32, what: &str, found: &mut Vec<Finding>) {
    found.push(Finding {
        reason: RejectReason::OverExposed,
        weight,
        detail: format!(
            "the image is over-exposed: {what}; lower the exposure or the digitiser's brightness and take it again"
        ),
        overrulable: true,
    });
}

/// Finds and says whether too much is burnt out to white.
fn burnt(exposure: &Exposure, config: &QualityConfig, found: &mut Vec<Finding>) -> bool {
    let (low, top) = (exposure.low_end, exposure.high_end);
    let limit = pct(config.burnt_max_pct);
    if top.share <= limit || top.level < WHITE_SHARE {
        return false;
    }
    let what = format!(
        "{} of the exposed field are burnt out to white, at most {} are usual",
        share(top.share),
        share(limit)
    );
    let weight = if top.share > 0.2 {
        82.0
    } else if low.share < top.share {
        65.0
    } else {
        50.0
    };
    over(weight, &what, found);
    true
}

fn clipped(exposure: &Exposure, config: &QualityConfig, found: &mut Vec<Finding>) {
    let (low, high) = (exposure.low_end, exposure.high_end);
    let high_limit = pct(config.clipped_high_max_pct);
    let low_limit = pct(config.clipped_low_max_pct);
    if high.share <= high_limit && low.share <= low_limit {
        return;
    }
    let both = high.share > high_limit && low.share > high_limit;
    found.push(Finding {
        reason: RejectReason::Clipped,
        weight: if both { 62.0 } else { 55.0 },
        detail: format!(
            "the image is clipped: {} of the samples lie at its brightest level and {} at its darkest, so what \
             differed there is lost; widen the digitiser's window or gain setting and read the plate again",
            share(high.share),
            share(low.share)
        ),
        overrulable: true,
    });
}

fn low_contrast(span: f32, limit: f32, found: &mut Vec<Finding>) {
    if span >= limit {
        return;
    }
    found.push(Finding {
        reason: RejectReason::LowContrast,
        weight: 60.0,
        detail: format!(
            "the image has little contrast: its samples span {} of the range, at least {} are expected; check \
             the digitiser's window, lower the tube voltage or use a grid, and take it again",
            share(span),
            share(limit)
        ),
        overrulable: true,
    });
}
