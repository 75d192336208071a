//! `edge study`: a study from opening to forgetting, over the running service.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use e2e::broker::Broker;
use e2e::demo_studies;
use e2e::made;
use e2e::station::{Setup, Station};
use e2e::wait::until;

use crate::{json, run, stderr, succeed};

#[test]
fn a_study_is_taken_answered_and_forgotten() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    station.wait_for_line("ready;", Duration::from_secs(60))?;
    let config = station.config().to_owned();
    let (study_type, _, files) = demo_studies()?.remove(0);
    let file = files[0].to_str().context("path")?;

    let number = succeed("study open", &config, &[&study_type, "--reference", "bed 7"])?;
    let number = number.trim();
    assert!(number.contains('-'), "{number}");
    let added = succeed("study capture", &config, &[number, "--file", file])?;
    assert!(added.starts_with(&format!("{number}: image ")), "{added}");
    let closed = succeed("study close", &config, &[number, "--wait"])?;
    assert!(closed.starts_with(&format!("{number}: ")) && closed.contains("probability"), "{closed}");
    assert!(closed.contains("DEMONSTRATION MODEL - decision support only"), "{closed}");

    let shown = succeed("study show", &config, &[number])?;
    assert!(shown.contains("reference  bed 7") && shown.contains(", closed"), "{shown}");
    let list = succeed("study list", &config, &["--query", "bed 7"])?;
    assert!(list.lines().count() == 2 && list.contains(number), "{list}");
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    assert_eq!(succeed("study list", &config, &["--open"])?, "no study\n");

    let again = json("study reopen", &config, &[number])?;
    assert_eq!((&again["open"], &again["revision"]), (&true.into(), &1.into()));
    let output = run("study purge", &config, &[number, "--yes"])?;
    assert_eq!(output.status.code(), Some(6), "an open study cannot be purged: {}", stderr(&output));
    succeed("study close", &config, &[number, "--wait"])?;
    let output = run("study purge", &config, &[number])?;
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
    succeed("study purge", &config, &[number, "--yes", "--unsent"])?;
    let output = run("study show", &config, &[number])?;
    assert_eq!(output.status.code(), Some(66), "{}", stderr(&output));
    assert!(stderr(&output).contains(number), "{}", stderr(&output));
    Ok(())
}

/// A pale view is flagged; it is scored when somebody says so, and dropped again.
#[test]
fn a_flagged_view_is_overruled_and_a_view_is_dropped() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    station.wait_for_line("ready;", Duration::from_secs(60))?;
    let config = station.config().to_owned();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pale.pgm");
    fs::write(&file, made::pale())?;

    let number = succeed("study open", &config, &["XR_ELBOW"])?;
    let number = number.trim();
    succeed("study capture", &config, &[number, "--file", file.to_str().context("path")?])?;
    let image = |state: &str| -> anyhow::Result<serde_json::Value> {
        until(&format!("the image to be {state}"), Duration::from_secs(30), || {
            let image = json("study show", &config, &[number]).ok()?["images"][0].clone();
            (image["state"] == state).then_some(image)
        })
    };
    let flagged = image("rejected")?;
    assert_eq!(flagged["overrulable"], true, "{flagged}");
    let image_id = flagged["image_id"].as_str().context("image_id")?;
    let output = run("study overrule", &config, &[image_id, "--initials", "far too long"])?;
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let said = succeed("study overrule", &config, &[image_id, "--initials", "jd"])?;
    assert!(said.starts_with(&format!("{number}: image {image_id} waits to be scored; ")), "{said}");
    let scored = image("scored")?;
    assert_eq!(scored["overruled"][0], flagged["rejected"]["reason"], "{scored}");

    let said = succeed("study drop", &config, &[image_id])?;
    assert!(said.contains(&format!("`edge study close {number}`")), "{said}");
    image("dropped")?;
    let output = run("study drop", &config, &[image_id])?;
    assert_eq!(output.status.code(), Some(66), "{}", stderr(&output));
    Ok(())
}

#[test]
fn without_the_service_every_command_says_so() -> anyhow::Result<()> {
    let station = Station::new(&Setup::new(1))?;
    for (command, more) in
        [("study list", vec![]), ("study show", vec!["WRI-0001"]), ("study open", vec!["XR_WRIST"])]
    {
        let output = run(command, station.config(), &more)?;
        assert_eq!(output.status.code(), Some(69), "{command}");
        assert!(stderr(&output).contains("systemctl start ulna-edge"), "{command}: {}", stderr(&output));
    }
    let output = run("study capture", station.config(), &["WRI-0001", "--file", "/nowhere.png"])?;
    assert_eq!(output.status.code(), Some(66), "{}", stderr(&output));
    Ok(())
}
