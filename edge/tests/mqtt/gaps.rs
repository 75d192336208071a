//! Holes in the sequence: explained by tombstones, filled by sending again.

use contract::result::{DropReason, Tombstone};

use crate::broker::{Mosquitto, Subscriber, eventually};
use crate::port;
use crate::station::{NAME, Outbox, Station, config};

fn tombstones(subscriber: &Subscriber) -> Vec<Tombstone> {
    subscriber.on("tombstone").iter().map(|m| serde_json::from_str(&m.payload).unwrap()).collect()
}

#[test]
fn a_purged_result_is_explained() {
    let port = port::claim().unwrap();
    let outbox = Outbox::new();
    outbox.fill(3, 100);
    let number = outbox.store.newest_studies(3).unwrap()[1].number.clone();
    outbox.store.purge(&number, true).unwrap();
    let broker = Mosquitto::start_at(port, "", &[]);
    let subscriber = Subscriber::start(broker.port());
    let station = Station::start(&outbox.store, config(port));
    eventually("the others arrive", || subscriber.result_counts().len() == 2);
    eventually("the hole is explained", || !tombstones(&subscriber).is_empty());
    let tombstone = tombstones(&subscriber).remove(0);
    let delivery = tombstone.delivery.unwrap();
    assert_eq!((delivery.seq, delivery.station.as_str(), tombstone.reason), (2, NAME, DropReason::Purged));
    assert_eq!(delivery.outbox_id, outbox.store.outbox_id().unwrap());
    assert!(!subscriber.on("tombstone")[0].retained);
    eventually("everything is accounted for", || outbox.store.oldest_unsent_seq().unwrap().is_none());

    // Purged while the session runs: a tombstone for a place that it has long passed.
    outbox.resend(1, 1);
    let number = outbox.store.newest_studies(3).unwrap()[1].number.clone();
    outbox.store.purge(&number, true).unwrap();
    eventually("that hole is explained too", || {
        tombstones(&subscriber).iter().any(|tombstone| tombstone.delivery.as_ref().unwrap().seq == 1)
    });
    station.stop();
}

#[test]
fn a_range_is_sent_again_under_the_same_keys() {
    let broker = Mosquitto::start("", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(40, 100);
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("all arrive", || subscriber.result_counts().len() == 40);
    eventually("all are acknowledged", || outbox.store.depth().unwrap() == 0);
    let first: Vec<_> = subscriber.on("result").into_iter().map(|message| message.json()).collect();

    assert_eq!(outbox.resend(11, 30).requeued, 20);
    station.handle.wake();
    eventually("the range arrives again", || subscriber.on("result").len() == 60);
    eventually("all are acknowledged again", || outbox.store.depth().unwrap() == 0);
    let counts = subscriber.result_counts();
    assert!((1..=40).all(|seq| counts[&seq] == if (11..=30).contains(&seq) { 2 } else { 1 }), "{counts:?}");
    for message in &subscriber.on("result")[40..] {
        let mut again = message.json();
        let mut before = first.iter().find(|sent| sent["seq"] == again["seq"]).unwrap().clone();
        for sent in [&mut again, &mut before] {
            sent.as_object_mut().unwrap().remove("oldest_unsent_seq");
        }
        assert_eq!(again, before);
    }
    assert_eq!(subscriber.on("latest").last().unwrap().json()["seq"], 40, "latest does not go back");
    station.stop();
}

#[test]
fn a_result_too_large_for_the_broker_is_explained_and_comes_when_it_is_no_longer() {
    let mut broker = Mosquitto::start("max_packet_size 20000", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    outbox.fill(1, 50_000);
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("the hole is explained", || !tombstones(&subscriber).is_empty());
    let tombstone = tombstones(&subscriber).remove(0);
    assert_eq!((tombstone.reason, tombstone.may_follow), (DropReason::SetAside, true));
    assert!(tombstone.detail.unwrap().contains("the broker takes 20000"));

    broker.kill();
    broker.configure("");
    broker.restart();
    eventually("the subscriber is back", || subscriber.subscriptions() == 2);
    assert_eq!(outbox.store.revive_dead().unwrap(), 1);
    station.handle.wake();
    eventually("the result itself arrives", || subscriber.result_counts().contains_key(&1));
    station.stop();
}
