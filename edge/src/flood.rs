//! What a broken or hostile sender can make happen without end: counted, and said now and then.

use std::time::{Duration, Instant};

/// A flood is one line of the log in this time.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Counts one kind, and says when a line is due.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    count: u64,
    unsaid: u64,
    said_at: Option<Instant>,
}

impl Flood {
    /// Adds some; gives how many the line is about, when one is due.
    pub(crate) fn add(&mut self, more: u64, now: Instant) -> Option<u64> {
        self.count += more;
        self.unsaid += more;
        if self.said_at.is_some_and(|at| now.duration_since(at) < SAY_EVERY) {
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }

    /// All of them so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_whole_and_said_once_a_minute() {
        let start = Instant::now();
        let mut flood = Flood::default();
        assert_eq!(flood.add(1, start), Some(1));
        assert!((1..=500).all(|second| flood.add(2, start + Duration::from_millis(second)).is_none()));
        assert_eq!(flood.add(1, start + SAY_EVERY), Some(1001));
        assert_eq!(flood.count(), 1002);
    }
}
