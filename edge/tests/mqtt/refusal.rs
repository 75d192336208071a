//! A message or a station that the broker does not want.

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
