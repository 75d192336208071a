//! `edge outbox`: the same over the running service and on the store itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use contract::result::StudyResult;
use e2e::broker::Broker;
use e2e::made::study;
use e2e::sorted_entries;
use e2e::station::{NAME, Setup, Station};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{json, run, stderr, succeed};

const LONG: Duration = Duration::from_secs(60);

/// A station whose broker is away, with two results that wait.
fn waiting(dir: &Path) -> anyhow::Result<(Broker, Station)> {
    let broker = Broker::start_stopped()?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    for number in 0..2 {
        let made = study(dir, "XR_WRIST", &format!("study{number}"), 1, number)?;
        station.drop_study(made.study_type, &made.name, &made.files)?;
    }
    station.wait_for_count("close.committed", 2, LONG)?;
    Ok((broker, station))
}

fn seqs(rows: &Value) -> Vec<u64> {
    rows.as_array().into_iter().flatten().filter_map(|row| row["seq"].as_u64()).collect()
}

/// Checks every file against the manifest, and that nothing else is there; gives the results by `seq`.
fn results_in(dir: &Path) -> anyhow::Result<Vec<(u64, StudyResult)>> {
    let manifest: Value = serde_json::from_slice(&fs::read(dir.join("manifest.json"))?)?;
    let mut named = BTreeSet::from(["manifest.json".to_owned()]);
    let mut found = Vec::new();
    for entry in manifest["results"].as_array().context("results")? {
        let name = entry["file"].as_str().context("file")?;
        let bytes = fs::read(dir.join(name))?;
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry["sha256"], sha256.as_str(), "{name}");
        let result: StudyResult = serde_json::from_slice(&bytes)?;
        let delivery = result.delivery.clone().context("delivery")?;
        assert_eq!((delivery.station.as_str(), entry["seq"].as_u64()), (NAME, Some(delivery.seq)));
        named.insert(name.to_owned());
        found.push((delivery.seq, result));
    }
    let there: BTreeSet<String> = sorted_entries(dir)?.iter().map(|path| e2e::name(path)).collect();
    assert_eq!(there, named);
    Ok(found)
}

#[test]
fn results_are_carried_away_while_the_service_runs_and_while_it_does_not() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut broker, mut station) = waiting(&dir.path().join("made"))?;
    let config = station.config().to_owned();
    let stick = dir.path().join("stick");
    fs::create_dir(&stick)?;
    let to = stick.to_str().context("path")?;

    assert_eq!(seqs(&json("outbox list", &config, &[])?), [1, 2]);
    let running = json("outbox export", &config, &["--to", to])?;
    assert_eq!((&running["results"], &running["delivered"]), (&Value::from(2), &Value::Null));
    let first = results_in(Path::new(running["dir"].as_str().context("dir")?))?;

    assert!(station.stop()?.success());
    let stopped = json("outbox export", &config, &["--to", to, "--delivered"])?;
    assert_eq!(stopped["delivered"], 2);
    let second = results_in(Path::new(stopped["dir"].as_str().context("dir")?))?;
    assert_eq!(first, second, "both ways give the same");
    assert_eq!(first.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(sorted_entries(&stick)?.len(), 2);
    assert_eq!(json("outbox list", &config, &[])?, Value::Array(Vec::new()));
    let text = succeed("outbox export", &config, &["--to", to])?;
    assert!(text.contains("nothing waits"), "{text}");

    // What was carried away is not sent once the broker is there; what comes later is.
    station.start()?;
    let collector = {
        broker.restart()?;
        e2e::collector::Collector::start(broker.port())?
    };
    let made = study(&dir.path().join("made"), "XR_WRIST", "later", 1, 9)?;
    station.drop_study(made.study_type, &made.name, &made.files)?;
    collector.wait_for_results(1, LONG).context(station.tail())?;
    assert_eq!(collector.results_by_key()?.keys().map(|(_, seq)| *seq).collect::<Vec<_>>(), [3]);
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn delivered_by_hand_works_over_the_service_too() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_broker, station) = waiting(&dir.path().join("made"))?;
    let to = dir.path().to_str().context("path")?;
    let text = succeed("outbox export", station.config(), &["--to", to, "--delivered"])?;
    assert!(
        text.contains("2 results written and compared") && text.contains("2 taken for delivered"),
        "{text}"
    );
    let text = succeed("outbox list", station.config(), &[])?;
    assert!(text.contains("nothing waits"), "{text}");
    Ok(())
}

#[test]
fn a_stick_that_is_not_there_loses_nothing() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (_broker, station) = waiting(dir.path())?;
    let output = run("outbox export", station.config(), &["--to", "/nowhere/stick", "--delivered"])?;
    assert_eq!(output.status.code(), Some(74));
    assert!(stderr(&output).contains("check that the stick is there"), "{}", stderr(&output));
    let text = succeed("outbox list", station.config(), &[])?;
    assert!(text.contains("2 wait, 0 refused") && text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(succeed("outbox retry", station.config(), &[])?.starts_with("0 refused results"));
    Ok(())
}

#[test]
fn a_station_that_never_ran_is_said_to() -> anyhow::Result<()> {
    let station = Station::new(&Setup::new(1))?;
    let output = run("outbox list", station.config(), &[])?;
    assert_eq!(output.status.code(), Some(74));
    assert!(stderr(&output).contains("start the service once"), "{}", stderr(&output));
    let output = run("outbox list", Path::new("/nowhere/edge.toml"), &[])?;
    assert_eq!(output.status.code(), Some(66));
    Ok(())
}
