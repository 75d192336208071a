//! Nothing is lost and nothing comes twice under another key, whatever the broker does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use contract::result::{Presence, StationStatus, StudyResult};
use e2e::broker::Broker;
use e2e::collector::{Collector, Message};
use e2e::made::{pgm, study};
use e2e::proxy::{Line, Proxy};
use e2e::station::{NAME, Setup, Station};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);

/// Drops `count` one-view studies, numbered from `first`.
fn drop_studies(station: &Station, dir: &std::path::Path, first: u32, count: u32) -> anyhow::Result<()> {
    for number in first..first + count {
        let made = study(dir, "XR_WRIST", &format!("study{number}"), 1, number)?;
        station.drop_study(made.study_type, &made.name, &made.files)?;
    }
    Ok(())
}

/// Checks that every sequence number from 1 to `count` came, each with one content and another study.
fn assert_complete(collector: &Collector, count: usize) -> anyhow::Result<()> {
    let by_key = collector.results_by_key()?;
    let sequences: Vec<u64> = by_key.keys().map(|(_, seq)| *seq).collect();
    assert_eq!(sequences, (1..=count as u64).collect::<Vec<_>>(), "sequence numbers");
    let outboxes: BTreeSet<&String> = by_key.keys().map(|(outbox, _)| outbox).collect();
    assert_eq!(outboxes.len(), 1, "outboxes");
    let studies: BTreeSet<_> = by_key.values().map(|result| result.study.key.clone()).collect();
    assert_eq!(studies.len(), count, "studies");
    Ok(())
}

fn status(message: &Message) -> Option<StationStatus> {
    (message.topic == format!("ulna/v1/{NAME}/status"))
        .then(|| serde_json::from_slice(&message.payload).ok())
        .flatten()
}

#[test]
fn results_wait_for_a_broker_that_is_down_from_the_start() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut broker = Broker::start()?;
    // Its session outlives the outage, as a dashboard's does.
    let collector = Collector::start(broker.port())?;
    broker.save_and_kill()?;

    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    drop_studies(&station, dir.path(), 0, 5)?;
    station.wait_for_count("close.committed", 5, LONG)?;
    station.wait_until_spool_is_empty(LONG)?;
    assert!(collector.results()?.is_empty());

    broker.restart()?;
    collector.wait_for_results(5, LONG).context(station.tail())?;
    assert_complete(&collector, 5)?;
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn every_result_arrives_across_outages_of_the_broker() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;

    drop_studies(&station, dir.path(), 0, 2)?;
    collector.wait_for_results(2, LONG).context(station.tail())?;
    broker.save_and_kill()?;
    drop_studies(&station, dir.path(), 2, 6)?;
    station.wait_for_count("close.committed", 8, LONG)?;
    broker.restart()?;
    collector.wait_for_results(8, LONG).context(station.tail())?;

    // Down again while results are on their way.
    drop_studies(&station, dir.path(), 8, 6)?;
    station.wait_for_count("publish.sent", 9, LONG)?;
    broker.kill();
    station.wait_for_count("close.committed", 14, LONG)?;
    broker.restart()?;
    collector.wait_for_results(14, LONG).context(station.tail())?;
    assert_complete(&collector, 14)?;

    for result in collector.results()? {
        let delivery = result.delivery.as_ref().context("delivery")?;
        assert!(delivery.oldest_unsent_seq <= delivery.seq, "{delivery:?}");
        assert_eq!(delivery.station, NAME);
    }
    let latest = collector.wait_for("the newest result as `latest`", LONG, |message| {
        message.topic.ends_with("/latest")
            && serde_json::from_slice::<StudyResult>(&message.payload)
                .is_ok_and(|result| result.delivery.is_some_and(|delivery| delivery.seq == 14))
    });
    latest.context(station.tail())?;
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn presence_tells_a_crash_from_a_clean_stop() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    let count = |presence: Presence| {
        collector.messages().iter().filter_map(status).filter(|said| said.status == presence).count()
    };
    let wait = |presence, times, what: &str| {
        e2e::wait::until(what, LONG, || (count(presence) >= times).then_some(()))
    };
    wait(Presence::Online, 1, "online").context(station.tail())?;

    station.kill();
    wait(Presence::Offline, 1, "the will")?;
    let will = collector.messages().iter().filter_map(status).next_back().context("will")?;
    assert_eq!((will.status, will.reason.as_str()), (Presence::Offline, "connection_lost"));

    station.start()?;
    wait(Presence::Online, 2, "online again").context(station.tail())?;
    assert!(station.stop()?.success());
    wait(Presence::Offline, 2, "the farewell").context(station.tail())?;
    let farewell = collector.messages().iter().filter_map(status).next_back().context("farewell")?;
    assert_eq!((farewell.status, farewell.reason.as_str()), (Presence::Offline, "clean_stop"));

    // A dashboard that comes later learns it all from what the broker kept.
    let late = Collector::start_as(broker.port(), "late")?;
    for topic in ["status", "birth", "health"] {
        let path = format!("ulna/v1/{NAME}/{topic}");
        let kept = late.wait_for(&path, LONG, |message| message.topic == path)?;
        assert!(kept.retained, "{path} is not retained");
        assert_eq!(kept.json()?["station"], NAME, "{path}");
    }
    Ok(())
}

/// The broker's light as the page shows it: whether it is on, and the reason it is not.
fn light(station: &Station) -> anyhow::Result<(bool, Option<String>)> {
    let broker = &station.ask("GET", "/station", &Value::Null)?.json()?["broker"];
    let connected = broker["connected"].as_bool().context("broker.connected")?;
    Ok((connected, broker["last_error"].as_str().map(str::to_owned)))
}

fn wait_for_light(station: &Station, on: bool, within: Duration) -> anyhow::Result<()> {
    let what = format!("the broker's light to be {}", if on { "on" } else { "off" });
    e2e::wait::until(&what, within, || light(station).ok().filter(|(lit, _)| *lit == on))
        .with_context(|| station.tail())
        .map(drop)
}

/// Takes `count` studies at the station's API one after another; the API's slowest answer must stay bearable.
fn take_studies(station: &Station, first: u32, count: u32) -> anyhow::Result<()> {
    for seed in first..first + count {
        let began = Instant::now();
        station.take_study("XR_WRIST", &pgm(300, 240, seed))?;
        anyhow::ensure!(began.elapsed() < Duration::from_secs(10), "a study took {:?}", began.elapsed());
    }
    Ok(())
}

#[test]
fn whatever_the_network_does_under_load_every_result_arrives_and_the_light_tells() -> anyhow::Result<()> {
    const EACH: u32 = 4;
    // While results are under way puback_timeout_s (3) says so, else twice keep_alive_s (5); the rest is for a busy
    // machine.
    const UNDER_WAY: Duration = Duration::from_secs(3 + 5);
    const IDLE: Duration = Duration::from_secs(2 * 5 + 5);
    let broker = Broker::start()?;
    let proxy = Proxy::start(broker.port())?;
    let collector = Collector::start(broker.port())?;
    let mut station = Station::new(&Setup::new(proxy.port()))?;
    station.start()?;
    station.wait_for_line("connected to the broker", LONG)?;
    let mut taken = 0;
    for fault in [None, Some(Line::Silent), Some(Line::OneWay), Some(Line::Reset)] {
        take_studies(&station, taken, EACH)?;
        match fault {
            // The broker itself stands still, as a machine does that swaps.
            None => broker.pause(true)?,
            Some(line) => proxy.set(line),
        }
        take_studies(&station, taken + EACH, EACH)?;
        wait_for_light(&station, false, UNDER_WAY).with_context(|| format!("{fault:?}"))?;
        let (_, why) = light(&station)?;
        assert!(why.is_some_and(|why| !why.is_empty()), "{fault:?}: the light says no reason");
        take_studies(&station, taken + 2 * EACH, EACH)?;
        broker.pause(false)?;
        proxy.set(Line::Whole);
        taken += 3 * EACH;
        collector
            .wait_for_results(taken as usize, LONG)
            .with_context(|| format!("{fault:?}: {}", station.tail()))?;
        wait_for_light(&station, true, LONG)?;
    }
    assert_complete(&collector, taken as usize)?;

    // With nothing to send, too, a line that lies dead is noticed.
    e2e::wait::until("all to be acknowledged", LONG, || {
        let said = station.ask("GET", "/station", &Value::Null).ok()?.json().ok()?;
        (said["queue"]["unsent"] == 0).then_some(())
    })?;
    proxy.set(Line::Silent);
    wait_for_light(&station, false, IDLE)?;
    proxy.set(Line::Whole);
    wait_for_light(&station, true, LONG)?;
    assert!(station.stop()?.success());
    Ok(())
}
