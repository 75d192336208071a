use std::collections::HashMap;

use proptest::prelude::*;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor, no_grad};

use super::*;
use crate::model::{DenseNet, LayerWidths, Tensors, Widths, load_weights};
use crate::train::tests::{fixed_weights, planes};

fn widths() -> Widths {
    Widths::uniform(16, &[3, 3, 2], 8, 16)
}

fn net(widths: &Widths, tensors: &Tensors) -> DenseNet {
    let store = VarStore::new(Device::Cpu);
    let net = DenseNet::new(&store.root(), widths);
    load_weights(&store, tensors).unwrap();
    net
}

/// The unpruned weights with every reader's weights of the channels that the plan drops set to zero.
fn masked(plan: &Plan, widths: &Widths, tensors: &Tensors) -> Tensors {
    let mut masked: HashMap<_, _> = tensors.iter().map(|(name, t)| (name.clone(), t.copy())).collect();
    let mut gate = |name: &str, kept: &[bool]| {
        let gate: Vec<f32> = kept.iter().map(|&kept| f32::from(u8::from(kept))).collect();
        let tensor = &masked[name];
        let mut shape = vec![1; tensor.dim()];
        shape[1] = gate.len() as i64;
        let product = tensor * Tensor::from_slice(&gate).view(shape.as_slice());
        masked.insert(name.to_owned(), product);
    };
    let flags = |kept: &[usize], width: usize| (0..width).map(|c| kept.contains(&c)).collect::<Vec<_>>();
    for (block, layers) in plan.blocks.iter().enumerate() {
        let mut kept = match block {
            0 => flags(&plan.stem, widths.stem),
            _ => flags(&plan.transitions[block - 1], widths.transitions[block - 1]),
        };
        for (index, layer) in layers.iter().enumerate() {
            let name = format!("features.denseblock{}.denselayer{}", block + 1, index + 1);
            let LayerWidths { bottleneck, growth } = widths.blocks[block][index];
            gate(&format!("{name}.conv1.weight"), &kept);
            gate(&format!("{name}.conv2.weight"), &flags(&layer.bottleneck, bottleneck));
            kept.extend(flags(&layer.growth, growth));
        }
        match plan.transitions.get(block) {
            Some(_) => gate(&format!("features.transition{}.conv.weight", block + 1), &kept),
            None => gate("classifier.weight", &kept),
        }
    }
    masked
}

fn same_function(plan: &Plan) {
    let widths = widths();
    let tensors = fixed_weights(&widths);
    let x = (Tensor::arange(2 * 3 * 64 * 64, (Kind::Float, Device::Cpu)) * 0.013).sin().view([2, 3, 64, 64]);
    let pruned = net(&plan.widths(), &plan.apply(&widths, &tensors).unwrap());
    let masked = net(&widths, &masked(plan, &widths, &tensors));
    let whole = net(&widths, &tensors);
    let logit = |net: &DenseNet| no_grad(|| net.forward_t(&x, false).logit);
    let apart = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
    let scale = logit(&masked).abs().max().double_value(&[]).max(1.0);
    assert!(apart(&logit(&pruned), &logit(&masked)) <= 1e-5 * scale);
    if *plan != Plan::whole(&widths) {
        assert!(apart(&logit(&pruned), &logit(&whole)) > 1e-6, "the plan changes nothing");
    }
}

fn subset(width: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<bool>(), width).prop_map(|flags| {
        let kept: Vec<usize> = flags.iter().enumerate().filter(|(_, kept)| **kept).map(|(c, _)| c).collect();
        if kept.is_empty() { vec![0] } else { kept }
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let widths = widths();
    let layer = |l: &LayerWidths| {
        (subset(l.bottleneck), subset(l.growth), 0..4u8).prop_map(|(bottleneck, growth, dropped)| {
            if dropped == 0 {
                return LayerPlan { bottleneck: Vec::new(), growth: Vec::new() };
            }
            LayerPlan { bottleneck, growth }
        })
    };
    let blocks: Vec<Vec<_>> = widths.blocks.iter().map(|block| block.iter().map(layer).collect()).collect();
    let transitions: Vec<_> = widths.transitions.iter().map(|&width| subset(width)).collect();
    (subset(widths.stem), blocks, transitions).prop_map(|(stem, blocks, transitions)| Plan {
        stem,
        blocks,
        transitions,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_pruned_network_computes_what_the_masked_one_does(plan in any_plan()) {
        same_function(&plan);
    }
}

#[test]
fn keeping_everything_changes_nothing() {
    same_function(&Plan::whole(&widths()));
}

#[test]
fn plans_for_other_networks_are_refused() {
    let tensors = fixed_weights(&widths());
    let mut plan = Plan::whole(&widths());
    plan.stem.push(16);
    assert!(plan.apply(&widths(), &tensors).is_err());
    let plan = Plan::whole(&Widths::uniform(16, &[3, 3], 8, 16));
    assert!(plan.apply(&widths(), &tensors).is_err());
}

#[test]
fn scores_estimate_what_masking_a_channel_does_to_the_logit() {
    let widths = widths();
    let tensors = fixed_weights(&widths);
    let net = net(&widths, &tensors);
    let planes = planes(1, 64, &["XR_WRIST"], "train");
    let scores = score(&net, &planes, Device::Cpu, 1, 1).unwrap();
    // A channel whose readers ignore it scores zero, and then the plan that drops it changes nothing.
    let input = crate::dataset::augment::normalise(&planes.batch(&[0, 1]), &planes.spec);
    let logit = |net: &DenseNet| no_grad(|| net.forward_t(&input, false).logit);
    // The estimate is exact for channels read last, whose way to the logit is linear.
    let last = widths.blocks[2].len() - 1;
    for channel in 0..4 {
        let mut plan = Plan::whole(&widths);
        plan.blocks[2][last].growth.retain(|&c| c != channel);
        let pruned = self::net(&plan.widths(), &plan.apply(&widths, &tensors).unwrap());
        let moved = (logit(&pruned) - logit(&net)).square().sum(Kind::Double).double_value(&[]);
        let found = scores.blocks[2][last].growth[channel];
        assert!((found - moved).abs() <= 0.02 * moved.max(1e-6), "channel {channel}: {found} {moved}");
    }
}

#[test]
fn plans_reach_their_share_with_round_widths_and_keep_what_matters() {
    let widths = Widths::densenet169();
    let mut scores = uniform_scores(&widths, 1.0);
    // One layer that does nothing, one channel that must stay.
    scores.blocks[2][5].growth.fill(0.0);
    scores.blocks[2][6].growth[17] = 1e9;
    for share in [0.7, 0.25] {
        let plan = choose(&widths, &scores, share, 320).unwrap();
        let left = plan.widths();
        left.check().unwrap();
        let reached = left.macs(320) as f64 / widths.macs(320) as f64;
        assert!(reached <= share && reached > share - 0.02, "{reached}");
        assert!(left.stem.is_multiple_of(8) && left.transitions.iter().all(|t| t.is_multiple_of(8)));
        assert!(left.blocks.iter().flatten().all(|l| l.growth % 4 == 0 && l.bottleneck % 8 == 0));
        assert!(left.blocks.iter().all(|block| block.iter().any(LayerWidths::is_live)));
        assert!(!left.blocks[2][5].is_live());
        assert!(plan.blocks[2][6].growth.contains(&17));
    }
    for share in [0.0, 1.5, f64::NAN, 1e-5] {
        assert!(choose(&widths, &scores, share, 320).is_err(), "{share}");
    }
    assert_eq!(choose(&widths, &scores, 1.0, 320).unwrap(), Plan::whole(&widths));
}

fn uniform_scores(widths: &Widths, score: f64) -> Scores {
    let layer = |l: &LayerWidths| LayerScores {
        bottleneck: vec![score; l.bottleneck],
        growth: vec![score; l.growth],
    };
    Scores {
        stem: vec![score; widths.stem],
        blocks: widths.blocks.iter().map(|block| block.iter().map(layer).collect()).collect(),
        transitions: widths.transitions.iter().map(|&width| vec![score; width]).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn two_cuts_are_one(first in any_plan(), seed in any::<u64>()) {
        let widths = widths();
        let tensors = fixed_weights(&widths);
        // Every second channel of what the first plan left, from the front or the back.
        let half = |count: usize| -> Vec<usize> { ((seed % 2) as usize % count.max(1)..count).step_by(2).collect() };
        let left = first.widths();
        let second = Plan {
            stem: half(left.stem),
            blocks: left.blocks.iter().map(|block| {
                block.iter().map(|l| LayerPlan { bottleneck: half(l.bottleneck), growth: half(l.growth) }).collect()
            }).collect(),
            transitions: left.transitions.iter().map(|&width| half(width)).collect(),
        };
        prop_assume!(second.widths().check().is_ok());
        let twice = second.apply(&left, &first.apply(&widths, &tensors).unwrap()).unwrap();
        let once = second.after(&first).unwrap().apply(&widths, &tensors).unwrap();
        prop_assert_eq!(twice.len(), once.len());
        for (name, tensor) in &twice {
            prop_assert_eq!(tensor, &once[name], "{}", name);
        }
    }
}

#[test]
fn scales_count_once_for_every_reader() {
    let widths = widths();
    let net = net(&widths, &fixed_weights(&widths));
    let scores = bn_scale(&net).unwrap();
    let square = |tensor: &Tensor, channel: i64| tensor.double_value(&[channel]).powi(2);
    // The stem's third channel is read by the three layers of block 1 and by the transition.
    let readers = net.blocks[0].iter().map(|layer| &layer.norm1).chain([&net.transitions[0].norm]);
    let expected: f64 = readers.map(|norm| square(&norm.weight, 2)).sum();
    // Squared in f32.
    assert!((scores.stem[2] - expected).abs() < 1e-5 * expected.max(1.0));
    let bottleneck = &scores.blocks[1][2].bottleneck;
    assert!((bottleneck[4] - square(&net.blocks[1][2].norm2.weight, 4)).abs() < 1e-5);
}
