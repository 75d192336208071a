//! The network drawn: one SVG with every layer's widths, the shapes between the parts, and what each part costs.
//!
//! From left to right as a radiograph passes: stem, dense blocks with the transitions between them, head. Above the
//! line of a block stand the channels that a layer reads (they grow with every layer) and, on top, those it adds;
//! below it the layer's two convolutions: channels of its bottleneck and channels it adds. Two networks, before and
//! after pruning, are drawn at the same scale below each other; what was cut stays visible as an outline, a dropped
//! layer as a cross. A table below gives the cost of every part.

mod table;
mod track;

use maud::{Markup, PreEscaped, html};

use crate::model::{Part, Stage, Widths};

const STYLE: &str = "\
.dg{font-family:system-ui,sans-serif;font-size:11px;fill:#1c2126}
.dg .title{font-size:15px;font-weight:600}.dg .name{font-weight:600}.dg .soft{fill:#5b6670}
.dg .num{font-family:ui-monospace,monospace;font-size:8.5px;fill:#3a434b}
.dg .end{text-anchor:end}.dg .mid{text-anchor:middle}
.dg .in{fill:#cfe0ee}.dg .grow{fill:#d55e00}.dg .neck{fill:#009e73}.dg .funnel{fill:#e4e0f1;stroke:#8b7fb5}
.dg .panel{fill:#f6f8f9;stroke:#d6dbe0}.dg .ghost{fill:none;stroke:#9aa4ad;stroke-dasharray:2 1.5;stroke-width:.7}
.dg .gone{fill:#f7e3df}.dg .cross{stroke:#b3261e;stroke-width:1.3}.dg .axis{stroke:#9aa4ad}
.dg .bar{fill:#0072b2}.dg .was{fill:#c3ccd4}";

/// Space around the drawing, pixels.
const MARGIN: f64 = 24.0;
/// Width of a dense layer's column.
const COLUMN: f64 = 15.0;
/// Width of a block at least, so that its words fit.
const BLOCK_MIN: f64 = 150.0;
/// Width of a transition, the stem and the head.
const FUNNEL: f64 = 122.0;
/// Between parts.
const GAP: f64 = 8.0;
/// Height of a network's drawing.
const TRACK: f64 = 410.0;
/// Height of the lines above the first network.
const HEAD: f64 = 64.0;

/// A network with its name in the drawing.
#[derive(Clone, Debug)]
pub struct Network {
    /// Such as `after pruning`.
    pub name: String,
    /// Its widths.
    pub widths: Widths,
}

/// A network with its costs and the widths that it had before.
struct Drawn<'a> {
    network: &'a Network,
    stages: Vec<Stage>,
    before: Option<&'a Widths>,
}

/// Where a part stands.
#[derive(Clone, Copy)]
struct Place {
    x: f64,
    width: f64,
}

/// The drawing as an SVG document, for a square input of `side_px`. With `before`, a network of the same blocks, both
/// are drawn.
pub fn svg(title: &str, before: Option<&Network>, network: &Network, side_px: u32) -> String {
    // Of another make, the two cannot stand column below column.
    let layers = |network: &Network| network.widths.blocks.iter().map(Vec::len).collect::<Vec<_>>();
    let before = before.filter(|before| layers(before) == layers(network));
    let mut drawn = Vec::new();
    for (network, earlier) in before.map(|b| (b, None)).into_iter().chain([(network, before)]) {
        let before = earlier.map(|earlier| &earlier.widths);
        drawn.push(Drawn { network, stages: network.widths.stages(side_px), before });
    }
    let places = places(&network.widths);
    let width = places.last().map_or(0.0, |last| last.x + last.width) + MARGIN;
    let table_top = HEAD + TRACK * drawn.len() as f64;
    let height = table_top + table::height(&drawn) + MARGIN;
    let scale = track::Scale::of(&drawn);
    let body = html! {
        rect width="100%" height="100%" fill="#fff" {}
        (text(MARGIN, 30.0, "title", title))
        (text(MARGIN, 48.0, "soft", &format!(
            "input {side_px}x{side_px} px, three equal channels; multiply-accumulates (MAC) of the convolutions for one \
             radiograph; parameters are weights and biases"
        )))
        (track::legend(width - MARGIN))
        @for (place, drawn) in drawn.iter().enumerate() {
            (track::draw(drawn, &places, &scale, HEAD + TRACK * place as f64, side_px))
        }
        (table::draw(&drawn, table_top))
    };
    let markup = html! {
        svg xmlns="http://www.w3.org/2000/svg" class="dg" width=(width.ceil()) height=(height.ceil())
            viewBox={ "0 0 " (width.ceil()) " " (height.ceil()) } role="img" aria-label=(title) {
            style { (PreEscaped(STYLE)) }
            (body)
        }
    };
    markup.into_string()
}

/// The place of every part, in the order of [`Widths::stages`].
fn places(widths: &Widths) -> Vec<Place> {
    let mut x = MARGIN;
    let mut places = Vec::new();
    for stage in widths.stages(crate::model::SIDE_MIN_PX) {
        let width = match stage.part {
            Part::Block(block) => (widths.blocks[block].len() as f64 * COLUMN + 10.0).max(BLOCK_MIN),
            Part::Stem | Part::Transition(_) | Part::Head => FUNNEL,
        };
        places.push(Place { x, width });
        x += width + GAP;
    }
    places
}

fn part_name(part: Part) -> String {
    match part {
        Part::Stem => "Stem".to_owned(),
        Part::Block(block) => format!("Block {}", block + 1),
        Part::Transition(block) => format!("Transition {}", block + 1),
        Part::Head => "Head".to_owned(),
    }
}

/// A count with the prefix that makes it short: 6.31 G, 812 M, 96.0 k.
fn short(count: u64) -> String {
    let value = count as f64;
    match count {
        1_000_000_000.. => format!("{:.2} G", value / 1e9),
        1_000_000.. => format!("{:.1} M", value / 1e6),
        1_000.. => format!("{:.1} k", value / 1e3),
        _ => count.to_string(),
    }
}

fn sum(stages: &[Stage], of: fn(&Stage) -> u64) -> u64 {
    stages.iter().map(of).sum()
}

fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn text(x: f64, y: f64, class: &str, words: &str) -> Markup {
    html! { text x=(px(x)) y=(px(y)) class=(class) { (words) } }
}

fn rect(x: f64, y: f64, width: f64, height: f64, class: &str) -> Markup {
    html! { rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) class=(class) {} }
}

/// A length with one decimal.
fn px(length: f64) -> String {
    format!("{length:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LayerWidths;

    fn network(name: &str, widths: Widths) -> Network {
        Network { name: name.to_owned(), widths }
    }

    #[test]
    fn every_layer_shape_and_cost_of_densenet169_is_on_it() {
        let svg = svg("A <network>", None, &network("as trained", Widths::densenet169()), 320);
        for words in [
            "A &lt;network&gt;",
            "denseblock3.denselayer32",
            "as trained",
            "Block 4",
            "Transition 3",
            "10x10",
            "80x80",
            "64 to 256",
            "1664",
            "128·32",
        ] {
            assert!(svg.contains(words), "{words}");
        }
        assert_eq!(svg.matches("denselayer").count(), 82);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(!svg.contains("class=\"cross\""));
    }

    #[test]
    fn what_was_cut_stays_visible() {
        let before = Widths::uniform(8, &[2, 3], 4, 8);
        let mut after = before.clone();
        after.blocks[1][1] = LayerWidths { bottleneck: 0, growth: 0 };
        after.blocks[0][0].bottleneck = 3;
        let (before, after) = (network("before", before), network("after", after));
        let svg = svg("t", Some(&before), &after, 64);
        assert_eq!(svg.matches("class=\"cross\"").count(), 2, "one cross of two strokes");
        assert!(svg.contains("dropped") && svg.contains("3·4") && svg.contains("class=\"ghost\""));
        assert!(svg.contains("before") && svg.contains("after"));
        // A network of other blocks cannot be drawn beside it.
        let other = network("other", Widths::uniform(8, &[2], 4, 8));
        assert!(!super::svg("t", Some(&other), &after, 64).contains("other"));
    }
}
