//! A dense block, and the transition behind it, as one computation.

use super::kernel::{Kernel, Numbers};
use super::number::Number;
use super::pixels::TileOrder;
use super::pointwise::{Affine, Pointwise, pool};
use super::winograd::{self, Tiling, Winograd};

/// Weights of a convolution as `[out][in][height][width]`, and a bias.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) channels: usize,
}

/// One dense layer: normalisation and ReLU, 1x1 convolution, ReLU, 3x3 convolution, whose channels are appended.
#[derive(Clone, Debug)]
pub(super) struct LayerSpec {
    pub(super) affine: Affine,
    pub(super) reduce: Convolution,
    pub(super) expand: Convolution,
}

/// Normalisation and ReLU, mean of 2x2 pixels, 1x1 convolution.
#[derive(Clone, Debug)]
pub(super) struct TransitionSpec {
    pub(super) affine: Affine,
    pub(super) conv: Convolution,
}

/// A block as it stands in the graph.
#[derive(Clone, Debug)]
pub(super) struct BlockSpec {
    /// Channels that come in.
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) layers: Vec<LayerSpec>,
    pub(super) transition: Option<TransitionSpec>,
}

impl BlockSpec {
    /// Channels with all that the layers append.
    fn all_channels(&self) -> usize {
        self.channels + self.layers.iter().map(|layer| layer.expand.channels).sum::<usize>()
    }

    /// Channels, height and width of what comes out.
    pub(super) fn output(&self) -> [usize; 3] {
        match &self.transition {
            Some(transition) => [transition.conv.channels, self.height / 2, self.width / 2],
            None => [self.all_channels(), self.height, self.width],
        }
    }
}

/// A block made ready for this processor.
#[derive(Debug)]
pub(super) struct Block<E: Number> {
    channels: usize,
    all_channels: usize,
    tiling: Tiling,
    /// From one plane to the next: whole panels of pixels.
    pitch: usize,
    outside: Vec<usize>,
    layers: Vec<Layer<E>>,
    transition: Option<Transition<E>>,
}

#[derive(Debug)]
struct Layer<E: Number> {
    affine: Affine,
    reduce: Pointwise<E>,
    bottleneck: usize,
    expand: Winograd<E>,
    growth: usize,
}

#[derive(Debug)]
struct Transition<E: Number> {
    affine: Affine,
    conv: Pointwise<E>,
    channels: usize,
    order: TileOrder,
    pitch: usize,
}

/// Memory that a block writes in passing. It grows to what the largest block needs and is used again.
#[derive(Debug, Default)]
pub(super) struct Scratch<E> {
    /// All channels of the block, one plane after the other: a layer appends to it, which is all that concatenation takes.
    channels: Numbers<f32>,
    /// What a 1x1 convolution leaves.
    bottleneck: Numbers<E>,
    /// The transition's pooled channels.
    pooled: Numbers<f32>,
    packed: Numbers<E>,
    winograd: winograd::Scratch<E>,
}

impl<E: Number> Block<E> {
    /// Packs the weights; none where there is no kernel for this processor that fits.
    pub(super) fn new(spec: &BlockSpec) -> Option<Self> {
        let middle = spec.layers.get(spec.layers.len() / 2)?;
        let (depth, bottleneck, growth) =
            (middle.affine.scale.len(), middle.reduce.channels, middle.expand.channels);
        let candidate = |side| {
            let order = TileOrder::new(spec.height, spec.width, side);
            let pointwise = Kernel::<E>::choose(order.len(), depth, bottleneck)?;
            let winograd = Kernel::<E>::choose(order.tiles, bottleneck, growth)?;
            let places = (side + 2).pow(2);
            let cost = pointwise.cost(order.len(), depth, bottleneck)
                + places * winograd.cost(order.tiles, bottleneck, growth);
            Some((cost, order, pointwise, winograd))
        };
        let (_, order, pointwise, winograd) =
            E::TILE_SIDES.iter().filter_map(|side| candidate(*side)).min_by_key(|(cost, ..)| *cost)?;
        let convolution = |depth, conv: &Convolution, relu| {
            Pointwise::new(pointwise, depth, &conv.weights, conv.bias.as_deref(), relu)
        };
        let layers = spec.layers.iter().map(|layer| Layer {
            affine: layer.affine.clone(),
            reduce: convolution(layer.affine.scale.len(), &layer.reduce, true),
            bottleneck: layer.reduce.channels,
            expand: Winograd::new(
                winograd,
                order.side,
                layer.reduce.channels,
                &layer.expand.weights,
                layer.expand.bias.as_deref(),
            ),
            growth: layer.expand.channels,
        });
        let transition = spec.transition.as_ref().map(|transition| {
            // A pooled pixel comes out of one tile, so that pooled pixels are in the order of tiles half as wide.
            let order =
                TileOrder { side: order.side / 2, height: spec.height / 2, width: spec.width / 2, ..order };
            Transition {
                affine: transition.affine.clone(),
                conv: convolution(transition.affine.scale.len(), &transition.conv, false),
                channels: transition.conv.channels,
                pitch: pointwise.whole_pixels(order.len()),
                order,
            }
        });
        Some(Self {
            channels: spec.channels,
            all_channels: spec.all_channels(),
            pitch: pointwise.whole_pixels(order.len()),
            outside: order.outside(),
            layers: layers.collect(),
            transition,
            tiling: Tiling::new(order),
        })
    }

    /// Computes the block: `image` as `[channel][height][width]`, `out` likewise.
    pub(super) fn run(&self, image: &[f32], out: &mut [f32], scratch: &mut Scratch<E>) {
        let (order, pitch) = (&self.tiling.order, self.pitch);
        self.reserve(scratch);
        let area = order.height * order.width;
        for (image, plane) in image.chunks_exact(area).zip(scratch.channels.chunks_exact_mut(pitch)) {
            order.import(image, plane);
        }
        let mut channels = self.channels;
        for layer in &self.layers {
            self.append(layer, channels, scratch);
            channels += layer.growth;
        }
        match &self.transition {
            Some(transition) => self.finish(transition, out, scratch),
            None => {
                let planes = scratch.channels.chunks_exact(pitch);
                for (image, plane) in out.chunks_exact_mut(area).zip(planes) {
                    order.export(plane, image);
                }
            }
        }
    }

    /// Makes room for everything.
    fn reserve(&self, scratch: &mut Scratch<E>) {
        let Self { layers, transition, pitch, .. } = self;
        scratch.channels.reserve(self.all_channels * pitch);
        let widest = layers.iter().map(|layer| layer.reduce.channels_written() * pitch).max();
        let transition = transition.as_ref();
        let (pooled, transformed) =
            transition.map_or((0, 0), |t| (self.all_channels * t.pitch, t.conv.channels_written() * t.pitch));
        scratch.pooled.reserve(pooled);
        scratch.bottleneck.reserve(widest.unwrap_or(0).max(transformed) + 2 * self.tiling.guard());
    }

    /// One layer, behind so many channels.
    fn append(&self, layer: &Layer<E>, channels: usize, scratch: &mut Scratch<E>) {
        let Scratch { channels: planes, bottleneck, packed, winograd, .. } = scratch;
        let (pitch, guard) = (self.pitch, self.tiling.guard());
        let (input, rest) = planes.split_at_mut(channels * pitch);
        let reduced = &mut bottleneck[guard..];
        layer.reduce.run(input, Some(&layer.affine), (reduced, pitch), packed);
        for plane in reduced.chunks_exact_mut(pitch).take(layer.bottleneck) {
            for outside in &self.outside {
                plane[*outside] = E::default();
            }
        }
        layer.expand.run(&self.tiling, (bottleneck, pitch), rest, winograd);
    }

    /// The transition.
    fn finish(&self, transition: &Transition<E>, out: &mut [f32], scratch: &mut Scratch<E>) {
        let Transition { affine, conv, channels, order, pitch } = transition;
        let Scratch { channels: planes, bottleneck: result, pooled, packed, .. } = scratch;
        let (tiles, side) = (order.tiles, self.tiling.order.side);
        let pooled_planes = pooled.chunks_exact_mut(*pitch).take(self.all_channels);
        for (channel, pooled) in pooled_planes.enumerate() {
            let plane = &planes[channel * self.pitch..];
            for (within, pooled) in pooled.chunks_exact_mut(tiles).take(order.side * order.side).enumerate() {
                let (y, x) = (within / order.side * 2, within % order.side * 2);
                let stretch = |y, x| &plane[(y * side + x) * tiles..][..tiles];
                let four = [stretch(y, x), stretch(y, x + 1), stretch(y + 1, x), stretch(y + 1, x + 1)];
                pool(four, affine.scale[channel], affine.shift[channel], pooled);
            }
        }
        conv.run(pooled, None, (result, *pitch), packed);
        let images = out.chunks_exact_mut(order.height * order.width);
        for (image, plane) in images.zip(result.chunks_exact(*pitch)).take(*channels) {
            order.export(plane, image);
        }
    }
}
