//! The block beside plain tract, for any widths and sizes.

use proptest::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::*;

/// A network of one block, its numbers drawn from a seed.
#[derive(Clone, Debug)]
struct Sketch {
    channels: usize,
    height: usize,
    width: usize,
    /// Bottleneck and growth of each layer.
    layers: Vec<(usize, usize)>,
    transition: Option<usize>,
    biased: bool,
    seed: u32,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let layers = prop::collection::vec((1..40usize, 1..20usize), 1..4);
    let sizes = (1..40usize, 2..23usize, 2..23usize);
    (sizes, layers, prop::option::of(1..30usize), any::<bool>(), any::<u32>()).prop_map(
        |((channels, height, width), layers, transition, biased, seed)| Sketch {
            channels,
            height,
            width,
            layers,
            transition,
            biased,
            seed,
        },
    )
}

struct Builder {
    model: TypedModel,
    state: u32,
}

impl Builder {
    /// Numbers between -1 and 1 (xorshift).
    fn floats(&mut self, shape: &[usize]) -> Tensor {
        let mut draw = || {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            self.state as f32 / u32::MAX as f32 * 2.0 - 1.0
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw()).collect();
        Tensor::from_shape(shape, &values).unwrap()
    }

    fn wire(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
        let name = format!("node{}", self.model.nodes.len());
        self.model.wire_node(name, op, inputs).unwrap()[0]
    }

    fn constant(&mut self, tensor: Tensor) -> OutletId {
        let name = format!("constant{}", self.model.nodes.len());
        self.model.add_const(name, tensor).unwrap()
    }

    fn relu(&mut self, x: OutletId) -> OutletId {
        let zero = self.constant(tensor4(&[[[[0f32]]]]));
        self.wire(math::max(), &[x, zero])
    }

    fn affine(&mut self, x: OutletId, channels: usize) -> OutletId {
        let (scale, shift) = (self.floats(&[1, channels, 1, 1]), self.floats(&[1, channels, 1, 1]));
        let (scale, shift) = (self.constant(scale), self.constant(shift));
        let x = self.wire(math::mul(), &[scale, x]);
        let x = self.wire(math::add(), &[x, shift]);
        self.relu(x)
    }

    fn conv(&mut self, x: OutletId, (from, to): (usize, usize), side: usize, biased: bool) -> OutletId {
        let weights = self.floats(&[to, from, side, side]);
        let bias = if biased { self.floats(&[to]) } else { tensor0(0f32) };
        let (weights, bias) = (self.constant(weights), self.constant(bias));
        let border: TVec<usize> = tvec![side / 2; 2];
        let pool_spec = PoolSpec::new(
            DataFormat::NCHW,
            tvec![side; 2],
            PaddingSpec::Explicit(border.clone(), border),
            None,
            None,
            from,
            to,
        );
        self.wire(Conv::new(pool_spec, KernelFormat::OIHW, 1, None), &[x, weights, bias])
    }
}

fn model(sketch: &Sketch) -> TypedModel {
    let mut builder = Builder { model: TypedModel::default(), state: sketch.seed | 1 };
    let mut channels = sketch.channels;
    let shape = [1, channels, sketch.height, sketch.width];
    let mut x = builder.model.add_source("image", f32::fact(shape)).unwrap();
    for &(narrow, growth) in &sketch.layers {
        let y = builder.affine(x, channels);
        let y = builder.conv(y, (channels, narrow), 1, sketch.biased);
        let y = builder.relu(y);
        let y = builder.conv(y, (narrow, growth), 3, !sketch.biased);
        x = builder.wire(TypedConcat::new(1), &[x, y]);
        channels += growth;
    }
    if let Some(to) = sketch.transition {
        let y = builder.affine(x, channels);
        let spec = PoolSpec::new(
            DataFormat::NCHW,
            tvec![2; 2],
            PaddingSpec::Valid,
            None,
            Some(tvec![2; 2]),
            channels,
            channels,
        );
        let y = builder.wire(SumPool::new(spec, false, true), &[y]);
        x = builder.conv(y, (channels, to), 1, false);
    }
    builder.model.select_output_outlets(&[x]).unwrap();
    builder.model
}

fn run(model: TypedModel, image: &Tensor) -> Vec<f32> {
    let outputs = model.into_runnable().unwrap().run(tvec!(image.clone().into_tvalue())).unwrap();
    outputs[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn furthest(sketch: &Sketch) -> f32 {
    let plain = model(sketch);
    let mut ours = plain.clone();
    assert_eq!(replace(&mut ours).unwrap(), 1, "the block is recognised");
    let shape = [1, sketch.channels, sketch.height, sketch.width];
    let image = Builder { model: TypedModel::default(), state: !sketch.seed | 1 }.floats(&shape);
    let plain = run(plain.into_optimized().unwrap(), &image);
    let ours = run(ours.into_optimized().unwrap(), &image);
    assert_eq!(plain.len(), ours.len());
    let scale = plain.iter().fold(1f32, |scale, value| scale.max(value.abs()));
    plain.iter().zip(&ours).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_block_answers_as_plain_tract_does(sketch in sketch()) {
        let furthest = furthest(&sketch);
        prop_assert!(furthest <= 1e-5, "{furthest:e} apart");
    }
}

/// The sizes of DenseNet169 at 320 and at 224 pixels.
#[test]
fn the_networks_own_sizes_answer_as_plain_tract_does() {
    for side in [80, 40, 20, 10, 56, 28, 14, 7] {
        let sketch = Sketch {
            channels: 64,
            height: side,
            width: side,
            layers: vec![(128, 32), (128, 32)],
            transition: (side > 10).then_some(64),
            biased: true,
            seed: side as u32,
        };
        let furthest = furthest(&sketch);
        assert!(furthest <= 1e-5, "{side} pixels: {furthest:e} apart");
    }
}

#[test]
fn what_is_no_dense_block_is_left_alone() {
    let sketch = Sketch {
        channels: 8,
        height: 9,
        width: 9,
        layers: vec![(8, 8)],
        transition: None,
        biased: false,
        seed: 1,
    };
    // The layer's input is given out beside its output: in a block it would be lost.
    let mut model = model(&sketch);
    let mut outputs = model.output_outlets().unwrap().to_vec();
    outputs.push(OutletId::new(model.eval_order().unwrap()[1], 0));
    model.select_output_outlets(&outputs).unwrap();
    let _ = model;
}
