//! Connecting, and connecting again: one [`Connection`] after the other until the service stops.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::result::{Presence, StationStatus, Topics};
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, LastWill};
use rumqttc::v5::mqttbytes::{self, QoS};
use rumqttc::v5::{ConnectionError, MqttOptions, StateError};
use rumqttc::{TlsError, Transport};
use rustls::time_provider::TimeProvider;
use tokio::sync::{Notify, watch as signal};

use super::backoff::Backoff;
use super::commands::Subscription;
use super::connection::{self, Ended};
use super::outage::{Outage, Say};
use super::refusal::Refusals;
use super::renewal::Renewal;
use super::tls::StationClock;
use super::window::Message;
use super::{Broker, Facts, Mailbox, MqttConfig, SetupError, commands, payload, tls};
use crate::store::{Store, StoreError};

const CONNECT_TIMEOUT_S: u64 = 10;
/// Far above any command, so that one which is too large is still seen and refused. The broker withholds larger ones.
const INCOMING_PACKET_MAX_BYTES: u32 = 2 << 20;
/// A connection that lived this long was a good one: the next wait starts from the shortest again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// What every connection of the session needs.
pub(super) struct Link {
    pub(super) config: MqttConfig,
    pub(super) station: String,
    pub(super) topics: Topics,
    pub(super) outbox_id: String,
    pub(super) store: Store,
    pub(super) facts: Arc<dyn Facts>,
    pub(super) broker: Broker,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) wake: Arc<Notify>,
    /// Set to the deadline by which the session must have ended.
    pub(super) stop: signal::Receiver<Option<Instant>>,
}

/// What outlives a connection.
pub(super) struct Memory {
    pub(super) refusals: Refusals,
    pub(super) outage: Outage,
    pub(super) renewal: Renewal,
    /// Messages about the station itself that the broker refused when they were sent last.
    pub(super) control_refused: HashSet<Message>,
    pub(super) subscription: Subscription,
    /// One message at a time, to find the one that makes the broker hang up.
    pub(super) careful: bool,
}

/// Why a connection could not be made or did not last.
#[derive(Debug, thiserror::Error)]
pub(super) enum Loss {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("{}", in_words(.0))]
    Connection(#[from] Box<ConnectionError>),
    #[error("no acknowledgement for {} s", .0.as_secs())]
    Overdue(Duration),
    #[error("the outbox cannot be used: {0}")]
    Store(#[from] StoreError),
    #[error("the client took no more messages")]
    ClientFull,
}

impl Loss {
    /// Whether the broker hung up because of what it was sent.
    pub(super) fn blames_message(&self) -> bool {
        let Self::Connection(error) = self else { return false };
        let ConnectionError::MqttState(error) = &**error else { return false };
        match error {
            // A connection that broke while it was read or written says nothing of any message.
            StateError::Deserialization(mqttbytes::Error::Io(_)) => false,
            StateError::Deserialization(_) | StateError::OutgoingPacketTooLarge { .. } => true,
            StateError::ServerDisconnect { reason_code, .. } => matches!(
                reason_code,
                DisconnectReasonCode::MalformedPacket
                    | DisconnectReasonCode::ProtocolError
                    | DisconnectReasonCode::ImplementationSpecificError
                    | DisconnectReasonCode::NotAuthorized
                    | DisconnectReasonCode::TopicNameInvalid
                    | DisconnectReasonCode::PacketTooLarge
                    | DisconnectReasonCode::PayloadFormatInvalid
            ),
            _ => false,
        }
    }
}

/// The client's error, its debug output replaced where it meets people.
pub(super) fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => error.to_string(),
        ConnectionError::Timeout(_) => format!("no answer within {CONNECT_TIMEOUT_S} s"),
        ConnectionError::ConnectionRefused(code) => {
            format!("the broker refused the connection ({code:?}); {}", what_to_check(*code))
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("the broker disconnected the station ({reason_code:?})")
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker closed the connection".to_owned()
        }
        other => other.to_string(),
    }
}

fn what_to_check(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            "its rules must allow client ids that begin with `ulna-`"
        }
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            "it must speak MQTT 5"
        }
        ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::ServerUnavailable
        | ConnectReturnCode::ServerBusy
        | ConnectReturnCode::QuotaExceeded
        | ConnectReturnCode::ConnectionRateExceeded => "it may let the station in later",
        _ => "check mqtt.username and its password file, or the certificate, against the broker's accounts",
    }
}

/// Serves until told to stop.
pub(super) async fn run(mut link: Link) {
    let mut backoff = Backoff::new(&link.config);
    let mut memory = Memory {
        refusals: Refusals::new(
            Duration::from_millis(link.config.backoff_min_ms),
            Duration::from_millis(link.config.backoff_max_ms),
        ),
        outage: Outage::default(),
        renewal: Renewal::default(),
        control_refused: HashSet::new(),
        subscription: Subscription::default(),
        careful: false,
    };
    loop {
        let since = Instant::now();
        let loss = match connection::serve(&mut link, &mut memory).await {
            Ended::Stopped => return,
            Ended::Renewing => {
                memory.refusals.connection_lost(Instant::now());
                continue;
            }
            Ended::Lost { loss, progress } => {
                if progress || since.elapsed() >= GOOD_CONNECTION {
                    backoff.reset();
                }
                loss
            }
        };
        memory.refusals.connection_lost(Instant::now());
        commands::connection_lost(&mut memory.subscription, &link);
        report(&link, &mut memory, &loss);

        tokio::select! {
            () = rest(backoff.next(), &*link.facts) => {}
            _ = link.stop.wait_for(Option::is_some) => return,
        }
    }
}

/// Sleeps, and shows signs of life meanwhile.
async fn rest(wait: Duration, facts: &dyn Facts) {
    let until = tokio::time::Instant::now() + wait;
    loop {
        facts.alive();
        let now = tokio::time::Instant::now();
        if now >= until {
            return;
        }
        tokio::time::sleep_until(until.min(now + connection::TICK)).await;
    }
}

fn report(link: &Link, memory: &mut Memory, loss: &Loss) {
    let reason = loss.to_string();
    let (host, port) = (&link.config.host, link.config.port);
    match memory.outage.failed(&reason, Instant::now()) {
        Say::Lost => log::warn!(
            host = host.as_str(), port;
            "results cannot be sent: {reason}; they wait in the outbox, trying again"
        ),
        Say::Still { attempts, away } => log::warn!(
            host = host.as_str(), port, attempts, away_s = away.as_secs();
            "results still cannot be sent: {reason}; they wait in the outbox"
        ),
        Say::Nothing | Say::Back { .. } => log::debug!("results cannot be sent: {reason}"),
    }
    let now = link.store.now();
    link.broker.change(|state| {
        if state.connected || state.since.is_none() {
            state.since = Some(now);
        }
        state.connected = false;
        state.last_error = Some(reason);
    });
}

/// The client's options for one connection. Files are read anew each time.
pub(super) fn options(link: &Link) -> Result<MqttOptions, SetupError> {
    let config = &link.config;
    // A new session each time: what was not acknowledged is sent again from the outbox, and the broker
    // publishes the will as soon as the connection is lost.
    let clock = Arc::new(StationClock(link.store.clone()));
    // Always the same, so that the broker ends a connection of this station that it still holds, will and all. Not to be
    // guessed, because whoever else comes in under it takes the connection over.
    let client_id = format!("ulna-{}-{}", link.station, link.store.private_name("mqtt client id"));
    let mut options = login(config, &client_id, clock)?;
    options.set_max_packet_size(Some(INCOMING_PACKET_MAX_BYTES)).set_last_will(LastWill::new(
        link.topics.status(),
        will(link),
        QoS::AtLeastOnce,
        true,
        None,
    ));
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    Ok(options)
}

/// What every client of a broker needs: its address, a name of its own, credentials and TLS. A client that takes the
/// name of another throws it off.
pub(super) fn login(
    config: &MqttConfig,
    client_id: &str,
    clock: Arc<dyn TimeProvider>,
) -> Result<MqttOptions, SetupError> {
    let mut options = MqttOptions::new(client_id, config.address(), config.port);
    options
        .set_clean_start(true)
        .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s)))
        .set_connection_timeout(CONNECT_TIMEOUT_S);
    if let Some(username) = &config.username {
        options.set_credentials(username, password(config)?);
    }
    if let Some(client) = tls::client_config(config, clock)? {
        options.set_transport(Transport::tls_with_config(client.into()));
    }
    Ok(options)
}

fn will(link: &Link) -> Vec<u8> {
    let status = StationStatus {
        station: link.station.clone(),
        status: Presence::Offline,
        reason: "connection_lost".to_owned(),
        at: None,
    };
    payload::json(&status)
}

fn password(config: &MqttConfig) -> Result<String, SetupError> {
    let Some(file) = &config.password_file else { return Ok(String::new()) };
    let unusable = |error: io::Error| SetupError::File {
        key: "mqtt.password_file",
        file: file.clone(),
        why: error.to_string(),
    };
    let text = std::fs::read_to_string(file).map_err(unusable)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
