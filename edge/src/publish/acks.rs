//! Acknowledgements on their way into the store.
//!
//! Each commit waits for the disk, so they are committed together: when no row is under way any more, when there are
//! many, or after a short while. What a crash keeps from being committed is sent again, under the same key.

use std::time::{Duration, Instant};

/// Acknowledgements in one commit, at most.
const BATCH_MAX: usize = 128;
/// How long the first of them waits for others.
const DELAY_MAX: Duration = Duration::from_millis(200);

/// Acknowledged by the broker and not yet committed.
#[derive(Debug, Default)]
pub(super) struct Acks {
    results: Vec<u64>,
    tombstones: Vec<u64>,
    due: Option<Instant>,
}

impl Acks {
    pub(super) fn add_result(&mut self, seq: u64, now: Instant) {
        self.results.push(seq);
        self.due.get_or_insert(now + DELAY_MAX);
    }

    pub(super) fn add_tombstone(&mut self, seq: u64, now: Instant) {
        self.tombstones.push(seq);
        self.due.get_or_insert(now + DELAY_MAX);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_none()
    }

    /// By when they are to be committed; `None` while there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether they must not wait for more of their kind.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        self.results.len() + self.tombstones.len() >= BATCH_MAX || self.due.is_some_and(|due| due <= now)
    }

    /// Results and tombstones, which are then no longer here.
    pub(super) fn take(&mut self) -> (Vec<u64>, Vec<u64>) {
        self.due = None;
        (std::mem::take(&mut self.results), std::mem::take(&mut self.tombstones))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_wait_for_each_other_but_not_for_long() {
        let now = Instant::now();
        let mut acks = Acks::default();
        assert!(acks.is_empty() && acks.due().is_none() && !acks.are_due(now + DELAY_MAX));
        acks.add_result(7, now);
        acks.add_tombstone(3, now + DELAY_MAX / 2);
        assert!(!acks.are_due(now + DELAY_MAX / 2));
        assert!(acks.are_due(now + DELAY_MAX), "the first one has waited long enough");
        assert_eq!(acks.take(), (vec![7], vec![3]));
        assert!(acks.is_empty());
        (0..BATCH_MAX as u64).for_each(|seq| acks.add_result(seq, now));
        assert!(acks.are_due(now), "there are many");
    }
}
