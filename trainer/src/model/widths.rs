//! The widths of every layer, and what follows from them.

use serde::{Deserialize, Serialize};

/// The smallest input side the network accepts, in pixels: five halvings leave 2 x 2 positions.
pub const SIDE_MIN_PX: u32 = 64;

/// The widths of one dense layer: BN, ReLU, 1x1 convolution to `bottleneck` channels, BN, ReLU, 3x3
/// convolution to `growth` channels, which are appended to the block's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerWidths {
    /// Channels between the two convolutions.
    pub bottleneck: usize,
    /// Channels the layer adds. A layer with 0 is not there at all.
    pub growth: usize,
}

impl LayerWidths {
    /// Whether the layer exists: a layer without a bottleneck or growth was dropped.
    pub fn is_live(&self) -> bool {
        self.bottleneck > 0 && self.growth > 0
    }
}

/// The widths of a DenseNet with one logit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Widths {
    /// Channels of the first convolution.
    pub stem: usize,
    /// The dense blocks, in order; dropped layers keep their place with width 0.
    pub blocks: Vec<Vec<LayerWidths>>,
    /// Channels after each block but the last.
    pub transitions: Vec<usize>,
}

/// A part of a network with what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which part.
    pub part: Part,
    /// Side of its output, in positions; of the head, of the activation map.
    pub side: u32,
    /// Channels that go in.
    pub inputs: usize,
    /// Channels that come out.
    pub outputs: usize,
    /// Multiply-accumulates of its convolutions.
    pub macs: u64,
    /// Weights and biases, those of its batch normalisations included.
    pub parameters: u64,
}

/// The parts of a network; blocks and transitions are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 7x7 convolution, normalisation and pooling.
    Stem,
    /// A dense block.
    Block(usize),
    /// What follows it: normalisation, pooling and a 1x1 convolution.
    Transition(usize),
    /// The last normalisation and the classifier, as a 1x1 convolution that gives the activation map.
    Head,
}

/// Why widths do not describe a network.
#[derive(Debug, thiserror::Error)]
#[error("the network widths are not usable: {0}")]
pub struct WidthsError(String);

impl Widths {
    /// DenseNet169: stem 64, blocks of 6, 12, 32 and 32 layers with growth 32 and bottleneck 128, each
    /// transition halves.
    pub fn densenet169() -> Self {
        Self::uniform(64, &[6, 12, 32, 32], 32, 128)
    }

    /// A network whose layers are all equally wide and whose transitions halve.
    pub fn uniform(stem: usize, layers: &[usize], growth: usize, bottleneck: usize) -> Self {
        let blocks: Vec<_> = layers.iter().map(|&n| vec![LayerWidths { bottleneck, growth }; n]).collect();
        let mut transitions = Vec::new();
        let mut channels = stem;
        for n in &layers[..layers.len().saturating_sub(1)] {
            channels = (channels + n * growth) / 2;
            transitions.push(channels);
        }
        Self { stem, blocks, transitions }
    }

    /// Checks that the widths describe a network.
    ///
    /// # Errors
    /// When there is no block, a transition is missing or too many, or a stem or transition has no channel.
    pub fn check(&self) -> Result<(), WidthsError> {
        if self.blocks.is_empty() || self.transitions.len() + 1 != self.blocks.len() {
            let (blocks, transitions) = (self.blocks.len(), self.transitions.len());
            return Err(WidthsError(format!("{blocks} blocks need one transition less, not {transitions}")));
        }
        if self.stem == 0 || self.transitions.contains(&0) {
            return Err(WidthsError("the stem and every transition need at least one channel".to_owned()));
        }
        if self.blocks.iter().flatten().any(|l| (l.bottleneck == 0) != (l.growth == 0)) {
            return Err(WidthsError("a dropped layer has both widths 0".to_owned()));
        }
        Ok(())
    }

    /// Channels at the input of each block: the stem's, then each transition's.
    pub fn block_inputs(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(self.stem).chain(self.transitions.iter().copied())
    }

    /// Channels at the end of block `block`, all its layers appended.
    pub fn block_output(&self, block: usize) -> usize {
        let input = if block == 0 { self.stem } else { self.transitions[block - 1] };
        input + self.blocks[block].iter().filter(|l| l.is_live()).map(|l| l.growth).sum::<usize>()
    }

    /// Channels of the features that the classifier sees.
    pub fn features(&self) -> usize {
        self.block_output(self.blocks.len() - 1)
    }

    /// Trainable weights and biases.
    pub fn parameters(&self) -> u64 {
        self.stages(SIDE_MIN_PX).iter().map(|stage| stage.parameters).sum()
    }

    /// Multiply-accumulates of the convolutions and the classifier for one square image of `side_px`, as the
    /// network here and its export compute them: a transition pools before its 1x1 convolution, which then has a
    /// quarter of the positions. (Counts that convolve first, as torchvision does, are higher: 3.36 G instead of
    /// 3.09 G for DenseNet169 at 224 px.)
    pub fn macs(&self, side_px: u32) -> u64 {
        self.stages(side_px).iter().map(|stage| stage.macs).sum()
    }

    /// The parts of the network in order, for one square image of `side_px`.
    pub fn stages(&self, side_px: u32) -> Vec<Stage> {
        // 7x7 convolution and 3x3 pooling, both stride 2 with "same" padding; then 2x2 pooling per transition.
        let stem_side = (u64::from(side_px) - 1) / 2 + 1;
        let mut side = (stem_side - 1) / 2 + 1;
        let mut stages = Vec::with_capacity(2 * self.blocks.len() + 1);
        let mut add = |part, side: u64, [inputs, outputs]: [usize; 2], [macs, parameters]: [u64; 2]| {
            stages.push(Stage { part, side: side as u32, inputs, outputs, macs, parameters });
        };
        let kernels = 3 * 49 * self.stem as u64;
        let counts = [stem_side * stem_side * kernels, kernels + 2 * self.stem as u64];
        add(Part::Stem, side, [3, self.stem], counts);
        for (block, inputs) in self.block_inputs().enumerate() {
            let mut channels = inputs;
            let (mut macs, mut parameters) = (0, 0);
            for layer in self.blocks[block].iter().filter(|l| l.is_live()) {
                let kernels = (channels * layer.bottleneck + 9 * layer.bottleneck * layer.growth) as u64;
                macs += side * side * kernels;
                parameters += kernels + 2 * (channels + layer.bottleneck) as u64;
                channels += layer.growth;
            }
            add(Part::Block(block), side, [inputs, channels], [macs, parameters]);
            if let Some(&transition) = self.transitions.get(block) {
                side /= 2;
                let kernels = (channels * transition) as u64;
                let counts = [side * side * kernels, kernels + 2 * channels as u64];
                add(Part::Transition(block), side, [channels, transition], counts);
            }
        }
        let features = self.features() as u64;
        add(Part::Head, side, [self.features(), 1], [side * side * features, 3 * features + 1]);
        stages
    }

    /// Side of the last feature maps for an input of `side_px`.
    pub fn feature_side(&self, side_px: u32) -> u32 {
        let stem = (side_px - 1) / 2 + 1;
        ((stem - 1) / 2 + 1) >> self.transitions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densenet169_has_the_known_size() {
        let widths = Widths::densenet169();
        widths.check().unwrap();
        // torchvision's 14,149,480 less its 1000-class head, plus one output.
        assert_eq!(widths.parameters(), 14_149_480 - 1_665_000 + 1_665);
        assert_eq!(widths.transitions, [128, 256, 640]);
        assert_eq!(widths.features(), 1664);
        assert_eq!(widths.feature_side(320), 10);
        let gmacs = |side| widths.macs(side) as f64 / 1e9;
        // As published, with convolutions before pooling in the transitions: 3.36 G and 6.86 G.
        let published = |side| {
            let transitions =
                widths.stages(side).into_iter().filter(|s| matches!(s.part, Part::Transition(_)));
            gmacs(side) + 3.0 * transitions.map(|s| s.macs as f64 / 1e9).sum::<f64>()
        };
        assert!((published(224) - 3.36).abs() < 0.02, "{}", published(224));
        assert!((published(320) - 6.86).abs() < 0.04, "{}", published(320));
        assert!((gmacs(224) - 3.09).abs() < 0.01, "{}", gmacs(224));
    }

    #[test]
    fn dropped_layers_cost_nothing() {
        let mut widths = Widths::uniform(8, &[2, 2], 4, 8);
        let mut shorter = widths.clone();
        widths.blocks[1][0] = LayerWidths { bottleneck: 0, growth: 0 };
        shorter.blocks[1].remove(0);
        widths.check().unwrap();
        assert_eq!(widths.parameters(), shorter.parameters());
        assert_eq!(widths.macs(64), shorter.macs(64));
    }

    #[test]
    fn impossible_widths_are_refused() {
        let good = Widths::uniform(8, &[2, 2], 4, 8);
        let mut bad = good.clone();
        bad.transitions.clear();
        assert!(bad.check().is_err());
        let mut bad = good.clone();
        bad.stem = 0;
        assert!(bad.check().is_err());
        let mut bad = good;
        bad.blocks[0][0].growth = 0;
        assert!(bad.check().is_err());
    }
}
