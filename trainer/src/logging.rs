//! Log lines on standard error: time, level, message.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    /// Of the JPEG 2000 decoder only warnings and errors: it reports each header that it has read.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn || !metadata.target().starts_with("jpeg2k")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = jiff::Timestamp::now();
        // A closed standard error is no reason to stop a training run.
        let _ = writeln!(std::io::stderr().lock(), "{now:.3} {:<5} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Starts logging; a second call changes the level only.
pub fn init(level: LevelFilter) {
    // Err means that a logger is there already, ours.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(level);
}
