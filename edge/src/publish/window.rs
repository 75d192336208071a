//! The messages of one connection that are with the client or the broker and not yet acknowledged, and the
//! rows the broker has refused.
//!
//! rumqttc does not say which packet id a publish got. But there is one publisher and requests are sent in the
//! order they were made, so the oldest message without an id belongs to the next `Outgoing::Publish(pkid)`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::backoff::doubled;

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Birth,
    Status,
    Health,
    Latest,
    /// The last word before a clean stop.
    Farewell,
    /// A row of the outbox.
    Row {
        seq: u64,
    },
}

/// Messages handed to the client and not yet acknowledged.
#[derive(Debug, Default)]
pub(super) struct Window {
    unnamed: VecDeque<(Message, Instant)>,
    named: HashMap<u16, (Message, Instant)>,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.unnamed.len() + self.named.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A message was handed to the client.
    pub(super) fn handed_over(&mut self, message: Message, now: Instant) {
        self.unnamed.push_back((message, now));
    }

    /// The client has sent a publish under `pkid`. `None` when it sent something that nobody gave it.
    pub(super) fn sent(&mut self, pkid: u16) -> Option<&Message> {
        let entry = self.unnamed.pop_front()?;
        Some(&self.named.entry(pkid).insert_entry(entry).into_mut().0)
    }

    /// The broker has acknowledged `pkid`.
    pub(super) fn acknowledged(&mut self, pkid: u16) -> Option<Message> {
        self.named.remove(&pkid).map(|(message, _)| message)
    }

    /// How long the oldest message has waited for its acknowledgement.
    pub(super) fn oldest_wait(&self, now: Instant) -> Duration {
        self.entries().map(|(_, at)| now.duration_since(*at)).max().unwrap_or_default()
    }

    pub(super) fn holds(&self, message: &Message) -> bool {
        self.entries().any(|(held, _)| held == message)
    }

    /// The one row under way; `None` when there are none or several.
    pub(super) fn only_row(&self) -> Option<u64> {
        let mut rows = self.rows();
        let only = rows.next();
        if rows.next().is_some() { None } else { only }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = u64> {
        self.entries().filter_map(|(message, _)| match message {
            Message::Row { seq } => Some(*seq),
            _ => None,
        })
    }

    fn entries(&self) -> impl Iterator<Item = &(Message, Instant)> {
        self.unnamed.iter().chain(self.named.values())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_go_to_messages_in_the_order_of_hand_over() {
        let now = Instant::now();
        let mut window = Window::default();
        for seq in 1..=3 {
            window.handed_over(Message::Row { seq }, now);
        }
        assert_eq!(window.sent(7), Some(&Message::Row { seq: 1 }));
        assert_eq!(window.sent(8), Some(&Message::Row { seq: 2 }));
        assert_eq!(window.acknowledged(8), Some(Message::Row { seq: 2 }));
        assert_eq!(window.acknowledged(8), None);
        assert_eq!(window.sent(8), Some(&Message::Row { seq: 3 }));
        assert_eq!(window.acknowledged(8), Some(Message::Row { seq: 3 }));
        assert_eq!(window.only_row(), Some(1));
        assert_eq!(window.acknowledged(7), Some(Message::Row { seq: 1 }));
        assert!(window.is_empty());
        assert_eq!(window.sent(9), None);
    }

    #[test]
    fn the_oldest_message_sets_the_deadline_even_before_it_is_sent() {
        let now = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.oldest_wait(now), Duration::ZERO);
        window.handed_over(Message::Health, now);
        window.sent(1);
        window.handed_over(Message::Row { seq: 1 }, now + Duration::from_secs(5));
        let later = now + Duration::from_secs(9);
        assert_eq!(window.oldest_wait(later), Duration::from_secs(9));
        window.acknowledged(1);
        assert_eq!(window.oldest_wait(later), Duration::from_secs(4));
    }

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
