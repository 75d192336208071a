//! The messages of one connection that are with the client or the broker and not yet acknowledged.
//!
//! rumqttc does not say which packet id a publish got. But there is one publisher and requests are sent in the
//! order they were made, so the oldest message without an id belongs to the next `Outgoing::Publish(pkid)`.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    Birth,
    Status,
    Health,
    Latest,
    /// What makes the station a device in Home Assistant.
    Discovery,
    /// The last word before a clean stop.
    Farewell,
    /// The answer to a command, by its ticket in the mailbox.
    Answer {
        ticket: u64,
    },
    /// A result of the outbox.
    Row {
        seq: u64,
    },
    /// What is said in place of a result.
    Tombstone {
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

    /// Whether a result or a tombstone is under way.
    pub(super) fn has_rows(&self) -> bool {
        self.entries().any(|(message, _)| matches!(message, Message::Row { .. } | Message::Tombstone { .. }))
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
}
