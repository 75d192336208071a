//! Acceptance: the one door through which an image enters the station, whatever its source.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use contract::radiograph::RejectReason;
use contract::result::Rejection;

use crate::config::Config;
use crate::health::{Health, Trouble};
use crate::quality::RawExposure;
use crate::store::{
    Accepted, ByHand, DeskError, Grouping, InstanceError, InstanceName, NewImage, Origin, Refused,
    SourceFacts, StageError, Staged, Store, StoreError,
};

const HOUR_MS: i64 = 3_600_000;

/// Takes images into the store. Clones share it.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    health: Arc<Health>,
    grouping: Grouping,
    file_max_bytes: u64,
    disk_free_min_bytes: u64,
    /// Instances are accepted one after another.
    accepting: Arc<Mutex<()>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// Why an image was not accepted. It stays where it is, but for [`AcceptError::Store`] nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Too little free space.
    #[error(
        "the disk has only {free_mib} MiB left, less than disk_free_min_mib = {min_mib}; no image is accepted \
         until there is space again"
    )]
    DiskFull {
        /// Free space in MiB.
        free_mib: u64,
        /// The limit in MiB.
        min_mib: u64,
    },
    /// Another image has its name.
    #[error(transparent)]
    OtherContent(InstanceError),
    /// Somebody still writes it.
    #[error("the image is still being written")]
    Changing,
    /// It cannot be read at its source.
    #[error("the image cannot be read at its source: {0}")]
    Unreadable(io::Error),
    /// It was accepted, but cannot be removed at its source.
    #[error(
        "an accepted image cannot be removed from its source: {0}; give the service write access to the folder"
    )]
    NotRemoved(io::Error),
    /// It is larger than allowed, and was not read.
    #[error("{0}")]
    TooLarge(String),
    /// Its study does not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DeskError> for AcceptError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Refused(refused) => Self::Refused(refused),
            DeskError::Store(error) => Self::Store(error),
        }
    }
}

impl From<StageError> for AcceptError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Read(error) => Self::Unreadable(error),
            StageError::Changed => Self::Changing,
            StageError::TooLarge { size_max_bytes } => Self::TooLarge(format!(
                "the image has more than the {} MiB allowed by image.file_max_mib; send the radiograph alone",
                size_max_bytes >> 20
            )),
            StageError::Store(error) => Self::Store(error),
        }
    }
}

impl From<InstanceError> for AcceptError {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::OtherContent { .. } => Self::OtherContent(error),
            InstanceError::Store(error) => Self::Store(error),
        }
    }
}

impl Intake {
    /// `wake` is called after each acceptance.
    pub fn new(
        config: &Config,
        store: Store,
        health: Arc<Health>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let grouping = Grouping {
            views_max: config.study.views_max,
            reopen_max_ms: i64::from(config.study.reopen_max_h) * HOUR_MS,
        };
        let file_max_bytes = config.image.file_max_mib << 20;
        let disk_free_min_bytes = config.limits.disk_free_min_mib << 20;
        Self { store, health, grouping, file_max_bytes, disk_free_min_bytes, accepting: Arc::default(), wake }
    }

    /// Where accepted images lie.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Largest image that is read, in bytes.
    pub fn file_max_bytes(&self) -> u64 {
        self.file_max_bytes
    }

    /// Accepts a file and removes it from its source; `name` is its path relative to the source. A file larger
    /// than allowed becomes a rejected view of its study, unread.
    ///
    /// # Errors
    /// See [`AcceptError`]. The file is then still there, or will be recognised when it comes again.
    pub fn accept_file(&self, origin: &Origin, path: &Path, name: &str) -> Result<Accepted, AcceptError> {
        crate::transition("accept.begin");
        self.check_space()?;
        let (mut file, facts) = open(path, name)?;
        let extension = extension(path);
        let image = self.image(origin, last_part(name), &extension);
        let accepted = if facts.size_bytes > self.file_max_bytes {
            let rejection = too_large(facts.size_bytes, self.file_max_bytes);
            let accepted = self.store.accept_too_large(&facts, path, &image, rejection)?;
            self.accepted(&accepted);
            accepted
        } else {
            let staged = self.store.stage(&facts, &mut file)?;
            let accepted = self.store.accept(staged, &image)?;
            self.accepted(&accepted);
            fs::remove_file(path).map_err(AcceptError::NotRemoved)?;
            accepted
        };
        crate::transition("accept.spool_removed");
        Ok(accepted)
    }

    /// Accepts a copy of a file; the file stays as it is. `name` is its path relative to the source and part of what
    /// it is recognised by when it comes again.
    ///
    /// # Errors
    /// See [`AcceptError`]. Nothing was then kept.
    pub fn accept_copy(&self, origin: &Origin, path: &Path, name: &str) -> Result<Accepted, AcceptError> {
        crate::transition("accept.begin");
        self.check_space()?;
        let (mut file, facts) = open(path, name)?;
        if facts.size_bytes > self.file_max_bytes {
            return Err(AcceptError::TooLarge(too_large(facts.size_bytes, self.file_max_bytes).detail));
        }
        let extension = extension(path);
        let staged = self.store.stage(&facts, &mut file)?;
        let accepted = self.store.accept(staged, &self.image(origin, last_part(name), &extension))?;
        self.accepted(&accepted);
        Ok(accepted)
    }

    /// Copies a DICOM file that is being received to the disk; it is not accepted yet.
    ///
    /// # Errors
    /// See [`AcceptError`]. Nothing was then kept.
    pub fn receive(&self, name: InstanceName<'_>, source: &mut dyn Read) -> Result<Staged, AcceptError> {
        crate::transition("accept.begin");
        self.check_space()?;
        Ok(self.store.stage_instance(name, self.file_max_bytes, source)?)
    }

    /// Accepts a received DICOM file; `sender` is shown on the local page.
    ///
    /// # Errors
    /// See [`AcceptError`]. Nothing was then kept.
    pub fn accept_received(
        &self,
        staged: Staged,
        origin: &Origin,
        sender: &str,
    ) -> Result<Accepted, AcceptError> {
        let _one = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = self.store.accept_instance(staged, &self.image(origin, sender, "dcm"))?;
        self.accepted(&accepted);
        Ok(accepted)
    }

    /// Accepts an image that the technician adds to an open study; one that it `replaces` is dropped. `names` are
    /// what the image is called locally, and its extension; `exposure` is a captured frame's.
    ///
    /// # Errors
    /// See [`AcceptError`]. Nothing was then kept or dropped.
    pub fn accept_by_hand(
        &self,
        number: &str,
        replaces: Option<&str>,
        names: (&str, &str),
        bytes: &[u8],
        exposure: Option<&RawExposure>,
    ) -> Result<Accepted, AcceptError> {
        crate::transition("accept.begin");
        self.check_space()?;
        let size_bytes = bytes.len() as u64;
        if size_bytes > self.file_max_bytes {
            return Err(AcceptError::TooLarge(too_large(size_bytes, self.file_max_bytes).detail));
        }
        // The same image added twice is two images: the acquisition gate says so, and the technician decides.
        let modified_ns = i128::from(self.store.now().as_millisecond()) * 1_000_000;
        let facts = SourceFacts { path: format!("by-hand/{number}"), size_bytes, modified_ns };
        let staged = self.store.stage(&facts, &mut &*bytes)?;
        let image = ByHand {
            source_name: names.0,
            extension: names.1,
            exposure: exposure.and_then(RawExposure::to_json),
            views_max: self.grouping.views_max,
        };
        let accepted = self.store.accept_by_hand(staged, number, replaces, &image)?;
        self.accepted(&accepted);
        Ok(accepted)
    }

    fn image<'a>(&self, origin: &'a Origin, source_name: &'a str, extension: &'a str) -> NewImage<'a> {
        NewImage { origin, source_name, extension, grouping: self.grouping }
    }

    fn accepted(&self, accepted: &Accepted) {
        let Accepted { image_id, study_number, again } = accepted;
        if *again {
            log::info!(image_id, study_number; "image {image_id} of study {study_number} had been accepted before");
        } else {
            log::info!(image_id, study_number; "image {image_id} accepted for study {study_number}");
        }
        (self.wake)();
    }

    /// Whether there is space for images.
    ///
    /// # Errors
    /// [`AcceptError::DiskFull`] when there is not; a store error when the system does not say.
    pub fn check_space(&self) -> Result<(), AcceptError> {
        let free_bytes = self.store.disk_free_bytes()?;
        let full = free_bytes < self.disk_free_min_bytes;
        let news = self.health.set(Trouble::DiskFull, full);
        if full {
            let (free_mib, min_mib) = (free_bytes >> 20, self.disk_free_min_bytes >> 20);
            let error = AcceptError::DiskFull { free_mib, min_mib };
            if news {
                log::error!("{error}");
            }
            return Err(error);
        }
        if news {
            log::info!("there is space for images again");
        }
        Ok(())
    }
}

/// Opens a file and says what is known of it.
fn open(path: &Path, name: &str) -> Result<(File, SourceFacts), AcceptError> {
    let file = File::open(path).map_err(AcceptError::Unreadable)?;
    let metadata = file.metadata().map_err(AcceptError::Unreadable)?;
    let facts = SourceFacts {
        path: name.to_owned(),
        size_bytes: metadata.len(),
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    };
    Ok((file, facts))
}

fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn too_large(size_bytes: u64, max_bytes: u64) -> Rejection {
    let detail = format!(
        "the file has {} MiB, more than the {} MiB allowed by image.file_max_mib; export the radiograph alone, \
             uncompressed series and videos are not radiographs",
        size_bytes.div_ceil(1 << 20),
        max_bytes >> 20
    );
    Rejection::new(RejectReason::TooLarge, detail)
}

/// A short, harmless extension for the file's name under `rejected/`.
fn extension(path: &Path) -> String {
    let extension =
        path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let plain = (1..=8).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    // `tmp` is what the store calls files that are not whole.
    if plain && extension != "tmp" { extension } else { "bin".to_owned() }
}
