//! From scores to a plan: greedily the cheapest channels first, over the whole network at once.

use super::plan::{LayerPlan, Plan};
use super::score::Scores;
use crate::exit::Fault;
use crate::model::{LayerWidths, Widths};

/// Channels go in such numbers, so that those left fill SIMD registers.
const UNIT: usize = 8;
/// The same for the few channels that a layer adds.
const GROWTH_UNIT: usize = 4;

/// Channels that are scored together.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Group {
    Stem,
    Bottleneck { block: usize, layer: usize },
    Growth { block: usize, layer: usize },
    Transition(usize),
}

/// A group's channels, the least important first.
struct Ranking {
    group: Group,
    channels: Vec<(f64, usize)>,
}

/// Makes the plan that keeps at most `macs_share` of the multiply-accumulates at `size_px`. In each step the
/// few channels go whose scores are lowest for the multiply-accumulates that they save. The channels left are
/// multiples of 8 (4 for a layer's growth) and never fewer; a layer whose last four growth channels go is
/// dropped; one layer stays in each block.
///
/// # Errors
/// [`Fault::BadData`] when the share is not between 0 and 1 or cannot be reached.
pub fn choose(widths: &Widths, scores: &Scores, macs_share: f64, size_px: u32) -> Result<Plan, Fault> {
    check_share(macs_share)?;
    let before = widths.macs(size_px);
    let target = (macs_share * before as f64) as u64;
    let mut rankings = rankings(widths, scores);
    let mut left = widths.clone();
    let mut macs = before;
    while macs > target {
        let mut best: Option<(f64, usize, usize, u64)> = None;
        for (place, ranking) in rankings.iter().enumerate() {
            let Some(count) = removable(&left, ranking.group) else { continue };
            let after = shrunk(&left, ranking.group, count).macs(size_px);
            let cost: f64 = ranking.channels[..count].iter().map(|(score, _)| score).sum();
            let price = cost / (macs - after) as f64;
            if best.is_none_or(|(lowest, ..)| price < lowest) {
                best = Some((price, place, count, after));
            }
        }
        let Some((_, place, count, after)) = best else {
            return Err(Fault::BadData(format!(
                "--macs {macs_share} cannot be reached: with every layer at its smallest, {:.3} of the \
                 multiply-accumulates are left",
                macs as f64 / before as f64
            )));
        };
        let ranking = &mut rankings[place];
        ranking.channels.drain(..count);
        left = shrunk(&left, ranking.group, count);
        macs = after;
    }
    Ok(plan(&left, &rankings))
}

/// Refuses what is no share to keep.
///
/// # Errors
/// [`Fault::BadData`] when it is not between 0 and 1.
pub fn check_share(macs_share: f64) -> Result<(), Fault> {
    if macs_share > 0.0 && macs_share <= 1.0 {
        return Ok(());
    }
    Err(Fault::BadData(format!("--macs is {macs_share}, expected a share above 0 and at most 1")))
}

fn rankings(widths: &Widths, scores: &Scores) -> Vec<Ranking> {
    let ranking = |group: Group, scores: &[f64]| {
        let mut channels: Vec<_> = scores.iter().copied().zip(0..).collect();
        channels.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ranking { group, channels }
    };
    let mut rankings = vec![ranking(Group::Stem, &scores.stem)];
    for (block, layers) in scores.blocks.iter().enumerate() {
        for (layer, scores) in layers.iter().enumerate() {
            rankings.push(ranking(Group::Bottleneck { block, layer }, &scores.bottleneck));
            rankings.push(ranking(Group::Growth { block, layer }, &scores.growth));
        }
    }
    for (transition, scores) in scores.transitions.iter().enumerate().take(widths.transitions.len()) {
        rankings.push(ranking(Group::Transition(transition), scores));
    }
    rankings
}

/// How many channels may go from a group next, if any.
fn removable(left: &Widths, group: Group) -> Option<usize> {
    let down_to_multiple = |width: usize, unit: usize| {
        let count = if width.is_multiple_of(unit) { unit } else { width % unit };
        (width > unit).then_some(count)
    };
    match group {
        Group::Stem => down_to_multiple(left.stem, UNIT),
        Group::Transition(transition) => down_to_multiple(left.transitions[transition], UNIT),
        Group::Bottleneck { block, layer } => down_to_multiple(left.blocks[block][layer].bottleneck, UNIT),
        Group::Growth { block, layer } => {
            let growth = left.blocks[block][layer].growth;
            let alone = left.blocks[block].iter().filter(|l| l.is_live()).count() == 1;
            let drop = (growth > 0 && !alone).then_some(growth);
            down_to_multiple(growth, GROWTH_UNIT).or(drop)
        }
    }
}

fn shrunk(left: &Widths, group: Group, count: usize) -> Widths {
    let mut widths = left.clone();
    match group {
        Group::Stem => widths.stem -= count,
        Group::Transition(transition) => widths.transitions[transition] -= count,
        Group::Bottleneck { block, layer } => widths.blocks[block][layer].bottleneck -= count,
        Group::Growth { block, layer } => {
            let layer = &mut widths.blocks[block][layer];
            layer.growth -= count;
            if layer.growth == 0 {
                *layer = LayerWidths { bottleneck: 0, growth: 0 };
            }
        }
    }
    widths
}

fn plan(left: &Widths, rankings: &[Ranking]) -> Plan {
    let mut plan = Plan {
        stem: Vec::new(),
        blocks: left
            .blocks
            .iter()
            .map(|layers| vec![LayerPlan { bottleneck: Vec::new(), growth: Vec::new() }; layers.len()])
            .collect(),
        transitions: vec![Vec::new(); left.transitions.len()],
    };
    for ranking in rankings {
        let mut kept: Vec<usize> = ranking.channels.iter().map(|(_, channel)| *channel).collect();
        kept.sort_unstable();
        match ranking.group {
            Group::Stem => plan.stem = kept,
            Group::Transition(transition) => plan.transitions[transition] = kept,
            Group::Growth { block, layer } => plan.blocks[block][layer].growth = kept,
            Group::Bottleneck { block, layer } if left.blocks[block][layer].is_live() => {
                plan.blocks[block][layer].bottleneck = kept;
            }
            Group::Bottleneck { .. } => {}
        }
    }
    plan
}
