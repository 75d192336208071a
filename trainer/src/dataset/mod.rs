//! A data set in the MURA layout: its studies, their lists as CSV, the images as preprocessed planes, and
//! the augmentation of training.
//!
//! ```text
//! ROOT/{train,valid}/XR_WRIST/patient00011/study1_negative/image1.png
//! ```
//!
//! A study's label is in its directory's name. Study types are the names of the directories: MURA's seven
//! and any other `XR_*`. No patient is in both splits: [`Index::scan`] refuses a data set in which one is.

pub mod augment;
mod index;
mod lists;
mod natural;
mod planes;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use contract::study::StudyType;

pub use index::Index;
pub(crate) use index::image_extension;
pub use lists::write_lists;
pub(crate) use natural::compare as natural_order;
pub use planes::Planes;

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
