//! Matrix products and vectors for processors with AVX-512.
//!
//! tract's kernels for them store a panel number by number, which at the depth of a bottleneck takes half as long again as the
//! multiplications. These store vectors; the rest is as theirs: a panel's sums stay in registers while all of its depth is added up.

use core::arch::x86_64::{
    __m512, _CMP_NEQ_UQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_load_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
use std::ops::{Add, Mul, Sub};

use super::kernel::{Own, Pair};
use super::lanes::Vector;
use super::number::Number;

/// Numbers of a vector.
const L: usize = 16;

/// Panels of one or more vectors of pixels and `nr` channels. Their sums, a row of pixels and a weight fit the processor's 32
/// registers, and there are enough sums that none waits for its last addition.
pub(super) const KERNELS: &[Own<f32>] = &[
    Own { nr: 6, vector: L, run: &[product::<1, 6>, product::<2, 6>, product::<3, 6>, product::<4, 6>] },
    Own { nr: 8, vector: L, run: &[product::<1, 8>, product::<2, 8>, product::<3, 8>] },
    Own { nr: 12, vector: L, run: &[product::<1, 12>, product::<2, 12>] },
    Own { nr: 16, vector: L, run: &[product::<1, 16>] },
];

/// # Panics
/// When a slice is too short or the pixels are not aligned.
#[target_feature(enable = "avx512f")]
fn product<const V: usize, const N: usize>(pair: Pair<'_, f32>) {
    let Pair { depth, pixels, channels, bias, relu, out, pitch } = pair;
    assert!(pixels.len() >= depth * V * L && pixels.as_ptr().addr().is_multiple_of(size_of::<__m512>()));
    assert!(out.len() >= (N - 1) * pitch + V * L);
    let channels = &channels.as_chunks::<N>().0[..depth];
    let mut sums = [[_mm512_setzero_ps(); V]; N];
    for (k, weights) in channels.iter().enumerate() {
        let mut row = [_mm512_setzero_ps(); V];
        for (v, vector) in row.iter_mut().enumerate() {
            // SAFETY: `pixels` has `depth` rows of `V` vectors and begins where a vector may, by the assertion above.
            #[allow(unsafe_code)]
            unsafe {
                *vector = _mm512_load_ps(pixels.as_ptr().add((k * V + v) * L));
            }
        }
        for n in 0..N {
            let weight = _mm512_set1_ps(weights[n]);
            for v in 0..V {
                sums[n][v] = _mm512_fmadd_ps(row[v], weight, sums[n][v]);
            }
        }
    }
    let bias = bias.map_or([0.0; N], |bias| bias.as_chunks().0[0]);
    let floor = _mm512_set1_ps(if relu { 0.0 } else { f32::NEG_INFINITY });
    for (n, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            // In this order, what is no number stays so.
            let sum = _mm512_max_ps(floor, _mm512_add_ps(sum, _mm512_set1_ps(bias[n])));
            // SAFETY: `out` has `N` planes, `pitch` apart, of `V` vectors, by the assertion above.
            #[allow(unsafe_code)]
            unsafe {
                _mm512_storeu_ps(out.as_mut_ptr().add(n * pitch + v * L), sum);
            }
        }
    }
}

/// A register of the processor's. Vectors of this type are made only where a kernel of [`KERNELS`] was chosen, which the processor then
/// has the instructions for. The compiler, given a loop over the same numbers, finds these instructions only now and then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide(__m512);

// SAFETY, of all that follows: the processor has AVX-512, see `Wide`; what is loaded and stored is as long as a vector.
#[allow(unsafe_code)]
impl Vector for Wide {
    const LEN: usize = L;

    #[inline(always)]
    fn all(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load<E: Number>(from: &[E]) -> Self {
        let numbers: [f32; L] = E::widen(from.as_chunks().0[0]);
        Self(unsafe { _mm512_loadu_ps(numbers.as_ptr()) })
    }

    #[inline(always)]
    fn store<E: Number>(self, to: &mut [E]) {
        let mut numbers = [0f32; L];
        unsafe { _mm512_storeu_ps(numbers.as_mut_ptr(), self.0) };
        to.as_chunks_mut().0[0] = E::narrow(numbers);
    }

    #[inline(always)]
    fn store_first(self, to: &mut [f32]) {
        let mask = u16::MAX.checked_shl(to.len() as u32).map_or(u16::MAX, |others| !others);
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, self.0) };
    }

    #[inline(always)]
    fn keep(self, kept: Self) -> Self {
        let zero = Self::all(0.0);
        Self(unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(kept.0, zero.0), self.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(other.0, self.0) })
    }

    #[inline(always)]
    fn relu(self) -> Self {
        Self::all(0.0).max(self)
    }
}

impl Add for Wide {
    type Output = Self;
    #[inline(always)]
    #[allow(unsafe_code)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
}

impl Sub for Wide {
    type Output = Self;
    #[inline(always)]
    #[allow(unsafe_code)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
}

impl Mul<f32> for Wide {
    type Output = Self;
    #[inline(always)]
    #[allow(unsafe_code)]
    fn mul(self, factor: f32) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, _mm512_set1_ps(factor)) })
    }
}
