//! A few numbers at once.

use std::ops::{Add, Mul, Sub};

use super::number::Number;

/// What is computed with around a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vectors {
    /// Registers of AVX-512.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    Zmm,
    /// [`Lanes<16>`].
    Sixteen,
    /// [`Lanes<8>`].
    Eight,
}

impl Vectors {
    /// Numbers of one.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Zmm | Self::Sixteen => 16,
            Self::Eight => 8,
        }
    }
}

/// No vector is longer.
pub(super) const LONGEST: usize = 16;

/// Numbers that are treated alike.
pub(super) trait Vector:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<f32, Output = Self>
{
    /// How many.
    const LEN: usize;

    /// The same for all.
    fn all(value: f32) -> Self;

    /// The first of a slice that is long enough.
    fn load<E: Number>(from: &[E]) -> Self;

    /// Over the first of a slice that is long enough.
    fn store<E: Number>(self, to: &mut [E]);

    /// Each times the factor, plus each of the other; whether it is rounded in between is not said.
    fn times_plus(self, factor: f32, sum: Self) -> Self;

    /// What it is where `kept` is not 0, and 0 elsewhere, even in place of what is no number.
    fn keep(self, kept: Self) -> Self;

    /// The greater of each two; the other's where one of them is no number.
    fn max(self, other: Self) -> Self;

    /// Negative numbers become 0; what is no number stays so.
    #[inline(always)]
    fn relu(self) -> Self {
        Self::all(0.0).max(self)
    }
}

/// A vector in a form that the compiler makes vector instructions of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes<const L: usize>([f32; L]);

impl<const L: usize> Vector for Lanes<L> {
    const LEN: usize = L;

    #[inline(always)]
    fn all(value: f32) -> Self {
        Self([value; L])
    }

    #[inline(always)]
    fn load<E: Number>(from: &[E]) -> Self {
        Self(E::to_f32s(from.as_chunks().0[0]))
    }

    #[inline(always)]
    fn store<E: Number>(self, to: &mut [E]) {
        to.as_chunks_mut().0[0] = E::from_f32s(self.0);
    }

    #[inline(always)]
    fn times_plus(self, factor: f32, sum: Self) -> Self {
        self * factor + sum
    }

    #[inline(always)]
    fn keep(mut self, kept: Self) -> Self {
        for i in 0..L {
            self.0[i] = if kept.0[i] != 0.0 { self.0[i] } else { 0.0 };
        }
        self
    }

    #[inline(always)]
    fn max(mut self, other: Self) -> Self {
        for i in 0..L {
            self.0[i] = if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] };
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
