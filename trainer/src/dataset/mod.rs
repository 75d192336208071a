//! A data set in the MURA layout: its studies, their lists as CSV, the images as preprocessed planes, a packed
//! cache of these, the augmentation of training, and the loader that makes its batches.
//!
//! ```text
//! ROOT/{train,valid}/XR_WRIST/patient00011/study1_negative/image1.png
//! ```
//!
//! A study's label is in its directory's name. Study types are the names of the directories: MURA's seven
//! and any other `XR_*`. No patient is in both splits: [`Index::scan`] refuses a data set in which one is.

pub mod augment;
mod cache;
pub mod census;
mod index;
mod lists;
pub mod loader;
mod mapped;
mod natural;
mod planes;
pub(crate) mod read;
mod samples;
pub mod turn;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use contract::study::StudyType;

pub use cache::{Cache, Packed, pack};
pub use index::Index;
pub(crate) use index::image_extension;
pub use lists::{write_left_out, write_lists};
pub(crate) use natural::compare as natural_order;
pub use planes::Planes;
pub use samples::Samples;

use crate::exit::Fault;

/// What was drawn in each image of a data set of phantoms, in its root; other data sets have no such file.
pub const TRUTH_FILE: &str = "truth.csv";

/// One study: the views of one body part of one patient, and what the radiologist said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Study {
    /// The study type, from the directory's name.
    pub study_type: StudyType,
    /// The patient's directory name.
    pub patient: String,
    /// The directory relative to the data set's root, with `/` between its parts, such as
    /// `valid/XR_WRIST/patient00001/study1_positive`.
    pub path: String,
    /// Whether the study was called abnormal.
    pub abnormal: bool,
    /// The views, in the order of their numbers; never empty.
    pub images: Vec<PathBuf>,
}

impl Study {
    /// An image's path below the data set's root, with `/` between its parts.
    pub fn path_of(&self, image: &Path) -> String {
        format!("{}/{}", self.path, image.file_name().unwrap_or_default().to_string_lossy())
    }
}

/// One of the two splits of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// What a network learns from.
    Train,
    /// What it is measured on.
    Valid,
}

impl Split {
    /// Both.
    pub const ALL: [Split; 2] = [Split::Train, Split::Valid];

    /// The split's directory name.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        Split::ALL
            .into_iter()
            .find(|split| split.as_str() == s)
            .ok_or_else(|| format!("`{s}` is not a split: expected train or valid"))
    }
}

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no data set.
    #[error(
        "{} holds no data set: expected the directories train and valid with XR_* directories inside", .root.display()
    )]
    Missing {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// A patient is in both splits, so the validation would measure memory.
    #[error(
        "patient {patient} is in both splits ({train} and {valid}): the splits must not share patients; \
         move the patient's studies to one of them"
    )]
    PatientInBothSplits {
        /// The patient.
        patient: String,
        /// One of the patient's studies for training.
        train: String,
        /// One of the patient's studies for validation.
        valid: String,
    },
    /// Nothing is left to work on.
    #[error("no image to read in {studies} studies{}", .first.as_ref().map(|f| format!(" (the first: {f})")).unwrap_or_default())]
    Empty {
        /// Studies that were asked for.
        studies: usize,
        /// The first image that could not be read, and why.
        first: Option<String>,
    },
    /// A packed cache cannot be used.
    #[error("the packed cache {} cannot be used: {reason}{}", .path.display(), advice(.reason))]
    Cache {
        /// Its directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A packed cache where the images themselves are needed.
    #[error(
        "{} is a packed cache, which holds no image files: name the directory of the data set that it was \
         packed from", .path.display()
    )]
    NoFiles {
        /// Its directory.
        path: PathBuf,
    },
    /// A directory to write into holds something else.
    #[error("{} holds {what}: choose another directory, or remove that one first", .path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// Reading or writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to which file.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The result of working with a data set.
pub type Result<T> = std::result::Result<T, Error>;

/// What to do about a cache that cannot be used, unless the reason says so itself.
fn advice(reason: &str) -> &'static str {
    if reason.contains("ask for the cache's size") {
        ""
    } else {
        ": remove it and pack the data set again with `trainer pack`"
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io { doing, source } => Error::Io { doing, source },
            fault => {
                Error::Io { doing: "working with the data set".to_owned(), source: io::Error::other(fault) }
            }
        }
    }
}
