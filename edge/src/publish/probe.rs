//! Trying the broker out, for `edge doctor`: step by step, so that what fails has a name. Everything goes under a
//! client name of its own, so the running station is not thrown off.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{Client, ConnectionError, Event, RecvTimeoutError};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ProtocolVersion};

use super::certificate::{self, Certificate, Recorder};
use super::session::{in_words, login};
use super::tls::{self, FloorClock};
use super::{MqttConfig, SetupError};
use crate::clock::WallClock;

/// How long a probe message may live in the broker.
const EXPIRY_S: u32 = 30;

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A file of `[mqtt]`, or TLS itself.
    #[error("{0}")]
    Setup(String),
    /// The host's name has no address.
    #[error("the name `{host}` cannot be resolved: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers at the address.
    #[error("{host} port {port} cannot be reached: {source}")]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system said of the last address tried.
        source: io::Error,
    },
    /// The broker does not let the station in, or hangs up.
    #[error("{0}")]
    Login(String),
    /// It did not answer in time.
    #[error("the broker did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl From<SetupError> for ProbeError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error.to_string())
    }
}

/// What a TLS handshake showed. The certificates are there even where the handshake failed because of them.
#[derive(Debug)]
pub struct Handshake {
    /// The protocol's version, or why there is none.
    pub outcome: Result<String, String>,
    /// The broker's certificates, its own first.
    pub certificates: Vec<Certificate>,
}

/// What became of a message to the station's own probe topic.
#[derive(Debug, Default)]
pub struct Echo {
    /// The topic.
    pub topic: String,
    /// Why the broker did not take it; `None` when it did.
    pub publish_refused: Option<String>,
    /// Why the broker did not let the station read there; `None` when it did.
    pub subscribe_refused: Option<String>,
    /// Whether the message came back.
    pub returned: bool,
}

/// Opens a TCP connection to the broker; `timeout` holds for each address that the name has.
///
/// # Errors
/// When the name has no address or none of them answers.
pub fn reach(config: &MqttConfig, timeout: Duration) -> Result<SocketAddr, ProbeError> {
    connect(config, timeout).map(|(_, address)| address)
}

fn connect(config: &MqttConfig, timeout: Duration) -> Result<(TcpStream, SocketAddr), ProbeError> {
    let (host, port) = (config.host.clone(), config.port);
    let addresses = (host.as_str(), port)
        .to_socket_addrs()
        .map_err(|source| ProbeError::Resolve { host: host.clone(), source })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = error,
        }
    }
    Err(ProbeError::Connect { host, port, source: last })
}

/// The certificates in the files of `[mqtt]`: the authority's, then the station's own.
///
/// # Errors
/// When a file cannot be used.
pub fn own_certificates(config: &MqttConfig) -> Result<Vec<Certificate>, ProbeError> {
    Ok(certificate::own(config)?)
}

/// Shakes hands with the broker as the station does, certificates judged by `clock`; `None` when the connection is plain
/// text.
///
/// # Errors
/// When a file cannot be used or the broker cannot be reached.
pub fn handshake(
    config: &MqttConfig,
    clock: WallClock,
    timeout: Duration,
) -> Result<Option<Handshake>, ProbeError> {
    let (Some(client), Some(roots)) =
        (tls::client_config(config, Arc::new(FloorClock(clock)))?, tls::roots(config)?)
    else {
        return Ok(None);
    };
    let recorder = Arc::new(Recorder::new(roots)?);
    let mut client = client;
    client.dangerous().set_certificate_verifier(Arc::clone(&recorder) as Arc<_>);
    let name = ServerName::try_from(config.host.clone())
        .map_err(|_| ProbeError::Setup(format!("mqtt.host `{}` is no name for TLS", config.host)))?;
    let mut session = ClientConnection::new(Arc::new(client), name)
        .map_err(|error| ProbeError::Setup(format!("cannot set up TLS: {error}")))?;

    let (mut stream, _) = connect(config, timeout)?;
    let bounded =
        stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
    bounded.map_err(|error| ProbeError::Login(error.to_string()))?;
    let mut outcome = Ok(());
    while outcome.is_ok() && session.is_handshaking() {
        outcome = session.complete_io(&mut stream).map(|_| ()).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
            io::ErrorKind::UnexpectedEof => {
                "the broker hung up: it may not speak TLS on this port".to_owned()
            }
            _ => error.to_string(),
        });
    }
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    Ok(Some(Handshake { outcome: outcome.map(|()| version.to_owned()), certificates: recorder.seen()? }))
}

/// Logs in as the station does and sends a message to a topic of its own, which should come back. The topic lies where
/// the centre's commands come in, because that is what a station may both write and read.
///
/// # Errors
/// When the broker does not let the station in or does not answer in time.
pub fn echo(
    config: &MqttConfig,
    station: &str,
    clock: WallClock,
    timeout: Duration,
) -> Result<Echo, ProbeError> {
    let deadline = Instant::now() + timeout;
    let nonce = format!("{:016x}", rand::random::<u64>());
    let mut echo = Echo { topic: format!("ulna/v1/{station}/cmd/doctor/{nonce}"), ..Echo::default() };
    let client_id = format!("ulna-{station}-doctor-{}", &nonce[..8]);
    let options = login(config, &client_id, Arc::new(FloorClock(clock)))?;
    let (client, mut connection) = Client::new(options, 10);
    let full = |error: rumqttc::v5::ClientError| ProbeError::Login(error.to_string());
    client.subscribe(&echo.topic, QoS::AtLeastOnce).map_err(full)?;

    let mut acknowledged = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = match connection.recv_timeout(left) {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => return Err(refused(&error)),
            // The broker has taken the message and does not give it back.
            Err(RecvTimeoutError::Timeout) if acknowledged => break,
            Err(RecvTimeoutError::Timeout) => return Err(ProbeError::TimedOut(timeout)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ProbeError::Login("the connection has ended".to_owned()));
            }
        };
        match event {
            Event::Incoming(Packet::SubAck(answer)) => {
                if let Some(code) = answer.return_codes.first()
                    && !matches!(code, SubscribeReasonCode::Success(_))
                {
                    echo.subscribe_refused = Some(format!("{code:?}"));
                }
                let expiry =
                    PublishProperties { message_expiry_interval: Some(EXPIRY_S), ..Default::default() };
                client
                    .publish_with_properties(&echo.topic, QoS::AtLeastOnce, false, nonce.clone(), expiry)
                    .map_err(full)?;
            }
            Event::Incoming(Packet::PubAck(answer)) => {
                acknowledged = true;
                if !matches!(answer.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                    echo.publish_refused = Some(format!("{:?}", answer.reason));
                }
            }
            Event::Incoming(Packet::Publish(message)) if message.payload == nonce.as_bytes() => {
                echo.returned = true;
            }
            _ => continue,
        }
        let hopeless = echo.publish_refused.is_some() || echo.subscribe_refused.is_some();
        if acknowledged && (echo.returned || hopeless) {
            break;
        }
    }
    // A goodbye, so that the broker's log shows no lost connection; nothing hangs on it.
    if client.disconnect().is_ok() {
        let _ = connection.recv_timeout(Duration::from_millis(100));
    }
    Ok(echo)
}

fn refused(error: &ConnectionError) -> ProbeError {
    ProbeError::Login(in_words(error))
}
