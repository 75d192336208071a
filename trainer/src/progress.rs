//! Progress bars: on standard error, and only where that is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts up to `total`, or just counts when that is not known. `doing` is such as `reading`,
/// `things` such as `images`. Hidden when standard error is not a terminal.
pub fn bar(total: Option<u64>, doing: &'static str, things: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{msg} {wide_bar} {pos}/{len} THINGS, {per_sec}, {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {pos} THINGS, {per_sec}"),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    let bar = bar.with_message(doing);
    match ProgressStyle::with_template(&template.replace("THINGS", things)) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
