//! Tables, and how an older file becomes a current one.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// One step per version of the file; `PRAGMA user_version` counts the steps taken. A step that was released is
/// never edited.
pub(super) const STEPS: [&str; 5] = [
    "
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE studies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        -- What its files share at their source, such as XR_WRIST/folder: never leaves the station.
        origin TEXT NOT NULL,
        -- What `key` is an HMAC of: the origin, made unique.
        reference TEXT NOT NULL UNIQUE,
        study_key TEXT NOT NULL,
        key_id TEXT NOT NULL,
        number TEXT NOT NULL UNIQUE,
        study_type TEXT,
        -- One file is the whole study.
        single INTEGER NOT NULL,
        open INTEGER NOT NULL,
        -- Revisions in the outbox so far, and the newest one the broker acknowledged.
        revision INTEGER NOT NULL DEFAULT 0,
        acked_revision INTEGER NOT NULL DEFAULT 0,
        opened_at_ms INTEGER NOT NULL,
        last_image_at_ms INTEGER NOT NULL,
        closed_at_ms INTEGER,
        -- The newest revision's payload, without delivery fields.
        result TEXT
    ) STRICT;
    CREATE INDEX studies_origin ON studies (origin);
    CREATE INDEX studies_open ON studies (open) WHERE open = 1;

    CREATE TABLE images (
        -- The order of acceptance, and so of scoring and of views.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        image_id TEXT NOT NULL UNIQUE,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        -- HMAC of source path, size, modification time and content.
        fingerprint TEXT NOT NULL UNIQUE,
        -- The file's name at its source: for the local page only.
        source_name TEXT NOT NULL,
        extension TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        accepted_at_ms INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'scored', 'rejected')),
        -- Where the file lies: images/, rejected/, or nowhere any more.
        file TEXT NOT NULL CHECK (file IN ('images', 'rejected', 'dropped')),
        -- The view as published, once scored or rejected.
        view TEXT
    ) STRICT;
    CREATE INDEX images_study ON images (study_id);
    CREATE INDEX images_waiting ON images (id) WHERE state = 'waiting';
    CREATE INDEX images_kept ON images (id) WHERE file != 'dropped';

    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        study_id INTEGER NOT NULL REFERENCES studies (id),
        revision INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        closed_at_ms INTEGER NOT NULL,
        payload TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0,
        last_error TEXT,
        UNIQUE (study_id, revision)
    ) STRICT;
    CREATE INDEX outbox_dead ON outbox (dead, seq);

    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        event TEXT NOT NULL,
        study_id INTEGER,
        image_id TEXT,
        detail TEXT
    ) STRICT;
",
    "
    -- What the technician calls the study: never leaves the station.
    ALTER TABLE studies ADD COLUMN local_reference TEXT;
    -- Opened or reopened by the technician: no source is asked whether it is complete.
    ALTER TABLE studies ADD COLUMN by_hand INTEGER NOT NULL DEFAULT 0;
    -- Closes as soon as its images are scored.
    ALTER TABLE studies ADD COLUMN close_asked INTEGER NOT NULL DEFAULT 0;
    -- Names, references and origins were forgotten.
    ALTER TABLE studies ADD COLUMN anonymous INTEGER NOT NULL DEFAULT 0;
    -- Dropped or retaken: in no revision from then on.
    ALTER TABLE images ADD COLUMN excluded INTEGER NOT NULL DEFAULT 0;
    -- Who overruled the acquisition gate: stays on the station.
    ALTER TABLE images ADD COLUMN overruled_by TEXT;
    -- The signature by which the same plate is recognised.
    ALTER TABLE images ADD COLUMN plate BLOB;
    CREATE INDEX images_plates ON images (id) WHERE plate IS NOT NULL;
",
    "
    -- Commands from the centre: an id is executed once.
    CREATE TABLE commands (
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        -- As it came, signature and all: it is judged again when it is executed.
        message TEXT NOT NULL,
        taken_at_ms INTEGER NOT NULL,
        expires_at_ms INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'answered')),
        -- What was answered last, how many answers there were, and whether the broker has the last one.
        ack TEXT,
        ack_number INTEGER NOT NULL DEFAULT 0,
        ack_sent INTEGER NOT NULL DEFAULT 0
    ) STRICT;

    -- Acknowledged results, to be sent again when asked.
    CREATE TABLE sent (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        study_id INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
        revision INTEGER NOT NULL,
        closed_at_ms INTEGER NOT NULL,
        payload TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sent_study ON sent (study_id);
",
    "
    -- How a captured frame was exposed, before it was windowed: measured once, judged by whatever thresholds hold.
    ALTER TABLE images ADD COLUMN exposure TEXT;
",
    "
    -- Abnormal results go before the others.
    ALTER TABLE outbox ADD COLUMN abnormal INTEGER NOT NULL DEFAULT 0;
    UPDATE outbox SET abnormal = 1 WHERE json_extract(payload, '$.answer') = 'abnormal';
    CREATE INDEX outbox_lanes ON outbox (dead, abnormal, seq);

    -- What is said in place of results that do not come: the payload without delivery fields.
    CREATE TABLE tombstones (
        seq INTEGER PRIMARY KEY,
        payload TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        sent INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX tombstones_unsent ON tombstones (seq) WHERE sent = 0;

    -- Studies closed and views refused on a day (UTC): counter is answer/…, outcome/…, withheld, view/<reason> or score/<decile>.
    CREATE TABLE daily (
        day TEXT NOT NULL,
        counter TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (day, counter)
    ) STRICT, WITHOUT ROWID;
    CREATE TEMP TABLE closed AS
        SELECT date(closed_at_ms / 1000, 'unixepoch') AS day, result FROM studies
        WHERE closed_at_ms IS NOT NULL AND result IS NOT NULL;
    INSERT INTO daily
        SELECT day, 'answer/' || (result ->> '$.answer'), count(*) FROM closed
        WHERE result ->> '$.answer' IS NOT NULL GROUP BY 1, 2;
    INSERT INTO daily
        SELECT day, 'outcome/' || (result ->> '$.outcome'), count(*) FROM closed
        WHERE result ->> '$.outcome' != 'scored' GROUP BY 1, 2;
    INSERT INTO daily
        SELECT day, 'withheld', count(*) FROM closed WHERE result ->> '$.answer_withheld' IS NOT NULL GROUP BY 1;
    INSERT INTO daily
        SELECT day, 'score/' || CAST(min(10 * (result ->> '$.study.probability'), 9) AS INTEGER), count(*) FROM closed
        WHERE result ->> '$.study.probability' IS NOT NULL GROUP BY 1, 2;
    INSERT INTO daily
        SELECT day, 'view/' || (value ->> '$.rejected.reason'), count(*) FROM closed, json_each(result, '$.views')
        WHERE value ->> '$.rejected.reason' IS NOT NULL GROUP BY 1, 2;
    DROP TABLE closed;
",
];

/// The version this program writes.
pub(super) const VERSION: usize = STEPS.len();

/// Brings the file to [`VERSION`]; gives the version found when it is newer than that.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<Result<(), usize>> {
    let tx = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > VERSION {
        return Ok(Err(found));
    }
    for step in &STEPS[found..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", VERSION as i64)?;
    tx.commit()?;
    Ok(Ok(()))
}
