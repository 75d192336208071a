//! A few numbers at once.

use std::ops::{Add, Mul, Sub};

#[cfg(target_arch = "x86_64")]
pub(super) use super::avx512::Wide;
use super::number::Number;

/// The widest vectors.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Wide = Lanes<16>;

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

    /// The first of these over a slice that need not be.
    fn store_first(self, to: &mut [f32]);

    /// What it is where `kept` is not 0, and 0 elsewhere, even in place of what is no number.
    fn keep(self, kept: Self) -> Self;

    /// The greater of each two.
    fn max(self, other: Self) -> Self;

    /// Negative numbers become 0; what is no number stays so.
    fn relu(self) -> Self;
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
        Self(E::widen(from.as_chunks().0[0]))
    }

    #[inline(always)]
    fn store<E: Number>(self, to: &mut [E]) {
        to.as_chunks_mut().0[0] = E::narrow(self.0);
    }

    #[inline(always)]
    fn store_first(self, to: &mut [f32]) {
        let count = to.len().min(L);
        to[..count].copy_from_slice(&self.0[..count]);
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
            self.0[i] = if self.0[i] < other.0[i] { other.0[i] } else { self.0[i] };
        }
        self
    }

    #[inline(always)]
    fn relu(mut self) -> Self {
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
