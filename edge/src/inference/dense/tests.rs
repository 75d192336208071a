//! Stem and blocks beside plain tract, for any widths and sizes.

use proptest::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::*;
use crate::inference::Precision;

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

    fn conv(
        &mut self,
        x: OutletId,
        (from, to): (usize, usize),
        (side, stride): (usize, usize),
        biased: bool,
    ) -> OutletId {
        // Answers stay about as large as what they are made of, as in a network that was trained.
        let reach = (3.0 / (from * side * side) as f32).sqrt();
        let weights = self.floats(&[to, from, side, side]);
        let weights = &weights.to_plain_array_view::<f32>().unwrap() * reach;
        let weights = weights.into_tensor();
        let bias = if biased { self.floats(&[to]) } else { tensor0(0f32) };
        let (weights, bias) = (self.constant(weights), self.constant(bias));
        let border: TVec<usize> = tvec![side / 2; 2];
        let pool_spec = PoolSpec::new(
            DataFormat::NCHW,
            tvec![side; 2],
            PaddingSpec::Explicit(border.clone(), border),
            None,
            Some(tvec![stride; 2]),
            from,
            to,
        );
        self.wire(Conv::new(pool_spec, KernelFormat::OIHW, 1, None), &[x, weights, bias])
    }

    /// A convolution with a stride of 2, ReLU, the maximum of 3x3 pixels.
    fn stem(&mut self, x: OutletId, (from, to): (usize, usize), side: usize, biased: bool) -> OutletId {
        let x = self.conv(x, (from, to), (side, 2), biased);
        let x = self.relu(x);
        let border = PaddingSpec::Explicit(tvec![1; 2], tvec![1; 2]);
        let spec = PoolSpec::new(DataFormat::NCHW, tvec![3; 2], border, None, Some(tvec![2; 2]), to, to);
        self.wire(MaxPool::new(spec, None), &[x])
    }

    /// A sketch's layers and transition behind so many channels; how many come out.
    fn block(&mut self, x: OutletId, channels: usize, sketch: &Sketch) -> (OutletId, usize) {
        let (mut x, mut channels) = (x, channels);
        for &(narrow, growth) in &sketch.layers {
            let y = self.affine(x, channels);
            let y = self.conv(y, (channels, narrow), (1, 1), sketch.biased);
            let y = self.relu(y);
            let y = self.conv(y, (narrow, growth), (3, 1), !sketch.biased);
            x = self.wire(TypedConcat::new(1), &[x, y]);
            channels += growth;
        }
        let Some(to) = sketch.transition else { return (x, channels) };
        let y = self.affine(x, channels);
        let (valid, two) = (PaddingSpec::Valid, Some(tvec![2; 2]));
        let spec = PoolSpec::new(DataFormat::NCHW, tvec![2; 2], valid, None, two, channels, channels);
        let y = self.wire(SumPool::new(spec, false, true), &[y]);
        (self.conv(y, (channels, to), (1, 1), false), to)
    }
}

fn model(sketch: &Sketch) -> TypedModel {
    let mut builder = Builder { model: TypedModel::default(), state: sketch.seed | 1 };
    let shape = [1, sketch.channels, sketch.height, sketch.width];
    let x = builder.model.add_source("image", f32::fact(shape)).unwrap();
    let (x, _) = builder.block(x, sketch.channels, sketch);
    builder.model.select_output_outlets(&[x]).unwrap();
    builder.model
}

fn run(model: TypedModel, image: &Tensor) -> Vec<f32> {
    run_all(model, image).remove(0)
}

/// All outputs.
fn run_all(model: TypedModel, image: &Tensor) -> Vec<Vec<f32>> {
    let outputs = model.into_runnable().unwrap().run(tvec!(image.clone().into_tvalue())).unwrap();
    outputs.iter().map(floats).collect()
}

fn floats(output: &TValue) -> Vec<f32> {
    output.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

/// Checks answers of a network of so many parts beside plain tract's.
fn check(plain: &TypedModel, parts: usize, seed: u32) -> Result<(), TestCaseError> {
    let furthest = furthest::<f32>(plain.clone(), parts, seed);
    prop_assert!(furthest <= 1e-5, "{furthest:e} apart");
    if Precision::F16.here() == Precision::F16 {
        let furthest = self::furthest::<f16>(plain.clone(), parts, seed);
        prop_assert!(furthest <= 1e-2, "{furthest:e} apart in f16");
    }
    Ok(())
}

fn furthest<E: Number>(plain: TypedModel, parts: usize, seed: u32) -> f32 {
    let mut ours = plain.clone();
    assert_eq!(replace::<E>(&mut ours).unwrap(), parts, "all is recognised");
    assert_eq!(ours.nodes.len(), 2, "one operator is left behind the image");
    let shape = plain.input_fact(0).unwrap().shape.as_concrete().unwrap().to_vec();
    let image = Builder { model: TypedModel::default(), state: !seed | 1 }.floats(&shape);
    let plain = run(plain.into_optimized().unwrap(), &image);
    let ours = run(ours.into_optimized().unwrap(), &image);
    distance(&plain, &ours)
}

/// How far answers are apart, beside the largest of them.
fn distance(plain: &[f32], ours: &[f32]) -> f32 {
    assert!(plain.len() == ours.len() && ours.iter().all(|value| value.is_finite()));
    let scale = plain.iter().fold(1f32, |scale, value| scale.max(value.abs()));
    plain.iter().zip(ours).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max)
}

fn stem([from, to, height, width, side]: [usize; 5], seed: u32) -> TypedModel {
    let mut builder = Builder { model: TypedModel::default(), state: seed | 1 };
    let x = builder.model.add_source("image", f32::fact([1, from, height, width])).unwrap();
    let x = builder.stem(x, (from, to), side, seed.is_multiple_of(2));
    builder.model.select_output_outlets(&[x]).unwrap();
    builder.model
}

/// A stem and blocks behind each other, on an image of three channels.
fn network([height, width]: [usize; 2], blocks: &[Sketch], seed: u32) -> TypedModel {
    let mut builder = Builder { model: TypedModel::default(), state: seed | 1 };
    let x = builder.model.add_source("image", f32::fact([1, 3, height, width])).unwrap();
    let mut channels = 16;
    let mut x = builder.stem(x, (3, channels), 7, true);
    for block in blocks {
        (x, channels) = builder.block(x, channels, block);
    }
    builder.model.select_output_outlets(&[x]).unwrap();
    builder.model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_block_answers_as_plain_tract_does(sketch in sketch()) {
        check(&model(&sketch), 1, sketch.seed)?;
    }

    #[test]
    fn a_stem_answers_as_plain_tract_does(
        from in 1..4usize, to in 1..20usize, height in 2..40usize, width in 2..40usize, reach in 1..4usize, seed: u32,
    ) {
        check(&stem([from, to, height, width, 2 * reach + 1], seed), 1, seed)?;
    }
}

/// Several parts in one operator, run twice in the same memory; and with a result between two of them given out, in two.
#[test]
fn parts_that_follow_each_other_are_one_operator() {
    let block = |layers: usize, transition| Sketch {
        channels: 0,
        height: 0,
        width: 0,
        layers: vec![(24, 8); layers],
        transition,
        biased: true,
        seed: 0,
    };
    let blocks = [block(3, Some(20)), block(2, Some(12)), block(4, None)];
    let plain = network([75, 90], &blocks, 5);
    check(&plain, 4, 5).unwrap();
    let mut ours = plain.clone();
    assert_eq!(replace::<f32>(&mut ours).unwrap(), 4, "a stem and three blocks");
    let runnable = ours.into_runnable().unwrap();
    let shape = [1, 3, 75, 90];
    for seed in [1, 2, 1] {
        let image = Builder { model: TypedModel::default(), state: seed }.floats(&shape);
        let ours = runnable.run(tvec!(image.clone().into_tvalue())).unwrap();
        assert!(distance(&run(plain.clone(), &image), &floats(&ours[0])) <= 1e-5);
    }
    let mut split = plain;
    let behind_pool =
        |node: &TypedNode| node.op_is::<Conv>() && split.nodes[node.inputs[0].node].op_is::<SumPool>();
    let conv = split.nodes.iter().position(behind_pool).unwrap();
    let outputs = [split.output_outlets().unwrap(), &[OutletId::new(conv, 0)]].concat();
    split.select_output_outlets(&outputs).unwrap();
    let image = Builder { model: TypedModel::default(), state: 9 }.floats(&shape);
    let expected = run_all(split.clone(), &image);
    assert_eq!(replace::<f32>(&mut split).unwrap(), 4);
    assert_eq!(split.nodes.len(), 3, "the image, what leads to the inner result, what follows it");
    for (expected, found) in expected.iter().zip(run_all(split, &image)) {
        assert!(distance(expected, &found) <= 1e-5);
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
        check(&model(&sketch), 1, sketch.seed).unwrap_or_else(|error| panic!("{side} pixels: {error}"));
    }
}

/// An output of the network inside what would be a block, a stride, another axis: none is a block.
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
    let whole = model(&sketch);
    let change = |change: &dyn Fn(&mut TypedModel)| {
        let mut model = whole.clone();
        change(&mut model);
        replace::<f32>(&mut model).unwrap()
    };
    assert_eq!(change(&|_| ()), 1);
    let node = |model: &TypedModel, is: fn(&TypedNode) -> bool| model.nodes.iter().position(is).unwrap();
    let given_out = change(&|model| {
        let conv = node(model, |node| node.op_is::<Conv>());
        let outputs = [model.output_outlets().unwrap(), &[OutletId::new(conv, 0)]].concat();
        model.select_output_outlets(&outputs).unwrap();
    });
    let other_axis = change(&|model| {
        let concat = node(model, |node| node.op_is::<TypedConcat>());
        model.nodes[concat].op_as_mut::<TypedConcat>().unwrap().axis = 2;
    });
    let grouped = change(&|model| {
        let conv = node(model, |node| node.op_is::<Conv>());
        model.nodes[conv].op_as_mut::<Conv>().unwrap().group = 2;
    });
    assert_eq!((given_out, other_axis, grouped), (0, 0, 0));
}
