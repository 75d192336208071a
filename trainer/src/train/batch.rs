//! Which images make a step, and their tensors.

use std::io;

use contract::preprocess::PreprocessSpec;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use tch::{Device, Tensor};

use super::State;
use super::config::{AugmentConfig, Config};
use crate::dataset::Planes;
use crate::dataset::augment::{Change, ROTATION_MAX_DEG, augment, normalise};
use crate::dataset::loader::{Job, Loader, LoaderError};
use crate::exit::Fault;

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
fn epoch_order(seed: u64, epoch: u32, images: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut generator(seed, Stream::Order, u64::from(epoch)));
    order
}

/// Steps in an epoch: whole batches only, the rest being others in each epoch; at least one.
pub(super) fn steps_per_epoch(images: usize, batch: usize) -> u64 {
    (images / batch).max(1) as u64
}

/// The batches of what is left of an epoch, made ahead by the loader's threads.
pub(super) struct Batches {
    loader: Loader<Box<dyn Iterator<Item = Job>>>,
    spec: PreprocessSpec,
    device: Device,
}

impl Batches {
    /// From the step that `state` stands before. The batches follow from the seed, the epoch and the step
    /// alone.
    ///
    /// # Errors
    /// [`Fault::Io`] when a thread cannot be started.
    pub(super) fn of_epoch(
        planes: &Planes,
        config: &Config,
        device: Device,
        state: &State,
    ) -> Result<Self, Fault> {
        let order = epoch_order(state.seed, state.epoch, planes.len());
        let left = state.step_in_epoch..steps_per_epoch(planes.len(), config.batch);
        let (seed, batch, augment) = (state.seed, config.batch, config.augment);
        let before = state.step - state.step_in_epoch;
        let jobs = left.map(move |step_in_epoch| {
            let first = step_in_epoch as usize * batch;
            let images = order[first..(first + batch).min(order.len())].to_vec();
            let changes = changes(&augment, images.len(), (seed, before + step_in_epoch));
            Job { images, changes }
        });
        let on_workers = config.loader.workers_augment(device);
        let loader = Loader::start(
            planes,
            Box::new(jobs) as Box<dyn Iterator<Item = Job>>,
            &config.loader,
            on_workers,
        )
        .map_err(|source| Fault::Io { doing: "starting the loader's threads".to_owned(), source })?;
        Ok(Self { loader, spec: planes.spec.clone(), device })
    }

    /// The next step's images and their input: augmented, normalised, f32 `[B, 3, H, W]` on the device.
    ///
    /// # Errors
    /// [`Fault::Io`] when a thread of the loader died, or when there is no next step.
    pub(super) fn next(&mut self) -> Result<(Vec<usize>, Tensor), Fault> {
        let batch = self.loader.next().unwrap_or(Err(LoaderError)).map_err(|error| Fault::Io {
            doing: "making the next batch".to_owned(),
            source: io::Error::other(error),
        })?;
        let planes = batch.planes.to_device(self.device);
        let input = match batch.changes.as_slice() {
            [] => normalise(&planes, &self.spec),
            changes => augment(&planes, changes, &self.spec),
        };
        Ok((batch.images, input))
    }
}

/// How the images of step `step` are augmented.
fn changes(config: &AugmentConfig, images: usize, (seed, step): (u64, u64)) -> Vec<Change> {
    let mut changes = Change::draw(&mut generator(seed, Stream::Augment, step), images);
    for change in &mut changes {
        change.rotation_deg *= config.rotation_max_deg / ROTATION_MAX_DEG;
        change.flip &= config.mirror;
    }
    changes
}

/// The normalised images as they are, f32 `[B, 3, H, W]` on the device.
pub(super) fn plain_batch(planes: &Planes, indices: &[usize], device: Device) -> Tensor {
    normalise(&planes.batch(indices).to_device(device), &planes.spec)
}
