//! A few numbers at once, in a form that the compiler makes vector instructions of.

use std::ops::{Add, Mul, Sub};

use super::number::Number;

/// Numbers that are treated alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes<const L: usize>(pub(super) [f32; L]);

impl<const L: usize> Lanes<L> {
    pub(super) const ZERO: Self = Self([0.0; L]);

    /// The first of a slice that is long enough.
    #[inline(always)]
    pub(super) fn load<E: Number>(from: &[E]) -> Self {
        Self(E::widen(from.as_chunks().0[0]))
    }

    /// Over the first of a slice that is long enough.
    #[inline(always)]
    pub(super) fn store<E: Number>(self, to: &mut [E]) {
        to.as_chunks_mut().0[0] = E::narrow(self.0);
    }

    /// What it is where `kept` is not 0, and 0 elsewhere, even in place of what is no number.
    #[inline(always)]
    pub(super) fn keep(mut self, kept: Self) -> Self {
        for i in 0..L {
            self.0[i] = if kept.0[i] != 0.0 { self.0[i] } else { 0.0 };
        }
        self
    }

    /// The greater of each two.
    #[inline(always)]
    pub(super) fn max(mut self, other: Self) -> Self {
        for i in 0..L {
            self.0[i] = if self.0[i] < other.0[i] { other.0[i] } else { self.0[i] };
        }
        self
    }

    /// Negative numbers become 0; what is no number stays so.
    #[inline(always)]
    pub(super) fn relu(mut self) -> Self {
        for value in &mut self.0 {
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
        self
    }
}

impl<const L: usize> Add for Lanes<L> {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for i in 0..L {
            self.0[i] += other.0[i];
        }
        self
    }
}

impl<const L: usize> Sub for Lanes<L> {
    type Output = Self;
    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        for i in 0..L {
            self.0[i] -= other.0[i];
        }
        self
    }
}

impl<const L: usize> Mul<f32> for Lanes<L> {
    type Output = Self;
    #[inline(always)]
    fn mul(mut self, factor: f32) -> Self {
        for value in &mut self.0 {
            *value *= factor;
        }
        self
    }
}
