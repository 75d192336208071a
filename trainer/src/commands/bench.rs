//! `trainer bench`: how fast parts of training run on this machine.

use super::{bench_loader, bench_step};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is measured.
    #[command(subcommand)]
    pub what: What,
}

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Images per second from files and from a packed cache, with and without augmentation
    Loader(bench_loader::Args),
    /// Images per second of a training step and of inference, on random images
    Step(bench_step::Args),
}

/// Measures and prints.
///
/// # Errors
/// When the settings, the data or the device cannot be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Loader(args) => bench_loader::run(args),
        What::Step(args) => bench_step::run(args),
    }
}
