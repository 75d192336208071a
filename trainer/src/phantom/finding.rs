//! Findings: what makes a study abnormal. A finding sits in one bone (a narrowed joint in up to two), at the
//! same place in every view, and changes nothing else.

use std::f32::consts::TAU;

use super::difficulty::Difficulty;
use super::matter::mineral;
use super::pose::{Point, length};
use super::random::{Stream, between, chance};
use super::shape::{Bone, Chord, Form, Long};
use super::skeleton::Joint;

/// The kinds of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum FindingKind {
    /// A fracture without displacement: a dark line across a bone.
    FractureLine,
    /// A displaced fracture: a step in the bone's outline.
    FractureStep,
    /// A plate and its screws.
    Hardware,
    /// A joint whose gap is nearly closed, with a dense plate of bone under it.
    NarrowedJoint,
    /// A hole (lytic) or a dense spot (sclerotic) in a bone.
    Lesion,
}

impl FindingKind {
    /// All of them.
    pub const ALL: [FindingKind; 5] = [
        FindingKind::FractureLine,
        FindingKind::FractureStep,
        FindingKind::Hardware,
        FindingKind::NarrowedJoint,
        FindingKind::Lesion,
    ];

    /// The name in `truth.csv`.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::FractureLine => "fracture_line",
            FindingKind::FractureStep => "fracture_step",
            FindingKind::Hardware => "hardware",
            FindingKind::NarrowedJoint => "narrowed_joint",
            FindingKind::Lesion => "lesion",
        }
    }
}

/// A finding at its place.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// The bones it changes.
    bones: Vec<usize>,
    /// Its place along the first one, 0 to 1.
    at: f32,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Fracture(Fracture),
    Hardware(Hardware),
    /// Share of the gap that is closed; what that is at each end, mm; how much thicker the plate of bone is.
    Narrowed {
        ends: Vec<usize>,
        share: f32,
        reach: f32,
        plate: f32,
    },
    Lesion(Lesion),
}

/// A crack across a shaft.
#[derive(Clone, Copy, Debug)]
struct Fracture {
    /// Tangent of the angle to the straight cross-section.
    slope: f32,
    /// Amplitude (share of the half width), frequency and phase of the zigzag.
    zigzag: [(f32, f32, f32); 2],
    /// Half width of the dark line, mm and pixels: the wider of the two.
    line: (f32, f32),
    /// How dark it is: 1 is no bone.
    depth: f32,
    /// How far the far fragment lies beside the near one, as a share of the half width.
    shift: f32,
}

#[derive(Clone, Copy, Debug)]
struct Hardware {
    /// Length and half width as shares of the bone's half width.
    length: f32,
    width: f32,
    /// Thickness, mm.
    thickness: f32,
    /// Radians from the viewer's side of a frontal view.
    facing: f32,
    screws: usize,
    /// Attenuation per mm.
    metal: f32,
}

#[derive(Clone, Copy, Debug)]
struct Lesion {
    /// Place beside the middle and size, as shares of the half width.
    beside: f32,
    radius: f32,
    longer: f32,
    waves: [(f32, f32); 2],
    lytic: bool,
    /// How much of the spongy bone and of the cortex is gone, or how much is added.
    strength: f32,
}

/// What a view changes about a finding: the way it faces, and how large a pixel is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Radians about the long axis.
    pub turn: f32,
    /// -1 when the view is mirrored.
    pub hand: f32,
    pub pixel_mm: f32,
}

impl Finding {
    /// Draws a finding of a kind; the site is still to be chosen with [`Self::move_to`].
    pub(super) fn draw(kind: FindingKind, difficulty: Difficulty, rng: &mut Stream) -> Self {
        let shape = match kind {
            FindingKind::FractureLine => Shape::Fracture(Fracture::draw(rng, difficulty, false)),
            FindingKind::FractureStep => Shape::Fracture(Fracture::draw(rng, difficulty, true)),
            FindingKind::Hardware => Shape::Hardware(Hardware::draw(rng, difficulty)),
            FindingKind::NarrowedJoint => Shape::Narrowed {
                ends: Vec::new(),
                reach: 0.0,
                share: difficulty.between(rng, (0.95, 1.15), (0.65, 0.85)),
                plate: difficulty.between(rng, (2.5, 3.5), (1.2, 1.8)),
            },
            FindingKind::Lesion => Shape::Lesion(Lesion::draw(rng, difficulty)),
        };
        Self { bones: Vec::new(), at: 0.5, shape }
    }

    /// Puts the finding into a bone at a share of its length, or, when it is one of joints, into a joint.
    pub(super) fn move_to(&mut self, bone: usize, at: f32, joint: Option<&Joint>) {
        (self.bones, self.at) = (vec![bone], at);
        if let (Shape::Narrowed { ends, share, reach, .. }, Some(joint)) = (&mut self.shape, joint) {
            (self.bones, *ends) = (vec![joint.bone], vec![joint.end]);
            if let Some((bone, end)) = joint.other {
                self.bones.push(bone);
                ends.push(end);
            }
            *reach = *share * joint.gap / self.bones.len() as f32;
            self.at = joint.end as f32;
        }
    }

    pub(super) fn is_of_a_joint(&self) -> bool {
        matches!(self.shape, Shape::Narrowed { .. })
    }

    /// The share of the first bone's length at which the finding is.
    pub(super) fn at(&self) -> f32 {
        self.at
    }

    pub(super) fn bones(&self) -> &[usize] {
        &self.bones
    }

    /// What a beam loses in one of the finding's bones, `bone` (as posed), when the finding is there.
    pub(super) fn mineral(&self, index: usize, bone: &Bone, p: Point, seen: Seen) -> f32 {
        let Form::Long(long) = &bone.form else {
            return bone.chord(p).map_or(0.0, |chord| mineral(bone, &chord, seen.pixel_mm));
        };
        let place = long.local(p);
        let site = self.at * long.length();
        let plain = |chord: Option<Chord>| chord.map_or(0.0, |chord| mineral(bone, &chord, seen.pixel_mm));
        match &self.shape {
            Shape::Fracture(fracture) => plain(fracture.chord(long, place, site, seen)),
            Shape::Hardware(hardware) => {
                plain(long.chord_at(place)) + hardware.metal(long, place, site, seen)
            }
            Shape::Narrowed { ends, reach, plate, .. } => {
                let mut long = long.clone();
                if let Some(which) = self.bones.iter().position(|&b| b == index) {
                    long.ends[ends[which]].reach += reach;
                    // The dense plate belongs to this end only; the other end is far away.
                    if (place[0] > long.length() / 2.0) == (ends[which] == 1) {
                        long.plate *= plate;
                    }
                }
                plain(long.chord_at(place))
            }
            Shape::Lesion(lesion) => {
                long.chord_at(place).map_or(0.0, |chord| lesion.mineral(bone, long, &chord, site, seen))
            }
        }
    }
}

impl Fracture {
    fn draw(rng: &mut Stream, difficulty: Difficulty, step: bool) -> Self {
        let oblique = if step { 0.55 } else { 0.9 };
        let sign = if chance(rng, 0.5) { 1.0 } else { -1.0 };
        let zigzag = [(0.16, 2.0), (0.07, 5.0)]
            .map(|(a, f)| (a * between(rng, 0.5, 1.2), f * between(rng, 0.7, 1.4), between(rng, 0.0, TAU)));
        let line = if step {
            (difficulty.between(rng, (0.8, 1.3), (0.25, 0.4)), difficulty.of(0.8, 0.4))
        } else {
            (difficulty.between(rng, (0.85, 1.3), (0.3, 0.5)), difficulty.of(1.0, 0.5))
        };
        let depth = difficulty.between(rng, (0.85, 1.0), (0.45, 0.65));
        let shift = if step { sign * difficulty.between(rng, (0.55, 1.0), (0.2, 0.36)) } else { 0.0 };
        Self { slope: sign * between(rng, 0.1, oblique), zigzag, line, depth, shift }
    }

    fn chord(&self, long: &Long, place: Point, site: f32, seen: Seen) -> Option<Chord> {
        let [u, v] = place;
        let (half, _) = long.section(site / long.length());
        let x = seen.hand * v / half;
        let zigzag: f32 = self.zigzag.iter().map(|(a, f, phase)| a * (f * x + phase).sin()).sum();
        // A crack is flatter to the eye when it is seen from its side.
        let lean = self.slope * (0.35 + 0.65 * seen.turn.cos().abs());
        let from_crack = (u - site - half * (lean * x + zigzag)) / (1.0 + lean * lean).sqrt();
        let mut seen_place = place;
        if from_crack > 0.0 {
            // The far fragment leans back, so that its other end stays in its joint.
            let back = ((u - site) / (long.length() - site).min(10.0 * half)).clamp(0.0, 1.0);
            let shift = self.shift * (0.4 + 0.6 * seen.turn.cos().abs());
            seen_place[1] -= seen.hand * shift * half * (1.0 - back) * (1.0 - 0.5 * back);
        }
        let mut chord = long.chord_at(seen_place)?;
        let width = self.line.0.max(self.line.1 * seen.pixel_mm);
        let left = 1.0 - self.depth * (-(from_crack / width).powi(2)).exp();
        (chord.outer, chord.inner) = (chord.outer * left, chord.inner * left);
        Some(chord)
    }
}

impl Hardware {
    fn draw(rng: &mut Stream, difficulty: Difficulty) -> Self {
        let facing = between(rng, -1.2, 1.2);
        let length = difficulty.between(rng, (5.0, 8.0), (3.0, 4.0));
        let width = difficulty.between(rng, (0.36, 0.48), (0.22, 0.3));
        // Rounded down: 4 to 6 when easy, 2 or 3 when hard.
        let screws = difficulty.between(rng, (4.0, 7.0), (2.0, 4.0)) as usize;
        let (thickness, metal) = (difficulty.of(1.8, 0.9), difficulty.of(0.45, 0.11));
        Self { length, width, thickness, facing, screws, metal }
    }

    fn metal(&self, long: &Long, place: Point, site: f32, seen: Seen) -> f32 {
        let (half, _) = long.section(site / long.length());
        let scale = (half / 7.0).clamp(0.45, 1.3);
        let thickness = self.thickness * scale;
        let (sin, cos) = (self.facing + seen.turn).sin_cos();
        let (sin, cos) = (seen.hand * sin, cos.abs());
        // Where the bone's own middle runs, and where the plate lies on its surface.
        let middle = |u: f32| long.section(u / long.length()).1;
        let beside = place[1] - middle(place[0]);
        let on_surface = sin * (half + 0.4 * thickness);
        let width = self.width * half;
        let seen_width = (width * cos + thickness / 2.0 * sin.abs()).max(0.55 * seen.pixel_mm);
        let reach = (self.length * half / 2.0).min(0.4 * long.length());
        // A plate does not stand out over the end of its bone.
        let margin = reach + 0.03 * long.length();
        let along = place[0] - site.clamp(margin, long.length() - margin);
        let edge = |d: f32| (0.5 - d / seen.pixel_mm).clamp(0.0, 1.0);

        let corner = [(along.abs() - reach + seen_width).max(0.0), beside - on_surface];
        let through = (thickness / cos.max(0.25)).min(2.0 * width);
        let mut metal = through * edge(length(corner) - seen_width);
        for i in 0..self.screws.saturating_sub(1) {
            // An empty hole between each two screws.
            let at = reach * (-0.85 + 1.7 * (i as f32 + 0.5) / (self.screws - 1) as f32);
            let off = length([along - at, beside - on_surface]);
            metal -= 0.6 * through * cos * edge(off - 0.5 * width);
        }
        for i in 0..self.screws {
            let at = reach * (-0.85 + 1.7 * i as f32 / (self.screws - 1).max(1) as f32);
            let radius = (0.22 * width + 0.55 * scale).max(0.5 * seen.pixel_mm);
            // From the plate through both cortices.
            let (from, to) = (on_surface, on_surface - sin * 2.15 * half);
            let nearest = beside.clamp(from.min(to), from.max(to));
            let off = length([along - at, beside - nearest]);
            metal += 2.0 * radius * 0.8 * edge(off - radius);
            let head = length([along - at, beside - on_surface]);
            metal += 1.2 * scale * edge(head - 1.7 * radius);
        }
        self.metal * metal.max(0.0)
    }
}

impl Lesion {
    fn draw(rng: &mut Stream, difficulty: Difficulty) -> Self {
        let waves = [0.12, 0.09].map(|a| (a * between(rng, 0.4, 1.2), between(rng, 0.0, TAU)));
        Self {
            beside: between(rng, -0.4, 0.4),
            radius: difficulty.between(rng, (0.68, 0.92), (0.34, 0.5)),
            longer: between(rng, 1.0, 1.7),
            waves,
            lytic: chance(rng, 0.6),
            strength: difficulty.between(rng, (0.85, 1.0), (0.4, 0.55)),
        }
    }

    fn mineral(&self, bone: &Bone, long: &Long, chord: &Chord, site: f32, seen: Seen) -> f32 {
        let (half, middle) = long.section(site / long.length());
        let x = (chord.place[0] - site) / self.longer;
        let y = seen.hand * (chord.place[1] - middle) - self.beside * half * seen.turn.cos();
        let angle = y.atan2(x);
        let wave: f32 = self.waves.iter().zip([2.0, 3.0]).map(|(w, k)| w.0 * (k * angle + w.1).cos()).sum();
        let radius = (self.radius * half).max(2.2 * seen.pixel_mm) * (1.0 + wave);
        let q = length([x, y]) / radius;
        let inside = ((1.0 - q) / 0.35).clamp(0.0, 1.0);
        let whole = mineral(bone, chord, seen.pixel_mm);
        if self.lytic {
            let rim = 0.3 * self.strength * (-((q - 1.08) / 0.1).powi(2)).exp();
            whole * (1.0 - 0.72 * self.strength * inside + rim)
        } else {
            // Dense bone fills the marrow and a little more stands in front and behind.
            let solid = Chord { inner: chord.inner * (1.0 - self.strength * inside), ..*chord };
            mineral(bone, &solid, seen.pixel_mm) * (1.0 + 0.35 * self.strength * inside)
        }
    }
}
