//! Bundles that may not be used, and servers that do not give them: each has one answer, and results flow.

use std::fs;
use std::process::Command;

use anyhow::Context;
use contract::bundle::{BundleManifest, MODEL_FILE};
use contract::command::{CommandOutcome, CommandReason};
use e2e::bin;
use e2e::minisign::Signer;
use e2e::release::{self, BALLAST};
use e2e::station::Setup;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::LONG;
use crate::centre::DONE;
use crate::releases::{Fleet, came, failed};

/// A file that ends too early at a server that sends all of it each time.
#[test]
fn a_server_that_never_sends_it_all_is_given_up() -> anyhow::Result<()> {
    let mut fleet = Fleet::new("max_ranges 0;", "")?;
    fleet.start()?;
    let install = fleet.release(2, 50_000)?;
    fs::File::options().write(true).open(fleet.server.root().join("2").join(BALLAST))?.set_len(20_000)?;
    let at = Timestamp::now() + SignedDuration::from_secs(10);
    let ack = fleet.ask_until("short", &install, at)?;
    assert_eq!(came(&ack), (CommandOutcome::Expired, Some(CommandReason::Expired)));
    assert!(ack.detail.as_ref().context("detail")?.contains("20000 of 50000 bytes came"), "{ack:?}");
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
                let ahead = |manifest: &mut BundleManifest| {
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
    let mut fleet = Fleet::new("", "view_max_ms = 12\n")?;
    fleet.start()?;
    // The demonstration's network, which is a real one.
    let dir = fleet.server.root().join("2");
    bin::succeed(Command::new("cp").arg("-rT").arg(e2e::demo_bundle()).arg(&dir))?;
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
    let at = Timestamp::now() + SignedDuration::from_secs(10);
    let ack = fleet.ask_until("away", &install, at)?;
    assert_eq!(came(&ack), (CommandOutcome::Expired, Some(CommandReason::Expired)));
    let outcomes: Vec<_> = fleet.centre.acks("away")?.into_iter().map(|ack| ack.outcome).collect();
    assert_eq!(outcomes, [CommandOutcome::Running, CommandOutcome::Expired]);
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
