//! Two slots for the model's bundle: one serves, the other takes the next one, and stays as the way back.
//!
//! A bundle comes into a slot only if a key of `trust.bundle_keys` signed it, its version is higher than any before, and
//! it passes its golden images on this very machine within `model.view_max_ms`. Activated, it is on trial until the
//! service is ready with it; if it never gets there, the station returns to the one before by itself.
//!
//! The record, one small file, says what is where and what is in use. It is replaced as a whole, so the power may fail at
//! any point: either step has happened or it has not. The command line and the service change it under one lock; the
//! service looks at it once a second and starts anew when another bundle is to be used.

mod config;
mod download;
mod error;
mod install;
mod judge;
mod record;
mod source;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use contract::bundle::SIGNATURE_FILE;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

pub use config::ModelConfig;
pub use download::{Download, DownloadError};
pub use error::{Refusal, SlotsError};
pub use install::{Part, Placed, in_time};
pub use judge::Rules;
pub use record::{Begun, Installed, Record, Returned, Slot, Trial};
pub use source::{Folder, Source};

use crate::config::Config;
use crate::inference::{Bundle, Execution};
use crate::store::{io_error, write_durably};

const RECORD_FILE: &str = "slots.json";

/// The slots of a station.
#[derive(Clone, Debug)]
pub struct Slots {
    state_dir: PathBuf,
    dir: PathBuf,
    view_max_ms: u64,
    execution: Execution,
    /// What stays free on the disk beside a bundle: below it the station takes no images.
    reserve_bytes: u64,
}

impl Slots {
    /// Those of a configuration; `None` where it names a bundle instead. Nothing is opened or made.
    pub fn of(config: &Config) -> Option<Self> {
        config.bundle_dir.is_none().then(|| Self {
            state_dir: config.state_dir.clone(),
            dir: config.state_dir.join("models"),
            view_max_ms: config.model.view_max_ms,
            execution: config.model.execution(),
            reserve_bytes: config.limits.disk_free_min_mib << 20,
        })
    }

    /// The same, where nothing can be done without them.
    ///
    /// # Errors
    /// When the configuration names a bundle instead.
    pub fn needed(config: &Config) -> Result<Self, SlotsError> {
        Self::of(config).ok_or_else(|| SlotsError::Named(config.bundle_dir.clone().unwrap_or_default()))
    }

    /// The bundle that a station uses, or would at its next start: the one its configuration names, else the slot in use.
    ///
    /// # Errors
    /// When there is none, or the record cannot be read.
    pub fn bundle_dir(config: &Config) -> Result<PathBuf, SlotsError> {
        let slots = match Self::needed(config) {
            Ok(slots) => slots,
            Err(SlotsError::Named(dir)) => return Ok(dir),
            Err(error) => return Err(error),
        };
        let active = slots.record()?.active().map(|(slot, _)| slot);
        Ok(slots.slot_dir(active.ok_or_else(|| SlotsError::NoModel(slots.dir.clone()))?))
    }

    /// The folder of the slots.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of one.
    pub fn slot_dir(&self, slot: Slot) -> PathBuf {
        self.dir.join(slot.as_str())
    }

    /// What is known of the slots; nothing, before anything was installed.
    ///
    /// # Errors
    /// When the record cannot be read or understood.
    pub fn record(&self) -> Result<Record, SlotsError> {
        let path = self.dir.join(RECORD_FILE);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            Err(error) => return Err(cannot("read", &path)(error)),
        };
        let damaged = |problem: String| SlotsError::Record { path: path.clone(), problem };
        let record: Record = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if !record.is_known() {
            return Err(damaged(format!(
                "format {} is not this version's, or it contradicts itself",
                record.format
            )));
        }
        Ok(record)
    }

    /// Uses a slot from the next start on, on trial, once its bundle has been verified and tested again. Gives its bundle.
    ///
    /// # Errors
    /// When it may not be used, or the record cannot be written. What was in use stays in use.
    pub fn activate(&self, slot: Slot, rules: &Rules) -> Result<Installed, SlotsError> {
        let known = self.record()?.bundle(slot).cloned().ok_or(SlotsError::Empty)?;
        let bundle = self.whole(slot, &known)?;
        let signature = fs::read_to_string(self.slot_dir(slot).join(SIGNATURE_FILE)).ok();
        // Keys may have changed since it was installed.
        rules.signer(&bundle.manifest_json, signature.as_deref())?;
        rules.allow(&bundle.manifest)?;
        self.try_out(&bundle)?;
        self.use_from_now(slot, &known.bundle_sha256)?;
        Ok(known)
    }

    /// Loads the bundle in a slot, if it is whole and the one that the record knows.
    fn whole(&self, slot: Slot, known: &Installed) -> Result<Bundle, SlotsError> {
        let bundle = Bundle::load(&self.slot_dir(slot))?;
        if bundle.manifest_sha256 != known.bundle_sha256 {
            let (found, wanted) = (bundle.manifest_sha256, known.bundle_sha256.clone());
            return Err(Refusal::Another { found, wanted }.into());
        }
        Ok(bundle)
    }

    /// Forgets that the station has returned from a bundle.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn forget_return(&self, bundle_sha256: &str) -> Result<(), SlotsError> {
        if self.record()?.returned().is_none() {
            return Ok(());
        }
        self.change(|record| {
            record.forget_return(bundle_sha256);
            Ok(())
        })
    }

    /// Uses a slot that has just been tested from the next start on, if it still holds this bundle.
    ///
    /// # Errors
    /// When it does not, or the record cannot be written.
    pub fn use_from_now(&self, slot: Slot, bundle_sha256: &str) -> Result<(), SlotsError> {
        self.change(|record| {
            let holds = record.bundle(slot).is_some_and(|bundle| bundle.bundle_sha256 == bundle_sha256);
            if !holds {
                return Err(SlotsError::NotThere(bundle_sha256.to_owned()));
            }
            record.activate(slot);
            Ok(())
        })?;
        crate::transition("model.activated");
        Ok(())
    }

    /// A service starts: with which bundle. A trial that failed too often is over then.
    ///
    /// # Errors
    /// When there is none, or the record cannot be read or written.
    pub fn begin(&self) -> Result<Begun, SlotsError> {
        let mut record = self.record()?;
        let begun = if record.trial().is_some() {
            let begun = self.change(|record| Ok(record.begin(Timestamp::now())))?;
            crate::transition("model.on_trial");
            begun
        } else {
            record.begin(Timestamp::now())
        };
        begun.ok_or_else(|| SlotsError::NoModel(self.dir.clone()))
    }

    /// The service is ready with what it began with.
    ///
    /// # Errors
    /// When the record cannot be written; the trial then goes on.
    pub fn confirm(&self, begun: &Begun) -> Result<(), SlotsError> {
        self.change(|record| {
            if record.is_at(begun) {
                record.confirm();
            }
            Ok(())
        })?;
        crate::transition("model.confirmed");
        Ok(())
    }

    /// The service cannot start with what it began with: what was in use before is again.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn give_back(&self, begun: &Begun, why: String) -> Result<(), SlotsError> {
        self.change(|record| {
            if record.is_at(begun) {
                record.give_back(why, Timestamp::now());
            }
            Ok(())
        })?;
        crate::transition("model.given_back");
        Ok(())
    }

    /// Changes the record under its lock.
    fn change<T>(&self, change: impl FnOnce(&mut Record) -> Result<T, SlotsError>) -> Result<T, SlotsError> {
        let path = self.dir.join("lock");
        let lock = self.lock_file(&path)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| cannot("lock", &path)(error.into()))?;
        let mut record = self.record()?;
        let changed = change(&mut record)?;
        let mut json = serde_json::to_vec_pretty(&record)
            .map_err(|error| cannot("write", &self.dir)(io::Error::other(error)))?;
        json.push(b'\n');
        self.write(&self.dir.join(RECORD_FILE), &json)?;
        Ok(changed)
    }

    fn lock_file(&self, path: &Path) -> Result<File, SlotsError> {
        self.make_dir(&self.dir)?;
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        opened.map_err(cannot("make", path))
    }

    /// Writes a file that is there as a whole or as it was before.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), SlotsError> {
        write_durably(path, &mut &*bytes).map_err(cannot("write", path))
    }

    /// Makes a folder of the state directory, and the state directory itself.
    fn make_dir(&self, dir: &Path) -> Result<(), SlotsError> {
        for level in [self.state_dir.as_path(), self.dir.as_path(), dir] {
            match DirBuilder::new().mode(0o700).create(level) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot("make", level)(error)),
            }
        }
        Ok(())
    }
}

/// An error of the slots' own files.
fn cannot(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SlotsError {
    let error = io_error(doing, path);
    move |source| error(source).into()
}
