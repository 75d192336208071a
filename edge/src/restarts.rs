//! Restarts with growing pauses: a station that keeps ending soon after its start must not keep its board busy loading
//! the model. systemd 252, Debian 12's, always waits the same `RestartSec`.
//!
//! The runtime directory, which systemd keeps between restarts, has the times of the recent starts and why the last one
//! failed. A clean end forgets them.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, thread};

use crate::app::LOAD_MAX;
use crate::clock::boot_time;
use crate::health;

const FILE: &str = "starts";
const REASON: &str = "failure";
/// Starts within this time count.
const WINDOW: Duration = Duration::from_secs(3600);
/// So many starts within it need no pause.
const FREE: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Pauses where this start follows many others; in a service of systemd's only.
pub(crate) fn pause() {
    let Some(dir) = runtime_directory() else { return };
    let starts = count(&dir, boot_time());
    let reason = fs::read_to_string(dir.join(REASON));
    // It is of the start just before this one: one that crashes leaves none.
    let _ = fs::remove_file(dir.join(REASON));
    let pause = pause_after(starts);
    if pause.is_zero() {
        return;
    }
    let reason = reason.unwrap_or_else(|_| "it ended without saying why; see the journal".to_owned());
    let said = format!(
        "waiting {} s before start {} within an hour. The last one: {reason}",
        pause.as_secs(),
        starts + 1
    );
    log::warn!("{said}");
    health::say(&said);
    health::extend_start(pause + LOAD_MAX);
    thread::sleep(pause);
}

/// Notes why this start fails, for the pause before the next.
pub(crate) fn failed(reason: &str) {
    if let Some(dir) = runtime_directory()
        && let Err(error) = fs::write(dir.join(REASON), reason)
    {
        log::debug!("the reason cannot be kept: {error}");
    }
}

/// Forgets the starts so far: the next one was asked for.
pub(crate) fn forget() {
    if let Some(dir) = runtime_directory() {
        // What is not there is forgotten.
        let _ = fs::remove_file(dir.join(FILE));
        let _ = fs::remove_file(dir.join(REASON));
    }
}

fn runtime_directory() -> Option<PathBuf> {
    env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from)
}

/// Notes a start, and says how many there were within the hour before it.
fn count(dir: &Path, now: Duration) -> u32 {
    let file = dir.join(FILE);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let times = text.lines().filter_map(|line| line.parse::<u64>().ok());
    let mut recent: Vec<u64> =
        times.filter(|at| (now.as_secs().saturating_sub(*at)) < WINDOW.as_secs()).collect();
    let before = u32::try_from(recent.len()).unwrap_or(u32::MAX);
    recent.push(now.as_secs());
    let lines: Vec<String> = recent.iter().map(u64::to_string).collect();
    if let Err(error) = fs::write(&file, lines.join("\n")) {
        log::debug!("{} cannot be written: {error}", file.display());
    }
    before
}

/// Doubled with every start beyond the free ones.
fn pause_after(starts: u32) -> Duration {
    match starts.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(further) => PAUSE_MIN.saturating_mul(1 << further.min(16)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<u64> = (0..10).map(|starts| pause_after(starts).as_secs()).collect();
        assert_eq!(pauses, [0, 0, 0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pause_after(u32::MAX), PAUSE_MAX);
    }

    #[test]
    fn starts_count_for_an_hour() {
        let dir = tempfile::tempdir().unwrap();
        let at = |seconds| count(dir.path(), Duration::from_secs(seconds));
        assert_eq!([at(10), at(20), at(30), at(3605), at(3700)], [0, 1, 2, 3, 1]);
        fs::write(dir.path().join(FILE), "nonsense\n\u{0}").unwrap();
        assert_eq!(at(3800), 0);
        assert_eq!(count(&dir.path().join("missing"), Duration::ZERO), 0);
    }
}
