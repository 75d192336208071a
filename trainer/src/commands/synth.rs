//! `trainer synth`: synthetic radiographs in the MURA layout.

use std::path::PathBuf;

use contract::study::{MURA_TYPES, StudyType};

use crate::phantom::{self, FindingKind, Options, SIZE_MAX_PX, SIZE_MIN_PX};
use crate::progress;

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
    #[arg(long, default_value_t = 320, value_name = "PX", value_parser = clap::value_parser!(u32).range(SIZE_MIN_PX as i64..=SIZE_MAX_PX as i64))]
    pub size: u32,
    /// Study types, taken in turn [default: MURA's seven]
    #[arg(long, value_delimiter = ',', value_name = "XR_TYPE,...")]
    pub types: Vec<StudyType>,
    /// Findings that abnormal studies show [default: all]
    #[arg(long, value_delimiter = ',', value_name = "FINDING,...")]
    pub findings: Vec<FindingKind>,
    /// Subtle findings and more that distracts from them
    #[arg(long)]
    pub hard: bool,
}

/// Draws the studies.
///
/// # Errors
/// When the directory is not empty or cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let options = Options {
        studies: args.studies,
        seed: args.seed,
        size_px: args.size,
        hard: args.hard,
        study_types: match &args.types {
            types if types.is_empty() => MURA_TYPES.map(str::to_owned).to_vec(),
            types => types.iter().map(StudyType::to_string).collect(),
        },
        findings: match &args.findings {
            findings if findings.is_empty() => FindingKind::ALL.to_vec(),
            findings => findings.clone(),
        },
    };
    let bar = progress::bar(None, "drawing", "images");
    let drawn = phantom::synth(&args.out, &options, |images| bar.set_position(images as u64))?;
    bar.finish_and_clear();
    println!(
        "drew {} images of {} studies, {} of them abnormal, into {}",
        drawn.images,
        drawn.studies,
        drawn.abnormal,
        args.out.display()
    );
    Ok(())
}
