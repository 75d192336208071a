//! What is said in place of a result.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Delivery;

/// `…/tombstone`, not retained: the result of this `(outbox_id, seq)` does not come, or not for now, and why. It explains a hole
/// in the sequence; a result that comes all the same under the key takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tombstone {
    /// Whose place in the sequence it takes.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Why the result does not come.
    pub reason: DropReason,
    /// Whether the result itself may still come, under the same key.
    pub may_follow: bool,
    /// The study and revision, where the study is still known to the station.
    pub study: Option<DroppedStudy>,
    /// More about the reason, in words; null when there is no more.
    pub detail: Option<String>,
    /// When that was decided, UTC.
    pub at: Timestamp,
}

/// Why a result does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The technician removed the study before its result was sent.
    Purged,
    /// The broker refuses it; it is kept and waits for an engineer.
    SetAside,
    /// The broker refused it, a newer revision of the study has arrived, and the station keeps neither any longer.
    Superseded,
    /// It was asked for again, and the station keeps it no longer.
    NotKept,
}

/// Which result of which study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DroppedStudy {
    /// The study's key, as in its results.
    pub key: String,
    /// The revision that does not come.
    pub revision: u32,
}
