//! What is known of the two slots: a small file that is replaced as a whole. Pure, but for its reading and writing.

use std::collections::BTreeMap;
use std::fmt;

use contract::bundle::Purpose;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The format this version reads and writes.
const FORMAT: u32 = 1;
/// A bundle on trial is started this often before the station returns to the one before: a power cut while the model
/// loads is no fault of the bundle's.
const STARTS_MAX: u32 = 3;
/// A bundle is tested this often; more tests that never came to an end are the bundle's doing.
const TESTS_MAX: u32 = 3;

/// One of the two places for a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its folder's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The one that it is not.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A bundle that lies whole in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What it may be used for.
    pub purpose: Purpose,
    /// SHA-256 of its manifest.
    pub bundle_sha256: String,
    /// The id of the key that signed it.
    pub signed_by: String,
    /// When it was installed.
    pub installed_at: Timestamp,
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.bundle_sha256.get(..12).unwrap_or(&self.bundle_sha256);
        write!(f, "{} version {}, bundle {hash}", self.name, self.version)
    }
}

/// The slot in use has not served yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Where the station goes back to; nowhere, when nothing was in use before.
    pub return_to: Option<Slot>,
    /// How often it was started.
    pub starts: u32,
}

/// A bundle with which the station did not become ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// The bundle.
    pub bundle: Installed,
    /// Why.
    pub why: String,
    /// When the station returned to the one before.
    pub at: Timestamp,
}

/// What is known of the slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub(super) format: u32,
    active: Option<Slot>,
    trial: Option<Trial>,
    version_max: u32,
    slots: BTreeMap<Slot, Installed>,
    returned: Option<Returned>,
    /// Tests that were begun and have not ended: written before a test, so that one that kills the process counts.
    #[serde(default)]
    testing: Option<Testing>,
}

/// Tests of one bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Testing {
    bundle_sha256: String,
    begun: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: FORMAT,
            active: None,
            trial: None,
            version_max: 0,
            slots: BTreeMap::new(),
            returned: None,
            testing: None,
        }
    }
}

/// With what a service starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The slot.
    pub slot: Slot,
    /// Its bundle.
    pub bundle: Installed,
    /// Whether it has not served yet.
    pub on_trial: bool,
}

impl Record {
    /// Whether this version understands it.
    pub(super) fn is_known(&self) -> bool {
        let whole = |slot: Option<Slot>| slot.is_none_or(|slot| self.slots.contains_key(&slot));
        self.format == FORMAT
            && whole(self.active)
            && whole(self.trial.and_then(|trial| trial.return_to))
            && (self.trial.is_none() || self.active.is_some())
    }

    /// The slot in use, and its bundle.
    pub fn active(&self) -> Option<(Slot, &Installed)> {
        let slot = self.active?;
        Some((slot, self.slots.get(&slot)?))
    }

    /// The bundle in a slot.
    pub fn bundle(&self, slot: Slot) -> Option<&Installed> {
        self.slots.get(&slot)
    }

    /// The slot that holds a bundle.
    pub fn holding(&self, bundle_sha256: &str) -> Option<Slot> {
        self.slots.iter().find(|(_, bundle)| bundle.bundle_sha256 == bundle_sha256).map(|(slot, _)| *slot)
    }

    /// The slot that is not in use; where none is, the one with the highest version.
    pub fn other(&self) -> Slot {
        let highest = || self.slots.iter().max_by_key(|(_, bundle)| bundle.version).map(|(slot, _)| *slot);
        self.active.map(Slot::other).or_else(highest).unwrap_or(Slot::A)
    }

    /// The trial that is going on.
    pub fn trial(&self) -> Option<Trial> {
        self.trial
    }

    /// The bundle that the station returned from, until another one is activated.
    pub fn returned(&self) -> Option<&Returned> {
        self.returned.as_ref()
    }

    /// The highest version that was ever installed.
    pub fn version_max(&self) -> u32 {
        self.version_max
    }

    /// The slot that the next bundle goes to; `None` during a trial that can be returned from, which needs both.
    pub fn free(&self) -> Option<Slot> {
        if self.trial.is_some_and(|trial| trial.return_to.is_some()) {
            return None;
        }
        let empty = || Slot::ALL.into_iter().find(|slot| !self.slots.contains_key(slot));
        Some(self.active.map(Slot::other).or_else(empty).unwrap_or(Slot::A))
    }

    /// Forgets what is in a slot that is not in use, before its folder is touched.
    pub(super) fn vacate(&mut self, slot: Slot) {
        if self.active != Some(slot) {
            self.slots.remove(&slot);
        }
    }

    /// A bundle lies whole in a slot.
    pub(super) fn fill(&mut self, slot: Slot, bundle: Installed) {
        self.version_max = self.version_max.max(bundle.version);
        self.slots.insert(slot, bundle);
    }

    /// A bundle is to be tested; whether it may be once more.
    pub(super) fn begin_test(&mut self, bundle_sha256: &str) -> bool {
        let before = self.testing.take().filter(|testing| testing.bundle_sha256 == bundle_sha256);
        let begun = 1 + before.map_or(0, |testing| testing.begun);
        let may = begun <= TESTS_MAX;
        self.testing = may.then(|| Testing { bundle_sha256: bundle_sha256.to_owned(), begun });
        may
    }

    /// A test has come to an end.
    pub(super) fn end_test(&mut self) {
        self.testing = None;
    }

    /// Forgets that the station has returned from a bundle, because somebody orders it anew.
    pub(super) fn forget_return(&mut self, bundle_sha256: &str) {
        self.returned =
            self.returned.take().filter(|returned| returned.bundle.bundle_sha256 != bundle_sha256);
    }

    /// Uses a slot that holds a bundle from the next start on, on trial. Going back during a trial ends it.
    pub(super) fn activate(&mut self, slot: Slot) {
        if self.active == Some(slot) || !self.slots.contains_key(&slot) {
            return;
        }
        // What was on trial until now has never served, so nobody returns to it.
        let return_to = self.trial.map_or(self.active, |trial| trial.return_to);
        self.trial = (return_to != Some(slot)).then_some(Trial { return_to, starts: 0 });
        self.active = Some(slot);
        self.returned = None;
    }

    /// A service starts: with what. A trial that was started too often already is over.
    pub(super) fn begin(&mut self, at: Timestamp) -> Option<Begun> {
        if self.trial.is_some_and(|trial| trial.starts >= STARTS_MAX) {
            self.give_back(format!("it was started {STARTS_MAX} times and never became ready"), at);
        }
        if let Some(trial) = &mut self.trial {
            trial.starts += 1;
        }
        let on_trial = self.trial.is_some();
        let (slot, bundle) = self.active()?;
        Some(Begun { slot, bundle: bundle.clone(), on_trial })
    }

    /// Whether what a service began with is still what is to be used.
    pub(super) fn is_at(&self, begun: &Begun) -> bool {
        self.active().is_some_and(|(slot, bundle)| slot == begun.slot && *bundle == begun.bundle)
    }

    /// The service is ready with the slot in use.
    pub(super) fn confirm(&mut self) {
        self.trial = None;
    }

    /// The trial is over; the slot before is in use again.
    pub(super) fn give_back(&mut self, why: String, at: Timestamp) {
        let Some(trial) = self.trial.take() else { return };
        let bundle = self.active().map(|(_, bundle)| bundle.clone());
        self.returned = bundle.map(|bundle| Returned { bundle, why, at });
        self.active = trial.return_to;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bundle(version: u32) -> Installed {
        Installed {
            name: "m".to_owned(),
            version,
            purpose: Purpose::Demo,
            bundle_sha256: format!("{version:064}"),
            signed_by: "K".to_owned(),
            installed_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn install(record: &mut Record, version: u32) -> Slot {
        let slot = record.free().unwrap();
        record.vacate(slot);
        record.fill(slot, bundle(version));
        slot
    }

    fn serving(record: &Record) -> Option<u32> {
        record.active().map(|(_, bundle)| bundle.version)
    }

    /// A station that serves with version 1 and has version 2 on trial.
    fn on_trial() -> Record {
        let mut record = Record::default();
        for version in [1, 2] {
            let slot = install(&mut record, version);
            record.activate(slot);
            if version == 1 {
                record.begin(Timestamp::UNIX_EPOCH);
                record.confirm();
            }
        }
        record
    }

    #[test]
    fn a_bundle_that_serves_stays_and_the_other_slot_is_free() {
        let mut record = on_trial();
        assert_eq!(record.free(), None, "a trial needs both");
        let begun = record.begin(Timestamp::UNIX_EPOCH).unwrap();
        assert!(begun.on_trial && begun.bundle.version == 2);
        record.confirm();
        assert_eq!((record.trial(), serving(&record), record.free()), (None, Some(2), Some(Slot::A)));
    }

    #[test]
    fn a_bundle_that_never_serves_is_given_up_after_some_starts() {
        let mut record = on_trial();
        for _ in 0..STARTS_MAX {
            assert_eq!(record.begin(Timestamp::UNIX_EPOCH).unwrap().bundle.version, 2);
        }
        let begun = record.begin(Timestamp::UNIX_EPOCH).unwrap();
        assert!(!begun.on_trial && begun.bundle.version == 1);
        assert_eq!(record.returned().map(|returned| returned.bundle.version), Some(2));
        assert_eq!(record.version_max(), 2, "what was given up is still no way back to something older");
        record.confirm();
        assert!(record.returned().is_some(), "said until another one is activated");
        record.activate(Slot::B);
        assert!(record.returned().is_none() && record.trial().is_some());
    }

    #[test]
    fn a_test_that_never_ends_is_given_up_and_one_that_does_is_forgotten() {
        let mut record = Record::default();
        for _ in 0..TESTS_MAX {
            assert!(record.begin_test("ab"));
        }
        assert!(!record.begin_test("ab"));
        assert!(record.begin_test("ab"), "asked for anew");
        assert!(record.begin_test("cd"));
        record.end_test();
        assert_eq!(record, Record::default());
    }

    #[test]
    fn a_service_that_began_with_something_else_decides_nothing() {
        let mut record = on_trial();
        let begun = record.begin(Timestamp::UNIX_EPOCH).unwrap();
        assert!(record.is_at(&begun));
        record.activate(Slot::A);
        assert!(!record.is_at(&begun));
        record.vacate(Slot::B);
        record.fill(Slot::B, bundle(3));
        record.activate(Slot::B);
        assert!(!record.is_at(&begun), "the same slot with another bundle");
    }

    #[test]
    fn with_nothing_in_use_the_newest_is_next() {
        let mut record = Record::default();
        assert_eq!(record.other(), Slot::A);
        install(&mut record, 1);
        install(&mut record, 2);
        assert_eq!(record.other(), Slot::B);
        record.activate(Slot::B);
        assert_eq!(record.other(), Slot::A);
    }

    #[test]
    fn going_back_by_hand_ends_the_trial() {
        let mut record = on_trial();
        record.activate(Slot::A);
        assert_eq!((serving(&record), record.trial(), record.returned()), (Some(1), None, None));
    }

    #[test]
    fn a_first_bundle_that_fails_leaves_nothing_in_use() {
        let mut record = Record::default();
        let slot = install(&mut record, 7);
        record.activate(slot);
        record.begin(Timestamp::UNIX_EPOCH);
        record.give_back("it is damaged".to_owned(), Timestamp::UNIX_EPOCH);
        assert_eq!(record.active(), None);
        assert_eq!(record.begin(Timestamp::UNIX_EPOCH), None);
        assert_eq!(record.holding(&bundle(7).bundle_sha256), Some(slot));
    }

    proptest! {
        /// Whatever is done in whatever order: what is in use is whole, a bundle that has served is never lost but to
        /// one that was put into its slot while another served, and the record can be read again.
        #[test]
        fn something_that_served_is_always_at_hand(steps in prop::collection::vec(0u8..6, 1..60)) {
            let mut record = Record::default();
            let mut served = false;
            for (version, step) in (1u32..).zip(steps) {
                match step {
                    0 => { if record.free().is_some() { install(&mut record, version); } }
                    1 => record.activate(Slot::A),
                    2 => record.activate(Slot::B),
                    3 => { record.begin(Timestamp::UNIX_EPOCH); }
                    4 => { record.confirm(); served |= record.active().is_some(); }
                    _ => record.give_back("x".to_owned(), Timestamp::UNIX_EPOCH),
                }
                prop_assert!(record.is_known(), "{record:?}");
                let json = serde_json::to_vec(&record).unwrap();
                prop_assert_eq!(&serde_json::from_slice::<Record>(&json).unwrap(), &record);
                if served {
                    prop_assert!(record.active().is_some(), "{record:?}");
                    let back = record.trial().map(|trial| trial.return_to);
                    prop_assert!(back.is_none_or(|slot| slot.is_some()), "{record:?}");
                }
            }
        }
    }
}
