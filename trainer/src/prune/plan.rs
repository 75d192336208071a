//! Which channels stay, and cutting the weights down to them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::exit::Fault;
use crate::model::{LayerWidths, Tensors, Widths};

/// The channels of a network that stay: ascending indices into the unpruned channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Of the first convolution.
    pub stem: Vec<usize>,
    /// Of each dense layer; both empty for a layer that is dropped.
    pub blocks: Vec<Vec<LayerPlan>>,
    /// Of each transition.
    pub transitions: Vec<Vec<usize>>,
}

/// The channels of a dense layer that stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerPlan {
    /// Between its convolutions.
    pub bottleneck: Vec<usize>,
    /// Of those it adds.
    pub growth: Vec<usize>,
}

/// `prune.json`: what was cut and what it saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pruned {
    /// Input side that the multiply-accumulates are counted at, pixels.
    pub size_px: u32,
    /// Share of the multiply-accumulates that was to be kept.
    pub macs_target_share: f64,
    /// Multiply-accumulates of one inference before.
    pub macs_before: u64,
    /// The same afterwards.
    pub macs_after: u64,
    /// Weights and biases before.
    pub parameters_before: u64,
    /// The same afterwards.
    pub parameters_after: u64,
    /// Widths before.
    pub widths_before: Widths,
    /// What stayed.
    pub plan: Plan,
}

impl Plan {
    /// Keeps everything.
    pub fn whole(widths: &Widths) -> Self {
        let all = |width: usize| (0..width).collect::<Vec<_>>();
        let layer = |l: &LayerWidths| LayerPlan { bottleneck: all(l.bottleneck), growth: all(l.growth) };
        Self {
            stem: all(widths.stem),
            blocks: widths.blocks.iter().map(|block| block.iter().map(layer).collect()).collect(),
            transitions: widths.transitions.iter().map(|&width| all(width)).collect(),
        }
    }

    /// The plan that cuts `earlier`'s network and then this one's, in one: this plan's indices count the
    /// channels that `earlier` kept.
    ///
    /// # Errors
    /// [`Fault::BadData`] when this plan is not one for the network that `earlier` leaves.
    pub fn after(&self, earlier: &Self) -> Result<Self, Fault> {
        self.check(&earlier.widths())?;
        let both = |kept: &[usize], before: &[usize]| kept.iter().map(|&c| before[c]).collect::<Vec<_>>();
        let layer = |(l, before): (&LayerPlan, &LayerPlan)| LayerPlan {
            bottleneck: both(&l.bottleneck, &before.bottleneck),
            growth: both(&l.growth, &before.growth),
        };
        let blocks = self.blocks.iter().zip(&earlier.blocks);
        Ok(Self {
            stem: both(&self.stem, &earlier.stem),
            blocks: blocks.map(|(block, before)| block.iter().zip(before).map(layer).collect()).collect(),
            transitions: self
                .transitions
                .iter()
                .zip(&earlier.transitions)
                .map(|(kept, before)| both(kept, before))
                .collect(),
        })
    }

    /// The widths of the smaller network.
    pub fn widths(&self) -> Widths {
        let layer = |l: &LayerPlan| LayerWidths { bottleneck: l.bottleneck.len(), growth: l.growth.len() };
        Widths {
            stem: self.stem.len(),
            blocks: self.blocks.iter().map(|block| block.iter().map(layer).collect()).collect(),
            transitions: self.transitions.iter().map(Vec::len).collect(),
        }
    }

    /// The weights of the smaller network, cut from those of the network of `widths`, by the same names.
    ///
    /// # Errors
    /// [`Fault::BadData`] when the plan is not one for these widths, or a tensor is missing.
    pub fn apply(&self, widths: &Widths, tensors: &Tensors) -> Result<Tensors, Fault> {
        self.check(widths)?;
        let mut cut = Cut { tensors, smaller: HashMap::new() };
        cut.take("features.conv0.weight", &[&self.stem])?;
        cut.norm("features.norm0", &self.stem)?;
        for (block, layers) in self.blocks.iter().enumerate() {
            let (mut kept, mut width) = match block {
                0 => (self.stem.clone(), widths.stem),
                _ => (self.transitions[block - 1].clone(), widths.transitions[block - 1]),
            };
            for (index, layer) in layers.iter().enumerate() {
                if !layer.growth.is_empty() {
                    let name = format!("features.denseblock{}.denselayer{}", block + 1, index + 1);
                    cut.norm(&format!("{name}.norm1"), &kept)?;
                    cut.take(&format!("{name}.conv1.weight"), &[&layer.bottleneck, &kept])?;
                    cut.norm(&format!("{name}.norm2"), &layer.bottleneck)?;
                    cut.take(&format!("{name}.conv2.weight"), &[&layer.growth, &layer.bottleneck])?;
                    kept.extend(layer.growth.iter().map(|channel| width + channel));
                }
                width += widths.blocks[block][index].growth;
            }
            if let Some(outputs) = self.transitions.get(block) {
                cut.norm(&format!("features.transition{}.norm", block + 1), &kept)?;
                cut.take(&format!("features.transition{}.conv.weight", block + 1), &[outputs, &kept])?;
            } else {
                cut.norm("features.norm5", &kept)?;
                cut.take("classifier.weight", &[&[0], &kept])?;
                cut.take("classifier.bias", &[])?;
            }
        }
        Ok(cut.smaller)
    }

    /// Checks that the plan is one for a network of these widths.
    fn check(&self, widths: &Widths) -> Result<(), Fault> {
        let wrong =
            |what: String| Fault::BadData(format!("the pruning plan does not fit the network: {what}"));
        let fits = |what: &str, kept: &[usize], width: usize| {
            if kept.is_sorted_by(|a, b| a < b) && kept.last().is_none_or(|&last| last < width) {
                return Ok(());
            }
            Err(wrong(format!("{what} keeps channels that are not ascending ones below {width}")))
        };
        let shape = |blocks: Vec<usize>, transitions: usize| (blocks, transitions);
        let planned = shape(self.blocks.iter().map(Vec::len).collect(), self.transitions.len());
        if planned != shape(widths.blocks.iter().map(Vec::len).collect(), widths.transitions.len()) {
            return Err(wrong("it has other blocks, layers or transitions".to_owned()));
        }
        fits("the stem", &self.stem, widths.stem)?;
        for (kept, &width) in self.transitions.iter().zip(&widths.transitions) {
            fits("a transition", kept, width)?;
        }
        for (plan, layer) in self.blocks.iter().flatten().zip(widths.blocks.iter().flatten()) {
            fits("a bottleneck", &plan.bottleneck, layer.bottleneck)?;
            fits("a layer's growth", &plan.growth, layer.growth)?;
        }
        self.widths().check().map_err(|error| wrong(error.to_string()))
    }
}

/// Copies parts of tensors under their names.
struct Cut<'a> {
    tensors: &'a Tensors,
    smaller: Tensors,
}

impl Cut<'_> {
    /// The given channels along the first dimensions.
    fn take(&mut self, name: &str, channels: &[&[usize]]) -> Result<(), Fault> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Fault::BadData(format!("the weights to prune lack the tensor `{name}`")));
        };
        let mut part = tensor.detach();
        for (dimension, channels) in channels.iter().enumerate() {
            let indices: Vec<i64> = channels.iter().map(|&channel| channel as i64).collect();
            part =
                part.index_select(dimension as i64, &Tensor::from_slice(&indices).to_device(tensor.device()));
        }
        self.smaller.insert(name.to_owned(), part.contiguous());
        Ok(())
    }

    fn norm(&mut self, name: &str, channels: &[usize]) -> Result<(), Fault> {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.take(&format!("{name}.{part}"), &[channels])?;
        }
        Ok(())
    }
}
