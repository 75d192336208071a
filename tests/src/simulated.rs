//! Stations that only speak: valid payloads of every kind, for what subscribes to a fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use contract::result::{StationBirth, StationHealth, StationStatus, StudyResult, Topics};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet};
use rumqttc::v5::{Client, Event, MqttOptions};
use serde_json::{Value, json};

use crate::made::Random;
use crate::wait;

/// Study types the simulated stations take.
pub const TYPES: [&str; 4] = ["XR_ELBOW", "XR_HAND", "XR_SHOULDER", "XR_WRIST"];
/// A year's first millisecond and what a day has of them.
const DAY_S: i64 = 86_400;

/// A connection that publishes; it waits for the broker's acknowledgements when told to.
pub struct Publisher {
    client: Client,
    sent: AtomicU64,
    acked: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Publisher {
    /// Connects as `name` to a port of 127.0.0.1.
    ///
    /// # Errors
    /// When the broker does not answer within ten seconds.
    pub fn connect(port: u16, name: &str) -> anyhow::Result<Self> {
        Self::start(MqttOptions::new(name, "127.0.0.1", port))
    }

    /// Connects as a station, with its will.
    ///
    /// # Errors
    /// As [`Publisher::connect`].
    pub fn connect_station(port: u16, station: &str) -> anyhow::Result<Self> {
        let mut options = MqttOptions::new(station, "127.0.0.1", port);
        let will = checked::<StationStatus>(&json!({
            "station": station, "status": "offline", "reason": "connection_lost", "at": null,
        }))?;
        let topic = Topics::new(station).status();
        options.set_last_will(LastWill::new(topic, will, QoS::AtLeastOnce, true, None));
        Self::start(options)
    }

    fn start(options: MqttOptions) -> anyhow::Result<Self> {
        let (client, mut connection) = Client::new(options, 1000);
        let (acked, stopped, ready) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (acks, stop, connected) = (acked.clone(), stopped.clone(), ready.clone());
        // Dropping the connection cuts it: the broker publishes the will.
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                match connection.recv_timeout(Duration::from_millis(200)) {
                    Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => connected.store(true, Ordering::SeqCst),
                    Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => drop(acks.fetch_add(1, Ordering::SeqCst)),
                    _ => {}
                }
            }
        });
        wait::until("the broker", Duration::from_secs(10), || ready.load(Ordering::SeqCst).then_some(()))?;
        Ok(Self { client, sent: AtomicU64::new(0), acked, stopped })
    }

    /// Publishes bytes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn publish(&self, topic: String, retain: bool, payload: Vec<u8>) -> anyhow::Result<()> {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload)?;
        self.sent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Waits until the broker has acknowledged all that was published.
    ///
    /// # Errors
    /// When it has not within a minute.
    pub fn settle(&self) -> anyhow::Result<()> {
        wait::until("the broker's acknowledgements", Duration::from_secs(60), || {
            (self.acked.load(Ordering::SeqCst) >= self.sent.load(Ordering::SeqCst)).then_some(())
        })
    }

    /// A retained status.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn status(&self, station: &str, status: &str, reason: &str) -> anyhow::Result<()> {
        let payload =
            json!({"station": station, "status": status, "reason": reason, "at": jiff::Timestamp::now()});
        self.publish(Topics::new(station).status(), true, checked::<StationStatus>(&payload)?)
    }

    /// A retained birth.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn birth(&self, station: &str, demonstration: bool) -> anyhow::Result<()> {
        let payload = json!({
            "station": station, "edge_version": "0.1.0", "model": model(demonstration), "study_types": TYPES,
            "outbox_id": outbox(station), "schemas": contract::result::SCHEMAS, "notice": notice(demonstration),
        });
        self.publish(Topics::new(station).birth(), true, checked::<StationBirth>(&payload)?)
    }

    /// Retained health; `change` replaces some of its fields.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn health(&self, station: &str, change: &Value) -> anyhow::Result<()> {
        let mut payload = json!({
            "station": station, "at": jiff::Timestamp::now(), "uptime_s": 86_400, "disk_free_bytes": 21_000_000_000_u64,
            "disk_total_bytes": 31_000_000_000_u64, "outbox_depth": 0, "outbox_oldest_age_s": null, "outbox_dead": 0,
            "images_waiting": 0, "temperature_c": 48.5, "load_1m": 0.4, "cpus": 4, "clock_synchronised": true,
        });
        merge(&mut payload, change);
        self.publish(Topics::new(station).health(), true, checked::<StationHealth>(&payload)?)
    }

    /// A result, not retained; `change` replaces some of its fields.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn result(&self, station: &str, seq: u64, answer: &str, change: &Value) -> anyhow::Result<()> {
        let mut payload = result(station, seq, answer);
        merge(&mut payload, change);
        self.publish(Topics::new(station).result(), false, checked::<StudyResult>(&payload)?)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

/// The outbox of a simulated station.
pub fn outbox(station: &str) -> String {
    format!("outbox-of-{station}")
}

/// The bytes of a payload that is one of `T`.
fn checked<T: serde::de::DeserializeOwned>(payload: &Value) -> anyhow::Result<Vec<u8>> {
    serde_json::from_value::<T>(payload.clone())?;
    Ok(serde_json::to_vec(payload)?)
}

/// Puts the fields of `change` into `payload`, objects within objects too.
fn merge(payload: &mut Value, change: &Value) {
    match (payload, change) {
        (Value::Object(payload), Value::Object(change)) => {
            for (name, value) in change {
                merge(payload.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (payload, change) => *payload = change.clone(),
    }
}

fn model(demonstration: bool) -> Value {
    let (name, purpose) =
        if demonstration { ("phantom-169", "demo") } else { ("mura-169", "clinical-evaluation") };
    json!({"name": name, "version": 7, "bundle_sha256": "5e".repeat(32), "purpose": purpose})
}

fn notice(demonstration: bool) -> &'static str {
    if demonstration { contract::result::DEMONSTRATION_NOTICE } else { contract::result::NOTICE }
}

/// A study of one station, closed now. `answer` may be `rejected`.
fn result(station: &str, seq: u64, answer: &str) -> Value {
    let study_type = TYPES[(seq % 4) as usize];
    let mut random = Random::new(seq ^ station.len() as u64);
    let probability = match answer {
        "normal" => 0.3 * random.share(),
        "uncertain" => 0.3 + 0.4 * random.share(),
        _ => 0.7 + 0.3 * random.share(),
    };
    let rejected = answer == "rejected";
    let refusal = json!({"reason": "under_exposed", "detail": "too dark"});
    let map = json!({"width": 10, "height": 10, "values": vec![0.25; 100]});
    let view = json!({
        "image_id": null, "probability": (!rejected).then_some(probability), "logit": (!rejected).then_some(0.5),
        "activation_map": (!rejected).then_some(map), "rejected": rejected.then_some(refusal), "inference_ms": 900.0,
    });
    let points = json!({"rule_out": 0.3, "rule_in": 0.7, "source": "pooled"});
    json!({
        "station": station, "outbox_id": outbox(station), "seq": seq, "oldest_unsent_seq": seq,
        "outcome": if rejected { "rejected" } else { "scored" }, "answer": (!rejected).then_some(answer), "answer_withheld": null,
        "reason": rejected.then_some("no usable view"),
        "study": {
            "key": format!("{seq:064x}"), "key_id": station, "number": format!("{}-{seq:04}", &study_type[3..6]),
            "type": study_type, "revision": 1, "opened_at": jiff::Timestamp::now(), "closed_at": jiff::Timestamp::now(),
            "probability": (!rejected).then_some(probability),
        },
        "views": [view], "operating_points": (!rejected).then_some(points), "model": model(false),
        "clock_synchronised": true, "notice": notice(false),
    })
}

/// Health's counters of the last 28 days, about `per_day` studies each. `abnormal` is the share of abnormal studies in the
/// last seven days and before.
pub fn days(per_day: u32, abnormal: [f64; 2], seed: u64) -> Value {
    let mut random = Random::new(seed);
    let now = jiff::Timestamp::now().as_second();
    let day = |ago: i64| {
        let share = if ago < 7 { abnormal[0] } else { abnormal[1] };
        let (mut counts, mut deciles) = ([0_u32; 4], [0_u32; 10]);
        for _ in 0..per_day {
            let drawn = random.share();
            let (kind, low, width) = match drawn {
                drawn if drawn < share => (0, 7.0, 3.0),
                drawn if drawn < share + 0.08 => (1, 3.0, 4.0),
                drawn if drawn < share + 0.11 => (3, 0.0, 0.0),
                _ => (2, 0.0, 3.0),
            };
            counts[kind] += 1;
            if kind != 3 {
                deciles[(low + width * random.share()) as usize] += 1;
            }
        }
        let [abnormal, uncertain, normal, rejected] = counts;
        let date = jiff::Timestamp::from_second(now - ago * DAY_S).unwrap_or_default().to_string();
        json!({
            "day": date[..10], "normal": normal, "uncertain": uncertain, "abnormal": abnormal, "withheld": 0,
            "rejected": rejected, "failed": 0, "score_deciles": deciles,
        })
    };
    Value::Array((0..28).rev().map(day).collect())
}
