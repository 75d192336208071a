//! Another bundle by command: fetched from a real web server, tested, put to use while results flow, and given up when the
//! station does not become ready with it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use contract::bundle::MODEL_FILE;
use contract::command::{CommandAck, CommandOutcome, CommandReason};
use contract::result::{Presence, StationStatus};
use e2e::minisign::Signer;
use e2e::nginx::WebServer;
use e2e::release::{self, BALLAST};
use e2e::station::{Setup, Station};
use e2e::{bin, wait};
use serde_json::{Value, json};

use crate::LONG;
use crate::centre::{Centre, DONE, body, signed, tail};

/// The steps between which the power may fail, in the order in which a station comes to them.
const STEPS: [&str; 12] = [
    "model.begun",
    "model.writing",
    "model.fetched",
    "model.testing",
    "model.tested",
    "model.vacated",
    "model.removed",
    "model.placed",
    "model.recorded",
    "model.activated",
    "model.on_trial",
    "model.confirmed",
];

/// A centre that releases bundles, and a station that serves with version 1.
struct Fleet {
    centre: Centre,
    bundles: Signer,
    server: WebServer,
    station: Station,
    /// The manifest's hash of version 1.
    first: String,
    studies: u32,
}

impl Fleet {
    /// `lines` are the web server's, `more` the station's, after `[trust]`.
    fn new(lines: &str, more: &str) -> anyhow::Result<Self> {
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

    fn start(&mut self) -> anyhow::Result<()> {
        self.station.start()?;
        self.centre.wait_until_subscribed(&self.station)
    }

    /// Runs `edge` for the station; it must succeed.
    fn edge(&self, words: &[&str], paths: &[PathBuf]) -> anyhow::Result<String> {
        let mut edge = std::process::Command::new(bin::edge()?);
        edge.args(words).arg("--config").arg(self.station.config()).args(paths);
        bin::succeed(&mut edge)
    }

    /// Releases a version below the web server; gives the command that installs it.
    fn release(&self, version: u32, ballast_bytes: usize) -> anyhow::Result<Value> {
        let dir = self.centre.dir().join(format!("v{version}"));
        let sha256 = release::write(&dir, version, ballast_bytes, &self.bundles)?;
        self.server.publish(&dir, &version.to_string())?;
        Ok(self.install(version, &sha256))
    }

    fn install(&self, version: u32, sha256: &str) -> Value {
        let url = self.server.url(&version.to_string());
        json!({ "name": "model_install", "url": url, "bundle_sha256": sha256 })
    }

    /// The last word on a command.
    fn last_word(&self, id: &str) -> anyhow::Result<CommandAck> {
        use CommandOutcome::{Duplicate, Running, Waiting};
        let last = |ack: &CommandAck| !matches!(ack.outcome, Waiting | Running | Duplicate);
        wait::until(&format!("the last word on {id}"), 2 * LONG, || {
            self.centre.acks(id).ok()?.into_iter().find(last)
        })
        .with_context(|| self.station.tail())
    }

    fn ask(&self, id: &str, command: &Value) -> anyhow::Result<CommandAck> {
        self.centre.send(id, command, false)?;
        self.last_word(id)
    }

    /// The same with a time of its own at which it expires.
    fn ask_until(&self, id: &str, command: &Value, at: jiff::Timestamp) -> anyhow::Result<CommandAck> {
        let mut order: Value = serde_json::from_str(&body(e2e::station::NAME, id, 1, command))?;
        order["expires_at"] = json!(at);
        let message = signed(&self.centre.signer, &order.to_string())?;
        self.centre.publish(&tail(id, command), message.as_bytes(), false)?;
        self.last_word(id)
    }

    /// The version of the model that scores the next study.
    fn version(&mut self) -> anyhow::Result<u32> {
        self.studies += 1;
        Ok(self.centre.result_of(&self.station, self.studies)?.model.version)
    }

    fn version_after_start(&mut self) -> anyhow::Result<u32> {
        self.start()?;
        self.version()
    }

    fn listed(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.edge(&["model", "list", "--json"], &[])?)?)
    }
}

fn failed(reason: CommandReason) -> (CommandOutcome, Option<CommandReason>) {
    (CommandOutcome::Failed, Some(reason))
}

fn came(ack: &CommandAck) -> (CommandOutcome, Option<CommandReason>) {
    (ack.outcome, ack.reason)
}

#[test]
fn a_bundle_is_fetched_and_used_while_results_flow_and_the_one_before_is_the_way_back() -> anyhow::Result<()>
{
    let mut fleet = Fleet::new("limit_rate 1m;", "")?;
    fleet.start()?;
    assert_eq!(fleet.version()?, 1);
    let install = fleet.release(2, 3 << 20)?;
    fleet.centre.send("second", &install, true)?;
    let running = fleet.centre.ack("second", 1, &fleet.station)?;
    assert_eq!(came(&running), (CommandOutcome::Running, None));
    // Whichever of the two scores it: it comes.
    fleet.version()?;
    assert_eq!(came(&fleet.last_word("second")?), DONE);
    assert_eq!(fleet.version()?, 2);
    let birth = fleet.centre.collector.messages().into_iter().rfind(|m| m.topic.ends_with("/birth"));
    assert_eq!(birth.context("birth")?.json()?["model"]["bundle_sha256"], install["bundle_sha256"]);

    // The broker has kept the command and sends it again at each connect: it is not executed again.
    let back = json!({ "name": "model_rollback", "bundle_sha256": fleet.first });
    assert_eq!(came(&fleet.ask("back", &back)?), DONE);
    assert_eq!(fleet.version()?, 1);
    let other = json!({ "name": "model_rollback", "bundle_sha256": "00".repeat(32) });
    assert_eq!(came(&fleet.ask("elsewhere", &other)?), failed(CommandReason::OtherBundle));
    // What is in use already is only said to be.
    assert_eq!(came(&fleet.ask("again", &back)?), DONE);
    // The bundle that was rolled back from is still there, and needs no server.
    fleet.server.kill();
    assert_eq!(came(&fleet.ask("forward", &install)?), DONE);
    assert_eq!(fleet.version()?, 2);

    let by_key = fleet.centre.collector.results_by_key()?;
    assert_eq!(by_key.len() as u32, fleet.studies, "one result for each study, all of one outbox");
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn killed_at_every_step_the_station_serves_and_the_command_is_done() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "")?;
    for (version, step) in (2..).zip(STEPS) {
        let install = fleet.release(version, 200_000)?;
        let id = step.replace('.', "-");
        fleet.centre.send(&id, &install, true)?;
        fleet.station.start_halting_at(step)?;
        fleet.station.wait_for_line(&format!("edge::transition {step}"), LONG).context(step)?;
        fleet.station.kill();
        fleet.start()?;
        assert_eq!(came(&fleet.last_word(&id).context(step)?), DONE, "{step}");
        assert_eq!(fleet.version().context(step)?, version, "{step}");
        fleet.centre.publish(&tail(&id, &install), b"", true)?;
        let listed = fleet.listed()?;
        assert_eq!((&listed["on_trial"], &listed["returned"]), (&json!(false), &Value::Null), "{step}");
        assert!(fleet.station.stop()?.success());
        let done = fleet.centre.acks(&id)?.into_iter().filter(|ack| ack.outcome == CommandOutcome::Done);
        assert_eq!(done.map(|ack| ack.at).collect::<std::collections::BTreeSet<_>>().len(), 1, "{step}");
    }
    Ok(())
}

#[test]
fn what_came_before_the_line_broke_is_not_fetched_again() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("limit_rate 1m;", "")?;
    fleet.start()?;
    let install = fleet.release(2, 4 << 20)?;
    fleet.centre.send("flaky", &install, true)?;
    let part = fleet.station.state_dir().join("models/incoming").join(BALLAST);
    let come = |bytes: u64| {
        wait::until("a part of it", LONG, || fs::metadata(&part).ok().filter(|file| file.len() >= bytes))
            .with_context(|| fleet.station.tail())
            .map(drop)
    };
    come(1 << 20)?;
    // The server goes away and comes back; then the station does.
    fleet.server.kill();
    fleet.server.restart()?;
    come(2 << 20)?;
    fleet.station.kill();
    fleet.start()?;
    assert_eq!(came(&fleet.last_word("flaky")?), DONE);
    assert_eq!(fleet.version()?, 2);
    // Neither of the two later requests began at the start.
    let requests = fleet.server.requests()?;
    let ballast: Vec<&String> = requests.iter().filter(|line| line.contains(BALLAST)).collect();
    let resumed = ballast.iter().filter(|line| line.starts_with("206") && !line.contains("bytes=0-")).count();
    assert!(ballast.len() >= 2 && resumed + 1 >= ballast.len() && ballast[ballast.len() - 1].starts_with("206"), "{requests:#?}");
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn a_server_that_knows_no_ranges_sends_it_all_again() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("limit_rate 1m; max_ranges 0;", "")?;
    fleet.start()?;
    let install = fleet.release(2, 3 << 20)?;
    fleet.centre.send("whole", &install, false)?;
    let part = fleet.station.state_dir().join("models/incoming").join(BALLAST);
    wait::until("a part of it", LONG, || fs::metadata(&part).ok().filter(|file| file.len() > 1 << 20))?;
    fleet.server.kill();
    fleet.server.restart()?;
    assert_eq!(came(&fleet.last_word("whole")?), DONE);
    assert_eq!(fleet.version()?, 2);
    assert!(fleet.station.stop()?.success());
    Ok(())
}

/// A file that ends too early at a server that sends all of it each time.
#[test]
fn a_server_that_never_sends_it_all_is_given_up() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("max_ranges 0;", "")?;
    fleet.start()?;
    let install = fleet.release(2, 50_000)?;
    fs::File::options().write(true).open(fleet.server.root().join("2").join(BALLAST))?.set_len(20_000)?;
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(10);
    let ack = fleet.ask_until("short", &install, at)?;
    assert_eq!(came(&ack), (CommandOutcome::Expired, Some(CommandReason::Expired)));
    assert!(ack.detail.context("detail")?.contains("20000 of 50000 bytes came"));
    assert_eq!(fleet.version()?, 1);
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn every_bad_bundle_has_one_answer_and_results_flow() -> anyhow::Result<()> {
    use CommandReason::{BundleRefused, DownloadFailed, NotAllowed, SelfTestFailed};
    let mut fleet = Fleet::new("", "")?;
    fleet.start()?;
    assert_eq!(fleet.version()?, 1);
    let stranger = Signer::new()?;
    let key = || Some(&fleet.bundles);
    let mut asked = Vec::new();
    for (version, name, reason) in [
        (2, "unsigned", BundleRefused),
        (3, "stranger", BundleRefused),
        (4, "changed", BundleRefused),
        (5, "cut", DownloadFailed),
        (6, "damaged", BundleRefused),
        (7, "drifting", SelfTestFailed),
        (8, "ahead", BundleRefused),
        (9, "absent", DownloadFailed),
        (10, "other", BundleRefused),
    ] {
        let mut install = fleet.release(version, 50_000)?;
        let dir = fleet.server.root().join(version.to_string());
        let sha256 = match name {
            "unsigned" => Some(release::change(&dir, None, |_| ())?),
            "stranger" => Some(release::change(&dir, Some(&stranger), |_| ())?),
            "drifting" => Some(release::change(&dir, key(), |manifest| manifest.golden[0].logit += 1.0)?),
            "ahead" => {
                let ahead = |manifest: &mut contract::bundle::BundleManifest| {
                    manifest.edge_version_min = Some("99.0.0".to_owned());
                };
                Some(release::change(&dir, key(), ahead)?)
            }
            _ => None,
        };
        match name {
            "changed" => {
                let path = dir.join("manifest.json");
                fs::write(&path, fs::read_to_string(&path)?.replace("brightness", "Brightness"))?;
            }
            "cut" => fs::File::options().write(true).open(dir.join(BALLAST))?.set_len(20_000)?,
            "damaged" => {
                let mut bytes = fs::read(dir.join(MODEL_FILE))?;
                bytes[100] ^= 1;
                fs::write(dir.join(MODEL_FILE), bytes)?;
            }
            "absent" => fs::remove_dir_all(&dir)?,
            "other" => install["bundle_sha256"] = json!("00".repeat(32)),
            _ => {}
        }
        if let Some(sha256) = sha256 {
            install["bundle_sha256"] = json!(sha256);
        }
        asked.push((name, install, reason));
    }
    let plain = json!({ "name": "model_install", "url": "http://models.example/7", "bundle_sha256": "00".repeat(32) });
    asked.push(("plain", plain, DownloadFailed));
    for (name, install, reason) in asked {
        let ack = fleet.ask(name, &install)?;
        assert_eq!(came(&ack), failed(reason), "{name}: {ack:?}");
        assert!(ack.detail.is_some_and(|detail| detail.len() > 20), "{name}");
        assert_eq!(fleet.version()?, 1, "{name}");
    }
    // A signed bundle that somebody kept.
    assert_eq!(came(&fleet.ask("new", &fleet.release(12, 0)?)?), DONE);
    let ack = fleet.ask("old", &fleet.release(11, 0)?)?;
    assert_eq!(came(&ack), failed(BundleRefused), "{ack:?}");
    assert_eq!(fleet.version()?, 12);
    assert!(fleet.station.stop()?.success());

    // A station whose configuration names its bundle has no slots.
    let centre = &fleet.centre;
    let trust = format!("bundle_keys = [\"{}\"]\n", fleet.bundles.public_key());
    let mut named = centre.station_of(Setup::new(centre.broker.port()), &["model_install"], &trust)?;
    named.start()?;
    centre.wait_until_subscribed(&named)?;
    assert_eq!(centre.ask("named", &fleet.release(13, 0)?, &named)?, failed(NotAllowed));
    assert!(named.stop()?.success());
    Ok(())
}

#[test]
fn a_bundle_that_is_too_slow_is_not_used() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "view_max_ms = 100\n")?;
    fleet.start()?;
    // The demonstration's network, which is a real one.
    let dir = fleet.server.root().join("2");
    bin::succeed(std::process::Command::new("cp").arg("-rT").arg(e2e::demo_bundle()).arg(&dir))?;
    let sha256 = release::change(&dir, Some(&fleet.bundles), |manifest| manifest.version = 2)?;
    let ack = fleet.ask("slow", &fleet.install(2, &sha256))?;
    assert_eq!(came(&ack), failed(CommandReason::SelfTestFailed), "{ack:?}");
    assert!(ack.detail.context("detail")?.contains("model.view_max_ms"));
    assert_eq!(fleet.version()?, 1);
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn a_server_that_stays_away_is_waited_for_until_the_command_expires() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "")?;
    fleet.start()?;
    let install = fleet.release(2, 0)?;
    fleet.server.kill();
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(10);
    let ack = fleet.ask_until("away", &install, at)?;
    assert_eq!(came(&ack), (CommandOutcome::Expired, Some(CommandReason::Expired)));
    let outcomes: Vec<_> = fleet.centre.acks("away")?.into_iter().map(|ack| ack.outcome).collect();
    assert_eq!(outcomes, [CommandOutcome::Running, CommandOutcome::Expired]);
    assert_eq!(fleet.version()?, 1);
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn a_later_command_takes_the_place_of_one_that_waits() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "")?;
    fleet.start()?;
    assert_eq!(came(&fleet.ask("second", &fleet.release(2, 0)?)?), DONE);
    let third = fleet.release(3, 0)?;
    fleet.server.kill();
    fleet.centre.send("third", &third, false)?;
    fleet.centre.ack("third", 1, &fleet.station)?;
    // The way back needs no server, and is not held up by what does.
    let back = json!({ "name": "model_rollback", "bundle_sha256": fleet.first });
    assert_eq!(came(&fleet.ask("back", &back)?), DONE);
    assert_eq!(came(&fleet.last_word("third")?), failed(CommandReason::Superseded));
    assert_eq!(fleet.version()?, 1);
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn a_bundle_whose_test_kills_the_service_is_given_up() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "")?;
    let install = fleet.release(2, 0)?;
    fleet.centre.send("deadly", &install, true)?;
    for _ in 0..3 {
        fleet.station.start_halting_at("model.testing")?;
        fleet.station.wait_for_line("edge::transition model.testing", LONG)?;
        fleet.station.kill();
    }
    fleet.start()?;
    assert_eq!(came(&fleet.last_word("deadly")?), failed(CommandReason::SelfTestFailed));
    assert_eq!(fleet.version()?, 1);
    assert!(!fleet.station.state_dir().join("models/incoming").exists());
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn what_the_disk_has_spoilt_comes_again() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "")?;
    fleet.start()?;
    let install = fleet.release(2, 0)?;
    assert_eq!(came(&fleet.ask("second", &install)?), DONE);
    let back = json!({ "name": "model_rollback", "bundle_sha256": fleet.first });
    assert_eq!(came(&fleet.ask("back", &back)?), DONE);
    let models = fleet.station.state_dir().join("models");
    fs::write(models.join("b").join(MODEL_FILE), b"rust")?;
    assert_eq!(came(&fleet.ask("again", &install)?), DONE);
    assert_eq!(fleet.version()?, 2);
    assert!(fleet.station.stop()?.success());

    // A whole one that nobody installed is not used, nor started over and over.
    fs::remove_dir_all(models.join("b"))?;
    bin::succeed(std::process::Command::new("cp").arg("-rT").arg(e2e::demo_bundle()).arg(models.join("b")))?;
    fleet.station.start()?;
    assert_eq!(fleet.station.wait_for_exit(LONG)?.code(), Some(65), "{}", fleet.station.tail());
    assert!(fleet.station.tail().contains("does not hold the bundle that was installed there"));
    fleet.edge(&["model", "rollback"], &[])?;
    assert_eq!(fleet.version_after_start()?, 1);
    assert!(fleet.station.stop()?.success());
    Ok(())
}

#[test]
fn the_model_is_not_changed_while_the_service_could_not_start_anew() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "")?;
    fleet.start()?;
    let right = fs::read_to_string(fleet.station.config())?;
    fs::write(fleet.station.config(), format!("{right}\n[a_section_of_another_version]\n"))?;
    let install = fleet.release(2, 0)?;
    fleet.centre.send("careful", &install, false)?;
    fleet.station.wait_for_line("the service cannot start anew", LONG)?;
    assert_eq!(fleet.version()?, 1, "it goes on serving");
    fs::write(fleet.station.config(), right)?;
    assert_eq!(came(&fleet.last_word("careful")?), DONE);
    assert_eq!(fleet.version()?, 2);
    assert!(fleet.station.stop()?.success());
    Ok(())
}

/// The newest status, and its reason.
fn status(fleet: &Fleet) -> Option<StationStatus> {
    let newest = fleet.centre.collector.messages().into_iter().rfind(|m| m.topic.ends_with("/status"))?;
    serde_json::from_slice(&newest.payload).ok()
}

#[test]
fn a_bundle_with_which_the_station_does_not_become_ready_is_given_up() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("", "")?;
    // Damaged between its test and its first start.
    let install = fleet.release(2, 0)?;
    fleet.station.start_failing("model.on_trial=sleep(4000)")?;
    assert_eq!(fleet.version()?, 1);
    fleet.centre.send("damaged", &install, false)?;
    fleet.station.wait_for_line("edge::transition model.on_trial", LONG)?;
    let model = fleet.station.state_dir().join("models/b").join(MODEL_FILE);
    fs::write(&model, b"rust")?;
    let ack = fleet.last_word("damaged")?;
    assert_eq!(came(&ack), failed(CommandReason::ModelReturned), "{ack:?}");
    assert_eq!(fleet.version()?, 1);
    let degraded = (Presence::Degraded, "model_returned".to_owned());
    wait::until("the centre to know", LONG, || {
        status(&fleet).filter(|said| (said.status, said.reason.clone()) == degraded)
    })?;
    let doctor = bin::output(
        std::process::Command::new(bin::edge()?)
            .args(["doctor", "--json", "--config"])
            .arg(fleet.station.config()),
    )?;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(text.contains("returned from brightness version 2"), "{text}");
    assert!(fleet.station.stop()?.success());

    // One with which the process dies: the supervisor starts it again, until it has had its chances.
    let install = fleet.release(3, 0)?;
    fleet.centre.send("deadly", &install, true)?;
    fleet.station.start_failing("model.on_trial=panic")?;
    for _ in 0..2 {
        assert!(!fleet.station.wait_for_exit(LONG)?.success());
        fleet.station.start_failing("model.on_trial=panic")?;
    }
    assert!(!fleet.station.wait_for_exit(LONG)?.success());
    fleet.start()?;
    let ack = fleet.last_word("deadly")?;
    assert_eq!(came(&ack), failed(CommandReason::ModelReturned), "{ack:?}");
    assert!(ack.detail.context("detail")?.contains("started 3 times"));
    assert_eq!(fleet.version()?, 1);

    // A good one ends the trouble.
    assert_eq!(came(&fleet.ask("good", &fleet.release(4, 0)?)?), DONE);
    assert_eq!(fleet.version()?, 4);
    wait::until("the centre to know", Duration::from_secs(90), || {
        status(&fleet).filter(|said| said.status == Presence::Online)
    })?;
    assert!(fleet.station.stop()?.success());
    Ok(())
}
