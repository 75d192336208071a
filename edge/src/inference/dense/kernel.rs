//! Matrix kernels, called tile by tile: tract-linalg's, or our own.
//!
//! tract's own driver packs, loops and stores around a kernel. Here the operands are made in the kernel's packing by whoever
//! computes them, and the result goes where it is needed next, so only the kernel itself is taken from it: hand-written for AVX2,
//! NEON and more, and chosen for the processor at run time. Where there are kernels of our own ([`own_kernels`]), those are.
//!
//! A kernel multiplies a *panel* of `mr` pixels by one of `nr` channels, both `depth` deep and packed with `depth` as the outer
//! axis: `[depth][mr]` and `[depth][nr]`. Panels of one operand follow each other.

use std::any::Any;
use std::ops::{Deref, DerefMut};

use tract_onnx::tract_core::tract_linalg::MmmDispatch;
use tract_onnx::tract_core::tract_linalg::mmm::{
    DynKernel, FusedKerSpec, MMMInputFormat, MatMatMul, OutputStoreKer, Query, retain_best,
};
use tract_onnx::tract_core::tract_linalg::pack::PackedFormat;

#[cfg(target_arch = "x86_64")]
pub(super) use super::avx512::Zmm;
use super::lanes::Vectors;
use super::number::Number;
use super::panel::{Own, Pair};

/// Of packed operands: the widest vector that a kernel loads. A panel's `mr` pixels are whole vectors, so that its rows are aligned
/// where its beginning is.
const ALIGNMENT_BYTES: usize = 64;

/// Packed pixels that a second-level cache holds beside a panel of channels, in bytes.
const PACKED_MAX: usize = 128 * 1024;

/// A kernel: how many pixels and how many channels it takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel<E: Number> {
    mr: usize,
    nr: usize,
    code: Code<E>,
}

#[derive(Clone, Copy, Debug)]
enum Code<E: Number> {
    Tract(Function<E>),
    Own(Own<E>),
}

/// A kernel of tract's. It takes its steps in their order and gives 0.
type Function<E> = unsafe fn(&[FusedKerSpec<E>]) -> isize;

/// What happens to a sum before it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epilogue<'a, E> {
    /// Added, one per channel.
    pub(super) bias: Option<&'a [E]>,
    /// Negative sums become 0.
    pub(super) relu: bool,
}

/// Weights in a kernel's packing.
#[derive(Debug)]
pub(super) struct Channels<E> {
    numbers: Numbers<E>,
    depth: usize,
    written: usize,
    /// Of the kernel that they were packed for.
    nr: usize,
}

impl<E> Channels<E> {
    /// Weights of each channel.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// How many channels a product writes: those that there are, made up to whole panels.
    pub(super) fn written(&self) -> usize {
        self.written
    }
}

/// Panels to be packed: `count` of them, of `mr` pixels each, from the pixel `first` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels {
    pub(super) mr: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// What stands for the registers of [`Vectors::Zmm`] where there are none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Zmm = super::lanes::Lanes<16>;

/// Every kernel's panel is a multiple of so many pixels wide.
pub(super) const LANES: usize = 8;

/// No kernel's panel is wider.
pub(super) const WIDEST_PANEL: usize = 128;

impl<E: Number> Kernel<E> {
    /// An operand may begin at every multiple of so many numbers.
    pub(super) const ALIGNMENT: usize = ALIGNMENT_BYTES / size_of::<E>();

    /// The fastest for so many pixels, so deep, and so many channels; none where there is none for this processor that fits.
    ///
    /// tract's own choice is not asked: it takes the other operand for the weights.
    pub(super) fn choose(pixels: usize, depth: usize, channels: usize) -> Option<Self> {
        Self::all().into_iter().min_by_key(|kernel| kernel.cost(pixels, depth, channels))
    }

    /// Those that may be chosen: our own, or else tract's.
    fn all() -> Vec<Self> {
        let widest =
            |own: &Own<E>| Self { mr: own.run.len() * own.vectors.len(), nr: own.nr, code: Code::Own(*own) };
        let own = own_kernels::<E>().iter().map(widest);
        if own.len() > 0 { own.collect() } else { Self::of_tract() }
    }

    /// tract's kernels that fit and are the best of its own for this processor.
    fn of_tract() -> Vec<Self> {
        let dispatch = MmmDispatch::native();
        let mut suitable = dispatch.suitable(&Query::plain(E::datum_type(), None, None, None));
        suitable.retain(|(kernel, packing, _)| *packing == 0 && Self::of(&**kernel).is_some());
        retain_best(&mut suitable);
        suitable.iter().filter_map(|(kernel, ..)| Self::of(&**kernel)).collect()
    }

    /// About how long a product takes, to compare with others, in quarters of a cycle: for each step of a panel a multiplication
    /// for each vector of pixels and each channel, and loads of both at half its price; for each pair of panels a store and a call.
    pub(super) fn cost(&self, pixels: usize, depth: usize, channels: usize) -> usize {
        let rest = match pixels % self.mr {
            0 => 0,
            rest => self.for_rest(rest).pair_cost(depth),
        };
        channels.div_ceil(self.nr) * (pixels / self.mr * self.pair_cost(depth) + rest)
    }

    fn pair_cost(&self, depth: usize) -> usize {
        let Self { mr, nr, code } = *self;
        let (vector, stores_vectors) = match code {
            Code::Own(own) => (own.vectors.len(), true),
            // tract's for x86-64 store number by number, all but these.
            Code::Tract(_) => {
                let vectors =
                    !cfg!(target_arch = "x86_64") || matches!((mr, nr), (24, 4) | (32, 3) | (40, 2));
                (LANES, vectors)
            }
        };
        let vectors = mr / vector;
        let store = if stores_vectors { 4 * vectors * nr } else { 5 * mr * nr };
        depth * (2 * vectors * nr + vectors + nr) + store + 100
    }

    /// A kernel of tract's, where it runs here and its panels are ours.
    fn of(kernel: &dyn MatMatMul) -> Option<Self> {
        let plain = |format: &dyn MMMInputFormat, r: usize| {
            let format = format.downcast_ref::<PackedFormat>()?;
            (format.dt == E::datum_type() && format.r == r && format.end_padding_record <= 1).then_some(())
        };
        let (pixels, channels) = kernel.packings().first()?;
        plain(&**pixels, kernel.mr())?;
        plain(&**channels, kernel.nr())?;
        let usable = kernel.runnable()
            && kernel.arch().is_some()
            && kernel.mr().is_multiple_of(LANES)
            && kernel.mr() <= WIDEST_PANEL
            && kernel.nr() > 1;
        let run = usable.then(|| function(kernel)).flatten()?;
        Some(Self { mr: kernel.mr(), nr: kernel.nr(), code: Code::Tract(run) })
    }

    /// Pixels of a panel: a multiple of [`LANES`], at most [`WIDEST_PANEL`].
    pub(super) fn mr(&self) -> usize {
        self.mr
    }

    /// What is computed with around it.
    pub(super) fn vectors(&self) -> Vectors {
        match self.code {
            Code::Own(own) => own.vectors,
            Code::Tract(_) if self.mr.is_multiple_of(16) => Vectors::Sixteen,
            Code::Tract(_) => Vectors::Eight,
        }
    }

    /// The same for a last panel, which so many pixels are left for, and which need not be wider than they are.
    pub(super) fn for_rest(self, pixels: usize) -> Self {
        match self.code {
            Code::Own(own) => Self { mr: self.mr.min(pixels.next_multiple_of(own.vectors.len())), ..self },
            Code::Tract(_) => self,
        }
    }

    /// So many, made up to whole panels of pixels, of which the last may be a narrower one.
    pub(super) fn whole_pixels(&self, pixels: usize) -> usize {
        let whole = pixels / self.mr * self.mr;
        if whole == pixels { pixels } else { whole + self.for_rest(pixels - whole).mr }
    }

    /// Packs a matrix of `[channel][depth]`; what is missing to whole panels is 0.
    pub(super) fn pack_channels(
        &self,
        (channels, depth): (usize, usize),
        weights: impl Fn(usize, usize) -> f32,
    ) -> Channels<E> {
        let written = channels.next_multiple_of(self.nr);
        let mut numbers = Numbers::zero(written * depth + self.nr);
        for channel in 0..channels {
            let panel = channel / self.nr * depth * self.nr;
            for k in 0..depth {
                numbers[panel + k * self.nr + channel % self.nr] = E::of(weights(channel, k));
            }
        }
        Channels { numbers, depth, written, nr: self.nr }
    }

    /// How long a buffer of so many packed panels is: kernels read one row ahead.
    pub(super) fn packed_len(depth: usize, width: usize) -> usize {
        (depth + 1) * width
    }

    /// The product of whole planes of `pitch` pixels, as [`Self::whole_pixels`] makes them, packed and multiplied as many at once as a
    /// cache holds: `pack` writes some panels, one row of `[depth][mr]` after the other. For the rest see [`Self::multiply`].
    ///
    /// # Panics
    /// When a slice is too short, or planes are not whole panels.
    pub(super) fn product(
        &self,
        channels: &Channels<E>,
        epilogue: Epilogue<'_, E>,
        (out, pitch): (&mut [E], usize),
        packed: &mut Numbers<E>,
        pack: impl Fn(Panels, &mut [E]),
    ) {
        assert_eq!(self.whole_pixels(pitch), pitch);
        let at_once = (PACKED_MAX / (size_of::<E>() * channels.depth * self.mr)).max(1);
        packed.reserve(Self::packed_len(channels.depth, at_once * self.mr));
        let mut first = 0;
        while first < pitch {
            let kernel = self.for_rest(pitch - first);
            let count = ((pitch - first) / kernel.mr).min(at_once);
            pack(Panels { mr: kernel.mr, first, count }, packed);
            kernel.multiply((packed, count), channels, epilogue, (&mut out[first..], pitch));
            first += count * kernel.mr;
        }
    }

    /// `out[channel][pixel] = epilogue(sum over k of pixels[k][pixel] * channels[k][channel])` for whole panels of both; a channel's
    /// pixels are contiguous in `out`, channels are `pitch` apart.
    ///
    /// # Panics
    /// When a slice is too short or not aligned, or the channels were packed for another kernel.
    pub(super) fn multiply(
        &self,
        (pixels, pixel_panels): (&[E], usize),
        channels: &Channels<E>,
        epilogue: Epilogue<'_, E>,
        (out, pitch): (&mut [E], usize),
    ) {
        let Self { mr, nr, code } = *self;
        let Channels { numbers, depth, written, nr: packed_for } = channels;
        let rows = pixel_panels * mr;
        assert!(*packed_for == nr && written.is_multiple_of(nr));
        assert!(pixels.len() >= rows * depth + mr && numbers.len() >= written * depth + nr);
        assert!(
            pixels.as_ptr().addr() % ALIGNMENT_BYTES == 0 && numbers.as_ptr().addr() % ALIGNMENT_BYTES == 0
        );
        assert!(rows <= pitch && out.len() >= (written - 1) * pitch + rows);
        assert!(epilogue.bias.is_none_or(|bias| bias.len() >= *written));
        for channel in (0..*written).step_by(nr) {
            for pixel in (0..rows).step_by(mr) {
                let pair = Pair {
                    depth: *depth,
                    pixels: &pixels[pixel * depth..],
                    channels: &numbers[channel * depth..],
                    bias: epilogue.bias.map(|bias| &bias[channel..]),
                    relu: epilogue.relu,
                    out: &mut out[channel * pitch + pixel..],
                    pitch,
                };
                match code {
                    // SAFETY: the kernel runs on this processor (`choose`).
                    #[allow(unsafe_code)]
                    Code::Own(own) => unsafe { (own.run[mr / own.vectors.len() - 1])(pair) },
                    // SAFETY: the kernel runs on this processor (`of`). It reads `depth` rows of both panels and one more, and `nr` biases,
                    // and writes `mr` numbers at `nr` places that are `pitch` apart: all within the slices, by the assertions above. The
                    // operands are aligned for it (`ALIGNMENT_BYTES`).
                    #[allow(unsafe_code)]
                    Code::Tract(run) => unsafe { run_tract(run, pair) },
                }
            }
        }
    }
}

/// Kernels of our own for this processor, which are then taken in place of tract's.
fn own_kernels<E: Number>() -> &'static [Own<E>] {
    #[cfg(target_arch = "x86_64")]
    let of_f32 = super::avx512::kernels();
    #[cfg(not(target_arch = "x86_64"))]
    let of_f32: &[Own<f32>] = &[];
    (&of_f32 as &dyn Any).downcast_ref::<&'static [Own<E>]>().copied().unwrap_or_default()
}

/// Has a kernel of tract's compute a pair of panels.
///
/// # Safety
/// The kernel runs on this processor, and the panels, biases and the result's planes are as long as it is wide, with one more row of both
/// panels; they are aligned to [`ALIGNMENT_BYTES`].
#[allow(unsafe_code)]
unsafe fn run_tract<E: Number>(run: Function<E>, pair: Pair<'_, E>) {
    let Pair { depth, pixels, channels, bias, relu, out, pitch } = pair;
    let store = OutputStoreKer {
        ptr: out.as_mut_ptr().cast(),
        row_byte_stride: size_of::<E>() as isize,
        col_byte_stride: (size_of::<E>() * pitch) as isize,
        item_size: size_of::<E>(),
    };
    let (pa, pb) = (pixels.as_ptr().cast(), channels.as_ptr().cast());
    let taken = [
        Some(FusedKerSpec::Clear),
        Some(FusedKerSpec::AddMatMul { k: depth, pa, pb, packing: 0 }),
        bias.map(|bias| FusedKerSpec::PerColAdd(bias.as_ptr())),
        relu.then_some(FusedKerSpec::ScalarMax(E::default())),
        Some(FusedKerSpec::Store(store)),
    ];
    let mut steps = [FusedKerSpec::Done; 6];
    for (step, taken) in steps.iter_mut().zip(taken.into_iter().flatten()) {
        *step = taken;
    }
    // SAFETY: as this function's.
    let error = unsafe { run(&steps) };
    assert_eq!(error, 0, "tract's kernel refused its steps");
}

/// The function behind a kernel. Its type carries the size of its panels, so that each size has to be asked for.
fn function<E: Number>(kernel: &dyn MatMatMul) -> Option<Function<E>> {
    fn sized<E: Number, const MR: usize, const NR: usize>(kernel: &dyn Any) -> Option<Function<E>> {
        kernel.downcast_ref::<DynKernel<MR, NR, E>>().map(|kernel| kernel.kernel)
    }
    macro_rules! first {
        ($kernel:expr, $(($mr:literal, $nr:literal)),* $(,)?) => { None$(.or_else(|| sized::<E, $mr, $nr>($kernel)))* };
    }
    first!(
        kernel,
        (8, 4),
        (8, 6),
        (8, 8),
        (16, 4),
        (16, 5),
        (16, 6),
        (16, 8),
        (24, 4),
        (40, 2),
        (32, 3),
        (32, 4),
        (32, 6),
        (64, 3),
    )
}

/// Numbers in memory that is aligned for the kernels.
#[derive(Debug, Default)]
pub(super) struct Numbers<E> {
    memory: Vec<E>,
    start: usize,
    len: usize,
}

impl<E: Number> Numbers<E> {
    /// So many zeros.
    pub(super) fn zero(len: usize) -> Self {
        let memory = vec![E::default(); len + ALIGNMENT_BYTES / size_of::<E>()];
        let start = memory.as_ptr().addr().wrapping_neg() % ALIGNMENT_BYTES / size_of::<E>();
        Self { memory, start, len }
    }

    /// Makes room for so many, for a run to write before it reads; what is there already may be lost.
    pub(super) fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zero(len);
            // Whatever is read and was not written would spoil an answer.
            #[cfg(test)]
            self.fill(E::of(f32::NAN));
        }
    }
}

impl<E> Deref for Numbers<E> {
    type Target = [E];
    fn deref(&self) -> &[E] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<E> DerefMut for Numbers<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1.
    fn number(at: usize) -> f32 {
        (at as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 * 2.0 - 1.0
    }

    /// Every kernel that may be chosen here, at every width of a last panel, beside sums in f64.
    #[test]
    fn every_kernel_multiplies_panels_of_every_width() {
        for kernel in Kernel::<f32>::all() {
            let widths = (LANES..=kernel.mr).step_by(LANES).map(|pixels| kernel.for_rest(pixels));
            for (kernel, depth) in widths.flat_map(|kernel| [1, 2, 37].map(|depth| (kernel, depth))) {
                for (biased, relu) in [(false, false), (false, true), (true, false), (true, true)] {
                    check(kernel, depth, biased, relu);
                }
            }
        }
    }

    fn check(kernel: Kernel<f32>, depth: usize, biased: bool, relu: bool) {
        let Kernel { mr, nr, .. } = kernel;
        let (panels, planes) = (2, nr + 1);
        let channels = kernel.pack_channels((planes, depth), |channel, k| number(channel * depth + k));
        let mut pixels = Numbers::<f32>::zero(Kernel::<f32>::packed_len(depth, panels * mr));
        let pixel = |pixel: usize, k: usize| number(1000 + pixel * depth + k);
        for (panel, k, within) in triples(panels, depth, mr) {
            pixels[(panel * depth + k) * mr + within] = pixel(panel * mr + within, k);
        }
        let bias: Vec<f32> = (0..channels.written).map(|channel| number(7 + channel)).collect();
        let pitch = panels * mr + LANES;
        let mut out = vec![f32::NAN; channels.written * pitch];
        let epilogue = Epilogue { bias: biased.then_some(&bias), relu };
        kernel.multiply((&pixels, panels), &channels, epilogue, (&mut out, pitch));
        for (_, channel, at) in triples(1, planes, pitch) {
            let found = out[channel * pitch + at];
            if at >= panels * mr {
                assert!(found.is_nan(), "{mr} x {nr}: written beyond its panels");
                continue;
            }
            let product = |k| f64::from(number(channel * depth + k)) * f64::from(pixel(at, k));
            let sum =
                (0..depth).map(product).sum::<f64>() + if biased { f64::from(bias[channel]) } else { 0.0 };
            let expected = if relu { sum.max(0.0) } else { sum };
            assert!((f64::from(found) - expected).abs() < 1e-5, "{mr} x {nr}: {found} and not {expected}");
        }
    }

    fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
    }
}
