//! What a run tells of itself while it trains: `metrics.csv`, `curves.svg` and TensorBoard's files.

use super::checkpoint::State;
use super::history::{History, Row};
use super::tensorboard::{Events, StepLoss};
use crate::exit::Fault;
use crate::run::Run;
use crate::train::curves;

/// The run's records, from where training stands.
pub(super) struct Record<'a> {
    run: &'a Run,
    history: History,
    events: Events,
    step_loss: StepLoss,
}

impl<'a> Record<'a> {
    /// Opens the records, less what goes beyond `state`: that is trained again.
    pub(super) fn open(run: &'a Run, state: &State) -> Result<Self, Fault> {
        Ok(Self {
            run,
            history: History::open(&run.dir, state.epoch)?,
            events: Events::open(&run.dir, state.step)?,
            step_loss: StepLoss::new(run.config.log_every_steps, state),
        })
    }

    /// After a step; `sum` reads the sum of the epoch's losses from the device, where that is due.
    pub(super) fn step(&mut self, state: &State, sum: impl FnOnce() -> f64) -> Result<(), Fault> {
        self.step_loss.after(&mut self.events, state, sum)
    }

    /// After an epoch.
    pub(super) fn epoch(&mut self, row: &Row) -> Result<(), Fault> {
        self.history.append(row)?;
        self.events.epoch(row)?;
        curves::draw(self.run, self.history.rows())
    }
}
