//! `trainer pack`: a packed cache of a data set.

use std::path::PathBuf;
use std::time::Instant;

use contract::preprocess::{Aspect, MAX_SIDE_PX, PreprocessSpec};

use crate::dataset::{Index, pack};
use crate::model::SIDE_MIN_PX;

/// Arguments of `pack`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set in the MURA layout
    #[arg(long)]
    pub data: PathBuf,
    /// Directory of the cache; created when missing. What an interrupted packing finished there is kept
    #[arg(long)]
    pub out: PathBuf,
    /// Side of the square planes: the size of the runs that will use the cache
    #[arg(long, default_value_t = 320, value_name = "PX", value_parser = clap::value_parser!(u32).range(SIDE_MIN_PX as i64..=MAX_SIDE_PX as i64))]
    pub size: u32,
    /// letterbox (fit and centre on black) or squash (stretch), as `aspect` in train.toml
    #[arg(long, default_value = "letterbox", value_parser = aspect)]
    pub aspect: Aspect,
}

fn aspect(name: &str) -> Result<Aspect, String> {
    match name {
        "letterbox" => Ok(Aspect::Letterbox),
        "squash" => Ok(Aspect::Squash),
        other => Err(format!("`{other}` is not an aspect policy: expected letterbox or squash")),
    }
}

/// Packs.
///
/// # Errors
/// When the data set breaks the layout, no image is readable, or the cache cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let index = Index::scan(&args.data)?;
    let spec = PreprocessSpec { aspect: args.aspect, ..PreprocessSpec::square(args.size) };
    for (path, reason) in &index.skipped {
        log::warn!("skipped {path}: {reason}");
    }
    let packed = pack(&index, &spec, &args.out)?;
    for (path, reason) in &packed.unreadable {
        log::warn!("left out {path}: {reason}");
    }
    let (out, megabytes) = (args.out.display(), packed.bytes as f64 / 1e6);
    let unreadable = packed.unreadable.len();
    if packed.already {
        println!(
            "{out} is whole already: {} images, {megabytes:.1} MB, every checksum agrees; {unreadable} unreadable",
            packed.images
        );
        return Ok(());
    }
    let seconds = started.elapsed().as_secs_f64();
    let again =
        if packed.kept > 0 { format!(" ({} of them kept from before)", packed.kept) } else { String::new() };
    println!(
        "packed {} images{again} at {}x{} px into {out}: {megabytes:.1} MB in {seconds:.1} s; {unreadable} unreadable",
        packed.images, args.size, args.size
    );
    Ok(())
}
