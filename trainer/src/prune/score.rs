//! How much each channel matters, by one of two measures.
//!
//! The scale of batch normalisation (network slimming, Liu et al., arXiv 1708.06519) needs no image: a channel
//! counts as the sum of gamma squared over its readers.
//!
//! The other measure is the first-order Taylor estimate (Molchanov et al., arXiv 1906.10771) of how far the logit
//! moves when a channel's activations are set to zero after the ReLU of every layer that reads it. With
//! z = gamma * x + beta before a reader's ReLU, the estimate is the sum of z * dlogit/dz over positions, and
//! that equals gamma * dlogit/dgamma + beta * dlogit/dbeta: the gradients of the batch normalisations already
//! hold it, and no gate has to be put into the network. A channel with several readers is the sum over them.
//!
//! What counts is the mean square over images. One backward pass per batch gives it: with a random sign per
//! image, the square of the signed sum over the batch has the sum of squares as its expectation. The logit is
//! measured, not the loss, because a well-trained network's loss has almost no gradient left.

use rand::RngExt;
use tch::{Device, Kind, Tensor};

use crate::dataset::Planes;
use crate::dataset::augment::normalise;
use crate::exit::Fault;
use crate::model::{BatchNorm, DenseNet, Widths};

/// How channels are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Importance {
    /// First-order Taylor estimate of what the logit loses.
    Taylor,
    /// Scale of the batch normalisations that read the channel.
    BnScale,
}

/// The score of each channel, in the layout of the widths. Higher matters more.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Of the first convolution.
    pub stem: Vec<f64>,
    /// Of each dense layer; empty for one that is not there.
    pub blocks: Vec<Vec<LayerScores>>,
    /// Of each transition.
    pub transitions: Vec<Vec<f64>>,
}

/// The scores of a dense layer's channels.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerScores {
    /// Between its convolutions.
    pub bottleneck: Vec<f64>,
    /// Of those it adds.
    pub growth: Vec<f64>,
}

/// Scores the channels of `net` over all images of `planes`, in batches of `batch`.
///
/// # Errors
/// [`Fault::BadData`] when libtorch fails or a gradient is no number.
pub fn score(
    net: &DenseNet,
    planes: &Planes,
    device: Device,
    batch: usize,
    seed: u64,
) -> Result<Scores, Fault> {
    let mut signs = rand_pcg::Pcg64::new(u128::from(seed), 3);
    let mut total = Scores::zero(&net.widths);
    let images: Vec<usize> = (0..planes.len()).collect();
    // Half of the backward pass would go into gradients that nobody reads.
    let thaw = |thawed: bool| {
        for conv in convolutions(net) {
            let _ = conv.set_requires_grad(thawed);
        }
    };
    thaw(false);
    for indices in images.chunks(batch) {
        let input = normalise(&planes.batch(indices).to_device(device), &planes.spec);
        let sign: Vec<f32> = indices.iter().map(|_| if signs.random() { 1.0 } else { -1.0 }).collect();
        let logit = net.forward_t(&input, false).logit;
        forget_gradients(net);
        (logit * Tensor::from_slice(&sign).to_device(device))
            .sum(Kind::Float)
            .f_backward()
            .map_err(failed)?;
        total.add_squares(&Scores::gather(net, estimate)?);
    }
    thaw(true);
    forget_gradients(net);
    if total.all().any(|score| !score.is_finite()) {
        return Err(Fault::BadData(
            "the network's gradients are not numbers: its weights cannot be pruned".to_owned(),
        ));
    }
    Ok(total)
}

/// Scores the channels of `net` by the scale of the batch normalisations that read them.
///
/// # Errors
/// [`Fault::BadData`] when libtorch fails.
pub fn bn_scale(net: &DenseNet) -> Result<Scores, Fault> {
    Scores::gather(net, |norm| values(&norm.weight.detach().square()))
}

impl Scores {
    fn zero(widths: &Widths) -> Self {
        let layer = |l: &crate::model::LayerWidths| LayerScores {
            bottleneck: vec![0.0; l.bottleneck],
            growth: vec![0.0; l.growth],
        };
        Self {
            stem: vec![0.0; widths.stem],
            blocks: widths.blocks.iter().map(|block| block.iter().map(layer).collect()).collect(),
            transitions: widths.transitions.iter().map(|&width| vec![0.0; width]).collect(),
        }
    }

    /// The sum over each channel's readers of what `measure` says of them, one value per channel they read.
    fn gather(
        net: &DenseNet,
        measure: impl Fn(&BatchNorm) -> Result<Vec<f64>, Fault>,
    ) -> Result<Self, Fault> {
        let mut scores = Self::zero(&net.widths);
        for (block, layers) in net.blocks.iter().enumerate() {
            let mut readers = Vec::new();
            for layer in layers {
                readers.push(measure(&layer.norm1)?);
                scores.blocks[block][layer.number - 1].bottleneck = measure(&layer.norm2)?;
            }
            let last = net.transitions.get(block).map_or(&net.norm5, |transition| &transition.norm);
            readers.push(measure(last)?);
            // Every reader sees a prefix of the block's channels.
            let mut channels = vec![0.0; net.widths.block_output(block)];
            for reader in readers {
                for (sum, value) in channels.iter_mut().zip(reader) {
                    *sum += value;
                }
            }
            let mut rest = channels.into_iter();
            let input = if block == 0 { &mut scores.stem } else { &mut scores.transitions[block - 1] };
            input.iter_mut().zip(rest.by_ref()).for_each(|(score, value)| *score = value);
            for layer in layers {
                let growth = &mut scores.blocks[block][layer.number - 1].growth;
                growth.iter_mut().zip(rest.by_ref()).for_each(|(score, value)| *score = value);
            }
        }
        Ok(scores)
    }

    fn add_squares(&mut self, batch: &Self) {
        for (sum, value) in self.all_mut().zip(batch.all()) {
            *sum += value * value;
        }
    }

    fn all(&self) -> impl Iterator<Item = &f64> {
        let layers =
            self.blocks.iter().flatten().flat_map(|layer| layer.bottleneck.iter().chain(&layer.growth));
        self.stem.iter().chain(layers).chain(self.transitions.iter().flatten())
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        let layers = self.blocks.iter_mut().flatten();
        let layers = layers.flat_map(|layer| layer.bottleneck.iter_mut().chain(&mut layer.growth));
        self.stem.iter_mut().chain(layers).chain(self.transitions.iter_mut().flatten())
    }
}

/// gamma * dgamma + beta * dbeta of each channel, from the gradients now in the network.
fn estimate(norm: &BatchNorm) -> Result<Vec<f64>, Fault> {
    let sum = norm.weight.detach() * norm.weight.grad() + norm.bias.detach() * norm.bias.grad();
    values(&sum)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>, Fault> {
    Vec::<f64>::try_from(tensor.to_device(Device::Cpu).to_kind(Kind::Double)).map_err(failed)
}

fn convolutions(net: &DenseNet) -> impl Iterator<Item = &Tensor> {
    let layers = net.blocks.iter().flatten().flat_map(|layer| [&layer.conv1, &layer.conv2]);
    let transitions = net.transitions.iter().map(|transition| &transition.conv);
    layers.chain(transitions).chain([&net.conv0]).map(|conv| &conv.weight)
}

fn forget_gradients(net: &DenseNet) {
    let norms = net.blocks.iter().flatten().flat_map(|layer| [&layer.norm1, &layer.norm2]);
    for norm in norms.chain(net.transitions.iter().map(|transition| &transition.norm)).chain([&net.norm5]) {
        norm.weight.shallow_clone().zero_grad();
        norm.bias.shallow_clone().zero_grad();
    }
}

fn failed(error: tch::TchError) -> Fault {
    Fault::BadData(format!("scoring the channels: libtorch failed: {error}"))
}
