//! The images of a split as preprocessed planes: what training, evaluation and export read.

use std::path::Path;
use std::sync::Mutex;
use std::thread;

use contract::preprocess::PreprocessSpec;
use tch::Tensor;

use super::samples::Samples;
use super::{Error, Result, Study, read};
use crate::progress;

/// Preprocessed images, u8, in memory or mapped from a packed cache.
#[derive(Clone, Debug)]
pub struct Planes {
    /// How the planes were made.
    pub spec: PreprocessSpec,
    /// `N` planes of `H * W` samples.
    pub samples: Samples,
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
    /// Decodes and preprocesses every image of `studies` into memory, on all cores. The result does not
    /// depend on how many there are. Images that cannot be read are listed in `unreadable`.
    ///
    /// # Errors
    /// [`Error::Empty`] when no image is left.
    pub fn load(studies: &[Study], spec: &PreprocessSpec) -> Result<Planes> {
        let images: Vec<&Path> =
            studies.iter().flat_map(|study| study.images.iter().map(|image| image.as_path())).collect();
        let size = spec.plane_len();
        let mut samples = vec![0u8; images.len() * size];
        let outcomes = read_all(&images, &mut samples, spec);
        let (planes, kept) = Planes::of_readable(studies, spec, outcomes)?;
        for (to, from) in kept.iter().enumerate() {
            samples.copy_within(from * size..(from + 1) * size, to * size);
        }
        samples.truncate(kept.len() * size);
        samples.shrink_to_fit();
        Ok(Planes { samples: samples.into(), ..planes })
    }

    /// The planes of `studies` without their samples, and which of the images they are. `outcomes` says for
    /// each image of `studies`, in order, whether it was read or why not.
    ///
    /// # Errors
    /// [`Error::Empty`] when none was read.
    pub(super) fn of_readable(
        studies: &[Study],
        spec: &PreprocessSpec,
        outcomes: Vec<std::result::Result<(), String>>,
    ) -> Result<(Planes, Vec<usize>)> {
        let mut planes = Planes {
            spec: spec.clone(),
            samples: Vec::new().into(),
            abnormal: Vec::with_capacity(outcomes.len()),
            study: Vec::with_capacity(outcomes.len()),
            studies: Vec::with_capacity(studies.len()),
            unreadable: Vec::new(),
        };
        let mut kept = Vec::with_capacity(outcomes.len());
        let mut outcomes = outcomes.into_iter().enumerate();
        for study in studies {
            let mut readable = Vec::with_capacity(study.images.len());
            for (image, (place, outcome)) in study.images.iter().zip(&mut outcomes) {
                match outcome {
                    Ok(()) => {
                        readable.push(image.clone());
                        kept.push(place);
                        planes.abnormal.push(study.abnormal);
                        planes.study.push(planes.studies.len());
                    }
                    Err(reason) => planes.unreadable.push((study.path_of(image), reason)),
                }
            }
            if !readable.is_empty() {
                planes.studies.push(Study { images: readable, ..study.clone() });
            }
        }
        if planes.is_empty() {
            let first = planes.unreadable.first().map(|(path, reason)| format!("{path}: {reason}"));
            return Err(Error::Empty { studies: studies.len(), first });
        }
        Ok((planes, kept))
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
        self.samples.plane(image, self.spec.plane_len())
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

/// Reads each image into its plane of `samples`.
fn read_all(
    images: &[&Path],
    samples: &mut [u8],
    spec: &PreprocessSpec,
) -> Vec<std::result::Result<(), String>> {
    let progress = progress::bar(Some(images.len() as u64), "reading", "images");
    let mut outcomes: Vec<std::result::Result<(), String>> = vec![Ok(()); images.len()];
    let work = images.iter().zip(samples.chunks_mut(spec.plane_len().max(1))).zip(&mut outcomes);
    let queue = Mutex::new(work);
    // A thread that panicked while it held the lock left the queue in order: it only took an item.
    let next = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    thread::scope(|scope| {
        for _ in 0..read::cores().min(images.len()) {
            scope.spawn(|| {
                while let Some(((path, plane), outcome)) = next() {
                    *outcome = read::plane(path, spec).map(|samples| plane.copy_from_slice(&samples));
                    progress.inc(1);
                }
            });
        }
    });
    progress.finish_and_clear();
    outcomes
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert!(matches!(&planes.samples, Samples::Owned(samples) if samples.len() == 6 * 64 * 64));
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
