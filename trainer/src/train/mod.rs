//! Training: one loop, in [`train`], that can be stopped at any step and goes on exactly where it stopped.

mod batch;
mod best;
pub mod checkpoint;
mod config;
mod curves;
mod distill;
mod history;
mod loss;
mod optim;
mod precision;
mod preset;
mod progress;
mod record;
mod tensorboard;
mod validate;

use std::time::{Duration, Instant};

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

pub use batch::sample;
pub use best::Kept;
pub use checkpoint::State;
pub use config::{AdamConfig, AugmentConfig, Config, Init, LossWeights, NetworkConfig, Precision, Schedule};
pub use distill::DistillConfig;
pub use loss::{ClassWeights, Pair};
pub use optim::Adam;
pub use precision::{LossScale, descend, forward, is_half};
pub use preset::Preset;

use crate::dataset::Planes;
use crate::exit::Fault;
use crate::model::{DenseNet, Tensors, load_pretrained, load_weights};
use crate::run::{CHECKPOINTS_DIR, Run};
use batch::{Batches, steps_per_epoch};
use distill::Teachers;
use history::Row;
use progress::{Later, Progress};
use record::Record;
use validate::validate;

/// What training starts from.
#[derive(Debug)]
pub enum Start {
    /// Random weights that follow from the seed.
    Fresh,
    /// These weights, by torchvision's names; all must fit.
    From(Tensors),
    /// These weights learned on other pictures, by torchvision's names; the head may be missing and is then
    /// random.
    Pretrained(Tensors),
    /// The run's newest good checkpoint.
    Resume,
}

/// What training needs.
pub struct Session<'a> {
    /// The run; a new one is committed here, once its first checkpoint is written.
    pub run: &'a Run,
    /// Images to learn from.
    pub train: &'a Planes,
    /// Images to validate on.
    pub valid: &'a Planes,
    /// Where to compute.
    pub device: Device,
    /// Asked after every step and every validation batch; training stops with a checkpoint when it says so.
    pub stop: &'a dyn Fn() -> bool,
}

/// How training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All epochs are done.
    Finished(State),
    /// It was told to stop; the newest checkpoint holds this state.
    Stopped(State),
}

/// Trains until the configured number of epochs is done or the session is told to stop.
///
/// # Errors
/// [`Fault::BadData`] when a split lacks a class, the checkpoints are unusable or the loss is no number any
/// more; [`Fault::Io`] when the run's files cannot be written. The run can then be resumed.
pub fn train(session: &Session<'_>, start: Start) -> Result<Outcome, Fault> {
    let Session { run, train, valid, device, stop } = *session;
    let config = &run.config;
    require_both_classes(train, valid)?;
    let weights = ClassWeights::count(train, config.loss);
    for study_type in &weights.one_sided {
        log::warn!(
            "{study_type} has images of one class only: its loss takes the weights of all types together"
        );
    }
    let half = is_half(config.precision, device)?;
    let _lock = run.lock()?;
    let teachers =
        config.distill.as_ref().map(|distill| Teachers::load(distill, device, half)).transpose()?;
    let checkpoints = run.dir.join(CHECKPOINTS_DIR);
    let (store, net, mut adam, mut state) = begin(run, start, device)?;
    if half {
        let _ = state.loss_scale.get_or_insert_default();
    }
    let mut record = Record::open(run, &state)?;
    let steps = steps_per_epoch(train.len(), config.batch);
    let mut validation_s = 0.0;
    let mut saved = Instant::now();

    while state.epoch < config.epochs {
        let mut batches = Batches::of_epoch(train, config, device, &state)?;
        let title = format!("epoch {} of {}", state.epoch + 1, config.epochs);
        let mut progress = Progress::new(
            title.clone(),
            steps,
            state.step_in_epoch,
            later(config, &state, steps, validation_s),
        );
        let mut loss_sum = Tensor::from(state.loss_sum).to_device(device);
        while state.step_in_epoch < steps {
            let (indices, input) = batches.next()?;
            tch::manual_seed((state.seed ^ state.step.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i64);
            let logit = forward(half, || net.forward_t(&input, true)).logit.to_kind(Kind::Float);
            let mut loss = weights.loss(&logit, train, &indices);
            if let Some(teachers) = &teachers {
                loss = teachers.mix(&input, &logit, &loss);
            }
            let lr = learning_rate(config, &state, steps);
            descend(&loss, &mut adam, &mut state.loss_scale, lr).map_err(torch)?;
            loss_sum += loss.detach().to_kind(Kind::Double);
            state.step += 1;
            state.step_in_epoch += 1;
            progress.step(state.step_in_epoch, indices.len());
            record.step(&state, || loss_sum.double_value(&[]))?;

            let stopping = stop();
            if stopping || checkpoint_is_due(config, &state, saved) {
                state.loss_sum = finite(loss_sum.double_value(&[]), &state)?;
                checkpoint::save(&checkpoints, &store, &adam, &state)?;
                saved = Instant::now();
            }
            if stopping {
                progress.finish();
                return Ok(Outcome::Stopped(state));
            }
        }
        state.loss_sum = finite(loss_sum.double_value(&[]), &state)?;
        let (rate, trained_s) = (progress.images_per_s(), progress.seconds());
        progress.finish();
        let Some(validation) = validate(&net, valid, &weights, device, config.batch, stop)? else {
            checkpoint::save(&checkpoints, &store, &adam, &state)?;
            return Ok(Outcome::Stopped(state));
        };
        let valid_loss = finite(validation.loss, &state)?;
        validation_s = progress.seconds() - trained_s;

        let row = Row {
            epoch: state.epoch + 1,
            step: state.step,
            lr: learning_rate(config, &State { step: state.step - 1, ..state.clone() }, steps),
            train_loss: state.loss_sum / steps as f64,
            valid_loss,
            valid_auroc: validation.study_auroc,
            valid_kappa: validation.study_kappa,
            images_per_s: rate,
            seconds: progress.seconds(),
        };
        log::info!("{title}: {row}{}", if progress.resumed() { " (resumed)" } else { "" });
        judge(config, &mut state, &row);
        best::keep(run, &store, &mut state, &row)?;
        record.epoch(&row)?;
        state.epoch += 1;
        (state.step_in_epoch, state.loss_sum) = (0, 0.0);
        checkpoint::save(&checkpoints, &store, &adam, &state)?;
        saved = Instant::now();
        best::tidy(run, &state)?;
    }
    Ok(Outcome::Finished(state))
}

/// The network, its optimiser and where training stands. A new run gets its first checkpoint and is
/// committed, so that from here on it can be resumed.
fn begin(run: &Run, start: Start, device: Device) -> Result<(VarStore, DenseNet, Adam, State), Fault> {
    tch::manual_seed(run.config.seed as i64);
    let store = VarStore::new(device);
    let mut net = DenseNet::new(&store.root(), &run.widths);
    net.dropout = run.config.dropout;
    match &start {
        Start::From(tensors) => load_weights(&store, tensors).map_err(|error| error.to_string()),
        Start::Pretrained(tensors) => load_pretrained(&store, tensors),
        Start::Fresh | Start::Resume => Ok(()),
    }
    .map_err(|error| Fault::BadData(format!("the weights to start from do not fit: {error}")))?;
    let mut adam = Adam::new(&store, run.config.adam).map_err(torch)?;
    let checkpoints = run.dir.join(CHECKPOINTS_DIR);
    if matches!(start, Start::Resume) {
        let Some(mut state) = checkpoint::restore_newest(&checkpoints, &store, &mut adam)? else {
            return Err(Fault::BadData(format!(
                "{} holds no checkpoint to go on from: start a new run in another directory",
                checkpoints.display()
            )));
        };
        let (epoch, step) = (state.epoch + 1, state.step);
        log::info!("going on in epoch {epoch} after step {step}");
        best::forget_missing(run, &mut state);
        best::tidy(run, &state)?;
        run.commit()?;
        return Ok((store, net, adam, state));
    }
    let state = State::start(run.config.seed);
    checkpoint::save(&checkpoints, &store, &adam, &state)?;
    run.commit()?;
    Ok((store, net, adam, state))
}

/// The rate of the step after `state`.
fn learning_rate(config: &Config, state: &State, steps_per_epoch: u64) -> f64 {
    match config.schedule {
        Schedule::Plateau { .. } => config.adam.lr * state.lr_factor,
        Schedule::Cosine { warmup_steps } => {
            let total = u64::from(config.epochs) * steps_per_epoch;
            if state.step < warmup_steps {
                return config.adam.lr * (state.step + 1) as f64 / warmup_steps as f64;
            }
            let done = (state.step - warmup_steps) as f64 / total.saturating_sub(warmup_steps).max(1) as f64;
            config.adam.lr * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
        }
    }
}

/// Whether so many steps or seconds went by since the last checkpoint.
fn checkpoint_is_due(config: &Config, state: &State, saved: Instant) -> bool {
    state.step.is_multiple_of(config.checkpoint_every_steps)
        || saved.elapsed() >= Duration::from_secs(config.checkpoint_every_s)
}

/// What is left to do after the epoch that `state` is in.
fn later(config: &Config, state: &State, steps_per_epoch: u64, validation_s: f64) -> Later {
    let validations = config.epochs - state.epoch;
    Later { steps: u64::from(validations - 1) * steps_per_epoch, validations, validation_s }
}

/// Notes an epoch with a new lowest validation loss; after another, the rate may fall.
fn judge(config: &Config, state: &mut State, row: &Row) {
    if state.best_loss.is_none_or(|best| row.valid_loss < best) {
        (state.best_loss, state.best_epoch) = (Some(row.valid_loss), Some(row.epoch));
        state.epochs_without_improvement = 0;
        return;
    }
    state.epochs_without_improvement += 1;
    lower_on_plateau(config, state);
}

fn lower_on_plateau(config: &Config, state: &mut State) {
    if let Schedule::Plateau { factor, patience_epochs } = config.schedule
        && state.epochs_without_improvement > patience_epochs
    {
        state.lr_factor *= factor;
        state.epochs_without_improvement = 0;
        log::info!(
            "the validation loss is on a plateau: learning rate {:.1e}",
            config.adam.lr * state.lr_factor
        );
    }
}

/// Refuses splits that nothing can be learned from or measured on.
///
/// # Errors
/// [`Fault::BadData`] naming the split and the class that it lacks.
pub fn require_both_classes(train: &Planes, valid: &Planes) -> Result<(), Fault> {
    for (name, planes) in [("training", train), ("validation", valid)] {
        for (class, wanted) in [("abnormal (positive)", true), ("normal (negative)", false)] {
            if !planes.abnormal.contains(&wanted) {
                return Err(Fault::BadData(format!(
                    "the {name} split has no {class} image among {}: nothing can be learned or measured; \
                     check the study directories' names (study1_positive, study1_negative)",
                    planes.len()
                )));
            }
        }
    }
    Ok(())
}

fn finite(loss: f64, state: &State) -> Result<f64, Fault> {
    if loss.is_finite() {
        return Ok(loss);
    }
    Err(Fault::BadData(format!(
        "the loss is {loss} after step {}: training diverged. The last checkpoint and best.safetensors are \
         kept; start a new run with a lower learning rate (--lr)",
        state.step
    )))
}

fn torch(error: tch::TchError) -> Fault {
    Fault::BadData(format!(
        "libtorch failed: {error}. If it is memory that is short, use a smaller --batch or --size"
    ))
}

#[cfg(test)]
pub(crate) mod tests;
