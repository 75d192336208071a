//! Another bundle by command: fetched from a real web server, tested, put to use while results flow, and given up when the
//! station does not become ready with it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use contract::bundle::MODEL_FILE;
use contract::command::{CommandOutcome, CommandReason};
use contract::result::{Presence, StationStatus};
use e2e::release::BALLAST;
use e2e::{bin, wait};
use serde_json::{Value, json};

use crate::LONG;
use crate::centre::{DONE, tail};
use crate::releases::{Fleet, came, failed};

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
        assert_eq!(done.map(|ack| ack.at).collect::<BTreeSet<_>>().len(), 1, "{step}");
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
    assert!(
        ballast.len() >= 2 && resumed + 1 >= ballast.len() && ballast[ballast.len() - 1].starts_with("206"),
        "{requests:#?}"
    );
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
    bin::succeed(Command::new("cp").arg("-rT").arg(e2e::demo_bundle()).arg(models.join("b")))?;
    fleet.station.start()?;
    assert_eq!(fleet.station.wait_for_exit(LONG)?.code(), Some(65), "{}", fleet.station.tail());
    assert!(fleet.station.tail().contains("does not hold the bundle that was installed there"));
    fleet.edge(&["model", "rollback"], &[])?;
    assert_eq!(fleet.version_after_start()?, 1);
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
        Command::new(bin::edge()?).args(["doctor", "--json", "--config"]).arg(fleet.station.config()),
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
