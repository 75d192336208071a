//! A training run's directory.
//!
//! ```text
//! train.toml           settings; written last, so that a directory with it is a whole run
//! widths.json          the network's widths
//! data.json            how much data of which types it was trained on
//! weights.json         only of a run from given weights: their file's name and SHA-256
//! metrics.csv          one line per finished epoch
//! curves.svg           the same, drawn
//! tensorboard/         the same and the loss along the way, as TensorBoard's event files
//! checkpoints/         the two newest states of training (see `train::checkpoint`)
//! best.safetensors     weights and running statistics of the epoch with the lowest validation loss
//! best/                weights of the `keep_best` epochs of lowest validation loss
//! prune.json           only of a pruned run: the plan it came from
//! steps/, steps.csv, trade-off.svg   only of a pruned run: the cuts on the way and what they cost
//! ```

pub(crate) mod files;
mod record;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use contract::preprocess::PreprocessSpec;
use contract::study::StudyType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::Device;
use tch::nn::VarStore;

use crate::dataset::Planes;
use crate::exit::Fault;
use crate::model::{DenseNet, WeightsError, Widths, network, read_tensors};
use crate::train::Config;
use files::{io_fault, read, write_atomic};
pub use record::{History, PruneRecord};

const CONFIG_FILE: &str = "train.toml";
const WIDTHS_FILE: &str = "widths.json";
const DATA_FILE: &str = "data.json";
const BEST_FILE: &str = "best.safetensors";
pub(crate) const METRICS_FILE: &str = "metrics.csv";
pub(crate) const CHECKPOINTS_DIR: &str = "checkpoints";
pub(crate) const CURVES_FILE: &str = "curves.svg";
pub(crate) const TENSORBOARD_DIR: &str = "tensorboard";
/// Where the weights of the best epochs are, besides the very best.
pub const BEST_DIR: &str = "best";
/// What a run from given weights started from.
pub const WEIGHTS_FILE: &str = "weights.json";
/// The plan of a pruned run.
pub const PRUNE_FILE: &str = "prune.json";

/// The runs between the steps of a pruning.
pub const STEPS_DIR: &str = "steps";

/// What a run was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFacts {
    /// Readable images of the training split.
    pub train_images: u64,
    /// Their studies.
    pub train_studies: u64,
    /// Readable images of the validation split.
    pub valid_images: u64,
    /// Their studies.
    pub valid_studies: u64,
    /// Study types of the training split.
    pub study_types: BTreeSet<StudyType>,
    /// SHA-256 over the order, study and label of all images: a run only goes on with the same data.
    pub fingerprint: String,
}

impl DataFacts {
    /// Of two loaded splits.
    pub fn of(train: &Planes, valid: &Planes) -> Self {
        let mut hash = Sha256::new();
        for planes in [train, valid] {
            for (&study, &abnormal) in planes.study.iter().zip(&planes.abnormal) {
                hash.update(planes.studies[study].path.as_bytes());
                hash.update([0, u8::from(abnormal)]);
            }
            hash.update(b"\n");
        }
        let types = |planes: &Planes| planes.studies.iter().map(|study| study.study_type.clone()).collect();
        Self {
            train_images: train.len() as u64,
            train_studies: train.studies.len() as u64,
            valid_images: valid.len() as u64,
            valid_studies: valid.studies.len() as u64,
            study_types: types(train),
            fingerprint: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// A run on disk.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory.
    pub dir: PathBuf,
    /// Its settings.
    pub config: Config,
    /// Its network's widths.
    pub widths: Widths,
    /// How radiographs become its inputs.
    pub spec: PreprocessSpec,
    /// What it is trained on.
    pub data: DataFacts,
}

impl Run {
    /// Whether a directory holds a run.
    pub fn exists(dir: &Path) -> bool {
        dir.join(CONFIG_FILE).is_file()
    }

    /// Refuses a directory that must not become a new run: one that holds a run, or foreign files. What an
    /// interrupted start left behind is fine.
    ///
    /// # Errors
    /// [`Fault::BadData`] saying what is there and what to do.
    pub fn refuse_occupied(dir: &Path) -> Result<(), Fault> {
        if Self::exists(dir) {
            let dir = dir.display();
            return Err(Fault::BadData(format!(
                "{dir} already holds a run: go on with --resume, or choose another directory"
            )));
        }
        if !dir.exists() {
            return Ok(());
        }
        let own = [
            WIDTHS_FILE,
            DATA_FILE,
            CHECKPOINTS_DIR,
            WEIGHTS_FILE,
            PRUNE_FILE,
            STEPS_DIR,
            "steps.csv",
            "trade-off.svg",
        ];
        let doing = || format!("listing {}", dir.display());
        for entry in fs::read_dir(dir).map_err(io_fault(doing()))? {
            let name = entry.map_err(io_fault(doing()))?.file_name();
            let name = name.to_string_lossy();
            if !own.contains(&&*name) && !name.ends_with(".tmp") {
                let dir = dir.display();
                return Err(Fault::BadData(format!(
                    "{dir} holds `{name}`, which is not part of a run: choose an empty or new directory"
                )));
            }
        }
        Ok(())
    }

    /// Makes the directory of a new run, all but `train.toml`: see [`Run::commit`].
    ///
    /// # Errors
    /// As [`Run::refuse_occupied`], and [`Fault::Io`] when something cannot be written.
    pub fn create(dir: &Path, config: Config, widths: Widths, data: DataFacts) -> Result<Run, Fault> {
        Self::refuse_occupied(dir)?;
        let checkpoints = dir.join(CHECKPOINTS_DIR);
        if checkpoints.exists() {
            fs::remove_dir_all(&checkpoints)
                .map_err(io_fault(format!("removing {}", checkpoints.display())))?;
        }
        for file in [WEIGHTS_FILE, PRUNE_FILE] {
            let path = dir.join(file);
            if path.exists() {
                fs::remove_file(&path).map_err(io_fault(format!("removing {}", path.display())))?;
            }
        }
        fs::create_dir_all(&checkpoints).map_err(io_fault(format!("making {}", checkpoints.display())))?;
        write_atomic(&dir.join(WIDTHS_FILE), &json(&widths)?)?;
        write_atomic(&dir.join(DATA_FILE), &json(&data)?)?;
        let spec = config.spec();
        Ok(Run { dir: dir.to_owned(), config, widths, spec, data })
    }

    /// Writes the settings, which makes the directory a run (or changes an existing one's).
    ///
    /// # Errors
    /// [`Fault::Io`] when it cannot be written.
    pub fn commit(&self) -> Result<(), Fault> {
        let text = toml::to_string(&self.config)
            .map_err(|error| Fault::BadData(format!("writing the settings as TOML: {error}")))?;
        write_atomic(&self.dir.join(CONFIG_FILE), text.as_bytes())
    }

    /// Keeps other processes from training the run for as long as the result lives; also the death of this
    /// process ends that.
    ///
    /// # Errors
    /// [`Fault::BadData`] when another process trains it now; [`Fault::Io`] when the directory is not there.
    pub fn lock(&self) -> Result<File, Fault> {
        let dir = self.dir.display();
        let directory = File::open(&self.dir).map_err(io_fault(format!("opening {dir}")))?;
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Fault::BadData(format!(
                    "another process is training {dir}: wait until it ends, or stop it"
                )));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => log::debug!("{dir} cannot be locked: {error}"),
        }
        Ok(directory)
    }

    /// Opens a run.
    ///
    /// # Errors
    /// [`Fault::InputMissing`] when the directory holds no run, [`Fault::BadData`] when a file in it is broken.
    pub fn open(dir: &Path) -> Result<Run, Fault> {
        if !Self::exists(dir) {
            let dir = dir.display();
            return Err(Fault::InputMissing(format!("{dir} holds no run: it has no {CONFIG_FILE}")));
        }
        let broken = |file: &str, error: String| {
            Fault::BadData(format!("{} is broken: {error}", dir.join(file).display()))
        };
        let text = String::from_utf8_lossy(&read(&dir.join(CONFIG_FILE))?).into_owned();
        let config: Config = toml::from_str(&text).map_err(|error| broken(CONFIG_FILE, error.to_string()))?;
        config.check().map_err(|error| broken(CONFIG_FILE, error))?;
        let widths: Widths = serde_json::from_slice(&read(&dir.join(WIDTHS_FILE))?)
            .map_err(|error| broken(WIDTHS_FILE, error.to_string()))?;
        widths.check().map_err(|error| broken(WIDTHS_FILE, error.to_string()))?;
        let data = serde_json::from_slice(&read(&dir.join(DATA_FILE))?)
            .map_err(|error| broken(DATA_FILE, error.to_string()))?;
        let spec = config.spec();
        Ok(Run { dir: dir.to_owned(), config, widths, spec, data })
    }

    /// The network with the weights of the lowest validation loss, on `device`.
    ///
    /// # Errors
    /// [`Fault::InputMissing`] before the first epoch has ended, [`Fault::BadData`] when the file is damaged
    /// or of another architecture.
    pub fn load_best(&self, device: Device) -> Result<(VarStore, DenseNet), Fault> {
        let path = self.best_path();
        if !path.is_file() {
            let dir = self.dir.display();
            return Err(Fault::InputMissing(format!(
                "{dir} has no finished epoch yet: train it further with `train --run {dir} --resume`"
            )));
        }
        self.load(&path, device)
    }

    /// The network with the weights in a file, on `device`.
    ///
    /// # Errors
    /// [`Fault::BadData`] when the file is damaged or of another architecture, [`Fault::Io`] when it cannot be read.
    pub fn load(&self, path: &Path, device: Device) -> Result<(VarStore, DenseNet), Fault> {
        let broken = |error: WeightsError| Fault::BadData(format!("{}: {error}", path.display()));
        let (tensors, _) = read_tensors(&read(path)?).map_err(broken)?;
        network(&self.widths, &tensors, device).map_err(broken)
    }

    /// Writes a value as JSON into the run's directory.
    ///
    /// # Errors
    /// [`Fault::Io`] when it cannot be written.
    pub fn write_json(&self, file: &str, value: &impl Serialize) -> Result<(), Fault> {
        write_atomic(&self.dir.join(file), &json(value)?)
    }

    /// Removes the checkpoints of a run that will not be resumed.
    ///
    /// # Errors
    /// [`Fault::Io`] when they cannot be removed.
    pub fn forget_checkpoints(&self) -> Result<(), Fault> {
        let checkpoints = self.dir.join(CHECKPOINTS_DIR);
        fs::remove_dir_all(&checkpoints).map_err(io_fault(format!("removing {}", checkpoints.display())))
    }

    /// Where the best weights are.
    pub fn best_path(&self) -> PathBuf {
        self.dir.join(BEST_FILE)
    }
}

/// Pretty JSON with a line end.
fn json(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|error| Fault::BadData(format!("writing JSON: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}
