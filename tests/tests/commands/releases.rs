//! A centre that releases bundles on a real web server, and a station that is told to install them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use contract::command::{CommandAck, CommandOutcome, CommandReason};
use e2e::minisign::Signer;
use e2e::nginx::WebServer;
use e2e::release;
use e2e::station::{NAME, Setup, Station};
use e2e::{bin, wait};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::LONG;
use crate::centre::{Centre, body, signed, tail};

/// A centre that releases bundles, and a station that serves with version 1.
pub(crate) struct Fleet {
    pub(crate) centre: Centre,
    pub(crate) bundles: Signer,
    pub(crate) server: WebServer,
    pub(crate) station: Station,
    /// The manifest's hash of version 1.
    pub(crate) first: String,
    pub(crate) studies: u32,
}

impl Fleet {
    /// `lines` are the web server's, `more` the station's, after `[trust]`.
    pub(crate) fn new(lines: &str, more: &str) -> anyhow::Result<Self> {
        let centre = Centre::new()?;
        let (bundles, server) = (Signer::new()?, WebServer::start(lines)?);
        let trust = format!(
            "bundle_keys = [\"{}\"]\n\n[model]\nca_file = \"{}\"\n{more}",
            bundles.public_key(),
            server.ca_file().display()
        );
        let setup = Setup { bundle: None, ..Setup::new(centre.broker.port()) };
        let station = centre.station_of(setup, &["ping", "model_install", "model_rollback"], &trust)?;
        let mut fleet = Self { centre, bundles, server, station, first: String::new(), studies: 0 };
        let dir = fleet.centre.dir().join("first");
        fleet.first = release::write(&dir, 1, 0, &fleet.bundles)?;
        fleet.edge(&["model", "install", "--activate"], &[dir])?;
        fleet.start()?;
        assert!(fleet.station.stop()?.success());
        Ok(fleet)
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.station.start()?;
        self.centre.wait_until_subscribed(&self.station)
    }

    /// Runs `edge` for the station; it must succeed.
    pub(crate) fn edge(&self, words: &[&str], paths: &[PathBuf]) -> anyhow::Result<String> {
        let mut edge = Command::new(bin::edge()?);
        edge.args(words).arg("--config").arg(self.station.config()).args(paths);
        bin::succeed(&mut edge)
    }

    /// Releases a version below the web server; gives the command that installs it.
    pub(crate) fn release(&self, version: u32, ballast_bytes: usize) -> anyhow::Result<Value> {
        let dir = self.centre.dir().join(format!("v{version}"));
        let sha256 = release::write(&dir, version, ballast_bytes, &self.bundles)?;
        self.server.publish(&dir, &version.to_string())?;
        Ok(self.install(version, &sha256))
    }

    pub(crate) fn install(&self, version: u32, sha256: &str) -> Value {
        let url = self.server.url(&version.to_string());
        json!({ "name": "model_install", "url": url, "bundle_sha256": sha256 })
    }

    /// The last word on a command.
    pub(crate) fn last_word(&self, id: &str) -> anyhow::Result<CommandAck> {
        use CommandOutcome::{Duplicate, Running, Waiting};
        let last = |ack: &CommandAck| !matches!(ack.outcome, Waiting | Running | Duplicate);
        wait::until(&format!("the last word on {id}"), 2 * LONG, || {
            self.centre.acks(id).ok()?.into_iter().find(last)
        })
        .with_context(|| self.station.tail())
    }

    pub(crate) fn ask(&self, id: &str, command: &Value) -> anyhow::Result<CommandAck> {
        self.centre.send(id, command, false)?;
        self.last_word(id)
    }

    /// The same with a time of its own at which it expires.
    pub(crate) fn ask_until(&self, id: &str, command: &Value, at: Timestamp) -> anyhow::Result<CommandAck> {
        let mut order: Value = serde_json::from_str(&body(NAME, id, 1, command))?;
        order["expires_at"] = json!(at);
        let message = signed(&self.centre.signer, &order.to_string())?;
        self.centre.publish(&tail(id, command), message.as_bytes(), false)?;
        self.last_word(id)
    }

    /// The version of the model that scores the next study.
    pub(crate) fn version(&mut self) -> anyhow::Result<u32> {
        self.studies += 1;
        Ok(self.centre.result_of(&self.station, self.studies)?.model.version)
    }

    pub(crate) fn version_after_start(&mut self) -> anyhow::Result<u32> {
        self.start()?;
        self.version()
    }

    pub(crate) fn listed(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.edge(&["model", "list", "--json"], &[])?)?)
    }
}

pub(crate) fn failed(reason: CommandReason) -> (CommandOutcome, Option<CommandReason>) {
    (CommandOutcome::Failed, Some(reason))
}

pub(crate) fn came(ack: &CommandAck) -> (CommandOutcome, Option<CommandReason>) {
    (ack.outcome, ack.reason)
}
