//! `edge doctor`: is everything there that a station needs? Each part is looked at on a thread of its own with a
//! deadline, so one that hangs hides no other. Nothing is made, moved or held: the service may run meanwhile.
//!
//! The findings name files of the installation and figures, never a patient, an image or a study.

mod access;
mod broker;
mod commands;
mod model;
mod sources;
mod state;
mod system;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use jiff::Timestamp;
use serde::Serialize;

use self::access::Identity;
use crate::clock::WallClock;
use crate::config::Config;
use crate::exit::Exit;
use crate::store::Inspection;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The station works; somebody should look at it.
    Warn,
    /// Something does not work.
    Fail,
}

impl Verdict {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The exit code that says so.
    pub fn exit(self) -> Exit {
        match self {
            Self::Ok => Exit::Ok,
            Self::Warn => Exit::Warnings,
            Self::Fail => Exit::Failures,
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, such as `broker.tls`.
    pub name: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; null where all is well.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warn(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { name: name.to_owned(), verdict: Verdict::Warn, found: found.into(), remedy }
    }

    fn fail(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(name, found, remedy) }
    }
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of `edge`.
    pub edge_version: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// The configuration file.
    pub config: PathBuf,
    /// The station's name; null where the configuration cannot be used.
    pub station: Option<String>,
    /// The worst of the checks.
    pub verdict: Verdict,
    /// The checks, in the order in which a station needs what they look at.
    pub checks: Vec<Check>,
}

/// What the checks know.
struct Station {
    config: Config,
    /// Who the service runs as.
    identity: Identity,
}

impl Station {
    /// The time as the service sees it: never before what it has recorded.
    fn clock(&self) -> WallClock {
        let recorded = Inspection::open(&self.config.state_dir).ok().flatten();
        WallClock::new(recorded.and_then(|store| store.wall_ms().ok()).unwrap_or(0))
    }
}

/// A part of the station: its name, the time it may take, and how it is looked at.
type Part = (&'static str, Duration, fn(&Station) -> Vec<Check>);

const PARTS: [Part; 8] = [
    ("state", Duration::from_secs(60), state::checks),
    ("service", Duration::from_secs(10), system::service),
    // The self-test of a large model takes this long on a small board.
    ("model", Duration::from_secs(180), model::checks),
    ("source", Duration::from_secs(15), sources::checks),
    ("clock", Duration::from_secs(10), system::clock),
    ("broker", Duration::from_secs(45), broker::checks),
    ("outbox", Duration::from_secs(15), state::outbox),
    ("commands", Duration::from_secs(5), commands::checks),
];

/// Looks at everything.
pub fn examine(path: &Path) -> Report {
    let (station, checks) = match Config::load(path) {
        Ok(config) => {
            let name = config.station.clone();
            let mut checks = vec![Check::ok("config", format!("{}, station {name}", path.display()))];
            let identity = Identity::of_service(&config.state_dir);
            checks.extend(examine_parts(&Arc::new(Station { config, identity }), &PARTS));
            (Some(name), checks)
        }
        Err(error) => {
            let remedy = "correct the configuration; `edge config check` says when it is right";
            (None, vec![Check::fail("config", error.to_string(), remedy)])
        }
    };
    Report {
        edge_version: env!("CARGO_PKG_VERSION").to_owned(),
        at: Timestamp::now(),
        config: path.to_owned(),
        station,
        verdict: checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok),
        checks,
    }
}

/// Looks at a station from within its service, which has tested the model and can speak for itself.
pub fn examine_running(config: Config) -> Vec<Check> {
    let identity = Identity::of_service(&config.state_dir);
    let own = |(name, ..): &Part| matches!(*name, "model" | "service");
    let parts: Vec<Part> = PARTS.into_iter().filter(|part| !own(part)).collect();
    examine_parts(&Arc::new(Station { config, identity }), &parts)
}

fn examine_parts(station: &Arc<Station>, parts: &[Part]) -> Vec<Check> {
    let began = Instant::now();
    let running: Vec<_> = parts.iter().map(|part| (part, start(part, station))).collect();
    let finish = |((name, patience, _), findings): (&Part, Receiver<Vec<Check>>)| match findings
        .recv_deadline(began + *patience)
    {
        Ok(checks) => checks,
        Err(RecvTimeoutError::Timeout) => vec![Check::fail(
            name,
            format!("nothing came of looking at it within {} s", patience.as_secs()),
            "a device, disk or network that hangs is the likely cause; see the system's log",
        )],
        Err(RecvTimeoutError::Disconnected) => {
            vec![Check::fail(name, "looking at it ended in a fault of this program", "report it")]
        }
    };
    running.into_iter().flat_map(finish).collect()
}

/// Nothing comes where the thread cannot be started or panics.
fn start(part: &Part, station: &Arc<Station>) -> Receiver<Vec<Check>> {
    let (sender, receiver) = bounded(1);
    let ((name, _, look), station) = (*part, Arc::clone(station));
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Ok(checks) = catch_unwind(AssertUnwindSafe(|| look(&station))) {
            let _ = sender.send(checks);
        }
    });
    drop(spawned);
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides_the_exit_code() {
        assert_eq!(Verdict::Ok.exit(), Exit::Ok);
        assert_eq!([Verdict::Ok, Verdict::Warn].into_iter().max().map(Verdict::exit), Some(Exit::Warnings));
        assert!(Verdict::Fail > Verdict::Warn);
        assert_eq!(Verdict::Fail.exit().code(), 5);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_the_only_finding() {
        let report = examine(Path::new("/nowhere/edge.toml"));
        assert_eq!((report.verdict, report.checks.len(), report.station), (Verdict::Fail, 1, None));
        assert!(report.checks[0].found.contains("/nowhere/edge.toml"), "{:?}", report.checks);
        assert!(report.checks[0].remedy.is_some());
    }
}
