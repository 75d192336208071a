//! Results carried by hand, where there is never a network: each as a station publishes it.

use std::path::Path;

use contract::result::Delivery;

use crate::publish::{PayloadError, with_delivery};
use crate::store::{OutboxRow, Store, StoreError};

pub mod mounted;
pub mod stick;

use stick::{StickError, Written};

/// Rows read at once.
const PAGE_ROWS: usize = 100;

/// A result as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Its place in the sequence.
    pub seq: u64,
    /// A `StudyResult` with its delivery fields, on one line.
    pub json: String,
}

/// Why the outbox could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is no result.
    #[error("result {seq} of the outbox cannot be exported: {why}; report it")]
    Row {
        /// Its place in the sequence.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// The results from the one after `after_seq` on, dead ones included, in order: at most about a hundred, none when there
/// are no more.
///
/// # Errors
/// When the outbox cannot be read or holds something else than results.
pub fn page(store: &Store, station: &str, after_seq: u64) -> Result<Vec<Exported>, ExportError> {
    let outbox_id = store.outbox_id()?;
    let rows = store.export(after_seq, PAGE_ROWS)?;
    let oldest_unsent_seq = store.oldest_unsent_seq()?;
    rows.into_iter()
        .map(|OutboxRow { seq, payload_json, .. }| {
            let delivery = Delivery {
                station: station.to_owned(),
                outbox_id: outbox_id.clone(),
                seq,
                // As in publishing: a dead row counts only for itself.
                oldest_unsent_seq: oldest_unsent_seq.map_or(seq, |oldest| oldest.min(seq)),
            };
            let json = with_delivery(&payload_json, &delivery)
                .map_err(|error: PayloadError| ExportError::Row { seq, why: error.to_string() })?;
            Ok(Exported { seq, json })
        })
        .collect()
}

/// Gives every result of the outbox, dead ones included, to `take`, in order.
///
/// # Errors
/// As [`page`], and whatever `take` fails with.
pub fn each<E: From<ExportError>>(
    store: &Store,
    station: &str,
    take: &mut dyn FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = 0;
    loop {
        let page = page(store, station, after)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        for result in &page {
            take(&result.json)?;
        }
    }
}

/// Why results were not written to a stick.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The outbox does not give them.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The stick does not take them.
    #[error(transparent)]
    Stick(#[from] StickError),
}

/// Writes every result of the outbox to a new folder in `to`; nothing and `None` when there is none.
///
/// # Errors
/// When the outbox cannot be read or the folder cannot be written; no folder is then left.
pub fn carry(store: &Store, station: &str, to: &Path) -> Result<Option<Written>, CarryError> {
    stick::write(to, station, store.now(), |take| each(store, station, take))
}
