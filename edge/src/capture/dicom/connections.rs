//! Who is connected, and which studies that holds open.
//!
//! Connections that have not agreed on an association yet are few and short-lived: when there are too many the oldest
//! is dropped, so that peers that never say anything cannot keep a real one out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::boot_time;

/// Connections without an association.
const PENDING_MAX: usize = 16;
/// How long a study is held open by an association that brings nothing more for it: some senders keep theirs open for
/// the whole day.
const STUDY_HOLD_MAX: Duration = Duration::from_secs(300);
/// How long an object whose study is not known yet holds all studies open.
const OBJECT_HOLD_MAX: Duration = Duration::from_secs(60);

/// The open connections. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next: u64,
    open: BTreeMap<u64, Connection>,
    closing: bool,
}

struct Connection {
    socket: TcpStream,
    state: State,
    /// Since when an object is coming in, boot time.
    receiving_since: Option<Duration>,
    /// The studies it brought images of, and when it brought the last one.
    studies: BTreeMap<String, Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    /// Dropped while pending; its thread is about to end.
    Dropped,
    Associated,
}

/// What the open associations hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The origins of studies that may get more images.
    pub(super) studies: BTreeSet<String>,
    /// Whether an object is coming in of which it is not known to which study it belongs.
    pub(super) unknown: bool,
}

/// A connection's place among the open ones; given up when dropped.
pub(super) struct Ticket {
    id: u64,
    connections: Connections,
}

impl Connections {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in; `None` when it must be dropped, because there are too many or all are being closed.
    pub(super) fn admit(&self, socket: &TcpStream, associations_max: usize) -> Option<Ticket> {
        let socket = socket.try_clone().ok()?;
        let mut inner = self.inner();
        if inner.closing || inner.open.len() >= 2 * PENDING_MAX + associations_max {
            return None;
        }
        let pending = || inner.open.iter().filter(|(_, open)| open.state == State::Pending);
        if pending().count() >= PENDING_MAX
            && let Some(oldest) = pending().map(|(id, _)| *id).next()
            && let Some(oldest) = inner.open.get_mut(&oldest)
        {
            oldest.state = State::Dropped;
            let _ = oldest.socket.shutdown(Shutdown::Both);
        }
        let id = inner.next;
        inner.next += 1;
        let connection =
            Connection { socket, state: State::Pending, receiving_since: None, studies: BTreeMap::new() };
        inner.open.insert(id, connection);
        Some(Ticket { id, connections: self.clone() })
    }

    /// What is held open at `now`, boot time.
    pub(super) fn held(&self, now: Duration) -> Held {
        let inner = self.inner();
        let mut held = Held::default();
        for connection in inner.open.values() {
            let recent = |since: &Duration, max: Duration| now.saturating_sub(*since) < max;
            held.unknown |= connection.receiving_since.is_some_and(|since| recent(&since, OBJECT_HOLD_MAX));
            let studies = connection.studies.iter().filter(|(_, last)| recent(last, STUDY_HOLD_MAX));
            held.studies.extend(studies.map(|(origin, _)| origin.clone()));
        }
        held
    }

    /// Lets nobody in any more and reads nothing more; an answer that is being given still goes out.
    pub(super) fn close(&self) {
        let mut inner = self.inner();
        inner.closing = true;
        for connection in inner.open.values() {
            let _ = connection.socket.shutdown(Shutdown::Read);
        }
    }

    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.inner().open.is_empty()
    }
}

impl Ticket {
    /// Counts the connection as an association; false when there are `max` already.
    pub(super) fn associate(&self, max: usize) -> bool {
        let mut inner = self.connections.inner();
        let associations = inner.open.values().filter(|open| open.state == State::Associated).count();
        match inner.open.get_mut(&self.id) {
            Some(connection) if associations < max && connection.state == State::Pending => {
                connection.state = State::Associated;
                true
            }
            _ => false,
        }
    }

    /// An object is coming in, or no more.
    pub(super) fn receiving(&self, receiving: bool) {
        self.change(|connection| connection.receiving_since = receiving.then(boot_time));
    }

    /// An image of this origin was accepted.
    pub(super) fn brought(&self, origin: &str) {
        self.change(|connection| {
            let now = boot_time();
            // What is not held any more need not be remembered.
            connection.studies.retain(|_, last| now.saturating_sub(*last) < STUDY_HOLD_MAX);
            connection.studies.insert(origin.to_owned(), now);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.inner().open.get_mut(&self.id) {
            change(connection);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connections.inner().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Two ends of a connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, peer)
    }

    #[test]
    fn an_association_holds_its_studies_until_it_ends_or_forgets_them() {
        let connections = Connections::default();
        let (socket, _peer) = pair();
        let ticket = connections.admit(&socket, 4).unwrap();
        assert!(ticket.associate(4));
        ticket.brought("dicom/XR_HAND/1");
        ticket.receiving(true);
        let now = boot_time();
        let held = connections.held(now);
        assert_eq!((held.studies.len(), held.unknown), (1, true));
        assert!(held.studies.contains("dicom/XR_HAND/1"));
        assert!(!connections.held(now + OBJECT_HOLD_MAX).unknown, "a trickle holds nothing up for ever");
        assert!(connections.held(now + STUDY_HOLD_MAX).studies.is_empty());
        drop(ticket);
        assert_eq!(connections.held(now), Held::default());
    }

    #[test]
    fn peers_that_say_nothing_make_room_for_others() {
        let connections = Connections::default();
        let mut silent: Vec<_> = (0..PENDING_MAX)
            .map(|_| {
                let (socket, peer) = pair();
                (connections.admit(&socket, 1).unwrap(), socket, peer)
            })
            .collect();
        let (socket, _peer) = pair();
        let real = connections.admit(&socket, 1).unwrap();
        assert_eq!(silent[0].2.read(&mut [0]).unwrap(), 0, "the oldest was dropped");
        assert!(!silent[0].0.associate(1), "and cannot come back");
        assert!(real.associate(1));
        assert!(!silent[1].0.associate(1), "one association is the limit");
        // Those that do not even go away are a bounded number.
        let more: Vec<_> = (0..100).map_while(|_| connections.admit(&socket, 1)).collect();
        assert!(more.len() < 2 * PENDING_MAX);
        drop((more, silent));
        connections.close();
        assert!(connections.admit(&socket, 1).is_none());
    }
}
