//! The technician's page over a store of invented studies, to be looked at while working on it:
//!
//! ```text
//! cargo run -p edge --example page [-- ADDR:PORT]
//! ```

use std::error::Error;
use std::sync::Arc;

use contract::bundle::{Purpose, WithheldReason};
use contract::radiograph::RejectReason;
use contract::result::{
    ModelSummary, Outcome, Presence, Rejection, StationBirth, StationHealth, StudyResult, ViewResult, notice,
};
use contract::study::{Answer, StudyType, study_score};
use edge::publish::{Broker, Condition, Facts, MqttConfig, Setup, spawn};
use edge::store::{Grouping, LimitsConfig, NewImage, Origin, SourceFacts, Store};
use edge::web::{Capture, Server, Sources, WebConfig};
use jiff::Timestamp;

/// One invented study: its type, its views' probabilities (`None`: rejected) and what came of it.
struct Invented(&'static str, &'static [Option<f64>], Came);

enum Came {
    Answer(Answer),
    Withheld,
    Rejected,
    Failed,
    StillOpen,
    NotScored,
}

const STUDIES: [Invented; 9] = [
    Invented("XR_SHOULDER", &[Some(0.31), Some(0.22), Some(0.18)], Came::Answer(Answer::Normal)),
    Invented("XR_HAND", &[Some(0.48)], Came::Failed),
    Invented("XR_ANKLE", &[Some(0.62), Some(0.71)], Came::Withheld),
    Invented("XR_FOREARM", &[None, None], Came::Rejected),
    Invented("XR_ELBOW", &[Some(0.44), Some(0.57)], Came::Answer(Answer::Uncertain)),
    Invented("XR_FINGER", &[Some(0.07), Some(0.04), None], Came::Answer(Answer::Normal)),
    Invented("XR_WRIST", &[Some(0.93), Some(0.88)], Came::Answer(Answer::Abnormal)),
    Invented("XR_HUMERUS", &[Some(0.2)], Came::StillOpen),
    Invented("XR_HAND", &[Some(0.0), Some(0.0)], Came::NotScored),
];

fn main() -> Result<(), Box<dyn Error>> {
    edge::logging::init(log::LevelFilter::Info)?;
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path(), LimitsConfig::default())?;
    for (index, study) in STUDIES.iter().enumerate() {
        add(&store, index, study)?;
    }

    let facts: Arc<dyn Facts> = Arc::new(Invention(store.clone()));
    let broker = Broker::default();
    let listen = std::env::args().nth(1).unwrap_or_else(|| WebConfig::default().listen.to_string());
    let sources = Sources {
        facts: Arc::clone(&facts),
        broker: broker.clone(),
        store: store.clone(),
        disk_free_min_bytes: 200 << 20,
        capture: Some(Arc::new(NoGrabber)),
    };
    let server = Server::bind(&WebConfig { listen: listen.parse()? }, sources)?;
    println!("http://{}", server.address());
    let _session = spawn(Setup {
        config: MqttConfig::default(),
        station: "clinic-12".to_owned(),
        store,
        facts,
        broker,
        page: Some(Box::pin(server.serve())),
    })?;
    loop {
        std::thread::park();
    }
}

fn add(store: &Store, index: usize, study: &Invented) -> Result<(), Box<dyn Error>> {
    let Invented(study_type, views, came) = study;
    let origin = Origin {
        name: format!("{study_type}/{index}"),
        study_type: Some(study_type.parse()?),
        single: false,
    };
    for (view, probability) in views.iter().enumerate() {
        let path = format!("{}/{view}", origin.name);
        let bytes = path.as_bytes();
        let facts = SourceFacts { path: path.clone(), size_bytes: bytes.len() as u64, modified_ns: 0 };
        let staged = store.stage(&facts, &mut &*bytes)?;
        let grouping = Grouping { views_max: 32, reopen_max_ms: 0 };
        let image = NewImage { origin: &origin, source_name: "1.png", extension: "png", grouping };
        store.accept(staged, &image)?;
        if matches!(came, Came::NotScored) {
            continue;
        }
        let claim = store.claim()?.ok_or("an image waits")?;
        let image_id = claim.image_id.clone();
        store.finish(&claim, &scored(image_id, view, *probability))?;
    }
    if matches!(came, Came::StillOpen | Came::NotScored) {
        return Ok(());
    }
    let open = store.open_studies()?;
    let id = open.iter().find(|open| open.origin == origin.name).ok_or("the study is open")?.id;
    store.close(id, |summary, views| {
        let (outcome, answer, answer_withheld, reason) = match came {
            Came::Answer(answer) => (Outcome::Scored, Some(*answer), None, None),
            Came::Withheld => {
                (Outcome::Scored, Some(Answer::Uncertain), Some(WithheldReason::NotInIntendedUse), None)
            }
            Came::Rejected => (Outcome::Rejected, None, None, Some("no view was usable".to_owned())),
            _ => (Outcome::Failed, None, None, Some("the model could not be run: out of memory".to_owned())),
        };
        let mut study = summary;
        let probabilities: Vec<f64> = views.iter().filter_map(|view| view.probability).collect();
        study.probability = study_score(&probabilities).filter(|_| outcome == Outcome::Scored);
        StudyResult {
            delivery: None,
            outcome,
            answer,
            answer_withheld,
            reason,
            study,
            views,
            operating_points: None,
            model: model(),
            clock_synchronised: Some(true),
            notice: notice(Purpose::Demo).to_owned(),
        }
    })?;
    Ok(())
}

fn scored(image_id: String, view: usize, probability: Option<f64>) -> ViewResult {
    let rejections = [
        (RejectReason::Truncated, "the PNG ends after 20480 of 131072 bytes; copy the file again"),
        (RejectReason::Blank, "every sample is 0; check the exposure and the cable, and take it again"),
    ];
    let (reason, detail) = rejections[view % rejections.len()];
    ViewResult {
        image_id: Some(image_id),
        probability,
        logit: probability.map(|p| (p / (1.0 - p)).ln()),
        activation_map: None,
        rejected: probability.is_none().then(|| Rejection { reason, detail: detail.to_owned() }),
        inference_ms: probability.map(|_| 412.0),
    }
}

fn model() -> ModelSummary {
    ModelSummary {
        name: "phantom-densenet169".to_owned(),
        version: 3,
        bundle_sha256: "0".repeat(64),
        purpose: Purpose::Demo,
    }
}

struct NoGrabber;

impl Capture for NoGrabber {
    fn take(&self, _: StudyType) -> Result<String, String> {
        Err("this is only the page; there is no frame grabber behind it".to_owned())
    }
}

struct Invention(Store);

impl Facts for Invention {
    fn birth(&self) -> StationBirth {
        StationBirth {
            station: "clinic-12".to_owned(),
            edge_version: "0.1.0".to_owned(),
            model: model(),
            study_types: contract::study::MURA_TYPES.iter().filter_map(|t| t.parse().ok()).collect(),
            outbox_id: self.0.outbox_id().unwrap_or_default(),
            schemas: Vec::new(),
            notice: notice(Purpose::Demo).to_owned(),
        }
    }

    fn health(&self) -> StationHealth {
        StationHealth {
            station: "clinic-12".to_owned(),
            at: Timestamp::now(),
            uptime_s: 60,
            disk_free_bytes: 21 << 30,
            outbox_depth: self.0.depth().unwrap_or(0),
            outbox_oldest_age_s: Some(4000),
            outbox_dead: 0,
            images_waiting: self.0.images_waiting().unwrap_or(0),
            temperature_c: Some(48.0),
            clock_synchronised: Some(true),
        }
    }

    fn condition(&self) -> Condition {
        Condition { presence: Presence::Online, reason: "started".to_owned() }
    }
}
