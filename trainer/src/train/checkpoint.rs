//! Checkpoints: everything that training needs to go on as if it had never stopped.
//!
//! ```text
//! checkpoints/epoch-003-step-00001234-0f3a….safetensors
//! ```
//!
//! One safetensors file each: the network's variables under their names, Adam's moments as `adam.moment1`
//! and `adam.moment2`, and the [`State`] as TOML in the header. The name ends in the first 16 hexadecimal
//! digits of the content's SHA-256, so that a torn or rotten file is recognised and the one before it taken.
//! The two newest are kept.
//!
//! The random state is the pair of seed and position: order and augmentation are drawn from generators that
//! are seeded anew from (seed, epoch) and (seed, step), so nothing else has to be remembered.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::Tensor;
use tch::nn::VarStore;

use super::best::Kept;
use super::optim::Adam;
use super::precision::LossScale;
use crate::exit::Fault;
use crate::model::{load_weights, read_tensors, tensors_to_bytes};
use crate::run::files::{io_fault, read, write_atomic};

const KEPT: usize = 2;
const STATE_KEY: &str = "state";
const MOMENTS: [&str; 2] = ["adam.moment1", "adam.moment2"];

/// Where training stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The seed that order and augmentation are drawn from.
    pub seed: u64,
    /// Steps taken since the start.
    pub step: u64,
    /// Finished epochs.
    pub epoch: u32,
    /// Steps taken in the epoch now running.
    pub step_in_epoch: u64,
    /// Sum of the batch losses of the epoch now running.
    pub loss_sum: f64,
    /// Share of the configured learning rate that plateaus have left, 1 at the start.
    pub lr_factor: f64,
    /// Epochs since the validation loss last fell, or since the last change of the learning rate.
    pub epochs_without_improvement: u32,
    /// Lowest validation loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_loss: Option<f64>,
    /// The epoch it was reached in, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_epoch: Option<u32>,
    /// Where the loss is scaled, for half precision: by how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// The epochs whose weights are kept in `best/`, lowest validation loss first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
}

impl State {
    /// Before the first step.
    pub fn start(seed: u64) -> Self {
        Self {
            seed,
            step: 0,
            epoch: 0,
            step_in_epoch: 0,
            loss_sum: 0.0,
            lr_factor: 1.0,
            epochs_without_improvement: 0,
            best_loss: None,
            best_epoch: None,
            loss_scale: None,
            kept: Vec::new(),
        }
    }

    /// Steps that changed the weights: all but those that half precision could not hold.
    pub fn steps_applied(&self) -> u64 {
        self.step - self.loss_scale.as_ref().map_or(0, |scale| scale.skipped)
    }
}

/// Writes a checkpoint into `dir`, then removes all but the two newest.
///
/// # Errors
/// [`Fault::Io`] when it cannot be written, with the earlier ones untouched.
pub fn save(dir: &Path, store: &VarStore, adam: &Adam, state: &State) -> Result<PathBuf, Fault> {
    let mut tensors: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    for (name, moment) in MOMENTS.iter().zip([&adam.moment1, &adam.moment2]) {
        tensors.push(((*name).to_owned(), moment.shallow_clone()));
    }
    let state_toml = toml::to_string(state)
        .map_err(|error| Fault::BadData(format!("writing the training state as TOML: {error}")))?;
    let bytes = tensors_to_bytes(&tensors, HashMap::from([(STATE_KEY.to_owned(), state_toml)]))
        .map_err(|error| Fault::BadData(format!("serialising a checkpoint: {error}")))?;
    let path =
        dir.join(format!("epoch-{:03}-step-{:08}-{}.safetensors", state.epoch, state.step, digest(&bytes)));
    write_atomic(&path, &bytes)?;
    for old in list(dir)?.into_iter().filter(|other| *other != path).skip(KEPT - 1) {
        fs::remove_file(&old).map_err(io_fault(format!("removing {}", old.display())))?;
    }
    Ok(path)
}

/// Restores the newest good checkpoint of `dir`; `None` when there is none at all.
///
/// # Errors
/// [`Fault::BadData`] when all are damaged, or the newest good one is of another architecture.
pub fn restore_newest(dir: &Path, store: &VarStore, adam: &mut Adam) -> Result<Option<State>, Fault> {
    let paths = list(dir)?;
    for path in &paths {
        let bytes = read(path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.ends_with(&format!("-{}.safetensors", digest(&bytes))) {
            log::warn!(
                "{name} is damaged (its content does not match the hash in its name); taking the one before"
            );
            continue;
        }
        let broken = |error: &dyn std::fmt::Display| Fault::BadData(format!("{}: {error}", path.display()));
        let state = restore(&bytes, store, adam).map_err(|error| broken(&error))?;
        remove_unfinished(dir)?;
        return Ok(Some(state));
    }
    if paths.is_empty() {
        return Ok(None);
    }
    Err(Fault::BadData(format!(
        "every checkpoint in {} is damaged: start a new run, with --init-from this one if it has a \
         best.safetensors",
        dir.display()
    )))
}

fn restore(bytes: &[u8], store: &VarStore, adam: &mut Adam) -> Result<State, String> {
    let (mut tensors, metadata) = read_tensors(bytes).map_err(|error| error.to_string())?;
    let state = metadata.get(STATE_KEY).ok_or("it has no training state: this is not a checkpoint")?;
    let state: State = toml::from_str(state).map_err(|error| format!("the training state: {error}"))?;
    let mut moments = Vec::new();
    for (name, current) in MOMENTS.iter().zip([&adam.moment1, &adam.moment2]) {
        let moment = tensors.remove(*name).ok_or_else(|| format!("it lacks {name}"))?;
        if moment.size() != current.size() {
            return Err(format!(
                "{name} has {:?} values, the network's optimiser {:?}: this is a checkpoint of another architecture",
                moment.size(),
                current.size()
            ));
        }
        moments.push(moment);
    }
    load_weights(store, &tensors).map_err(|error| error.to_string())?;
    adam.restore(&moments[0], &moments[1], state.steps_applied()).map_err(|error| error.to_string())?;
    Ok(state)
}

/// Checkpoints in `dir`, newest first.
fn list(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    let doing = || format!("listing {}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_fault(doing()))? {
        let path = entry.map_err(io_fault(doing()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("epoch-") && name.ends_with(".safetensors") {
            paths.push((position(&name), path));
        }
    }
    paths.sort_by(|a, b| b.cmp(a));
    Ok(paths.into_iter().map(|(_, path)| path).collect())
}

/// Removes what a killed process had not yet renamed into place.
fn remove_unfinished(dir: &Path) -> Result<(), Fault> {
    let doing = || format!("tidying {}", dir.display());
    for entry in fs::read_dir(dir).map_err(io_fault(doing()))? {
        let path = entry.map_err(io_fault(doing()))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(io_fault(doing()))?;
        }
    }
    Ok(())
}

/// The finished epochs and the step in a checkpoint's name.
fn position(name: &str) -> (u64, u64) {
    let number = |part| name.split('-').nth(part).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (number(1), number(3))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
