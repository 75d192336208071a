//! Where images come from.
//!
//! A source that finds images by itself, such as the watched folder, is a [`Source`] and has a thread; one that is
//! asked for an image, such as the frame grabber, answers whoever asks. Both hand images to the intake.

use std::collections::BTreeSet;
use std::time::Duration;

pub mod spool;
pub mod v4l2;

/// A source that finds images by itself.
pub trait Source: Send {
    /// Its name, for logs.
    fn name(&self) -> &'static str;

    /// Looks once, hands over what is ready, and says what it still holds. `now` is boot time.
    fn poll(&mut self, now: Duration) -> Report;

    /// Waits until there may be something new, at most for `patience`.
    fn wait(&mut self, patience: Duration);
}

/// A source that gives an image when asked to. Calls block until it is there, for seconds.
pub trait Camera: Send + Sync + 'static {
    /// Takes one radiograph: a PNG file's bytes.
    ///
    /// # Errors
    /// When the device is busy, away or gives nothing usable; in words for the technician.
    fn take(&self) -> Result<Vec<u8>, String>;

    /// What the device sees now, for the live preview: a PNG file's bytes.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn look(&self) -> Result<Vec<u8>, String>;
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
    /// Whether an image of this origin is still to come.
    pub fn holds(&self, origin: &str) -> bool {
        self.held.contains(origin) || self.held_prefix.is_some_and(|prefix| origin.starts_with(prefix))
    }
}
