//! Waking, stopping and restarting. Wake-ups carry nothing: what is to be done lies in the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Wakes one of the threads that wait at it. Any number of wake-ups before a wait count as one per waiting
/// thread.
#[derive(Clone, Debug)]
pub struct Wake {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Wake {
    /// For this many waiting threads.
    pub fn new(threads: usize) -> Self {
        let (sender, receiver) = bounded(threads.max(1));
        Self { sender, receiver }
    }

    /// How many threads may wait at it.
    pub fn threads(&self) -> usize {
        self.sender.capacity().unwrap_or(1)
    }

    /// Never blocks.
    pub fn wake(&self) {
        // Full: as many wake-ups as there are threads are on their way already.
        let _ = self.sender.try_send(());
    }

    /// Waits for a wake-up, at most for `patience`.
    pub fn wait(&self, patience: Duration) {
        // Woken or not, the caller looks at the store.
        let _ = self.receiver.recv_timeout(patience);
    }
}

/// Says once that the service stops.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on every stage ends after what it is doing.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the service stops.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Asks once for the service to start anew, which is how it comes to use another bundle.
#[derive(Clone, Default)]
pub struct Restart(Arc<OnceLock<()>>, Option<Arc<dyn Fn() + Send + Sync>>);

impl Restart {
    /// `wake` is called when it is asked for.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::default(), Some(Arc::new(wake)))
    }

    /// Whether somebody has.
    pub fn is_asked(&self) -> bool {
        self.0.get().is_some()
    }

    /// Asks for it; says whether that is news.
    pub fn ask(&self) -> bool {
        let news = self.0.set(()).is_ok();
        if let Some(wake) = self.1.as_ref().filter(|_| news) {
            wake();
        }
        news
    }
}
