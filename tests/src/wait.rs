//! Waiting for something to become true, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Asks every 20 ms until `found` gives something.
///
/// # Errors
/// When it has not after `timeout`; the error says `what` was waited for.
pub fn until<T>(what: &str, timeout: Duration, mut found: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = found() {
            return Ok(value);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "gave up after {} s waiting for {what}",
            timeout.as_secs()
        );
        thread::sleep(Duration::from_millis(20));
    }
}
