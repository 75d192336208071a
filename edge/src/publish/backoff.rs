//! Waiting longer after each failure, with jitter, so that a thousand stations do not come back at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::MqttConfig;

/// Exponential backoff between `min` and `max`.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(config: &MqttConfig) -> Self {
        Self {
            min: Duration::from_millis(config.backoff_min_ms),
            max: Duration::from_millis(config.backoff_max_ms),
            failures: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: between half of the full wait and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let full = doubled(self.min, self.failures, self.max);
        self.failures = self.failures.saturating_add(1);
        // The hasher's seed comes from the system; nothing more is asked of this randomness.
        let bits = RandomState::new().build_hasher().finish();
        full.mul_f64(0.5 + 0.5 * (bits as f64 / u64::MAX as f64))
    }
}

/// `first`, doubled `times` times, at most `max`.
pub(super) fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_start_again() {
        let config = MqttConfig { backoff_min_ms: 100, backoff_max_ms: 1000, ..MqttConfig::default() };
        let mut backoff = Backoff::new(&config);
        for full_ms in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next();
            let full = Duration::from_millis(full_ms);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} for {full:?}");
        }
        backoff.failures = 1000;
        assert!(backoff.next() <= Duration::from_secs(1));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
