//! `metrics.csv`: one line per finished epoch.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::Fault;
use crate::run::METRICS_FILE;
use crate::run::files::{read, write_atomic};

/// What is recorded of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// From 1.
    pub(super) epoch: u32,
    /// Steps since the start of the run.
    pub(super) step: u64,
    /// Learning rate of the epoch's last step.
    pub(super) lr: f64,
    /// Mean of the batches' weighted losses.
    pub(super) train_loss: f64,
    /// Mean weighted loss over the validation images.
    pub(super) valid_loss: f64,
    /// AUROC over validation studies, where both classes are there.
    pub(super) valid_auroc: Option<f64>,
    /// Cohen's kappa over validation studies at 0.5, where both classes are there.
    #[serde(default)]
    pub(super) valid_kappa: Option<f64>,
    /// Training speed, without the validation.
    pub(super) images_per_s: f64,
    /// Duration with the validation; of the part since it was resumed.
    pub(super) seconds: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}, validation loss {:.4}", self.train_loss, self.valid_loss)?;
        if let Some(auroc) = self.valid_auroc {
            write!(f, ", study AUROC {auroc:.3}")?;
        }
        if let Some(kappa) = self.valid_kappa {
            write!(f, ", kappa {kappa:.3}")?;
        }
        write!(f, ", learning rate {:.1e}, {:.1} images/s, {:.0} s", self.lr, self.images_per_s, self.seconds)
    }
}

/// The file and its rows.
pub(super) struct History {
    path: PathBuf,
    rows: Vec<Row>,
}

impl History {
    /// Of a run with `epochs` finished epochs. Rows of later epochs, written just before a crash, are
    /// forgotten: those epochs are trained again.
    pub(super) fn open(dir: &Path, epochs: u32) -> Result<Self, Fault> {
        let path = dir.join(METRICS_FILE);
        let mut rows = Vec::new();
        if epochs > 0 && path.is_file() {
            let broken = |error: csv::Error| Fault::BadData(format!("{}: {error}", path.display()));
            for row in csv::Reader::from_reader(read(&path)?.as_slice()).deserialize() {
                rows.push(row.map_err(broken)?);
            }
        }
        rows.retain(|row: &Row| row.epoch <= epochs);
        Ok(Self { path, rows })
    }

    /// All epochs so far.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds an epoch.
    pub(super) fn append(&mut self, row: &Row) -> Result<(), Fault> {
        self.rows.push(row.clone());
        let mut writer = csv::Writer::from_writer(Vec::new());
        let broken = |error: String| Fault::BadData(format!("writing {}: {error}", self.path.display()));
        for row in &self.rows {
            writer.serialize(row).map_err(|error| broken(error.to_string()))?;
        }
        let bytes = writer.into_inner().map_err(|error| broken(error.to_string()))?;
        write_atomic(&self.path, &bytes)
    }
}
