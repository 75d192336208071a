//! What training tells while it runs: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Progress through one epoch.
pub(super) struct Progress {
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
    pub(super) fn new(title: String, steps: u64, done: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} ETA {eta}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(title.clone());
            bar.set_position(done);
            bar
        });
        let started = Instant::now();
        Self { bar, title, images: 0, steps, first_step: done, started, line_at: started }
    }

    /// After a step over `images` images; `step` counts from 1 in the epoch.
    pub(super) fn step(&mut self, step: u64, images: usize) {
        self.images += images;
        let rate = self.images_per_s();
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(format!("{rate:.1} images/s"));
        } else if self.line_at.elapsed() >= LINE_EVERY {
            self.line_at = Instant::now();
            log::info!("{}: step {step} of {}, {rate:.1} images/s", self.title, self.steps);
        }
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
