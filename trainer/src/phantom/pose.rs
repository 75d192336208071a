//! How a view shows the body part: turned about its long axis, rotated in the image plane, mirrored, moved.

/// A place or direction, millimetres: to the right and down.
pub(super) type Point = [f32; 2];

pub(super) fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1]]
}

pub(super) fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

pub(super) fn scale(a: Point, by: f32) -> Point {
    [a[0] * by, a[1] * by]
}

pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

pub(super) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// The unit vector from one place to another.
pub(super) fn along(from: Point, to: Point) -> Point {
    let d = sub(to, from);
    scale(d, 1.0 / length(d).max(1e-6))
}

/// To the right of a direction, on a screen whose y points down.
pub(super) fn perpendicular(axis: Point) -> Point {
    [-axis[1], axis[0]]
}

/// The direction that is `radians` clockwise from straight up.
pub(super) fn heading(radians: f32) -> Point {
    [radians.sin(), -radians.cos()]
}

/// One view's geometry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    /// Radians about the body part's long axis: 0 is frontal, a quarter turn lateral.
    pub turn: f32,
    /// Radians clockwise in the image plane.
    pub angle: f32,
    /// A left body part instead of a right one.
    pub mirror: bool,
    /// Size relative to the average adult's.
    pub size: f32,
    /// Where the body part's origin comes to lie, mm from the image's centre.
    pub shift: Point,
}

impl Pose {
    /// Where a place of the body part, `depth` mm in front of the image plane, is seen.
    pub(super) fn apply(&self, p: Point, depth: f32) -> Point {
        let mut x = p[0] * self.turn.cos() + depth * self.turn.sin();
        if self.mirror {
            x = -x;
        }
        let (c, s) = (self.angle.cos() * self.size, self.angle.sin() * self.size);
        add([x * c - p[1] * s, x * s + p[1] * c], self.shift)
    }
}
