//! Reading results back from a broker, as a dashboard does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::result::{StudyResult, Topics};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{Client, Connection, ConnectionError, Event, Incoming, RecvTimeoutError};

use super::session::{in_words, login};
use super::tls::FloorClock;
use super::{MqttConfig, SetupError};
use crate::clock::WallClock;

const PACKET_MAX_BYTES: u32 = 1 << 20;
/// How long connecting and subscribing may take.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(20);
/// In place of a station's name: all of them.
pub const ALL_STATIONS: &str = "+";

/// A subscription to the results of one station, or of all.
pub struct Watch {
    connection: Connection,
    // Dropping the client would end the connection.
    _client: Client,
}

/// A result as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The result.
    pub result: StudyResult,
    /// Its message, on one line.
    pub json: String,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// What the connection needs is not there.
    #[error("{0}")]
    Setup(String),
    /// The broker does not let this client in.
    #[error(
        "the broker refuses the connection ({0:?}); check the user name, its password file and the certificate"
    )]
    Refused(ConnectReturnCode),
    /// The broker does not answer, or has hung up.
    #[error("cannot read results from the broker: {0}; check that it is running and can be reached")]
    Connection(String),
    /// The broker does not let this client read.
    #[error("the broker does not let this client read {topic} ({reason}); check its access rules")]
    Subscribe {
        /// The topic.
        topic: String,
        /// What the broker or the client said.
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

impl WatchError {
    /// Whether connecting again may help without anybody changing something.
    pub fn retriable(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Payload { .. } => true,
            Self::Refused(code) => {
                matches!(code, ConnectReturnCode::ServerUnavailable | ConnectReturnCode::ServerBusy)
            }
            Self::Setup(_) | Self::Subscribe { .. } => false,
        }
    }
}

impl From<SetupError> for WatchError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error.to_string())
    }
}

impl Watch {
    /// Connects in plain text and returns once the subscription is acknowledged: every later result is seen.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses.
    pub fn results(host: &str, port: u16, station: &str) -> Result<Self, WatchError> {
        Self::open(&MqttConfig { host: host.to_owned(), port, ..MqttConfig::default() }, station)
    }

    /// The same by a checked `[mqtt]`. `station` is a station's name or [`ALL_STATIONS`].
    ///
    /// # Errors
    /// As [`Watch::results`], and when a file that the configuration names cannot be used.
    pub fn open(config: &MqttConfig, station: &str) -> Result<Self, WatchError> {
        // A name of its own: a second watch, or the station itself, must not be thrown off.
        let client_id = format!("ulna-watch-{:08x}", rand::random::<u32>());
        let mut options = login(config, &client_id, Arc::new(FloorClock(WallClock::new(0))))?;
        options.set_max_packet_size(Some(PACKET_MAX_BYTES));
        let (client, mut connection) = Client::new(options, 10);
        let topic = Topics::new(station).result();
        let refused = |reason: String| WatchError::Subscribe { topic: topic.clone(), reason };
        client.subscribe(&topic, QoS::AtLeastOnce).map_err(|error| refused(error.to_string()))?;
        let deadline = Instant::now() + SUBSCRIBE_MAX;
        loop {
            let answer = match event(&mut connection, deadline)? {
                Some(Event::Incoming(Incoming::SubAck(answer))) => answer,
                Some(_) => continue,
                None => return Err(WatchError::Connection("it did not answer in time".to_owned())),
            };
            return match answer.return_codes.first() {
                Some(SubscribeReasonCode::Success(_)) => Ok(Self { connection, _client: client }),
                Some(code) => Err(refused(format!("{code:?}"))),
                None => Err(refused("no reason given".to_owned())),
            };
        }
    }

    /// Waits for the next result; `None` when none came within `timeout`.
    ///
    /// # Errors
    /// When the connection fails or a message is not a result; after the latter the next one can be waited for.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Received>, WatchError> {
        let deadline = Instant::now() + timeout;
        while let Some(event) = event(&mut self.connection, deadline)? {
            if let Event::Incoming(Packet::Publish(publish)) = event {
                return received(&publish).map(Some);
            }
        }
        Ok(None)
    }
}

/// The next event of a connection; `None` when none came before the deadline.
fn event(connection: &mut Connection, deadline: Instant) -> Result<Option<Event>, WatchError> {
    let left = deadline.saturating_duration_since(Instant::now());
    match connection.recv_timeout(left) {
        Ok(event) => event.map(Some).map_err(lost),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(WatchError::Connection("the connection has ended".to_owned()))
        }
    }
}

fn lost(error: ConnectionError) -> WatchError {
    match error {
        ConnectionError::ConnectionRefused(code) => WatchError::Refused(code),
        other => WatchError::Connection(in_words(&other)),
    }
}

fn received(publish: &Publish) -> Result<Received, WatchError> {
    let unreadable =
        |source| WatchError::Payload { topic: String::from_utf8_lossy(&publish.topic).into_owned(), source };
    let result: StudyResult = serde_json::from_slice(&publish.payload).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&publish.payload);
    // A station writes one line; another sender may not.
    let json = if text.contains(['\n', '\r']) {
        let value: serde_json::Value = serde_json::from_str(&text).map_err(unreadable)?;
        value.to_string()
    } else {
        text.into_owned()
    };
    Ok(Received { result, json })
}
