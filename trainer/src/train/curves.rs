//! `curves.svg`: how a run went, drawn anew after each epoch.

use std::ops::Range;

use super::history::Row;
use crate::exit::Fault;
use crate::figure::{Chart, Series, Style, beside};
use crate::run::files::write_atomic;
use crate::run::{CURVES_FILE, Run};

const PANEL_PX: (u32, u32) = (460, 340);

/// Draws the run's curves.
pub(super) fn draw(run: &Run, rows: &[Row]) -> Result<(), Fault> {
    let panels = charts(rows)
        .iter()
        .map(|chart| chart.svg(PANEL_PX))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Fault::BadData(error.to_string()))?;
    write_atomic(&run.dir.join(CURVES_FILE), beside(&panels, PANEL_PX).as_bytes())
}

/// Losses, study-level AUROC and kappa, and the learning rate over the epochs.
fn charts(rows: &[Row]) -> [Chart; 3] {
    let curve = |label: &str, value: &dyn Fn(&Row) -> Option<f64>| {
        let points = rows.iter().filter_map(|row| Some((f64::from(row.epoch), value(row)?))).collect();
        Series::new(label, Style::Marked, points)
    };
    let chart = |title: &str, y_label: &str, y: Option<Range<f64>>, series: Vec<Series>| Chart {
        title: title.to_owned(),
        x_label: "epoch".to_owned(),
        y_label: y_label.to_owned(),
        x: None,
        y,
        series,
    };
    // From zero, and with room below for the legend.
    let highest_loss = rows.iter().flat_map(|row| [row.train_loss, row.valid_loss]).fold(1e-6, f64::max);
    let lowest_kappa = rows.iter().filter_map(|row| row.valid_kappa).fold(0.0, f64::min);
    [
        chart(
            "Loss",
            "mean loss per image",
            Some(0.0..1.05 * highest_loss),
            vec![
                curve("training", &|row| Some(row.train_loss)),
                curve("validation", &|row| Some(row.valid_loss)),
            ],
        ),
        chart(
            "Validation studies",
            "AUROC, kappa at 0.5",
            Some(lowest_kappa - 0.2..1.02),
            vec![curve("AUROC", &|row| row.valid_auroc), curve("kappa", &|row| row.valid_kappa)],
        ),
        chart(
            "Learning rate",
            "log10 of the learning rate",
            None,
            vec![curve("", &|row| Some(row.lr.max(1e-12).log10()))],
        ),
    ]
}
