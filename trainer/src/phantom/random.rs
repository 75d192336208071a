//! Where chance comes in: one stream of random numbers for each purpose, so that what is drawn for looks can
//! never depend on the label, and a tile of band-limited noise for texture.

use std::sync::LazyLock;

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A generator of one stream.
pub(super) type Stream = Pcg64Mcg;

/// What a stream is for. The streams of one image are independent of each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Patients, study types, labels, kinds of finding.
    Plan = 1,
    /// The patient's bones and soft tissue.
    Anatomy = 2,
    /// Position, exposure, marker, collimation, objects of one view.
    View = 3,
    /// Quantum noise of one view.
    Noise = 4,
    /// The finding of a study. Nothing else may draw from it.
    Finding = 5,
}

/// The stream of a purpose for an item of a seed.
pub(super) fn stream(seed: u64, purpose: Purpose, item: u64) -> Stream {
    let mut state = seed;
    for part in [purpose as u64, item] {
        state = splitmix(state ^ splitmix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    }
    Stream::seed_from_u64(state)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): close seeds give unrelated streams.
fn splitmix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `low..high`.
pub(super) fn between(rng: &mut Stream, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// True with a probability.
pub(super) fn chance(rng: &mut Stream, probability: f64) -> bool {
    rng.random_bool(probability)
}

/// A nearly normal deviate with mean 0 and deviation 1: the sum of four 16-bit uniform ones.
pub(super) fn normal(rng: &mut Stream) -> f32 {
    let bits = rng.next_u64();
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    // Each part has mean 65535 / 2 and variance (65536^2 - 1) / 12.
    (sum as f32 - 131_070.0) / 37_837.2
}

const TILE_SIDE: usize = 256;
/// The tile's mean wavelength in samples.
pub(super) const TILE_WAVELENGTH: f32 = 8.0;

/// A periodic tile of noise with mean 0 and deviation 1, band-limited around [`TILE_WAVELENGTH`].
pub(super) struct Texture(Vec<f32>);

impl Texture {
    /// The tile; the same one for every image, which look it up at places of their own.
    pub(super) fn shared() -> &'static Texture {
        static TILE: LazyLock<Texture> = LazyLock::new(Texture::new);
        &TILE
    }

    fn new() -> Self {
        let mut rng = stream(0, Purpose::Anatomy, u64::MAX);
        let white: Vec<f32> = (0..TILE_SIDE * TILE_SIDE).map(|_| normal(&mut rng)).collect();
        let fine = smooth(&smooth(&white, 1), 1);
        let coarse = smooth(&smooth(&fine, 3), 3);
        let mut tile: Vec<f32> = fine.iter().zip(&coarse).map(|(a, b)| a - b).collect();
        let deviation = (tile.iter().map(|x| x * x).sum::<f32>() / tile.len() as f32).sqrt();
        tile.iter_mut().for_each(|x| *x /= deviation);
        Self(tile)
    }

    /// The noise at a place, bilinear between samples, periodic in both directions.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let (ax, ay) = (x - fx, y - fy);
        let wrap = |v: f32| (v as i32).rem_euclid(TILE_SIDE as i32) as usize;
        let (x0, y0) = (wrap(fx), wrap(fy));
        let (x1, y1) = ((x0 + 1) % TILE_SIDE, (y0 + 1) % TILE_SIDE);
        let get = |x: usize, y: usize| self.0[y * TILE_SIDE + x];
        let top = get(x0, y0) * (1.0 - ax) + get(x1, y0) * ax;
        let bottom = get(x0, y1) * (1.0 - ax) + get(x1, y1) * ax;
        top * (1.0 - ay) + bottom * ay
    }
}

/// A periodic box blur of a tile.
fn smooth(tile: &[f32], radius: usize) -> Vec<f32> {
    let n = TILE_SIDE;
    let width = (2 * radius + 1) as f32;
    let mut rows = vec![0.0; n * n];
    let mut out = vec![0.0; n * n];
    for y in 0..n {
        for x in 0..n {
            let sum: f32 = (0..=2 * radius).map(|d| tile[y * n + (x + n + d - radius) % n]).sum();
            rows[y * n + x] = sum / width;
        }
    }
    for y in 0..n {
        for x in 0..n {
            let sum: f32 = (0..=2 * radius).map(|d| rows[(y + n + d - radius) % n * n + x]).sum();
            out[y * n + x] = sum / width;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_purposes_and_items_differ_and_repeat() {
        let draw = |purpose, item| stream(7, purpose, item).random::<u64>();
        assert_eq!(draw(Purpose::View, 3), draw(Purpose::View, 3));
        assert_ne!(draw(Purpose::View, 3), draw(Purpose::View, 4));
        assert_ne!(draw(Purpose::View, 3), draw(Purpose::Finding, 3));
    }

    #[test]
    fn normal_deviates_have_mean_zero_and_deviation_one() {
        let mut rng = stream(1, Purpose::Noise, 0);
        let draws: Vec<f32> = (0..100_000).map(|_| normal(&mut rng)).collect();
        let mean = draws.iter().sum::<f32>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn the_texture_is_periodic() {
        let texture = Texture::shared();
        assert_eq!(texture.at(3.25, 250.5), texture.at(3.25 + 256.0, 250.5 - 256.0));
    }
}
