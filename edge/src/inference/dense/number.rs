//! What kernels compute with: f32, or f16 on processors that have it.
//!
//! What a kernel reads and writes is of this type; everything else is computed and kept in f32.

use tract_onnx::prelude::f16;
use tract_onnx::tract_core::tract_linalg::LADatum;

/// A kernel's numbers.
pub(in crate::inference) trait Number: LADatum + Default {
    /// Sides of the tiles that Winograd's transforms are exact enough for.
    const TILE_SIDES: &'static [usize];

    /// The nearest of this type.
    fn of(value: f32) -> Self;

    /// The same in f32.
    fn to_f32(self) -> f32;

    /// [`Self::of`] for several, a multiple of four.
    #[inline(always)]
    fn from_f32s<const L: usize>(values: [f32; L]) -> [Self; L] {
        values.map(Self::of)
    }

    /// [`Self::to_f32`] for several, a multiple of four.
    #[inline(always)]
    fn to_f32s<const L: usize>(values: [Self; L]) -> [f32; L] {
        values.map(Self::to_f32)
    }
}

impl Number for f32 {
    const TILE_SIDES: &'static [usize] = &[2, 4];

    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32s<const L: usize>(values: [f32; L]) -> [Self; L] {
        values
    }

    #[inline(always)]
    fn to_f32s<const L: usize>(values: [Self; L]) -> [f32; L] {
        values
    }
}

impl Number for f16 {
    /// The transforms of larger tiles multiply by up to 100 and add up again, for which 11 bits are too few.
    const TILE_SIDES: &'static [usize] = &[2];

    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn from_f32s<const L: usize>(values: [f32; L]) -> [Self; L] {
        by_fours(values, neon::narrow)
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn to_f32s<const L: usize>(values: [Self; L]) -> [f32; L] {
        by_fours(values, neon::widen)
    }
}

/// Converts four at a time; plain indices, which the compiler unrolls in every build.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn by_fours<A: Copy, B: Copy + Default, const L: usize>(
    values: [A; L],
    convert: impl Fn([A; 4]) -> [B; 4],
) -> [B; L] {
    let mut converted = [B::default(); L];
    let mut i = 0;
    while i < L {
        let four = [values[i], values[i + 1], values[i + 2], values[i + 3]];
        [converted[i], converted[i + 1], converted[i + 2], converted[i + 3]] = convert(four);
        i += 4;
    }
    converted
}

/// Four at once, an instruction each way, which the compiler does not find by itself.
#[cfg(target_arch = "aarch64")]
mod neon {
    use core::arch::aarch64::{
        vcvt_f16_f32, vcvt_f32_f16, vld1_u16, vld1q_f32, vreinterpret_f16_u16, vreinterpret_u16_f16,
        vst1_u16, vst1q_f32,
    };

    use tract_onnx::prelude::f16;

    #[inline(always)]
    pub(super) fn narrow(values: [f32; 4]) -> [f16; 4] {
        let mut narrow = [f16::ZERO; 4];
        // SAFETY: every processor of this architecture has NEON, both arrays are as long as what is loaded and stored, and an f16 is
        // its bits (`repr(transparent)`).
        #[allow(unsafe_code)]
        unsafe {
            vst1_u16(
                narrow.as_mut_ptr().cast(),
                vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(values.as_ptr()))),
            );
        }
        narrow
    }

    #[inline(always)]
    pub(super) fn widen(values: [f16; 4]) -> [f32; 4] {
        let mut wide = [0f32; 4];
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            vst1q_f32(
                wide.as_mut_ptr(),
                vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(values.as_ptr().cast()))),
            );
        }
        wide
    }
}
