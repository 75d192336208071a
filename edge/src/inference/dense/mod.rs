//! DenseNet's stem and dense blocks, faster than operator by operator.
//!
//! Most of the network's time is spent in its dense blocks, and tract runs them as it runs anything: each of a layer's seven
//! operators reads its input from memory and writes its output to it, and every layer copies all channels so far to append a
//! few. [`replace`] puts one operator in place of a whole block with the transition behind it, and one in place of the [`stem`].
//! Inside a block
//!
//! * all channels of a block stand in one buffer, to which a layer appends ([`block`]);
//! * normalisation and ReLU are applied while a matrix product's operand is packed, bias and ReLU before its result is stored
//!   ([`pointwise`]);
//! * 3x3 convolutions take a quarter of the multiplications ([`winograd`]), for which pixels are kept in an order of their own
//!   ([`pixels`]);
//! * the matrix products are tract-linalg's kernels ([`kernel`]), in f32 or f16 ([`number`]).
//!
//! A graph in which nothing is recognised ([`recognise`]) stays as it is, and so does one on a processor without a fast kernel.

mod block;
mod kernel;
mod lanes;
mod number;
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
use number::Number;
use recognise::{Found, Spec};
use stem::Stem;

/// Puts one operator in place of the stem and of each dense block; says how many.
///
/// # Errors
/// When tract cannot apply the change.
pub(super) fn replace<E: Number>(model: &mut TypedModel) -> TractResult<usize> {
    let scratches = Arc::new(Scratches::<E>::default());
    let mut replaced = 0;
    while let Some(Found { spec, input, output }) = recognise::first(model) {
        let ([channels, height, width], part) = match spec {
            Spec::Stem(spec) => (spec.output(), Stem::new(spec).map(Part::Stem)),
            Spec::Block(spec) => (spec.output(), Block::new(&spec).map(Part::Block)),
        };
        let Some(part) = part else { break };
        let operator = DensePart {
            part: Arc::new(part),
            output: [1, channels, height, width],
            scratches: scratches.clone(),
        };
        let mut patch = TypedModelPatch::default();
        let tapped = patch.tap_model(model, input)?;
        let name = format!("{}.part", model.node(output.node).name);
        let wired = patch.wire_node(name, operator, &[tapped])?[0];
        patch.shunt_outside(model, output, wired)?;
        patch.apply(model)?;
        model.compact()?;
        replaced += 1;
    }
    Ok(replaced)
}

/// A part of the network, from `[1, channels, height, width]` to the same with other numbers.
#[derive(Clone, Debug)]
struct DensePart<E: Number> {
    part: Arc<Part<E>>,
    output: [usize; 4],
    scratches: Arc<Scratches<E>>,
}

#[derive(Debug)]
enum Part<E: Number> {
    Stem(Stem<E>),
    Block(Block<E>),
}

/// Memory that the parts write in passing. A run's parts come one after the other.
#[derive(Debug, Default)]
struct Scratch<E> {
    stem: stem::Scratch<E>,
    block: block::Scratch<E>,
}

/// Scratch memory: as many as there have been runs at once, shared by the blocks of a network.
#[derive(Debug, Default)]
struct Scratches<E>(Mutex<Vec<Scratch<E>>>);

impl<E: Number> Scratches<E> {
    fn with(&self, run: impl FnOnce(&mut Scratch<E>)) {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = free().pop().unwrap_or_default();
        run(&mut scratch);
        free().push(scratch);
    }
}

impl<E: Number> PartialEq for DensePart<E> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.part, &other.part)
    }
}

impl<E: Number> Eq for DensePart<E> {}

impl<E: Number> Op for DensePart<E> {
    fn name(&self) -> StaticName {
        match *self.part {
            Part::Stem(_) => "DenseStem".into(),
            Part::Block(_) => "DenseBlock".into(),
        }
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl<E: Number> EvalOp for DensePart<E> {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut output = Tensor::zero::<f32>(&self.output)?;
        let image = inputs[0].try_as_plain_ram()?;
        let image = image.as_slice::<f32>()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let out = plain.as_slice_mut::<f32>()?;
        self.scratches.with(|scratch| match &*self.part {
            Part::Stem(stem) => stem.run(image, out, &mut scratch.stem),
            Part::Block(block) => block.run(image, out, &mut scratch.block),
        });
        Ok(tvec!(output.into_tvalue()))
    }
}

impl<E: Number> TypedOp for DensePart<E> {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(self.output)))
    }

    as_op!();
}
