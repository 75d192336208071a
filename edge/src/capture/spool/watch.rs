//! inotify: a hint that shortens the wait for the next scan.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// When a folder that could not be watched is tried again.
const WATCH_RETRY: Duration = Duration::from_secs(60);

/// inotify's watch over the folder.
pub(super) struct Watch {
    sender: Sender<()>,
    /// Something changed.
    hint: Receiver<()>,
    /// The folder that is watched, by device and inode, and the watch, which ends when dropped.
    watched: Option<((u64, u64), RecommendedWatcher)>,
    /// When to try again where inotify is not to be had, boot time.
    retry: Duration,
}

impl Watch {
    /// Nothing is watched yet.
    pub(super) fn new() -> Self {
        let (sender, hint) = bounded(1);
        Self { sender, hint, watched: None, retry: Duration::ZERO }
    }

    /// Watches the folder that is there now: a watch ends with the folder it was for, without a word.
    pub(super) fn keep_up(&mut self, dir: &Path, now: Duration) {
        let Ok(metadata) = fs::metadata(dir) else { return };
        let id = (metadata.dev(), metadata.ino());
        if self.watched.as_ref().is_some_and(|(watched, _)| *watched == id) || now < self.retry {
            return;
        }
        let sender = self.sender.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // To be opened is no change: the scan itself opens every folder, and would wake itself for ever.
            let opened = |event: &Event| matches!(event.kind, EventKind::Access(AccessKind::Open(_)));
            if !event.as_ref().is_ok_and(opened) {
                // A full channel already says that something changed.
                let _ = sender.try_send(());
            }
        });
        let watched = watcher.and_then(|mut watcher| {
            watcher.watch(dir, RecursiveMode::Recursive)?;
            Ok((id, watcher))
        });
        if let Err(error) = &watched {
            if self.retry.is_zero() {
                log::warn!(
                    "the spool folder cannot be watched ({error}); files are found at the next scan only"
                );
            }
            self.retry = now + WATCH_RETRY;
        }
        self.watched = watched.ok();
    }

    /// Waits until something changed, at most for `patience`.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        self.hint.recv_timeout(patience).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_news_and_a_look_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("XR_HAND")).unwrap();
        let mut watch = Watch::new();
        watch.keep_up(dir.path(), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            assert_eq!(fs::read_dir(dir.path().join("XR_HAND")).unwrap().count(), 0);
        }
        assert!(!watch.wait(Duration::from_millis(300)), "the look woke itself");
        fs::write(dir.path().join("XR_HAND/1.png"), b"1").unwrap();
        assert!(watch.wait(Duration::from_secs(10)));
    }
}
