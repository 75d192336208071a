//! Charts as SVG: lines, points and bars with labelled axes, for reports and for the run's own pictures.
//!
//! A chart is plain data; [`Chart::svg`] and [`Bars::svg`] draw it. Fonts are the viewer's own, so the files
//! are small and a page that holds them needs nothing else.

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

/// Width and height of a chart unless said otherwise, pixels.
pub const SIZE_PX: (u32, u32) = (560, 400);
/// Colours of series, in order: distinct also to people who see colours differently (Okabe and Ito).
pub(crate) const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];
pub(crate) const FONT: &str = "sans-serif";

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("drawing the chart `{title}`: {reason}")]
pub struct FigureError {
    title: String,
    reason: String,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line through the points.
    Line,
    /// A thin grey line, for a reference such as chance.
    Reference,
    /// Points alone.
    Points,
    /// A line with its points marked.
    Marked,
}

/// One set of points.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend; empty for none.
    pub label: String,
    /// (x, y), in drawing order; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub style: Style,
}

impl Series {
    /// A series.
    pub fn new(label: impl Into<String>, style: Style, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points, style }
    }
}

/// Points and lines over two linear axes.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// Below the horizontal axis, with its unit.
    pub x_label: String,
    /// Beside the vertical axis, with its unit.
    pub y_label: String,
    /// Horizontal range; `None` fits the points.
    pub x: Option<Range<f64>>,
    /// Vertical range; `None` fits the points.
    pub y: Option<Range<f64>>,
    /// What is drawn, first to last.
    pub series: Vec<Series>,
}

impl Chart {
    /// The chart as an SVG document of `size_px`.
    ///
    /// # Errors
    /// When the drawing library fails.
    pub fn svg(&self, size_px: (u32, u32)) -> Result<String, FigureError> {
        draw(&self.title, size_px, |area| self.draw(area))
    }

    /// Draws the chart on a part of a page.
    pub(crate) fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let x = self.x.clone().unwrap_or_else(|| self.fitted(|point| point.0));
        let y = self.y.clone().unwrap_or_else(|| self.fitted(|point| point.1));
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 17))
            .margin(10)
            .margin_right(22)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(x, y)
            .map_err(text)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .axis_desc_style((FONT, 14))
            .label_style((FONT, 12))
            .draw()
            .map_err(text)?;
        let mut colours = PALETTE.iter().cycle();
        for series in &self.series {
            let (colour, width) = match series.style {
                Style::Reference => (BLACK.mix(0.35), 1),
                _ => (colours.next().unwrap_or(&BLACK).mix(1.0), 2),
            };
            let points = series.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            let shape = ShapeStyle::from(colour).stroke_width(width);
            let drawn = match series.style {
                Style::Points => {
                    chart.draw_series(points.map(|p| Circle::new(p, 3, colour.filled()))).map_err(text)?
                }
                Style::Line | Style::Reference => {
                    chart.draw_series(LineSeries::new(points, shape)).map_err(text)?
                }
                Style::Marked => {
                    chart.draw_series(LineSeries::new(points, shape.filled()).point_size(3)).map_err(text)?
                }
            };
            if !series.label.is_empty() {
                drawn
                    .label(&series.label)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], shape));
            }
        }
        if self.series.iter().any(|series| !series.label.is_empty()) {
            chart
                .configure_series_labels()
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.2))
                .label_font((FONT, 12))
                .position(SeriesLabelPosition::LowerRight)
                .draw()
                .map_err(text)?;
        }
        Ok(())
    }

    /// A range that holds every finite point, with a little room, and is never empty.
    fn fitted(&self, coordinate: impl Fn(&(f64, f64)) -> f64) -> Range<f64> {
        let values =
            self.series.iter().flat_map(|s| s.points.iter().map(&coordinate)).filter(|v| v.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return 0.0..1.0;
        }
        let room = ((high - low) * 0.05).max(1e-6 * high.abs()).max(1e-9);
        low - room..high + room
    }
}

/// Bars side by side, in groups.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Above the chart.
    pub title: String,
    /// Beside the vertical axis.
    pub y_label: String,
    /// One per group, below it.
    pub groups: Vec<String>,
    /// Name of each bar of a group and its height in every group.
    pub series: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// The chart as an SVG document of `size_px`, every bar with its value above.
    ///
    /// # Errors
    /// When the drawing library fails.
    pub fn svg(&self, size_px: (u32, u32)) -> Result<String, FigureError> {
        draw(&self.title, size_px, |area| self.draw(area))
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let highest = self.series.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
        let top = if highest > 0.0 { highest * 1.15 } else { 1.0 };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 17))
            .margin(10)
            .x_label_area_size(34)
            .y_label_area_size(66)
            .build_cartesian_2d(-0.5..self.groups.len() as f64 - 0.5, 0.0..top)
            .map_err(text)?;
        let name = |x: &f64| {
            let place = x.round();
            let named = (x - place).abs() < 1e-6 && place >= 0.0;
            self.groups.get(place as usize).filter(|_| named).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_labels(2 * self.groups.len() + 1)
            .x_label_formatter(&name)
            .y_label_formatter(&number)
            .y_desc(&self.y_label)
            .axis_desc_style((FONT, 14))
            .label_style((FONT, 12))
            .draw()
            .map_err(text)?;
        let width = 0.8 / self.series.len().max(1) as f64;
        for (place, (label, values)) in self.series.iter().enumerate() {
            let colour = PALETTE[place % PALETTE.len()];
            let left = |group: usize| group as f64 - 0.4 + place as f64 * width;
            let bars = values.iter().enumerate().map(|(group, &value)| {
                Rectangle::new([(left(group), 0.0), (left(group) + width * 0.94, value)], colour.filled())
            });
            let drawn = chart.draw_series(bars).map_err(text)?;
            if self.series.len() > 1 {
                drawn
                    .label(label)
                    .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
            }
            let style = TextStyle::from((FONT, 10)).pos(plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Center,
                plotters::style::text_anchor::VPos::Bottom,
            ));
            let labels = values.iter().enumerate().filter(|(_, value)| **value > 0.0);
            chart
                .draw_series(labels.map(|(group, value)| {
                    Text::new(number(value), (left(group) + width * 0.47, value + top * 0.005), style.clone())
                }))
                .map_err(text)?;
        }
        if self.series.len() > 1 {
            chart
                .configure_series_labels()
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.2))
                .label_font((FONT, 12))
                .position(SeriesLabelPosition::UpperRight)
                .draw()
                .map_err(text)?;
        }
        Ok(())
    }
}

/// Charts of `size_px` each, as [`Chart::svg`] gives them, side by side in one SVG document.
pub fn beside(charts: &[String], size_px: (u32, u32)) -> String {
    let (width, height) = (size_px.0 * charts.len() as u32, size_px.1);
    let mut svg = format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n"
    );
    for (place, chart) in charts.iter().enumerate() {
        let x = size_px.0 * place as u32;
        svg.push_str(&chart.replacen("<svg ", &format!("<svg x=\"{x}\" "), 1));
    }
    svg.push_str("</svg>\n");
    svg
}

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on a white page of `size_px`.
pub(crate) fn draw(
    title: &str,
    size_px: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Result<(), String>,
) -> Result<String, FigureError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size_px).into_drawing_area();
    let painted = area.fill(&WHITE).map_err(text).and_then(|()| paint(&area));
    let painted = painted.and_then(|()| area.present().map_err(text));
    drop(area);
    painted.map_err(|reason| FigureError { title: title.to_owned(), reason })?;
    Ok(svg)
}

pub(crate) fn text(error: impl Display) -> String {
    error.to_string()
}

/// Whole numbers without a fraction, others with up to three digits of it.
fn number(value: &f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_are_svg_with_their_labels() {
        let chart = Chart {
            title: "ROC".into(),
            x_label: "1 - specificity".into(),
            y_label: "sensitivity".into(),
            x: Some(0.0..1.0),
            y: None,
            series: vec![
                Series::new("network", Style::Line, vec![(0.0, 0.0), (f64::NAN, 1.0), (1.0, 1.0)]),
                Series::new("", Style::Reference, vec![(0.0, 0.0), (1.0, 1.0)]),
                Series::new("points", Style::Points, vec![(0.5, 0.5)]),
            ],
        };
        let svg = chart.svg(SIZE_PX).unwrap();
        for word in ["<svg", "ROC", "sensitivity", "network", "points", "</svg>"] {
            assert!(svg.contains(word), "{word}");
        }
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_to_draw_is_an_empty_chart() {
        let bars = Bars { title: "none".into(), y_label: "n".into(), groups: Vec::new(), series: Vec::new() };
        assert!(bars.svg(SIZE_PX).unwrap().contains("none"));
        let chart = Chart {
            title: "flat".into(),
            x_label: String::new(),
            y_label: String::new(),
            x: None,
            y: None,
            series: vec![Series::new("", Style::Marked, vec![(1.0, 2.0)])],
        };
        assert!(chart.svg(SIZE_PX).unwrap().contains("flat"));
    }
}
