//! How a station is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelSummary;

/// How many days a station counts.
pub const DAYS: i64 = 28;

/// `…/health`, retained, every 60 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StationHealth {
    /// The station's name.
    pub station: String,
    /// When it was measured, UTC.
    pub at: Timestamp,
    /// Seconds since the service started.
    pub uptime_s: u64,
    /// Free space where the station keeps its state, in bytes.
    pub disk_free_bytes: u64,
    /// Size of that file system, in bytes; null when not known.
    #[serde(default)]
    pub disk_total_bytes: Option<u64>,
    /// Results not yet acknowledged by the broker.
    pub outbox_depth: u64,
    /// Age of the oldest of them in seconds; null when there is none.
    pub outbox_oldest_age_s: Option<u64>,
    /// Results the broker refused for good; they wait for an engineer.
    pub outbox_dead: u64,
    /// The highest `seq` up to which every result, or the tombstone in its place, was acknowledged; 0 before the first.
    #[serde(default)]
    pub seq_acked_through: Option<u64>,
    /// Images accepted and not yet scored.
    pub images_waiting: u64,
    /// Temperature of the hottest sensor in degrees Celsius; null when there is none.
    pub temperature_c: Option<f64>,
    /// Processes that ran or wanted to, on average over one minute; null when not known.
    #[serde(default)]
    pub load_1m: Option<f64>,
    /// Cores that can run them.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory that the service holds, in bytes; null when not known.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Whether the clock is synchronised; null when not known.
    pub clock_synchronised: Option<bool>,
    /// The frame grabber; null where there is none.
    #[serde(default)]
    pub camera: Option<CameraState>,
    /// The model that scores.
    #[serde(default)]
    pub model: Option<ModelSummary>,
    /// What became of the studies of the last 28 days, today's last. Days are UTC; a study counts once, by its newest
    /// revision, on the day that one was closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<DayCounters>,
}

/// Whether the frame grabber can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Its device is there.
    Present,
    /// Its device is not there.
    Missing,
    /// Its device is there and gave no radiograph when it was last asked.
    Failing,
}

/// One day of a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DayCounters {
    /// The day, UTC.
    pub day: Date,
    /// Studies answered `normal`.
    pub normal: u64,
    /// Studies answered `uncertain`.
    pub uncertain: u64,
    /// Studies answered `abnormal`.
    pub abnormal: u64,
    /// Those of the `uncertain` whose answer was withheld.
    pub withheld: u64,
    /// Studies without a usable view.
    pub rejected: u64,
    /// Studies that could not be scored although their views were usable.
    pub failed: u64,
    /// Views that were not scored, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub views_rejected: BTreeMap<String, u64>,
    /// Scored studies by probability: ten classes of equal width, `[0, 0.1)` first, `[0.9, 1]` last.
    pub score_deciles: [u64; 10],
}

impl DayCounters {
    /// A day on which nothing happened.
    pub fn new(day: Date) -> Self {
        Self {
            day,
            normal: 0,
            uncertain: 0,
            abnormal: 0,
            withheld: 0,
            rejected: 0,
            failed: 0,
            views_rejected: BTreeMap::new(),
            score_deciles: [0; 10],
        }
    }
}
