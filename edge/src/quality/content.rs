//! Flags of what the image shows: nothing, something else than a radiograph, a part of one, one turned inside out.

use contract::radiograph::{Radiograph, RejectReason};

use super::exposure::RawExposure;
use super::facts::Facts;
use super::grid::{Grid, Levels, share_of};
use super::{Finding, QualityConfig, field, pct, share};

/// A step between neighbouring cells of the reduced copy that counts as an edge, of the field's range.
const EDGE: f32 = 0.05;
/// One that counts as a sharp edge.
const SHARP_EDGE: f32 = 0.2;
/// A radiograph's structures are projected and smooth: fewer cells than this lie at edges.
const EDGES_MAX_SHARE: f32 = 0.25;
/// Of drawn lines and letters at least this share is sharp.
const SHARP_MIN_SHARE: f32 = 0.55;
/// Equal neighbours beyond this share are drawn, not measured.
const REPEATS_MAX_SHARE: f32 = 0.80;
/// Of an image of fewer grey levels, squeezed into a small range, neighbours are often equal.
const LEVELS_MIN: f32 = 100.0;
/// The samples next to those at an end of the range are near it, unless they are drawn: so many of the ways out of what is
/// white are steep where at least so much is white.
const STEEP_MIN_SHARES: [(f32, f32); 2] = [(0.55, 0.2), (0.2, 0.6)];
/// At a radiograph's rim lies its background, at one end of the range, or anatomy that runs out of it.
const RIM_GREY: std::ops::RangeInclusive<f32> = 0.42..=0.78;
/// What remains of a uniform frame when its slow course is taken away, of the range to display.
const STRUCTURE_MIN: f32 = 0.03;

/// Nothing at all, or nothing but noise and a slow course of brightness.
pub(super) fn blank(
    radiograph: &Radiograph,
    raw: Option<&RawExposure>,
    facts: &Facts,
    found: &mut Vec<Finding>,
) {
    let mut all = Levels::of(facts.reduced.grid.values.iter().copied());
    let (low, high) = (all.at(0.01), all.at(0.99));
    let reference = if radiograph.windowed { 1.0 } else { high.max(1e-4) };
    let unlit = raw.is_some_and(RawExposure::empty);
    let empty = high <= low || high - low < 0.01 * reference || unlit;
    let structure = structure(&facts.reduced.inside) / reference;
    if !empty && structure >= STRUCTURE_MIN {
        return;
    }
    let detail = if unlit {
        "the image is blank: the device delivered the same signal everywhere; check exposure and digitiser, then \
         take it again"
            .to_owned()
    } else if empty {
        format!(
            "the image is blank: its samples lie between {:.0} and {:.0} of {}; check exposure and digitiser, \
             then take it again",
            low * f32::from(radiograph.max_value),
            high * f32::from(radiograph.max_value),
            radiograph.max_value
        )
    } else {
        format!(
            "the image is blank: apart from noise and a slow course of brightness its samples span {} of the \
             range; check that the plate was exposed with the patient on it, then take it again",
            share(structure)
        )
    };
    found.push(Finding { reason: RejectReason::Blank, weight: 95.0, detail, overrulable: !empty });
}

/// Span of what is left of the field's means over large squares when the quadratic surface nearest to them is taken away.
fn structure(field: &Grid) -> f32 {
    let side = (field.width.min(field.height) / 24).max(1);
    let smooth = field.blurred(side);
    let (width, height) = (smooth.width.max(2) as f32 - 1.0, smooth.height.max(2) as f32 - 1.0);
    let mut equations = [[0f64; 7]; 6];
    let terms = |x: usize, y: usize| {
        let (u, v) = (f64::from(x as f32 / width - 0.5), f64::from(y as f32 / height - 0.5));
        [1.0, u, v, u * u, u * v, v * v]
    };
    // Neighbours within half a square say the same.
    let step = (side / 2).max(1);
    for y in (0..smooth.height).step_by(step) {
        for x in (0..smooth.width).step_by(step) {
            let row = terms(x, y);
            let value = f64::from(smooth.at(x, y));
            for (i, equation) in equations.iter_mut().enumerate() {
                for (j, term) in row.iter().enumerate() {
                    equation[j] += row[i] * term;
                }
                equation[6] += row[i] * value;
            }
        }
    }
    let surface = solve(&mut equations);
    let mut rest = Levels::of((0..smooth.height).step_by(step).flat_map(|y| {
        let smooth = &smooth;
        (0..smooth.width).step_by(step).map(move |x| {
            let fitted: f64 = terms(x, y).iter().zip(&surface).map(|(term, factor)| term * factor).sum();
            smooth.at(x, y) - fitted as f32
        })
    }));
    rest.at(0.98) - rest.at(0.02)
}

/// Gaussian elimination with pivots; a direction without information gets 0.
fn solve(equations: &mut [[f64; 7]; 6]) -> [f64; 6] {
    for column in 0..6 {
        let pivot = (column..6)
            .max_by(|a, b| equations[*a][column].abs().total_cmp(&equations[*b][column].abs()))
            .unwrap_or(column);
        equations.swap(column, pivot);
        let row = equations[column];
        if row[column].abs() < 1e-9 {
            continue;
        }
        for (other, equation) in equations.iter_mut().enumerate() {
            if other != column {
                let factor = equation[column] / row[column];
                for (to, from) in equation.iter_mut().zip(&row) {
                    *to -= factor * from;
                }
            }
        }
    }
    let mut solution = [0.0; 6];
    for (index, equation) in equations.iter().enumerate() {
        if equation[index].abs() >= 1e-9 {
            solution[index] = equation[6] / equation[index];
        }
    }
    solution
}

/// A photograph, a page, a screen, a drawing, noise.
pub(super) fn not_a_radiograph(
    radiograph: &Radiograph,
    facts: &Facts,
    config: &QualityConfig,
    found: &mut Vec<Finding>,
) {
    let coloured = f32::from(radiograph.coloured_permille) / 1000.0;
    let high = facts.exposure.high_end;
    let field = facts.stretched();
    let steps = field.gradient();
    let edges = share_of(&steps, |step| step > EDGE);
    let sharp = share_of(&steps, |step| step > SHARP_EDGE) / edges.max(1e-4);
    let smooth_edges = share_of(&facts.smooth.gradient(), |step| step > EDGE);
    let rim = rim(&field);
    let unsure = facts.inversion.abs() < 0.2;
    let (weight, what) = if coloured > pct(config.colour_max_pct) {
        (94.0, format!("{} of its pixels have colour", share(coloured)))
    } else if facts.repeats > REPEATS_MAX_SHARE && facts.distinct >= LEVELS_MIN {
        (92.0, format!("{} of its neighbouring pixels are equal, as in drawings", share(facts.repeats)))
    } else if STEEP_MIN_SHARES.iter().any(|(steep, white)| facts.steep > *steep && high.share > *white) {
        (91.0, format!("{} of the edges of its white parts are sharp, as on paper", share(facts.steep)))
    } else if sharp >= SHARP_MIN_SHARE && edges > 0.05 {
        (58.0, format!("{} of its edges are sharp, as of letters", share(sharp)))
    } else if smooth_edges > EDGES_MAX_SHARE {
        (75.0, format!("{} of it are edges, as in a photograph", share(smooth_edges)))
    } else if facts.alike > pct(config.alike_max_pct) {
        let (alike, limit) = (share(facts.alike), share(pct(config.alike_max_pct)));
        (
            74.0,
            format!(
                "its parts are alike by {alike}, those of radiographs by {limit} at most, as in pictures of cloth, stone or clouds"
            ),
        )
    } else if unsure && RIM_GREY.contains(&rim) && edges > 0.08 {
        (30.0, "what lies at its rim is neither background nor dense anatomy".to_owned())
    } else {
        return;
    };
    found.push(Finding {
        reason: RejectReason::NotARadiograph,
        weight,
        detail: format!(
            "this does not look like a radiograph: {what}; send the digitiser's own image, not a photograph, \
             page or screen"
        ),
        overrulable: true,
    });
}

/// The middle level of the field's rim.
fn rim(field: &Grid) -> f32 {
    let near = |at: usize, length: usize| at < 4 || at + 4 >= length;
    Levels::of((0..field.height).flat_map(|y| {
        (0..field.width)
            .filter(move |x| near(*x, field.width) || near(y, field.height))
            .map(move |x| field.at(x, y))
    }))
    .at(0.5)
}

/// Bone dark on a bright ground.
pub(super) fn inverted(facts: &Facts, config: &QualityConfig, found: &mut Vec<Finding>) {
    let inversion = facts.inversion;
    if inversion <= pct(config.inverted_min_pct) {
        return;
    }
    found.push(Finding {
        reason: RejectReason::Inverted,
        weight: 80.0,
        detail: format!(
            "the image seems inverted: bone is dark on a bright ground (certainty {}); set the digitiser or the \
             frame grabber to show bone bright",
            share(inversion)
        ),
        overrulable: true,
    });
}

/// Anatomy cut off by the collimator, or hardly any field left.
pub(super) fn cropped(facts: &Facts, config: &QualityConfig, found: &mut Vec<Finding>) {
    let kept = facts.reduced.field.share();
    let deepest = facts
        .reduced
        .field
        .sides
        .iter()
        .filter(|side| side.cut >= field::CUT_MIN_SHARE)
        .map(|side| side.margin)
        .fold(0f32, f32::max);
    let what = if kept < pct(config.field_min_pct) {
        format!(
            "the exposed field is {} of the image, at least {} expected",
            share(kept),
            share(pct(config.field_min_pct))
        )
    } else if deepest > pct(config.shutter_max_pct) {
        format!("anatomy ends at a shutter that covers {} of the image's side", share(deepest))
    } else {
        return;
    };
    found.push(Finding {
        reason: RejectReason::Cropped,
        weight: 85.0,
        detail: format!(
            "the image is cropped by the collimator: {what}; open the collimator around the whole part and take it \
             again"
        ),
        overrulable: true,
    });
}
