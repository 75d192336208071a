//! Packing: decodes every image once and writes the cache.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use contract::preprocess::PreprocessSpec;
use serde::{Deserialize, Serialize};

use super::{Cache, Index, Split, Study};
use super::{
    Contents, FORMAT, HEADER_FILE, Header, INDEX_FILE, Outcome, PLANES_FILE, PackedImage, PackedStudy,
    aspect, fingerprint, probe, read, same_planes, sha256, size,
};
use crate::dataset::TRUTH_FILE;
use crate::dataset::{Error, Result, read as decode};
use crate::run::files::write_atomic;

const PACKING_FILE: &str = "packing.json";
const LOG_FILE: &str = "packing.log";
/// Bytes of one entry in the log.
const ENTRY: usize = 8;

/// `packing.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Packing {
    data_set: String,
    planes: String,
    fingerprint: String,
}

/// What packing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Images with a plane in the cache.
    pub images: usize,
    /// Of these, those that an earlier, interrupted packing had finished.
    pub kept: usize,
    /// Images that could not be read: their path below the data set's root, and why.
    pub unreadable: Vec<(String, String)>,
    /// Bytes of all planes.
    pub bytes: u64,
    /// Whether the cache was whole already, of the same images.
    pub already: bool,
}

/// Packs the images of a data set into `dir`, on all cores. After a kill or a full disk the same call goes
/// on where it was. A whole cache of the same images is left as it is.
///
/// # Errors
/// [`Error::Occupied`] when `dir` holds something else than this cache or its beginning, [`Error::Empty`]
/// when no image is readable, [`Error::Io`] when something cannot be written.
pub fn pack(index: &Index, spec: &PreprocessSpec, dir: &Path) -> Result<Packed> {
    let packing = Packing {
        data_set: index.name.clone(),
        planes: format!("{} {}", size(spec), aspect(spec)),
        fingerprint: fingerprint(index, spec),
    };
    if let Some(packed) = already_packed(dir, &packing, spec)? {
        return Ok(packed);
    }
    begin(dir, &packing)?;
    let jobs: Vec<Job<'_>> = jobs(index);
    let work = Work::open(dir, &jobs, spec)?;
    let outcomes = decode::on_all_cores(&jobs, "packing", |job| work.pack(job, spec));
    if let Some(source) = work.failure() {
        let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let space = if full { "free some space; " } else { "" };
        let path = dir.join(PLANES_FILE);
        let doing = format!(
            "writing {} ({space}the same command goes on with the images that are missing)",
            path.display()
        );
        return Err(Error::Io { doing, source });
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    work.planes.sync_all().map_err(failed("syncing", &dir.join(PLANES_FILE)))?;
    finish(dir, index, spec, packing, &jobs, &outcomes, work.kept.len())
}

/// One image to pack.
struct Job<'a> {
    number: u32,
    study: &'a Study,
    image: &'a Path,
}

fn jobs(index: &Index) -> Vec<Job<'_>> {
    let studies = Split::ALL.into_iter().flat_map(|split| index.split(split));
    let images = studies.flat_map(|study| study.images.iter().map(move |image| (study, image.as_path())));
    images.zip(0..).map(|((study, image), number)| Job { number, study, image }).collect()
}

/// What an earlier call left: a whole cache of the same images.
fn already_packed(dir: &Path, packing: &Packing, spec: &PreprocessSpec) -> Result<Option<Packed>> {
    if !Cache::is_at(dir) {
        return Ok(None);
    }
    let cache = Cache::open(dir)?;
    let contents = &cache.contents;
    if contents.fingerprint != packing.fingerprint || !same_planes(&contents.spec, spec) {
        return Err(Error::Occupied {
            path: dir.to_owned(),
            what: format!(
                "a cache of {} at {} {}",
                contents.data_set,
                size(&contents.spec),
                aspect(&contents.spec)
            ),
        });
    }
    let mut sums = Vec::new();
    let mut unreadable = Vec::new();
    let images = cache.studies().flat_map(|study| study.images.iter().map(move |image| (study, image)));
    for ((study, image), number) in images.zip(0..) {
        match &image.outcome {
            Outcome::Crc32c(sum) => sums.push((number, *sum)),
            Outcome::Unreadable(reason) => {
                unreadable.push((format!("{}/{}", study.path, image.name), reason.clone()));
            }
        }
    }
    let file = cache.map()?;
    cache.check(&file, &sums)?;
    for leftover in [LOG_FILE, PACKING_FILE] {
        let _ = fs::remove_file(dir.join(leftover));
    }
    let (images, bytes) = (sums.len(), file.len() as u64);
    Ok(Some(Packed { images, kept: images, unreadable, bytes, already: true }))
}

/// Makes the directory and says in it what is being packed; or finds that it says so already.
fn begin(dir: &Path, packing: &Packing) -> Result<()> {
    fs::create_dir_all(dir).map_err(failed("creating", dir))?;
    let path = dir.join(PACKING_FILE);
    if path.is_file() {
        let begun = serde_json::from_slice::<Packing>(&read(&path)?).ok();
        return match begun {
            Some(begun) if begun.fingerprint == packing.fingerprint => Ok(()),
            Some(begun) => Err(Error::Occupied {
                path: dir.to_owned(),
                what: format!(
                    "an unfinished cache of {} at {}, or of other images",
                    begun.data_set, begun.planes
                ),
            }),
            None => Err(Error::Occupied { path: dir.to_owned(), what: format!("a damaged {PACKING_FILE}") }),
        };
    }
    for entry in fs::read_dir(dir).map_err(failed("listing", dir))? {
        let name = entry.map_err(failed("listing", dir))?.file_name().to_string_lossy().into_owned();
        if name != format!("{PACKING_FILE}.tmp") && name != "lost+found" {
            return Err(Error::Occupied { path: dir.to_owned(), what: format!("`{name}`") });
        }
    }
    write_json(&path, packing)
}

/// The files being written.
struct Work {
    planes: File,
    log: Mutex<File>,
    /// Checksums of planes that are there already, by number.
    kept: HashMap<u32, u32>,
    /// The first write that failed; nothing is begun after it.
    failed: Mutex<Option<io::Error>>,
}

impl Work {
    /// Opens the files and finds out which planes are there already.
    fn open(dir: &Path, jobs: &[Job<'_>], spec: &PreprocessSpec) -> Result<Work> {
        let path = dir.join(PLANES_FILE);
        let open = |path: &Path| {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            file.map_err(failed("opening", path))
        };
        let (planes, mut log) = (open(&path)?, open(&dir.join(LOG_FILE))?);
        log.try_lock().map_err(|_| Error::Occupied {
            path: dir.to_owned(),
            what: "the work of another trainer that is packing into it right now".to_owned(),
        })?;
        let length = jobs.len() as u64 * spec.plane_len() as u64;
        planes.set_len(length).map_err(failed("sizing", &path))?;

        let mut kept = HashMap::new();
        let mut plane = vec![0; spec.plane_len()];
        for entry in read(&dir.join(LOG_FILE))?.chunks_exact(ENTRY) {
            let word =
                |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let (number, sum) = (word(0), word(4));
            if number as usize >= jobs.len() {
                continue;
            }
            let at = u64::from(number) * plane.len() as u64;
            planes.read_exact_at(&mut plane, at).map_err(failed("reading", &path))?;
            if crc32c::crc32c(&plane) == sum {
                kept.insert(number, sum);
            }
        }
        // Written anew, so that a torn last entry does not shift those that follow.
        let entries: Vec<u8> = kept.iter().flat_map(|(number, sum)| log_entry(*number, *sum)).collect();
        log.set_len(0)
            .and_then(|()| log.write_all(&entries))
            .map_err(failed("writing", &dir.join(LOG_FILE)))?;
        Ok(Work { planes, log: Mutex::new(log), kept, failed: Mutex::new(None) })
    }

    /// Reads one image and writes its plane, then its entry in the log. `None` when a write failed, now or
    /// before.
    fn pack(&self, job: &Job<'_>, spec: &PreprocessSpec) -> Option<Outcome> {
        if let Some(sum) = self.kept.get(&job.number) {
            return Some(Outcome::Crc32c(*sum));
        }
        if held(&self.failed).is_some() {
            return None;
        }
        let samples = match decode::plane(job.image, spec) {
            Ok(samples) => samples,
            Err(reason) => return Some(Outcome::Unreadable(reason)),
        };
        let sum = crc32c::crc32c(&samples);
        let at = u64::from(job.number) * samples.len() as u64;
        let written = self.planes.write_all_at(&samples, at);
        match written.and_then(|()| held(&self.log).write_all(&log_entry(job.number, sum))) {
            Ok(()) => Some(Outcome::Crc32c(sum)),
            Err(error) => {
                held(&self.failed).get_or_insert(error);
                None
            }
        }
    }

    fn failure(&self) -> Option<io::Error> {
        held(&self.failed).take()
    }
}

/// A lock's content. Whoever panicked while holding it left it in order: there is one step under each lock.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn log_entry(number: u32, sum: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&number.to_le_bytes());
    entry[4..].copy_from_slice(&sum.to_le_bytes());
    entry
}

/// Writes the index and, last, the header.
fn finish(
    dir: &Path,
    index: &Index,
    spec: &PreprocessSpec,
    packing: Packing,
    jobs: &[Job<'_>],
    outcomes: &[Outcome],
    kept: usize,
) -> Result<Packed> {
    let mut unreadable = Vec::new();
    for (job, outcome) in jobs.iter().zip(outcomes) {
        if let Outcome::Unreadable(reason) = outcome {
            unreadable.push((job.study.path_of(job.image), reason.clone()));
        }
    }
    let images = jobs.len() - unreadable.len();
    let Some(probe) = probe(spec).filter(|_| images > 0) else {
        let first = unreadable.first().map(|(path, reason)| format!("{path}: {reason}"));
        return Err(Error::Empty { studies: index.train.len() + index.valid.len(), first });
    };
    let mut outcomes = outcomes.iter();
    let mut packed = |studies: &[Study]| -> Vec<PackedStudy> {
        studies.iter().map(|study| packed_study(study, &mut outcomes)).collect()
    };
    let contents = Contents {
        train: packed(&index.train),
        valid: packed(&index.valid),
        data_set: packing.data_set,
        spec: spec.clone(),
        probe,
        fingerprint: packing.fingerprint,
        skipped: index.skipped.clone(),
    };
    let truth = index.root.join(TRUTH_FILE);
    if truth.is_file() {
        write_atomic(&dir.join(TRUTH_FILE), &read(&truth)?)?;
    }
    write_json(&dir.join(INDEX_FILE), &contents)?;
    let header = Header { format: FORMAT, index_sha256: sha256(&read(&dir.join(INDEX_FILE))?) };
    write_json(&dir.join(HEADER_FILE), &header)?;
    for leftover in [LOG_FILE, PACKING_FILE] {
        let path = dir.join(leftover);
        fs::remove_file(&path).map_err(failed("removing", &path))?;
    }
    let bytes = jobs.len() as u64 * spec.plane_len() as u64;
    Ok(Packed { images, kept, unreadable, bytes, already: false })
}

fn packed_study<'a>(study: &Study, outcomes: &mut impl Iterator<Item = &'a Outcome>) -> PackedStudy {
    let name = |image: &Path| image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    PackedStudy {
        path: study.path.clone(),
        study_type: study.study_type.clone(),
        patient: study.patient.clone(),
        abnormal: study.abnormal,
        images: study
            .images
            .iter()
            .zip(outcomes)
            .map(|(image, outcome)| PackedImage { name: name(image), outcome: outcome.clone() })
            .collect(),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let failed = |error: serde_json::Error| Error::Io {
        doing: format!("writing {}", path.display()),
        source: io::Error::other(error),
    };
    let mut bytes = serde_json::to_vec(value).map_err(failed)?;
    bytes.push(b'\n');
    Ok(write_atomic(path, &bytes)?)
}

fn failed(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let doing = format!("{doing} {}", path.display());
    move |source| Error::Io { doing, source }
}
