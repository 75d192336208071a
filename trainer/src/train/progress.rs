//! What training tells while it runs: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// What comes after the epoch that is running.
#[derive(Clone, Copy, Default)]
pub(super) struct Later {
    /// Steps of the epochs to come.
    pub(super) steps: u64,
    /// Validations to come, with this epoch's.
    pub(super) validations: u32,
    /// Seconds that the last validation took.
    pub(super) validation_s: f64,
}

/// Progress through one epoch.
pub(super) struct Progress {
    later: Later,
    bar: Option<ProgressBar>,
    title: String,
    images: usize,
    steps: u64,
    first_step: u64,
    started: Instant,
    line_at: Instant,
}

impl Progress {
    /// Of an epoch of `steps` steps, of which `done` were taken before.
    pub(super) fn new(title: String, steps: u64, done: u64, later: Later) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(title.clone());
            bar.set_position(done);
            bar
        });
        let started = Instant::now();
        Self { later, bar, title, images: 0, steps, first_step: done, started, line_at: started }
    }

    /// After a step over `images` images; `step` counts from 1 in the epoch.
    pub(super) fn step(&mut self, step: u64, images: usize) {
        self.images += images;
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(self.pace(step));
        } else if self.line_at.elapsed() >= LINE_EVERY {
            self.line_at = Instant::now();
            log::info!("{}: step {step} of {}, {}", self.title, self.steps, self.pace(step));
        }
    }

    /// The rate, and the time that is left to the epoch's last step and to the end of the run.
    fn pace(&self, step: u64) -> String {
        let per_step = self.seconds() / (step - self.first_step).max(1) as f64;
        let epoch_s = (self.steps - step) as f64 * per_step;
        let run_s = epoch_s
            + self.later.steps as f64 * per_step
            + f64::from(self.later.validations) * self.later.validation_s;
        let left = |seconds: f64| FormattedDuration(Duration::from_secs(seconds as u64));
        format!("{:.1} images/s, {} left ({} of the run)", self.images_per_s(), left(epoch_s), left(run_s))
    }

    /// Images per second since the epoch was begun or resumed.
    pub(super) fn images_per_s(&self) -> f64 {
        self.images as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Seconds since the epoch was begun or resumed.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Whether steps of this epoch were taken before it was resumed.
    pub(super) fn resumed(&self) -> bool {
        self.first_step > 0
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
