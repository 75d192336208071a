//! From shapes to grey levels: one view of a body part.
//!
//! Attenuation adds up along the beam; the detector's answer is windowed by the *normal* anatomy, so that a
//! finding moves no other pixel. The plane of a view with a finding differs from its normal twin only where
//! the finding is.

use super::finding::{Finding, Seen};
use super::looks::{Looks, Object, ObjectKind};
use super::matter::{mineral, soft};
use super::pose::{Point, Pose, heading, sub};
use super::random::{Stream, normal};
use super::shape::{Bone, Tissue};

/// One view, ready to be drawn.
pub(super) struct Scene {
    pub width: usize,
    pub height: usize,
    pub pixel_mm: f32,
    pub pose: Pose,
    /// As posed.
    pub bones: Vec<Bone>,
    pub tissue: Vec<Tissue>,
    pub air: Vec<Tissue>,
    pub fat: f32,
    /// How much the soft tissue shows: thin parts are taken with softer rays.
    pub tissue_gain: f32,
    pub looks: Looks,
    /// A finding shows clearly in a pixel whose grey level it changes by more.
    pub clear: f32,
}

/// Grey levels 0 to 1, row by row, and what a finding changed.
pub(super) struct Picture {
    pub grey: Vec<f32>,
    /// The box around all changed pixels: left, top, right, bottom, the last two exclusive. `None` without
    /// a visible finding.
    pub changed: Option<[usize; 4]>,
    /// How many pixels show the finding clearly, as [`Scene::clear`] has it.
    pub clear: usize,
}

/// A difference in grey level that is seen at a glance.
pub(super) const PLAIN: f32 = 0.08;
/// A difference in grey level that is seen on a second look.
pub(super) const SUBTLE: f32 = 0.03;

/// A change of less than two of 256 grey levels is not seen.
const VISIBLE: f32 = 2.0 / 255.0;

impl Scene {
    /// Draws the view; `noise` must be at the start of the view's noise stream.
    pub(super) fn draw(&self, finding: Option<&Finding>, noise: &mut Stream) -> Picture {
        let plane = self.attenuation();
        let range = self.range(&plane);
        let objects = self.objects(&plane, range.1);
        let noise: Vec<f32> = (0..plane.len()).map(|_| normal(noise)).collect();
        let with = finding.map(|finding| self.with(finding, &plane));
        let normal = self.develop(plane, &objects, range, &noise);
        let Some(with) = with else {
            return Picture { grey: normal, changed: None, clear: 0 };
        };
        let grey = self.develop(with, &objects, range, &noise);
        let changed = self.changed(&normal, &grey);
        let clear = normal.iter().zip(&grey).filter(|(a, b)| (*a - *b).abs() > self.clear).count();
        Picture { changed, clear, grey }
    }

    /// The place of a pixel's middle, mm from the image's centre.
    fn place(&self, x: usize, y: usize) -> Point {
        [
            (x as f32 + 0.5 - self.width as f32 / 2.0) * self.pixel_mm,
            (y as f32 + 0.5 - self.height as f32 / 2.0) * self.pixel_mm,
        ]
    }

    /// Calls `f` with the index and place of each pixel in a box given in mm.
    fn within(&self, [low, high]: [Point; 2], mut f: impl FnMut(usize, Point)) {
        let pixel =
            |mm: f32, side: usize| (mm / self.pixel_mm + side as f32 / 2.0).clamp(0.0, side as f32) as usize;
        let (left, right) = (pixel(low[0], self.width), (pixel(high[0], self.width) + 1).min(self.width));
        let (top, bottom) = (pixel(low[1], self.height), (pixel(high[1], self.height) + 1).min(self.height));
        for y in top..bottom {
            for x in left..right {
                f(y * self.width + x, self.place(x, y));
            }
        }
    }

    /// What each pixel's beam loses in the normal anatomy.
    fn attenuation(&self) -> Vec<f32> {
        let pixels = self.width * self.height;
        let (mut all, mut muscle) = (vec![0.0f32; pixels], vec![0.0f32; pixels]);
        for roll in &self.tissue {
            self.within(roll.bounds(), |i, p| {
                let (through, inside) = roll.chord(p, self.fat);
                (all[i], muscle[i]) = (all[i].max(through), muscle[i].max(inside));
            });
        }
        for roll in &self.air {
            self.within(roll.bounds(), |i, p| {
                let air = 0.8 * roll.chord(p, 0.0).0;
                (all[i], muscle[i]) =
                    ((all[i] - air).max(0.35 * all[i]), (muscle[i] - air).max(0.3 * muscle[i]));
            });
        }
        // Rolls of tissue flow into each other.
        let radius = (2.2 / self.pixel_mm).round().max(1.0) as usize;
        for plane in [&mut all, &mut muscle] {
            box_blur(plane, self.width, radius);
            box_blur(plane, self.width, radius.div_ceil(2));
        }
        let limb = heading(self.pose.angle);
        let mut plane = vec![0.0; pixels];
        for y in 0..self.height {
            for x in 0..self.width {
                let i = y * self.width + x;
                plane[i] = self.tissue_gain * soft(all[i], muscle[i], self.place(x, y), limb);
            }
        }
        for bone in &self.bones {
            self.within(bone.bounds(), |i, p| {
                if let Some(chord) = bone.chord(p) {
                    plane[i] += mineral(bone, &chord, self.pixel_mm);
                }
            });
        }
        plane
    }

    /// The plane with a finding: only the bones it sits in are looked at again.
    fn with(&self, finding: &Finding, plane: &[f32]) -> Vec<f32> {
        let hand = if self.pose.mirror { -1.0 } else { 1.0 };
        let seen = Seen { turn: self.pose.turn, hand, pixel_mm: self.pixel_mm };
        let mut plane = plane.to_vec();
        for &index in finding.bones() {
            let bone = &self.bones[index];
            self.within(bone.bounds(), |i, p| {
                let healthy = bone.chord(p).map_or(0.0, |chord| mineral(bone, &chord, self.pixel_mm));
                let ill = finding.mineral(index, bone, p, seen);
                if ill != healthy {
                    plane[i] += ill - healthy;
                }
            });
        }
        plane
    }

    /// The attenuation of air and of the densest bone, between which the image is windowed.
    fn range(&self, plane: &[f32]) -> (f32, f32) {
        let mut sorted = plane.to_vec();
        let at = (sorted.len() as f32 * 0.993) as usize;
        let (_, dense, _) = sorted.select_nth_unstable_by(at, f32::total_cmp);
        (0.0, dense.max(0.3))
    }

    /// What the objects in the beam take away, per pixel.
    fn objects(&self, plane: &[f32], dense: f32) -> Vec<f32> {
        let mut loss = vec![0.0f32; plane.len()];
        let height = self.height as f32 * self.pixel_mm;
        for object in &self.looks.objects {
            let at = self.emptiest(object, plane).map(|c| c * height);
            let reach = 1.6 * object.size * height;
            let soft = self.pixel_mm / (object.size * height);
            self.within([sub(at, [reach; 2]), sub(at, [-reach; 2])], |i, p| {
                let distance = object.distance(sub(p, at).map(|c| c / height));
                loss[i] += dense * object.strength * (0.5 - distance / soft).clamp(0.0, 1.0);
            });
        }
        loss
    }

    /// Of an object's places the one with the least behind it.
    fn emptiest(&self, object: &Object, plane: &[f32]) -> Point {
        if !matches!(object.kind, ObjectKind::Marker { .. }) {
            return object.places[0];
        }
        let height = self.height as f32;
        let behind = |place: &Point| -> f32 {
            let reach = (1.2 * object.size * height) as isize;
            let (x, y) = (place[0] * height + self.width as f32 / 2.0, (place[1] + 0.5) * height);
            let mut sum = 0.0;
            for (dx, dy) in [(0, 0), (-reach, -reach), (reach, -reach), (-reach, reach), (reach, reach)] {
                let column = (x as isize + dx).clamp(0, self.width as isize - 1) as usize;
                let row = (y as isize + dy).clamp(0, self.height as isize - 1) as usize;
                sum += plane[row * self.width + column];
            }
            sum
        };
        let mut best = object.places[0];
        for place in &object.places[1..] {
            if behind(place) < behind(&best) {
                best = *place;
            }
        }
        best
    }

    /// From attenuation to grey levels.
    fn develop(&self, mut plane: Vec<f32>, objects: &[f32], range: (f32, f32), noise: &[f32]) -> Vec<f32> {
        let looks = &self.looks;
        for (value, loss) in plane.iter_mut().zip(objects) {
            *value += loss;
        }
        gaussian_blur(&mut plane, self.width, (looks.blur_mm / self.pixel_mm).hypot(0.45));
        let span = range.1 - range.0;
        let height = self.height as f32;
        for y in 0..self.height {
            for x in 0..self.width {
                let i = y * self.width + x;
                let p =
                    [(x as f32 + 0.5 - self.width as f32 / 2.0) / height, (y as f32 + 0.5) / height - 0.5];
                let falloff =
                    looks.heel[0] * p[0] + looks.heel[1] * p[1] + looks.corners * (p[0] * p[0] + p[1] * p[1]);
                let thick = (plane[i] - range.0) / span;
                // The fewer photons come through, the more their number varies.
                let grain = looks.noise * (1.1 * thick.min(1.6)).exp() * noise[i];
                let value = (thick + grain).max(0.0).powf(looks.gamma);
                let value = looks.black + (looks.white - looks.black) * value + falloff;
                plane[i] = shoulder(value);
                if let Some(field) = &looks.collimation {
                    let open = field.open(p, 2.0 / height);
                    plane[i] = open * plane[i] + (1.0 - open) * (field.shutter + 0.004 * noise[i]);
                }
                plane[i] = plane[i].clamp(0.0, 1.0);
            }
        }
        plane
    }

    fn changed(&self, before: &[f32], after: &[f32]) -> Option<[usize; 4]> {
        let mut bounds: Option<[usize; 4]> = None;
        for (i, (a, b)) in before.iter().zip(after).enumerate() {
            if (a - b).abs() >= VISIBLE {
                let (x, y) = (i % self.width, i / self.width);
                let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
                bounds = Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]);
            }
        }
        bounds
    }
}

/// Bends values that would be clipped towards white.
fn shoulder(value: f32) -> f32 {
    const FROM: f32 = 0.86;
    if value <= FROM { value } else { FROM + (1.0 - FROM) * (1.0 - (-(value - FROM) / (1.0 - FROM)).exp()) }
}

/// The mean over a square of side `2 * radius + 1`; the border's value goes on outside.
fn box_blur(plane: &mut [f32], width: usize, radius: usize) {
    let height = plane.len() / width;
    let mut line = Vec::with_capacity(width.max(height));
    let mut pass = |plane: &mut [f32], start: usize, step: usize, count: usize| {
        line.clear();
        line.extend((0..count).map(|i| plane[start + i * step]));
        let at = |i: isize| line[i.clamp(0, count as isize - 1) as usize];
        let mut sum: f32 = (-(radius as isize)..=radius as isize).map(at).sum();
        for i in 0..count {
            plane[start + i * step] = sum / (2 * radius + 1) as f32;
            sum += at((i + radius + 1) as isize) - at(i as isize - radius as isize);
        }
    };
    for y in 0..height {
        pass(plane, y * width, 1, width);
    }
    for x in 0..width {
        pass(plane, x, width, height);
    }
}

/// A Gaussian blur with a deviation in pixels, cut at three deviations.
fn gaussian_blur(plane: &mut [f32], width: usize, deviation: f32) {
    let radius = (3.0 * deviation).ceil() as usize;
    let mut kernel: Vec<f32> = (0..=radius).map(|i| (-0.5 * (i as f32 / deviation).powi(2)).exp()).collect();
    let sum = kernel[0] + 2.0 * kernel[1..].iter().sum::<f32>();
    kernel.iter_mut().for_each(|k| *k /= sum);
    let height = plane.len() / width;
    let mut out = vec![0.0f32; plane.len()];
    for (row, target) in plane.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        for x in 0..width {
            let mut value = kernel[0] * row[x];
            for (d, k) in kernel.iter().enumerate().skip(1) {
                value += k * (row[x.saturating_sub(d)] + row[(x + d).min(width - 1)]);
            }
            target[x] = value;
        }
    }
    for y in 0..height {
        let target = &mut plane[y * width..(y + 1) * width];
        target.iter_mut().zip(&out[y * width..]).for_each(|(t, v)| *t = kernel[0] * v);
        for (d, k) in kernel.iter().enumerate().skip(1) {
            let above = &out[y.saturating_sub(d) * width..][..width];
            let below = &out[(y + d).min(height - 1) * width..][..width];
            for ((t, a), b) in target.iter_mut().zip(above).zip(below) {
                *t += k * (a + b);
            }
        }
    }
}
