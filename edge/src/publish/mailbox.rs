//! Commands on their way in and their answers on their way out: all that the session shares with those who execute them.
//!
//! The session puts in what the broker delivers below the station's `cmd/`, and takes out answers. An answer stays here
//! until the broker has acknowledged it, over any number of connections; one that the broker hangs up on again and again
//! is given up, so that results keep flowing. Both ways are bounded, in messages and in bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::flood::Flood;
use crate::store::AckKey;
use crate::wake::Wake;

/// Longest command; of a longer message no more is kept than shows that it is too long.
pub const COMMAND_MAX_BYTES: usize = 64 << 10;
/// Messages that wait to be looked at.
const ARRIVED_MAX: usize = 64;
/// Answers that wait for the broker and are not in the store: refusals.
const UNSTORED_MAX: usize = 256;
/// Lost connections after which an answer that was under way is given up.
const LOSSES_MAX: u32 = 5;

/// A message below the station's `cmd/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// What follows `cmd/` in its topic.
    pub below: String,
    /// Its bytes, [`COMMAND_MAX_BYTES`] and one at most.
    pub payload: Vec<u8>,
}

/// An answer to be published, not retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Its place in the store, where it has one.
    pub stored: Option<AckKey>,
}

/// The mailbox.
#[derive(Debug)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    arrival: Wake,
    requeued: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    arrived: VecDeque<Arrived>,
    lost: u64,
    answers: VecDeque<Entry>,
    next_ticket: u64,
    refused: Flood,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    answer: Answer,
    under_way: bool,
    losses: u32,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { inner: Mutex::default(), arrival: Wake::new(1), requeued: AtomicBool::new(false) }
    }
}

impl Mailbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a message, at most for `patience`.
    pub fn wait(&self, patience: Duration) {
        self.arrival.wait(patience);
    }

    /// Ends somebody's waiting.
    pub fn wake(&self) {
        self.arrival.wake();
    }

    /// The oldest message that was not looked at.
    pub fn take(&self) -> Option<Arrived> {
        self.inner().arrived.pop_front()
    }

    /// Messages that found no room since this was asked last.
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.inner().lost)
    }

    /// Gives an answer to be published. Says whether there was room; one that is in the store always has it.
    pub fn answer(&self, answer: Answer) -> bool {
        let mut inner = self.inner();
        let unstored = inner.answers.iter().filter(|entry| entry.answer.stored.is_none()).count();
        if answer.stored.is_none() && unstored >= UNSTORED_MAX {
            return false;
        }
        inner.next_ticket += 1;
        let ticket = inner.next_ticket;
        inner.answers.push_back(Entry { ticket, answer, under_way: false, losses: 0 });
        true
    }

    /// Results were put back into the outbox, behind what the session has read.
    pub fn say_requeued(&self) {
        self.requeued.store(true, Ordering::Release);
    }

    pub(super) fn was_requeued(&self) -> bool {
        self.requeued.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn deliver(&self, below: String, payload: &[u8]) {
        let mut inner = self.inner();
        if inner.arrived.len() >= ARRIVED_MAX {
            inner.lost += 1;
        } else {
            let payload = payload[..payload.len().min(COMMAND_MAX_BYTES + 1)].to_vec();
            inner.arrived.push_back(Arrived { below, payload });
        }
        drop(inner);
        self.arrival.wake();
    }

    /// The oldest answer that is not under way; from now on it is.
    pub(crate) fn next(&self) -> Option<(u64, Answer)> {
        let mut inner = self.inner();
        let entry = inner.answers.iter_mut().find(|entry| !entry.under_way)?;
        entry.under_way = true;
        Some((entry.ticket, entry.answer.clone()))
    }

    /// The broker has an answer, or never will.
    pub(crate) fn done(&self, ticket: u64) -> Option<Answer> {
        let mut inner = self.inner();
        let at = inner.answers.iter().position(|entry| entry.ticket == ticket)?;
        inner.answers.remove(at).map(|entry| entry.answer)
    }

    /// The broker did not take an answer; gives how many the line in the log is about, when one is due.
    pub(super) fn refused(&self) -> Option<u64> {
        self.inner().refused.add(1, Instant::now())
    }

    /// The connection is gone: answers that were under way are to be sent again. Gives those that are given up.
    pub(super) fn connection_lost(&self) -> Vec<Answer> {
        let mut inner = self.inner();
        for entry in &mut inner.answers {
            entry.losses += u32::from(entry.under_way);
            entry.under_way = false;
        }
        let (kept, given_up): (VecDeque<Entry>, VecDeque<Entry>) =
            std::mem::take(&mut inner.answers).into_iter().partition(|entry| entry.losses < LOSSES_MAX);
        inner.answers = kept;
        given_up.into_iter().map(|entry| entry.answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(topic: &str, stored: bool) -> Answer {
        let key = AckKey { id: topic.to_owned(), number: 1 };
        Answer { topic: topic.to_owned(), payload: b"{}".to_vec(), stored: stored.then_some(key) }
    }

    #[test]
    fn what_arrives_is_bounded_in_messages_and_bytes() {
        let mailbox = Mailbox::default();
        mailbox.deliver("ping/a".to_owned(), &vec![b'x'; COMMAND_MAX_BYTES * 3]);
        for _ in 0..ARRIVED_MAX + 9 {
            mailbox.deliver("ping/b".to_owned(), b"x");
        }
        assert_eq!(mailbox.take().unwrap().payload.len(), COMMAND_MAX_BYTES + 1);
        assert_eq!(std::iter::from_fn(|| mailbox.take()).count(), ARRIVED_MAX - 1);
        assert_eq!((mailbox.take_lost(), mailbox.take_lost()), (10, 0));
    }

    #[test]
    fn an_answer_stays_until_the_broker_has_it() {
        let mailbox = Mailbox::default();
        assert!(mailbox.answer(answer("a", true)) && mailbox.answer(answer("b", false)));
        let (first, _) = mailbox.next().unwrap();
        let (second, sent) = mailbox.next().unwrap();
        assert_eq!((sent.topic.as_str(), mailbox.next()), ("b", None));
        assert_eq!(mailbox.done(first).unwrap().topic, "a");
        assert!(mailbox.connection_lost().is_empty());
        assert_eq!(mailbox.next().unwrap().0, second, "it is sent again");
        assert_eq!(mailbox.done(first), None);
    }

    #[test]
    fn an_answer_that_ends_every_connection_is_given_up_alone() {
        let mailbox = Mailbox::default();
        mailbox.answer(answer("poison", true));
        for _ in 1..LOSSES_MAX {
            mailbox.next().unwrap();
            assert!(mailbox.connection_lost().is_empty());
        }
        mailbox.next().unwrap();
        mailbox.answer(answer("later", true));
        assert_eq!(mailbox.connection_lost(), [answer("poison", true)]);
        assert_eq!(mailbox.next().unwrap().1, answer("later", true));
    }

    #[test]
    fn refusals_are_bounded_and_stored_answers_are_not() {
        let mailbox = Mailbox::default();
        assert!((0..UNSTORED_MAX).all(|_| mailbox.answer(answer("r", false))));
        assert!(!mailbox.answer(answer("r", false)));
        assert!(mailbox.answer(answer("s", true)));
    }
}
