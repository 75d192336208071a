//! The packed cache: all images of a data set as planes of one size, so that a run starts without decoding.
//!
//! ```text
//! cache.json     format and the SHA-256 of index.json; written last, so that a directory with it is whole
//! index.json     data set, preprocessing, studies, and for each image the CRC-32C of its plane, or why it
//!                could not be read
//! planes.u8      the planes, u8, H * W each, in the order of index.json: training first, then validation;
//!                an unreadable image leaves a hole
//! truth.csv      a phantoms' truth, where the data set has one
//! packing.json   only while packing: what is being packed
//! packing.log    only while packing: for each finished plane its number and its CRC-32C, u32 each,
//!                little-endian
//! ```
//!
//! Packing goes on where it was killed: planes whose sum agrees with the log are kept. A finished cache is
//! never written to again. Whoever opens one reads it once from start to end and compares every plane with
//! its sum, which also brings it into the page cache.

mod pack;

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::preprocess::{Aspect, PreprocessSpec, to_plane};
use contract::radiograph::Radiograph;
use contract::study::StudyType;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::samples::Samples;
use super::{Error, Index, Planes, Result, Split, Study, mapped};
use crate::progress;
pub use pack::{Packed, pack};

/// The format this program writes and reads.
const FORMAT: u32 = 1;
const HEADER_FILE: &str = "cache.json";
const INDEX_FILE: &str = "index.json";
const PLANES_FILE: &str = "planes.u8";

/// `cache.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    index_sha256: String,
}

/// `index.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    /// The data set's directory name.
    data_set: String,
    /// How the planes were made.
    spec: PreprocessSpec,
    /// CRC-32C of what the packing program's preprocessing makes of a drawn radiograph.
    probe: u32,
    /// SHA-256 over the images' names, sizes and labels and the preprocessing.
    fingerprint: String,
    /// What of the data set did not fit the layout, and why.
    skipped: Vec<(String, String)>,
    train: Vec<PackedStudy>,
    valid: Vec<PackedStudy>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PackedStudy {
    path: String,
    study_type: StudyType,
    patient: String,
    abnormal: bool,
    images: Vec<PackedImage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PackedImage {
    name: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The plane's checksum.
    Crc32c(u32),
    /// Why the image could not be read.
    Unreadable(String),
}

/// A whole packed cache.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    contents: Contents,
}

impl Cache {
    /// Whether a directory is a whole packed cache.
    pub fn is_at(dir: &Path) -> bool {
        dir.join(HEADER_FILE).is_file()
    }

    /// Opens a cache; the planes are checked when they are asked for.
    ///
    /// # Errors
    /// [`Error::Cache`] when it is damaged, was packed by an incompatible program or preprocesses otherwise,
    /// [`Error::Io`] when it cannot be read.
    pub fn open(dir: &Path) -> Result<Cache> {
        let broken = |reason: String| Error::Cache { path: dir.to_owned(), reason };
        let header: Header = serde_json::from_slice(&read(&dir.join(HEADER_FILE))?)
            .map_err(|error| broken(format!("{HEADER_FILE} is damaged ({error})")))?;
        if header.format != FORMAT {
            return Err(broken(format!("its format is {}, this trainer reads {FORMAT}", header.format)));
        }
        let index = read(&dir.join(INDEX_FILE))?;
        if sha256(&index) != header.index_sha256 {
            return Err(broken(format!(
                "{INDEX_FILE} is damaged: its SHA-256 is not the one in {HEADER_FILE}"
            )));
        }
        let contents: Contents = serde_json::from_slice(&index)
            .map_err(|error| broken(format!("{INDEX_FILE} cannot be read ({error})")))?;
        if probe(&contents.spec) != Some(contents.probe) {
            return Err(broken(
                "it was packed by a trainer that preprocesses radiographs otherwise than this one".to_owned(),
            ));
        }
        Ok(Cache { dir: dir.to_owned(), contents })
    }

    /// The data set as it was indexed when it was packed. The images' paths are their names only: there are
    /// no such files.
    pub fn index(self) -> Index {
        let studies = |packed: &[PackedStudy]| packed.iter().map(|study| study.study(&self.dir)).collect();
        Index {
            root: self.dir.clone(),
            name: self.contents.data_set.clone(),
            train: studies(&self.contents.train),
            valid: studies(&self.contents.valid),
            skipped: self.contents.skipped.clone(),
            cache: Some(Arc::new(self)),
        }
    }

    /// How the planes were made.
    pub fn spec(&self) -> &PreprocessSpec {
        &self.contents.spec
    }

    /// The planes of some of its studies, mapped and checked.
    ///
    /// # Errors
    /// [`Error::Cache`] when it was packed for another size or aspect, or is truncated or damaged;
    /// [`Error::Empty`] when no image is left.
    pub(super) fn planes(&self, studies: &[Study], spec: &PreprocessSpec) -> Result<Planes> {
        self.require(spec)?;
        let file = Arc::new(self.map()?);
        let mut first_of = HashMap::new();
        let mut next = 0u32;
        for study in self.studies() {
            first_of.insert(study.path.as_str(), (next, study));
            next += study.images.len() as u32;
        }
        let (mut numbers, mut outcomes, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for study in studies {
            let Some((first, packed)) = first_of.get(study.path.as_str()) else {
                return Err(self.broken(format!("it holds no study {}", study.path)));
            };
            for (number, image) in (*first..).zip(&packed.images) {
                numbers.push(number);
                outcomes.push(match &image.outcome {
                    Outcome::Crc32c(sum) => {
                        sums.push((number, *sum));
                        Ok(())
                    }
                    Outcome::Unreadable(reason) => Err(reason.clone()),
                });
            }
        }
        self.check(&file, &sums)?;
        let (planes, kept) = Planes::of_readable(studies, spec, outcomes)?;
        let numbers = kept.into_iter().map(|place| numbers[place]).collect();
        Ok(Planes { samples: Samples::Mapped { file, planes: numbers }, ..planes })
    }

    fn studies(&self) -> impl Iterator<Item = &PackedStudy> {
        self.contents.train.iter().chain(&self.contents.valid)
    }

    /// Maps the planes, after a look at the file's length.
    fn map(&self) -> Result<Mmap> {
        let path = self.dir.join(PLANES_FILE);
        let failed = |source| Error::Io { doing: format!("mapping {}", path.display()), source };
        let file = File::open(&path).map_err(failed)?;
        let images: usize = self.studies().map(|study| study.images.len()).sum();
        let expected = images as u64 * self.contents.spec.plane_len() as u64;
        let length = file.metadata().map_err(failed)?.len();
        if length != expected {
            return Err(self.broken(format!(
                "{PLANES_FILE} has {length} bytes, but {images} images of {} px make {expected}",
                size(&self.contents.spec)
            )));
        }
        mapped::map(&file).map_err(failed)
    }

    /// Compares planes with their checksums.
    fn check(&self, file: &Mmap, sums: &[(u32, u32)]) -> Result<()> {
        let len = self.contents.spec.plane_len();
        let bar = progress::bar(Some(sums.len() as u64), "checking", "images");
        for (number, sum) in sums {
            let first = *number as usize * len;
            if crc32c::crc32c(&file[first..first + len]) != *sum {
                return Err(self.broken(format!("plane {number} in {PLANES_FILE} is damaged")));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Refuses a run whose planes would be others.
    fn require(&self, spec: &PreprocessSpec) -> Result<()> {
        let packed = &self.contents.spec;
        if same_planes(packed, spec) {
            return Ok(());
        }
        if packed.window_low != spec.window_low || packed.window_high != spec.window_high {
            return Err(self.broken("its planes were windowed otherwise than is asked for".to_owned()));
        }
        Err(self.broken(format!(
            "its planes are {} px ({}), asked for are {} px ({}): ask for the cache's size, or use the data \
             set's own directory, or another cache",
            size(packed),
            aspect(packed),
            size(spec),
            aspect(spec)
        )))
    }

    fn broken(&self, reason: String) -> Error {
        Error::Cache { path: self.dir.clone(), reason }
    }
}

impl PackedStudy {
    fn study(&self, dir: &Path) -> Study {
        let folder = dir.join(&self.path);
        Study {
            study_type: self.study_type.clone(),
            patient: self.patient.clone(),
            path: self.path.clone(),
            abnormal: self.abnormal,
            images: self.images.iter().map(|image| folder.join(&image.name)).collect(),
        }
    }
}

/// Whether two specs make the same planes; what normalisation does with them may differ.
fn same_planes(a: &PreprocessSpec, b: &PreprocessSpec) -> bool {
    PreprocessSpec { mean: b.mean, std: b.std, ..a.clone() } == *b
}

/// Says in numbers what preprocessing does: the CRC-32C of the plane of a small drawn radiograph.
fn probe(spec: &PreprocessSpec) -> Option<u32> {
    let (width, height) = (211, 157);
    let sample = |place: u32| (place.wrapping_mul(2_654_435_761) >> 20) as u16;
    let samples = (0..width * height).map(sample).collect();
    let radiograph =
        Radiograph { width, height, max_value: 4095, windowed: false, coloured_permille: 0, samples };
    to_plane(&radiograph, spec).ok().map(|plane| crc32c::crc32c(&plane.samples))
}

fn size(spec: &PreprocessSpec) -> String {
    format!("{}x{}", spec.width_px, spec.height_px)
}

fn aspect(spec: &PreprocessSpec) -> &'static str {
    match spec.aspect {
        Aspect::Squash => "squash",
        Aspect::Letterbox => "letterbox",
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::Io { doing: format!("reading {}", path.display()), source })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 over what a cache of `index` with `spec` depends on: preprocessing, studies, labels, and the
/// images' names and sizes in bytes.
fn fingerprint(index: &Index, spec: &PreprocessSpec) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "{FORMAT} {} {} {} {}\n",
        size(spec),
        aspect(spec),
        spec.window_low,
        spec.window_high
    ));
    for split in Split::ALL {
        for study in index.split(split) {
            hash.update(format!("{} {}\n", study.path, u8::from(study.abnormal)));
            for image in &study.images {
                let bytes = fs::metadata(image).map_or(0, |metadata| metadata.len());
                let name = image.file_name().unwrap_or_default();
                hash.update(name.as_encoded_bytes());
                hash.update(format!(" {bytes}\n"));
            }
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
