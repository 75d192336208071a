//! The watched folder.
//!
//! ```text
//! <dir>/<TYPE>/<study>/<file>   a study per folder (deeper folders belong to it)
//! <dir>/<TYPE>/<file>           a study of one view
//! <dir>/<file>                  DICOM: grouped by study and body part; others: a study of one view of the
//!                               configured type
//! ```
//!
//! A file is taken when its size and time have not changed for `settle_ms`, or when it was renamed into place and is
//! older than that. Files and folders whose names start with a dot or end in `.tmp` or `.part` are still being written.
//! inotify is a hint that shortens the wait; what counts is the scan. Links are not followed.
//!
//! When the folder cannot be read, or the file system that was mounted on it is gone, nothing is known of what it holds:
//! its studies stay open until it is back. A folder that was replaced is watched anew.
//!
//! A file that cannot be read or removed is said once, by number and place, never by name, and looked at again when it
//! changes or a minute later; it does not keep its study open.

mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::radiograph::{DICOM_HEAD_MAX_BYTES, Format, dicom_facts};
use contract::study::StudyType;
use serde::Deserialize;

use self::watch::Watch;
use super::layout::{self, Place, ROOT_PREFIX};
use super::scan::{self, Found, Scan};
use super::{Report, Source};
use crate::config::within;
use crate::health::{Health, Trouble};
use crate::intake::{AcceptError, Intake};
use crate::store::Origin;
use crate::study::SourceName;

/// The source's name.
pub const NAME: SourceName = "spool";
/// Files accepted in one look; then the others are reported as held, and looked at again at once.
const ACCEPTS_PER_POLL_MAX: usize = 32;
/// Files of the folder itself that are opened in one look, to see which study they are of; the others wait likewise.
const OPENS_PER_POLL_MAX: usize = 128;
/// How much of a file's start says whether it is DICOM.
const FORMAT_LEN: u64 = 4096;
/// A file without content is probably about to get some.
const EMPTY_SETTLE: Duration = Duration::from_secs(5);
/// How long a file still being written keeps its study open after it last changed.
const UNFINISHED_HOLD: Duration = Duration::from_secs(60);
/// When a file that could not be taken is tried again although it did not change.
const TROUBLED_RETRY: Duration = Duration::from_secs(60);
/// How long a folder must have been empty before it goes.
const EMPTY_FOLDER_AGE: Duration = Duration::from_secs(10);
/// How long a stage may be busy with one file or one scan.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// `[spool]`: a folder that is watched for images.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// The folder.
    pub dir: PathBuf,
    /// Longest time between two scans, in milliseconds.
    #[serde(default = "default_rescan_ms")]
    pub rescan_ms: u64,
    /// How long a file must have kept its size and time before it is taken, in milliseconds.
    #[serde(default = "default_settle_ms")]
    pub settle_ms: u64,
    /// The type of a study whose files say nothing of it.
    #[serde(default)]
    pub default_study_type: Option<StudyType>,
}

fn default_rescan_ms() -> u64 {
    1000
}

fn default_settle_ms() -> u64 {
    500
}

impl SpoolConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do. The folder is not opened.
    pub fn check(&self) -> Result<(), String> {
        within("spool.rescan_ms", self.rescan_ms, 50, 600_000)?;
        within("spool.settle_ms", self.settle_ms, 0, 600_000)
    }
}

/// The watched folder as a source.
pub struct Spool {
    config: SpoolConfig,
    intake: Intake,
    health: Arc<Health>,
    seen: HashMap<PathBuf, Seen>,
    empty_since: HashMap<PathBuf, Duration>,
    /// What was last warned of, so that it is not said at every scan.
    said: BTreeMap<Trouble, String>,
    watch: Watch,
    /// Whether the folder was a file system's mount point when it was last read.
    was_mounted: bool,
}

/// Whether a file system is mounted on a folder.
fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let above = dir.canonicalize()?;
    let above = above.parent().unwrap_or(&above);
    Ok(fs::metadata(dir)?.dev() != fs::metadata(above)?.dev())
}

/// As much of a DICOM file as says what study it is of; of another file only its start.
fn dicom_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    file.by_ref().take(FORMAT_LEN).read_to_end(&mut start)?;
    if Format::detect(&start) == Some(Format::Dicom) {
        file.take(DICOM_HEAD_MAX_BYTES - FORMAT_LEN).read_to_end(&mut start)?;
    }
    Ok(start)
}

/// A file as the last scan found it.
struct Seen {
    size_bytes: u64,
    modified_ns: i128,
    /// Since when it has been so, boot time.
    since: Duration,
    /// Could not be taken; not to be tried before.
    troubled_until: Option<(Duration, &'static str)>,
    origin: Option<Origin>,
}

impl Spool {
    /// A folder that is not there is made; one that cannot be read is said and tried again.
    pub fn new(config: SpoolConfig, intake: Intake, health: Arc<Health>) -> Self {
        if let Err(error) = fs::create_dir_all(&config.dir) {
            log::warn!("the spool folder {} cannot be made: {error}", config.dir.display());
        }
        Self {
            config,
            intake,
            health,
            seen: HashMap::new(),
            empty_since: HashMap::new(),
            said: BTreeMap::new(),
            watch: Watch::new(),
            was_mounted: false,
        }
    }

    /// Scans the folder, if it is what it was.
    fn look(&mut self) -> io::Result<Scan> {
        let mounted = is_mount_point(&self.config.dir)?;
        if self.was_mounted && !mounted {
            return Err(io::Error::other("the file system that was mounted there is gone"));
        }
        let scan = scan::scan(&self.config.dir)?;
        self.was_mounted = mounted;
        Ok(scan)
    }

    fn settle(&self) -> Duration {
        Duration::from_millis(self.config.settle_ms)
    }

    /// Remembers a file; says since when it has been as it is.
    fn observe(&mut self, found: &Found, now: Duration) -> &mut Seen {
        let fresh = || Seen {
            size_bytes: found.size_bytes,
            modified_ns: found.modified_ns,
            since: now,
            troubled_until: None,
            origin: None,
        };
        let seen = self.seen.entry(found.relative.clone()).or_insert_with(fresh);
        if (seen.size_bytes, seen.modified_ns) != (found.size_bytes, found.modified_ns) {
            *seen = fresh();
        }
        seen
    }

    /// Sorts what a scan found into files to take now and origins that are held.
    fn sort(&mut self, files: &[Found], now: Duration, report: &mut Report) -> Vec<(Found, Origin)> {
        let settle = self.settle();
        let mut ready = Vec::new();
        let mut opens_left = OPENS_PER_POLL_MAX;
        for found in files {
            let place = Place::of(&found.relative);
            let seen = self.observe(found, now);
            let (since, stable) = (seen.since, now.saturating_sub(seen.since));
            if seen.troubled_until.is_some_and(|(until, _)| now < until) {
                continue;
            }
            if found.unfinished {
                if stable < UNFINISHED_HOLD {
                    report.hold(&place);
                }
                continue;
            }
            let needed = if found.size_bytes == 0 { settle.max(EMPTY_SETTLE) } else { settle };
            let settled =
                stable >= needed || (found.size_bytes > 0 && found.age.is_some_and(|age| age >= settle));
            if !settled {
                report.hold(&place);
                report.next = report.next.min((since + needed).saturating_sub(now));
                continue;
            }
            match self.origin(found, &place, &mut opens_left) {
                Some(origin) => ready.push((found.clone(), origin)),
                None => {
                    report.hold(&place);
                    report.next = Duration::ZERO;
                }
            }
        }
        ready
    }

    /// The study a settled file belongs to. Files of the folder itself are opened for it, `opens_left` of them in this
    /// look: many large ones would keep the stage silent for too long. `None` for one that has to wait.
    fn origin(&mut self, found: &Found, place: &Place, opens_left: &mut usize) -> Option<Origin> {
        if let Place::In(origin) = place {
            return Some(origin.clone());
        }
        if let Some(origin) = self.seen.get(&found.relative).and_then(|seen| seen.origin.clone()) {
            return Some(origin);
        }
        *opens_left = opens_left.checked_sub(1)?;
        self.health.beat(NAME, SILENCE_MAX);
        // A file that cannot be read is a study of its own; the intake then says what is wrong with it.
        let start = dicom_start(&self.config.dir.join(&found.relative)).unwrap_or_default();
        let default = self.config.default_study_type.as_ref();
        let origin = layout::dicom_origin(ROOT_PREFIX, &found.name(), dicom_facts(&start).as_ref(), default);
        self.seen.get_mut(&found.relative)?.origin = Some(origin.clone());
        Some(origin)
    }

    /// Hands files over, in the order of their names. What was not reached is held.
    fn take(&mut self, ready: Vec<(Found, Origin)>, now: Duration, report: &mut Report) {
        let mut stopped = false;
        for (index, (found, origin)) in ready.into_iter().enumerate() {
            if stopped || index >= ACCEPTS_PER_POLL_MAX {
                report.held.insert(origin.name);
                report.next = if stopped { report.next } else { Duration::ZERO };
                continue;
            }
            self.health.beat(NAME, SILENCE_MAX);
            let path = self.config.dir.join(&found.relative);
            match self.intake.accept_file(&origin, &path, &found.name()) {
                Ok(_) => {
                    self.seen.remove(&found.relative);
                    self.said_no_more(Trouble::DiskFull);
                    self.said_no_more(Trouble::StoreFailing);
                }
                Err(AcceptError::Changing) => {
                    report.held.insert(origin.name);
                    report.next = report.next.min(self.settle());
                }
                Err(AcceptError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error @ (AcceptError::Unreadable(_) | AcceptError::NotRemoved(_))) => {
                    let what = if matches!(error, AcceptError::Unreadable(_)) { "read" } else { "removed" };
                    if let Some(seen) = self.seen.get_mut(&found.relative) {
                        seen.troubled_until = Some((now + TROUBLED_RETRY, what));
                    }
                    log::debug!("{error}");
                }
                Err(error) => {
                    let trouble = match &error {
                        AcceptError::DiskFull { .. } => Trouble::DiskFull,
                        AcceptError::Store(error) if error.is_disk_full() => Trouble::DiskFull,
                        _ => Trouble::StoreFailing,
                    };
                    self.say(trouble, trouble.word().to_owned(), &error.to_string());
                    report.held.insert(origin.name);
                    stopped = true;
                }
            }
        }
    }

    /// Warns once; again only when `key` is another.
    fn say(&mut self, trouble: Trouble, key: String, text: &str) {
        self.health.set(trouble, true);
        if self.said.get(&trouble) != Some(&key) {
            log::warn!("{text}");
            self.said.insert(trouble, key);
        }
    }

    fn said_no_more(&mut self, trouble: Trouble) {
        if self.said.remove(&trouble).is_some() {
            self.health.set(trouble, false);
            log::info!("no longer {}", trouble.word().replace('_', " "));
        }
    }

    /// Warns of files that cannot be taken, by number and study type.
    fn say_troubled(&mut self, now: Duration, scan: &Scan) {
        let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for (path, seen) in &self.seen {
            if let Some((_, what)) = seen.troubled_until.filter(|(until, _)| now < *until) {
                *counts.entry((layout::study_type_folder(path), what)).or_default() += 1;
            }
        }
        let mut parts: Vec<String> = counts
            .into_iter()
            .map(|((folder, what), count)| format!("{count} under {folder} cannot be {what}"))
            .collect();
        if scan.closed_folders > 0 {
            parts.push(format!("{} folders cannot be opened", scan.closed_folders));
        }
        if scan.strangers > 0 {
            parts.push(format!("{} folders are no study type such as XR_WRIST", scan.strangers));
        }
        if scan.odd > 0 {
            parts.push(format!("{} are links, no files, or lie too deep", scan.odd));
        }
        if parts.is_empty() {
            self.said_no_more(Trouble::FilesUnreadable);
            return;
        }
        let text = format!(
            "files in the spool are not taken: {}; check owner, permissions and folder names",
            parts.join(", ")
        );
        self.say(Trouble::FilesUnreadable, text.clone(), &text);
    }

    /// Removes folders of closed studies that have been empty for a while.
    fn remove_empty(&mut self, folders: &BTreeSet<PathBuf>, now: Duration) {
        self.empty_since.retain(|folder, _| folders.contains(folder));
        for folder in folders {
            let since = *self.empty_since.entry(folder.clone()).or_insert(now);
            let Place::In(origin) = Place::of(&folder.join("x")) else { continue };
            if now.saturating_sub(since) < EMPTY_FOLDER_AGE || origin.single {
                continue;
            }
            if matches!(self.intake.store().is_closed(&origin.name), Ok(true)) {
                scan::remove_empty_tree(&self.config.dir.join(folder));
            }
            self.empty_since.insert(folder.clone(), now);
        }
    }
}

impl Source for Spool {
    fn name(&self) -> SourceName {
        NAME
    }

    fn poll(&mut self, now: Duration) -> Report {
        self.health.beat(NAME, SILENCE_MAX);
        let next = Duration::from_millis(self.config.rescan_ms);
        let mut report = Report { began: now, next, ..Report::default() };
        let scan = match self.look() {
            Ok(scan) => scan,
            Err(error) => {
                let text = format!(
                    "the spool folder {} cannot be read: {error}; check that it is there and its permissions",
                    self.config.dir.display()
                );
                self.say(Trouble::SpoolUnreadable, error.to_string(), &text);
                // Nothing is known of what it holds.
                report.held_prefix = Some("");
                return report;
            }
        };
        self.said_no_more(Trouble::SpoolUnreadable);
        if scan.cut_short || scan.failing {
            report.held_prefix = Some("");
        }
        self.watch.keep_up(&self.config.dir, now);
        let ready = self.sort(&scan.files, now, &mut report);
        if ready.is_empty() && self.intake.check_space().is_ok() {
            self.said_no_more(Trouble::DiskFull);
            self.said_no_more(Trouble::StoreFailing);
        }
        self.take(ready, now, &mut report);
        let present: BTreeSet<&Path> = scan.files.iter().map(|found| found.relative.as_path()).collect();
        self.seen.retain(|path, _| present.contains(path.as_path()));
        self.say_troubled(now, &scan);
        self.remove_empty(&scan.empty_folders, now);
        report
    }

    fn wait(&mut self, patience: Duration) {
        self.watch.wait(patience);
    }
}

impl Report {
    fn hold(&mut self, place: &Place) {
        match place {
            Place::In(origin) => {
                self.held.insert(origin.name.clone());
            }
            Place::Root => self.held_prefix = self.held_prefix.or(Some(ROOT_PREFIX)),
        }
    }
}

#[cfg(test)]
mod tests;
