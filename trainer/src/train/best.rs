//! The weights of the best epochs.
//!
//! ```text
//! best.safetensors                                  of the lowest validation loss
//! best/epoch-004-loss-0.1234.safetensors            of the `keep_best` lowest
//! ```
//!
//! Which epochs are kept stands in the checkpoint's state. A file that fell off the list is removed only once
//! a checkpoint without it is safe, so that a run which goes on from the checkpoint before finds every file
//! of its list, and what a killed run wrote too much goes with the next tidying.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::nn::VarStore;

use super::checkpoint::State;
use super::history::Row;
use crate::exit::Fault;
use crate::model::tensors_to_bytes;
use crate::run::files::{io_fault, write_atomic};
use crate::run::{BEST_DIR, Run};

/// An epoch whose weights are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// From 1.
    pub epoch: u32,
    /// Its validation loss.
    pub loss: f64,
}

impl Kept {
    /// The file's name in `best/`.
    pub fn file_name(&self) -> String {
        format!("epoch-{:03}-loss-{:.4}.safetensors", self.epoch, self.loss)
    }
}

/// Keeps the weights of an epoch that is among the best.
pub(super) fn keep(run: &Run, store: &VarStore, state: &mut State, row: &Row) -> Result<(), Fault> {
    if state.best_epoch == Some(row.epoch) {
        write(store, row, &run.best_path())?;
    }
    let this = Kept { epoch: row.epoch, loss: row.valid_loss };
    // After the equally good ones: the earlier epoch stays.
    let place = state.kept.partition_point(|other| other.loss <= this.loss);
    if place < run.config.keep_best {
        let dir = run.dir.join(BEST_DIR);
        fs::create_dir_all(&dir).map_err(io_fault(format!("making {}", dir.display())))?;
        write(store, row, &dir.join(this.file_name()))?;
        state.kept.insert(place, this);
        state.kept.truncate(run.config.keep_best);
    }
    Ok(())
}

/// Removes files of `best/` that are not on the list.
pub(super) fn tidy(run: &Run, state: &State) -> Result<(), Fault> {
    let dir = run.dir.join(BEST_DIR);
    if !dir.is_dir() {
        return Ok(());
    }
    let doing = || format!("tidying {}", dir.display());
    let listed: Vec<String> = state.kept.iter().map(Kept::file_name).collect();
    for entry in fs::read_dir(&dir).map_err(io_fault(doing()))? {
        let path = entry.map_err(io_fault(doing()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let ours = name.starts_with("epoch-")
            && (name.ends_with(".safetensors") || name.ends_with(".safetensors.tmp"));
        if ours && !listed.contains(&name) {
            fs::remove_file(&path).map_err(io_fault(doing()))?;
        }
    }
    Ok(())
}

/// Takes epochs off the list whose files are gone, as when the newest checkpoint, written after the file was
/// removed, turned out to be damaged. Their epochs are trained again and judged again.
pub(super) fn forget_missing(run: &Run, state: &mut State) {
    let dir = run.dir.join(BEST_DIR);
    state.kept.retain(|kept| dir.join(kept.file_name()).is_file());
}

fn write(store: &VarStore, row: &Row, path: &Path) -> Result<(), Fault> {
    let variables: Vec<_> = store.variables().into_iter().collect();
    // One key only: a map of several would be written in another order each time.
    let facts = format!("{}, validation loss {}", row.epoch, row.valid_loss);
    let bytes = tensors_to_bytes(&variables, HashMap::from([("epoch".to_owned(), facts)]))
        .map_err(|error| Fault::BadData(format!("serialising the best weights: {error}")))?;
    write_atomic(path, &bytes)
}
