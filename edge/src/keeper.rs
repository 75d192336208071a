//! The keeper: closes studies, keeps limits, and tells systemd that all stages get on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::capture::{Report, source_of};
use crate::clock::boot_time;
use crate::health::{self, Health, Trouble};
use crate::inference::{Model, compose};
use crate::outlook::Outlook;
use crate::store::{Closed, Store, StoreError, StudyId};
use crate::study::{Action, Event, Facts, SourceName, Studies, StudyConfig};
use crate::wake::{Stop, Wake};

const PATIENCE: Duration = Duration::from_millis(500);
const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The newest report of a source that is scanned; none before its first scan.
#[derive(Clone, Debug, Default)]
pub struct LastReport(Arc<Mutex<Option<Report>>>);

impl LastReport {
    /// Replaces the report.
    pub fn set(&self, report: Report) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    fn get(&self) -> Option<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Closes studies and looks after the station.
pub struct Keeper {
    store: Store,
    model: Model,
    health: Arc<Health>,
    studies: Studies<StudyId>,
    reports: BTreeMap<SourceName, LastReport>,
    outlook: Outlook,
    next_upkeep: Duration,
    next_watchdog: Duration,
    watchdog_interval: Option<Duration>,
}

impl Keeper {
    /// `reports` is where the reports of the sources that are scanned come, by the source's name. Studies of others
    /// are never held.
    pub fn new(
        config: &StudyConfig,
        store: Store,
        model: Model,
        health: Arc<Health>,
        reports: BTreeMap<SourceName, LastReport>,
        outlook: Outlook,
    ) -> Self {
        Self {
            store,
            model,
            health,
            studies: Studies::new(config),
            reports,
            outlook,
            next_upkeep: Duration::ZERO,
            next_watchdog: Duration::ZERO,
            watchdog_interval: health::watchdog_interval(),
        }
    }

    /// Works until stopped; `closed` is called after each closing.
    pub fn run(&mut self, wake: &Wake, stop: &Stop, closed: &dyn Fn()) {
        let mut failing = false;
        while !stop.is_stopped() {
            let now = boot_time();
            match self.step(now) {
                Ok(studies) => {
                    if !studies.is_empty() {
                        closed();
                    }
                    if failing {
                        log::info!("studies can be closed again");
                        self.health.set(Trouble::StoreFailing, false);
                    }
                    failing = false;
                }
                Err(error) => {
                    if !failing {
                        log::error!("studies cannot be closed: {error}; trying again");
                        self.health.set(Trouble::StoreFailing, true);
                    }
                    failing = true;
                }
            }
            self.upkeep(now);
            self.watchdog(now);
            wake.wait(PATIENCE);
        }
    }

    /// Looks at the store and the last reports once and closes what is complete.
    ///
    /// # Errors
    /// When the store fails; what was not closed is closed at a later step.
    pub fn step(&mut self, now: Duration) -> Result<Vec<Closed>, StoreError> {
        // The reports first: an image accepted after one makes its study younger than that report.
        let reports: Vec<(SourceName, Report)> =
            self.reports.iter().filter_map(|(source, last)| Some((*source, last.get()?))).collect();
        let open = self.store.open_studies()?;
        let source = |origin: &str| source_of(origin).filter(|source| self.reports.contains_key(source));
        let facts = open
            .iter()
            .map(|study| Facts {
                id: study.id,
                source: source(&study.origin),
                single: study.single,
                views: study.views,
                waiting: study.waiting,
                by_hand: study.by_hand,
                close_asked: study.close_asked,
            })
            .collect();
        let mut actions = self.studies.on(Event::Open(facts), now);
        for (source, report) in reports {
            let held = open.iter().filter(|study| report.holds(&study.origin)).map(|study| study.id);
            let scanned = Event::Scanned { source, began: report.began, held: held.collect() };
            actions = self.studies.on(scanned, now);
        }
        let mut closed = Vec::new();
        for Action::Close(id) in actions {
            if let Some(study) = self.close(id)? {
                closed.push(study);
            }
        }
        Ok(closed)
    }

    fn close(&self, id: StudyId) -> Result<Option<Closed>, StoreError> {
        let synchronised = health::clock_synchronised();
        let (manifest, model) = (self.model.manifest(), self.model.summary());
        let set = self.store.points_in_force(&model.bundle_sha256)?;
        let closed = self
            .store
            .close(id, |study, views| compose(manifest, set.as_ref(), model, study, views, synchronised))?;
        if let Some(Closed { number, revision, seq, outcome }) = &closed {
            log::info!(
                study_number = number, seq;
                "study {number} revision {revision} closed: {outcome:?}"
            );
        }
        Ok(closed)
    }

    fn upkeep(&mut self, now: Duration) {
        if now < self.next_upkeep {
            return;
        }
        self.next_upkeep = now + UPKEEP_INTERVAL;
        self.outlook.look_at_space();
        match self.store.upkeep() {
            Ok(0) => {}
            Ok(dropped) => {
                log::info!("{dropped} images of acknowledged studies removed: old, or to make room")
            }
            Err(error) => log::warn!("old images cannot be removed: {error}"),
        }
        let refused = self.store.dead_count().is_ok_and(|count| count > 0);
        if self.health.set(Trouble::ResultsRefused, refused) && refused {
            log::error!(
                "the broker refused results for good; they are kept: see its access rules, then restart"
            );
        }
    }

    /// Systemd hears from the service only while every stage makes progress.
    fn watchdog(&mut self, now: Duration) {
        let stalled = self.health.stalled(now);
        if self.health.set(Trouble::Stalled, !stalled.is_empty()) && !stalled.is_empty() {
            log::error!("no progress in {}", stalled.join(", "));
        }
        self.outlook.tell(&self.store);
        if let Some(interval) = self.watchdog_interval
            && stalled.is_empty()
            && now >= self.next_watchdog
        {
            health::notify(&[NotifyState::Watchdog]);
            self.next_watchdog = now + interval / 2;
        }
    }
}
