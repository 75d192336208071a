//! Every message that a station really sends is one that the AsyncAPI document describes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use e2e::broker::Broker;
use e2e::collector::{Collector, Message};
use e2e::made::study;
use e2e::station::{NAME, Setup, Station};
use e2e::{bin, http};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// The document's channels: a validator by the last levels of the topic.
fn validators() -> anyhow::Result<BTreeMap<String, jsonschema::Validator>> {
    let path = e2e::repository().join("edge/contract/asyncapi.json");
    let document: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let schemas = &document["components"]["schemas"];
    let mut found = BTreeMap::new();
    for (name, channel) in document["channels"].as_object().context("channels")? {
        let address = channel["address"].as_str().context("address")?.replace("{station}", NAME);
        let mut schema = document["components"]["messages"][name]["payload"].clone();
        schema["components"] = json!({ "schemas": schemas });
        let validator = jsonschema::draft7::options().build(&schema)?;
        found.insert(address, validator);
    }
    Ok(found)
}

/// The validator of a topic, whose variable levels stand in braces in the channel's address.
fn channel_of<'a, T>(channels: &'a BTreeMap<String, T>, topic: &str) -> Option<(&'a String, &'a T)> {
    channels.iter().find(|(address, _)| {
        let (mut levels, mut found) = (address.split('/'), topic.split('/'));
        levels.by_ref().zip(found.by_ref()).all(|(level, found)| level.starts_with('{') || level == found)
            && address.split('/').count() == topic.split('/').count()
    })
}

fn purge(station: &Station, number: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/studies/{number}?unsent=true");
    let answer = http::ask(station.web_port(), "DELETE", &path, "application/json", b"")?;
    anyhow::ensure!(answer.status == 204, "{}", answer.status);
    Ok(())
}

/// Sends a command that needs no signature, as the centre does.
fn command(port: u16, name: &str, id: &str) -> anyhow::Result<()> {
    let body = json!({
        "station": NAME, "id": id, "expires_at": Timestamp::now() + SignedDuration::from_hours(1),
        "command": { "name": name },
    });
    let message = json!({ "body": body.to_string() }).to_string();
    let mut publish = Command::new("mosquitto_pub");
    publish.args(["-V", "5", "-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-m", &message, "-t"]);
    bin::succeed(publish.arg(format!("ulna/v1/{NAME}/cmd/{name}/{id}"))).map(drop)
}

#[test]
fn every_message_on_the_wire_is_in_the_asyncapi_document() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let extra = "\n[commands]\nallow = [\"ping\"]\nunsigned = [\"ping\"]\n".to_owned();
    let mut station = Station::new(&Setup { extra, ..Setup::new(broker.port()) })?;
    station.start()?;

    // A study of two views, one that is no image at all, and one of a type that the model is not meant for.
    let made = study(dir.path(), "XR_WRIST", "scored", 2, 1)?;
    station.drop_study(made.study_type, &made.name, &made.files)?;
    let broken = dir.path().join("broken.png");
    std::fs::write(&broken, "no image")?;
    station.drop_study("XR_HAND", "broken", &[broken])?;
    let other = study(dir.path(), "XR_KNEE", "other", 1, 2)?;
    station.drop_study(other.study_type, &other.name, &other.files)?;
    collector.wait_for_results(3, LONG).context(station.tail())?;

    // Answered at once, or told to wait where nobody knows the time.
    command(broker.port(), "ping", "now")?;
    collector.wait_for("an answer", LONG, |message| message.topic.ends_with("/cmd/ping/now/ack"))?;

    // A result that is purged before it could be sent leaves a tombstone.
    broker.save_and_kill()?;
    let purged = study(dir.path(), "XR_ELBOW", "purged", 1, 3)?;
    station.drop_study(purged.study_type, &purged.name, &purged.files)?;
    let closed = station.wait_for_line("study ELB-0004 revision 1 closed", LONG);
    closed.context(station.tail())?;
    purge(&station, "ELB-0004")?;
    broker.restart()?;
    let tombstone =
        collector.wait_for("the tombstone", LONG, |message| message.topic.ends_with("/tombstone"));
    assert_eq!(tombstone.context(station.tail())?.json()?["seq"], 4);
    assert!(station.stop()?.success());
    collector.wait_for("the farewell", LONG, |message| {
        message.json().is_ok_and(|said| said["reason"] == "clean_stop")
    })?;
    station.start()?;
    station.wait_for_line("connected to the broker", LONG)?;
    station.kill();
    collector.wait_for("the will", LONG, |message| {
        message.json().is_ok_and(|said| said["reason"] == "connection_lost")
    })?;

    let channels = validators()?;
    let mut seen: BTreeSet<&String> = BTreeSet::new();
    let messages: Vec<Message> = collector.messages();
    for message in &messages {
        let (address, validator) = channel_of(&channels, &message.topic)
            .with_context(|| format!("{} is no channel of the document", message.topic))?;
        let payload = message.json()?;
        let errors: Vec<String> = validator.iter_errors(&payload).map(|error| error.to_string()).collect();
        anyhow::ensure!(errors.is_empty(), "{}: {errors:?}\n{payload:#}", message.topic);
        seen.insert(address);
    }
    println!("{} messages on {} topics", messages.len(), seen.len());
    let sent = ["result", "latest", "tombstone", "status", "birth", "health", "cmd/{name}/{id}", "ack"];
    for name in sent {
        assert!(
            seen.iter().any(|address| address.ends_with(&format!("/{name}"))),
            "no {name} came: {seen:?}"
        );
    }
    let days = &messages.iter().rfind(|m| m.topic.ends_with("/health")).context("health")?.json()?["days"];
    let today = days.as_array().and_then(|days| days.last()).context("today")?;
    let counted: u64 = ["normal", "uncertain", "abnormal", "rejected", "failed"]
        .iter()
        .filter_map(|outcome| today[outcome].as_u64())
        .sum();
    assert_eq!(counted, 4, "{today:#}");
    Ok(())
}
