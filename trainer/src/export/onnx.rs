//! The network as an ONNX graph.
//!
//! ```text
//! radiograph f32 [1, 3, H, W]
//!   Conv+bias (norm0 folded in), Relu, MaxPool
//!   per dense layer   BatchNormalization, Relu, Conv 1x1+bias (norm2 folded in), Relu, Conv 3x3, Concat
//!   per transition    BatchNormalization, Relu, AveragePool, Conv 1x1
//!   BatchNormalization, Relu, Conv 1x1 with the classifier's weights
//!     Squeeze               -> activation_map f32 [1, h, w]
//!     ReduceMean, Add bias  -> logit f32 [1, 1]
//! ```
//!
//! Two rewrites are exact but for rounding: a batch normalisation right after a convolution is folded into
//! it, and the classifier is a 1x1 convolution before the mean. The same network gives the same bytes.
//! [`Widths::macs`](crate::model::Widths::macs) counts the multiply-accumulates of exactly this graph.
//!
//! How far engines differ: libtorch, tract and ONNX Runtime add in different orders, and each is about 1e-6 of the
//! activation map's largest value away from what the network says in float64 (`trainer/tests/precision.rs`). A trained
//! network's map reaches some tens, so that its logits agree within 1e-4 * max(1, |logit|) with room to spare
//! (`tests/tests/parity.rs`). Where normalisations do not fit the activations, as in a network with random ones, a map of
//! hundreds can cancel to a logit near 0, and the same rounding is then more than 1e-4 of it, in every engine.

use contract::bundle::{ACTIVATION_MAP_NAME, INPUT_NAME, LOGIT_NAME};
use contract::preprocess::PreprocessSpec;
use prost::Message;
use tch::{Device, Kind, Tensor};

use super::onnx_proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use crate::model::{BATCH_NORM_EPS, BatchNorm, Conv, DenseLayer, DenseNet, Transition};

/// The operator set of the exported graph.
pub const OPSET: i64 = 17;
/// The format version that goes with it.
pub const IR_VERSION: i64 = 8;

/// Why a network cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// A weight is NaN or infinite.
    #[error(
        "the tensor `{0}` holds values that are not finite; train the network again with a lower learning rate"
    )]
    NotFinite(String),
    /// A tensor could not be copied out of libtorch.
    #[error("copying the tensor `{name}` out of libtorch: {source}")]
    Copy {
        /// The tensor.
        name: String,
        /// libtorch's reason.
        source: tch::TchError,
    },
}

/// The ONNX file's bytes for a network at the spec's input size.
///
/// # Errors
/// When a weight is not finite or cannot be copied from its device.
pub fn to_bytes(net: &DenseNet, spec: &PreprocessSpec) -> Result<Vec<u8>, OnnxError> {
    Ok(to_model(net, spec)?.encode_to_vec())
}

/// The ONNX model of a network at the spec's input size.
///
/// # Errors
/// When a weight is not finite or cannot be copied from its device.
pub fn to_model(net: &DenseNet, spec: &PreprocessSpec) -> Result<ModelProto, OnnxError> {
    let (height, width) = (i64::from(spec.height_px), i64::from(spec.width_px));
    let mut graph = Builder::default();
    let x = graph.folded("features.conv0", INPUT_NAME, &net.conv0, &net.norm0)?;
    let x = graph.node("features.relu0", "Relu", &[&x], vec![]);
    let mut x = graph.node("features.pool0", "MaxPool", &[&x], window(3, 2, 1));
    for (block, layers) in net.blocks.iter().enumerate() {
        for layer in layers {
            let name = format!("features.denseblock{}.denselayer{}", block + 1, layer.number);
            x = graph.dense_layer(&name, &x, layer)?;
        }
        if let Some(transition) = net.transitions.get(block) {
            x = graph.transition(&format!("features.transition{}", block + 1), &x, transition)?;
        }
    }
    let x = graph.batch_norm("features.norm5", &x, &net.norm5)?;
    let features = graph.node("features.relu5", "Relu", &[&x], vec![]);
    graph.head(&features, net)?;

    let (map_height, map_width) = (feature_side(net, height), feature_side(net, width));
    let graph = GraphProto {
        node: graph.nodes,
        name: "densenet".to_owned(),
        initializer: graph.constants,
        input: vec![ValueInfoProto::floats(INPUT_NAME, &[1, 3, height, width])],
        output: vec![
            ValueInfoProto::floats(LOGIT_NAME, &[1, 1]),
            ValueInfoProto::floats(ACTIVATION_MAP_NAME, &[1, map_height, map_width]),
        ],
    };
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "ulna trainer".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: OPSET }],
    })
}

/// A side of the last feature maps: the stem's convolution and pooling halve, rounding up; each transition
/// halves, rounding down.
fn feature_side(net: &DenseNet, side: i64) -> i64 {
    let stem = (side - 1) / 2 + 1;
    ((stem - 1) / 2 + 1) >> net.transitions.len()
}

/// The attributes of a square window.
fn window(kernel: i64, stride: i64, padding: i64) -> Vec<AttributeProto> {
    vec![
        AttributeProto::ints("kernel_shape", &[kernel; 2]),
        AttributeProto::ints("pads", &[padding; 4]),
        AttributeProto::ints("strides", &[stride; 2]),
    ]
}

/// The nodes and constants so far. Every node has one output, named like the node.
#[derive(Default)]
struct Builder {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Builder {
    fn node(&mut self, name: &str, op_type: &str, input: &[&str], attribute: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    /// Adds a tensor as an f32 constant and returns its name.
    fn constant(&mut self, name: &str, tensor: &Tensor) -> Result<String, OnnxError> {
        let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let mut values = vec![0f32; tensor.numel()];
        tensor
            .f_copy_data(&mut values, tensor.numel())
            .map_err(|source| OnnxError::Copy { name: name.to_owned(), source })?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(OnnxError::NotFinite(name.to_owned()));
        }
        self.constants.push(TensorProto::floats(name, &tensor.size(), &values));
        Ok(name.to_owned())
    }

    fn conv(
        &mut self,
        name: &str,
        x: &str,
        conv: &Conv,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<String, OnnxError> {
        let weight_name = self.constant(&format!("{name}.weight"), weight)?;
        let mut inputs = vec![x.to_owned(), weight_name];
        if let Some(bias) = bias {
            inputs.push(self.constant(&format!("{name}.bias"), bias)?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.node(name, "Conv", &inputs, window(weight.size()[3], conv.stride, conv.padding)))
    }

    /// A convolution with the batch normalisation after it folded into weights and bias.
    fn folded(&mut self, name: &str, x: &str, conv: &Conv, norm: &BatchNorm) -> Result<String, OnnxError> {
        let double = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double);
        let scale = double(&norm.weight) / (double(&norm.running_var) + BATCH_NORM_EPS).sqrt();
        let shift = double(&norm.bias) - double(&norm.running_mean) * &scale;
        let weight = double(&conv.weight) * scale.view([-1, 1, 1, 1]);
        self.conv(name, x, conv, &weight.to_kind(Kind::Float), Some(&shift.to_kind(Kind::Float)))
    }

    fn batch_norm(&mut self, name: &str, x: &str, norm: &BatchNorm) -> Result<String, OnnxError> {
        let scale = self.constant(&format!("{name}.weight"), &norm.weight)?;
        let shift = self.constant(&format!("{name}.bias"), &norm.bias)?;
        let mean = self.constant(&format!("{name}.running_mean"), &norm.running_mean)?;
        let variance = self.constant(&format!("{name}.running_var"), &norm.running_var)?;
        let epsilon = AttributeProto::float("epsilon", BATCH_NORM_EPS as f32);
        Ok(self.node(name, "BatchNormalization", &[x, &scale, &shift, &mean, &variance], vec![epsilon]))
    }

    /// A dense layer, its new channels appended to `x`.
    fn dense_layer(&mut self, name: &str, x: &str, layer: &DenseLayer) -> Result<String, OnnxError> {
        let y = self.batch_norm(&format!("{name}.norm1"), x, &layer.norm1)?;
        let y = self.node(&format!("{name}.relu1"), "Relu", &[&y], vec![]);
        let y = self.folded(&format!("{name}.conv1"), &y, &layer.conv1, &layer.norm2)?;
        let y = self.node(&format!("{name}.relu2"), "Relu", &[&y], vec![]);
        let y = self.conv(&format!("{name}.conv2"), &y, &layer.conv2, &layer.conv2.weight, None)?;
        Ok(self.node(&format!("{name}.concat"), "Concat", &[x, &y], vec![AttributeProto::int("axis", 1)]))
    }

    fn transition(&mut self, name: &str, x: &str, transition: &Transition) -> Result<String, OnnxError> {
        let y = self.batch_norm(&format!("{name}.norm"), x, &transition.norm)?;
        let y = self.node(&format!("{name}.relu"), "Relu", &[&y], vec![]);
        let y = self.node(&format!("{name}.pool"), "AveragePool", &[&y], window(2, 2, 0));
        self.conv(&format!("{name}.conv"), &y, &transition.conv, &transition.conv.weight, None)
    }

    /// From the last features to the two outputs.
    fn head(&mut self, features: &str, net: &DenseNet) -> Result<(), OnnxError> {
        let weight = net.classifier_weight.detach().unsqueeze(-1).unsqueeze(-1);
        let weight = self.constant("classifier.weight", &weight)?;
        let bias = self.constant("classifier.bias", &net.classifier_bias)?;
        let map = self.node("classifier", "Conv", &[features, &weight], window(1, 1, 0));
        self.constants.push(TensorProto::integers("classifier.axes", &[1]));
        self.node(ACTIVATION_MAP_NAME, "Squeeze", &[&map, "classifier.axes"], vec![]);
        let attributes = vec![AttributeProto::ints("axes", &[2, 3]), AttributeProto::int("keepdims", 0)];
        let mean = self.node("classifier.mean", "ReduceMean", &[&map], attributes);
        self.node(LOGIT_NAME, "Add", &[&mean, &bias], vec![]);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;
    use tch::nn::VarStore;
    use tch::no_grad;

    use super::*;
    use crate::model::{LayerWidths, Widths};

    /// A small network of random widths, dropped layers among them, whose normalisations are no identities.
    pub(in crate::export) fn random_net(seed: u64) -> (VarStore, DenseNet) {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut layer = |_| {
            if random.random_bool(0.2) {
                return LayerWidths { bottleneck: 0, growth: 0 };
            }
            LayerWidths { bottleneck: random.random_range(1..20), growth: random.random_range(1..9) }
        };
        let blocks: Vec<Vec<_>> = [2, 3, 3, 2].iter().map(|&n| (0..n).map(&mut layer).collect()).collect();
        let transitions = (0..3).map(|_| random.random_range(2..16)).collect();
        let widths = Widths { stem: random.random_range(2..12), blocks, transitions };
        tch::manual_seed(seed as i64);
        let store = VarStore::new(Device::Cpu);
        let net = DenseNet::new(&store.root(), &widths);
        no_grad(|| {
            for (name, mut variable) in store.variables() {
                if variable.dim() == 1 {
                    let noise = variable.rand_like() + 0.5;
                    let sign = if name.ends_with("running_var") { 1.0 } else { 0.7 };
                    variable.copy_(&(noise * sign - (1.0 - sign)));
                }
            }
        });
        (store, net)
    }

    #[test]
    fn the_same_network_gives_the_same_bytes() {
        let (_store, net) = random_net(11);
        let spec = PreprocessSpec::square(96);
        let bytes = to_bytes(&net, &spec).unwrap();
        assert_eq!(bytes, to_bytes(&net, &spec).unwrap());
        assert_eq!(ModelProto::decode(bytes.as_slice()).unwrap(), to_model(&net, &spec).unwrap());
    }

    #[test]
    fn every_input_of_a_node_is_known_before_it() {
        let (_store, net) = random_net(12);
        let graph = to_model(&net, &PreprocessSpec::square(64)).unwrap().graph.unwrap();
        let mut known: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        known.push(INPUT_NAME);
        for node in &graph.node {
            assert!(node.input.iter().all(|name| known.contains(&name.as_str())), "{}", node.name);
            assert!(!known.contains(&node.output[0].as_str()), "{} is defined twice", node.output[0]);
            known.push(&node.output[0]);
        }
        assert!(graph.output.iter().all(|output| known.contains(&output.name.as_str())));
        // No input or output is dynamic, and the map's shape is what the network gives.
        assert_eq!(graph.output[1].shape(), Some(vec![1, 2, 2]));
    }

    /// Multiply-accumulates of a graph's convolutions at its input size, from the shapes that flow through it.
    fn convolution_macs(graph: &GraphProto) -> i64 {
        let kernels: HashMap<&str, &[i64]> =
            graph.initializer.iter().map(|t| (t.name.as_str(), t.dims.as_slice())).collect();
        let mut shapes = HashMap::from([(INPUT_NAME, graph.input[0].shape().unwrap())]);
        let mut macs = 0;
        for node in &graph.node {
            let ints = |name: &str| &node.attribute.iter().find(|a| a.name == name).unwrap().ints;
            let Some(mut shape) = shapes.get(node.input[0].as_str()).cloned() else { continue };
            if matches!(node.op_type.as_str(), "Conv" | "MaxPool" | "AveragePool") {
                for axis in [2, 3] {
                    let [kernel, stride] = ["kernel_shape", "strides"].map(|name| ints(name)[axis - 2]);
                    shape[axis] = (shape[axis] + 2 * ints("pads")[axis - 2] - kernel) / stride + 1;
                }
            }
            match node.op_type.as_str() {
                "Conv" => {
                    let kernel = kernels[node.input[1].as_str()];
                    shape[1] = kernel[0];
                    macs += kernel.iter().product::<i64>() * shape[2] * shape[3];
                }
                "Concat" => shape[1] += shapes[node.input[1].as_str()][1],
                "Squeeze" | "ReduceMean" => continue,
                _ => {}
            }
            shapes.insert(node.output[0].as_str(), shape);
        }
        macs
    }

    #[test]
    fn the_widths_count_what_the_graph_multiplies() {
        for (seed, side) in [(14, 64), (15, 97), (16, 320)] {
            let (_store, net) = random_net(seed);
            let graph = to_model(&net, &PreprocessSpec::square(side)).unwrap().graph.unwrap();
            assert_eq!(convolution_macs(&graph) as u64, net.widths.macs(side), "seed {seed}, {side} px");
        }
    }

    #[test]
    fn a_weight_that_is_not_finite_is_named() {
        let (_store, mut net) = random_net(13);
        net.norm5.running_mean = net.norm5.running_mean.full_like(f64::NAN);
        let error = to_bytes(&net, &PreprocessSpec::square(64)).unwrap_err();
        assert!(
            matches!(&error, OnnxError::NotFinite(name) if name == "features.norm5.running_mean"),
            "{error}"
        );
    }
}
