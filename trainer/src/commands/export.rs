//! `trainer export`: a bundle for the station.

use std::path::PathBuf;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run whose best network is exported
    #[arg(long)]
    pub run: PathBuf,
    /// Data set in the MURA layout, for calibration, operating points and golden pairs
    #[arg(long)]
    pub data: PathBuf,
    /// Bundle directory to write
    #[arg(long)]
    pub out: PathBuf,
    /// Side of the square input; the run's own when not given
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// demo or clinical-evaluation
    #[arg(long, default_value = "demo")]
    pub purpose: String,
}

/// Exports.
///
/// # Errors
/// When the data or the run cannot be used, or the bundle cannot be written.
pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("`export` is not part of this build yet")
}
