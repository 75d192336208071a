//! DenseNet169 (Huang et al., arXiv 1608.06993) with explicit per-layer widths and one logit.
//!
//! [`Widths`] says how wide every layer is and from that alone how many parameters and multiply-accumulates
//! the network has; [`DenseNet`] is the network under torchvision's variable names, so that a pruned network
//! is the same code with smaller widths.

mod densenet;
mod pretrained;
mod weights;
mod widths;

pub use densenet::{
    BATCH_NORM_EPS, BatchNorm, Conv, DenseLayer, DenseNet, Forward, Transition, activation_map,
};
pub use pretrained::{Pretrained, Record, WHERE_FROM, load_pretrained};
pub use weights::{Tensors, WeightsError, load_weights, network, read_tensors, tensors_to_bytes};
pub use widths::{LayerWidths, Part, SIDE_MIN_PX, Stage, Widths, WidthsError};
