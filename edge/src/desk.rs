//! What the technician does with studies, whoever asks for it: the page or the command line.
//!
//! Everything here goes through the store, so that it survives a power cut; the stages are woken afterwards and find
//! what is to be done there.

use std::sync::Arc;

use contract::study::StudyType;

use crate::capture::Camera;
use crate::intake::{AcceptError, Intake};
use crate::quality;
use crate::store::{Accepted, DeskError, Refused, Store, StoreError, StudyRow};
use crate::wake::Wake;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be done as things are.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The image was not accepted.
    #[error(transparent)]
    Accept(AcceptError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no camera.
    #[error("this station has no frame grabber; add images by the spool, by DICOM, or as files")]
    NoCamera,
    /// It gave no radiograph.
    #[error("no radiograph was taken: {0}")]
    Camera(String),
}

impl From<DeskError> for Error {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Refused(refused) => Self::Refused(refused),
            DeskError::Store(error) => Self::Store(error),
        }
    }
}

impl From<AcceptError> for Error {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Refused(refused) => Self::Refused(refused),
            AcceptError::Store(error) => Self::Store(error),
            other => Self::Accept(other),
        }
    }
}

/// The technician's side of the station. Clones share it. Calls block: for seconds where a camera is asked.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    intake: Intake,
    camera: Option<Arc<dyn Camera>>,
    keeper: Wake,
    workers: Wake,
}

impl Desk {
    /// `keeper` and `workers` are woken when there may be something for them to do.
    pub fn new(intake: Intake, camera: Option<Arc<dyn Camera>>, keeper: Wake, workers: Wake) -> Self {
        Self { store: intake.store().clone(), intake, camera, keeper, workers }
    }

    /// Whether there is a camera.
    pub fn has_camera(&self) -> bool {
        self.camera.is_some()
    }

    /// Why the camera would give no radiograph now, as far as is known; `None` where there is no camera.
    pub fn camera_trouble(&self) -> Option<String> {
        self.camera.as_ref()?.trouble()
    }

    /// Largest image that can be added, in bytes.
    pub fn file_max_bytes(&self) -> u64 {
        self.intake.file_max_bytes()
    }

    /// Opens a study. `reference` is what the technician calls it; it never leaves the station.
    ///
    /// # Errors
    /// When the reference is too long or the store fails.
    pub fn open(&self, study_type: &StudyType, reference: Option<&str>) -> Result<StudyRow, Error> {
        let number = self.store.open_by_hand(study_type, reference)?;
        log::info!(study_number = number; "study {number} opened by hand");
        self.found(&number)
    }

    /// Takes a radiograph from the camera into an open study; one that it replaces is dropped.
    ///
    /// # Errors
    /// When there is no camera or it gives nothing, the study is not open or full, or the image is not accepted.
    pub fn capture(&self, number: &str, replaces: Option<&str>) -> Result<Accepted, Error> {
        let camera = self.camera.as_ref().ok_or(Error::NoCamera)?;
        let study = self.found(number)?;
        // Asked again when the image is accepted; this one spares the patient a useless exposure.
        if !study.open {
            return Err(Refused::Closed(study.number).into());
        }
        let frame = camera.take().map_err(|why| {
            log::warn!("no radiograph was taken: {why}");
            Error::Camera(why)
        })?;
        let names = ("camera", "png");
        Ok(self.intake.accept_by_hand(number, replaces, names, &frame.png, Some(&frame.exposure))?)
    }

    /// Adds an image's bytes to an open study; one that it replaces is dropped.
    ///
    /// # Errors
    /// When the study is not open or full, or the image is not accepted.
    pub fn add(&self, number: &str, replaces: Option<&str>, bytes: &[u8]) -> Result<Accepted, Error> {
        let extension =
            contract::radiograph::Format::detect(bytes).map_or("bin", |format| format.extension());
        Ok(self.intake.accept_by_hand(number, replaces, ("file", extension), bytes, None)?)
    }

    /// Closes a study now, or as soon as its images are scored.
    ///
    /// # Errors
    /// When there is no such open study, it has no views, or the store fails.
    pub fn close(&self, number: &str) -> Result<StudyRow, Error> {
        self.store.ask_to_close(number)?;
        self.keeper.wake();
        self.found(number)
    }

    /// Opens a closed study again.
    ///
    /// # Errors
    /// When there is no such closed study or the store fails.
    pub fn reopen(&self, number: &str) -> Result<StudyRow, Error> {
        self.store.reopen(number)?;
        self.found(number)
    }

    /// Drops an image from its study.
    ///
    /// # Errors
    /// When there is no such image or the store fails.
    pub fn drop_image(&self, image_id: &str) -> Result<StudyRow, Error> {
        let number = self.store.drop_image(image_id)?;
        self.keeper.wake();
        self.found(&number)
    }

    /// Has an image scored that the acquisition gate rejected.
    ///
    /// # Errors
    /// When there is no such image, it cannot be overruled, or the store fails.
    pub fn overrule(&self, image_id: &str, initials: &str) -> Result<StudyRow, Error> {
        let number = self.store.overrule(image_id, initials, quality::overrulable)?;
        log::info!(
            image_id, study_number = number;
            "the gate's reason against image {image_id} of study {number} was overruled"
        );
        self.workers.wake();
        self.found(&number)
    }

    /// Removes what is known of a closed study, or an open one without views.
    ///
    /// # Errors
    /// When there is no such study, it is open, its result was not acknowledged and `unsent` is not set, or the store
    /// fails.
    pub fn purge(&self, number: &str, unsent: bool) -> Result<(), Error> {
        self.store.purge(number, unsent)?;
        log::info!(study_number = number; "study {number} purged");
        Ok(())
    }

    /// What the camera sees now, as an image file; nothing is kept.
    ///
    /// # Errors
    /// When there is no camera or it gives nothing.
    pub fn look(&self) -> Result<Vec<u8>, Error> {
        self.camera.as_ref().ok_or(Error::NoCamera)?.look().map_err(Error::Camera)
    }

    fn found(&self, number: &str) -> Result<StudyRow, Error> {
        self.store.study(number)?.ok_or_else(|| Refused::NoStudy(number.to_owned()).into())
    }
}
