//! Training: one loop, in [`train`], that can be stopped at any step and goes on exactly where it stopped.

mod batch;
pub mod checkpoint;
mod config;
mod history;
mod loss;
mod optim;
mod progress;
mod validate;

use std::collections::HashMap;

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

pub use batch::sample;
pub use checkpoint::State;
pub use config::{AdamConfig, AugmentConfig, Config, LossWeights, Schedule};
pub use loss::{ClassWeights, Pair};
pub use optim::Adam;

use crate::dataset::Planes;
use crate::exit::Fault;
use crate::model::{DenseNet, Tensors, load_weights, tensors_to_bytes};
use crate::run::files::write_atomic;
use crate::run::{CHECKPOINTS_DIR, Run};
use batch::{Batches, steps_per_epoch};
use history::{History, Row};
use progress::Progress;
use validate::validate;

/// What training starts from.
#[derive(Debug)]
pub enum Start {
    /// Random weights that follow from the seed.
    Fresh,
    /// These weights, by torchvision's names; all must fit.
    From(Tensors),
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
    let checkpoints = run.dir.join(CHECKPOINTS_DIR);
    let (store, net, mut adam, mut state) = begin(run, start, device)?;
    let mut history = History::open(&run.dir, state.epoch)?;
    let steps = steps_per_epoch(train.len(), config.batch);

    while state.epoch < config.epochs {
        let mut batches = Batches::of_epoch(train, config, device, &state)?;
        let title = format!("epoch {} of {}", state.epoch + 1, config.epochs);
        let mut progress = Progress::new(title.clone(), steps, state.step_in_epoch);
        let mut loss_sum = Tensor::from(state.loss_sum).to_device(device);
        while state.step_in_epoch < steps {
            let (indices, input) = batches.next()?;
            tch::manual_seed((state.seed ^ state.step.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i64);
            adam.zero_gradients();
            let loss = weights.loss(&net.forward_t(&input, true).logit, train, &indices);
            loss.f_backward().map_err(torch)?;
            adam.step(learning_rate(config, &state, steps));
            loss_sum += loss.detach().to_kind(Kind::Double);
            state.step += 1;
            state.step_in_epoch += 1;
            progress.step(state.step_in_epoch, indices.len());

            let stopping = stop();
            if stopping || state.step.is_multiple_of(config.checkpoint_every_steps) {
                state.loss_sum = finite(loss_sum.double_value(&[]), &state)?;
                checkpoint::save(&checkpoints, &store, &adam, &state)?;
            }
            if stopping {
                progress.finish();
                return Ok(Outcome::Stopped(state));
            }
        }
        state.loss_sum = finite(loss_sum.double_value(&[]), &state)?;
        let rate = progress.images_per_s();
        let Some(validation) = validate(&net, valid, &weights, device, config.batch, stop)? else {
            progress.finish();
            checkpoint::save(&checkpoints, &store, &adam, &state)?;
            return Ok(Outcome::Stopped(state));
        };
        let valid_loss = finite(validation.loss, &state)?;

        let row = Row {
            epoch: state.epoch + 1,
            step: state.step,
            lr: learning_rate(config, &State { step: state.step - 1, ..state.clone() }, steps),
            train_loss: state.loss_sum / steps as f64,
            valid_loss,
            valid_auroc: validation.study_auroc,
            images_per_s: rate,
            seconds: progress.seconds(),
        };
        progress.finish();
        log::info!("{title}: {row}{}", if progress.resumed() { " (resumed)" } else { "" });
        judge(run, &store, &mut state, &row)?;
        history.append(&row)?;
        state.epoch += 1;
        (state.step_in_epoch, state.loss_sum) = (0, 0.0);
        checkpoint::save(&checkpoints, &store, &adam, &state)?;
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
    if let Start::From(tensors) = &start {
        load_weights(&store, tensors)
            .map_err(|error| Fault::BadData(format!("the weights to start from do not fit: {error}")))?;
    }
    let mut adam = Adam::new(&store, run.config.adam).map_err(torch)?;
    let checkpoints = run.dir.join(CHECKPOINTS_DIR);
    if matches!(start, Start::Resume) {
        let Some(state) = checkpoint::restore_newest(&checkpoints, &store, &mut adam)? else {
            return Err(Fault::BadData(format!(
                "{} holds no checkpoint to go on from: start a new run in another directory",
                checkpoints.display()
            )));
        };
        let (epoch, step) = (state.epoch + 1, state.step);
        log::info!("going on in epoch {epoch} after step {step}");
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

/// Keeps the weights of an epoch with a new lowest validation loss; after another, the rate may fall.
fn judge(run: &Run, store: &VarStore, state: &mut State, row: &Row) -> Result<(), Fault> {
    if state.best_loss.is_none_or(|best| row.valid_loss < best) {
        (state.best_loss, state.best_epoch) = (Some(row.valid_loss), Some(row.epoch));
        state.epochs_without_improvement = 0;
        return save_best(run, store, row.epoch, row.valid_loss);
    }
    state.epochs_without_improvement += 1;
    lower_on_plateau(&run.config, state);
    Ok(())
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

fn save_best(run: &Run, store: &VarStore, epoch: u32, valid_loss: f64) -> Result<(), Fault> {
    let variables: Vec<_> = store.variables().into_iter().collect();
    // One key only: a map of several would be written in another order each time.
    let facts = HashMap::from([("epoch".to_owned(), format!("{epoch}, validation loss {valid_loss}"))]);
    let bytes = tensors_to_bytes(&variables, facts)
        .map_err(|error| Fault::BadData(format!("serialising the best weights: {error}")))?;
    write_atomic(&run.best_path(), &bytes)
}

fn require_both_classes(train: &Planes, valid: &Planes) -> Result<(), Fault> {
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
