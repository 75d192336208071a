//! Flags of the exposure and of what the digitiser made of it.

use contract::radiograph::RejectReason;

use super::facts::Facts;
use super::{Finding, QualityConfig, pct, share};

/// Share of white from which samples at the upper end count as burnt out.
const WHITE_SHARE: f32 = 0.94;
/// A raw frame need not use its converter's whole range; its levels are asked for a quarter of the thresholds.
const RAW_LEVELS: f32 = 0.25;
/// At most as dark is the lower end of a radiograph that only lacks signal.
const DARK_FLOOR: f32 = 0.12;

/// Too little or too much signal, clipping, a squeezed range.
pub(super) fn look(facts: &Facts, windowed: bool, config: &QualityConfig, found: &mut Vec<Finding>) {
    let scale = if windowed { 1.0 } else { RAW_LEVELS };
    under(facts, scale, config, found);
    over(facts, windowed, config, found);
    clipped(facts, config, found);
    low_contrast(facts, windowed, config, found);
}

fn under(facts: &Facts, scale: f32, config: &QualityConfig, found: &mut Vec<Finding>) {
    let bright = facts.levels.at(0.995);
    let limit = pct(config.dark_max_pct) * scale;
    let noise_limit = f32::from(config.noise_max_permille) / 1000.0;
    let dark = bright < limit;
    if !dark && facts.noise <= noise_limit {
        return;
    }
    let what = if dark {
        format!("its brightest parts reach {} of white, {} are expected", share(bright), share(limit))
    } else {
        format!("noise is {} of its range, at most {} is usual", share(facts.noise), share(noise_limit))
    };
    let weight = if dark && facts.levels.at(0.005) <= DARK_FLOOR { 70.0 } else { 40.0 };
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

fn over(facts: &Facts, windowed: bool, config: &QualityConfig, found: &mut Vec<Finding>) {
    let top = facts.high_end;
    let burnt = top.share > pct(config.burnt_max_pct) && top.level >= WHITE_SHARE;
    let quartile = facts.levels.at(0.25);
    // Even what should be dark is bright.
    let dark = facts.levels.at(0.005);
    let bright =
        windowed && (quartile >= pct(config.bright_min_pct) || dark >= pct(config.bright_min_pct) * 0.7);
    if !burnt && !bright {
        return;
    }
    let what = if burnt {
        format!(
            "{} of the exposed field are burnt out to white, at most {} are usual",
            share(top.share),
            share(pct(config.burnt_max_pct))
        )
    } else {
        format!(
            "its darkest parts reach {} of white, three quarters are above {}",
            share(dark),
            share(quartile)
        )
    };
    found.push(Finding {
        reason: RejectReason::OverExposed,
        weight: if top.share > 0.2 && burnt { 82.0 } else if burnt && facts.low_end.share < top.share { 65.0 } else { 50.0 },
        detail: format!(
            "the image is over-exposed: {what}; lower the exposure or the digitiser's brightness and take it again"
        ),
        overrulable: true,
    });
}

fn clipped(facts: &Facts, config: &QualityConfig, found: &mut Vec<Finding>) {
    let (low, high) = (facts.low_end, facts.high_end);
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

fn low_contrast(facts: &Facts, windowed: bool, config: &QualityConfig, found: &mut Vec<Finding>) {
    let range = facts.range();
    let (value, limit) = if windowed {
        (range, pct(config.contrast_min_pct))
    } else {
        // A raw frame has no range of its own: its span is measured against its level.
        (range / facts.levels.at(0.995).max(1e-4), pct(config.contrast_min_pct) / 2.0)
    };
    if value >= limit {
        return;
    }
    found.push(Finding {
        reason: RejectReason::LowContrast,
        weight: 60.0,
        detail: format!(
            "the image has little contrast: its samples span {} of the range, at least {} are expected; check \
             the digitiser's window, lower the tube voltage or use a grid, and take it again",
            share(value),
            share(limit)
        ),
        overrulable: true,
    });
}
