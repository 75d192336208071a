//! DenseNet's stem and dense blocks, faster than operator by operator.
//!
//! Most of the network's time is spent in its dense blocks, and tract runs them as it runs anything: each of a layer's seven
//! operators reads its input from memory and writes its output to it, and every layer copies all channels so far to append a
//! few. [`replace`] puts one operator in place of the [`stem`] and of all blocks with the transitions behind them, as far as they
//! follow each other. What it needs in passing is kept from one run to the next. Inside a block
//!
//! * all channels of a block stand in one buffer, to which a layer appends ([`block`]);
//! * normalisation and ReLU are applied while a matrix product's operand is packed, bias and ReLU before its result is stored
//!   ([`pointwise`]);
//! * 3x3 convolutions take a quarter of the multiplications ([`winograd`]), for which pixels are kept in an order of their own
//!   ([`pixels`]);
//! * the matrix products are tract-linalg's kernels ([`kernel`]), in f32 or f16 ([`number`]), or with AVX-512 our own ([`panel`]).
//!
//! A graph in which nothing is recognised ([`recognise`]) stays as it is, and so does one on a processor without a fast kernel.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod kernel;
mod lanes;
mod number;
mod panel;
mod pixels;
mod pointwise;
mod recognise;
mod stem;
mod winograd;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use block::Block;
use kernel::Numbers;
use number::Number;
use recognise::{Found, Spec};
use stem::Stem;

/// Puts one operator in place of the stem and the dense blocks, or of each stretch of them; says how many it found.
///
/// # Errors
/// When tract cannot apply the change.
pub(super) fn replace<E: Number>(model: &mut TypedModel) -> TractResult<usize> {
    let workspaces = Arc::new(Workspaces::<E>::default());
    let mut found = 0;
    while let Some(Found { spec, input, output }) = recognise::first(model) {
        let Some(part) = Part::new(spec) else { break };
        let (mut parts, input) = earlier(model, input)?;
        parts.push(Arc::new(part));
        let operator = DenseParts { parts, workspaces: workspaces.clone() };
        let mut patch = TypedModelPatch::default();
        let tapped = patch.tap_model(model, input)?;
        let name = format!("{}.part", model.node(output.node).name);
        let wired = patch.wire_node(name, operator, &[tapped])?[0];
        patch.shunt_outside(model, output, wired)?;
        patch.apply(model)?;
        model.compact()?;
        found += 1;
    }
    Ok(found)
}

/// The parts whose result an outlet is, and what goes into them: the next part goes on in their operator. Nobody else is given it,
/// because a part takes all there is of its input. None, and the outlet itself, where it is something else, or given out by the network.
fn earlier<E: Number>(model: &TypedModel, outlet: OutletId) -> TractResult<(Vec<Arc<Part<E>>>, OutletId)> {
    let node = model.node(outlet.node);
    let given_out = model.output_outlets()?.contains(&outlet);
    Ok(match node.op_as::<DenseParts<E>>() {
        Some(before) if !given_out => (before.parts.clone(), node.inputs[0]),
        _ => (Vec::new(), outlet),
    })
}

/// A part of the network, from `[1, channels, height, width]` to the same with other numbers.
#[derive(Debug)]
struct Part<E: Number> {
    computation: Computation<E>,
    /// Channels, height and width of what comes out.
    output: [usize; 3],
}

#[derive(Debug)]
enum Computation<E: Number> {
    Stem(Stem<E>),
    Block(Block<E>),
}

impl<E: Number> Part<E> {
    /// Packs the weights; none where there is no kernel for this processor that fits.
    fn new(spec: Spec) -> Option<Self> {
        let (output, computation) = match spec {
            Spec::Stem(spec) => (spec.output(), Computation::Stem(Stem::new(spec)?)),
            Spec::Block(spec) => (spec.output(), Computation::Block(Block::new(&spec)?)),
        };
        Some(Self { computation, output })
    }

    fn run(&self, image: &[f32], out: &mut [f32], scratch: &mut Scratch<E>) {
        match &self.computation {
            Computation::Stem(stem) => stem.run(image, out, &mut scratch.stem),
            Computation::Block(block) => block.run(image, out, &mut scratch.block),
        }
    }
}

/// Parts that follow each other.
#[derive(Clone, Debug)]
struct DenseParts<E: Number> {
    /// At least one.
    parts: Vec<Arc<Part<E>>>,
    workspaces: Arc<Workspaces<E>>,
}

impl<E: Number> DenseParts<E> {
    fn run(&self, image: &[f32], out: &mut [f32], Workspace { images, scratch }: &mut Workspace<E>) {
        let Some((last, earlier)) = self.parts.split_last() else { return };
        let [mut from, mut to] = images.each_mut();
        let mut taken = None;
        for part in earlier {
            let given = part.output.iter().product();
            to.reserve(given);
            part.run(taken.map_or(image, |taken| &from[..taken]), &mut to[..given], scratch);
            (from, to, taken) = (to, from, Some(given));
        }
        last.run(taken.map_or(image, |taken| &from[..taken]), out, scratch);
    }

    /// `[1, channels, height, width]` of what comes out.
    fn output(&self) -> TVec<usize> {
        let last = self.parts.last().map(|part| part.output);
        [1].into_iter().chain(last.unwrap_or_default()).collect()
    }
}

/// Memory that the parts write in passing. A run's parts come one after the other.
#[derive(Debug, Default)]
struct Scratch<E> {
    stem: stem::Scratch<E>,
    block: block::Scratch<E>,
}

/// What a run needs beside its input and output.
#[derive(Debug, Default)]
struct Workspace<E> {
    /// What one part gives and the next one takes, in turn.
    images: [Numbers<f32>; 2],
    scratch: Scratch<E>,
}

/// As many as there have been runs at once, shared by a network's operators.
#[derive(Debug, Default)]
struct Workspaces<E>(Mutex<Vec<Workspace<E>>>);

impl<E: Number> Workspaces<E> {
    fn with(&self, run: impl FnOnce(&mut Workspace<E>)) {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = free().pop().unwrap_or_default();
        run(&mut workspace);
        free().push(workspace);
    }
}

impl<E: Number> PartialEq for DenseParts<E> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b)| Arc::ptr_eq(a, b);
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(same)
    }
}

impl<E: Number> Eq for DenseParts<E> {}

impl<E: Number> Op for DenseParts<E> {
    fn name(&self) -> StaticName {
        "DenseParts".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl<E: Number> EvalOp for DenseParts<E> {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut output = Tensor::zero::<f32>(&self.output())?;
        let image = inputs[0].try_as_plain_ram()?;
        let image = image.as_slice::<f32>()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let out = plain.as_slice_mut::<f32>()?;
        self.workspaces.with(|workspace| self.run(image, out, workspace));
        Ok(tvec!(output.into_tvalue()))
    }
}

impl<E: Number> TypedOp for DenseParts<E> {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(self.output())))
    }

    as_op!();
}
