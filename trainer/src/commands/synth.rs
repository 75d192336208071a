//! `trainer synth`: synthetic radiographs in the MURA layout.

use std::path::PathBuf;

/// Arguments of `synth`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to write to; created, and refused when it is not empty
    #[arg(long)]
    pub out: PathBuf,
    /// Studies to draw, both splits together
    #[arg(long)]
    pub studies: usize,
    /// Everything drawn follows from it
    #[arg(long)]
    pub seed: u64,
    /// The longer side of an image
    #[arg(long, default_value_t = 320, value_name = "PX")]
    pub size: u32,
    /// Subtle findings and more that distracts from them
    #[arg(long)]
    pub hard: bool,
}

/// Draws the studies.
///
/// # Errors
/// When the directory cannot be written.
pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("`synth` is not part of this build yet")
}
