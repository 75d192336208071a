//! What a run's files say of how it came to be, for those who describe it. Fields and columns that are not there, or
//! not known here, are passed over.

use std::collections::HashMap;

use serde::Deserialize;

use super::{METRICS_FILE, PRUNE_FILE, Run, files};
use crate::exit::Fault;
use crate::model::Widths;

/// What `prune.json` says of a pruned run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct PruneRecord {
    /// Share of the multiply-accumulates that was to be kept.
    pub macs_target_share: Option<f64>,
    /// The network that was cut.
    pub widths_before: Option<Widths>,
}

/// What `metrics.csv` says of the epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Epochs that ended.
    pub epochs: usize,
    /// The one with the lowest validation loss, from 1.
    pub best_epoch: Option<u32>,
}

impl Run {
    /// How the run was pruned; `None` when it was not.
    ///
    /// # Errors
    /// [`Fault::BadData`] when the file is broken, [`Fault::Io`] when it cannot be read.
    pub fn prune_record(&self) -> Result<Option<PruneRecord>, Fault> {
        let path = self.dir.join(PRUNE_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let broken = |error: String| Fault::BadData(format!("{} is broken: {error}", path.display()));
        let record: PruneRecord =
            serde_json::from_slice(&files::read(&path)?).map_err(|error| broken(error.to_string()))?;
        if let Some(widths) = &record.widths_before {
            widths.check().map_err(|error| broken(error.to_string()))?;
        }
        Ok(Some(record))
    }

    /// Its epochs; `None` before the first one has ended.
    ///
    /// # Errors
    /// [`Fault::BadData`] when the file is broken, [`Fault::Io`] when it cannot be read.
    pub fn history(&self) -> Result<Option<History>, Fault> {
        let path = self.dir.join(METRICS_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = files::read(&path)?;
        let mut history = History { epochs: 0, best_epoch: None };
        let mut lowest = f64::INFINITY;
        for row in csv::Reader::from_reader(bytes.as_slice()).deserialize::<HashMap<String, String>>() {
            let row =
                row.map_err(|error| Fault::BadData(format!("{} is broken: {error}", path.display())))?;
            history.epochs += 1;
            let loss = row.get("valid_loss").and_then(|loss| loss.parse().ok()).unwrap_or(f64::INFINITY);
            if loss < lowest {
                lowest = loss;
                history.best_epoch = row.get("epoch").and_then(|epoch| epoch.parse().ok());
            }
        }
        Ok(Some(history))
    }
}
