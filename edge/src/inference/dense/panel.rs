//! The product of two panels: a kernel of our own.

#[cfg(target_arch = "x86_64")]
use super::lanes::Vector;
use super::lanes::Vectors;

/// A kernel of our own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<E: 'static> {
    /// Channels of a panel.
    pub(super) nr: usize,
    /// What its pixels are.
    pub(super) vectors: Vectors,
    /// For panels of one vector of pixels, of two, and so on. To be called where the processor has the instructions.
    pub(super) run: &'static [unsafe fn(Pair<'_, E>)],
}

/// A panel of pixels and one of channels, and where their product goes.
pub(super) struct Pair<'a, E> {
    pub(super) depth: usize,
    /// `[depth][mr]`
    pub(super) pixels: &'a [E],
    /// `[depth][nr]`
    pub(super) channels: &'a [E],
    /// One for each channel.
    pub(super) bias: Option<&'a [E]>,
    pub(super) relu: bool,
    /// `[nr][mr]`, channels `pitch` apart
    pub(super) out: &'a mut [E],
    pub(super) pitch: usize,
}

/// The product of `COUNT` vectors of pixels and `N` channels. The sums stay in registers while all of the depth is added up.
///
/// To be inlined where the processor's instructions may be used.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn multiply_pair<V: Vector, const COUNT: usize, const N: usize>(pair: Pair<'_, f32>) {
    let Pair { depth, pixels, channels, bias, relu, out, pitch } = pair;
    let width = COUNT * V::LEN;
    let pixels = &pixels[..depth * width];
    let channels = &channels.as_chunks::<N>().0[..depth];
    let mut sums = [[V::all(0.0); COUNT]; N];
    for (k, weights) in channels.iter().enumerate() {
        let pixels = &pixels[k * width..][..width];
        let mut row = [V::all(0.0); COUNT];
        for (v, vector) in row.iter_mut().enumerate() {
            *vector = V::load(&pixels[v * V::LEN..]);
        }
        // Indices, and no zipped iterators, which are not inlined in every build.
        for n in 0..N {
            for v in 0..COUNT {
                sums[n][v] = row[v].times_plus(weights[n], sums[n][v]);
            }
        }
    }
    let bias = bias.map_or([0.0; N], |bias| bias.as_chunks().0[0]);
    let floor = V::all(if relu { 0.0 } else { f32::NEG_INFINITY });
    let out = &mut out[..(N - 1) * pitch + width];
    for (n, sums) in sums.iter().enumerate() {
        let plane = &mut out[n * pitch..][..width];
        for (v, sum) in sums.iter().enumerate() {
            // In this order, what is no number stays so.
            floor.max(*sum + V::all(bias[n])).store(&mut plane[v * V::LEN..]);
        }
    }
}
