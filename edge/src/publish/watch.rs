//! Reading results back from a broker, as a dashboard does.

use std::time::{Duration, Instant};

use contract::result::{StudyResult, Topics};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, ConnectionError, Event, Incoming, MqttOptions, RecvTimeoutError};

const PACKET_MAX_BYTES: u32 = 1 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A subscription to one station's results.
pub struct Watch {
    connection: Connection,
    // Dropping the client would end the connection.
    _client: Client,
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The broker does not answer or refuses.
    #[error("cannot read results from the broker: {0}; check that it is running and lets this client in")]
    Connection(#[from] Box<ConnectionError>),
    /// The client has shut down.
    #[error("the connection to the broker has ended")]
    Ended,
    /// The client could not queue its request.
    #[error("cannot subscribe to {topic}: {reason}")]
    Subscribe {
        /// The topic.
        topic: String,
        /// What the client said.
        reason: String,
    },
    /// A message that is not a result.
    #[error("a message on {topic} is not a study result: {source}")]
    Payload {
        /// The topic.
        topic: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Watch {
    /// Connects and returns once the subscription is acknowledged: every later result is seen.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses.
    pub fn results(host: &str, port: u16, station: &str) -> Result<Self, WatchError> {
        let mut options = MqttOptions::new(format!("{station}-watch"), host, port);
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(Some(PACKET_MAX_BYTES));
        let (client, mut connection) = Client::new(options, 10);
        let topic = Topics::new(station).result();
        client
            .subscribe(&topic, QoS::AtLeastOnce)
            .map_err(|error| WatchError::Subscribe { topic, reason: error.to_string() })?;
        for event in connection.iter() {
            if matches!(event.map_err(Box::new)?, Event::Incoming(Incoming::SubAck(_))) {
                break;
            }
        }
        Ok(Self { connection, _client: client })
    }

    /// Waits for the next result; `None` when none came within `timeout`.
    ///
    /// # Errors
    /// When the connection fails or a message is not a result.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<StudyResult>, WatchError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = match self.connection.recv_timeout(left) {
                Ok(event) => event.map_err(Box::new)?,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(WatchError::Ended),
            };
            let Event::Incoming(Packet::Publish(publish)) = event else { continue };
            let topic = String::from_utf8_lossy(&publish.topic).into_owned();
            return serde_json::from_slice(&publish.payload)
                .map(Some)
                .map_err(|source| WatchError::Payload { topic, source });
        }
    }
}
