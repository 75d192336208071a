//! The class activation map as colours over the radiograph it explains.
//!
//! A place of the map plus the classifier's bias is *local evidence*: the logit that the network would give a
//! radiograph that looked everywhere as it looks there. Their mean over all places is the radiograph's logit (Zhou
//! et al., arXiv 1512.04150). Divided by the bundle's temperature it is on the scale of the calibrated logit.
//!
//! The scale is absolute: evidence of 0 or below is clear, [`EVIDENCE_MAX`] or above is the brightest colour, the
//! same for every radiograph. So one that the network finds normal stays (nearly) without colour, and colours of two
//! radiographs can be compared.

mod lettering;

use contract::preprocess::{Aspect, PreprocessError, PreprocessSpec, placement, to_plane};
use contract::radiograph::Radiograph;
use contract::result::ActivationMap;
use image::{Rgb, RgbImage};

/// Local evidence that has the brightest colour unless said otherwise, in logits. A finding covers a few places of
/// the map and the logit is the mean over all, so that evidence at a finding is many times the logit.
pub const EVIDENCE_MAX: f64 = 20.0;
/// The longest side of a picture, in pixels. Radiographs are never enlarged, larger ones are reduced.
const SIDE_MAX_PX: u32 = 1024;
/// How much of the radiograph the brightest colour covers.
const ALPHA_MAX: f64 = 0.55;
/// The colour map `inferno` of matplotlib (CC0) at nine places; linear between them.
const INFERNO: [[u8; 3]; 9] = [
    [0, 0, 4],
    [31, 12, 72],
    [87, 16, 110],
    [136, 34, 106],
    [188, 55, 84],
    [227, 89, 51],
    [249, 142, 9],
    [249, 201, 50],
    [252, 255, 164],
];

/// What a picture is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// The radiograph.
    pub radiograph: &'a Radiograph,
    /// How it became the network's input.
    pub spec: &'a PreprocessSpec,
    /// Local evidence of each place, in logits.
    pub evidence: &'a ActivationMap,
    /// Evidence that has the brightest colour; above zero.
    pub evidence_max: f64,
    /// What stands below the picture, line by line.
    pub lines: &'a [String],
}

/// Local evidence: the activation map with its mean moved to the logit, divided by the temperature.
pub fn evidence(map: &ActivationMap, logit: f64, temperature: f64) -> ActivationMap {
    let mean = map.values.iter().map(|&value| f64::from(value)).sum::<f64>() / map.values.len() as f64;
    let values = map.values.iter().map(|&v| ((f64::from(v) + logit - mean) / temperature) as f32).collect();
    ActivationMap { values, ..*map }
}

impl Overlay<'_> {
    /// The picture: the whole radiograph in its own aspect ratio, as it is windowed for the network, the evidence
    /// upscaled bilinearly over it, and below it a legend.
    ///
    /// # Errors
    /// When the radiograph cannot be resized.
    pub fn draw(&self) -> Result<RgbImage, PreprocessError> {
        let (width, height) = (self.radiograph.width, self.radiograph.height);
        let scale = (f64::from(SIDE_MAX_PX) / f64::from(width.max(height))).min(1.0);
        let side = |px: u32| ((f64::from(px) * scale).round() as u32).max(1);
        let shown = PreprocessSpec {
            width_px: side(width),
            height_px: side(height),
            aspect: Aspect::Squash,
            ..self.spec.clone()
        };
        let plane = to_plane(self.radiograph, &shown)?;
        let (width, height) = (plane.width_px, plane.height_px);
        let placed = placement(self.radiograph, self.spec);
        let [columns, rows] = [self.evidence.width, self.evidence.height].map(f64::from);
        // From the picture's pixels to the map's: through the radiograph's place in the network's input.
        let across = |at: u32, of: u32, start: u32, extent: u32, whole: u32, cells: f64| {
            let input = f64::from(start) + (f64::from(at) + 0.5) / f64::from(of) * f64::from(extent);
            input / f64::from(whole) * cells - 0.5
        };
        let mut picture = RgbImage::new(self.width_with_legend(width), height + self.legend_height(width));
        for (index, grey) in (0u32..).zip(&plane.samples) {
            let (x, y) = (index % width, index / width);
            let column = across(x, width, placed.left, placed.width, self.spec.width_px, columns);
            let row = across(y, height, placed.top, placed.height, self.spec.height_px, rows);
            let share = (self.between(column, row) / self.evidence_max).clamp(0.0, 1.0);
            picture.put_pixel(x, y, blend(*grey, share));
        }
        self.draw_legend(&mut picture, [width, height]);
        Ok(picture)
    }

    /// The evidence between the middles of places, bilinear; beyond the outermost ones as there.
    fn between(&self, column: f64, row: f64) -> f64 {
        let map = self.evidence;
        let neighbours = |at: f64, cells: u32| {
            let at = at.clamp(0.0, f64::from(cells - 1));
            let low = at.floor() as u32;
            (low, (low + 1).min(cells - 1), at.fract())
        };
        let (left, right, x) = neighbours(column, map.width);
        let (above, below, y) = neighbours(row, map.height);
        let value = |column: u32, row: u32| {
            f64::from(map.values[row as usize * map.width as usize + column as usize])
        };
        let upper = value(left, above) * (1.0 - x) + value(right, above) * x;
        let lower = value(left, below) * (1.0 - x) + value(right, below) * x;
        upper * (1.0 - y) + lower * y
    }

    /// The radiograph's width, or what the legend's longest line needs.
    fn width_with_legend(&self, width: u32) -> u32 {
        let scale = Self::legend_scale(width);
        let bar = lettering::width(&self.bar_end(), scale) + Self::bar_length(width) + 24 * scale;
        let lines = self.lines.iter().map(|line| lettering::width(line, scale) + 8 * scale);
        lines.fold(width.max(bar), u32::max)
    }

    /// The words at the bright end of the bar.
    fn bar_end(&self) -> String {
        format!("{} logits of local evidence", self.evidence_max)
    }

    fn bar_length(width: u32) -> u32 {
        (width / 4).max(24)
    }

    fn legend_scale(width: u32) -> u32 {
        if width >= 640 { 2 } else { 1 }
    }

    fn legend_height(&self, width: u32) -> u32 {
        let line = (lettering::HEIGHT + 4) * Self::legend_scale(width);
        line * (self.lines.len() as u32 + 1) + line / 2
    }

    /// A bar of the colours with its ends named, then the lines.
    fn draw_legend(&self, picture: &mut RgbImage, [width, top]: [u32; 2]) {
        let scale = Self::legend_scale(width);
        let line = (lettering::HEIGHT + 4) * scale;
        let margin = 4 * scale;
        let white = Rgb([235; 3]);
        let mut at = [margin, top + margin];
        let zero = "0";
        lettering::write(picture, at, scale, white, zero);
        let bar = margin + lettering::width(zero, scale) + margin;
        let length = Self::bar_length(width);
        for (x, y) in (0..length).flat_map(|x| (0..lettering::HEIGHT * scale).map(move |y| (x, y))) {
            picture.put_pixel(bar + x, at[1] + y, blend(110, f64::from(x) / f64::from(length)));
        }
        let end = self.bar_end();
        lettering::write(picture, [bar + length + margin, at[1]], scale, white, &end);
        for text in self.lines {
            at[1] += line;
            lettering::write(picture, at, scale, white, text);
        }
    }
}

/// A grey sample under the colour of a share of the largest evidence; the colour's cover grows with the share.
fn blend(grey: u8, share: f64) -> Rgb<u8> {
    let colour = inferno(share);
    let alpha = ALPHA_MAX * (2.0 * share).min(1.0);
    Rgb(colour.map(|c| (f64::from(grey) * (1.0 - alpha) + c * alpha).round() as u8))
}

/// The colour of a share of 0 to 1.
fn inferno(share: f64) -> [f64; 3] {
    let place = share.clamp(0.0, 1.0) * (INFERNO.len() - 1) as f64;
    let low = (place.floor() as usize).min(INFERNO.len() - 2);
    let rest = place - low as f64;
    [0, 1, 2].map(|c| f64::from(INFERNO[low][c]) * (1.0 - rest) + f64::from(INFERNO[low + 1][c]) * rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grey(width: u32, height: u32) -> Radiograph {
        let samples = (0..width * height).map(|i| (i % width * 200 / width) as u16).collect();
        Radiograph { width, height, max_value: 255, windowed: true, coloured_permille: 0, samples }
    }

    fn map(width: u32, height: u32, values: &[f32]) -> ActivationMap {
        ActivationMap { width, height, values: values.to_vec() }
    }

    fn drawn(radiograph: &Radiograph, spec: &PreprocessSpec, evidence: &ActivationMap) -> RgbImage {
        let lines = ["P 0.5".to_owned()];
        Overlay { radiograph, spec, evidence, evidence_max: 10.0, lines: &lines }.draw().unwrap()
    }

    #[test]
    fn evidence_has_the_logit_as_its_mean_whatever_the_bias() {
        let map = map(2, 2, &[1.0, -3.0, 5.0, 0.0]);
        let evidence = evidence(&map, -2.0, 2.0);
        let mean: f32 = evidence.values.iter().sum::<f32>() / 4.0;
        assert!((mean + 1.0).abs() < 1e-6);
        assert!((evidence.values[2] - evidence.values[1] - 4.0).abs() < 1e-6);
    }

    #[test]
    fn without_evidence_the_radiograph_stays_grey() {
        let radiograph = grey(300, 200);
        let picture = drawn(&radiograph, &PreprocessSpec::square(64), &map(2, 2, &[-9.0, 0.0, -0.1, -3.0]));
        assert!(picture.width() == 300 && picture.height() > 200);
        for y in 0..200 {
            for x in 0..300 {
                let Rgb([r, g, b]) = *picture.get_pixel(x, y);
                assert!(r == g && g == b && i32::from(r).abs_diff((x * 200 / 300) as i32) <= 1);
            }
        }
    }

    #[test]
    fn evidence_lies_where_the_network_saw_it() {
        // A wide radiograph in a square input: the letterbox's bars are not drawn, so that evidence in the upper
        // row of a map of four rows falls on the bar, and the second row on the upper half of the radiograph.
        let radiograph = grey(400, 200);
        let spec = PreprocessSpec::square(64);
        let mut values = [0.0f32; 16];
        values[4] = 5.0;
        let picture = drawn(&radiograph, &spec, &map(4, 4, &values));
        let warmth = |x: u32, y: u32| {
            let Rgb([r, g, _]) = *picture.get_pixel(x, y);
            i32::from(r) - i32::from(g)
        };
        // The place's middle: column 1/8 of the width, and row 3/8 of the input, which is 1/4 of the radiograph.
        assert!(warmth(50, 50) > 50, "{}", warmth(50, 50));
        assert!(warmth(50, 50) > warmth(50, 0) && warmth(50, 50) > warmth(120, 50));
        assert_eq!(warmth(350, 50), 0);
        assert_eq!(warmth(50, 190), 0);
    }

    #[test]
    fn large_radiographs_are_reduced_and_the_colour_bar_rises() {
        let picture = drawn(&grey(3000, 1500), &PreprocessSpec::square(64), &map(1, 1, &[5.0]));
        assert_eq!(picture.width(), 1024);
        // A narrow one keeps its width; the legend beside or below it is never cut off.
        assert!(drawn(&grey(64, 300), &PreprocessSpec::square(64), &map(1, 1, &[5.0])).width() > 64);
        let light = |share: f64| inferno(share).iter().sum::<f64>();
        assert!((0..20).all(|i| light(f64::from(i) / 20.0) < light(f64::from(i + 1) / 20.0)));
    }

    proptest! {
        #[test]
        fn any_map_can_be_drawn(
            width in 1u32..6, height in 1u32..6, seed in prop::collection::vec(-50.0..50.0f32, 36),
            sides in (64u32..90, 64u32..90), squash in any::<bool>(),
        ) {
            let aspect = if squash { Aspect::Squash } else { Aspect::Letterbox };
            let spec = PreprocessSpec { aspect, ..PreprocessSpec::square(96) };
            let evidence = map(width, height, &seed[..(width * height) as usize]);
            let picture = drawn(&grey(sides.0, sides.1), &spec, &evidence);
            prop_assert!(picture.width() >= sides.0 && picture.height() > sides.1);
        }
    }
}
