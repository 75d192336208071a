//! The pictures of an evaluation, as SVG. All are of studies.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::{Report, Source};
use crate::figure::{Area, Chart, FONT, FigureError, PALETTE, SIZE_PX, Series, Style, draw, text};
use crate::metrics::{BINS, Bin, Confusion, precision_recall, reliability, roc};

/// Height of the reliability diagram's upper part, the rest being its histogram.
const RELIABILITY_CURVE_PX: u32 = 330;
const RELIABILITY_SIZE_PX: (u32, u32) = (560, 470);
const CONFUSION_SIZE_PX: (u32, u32) = (640, 320);

/// The pictures, each an SVG document.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The ROC curve, with the threshold and the decision points marked.
    pub roc: String,
    /// The precision-recall curve, likewise.
    pub precision_recall: String,
    /// Share of abnormal studies against mean probability in each bin, and how many studies a bin holds.
    pub reliability: String,
    /// Confusion matrices at the threshold and at the decision points.
    pub confusion: String,
}

impl Pictures {
    /// File names and contents.
    pub fn files(&self) -> [(&'static str, &str); 4] {
        [
            ("roc.svg", &self.roc),
            ("precision-recall.svg", &self.precision_recall),
            ("reliability.svg", &self.reliability),
            ("confusion.svg", &self.confusion),
        ]
    }
}

/// Draws a report.
///
/// # Errors
/// When the drawing library fails.
pub fn pictures(report: &Report) -> Result<Pictures, FigureError> {
    Ok(Pictures {
        roc: roc_chart(report).svg(SIZE_PX)?,
        precision_recall: precision_recall_chart(report).svg(SIZE_PX)?,
        reliability: reliability_svg(report)?,
        confusion: confusion_svg(report)?,
    })
}

/// The calls to mark on a curve, with their legend.
fn calls(report: &Report) -> impl Iterator<Item = (String, Confusion)> {
    let decided = report.study.decision_confusion.filter(|_| report.study.auroc.is_some());
    let at = Some(report.study.confusion).filter(|_| report.study.auroc.is_some());
    [(format!("at {}", report.threshold), at), ("at the decision points".to_owned(), decided)]
        .into_iter()
        .filter_map(|(label, table)| Some((label, table?)))
}

fn roc_chart(report: &Report) -> Chart {
    let curve = roc(&report.cases()).unwrap_or_default();
    let label = report.study.auroc.map_or("no curve: a class is missing".to_owned(), |auroc| {
        format!("{} studies, AUROC {auroc:.3}", report.study.n)
    });
    let points = curve.iter().map(|point| (point.false_positive_rate, point.sensitivity)).collect();
    let mut series = vec![
        Series::new("chance", Style::Reference, vec![(0.0, 0.0), (1.0, 1.0)]),
        Series::new(label, Style::Line, points),
    ];
    for (label, table) in calls(report) {
        if let (Some(sensitivity), Some(specificity)) = (table.sensitivity(), table.specificity()) {
            series.push(Series::new(label, Style::Points, vec![(1.0 - specificity, sensitivity)]));
        }
    }
    Chart {
        title: format!("ROC, {} split{}", report.split, phantoms(report)),
        x_label: "1 - specificity".to_owned(),
        y_label: "sensitivity".to_owned(),
        x: Some(0.0..1.0),
        y: Some(0.0..1.0),
        series,
    }
}

fn precision_recall_chart(report: &Report) -> Chart {
    // Steps, because precision between two thresholds is not what a straight line would say.
    let (mut points, mut recall) = (Vec::new(), 0.0);
    for point in precision_recall(&report.cases()).unwrap_or_default() {
        points.extend([(recall, point.precision), (point.recall, point.precision)]);
        recall = point.recall;
    }
    let label = report
        .study
        .average_precision
        .map_or("no curve: a class is missing".to_owned(), |ap| format!("average precision {ap:.3}"));
    let share = report.study.positives as f64 / report.study.n.max(1) as f64;
    let mut series = vec![
        Series::new("share of abnormal studies", Style::Reference, vec![(0.0, share), (1.0, share)]),
        Series::new(label, Style::Line, points),
    ];
    for (label, table) in calls(report) {
        let called = table.true_positives + table.false_positives;
        if let (Some(sensitivity), true) = (table.sensitivity(), called > 0) {
            let precision = table.true_positives as f64 / called as f64;
            series.push(Series::new(label, Style::Points, vec![(sensitivity, precision)]));
        }
    }
    Chart {
        title: format!("Precision and recall, {} split{}", report.split, phantoms(report)),
        x_label: "recall (sensitivity)".to_owned(),
        y_label: "precision".to_owned(),
        x: Some(0.0..1.0),
        y: Some(0.0..1.0),
        series,
    }
}

fn phantoms(report: &Report) -> &'static str {
    if report.about.phantoms { " (phantoms)" } else { "" }
}

fn reliability_svg(report: &Report) -> Result<String, FigureError> {
    let kind = if report.source == Source::Bundle { "calibrated" } else { "uncalibrated" };
    let title = format!("Reliability of {kind} probabilities{}", phantoms(report));
    let bins = reliability(&report.cases());
    let points = bins.iter().filter_map(|bin| Some((bin.probability()?, bin.abnormal()?))).collect();
    let label = report.study.ece.map_or(String::new(), |ece| format!("calibration error {ece:.3}"));
    let chart = Chart {
        title: title.clone(),
        x_label: String::new(),
        y_label: "share of abnormal studies".to_owned(),
        x: Some(0.0..1.0),
        y: Some(0.0..1.0),
        series: vec![
            Series::new("perfect", Style::Reference, vec![(0.0, 0.0), (1.0, 1.0)]),
            Series::new(label, Style::Marked, points),
        ],
    };
    draw(&title, RELIABILITY_SIZE_PX, |area| {
        let (above, below) = area.split_vertically(RELIABILITY_CURVE_PX);
        chart.draw(&above)?;
        histogram(&below, &bins)
    })
}

/// How many studies each bin holds.
fn histogram(area: &Area<'_>, bins: &[Bin; BINS]) -> Result<(), String> {
    let highest = bins.iter().map(|bin| bin.count).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(22)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..1.0, 0.0..highest * 1.3)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .y_labels(4)
        .y_label_formatter(&|count| format!("{count:.0}"))
        .x_desc("mean probability of abnormality over a study's views")
        .y_desc("studies")
        .axis_desc_style((FONT, 14))
        .label_style((FONT, 12))
        .draw()
        .map_err(text)?;
    let edge = |bin: usize| bin as f64 / BINS as f64;
    let bar = |(bin, content): (usize, &Bin)| {
        let corners = [(edge(bin) + 0.003, 0.0), (edge(bin + 1) - 0.003, content.count)];
        Rectangle::new(corners, PALETTE[0].filled())
    };
    chart.draw_series(bins.iter().enumerate().map(bar)).map_err(text)?;
    let style = TextStyle::from((FONT, 10)).pos(Pos::new(HPos::Center, VPos::Bottom));
    let count = |(bin, content): (usize, &Bin)| {
        let place = (edge(bin) + 0.5 / BINS as f64, content.count + highest * 0.03);
        Text::new(format!("{:.0}", content.count), place, style.clone())
    };
    chart.draw_series(bins.iter().enumerate().map(count)).map_err(text)?;
    Ok(())
}

fn confusion_svg(report: &Report) -> Result<String, FigureError> {
    let title = format!("Studies by truth and call, {} split{}", report.split, phantoms(report));
    let mut tables = vec![(format!("called abnormal from {} on", report.threshold), report.study.confusion)];
    tables.extend(report.study.decision_confusion.map(|table| ("at the decision points".to_owned(), table)));
    draw(&title, CONFUSION_SIZE_PX, |area| {
        let area = area.titled(&title, (FONT, 17)).map_err(text)?;
        for (part, (label, table)) in area.split_evenly((1, 2)).iter().zip(&tables) {
            matrix(part, label, table)?;
        }
        Ok(())
    })
}

/// One confusion matrix: the truth in rows, the call in columns; darker is a larger share of its row.
fn matrix(area: &Area<'_>, label: &str, table: &Confusion) -> Result<(), String> {
    const CELL_PX: i32 = 96;
    let (left, top) = (92, 62);
    let centred = |size: u32| TextStyle::from((FONT, size)).pos(Pos::new(HPos::Center, VPos::Center));
    let write = |words: &str, x: i32, y: i32, style: &TextStyle<'_>| area.draw_text(words, style, (x, y));
    write(label, left + CELL_PX, 14, &centred(14)).map_err(text)?;
    let rows = [
        ("normal", [table.true_negatives, table.false_positives]),
        ("abnormal", [table.false_negatives, table.true_positives]),
    ];
    for (row, (truth, counts)) in rows.iter().enumerate() {
        let y = top + row as i32 * CELL_PX;
        let right = TextStyle::from((FONT, 13)).pos(Pos::new(HPos::Right, VPos::Center));
        write(truth, left - 8, y + CELL_PX / 2, &right).map_err(text)?;
        let total: u64 = counts.iter().sum();
        for (column, &count) in counts.iter().enumerate() {
            let x = left + column as i32 * CELL_PX;
            let share = count as f64 / total.max(1) as f64;
            let corners = [(x, y), (x + CELL_PX - 3, y + CELL_PX - 3)];
            area.draw(&Rectangle::new(corners, PALETTE[0].mix(0.06 + 0.8 * share).filled())).map_err(text)?;
            let ink = if share > 0.75 { WHITE } else { BLACK };
            let (x, y) = (x + CELL_PX / 2, y + CELL_PX / 2);
            write(&count.to_string(), x, y - 8, &centred(20).color(&ink)).map_err(text)?;
            let percent = if total > 0 { format!("{:.0} %", 100.0 * share) } else { "-".to_owned() };
            write(&percent, x, y + 16, &centred(12).color(&ink)).map_err(text)?;
        }
    }
    for (column, call) in ["called normal", "called abnormal"].into_iter().enumerate() {
        let x = left + column as i32 * CELL_PX + CELL_PX / 2;
        write(call, x, top - 14, &centred(12)).map_err(text)?;
    }
    Ok(())
}
