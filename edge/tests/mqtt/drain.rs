//! A backlog after an outage: how fast it drains, in which order, and that all of it arrives once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contract::result::StudyResult;
use contract::study::Answer;
use edge::publish::MqttConfig;

use crate::broker::{Mosquitto, Subscriber, Wire, eventually};
use crate::station::{Outbox, Station, config};

/// About as large as the result of a study of one view with its activation map.
const RESULT_BYTES: usize = 2500;
/// Abnormal results that may be sent in a row while others wait.
const ABNORMAL_RUN_MAX: usize = 8;

fn one_in_five(seq: u64) -> Option<Answer> {
    Some(if seq.is_multiple_of(5) { Answer::Abnormal } else { Answer::Normal })
}

/// Drains a backlog of `count` results whose broker comes back; gives how long that took from the connection on until
/// the last one had arrived, and the messages in the order they came.
fn drain(count: usize) -> (Duration, Vec<StudyResult>) {
    let broker = Mosquitto::start("max_inflight_messages 0", &[]);
    let subscriber = Subscriber::start(broker.port());
    let wire = Wire::to(broker.port());
    wire.close();
    let outbox = Outbox::new();
    let station = Station::start(&outbox.store, config(wire.port()));
    outbox.fill_answered(count, RESULT_BYTES, one_in_five);
    eventually("the outage is known", || station.handle.state().last_error.is_some());

    wire.open();
    eventually("connected", || station.handle.state().connected);
    let since = Instant::now();
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("all arrive", || subscriber.count_on("result") >= count);
    let took = since.elapsed();
    station.stop();

    let results: Vec<StudyResult> =
        subscriber.on("result").iter().map(|m| serde_json::from_str(&m.payload).unwrap()).collect();
    let mut studies: BTreeMap<u64, (String, usize)> = BTreeMap::new();
    for result in &results {
        let delivery = result.delivery.as_ref().unwrap();
        assert_eq!(delivery.outbox_id, outbox.store.outbox_id().unwrap());
        let (key, times) = studies.entry(delivery.seq).or_default();
        *times += 1;
        let study = result.study.key.clone().unwrap();
        assert!(key.is_empty() || *key == study, "seq {} came with two studies", delivery.seq);
        *key = study;
    }
    assert!(studies.keys().copied().eq(1..=count as u64), "a result is missing");
    let mut keys: Vec<&String> = studies.values().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "a study came under two keys");
    assert!(studies.values().all(|(_, times)| *times == 1), "the connection was never lost");
    (took, results)
}

#[test]
fn a_backlog_drains_fast_with_abnormal_results_first_and_the_others_not_starved() {
    const COUNT: usize = 600;
    let (took, results) = drain(COUNT);
    println!("{COUNT} results in {took:.2?}: {:.0} a second", COUNT as f64 / took.as_secs_f64());
    // A tenth of what is measured on an idle machine: others use it too while the tests run.
    assert!(took < Duration::from_secs(12), "{COUNT} results took {took:?}");

    let seq = |result: &StudyResult| result.delivery.as_ref().unwrap().seq;
    let abnormal = |result: &&StudyResult| result.answer == Some(Answer::Abnormal);
    let (first, rest): (Vec<_>, Vec<_>) = (
        results.iter().filter(abnormal).map(seq).collect(),
        results.iter().filter(|result| !abnormal(result)).map(seq).collect(),
    );
    assert!(first.is_sorted() && rest.is_sorted(), "each kind comes in the order of its seq");
    let last_abnormal = results.iter().rposition(|result| abnormal(&result)).unwrap();
    let others_before = last_abnormal + 1 - first.len();
    assert_eq!(others_before, first.len().div_ceil(ABNORMAL_RUN_MAX) - 1, "one after every eight");
    // `oldest_unsent_seq` tells the holes that this makes from losses.
    for result in &results {
        let delivery = result.delivery.as_ref().unwrap();
        assert!(delivery.oldest_unsent_seq <= delivery.seq, "{delivery:?}");
    }
}

/// `scripts/bench-drain.py` runs it, for BENCHMARKS.md.
#[test]
#[ignore = "a measurement of some minutes"]
fn ten_thousand_results_drain() {
    let count = std::env::var("ULNA_DRAIN_RESULTS").map_or(10_000, |text| text.parse().unwrap());
    let filling = Instant::now();
    let (took, results) = drain(count);
    println!("filled and drained in {:.1?}", filling.elapsed());
    let rate = results.len() as f64 / took.as_secs_f64();
    println!("drained {count} results in {:.2} s, {rate:.0} a second", took.as_secs_f64());
    assert!(rate >= 500.0, "{rate:.0} results a second");
}

#[test]
fn a_result_is_acknowledged_at_once_when_there_is_no_other() {
    let broker = Mosquitto::start("", &[]);
    let outbox = Outbox::new();
    let station =
        Station::start(&outbox.store, MqttConfig { health_interval_s: 3600, ..config(broker.port()) });
    eventually("connected", || station.handle.state().connected);
    for _ in 0..3 {
        outbox.fill(1, 100);
        let since = Instant::now();
        station.handle.wake();
        eventually("it is acknowledged", || outbox.store.depth().unwrap() == 0);
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
    station.stop();
}
