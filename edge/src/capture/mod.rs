//! Where images come from.
//!
//! A source to which images come by themselves, such as the watched folder, is a [`Source`] and has a thread; one
//! that is asked for an image, such as the frame grabber, answers whoever asks. All hand images to the intake.
//!
//! The name of a study's origin says which source it comes from ([`source_of`]). Only that source's reports say whether
//! more of the study is to come.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use contract::result::CameraState;

use self::layout::Place;
use crate::quality::RawExposure;
use crate::study::SourceName;

pub mod dicom;
mod layout;
pub mod replay;
mod scan;
pub mod spool;
pub mod v4l2;

/// The source that a study's origin names; `None` for one that nobody looks for more of, such as a captured frame.
pub fn source_of(origin: &str) -> Option<SourceName> {
    if origin.starts_with(dicom::ORIGIN_PREFIX) {
        Some(dicom::NAME)
    } else if origin.starts_with(replay::ORIGIN_PREFIX) {
        Some(replay::NAME)
    } else if origin.starts_with(layout::ROOT_PREFIX) || origin.starts_with(layout::TYPE_PREFIX) {
        Some(spool::NAME)
    } else {
        None
    }
}

/// A source to which images come by themselves.
pub trait Source: Send {
    /// Its name.
    fn name(&self) -> SourceName;

    /// Looks once, hands over what is ready, and says what it still holds. `now` is boot time.
    fn poll(&mut self, now: Duration) -> Report;

    /// Waits until there may be something new, at most for `patience`.
    fn wait(&mut self, patience: Duration);
}

/// A source that gives an image when asked to. Calls block until it is there, for seconds.
pub trait Camera: Send + Sync + 'static {
    /// Takes one radiograph.
    ///
    /// # Errors
    /// When the device is busy, away or gives nothing usable; in words for the technician.
    fn take(&self) -> Result<Frame, String>;

    /// What the device sees now, for the live preview: a PNG file's bytes.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn look(&self) -> Result<Vec<u8>, String>;

    /// Why it would give none, as far as that is known without asking the device; in words for the technician.
    fn trouble(&self) -> Option<String>;

    /// The same in a word, for the centre.
    fn state(&self) -> CameraState;
}

/// What lies in a folder of studies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Studies with at least one file.
    pub studies: usize,
    /// Folders beside those of the study types: what is in them is not taken.
    pub strangers: usize,
    /// Links, pipes and the like, and folders too deep: not taken either.
    pub odd: usize,
}

/// Looks at what lies in a folder of studies; files of the folder itself are not counted.
///
/// # Errors
/// When the folder cannot be read.
pub fn holdings(dir: &Path) -> io::Result<Holdings> {
    let scan = scan::scan(dir)?;
    let studies: BTreeSet<String> = scan
        .files
        .iter()
        .filter_map(|found| match Place::of(&found.relative) {
            Place::In(origin) => Some(origin.name),
            Place::Root => None,
        })
        .collect();
    Ok(Holdings { studies: studies.len(), strangers: scan.strangers, odd: scan.odd })
}

/// A radiograph that a camera took.
#[derive(Clone, Debug)]
pub struct Frame {
    /// A PNG file's bytes, windowed.
    pub png: Vec<u8>,
    /// How it was exposed, before it was windowed.
    pub exposure: RawExposure,
}

/// What a source still holds after a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// When the look began, boot time.
    pub began: Duration,
    /// Names of the origins of which it still holds an image.
    pub held: BTreeSet<String>,
    /// Names that begin so are held too: of those images it is not known yet to which study they belong.
    pub held_prefix: Option<&'static str>,
    /// When to look again at the latest.
    pub next: Duration,
}

impl Report {
    /// A report of a look that began now and found nothing.
    pub fn nothing(began: Duration, next: Duration) -> Self {
        Self { began, next, ..Self::default() }
    }

    /// Whether an image of this origin is still to come.
    pub fn holds(&self, origin: &str) -> bool {
        self.held.contains(origin) || self.held_prefix.is_some_and(|prefix| origin.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_its_source() {
        for (origin, source) in [
            ("XR_WRIST/folder/", Some("spool")),
            ("XR_WRIST/file.png", Some("spool")),
            ("./XR_WRIST/1.2.3", Some("spool")),
            ("dicom/XR_WRIST/1.2.3", Some("dicom")),
            ("replay/1/XR_WRIST/folder/", Some("replay")),
            ("v4l2/XR_WRIST", None),
        ] {
            assert_eq!(source_of(origin), source, "{origin}");
        }
    }
}
