//! From planes to the network's input, on the device, with or without the augmentation of training:
//! rotation up to 30 degrees and lateral inversion, as in arXiv 1712.06957.

use contract::preprocess::PreprocessSpec;
use rand::{Rng, RngExt};
use tch::{Kind, Tensor};

/// How far training turns an image either way, degrees.
pub const ROTATION_MAX_DEG: f64 = 30.0;

/// How one image is augmented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Degrees clockwise.
    pub rotation_deg: f64,
    /// Whether left and right change places, before the rotation.
    pub flip: bool,
}

impl Change {
    /// Draws the change of each of `images` images. The same state of `rng` gives the same changes.
    pub fn draw<R: Rng>(rng: &mut R, images: usize) -> Vec<Change> {
        (0..images)
            .map(|_| Change {
                rotation_deg: rng.random_range(-ROTATION_MAX_DEG..=ROTATION_MAX_DEG),
                flip: rng.random(),
            })
            .collect()
    }
}

/// Normalises planes, u8 `[B, H, W]`, to f32 `[B, 3, H, W]` on the same device: bit for bit what
/// [`contract::preprocess::normalise`] gives.
pub fn normalise(planes: &Tensor, spec: &PreprocessSpec) -> Tensor {
    normalise_grey(&planes.to_kind(Kind::Float), spec)
}

/// Augments planes, u8 `[B, H, W]`, one change for each, and normalises them to f32 `[B, 3, H, W]` on the
/// same device. What a rotation brings in from outside is black.
///
/// # Panics
/// When there are not as many changes as planes.
pub fn augment(planes: &Tensor, changes: &[Change], spec: &PreprocessSpec) -> Tensor {
    let (batch, height, width) = (planes.size()[0], planes.size()[1], planes.size()[2]);
    assert_eq!(batch, changes.len() as i64, "one change for each plane");
    let grey = planes.to_kind(Kind::Float).unsqueeze(1);
    let grid = Tensor::affine_grid_generator(
        &sampling(changes, height as f64 / width as f64).to_device(planes.device()),
        [batch, 1, height, width],
        false,
    );
    const BILINEAR: i64 = 0;
    const ZEROS: i64 = 0;
    normalise_grey(&grey.grid_sampler(&grid, BILINEAR, ZEROS, false).squeeze_dim(1), spec)
}

/// For each change the matrix that maps a place of the result to the place it is sampled from, f32
/// `[B, 2, 3]`, in torch's coordinates: -1 to 1 over the width and over the height.
fn sampling(changes: &[Change], height_over_width: f64) -> Tensor {
    let rows: Vec<f32> = changes
        .iter()
        .flat_map(|change| {
            let (sin, cos) = change.rotation_deg.to_radians().sin_cos();
            let hand = if change.flip { -1.0 } else { 1.0 };
            [hand * cos, hand * sin * height_over_width, 0.0, -sin / height_over_width, cos, 0.0]
        })
        .map(|value| value as f32)
        .collect();
    Tensor::from_slice(&rows).view([changes.len() as i64, 2, 3])
}

/// Grey 0 to 255, f32 `[B, H, W]`, to three normalised channels.
fn normalise_grey(grey: &Tensor, spec: &PreprocessSpec) -> Tensor {
    let channel = |values: [f32; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]).to_device(grey.device());
    // A tensor on the device, not a scalar: CUDA turns division by a scalar into a multiplication.
    let white = Tensor::from_slice(&[255f32]).to_device(grey.device());
    (grey.unsqueeze(1) / white - channel(spec.mean)) / channel(spec.std)
}

#[cfg(test)]
mod tests {
    use contract::preprocess::{self, Plane};
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    const STILL: Change = Change { rotation_deg: 0.0, flip: false };

    fn plane(width: u32, height: u32, sample: impl Fn(u32, u32) -> u8) -> (Plane, Tensor, PreprocessSpec) {
        let samples: Vec<u8> =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| sample(x, y)).collect();
        let tensor = Tensor::from_slice(&samples).view([1, i64::from(height), i64::from(width)]);
        let spec = PreprocessSpec { width_px: width, height_px: height, ..PreprocessSpec::square(64) };
        (Plane { width_px: width, height_px: height, samples }, tensor, spec)
    }

    /// The grey levels behind a normalised input's first channel, `[H, W]` flattened.
    fn grey(input: &Tensor, spec: &PreprocessSpec) -> Vec<f32> {
        let first = input.get(0).get(0) * f64::from(spec.std[0]) + f64::from(spec.mean[0]);
        Vec::try_from((first * 255.0).flatten(0, -1)).unwrap()
    }

    #[test]
    fn without_augmentation_the_input_is_the_contracts_bit_for_bit() {
        let (plane, tensor, spec) = plane(64, 40, |x, y| (x * 4 + y) as u8);
        let expected = preprocess::normalise(&plane, &spec);
        assert_eq!(Vec::<f32>::try_from(normalise(&tensor, &spec).flatten(0, -1)).unwrap(), expected);
        let still = augment(&tensor, &[STILL], &spec);
        assert_eq!(still.size(), [1, 3, 40, 64]);
        let still = Vec::<f32>::try_from(still.flatten(0, -1)).unwrap();
        let apart = still.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-3, "{apart}");
    }

    #[test]
    fn a_square_turns_clockwise_about_the_middle() {
        // An 11 px square whose centre is 20 px above the middle of a wide plane.
        let (_, tensor, spec) =
            plane(101, 81, |x, y| if (45..=55).contains(&x) && (15..=25).contains(&y) { 255 } else { 0 });
        let turned = augment(&tensor, &[Change { rotation_deg: 30.0, flip: false }], &spec);
        let (mut sum, mut at) = (0.0, [0.0, 0.0]);
        for (i, value) in grey(&turned, &spec).iter().enumerate() {
            sum += value;
            at = [at[0] + value * (i % 101) as f32, at[1] + value * (i / 101) as f32];
        }
        let centre = at.map(|a| a / sum);
        let expected = [50.0 + 20.0 * 0.5, 40.0 - 20.0 * 0.866];
        assert!((centre[0] - expected[0]).abs() < 0.1 && (centre[1] - expected[1]).abs() < 0.1, "{centre:?}");
        let area = sum / 255.0;
        assert!((area - 121.0).abs() < 2.0, "the square keeps its area: {area}");
    }

    #[test]
    fn inversion_changes_left_and_right() {
        let (_, tensor, spec) = plane(64, 64, |x, y| (2 * x + y) as u8);
        let flipped = augment(&tensor, &[Change { rotation_deg: 0.0, flip: true }], &spec);
        let expected = grey(&normalise(&tensor.flip([2]), &spec), &spec);
        let apart =
            grey(&flipped, &spec).iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 0.01, "{apart}");
    }

    #[test]
    fn what_comes_in_from_outside_is_black() {
        let (_, tensor, spec) = plane(64, 64, |_, _| 255);
        let turned = augment(&tensor, &[Change { rotation_deg: 30.0, flip: false }], &spec);
        let grey = grey(&turned, &spec);
        assert!(grey[0].abs() < 0.01 && (grey[32 * 64 + 32] - 255.0).abs() < 0.01);
    }

    #[test]
    fn the_same_state_draws_the_same_changes_within_30_degrees() {
        let draw = || Change::draw(&mut Pcg64::seed_from_u64(3), 500);
        assert_eq!(draw(), draw());
        let flips = draw().iter().filter(|change| change.flip).count();
        assert!((200..300).contains(&flips), "{flips}");
        let degrees: Vec<f64> = draw().iter().map(|change| change.rotation_deg).collect();
        assert!(degrees.iter().all(|d| d.abs() <= 30.0) && degrees.iter().any(|d| *d < -25.0));
        assert!(degrees.iter().any(|d| *d > 25.0));
    }
}
