//! A command key is replaced without a moment in which no command, or a wrong one, is taken.

use std::fs;

use contract::command::{CommandOutcome, CommandReason};
use e2e::minisign::Signer;
use e2e::station::{NAME, Station};

use crate::centre::{Came, Centre, DONE, body, ping, signed};

/// Restarts the station with other keys.
fn trust(station: &mut Station, keys: &[&Signer]) -> anyhow::Result<()> {
    let listed: Vec<&str> = keys.iter().map(|signer| signer.public_key()).collect();
    let text = fs::read_to_string(station.config())?;
    let lines = text.lines().map(|line| match line.starts_with("command_keys") {
        true => format!("command_keys = {listed:?}\n"),
        false => format!("{line}\n"),
    });
    fs::write(station.config(), lines.collect::<String>())?;
    assert!(station.stop()?.success());
    station.start()
}

#[test]
fn both_keys_count_during_the_change_and_one_before_and_after() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let (old, new) = (&centre.signer, &Signer::new()?);
    let mut station = centre.station(&["ping"])?;
    station.start()?;
    let ask = |id: &str, signer: &Signer, station: &Station| -> anyhow::Result<Came> {
        centre.wait_until_subscribed(station)?;
        let message = signed(signer, &body(NAME, id, 60, &ping()))?;
        centre.publish(&format!("ping/{id}"), message.as_bytes(), false)?;
        let ack = centre.ack(id, 1, station)?;
        Ok((ack.outcome, ack.reason))
    };
    let unknown = (CommandOutcome::Refused, Some(CommandReason::UnknownKey));
    assert_eq!(ask("old-1", old, &station)?, DONE);
    assert_eq!(ask("new-1", new, &station)?, unknown);
    trust(&mut station, &[old, new])?;
    assert_eq!(ask("old-2", old, &station)?, DONE);
    assert_eq!(ask("new-2", new, &station)?, DONE);
    trust(&mut station, &[new])?;
    assert_eq!(ask("old-3", old, &station)?, unknown);
    assert_eq!(ask("new-3", new, &station)?, DONE);
    let by: Vec<Option<String>> = ["old-2", "new-2", "new-3"]
        .iter()
        .map(|id| Ok(centre.acks(id)?.remove(0).signed_by))
        .collect::<anyhow::Result<_>>()?;
    assert!(by[0].is_some() && by[0] != by[1] && by[1] == by[2], "{by:?}");
    assert!(station.stop()?.success());
    Ok(())
}
