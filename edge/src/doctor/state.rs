//! The state directory: who may see it, its space, its key, its database and the results waiting in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::Access;

use super::{Check, Station};
use crate::store::{Inspection, StoreError, state_paths};

const PERMISSIONS: &str = "state.permissions";
const DISK: &str = "state.disk";
const KEY: &str = "state.site_key";
const STORE: &str = "state.store";
const OUTBOX: &str = "outbox";
/// Results older than this wait for longer than a network usually takes to come back.
const OLD_S: i64 = 3600;

pub(super) fn checks(station: &Station) -> Vec<Check> {
    let dir = &station.config.state_dir;
    match fs::metadata(dir) {
        Ok(facts) if facts.is_dir() => {
            vec![permissions(station, facts.mode()), disk(station), site_key(dir), store(dir)]
        }
        Ok(_) => {
            let found = format!("{} is not a directory", dir.display());
            vec![Check::fail(PERMISSIONS, found, "name a directory in state_dir, or move that file away")]
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let found = format!("{} does not exist yet", dir.display());
            vec![Check::warn(
                PERMISSIONS,
                found,
                "start the service once (systemctl start ulna-edge): it makes it",
            )]
        }
        Err(error) => {
            let found = format!("{} cannot be looked at: {error}", dir.display());
            vec![Check::fail(PERMISSIONS, found, "run `edge doctor` as root or as the service's user")]
        }
    }
}

fn permissions(station: &Station, mode: u32) -> Check {
    let (dir, user) = (station.config.state_dir.display(), &station.identity.name);
    match station
        .identity
        .may(&station.config.state_dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
    {
        Err(error) => {
            let found = format!("{dir} cannot be looked at: {error}");
            Check::fail(PERMISSIONS, found, "run `edge doctor` as root or as the service's user")
        }
        Ok(false) => Check::fail(
            PERMISSIONS,
            format!("{user} may not read and write {dir}"),
            format!("chown -R {user} {dir}; a read-only file system must be mounted writable again"),
        ),
        Ok(true) if mode & 0o007 != 0 => Check::warn(
            PERMISSIONS,
            format!("every user of this machine may look into {dir} (mode {:04o})", mode & 0o7777),
            format!("it holds patients' images: chmod o-rwx {dir}"),
        ),
        Ok(true) => Check::ok(PERMISSIONS, format!("{dir}, mode {:04o}, for {user}", mode & 0o7777)),
    }
}

fn disk(station: &Station) -> Check {
    let dir = &station.config.state_dir;
    let free_mib = match rustix::fs::statvfs(dir) {
        Ok(facts) => facts.f_bavail.saturating_mul(facts.f_frsize) >> 20,
        Err(error) => {
            let found = format!("the space of {} cannot be measured: {error}", dir.display());
            return Check::fail(DISK, found, "check that its disk is mounted");
        }
    };
    let min_mib = station.config.limits.disk_free_min_mib;
    let found = format!("{free_mib} MiB free, images are accepted down to {min_mib} MiB");
    let remedy = "make room: remove what does not belong there, or lower limits.images_max_mib";
    if free_mib < min_mib {
        Check::fail(DISK, found, remedy)
    } else if free_mib < 2 * min_mib {
        Check::warn(DISK, found, remedy)
    } else {
        Check::ok(DISK, found)
    }
}

fn site_key(dir: &Path) -> Check {
    let paths = state_paths(dir);
    let (path, length) = (&paths.site_key.0, paths.site_key.1);
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !paths.database.exists() => {
            Check::ok(KEY, "none yet; the first start makes one")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::fail(
            KEY,
            format!("{shown} is missing, and the store has been used"),
            "restore it from a backup before the next start; a new key would give old studies new names",
        ),
        Err(error) => {
            let found = format!("{shown} cannot be looked at: {error}");
            Check::fail(KEY, found, "run `edge doctor` as root or as the service's user")
        }
        Ok(facts) if facts.mode() & 0o077 != 0 => Check::fail(
            KEY,
            format!("others may read {shown} (mode {:04o})", facts.mode() & 0o7777),
            format!("who has the key can find out studies' references: chmod 600 {shown}"),
        ),
        Ok(facts) if facts.len() != length => Check::fail(
            KEY,
            format!("{shown} holds {} bytes, not {length}", facts.len()),
            "restore it from a backup",
        ),
        Ok(_) => Check::ok(KEY, "there and private; keep a backup of it"),
    }
}

fn store(dir: &Path) -> Check {
    let look = || -> Result<Check, StoreError> {
        let Some(store) = Inspection::open(dir)? else {
            return Ok(Check::ok(STORE, "none yet; the first start makes one"));
        };
        let (found, known) = store.format()?;
        if let Some(damage) = store.damage()? {
            return Ok(Check::fail(
                STORE,
                format!("the database is damaged: {damage}"),
                "stop the service, keep a copy of the state directory and ask for help; replace the disk or card",
            ));
        }
        let next = if found < known { "; the next start brings it to the newest" } else { "" };
        Ok(Check::ok(STORE, format!("format {found} of {known}, sound{next}")))
    };
    look().unwrap_or_else(|error| {
        let remedy = match error {
            StoreError::Newer { .. } => "install the newer version of edge again",
            _ => {
                "run `edge doctor` as root or as the service's user; if it persists, the file may be damaged"
            }
        };
        Check::fail(STORE, error.to_string(), remedy)
    })
}

/// Results on their way out.
pub(super) fn outbox(station: &Station) -> Vec<Check> {
    let look = || -> Result<Check, StoreError> {
        let Some(store) = Inspection::open(&station.config.state_dir)? else {
            return Ok(Check::ok(OUTBOX, "empty: no store yet"));
        };
        let facts = store.outbox()?;
        let age_s = facts.oldest_at.map_or(0, |oldest| {
            (Timestamp::from_millisecond(station.clock().now_ms()).unwrap_or(oldest) - oldest)
                .total(jiff::Unit::Second)
                .map_or(0, |seconds| seconds as i64)
        });
        let waiting = format!("{} waiting, the oldest for {}", facts.depth, duration(age_s));
        if facts.dead > 0 {
            let reason = facts.dead_reason.as_deref().unwrap_or("no reason recorded");
            return Ok(Check::fail(
                OUTBOX,
                format!("{} refused by the broker for good ({reason}); {waiting}", facts.dead),
                "mend the broker's access rules or limits, then `edge outbox retry`",
            ));
        }
        if age_s > OLD_S {
            let remedy = "see the broker's checks; where there is never a network, `edge outbox export --to DIR \
                          --delivered` and carry them";
            return Ok(Check::warn(OUTBOX, waiting, remedy));
        }
        Ok(Check::ok(OUTBOX, if facts.depth == 0 { "empty".to_owned() } else { waiting }))
    };
    vec![look().unwrap_or_else(|error| {
        Check::fail(OUTBOX, error.to_string(), "run `edge doctor` as root or as the service's user")
    })]
}

fn duration(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::doctor::Verdict;
    use crate::store::{LimitsConfig, Store};

    #[test]
    fn a_fresh_and_a_used_store_are_looked_at_while_the_service_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(store(dir.path()), Check::ok(STORE, "none yet; the first start makes one"));
        assert_eq!(site_key(dir.path()).verdict, Verdict::Ok);
        let held = Store::open(dir.path(), LimitsConfig::default()).unwrap();
        let seen = store(dir.path());
        assert!(seen.verdict == Verdict::Ok && seen.found.ends_with("sound"), "{seen:?}");
        drop(held);
        assert_eq!(store(dir.path()).verdict, Verdict::Ok);
    }

    #[test]
    fn a_damaged_database_is_found() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), LimitsConfig::default()).unwrap());
        let path = state_paths(dir.path()).database;
        let mut bytes = fs::read(&path).unwrap();
        // The second page, from its header on.
        bytes[4096..4196].fill(0x5a);
        fs::write(&path, bytes).unwrap();
        let seen = store(dir.path());
        assert_eq!(seen.verdict, Verdict::Fail, "{seen:?}");
        fs::write(&path, "not a database").unwrap();
        assert_eq!(store(dir.path()).verdict, Verdict::Fail);
    }

    #[test]
    fn the_site_key_must_be_private_whole_and_there() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), LimitsConfig::default()).unwrap());
        let key = dir.path().join("site.key");
        assert_eq!(site_key(dir.path()).verdict, Verdict::Ok);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(site_key(dir.path()).remedy.unwrap().contains("chmod 600"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, "short").unwrap();
        assert!(site_key(dir.path()).found.contains("holds 5 bytes"));
        fs::remove_file(&key).unwrap();
        assert!(site_key(dir.path()).found.contains("missing"));
    }

    #[test]
    fn ages_are_said_in_a_unit_that_suits() {
        assert_eq!(duration(90), "90 s");
        assert_eq!(duration(3700), "61 min");
        assert_eq!(duration(90_000), "25 h");
        assert_eq!(duration(1_000_000), "11 days");
    }
}
