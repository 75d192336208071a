//! The MQTT broker inside `edge demo`: rumqttd on a free loopback port, speaking MQTT v5.
//!
//! It keeps nothing on disk and never stops before the process does. A station talks to a broker of its own.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the broker and waits until it accepts connections; the address says where.
///
/// # Errors
/// When no port is free, no thread can be started, or the broker does not answer within ten seconds.
pub fn start() -> io::Result<SocketAddr> {
    // rumqttd binds by itself and cannot say which port it got: take a free one, let go of it, hand it over.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut broker = Broker::new(config(address));
    thread::Builder::new().name("demo-broker".into()).spawn(move || {
        if let Err(error) = broker.start() {
            log::error!("the demonstration broker stopped: {error}");
        }
    })?;

    let since = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(_) => return Ok(address),
            Err(error) if since.elapsed() > START_TIMEOUT => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 8 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server =
        ServerSettings { name: "demo".into(), listen, tls: None, next_connection_delay_ms: 1, connections };
    Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 16 << 20,
            max_segment_count: 4,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    }
}
