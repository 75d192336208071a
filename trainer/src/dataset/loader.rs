//! Makes batches ahead of training: CPU threads copy planes together, augment them where that is their task,
//! and hand them over through a bounded channel.
//!
//! What a batch holds follows from its [`Job`] alone and batches come in the jobs' order, so neither the
//! number of threads nor their timing can be seen in the result.

use std::collections::VecDeque;
use std::io;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::augment::Change;
use super::turn::Turner;
use super::{Planes, Samples, read};

/// How batches are made: `[loader]` in `train.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoaderConfig {
    /// Threads that make batches. 0, the default, is one per core.
    pub workers: usize,
    /// Batches that are made ahead of the one in use. Default 4.
    pub prefetch_batches: usize,
    /// Where images are rotated and inverted. Default auto.
    pub augment_on: AugmentOn,
}

/// Where images are rotated and inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AugmentOn {
    /// On a GPU where training runs on one, else by the loader's threads.
    Auto,
    /// As tensor operations on the device that trains.
    Device,
    /// By the loader's threads.
    Workers,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { workers: 0, prefetch_batches: 4, augment_on: AugmentOn::Auto }
    }
}

impl LoaderConfig {
    /// Whether the loader's threads augment when training runs on `device`.
    pub fn workers_augment(&self, device: Device) -> bool {
        match self.augment_on {
            AugmentOn::Auto => !device.is_cuda(),
            AugmentOn::Device => false,
            AugmentOn::Workers => true,
        }
    }

    /// Says what about the values cannot be right.
    ///
    /// # Errors
    /// One sentence with the setting's name, its value and the range.
    pub fn check(&self) -> Result<(), String> {
        if self.workers > 256 {
            return Err(format!("loader.workers is {}, expected 0 (one per core) to 256", self.workers));
        }
        if !(1..=64).contains(&self.prefetch_batches) {
            return Err(format!("loader.prefetch_batches is {}, expected 1 to 64", self.prefetch_batches));
        }
        Ok(())
    }
}

/// Which batch to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The images' places among the planes.
    pub images: Vec<usize>,
    /// One for each image; empty for none.
    pub changes: Vec<Change>,
}

/// A batch.
#[derive(Debug)]
pub struct Batch {
    /// The images' places among the planes.
    pub images: Vec<usize>,
    /// u8 `[B, H, W]` on the CPU.
    pub planes: Tensor,
    /// The changes that are left to be made; empty when the threads made them or there were none.
    pub changes: Vec<Change>,
}

/// Why there is no next batch although there is a next job.
#[derive(Debug, thiserror::Error)]
#[error("a thread of the loader died")]
pub struct LoaderError;

/// An iterator over batches that are made ahead. Its threads end when it is dropped.
#[derive(Debug)]
pub struct Loader<J> {
    jobs: J,
    /// The batches under way, in the jobs' order.
    coming: VecDeque<Receiver<Batch>>,
    prefetch: usize,
    queue: Option<Sender<Order>>,
    /// The other end of `queue`, to empty it at the end.
    queued: Receiver<Order>,
    threads: Vec<JoinHandle<()>>,
}

struct Order {
    job: Job,
    reply: Sender<Batch>,
}

impl<J: Iterator<Item = Job>> Loader<J> {
    /// Starts the threads. With `augment` they make the jobs' changes; without, they leave them in the batch.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(planes: &Planes, jobs: J, config: &LoaderConfig, augment: bool) -> io::Result<Self> {
        let prefetch = config.prefetch_batches.max(1);
        let (queue, queued) = bounded(prefetch);
        let mut loader =
            Self { jobs, coming: VecDeque::new(), prefetch, queue: Some(queue), queued, threads: Vec::new() };
        let workers = if config.workers == 0 { read::cores() } else { config.workers };
        for number in 0..workers.min(prefetch) {
            let size = (planes.spec.width_px as usize, planes.spec.height_px as usize);
            let worker = Worker { samples: planes.samples.clone(), size, augment };
            let queued = loader.queued.clone();
            let builder = thread::Builder::new().name(format!("loader {number}"));
            loader.threads.push(builder.spawn(move || worker.work(&queued))?);
        }
        Ok(loader)
    }
}

impl<J: Iterator<Item = Job>> Iterator for Loader<J> {
    type Item = Result<Batch, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.coming.len() < self.prefetch
            && let Some(job) = self.jobs.next()
        {
            let (reply, batch) = bounded(1);
            // Never waits: there are no more orders than places. An error shows when the batch is awaited.
            if let Some(queue) = &self.queue {
                let _ = queue.send(Order { job, reply });
            }
            self.coming.push_back(batch);
        }
        let batch = self.coming.pop_front()?.recv();
        if batch.is_err() {
            // Orders that no thread is left to take would be waited for without end.
            (self.prefetch, self.queue) = (0, None);
            self.coming.clear();
        }
        Some(batch.map_err(|_| LoaderError))
    }
}

impl<J> Drop for Loader<J> {
    fn drop(&mut self) {
        self.queue = None;
        while self.queued.try_recv().is_ok() {}
        for thread in self.threads.drain(..) {
            // One that panicked was reported when its batch was awaited.
            let _ = thread.join();
        }
    }
}

/// What a thread needs.
struct Worker {
    samples: Samples,
    size: (usize, usize),
    augment: bool,
}

impl Worker {
    fn work(&self, queued: &Receiver<Order>) {
        let (width, height) = self.size;
        let plane_len = width * height;
        let mut turner = Turner::new(width, height);
        let mut together = Vec::new();
        for Order { job, reply } in queued {
            let Job { images, mut changes } = job;
            together.resize(images.len() * plane_len, 0);
            for (place, (&image, target)) in
                images.iter().zip(together.chunks_exact_mut(plane_len)).enumerate()
            {
                let plane = self.samples.plane(image, plane_len);
                match changes.get(place) {
                    Some(change) if self.augment => turner.turn(plane, change, target),
                    _ => target.copy_from_slice(plane),
                }
            }
            if self.augment {
                changes.clear();
            }
            let shape = [images.len() as i64, height as i64, width as i64];
            let planes = Tensor::from_slice(&together).view(shape);
            // Nobody waits for it any more when the loader is being dropped.
            let _ = reply.send(Batch { images, planes, changes });
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;
    use crate::dataset::augment::{augment, normalise};
    use crate::train::tests::planes;

    fn jobs(count: usize) -> impl Iterator<Item = Job> {
        (0..count).map(|step| Job {
            images: (0..3).map(|place| (step * 5 + place * 3) % 12).collect(),
            changes: Change::draw(&mut Pcg64::seed_from_u64(step as u64), 3),
        })
    }

    fn all(workers: usize, prefetch_batches: usize, augment: bool) -> Vec<(Vec<usize>, Vec<u8>, usize)> {
        let planes = planes(6, 64, &["XR_WRIST"], "train");
        let config = LoaderConfig { workers, prefetch_batches, ..LoaderConfig::default() };
        let loader = Loader::start(&planes, jobs(20), &config, augment).unwrap();
        let flat = |batch: Batch| {
            let samples = Vec::<u8>::try_from(batch.planes.flatten(0, -1)).unwrap();
            (batch.images, samples, batch.changes.len())
        };
        loader.map(|batch| flat(batch.unwrap())).collect()
    }

    #[test]
    fn threads_and_their_number_cannot_be_seen() {
        for augment in [false, true] {
            let one = all(1, 1, augment);
            assert_eq!(one.len(), 20);
            for (workers, prefetch) in [(2, 2), (5, 3), (3, 40)] {
                assert_eq!(all(workers, prefetch, augment), one);
            }
            assert!(one.iter().all(|(_, _, left)| *left == if augment { 0 } else { 3 }));
        }
    }

    #[test]
    fn both_places_of_augmentation_give_the_same_input_within_a_grey_level() {
        let planes = planes(6, 64, &["XR_WRIST"], "train");
        let config = LoaderConfig::default();
        let turned = Loader::start(&planes, jobs(4), &config, true).unwrap();
        let left = Loader::start(&planes, jobs(4), &config, false).unwrap();
        for (a, b) in turned.zip(left) {
            let (a, b) = (a.unwrap(), b.unwrap());
            let a = normalise(&a.planes, &planes.spec);
            let b = augment(&b.planes, &b.changes, &planes.spec);
            let level = f64::from(1.0 / (255.0 * planes.spec.std[1]));
            assert!((a - b).abs().max().double_value(&[]) <= 1.03 * level);
        }
    }

    #[test]
    fn it_can_be_dropped_in_the_middle_and_a_dead_thread_is_told() {
        let planes = planes(6, 64, &["XR_WRIST"], "train");
        let mut loader = Loader::start(&planes, jobs(1000), &LoaderConfig::default(), true).unwrap();
        assert!(loader.next().unwrap().is_ok());
        drop(loader);
        let bad = std::iter::once(Job { images: vec![99], changes: Vec::new() });
        let mut loader = Loader::start(&planes, bad, &LoaderConfig::default(), false).unwrap();
        assert!(loader.next().unwrap().is_err());
        assert!(loader.next().is_none());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(LoaderConfig::default().check().is_ok());
        let none = LoaderConfig { prefetch_batches: 0, ..LoaderConfig::default() };
        assert!(none.check().is_err_and(|error| error.contains("loader.prefetch_batches is 0")));
        assert!(LoaderConfig { workers: 999, ..none }.check().is_err_and(|error| error.contains("workers")));
    }
}
