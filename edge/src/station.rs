//! What the station says of itself.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use contract::result::{Presence, SCHEMAS, StationBirth, StationHealth, notice};

use crate::capture::Camera;
use crate::health::{self, Health, Trouble};
use crate::inference::Model;
use crate::publish::{Condition, Facts};
use crate::store::Store;

/// How long the publishing thread may be silent: longer than any name lookup.
const PUBLISH_SILENCE_MAX: Duration = Duration::from_secs(180);

/// Answers for the whole station.
pub struct Station {
    /// Its name.
    pub name: String,
    /// Its state.
    pub store: Store,
    /// Its model.
    pub model: Model,
    /// Its stages.
    pub health: Arc<Health>,
    /// The frame grabber, where there is one.
    pub camera: Option<Arc<dyn Camera>>,
    /// When the service started.
    pub started: Instant,
}

impl Facts for Station {
    fn birth(&self) -> StationBirth {
        let manifest = self.model.manifest();
        StationBirth {
            station: self.name.clone(),
            edge_version: env!("CARGO_PKG_VERSION").to_owned(),
            model: self.model.summary().clone(),
            study_types: manifest.study_types.iter().cloned().collect(),
            outbox_id: self.store.outbox_id().unwrap_or_default(),
            schemas: SCHEMAS.iter().map(|&name| name.to_owned()).collect(),
            notice: notice(manifest.purpose).to_owned(),
        }
    }

    fn health(&self) -> StationHealth {
        let store = &self.store;
        let or_zero = |counted: Result<u64, _>| {
            counted.unwrap_or_else(|error| {
                log::warn!("health is incomplete: {error}");
                0
            })
        };
        StationHealth {
            station: self.name.clone(),
            at: store.now(),
            uptime_s: self.started.elapsed().as_secs(),
            disk_free_bytes: or_zero(store.disk_free_bytes()),
            disk_total_bytes: store.disk_total_bytes().ok(),
            outbox_depth: or_zero(store.depth()),
            outbox_oldest_age_s: store.oldest_age().ok().flatten().map(|age| age.as_secs()),
            outbox_dead: or_zero(store.dead_count()),
            seq_acked_through: store.seq_acked_through().ok(),
            images_waiting: or_zero(store.images_waiting()),
            temperature_c: health::temperature_c(),
            load_1m: health::load_1m(),
            cpus: thread::available_parallelism().ok().and_then(|cpus| u32::try_from(cpus.get()).ok()),
            memory_bytes: health::memory_bytes(),
            clock_synchronised: health::clock_synchronised(),
            camera: self.camera.as_ref().map(|camera| camera.state()),
            model: Some(self.model.summary().clone()),
            days: store.days().unwrap_or_else(|error| {
                log::warn!("health is incomplete: {error}");
                Vec::new()
            }),
        }
    }

    fn condition(&self) -> Condition {
        match self.health.gravest() {
            Some(trouble) => Condition { presence: Presence::Degraded, reason: trouble.word().to_owned() },
            None => Condition { presence: Presence::Online, reason: "started".to_owned() },
        }
    }

    fn alive(&self) {
        self.health.beat("publish", PUBLISH_SILENCE_MAX);
    }

    fn certificate_ends_soon(&self, soon: bool) {
        self.health.set(Trouble::CertificateEndsSoon, soon);
    }
}
