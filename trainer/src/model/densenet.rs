//! The network. Layers and their tensors are public: pruning, export and tests walk them.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::widths::{LayerWidths, Widths};

/// What torchvision's batch normalisation adds to the variance.
pub const BATCH_NORM_EPS: f64 = 1e-5;
/// The share of a batch's statistics that enters the running ones in training.
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// A convolution without bias.
#[derive(Debug)]
pub struct Conv {
    /// f32 `[out, in, k, k]`.
    pub weight: Tensor,
    /// Step in both directions.
    pub stride: i64,
    /// Zeros around the input on every side.
    pub padding: i64,
}

impl Conv {
    /// Weights from a normal distribution of deviation sqrt(2 / fan_in) (He et al., arXiv 1502.01852).
    fn new(path: &Path<'_>, inputs: usize, outputs: usize, kernel: i64, stride: i64) -> Self {
        let shape = [outputs as i64, inputs as i64, kernel, kernel];
        let deviation = (2.0 / (inputs as f64 * (kernel * kernel) as f64)).sqrt();
        // Drawn on the CPU, so that a seed means the same weights on every device.
        let weight = Tensor::randn(shape, (Kind::Float, tch::Device::Cpu)) * deviation;
        let weight = path.add("weight", weight.to_device(path.device()), true);
        Self { weight, stride, padding: kernel / 2 }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.conv2d(&self.weight, None::<&Tensor>, stride, padding, [1, 1], 1)
    }
}

/// Batch normalisation over channels, with epsilon [`BATCH_NORM_EPS`].
#[derive(Debug)]
pub struct BatchNorm {
    /// Scale, f32 `[C]`.
    pub weight: Tensor,
    /// Shift, f32 `[C]`.
    pub bias: Tensor,
    /// Mean used in evaluation, f32 `[C]`.
    pub running_mean: Tensor,
    /// Variance used in evaluation, f32 `[C]`.
    pub running_var: Tensor,
}

impl BatchNorm {
    fn new(path: &Path<'_>, channels: usize) -> Self {
        let shape = [channels as i64];
        Self {
            weight: path.ones("weight", &shape),
            bias: path.zeros("bias", &shape),
            running_mean: path.zeros_no_train("running_mean", &shape),
            running_var: path.ones_no_train("running_var", &shape),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            BATCH_NORM_MOMENTUM,
            BATCH_NORM_EPS,
            true,
        )
    }
}

/// A dense layer: norm1, ReLU, conv1 (1x1), norm2, ReLU, conv2 (3x3), appended to its input.
#[derive(Debug)]
pub struct DenseLayer {
    /// torchvision's number of the layer in its block, from 1; dropped layers leave gaps.
    pub number: usize,
    /// Over all channels of the block so far.
    pub norm1: BatchNorm,
    /// To the bottleneck.
    pub conv1: Conv,
    /// Over the bottleneck.
    pub norm2: BatchNorm,
    /// To the growth channels.
    pub conv2: Conv,
}

impl DenseLayer {
    fn new(path: &Path<'_>, number: usize, inputs: usize, widths: LayerWidths) -> Self {
        let path = path.sub(format!("denselayer{number}"));
        Self {
            number,
            norm1: BatchNorm::new(&path.sub("norm1"), inputs),
            conv1: Conv::new(&path.sub("conv1"), inputs, widths.bottleneck, 1, 1),
            norm2: BatchNorm::new(&path.sub("norm2"), widths.bottleneck),
            conv2: Conv::new(&path.sub("conv2"), widths.bottleneck, widths.growth, 3, 1),
        }
    }

    /// The layer's new channels, `[B, growth, h, w]`.
    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let bottleneck = self.conv1.forward(&self.norm1.forward(x, train).relu_());
        self.conv2.forward(&self.norm2.forward(&bottleneck, train).relu_())
    }
}

/// Between two blocks: norm, ReLU, average pooling 2x2, conv (1x1). torchvision pools last, which is the same but
/// for rounding, as both are linear, and four times the work.
#[derive(Debug)]
pub struct Transition {
    /// Over all channels of the block.
    pub norm: BatchNorm,
    /// To the next block's input.
    pub conv: Conv,
}

/// The network. Variables carry torchvision's names: `features.conv0.weight`,
/// `features.denseblock1.denselayer1.norm1.weight`, `features.transition1.conv.weight`,
/// `features.norm5.running_mean`, `classifier.weight`.
#[derive(Debug)]
pub struct DenseNet {
    /// What it was built from.
    pub widths: Widths,
    /// 7x7, stride 2, from three channels; followed by norm0, ReLU and 3x3 max pooling of stride 2.
    pub conv0: Conv,
    /// Over the stem.
    pub norm0: BatchNorm,
    /// The dense blocks with their live layers.
    pub blocks: Vec<Vec<DenseLayer>>,
    /// After each block but the last.
    pub transitions: Vec<Transition>,
    /// Over the last block's channels; followed by ReLU.
    pub norm5: BatchNorm,
    /// f32 `[1, C]`.
    pub classifier_weight: Tensor,
    /// f32 `[1]`.
    pub classifier_bias: Tensor,
    /// Share of pooled features zeroed in training.
    pub dropout: f64,
}

/// What the network says of a batch.
#[derive(Debug)]
pub struct Forward {
    /// f32 `[B]`; above zero means abnormal.
    pub logit: Tensor,
    /// f32 `[B, C, h, w]`, not negative: the last feature maps after their ReLU.
    pub features: Tensor,
}

impl DenseNet {
    /// Adds the network's variables to `path`. Convolutions are drawn from torch's generator
    /// (`tch::manual_seed`); scales are 1, shifts and biases 0.
    pub fn new(path: &Path<'_>, widths: &Widths) -> Self {
        let features = path.sub("features");
        let conv0 = Conv { padding: 3, ..Conv::new(&features.sub("conv0"), 3, widths.stem, 7, 2) };
        let norm0 = BatchNorm::new(&features.sub("norm0"), widths.stem);
        let mut blocks = Vec::new();
        let mut transitions = Vec::new();
        for (block, mut channels) in widths.block_inputs().enumerate() {
            let block_path = features.sub(format!("denseblock{}", block + 1));
            let mut layers = Vec::new();
            for (index, layer) in widths.blocks[block].iter().enumerate().filter(|(_, l)| l.is_live()) {
                layers.push(DenseLayer::new(&block_path, index + 1, channels, *layer));
                channels += layer.growth;
            }
            blocks.push(layers);
            if let Some(&outputs) = widths.transitions.get(block) {
                let path = features.sub(format!("transition{}", block + 1));
                let norm = BatchNorm::new(&path.sub("norm"), channels);
                transitions
                    .push(Transition { norm, conv: Conv::new(&path.sub("conv"), channels, outputs, 1, 1) });
            }
        }
        let channels = widths.features();
        let norm5 = BatchNorm::new(&features.sub("norm5"), channels);
        let bound = 1.0 / (channels as f64).sqrt();
        let classifier = path.sub("classifier");
        let weight =
            (Tensor::rand([1, channels as i64], (Kind::Float, tch::Device::Cpu)) * 2.0 - 1.0) * bound;
        let classifier_weight = classifier.add("weight", weight.to_device(path.device()), true);
        let classifier_bias = classifier.zeros("bias", &[1]);
        let widths = widths.clone();
        Self {
            widths,
            conv0,
            norm0,
            blocks,
            transitions,
            norm5,
            classifier_weight,
            classifier_bias,
            dropout: 0.0,
        }
    }

    /// Runs a batch, f32 `[B, 3, H, W]` with H and W at least 64 px. With `train`, batch statistics are used
    /// and enter the running ones, and dropout is on.
    pub fn forward_t(&self, x: &Tensor, train: bool) -> Forward {
        let x = self.norm0.forward(&self.conv0.forward(&channels_last(x)), train).relu_();
        let mut x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        for (block, layers) in self.blocks.iter().enumerate() {
            for layer in layers {
                x = Tensor::cat(&[&x, &layer.forward(&x, train)], 1);
            }
            if let Some(transition) = self.transitions.get(block) {
                let y = transition.norm.forward(&x, train).relu_();
                x = transition.conv.forward(&y.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None));
            }
        }
        let features = self.norm5.forward(&x, train).relu_();
        let pooled = features.adaptive_avg_pool2d([1, 1]).flatten(1, -1).dropout(self.dropout, train);
        let logit = pooled.linear(&self.classifier_weight, Some(&self.classifier_bias)).squeeze_dim(1);
        Forward { logit, features }
    }

    /// The class activation map of [`Forward::features`], f32 `[B, h, w]`: see [`activation_map`].
    pub fn activation_map(&self, features: &Tensor) -> Tensor {
        activation_map(features, &self.classifier_weight)
    }
}

/// The same values with the channels of a pixel side by side in memory, which every later operation keeps:
/// on the CPU the forward pass is a third faster that way.
fn channels_last(x: &Tensor) -> Tensor {
    if x.device() != tch::Device::Cpu {
        return x.shallow_clone();
    }
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// The class activation map (Zhou et al., arXiv 1512.04150): features `[B, C, h, w]` weighted by the
/// classifier `[1, C]`, f32 `[B, h, w]`. Its mean over h and w plus the classifier's bias is the logit.
pub fn activation_map(features: &Tensor, classifier_weight: &Tensor) -> Tensor {
    let kernel = classifier_weight.unsqueeze(-1).unsqueeze(-1);
    features.conv2d(&kernel, None::<&Tensor>, [1, 1], [0, 0], [1, 1], 1).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use tch::nn::VarStore;
    use tch::{Device, no_grad};

    use super::*;

    fn tiny() -> Widths {
        Widths::uniform(8, &[2, 2], 4, 8)
    }

    #[test]
    fn variables_are_named_and_sized_as_in_torchvision() {
        let store = VarStore::new(Device::Cpu);
        let widths = Widths::densenet169();
        let _net = DenseNet::new(&store.root(), &widths);
        let variables = store.variables();
        // 846 in torchvision, less 169 counters of batches; our head has one output.
        assert_eq!(variables.len(), 846);
        let trained: usize = store.trainable_variables().iter().map(Tensor::numel).sum();
        assert_eq!(trained as u64, widths.parameters());
        for (name, shape) in [
            ("features.conv0.weight", vec![64, 3, 7, 7]),
            ("features.norm0.running_var", vec![64]),
            ("features.denseblock3.denselayer32.conv1.weight", vec![128, 256 + 31 * 32, 1, 1]),
            ("features.denseblock4.denselayer1.norm1.bias", vec![640]),
            ("features.denseblock4.denselayer32.conv2.weight", vec![32, 128, 3, 3]),
            ("features.transition2.conv.weight", vec![256, 512, 1, 1]),
            ("features.norm5.weight", vec![1664]),
            ("classifier.weight", vec![1, 1664]),
            ("classifier.bias", vec![1]),
        ] {
            assert_eq!(variables[name].size(), shape, "{name}");
        }
        assert_eq!(variables["features.norm5.weight"].min().double_value(&[]), 1.0);
    }

    #[test]
    fn the_activation_map_explains_the_logit_at_any_size() {
        tch::manual_seed(1);
        let store = VarStore::new(Device::Cpu);
        let net = DenseNet::new(&store.root(), &Widths::uniform(8, &[2, 2, 1, 1], 4, 8));
        let _ = no_grad(|| net.classifier_bias.shallow_clone().fill_(0.3));
        for (height, width) in [(64, 64), (97, 75), (160, 64)] {
            let x = Tensor::randn([2, 3, height, width], (Kind::Float, Device::Cpu));
            let out = no_grad(|| net.forward_t(&x, false));
            assert_eq!(out.logit.size(), [2]);
            if height == width {
                assert_eq!(out.features.size()[2], i64::from(net.widths.feature_side(height as u32)));
            }
            let map = net.activation_map(&out.features);
            let logit = map.mean_dim([1i64, 2].as_slice(), false, Kind::Float) + &net.classifier_bias;
            assert!((logit - &out.logit).abs().max().double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn training_moves_the_running_statistics_and_evaluation_does_not() {
        tch::manual_seed(2);
        let store = VarStore::new(Device::Cpu);
        let net = DenseNet::new(&store.root(), &tiny());
        let x = Tensor::randn([4, 3, 64, 64], (Kind::Float, Device::Cpu));
        let mean = |net: &DenseNet| net.norm5.running_mean.abs().sum(Kind::Float).double_value(&[]);
        no_grad(|| net.forward_t(&x, false));
        assert_eq!(mean(&net), 0.0);
        no_grad(|| net.forward_t(&x, true));
        assert!(mean(&net) > 0.0);
    }

    #[test]
    fn a_dropped_layer_is_not_built_and_keeps_the_others_names() {
        let mut widths = tiny();
        widths.blocks[1][0] = LayerWidths { bottleneck: 0, growth: 0 };
        let store = VarStore::new(Device::Cpu);
        let net = DenseNet::new(&store.root(), &widths);
        let names = store.variables();
        assert!(!names.contains_key("features.denseblock2.denselayer1.conv1.weight"));
        assert!(names.contains_key("features.denseblock2.denselayer2.conv1.weight"));
        let x = Tensor::randn([1, 3, 64, 64], (Kind::Float, Device::Cpu));
        assert_eq!(net.forward_t(&x, false).features.size()[1], widths.features() as i64);
    }
}
