//! A dashboard that writes everything down: a public MQTT client subscribed to all of `ulna/v1`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use contract::result::StudyResult;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};

use crate::wait;

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// Its bytes.
    pub payload: Vec<u8>,
}

impl Message {
    /// Its JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.payload)?)
    }
}

/// Collects messages on a thread of its own until it is dropped; reconnects for as long.
pub struct Collector {
    messages: Arc<Mutex<Vec<Message>>>,
    stopped: Arc<AtomicBool>,
}

impl Collector {
    /// Subscribes and returns once the broker has acknowledged it.
    ///
    /// # Errors
    /// When the broker does not within ten seconds.
    pub fn start(port: u16) -> anyhow::Result<Self> {
        Self::start_as(port, "collector")
    }

    /// As [`Collector::start`], with a client name, and so a session, of its own.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub fn start_as(port: u16, client: &'static str) -> anyhow::Result<Self> {
        let collector = Self { messages: Arc::default(), stopped: Arc::default() };
        let subscribed = Arc::new(AtomicBool::new(false));
        let (messages, stopped, ready) =
            (collector.messages.clone(), collector.stopped.clone(), subscribed.clone());
        thread::spawn(move || collect(port, client, &messages, &stopped, &ready));
        wait::until("the subscription", Duration::from_secs(10), || {
            subscribed.load(Ordering::SeqCst).then_some(())
        })?;
        Ok(collector)
    }

    /// Everything so far.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The results so far, in the order they came, repeats included.
    ///
    /// # Errors
    /// When a message on a result topic is not a result.
    pub fn results(&self) -> anyhow::Result<Vec<StudyResult>> {
        self.messages()
            .iter()
            .filter(|message| message.topic.ends_with("/result"))
            .map(|message| Ok(serde_json::from_slice(&message.payload)?))
            .collect()
    }

    /// The results by `(outbox_id, seq)`.
    ///
    /// # Errors
    /// When a result has no delivery fields, or one key came with two contents.
    pub fn results_by_key(&self) -> anyhow::Result<BTreeMap<(String, u64), StudyResult>> {
        let mut by_key: BTreeMap<(String, u64), StudyResult> = BTreeMap::new();
        for mut result in self.results()? {
            let delivery = result.delivery.take();
            let delivery = delivery.ok_or_else(|| anyhow::anyhow!("a result without outbox_id and seq"))?;
            let key = (delivery.outbox_id, delivery.seq);
            if let Some(before) = by_key.get(&key) {
                anyhow::ensure!(*before == result, "{key:?} came with two contents");
            }
            by_key.insert(key, result);
        }
        Ok(by_key)
    }

    /// Waits until `count` different results have come.
    ///
    /// # Errors
    /// When they have not in time.
    pub fn wait_for_results(&self, count: usize, timeout: Duration) -> anyhow::Result<Vec<StudyResult>> {
        let waited = wait::until(&format!("{count} results"), timeout, || {
            self.results_by_key().ok().filter(|results| results.len() >= count)
        });
        let found = self.results_by_key()?;
        waited.map_err(|error| error.context(format!("{} came", found.len())))?;
        Ok(found.into_values().collect())
    }

    /// Waits for a message on a topic.
    ///
    /// # Errors
    /// When none has come in time.
    pub fn wait_for(
        &self,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> anyhow::Result<Message> {
        wait::until(what, timeout, || self.messages().into_iter().find(|message| wanted(message)))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

fn collect(
    port: u16,
    client: &str,
    messages: &Mutex<Vec<Message>>,
    stopped: &AtomicBool,
    ready: &AtomicBool,
) {
    let mut options = MqttOptions::new(client, "127.0.0.1", port);
    options.set_max_packet_size(Some(8 << 20)).set_keep_alive(Duration::from_secs(5)).set_clean_start(false);
    options.set_session_expiry_interval(Some(3600));
    let (client, mut connection) = Client::new(options, 100);
    while !stopped.load(Ordering::SeqCst) {
        match connection.recv_timeout(Duration::from_millis(200)) {
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => {
                let _ = client.try_subscribe("ulna/v1/#", QoS::AtLeastOnce);
            }
            Ok(Ok(Event::Incoming(Packet::SubAck(_)))) => ready.store(true, Ordering::SeqCst),
            Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                let message = Message {
                    topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                    retained: publish.retain,
                    payload: publish.payload.to_vec(),
                };
                messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
            Ok(Err(_)) => thread::sleep(Duration::from_millis(50)),
            _ => {}
        }
    }
}
