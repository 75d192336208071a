//! When a study is closed: a pure state machine. It reads no clock and touches nothing; time, what the store
//! holds and what the sources still hold come in as events.
//!
//! A study is closed when every image of it is scored and one of these holds: one image is the whole study; it has as
//! many views as a study may have; or it was left alone for `idle_close_s` and a scan of *its own* source that began
//! after that time found no image of it. So no study closes before its source was scanned, and a station that
//! comes back after a crash first takes what still lies there; what another source sees or says is nothing to it.
//! A study that comes from no source that is scanned waits for the time alone. One that the technician opened is
//! closed when told so, or when it was forgotten for `by_hand_idle_close_min`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::config::within;

/// `[study]`: when a study is taken to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudyConfig {
    /// Seconds without a new image after which a study is closed.
    pub idle_close_s: u64,
    /// Most views of one study. It is closed when it has them; a further image starts another study.
    pub views_max: u32,
    /// Hours after closing in which a late image still opens the study again. Later, the same folder name is
    /// taken for another patient's.
    pub reopen_max_h: u32,
    /// Minutes without a new image after which a study that the technician opened is closed, should it be forgotten.
    pub by_hand_idle_close_min: u32,
}

impl Default for StudyConfig {
    fn default() -> Self {
        Self { idle_close_s: 20, views_max: 32, reopen_max_h: 24, by_hand_idle_close_min: 60 }
    }
}

impl StudyConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong and what it may be.
    pub fn check(&self) -> Result<(), String> {
        within("study.idle_close_s", self.idle_close_s, 1, 86_400)?;
        within("study.views_max", u64::from(self.views_max), 1, 1000)?;
        within("study.reopen_max_h", u64::from(self.reopen_max_h), 0, 8760)?;
        within("study.by_hand_idle_close_min", u64::from(self.by_hand_idle_close_min), 1, 10_080)
    }
}

/// The name of a source that is scanned.
pub type SourceName = &'static str;

/// What happened. `Id` names a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<Id: Ord> {
    /// The open studies as the store holds them now. One that is not among them is closed.
    Open(Vec<Facts<Id>>),
    /// A scan of a source, and the studies of which it still holds an image.
    Scanned {
        /// Which source.
        source: SourceName,
        /// When the scan began.
        began: Duration,
        /// What it found.
        held: BTreeSet<Id>,
    },
}

/// An open study.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<Id> {
    /// Which one.
    pub id: Id,
    /// The source whose scans say whether more of it is to come; `None` where nothing is scanned for it.
    pub source: Option<SourceName>,
    /// One image is the whole study.
    pub single: bool,
    /// Its images.
    pub views: u32,
    /// Those of them not yet scored.
    pub waiting: u32,
    /// The technician's: no source knows whether it is complete.
    pub by_hand: bool,
    /// The technician wants it closed.
    pub close_asked: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<Id> {
    /// Close the study. Asked again until the study is no longer open.
    Close(Id),
}

/// The open studies of a station.
#[derive(Debug)]
pub struct Studies<Id: Ord> {
    idle_close: Duration,
    by_hand_idle_close: Duration,
    views_max: u32,
    open: BTreeMap<Id, Study<Id>>,
    /// The newest scan of each source: when it began, and what it held.
    scans: BTreeMap<SourceName, (Duration, BTreeSet<Id>)>,
}

#[derive(Debug)]
struct Study<Id> {
    facts: Facts<Id>,
    /// When its last image was seen; the service's start for one that was open before.
    last_image: Duration,
}

impl<Id: Ord + Copy> Studies<Id> {
    /// No study is open yet.
    pub fn new(config: &StudyConfig) -> Self {
        Self {
            idle_close: Duration::from_secs(config.idle_close_s),
            by_hand_idle_close: Duration::from_secs(60 * u64::from(config.by_hand_idle_close_min)),
            views_max: config.views_max,
            open: BTreeMap::new(),
            scans: BTreeMap::new(),
        }
    }

    /// Takes in what happened; `now` is boot time and never goes back.
    pub fn on(&mut self, event: Event<Id>, now: Duration) -> Vec<Action<Id>> {
        match event {
            Event::Open(facts) => self.update(facts, now),
            Event::Scanned { source, began, held } => {
                self.scans.insert(source, (began, held));
            }
        }
        self.open
            .iter()
            .filter(|(_, study)| self.complete(study, now))
            .map(|(id, _)| Action::Close(*id))
            .collect()
    }

    fn update(&mut self, open: Vec<Facts<Id>>, now: Duration) {
        let mut before = std::mem::take(&mut self.open);
        for facts in open {
            let last_image = match before.remove(&facts.id) {
                Some(study) if study.facts.views == facts.views => study.last_image,
                _ => now,
            };
            self.open.insert(facts.id, Study { facts, last_image });
        }
    }

    fn complete(&self, study: &Study<Id>, now: Duration) -> bool {
        let Facts { id, source, single, views, waiting, by_hand, close_asked } = study.facts;
        if waiting > 0 {
            return false;
        }
        if by_hand {
            return close_asked || now >= study.last_image.saturating_add(self.by_hand_idle_close);
        }
        let alone_until = study.last_image.saturating_add(self.idle_close);
        let left_alone = match source {
            Some(source) => self
                .scans
                .get(source)
                .is_some_and(|(began, held)| *began >= alone_until && !held.contains(&id)),
            None => now >= alone_until,
        };
        close_asked || single || views >= self.views_max || left_alone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: StudyConfig =
        StudyConfig { idle_close_s: 20, views_max: 4, reopen_max_h: 24, by_hand_idle_close_min: 60 };

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn facts(id: u8, views: u32, waiting: u32) -> Facts<u8> {
        Facts { id, source: Some("spool"), single: false, views, waiting, by_hand: false, close_asked: false }
    }

    fn scanned(began_s: u64, held: &[u8]) -> Event<u8> {
        scanned_by("spool", began_s, held)
    }

    fn scanned_by(source: SourceName, began_s: u64, held: &[u8]) -> Event<u8> {
        Event::Scanned { source, began: at(began_s), held: held.iter().copied().collect() }
    }

    #[test]
    fn a_study_left_alone_closes_with_the_first_scan_after_that() {
        let mut studies = Studies::new(&CONFIG);
        assert_eq!(studies.on(Event::Open(vec![facts(1, 2, 0)]), at(100)), []);
        assert_eq!(studies.on(scanned(119, &[]), at(121)), [], "this scan began too early to know");
        assert_eq!(studies.on(scanned(120, &[]), at(121)), [Action::Close(1)]);
    }

    #[test]
    fn a_held_file_or_a_waiting_image_keeps_a_study_open() {
        let mut studies = Studies::new(&CONFIG);
        studies.on(Event::Open(vec![facts(1, 1, 0), facts(2, 1, 1)]), at(0));
        assert_eq!(studies.on(scanned(50, &[1]), at(50)), []);
        assert_eq!(studies.on(Event::Open(vec![facts(1, 1, 0), facts(2, 1, 0)]), at(51)), [Action::Close(2)]);
        assert_eq!(studies.on(scanned(52, &[]), at(52)), [Action::Close(1), Action::Close(2)]);
    }

    #[test]
    fn a_new_image_starts_the_wait_again() {
        let mut studies = Studies::new(&CONFIG);
        studies.on(Event::Open(vec![facts(1, 1, 0)]), at(0));
        studies.on(Event::Open(vec![facts(1, 2, 0)]), at(19));
        assert_eq!(studies.on(scanned(38, &[]), at(38)), []);
        assert_eq!(studies.on(scanned(39, &[]), at(39)), [Action::Close(1)]);
    }

    #[test]
    fn a_single_or_full_study_closes_as_soon_as_it_is_scored() {
        let mut studies = Studies::new(&CONFIG);
        let single = |waiting| Facts { single: true, ..facts(1, 1, waiting) };
        assert_eq!(studies.on(Event::Open(vec![single(1), facts(2, 4, 1)]), at(0)), []);
        assert_eq!(
            studies.on(Event::Open(vec![single(0), facts(2, 4, 0)]), at(1)),
            [Action::Close(1), Action::Close(2)]
        );
        assert_eq!(studies.on(Event::Open(vec![]), at(2)), []);
    }

    #[test]
    fn the_technicians_study_closes_when_asked_or_forgotten() {
        let mut studies = Studies::new(&CONFIG);
        let mine =
            |views, waiting, close_asked| Facts { by_hand: true, close_asked, ..facts(1, views, waiting) };
        assert_eq!(studies.on(Event::Open(vec![mine(4, 0, false)]), at(0)), [], "full is not complete");
        assert_eq!(studies.on(scanned(3000, &[]), at(3000)), [], "no source knows of it");
        assert_eq!(studies.on(Event::Open(vec![mine(4, 1, true)]), at(3001)), [], "first it is scored");
        assert_eq!(studies.on(Event::Open(vec![mine(4, 0, true)]), at(3002)), [Action::Close(1)]);
        studies.on(Event::Open(vec![mine(5, 0, false)]), at(4000));
        assert_eq!(studies.on(Event::Open(vec![mine(5, 0, false)]), at(7599)), []);
        assert_eq!(studies.on(Event::Open(vec![mine(5, 0, false)]), at(7600)), [Action::Close(1)]);
        let other = Facts { close_asked: true, ..facts(2, 1, 0) };
        assert_eq!(
            studies.on(Event::Open(vec![other]), at(7601)),
            [Action::Close(2)],
            "any study may be closed"
        );
    }

    #[test]
    fn only_its_own_source_closes_a_study_or_keeps_it_open() {
        let mut studies = Studies::new(&CONFIG);
        let of = |id, source| Facts { source, ..facts(id, 1, 0) };
        let open = vec![of(1, Some("spool")), of(2, Some("dicom")), of(3, None)];
        assert_eq!(studies.on(Event::Open(open), at(0)), []);
        assert_eq!(studies.on(scanned_by("dicom", 19, &[]), at(19)), []);
        // The spool, which holds everything, holds nothing of the others; study 3 has waited long enough.
        assert_eq!(studies.on(scanned_by("spool", 30, &[1, 2, 3]), at(30)), [Action::Close(3)]);
        assert_eq!(studies.on(scanned_by("dicom", 31, &[1]), at(31)), [Action::Close(2), Action::Close(3)]);
        // A source that never says anything keeps its own study open, and no other.
        let silent = vec![of(1, Some("spool")), of(4, Some("replay"))];
        assert_eq!(studies.on(Event::Open(silent), at(60)), []);
        assert_eq!(studies.on(scanned_by("spool", 100, &[]), at(100)), [Action::Close(1)]);
    }

    /// Study `n` comes from the nth of these.
    const SOURCES: [Option<SourceName>; 3] = [Some("spool"), Some("dicom"), None];

    #[derive(Clone, Debug)]
    enum Step {
        Accept(u8),
        Score(u8),
        Put(u8),
        Scan(u8),
        Wait(u64),
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0u8..3).prop_map(Step::Accept),
            3 => (0u8..3).prop_map(Step::Score),
            1 => (0u8..3).prop_map(Step::Put),
            4 => (0u8..2).prop_map(Step::Scan),
            3 => (1u64..15).prop_map(Step::Wait),
            1 => Just(Step::Restart),
        ];
        proptest::collection::vec(step, 1..120)
    }

    /// A station reduced to counters: images still at their source, waiting and scored per study, and when the last
    /// one came.
    #[derive(Default)]
    struct World {
        at_source: BTreeMap<u8, u32>,
        waiting: BTreeMap<u8, u32>,
        scored: BTreeMap<u8, u32>,
        last_image_s: BTreeMap<u8, u64>,
    }

    impl World {
        fn open(&self) -> Vec<Facts<u8>> {
            let count = |of: &BTreeMap<u8, u32>, id| of.get(id).copied().unwrap_or(0);
            self.last_image_s
                .keys()
                .map(|id| {
                    let waiting = count(&self.waiting, id);
                    let views = waiting + count(&self.scored, id);
                    Facts { source: SOURCES[usize::from(*id)], ..facts(*id, views, waiting) }
                })
                .collect()
        }

        fn step(&mut self, step: &Step, now_s: u64) {
            match step {
                Step::Accept(id) => {
                    self.at_source.entry(*id).and_modify(|images| *images = images.saturating_sub(1));
                    *self.waiting.entry(*id).or_default() += 1;
                    self.last_image_s.insert(*id, now_s);
                }
                Step::Score(id) => {
                    if let Some(waiting) = self.waiting.get_mut(id).filter(|waiting| **waiting > 0) {
                        *waiting -= 1;
                        *self.scored.entry(*id).or_default() += 1;
                    }
                }
                Step::Put(id) => *self.at_source.entry(*id).or_default() += 1,
                Step::Scan(_) | Step::Wait(_) | Step::Restart => {}
            }
        }

        /// What a scan of a source sees: its own studies only.
        fn held(&self, source: SourceName) -> BTreeSet<u8> {
            let held = self.at_source.iter().filter(|(_, images)| **images > 0).map(|(id, _)| *id);
            held.filter(|id| SOURCES[usize::from(*id)] == Some(source)).collect()
        }

        fn close(&mut self, id: u8) {
            // Its views stay: a late image opens the study again with one more.
            self.last_image_s.remove(&id);
        }
    }

    proptest! {
        #[test]
        fn nothing_closes_too_early_and_everything_closes_in_the_end(steps in steps()) {
            let mut world = World::default();
            let mut studies = Studies::new(&CONFIG);
            let mut now_s = 1000;
            // The newest scan of each source that the machine may go by, and what it saw.
            let mut scans: BTreeMap<SourceName, (u64, BTreeSet<u8>)> = BTreeMap::new();
            let mut started_s = now_s;
            for step in &steps {
                world.step(step, now_s);
                if let Step::Wait(s) = step {
                    now_s += s;
                }
                if matches!(step, Step::Restart) {
                    (studies, started_s) = (Studies::new(&CONFIG), now_s);
                    scans.clear();
                }
                let mut actions = studies.on(Event::Open(world.open()), at(now_s));
                if let Step::Scan(number) = step
                    && let Some(source) = SOURCES[usize::from(*number)]
                {
                    let held = world.held(source);
                    scans.insert(source, (now_s, held.clone()));
                    actions = studies.on(Event::Scanned { source, began: at(now_s), held }, at(now_s));
                }
                for Action::Close(id) in actions {
                    let open = world.open();
                    let study = open.iter().find(|study| study.id == id).expect("only open studies are closed");
                    prop_assert_eq!(study.waiting, 0);
                    if study.views < CONFIG.views_max {
                        let alone_s = world.last_image_s[&id].max(started_s) + CONFIG.idle_close_s;
                        let (looked_s, held) = match study.source {
                            Some(source) => scans.get(source).cloned().expect("no study closes before a scan"),
                            None => (now_s, BTreeSet::new()),
                        };
                        prop_assert!(looked_s >= alone_s);
                        prop_assert!(!held.contains(&id));
                    }
                    world.close(id);
                }
            }
            // Left alone, with everything scored and every source empty, every study closes at the next scans.
            for id in 0..3 {
                while world.waiting.get(&id).is_some_and(|waiting| *waiting > 0) {
                    world.step(&Step::Score(id), now_s);
                }
            }
            studies.on(Event::Open(world.open()), at(now_s));
            let later_s = now_s + CONFIG.idle_close_s;
            let mut closed = Vec::new();
            for source in SOURCES.into_iter().flatten() {
                closed = studies.on(scanned_by(source, later_s, &[]), at(later_s));
            }
            prop_assert_eq!(closed.len(), world.open().len());
        }
    }
}
