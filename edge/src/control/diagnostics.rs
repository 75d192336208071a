//! What an engineer far away needs first, field by field, and nothing of a patient.

use contract::command::{CheckResult, Diagnostics, StoreFigures};

use super::Setup;
use crate::doctor::{self, Check};
use crate::figures;
use crate::store::{Inspection, StoreError};

/// Looks at the running station; `counts` are commands refused and messages that could not be answered.
pub(super) fn gather(setup: &Setup, counts: (u64, u64)) -> Diagnostics {
    let (commands_refused, commands_unanswerable) = counts;
    let checks = doctor::examine_running(setup.config.clone());
    Diagnostics {
        edge_version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: figures::machine(),
        uptime_s: setup.started.elapsed().as_secs(),
        model: setup.model.clone(),
        checks: checks.into_iter().map(told).collect(),
        store: store(setup).unwrap_or_else(|error| {
            log::warn!("diagnostics are incomplete: {error}");
            None
        }),
        commands_refused,
        commands_unanswerable,
    }
}

fn told(Check { name, verdict, found, remedy }: Check) -> CheckResult {
    CheckResult { name, verdict: verdict.word().to_owned(), found, remedy }
}

fn store(setup: &Setup) -> Result<Option<StoreFigures>, StoreError> {
    let dir = &setup.config.state_dir;
    let Some(store) = Inspection::open(dir)? else { return Ok(None) };
    let outbox = store.outbox()?;
    Ok(Some(StoreFigures {
        format: store.format()?.0 as u64,
        database_bytes: figures::database_bytes(dir),
        rows: store.row_counts()?,
        outbox_depth: outbox.depth,
        outbox_dead: outbox.dead,
        images: figures::folder(&dir.join("images")),
        rejected: figures::folder(&dir.join("rejected")),
    }))
}
