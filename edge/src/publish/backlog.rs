//! In which order the outbox is sent.
//!
//! Tombstones first: they are few and small. Then abnormal results, the oldest first, wherever in the backlog they stand;
//! after [`ABNORMAL_RUN_MAX`] of them in a row one of the others goes, so that these get their share of the connection
//! however many abnormal ones there are. All others follow in the order of their `seq`.

use std::collections::VecDeque;

use crate::store::{Lane, OutboxRow, Store, StoreError};

/// Abnormal results sent in a row while others wait.
pub(super) const ABNORMAL_RUN_MAX: usize = 8;
/// Rows of one lane read at once.
const READ_ROWS: usize = 32;

/// What is still to be sent on one connection.
#[derive(Debug)]
pub(super) struct Backlog {
    tombstones: Ahead,
    /// The broker has refused one: none is sent for a while.
    tombstones_rest: bool,
    abnormal: Ahead,
    others: Ahead,
    /// Abnormal results since the last of the others.
    run: usize,
}

/// One lane, read ahead.
#[derive(Debug)]
struct Ahead {
    lane: Lane,
    rows: VecDeque<OutboxRow>,
    /// The highest `seq` taken so far.
    read_up_to: u64,
    /// There was nothing more at the last look.
    dry: bool,
}

fn ahead(lane: Lane) -> Ahead {
    Ahead { lane, rows: VecDeque::new(), read_up_to: 0, dry: false }
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self {
            tombstones: ahead(Lane::Tombstones),
            tombstones_rest: false,
            abnormal: ahead(Lane::Abnormal),
            others: ahead(Lane::Others),
            run: 0,
        }
    }

    /// The row to be sent next.
    pub(super) fn next(&mut self, store: &Store) -> Result<Option<OutboxRow>, StoreError> {
        if !self.tombstones_rest
            && let Some(tombstone) = self.tombstones.next(store)?
        {
            return Ok(Some(tombstone));
        }
        if self.run < ABNORMAL_RUN_MAX
            && let Some(row) = self.abnormal.next(store)?
        {
            self.run += 1;
            return Ok(Some(row));
        }
        self.run = 0;
        if let Some(row) = self.others.next(store)? {
            return Ok(Some(row));
        }
        self.abnormal.next(store)
    }

    /// There may be new rows behind those already taken.
    pub(super) fn look_again(&mut self) {
        for ahead in [&mut self.tombstones, &mut self.abnormal, &mut self.others] {
            ahead.dry = false;
        }
    }

    /// Starts from the front: rows that were set aside, or had left, may be there again. Only while none is under way.
    pub(super) fn rewind(&mut self) {
        *self = Self { tombstones_rest: self.tombstones_rest, ..Self::new() };
    }

    /// As [`Self::rewind`], for tombstones alone: there may be one for any place in the sequence.
    pub(super) fn rewind_tombstones(&mut self) {
        self.tombstones = ahead(Lane::Tombstones);
    }

    /// Leaves tombstones alone, or takes them up again.
    pub(super) fn rest_tombstones(&mut self, rest: bool) {
        self.tombstones_rest = rest;
    }
}

impl Ahead {
    fn next(&mut self, store: &Store) -> Result<Option<OutboxRow>, StoreError> {
        if self.rows.is_empty() && !self.dry {
            self.rows.extend(store.unsent_in(self.lane, self.read_up_to, READ_ROWS)?);
            self.dry = self.rows.len() < READ_ROWS;
        }
        let row = self.rows.pop_front();
        if let Some(row) = &row {
            self.read_up_to = row.seq;
        }
        Ok(row)
    }
}
