//! `trainer evaluate`: how good a run or a bundle is.

use std::path::PathBuf;

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "bundle"])))]
pub struct Args {
    /// Run whose best network is evaluated
    #[arg(long)]
    pub run: Option<PathBuf>,
    /// Bundle whose ONNX file is evaluated
    #[arg(long)]
    pub bundle: Option<PathBuf>,
    /// Data set in the MURA layout
    #[arg(long)]
    pub data: PathBuf,
    /// train or valid
    #[arg(long, default_value = "valid")]
    pub split: crate::dataset::Split,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Evaluates.
///
/// # Errors
/// When the data, the run or the bundle cannot be used.
pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("`evaluate` is not part of this build yet")
}
