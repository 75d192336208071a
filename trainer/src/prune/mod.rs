//! Structured pruning: whole channels and layers go, so that the tensors shrink.
//!
//! Three steps, each plain data to the next: [`score`] measures how much every channel matters, [`choose`]
//! makes a [`Plan`] (the channels to keep) that reaches a share of the multiply-accumulates, and
//! [`Plan::apply`] cuts the weights down. The smaller network is then fine-tuned like any other run.
//!
//! A channel is removed where it is read: every layer that reads it loses the matching inputs, which is
//! exactly what zeroing its activations after each reader's ReLU would do.
//!
//! A large cut is better made in several ([`targets`]), each followed by fine-tuning, because the scores of the
//! channels that stay change when others go. [`Table`] keeps what each step cost.

mod choose;
mod plan;
mod score;
mod steps;

pub use choose::{check_share, choose};
pub use plan::{LayerPlan, Plan, Pruned};
pub use score::{Importance, LayerScores, Scores, bn_scale, score};
pub use steps::{Step, Table, targets};

#[cfg(test)]
mod tests;
