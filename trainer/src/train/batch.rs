//! Which images make a step, and their tensors.

use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use tch::{Device, Tensor};

use super::config::AugmentConfig;
use crate::dataset::Planes;
use crate::dataset::augment::{Change, ROTATION_MAX_DEG, augment, normalise};

/// Generators of different purposes never share a sequence.
#[derive(Clone, Copy)]
enum Stream {
    Order = 1,
    Augment = 2,
    Sample = 3,
}

/// A generator that follows from the seed, a purpose and a position alone.
fn generator(seed: u64, stream: Stream, position: u64) -> Pcg64 {
    Pcg64::new((u128::from(seed) << 64) | u128::from(position), stream as u128)
}

/// A random order of `count` things that follows from the seed alone.
pub fn sample(seed: u64, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut generator(seed, Stream::Sample, 0));
    order
}

/// The order of the images in an epoch.
pub(super) fn epoch_order(seed: u64, epoch: u32, images: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut generator(seed, Stream::Order, u64::from(epoch)));
    order
}

/// Steps in an epoch: whole batches only, the rest being others in each epoch; at least one.
pub(super) fn steps_per_epoch(images: usize, batch: usize) -> u64 {
    (images / batch).max(1) as u64
}

/// The augmented and normalised images of step `step`, f32 `[B, 3, H, W]` on the device.
pub(super) fn training_batch(
    planes: &Planes,
    indices: &[usize],
    config: &AugmentConfig,
    device: Device,
    (seed, step): (u64, u64),
) -> Tensor {
    let mut changes = Change::draw(&mut generator(seed, Stream::Augment, step), indices.len());
    for change in &mut changes {
        change.rotation_deg *= config.rotation_max_deg / ROTATION_MAX_DEG;
        change.flip &= config.mirror;
    }
    augment(&planes.batch(indices).to_device(device), &changes, &planes.spec)
}

/// The normalised images as they are, f32 `[B, 3, H, W]` on the device.
pub(super) fn plain_batch(planes: &Planes, indices: &[usize], device: Device) -> Tensor {
    normalise(&planes.batch(indices).to_device(device), &planes.spec)
}
