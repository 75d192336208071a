//! Finds a stem and dense blocks in tract's graph.
//!
//! The pattern is that of DenseNet as the trainer exports it (batch normalisations that follow a convolution are folded into it),
//! with any number of layers and any widths. tract writes a batch normalisation as a product and a sum with constants, and a ReLU
//! as a maximum with 0. Whatever differs in anything is left to tract.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Op;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::math::{Add, Max, Mul};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::block::{BlockSpec, Convolution, LayerSpec, TransitionSpec};
use super::pointwise::Affine;
use super::stem::StemSpec;

/// What is found, what goes in and what comes out.
pub(super) struct Found {
    pub(super) spec: Spec,
    pub(super) input: OutletId,
    pub(super) output: OutletId,
}

pub(super) enum Spec {
    Stem(StemSpec),
    Block(BlockSpec),
}

/// The first stem or dense block of a graph.
pub(super) fn first(model: &TypedModel) -> Option<Found> {
    let graph = Graph(model);
    let mut outlets = model.eval_order().ok()?.into_iter().map(|node| OutletId::new(node, 0));
    outlets.find_map(|outlet| graph.stem(outlet).or_else(|| graph.block(outlet)))
}

#[derive(Clone, Copy)]
struct Graph<'a>(&'a TypedModel);

impl<'a> Graph<'a> {
    fn stem(self, input: OutletId) -> Option<Found> {
        let [1, channels, height, width] = self.shape(input)? else { return None };
        let conv = self.op::<Conv>(self.only_successor(input)?)?;
        let side = *conv.pool_spec.kernel_shape.first()?;
        let (conv, x) = (side % 2 == 1).then(|| self.convolution(input, side, 2)).flatten()?;
        let node = self.only_successor(self.relu(x)?)?;
        let pool = self.op::<MaxPool>(node)?;
        let halves = pool.with_index_outputs.is_none() && is_plain(&pool.pool_spec, 3, 2, 1);
        let spec = Spec::Stem(StemSpec { channels, height, width, side, conv });
        halves.then_some(Found { spec, input, output: OutletId::new(node, 0) })
    }

    fn block(self, input: OutletId) -> Option<Found> {
        let [1, channels, height, width] = self.shape(input)? else { return None };
        let mut layers = Vec::new();
        let mut output = input;
        while let Some((layer, next)) = self.layer(output) {
            layers.push(layer);
            output = next;
        }
        if layers.is_empty() {
            return None;
        }
        let mut spec = BlockSpec { channels, height, width, layers, transition: None };
        if let Some((transition, next)) = self.transition(output) {
            spec.transition = Some(transition);
            output = next;
        }
        Some(Found { spec: Spec::Block(spec), input, output })
    }

    /// A dense layer behind an outlet, and where its channels are appended.
    fn layer(self, input: OutletId) -> Option<(LayerSpec, OutletId)> {
        let successors = &self.0.outlet_successors(input);
        let [a, b] = successors[..] else { return None };
        let (norm, concat) = match self.op::<TypedConcat>(a.node) {
            Some(_) => (b.node, a.node),
            None => (a.node, b.node),
        };
        let appended = self.op::<TypedConcat>(concat)?;
        let (affine, x) = self.affine(input, norm)?;
        let (reduce, x) = self.convolution(x, 1, 1)?;
        let x = self.relu(x)?;
        let (expand, x) = self.convolution(x, 3, 1)?;
        let in_order = appended.axis == 1 && self.0.node(concat).inputs[..] == [input, x];
        (in_order && self.only_successor(x)? == concat)
            .then(|| (LayerSpec { affine, reduce, expand }, OutletId::new(concat, 0)))
    }

    fn transition(self, input: OutletId) -> Option<(TransitionSpec, OutletId)> {
        let (affine, x) = self.affine(input, self.only_successor(input)?)?;
        let node = self.only_successor(x)?;
        let pool = self.op::<SumPool>(node)?;
        let halves = pool.normalize && is_plain(&pool.pool_spec, 2, 2, 0);
        let x = OutletId::new(node, 0);
        let (conv, x) = halves.then(|| self.convolution(x, 1, 1)).flatten()?;
        Some((TransitionSpec { affine, conv }, x))
    }

    /// A product and a sum with a constant for each channel, and a ReLU, of which `node` is the product.
    fn affine(self, input: OutletId, node: usize) -> Option<(Affine, OutletId)> {
        let channels = self.shape(input)?[1];
        let scale = self.with_constant::<Mul>(node, input, channels)?;
        let x = OutletId::new(node, 0);
        let node = self.only_successor(x)?;
        let shift = self.with_constant::<Add>(node, x, channels)?;
        Some((Affine { scale, shift }, self.relu(OutletId::new(node, 0))?))
    }

    fn relu(self, input: OutletId) -> Option<OutletId> {
        let node = self.only_successor(input)?;
        let floor = self.with_constant::<Max>(node, input, 1)?;
        (floor == [0.0]).then_some(OutletId::new(node, 0))
    }

    /// The constant that an operation combines `input` with: one number for each of `channels`.
    fn with_constant<O: BinMiniOp>(self, node: usize, input: OutletId, channels: usize) -> Option<Vec<f32>> {
        self.op::<TypedBinOp>(node)?.0.downcast_ref::<O>()?;
        let constant = match self.0.node(node).inputs[..] {
            [a, b] if b == input => self.constant(a)?,
            [a, b] if a == input => self.constant(b)?,
            _ => return None,
        };
        let per_channel = constant.shape() == [1, channels, 1, 1] || constant.shape() == [channels, 1, 1];
        per_channel.then(|| floats(&constant)).flatten()
    }

    /// A convolution with square filters and a border of half of them.
    fn convolution(self, input: OutletId, side: usize, stride: usize) -> Option<(Convolution, OutletId)> {
        let node = self.only_successor(input)?;
        let conv = self.op::<Conv>(node)?;
        let [x, weights, bias] = self.0.node(node).inputs[..] else { return None };
        let plain = x == input
            && conv.group == 1
            && conv.q_params.is_none()
            && conv.kernel_fmt == KernelFormat::OIHW
            && is_plain(&conv.pool_spec, side, stride, side / 2);
        let (weights, bias) = (self.constant(weights)?, self.constant(bias)?);
        let channels = conv.output_channels();
        let fits = plain && weights.shape() == [channels, conv.input_channels(), side, side];
        let bias = match bias.shape() {
            [] if floats(&bias)? == [0.0] => None,
            [length] if *length == channels => Some(floats(&bias)?),
            _ => return None,
        };
        let convolution = Convolution { weights: floats(&weights)?, bias, channels };
        fits.then(|| (convolution, OutletId::new(node, 0)))
    }

    fn op<O: Op>(self, node: usize) -> Option<&'a O> {
        self.0.node(node).op_as::<O>()
    }

    /// The one node that takes an outlet, where the graph does not give it out as well.
    fn only_successor(self, outlet: OutletId) -> Option<usize> {
        let [successor] = self.0.outlet_successors(outlet)[..] else { return None };
        (!self.0.output_outlets().ok()?.contains(&outlet)).then_some(successor.node)
    }

    fn shape(self, outlet: OutletId) -> Option<[usize; 4]> {
        let fact = self.0.outlet_fact(outlet).ok()?;
        let float = fact.datum_type == f32::datum_type();
        float.then(|| fact.shape.as_concrete()?.try_into().ok()).flatten()
    }

    fn constant(self, outlet: OutletId) -> Option<Arc<Tensor>> {
        let same_type = self.op::<Cast>(outlet.node).is_some_and(|cast| cast.to == f32::datum_type());
        match same_type {
            true => self.constant(self.0.node(outlet.node).inputs[0]),
            false => self.0.outlet_fact(outlet).ok()?.konst.clone(),
        }
    }
}

fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let plain = tensor.try_as_plain_ram().ok()?;
    plain.as_slice::<f32>().ok().map(<[f32]>::to_vec)
}

/// Whether a window is square, without gaps, and as its numbers say.
fn is_plain(spec: &PoolSpec, side: usize, stride: usize, border: usize) -> bool {
    let bordered = match &spec.padding {
        PaddingSpec::Valid => border == 0,
        PaddingSpec::Explicit(before, after) | PaddingSpec::ExplicitOnnxPool(before, after, false) => {
            before[..] == [border; 2] && after[..] == [border; 2]
        }
        _ => false,
    };
    bordered
        && spec.data_format == DataFormat::NCHW
        && spec.kernel_shape[..] == [side; 2]
        && spec.strides()[..] == [stride; 2]
        && spec.dilations()[..] == [1; 2]
}
