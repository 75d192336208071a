//! The registers of AVX-512, and the kernels that are made of them.
//!
//! tract's kernels for such processors store a panel number by number, which at the depth of a bottleneck takes half as long again as the
//! multiplications. And given a loop over a few numbers, the compiler finds these instructions only now and then.

use core::arch::x86_64::{
    __m512, _CMP_NEQ_UQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
use std::arch::is_x86_feature_detected;
use std::ops::{Add, Mul, Sub};

use tract_onnx::tract_core::tract_linalg::isa::{self, Isa};

use super::lanes::{Vector, Vectors};
use super::number::Number;
use super::panel::{Own, Pair, multiply_pair};

/// The kernels, where this processor has the instructions.
pub(super) fn kernels() -> &'static [Own<f32>] {
    // What is computed around them is compiled for all of these.
    let has = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma");
    if has && isa::native().has(Isa::X86_64Avx512f) { KERNELS } else { &[] }
}

/// A panel's sums, a row of its pixels and a weight fit the 32 registers. The widest panels have enough sums that none waits for its last
/// addition; narrower ones are for the last pixels.
const KERNELS: &[Own<f32>] = &[
    Own { nr: 6, vectors: Vectors::Zmm, run: &[run::<1, 6>, run::<2, 6>, run::<3, 6>, run::<4, 6>] },
    Own { nr: 8, vectors: Vectors::Zmm, run: &[run::<1, 8>, run::<2, 8>, run::<3, 8>] },
    Own { nr: 12, vectors: Vectors::Zmm, run: &[run::<1, 12>, run::<2, 12>] },
    Own { nr: 16, vectors: Vectors::Zmm, run: &[run::<1, 16>] },
];

#[target_feature(enable = "avx512f")]
fn run<const COUNT: usize, const N: usize>(pair: Pair<'_, f32>) {
    multiply_pair::<Zmm, COUNT, N>(pair);
}

/// 16 numbers. Made only where one of [`KERNELS`] was chosen ([`Vectors::Zmm`] comes from nowhere else), whose instructions the processor
/// then has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zmm(__m512);

// SAFETY, of all that follows: the processor has the instructions, see `Zmm`; what is loaded and stored is as long as a register.

#[allow(unsafe_code)]
impl Vector for Zmm {
    const LEN: usize = 16;

    #[inline(always)]
    fn all(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load<E: Number>(from: &[E]) -> Self {
        let numbers: [f32; 16] = E::to_f32s(from.as_chunks().0[0]);
        Self(unsafe { _mm512_loadu_ps(numbers.as_ptr()) })
    }

    #[inline(always)]
    fn store<E: Number>(self, to: &mut [E]) {
        let mut numbers = [0f32; 16];
        unsafe { _mm512_storeu_ps(numbers.as_mut_ptr(), self.0) };
        to.as_chunks_mut().0[0] = E::from_f32s(numbers);
    }

    #[inline(always)]
    fn times_plus(self, factor: f32, sum: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, _mm512_set1_ps(factor), sum.0) })
    }

    #[inline(always)]
    fn keep(self, kept: Self) -> Self {
        let zero = Self::all(0.0);
        Self(unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(kept.0, zero.0), self.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
}

#[allow(unsafe_code)]
impl Add for Zmm {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
}

#[allow(unsafe_code)]
impl Sub for Zmm {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
}

#[allow(unsafe_code)]
impl Mul<f32> for Zmm {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: f32) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, _mm512_set1_ps(factor)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Lanes;
    use super::*;

    /// What the operations make of two vectors.
    fn all_operations<V: Vector>(a: &[f32; 16], b: &[f32; 16]) -> [[f32; 16]; 7] {
        let (a, b) = (V::load(a), V::load(b));
        let results = [a + b, a - b, a * 3.0, a.times_plus(0.5, b), a.keep(b), a.max(b), a.relu()];
        results.map(|result| {
            let mut numbers = [0f32; 16];
            result.store(&mut numbers);
            numbers
        })
    }

    #[test]
    fn a_register_treats_numbers_as_a_loop_does() {
        if kernels().is_empty() {
            println!("no AVX-512 here: nothing tried");
            return;
        }
        let special = [0.0, -0.0, 1.5, -2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        for (x, y) in special.iter().flat_map(|x| special.map(|y| (*x, y))) {
            let (a, b) = ([x; 16], [y; 16]);
            let (ours, plain) = (all_operations::<Zmm>(&a, &b), all_operations::<Lanes<16>>(&a, &b));
            for (ours, plain) in ours.iter().zip(&plain).flat_map(|(ours, plain)| ours.iter().zip(plain)) {
                assert!(
                    ours == plain || (ours.is_nan() && plain.is_nan()),
                    "{x}, {y}: {ours} and not {plain}"
                );
            }
        }
    }
}
