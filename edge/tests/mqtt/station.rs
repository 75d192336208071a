//! The publishing half of a station: a store, results in its outbox, and the session.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::bundle::Purpose;
use contract::command::{CommandAck, CommandOutcome, Resent};
use contract::result::{
    ModelSummary, NOTICE, Outcome, Presence, StationBirth, StationHealth, StudyResult, StudySummary,
    ViewResult,
};
use contract::study::Answer;
use edge::publish::{Broker, Condition, Facts, Handle, MqttConfig, Setup, spawn};
use edge::store::{Effect, Grouping, LimitsConfig, NewCommand, NewImage, Origin, SourceFacts, Store};
use jiff::Timestamp;

pub const NAME: &str = "clinic-12";

/// What a test lets the station say of itself.
pub struct Said {
    condition: Mutex<Condition>,
    outbox_id: String,
}

impl Said {
    pub fn degraded(&self, reason: &str) {
        *self.condition.lock().unwrap() =
            Condition { presence: Presence::Degraded, reason: reason.to_owned() };
    }
}

impl Facts for Said {
    fn birth(&self) -> StationBirth {
        StationBirth {
            station: NAME.to_owned(),
            edge_version: "0.0.0".to_owned(),
            model: model(),
            study_types: vec!["XR_WRIST".parse().unwrap()],
            outbox_id: self.outbox_id.clone(),
            schemas: contract::result::SCHEMAS.map(str::to_owned).to_vec(),
            notice: NOTICE.to_owned(),
        }
    }

    fn health(&self) -> StationHealth {
        StationHealth {
            station: NAME.to_owned(),
            at: Timestamp::now(),
            uptime_s: 1,
            disk_free_bytes: 1,
            disk_total_bytes: None,
            outbox_depth: 0,
            outbox_oldest_age_s: None,
            outbox_dead: 0,
            seq_acked_through: None,
            images_waiting: 0,
            temperature_c: None,
            load_1m: None,
            cpus: None,
            memory_bytes: None,
            clock_synchronised: None,
            camera: None,
            model: None,
            days: Vec::new(),
        }
    }

    fn condition(&self) -> Condition {
        self.condition.lock().unwrap().clone()
    }
}

/// A running session.
pub struct Station {
    pub said: Arc<Said>,
    pub handle: Handle,
}

impl Station {
    pub fn start(store: &Store, config: MqttConfig) -> Self {
        config.check().unwrap();
        let condition = Condition { presence: Presence::Online, reason: "started".to_owned() };
        let said = Arc::new(Said { condition: Mutex::new(condition), outbox_id: store.outbox_id().unwrap() });
        let handle = spawn(Setup {
            config,
            station: NAME.to_owned(),
            store: store.clone(),
            facts: Arc::clone(&said) as Arc<dyn Facts>,
            broker: Broker::default(),
            mailbox: Arc::default(),
            page: None,
        })
        .unwrap();
        Self { said, handle }
    }

    pub fn stop(self) {
        assert!(self.handle.join(Duration::from_secs(10)), "the session ends in time");
    }
}

/// Short waits, so that a test takes seconds.
pub fn config(port: u16) -> MqttConfig {
    MqttConfig { port, backoff_min_ms: 20, backoff_max_ms: 200, ..MqttConfig::default() }
}

fn model() -> ModelSummary {
    ModelSummary {
        name: "test".to_owned(),
        version: 1,
        bundle_sha256: "0".repeat(64),
        purpose: Purpose::ClinicalEvaluation,
        aspect: None,
    }
}

/// A station's store with studies closed through its own steps, in a folder that lasts as long as the value.
pub struct Outbox {
    pub store: Store,
    studies: Cell<u32>,
    _folder: tempfile::TempDir,
}

impl Outbox {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), LimitsConfig::default()).unwrap();
        Self { store, studies: Cell::new(0), _folder: folder }
    }

    /// Adds studies whose results are of about `size` bytes.
    pub fn fill(&self, count: usize, size: usize) {
        self.fill_answered(count, size, |_| None);
    }

    /// As [`Outbox::fill`], with an answer by `seq`.
    pub fn fill_answered(&self, count: usize, size: usize, answer: impl Fn(u64) -> Option<Answer>) {
        for _ in 0..count {
            self.studies.set(self.studies.get() + 1);
            let answer = answer(u64::from(self.studies.get()));
            let name = format!("XR_WRIST/{}", self.studies.get());
            self.accept(&name);
            let claim = self.store.claim().unwrap().unwrap();
            let view = ViewResult {
                image_id: Some(claim.image_id.clone()),
                probability: Some(0.25),
                logit: Some(-1.1),
                activation_map: None,
                rejected: None,
                overruled: Vec::new(),
                inference_ms: Some(10.0),
            };
            self.store.finish(&claim, &view).unwrap();
            let closed = self
                .store
                .close(claim.study, |study, views| StudyResult { answer, ..result(study, views, size) });
            let closed = closed.unwrap();
            assert_eq!(closed.unwrap().seq, u64::from(self.studies.get()));
        }
    }

    /// Sends acknowledged results again, as the command of that name does.
    pub fn resend(&self, from_seq: u64, to_seq: u64) -> Resent {
        let id = format!("resend-{from_seq}-{to_seq}");
        let (name, message) = ("resend".to_owned(), "{}".to_owned());
        self.store.take_command(&NewCommand { id: id.clone(), name, message, expires_at_ms: 0 }).unwrap();
        let mut resent = Resent::default();
        let answer = |found| {
            resent = found;
            CommandAck {
                station: NAME.to_owned(),
                id: id.clone(),
                command: "resend".to_owned(),
                outcome: CommandOutcome::Done,
                reason: None,
                detail: None,
                at: Timestamp::now(),
                clock_synchronised: None,
                signed_by: None,
                first: None,
                resent: Some(found),
                diagnostics: None,
            }
        };
        let stored = self.store.answer_command(&id, &Effect::Resend { from_seq, to_seq }, answer).unwrap();
        self.store.ack_sent(&stored.key).unwrap();
        resent
    }

    fn accept(&self, name: &str) {
        let origin =
            Origin { name: name.to_owned(), study_type: Some("XR_WRIST".parse().unwrap()), single: true };
        let bytes = name.as_bytes();
        let facts = SourceFacts { path: name.to_owned(), size_bytes: bytes.len() as u64, modified_ns: 0 };
        let staged = self.store.stage(&facts, &mut &*bytes).unwrap();
        let image = NewImage {
            origin: &origin,
            source_name: "1.png",
            extension: "png",
            grouping: Grouping { views_max: 8, reopen_max_ms: 0 },
        };
        self.store.accept(staged, &image).unwrap();
    }
}

/// A result of about `size` bytes.
fn result(study: StudySummary, views: Vec<ViewResult>, size: usize) -> StudyResult {
    StudyResult {
        delivery: None,
        outcome: Outcome::Scored,
        answer: None,
        answer_withheld: None,
        reason: Some("x".repeat(size)),
        study,
        views,
        operating_points: None,
        model: model(),
        clock_synchronised: None,
        notice: NOTICE.to_owned(),
    }
}
