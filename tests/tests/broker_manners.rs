//! Brokers that do not do what they should. Each has one visible outcome at the real station, and results flow as soon as they can.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::made::study;
use e2e::scripted::{Manner, Scripted};
use e2e::station::{NAME, Setup, Station};
use e2e::wait;
use serde_json::Value;

/// Long enough for two cores under load.
const LONG: Duration = Duration::from_secs(180);

/// A station with one closed study, whose broker is at a port.
fn station_with_a_result(port: u16) -> anyhow::Result<Station> {
    let dir = tempfile::tempdir()?;
    let mut station = Station::new(&Setup::new(port))?;
    station.start()?;
    let made = study(dir.path(), "XR_WRIST", "study1", 1, 1)?;
    station.drop_study(made.study_type, &made.name, &made.files)?;
    station.wait_for_count("close.committed", 1, LONG)?;
    Ok(station)
}

/// Lines of the log that somebody is to read.
fn warnings(station: &Station) -> Vec<String> {
    let log = station.log();
    log.into_iter().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect()
}

/// The station says once what is wrong, tries again at ever longer intervals, and delivers once the broker behaves.
fn assert_waits_for(manner: Manner, words: &str) -> anyhow::Result<()> {
    let broker = Scripted::start(manner)?;
    let mut station = station_with_a_result(broker.port())?;
    station.wait_for_line(words, LONG)?;
    let (before, watched) = (broker.connections(), Duration::from_secs(5));
    thread::sleep(watched);
    // Half a second is the longest wait of a test's station, and half of it the shortest that jitter makes of that.
    let tries = broker.connections() - before;
    assert!((2..=25).contains(&tries), "{manner:?}: {tries} tries in {watched:?}");
    let said: Vec<String> =
        warnings(&station).into_iter().filter(|line| line.contains("cannot be sent")).collect();
    assert!(said.len() == 1 && said[0].contains(words), "{manner:?}: {said:?}");
    assert!(broker.taken().is_empty(), "{manner:?}");

    broker.behave(Manner::Good);
    wait::until("the result", LONG, || (results(&broker) == 1).then_some(())).context(station.tail())?;
    station.wait_for_line("connected to the broker again", LONG)?;
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn a_broker_that_hangs_up_on_each_message_is_left_alone_for_longer_and_longer() -> anyhow::Result<()> {
    assert_waits_for(Manner::HangsUpOnEachMessage, "results cannot be sent: ")
}

#[test]
fn a_broker_that_refuses_the_client_id_is_told_of_once() -> anyhow::Result<()> {
    assert_waits_for(
        Manner::RefusesClientId,
        "the broker refused the connection (ClientIdentifierNotValid); its rules must allow client ids that begin with `ulna-`",
    )
}

/// Takes `count` studies at a station that sends to a broker of a manner.
fn station_with_results(broker: &Scripted, count: u32) -> anyhow::Result<Station> {
    let dir = tempfile::tempdir()?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    for number in 1..=count {
        let made = study(dir.path(), "XR_WRIST", &format!("study{number}"), 1, number)?;
        station.drop_study(made.study_type, &made.name, &made.files)?;
    }
    Ok(station)
}

fn results(broker: &Scripted) -> usize {
    broker.taken().iter().filter(|topic| topic.ends_with("/result")).count()
}

#[test]
fn a_broker_that_hangs_up_on_one_result_gets_all_the_others() -> anyhow::Result<()> {
    let broker = Scripted::start(Manner::HangsUpOnResult(3))?;
    let mut station = station_with_results(&broker, 6)?;
    station.wait_for_line("a result is set aside", LONG)?;
    wait::until("the others", LONG, || (results(&broker) == 5).then_some(())).context(station.tail())?;
    let unsent =
        || station.ask("GET", "/station", &Value::Null).ok()?.json().ok()?["queue"]["unsent"].as_u64();
    wait::until("all but one to be acknowledged", LONG, || (unsent() == Some(0)).then_some(()))?;
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn a_broker_that_hangs_up_on_the_subscription_gets_all_results() -> anyhow::Result<()> {
    let broker = Scripted::start(Manner::HangsUpOnSubscription)?;
    let mut station = station_with_results(&broker, 6)?;
    let unsent =
        || station.ask("GET", "/station", &Value::Null).ok()?.json().ok()?["queue"]["unsent"].as_u64();
    wait::until("all to come and to be acknowledged", LONG, || {
        (results(&broker) >= 6 && unsent() == Some(0)).then_some(())
    })
    .context(station.tail())?;
    assert!(station.stop()?.success());
    Ok(())
}

/// mosquitto refuses one topic by its access list and takes the others.
#[test]
fn a_topic_that_is_refused_is_said_once_and_the_others_flow() -> anyhow::Result<()> {
    for denied in ["health", "birth", "latest"] {
        let rules = tempfile::tempdir()?;
        let acl = rules.path().join("acl");
        fs::write(&acl, format!("topic readwrite ulna/v1/#\ntopic deny ulna/v1/{NAME}/{denied}\n"))?;
        let broker = Broker::start_with(&format!("allow_anonymous true\nacl_file {}\n", acl.display()))?;
        let collector = Collector::start(broker.port())?;
        let mut station =
            Station::new(&Setup { mqtt: "health_interval_s = 1\n".to_owned(), ..Setup::new(broker.port()) })?;
        station.start()?;
        let dir = tempfile::tempdir()?;
        for number in 1..=3 {
            let made = study(dir.path(), "XR_WRIST", &format!("study{number}"), 1, number)?;
            station.drop_study(made.study_type, &made.name, &made.files)?;
            collector.wait_for_results(number as usize, LONG).context(station.tail())?;
        }
        thread::sleep(Duration::from_secs(3));
        let refused: Vec<String> = warnings(&station)
            .into_iter()
            .filter(|line| line.contains("the broker refuses the station's"))
            .collect();
        assert_eq!(refused.len(), 1, "{denied}: {refused:?}");
        assert!(
            refused[0].to_lowercase().contains(denied) && refused[0].contains("not authorised"),
            "{refused:?}"
        );
        let topics: Vec<String> = collector.messages().into_iter().map(|message| message.topic).collect();
        let came = |name: &str| topics.iter().any(|topic| topic.ends_with(&format!("/{name}")));
        for name in ["status", "birth", "health", "latest"] {
            assert_eq!(came(name), name != denied, "{name} while {denied} is refused: {topics:?}");
        }
        assert!(station.stop()?.success());
    }
    Ok(())
}

/// Where nothing else may be written, the results themselves are set aside, kept and named.
#[test]
fn a_station_that_may_not_write_results_keeps_them_and_says_so_to_the_centre() -> anyhow::Result<()> {
    let rules = tempfile::tempdir()?;
    let acl = rules.path().join("acl");
    fs::write(&acl, format!("topic readwrite ulna/v1/#\ntopic deny ulna/v1/{NAME}/result\n"))?;
    let broker = Broker::start_with(&format!("allow_anonymous true\nacl_file {}\n", acl.display()))?;
    let collector = Collector::start(broker.port())?;
    let mut station = station_with_a_result(broker.port())?;
    station.wait_for_line("a result is set aside", LONG)?;
    let status = collector.wait_for("a degraded status", LONG, |message| {
        let text = String::from_utf8_lossy(&message.payload);
        message.topic.ends_with("/status") && text.contains("results_refused")
    });
    status.context(station.tail())?;
    assert!(collector.results()?.is_empty());

    fs::write(&acl, "topic readwrite ulna/v1/#\n")?;
    broker.reload()?;
    let retry = std::process::Command::new(e2e::bin::edge()?)
        .args(["outbox", "retry", "--config"])
        .arg(station.config())
        .output()?;
    assert!(retry.status.success(), "{}", String::from_utf8_lossy(&retry.stderr));
    collector.wait_for_results(1, LONG).context(station.tail())?;
    assert!(station.stop()?.success());
    Ok(())
}
