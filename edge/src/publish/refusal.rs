//! What the broker refuses: for how long a row rests, and when it is set aside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::PubAckReason;

use super::backoff::doubled;
use super::session::{Link, Loss, Memory};

/// Rows the broker has refused, and when each may be tried again. The others flow past them.
#[derive(Debug)]
pub(super) struct Refusals {
    first_wait: Duration,
    longest_wait: Duration,
    rows: BTreeMap<u64, Refusal>,
}

#[derive(Debug)]
struct Refusal {
    times: u32,
    /// `None` while it is being tried again.
    due: Option<Instant>,
}

impl Refusals {
    pub(super) fn new(first_wait: Duration, longest_wait: Duration) -> Self {
        Self { first_wait, longest_wait, rows: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.rows.contains_key(&seq)
    }

    /// The broker has refused a row; returns how long it rests.
    pub(super) fn add(&mut self, seq: u64, now: Instant) -> Duration {
        let row = self.rows.entry(seq).or_insert(Refusal { times: 0, due: None });
        let wait = doubled(self.first_wait, row.times.saturating_mul(2), self.longest_wait);
        row.times = row.times.saturating_add(1);
        row.due = Some(now + wait);
        wait
    }

    /// The row is acknowledged or set aside for good.
    pub(super) fn remove(&mut self, seq: u64) {
        self.rows.remove(&seq);
    }

    /// The oldest row that may be tried again; it is then under way.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        let (seq, row) = self.rows.iter_mut().find(|(_, row)| row.due.is_some_and(|due| due <= now))?;
        row.due = None;
        Some(*seq)
    }

    /// The connection is gone: what was under way must be tried again.
    pub(super) fn connection_lost(&mut self, now: Instant) {
        for row in self.rows.values_mut() {
            row.due.get_or_insert(now);
        }
    }
}

/// Counts a permanent refusal; the store sets the row aside after several.
pub(super) fn refuse(seq: u64, why: &str, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
    let dead = link.store.failed(seq, why)?;
    link.broker.change(|state| state.results_refused += 1);
    if dead {
        memory.refusals.remove(seq);
        log::error!(seq; "a result is set aside, the broker refuses it for good ({why}); see the outbox");
    } else {
        let rest = memory.refusals.add(seq, Instant::now());
        log::warn!(seq, rest_ms = rest.as_millis() as u64; "the broker refused a result ({why}); trying again");
    }
    Ok(())
}

/// What an acknowledgement's reason means for its message.
pub(super) enum Verdict {
    Accepted,
    /// It will be refused again until somebody changes something.
    Permanent(&'static str),
    /// The broker may take it later.
    Temporary(&'static str),
}

impl Verdict {
    pub(super) fn of(reason: PubAckReason) -> Self {
        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Self::Accepted,
            PubAckReason::NotAuthorized => Self::Permanent("not authorised"),
            PubAckReason::TopicNameInvalid => Self::Permanent("topic name invalid"),
            PubAckReason::PayloadFormatInvalid => Self::Permanent("payload format invalid"),
            PubAckReason::ImplementationSpecificError => Self::Permanent("implementation specific error"),
            PubAckReason::QuotaExceeded => Self::Temporary("quota exceeded"),
            PubAckReason::PacketIdentifierInUse => Self::Temporary("packet identifier in use"),
            PubAckReason::UnspecifiedError => Self::Temporary("unspecified error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_rows_rest_longer_each_time_and_return_after_a_lost_connection() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut refusals = Refusals::new(second, 10 * second);
        assert_eq!(refusals.add(4, now), second);
        assert_eq!(refusals.take_due(now), None);
        assert_eq!(refusals.take_due(now + second), Some(4));
        assert_eq!(refusals.take_due(now + second), None, "it is under way");
        assert_eq!(refusals.add(4, now), 4 * second);
        assert_eq!(refusals.add(4, now), 10 * second);
        assert_eq!(refusals.take_due(now + 10 * second), Some(4));
        refusals.connection_lost(now);
        assert_eq!(refusals.take_due(now), Some(4));
        refusals.remove(4);
        assert!(refusals.is_empty());
    }
}
