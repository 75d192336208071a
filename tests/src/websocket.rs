//! MQTT over a TLS websocket, as a dashboard in a browser speaks it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Filter, Login, Packet, PubAckReason, Publish, Subscribe,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(10);
const PACKET_MAX_BYTES: u32 = 1 << 20;

/// A client that was let in.
pub struct Dashboard {
    socket: WebSocket<StreamOwned<ClientConnection, TcpStream>>,
    unread: BytesMut,
}

impl Dashboard {
    /// Connects to a broker on this machine and logs in, with a name and password where they are given; says how the broker
    /// answered when it does not let the client in.
    ///
    /// # Errors
    /// When there is no websocket, or no answer.
    pub fn connect(
        port: u16,
        ca: &Path,
        client_id: &str,
        login: Option<(&str, &str)>,
    ) -> anyhow::Result<Result<Self, ConnectReturnCode>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let tls = StreamOwned::new(
            ClientConnection::new(Arc::new(trusting(ca)?), ServerName::try_from("localhost")?)?,
            stream,
        );
        let mut request = format!("wss://localhost:{port}/mqtt").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let socket = shake_hands(request, tls)?;

        let mut dashboard = Self { socket, unread: BytesMut::new() };
        let connect =
            Connect { keep_alive: 60, client_id: client_id.to_owned(), clean_start: true, properties: None };
        let login =
            login.map(|(username, password)| Login { username: username.into(), password: password.into() });
        dashboard.send(Packet::Connect(connect, None, login))?;
        let code = dashboard.wait_for("CONNACK", |packet| match packet {
            Packet::ConnAck(answer) => Some(answer.code),
            _ => None,
        })?;
        Ok(if code == ConnectReturnCode::Success { Ok(dashboard) } else { Err(code) })
    }

    /// Publishes at QoS 1 and says what the broker thinks of it.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn publish(&mut self, topic: &str, payload: &str) -> anyhow::Result<PubAckReason> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload.to_owned(), None);
        publish.pkid = 7;
        self.send(Packet::Publish(publish))?;
        self.wait_for("PUBACK", |packet| match packet {
            Packet::PubAck(answer) => Some(answer.reason),
            _ => None,
        })
    }

    /// Subscribes, and gives what comes within a time, by topic.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn read(&mut self, filter: &str, within: Duration) -> anyhow::Result<BTreeMap<String, String>> {
        let filter = Filter::new(filter, QoS::AtMostOnce);
        self.send(Packet::Subscribe(Subscribe { pkid: 8, filters: vec![filter], properties: None }))?;
        let (until, mut found) = (Instant::now() + within, BTreeMap::new());
        while Instant::now() < until {
            if let Some(Packet::Publish(message)) = self.next()? {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                found.insert(text(&message.topic), text(&message.payload));
            }
        }
        Ok(found)
    }

    fn send(&mut self, packet: Packet) -> anyhow::Result<()> {
        let mut bytes = BytesMut::new();
        packet
            .write(&mut bytes, None)
            .map_err(|error| anyhow::anyhow!("a packet cannot be written: {error}"))?;
        Ok(self.socket.send(Message::Binary(bytes.freeze()))?)
    }

    fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(Packet) -> Option<T>) -> anyhow::Result<T> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(found) = self.next()?.and_then(&wanted) {
                return Ok(found);
            }
        }
        anyhow::bail!("no {what} within {} s", PATIENCE.as_secs())
    }

    /// The next packet; `None` when none has come for a moment.
    fn next(&mut self) -> anyhow::Result<Option<Packet>> {
        if let Ok(packet) = Packet::read(&mut self.unread, Some(PACKET_MAX_BYTES)) {
            return Ok(Some(packet));
        }
        match self.socket.read() {
            Ok(message) => self.unread.extend_from_slice(&message.into_data()),
            Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {}
            Err(error) => return Err(error).context("the websocket ended"),
        }
        Ok(None)
    }
}

fn shake_hands(
    request: tungstenite::handshake::client::Request,
    tls: StreamOwned<ClientConnection, TcpStream>,
) -> anyhow::Result<WebSocket<StreamOwned<ClientConnection, TcpStream>>> {
    let until = Instant::now() + PATIENCE;
    let mut shaken = tungstenite::client(request, tls);
    loop {
        match shaken {
            Ok((socket, _)) => return Ok(socket),
            Err(tungstenite::HandshakeError::Interrupted(half)) if Instant::now() < until => {
                shaken = half.handshake();
            }
            Err(error) => anyhow::bail!("no websocket: {error}"),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// TLS that trusts one authority and has no certificate of its own.
fn trusting(ca: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
