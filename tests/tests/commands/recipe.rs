//! What operators are given to send commands with: `deploy/commands/send.sh`.

use std::process::{Command, Output};

use anyhow::Context;
use contract::command::{CommandAck, CommandOutcome, CommandReason};
use e2e::station::NAME;
use e2e::{bin, repository};

use crate::centre::Centre;

/// Runs it with a command and options of its own.
fn send(centre: &Centre, options: &[&str], command: &str) -> anyhow::Result<Output> {
    let port = centre.broker.port().to_string();
    let mut script = Command::new(repository().join("deploy/commands/send.sh"));
    script.args(["-s", NAME]).args(options).arg(command).args(["--", "-h", "127.0.0.1", "-p", &port]);
    bin::output(&mut script)
}

fn ack(output: &Output) -> anyhow::Result<CommandAck> {
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

#[test]
fn the_script_for_operators_sends_what_a_station_takes() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let mut station = centre.station(&["ping", "diagnostics"])?;
    station.start()?;
    centre.wait_until_subscribed(&station)?;
    let key = centre.signer.secret_key();
    let key = key.to_str().context("key")?;

    let output = send(&centre, &["-k", key, "-i", "hello"], "{\"name\":\"ping\"}")?;
    let said = ack(&output)?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!((said.outcome, said.id.as_str()), (CommandOutcome::Done, "hello"));
    let again = send(&centre, &["-k", key, "-i", "hello"], "{\"name\":\"ping\"}")?;
    assert_eq!((ack(&again)?.outcome, again.status.code()), (CommandOutcome::Duplicate, Some(1)));
    let unsigned = send(&centre, &[], "{\"name\":\"ping\"}")?;
    assert_eq!(ack(&unsigned)?.reason, Some(CommandReason::Unsigned));

    // Kept by the broker until it is answered, and then taken back.
    let output = send(&centre, &["-k", key, "-r", "-m", "5"], "{\"name\":\"diagnostics\"}")?;
    let said = ack(&output)?;
    let found = said.diagnostics.context("diagnostics")?;
    assert_eq!(found.edge_version, env!("CARGO_PKG_VERSION"));
    assert!(found.machine.cores >= 1 && !found.machine.kernel.is_empty());
    let names: Vec<&str> = found.checks.iter().map(|check| check.name.as_str()).collect();
    assert!(names.contains(&"state.store") && names.contains(&"broker.topics"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("model")), "{names:?}");
    assert!(found.commands_refused >= 1);
    assert!(found.store.context("store")?.rows.contains_key("studies"));
    let late = e2e::collector::Collector::start_as(centre.broker.port(), "late")?;
    late.wait_for("the birth", crate::LONG, |message| message.topic.ends_with("/birth"))?;
    let kept: Vec<_> = late.messages().into_iter().filter(|m| m.topic.contains("/cmd/")).collect();
    assert!(kept.is_empty(), "{kept:?}");
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn diagnostics_hold_nothing_of_a_patient() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let mut station = centre.station(&["diagnostics"])?;
    station.start()?;
    centre.wait_until_subscribed(&station)?;
    let image = centre.dir().join("zanzibar_left_19710312.pgm");
    std::fs::write(&image, e2e::made::pgm(160, 128, 5))?;
    let broken = centre.dir().join("quillon-report.dcm");
    std::fs::write(&broken, "Patient Quillon, MRN-77-1234")?;
    station.drop_study("XR_WRIST", "Okonkwo_Adaeze", &[image, broken])?;
    let results = centre.collector.wait_for_results(1, crate::LONG).with_context(|| station.tail())?;
    let number = results[0].study.number.clone().context("number")?;
    centre.send("look", &serde_json::json!({ "name": "diagnostics" }), false)?;
    let said = centre.ack("look", 1, &station)?;
    assert_eq!(said.outcome, CommandOutcome::Done);
    let text = serde_json::to_string(&said)?;
    for secret in ["zanzibar", "19710312", "uillon", "Okonkwo", "Adaeze", "MRN-77", &number] {
        assert!(!text.contains(secret), "{secret} stands in {text}");
    }
    assert_eq!(said.diagnostics.and_then(|found| found.store).map(|store| store.rows["studies"]), Some(1));
    assert!(station.stop()?.success());
    Ok(())
}
