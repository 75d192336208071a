//! Waking, stopping and restarting. Wake-ups carry nothing: what is to be done lies in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
pub struct Restart {
    asked: Arc<AtomicBool>,
    begin: Option<Arc<dyn Fn() -> Result<(), String> + Send + Sync>>,
}

impl Restart {
    /// `begin` is called when it is asked for; it says why the service could not start anew.
    pub fn new(begin: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { asked: Arc::default(), begin: Some(Arc::new(begin)) }
    }

    /// Asks for it; says whether that is news.
    ///
    /// # Errors
    /// Says why the service could not start anew; it may be asked again.
    pub fn ask(&self) -> Result<bool, String> {
        if self.asked.load(Ordering::Acquire) {
            return Ok(false);
        }
        if let Some(begin) = &self.begin {
            begin()?;
        }
        Ok(!self.asked.swap(true, Ordering::AcqRel))
    }
}
