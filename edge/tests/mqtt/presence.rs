//! What the station says of itself.

use contract::result::{StationBirth, StationHealth};

use crate::broker::{Mosquitto, Subscriber, Wire, eventually};
use crate::station::{NAME, Outbox, Station, config};

#[test]
fn a_station_announces_itself_and_takes_its_leave() {
    let broker = Mosquitto::start("", &[]);
    let outbox = Outbox::new();
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("connected", || station.handle.state().connected);

    // Whoever comes later learns it from the retained messages.
    let late = Subscriber::start(broker.port());
    eventually("birth, status and health are retained", || late.all().len() >= 3);
    assert!(late.all().iter().all(|message| message.topic.starts_with("ulna/v1/clinic-12/")));
    let birth: StationBirth = serde_json::from_str(&late.on("birth")[0].payload).unwrap();
    assert_eq!((birth.station.as_str(), birth.outbox_id), (NAME, outbox.store.outbox_id().unwrap()));
    let health: StationHealth = serde_json::from_str(&late.on("health")[0].payload).unwrap();
    assert_eq!(health.station, NAME);
    assert_eq!(late.last_status().as_deref(), Some("online started"));
    assert!(late.on("latest").is_empty());

    station.said.degraded("disk_full");
    eventually("a new condition is said", || late.last_status().as_deref() == Some("degraded disk_full"));

    station.stop();
    eventually("the leave arrives", || late.last_status().as_deref() == Some("offline clean_stop"));
    let last = Subscriber::start(broker.port());
    eventually("the leave is retained", || last.last_status().as_deref() == Some("offline clean_stop"));
    assert!(last.on("status")[0].json()["at"].is_string());
}

#[test]
fn a_lost_station_is_reported_by_its_will_and_says_so_itself_when_it_is_back() {
    let broker = Mosquitto::start("", &[]);
    let wire = Wire::to(broker.port());
    let outbox = Outbox::new();
    let station = Station::start(&outbox.store, config(wire.port()));
    let subscriber = Subscriber::start(broker.port());
    eventually("online", || subscriber.last_status().as_deref() == Some("online started"));

    wire.close();
    eventually("the will", || subscriber.last_status().as_deref() == Some("offline connection_lost"));
    assert!(subscriber.on("status").last().unwrap().json()["at"].is_null());
    eventually("the station knows", || !station.handle.state().connected);

    wire.open();
    eventually("online again", || subscriber.last_status().as_deref() == Some("online started"));
    assert!(subscriber.on("birth").len() >= 2);
    station.stop();
}

#[test]
fn stopping_does_not_wait_for_a_broker_that_is_away() {
    let mut broker = Mosquitto::start("", &[]);
    let outbox = Outbox::new();
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("connected", || station.handle.state().connected);
    broker.kill();
    eventually("the loss is known", || !station.handle.state().connected);
    let since = std::time::Instant::now();
    station.stop();
    assert!(since.elapsed() < std::time::Duration::from_secs(5), "{:?}", since.elapsed());
}
