//! A folder that is played: its studies come into the station as if they arrived, one after another with a pause
//! between them. For demonstrations and tests.
//!
//! ```text
//! <dir>/<TYPE>/<study>/<file>   a study per folder (deeper folders belong to it)
//! <dir>/<TYPE>/<file>           a study of one view
//! ```
//!
//! Nothing in the folder is changed. Files are recognised by their path, size, time and content, so a station that
//! starts again does not take twice what it accepted. With `loop` it starts from the beginning when it is through, and
//! every round makes new studies; so does a start.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::layout::Place;
use super::scan::{self, Found};
use super::{Report, Source};
use crate::config::within;
use crate::health::{Health, Trouble};
use crate::intake::{AcceptError, Intake};
use crate::store::Origin;
use crate::study::SourceName;

/// The source's name.
pub const NAME: SourceName = "replay";
/// How the origins of its studies begin.
pub(super) const ORIGIN_PREFIX: &str = "replay/";
/// How long a stage may be busy with one file or one scan.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// When a study that could not be taken is tried again, or a folder without studies looked at again.
const RETRY: Duration = Duration::from_secs(5);
/// Reports go on when everything was played.
const IDLE: Duration = Duration::from_secs(60);

/// `[replay]`: a folder whose studies are played.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// The folder; nothing in it is changed.
    pub dir: PathBuf,
    /// Time between two studies, in milliseconds.
    #[serde(default = "default_pause_ms")]
    pub pause_ms: u64,
    /// Whether to start again from the beginning, for ever; every round makes new studies.
    #[serde(default, rename = "loop")]
    pub looping: bool,
}

fn default_pause_ms() -> u64 {
    1000
}

impl ReplayConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do. The folder is not opened.
    pub fn check(&self) -> Result<(), String> {
        // A round without a pause would do nothing but fill the disk.
        within("replay.pause_ms", self.pause_ms, if self.looping { 100 } else { 0 }, 3_600_000)
    }
}

/// The played folder as a source.
pub struct Replay {
    config: ReplayConfig,
    intake: Intake,
    health: Arc<Health>,
    /// What is still to come of this round; `None` before the folder was looked at.
    studies: Option<VecDeque<Study>>,
    /// The next study's time, boot time.
    due: Duration,
    /// What was last warned of, so that it is not said at every try.
    said: Option<String>,
}

/// A study of the folder.
struct Study {
    origin: Origin,
    /// Its files, and what each is recognised by.
    files: Vec<(Found, String)>,
}

impl Replay {
    /// The folder is looked at with the first look.
    pub fn new(config: ReplayConfig, intake: Intake, health: Arc<Health>) -> Self {
        Self { config, intake, health, studies: None, due: Duration::ZERO, said: None }
    }

    /// The studies of the folder, in the order of their names.
    fn round(&mut self) -> Option<VecDeque<Study>> {
        let scan = match scan::scan(&self.config.dir) {
            Ok(scan) => scan,
            Err(error) => {
                self.say(format!(
                    "the folder {} cannot be played: {error}; check replay.dir",
                    self.config.dir.display()
                ));
                return None;
            }
        };
        // A round of its own name makes studies and files of their own.
        let round = match self.config.looping {
            true => format!("{ORIGIN_PREFIX}{}/", self.intake.store().now().as_millisecond()),
            false => ORIGIN_PREFIX.to_owned(),
        };
        let mut studies: BTreeMap<Origin, Vec<(Found, String)>> = BTreeMap::new();
        for found in scan.files.into_iter().filter(|found| !found.unfinished) {
            if let Place::In(origin) = Place::of(&found.relative) {
                let origin = Origin { name: format!("{round}{}", origin.name), ..origin };
                let name = format!("{round}{}", found.name());
                studies.entry(origin).or_default().push((found, name));
            }
        }
        if studies.is_empty() {
            let dir = self.config.dir.display();
            self.say(format!("the folder {dir} holds no studies <TYPE>/<study>/ to play; check replay.dir"));
            return None;
        }
        log::info!("{} studies are played", studies.len());
        Some(studies.into_iter().map(|(origin, files)| Study { origin, files }).collect())
    }

    /// Hands over a study. Says whether any of it is new.
    ///
    /// # Errors
    /// When it must come again, because nothing can be accepted now.
    fn play(&mut self, study: &Study) -> Result<bool, AcceptError> {
        let mut new = false;
        for (found, name) in &study.files {
            self.health.beat(NAME, SILENCE_MAX);
            let path = self.config.dir.join(&found.relative);
            match self.intake.accept_copy(&study.origin, &path, name) {
                Ok(accepted) => new |= !accepted.again,
                Err(error @ (AcceptError::DiskFull { .. } | AcceptError::Store(_))) => return Err(error),
                Err(error) => log::warn!("a file of the played folder is left out: {error}"),
            }
        }
        Ok(new)
    }

    /// Warns once; again only of something else.
    fn say(&mut self, text: String) {
        if self.said.as_ref() != Some(&text) {
            log::warn!("{text}");
            self.said = Some(text);
        }
    }
}

impl Source for Replay {
    fn name(&self) -> SourceName {
        NAME
    }

    fn poll(&mut self, now: Duration) -> Report {
        self.health.beat(NAME, SILENCE_MAX);
        if now < self.due {
            return Report::nothing(now, self.due - now);
        }
        if self.studies.is_none() {
            self.studies = self.round();
        }
        let Some(studies) = &mut self.studies else {
            self.due = now + RETRY;
            return Report::nothing(now, RETRY);
        };
        let Some(study) = studies.pop_front() else {
            if self.config.looping {
                self.studies = None;
                return Report::nothing(now, Duration::ZERO);
            }
            return Report::nothing(now, IDLE);
        };
        let mut report = Report::nothing(now, Duration::ZERO);
        // Of a study that was broken off by a stop, the rest is still to come.
        report.held.extend(studies.iter().map(|later| later.origin.name.clone()));
        match self.play(&study) {
            Ok(new) => {
                self.said = None;
                // What was accepted before the station started again needs no pause.
                report.next = if new { Duration::from_millis(self.config.pause_ms) } else { Duration::ZERO };
            }
            Err(error) => {
                if matches!(error, AcceptError::Store(_)) {
                    self.health.set(Trouble::StoreFailing, true);
                }
                self.say(format!("a study cannot be played now: {error}"));
                report.held.insert(study.origin.name.clone());
                report.next = RETRY;
                if let Some(studies) = &mut self.studies {
                    studies.push_front(study);
                }
            }
        }
        self.due = now + report.next;
        report
    }

    fn wait(&mut self, patience: Duration) {
        thread::sleep(patience);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::store::Store;

    struct Bench {
        dir: tempfile::TempDir,
        config: Config,
        store: Store,
    }

    impl Bench {
        fn new(extra: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().display();
            let text = format!(
                "station = \"t\"\nstate_dir = \"{root}/state\"\n[replay]\ndir = \"{root}/studies\"\n{extra}"
            );
            let config = Config::parse(&text, Path::new("t.toml")).unwrap();
            let store = Store::open(&config.state_dir, config.limits).unwrap();
            let bench = Self { dir, config, store };
            for (name, content) in
                [("XR_HAND/b/1.png", "1"), ("XR_HAND/b/2.png", "2"), ("XR_WRIST/a.png", "3")]
            {
                let path = bench.dir.path().join("studies").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            bench
        }

        fn start(&self) -> Replay {
            let health = Arc::new(Health::default());
            let intake = Intake::new(&self.config, self.store.clone(), Arc::clone(&health), Arc::new(|| {}));
            Replay::new(self.config.replay.clone().unwrap(), intake, health)
        }

        /// `origin: views` of each study, oldest first.
        fn studies(&self) -> Vec<String> {
            let mut studies = self.store.newest_studies(100).unwrap();
            studies.reverse();
            studies.iter().map(|study| format!("{}: {}", study.origin, study.images.len())).collect()
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(1_000_000 + ms)
    }

    #[test]
    fn studies_are_played_once_with_a_pause_and_left_where_they_are() {
        let bench = Bench::new("");
        let mut replay = bench.start();
        let first = replay.poll(at(0));
        assert_eq!(first.next, Duration::from_millis(1000));
        assert!(first.holds("replay/XR_WRIST/a.png") && !first.holds("replay/XR_HAND/b/"));
        assert_eq!(bench.studies(), ["replay/XR_HAND/b/: 2"]);
        replay.poll(at(500));
        assert_eq!(bench.studies().len(), 1, "too early");
        assert!(replay.poll(at(1000)).held.is_empty());
        assert!(replay.poll(at(2000)).held.is_empty());
        let all = ["replay/XR_HAND/b/: 2", "replay/XR_WRIST/a.png: 1"];
        assert_eq!(bench.studies(), all);
        assert!(bench.dir.path().join("studies/XR_HAND/b/1.png").exists());

        let mut again = bench.start();
        for round in 0..5 {
            assert_eq!(again.poll(at(round)).next.is_zero(), round < 2, "nothing new needs no pause");
        }
        assert_eq!(bench.studies(), all);
    }

    #[test]
    fn every_round_of_a_loop_makes_new_studies() {
        let bench = Bench::new("loop = true\npause_ms = 100\n");
        let mut replay = bench.start();
        let mut ms = 0;
        while bench.studies().len() < 5 {
            assert!(ms < 10_000, "{:?}", bench.studies());
            ms += 100;
            replay.poll(at(ms));
            // Rounds are told apart by the wall clock.
            thread::sleep(Duration::from_millis(2));
        }
        assert!(bench.studies().iter().all(|study| study.starts_with("replay/")), "{:?}", bench.studies());
        assert_eq!(bench.studies().iter().filter(|study| study.ends_with("XR_HAND/b/: 2")).count(), 3);
    }

    #[test]
    fn a_full_disk_or_a_missing_folder_makes_it_wait() {
        let bench = Bench::new("[limits]\ndisk_free_min_mib = 1048576\n");
        let report = bench.start().poll(at(0));
        assert!(report.holds("replay/XR_HAND/b/"));
        assert_eq!((report.next, bench.studies().len()), (RETRY, 0));

        let bench = Bench::new("");
        fs::rename(bench.dir.path().join("studies"), bench.dir.path().join("gone")).unwrap();
        let mut replay = bench.start();
        assert_eq!(replay.poll(at(0)).next, RETRY);
        fs::rename(bench.dir.path().join("gone"), bench.dir.path().join("studies")).unwrap();
        replay.poll(at(5000));
        assert_eq!(bench.studies().len(), 1);
    }
}
