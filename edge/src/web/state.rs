//! What the page shows: the station, and its newest studies.

use contract::bundle::{Purpose, WithheldReason};
use contract::result::{ModelSummary, Outcome, Presence, Rejection, StudyResult};
use contract::study::{Answer, StudyType};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Sources;
use crate::publish::BrokerState;
use crate::store::{StoreError, StudyRow};

/// The answer to `GET /api/state`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// The station's name.
    pub station: String,
    /// Version of `edge`.
    pub edge_version: String,
    /// Always says that this is decision support.
    pub notice: String,
    /// Whether the model is only for showing that the software works.
    pub demonstration: bool,
    /// The model.
    pub model: ModelSummary,
    /// The station's wall time.
    pub now: Timestamp,
    /// Whether that time is synchronised; null when not known.
    pub clock_synchronised: Option<bool>,
    /// Whether it serves.
    pub presence: Presence,
    /// Why, in a word.
    pub reason: String,
    /// The broker.
    pub broker: BrokerState,
    /// Results waiting to be sent.
    pub queue: Queue,
    /// Images accepted and not yet scored.
    pub images_waiting: u64,
    /// Free space for the station's state, in bytes.
    pub disk_free_bytes: u64,
    /// Whether that is too little to accept images.
    pub disk_low: bool,
    /// Temperature of the hottest sensor in degrees Celsius; null when there is none.
    pub temperature_c: Option<f64>,
    /// The study types that a radiograph can be taken of; null where there is no frame grabber.
    pub capture: Option<Vec<StudyType>>,
    /// The newest first.
    pub studies: Vec<Card>,
}

/// Results on their way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Not yet acknowledged.
    pub unsent: u64,
    /// Age of the oldest of them, in seconds.
    pub oldest_age_s: Option<u64>,
    /// Refused by the broker for good.
    pub set_aside: u64,
}

/// One study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Its number in the register book.
    pub number: String,
    /// What was radiographed; null when nobody said.
    pub study_type: Option<StudyType>,
    /// When its first view was accepted.
    pub opened_at: Timestamp,
    /// Whether it waits for more views or for its scores.
    pub open: bool,
    /// Views accepted.
    pub views_accepted: usize,
    /// Views not yet scored.
    pub views_waiting: usize,
    /// Whether the broker has acknowledged its newest result.
    pub sent: bool,
    /// What came of it; null while there is no result.
    pub result: Option<CardResult>,
}

/// What came of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CardResult {
    /// Scored, rejected or failed.
    pub outcome: Outcome,
    /// The answer; null unless scored.
    pub answer: Option<Answer>,
    /// Why the answer is withheld.
    pub answer_withheld: Option<WithheldReason>,
    /// Why there is no answer.
    pub reason: Option<String>,
    /// Probability of abnormality.
    pub probability: Option<f64>,
    /// A second or later result for the same study.
    pub revision: u32,
    /// The views, in the order they were accepted.
    pub views: Vec<CardView>,
    /// Time the model took for all views, in milliseconds.
    pub inference_ms: f64,
}

/// One view of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CardView {
    /// Probability of abnormality; null when it was not scored.
    pub probability: Option<f64>,
    /// Why it was not scored, and what to do.
    pub rejected: Option<Rejection>,
}

impl State {
    /// Reads it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(sources: &Sources, studies_max: usize) -> Result<Self, StoreError> {
        let birth = sources.facts.birth();
        let health = sources.facts.health();
        let condition = sources.facts.condition();
        let studies = sources.store.recent_studies(studies_max)?;
        Ok(Self {
            station: birth.station,
            edge_version: birth.edge_version,
            notice: birth.notice,
            demonstration: birth.model.purpose == Purpose::Demo,
            model: birth.model,
            now: sources.store.now(),
            clock_synchronised: health.clock_synchronised,
            presence: condition.presence,
            reason: condition.reason,
            broker: sources.broker.state(),
            queue: Queue {
                unsent: health.outbox_depth,
                oldest_age_s: health.outbox_oldest_age_s,
                set_aside: health.outbox_dead,
            },
            images_waiting: health.images_waiting,
            disk_free_bytes: health.disk_free_bytes,
            disk_low: health.disk_free_bytes < sources.disk_free_min_bytes,
            temperature_c: health.temperature_c,
            capture: sources.capture.as_ref().map(|_| birth.study_types),
            studies: studies.into_iter().map(Card::from).collect(),
        })
    }
}

impl From<StudyRow> for Card {
    fn from(study: StudyRow) -> Self {
        Self {
            number: study.number,
            study_type: study.study_type,
            opened_at: study.opened_at,
            open: study.open,
            views_accepted: study.images.len(),
            views_waiting: study.images.iter().filter(|image| image.view.is_none()).count(),
            sent: study.revision > 0 && study.acknowledged_revision >= study.revision,
            result: study.result.as_ref().map(CardResult::from),
        }
    }
}

impl From<&StudyResult> for CardResult {
    fn from(result: &StudyResult) -> Self {
        Self {
            outcome: result.outcome,
            answer: result.answer,
            answer_withheld: result.answer_withheld,
            reason: result.reason.clone(),
            probability: result.study.probability,
            revision: result.study.revision,
            views: result
                .views
                .iter()
                .map(|view| CardView { probability: view.probability, rejected: view.rejected.clone() })
                .collect(),
            inference_ms: result.views.iter().filter_map(|view| view.inference_ms).sum(),
        }
    }
}
