//! `trainer bench`: how fast this machine is.

use clap::Subcommand;

use super::bench_step;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure.
    #[command(subcommand)]
    pub what: What,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Images per second of a training step and of inference, on random images
    Step(bench_step::Args),
}

/// Measures and prints.
///
/// # Errors
/// When the settings, the data or the device cannot be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Step(args) => bench_step::run(args),
    }
}
