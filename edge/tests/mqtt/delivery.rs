//! Nothing is lost, whatever happens on the way.

use std::collections::BTreeSet;

use contract::result::StudyResult;
use edge::publish::MqttConfig;

use crate::broker::{Mosquitto, Subscriber, Wire, eventually};
use crate::port;
use crate::station::{NAME, Outbox, Station, config};

#[test]
fn results_arrive_in_order_each_once_and_say_where_they_stand() {
    let broker = Mosquitto::start("", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(50, 2000);
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    outbox.fill(1, 10);
    station.handle.wake();
    eventually("the last result arrives", || subscriber.on("result").len() == 51);

    let results: Vec<StudyResult> =
        subscriber.on("result").iter().map(|m| serde_json::from_str(&m.payload).unwrap()).collect();
    for (result, seq) in results.iter().zip(1..) {
        let delivery = result.delivery.as_ref().unwrap();
        assert_eq!(delivery.seq, seq);
        assert_eq!(delivery.station, NAME);
        assert_eq!(delivery.outbox_id, outbox.store.outbox_id().unwrap());
        assert!((1..=seq).contains(&delivery.oldest_unsent_seq), "{delivery:?}");
        // Sixteen are under way at most; acknowledgements are known once they are committed, 128 at a time.
        assert!(delivery.oldest_unsent_seq + 16 + 128 > seq, "{delivery:?}");
    }
    assert!(subscriber.on("result").iter().all(|message| !message.retained));
    eventually("all are counted", || station.handle.state().results_acked == 51);
    assert_eq!(station.handle.state().results_refused, 0);
    station.stop();
}

#[test]
fn latest_is_retained_and_is_the_newest_result() {
    let broker = Mosquitto::start("", &[]);
    let outbox = Outbox::new();
    outbox.fill(20, 10);
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("latest is the last result", || {
        let subscriber = Subscriber::start(broker.port());
        eventually("something is retained", || !subscriber.on("latest").is_empty());
        let latest = subscriber.on("latest").remove(0);
        assert!(latest.retained);
        let latest: StudyResult = serde_json::from_str(&latest.payload).unwrap();
        let delivery = latest.delivery.unwrap();
        // It has arrived itself, and so had all before it.
        delivery.seq == 20 && delivery.oldest_unsent_seq == 21
    });
    station.stop();
}

#[test]
fn a_broker_that_is_away_gets_everything_when_it_comes() {
    let port = port::claim().unwrap();
    let outbox = Outbox::new();
    outbox.fill(5, 100);
    let station = Station::start(&outbox.store, config(port));
    eventually("the failure is known", || station.handle.state().last_error.is_some());
    assert!(!station.handle.state().connected);
    assert_eq!(outbox.store.depth().unwrap(), 5);

    // The port is free for the broker now.
    let mut broker = Mosquitto::start_at(port, "", &[]);
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    assert!(station.handle.state().connected);

    broker.kill();
    eventually("the loss is known", || !station.handle.state().connected);
    outbox.fill(5, 100);
    station.handle.wake();
    broker.restart();
    let subscriber = Subscriber::start(broker.port());
    eventually("the outbox is empty again", || outbox.store.depth().unwrap() == 0);
    eventually("latest follows", || subscriber.on("latest").iter().any(|m| m.json()["seq"] == 10));
    station.stop();
}

#[test]
fn a_broker_killed_in_mid_drain_loses_no_row() {
    // Many batches of acknowledgements, so that every kill comes between two.
    const ROWS: usize = 1500;
    let mut broker = Mosquitto::start("", &[]);
    let wire = Wire::to(broker.port());
    let outbox = Outbox::new();
    outbox.fill(ROWS, 3000);
    let subscriber = Subscriber::start(broker.port());
    let station = Station::start(&outbox.store, config(wire.port()));

    // What the broker had acknowledged when it was killed is its own loss, if it is one.
    let mut acknowledged_before_a_kill = BTreeSet::new();
    for (kill, rows_left) in (1..).zip([1200, 900, 600, 300]) {
        eventually("some rows are acknowledged", || outbox.store.depth().unwrap() <= rows_left);
        broker.kill();
        // The subscriber comes back first, so that it sees everything that is sent from now on.
        wire.close();
        eventually("the loss is known", || !station.handle.state().connected);
        let unsent: BTreeSet<u64> =
            outbox.store.unsent(0, ROWS).unwrap().into_iter().map(|row| row.seq).collect();
        assert!(!unsent.is_empty(), "the broker was killed too late to prove anything");
        acknowledged_before_a_kill = (1..=ROWS as u64).filter(|seq| !unsent.contains(seq)).collect();
        broker.restart();
        eventually("the subscriber is back", || subscriber.subscriptions() == kill + 1);
        wire.open();
    }
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("every row sent since arrives", || {
        let seen = subscriber.result_counts();
        (1..=ROWS as u64).all(|seq| seen.contains_key(&seq) || acknowledged_before_a_kill.contains(&seq))
    });
    assert_eq!(outbox.store.dead_count().unwrap(), 0);
    station.stop();
}

#[test]
fn a_connection_cut_in_mid_drain_repeats_some_and_loses_none() {
    let broker = Mosquitto::start("", &[]);
    let wire = Wire::to(broker.port());
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(150, 3000);
    let station = Station::start(&outbox.store, config(wire.port()));
    for share in [120, 90, 60, 30] {
        eventually("some rows are acknowledged", || outbox.store.depth().unwrap() <= share);
        wire.cut();
    }
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("every row arrives", || subscriber.result_counts().len() == 150);
    assert!(subscriber.result_counts().keys().copied().eq(1..=150));
    assert_eq!(outbox.store.dead_count().unwrap(), 0);
    station.stop();
}

#[test]
fn an_acknowledgement_that_does_not_come_ends_the_connection() {
    let broker = Mosquitto::start("", &[]);
    let wire = Wire::to(broker.port());
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    let config = MqttConfig { puback_timeout_s: 1, ..config(wire.port()) };
    let station = Station::start(&outbox.store, config);
    eventually("connected", || station.handle.state().connected);

    wire.deafen();
    outbox.fill(3, 100);
    station.handle.wake();
    eventually("the silence is noticed", || {
        station.handle.state().last_error.is_some_and(|error| error.contains("no acknowledgement"))
    });
    assert_eq!(outbox.store.depth().unwrap(), 3);
    wire.open();
    wire.cut();
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("every row arrives", || subscriber.result_counts().len() == 3);
    station.stop();
}

#[test]
fn a_large_result_arrives_whole() {
    let broker = Mosquitto::start("", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(1, 1 << 20);
    outbox.fill(3, 10);
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("all arrive", || subscriber.on("result").len() == 4);
    let large: StudyResult = serde_json::from_str(&subscriber.on("result")[0].payload).unwrap();
    assert_eq!(large.reason.map(|reason| reason.len()), Some(1 << 20));
    assert_eq!(subscriber.result_counts()[&1], 1);
    station.stop();
}

#[test]
fn one_message_at_a_time_is_enough() {
    let broker = Mosquitto::start("", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(20, 10);
    let station = Station::start(&outbox.store, MqttConfig { inflight_max: 1, ..config(broker.port()) });
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("all arrive", || subscriber.result_counts().len() == 20);
    station.stop();
}

#[test]
fn a_broker_that_takes_few_at_a_time_is_not_overrun() {
    let broker = Mosquitto::start("max_inflight_messages 2", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(100, 10);
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("all arrive", || subscriber.result_counts().len() == 100);
    assert!(subscriber.result_counts().values().all(|times| *times == 1));
    station.stop();
}

#[cfg(feature = "demo")]
#[test]
fn the_demonstration_broker_takes_results_too() {
    let port = edge::demo_broker::start().unwrap().port();
    let subscriber = Subscriber::start(port);
    let outbox = Outbox::new();
    outbox.fill(20, 3000);
    let station = Station::start(&outbox.store, config(port));
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("all arrive", || subscriber.result_counts().len() == 20);
    assert_eq!(subscriber.last_status().as_deref(), Some("online started"));
    station.stop();
    eventually("the leave arrives", || subscriber.last_status().as_deref() == Some("offline clean_stop"));
}
