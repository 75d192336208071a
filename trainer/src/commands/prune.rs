//! `trainer prune`: a smaller network from a trained one.
//!
//! ```text
//! OUT/                 the pruned run, once the last step has begun
//! OUT/steps/1 …        the runs between; their checkpoints go when they are finished
//! OUT/steps.csv        what each step cost
//! OUT/trade-off.svg    the same as a picture
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tch::Device;

use super::evaluate::bad_model;
use super::train::{best_tensors, load_splits, read_config, refuse_other_data, report, stop_on_signals};
use crate::dataset::{Index, Planes, Split, Study};
use crate::device;
use crate::eval::{self, Judged};
use crate::exit::Fault;
use crate::model::{DenseNet, Tensors, network};
use crate::prune::{Importance, Plan, Pruned, Step, Table, bn_scale, check_share, choose, score, targets};
use crate::run::{DataFacts, PRUNE_FILE, Run, STEPS_DIR};
use crate::train::{Config, DistillConfig, Init, Session, Start, sample, train};

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
    /// Cuts on the way there, each followed by fine-tuning
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub steps: u32,
    /// How channels are measured
    #[arg(long, value_enum, default_value = "taylor")]
    pub importance: Importance,
    /// Passes over the training set after the last cut; half the run's when not given
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Passes over the training set after each earlier cut
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub step_epochs: u32,
    /// Share of the fine-tuning's loss that is agreement with the teachers, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub distill: f64,
    /// Runs to learn from with --distill, an ensemble when given several times; the pruned run itself when not given
    #[arg(long, value_name = "RUN")]
    pub teacher: Vec<PathBuf>,
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
    /// Go on where it was stopped, with the settings it was started with
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
    let source = Run::open(&args.run)?;
    let config = args.settings(&source)?;
    if !args.resume {
        Run::refuse_occupied(&args.out)?;
        refuse_steps(&args.out)?;
    }
    let index = Index::open(&args.data)?;
    let (train_planes, valid) = load_splits(&index, &config)?;
    let job = Job { args, source, config, index, train: train_planes, valid, device, stop: &stop };
    job.run()
}

/// One pruning from start to end.
struct Job<'a> {
    args: &'a Args,
    source: Run,
    /// Of the last step.
    config: Config,
    index: Index,
    train: Planes,
    valid: Planes,
    device: Device,
    stop: &'a dyn Fn() -> bool,
}

impl Job<'_> {
    fn run(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.args.out).with_context(|| format!("making {}", self.args.out.display()))?;
        let mut table = Table::open(&self.args.out)?;
        self.judge_source(&mut table)?;
        let shares = targets(self.args.macs, self.args.steps);
        let mut source = self.source.clone();
        for (number, share) in (1..).zip(shares) {
            source = self.step(number, share, &source, &mut table)?;
        }
        print!("{}", table.text());
        Ok(())
    }

    /// Step 0 of the table.
    fn judge_source(&self, table: &mut Table) -> anyhow::Result<()> {
        if table.get(0).is_some() {
            return Ok(());
        }
        let (_store, net) = self.source.load_best(self.device)?;
        let Judged { auroc, kappa } = self.judge(&net)?;
        let widths = &self.source.widths;
        table.put(Step { auroc, kappa, ..Step::new(0, widths, widths, self.config.size_px) })?;
        Ok(())
    }

    /// Cuts `source` and fine-tunes, or goes on with that.
    fn step(&self, number: u32, share: f64, source: &Run, table: &mut Table) -> anyhow::Result<Run> {
        let last = number == self.args.steps;
        let dir = if last { self.args.out.clone() } else { step_dir(&self.args.out, number) };
        let finished = table.get(number).is_some_and(|line| line.epochs > 0);
        let (run, start) = if Run::exists(&dir) {
            let run = Run::open(&dir)?;
            self.refuse_other_plan(&run, share)?;
            if finished && !last {
                return Ok(run);
            }
            refuse_other_data(&run, &DataFacts::of(&self.train, &self.valid), &self.args.data)?;
            (run, Start::Resume)
        } else {
            let (run, tensors) = self.cut(number, share, source, &dir, table)?;
            (run, Start::From(tensors))
        };
        let session = Session {
            run: &run,
            train: &self.train,
            valid: &self.valid,
            device: self.device,
            stop: self.stop,
        };
        report(&run, &train(&session, start)?)?;
        let (_store, net) = run.load_best(self.device)?;
        let Judged { auroc, kappa } = self.judge(&net)?;
        let line = table.get(number).cloned().unwrap_or_else(|| self.line(number, &run));
        table.put(Step { auroc, kappa, epochs: run.config.epochs, ..line })?;
        if !last {
            run.forget_checkpoints()?;
        }
        Ok(run)
    }

    /// A new run with the weights that are left of `source`'s.
    fn cut(
        &self,
        number: u32,
        share: f64,
        source: &Run,
        dir: &Path,
        table: &mut Table,
    ) -> anyhow::Result<(Run, Tensors)> {
        let size_px = self.config.size_px;
        let whole = self.source.widths.macs(size_px);
        let plan = self.plan(source, share * whole as f64 / source.widths.macs(size_px) as f64)?;
        let tensors = plan.apply(&source.widths, &best_tensors(source)?)?;
        let widths = plan.widths();
        let plan = match number {
            1 => plan,
            _ => plan.after(&read_pruned(source)?.plan)?,
        };
        let pruned = Pruned {
            size_px,
            macs_target_share: share,
            macs_before: whole,
            macs_after: widths.macs(size_px),
            parameters_before: self.source.widths.parameters(),
            parameters_after: widths.parameters(),
            widths_before: self.source.widths.clone(),
            plan,
        };
        say(number, self.args.steps, &pruned);
        let epochs = if number == self.args.steps { self.config.epochs } else { self.args.step_epochs };
        let config = Config { epochs, ..self.config.clone() };
        let run = Run::create(dir, config, widths, DataFacts::of(&self.train, &self.valid))?;
        run.write_json(PRUNE_FILE, &pruned)?;

        let (_store, net) =
            network(&run.widths, &tensors, self.device).map_err(|error| Fault::BadData(error.to_string()))?;
        let Judged { auroc, kappa } = self.judge(&net)?;
        table.put(Step { auroc_cut: auroc, kappa_cut: kappa, ..self.line(number, &run) })?;
        Ok((run, tensors))
    }

    fn line(&self, number: u32, run: &Run) -> Step {
        Step::new(number, &run.widths, &self.source.widths, self.config.size_px)
    }

    /// Scores the channels of `source` at the size it was trained at, on some of its training images, and
    /// chooses those that stay.
    fn plan(&self, source: &Run, share: f64) -> anyhow::Result<Plan> {
        let (_store, net) = source.load_best(self.device)?;
        let scores = match self.args.importance {
            Importance::BnScale => bn_scale(&net)?,
            Importance::Taylor => {
                let studies = some_studies(self.index.split(Split::Train), source.config.seed);
                let planes = self
                    .index
                    .planes(&studies, &source.spec)
                    .context("loading images to score the channels on")?;
                log::info!("scoring the channels on {} images at {} px", planes.len(), source.spec.width_px);
                score(&net, &planes, self.device, source.config.batch, source.config.seed)?
            }
        };
        Ok(choose(&source.widths, &scores, share.min(1.0), self.config.size_px)?)
    }

    /// How a network does on the validation studies.
    fn judge(&self, net: &DenseNet) -> anyhow::Result<Judged> {
        let logits = eval::network_logits(net, self.device, &self.valid).map_err(bad_model)?;
        Ok(eval::judge(&self.valid, &logits))
    }

    /// Refuses to go on with a step that was begun with another target.
    fn refuse_other_plan(&self, run: &Run, share: f64) -> anyhow::Result<()> {
        let begun = read_pruned(run)?.macs_target_share;
        if begun == share {
            return Ok(());
        }
        Err(Fault::BadData(format!(
            "{} was begun to keep {begun} of the multiplications, and this command would keep {share}: give the \
             --macs and --steps it was started with, or another --out",
            run.dir.display()
        ))
        .into())
    }
}

impl Args {
    /// The settings of the fine-tuning after the last cut.
    fn settings(&self, source: &Run) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => read_config(path)?,
            None => Config { epochs: source.config.epochs.div_ceil(2), ..source.config.clone() },
        };
        config.init = Init::Run;
        config.size_px = self.size.unwrap_or(config.size_px);
        config.epochs = self.epochs.unwrap_or(config.epochs);
        config.batch = self.batch.unwrap_or(config.batch);
        config.adam.lr = self.lr.unwrap_or(config.adam.lr);
        check_share(self.macs)?;
        if !(0.0..=1.0).contains(&self.distill) {
            return Err(Fault::BadData(format!("--distill is {}, expected 0 to 1", self.distill)).into());
        }
        if self.distill > 0.0 {
            let teachers =
                if self.teacher.is_empty() { std::slice::from_ref(&self.run) } else { &self.teacher };
            config.distill = Some(DistillConfig {
                teachers: teachers.iter().map(std::path::absolute).collect::<Result<_, _>>()?,
                weight: self.distill,
                temperature: DistillConfig::TEMPERATURE,
            });
        } else if !self.teacher.is_empty() {
            return Err(Fault::BadData("--teacher has no effect without --distill SHARE".to_owned()).into());
        }
        config.check().map_err(|reason| Fault::BadData(format!("the settings cannot be used: {reason}")))?;
        Ok(config)
    }
}

fn step_dir(out: &Path, number: u32) -> PathBuf {
    out.join(STEPS_DIR).join(number.to_string())
}

fn refuse_steps(out: &Path) -> Result<(), Fault> {
    if !out.join(STEPS_DIR).exists() {
        return Ok(());
    }
    let out = out.display();
    Err(Fault::BadData(format!(
        "{out} holds a pruning that was not finished: go on with --resume, or choose another --out"
    )))
}

fn read_pruned(run: &Run) -> anyhow::Result<Pruned> {
    let path = run.dir.join(PRUNE_FILE);
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(serde_json::from_slice(&text)
        .map_err(|error| Fault::BadData(format!("{} is broken: {error}", path.display())))?)
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

fn say(number: u32, steps: u32, pruned: &Pruned) {
    let giga = |macs: u64| macs as f64 / 1e9;
    let million = |parameters: u64| parameters as f64 / 1e6;
    log::info!(
        "cut {number} of {steps}: {:.3} of the multiply-accumulates left, {:.2} of {:.2} G at {} px, {:.2} of \
         {:.2} M parameters",
        pruned.macs_after as f64 / pruned.macs_before as f64,
        giga(pruned.macs_after),
        giga(pruned.macs_before),
        pruned.size_px,
        million(pruned.parameters_after),
        million(pruned.parameters_before)
    );
}
