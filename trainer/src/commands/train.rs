//! `trainer train`: a training run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::dataset::{Index, Planes, Split};
use crate::device;
use crate::exit::Fault;
use crate::model::{Pretrained, Record, Tensors, WHERE_FROM, Widths, read_tensors};
use crate::run::{DataFacts, Run, WEIGHTS_FILE};
use crate::train::{Config, Init, Outcome, Preset, Session, Start, is_half, require_both_classes, train};

/// Arguments of `train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set in the MURA layout, or a packed cache of one
    #[arg(long)]
    pub data: PathBuf,
    /// Directory of the run; created when missing
    #[arg(long)]
    pub run: PathBuf,
    /// Recipe: paper (320 px, classes weighted per study type, five best epochs kept) or classic (224 px,
    /// plain binary cross entropy, dropout 0.1), both from ImageNet weights (--weights)
    #[arg(long)]
    pub preset: Option<Preset>,
    /// Settings of the run, in the form of a run's train.toml; they win over the preset, and the other
    /// options over them
    #[arg(long, value_name = "TOML")]
    pub config: Option<PathBuf>,
    /// Side of the square input
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// Passes over the training set; with --resume it may be raised
    #[arg(long)]
    pub epochs: Option<u32>,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Go on where the run was stopped
    #[arg(long)]
    pub resume: bool,
    /// Seed of weights, order and augmentation
    #[arg(long)]
    pub seed: Option<u64>,
    /// Images per step
    #[arg(long)]
    pub batch: Option<usize>,
    /// Learning rate at the start
    #[arg(long)]
    pub lr: Option<f64>,
    /// Start from the best weights of another run, with its widths; the input size may differ. A run that
    /// goes on with --resume has its weights already
    #[arg(long, value_name = "RUN", conflicts_with_all = ["weights", "from_scratch"])]
    pub init_from: Option<PathBuf>,
    /// Start from weights learned on other pictures, as torchvision publishes them for DenseNet169 on
    /// ImageNet: a .pth or .safetensors file. Its head is left out
    #[arg(long, value_name = "FILE", conflicts_with = "from_scratch")]
    pub weights: Option<PathBuf>,
    /// Start from random weights, although the preset expects --weights
    #[arg(long)]
    pub from_scratch: bool,
}

/// Trains.
///
/// # Errors
/// When the data or the run cannot be read or written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let stop = stop_on_signals()?;
    if args.resume && Run::exists(&args.run) {
        let mut run = Run::open(&args.run)?;
        let base = match (args.preset, args.config.as_deref()) {
            (None, None) => run.config.clone(),
            (preset, file) => layered(preset, file)?,
        };
        let asked = args.changed(base);
        same_settings(&run.config, &asked)?;
        run.config.epochs = asked.epochs;
        return go_on(&run, &args.data, device, &stop);
    }
    if args.resume {
        log::info!("{} holds no run yet: starting one", args.run.display());
    }

    Run::refuse_occupied(&args.run)?;
    let config = args.changed(layered(args.preset, args.config.as_deref())?);
    config.check().map_err(|reason| Fault::BadData(format!("the settings cannot be used: {reason}")))?;
    is_half(config.precision, device)?;
    let (widths, start, record) = args.first_weights(&config)?;
    let (train_planes, valid) = load_splits(&Index::open(&args.data)?, &config)?;
    let data = DataFacts::of(&train_planes, &valid);
    let run = Run::create(&args.run, config, widths, data)?;
    if let Some(record) = record {
        run.write_json(WEIGHTS_FILE, &record)?;
    }
    let session = Session { run: &run, train: &train_planes, valid: &valid, device, stop: &stop };
    Ok(report(&run, &train(&session, start)?)?)
}

impl Args {
    /// The settings with what the command line says otherwise.
    fn changed(&self, mut config: Config) -> Config {
        config.size_px = self.size.unwrap_or(config.size_px);
        config.epochs = self.epochs.unwrap_or(config.epochs);
        config.seed = self.seed.unwrap_or(config.seed);
        config.batch = self.batch.unwrap_or(config.batch);
        config.adam.lr = self.lr.unwrap_or(config.adam.lr);
        let init = [
            (self.from_scratch, Init::Random),
            (self.weights.is_some(), Init::Weights),
            (self.init_from.is_some(), Init::Run),
        ];
        config.init = init.iter().find(|(asked, _)| *asked).map_or(config.init, |(_, init)| *init);
        config
    }

    /// The network's widths and first weights, and the record of the file that they come from.
    fn first_weights(&self, config: &Config) -> anyhow::Result<(Widths, Start, Option<Record>)> {
        let widths = config.network.widths();
        match (config.init, &self.weights, &self.init_from) {
            (Init::Random, ..) => Ok((widths, Start::Fresh, None)),
            (Init::Weights, Some(file), _) => {
                let Pretrained { tensors, record } = Pretrained::read(file, &widths)?;
                log::info!("{} tensors from {}, SHA-256 {}", record.tensors, record.file, record.sha256);
                Ok((widths, Start::Pretrained(tensors), Some(record)))
            }
            (Init::Weights, None, _) => Err(Fault::InputMissing(format!(
                "this recipe starts from ImageNet weights: give the file with --weights FILE, or go without \
                 with --from-scratch (the network then learns far less from as many images). {WHERE_FROM}"
            ))
            .into()),
            (Init::Run, _, Some(dir)) => {
                let other = Run::open(dir)?;
                Ok((other.widths.clone(), Start::From(best_tensors(&other)?), None))
            }
            (Init::Run, _, None) => Err(Fault::InputMissing(
                "the settings say init = \"run\": name the run to start from with --init-from RUN".to_owned(),
            )
            .into()),
        }
    }
}

/// Resumes a run with the data it was started with.
fn go_on(run: &Run, data: &Path, device: tch::Device, stop: &dyn Fn() -> bool) -> anyhow::Result<()> {
    let (train_planes, valid) = load_splits(&Index::open(data)?, &run.config)?;
    refuse_other_data(run, &DataFacts::of(&train_planes, &valid), data)?;
    let session = Session { run, train: &train_planes, valid: &valid, device, stop };
    Ok(report(run, &train(&session, Start::Resume)?)?)
}

/// Refuses to go on with other data than a run was started with.
pub(super) fn refuse_other_data(run: &Run, found: &DataFacts, data: &Path) -> Result<(), Fault> {
    if found.fingerprint == run.data.fingerprint {
        return Ok(());
    }
    Err(Fault::BadData(format!(
        "{} holds other images, studies or labels than those {} was started with, so it cannot go on exactly; \
         use the same data, or start a new run with --init-from",
        data.display(),
        run.dir.display()
    )))
}

/// The best weights of a run, by name.
pub(super) fn best_tensors(run: &Run) -> anyhow::Result<Tensors> {
    // Checks that they are there and fit.
    let _ = run.load_best(tch::Device::Cpu)?;
    let path = run.best_path();
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let (tensors, _) = read_tensors(&bytes).map_err(|error| Fault::BadData(error.to_string()))?;
    Ok(tensors)
}

/// Both splits, preprocessed; each with both classes.
pub(super) fn load_splits(index: &Index, config: &Config) -> anyhow::Result<(Planes, Planes)> {
    let load = |split: Split| -> anyhow::Result<Planes> {
        let planes = index
            .planes(index.split(split), &config.spec())
            .with_context(|| format!("loading the {split} split of {}", index.root.display()))?;
        for (path, reason) in &planes.unreadable {
            log::warn!("left out {path}: {reason}");
        }
        log::info!("{split}: {} images of {} studies", planes.len(), planes.studies.len());
        Ok(planes)
    };
    let (train, valid) = (load(Split::Train)?, load(Split::Valid)?);
    require_both_classes(&train, &valid)?;
    Ok((train, valid))
}

/// A question that says yes once the process was told to stop. A second signal ends it at once.
pub(super) fn stop_on_signals() -> anyhow::Result<impl Fn() -> bool> {
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&told))
            .and_then(|_| flag::register(signal, Arc::clone(&told)))
            .context("watching for signals")?;
    }
    Ok(move || told.load(Ordering::Relaxed))
}

/// Says how training ended; one that was told to stop is an error of its own kind.
pub(super) fn report(run: &Run, outcome: &Outcome) -> Result<(), Fault> {
    let dir = run.dir.display();
    match outcome {
        Outcome::Stopped(state) => Err(Fault::Stopped(format!(
            "stopped after step {} in epoch {} of {}; the same command with --resume goes on from there",
            state.step,
            state.epoch + 1,
            run.config.epochs
        ))),
        Outcome::Finished(state) => {
            println!(
                "trained to the end of epoch {}; lowest validation loss {:.4} in epoch {}; weights in {dir}/best.safetensors",
                state.epoch,
                state.best_loss.unwrap_or(f64::NAN),
                state.best_epoch.unwrap_or(0)
            );
            Ok(())
        }
    }
}

/// Reads settings from a TOML file.
pub(super) fn read_config(path: &Path) -> anyhow::Result<Config> {
    layered(None, Some(path))
}

/// The settings of a file, if there is one, over those of a preset.
fn layered(preset: Option<Preset>, file: Option<&Path>) -> anyhow::Result<Config> {
    let text = match file {
        Some(path) => fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?,
        None => String::new(),
    };
    let name = file.map(|path| format!("{}: ", path.display())).unwrap_or_default();
    Ok(Config::layered(preset, &text).map_err(|error| Fault::BadData(format!("{name}{error}")))?)
}

/// Refuses to go on with other settings than a run was started with; only the epochs may grow.
fn same_settings(saved: &Config, asked: &Config) -> Result<(), Fault> {
    if asked.epochs < saved.epochs {
        return Err(Fault::BadData(format!(
            "the run was started for {} epochs; --resume can raise that, not lower it to {}",
            saved.epochs, asked.epochs
        )));
    }
    if (Config { epochs: saved.epochs, ..asked.clone() }) == *saved {
        return Ok(());
    }
    Err(Fault::BadData(
        "--resume goes on with the settings in the run's train.toml, and other ones were asked for: leave the \
         options, --preset and --config out, or start a new run with --init-from"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_takes_more_epochs_and_no_other_change() {
        let saved = Config { epochs: 4, size_px: 96, ..Config::default() };
        assert!(same_settings(&saved, &saved).is_ok());
        assert!(same_settings(&saved, &Config { epochs: 9, ..saved.clone() }).is_ok());
        let error = same_settings(&saved, &Config { epochs: 3, ..saved.clone() }).unwrap_err().to_string();
        assert!(error.contains("not lower it to 3"), "{error}");
        assert!(same_settings(&saved, &Config { batch: 4, ..saved.clone() }).is_err());
        assert!(same_settings(&saved, &Config { epochs: 9, seed: 2, ..saved.clone() }).is_err());
    }
}
