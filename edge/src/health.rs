//! How the station is: progress of its stages for systemd, and facts for whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::boot_time;

/// Why a station needs attention, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The state directory cannot be written.
    StoreFailing,
    /// Too little free space; no image is accepted.
    DiskFull,
    /// The spool folder cannot be read.
    SpoolUnreadable,
    /// Files in the spool cannot be read or removed.
    FilesUnreadable,
    /// The broker refused results for good.
    ResultsRefused,
    /// A stage makes no progress.
    Stalled,
    /// The service did not become ready with a new bundle and has returned to the one before.
    ModelReturned,
    /// A certificate of `[mqtt]` has to be replaced within days.
    CertificateEndsSoon,
}

impl Trouble {
    /// The reason as published, in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::StoreFailing => "store_failing",
            Self::DiskFull => "disk_full",
            Self::SpoolUnreadable => "spool_unreadable",
            Self::FilesUnreadable => "files_unreadable",
            Self::ResultsRefused => "results_refused",
            Self::Stalled => "stalled",
            Self::ModelReturned => "model_returned",
            Self::CertificateEndsSoon => "certificate_ends_soon",
        }
    }

    /// What it means and what to do, for whoever looks at the unit's status.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::StoreFailing => {
                "the state folder cannot be written: check its disk; the journal says what failed"
            }
            Self::DiskFull => "no image is accepted: make room on the disk of the state folder",
            Self::SpoolUnreadable => {
                "the spool folder cannot be read: check that it is there and who may read it"
            }
            Self::FilesUnreadable => "files in the spool cannot be read or removed: check whose they are",
            Self::ResultsRefused => "mend the broker's access rules, then run `edge outbox retry`",
            Self::Stalled => "a stage makes no progress: the watchdog starts the service anew",
            Self::ModelReturned => {
                "the new bundle did not become ready, the one before serves: see `edge model list`"
            }
            Self::CertificateEndsSoon => "replace the certificate that [mqtt] names",
        }
    }
}

/// Progress and troubles, shared by all stages.
#[derive(Debug, Default)]
pub struct Health {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stages: BTreeMap<String, Stage>,
    troubles: BTreeSet<Trouble>,
}

#[derive(Debug)]
struct Stage {
    last_beat: Duration,
    silence_max: Duration,
}

impl Health {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage says that it got on with its work; it will again within `silence_max`.
    pub fn beat(&self, stage: &str, silence_max: Duration) {
        let last_beat = boot_time();
        let mut inner = self.inner();
        if let Some(known) = inner.stages.get_mut(stage) {
            *known = Stage { last_beat, silence_max };
        } else {
            inner.stages.insert(stage.to_owned(), Stage { last_beat, silence_max });
        }
    }

    /// The stages that have been silent for longer than they said.
    pub fn stalled(&self, now: Duration) -> Vec<String> {
        let inner = self.inner();
        let late = |stage: &Stage| now.saturating_sub(stage.last_beat) > stage.silence_max;
        inner.stages.iter().filter(|(_, stage)| late(stage)).map(|(name, _)| name.clone()).collect()
    }

    /// Sets or clears a trouble; says whether that is news.
    pub fn set(&self, trouble: Trouble, present: bool) -> bool {
        let mut inner = self.inner();
        if present { inner.troubles.insert(trouble) } else { inner.troubles.remove(&trouble) }
    }

    /// The gravest trouble.
    pub fn gravest(&self) -> Option<Trouble> {
        self.inner().troubles.first().copied()
    }
}

/// Tells systemd; without systemd nothing happens.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd cannot be told: {error}");
    }
}

/// Asks systemd to wait so much longer for READY.
pub fn extend_start(by: Duration) {
    notify(&[NotifyState::ExtendTimeoutUsec(micros(by))]);
}

/// As systemd takes a duration.
pub fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Says in one line how the service is, where `systemctl status` shows it.
pub fn say(status: &str) {
    // A line break would begin another message to systemd.
    notify(&[NotifyState::Status(&status.replace(char::is_control, " "))]);
}

/// How often systemd wants to hear from the service, halved so that one late call is not fatal.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}

/// Temperature of the hottest sensor in degrees Celsius.
pub fn temperature_c() -> Option<f64> {
    temperature_in(Path::new("/sys/class/thermal"))
}

fn temperature_in(dir: &Path) -> Option<f64> {
    let zones = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let millis = zones.filter_map(|zone| {
        let text = fs::read_to_string(zone.path().join("temp")).ok()?;
        text.trim().parse::<i32>().ok()
    });
    // Some boards report an absent sensor as absolute zero or as 0.
    millis.filter(|milli| (1..200_000).contains(milli)).max().map(|milli| f64::from(milli) / 1000.0)
}

/// Processes that ran or wanted to, on average over one minute.
pub fn load_1m() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Memory that this process holds, in bytes.
pub fn memory_bytes() -> Option<u64> {
    own_memory("VmRSS:")
}

/// The most memory that this process held at once, in bytes.
pub fn peak_memory_bytes() -> Option<u64> {
    own_memory("VmHWM:")
}

fn own_memory(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? << 10)
}

/// Whether the clock is synchronised, by what systemd-timesyncd or chrony leave behind; `None` where neither does.
pub fn clock_synchronised() -> Option<bool> {
    fail::fail_point!("clock.unsynchronised", |_| Some(false));
    clock_synchronised_in(Path::new("/run"))
}

fn clock_synchronised_in(run: &Path) -> Option<bool> {
    if run.join("systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    // timesyncd makes its folder when it starts, and the file once it has heard from a server.
    run.join("systemd/timesync").is_dir().then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_stage_is_stalled_until_it_speaks_again() {
        let health = Health::default();
        health.beat("spool", Duration::from_secs(10));
        let now = boot_time();
        assert!(health.stalled(now + Duration::from_secs(9)).is_empty());
        assert_eq!(health.stalled(now + Duration::from_secs(11)), ["spool"]);
        health.beat("spool", Duration::from_secs(60));
        assert!(health.stalled(now + Duration::from_secs(11)).is_empty());
    }

    #[test]
    fn the_gravest_trouble_is_named_and_news_is_news_once() {
        let health = Health::default();
        assert!(health.set(Trouble::FilesUnreadable, true));
        assert!(health.set(Trouble::DiskFull, true));
        assert!(!health.set(Trouble::DiskFull, true));
        assert_eq!(health.gravest().map(Trouble::word), Some("disk_full"));
        assert!(health.set(Trouble::DiskFull, false));
        assert_eq!(health.gravest().map(Trouble::word), Some("files_unreadable"));
    }

    #[test]
    fn the_hottest_plausible_sensor_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(temperature_in(dir.path()), None);
        for (zone, text) in [("thermal_zone0", "41500\n"), ("thermal_zone1", "-274000\n"), ("cooling", "x")] {
            fs::create_dir(dir.path().join(zone)).unwrap();
            fs::write(dir.path().join(zone).join("temp"), text).unwrap();
        }
        assert_eq!(temperature_in(dir.path()), Some(41.5));
    }

    #[test]
    fn load_and_memory_are_known_on_linux() {
        assert!(load_1m().is_some_and(|load| load >= 0.0));
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_clock_is_unknown_without_timesyncd() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(clock_synchronised_in(run.path()), None);
        fs::create_dir_all(run.path().join("systemd/timesync")).unwrap();
        assert_eq!(clock_synchronised_in(run.path()), Some(false));
        fs::write(run.path().join("systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(clock_synchronised_in(run.path()), Some(true));
    }
}
