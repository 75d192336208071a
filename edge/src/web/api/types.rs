//! What the local API speaks. It stays on the station: it names studies as the technician does.

use contract::bundle::{Purpose, WithheldReason};
use contract::preprocess::Aspect;
use contract::radiograph::RejectReason;
use contract::result::{
    ActivationMap, ModelSummary, Outcome, Presence, Rejection, StudyResult, UsedPoints, ViewResult,
};
use contract::study::{Answer, OperatingPoints, StudyType};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::export::mounted::Stick;
use crate::publish::BrokerState;
use crate::quality;
use crate::store::{Accepted, ImageRow, ImageState, OutboxEntry, StudyRow};
use crate::web::Sources;

/// How the station is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Station {
    /// Its name.
    pub station: String,
    /// Version of `edge`.
    pub edge_version: String,
    /// Always says that this is decision support.
    pub notice: String,
    /// Whether the model is only for showing that the software works.
    pub demonstration: bool,
    /// The model.
    pub model: ModelSummary,
    /// What the model is meant for, in its maker's words.
    pub intended_use: String,
    /// Whether the model's input, and so its activation map, shows a radiograph stretched or letterboxed.
    pub aspect: Aspect,
    /// The study types the model is meant for.
    pub study_types: Vec<StudyType>,
    /// Whether there is a camera to take radiographs with.
    pub camera: bool,
    /// Why it gives none now, with what to do; null while nothing is known against it.
    pub camera_trouble: Option<String>,
    /// Most views of one study.
    pub views_max: u32,
    /// The station's wall time, to the second.
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
    /// Free space for the station's state, in MiB.
    pub disk_free_mib: u64,
    /// Whether that is too little to accept images.
    pub disk_low: bool,
    /// Temperature of the hottest sensor in degrees Celsius; null when there is none.
    pub temperature_c: Option<f64>,
}

/// Results on their way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// Not yet acknowledged.
    pub unsent: u64,
    /// Age of the oldest of them, in seconds.
    pub oldest_age_s: Option<u64>,
    /// Refused by the broker for good.
    pub set_aside: u64,
}

/// One study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Study {
    /// Its number in the register book.
    pub number: String,
    /// What was radiographed; null when nobody said.
    pub study_type: Option<StudyType>,
    /// What the technician calls it; never leaves the station.
    pub reference: Option<String>,
    /// What its files share at their source, such as a folder's name; null for one opened by hand. Never leaves either.
    pub origin: Option<String>,
    /// Whether it takes views.
    pub open: bool,
    /// Whether it closes as soon as its images are scored.
    pub closing: bool,
    /// Whether the technician opened it, and so closes it.
    pub by_hand: bool,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last closed.
    pub closed_at: Option<Timestamp>,
    /// Results so far. A higher revision supersedes a lower one.
    pub revision: u32,
    /// Whether the broker has acknowledged its newest result.
    pub sent: bool,
    /// The newest result; null before the first.
    pub result: Option<Summary>,
    /// Its images, in the order of acceptance.
    pub images: Vec<Image>,
}

/// What came of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
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
    /// Which result this is.
    pub revision: u32,
    /// The thresholds the answer was given by.
    pub operating_points: Option<UsedPoints>,
    /// The model that gave it.
    pub model: ModelSummary,
    /// Always says that this is decision support.
    pub notice: String,
    /// Time the model took for all views, in milliseconds.
    pub inference_ms: f64,
}

/// One image of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// The station's name for it.
    pub image_id: String,
    /// The file's name at its source; empty once it was forgotten.
    pub source_name: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where it is on its way.
    pub state: ImageState,
    /// Whether its file is still kept.
    pub kept: bool,
    /// Probability of abnormality; null when it was not scored.
    pub probability: Option<f64>,
    /// What a study of this image alone would be answered by the limits of the study's newest result; null when it was
    /// not scored or that result gives no answer.
    #[serde(default)]
    pub answer: Option<Answer>,
    /// Where the model looked; null when it was not scored.
    pub activation_map: Option<ActivationMap>,
    /// Time the model took, in milliseconds.
    pub inference_ms: Option<f64>,
    /// Why it was not scored, and what to do.
    pub rejected: Option<Rejection>,
    /// Whether the technician may have it scored all the same.
    pub overrulable: bool,
    /// Reasons that the technician overruled.
    #[serde(default)]
    pub overruled: Vec<RejectReason>,
}

/// A list of studies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Studies {
    /// The newest first.
    pub studies: Vec<Study>,
    /// Goes into `before` for the older ones; null when there are none.
    pub next: Option<i64>,
}

/// A study to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenStudy {
    /// What is radiographed.
    pub study_type: StudyType,
    /// What the technician calls it, up to 64 characters; never leaves the station.
    pub reference: Option<String>,
}

/// A radiograph to be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The image that it replaces.
    pub replaces: Option<String>,
}

/// An accepted image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// The station's name for it.
    pub image_id: String,
    /// The number of its study.
    pub study_number: String,
}

/// Who overrules the acquisition gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overrule {
    /// Initials, up to 8 characters; they stay on the station.
    pub initials: String,
}

/// The outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outbox {
    /// The oldest first.
    pub rows: Vec<OutboxEntry>,
    /// Results to be sent.
    pub unsent: u64,
    /// Results the broker refused for good.
    pub dead: u64,
}

/// Results that will be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revived {
    /// How many.
    pub revived: usize,
}

/// Sticks that results can be written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sticks {
    /// In the order of their paths.
    pub sticks: Vec<Stick>,
}

/// A stick that all results not yet acknowledged are to be written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Carry {
    /// The stick's path, as the list of sticks has it.
    pub to: String,
}

/// Results on a stick, read back and compared. They also stay in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Carried {
    /// The new folder.
    pub dir: String,
    /// Their places in the sequence.
    pub seqs: Vec<u64>,
    /// SHA-256 of the folder's manifest.
    pub manifest_sha256: String,
}

/// Results that were carried to the centre by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// Their places in the sequence.
    pub seqs: Vec<u64>,
}

/// Results that count as acknowledged from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// How many were still in the outbox.
    pub removed: usize,
}

impl Station {
    /// Reads it.
    pub(super) fn read(sources: &Sources) -> Self {
        let birth = sources.facts.birth();
        let health = sources.facts.health();
        let condition = sources.facts.condition();
        let now = sources.store.now();
        Self {
            station: birth.station,
            edge_version: birth.edge_version,
            notice: birth.notice,
            demonstration: birth.model.purpose == Purpose::Demo,
            model: birth.model,
            intended_use: sources.about.intended_use.clone(),
            aspect: sources.about.aspect,
            study_types: birth.study_types,
            camera: sources.desk.has_camera(),
            camera_trouble: sources.desk.camera_trouble(),
            views_max: sources.about.views_max,
            now: Timestamp::from_second(now.as_second()).unwrap_or(now),
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
            disk_free_mib: health.disk_free_bytes >> 20,
            disk_low: health.disk_free_bytes < sources.about.disk_free_min_bytes,
            temperature_c: health.temperature_c,
        }
    }
}

impl Studies {
    /// A page of studies; `limit` is how many were asked for.
    pub(super) fn new(rows: Vec<StudyRow>, limit: usize) -> Self {
        let next = rows.last().filter(|_| rows.len() >= limit).map(|row| row.id);
        Self { studies: rows.into_iter().map(Study::from).collect(), next }
    }
}

impl From<StudyRow> for Study {
    fn from(row: StudyRow) -> Self {
        let answered = row.result.as_ref().filter(|result| result.answer_withheld.is_none());
        let used = answered.and_then(|result| result.operating_points.as_ref());
        // The third point answers nothing.
        let points = used.map(|used| OperatingPoints::new(used.rule_out, used.rule_in, used.rule_in));
        Self {
            number: row.number,
            study_type: row.study_type,
            reference: row.reference,
            origin: Some(row.origin)
                .filter(|name| !["by-hand/", "forgotten/"].iter().any(|own| name.starts_with(own))),
            open: row.open,
            closing: row.closing,
            by_hand: row.by_hand,
            opened_at: row.opened_at,
            closed_at: row.closed_at,
            revision: row.revision,
            sent: row.revision > 0 && row.acknowledged_revision >= row.revision,
            result: row.result.map(Summary::from),
            images: row.images.into_iter().map(|image| Image::new(image, points)).collect(),
        }
    }
}

impl From<StudyResult> for Summary {
    fn from(result: StudyResult) -> Self {
        Self {
            outcome: result.outcome,
            answer: result.answer,
            answer_withheld: result.answer_withheld,
            reason: result.reason,
            probability: result.study.probability,
            revision: result.study.revision,
            operating_points: result.operating_points,
            model: result.model,
            notice: result.notice,
            inference_ms: result.views.iter().filter_map(|view| view.inference_ms).sum(),
        }
    }
}

impl Image {
    /// `points` are those that the study's answer was given by.
    fn new(row: ImageRow, points: Option<OperatingPoints>) -> Self {
        let mut image = Self {
            image_id: row.image_id,
            source_name: row.source_name,
            accepted_at: row.accepted_at,
            state: row.state,
            kept: row.kept,
            probability: None,
            answer: None,
            activation_map: None,
            inference_ms: None,
            rejected: None,
            overrulable: false,
            overruled: Vec::new(),
        };
        // An overruled image waits again, and its old rejection is no news.
        if let Some(view) = row.view.filter(|_| row.state != ImageState::Waiting) {
            let ViewResult { probability, activation_map, rejected, overruled, inference_ms, .. } = view;
            let may = rejected.as_ref().is_some_and(|rejection| quality::overrulable(rejection.reason));
            image.overrulable = may && row.kept && row.state == ImageState::Rejected;
            (image.probability, image.activation_map) = (probability, activation_map);
            (image.inference_ms, image.rejected, image.overruled) = (inference_ms, rejected, overruled);
            image.answer = points.zip(probability).map(|(points, probability)| points.answer(probability));
        }
        image
    }
}

impl From<Accepted> for Taken {
    fn from(accepted: Accepted) -> Self {
        Self { image_id: accepted.image_id, study_number: accepted.study_number }
    }
}
