//! The single bones: their outlines, as shares of a width.

use rand::RngExt;

use super::pose::{Point, add, scale};
use super::random::{Stream, between};
use super::shape::{Bone, End, Form, Long, Pebble, Profile};

/// The outline of a long bone: half widths along the axis as shares of the bone's width, and its ends.
pub(super) struct Outline {
    pub left: &'static [(f32, f32)],
    pub right: &'static [(f32, f32)],
    /// Dome and tilt of each end as shares of the width, and how rounded it is.
    pub ends: [(f32, f32, f32); 2],
    /// Thickness of the cortex at the start, in the middle and at the end, as shares of the width.
    pub cortex: [f32; 3],
    pub flatness: f32,
}

const SHORT_END: f32 = 0.5;

/// A metacarpal: a broad base at its start, a round head at its end.
pub(super) const METACARPAL: Outline = Outline {
    left: &[(0.0, 1.3), (0.12, 1.3), (0.32, 0.85), (0.62, 0.85), (0.85, 1.2), (0.95, 1.2), (1.0, 1.05)],
    right: &[(0.0, 1.3), (0.12, 1.25), (0.35, 0.85), (0.6, 0.82), (0.85, 1.2), (0.95, 1.2), (1.0, 1.05)],
    ends: [(-0.1, 0.1, 0.4), (0.55, 0.0, 0.9)],
    cortex: [0.12, 0.42, 0.1],
    flatness: 0.9,
};
/// A proximal or middle phalanx: a hollow base, two low knuckles at the end.
pub(super) const PHALANX: Outline = Outline {
    left: &[(0.0, 1.35), (0.1, 1.35), (0.35, 0.9), (0.7, 0.75), (0.9, 1.05), (1.0, 1.0)],
    right: &[(0.0, 1.35), (0.1, 1.35), (0.35, 0.9), (0.7, 0.75), (0.9, 1.05), (1.0, 1.0)],
    ends: [(-0.25, 0.0, 0.35), (0.15, 0.0, 0.7)],
    cortex: [0.12, 0.38, 0.12],
    flatness: 0.75,
};
/// A distal phalanx with its tuft.
pub(super) const TUFTED: Outline = Outline {
    left: &[(0.0, 1.3), (0.12, 1.25), (0.5, 0.62), (0.75, 0.6), (0.92, 0.85), (1.0, 0.75)],
    right: &[(0.0, 1.3), (0.12, 1.25), (0.5, 0.62), (0.75, 0.6), (0.92, 0.85), (1.0, 0.75)],
    ends: [(-0.15, 0.0, 0.4), (0.35, 0.0, 0.9)],
    cortex: [0.12, 0.3, 0.12],
    flatness: 0.6,
};
/// The radius from elbow to wrist; the styloid process is on the left.
pub(super) const RADIUS: Outline = Outline {
    left: &[
        (0.0, 1.4),
        (0.04, 1.4),
        (0.1, 0.85),
        (0.18, 1.05),
        (0.3, 0.95),
        (0.75, 1.0),
        (0.9, 1.75),
        (0.97, 2.2),
        (1.0, 2.2),
    ],
    right: &[
        (0.0, 1.4),
        (0.04, 1.4),
        (0.1, 0.85),
        (0.17, 1.35),
        (0.25, 1.0),
        (0.75, 1.05),
        (0.9, 1.6),
        (0.97, 2.05),
        (1.0, 2.0),
    ],
    ends: [(-0.2, 0.0, 0.3), (-0.35, -0.75, 0.35)],
    cortex: [0.15, 0.5, 0.14],
    flatness: 0.75,
};
/// The ulna from the olecranon to its head.
pub(super) const ULNA: Outline = Outline {
    left: &[
        (0.0, 1.3),
        (0.05, 1.75),
        (0.13, 1.55),
        (0.2, 1.15),
        (0.6, 0.85),
        (0.9, 0.85),
        (0.97, 1.15),
        (1.0, 1.1),
    ],
    right: &[
        (0.0, 1.4),
        (0.05, 1.75),
        (0.13, 1.4),
        (0.22, 1.1),
        (0.6, 0.85),
        (0.9, 0.9),
        (0.97, 1.3),
        (1.0, 1.25),
    ],
    ends: [(0.5, 0.0, 0.7), (0.2, 0.45, 0.5)],
    cortex: [0.2, 0.48, 0.15],
    flatness: 0.9,
};
/// The humerus from the shoulder to the elbow; the head is on the right, the tuberosities on the left.
pub(super) const HUMERUS: Outline = Outline {
    left: &[
        (0.0, 1.35),
        (0.03, 1.75),
        (0.07, 1.9),
        (0.14, 1.4),
        (0.25, 1.05),
        (0.5, 0.95),
        (0.75, 0.95),
        (0.87, 1.5),
        (0.94, 2.5),
        (0.965, 2.6),
        (1.0, 1.75),
    ],
    right: &[
        (0.0, 1.6),
        (0.03, 2.5),
        (0.07, 2.7),
        (0.12, 2.15),
        (0.18, 1.3),
        (0.3, 1.0),
        (0.75, 0.95),
        (0.87, 1.5),
        (0.93, 2.8),
        (0.96, 3.0),
        (1.0, 2.0),
    ],
    ends: [(0.7, 0.25, 0.9), (0.25, 0.25, 0.4)],
    cortex: [0.12, 0.42, 0.16],
    flatness: 0.8,
};
/// The clavicle from the acromion inwards, or any plain rod.
pub(super) const ROD: Outline = Outline {
    left: &[(0.0, 1.3), (0.2, 1.1), (0.5, 0.9), (0.8, 1.0), (1.0, 1.4)],
    right: &[(0.0, 1.3), (0.2, 1.1), (0.5, 0.9), (0.8, 1.0), (1.0, 1.4)],
    ends: [(0.1, 0.0, 0.6), (0.1, 0.0, 0.6)],
    cortex: [0.15, 0.35, 0.15],
    flatness: 0.8,
};
/// A rib.
pub(super) const RIB: Outline = Outline {
    left: &[(0.0, 1.0), (1.0, 1.0)],
    right: &[(0.0, 1.0), (1.0, 1.0)],
    ends: [(0.0, 0.0, 0.5), (0.0, 0.0, 0.5)],
    cortex: [0.2, 0.2, 0.2],
    flatness: 0.5,
};

impl Outline {
    /// A bone with this outline from one place in a direction; `width` is its half width in the middle, mm.
    pub(super) fn bone(
        &self,
        rng: &mut Stream,
        from: Point,
        towards: Point,
        length: f32,
        width: f32,
    ) -> Bone {
        let mut waver = |points: &[(f32, f32)]| {
            let points: Vec<_> =
                points.iter().map(|&(t, r)| (t, r * width * between(rng, 0.95, 1.05))).collect();
            Profile::through(&points)
        };
        let (left, right) = (waver(self.left), waver(self.right));
        let cortex_size = width * between(rng, 0.85, 1.15);
        let [start, middle, end] = self.cortex.map(|c| (c * cortex_size).max(0.5));
        let ends = self.ends.map(|(dome, tilt, round)| End {
            dome: dome * width,
            tilt: tilt * width,
            round,
            reach: 0.0,
        });
        let long = Long {
            from,
            to: add(from, scale(towards, length)),
            depths: [0.0; 2],
            left,
            right,
            flatness: self.flatness,
            cortex: Profile::through(&[
                (0.0, start),
                (0.08, start),
                (0.35, middle),
                (0.65, middle),
                (0.92, end),
                (1.0, end),
            ]),
            plate: (0.1 * width).clamp(0.5, 1.2),
            ends,
            bow: length * between(rng, -0.008, 0.008),
        };
        Bone { form: Form::Long(long), density: 1.0, grain: grain(rng), target: true }
    }

    /// The part of a bone from a share of its length on to its end, or from its start to that share: what a
    /// view that does not show all of it leaves over. The cut lies outside the image.
    pub(super) fn part(
        &self,
        rng: &mut Stream,
        cut: (f32, f32),
        from: Point,
        towards: Point,
        length: f32,
        width: f32,
    ) -> Bone {
        let mut bone = self.bone(rng, from, towards, length, width);
        if let Form::Long(long) = &mut bone.form {
            let span = cut.1 - cut.0;
            let resample = |p: &Profile| {
                let points: Vec<_> =
                    (0..=24).map(|i| i as f32 / 24.0).map(|t| (t, p.at(cut.0 + t * span))).collect();
                Profile::through(&points)
            };
            (long.left, long.right, long.cortex) =
                (resample(&long.left), resample(&long.right), resample(&long.cortex));
            let flat = End { dome: 0.0, tilt: 0.0, round: SHORT_END, reach: 0.0 };
            if cut.0 > 0.0 {
                long.ends[0] = flat;
            }
            if cut.1 < 1.0 {
                long.ends[1] = flat;
            }
        }
        bone
    }
}

/// A small round bone with half widths `radii`, turned by `turn` radians; `thickness` is half its depth.
pub(super) fn pebble(rng: &mut Stream, centre: Point, radii: [f32; 2], turn: f32, thickness: f32) -> Bone {
    let waves = [0.05, 0.045, 0.03]
        .map(|amplitude| (amplitude * between(rng, 0.3, 1.0), between(rng, 0.0, std::f32::consts::TAU)));
    let pebble = Pebble { centre, depth: 0.0, radii, turn, waves, thickness, cortex: between(rng, 0.4, 0.6) };
    Bone { form: Form::Pebble(pebble), density: 1.0, grain: grain(rng), target: false }
}

fn grain(rng: &mut Stream) -> Point {
    [rng.random::<f32>() * 256.0, rng.random::<f32>() * 256.0]
}
