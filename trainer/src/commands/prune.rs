//! `trainer prune`: a smaller network from a trained one.

use std::path::PathBuf;

use anyhow::Context;

use super::train::{best_tensors, go_on, load_splits, read_config, report, stop_on_signals};
use crate::dataset::{Index, Split, Study};
use crate::device;
use crate::exit::Fault;
use crate::prune::{Plan, Pruned, choose, score};
use crate::run::{DataFacts, PRUNE_FILE, Run};
use crate::train::{Config, Session, Start, sample, train};

/// Training images that the channels are scored on.
const SCORED_IMAGES: usize = 256;

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run whose best network is pruned
    #[arg(long)]
    pub run: PathBuf,
    /// Data set in the MURA layout, or a packed cache of one
    #[arg(long)]
    pub data: PathBuf,
    /// Directory of the new run
    #[arg(long)]
    pub out: PathBuf,
    /// Share of the run's multiplications to keep
    #[arg(long, value_name = "SHARE")]
    pub macs: f64,
    /// Passes over the training set afterwards; half the run's when not given
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Side of the square input; the run's own when not given
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Images per step
    #[arg(long)]
    pub batch: Option<usize>,
    /// Learning rate of the fine-tuning at its start
    #[arg(long)]
    pub lr: Option<f64>,
    /// Settings of the fine-tuning; the run's own when not given. The other options win over it
    #[arg(long, value_name = "TOML")]
    pub config: Option<PathBuf>,
    /// Go on with the fine-tuning where it was stopped
    #[arg(long)]
    pub resume: bool,
}

/// Prunes and fine-tunes.
///
/// # Errors
/// When the data or a run cannot be read or written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let stop = stop_on_signals()?;
    if args.resume && Run::exists(&args.out) {
        return go_on(&Run::open(&args.out)?, &args.data, device, &stop);
    }
    Run::refuse_occupied(&args.out)?;
    let source = Run::open(&args.run)?;
    let config = args.settings(&source)?;
    let plan = plan(args, &source, device)?;
    let tensors = plan.apply(&source.widths, &best_tensors(&source)?)?;

    let widths = plan.widths();
    let pruned = Pruned {
        size_px: config.size_px,
        macs_target_share: args.macs,
        macs_before: source.widths.macs(config.size_px),
        macs_after: widths.macs(config.size_px),
        parameters_before: source.widths.parameters(),
        parameters_after: widths.parameters(),
        widths_before: source.widths.clone(),
        plan,
    };
    say(&pruned);
    let (train_planes, valid) = load_splits(&args.data, &config)?;
    let data = DataFacts::of(&train_planes, &valid);
    let run = Run::create(&args.out, config, widths, data)?;
    run.write_json(PRUNE_FILE, &pruned)?;
    let session = Session { run: &run, train: &train_planes, valid: &valid, device, stop: &stop };
    report(&run, &train(&session, Start::From(tensors))?);
    Ok(())
}

impl Args {
    /// The settings of the fine-tuning.
    fn settings(&self, source: &Run) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => read_config(path)?,
            None => Config { epochs: source.config.epochs.div_ceil(2), ..source.config.clone() },
        };
        config.size_px = self.size.unwrap_or(config.size_px);
        config.epochs = self.epochs.unwrap_or(config.epochs);
        config.batch = self.batch.unwrap_or(config.batch);
        config.adam.lr = self.lr.unwrap_or(config.adam.lr);
        config.check().map_err(|reason| Fault::BadData(format!("the settings cannot be used: {reason}")))?;
        Ok(config)
    }
}

/// Scores the channels at the size the run was trained at, on some of its training images, and chooses.
fn plan(args: &Args, source: &Run, device: tch::Device) -> anyhow::Result<Plan> {
    let index = Index::open(&args.data)?;
    let studies = some_studies(index.split(Split::Train), source.config.seed);
    let planes = index.planes(&studies, &source.spec).context("loading images to score the channels on")?;
    log::info!("scoring the channels on {} images at {} px", planes.len(), source.spec.width_px);
    let (_store, net) = source.load_best(device)?;
    let scores = score(&net, &planes, device, source.config.batch, source.config.seed)?;
    Ok(choose(&source.widths, &scores, args.macs, args.size.unwrap_or(source.config.size_px))?)
}

/// Random studies that hold about [`SCORED_IMAGES`] images.
fn some_studies(studies: &[Study], seed: u64) -> Vec<Study> {
    let mut images = 0;
    let mut some = Vec::new();
    for place in sample(seed, studies.len()) {
        if images >= SCORED_IMAGES {
            break;
        }
        images += studies[place].images.len();
        some.push(studies[place].clone());
    }
    some
}

fn say(pruned: &Pruned) {
    let giga = |macs: u64| macs as f64 / 1e9;
    let million = |parameters: u64| parameters as f64 / 1e6;
    log::info!(
        "pruned to {:.3} of the multiply-accumulates: {:.2} to {:.2} G at {} px, {:.2} to {:.2} M parameters",
        pruned.macs_after as f64 / pruned.macs_before as f64,
        giga(pruned.macs_before),
        giga(pruned.macs_after),
        pruned.size_px,
        million(pruned.parameters_before),
        million(pruned.parameters_after)
    );
}
