//! What a view is drawn with for looks: exposure, contrast, noise, collimation, the side marker and, in the
//! hard settings, objects in the beam. None of it knows the label.

use super::difficulty::Difficulty;
use super::pose::{Point, length, sub};
use super::random::{Stream, between, chance};

/// How one view was taken.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    /// Grey level of air, 0 to 1, and where in the range dense bone lies.
    pub black: f32,
    pub white: f32,
    pub gamma: f32,
    /// Deviation of the quantum noise behind thin tissue, as a share of the range.
    pub noise: f32,
    /// Deviation of the focal spot's blur, mm.
    pub blur_mm: f32,
    /// Brightening towards a direction (heel effect) and towards the corners.
    pub heel: Point,
    pub corners: f32,
    pub collimation: Option<Collimation>,
    pub objects: Vec<Object>,
    pub sixteen_bit: bool,
}

/// The edges of the exposed field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collimation {
    /// Radians the field is turned by.
    pub angle: f32,
    /// Half width and half height, and the centre, in image heights.
    pub half: Point,
    pub centre: Point,
    /// Grey level outside.
    pub shutter: f32,
}

/// Something in the beam that is not the patient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub kind: ObjectKind,
    /// Where, in image heights from the centre; a marker looks for the emptiest of its places.
    pub places: [Point; 8],
    pub angle: f32,
    /// Size in image heights.
    pub size: f32,
    /// Attenuation as a share of dense bone's.
    pub strength: f32,
}

/// The kinds of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectKind {
    /// A lead letter, perhaps framed.
    Marker { left: bool, framed: bool },
    /// A ring seen at an angle.
    Ring,
    /// A snap button.
    Button,
    /// A clip or clothing wire.
    Clip,
}

impl Looks {
    pub(super) fn draw(rng: &mut Stream, difficulty: Difficulty, left: bool, aspect: f32) -> Self {
        let collimation = chance(rng, 0.65).then(|| Collimation::draw(rng, aspect));
        let mut objects = Vec::new();
        if chance(rng, 0.85) {
            objects.push(Object::marker(rng, left, aspect));
        }
        // Drawn at any difficulty, so that the same seed gives the same view.
        let nuisance: Vec<Object> = (0..2).map(|_| Object::nuisance(rng, left, aspect)).collect();
        let there = [0.6, 0.25].map(|most| chance(rng, f64::from(difficulty.of(0.0, most))));
        objects.extend(nuisance.iter().zip(there).filter(|(_, there)| *there).map(|(object, _)| *object));
        Self {
            black: between(rng, 0.02, 0.13),
            white: between(rng, 0.78, 0.98),
            gamma: between(rng, 0.85, 1.3),
            noise: between(rng, 0.009, 0.02) * difficulty.of(1.0, 1.6),
            blur_mm: between(rng, 0.15, 0.4) * difficulty.of(1.0, 1.25),
            heel: [between(rng, -0.06, 0.06), between(rng, -0.08, 0.08)],
            corners: between(rng, 0.0, 0.08),
            collimation,
            objects,
            sixteen_bit: chance(rng, 0.08),
        }
    }
}

impl Collimation {
    fn draw(rng: &mut Stream, aspect: f32) -> Self {
        let mut side = |full: f32| {
            if chance(rng, 0.65) { full * between(rng, 0.43, 0.485) } else { full }
        };
        let edges = [side(aspect), side(aspect), side(1.0), side(1.0)];
        Self {
            angle: between(rng, -0.035, 0.035),
            half: [(edges[0] + edges[1]) / 2.0, (edges[2] + edges[3]) / 2.0],
            centre: [(edges[1] - edges[0]) / 2.0, (edges[3] - edges[2]) / 2.0],
            shutter: if chance(rng, 0.7) { between(rng, 0.0, 0.02) } else { between(rng, 0.02, 0.08) },
        }
    }

    /// How much of a place is exposed, 0 to 1; `p` and the softness of the edge in image heights.
    pub(super) fn open(&self, p: Point, soft: f32) -> f32 {
        let d = sub(p, self.centre);
        let (c, s) = (self.angle.cos(), self.angle.sin());
        let d = [(d[0] * c + d[1] * s).abs() - self.half[0], (d[1] * c - d[0] * s).abs() - self.half[1]];
        (0.5 - d[0].max(d[1]) / soft).clamp(0.0, 1.0)
    }
}

impl Object {
    fn marker(rng: &mut Stream, left: bool, aspect: f32) -> Self {
        let framed = chance(rng, 0.3);
        let places = std::array::from_fn(|_| {
            let side = if chance(rng, 0.5) { 1.0 } else { -1.0 };
            [side * aspect * between(rng, 0.3, 0.4), between(rng, -0.4, 0.4)]
        });
        let (angle, size) = (between(rng, -0.3, 0.3), between(rng, 0.032, 0.048));
        let strength = between(rng, 0.9, 1.4);
        Self { kind: ObjectKind::Marker { left, framed }, places, angle, size, strength }
    }

    /// An object that is as bright as metal in a bone, anywhere.
    fn nuisance(rng: &mut Stream, left: bool, aspect: f32) -> Self {
        let kind = match between(rng, 0.0, 4.0) as u32 {
            0 => ObjectKind::Ring,
            1 => ObjectKind::Button,
            2 => ObjectKind::Clip,
            _ => ObjectKind::Marker { left, framed: false },
        };
        let place = [aspect * between(rng, -0.38, 0.38), between(rng, -0.4, 0.4)];
        let mut places = [place; 8];
        if matches!(kind, ObjectKind::Marker { .. }) {
            places = std::array::from_fn(|_| [aspect * between(rng, -0.4, 0.4), between(rng, -0.4, 0.4)]);
        }
        let (angle, size) = (between(rng, -1.5, 1.5), between(rng, 0.022, 0.04));
        Self { kind, places, angle, size, strength: between(rng, 0.35, 0.9) }
    }

    /// How far a place relative to the object's own lies from its material, in object sizes: negative inside.
    pub(super) fn distance(&self, from_object: Point) -> f32 {
        let (c, s) = (self.angle.cos(), self.angle.sin());
        let p = [
            (from_object[0] * c + from_object[1] * s) / self.size,
            (from_object[1] * c - from_object[0] * s) / self.size,
        ];
        match self.kind {
            ObjectKind::Marker { left, framed } => {
                let glyph = if left { letter_l(p) } else { letter_r(p) };
                if framed { glyph.min(frame(p)) } else { glyph }
            }
            ObjectKind::Ring => (length([p[0], p[1] * 2.2]) - 0.85).abs() - 0.16,
            ObjectKind::Button => ((length(p) - 0.62).abs() - 0.12).min(length(p) - 0.3),
            ObjectKind::Clip => {
                stroke(p, [-0.9, -0.2], [0.9, -0.2]).min(stroke(p, [-0.9, 0.2], [0.6, 0.2])).min(stroke(
                    p,
                    [0.9, -0.2],
                    [1.05, 0.05],
                )) + 0.08
            }
        }
    }
}

const STROKE: f32 = 0.17;

fn stroke(p: Point, from: Point, to: Point) -> f32 {
    let (axis, d) = (sub(to, from), sub(p, from));
    let t = ((d[0] * axis[0] + d[1] * axis[1]) / (axis[0] * axis[0] + axis[1] * axis[1])).clamp(0.0, 1.0);
    length([d[0] - t * axis[0], d[1] - t * axis[1]]) - STROKE
}

fn letter_l(p: Point) -> f32 {
    stroke(p, [-0.45, -0.85], [-0.45, 0.85]).min(stroke(p, [-0.45, 0.85], [0.5, 0.85]))
}

fn letter_r(p: Point) -> f32 {
    let bowl = [p[0] - 0.1, p[1] + 0.42];
    let bowl = if bowl[0] > 0.0 { (length(bowl) - 0.43).abs() - STROKE } else { f32::MAX };
    stroke(p, [-0.45, -0.85], [-0.45, 0.85])
        .min(stroke(p, [-0.45, -0.85], [0.1, -0.85]))
        .min(stroke(p, [-0.45, 0.01], [0.1, 0.01]))
        .min(stroke(p, [0.0, 0.01], [0.5, 0.85]))
        .min(bowl)
}

fn frame(p: Point) -> f32 {
    let outside = (p[0].abs() - 1.0).max(p[1].abs() - 1.35);
    outside.abs() - 0.08
}
