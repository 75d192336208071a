//! One study: its views, and the place of its finding.

use std::f32::consts::FRAC_PI_2;

use rand::RngExt;

use super::difficulty::Difficulty;
use super::finding::{Finding, FindingKind};
use super::looks::Looks;
use super::plan::Planned;
use super::pose::{Point, Pose};
use super::random::{Purpose, Stream, between, chance, stream};
use super::render::{PLAIN, Picture, SUBTLE, Scene};
use super::shape::Form;
use super::skeleton::{Anatomy, anatomy};
use super::{Options, SIZE_MIN_PX, VIEWS_MAX};

/// A drawn view.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// Grey levels 0 to 1, row by row.
    pub grey: Vec<f32>,
    /// Whether it is stored with 16 bits.
    pub sixteen_bit: bool,
    /// The box around the finding: left, top, right, bottom in pixels, the last two exclusive.
    pub site: Option<[usize; 4]>,
}

impl View {
    /// The grey levels as 8-bit samples.
    pub fn samples(&self) -> Vec<u8> {
        self.grey.iter().map(|grey| (grey * 255.0).round() as u8).collect()
    }
}

/// Random streams of a study: its own and one for each view.
const STREAMS: u64 = VIEWS_MAX as u64 + 1;
/// Places tried for a finding before the best of them is taken.
const SITES_MAX: usize = 16;
/// How many pixels a finding must change clearly: enough for three in a row and three lines.
const SEEN_MIN_PX: usize = 10;

/// Draws the views of a study. Setting `planned.finding` to `None` gives the study's normal twin: the same
/// but for the finding.
pub fn draw_study(planned: &Planned, options: &Options) -> Vec<View> {
    let part =
        anatomy(&planned.study_type, &mut stream(options.seed, Purpose::Anatomy, planned.patient as u64));
    let study = planned.number as u64;
    let mut rng = stream(options.seed, Purpose::View, STREAMS * study);
    let left = chance(&mut rng, 0.5);
    let views = [1, 2, 2, 3, 2, 1, 3][rng.random_range(0..7)].min(part.turns.len()).min(options.views_max);
    let first = if chance(&mut rng, 0.75) { 0 } else { rng.random_range(0..part.turns.len()) };
    let scenes: Vec<Scene> = (0..views)
        .map(|view| {
            let turn = part.turns[(first + view) % part.turns.len()];
            let mut rng = stream(options.seed, Purpose::View, STREAMS * study + 1 + view as u64);
            scene(&part, turn, left, options, &mut rng)
        })
        .collect();
    let draw = |finding: Option<&Finding>| -> Vec<Picture> {
        let noise = |view| stream(options.seed, Purpose::Noise, STREAMS * study + view as u64);
        scenes.iter().enumerate().map(|(view, scene)| scene.draw(finding, &mut noise(view))).collect()
    };
    let pictures = match planned.finding {
        None => draw(None),
        Some(kind) => {
            let mut rng = stream(options.seed, Purpose::Finding, study);
            with_finding(kind, options.difficulty, &part, &scenes, &mut rng, draw)
        }
    };
    pictures.into_iter().zip(&scenes).map(|(picture, scene)| view(picture, scene)).collect()
}

fn view(picture: Picture, scene: &Scene) -> View {
    View {
        width_px: scene.width as u32,
        height_px: scene.height as u32,
        grey: picture.grey,
        sixteen_bit: scene.looks.sixteen_bit,
        site: picture.changed,
    }
}

fn scene(part: &Anatomy, turn_deg: f32, left: bool, options: &Options, rng: &mut Stream) -> Scene {
    let aspect = between(rng, part.aspect.0, part.aspect.1);
    let size = options.size_px.max(SIZE_MIN_PX) as f32;
    let (width, height) = ((size * aspect).round().max(SIZE_MIN_PX as f32), size);
    let pixel_mm = part.height / height;
    let tilt = options.difficulty.of(0.14, 0.24);
    let pose = Pose {
        turn: (turn_deg + between(rng, -7.0, 7.0)).to_radians().clamp(-FRAC_PI_2, FRAC_PI_2),
        angle: between(rng, -tilt, tilt),
        mirror: left,
        size: between(rng, 0.93, 1.07),
        shift: [0.03, 0.03].map(|share| part.height * between(rng, -share, share)),
    };
    Scene {
        width: width as usize,
        height: height as usize,
        pixel_mm,
        pose,
        bones: part.bones.iter().map(|bone| bone.posed(&pose)).collect(),
        tissue: part.tissue.iter().map(|roll| roll.posed(&pose)).collect(),
        air: part.air.iter().map(|roll| roll.posed(&pose)).collect(),
        fat: part.fat,
        tissue_gain: part.tissue_gain,
        looks: Looks::draw(rng, options.difficulty, left, aspect),
        clear: options.difficulty.of(PLAIN, SUBTLE),
    }
}

/// Draws the study with a finding, at the first of some places where every view shows it well enough for
/// the difficulty, else at the best of them.
fn with_finding(
    kind: FindingKind,
    difficulty: Difficulty,
    part: &Anatomy,
    scenes: &[Scene],
    rng: &mut Stream,
    draw: impl Fn(Option<&Finding>) -> Vec<Picture>,
) -> Vec<Picture> {
    let (mut best, mut best_seen) = (Vec::new(), 0);
    for _ in 0..SITES_MAX {
        let mut finding = Finding::draw(kind, difficulty, rng);
        choose_site(&mut finding, difficulty, part, scenes, rng);
        let pictures = draw(Some(&finding));
        let least_seen = pictures.iter().map(|picture| picture.clear).min().unwrap_or(0);
        if best.is_empty() || least_seen > best_seen {
            (best, best_seen) = (pictures, least_seen);
        }
        if best_seen >= SEEN_MIN_PX {
            break;
        }
    }
    best
}

fn choose_site(
    finding: &mut Finding,
    difficulty: Difficulty,
    part: &Anatomy,
    scenes: &[Scene],
    rng: &mut Stream,
) {
    let widest = |bone: usize| match &part.bones[bone].form {
        Form::Long(long) => long.section(0.5).0,
        Form::Pebble(_) => 0.0,
    };
    let targets: Vec<usize> =
        (0..part.bones.len()).filter(|&b| part.bones[b].target && widest(b) > 0.0).collect();
    let largest = targets.iter().map(|&b| widest(b)).fold(0.0, f32::max);
    // Wide bones more often: a thin one shows little.
    let taken = |rng: &mut Stream, bone: usize| {
        let share = (widest(bone) / largest).min(1.0);
        rng.random::<f32>() < share.powf(difficulty.of(4.0, 2.0))
    };
    for _ in 0..400 {
        if finding.is_of_a_joint() {
            let joint = part.joints[rng.random_range(0..part.joints.len())];
            if !taken(rng, joint.bone) {
                continue;
            }
            finding.move_to(joint.bone, joint.end as f32, Some(&joint));
        } else {
            let bone = targets[rng.random_range(0..targets.len())];
            if !taken(rng, bone) {
                continue;
            }
            finding.move_to(bone, between(rng, 0.12, 0.88), None);
        }
        if scenes.iter().all(|scene| scene.shows(finding.site(scene))) {
            return;
        }
    }
}

impl Scene {
    /// Whether a place, mm from the image's centre, is well inside the exposed field.
    fn shows(&self, place: Option<Point>) -> bool {
        let Some(place) = place else {
            return false;
        };
        let p = place.map(|c| c / self.pixel_mm / self.height as f32);
        let aspect = self.width as f32 / self.height as f32;
        let inside = p[0].abs() < 0.4 * aspect && p[1].abs() < 0.4;
        inside && self.looks.collimation.is_none_or(|field| field.open(p, 0.05) >= 1.0)
    }
}

impl Finding {
    /// Where a view shows the middle of the finding, mm from the image's centre.
    fn site(&self, scene: &Scene) -> Option<Point> {
        match &scene.bones[*self.bones().first()?].form {
            Form::Long(long) => Some(long.global([self.at() * long.length(), long.section(self.at()).1])),
            Form::Pebble(_) => None,
        }
    }
}
