//! A message or a station that the broker does not want.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use edge::publish::MqttConfig;

use crate::broker::{Mosquitto, Subscriber, eventually};
use crate::station::{Outbox, Station, config};

const ACL: &str = "user station
topic readwrite ulna/v1/clinic-12/#
topic deny ulna/v1/clinic-12/result
user reader
topic read ulna/#
";

fn passwords(lines: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    std::fs::write(&file, "").unwrap();
    for (user, password) in lines {
        let status = std::process::Command::new("mosquitto_passwd")
            .args(["-b", file.to_str().unwrap(), user, password])
            .status()
            .expect("mosquitto_passwd comes with the Debian package `mosquitto`");
        assert!(status.success());
    }
    std::fs::read_to_string(file).unwrap()
}

fn reader(port: u16) -> Subscriber {
    let mut options = rumqttc::v5::MqttOptions::new("reader", "127.0.0.1", port);
    options.set_credentials("reader", "r");
    Subscriber::with_options(options)
}

#[test]
fn results_the_broker_forbids_are_set_aside_and_the_station_stays_online() {
    let broker = Mosquitto::start(
        "allow_anonymous false\npassword_file {dir}/passwords\nacl_file {dir}/acl",
        &[("passwords", &passwords(&[("station", "s"), ("reader", "r")])), ("acl", ACL)],
    );
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "s\n").unwrap();
    let outbox = Outbox::new();
    outbox.fill(3, 100);
    let config = MqttConfig {
        username: Some("station".to_owned()),
        password_file: Some(password_file),
        health_interval_s: 1,
        ..config(broker.port())
    };
    let subscriber = reader(broker.port());
    let station = Station::start(&outbox.store, config);

    eventually("all three are set aside", || outbox.store.dead_count().unwrap() == 3);
    assert_eq!(outbox.store.depth().unwrap(), 0);
    eventually("each was tried five times", || station.handle.state().results_refused == 15);
    assert_eq!(subscriber.last_status().as_deref(), Some("online started"));
    let healths = subscriber.on("health").len();
    eventually("health goes on", || subscriber.on("health").len() >= healths + 2);
    assert!(subscriber.on("result").is_empty());
    assert_eq!(subscriber.on("birth").len(), 1, "the connection was never given up");
    station.stop();
}

#[test]
fn a_result_too_large_for_the_broker_is_set_aside_and_the_others_pass_it() {
    let broker = Mosquitto::start("max_packet_size 20000", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(5, 100);
    outbox.fill(1, 50_000);
    outbox.fill(5, 100);
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("the others arrive", || subscriber.result_counts().len() == 10);
    assert!(!subscriber.result_counts().contains_key(&6));
    eventually("the large one is set aside", || outbox.store.dead_count().unwrap() == 1);
    assert_eq!(outbox.store.depth().unwrap(), 0);
    assert_eq!(subscriber.on("birth").len(), 1, "the connection was never given up");
    station.stop();
}

#[test]
fn a_station_with_a_wrong_password_waits_and_comes_in_when_it_is_corrected() {
    let broker = Mosquitto::start(
        "allow_anonymous false\npassword_file {dir}/passwords",
        &[("passwords", &passwords(&[("station", "s"), ("reader", "r")]))],
    );
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    let outbox = Outbox::new();
    outbox.fill(1, 10);
    let config = MqttConfig {
        username: Some("station".to_owned()),
        password_file: Some(password_file.clone()),
        ..config(broker.port())
    };
    let subscriber = reader(broker.port());
    let station = Station::start(&outbox.store, config);
    let error_says = |words: &str| station.handle.state().last_error.is_some_and(|e| e.contains(words));

    eventually("the missing file is named", || error_says("mqtt.password_file"));
    std::fs::write(&password_file, "wrong").unwrap();
    eventually("the refusal is named", || error_says("refused the connection"));
    assert_eq!(outbox.store.depth().unwrap(), 1);
    std::fs::write(&password_file, "s").unwrap();
    eventually("the result arrives", || subscriber.on("result").len() == 1);
    station.stop();
}

/// Speaks just enough MQTT v5 to take messages, and hangs up on a result or on a subscription, which no broker at hand can be
/// made to do: DISCONNECT with the reason `payload format invalid` instead of an acknowledgement, or no word at all.
fn broker_that_hangs_up_on(seq: Option<u64>) -> (u16, Arc<Mutex<BTreeSet<u64>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let its_taken = Arc::clone(&taken);
    thread::spawn(move || {
        for stream in listener.incoming() {
            // An error is the station's leave.
            let _ = take_messages(&mut stream.unwrap(), seq, &its_taken);
        }
    });
    (port, taken)
}

fn take_messages(
    stream: &mut TcpStream,
    poison: Option<u64>,
    taken: &Mutex<BTreeSet<u64>>,
) -> std::io::Result<()> {
    loop {
        let (kind, body) = read_packet(stream)?;
        match kind {
            1 => stream.write_all(&[0x20, 3, 0, 0, 0])?,
            3 => {
                let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let payload = &body[topic_end + 3..];
                if body[..topic_end].ends_with(b"/result") {
                    let result: serde_json::Value = serde_json::from_slice(payload)?;
                    let seq = result["seq"].as_u64().unwrap();
                    if Some(seq) == poison {
                        return stream.write_all(&[0xe0, 2, 0x99, 0]);
                    }
                    taken.lock().unwrap().insert(seq);
                }
                stream.write_all(&[0x40, 2, body[topic_end], body[topic_end + 1]])?;
            }
            8 if poison.is_some() => stream.write_all(&[0x90, 4, body[0], body[1], 0, 1])?,
            12 => stream.write_all(&[0xd0, 0])?,
            _ => return Ok(()),
        }
    }
}

/// One packet's type and what follows its fixed header.
fn read_packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0] >> 4;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}

#[test]
fn a_broker_that_hangs_up_on_one_message_gets_all_the_others() {
    let (port, taken) = broker_that_hangs_up_on(Some(3));
    let outbox = Outbox::new();
    outbox.fill(8, 100);
    let station = Station::start(&outbox.store, config(port));
    eventually("the others arrive", || taken.lock().unwrap().len() == 7);
    eventually("the one is set aside", || outbox.store.dead_count().unwrap() == 1);
    assert_eq!(outbox.store.depth().unwrap(), 0);
    assert!(!taken.lock().unwrap().contains(&3));

    outbox.fill(1, 100);
    station.handle.wake();
    eventually("the session goes on", || taken.lock().unwrap().contains(&9));
    station.stop();
}

#[test]
fn a_broker_that_hangs_up_on_the_subscription_gets_all_results() {
    let (port, taken) = broker_that_hangs_up_on(None);
    let outbox = Outbox::new();
    outbox.fill(8, 100);
    let station = Station::start(&outbox.store, config(port));
    eventually("the results arrive", || taken.lock().unwrap().len() == 8);
    eventually("they are acknowledged", || outbox.store.depth().unwrap() == 0);
    station.stop();
}
