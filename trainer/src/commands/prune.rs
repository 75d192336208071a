//! `trainer prune`: a smaller network from a trained one.

use std::path::PathBuf;

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run whose best network is pruned
    #[arg(long)]
    pub run: PathBuf,
    /// Data set in the MURA layout
    #[arg(long)]
    pub data: PathBuf,
    /// Directory of the new run
    #[arg(long)]
    pub out: PathBuf,
    /// Share of the multiplications to keep
    #[arg(long, value_name = "SHARE")]
    pub macs: f64,
    /// Passes over the training set afterwards
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Side of the square input
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
}

/// Prunes and fine-tunes.
///
/// # Errors
/// When the data or a run cannot be read or written.
pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("`prune` is not part of this build yet")
}
