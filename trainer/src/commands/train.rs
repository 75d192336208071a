//! `trainer train`: a training run.

use std::path::PathBuf;

/// Arguments of `train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set in the MURA layout
    #[arg(long)]
    pub data: PathBuf,
    /// Directory of the run; created when missing
    #[arg(long)]
    pub run: PathBuf,
    /// Side of the square input
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// Passes over the training set
    #[arg(long)]
    pub epochs: Option<u32>,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Settings of the run; the other options win over it
    #[arg(long, value_name = "TOML")]
    pub config: Option<PathBuf>,
    /// Go on where the run was stopped
    #[arg(long)]
    pub resume: bool,
}

/// Trains.
///
/// # Errors
/// When the data or the run cannot be read or written.
pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("`train` is not part of this build yet")
}
