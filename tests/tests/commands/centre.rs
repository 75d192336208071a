//! The centre: a broker, a key, and everything that stations say.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use contract::command::{CommandAck, CommandOutcome, CommandReason};
use contract::result::StudyResult;
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::made::study;
use e2e::minisign::Signer;
use e2e::station::{NAME, Setup, Station};
use e2e::{bin, wait};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::LONG;

/// What came of a command.
pub(crate) type Came = (CommandOutcome, Option<CommandReason>);

/// It was executed.
pub(crate) const DONE: Came = (CommandOutcome::Done, None);

/// A centre with one station's broker.
pub(crate) struct Centre {
    pub(crate) broker: Broker,
    pub(crate) collector: Collector,
    pub(crate) signer: Signer,
    dir: TempDir,
}

impl Centre {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with_broker(Broker::start()?)
    }

    pub(crate) fn with_broker(broker: Broker) -> anyhow::Result<Self> {
        let collector = Collector::start(broker.port())?;
        Ok(Self { broker, collector, signer: Signer::new()?, dir: tempfile::tempdir()? })
    }

    /// A station that trusts the centre's key and allows these commands.
    pub(crate) fn station(&self, allow: &[&str]) -> anyhow::Result<Station> {
        self.station_of(Setup::new(self.broker.port()), allow, "")
    }

    /// The same with another setup, and further lines of `[trust]` and after it.
    pub(crate) fn station_of(&self, setup: Setup, allow: &[&str], trust: &str) -> anyhow::Result<Station> {
        let extra = format!(
            "\n[commands]\nallow = {allow:?}\n\n[trust]\ncommand_keys = [\"{}\"]\n{trust}",
            self.signer.public_key()
        );
        Station::new(&Setup { extra, ..setup })
    }

    /// Signs a command that expires in an hour, and sends it.
    pub(crate) fn send(&self, id: &str, command: &Value, retain: bool) -> anyhow::Result<()> {
        let message = signed(&self.signer, &body(NAME, id, 60, command))?;
        self.publish(&tail(id, command), message.as_bytes(), retain)
    }

    /// Publishes bytes below the station's `cmd/` with mosquitto's own client.
    pub(crate) fn publish(&self, tail: &str, payload: &[u8], retain: bool) -> anyhow::Result<()> {
        let file = self.dir.path().join("message");
        fs::write(&file, payload)?;
        let (port, topic) = (self.broker.port().to_string(), format!("ulna/v1/{NAME}/cmd/{tail}"));
        let mut publish = Command::new("mosquitto_pub");
        publish.args(["-V", "5", "-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", &topic]);
        if payload.is_empty() {
            publish.arg("-n");
        } else {
            publish.arg("-f").arg(&file);
        }
        if retain {
            publish.arg("-r");
        }
        bin::succeed(&mut publish).map(drop)
    }

    /// The answers to an id so far.
    pub(crate) fn acks(&self, id: &str) -> anyhow::Result<Vec<CommandAck>> {
        let ending = format!("/{id}/ack");
        let messages = self.collector.messages();
        let mine = messages.iter().filter(|message| message.topic.ends_with(&ending));
        mine.map(|message| {
            assert!(!message.retained, "{}", message.topic);
            let ack: CommandAck = serde_json::from_slice(&message.payload)?;
            assert_eq!((ack.station.as_str(), ack.id.as_str()), (NAME, id));
            assert_eq!(message.topic, format!("ulna/v1/{NAME}/cmd/{}/{id}/ack", ack.command));
            Ok(ack)
        })
        .collect()
    }

    /// Waits for the `count`th answer to an id.
    pub(crate) fn ack(&self, id: &str, count: usize, station: &Station) -> anyhow::Result<CommandAck> {
        wait::until(&format!("answer {count} to {id}"), LONG, || {
            self.acks(id).ok()?.into_iter().nth(count - 1)
        })
        .with_context(|| station.tail())
    }

    /// Signs, sends, and gives what came of it.
    pub(crate) fn ask(&self, id: &str, command: &Value, station: &Station) -> anyhow::Result<Came> {
        self.send(id, command, false)?;
        let ack = self.ack(id, 1, station)?;
        Ok((ack.outcome, ack.reason))
    }

    /// Waits until the station reads its commands: one sent before would be lost.
    pub(crate) fn wait_until_subscribed(&self, station: &Station) -> anyhow::Result<()> {
        station.wait_for_line("subscribed to commands", LONG).map(drop)
    }

    /// Has the station score a study of its own and gives its result.
    pub(crate) fn result_of(&self, station: &Station, number: u32) -> anyhow::Result<StudyResult> {
        let before = self.collector.results_by_key()?.len();
        let made = study(self.dir.path(), "XR_WRIST", &format!("study{number}"), 1, number)?;
        station.drop_study(made.study_type, &made.name, &made.files)?;
        let results = self.collector.wait_for_results(before + 1, LONG).with_context(|| station.tail())?;
        results.into_iter().next_back().context("a result")
    }

    /// The sequence that the station's results are of.
    pub(crate) fn outbox_id(&self) -> anyhow::Result<String> {
        let delivery = self.collector.results()?.into_iter().next().and_then(|result| result.delivery);
        Ok(delivery.context("no result yet")?.outbox_id)
    }

    /// A folder of the test's own.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// What follows `cmd/`.
pub(crate) fn tail(id: &str, command: &Value) -> String {
    format!("{}/{id}", command["name"].as_str().unwrap_or("nameless"))
}

/// A body as it is signed.
pub(crate) fn body(station: &str, id: &str, minutes: i64, command: &Value) -> String {
    let expires_at = Timestamp::now() + SignedDuration::from_mins(minutes);
    json!({ "station": station, "id": id, "expires_at": expires_at, "command": command }).to_string()
}

/// The message of a signed body.
pub(crate) fn signed(signer: &Signer, body: &str) -> anyhow::Result<String> {
    Ok(json!({ "body": body, "signature": signer.sign(body.as_bytes())? }).to_string())
}

pub(crate) fn ping() -> Value {
    json!({ "name": "ping" })
}
