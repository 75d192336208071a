//! The images of a split as preprocessed planes in memory: what training, evaluation and export read.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use contract::preprocess::{PreprocessSpec, to_plane};
use contract::radiograph::{Limits, decode};
use tch::Tensor;

use super::{Error, Result, Study};
use crate::progress;

/// Preprocessed images, u8, one plane after the other.
#[derive(Clone, Debug)]
pub struct Planes {
    /// How the planes were made.
    pub spec: PreprocessSpec,
    /// `N * H * W` samples.
    pub samples: Vec<u8>,
    /// Per image: whether its study is abnormal.
    pub abnormal: Vec<bool>,
    /// Per image: its study's place in `studies`.
    pub study: Vec<usize>,
    /// The studies with at least one readable image, in the order given; each `images` lists the readable
    /// ones only.
    pub studies: Vec<Study>,
    /// Images that could not be read: the path below the data set's root, and why.
    pub unreadable: Vec<(String, String)>,
}

impl Planes {
    /// Decodes and preprocesses every image of `studies`, on all cores. The result does not depend on how
    /// many there are. Images that cannot be read are listed in `unreadable`.
    ///
    /// # Errors
    /// [`Error::Empty`] when no image is left.
    pub fn load(studies: &[Study], spec: &PreprocessSpec) -> Result<Planes> {
        let jobs: Vec<(usize, &Path)> = studies
            .iter()
            .enumerate()
            .flat_map(|(i, study)| study.images.iter().map(move |image| (i, image.as_path())))
            .collect();
        let mut samples = vec![0u8; jobs.len() * spec.plane_len()];
        let outcomes = read_all(&jobs, &mut samples, spec);

        let mut planes = Planes {
            spec: spec.clone(),
            samples,
            abnormal: Vec::with_capacity(jobs.len()),
            study: Vec::with_capacity(jobs.len()),
            studies: Vec::with_capacity(studies.len()),
            unreadable: Vec::new(),
        };
        let mut last = None;
        for (job, (&(study, image), outcome)) in jobs.iter().zip(outcomes).enumerate() {
            if let Err(reason) = outcome {
                let name = image.file_name().unwrap_or_default().to_string_lossy();
                planes.unreadable.push((format!("{}/{name}", studies[study].path), reason));
                continue;
            }
            if last != Some(study) {
                planes.studies.push(Study { images: Vec::new(), ..studies[study].clone() });
                last = Some(study);
            }
            planes.adopt(job, image);
        }
        if planes.is_empty() {
            let first = planes.unreadable.first().map(|(path, reason)| format!("{path}: {reason}"));
            return Err(Error::Empty { studies: studies.len(), first });
        }
        planes.samples.truncate(planes.len() * spec.plane_len());
        planes.samples.shrink_to_fit();
        Ok(planes)
    }

    /// Moves the plane of a job behind those kept so far and counts it to the newest study.
    fn adopt(&mut self, job: usize, image: &Path) {
        let (size, kept) = (self.spec.plane_len(), self.len());
        self.samples.copy_within(job * size..(job + 1) * size, kept * size);
        if let Some(study) = self.studies.last_mut() {
            study.images.push(image.to_owned());
            self.abnormal.push(study.abnormal);
        }
        self.study.push(self.studies.len() - 1);
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.study.len()
    }

    /// Whether there is no image. Never after [`Self::load`].
    pub fn is_empty(&self) -> bool {
        self.study.is_empty()
    }

    /// The plane of an image, `H * W` samples.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn plane(&self, image: usize) -> &[u8] {
        let size = self.spec.plane_len();
        &self.samples[image * size..(image + 1) * size]
    }

    /// The planes of some images, u8 `[B, H, W]`, on the CPU.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn batch(&self, images: &[usize]) -> Tensor {
        let mut samples = Vec::with_capacity(images.len() * self.spec.plane_len());
        for &image in images {
            samples.extend_from_slice(self.plane(image));
        }
        let (height, width) = (i64::from(self.spec.height_px), i64::from(self.spec.width_px));
        Tensor::from_slice(&samples).view([images.len() as i64, height, width])
    }
}

/// Reads each job's image into its plane of `samples`.
fn read_all(
    jobs: &[(usize, &Path)],
    samples: &mut [u8],
    spec: &PreprocessSpec,
) -> Vec<std::result::Result<(), String>> {
    let progress = progress::bar(Some(jobs.len() as u64), "reading", "images");
    let mut outcomes: Vec<std::result::Result<(), String>> = vec![Ok(()); jobs.len()];
    let work = jobs.iter().zip(samples.chunks_mut(spec.plane_len().max(1))).zip(&mut outcomes);
    let queue = Mutex::new(work);
    // A thread that panicked while it held the lock left the queue in order: it only took an item.
    let next = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(((&(_, path), plane), outcome)) = next() {
                    *outcome = read(path, spec, plane);
                    progress.inc(1);
                }
            });
        }
    });
    progress.finish_and_clear();
    outcomes
}

fn read(path: &Path, spec: &PreprocessSpec, target: &mut [u8]) -> std::result::Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let decoded = decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    let plane = to_plane(&decoded.radiograph, spec).map_err(|error| error.to_string())?;
    target.copy_from_slice(&plane.samples);
    Ok(())
}

#[cfg(test)]
mod tests {
    use contract::study::MURA_TYPES;

    use super::*;

    fn study(root: &Path, number: usize, images: &[&str]) -> Study {
        Study {
            study_type: MURA_TYPES[0].parse().unwrap(),
            patient: format!("patient{number}"),
            path: format!("train/XR_ELBOW/patient{number}/study1_positive"),
            abnormal: number % 2 == 1,
            images: images.iter().map(|name| root.join(name)).collect(),
        }
    }

    /// A ramp from black to white from left to right, all of it brighter by `base`.
    fn ramp(path: &Path, base: u8) {
        let ramp = image::GrayImage::from_fn(64, 64, |x, _| image::Luma([base + 2 * x as u8]));
        ramp.save(path).unwrap();
    }

    #[test]
    fn unreadable_images_are_listed_and_leave_no_hole() {
        let root = tempfile::tempdir().unwrap();
        for i in 0..6 {
            ramp(&root.path().join(format!("{i}.png")), 10 * i);
        }
        fs::write(root.path().join("bad.png"), b"no image").unwrap();
        let studies = [
            study(root.path(), 0, &["0.png", "bad.png", "1.png"]),
            study(root.path(), 1, &["bad.png", "missing.png"]),
            study(root.path(), 2, &["2.png"]),
            study(root.path(), 3, &["3.png", "4.png", "5.png"]),
        ];
        let planes = Planes::load(&studies, &PreprocessSpec::square(64)).unwrap();
        assert_eq!(planes.study, [0, 0, 1, 2, 2, 2]);
        assert_eq!(planes.abnormal, [false, false, false, true, true, true]);
        let patients: Vec<_> = planes.studies.iter().map(|s| s.patient.as_str()).collect();
        assert_eq!(patients, ["patient0", "patient2", "patient3"]);
        assert_eq!(planes.studies[0].images.len(), 2);
        assert_eq!(planes.unreadable.len(), 3);
        assert_eq!(planes.unreadable[2].0, "train/XR_ELBOW/patient1/study1_positive/missing.png");
        for i in 0..6 {
            assert_eq!(planes.plane(i)[..3], [10 * i as u8, 10 * i as u8 + 2, 10 * i as u8 + 4]);
        }
        assert_eq!(planes.samples.len(), 6 * 64 * 64);
        let batch = planes.batch(&[5, 0]);
        assert_eq!(batch.size(), [2, 64, 64]);
        assert_eq!(batch.int64_value(&[0, 0, 1]), 52);
    }

    #[test]
    fn nothing_readable_is_an_error_that_names_the_first_image() {
        let root = tempfile::tempdir().unwrap();
        let error = Planes::load(&[study(root.path(), 1, &["missing.png"])], &PreprocessSpec::square(64));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("study1_positive/missing.png"), "{error}");
    }
}
