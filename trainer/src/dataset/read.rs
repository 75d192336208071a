//! Image files to planes, on all cores.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use contract::preprocess::{PreprocessSpec, to_plane};
use contract::radiograph::{Limits, Radiograph, decode};

use crate::progress;

/// Threads that can run at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Decodes an image file.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn radiograph(path: &Path) -> Result<Radiograph, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Ok(decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?.radiograph)
}

/// The preprocessed samples of an image file, `H * W`.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn plane(path: &Path, spec: &PreprocessSpec) -> Result<Vec<u8>, String> {
    Ok(to_plane(&radiograph(path)?, spec).map_err(|error| error.to_string())?.samples)
}

/// What `work` gives for every item, in the items' order, worked on by all cores under a progress bar.
/// `doing` is such as `reading`.
pub(crate) fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    doing: &'static str,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let bar = progress::bar(Some(items.len() as u64), doing, "images");
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..cores().min(items.len()) {
            scope.spawn(|| {
                while let Some((place, item)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    items.get(place).map(|item| (place, item))
                } {
                    let result = work(item);
                    // A thread that panicked while it held the lock had added its result or not: both are in order.
                    done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((place, result));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
