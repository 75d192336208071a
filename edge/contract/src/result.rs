//! What leaves a station over MQTT, and under which topics.
//!
//! Nothing leaves that is not a field here. No type holds a patient's name, id, accession number, birth
//! date, an original UID, a file name or a pixel. Within `v1` fields may be added, never renamed, removed or
//! given another meaning; consumers ignore fields they do not know.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bundle::{BundleManifest, PointSource, Purpose, WithheldReason};
use crate::preprocess::Aspect;
use crate::radiograph::RejectReason;
use crate::study::{Answer, StudyType};

mod health;
mod tombstone;

pub use health::{CameraState, DAYS, DayCounters, StationHealth};
pub use tombstone::{DropReason, DroppedStudy, Tombstone};

/// In every payload that carries or announces an answer.
pub const NOTICE: &str = "decision support only";
/// In the `notice` of every payload of a station that runs a demo bundle.
pub const DEMONSTRATION_NOTICE: &str = "DEMONSTRATION MODEL - decision support only";

/// The notice for a bundle's purpose.
pub fn notice(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Demo => DEMONSTRATION_NOTICE,
        Purpose::ClinicalEvaluation => NOTICE,
    }
}

/// One revision of one study: scored, rejected or failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StudyResult {
    /// Who sent it and where in the sequence it stands; absent from results that were not sent
    /// (`edge infer`).
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// What came of the study.
    pub outcome: Outcome,
    /// The answer; null unless `outcome` is `scored`.
    pub answer: Option<Answer>,
    /// Why the answer is withheld as `uncertain` whatever the probability.
    pub answer_withheld: Option<WithheldReason>,
    /// Why there is no answer; null when `outcome` is `scored`.
    pub reason: Option<String>,
    /// The study.
    pub study: StudySummary,
    /// Its views, in the order they were accepted.
    pub views: Vec<ViewResult>,
    /// The thresholds the answer was given by; null unless scored.
    pub operating_points: Option<UsedPoints>,
    /// The model that scored it.
    pub model: ModelSummary,
    /// Whether the station's clock was synchronised when the study was closed; null when not known.
    pub clock_synchronised: Option<bool>,
    /// Always says that this is decision support; says DEMONSTRATION MODEL where it is one.
    pub notice: String,
}

/// Where a result stands in a station's sequence. `(outbox_id, seq)` never changes on a resend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The station's name.
    pub station: String,
    /// The outbox's identity: a new one starts a new sequence.
    pub outbox_id: String,
    /// Counts up by one from 1 within an outbox.
    pub seq: u64,
    /// The lowest `seq` not known to be acknowledged when this message was sent: of every lower one the result or a tombstone
    /// has arrived, so a hole below it is a loss, and a hole above it is only late, because abnormal results go first.
    pub oldest_unsent_seq: u64,
}

/// What came of a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one view was scored.
    Scored,
    /// No view was usable.
    Rejected,
    /// The station could not score it although its views were usable.
    Failed,
}

/// A study without anything that says whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StudySummary {
    /// HMAC-SHA-256 of the study's local reference under the site's key, in hexadecimal; null outside a
    /// station.
    pub key: Option<String>,
    /// Which site key that was.
    pub key_id: Option<String>,
    /// The number for the register book, such as `ELB-0427`; null outside a station.
    pub number: Option<String>,
    /// What was radiographed; null when nobody said.
    #[serde(rename = "type")]
    pub study_type: Option<StudyType>,
    /// 1, and one more each time the study is reopened. A higher revision supersedes a lower one.
    pub revision: u32,
    /// When the first view was accepted, UTC.
    pub opened_at: Option<Timestamp>,
    /// When the study was closed, UTC.
    pub closed_at: Option<Timestamp>,
    /// Mean of the scored views' probabilities of abnormality; null when none was scored.
    pub probability: Option<f64>,
}

/// One view of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViewResult {
    /// The station's own random name for the image; null outside a station.
    pub image_id: Option<String>,
    /// Calibrated probability of abnormality; null when the view was not scored.
    pub probability: Option<f64>,
    /// The model's output before calibration.
    pub logit: Option<f64>,
    /// Where the model looked; null when the view was not scored.
    pub activation_map: Option<ActivationMap>,
    /// Why the view was not scored.
    pub rejected: Option<Rejection>,
    /// Reasons of the acquisition gate that the technician overruled, so that the view was scored in spite of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overruled: Vec<RejectReason>,
    /// Time the model took, in milliseconds.
    pub inference_ms: Option<f64>,
}

impl ViewResult {
    /// A view that was not scored.
    pub fn refused(image_id: Option<String>, rejection: Rejection) -> Self {
        Self {
            image_id,
            probability: None,
            logit: None,
            activation_map: None,
            rejected: Some(rejection),
            overruled: Vec::new(),
            inference_ms: None,
        }
    }
}

/// A class activation map at the network's own coarse resolution; it carries no patient pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActivationMap {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height * width` values, row by row, on the logit's scale: their mean is the logit less its bias.
    pub values: Vec<f32>,
}

/// Why an image was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// The reason's name.
    pub reason: RejectReason,
    /// What was found and what to do, in words.
    pub detail: String,
    /// Further reasons that were found, less grave than the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<RejectReason>,
}

impl Rejection {
    /// A refusal for one reason.
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), also: Vec::new() }
    }
}

/// The thresholds an answer was given by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsedPoints {
    /// Below it: `normal`.
    pub rule_out: f64,
    /// From it on: `abnormal`.
    pub rule_in: f64,
    /// Whose thresholds they are.
    pub source: PointSource,
    /// The id of the command that set them; absent while they are the bundle's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<String>,
}

/// The model that gave an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelSummary {
    /// The bundle's name.
    pub name: String,
    /// The bundle's version.
    pub version: u32,
    /// SHA-256 of the bundle's `manifest.json`, which in turn fixes every other file.
    pub bundle_sha256: String,
    /// What it may be used for.
    pub purpose: Purpose,
    /// How its input, and so every activation map, shows a radiograph of another aspect ratio than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aspect: Option<Aspect>,
}

impl ModelSummary {
    /// A manifest's summary. `manifest_sha256` is the hash of the manifest's bytes.
    pub fn new(manifest: &BundleManifest, manifest_sha256: String) -> Self {
        Self {
            name: manifest.name.clone(),
            version: manifest.version,
            bundle_sha256: manifest_sha256,
            purpose: manifest.purpose,
            aspect: Some(manifest.input.aspect),
        }
    }
}

/// `…/status`, retained; also the will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StationStatus {
    /// The station's name.
    pub station: String,
    /// The state.
    pub status: Presence,
    /// Why, in a word: `started`, `clean_stop`, `connection_lost`, or what is degraded.
    pub reason: String,
    /// When it was said, UTC; null in the will, which the broker publishes later.
    pub at: Option<Timestamp>,
}

/// Whether a station serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Connected and scoring.
    Online,
    /// Connected, but something needs attention.
    Degraded,
    /// Not connected.
    Offline,
}

/// `…/birth`, retained: what the station is, said at every connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StationBirth {
    /// The station's name.
    pub station: String,
    /// Version of `edge`.
    pub edge_version: String,
    /// The model.
    pub model: ModelSummary,
    /// The study types the model is meant for.
    pub study_types: Vec<StudyType>,
    /// The identity of the sequence that results now come from.
    pub outbox_id: String,
    /// Names of the payload schemas the station speaks.
    pub schemas: Vec<String>,
    /// Always says that this is decision support; says DEMONSTRATION MODEL where it is one.
    pub notice: String,
}

/// The payload schemas of this version.
pub const SCHEMAS: [&str; 7] = [
    "ulna/v1/result",
    "ulna/v1/tombstone",
    "ulna/v1/status",
    "ulna/v1/birth",
    "ulna/v1/health",
    "ulna/v1/command",
    "ulna/v1/command-ack",
];

/// Topics of one station.
#[derive(Clone, Debug)]
pub struct Topics {
    pub(crate) base: String,
}

impl Topics {
    /// The topics of a station. Its name must have passed [`check_station_name`].
    pub fn new(station: &str) -> Self {
        Self { base: format!("ulna/v1/{station}") }
    }

    /// Retained [`StationStatus`], also the will.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// Retained [`StationBirth`].
    pub fn birth(&self) -> String {
        format!("{}/birth", self.base)
    }

    /// Retained [`StationHealth`].
    pub fn health(&self) -> String {
        format!("{}/health", self.base)
    }

    /// Every [`StudyResult`], not retained.
    pub fn result(&self) -> String {
        format!("{}/result", self.base)
    }

    /// Every [`Tombstone`], not retained.
    pub fn tombstone(&self) -> String {
        format!("{}/tombstone", self.base)
    }

    /// The newest [`StudyResult`], retained.
    pub fn latest(&self) -> String {
        format!("{}/latest", self.base)
    }
}

/// Checks a station's name: it becomes a topic level and a certificate's name.
///
/// # Errors
/// Says what a name may be.
pub fn check_station_name(name: &str) -> Result<(), String> {
    let valid = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-');
    if valid {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not a station name: expected 1 to 64 lower-case letters, digits and hyphens, such as clinic-12"
    ))
}
