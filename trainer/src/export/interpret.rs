//! Runs an exported ONNX file on libtorch, operator by operator: `evaluate --bundle` measures the file that
//! the station runs, not the network it was made from.
//!
//! It knows exactly the operators and attributes that [`super::onnx`] writes and refuses everything else.

use std::collections::HashMap;

use contract::bundle::{ACTIVATION_MAP_NAME, INPUT_NAME, LOGIT_NAME};
use prost::Message;
use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::onnx::OPSET;
use super::onnx_proto::{AttributeProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto, TensorProto};

/// Why a file cannot be interpreted.
#[derive(Debug, thiserror::Error)]
pub enum InterpretError {
    /// Not a protobuf message of the expected form.
    #[error("the file is not an ONNX model: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// ONNX, but not what this trainer writes.
    #[error("the ONNX model was not written by this trainer: {0}")]
    Foreign(String),
    /// libtorch refused to run a node.
    #[error("running the ONNX node `{node}`: {source}")]
    Run {
        /// The node's name.
        node: String,
        /// libtorch's reason.
        source: TchError,
    },
}

fn foreign(what: impl Into<String>) -> InterpretError {
    InterpretError::Foreign(what.into())
}

/// An ONNX model of this trainer, ready to run.
#[derive(Debug)]
pub struct Interpreter {
    steps: Vec<Step>,
    constants: HashMap<String, Tensor>,
    input_shape: [i64; 4],
    device: Device,
}

/// What the model says of a batch.
#[derive(Debug)]
pub struct Outputs {
    /// f32 `[B]`.
    pub logit: Tensor,
    /// f32 `[B, h, w]`: the class activation map before scaling.
    pub activation_map: Tensor,
}

/// A node and the values that no later node needs.
#[derive(Debug)]
struct Step {
    node: NodeProto,
    op: Op,
    dropped: Vec<String>,
}

/// An operator with its attributes.
#[derive(Clone, Debug, PartialEq)]
enum Op {
    Conv { stride: [i64; 2], padding: [i64; 2] },
    BatchNormalization { epsilon: f64 },
    Relu,
    MaxPool { kernel: [i64; 2], stride: [i64; 2], padding: [i64; 2] },
    AveragePool { kernel: [i64; 2], stride: [i64; 2] },
    Concat { axis: i64 },
    Squeeze,
    ReduceMean { axes: Vec<i64>, keep: bool },
    Add,
}

impl Interpreter {
    /// Reads an ONNX file's bytes and puts its constants on `device`.
    ///
    /// # Errors
    /// When the bytes are no ONNX model, or one with other inputs, outputs, operators or attributes than
    /// this trainer writes.
    pub fn new(onnx: &[u8], device: Device) -> Result<Self, InterpretError> {
        let model = ModelProto::decode(onnx)?;
        let opset = model.opset_import.iter().find(|set| set.domain.as_deref().unwrap_or("").is_empty());
        if opset.is_none_or(|set| set.version != OPSET) {
            return Err(foreign(format!(
                "expected operator set {OPSET}, found {:?}",
                opset.map(|s| s.version)
            )));
        }
        let graph = model.graph.ok_or_else(|| foreign("there is no graph"))?;
        let input_shape = input_shape(&graph)?;
        let mut constants = HashMap::new();
        for constant in &graph.initializer {
            constants.insert(constant.name.clone(), tensor(constant)?.to_device(device));
        }
        let steps = steps(graph, &constants)?;
        Ok(Self { steps, constants, input_shape, device })
    }

    /// The input's shape in the file, `[1, 3, H, W]`.
    pub fn input_shape(&self) -> [i64; 4] {
        self.input_shape
    }

    /// Runs a batch, f32 `[B, 3, H, W]` with the file's H and W. No operator looks across the batch, so the
    /// file's batch of one is no limit here.
    ///
    /// # Errors
    /// When the shape is another one, or libtorch refuses a node.
    pub fn run(&self, batch: &Tensor) -> Result<Outputs, InterpretError> {
        if batch.dim() != 4 || batch.size()[1..] != self.input_shape[1..] {
            let (found, expected) = (batch.size(), self.input_shape);
            return Err(foreign(format!("its input is {expected:?}, the batch {found:?}")));
        }
        let mut values = HashMap::from([(INPUT_NAME.to_owned(), batch.to_device(self.device))]);
        no_grad(|| {
            for step in &self.steps {
                let output = self.apply(step, &values)?;
                for name in &step.dropped {
                    values.remove(name);
                }
                values.insert(step.node.output[0].clone(), output);
            }
            let mut take = |name: &str| values.remove(name).ok_or_else(|| foreign(format!("no `{name}`")));
            Ok(Outputs {
                logit: take(LOGIT_NAME)?.flatten(0, -1),
                activation_map: take(ACTIVATION_MAP_NAME)?,
            })
        })
    }

    fn apply(&self, step: &Step, values: &HashMap<String, Tensor>) -> Result<Tensor, InterpretError> {
        let node = &step.node;
        let inputs = node
            .input
            .iter()
            .map(|name| values.get(name).or_else(|| self.constants.get(name)))
            .collect::<Option<Vec<&Tensor>>>()
            .ok_or_else(|| foreign(format!("the node `{}` has an unknown input", node.name)))?;
        let output = match (&step.op, inputs.as_slice()) {
            (Op::Conv { stride, padding }, [x, weight, bias @ ..]) => {
                x.f_conv2d(weight, bias.first().copied(), stride, padding, [1, 1], 1)
            }
            (Op::BatchNormalization { epsilon }, [x, weight, bias, mean, variance]) => {
                let [weight, bias, mean, variance] = [weight, bias, mean, variance].map(|t| Some(*t));
                x.f_batch_norm(weight, bias, mean, variance, false, 0.0, *epsilon, false)
            }
            (Op::Relu, [x]) => x.f_relu(),
            (Op::MaxPool { kernel, stride, padding }, [x]) => {
                x.f_max_pool2d(kernel, stride, padding, [1, 1], false)
            }
            (Op::AveragePool { kernel, stride }, [x]) => {
                x.f_avg_pool2d(kernel, stride, [0, 0], false, true, None)
            }
            (Op::Concat { axis }, parts) => Tensor::f_cat(parts, *axis),
            (Op::Squeeze, [x, axes]) => x.f_squeeze_dim(axes.int64_value(&[0])),
            (Op::ReduceMean { axes, keep }, [x]) => x.f_mean_dim(axes.as_slice(), *keep, Kind::Float),
            (Op::Add, [a, b]) => a.f_add(b),
            (op, inputs) => return Err(foreign(format!("{op:?} with {} inputs", inputs.len()))),
        };
        output.map_err(|source| InterpretError::Run { node: node.name.clone(), source })
    }
}

/// The shape of the only input, and a check of the names of both outputs.
fn input_shape(graph: &GraphProto) -> Result<[i64; 4], InterpretError> {
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    if outputs != [LOGIT_NAME, ACTIVATION_MAP_NAME] {
        return Err(foreign(format!("expected the outputs {LOGIT_NAME} and {ACTIVATION_MAP_NAME}")));
    }
    match graph.input.as_slice() {
        [input] if input.name == INPUT_NAME => {
            let shape = input.shape().and_then(|shape| <[i64; 4]>::try_from(shape).ok());
            shape.filter(|shape| shape[..2] == [1, 3]).ok_or_else(|| foreign("its input is not [1, 3, H, W]"))
        }
        _ => Err(foreign(format!("expected one input, {INPUT_NAME}"))),
    }
}

fn tensor(constant: &TensorProto) -> Result<Tensor, InterpretError> {
    let (kind, bytes) = match constant.data_type {
        FLOAT => (Kind::Float, 4),
        INT64 => (Kind::Int64, 8),
        other => return Err(foreign(format!("`{}` has element type {other}", constant.name))),
    };
    let elements = constant.dims.iter().try_fold(bytes, |all: usize, &side| {
        usize::try_from(side).ok().and_then(|side| all.checked_mul(side))
    });
    if elements != Some(constant.raw_data.len()) {
        return Err(foreign(format!("`{}` has data of another size than its shape", constant.name)));
    }
    let dims = &constant.dims;
    Tensor::f_from_data_size(&constant.raw_data, dims, kind)
        .map_err(|source| InterpretError::Run { node: constant.name.clone(), source })
}

/// The nodes in their order, each with the values whose last use it is.
fn steps(graph: GraphProto, constants: &HashMap<String, Tensor>) -> Result<Vec<Step>, InterpretError> {
    let mut last_use = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        if node.output.len() != 1 {
            return Err(foreign(format!("the node `{}` has {} outputs", node.name, node.output.len())));
        }
        for name in node.input.iter().filter(|name| !constants.contains_key(*name)) {
            last_use.insert(name.clone(), index);
        }
    }
    let mut steps = Vec::with_capacity(graph.node.len());
    for (index, node) in graph.node.into_iter().enumerate() {
        let op = op(&node)?;
        let mut dropped = node.input.clone();
        dropped.retain(|name| last_use.get(name) == Some(&index));
        steps.push(Step { node, op, dropped });
    }
    Ok(steps)
}

/// A node's operator; every attribute must be one that is honoured here.
fn op(node: &NodeProto) -> Result<Op, InterpretError> {
    let mut attributes: HashMap<&str, &AttributeProto> =
        node.attribute.iter().map(|attribute| (attribute.name.as_str(), attribute)).collect();
    let refuse = |what: &str| foreign(format!("{what} of the node `{}` ({})", node.name, node.op_type));
    let mut pair = |name: &str| -> Result<[i64; 2], InterpretError> {
        let ints = attributes.remove(name).map(|a| a.ints.as_slice());
        match ints {
            Some(&[a, b]) => Ok([a, b]),
            // pads: begins and ends must be the same.
            Some(&[a, b, c, d]) if (a, b) == (c, d) => Ok([a, b]),
            _ => Err(refuse(name)),
        }
    };
    let op = match node.op_type.as_str() {
        "Conv" => {
            pair("kernel_shape")?; // The weights have it too.
            Op::Conv { stride: pair("strides")?, padding: pair("pads")? }
        }
        "MaxPool" => {
            Op::MaxPool { kernel: pair("kernel_shape")?, stride: pair("strides")?, padding: pair("pads")? }
        }
        "AveragePool" => {
            let (kernel, stride) = (pair("kernel_shape")?, pair("strides")?);
            if pair("pads")? != [0, 0] {
                return Err(refuse("padding"));
            }
            Op::AveragePool { kernel, stride }
        }
        "BatchNormalization" => {
            let epsilon = attributes.remove("epsilon").and_then(|a| a.f).ok_or_else(|| refuse("epsilon"))?;
            Op::BatchNormalization { epsilon: f64::from(epsilon) }
        }
        "Concat" => {
            let axis = attributes.remove("axis").and_then(|a| a.i).ok_or_else(|| refuse("axis"))?;
            Op::Concat { axis }
        }
        "ReduceMean" => {
            let axes = attributes.remove("axes").map(|a| a.ints.clone()).ok_or_else(|| refuse("axes"))?;
            let keep = attributes.remove("keepdims").and_then(|a| a.i).ok_or_else(|| refuse("keepdims"))?;
            Op::ReduceMean { axes, keep: keep != 0 }
        }
        "Relu" => Op::Relu,
        "Squeeze" => Op::Squeeze,
        "Add" => Op::Add,
        _ => return Err(refuse("the operator")),
    };
    match attributes.keys().next() {
        None => Ok(op),
        Some(name) => Err(refuse(&format!("the attribute {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use contract::preprocess::PreprocessSpec;

    use super::*;
    use crate::export::onnx::{self, tests::random_net};

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.size(), b.size());
        let scale = b.abs().max().double_value(&[]).max(1.0);
        (a - b).abs().max().double_value(&[]) / scale
    }

    #[test]
    fn the_file_computes_what_the_network_computes() {
        for (seed, width_px, height_px) in [(1, 64, 64), (2, 96, 64), (3, 75, 101), (4, 128, 128)] {
            let (_store, net) = random_net(seed);
            let spec = PreprocessSpec { width_px, height_px, ..PreprocessSpec::square(64) };
            let model = Interpreter::new(&onnx::to_bytes(&net, &spec).unwrap(), Device::Cpu).unwrap();
            let (h, w) = (i64::from(height_px), i64::from(width_px));
            assert_eq!(model.input_shape(), [1, 3, h, w]);
            let x = Tensor::randn([3, 3, h, w], (Kind::Float, Device::Cpu));
            let expected = no_grad(|| net.forward_t(&x, false));
            let found = model.run(&x).unwrap();
            assert!(difference(&found.logit, &expected.logit) < 1e-4, "seed {seed}");
            let map = no_grad(|| net.activation_map(&expected.features));
            assert!(difference(&found.activation_map, &map) < 1e-4, "seed {seed}");
            let mean = found.activation_map.mean_dim([1i64, 2].as_slice(), false, Kind::Float);
            assert!(difference(&(mean + &net.classifier_bias), &found.logit) < 1e-5, "seed {seed}");
        }
    }

    #[test]
    fn what_this_trainer_did_not_write_is_refused() {
        let (_store, net) = random_net(5);
        let good = onnx::to_model(&net, &PreprocessSpec::square(64)).unwrap();
        let read = |model: &ModelProto| Interpreter::new(&model.encode_to_vec(), Device::Cpu).map(drop);
        read(&good).unwrap();

        let refused = |change: &dyn Fn(&mut ModelProto)| {
            let mut bad = good.clone();
            change(&mut bad);
            matches!(read(&bad), Err(InterpretError::Foreign(_)))
        };
        assert!(refused(&|m| m.opset_import[0].version = 18));
        assert!(refused(&|m| m.graph = None));
        assert!(refused(&|m| m.graph.as_mut().unwrap().input[0].name = "x".into()));
        assert!(refused(&|m| m.graph.as_mut().unwrap().node[1].op_type = "Gelu".into()));
        let group = AttributeProto::int("group", 2);
        assert!(refused(&|m| m.graph.as_mut().unwrap().node[0].attribute.push(group.clone())));
        assert!(refused(&|m| m.graph.as_mut().unwrap().initializer[0].raw_data.truncate(8)));
        assert!(Interpreter::new(b"\xff\xff", Device::Cpu).is_err());

        let model = Interpreter::new(&good.encode_to_vec(), Device::Cpu).unwrap();
        let wrong = Tensor::zeros([1, 3, 32, 64], (Kind::Float, Device::Cpu));
        assert!(matches!(model.run(&wrong), Err(InterpretError::Foreign(_))));
    }
}
