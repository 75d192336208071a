//! A reader of the centre that counts, with a session that outlives the broker's restart.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use contract::result::{Presence, StationStatus, StudyResult};
use e2e::wait;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{Client, Event, MqttOptions};
use serde::Serialize;

/// What has come so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Results by their keys.
    pub(crate) results: u64,
    /// Results that came once more under a key.
    pub(crate) repeated: u64,
    /// Messages that were just published, of all kinds.
    pub(crate) messages: u64,
    /// Their payloads.
    pub(crate) bytes: u64,
    /// Announcements of stations.
    pub(crate) births: u64,
    /// Health messages.
    pub(crate) healths: u64,
    /// Different topics.
    pub(crate) topics: usize,
}

/// Percentiles of a time, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) median_ms: i64,
    pub(crate) p99_ms: i64,
    pub(crate) max_ms: i64,
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    keys: BTreeMap<String, BTreeSet<u64>>,
    topics: HashSet<String>,
    presence: BTreeMap<String, (Presence, String)>,
    /// While it is measured.
    latencies_ms: Option<Vec<i64>>,
}

/// Counts on a thread of its own until the process ends.
pub(crate) struct Observer {
    seen: Arc<Mutex<Seen>>,
}

impl Observer {
    /// Subscribes to everything below `ulna/v1` and returns once the broker has acknowledged it.
    pub(crate) fn start(port: u16) -> anyhow::Result<Self> {
        let observer = Self { seen: Arc::default() };
        let ready = Arc::new(AtomicBool::new(false));
        let (seen, subscribed) = (Arc::clone(&observer.seen), Arc::clone(&ready));
        thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || observe(port, &seen, &subscribed))?;
        wait::until("the subscription", Duration::from_secs(10), || {
            ready.load(Ordering::SeqCst).then_some(())
        })?;
        Ok(observer)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has come so far.
    pub(crate) fn counts(&self) -> Counts {
        let seen = self.seen();
        Counts { topics: seen.topics.len(), ..seen.counts }
    }

    /// Stations whose last status says that they were stopped.
    pub(crate) fn offline(&self) -> usize {
        let stopped = (Presence::Offline, "clean_stop".to_owned());
        self.seen().presence.values().filter(|said| **said == stopped).count()
    }

    /// Notes from now on how long results take.
    pub(crate) fn measure_latency(&self) {
        self.seen().latencies_ms = Some(Vec::new());
    }

    /// How long they took since; ends the measurement.
    pub(crate) fn latency(&self) -> Latency {
        let mut taken = self.seen().latencies_ms.take().unwrap_or_default();
        taken.sort_unstable();
        let at = |share: f64| {
            taken.get((share * taken.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0)
        };
        Latency { median_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

fn observe(port: u16, seen: &Mutex<Seen>, subscribed: &AtomicBool) {
    let mut options = MqttOptions::new("observer", "127.0.0.1", port);
    options.set_max_packet_size(Some(8 << 20)).set_keep_alive(Duration::from_secs(20)).set_clean_start(false);
    options.set_session_expiry_interval(Some(3600));
    let (client, mut connection) = Client::new(options, 100);
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(answer))) if !answer.session_present => {
                let _ = client.try_subscribe("ulna/v1/#", QoS::AtLeastOnce);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => subscribed.store(true, Ordering::SeqCst),
            Ok(Event::Incoming(Packet::Publish(publish))) if !publish.retain => {
                note(&publish, &mut seen.lock().unwrap_or_else(PoisonError::into_inner));
            }
            Ok(_) => {}
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn note(publish: &Publish, seen: &mut Seen) {
    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
    seen.counts.messages += 1;
    seen.counts.bytes += publish.payload.len() as u64;
    match topic.rsplit('/').next().unwrap_or_default() {
        "result" => note_result(&publish.payload, seen),
        "birth" => seen.counts.births += 1,
        "health" => seen.counts.healths += 1,
        "status" => {
            if let Ok(status) = serde_json::from_slice::<StationStatus>(&publish.payload) {
                seen.presence.insert(status.station, (status.status, status.reason));
            }
        }
        _ => {}
    }
    seen.topics.insert(topic);
}

fn note_result(payload: &[u8], seen: &mut Seen) {
    // One that cannot be read is missing in the count.
    let Ok(result) = serde_json::from_slice::<StudyResult>(payload) else { return };
    let Some(delivery) = result.delivery else { return };
    if !seen.keys.entry(delivery.outbox_id).or_default().insert(delivery.seq) {
        seen.counts.repeated += 1;
        return;
    }
    seen.counts.results += 1;
    if let (Some(taken), Some(closed)) = (&mut seen.latencies_ms, result.study.closed_at) {
        let now_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
        taken.push(now_ms - closed.as_millisecond());
    }
}
