//! Looking at a state directory without holding it: read only, so also while the service runs, and nothing is made or
//! moved. What it gives out names no patient, file or study, except [`Inspection::private_words`], whose only use is to
//! keep those words out of a report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Row};
use serde::Serialize;

use super::error::Doing;
use super::{DATABASE_FILE, LOCK_FILE, StoreError, meta, schema, site_key};
use crate::clock::timestamp;

const BUSY_MAX: Duration = Duration::from_secs(2);
/// Audit events whose detail holds nothing but sequence numbers, commands and the broker's words.
const OPEN_DETAILS: [&str; 5] =
    ["acknowledged", "delivered_by_hand", "refused_by_broker", "command", "operating_points_set"];

/// A state directory, looked at.
pub struct Inspection {
    connection: Connection,
    path: PathBuf,
}

/// The outbox, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboxFacts {
    /// Results to be sent.
    pub depth: u64,
    /// When the oldest of them was made.
    pub oldest_at: Option<Timestamp>,
    /// Results the broker refused for good.
    pub dead: u64,
    /// Why it refused the newest of those.
    pub dead_reason: Option<String>,
}

/// What happened once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditFacts {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: String,
    /// More, where it is known to be about the outbox only.
    pub detail: Option<String>,
}

/// Files of a state directory that are looked at from outside.
pub struct StatePaths {
    /// The database.
    pub database: PathBuf,
    /// The site's key, and its length in bytes.
    pub site_key: (PathBuf, u64),
    /// Held by the process that uses the directory.
    pub lock: PathBuf,
}

/// Where they lie.
pub fn state_paths(dir: &Path) -> StatePaths {
    StatePaths {
        database: dir.join(DATABASE_FILE),
        site_key: (site_key::path(dir), site_key::LEN as u64),
        lock: dir.join(LOCK_FILE),
    }
}

impl Inspection {
    /// Opens a state directory's database to read it; `None` where there is none yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(DATABASE_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).doing("open its database")?;
        connection.busy_timeout(BUSY_MAX).doing("open its database")?;
        Ok(Some(Self { connection, path }))
    }

    /// The format that the database has, and the one this version writes.
    ///
    /// # Errors
    /// When the database is newer than this version, or SQLite fails.
    pub fn format(&self) -> Result<(usize, usize), StoreError> {
        let found: usize = self
            .connection
            .query_row("SELECT user_version FROM pragma_user_version", [], |row| row.get(0))
            .doing("read its format")?;
        if found > schema::VERSION {
            return Err(StoreError::Newer { path: self.path.clone(), found, known: schema::VERSION });
        }
        Ok((found, schema::VERSION))
    }

    /// What SQLite finds wrong with the database's file; `None` when it is sound.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn damage(&self) -> Result<Option<String>, StoreError> {
        let said: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .doing("check its database")?;
        Ok((said != "ok").then_some(said))
    }

    /// The last time that was recorded, milliseconds since 1970.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn wall_ms(&self) -> Result<i64, StoreError> {
        let text = meta(&self.connection, "wall_ms").doing("read its clock")?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// The outbox, counted.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn outbox(&self) -> Result<OutboxFacts, StoreError> {
        const SQL: &str =
            "SELECT count(*) FILTER (WHERE dead = 0), min(created_at_ms) FILTER (WHERE dead = 0),
                    count(*) FILTER (WHERE dead = 1),
                    (SELECT last_error FROM outbox WHERE dead = 1 ORDER BY seq DESC LIMIT 1)
             FROM outbox";
        let read = |row: &Row<'_>| {
            Ok(OutboxFacts {
                depth: row.get(0)?,
                oldest_at: row.get::<_, Option<i64>>(1)?.map(timestamp),
                dead: row.get(2)?,
                dead_reason: row.get(3)?,
            })
        };
        self.connection.query_row(SQL, [], read).doing("read the outbox")
    }

    /// Rows by table.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn row_counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        const DOING: &str = "count its rows";
        let mut names = self
            .connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .doing(DOING)?;
        let names: Vec<String> =
            names.query_map([], |row| row.get(0)).and_then(Iterator::collect).doing(DOING)?;
        let mut counts = BTreeMap::new();
        for name in names {
            let count = self
                .connection
                .query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| row.get(0))
                .doing(DOING)?;
            counts.insert(name, count);
        }
        Ok(counts)
    }

    /// The newest events, oldest first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn audit_tail(&self, limit: usize) -> Result<Vec<AuditFacts>, StoreError> {
        const DOING: &str = "read the audit";
        let mut statement = self
            .connection
            .prepare("SELECT at_ms, event, detail FROM audit ORDER BY id DESC LIMIT ?1")
            .doing(DOING)?;
        let read = |row: &Row<'_>| {
            let event: String = row.get(1)?;
            let detail: Option<String> = row.get(2)?;
            let detail = detail.filter(|_| OPEN_DETAILS.contains(&event.as_str()));
            Ok(AuditFacts { at: timestamp(row.get(0)?), event, detail })
        };
        let mut events: Vec<AuditFacts> =
            statement.query_map([limit], read).and_then(Iterator::collect).doing(DOING)?;
        events.reverse();
        Ok(events)
    }

    /// Names of files, folders, references and studies: words that must not stand in anything that is passed on.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn private_words(&self) -> Result<BTreeSet<String>, StoreError> {
        const DOING: &str = "list what is private";
        const COLUMNS: [(&str, &str); 6] = [
            ("studies", "origin"),
            ("studies", "reference"),
            ("studies", "local_reference"),
            ("studies", "number"),
            ("images", "source_name"),
            ("images", "overruled_by"),
        ];
        let mut words = BTreeSet::new();
        for (table, column) in COLUMNS {
            // An older file lacks some of them.
            let known: bool = self
                .connection
                .query_row(
                    "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2",
                    [table, column],
                    |row| row.get(0),
                )
                .doing(DOING)?;
            if !known {
                continue;
            }
            let mut statement =
                self.connection.prepare(&format!("SELECT {column} FROM {table}")).doing(DOING)?;
            let found: Vec<Option<String>> =
                statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).doing(DOING)?;
            words.extend(found.into_iter().flatten());
        }
        Ok(words)
    }
}
