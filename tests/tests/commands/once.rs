//! A command is executed once, whatever is sent again and whenever the station dies; and it waits for the clock.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use contract::command::{CommandOutcome, CommandReason};
use e2e::station::Station;
use e2e::{bin, wait};
use serde_json::{Value, json};

use crate::LONG;
use crate::centre::{Centre, DONE, ping};

const CRASH_POINTS: [&str; 3] = ["command.taken", "command.before_commit", "command.answered"];

/// What the station's own audit says it executed.
fn audited(centre: &Centre, station: &Station) -> anyhow::Result<Vec<String>> {
    let out = centre.dir().join("support.tar.gz");
    let mut bundle = Command::new(bin::edge()?);
    bundle.arg("support-bundle").arg("--config").arg(station.config()).arg("--out").arg(&out);
    bin::succeed(&mut bundle)?;
    let text =
        bin::succeed(Command::new("tar").args(["xzOf"]).arg(&out).args(["--wildcards", "*/store.json"]))?;
    let store: Value = serde_json::from_str(&text)?;
    let events = store["audit"].as_array().context("audit")?.iter();
    let commands = events.filter(|event| event["event"] == "command");
    Ok(commands.filter_map(|event| event["detail"].as_str().map(str::to_owned)).collect())
}

#[test]
fn killed_at_every_step_a_retained_command_is_executed_once() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let mut station = centre.station(&["resend"])?;
    station.start()?;
    centre.result_of(&station, 1)?;
    assert!(station.stop()?.success());
    let resend = json!({ "name": "resend", "outbox_id": centre.outbox_id()?, "from_seq": 1, "to_seq": 1 });

    for (index, point) in CRASH_POINTS.into_iter().enumerate() {
        let id = point.replace('.', "-");
        centre.send(&id, &resend, true)?;
        station.start_halting_at(point)?;
        station.wait_for_line(&format!("edge::transition {point}"), LONG)?;
        station.kill();
        // Twice more, and the broker has kept the command each time.
        for round in 1..=2 {
            station.start()?;
            wait::until("a duplicate", LONG, || {
                let acks = centre.acks(&id).ok()?;
                let repeated = acks.iter().filter(|ack| ack.outcome == CommandOutcome::Duplicate).count();
                (repeated >= round).then_some(())
            })
            .with_context(|| format!("{point}\n{}", station.tail()))?;
            wait::until("the result once more", LONG, || {
                (centre.collector.results().ok()?.len() > index + 1).then_some(())
            })
            .with_context(|| format!("{point}\n{}", station.tail()))?;
            assert!(station.stop()?.success());
        }
        let acks = centre.acks(&id)?;
        let mut done: Vec<_> = acks.iter().filter(|ack| ack.outcome == CommandOutcome::Done).collect();
        // The same answer may come twice, two different ones may not.
        done.dedup();
        assert_eq!(done.len(), 1, "{point}: {acks:#?}");
        assert_eq!(done[0].resent.map(|resent| (resent.requeued, resent.missing)), Some((1, 0)), "{point}");
        centre.publish(&format!("resend/{id}"), b"", true)?;
        let expected = format!("resend {id}: done");
        let executed = audited(&centre, &station)?;
        assert_eq!(executed.iter().filter(|detail| **detail == expected).count(), 1, "{executed:?}");
    }
    // It came under its own number, each time with the same content, which `results_by_key` compares.
    assert_eq!(centre.collector.results_by_key()?.len(), 1);
    assert!(centre.collector.results()?.len() > CRASH_POINTS.len());
    Ok(())
}

#[test]
fn results_are_sent_again_while_others_are_on_their_way() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let mut station = centre.station(&["resend"])?;
    station.start()?;
    for number in 1..=4 {
        centre.result_of(&station, number)?;
    }
    let resend = json!({ "name": "resend", "outbox_id": centre.outbox_id()?, "from_seq": 2, "to_seq": 9 });
    assert_eq!(centre.ask("again", &resend, &station)?, DONE);
    let resent = centre.ack("again", 1, &station)?.resent.context("resent")?;
    assert_eq!((resent.requeued + resent.waiting, resent.missing), (3, 0));
    wait::until("three results once more", LONG, || {
        (centre.collector.results().ok()?.len() >= 7).then_some(())
    })
    .with_context(|| station.tail())?;
    centre.result_of(&station, 5)?;
    let seqs: Vec<u64> = centre
        .collector
        .results()?
        .iter()
        .filter_map(|result| result.delivery.as_ref().map(|delivery| delivery.seq))
        .collect();
    for (seq, times) in [(1, 1), (2, 2), (3, 2), (4, 2), (5, 1)] {
        assert_eq!(seqs.iter().filter(|found| **found == seq).count(), times, "{seq} in {seqs:?}");
    }
    // The newest result comes as `latest` after it came as a result; an older one's second time does not.
    let latest =
        || centre.collector.messages().into_iter().filter(|message| message.topic.ends_with("/latest"));
    let seqs = || -> anyhow::Result<Vec<Option<u64>>> {
        latest().map(|message| Ok(message.json()?["seq"].as_u64())).collect()
    };
    wait::until("the newest result as `latest`", LONG, || seqs().ok()?.contains(&Some(5)).then_some(()))
        .with_context(|| station.tail())?;
    assert!(seqs()?.is_sorted(), "{:?}", seqs()?);
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn commands_wait_while_the_clock_is_not_synchronised() -> anyhow::Result<()> {
    let centre = Centre::new()?;
    let mut station = centre.station(&["ping"])?;
    station.start_failing("clock.unsynchronised=return")?;
    centre.wait_until_subscribed(&station)?;
    centre.send("patient", &ping(), true)?;
    let waiting = centre.ack("patient", 1, &station)?;
    let expected = (CommandOutcome::Waiting, Some(CommandReason::ClockNotSynchronised), Some(false));
    assert_eq!((waiting.outcome, waiting.reason, waiting.clock_synchronised), expected);
    // It looks again every second, and says it once.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(centre.acks("patient")?.len(), 1);
    station.kill();

    station.start()?;
    let outcomes = || -> anyhow::Result<Vec<CommandOutcome>> {
        Ok(centre.acks("patient")?.iter().map(|ack| ack.outcome).collect())
    };
    wait::until("the command to be executed", LONG, || {
        outcomes().ok()?.contains(&CommandOutcome::Done).then_some(())
    })
    .with_context(|| station.tail())?;
    assert_eq!(outcomes()?.iter().filter(|outcome| **outcome == CommandOutcome::Done).count(), 1);
    assert_eq!(audited(&centre, &station)?, ["ping patient: done"]);
    assert!(station.stop()?.success());
    Ok(())
}
