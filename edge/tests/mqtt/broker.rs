//! A real mosquitto on a loopback port, a subscriber, and a wire between station and broker that can be cut.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};

use crate::port;

/// Long enough for two cores under load.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A running mosquitto; killed when dropped.
pub struct Mosquitto {
    port: u16,
    process: Child,
    folder: tempfile::TempDir,
}

impl Mosquitto {
    /// Starts one that lets everybody in; `extra` is added to its configuration, in which `{dir}` stands for a
    /// folder that `files` were written to.
    pub fn start(extra: &str, files: &[(&str, &str)]) -> Self {
        Self::start_at(port::claim().unwrap(), extra, files)
    }

    /// As [`Mosquitto::start`], on a given port.
    pub fn start_at(port: u16, extra: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let anonymous = if extra.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        write_config(folder.path(), port, anonymous, extra);
        let process = launch(folder.path(), port);
        Self { port, process, folder }
    }

    /// Replaces what was added to its configuration, as of the next start; everybody is let in.
    pub fn configure(&self, extra: &str) {
        write_config(self.folder.path(), self.port, "allow_anonymous true\n", extra);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts the same broker again, with nothing of what it held.
    pub fn restart(&mut self) {
        self.process = launch(self.folder.path(), self.port);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_config(folder: &Path, port: u16, anonymous: &str, extra: &str) {
    let config = format!(
        "user root\nlog_type error\nmax_queued_messages 100000\nlistener {port} 127.0.0.1\n{anonymous}{}\n",
        extra.replace("{dir}", folder.to_str().unwrap())
    );
    fs::write(folder.join("mosquitto.conf"), config).unwrap();
}

fn launch(folder: &Path, port: u16) -> Child {
    let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("mosquitto is missing: install the Debian package `mosquitto` (`make test` does)");
    let mut process = Command::new(program)
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .spawn()
        .expect("mosquitto starts");
    eventually("mosquitto accepts connections", || {
        assert!(process.try_wait().unwrap().is_none(), "mosquitto has ended; see its message above");
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    process
}

/// One message as a subscriber got it.
#[derive(Clone, Debug)]
pub struct Received {
    pub topic: String,
    pub payload: String,
    /// Sent because it was retained, not because it was just published.
    pub retained: bool,
}

impl Received {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.payload).unwrap()
    }
}

/// Everything that is published under `ulna/`, from now on; connects again when the broker comes back.
pub struct Subscriber {
    received: Arc<Mutex<Vec<Received>>>,
    subscriptions: Arc<AtomicU8>,
    client: Client,
}

impl Subscriber {
    pub fn start(port: u16) -> Self {
        Self::with_options(MqttOptions::new("subscriber", "127.0.0.1", port))
    }

    /// As [`Subscriber::start`], with options of one's own. Returns once it is subscribed.
    pub fn with_options(mut options: MqttOptions) -> Self {
        options.set_max_packet_size(Some(16 << 20)).set_keep_alive(Duration::from_secs(30));
        let (client, mut connection) = Client::new(options, 10);
        let received = Arc::new(Mutex::new(Vec::new()));
        let subscriptions = Arc::new(AtomicU8::new(0));
        let (sink, count, again) = (Arc::clone(&received), Arc::clone(&subscriptions), client.clone());
        thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        again.try_subscribe("#", QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => sink.lock().unwrap().push(Received {
                        topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                        payload: String::from_utf8(publish.payload.to_vec()).unwrap(),
                        retained: publish.retain,
                    }),
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                    Ok(_) => {}
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        let subscriber = Self { received, subscriptions, client };
        eventually("the subscriber is subscribed", || subscriber.subscriptions() == 1);
        subscriber
    }

    /// How often it has subscribed: once, and once more each time the broker came back.
    pub fn subscriptions(&self) -> u8 {
        self.subscriptions.load(Ordering::SeqCst)
    }

    pub fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The messages of topics that end in `/name`.
    pub fn on(&self, name: &str) -> Vec<Received> {
        let ending = format!("/{name}");
        self.all().into_iter().filter(|message| message.topic.ends_with(&ending)).collect()
    }

    /// How many messages came on topics that end in `/name`.
    pub fn count_on(&self, name: &str) -> usize {
        let ending = format!("/{name}");
        self.received.lock().unwrap().iter().filter(|message| message.topic.ends_with(&ending)).count()
    }

    /// How often each `seq` came.
    pub fn result_counts(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for message in self.on("result") {
            *counts.entry(message.json()["seq"].as_u64().unwrap()).or_default() += 1;
        }
        counts
    }

    /// `status reason` of the last status message.
    pub fn last_status(&self) -> Option<String> {
        let status = self.on("status").pop()?.json();
        Some(format!("{} {}", status["status"].as_str().unwrap(), status["reason"].as_str().unwrap()))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.client.try_disconnect();
    }
}

/// A TCP connection from the station to the broker in whose middle one sits.
pub struct Wire {
    port: u16,
    mode: Arc<AtomicU8>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const DEAF: u8 = 2;

impl Wire {
    pub fn to(broker_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(OPEN));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (its_mode, its_streams) = (Arc::clone(&mode), Arc::clone(&streams));
        thread::spawn(move || {
            for station in listener.incoming() {
                let station = station.unwrap();
                if its_mode.load(Ordering::SeqCst) == CLOSED {
                    continue;
                }
                let Ok(broker) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, broker_port)))
                else {
                    continue;
                };
                its_streams
                    .lock()
                    .unwrap()
                    .extend([station.try_clone().unwrap(), broker.try_clone().unwrap()]);
                let up = (station.try_clone().unwrap(), broker.try_clone().unwrap());
                thread::spawn(move || carry(up.0, up.1, || true));
                let mode = Arc::clone(&its_mode);
                thread::spawn(move || carry(broker, station, move || mode.load(Ordering::SeqCst) != DEAF));
            }
        });
        Self { port, mode, streams }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Drops every connection without a word, as a power cut does.
    pub fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets no connection through any more.
    pub fn close(&self) {
        self.mode.store(CLOSED, Ordering::SeqCst);
        self.cut();
    }

    pub fn open(&self) {
        self.mode.store(OPEN, Ordering::SeqCst);
    }

    /// From now on nothing that the broker says reaches the station.
    pub fn deafen(&self) {
        self.mode.store(DEAF, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, passes: impl Fn() -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if passes() && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
