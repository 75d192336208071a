//! The shapes a phantom is made of, in millimetres: long bones, small round bones and soft tissue. A shape
//! answers how much of it an X-ray crosses at a place of the image.

use super::pose::{Point, Pose, add, along, dot, length, perpendicular, scale, sub};

/// Values along a bone's axis from 0 (start) to 1 (end).
#[derive(Clone, Debug)]
pub(super) struct Profile([f32; Profile::SAMPLES]);

impl Profile {
    const SAMPLES: usize = 49;

    /// A smooth curve through `(place, value)` points, places ascending from 0 to 1.
    pub(super) fn through(points: &[(f32, f32)]) -> Self {
        let mut samples = [0.0; Self::SAMPLES];
        for (i, sample) in samples.iter_mut().enumerate() {
            let t = i as f32 / (Self::SAMPLES - 1) as f32;
            let next = points.iter().position(|p| p.0 >= t).unwrap_or(points.len() - 1).max(1);
            let (from, to) = (points[next - 1], points[next]);
            let x = ((t - from.0) / (to.0 - from.0).max(1e-6)).clamp(0.0, 1.0);
            *sample = from.1 + (to.1 - from.1) * x * x * (3.0 - 2.0 * x);
        }
        Self(samples)
    }

    pub(super) fn at(&self, t: f32) -> f32 {
        let place = t.clamp(0.0, 1.0) * (Self::SAMPLES - 1) as f32;
        let i = (place as usize).min(Self::SAMPLES - 2);
        let share = place - i as f32;
        self.0[i] * (1.0 - share) + self.0[i + 1] * share
    }

    pub(super) fn map(&self, mut f: impl FnMut(f32) -> f32) -> Self {
        Self(self.0.map(&mut f))
    }

    fn zip(&self, other: &Self, mut f: impl FnMut(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    pub(super) fn max(&self) -> f32 {
        self.0.iter().copied().fold(0.0, f32::max)
    }
}

/// One end of a long bone.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// How far the middle of the end stands out (hollow when negative), mm.
    pub dome: f32,
    /// How much further the end reaches on the right than in the middle, mm.
    pub tilt: f32,
    /// Over which share of the half width the edge is rounded.
    pub round: f32,
    /// How much further all of the end reaches than the axis does, mm.
    pub reach: f32,
}

/// A bone with a shaft: a hollow tube whose half width changes along a bowed axis.
#[derive(Clone, Debug)]
pub(super) struct Long {
    pub from: Point,
    pub to: Point,
    /// Depth of the two ends in front of the image plane, mm.
    pub depths: [f32; 2],
    /// Half width to the left of the axis (looking from start to end), mm.
    pub left: Profile,
    /// Half width to the right, mm.
    pub right: Profile,
    /// Half thickness along the beam over half width.
    pub flatness: f32,
    /// Thickness of the cortex, mm.
    pub cortex: Profile,
    /// Thickness of the plate under the joint's cartilage, mm.
    pub plate: f32,
    pub ends: [End; 2],
    /// How far the axis bows to the right in the middle, mm.
    pub bow: f32,
}

/// A small round bone: an ellipse with a wavy outline.
#[derive(Clone, Debug)]
pub(super) struct Pebble {
    pub centre: Point,
    pub depth: f32,
    /// Half widths, mm.
    pub radii: [f32; 2],
    /// Radians that the first radius is turned by.
    pub turn: f32,
    /// Amplitude and phase of the outline's second, third and fourth harmonic.
    pub waves: [(f32, f32); 3],
    /// Half thickness along the beam, mm.
    pub thickness: f32,
    pub cortex: f32,
}

/// The form of a bone.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Long(Long),
    Pebble(Pebble),
}

/// A bone.
#[derive(Clone, Debug)]
pub(super) struct Bone {
    pub form: Form,
    /// Mineral relative to a healthy adult's.
    pub density: f32,
    /// Where in the tile of noise its texture is.
    pub grain: Point,
    /// Whether a finding may sit in it.
    pub target: bool,
}

/// What a beam crosses of a bone at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chord {
    /// Length inside the bone, mm.
    pub outer: f32,
    /// Of which inside the marrow cavity, mm.
    pub inner: f32,
    /// The place in the bone's own coordinates, mm.
    pub place: Point,
}

impl Long {
    pub(super) fn length(&self) -> f32 {
        length(sub(self.to, self.from))
    }

    /// The place in the bone's coordinates: along the axis from the start, and to the right of it.
    pub(super) fn local(&self, p: Point) -> Point {
        let axis = along(self.from, self.to);
        let from_start = sub(p, self.from);
        [dot(from_start, axis), dot(from_start, perpendicular(axis))]
    }

    /// The inverse of [`Self::local`].
    pub(super) fn global(&self, place: Point) -> Point {
        let axis = along(self.from, self.to);
        add(self.from, add(scale(axis, place[0]), scale(perpendicular(axis), place[1])))
    }

    /// Half width, and how far the middle lies to the right of the straight axis, at a share of the length.
    pub(super) fn section(&self, t: f32) -> (f32, f32) {
        let (left, right) = (self.left.at(t), self.right.at(t));
        let t = t.clamp(0.0, 1.0);
        ((left + right) / 2.0, (right - left) / 2.0 + self.bow * 4.0 * t * (1.0 - t))
    }

    pub(super) fn chord_at(&self, place: Point) -> Option<Chord> {
        let [u, v] = place;
        let length = self.length();
        let t = u / length;
        let (half, middle) = self.section(t);
        let w = (v - middle) / half;
        let side = 1.0 - w * w;
        if side <= 0.0 {
            return None;
        }
        let [start, end] = self.ends;
        let from_start = u + start.reach + start.dome * side - start.tilt * w;
        let from_end = length + end.reach + end.dome * side + end.tilt * w - u;
        let (edge, round) =
            if from_start < from_end { (from_start, start.round) } else { (from_end, end.round) };
        if edge <= 0.0 {
            return None;
        }
        let cap = |edge: f32| {
            let x = (1.0 - edge / (round * half)).max(0.0);
            (1.0 - x * x).max(0.0).sqrt()
        };
        let thick = half * self.flatness;
        let outer = 2.0 * thick * side.sqrt() * cap(edge);

        let cortex = self.cortex.at(t).min(0.8 * half);
        let w = (v - middle) / (half - cortex);
        let side = 1.0 - w * w;
        let edge = edge - self.plate;
        let mut inner = 0.0;
        if side > 0.0 && edge > 0.0 {
            inner = 2.0 * (thick - cortex).max(0.0) * side.sqrt() * cap(edge);
        }
        Some(Chord { outer, inner: inner.min(outer), place })
    }

    fn posed(&self, pose: &Pose) -> Self {
        let (turn_cos, turn_sin) = (pose.turn.cos(), pose.turn.sin());
        let flat = self.flatness;
        let widths = (turn_cos.powi(2) + (flat * turn_sin).powi(2)).sqrt();
        let depths = ((flat * turn_cos).powi(2) + turn_sin.powi(2)).sqrt();
        let (half, middle) = (
            self.left.zip(&self.right, |l, r| (l + r) / 2.0),
            self.left.zip(&self.right, |l, r| (r - l) / 2.0),
        );
        // Seen from the other side, or mirrored, left and right change places.
        let hand = if pose.mirror { -1.0 } else { 1.0 };
        let skew = hand * turn_cos;
        let size = pose.size;
        let end = |e: End| End {
            dome: e.dome * size,
            tilt: e.tilt * skew * size,
            round: e.round,
            reach: e.reach * size,
        };
        Self {
            from: pose.apply(self.from, self.depths[0]),
            to: pose.apply(self.to, self.depths[1]),
            depths: [0.0; 2],
            left: half.zip(&middle, |h, m| (h * widths - m * skew) * size),
            right: half.zip(&middle, |h, m| (h * widths + m * skew) * size),
            flatness: depths / widths,
            cortex: self.cortex.map(|c| c * size),
            plate: self.plate * size,
            ends: self.ends.map(end),
            bow: self.bow * skew * size,
        }
    }
}

impl Pebble {
    fn chord(&self, p: Point) -> Option<Chord> {
        let d = sub(p, self.centre);
        let limit = self.radii[0].max(self.radii[1]) * 1.3;
        if dot(d, d) > limit * limit {
            return None;
        }
        let (c, s) = (self.turn.cos(), self.turn.sin());
        let place = [d[0] * c + d[1] * s, d[1] * c - d[0] * s];
        let angle = place[1].atan2(place[0]);
        let wave: f32 =
            self.waves.iter().zip([2.0, 3.0, 4.0]).map(|(w, k)| w.0 * (k * angle + w.1).cos()).sum();
        let q = length([place[0] / self.radii[0], place[1] / self.radii[1]]) / (1.0 + wave);
        // A little squarer than an ellipsoid: small bones have flat faces.
        let dome = |q: f32| (1.0 - q.powi(4)).max(0.0).sqrt();
        if q >= 1.0 {
            return None;
        }
        let shrink =
            (self.radii[0].min(self.radii[1]) / (self.radii[0].min(self.radii[1]) - self.cortex)).max(1.0);
        let inner = 2.0 * (self.thickness - self.cortex).max(0.0) * dome(q * shrink);
        Some(Chord { outer: 2.0 * self.thickness * dome(q), inner, place })
    }

    fn posed(&self, pose: &Pose) -> Self {
        let (turn_cos, turn_sin) = (pose.turn.cos().abs(), pose.turn.sin().abs());
        let mean = (self.radii[0] * self.radii[1]).sqrt();
        let seen = |radius: f32| (radius * turn_cos).hypot(self.thickness.min(mean) * turn_sin);
        let hand = if pose.mirror { -1.0 } else { 1.0 };
        Self {
            centre: pose.apply(self.centre, self.depth),
            depth: 0.0,
            radii: self.radii.map(|r| seen(r) * pose.size),
            turn: hand * self.turn + pose.angle,
            waves: self.waves.map(|(a, phase)| (a, hand * phase)),
            // A flat bone stays flat: it is not turned far enough to be seen on edge.
            thickness: (self.thickness * turn_cos).hypot(mean.min(2.0 * self.thickness) * turn_sin)
                * pose.size,
            cortex: self.cortex * pose.size,
        }
    }
}

impl Bone {
    /// The bone as a view shows it.
    pub(super) fn posed(&self, pose: &Pose) -> Self {
        let form = match &self.form {
            Form::Long(long) => Form::Long(long.posed(pose)),
            Form::Pebble(pebble) => Form::Pebble(pebble.posed(pose)),
        };
        Self { form, ..self.clone() }
    }

    pub(super) fn chord(&self, p: Point) -> Option<Chord> {
        match &self.form {
            Form::Long(long) => long.chord_at(long.local(p)),
            Form::Pebble(pebble) => pebble.chord(p),
        }
    }

    /// Two corners of a box around the bone, mm.
    pub(super) fn bounds(&self) -> [Point; 2] {
        match &self.form {
            Form::Long(long) => {
                let reach = long.left.max().max(long.right.max()) + long.bow.abs() + 4.0;
                let [low, high] = [0, 1].map(|end| long.ends[end].dome.abs() + long.ends[end].tilt.abs());
                let margin = reach + low.max(high);
                let corner = |pick: fn(f32, f32) -> f32, margin: f32| {
                    [pick(long.from[0], long.to[0]) + margin, pick(long.from[1], long.to[1]) + margin]
                };
                [corner(f32::min, -margin), corner(f32::max, margin)]
            }
            Form::Pebble(pebble) => {
                let reach = pebble.radii[0].max(pebble.radii[1]) * 1.3;
                [sub(pebble.centre, [reach; 2]), add(pebble.centre, [reach; 2])]
            }
        }
    }
}

/// A piece of soft tissue: a tapered, round-ended roll.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tissue {
    pub from: Point,
    pub to: Point,
    pub depth: f32,
    /// Half widths at the two ends, mm.
    pub radii: [f32; 2],
    /// Half thickness along the beam over half width.
    pub flatness: f32,
}

impl Tissue {
    pub(super) fn posed(&self, pose: &Pose) -> Self {
        let (turn_cos, turn_sin) = (pose.turn.cos(), pose.turn.sin());
        let widths = turn_cos.hypot(self.flatness * turn_sin);
        let depths = (self.flatness * turn_cos).hypot(turn_sin);
        Self {
            from: pose.apply(self.from, self.depth),
            to: pose.apply(self.to, self.depth),
            depth: 0.0,
            radii: self.radii.map(|r| r * widths * pose.size),
            flatness: depths / widths,
        }
    }

    /// What a beam crosses of the roll, mm: all of it, and the muscle inside its layer of fat.
    pub(super) fn chord(&self, p: Point, fat: f32) -> (f32, f32) {
        let axis = sub(self.to, self.from);
        let from_start = sub(p, self.from);
        let t = (dot(from_start, axis) / dot(axis, axis).max(1e-6)).clamp(0.0, 1.0);
        let radius = self.radii[0] + (self.radii[1] - self.radii[0]) * t;
        let off = sub(from_start, scale(axis, t));
        let off = dot(off, off);
        let through = |radius: f32| 2.0 * self.flatness * (radius * radius - off).max(0.0).sqrt();
        (through(radius), if radius > fat { through(radius - fat) } else { 0.0 })
    }

    pub(super) fn bounds(&self) -> [Point; 2] {
        let reach = self.radii[0].max(self.radii[1]);
        let corner = |pick: fn(f32, f32) -> f32, margin: f32| {
            [pick(self.from[0], self.to[0]) + margin, pick(self.from[1], self.to[1]) + margin]
        };
        [corner(f32::min, -reach), corner(f32::max, reach)]
    }
}
