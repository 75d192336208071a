//! What is said in the log about a broker that is away: one line when it goes, one when it is back, and in
//! between a reminder now and then. A dead broker must not fill the disk with its absence.

use std::time::{Duration, Instant};

const REMIND_EVERY: Duration = Duration::from_secs(600);
/// A new reason is worth a line of its own, but not more often than this.
const NEW_REASON_EVERY: Duration = Duration::from_secs(60);

/// What to say now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Say {
    Nothing,
    /// It has just gone.
    Lost,
    /// It is still away.
    Still {
        attempts: u64,
        away: Duration,
    },
    /// It is back.
    Back {
        attempts: u64,
        away: Duration,
    },
}

/// Follows one broker.
#[derive(Debug, Default)]
pub(super) struct Outage {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    since: Instant,
    attempts: u64,
    said_at: Instant,
    said_reason: String,
}

impl Outage {
    /// A connection failed or ended, for `reason`.
    pub(super) fn failed(&mut self, reason: &str, now: Instant) -> Say {
        let Some(current) = &mut self.current else {
            let said_reason = reason.to_owned();
            self.current = Some(Current { since: now, attempts: 1, said_at: now, said_reason });
            return Say::Lost;
        };
        current.attempts += 1;
        let quiet = now.duration_since(current.said_at);
        let news = reason != current.said_reason && quiet >= NEW_REASON_EVERY;
        if !news && quiet < REMIND_EVERY {
            return Say::Nothing;
        }
        current.said_at = now;
        reason.clone_into(&mut current.said_reason);
        Say::Still { attempts: current.attempts, away: now.duration_since(current.since) }
    }

    /// The broker has acknowledged something.
    pub(super) fn back(&mut self, now: Instant) -> Say {
        match self.current.take() {
            None => Say::Nothing,
            Some(current) => {
                Say::Back { attempts: current.attempts, away: now.duration_since(current.since) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_without_a_broker_is_few_lines() {
        let start = Instant::now();
        let mut outage = Outage::default();
        assert_eq!(outage.failed("refused", start), Say::Lost);
        let minute = Duration::from_secs(60);
        let lines = (1..=24 * 60)
            .filter(|minutes| outage.failed("refused", start + minute * *minutes) != Say::Nothing)
            .count();
        assert_eq!(lines, 24 * 6);
        assert_eq!(
            outage.back(start + minute * 24 * 60),
            Say::Back { attempts: 24 * 60 + 1, away: minute * 24 * 60 }
        );
        assert_eq!(outage.back(start + minute * 24 * 60), Say::Nothing);
        assert_eq!(outage.failed("refused", start + minute * 24 * 60), Say::Lost);
    }

    #[test]
    fn another_reason_is_said_soon_but_not_each_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut outage = Outage::default();
        outage.failed("refused", start);
        assert_eq!(outage.failed("no such host", start + second), Say::Nothing);
        assert!(matches!(outage.failed("no such host", start + 61 * second), Say::Still { attempts: 3, .. }));
        assert_eq!(outage.failed("refused", start + 62 * second), Say::Nothing);
    }
}
