//! What every part costs, as numbers and bars.

use maud::{Markup, html};

use super::{Drawn, MARGIN, part_name, rect, share, short, sum, text};
use crate::model::{Part, Stage};

const ROW: f64 = 19.0;
/// Where the columns of the first network begin; each network has as many pixels.
const FIRST: f64 = 150.0;
const NETWORK: f64 = 300.0;
const BAR: f64 = 260.0;

pub(super) fn height(drawn: &[Drawn<'_>]) -> f64 {
    ROW * (drawn.first().map_or(0, |d| d.stages.len()) + 4) as f64
}

/// Draws the table with its upper edge at `top`.
pub(super) fn draw(drawn: &[Drawn<'_>], top: f64) -> Markup {
    let Some(first) = drawn.first() else { return html! {} };
    let row = |number: usize| top + ROW * (number + 2) as f64;
    let highest = drawn.iter().flat_map(|d| &d.stages).map(|s| s.macs).max().unwrap_or(1).max(1);
    let last = drawn.len() - 1;
    let bars = MARGIN + FIRST + NETWORK * drawn.len() as f64 + 24.0;
    html! {
        @for (place, drawn) in drawn.iter().enumerate() {
            @let x = MARGIN + FIRST + NETWORK * place as f64;
            (text(x, top + ROW * 0.7, "name", &drawn.network.name))
            @for (column, words) in ["layers", "channels", "MAC", "", "params"].iter().enumerate() {
                (text(x + COLUMNS[column], row(0) - 6.0, "soft end", words))
            }
            @for (number, stage) in drawn.stages.iter().enumerate() {
                (cells(drawn, stage, x, row(number + 1) - 6.0))
            }
            @let total = [
                drawn.network.widths.blocks.iter().flatten().filter(|l| l.is_live()).count().to_string(),
                String::new(),
                short(sum(&drawn.stages, |s| s.macs)),
                String::new(),
                short(sum(&drawn.stages, |s| s.parameters)),
            ];
            @for (column, words) in total.iter().enumerate() {
                (text(x + COLUMNS[column], row(drawn.stages.len() + 1) - 6.0, "name end", words))
            }
        }
        @for (number, stage) in first.stages.iter().enumerate() {
            @let y = row(number + 1);
            (text(MARGIN, y - 6.0, "", &format!("{}, {}x{}", part_name(stage.part), stage.side, stage.side)))
            @for (place, drawn) in drawn.iter().enumerate() {
                @let stage = drawn.stages[number];
                @let class = if place == last { "bar" } else { "was" };
                (rect(bars, y - 15.0 + 6.0 * place as f64, BAR * stage.macs as f64 / highest as f64, 5.0, class))
            }
        }
        (text(MARGIN, row(first.stages.len() + 1) - 6.0, "name", "together"))
        (text(bars, row(0) - 6.0, "soft", "where the multiply-accumulates are"))
    }
}

/// Right edges of a network's columns.
const COLUMNS: [f64; 5] = [40.0, 130.0, 190.0, 235.0, 290.0];

fn cells(drawn: &Drawn<'_>, stage: &Stage, x: f64, y: f64) -> Markup {
    let layers = match stage.part {
        Part::Block(block) => {
            let layers = &drawn.network.widths.blocks[block];
            let live = layers.iter().filter(|l| l.is_live()).count();
            if live == layers.len() { live.to_string() } else { format!("{live} of {}", layers.len()) }
        }
        _ => String::new(),
    };
    let cells = [
        layers,
        format!("{} to {}", stage.inputs, stage.outputs),
        short(stage.macs),
        format!("{:.1} %", share(stage.macs, sum(&drawn.stages, |s| s.macs))),
        short(stage.parameters),
    ];
    html! {
        @for (column, words) in cells.iter().enumerate() { (text(x + COLUMNS[column], y, "end", words)) }
    }
}
