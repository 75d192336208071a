//! The two clocks: boot time for waiting, wall time for telling.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Time since the machine booted, sleep included. It never steps, so an NTP correction closes no study.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// When this program was built, in milliseconds since 1970.
pub fn build_ms() -> i64 {
    env!("ULNA_BUILD_EPOCH_S").parse::<i64>().unwrap_or(0).saturating_mul(1000)
}

/// Wall time that never goes back: the largest of the system's clock, the build's time and the last time
/// that was persisted. A board without a real-time clock starts in 1970.
#[derive(Debug)]
pub struct WallClock {
    floor_ms: AtomicI64,
}

impl WallClock {
    /// A clock that is not before `persisted_ms`, milliseconds since 1970.
    pub fn new(persisted_ms: i64) -> Self {
        Self { floor_ms: AtomicI64::new(persisted_ms.max(build_ms())) }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let system_ms = Timestamp::now().as_millisecond();
        self.floor_ms.fetch_max(system_ms, Ordering::Relaxed).max(system_ms)
    }
}

/// Milliseconds since 1970 as a timestamp; a number beyond what a timestamp holds becomes its limit.
pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_never_behind_what_was_persisted_or_built() {
        let future_ms = Timestamp::now().as_millisecond() + 3_600_000;
        let clock = WallClock::new(future_ms);
        assert_eq!(clock.now_ms(), future_ms);
        assert!(WallClock::new(0).now_ms() >= build_ms());
        assert!(build_ms() > 0);
    }

    #[test]
    fn boot_time_moves_forward() {
        let before = boot_time();
        assert!(boot_time() >= before);
    }
}
