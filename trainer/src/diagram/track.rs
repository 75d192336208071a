//! One network from left to right.

use maud::{Markup, html};

use super::{COLUMN, Drawn, Place, part_name, px, rect, share, short, sum, text};
use crate::model::{LayerWidths, Part, Stage};

/// Height of the most channels, pixels.
const CHANNELS: f64 = 140.0;
/// Height of the widest bottleneck or growth, pixels.
const INNER: f64 = 76.0;
/// From a track's top to its line.
const LINE: f64 = 252.0;

/// Pixels per channel, the same for all networks of a drawing.
pub(super) struct Scale {
    /// Above the line.
    channels: f64,
    /// Below it.
    inner: f64,
}

impl Scale {
    pub(super) fn of(drawn: &[Drawn<'_>]) -> Self {
        let stages = drawn.iter().flat_map(|d| &d.stages);
        let channels = stages.map(|s| s.inputs.max(s.outputs)).max().unwrap_or(1);
        let layers = drawn.iter().flat_map(|d| d.network.widths.blocks.iter().flatten());
        let inner = layers.map(|l| l.bottleneck.max(l.growth)).max().unwrap_or(1);
        Self { channels: CHANNELS / channels.max(1) as f64, inner: INNER / inner.max(1) as f64 }
    }
}

/// What the colours mean, ending at `right`.
pub(super) fn legend(right: f64) -> Markup {
    let entries = [
        ("in", "channels read"),
        ("grow", "channels added"),
        ("neck", "bottleneck"),
        ("ghost", "cut by pruning"),
        ("gone", "dropped layer"),
    ];
    html! {
        @for (place, (class, words)) in entries.iter().enumerate() {
            @let x = right - 112.0 * (entries.len() - place) as f64;
            (rect(x, 20.0, 11.0, 11.0, class))
            (text(x + 16.0, 29.5, "soft", words))
        }
    }
}

/// Draws a network with its upper edge at `top`.
pub(super) fn draw(drawn: &Drawn<'_>, places: &[Place], scale: &Scale, top: f64, side_px: u32) -> Markup {
    let (macs, parameters) = (sum(&drawn.stages, |s| s.macs), sum(&drawn.stages, |s| s.parameters));
    let layers: Vec<&LayerWidths> = drawn.network.widths.blocks.iter().flatten().collect();
    let live = layers.iter().filter(|layer| layer.is_live()).count();
    let words = format!(
        "{}: {}MAC, {}parameters, {live} of {} dense layers",
        drawn.network.name,
        short(macs),
        short(parameters) + " ",
        layers.len()
    );
    html! {
        (text(super::MARGIN, top + 14.0, "name", &words))
        @for (stage, place) in drawn.stages.iter().zip(places) {
            (header(stage, *place, top, macs))
            @match stage.part {
                Part::Block(block) => { (dense_block(drawn, block, stage, *place, scale, top)) }
                _ => { (funnel(stage, *place, scale, top, side_px)) }
            }
        }
    }
}

/// The words above a part.
fn header(stage: &Stage, place: Place, top: f64, macs: u64) -> Markup {
    let shape = match stage.part {
        Part::Block(_) => format!("{0}x{0}, {1} to {2} ch", stage.side, stage.inputs, stage.outputs),
        Part::Head => format!("{0}x{0} map, logit", stage.side),
        _ => format!("to {0}x{0}, {1} ch", stage.side, stage.outputs),
    };
    let cost = format!("{}MAC ({:.1} %)", short(stage.macs), share(stage.macs, macs));
    html! {
        (text(place.x, top + 36.0, "name", &part_name(stage.part)))
        (text(place.x, top + 50.0, "", &shape))
        (text(place.x, top + 64.0, "soft", &cost))
        (text(place.x, top + 78.0, "soft", &format!("{} params", short(stage.parameters))))
    }
}

fn dense_block(
    drawn: &Drawn<'_>,
    block: usize,
    stage: &Stage,
    place: Place,
    scale: &Scale,
    top: f64,
) -> Markup {
    let line = top + LINE;
    let mut channels = stage.inputs;
    let mut columns = Vec::new();
    for (index, layer) in drawn.network.widths.blocks[block].iter().enumerate() {
        let x = place.x + 5.0 + COLUMN * index as f64;
        let before = drawn.before.map(|widths| widths.blocks[block][index]);
        let name = format!("denseblock{}.denselayer{}", block + 1, index + 1);
        columns.push(html! {
            g {
                title { (about(&name, channels, *layer, before, stage.side)) }
                (column(x, line, channels, *layer, before, scale))
            }
        });
        channels += layer.growth;
    }
    html! {
        (rect(place.x, top + 88.0, place.width, LINE + 146.0 - 88.0, "panel"))
        @for column in &columns { (column) }
        @if let Some(points) = earlier_channels(drawn, block, place, scale, line) {
            polyline points=(points) class="ghost" {}
        }
        line x1=(px(place.x)) x2=(px(place.x + place.width)) y1=(px(line)) y2=(px(line)) class="axis" {}
    }
}

/// The outline of the channels that the block had before.
fn earlier_channels(
    drawn: &Drawn<'_>,
    block: usize,
    place: Place,
    scale: &Scale,
    line: f64,
) -> Option<String> {
    let before = drawn.before?;
    let mut channels = before.block_inputs().nth(block)?;
    let mut points = String::new();
    for (index, layer) in before.blocks[block].iter().enumerate() {
        channels += layer.growth;
        let (x, y) = (place.x + 5.0 + COLUMN * index as f64, line - scale.channels * channels as f64);
        points.push_str(&format!("{},{} {},{} ", px(x), px(y), px(x + COLUMN), px(y)));
    }
    Some(points)
}

/// What is shown when the pointer rests on a layer.
fn about(name: &str, channels: usize, layer: LayerWidths, before: Option<LayerWidths>, side: u32) -> String {
    let was = before.map(|l| format!(" (before: {} and {})", l.bottleneck, l.growth)).unwrap_or_default();
    if !layer.is_live() {
        return format!("{name}: dropped{was}");
    }
    let macs = u64::from(side).pow(2) * (layer.bottleneck * (channels + 9 * layer.growth)) as u64;
    format!(
        "{name}: {channels} channels, bottleneck {}, adds {}{was}; {side}x{side}, {}MAC",
        layer.bottleneck,
        layer.growth,
        short(macs)
    )
}

fn column(
    x: f64,
    line: f64,
    channels: usize,
    layer: LayerWidths,
    before: Option<LayerWidths>,
    scale: &Scale,
) -> Markup {
    let (width, half) = (COLUMN - 3.0, (COLUMN - 3.0) / 2.0);
    let up = |count: usize| scale.channels * count as f64;
    let down = |count: usize| scale.inner * count as f64;
    let live = layer.is_live();
    html! {
        (rect(x, line - up(channels), width, up(channels), "in"))
        @if live {
            // One channel may be less than a pixel: what is added is always seen.
            @let added = up(layer.growth).max(1.0);
            (rect(x, line - up(channels) - added, width, added, "grow"))
            (rect(x, line + 2.0, half, down(layer.bottleneck), "neck"))
            (rect(x + half, line + 2.0, half, down(layer.growth), "grow"))
        } @else {
            (rect(x, line + 2.0, width, INNER, "gone"))
            (stroke(x + 2.0, line + 30.0, x + width - 2.0, line + 40.0))
            (stroke(x + 2.0, line + 40.0, x + width - 2.0, line + 30.0))
        }
        @if let Some(before) = before.filter(|before| *before != layer) {
            (rect(x, line + 2.0, half, down(before.bottleneck), "ghost"))
            (rect(x + half, line + 2.0, half, down(before.growth), "ghost"))
        }
        @let (at, below) = (px(x + width / 2.0 + 3.0), px(line + INNER + 8.0));
        @let words = if live { format!("{}·{}", layer.bottleneck, layer.growth) } else { "dropped".to_owned() };
        text class="num" transform={ "translate(" (at) " " (below) ") rotate(90)" } { (words) }
    }
}

fn stroke(x1: f64, y1: f64, x2: f64, y2: f64) -> Markup {
    html! { line x1=(px(x1)) y1=(px(y1)) x2=(px(x2)) y2=(px(y2)) class="cross" {} }
}

/// A part that turns many channels into others: as high on each side as it has channels there.
fn funnel(stage: &Stage, place: Place, scale: &Scale, top: f64, side_px: u32) -> Markup {
    let line = top + LINE;
    let high = |channels: usize| (scale.channels * channels as f64).max(1.5);
    let (left, right) = (line - high(stage.inputs), line - high(stage.outputs));
    let points = format!(
        "{x},{line:.1} {x},{left:.1} {end},{right:.1} {end},{line:.1}",
        x = px(place.x + 6.0),
        end = px(place.x + place.width - 6.0)
    );
    let steps: Vec<String> = match stage.part {
        Part::Stem => vec![
            format!("{side_px}x{side_px} px"),
            "conv 7x7, /2".into(),
            format!("{} to {}", stage.inputs, stage.outputs),
            "norm, ReLU".into(),
            "max pool 3x3, /2".into(),
        ],
        Part::Head => vec![
            "norm, ReLU".into(),
            "conv 1x1".into(),
            format!("{} to 1: the", stage.inputs),
            "activation map".into(),
            "mean: the logit".into(),
        ],
        Part::Block(_) | Part::Transition(_) => vec![
            "norm, ReLU".into(),
            "mean pool 2x2, /2".into(),
            "conv 1x1".into(),
            format!("{} to {}", stage.inputs, stage.outputs),
        ],
    };
    html! {
        polygon points=(points) class="funnel" {}
        @for (place_of_line, words) in (0u32..).zip(&steps) {
            (text(place.x, line + 16.0 + 14.0 * f64::from(place_of_line), "soft", words))
        }
    }
}
