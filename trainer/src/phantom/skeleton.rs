//! The body parts: which bones lie where, and the soft tissue around them. Right side, palm down or patient
//! facing the detector, fingers up; millimetres from the middle of the view.

use std::f32::consts::FRAC_PI_2;

use super::bones::{HUMERUS, METACARPAL, PHALANX, RADIUS, RIB, ROD, TUFTED, ULNA, pebble};
use super::pose::{Point, add, heading, scale};
use super::random::{Stream, between, chance};
use super::shape::{Bone, End, Form, Tissue};

/// A joint between the end of a long bone and what lies opposite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joint {
    /// The long bone, and which of its ends.
    pub bone: usize,
    pub end: usize,
    /// The long bone opposite, if it is one, and which of its ends.
    pub other: Option<(usize, usize)>,
    /// Width of the gap, mm.
    pub gap: f32,
}

/// A body part of one patient.
#[derive(Clone, Debug, Default)]
pub(super) struct Anatomy {
    pub bones: Vec<Bone>,
    pub tissue: Vec<Tissue>,
    pub joints: Vec<Joint>,
    /// Thickness of the subcutaneous fat, mm.
    pub fat: f32,
    /// How much soft tissue shows beside bone: more with the softer rays that thin parts are taken with.
    pub tissue_gain: f32,
    /// Height of a view, mm, and its width over its height.
    pub height: f32,
    pub aspect: (f32, f32),
    /// Turns about the long axis of the usual views, degrees.
    pub turns: &'static [f32],
    /// Air inside the soft tissue: a lung.
    pub air: Vec<Tissue>,
}

/// Draws the body part of a study type; one that is not of MURA's seven is drawn as a forearm.
pub(super) fn anatomy(study_type: &str, rng: &mut Stream) -> Anatomy {
    let mut part = Anatomy { fat: between(rng, 2.5, 6.0), ..Anatomy::default() };
    match study_type {
        "XR_WRIST" => wrist_view(&mut part, rng),
        "XR_HAND" => hand_view(&mut part, rng),
        "XR_FINGER" => finger_view(&mut part, rng),
        "XR_ELBOW" => elbow_view(&mut part, rng),
        "XR_HUMERUS" => humerus_view(&mut part, rng),
        "XR_SHOULDER" => shoulder_view(&mut part, rng),
        _ => forearm_view(&mut part, rng),
    }
    part.tissue_gain = match study_type {
        "XR_FINGER" => 2.0,
        "XR_HAND" => 1.7,
        "XR_WRIST" => 1.25,
        _ => 1.0,
    } * between(rng, 0.85, 1.15);
    // Bone mass differs between patients, and a little between the bones of one.
    let mass = between(rng, 0.85, 1.15);
    for bone in &mut part.bones {
        bone.density *= mass * between(rng, 0.96, 1.04);
    }
    part
}

impl Anatomy {
    fn push(&mut self, bone: Bone) -> usize {
        self.bones.push(bone);
        self.bones.len() - 1
    }

    fn joint(&mut self, bone: usize, end: usize, other: Option<(usize, usize)>, gap: f32) {
        self.joints.push(Joint { bone, end, other, gap });
    }

    fn roll(&mut self, from: Point, to: Point, radii: [f32; 2], flatness: f32) {
        self.tissue.push(Tissue { from, to, depth: 0.0, radii, flatness });
    }

    /// Sets how far a bone lies in front of the image plane, mm.
    fn lift(&mut self, bone: usize, depth: f32) {
        match &mut self.bones[bone].form {
            Form::Long(long) => long.depths = [depth; 2],
            Form::Pebble(pebble) => pebble.depth = depth,
        }
    }

    fn end_of(&self, bone: usize) -> Point {
        match &self.bones[bone].form {
            Form::Long(long) => long.to,
            Form::Pebble(pebble) => pebble.centre,
        }
    }

    fn not_a_target(&mut self, bone: usize) {
        self.bones[bone].target = false;
    }
}

/// The eight carpal bones above a radius whose joint surface is at y = 0: centre, half widths, turn, depth.
const CARPALS: [(Point, [f32; 2], f32, f32); 8] = [
    ([-10.5, -9.5], [10.0, 6.6], -0.9, 0.0),
    ([2.5, -8.0], [7.6, 7.0], 0.2, 0.0),
    ([14.0, -11.0], [7.0, 6.0], 0.6, -2.0),
    ([16.0, -14.0], [4.6, 4.2], 0.0, 7.0),
    ([-18.5, -23.5], [7.2, 6.4], 0.5, 4.0),
    ([-9.0, -25.0], [5.6, 6.4], 0.2, 0.0),
    ([0.8, -21.5], [6.8, 10.6], 0.1, 0.0),
    ([11.5, -23.0], [7.0, 8.4], 0.35, 0.0),
];
/// Metacarpals from the thumb on: base, heading in degrees, length, half width of the shaft.
const METACARPALS: [(Point, f32, f32, f32); 5] = [
    ([-23.0, -30.5], -38.0, 45.0, 4.6),
    ([-10.5, -34.0], -9.0, 66.0, 4.3),
    ([0.5, -34.5], -1.0, 64.0, 4.3),
    ([9.5, -33.5], 6.0, 57.0, 3.7),
    ([16.5, -31.5], 14.0, 53.0, 3.7),
];
/// Phalanges of each finger: lengths from the base on.
const PHALANGES: [&[f32]; 5] =
    [&[31.0, 22.0], &[40.0, 23.0, 16.5], &[44.0, 27.0, 17.5], &[41.0, 25.5, 17.5], &[32.0, 18.5, 15.5]];

/// Carpals, and metacarpals of which the given share shows; `wrist` is the radius's joint surface.
fn carpus(part: &mut Anatomy, rng: &mut Stream, wrist: Point, metacarpal_share: f32) -> [usize; 5] {
    for (centre, radii, turn, depth) in CARPALS {
        let centre = add(add(wrist, centre), [between(rng, -0.6, 0.6), between(rng, -0.6, 0.6)]);
        let turn = turn + between(rng, -0.1, 0.1);
        let bone = pebble(rng, centre, radii.map(|r| 0.94 * r), turn, radii[1].min(6.5));
        let bone = part.push(bone);
        part.lift(bone, depth);
    }
    METACARPALS.map(|(base, degrees, length, width)| {
        let towards = heading((degrees + between(rng, -2.0, 2.0)).to_radians());
        let bone = METACARPAL.part(
            rng,
            (0.0, metacarpal_share),
            add(wrist, base),
            towards,
            length * metacarpal_share,
            width,
        );
        part.push(bone)
    })
}

/// Radius and ulna below a wrist, of which the given share of the length shows.
fn forearm_end(part: &mut Anatomy, rng: &mut Stream, wrist: Point, shown: f32) -> (usize, usize) {
    let (length, up) = (240.0, heading(between(rng, -0.02, 0.02)));
    let from = add(add(wrist, [-5.5, 0.0]), scale(up, -length * shown));
    let radius = RADIUS.part(rng, (1.0 - shown, 1.0), from, up, length * shown, 6.6);
    let radius = part.push(radius);
    let head = add(wrist, [18.5, between(rng, -1.5, 2.0)]);
    let from = add(head, scale(up, -length * shown));
    let ulna = ULNA.part(rng, (1.0 - shown, 1.0), from, up, length * shown, 6.0);
    let ulna = part.push(ulna);
    part.lift(ulna, -4.0);
    part.joint(radius, 1, None, 2.6);
    (radius, ulna)
}

fn wrist_view(part: &mut Anatomy, rng: &mut Stream) {
    let wrist = [0.0, 22.0];
    forearm_end(part, rng, wrist, 0.36);
    carpus(part, rng, wrist, 0.9);
    part.roll([4.0, 120.0], [3.0, 20.0], [38.0, 29.0], 0.62);
    part.roll([3.0, 20.0], [0.0, -14.0], [29.0, 33.0], 0.5);
    part.roll([0.0, -14.0], [2.0, -100.0], [35.0, 44.0], 0.34);
    part.roll([-20.0, -2.0], [-50.0, -50.0], [19.0, 14.0], 0.75);
    (part.height, part.aspect) = (between(rng, 118.0, 138.0), (0.68, 0.9));
    part.turns = &[0.0, 42.0, 85.0];
}

fn finger(part: &mut Anatomy, rng: &mut Stream, digit: usize, knuckle: usize, spread: f32) {
    let (mut at, mut before) = (part.end_of(knuckle), knuckle);
    let mut degrees = METACARPALS[digit].1 * 0.75 + spread;
    let lengths = PHALANGES[digit];
    for (i, &length) in lengths.iter().enumerate() {
        let last = i + 1 == lengths.len();
        let towards = heading(degrees.to_radians());
        let gap = if i == 0 { 2.2 } else { 1.6 };
        let outstanding = if i == 0 { 2.4 } else { 0.9 };
        let start = add(at, scale(towards, gap + outstanding));
        let width =
            [4.5, 3.9, 3.4][i.max(usize::from(digit == 0 && last))] * if digit == 4 { 0.88 } else { 1.0 };
        let outline = if last { &TUFTED } else { &PHALANX };
        let length = length * between(rng, 0.97, 1.03);
        let bone = outline.bone(rng, start, towards, length, width);
        let bone = part.push(bone);
        part.joint(bone, 0, Some((before, 1)), gap);
        let (to, wide) = (part.end_of(bone), if digit == 0 { 11.0 } else { 9.6 - 0.9 * i as f32 });
        let beyond = if last { add(to, scale(towards, -3.5)) } else { to };
        part.roll(at, beyond, [wide + 0.6, wide - 0.8], 0.85);
        (at, before) = (to, bone);
        degrees += between(rng, -3.0, 3.0);
    }
}

fn hand_view(part: &mut Anatomy, rng: &mut Stream) {
    let wrist = [0.0, 74.0];
    let (radius, ulna) = forearm_end(part, rng, wrist, 0.2);
    part.not_a_target(radius);
    part.not_a_target(ulna);
    let metacarpals = carpus(part, rng, wrist, 1.0);
    let open = between(rng, 0.6, 1.5);
    for (digit, &metacarpal) in metacarpals.iter().enumerate() {
        let spread = open * [-2.0, -3.0, -0.5, 2.5, 7.0][digit] + between(rng, -1.5, 1.5);
        finger(part, rng, digit, metacarpal, spread);
        let (from, to) = (add(wrist, METACARPALS[digit].0), part.end_of(metacarpal));
        part.roll(from, to, if digit == 0 { [16.0, 13.0] } else { [16.0, 12.5] }, 0.85);
    }
    part.roll([3.0, 170.0], [0.0, 66.0], [36.0, 30.0], 0.55);
    part.roll([-2.0, 55.0], [2.0, 2.0], [31.0, 34.0], 0.36);
    part.roll([-14.0, 48.0], [-34.0, 14.0], [17.0, 13.0], 0.9);
    (part.height, part.aspect) = (between(rng, 212.0, 232.0), (0.74, 0.92));
    part.turns = &[0.0, 28.0, 40.0];
}

fn finger_view(part: &mut Anatomy, rng: &mut Stream) {
    let digit = if chance(rng, 0.2) { 0 } else { 1 + (between(rng, 0.0, 3.999) as usize) };
    let (_, degrees, length, width) = METACARPALS[digit];
    let upright = heading((degrees * 0.75).to_radians());
    let knuckle = scale(upright, -30.0);
    let base = add(knuckle, scale(upright, -length));
    let metacarpal = METACARPAL.bone(rng, base, upright, length, width);
    let metacarpal = part.push(metacarpal);
    part.not_a_target(metacarpal);
    finger(part, rng, digit, metacarpal, 0.0);
    part.roll(base, knuckle, [26.0, 14.0], 0.6);
    // A view straight up: the finger's own heading is taken back.
    part.height = between(rng, 98.0, 112.0);
    part.aspect = (0.5, 0.68);
    part.turns = &[0.0, 40.0, 82.0];
    let lean = (degrees * 0.75).to_radians();
    for bone in &mut part.bones {
        if let Form::Long(long) = &mut bone.form {
            (long.from, long.to) = (upright_at(long.from, lean), upright_at(long.to, lean));
        }
    }
    for roll in &mut part.tissue {
        (roll.from, roll.to) = (upright_at(roll.from, lean), upright_at(roll.to, lean));
    }
}

fn upright_at(p: Point, lean: f32) -> Point {
    let (c, s) = (lean.cos(), lean.sin());
    [p[0] * c + p[1] * s, p[1] * c - p[0] * s]
}

fn forearm_view(part: &mut Anatomy, rng: &mut Stream) {
    let (length, up) = (between(rng, 228.0, 248.0), heading(0.0));
    let elbow = [0.0, length / 2.0 - 6.0];
    let radius = RADIUS.bone(rng, add(elbow, [-11.0, -8.0]), heading(0.045), length, 6.8);
    let radius = part.push(radius);
    if let Form::Long(long) = &mut part.bones[radius].form {
        long.bow = -6.0;
    }
    let ulna = ULNA.bone(rng, add(elbow, [11.0, 18.0]), heading(0.03), length + 14.0, 6.4);
    let ulna = part.push(ulna);
    part.lift(ulna, -6.0);
    let humerus = HUMERUS.part(rng, (0.72, 1.0), add(elbow, [4.0, 88.0]), up, 84.0, 11.0);
    let humerus = part.push(humerus);
    part.not_a_target(humerus);
    part.joint(radius, 0, Some((humerus, 1)), 3.0);
    let wrist = add(part.end_of(radius), [4.0, 0.0]);
    for bone in carpus(part, rng, wrist, 0.5) {
        part.not_a_target(bone);
    }
    part.joint(radius, 1, None, 2.6);
    part.roll([4.0, 210.0], add(elbow, [4.0, -10.0]), [46.0, 46.0], 0.8);
    part.roll(add(elbow, [2.0, -20.0]), add(wrist, [3.0, 20.0]), [46.0, 28.0], 0.8);
    part.roll(add(wrist, [3.0, 20.0]), add(wrist, [0.0, -60.0]), [28.0, 42.0], 0.5);
    (part.height, part.aspect) = (length + between(rng, 28.0, 52.0), (0.42, 0.6));
    part.turns = &[0.0, 75.0, 90.0];
}

/// Distal humerus above, radius and ulna below; bent by `bend` radians in the side view.
fn elbow_view(part: &mut Anatomy, rng: &mut Stream) {
    let side = chance(rng, 0.45);
    let bend = if side { between(rng, 1.25, 1.65) } else { between(rng, 0.02, 0.2) };
    let down = heading(std::f32::consts::PI);
    let width = 10.8;
    let humerus = HUMERUS.part(rng, (0.45, 1.0), [0.0, -150.0], down, 146.0, width);
    let humerus = part.push(humerus);
    if side && let Form::Long(long) = &mut part.bones[humerus].form {
        // Seen from the side the condyles lie over each other: narrow, round, a little in front.
        let narrow =
            |half: f32| if half > 1.3 * width { 1.3 * width + 0.18 * (half - 1.3 * width) } else { half };
        (long.left, long.right) = (long.left.map(narrow), long.right.map(narrow));
        long.ends[1] = End { dome: 8.0, tilt: 2.0, round: 0.9, reach: 0.0 };
        long.flatness = 1.5;
    }
    let below = heading(std::f32::consts::PI - bend);
    let across = heading(std::f32::consts::PI - bend - FRAC_PI_2);
    let joint = if side { [4.0, 2.0] } else { [0.0, 0.0] };
    let start = add(
        joint,
        add(scale(below, if side { 13.0 } else { 1.0 }), scale(across, if side { 3.0 } else { 12.0 })),
    );
    let radius = RADIUS.part(rng, (0.0, 0.6), start, below, 145.0, 7.4);
    let radius = part.push(radius);
    part.joint(radius, 0, Some((humerus, 1)), 3.0);
    let olecranon =
        if side { add(joint, add(scale(below, -17.0), scale(across, -13.0))) } else { [-11.0, -18.0] };
    let ulna = ULNA.part(rng, (0.0, 0.62), olecranon, below, 162.0, 8.2);
    part.push(ulna);
    let upper = between(rng, 42.0, 52.0);
    part.roll([0.0, -180.0], [0.0, -10.0], [upper, 40.0], 0.85);
    part.roll([0.0, -8.0], add(joint, scale(below, 60.0)), [40.0, 43.0], 0.85);
    part.roll(add(joint, scale(below, 60.0)), add(joint, scale(below, 190.0)), [43.0, 32.0], 0.85);
    (part.height, part.aspect) = (between(rng, 165.0, 190.0), if side { (0.85, 1.0) } else { (0.6, 0.8) });
    part.turns = &[0.0, 12.0, -18.0];
}

/// The scapula, the clavicle and, further in, ribs, beside a humeral head at `head`.
fn girdle(part: &mut Anatomy, rng: &mut Stream, head: Point) {
    let glenoid = add(head, [27.0, 8.0]);
    let mut thin = Vec::new();
    let socket = pebble(rng, add(glenoid, [5.0, 0.0]), [6.5, 17.5], 0.12, 10.0);
    thin.push((part.push(socket), 0.75));
    let mut blade = pebble(rng, add(glenoid, [40.0, 30.0]), [34.0, 56.0], 0.3, 3.2);
    if let Form::Pebble(pebble) = &mut blade.form {
        // A triangle with its point down.
        pebble.waves[1] = (0.2, -1.5 * std::f32::consts::PI);
    }
    thin.push((part.push(blade), 0.9));
    let border = RIB.bone(rng, add(glenoid, [6.0, 12.0]), heading(2.62), 92.0, 4.2);
    thin.push((part.push(border), 1.5));
    let spine = RIB.bone(rng, add(glenoid, [4.0, -22.0]), heading(1.72), 84.0, 5.0);
    thin.push((part.push(spine), 1.2));
    let acromion = pebble(rng, add(head, [2.0, -31.0]), [19.0, 7.0], -0.22, 6.0);
    thin.push((part.push(acromion), 1.0));
    let coracoid = pebble(rng, add(glenoid, [1.0, -21.0]), [9.5, 6.5], 0.5, 6.5);
    thin.push((part.push(coracoid), 0.9));
    for (bone, density) in thin {
        part.bones[bone].density = density;
        part.not_a_target(bone);
    }
    let clavicle = ROD.bone(rng, add(head, [20.0, -38.0]), heading(1.38), 128.0, 5.6);
    let clavicle = part.push(clavicle);
    if let Form::Long(long) = &mut part.bones[clavicle].form {
        long.bow = -7.0;
    }
    let lung = Tissue {
        from: add(head, [122.0, 20.0]),
        to: add(head, [126.0, 170.0]),
        depth: 0.0,
        radii: [58.0, 68.0],
        flatness: 0.9,
    };
    part.air.push(lung);
    for i in 0..6 {
        let from = add(head, [66.0 + 3.0 * i as f32, -4.0 + 25.0 * i as f32]);
        let rib = RIB.bone(rng, from, heading(1.05 + 0.05 * i as f32), 120.0, 5.2);
        let rib = part.push(rib);
        part.bones[rib].density = 1.3;
        part.not_a_target(rib);
        if let Form::Long(long) = &mut part.bones[rib].form {
            long.bow = -14.0;
        }
    }
}

fn humerus_view(part: &mut Anatomy, rng: &mut Stream) {
    let (length, down) = (between(rng, 285.0, 310.0), heading(std::f32::consts::PI));
    let top = [0.0, -length / 2.0 - 4.0];
    let down = add(down, [between(rng, -0.03, 0.03), 0.0]);
    let humerus = HUMERUS.bone(rng, top, down, length, 11.4);
    let humerus = part.push(humerus);
    let elbow = part.end_of(humerus);
    let radius = RADIUS.part(rng, (0.0, 0.3), add(elbow, [-11.0, 4.0]), down, 70.0, 7.4);
    let radius = part.push(radius);
    let ulna = ULNA.part(rng, (0.0, 0.3), add(elbow, [11.0, -16.0]), down, 90.0, 8.0);
    let ulna = part.push(ulna);
    part.not_a_target(radius);
    part.not_a_target(ulna);
    part.joint(radius, 0, Some((humerus, 1)), 3.0);
    girdle(part, rng, add(top, [7.0, 22.0]));
    let thick = between(rng, 48.0, 62.0);
    part.roll([4.0, -190.0], [4.0, -length / 4.0], [70.0, thick], 0.8);
    part.roll([4.0, -length / 4.0], [0.0, length / 2.0], [thick, 42.0], 0.85);
    part.roll([0.0, length / 2.0], [0.0, length / 2.0 + 90.0], [42.0, 44.0], 0.85);
    part.roll(add(top, [95.0, -20.0]), add(top, [110.0, 190.0]), [86.0, 92.0], 0.7);
    (part.height, part.aspect) = (length + between(rng, 24.0, 46.0), (0.5, 0.68));
    part.turns = &[0.0, 25.0, -20.0];
}

fn shoulder_view(part: &mut Anatomy, rng: &mut Stream) {
    let abduction = between(rng, -0.05, 0.22);
    let top = [-26.0, -34.0];
    let humerus = HUMERUS.part(rng, (0.0, 0.6), top, heading(std::f32::consts::PI + abduction), 178.0, 11.8);
    let humerus = part.push(humerus);
    if let Form::Long(long) = &mut part.bones[humerus].form {
        // The axis points down, so that the head, on its right, would lie outside.
        std::mem::swap(&mut long.left, &mut long.right);
        long.ends[0].tilt = -long.ends[0].tilt;
    }
    part.joint(humerus, 0, None, 4.0);
    girdle(part, rng, add(top, [8.0, 22.0]));
    part.roll([-24.0, -38.0], [-40.0, 170.0], [50.0, 50.0], 0.85);
    part.roll([70.0, 0.0], [110.0, 130.0], [88.0, 100.0], 0.75);
    part.roll([-8.0, -34.0], [130.0, -75.0], [52.0, 80.0], 0.7);
    (part.height, part.aspect) = (between(rng, 175.0, 200.0), (0.85, 1.0));
    part.turns = &[0.0, 18.0, -24.0];
}
