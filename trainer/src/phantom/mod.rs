//! Synthetic radiographs in the MURA layout, for demonstrations and tests.
//!
//! Bones with cortex, spongy bone and joints in soft tissue, seen in one to three views, with exposure,
//! noise, blur, collimation and a side marker. An abnormal study has one finding, visible in each of its
//! views; `truth.csv` says which and where. Everything drawn for looks comes from random streams that never
//! see the label, so an abnormal image and its normal twin differ only at the finding.
//!
//! ```text
//! OUT/{train,valid}/XR_WRIST/patient00001/study1_negative/image1.png     8-bit grey, some 16-bit
//! OUT/truth.csv          image,study,label,finding,setting,x0,y0,x1,y1   (pixels, x1 and y1 exclusive)
//! ```

mod bones;
mod difficulty;
mod draw;
mod finding;
mod looks;
mod matter;
mod plan;
mod pose;
mod random;
mod render;
mod shape;
#[cfg(test)]
mod shortcut;
mod skeleton;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::dataset::TRUTH_FILE;

pub use difficulty::Difficulty;
pub use draw::{View, draw_study};
pub use finding::FindingKind;
pub use plan::{Planned, plan};

/// What to draw.
#[derive(Clone, Debug)]
pub struct Options {
    /// Studies in both splits together.
    pub studies: usize,
    /// Everything follows from it: the same options give the same files.
    pub seed: u64,
    /// The longer side of an image in pixels.
    pub size_px: u32,
    /// How subtle findings are, and how much distracts from them.
    pub difficulty: Difficulty,
    /// The study types, taken in turn. One that is not MURA's is drawn as a forearm.
    pub study_types: Vec<String>,
    /// What abnormal studies show, dealt evenly. Not empty.
    pub findings: Vec<FindingKind>,
    /// The share of the studies that is for validation, above 0 and below 1.
    pub valid_share: f64,
    /// A study has at most so many views, 1 to [`VIEWS_MAX`].
    pub views_max: usize,
}

/// The share of the validation split unless said otherwise.
pub const VALID_SHARE: f64 = 0.2;
/// No study has more views.
pub const VIEWS_MAX: usize = 3;

/// The smallest longer side: below it a finding is less than a pixel.
pub const SIZE_MIN_PX: u32 = 64;
/// The largest longer side.
pub const SIZE_MAX_PX: u32 = 4096;

/// How much was drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Studies.
    pub studies: usize,
    /// Of which abnormal.
    pub abnormal: usize,
    /// Images.
    pub images: usize,
}

/// Why studies could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is something in the directory already.
    #[error("{} is not empty: name a new directory, or remove it first", .0.display())]
    NotEmpty(PathBuf),
    /// Writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to which file.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

const TRUTH_HEADER: &str = "image,study,label,finding,setting,x0,y0,x1,y1\n";

/// Draws `options.studies` studies below `out` and says in `out/truth.csv` what is in each image. Uses all
/// cores; the files do not depend on how many there are. `progress` is called with the images done so far.
///
/// # Errors
/// [`Error::NotEmpty`] when `out` has something in it, [`Error::Io`] when a file cannot be written.
pub fn synth(out: &Path, options: &Options, progress: impl Fn(usize) + Sync) -> Result<Drawn, Error> {
    create(out)?;
    let occupied = fs::read_dir(out).map_err(io_error("listing", out))?.next().is_some();
    if occupied {
        return Err(Error::NotEmpty(out.to_owned()));
    }
    let planned = plan(options);
    let (next, images) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let rows: Mutex<Vec<Option<String>>> = Mutex::new(vec![None; planned.len()]);
    let work = || -> Result<(), Error> {
        while let Some(study) = planned.get(next.fetch_add(1, Ordering::Relaxed)) {
            let views = draw_study(study, options);
            let row = write_study(out, study, &views, options)?;
            rows.lock().unwrap_or_else(PoisonError::into_inner)[study.number] = Some(row);
            progress(images.fetch_add(views.len(), Ordering::Relaxed) + views.len());
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let truth = out.join(TRUTH_FILE);
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let text: String = std::iter::once(TRUTH_HEADER.to_owned()).chain(rows.into_iter().flatten()).collect();
    fs::write(&truth, text).map_err(io_error("writing", &truth))?;
    Ok(Drawn {
        studies: planned.len(),
        abnormal: planned.iter().filter(|study| study.finding.is_some()).count(),
        images: images.into_inner(),
    })
}

/// Writes a study's images and gives its lines of `truth.csv`.
fn write_study(out: &Path, study: &Planned, views: &[View], options: &Options) -> Result<String, Error> {
    let path = study.path();
    create(&out.join(&path))?;
    let finding = study.finding.map_or("", FindingKind::as_str);
    let setting = options.difficulty.name();
    let mut rows = String::new();
    for (i, view) in views.iter().enumerate() {
        let name = format!("{path}/image{}.png", i + 1);
        write_png(&out.join(&name), view)?;
        let site = view.site.map_or(",,,".to_owned(), |[x0, y0, x1, y1]| format!("{x0},{y0},{x1},{y1}"));
        let label = u8::from(study.finding.is_some());
        rows += &format!("{name},{path},{label},{finding},{setting},{site}\n");
    }
    Ok(rows)
}

fn write_png(path: &Path, view: &View) -> Result<(), Error> {
    let file = fs::File::create(path).map_err(io_error("creating", path))?;
    let mut file = BufWriter::new(file);
    let (bytes, colour) = if view.sixteen_bit {
        let samples = view.grey.iter().flat_map(|grey| ((grey * 65535.0).round() as u16).to_ne_bytes());
        (samples.collect::<Vec<u8>>(), ExtendedColorType::L16)
    } else {
        (view.samples(), ExtendedColorType::L8)
    };
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Up)
        .write_image(&bytes, view.width_px, view.height_px, colour)
        .map_err(|error| io_error("writing", path)(io::Error::other(error)))?;
    file.flush().map_err(io_error("writing", path))
}

fn create(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(io_error("creating", directory))
}

fn io_error(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let doing = format!("{doing} {}", path.display());
    move |source| Error::Io { doing, source }
}
