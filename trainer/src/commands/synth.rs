//! `trainer synth`: synthetic radiographs in the MURA layout.

use std::path::PathBuf;

use contract::study::{MURA_TYPES, StudyType};

use crate::phantom::{
    self, Difficulty, FindingKind, Options, SIZE_MAX_PX, SIZE_MIN_PX, VALID_SHARE, VIEWS_MAX,
};
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
    /// From 0, findings plain to see, to 1, subtle ones and more that distracts from them
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = difficulty)]
    pub difficulty: Difficulty,
    /// The same as --difficulty 1
    #[arg(long, conflicts_with = "difficulty")]
    pub hard: bool,
    /// Share of the studies that is for validation
    #[arg(long, value_name = "SHARE", default_value_t = VALID_SHARE, value_parser = valid_share)]
    pub valid_share: f64,
    /// The most views that a study has
    #[arg(long, value_name = "N", default_value_t = VIEWS_MAX, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=VIEWS_MAX as u64))]
    pub views_max: usize,
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
        difficulty: if args.hard { Difficulty::HARD } else { args.difficulty },
        study_types: match &args.types {
            types if types.is_empty() => MURA_TYPES.map(str::to_owned).to_vec(),
            types => types.iter().map(StudyType::to_string).collect(),
        },
        findings: match &args.findings {
            findings if findings.is_empty() => FindingKind::ALL.to_vec(),
            findings => findings.clone(),
        },
        valid_share: args.valid_share,
        views_max: args.views_max,
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

fn difficulty(word: &str) -> Result<Difficulty, String> {
    let share = word.parse().ok().and_then(Difficulty::new);
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn valid_share(word: &str) -> Result<f64, String> {
    match word.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a number above 0 and below 1".to_owned()),
    }
}
