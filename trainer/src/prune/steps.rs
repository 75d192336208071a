//! A cut in several steps, and what each of them cost: `steps.csv` and `trade-off.svg`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::Fault;
use crate::figure::{Chart, SIZE_PX, Series, Style};
use crate::model::Widths;
use crate::run::files::{read, write_atomic};

const TABLE_FILE: &str = "steps.csv";
const CHART_FILE: &str = "trade-off.svg";
const BYTES_PER_PARAMETER: f64 = 4.0;

/// The share of the multiply-accumulates to keep after each of `steps` steps: the same factor each time, the
/// last exactly `share`.
pub fn targets(share: f64, steps: u32) -> Vec<f64> {
    (1..=steps)
        .map(|step| if step == steps { share } else { share.powf(f64::from(step) / f64::from(steps)) })
        .collect()
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// 0 for the network that was pruned.
    pub step: u32,
    /// Multiply-accumulates of one inference, as a share of the unpruned network's.
    pub macs_share: f64,
    /// The same, counted.
    pub macs: u64,
    /// Weights and biases.
    pub parameters: u64,
    /// Of the weights as f32, 1e6 bytes.
    pub size_mb: f64,
    /// AUROC straight after the cut; of step 0 empty.
    pub auroc_cut: Option<f64>,
    /// Kappa straight after the cut.
    pub kappa_cut: Option<f64>,
    /// AUROC after fine-tuning.
    pub auroc: Option<f64>,
    /// Kappa after fine-tuning.
    pub kappa: Option<f64>,
    /// Epochs of fine-tuning.
    pub epochs: u32,
}

impl Step {
    /// The line of a network of `widths` at `size_px`; `whole` are the unpruned widths.
    pub fn new(step: u32, widths: &Widths, whole: &Widths, size_px: u32) -> Self {
        let (macs, parameters) = (widths.macs(size_px), widths.parameters());
        Self {
            step,
            macs_share: macs as f64 / whole.macs(size_px) as f64,
            macs,
            parameters,
            size_mb: parameters as f64 * BYTES_PER_PARAMETER / 1e6,
            auroc_cut: None,
            kappa_cut: None,
            auroc: None,
            kappa: None,
            epochs: 0,
        }
    }
}

/// The steps so far, kept in a directory.
#[derive(Debug)]
pub struct Table {
    directory: PathBuf,
    steps: Vec<Step>,
}

impl Table {
    /// Of a directory, with what an earlier start wrote.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(directory: &Path) -> Result<Self, Fault> {
        let path = directory.join(TABLE_FILE);
        let mut steps = Vec::new();
        if path.is_file() {
            let broken = |error: csv::Error| Fault::BadData(format!("{}: {error}", path.display()));
            for step in csv::Reader::from_reader(read(&path)?.as_slice()).deserialize() {
                steps.push(step.map_err(broken)?);
            }
        }
        Ok(Self { directory: directory.to_owned(), steps })
    }

    /// The line of a step.
    pub fn get(&self, step: u32) -> Option<&Step> {
        self.steps.iter().find(|line| line.step == step)
    }

    /// Adds a step, or puts it in place of what an earlier start measured, and writes table and picture.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&mut self, step: Step) -> Result<(), Fault> {
        self.steps.retain(|line| line.step != step.step);
        self.steps.push(step);
        self.steps.sort_by_key(|line| line.step);
        let broken = |error: String| Fault::BadData(format!("writing {TABLE_FILE}: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        for line in &self.steps {
            writer.serialize(line).map_err(|error| broken(error.to_string()))?;
        }
        let bytes = writer.into_inner().map_err(|error| broken(error.to_string()))?;
        write_atomic(&self.directory.join(TABLE_FILE), &bytes)?;
        let svg = self.chart().svg(SIZE_PX).map_err(|error| Fault::BadData(error.to_string()))?;
        write_atomic(&self.directory.join(CHART_FILE), svg.as_bytes())
    }

    fn chart(&self) -> Chart {
        let points = |value: fn(&Step) -> Option<f64>| {
            self.steps.iter().filter_map(|line| Some((line.macs_share, value(line)?))).collect::<Vec<_>>()
        };
        Chart {
            title: "What pruning costs".to_owned(),
            x_label: "multiply-accumulates, share of the unpruned network's".to_owned(),
            y_label: "on the validation studies".to_owned(),
            x: Some(0.0..1.05),
            y: None,
            series: vec![
                Series::new("AUROC", Style::Marked, points(|line| line.auroc)),
                Series::new("kappa at 0.5", Style::Marked, points(|line| line.kappa)),
                Series::new("AUROC before fine-tuning", Style::Points, points(|line| line.auroc_cut)),
            ],
        }
    }

    /// The table for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:>4} {:>7} {:>9} {:>9} {:>8}  {:>9} {:>9}  {:>7} {:>7} {:>7}\n",
            "step", "MACs", "G MAC", "M param", "MB", "AUROC cut", "kappa cut", "AUROC", "kappa", "epochs"
        );
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        for line in &self.steps {
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "{:>4} {:>6.1}% {:>9.3} {:>9.3} {:>8.2}  {:>9} {:>9}  {:>7} {:>7} {:>7}",
                line.step,
                100.0 * line.macs_share,
                line.macs as f64 / 1e9,
                line.parameters as f64 / 1e6,
                line.size_mb,
                shown(line.auroc_cut),
                shown(line.kappa_cut),
                shown(line.auroc),
                shown(line.kappa),
                line.epochs
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_shrink_by_the_same_factor_and_end_at_the_share() {
        assert_eq!(targets(0.4, 1), [0.4]);
        let shares = targets(0.2, 3);
        assert_eq!(shares[2], 0.2);
        assert!((shares[1] / shares[0] - shares[0]).abs() < 1e-12, "{shares:?}");
    }

    #[test]
    fn a_step_measured_again_replaces_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let whole = Widths::uniform(8, &[2, 2], 4, 8);
        let mut table = Table::open(directory.path()).unwrap();
        let step = |number, auroc| Step {
            auroc: Some(auroc),
            ..Step::new(number, &Widths::uniform(4, &[2, 2], 4, 4), &whole, 64)
        };
        table.put(step(1, 0.5)).unwrap();
        table.put(step(0, 0.9)).unwrap();
        table.put(step(1, 0.75)).unwrap();
        let again = Table::open(directory.path()).unwrap();
        assert_eq!(again.steps, [step(0, 0.9), step(1, 0.75)]);
        assert_eq!(again.get(1).unwrap().kappa, None);
        assert!(again.text().contains("0.750"), "{}", again.text());
        assert!(directory.path().join(CHART_FILE).is_file());
    }
}
