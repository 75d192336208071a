//! The whole way: phantoms -> trained -> pruned -> exported -> a running station -> MQTT, and the station's
//! answers are the trainer's.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use contract::result::Outcome;
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::station::{Setup, Station};
use e2e::{bin, sorted_entries};
use serde_json::Value;

/// Both engines run f32; what is left is the order of additions.
const TOLERANCE: f64 = 1e-3;

fn trainer(dir: &Path, arguments: &str) -> anyhow::Result<String> {
    let mut command = Command::new(bin::trainer()?);
    command.current_dir(dir).args(arguments.split_whitespace());
    bin::succeed(&mut command).with_context(|| format!("trainer {arguments}"))
}

#[test]
fn a_study_goes_all_the_way() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let work = dir.path();
    trainer(work, "synth --out data --studies 40 --seed 7 --size 96")?;
    trainer(work, "index --data data --out index")?;
    trainer(work, "train --data data --run dense --size 64 --epochs 1 --device cpu --batch 16")?;
    trainer(work, "prune --run dense --data data --out pruned --macs 0.4 --epochs 1")?;
    trainer(work, "export --run pruned --data data --out bundle")?;
    let evaluated: Value =
        serde_json::from_str(&trainer(work, "evaluate --bundle bundle --data data --split valid --json")?)?;

    let manifest: Value = serde_json::from_slice(&std::fs::read(work.join("bundle/manifest.json"))?)?;
    let share = manifest["training"]["macs_share"].as_f64().context("macs_share")?;
    assert!(share <= 0.4, "pruned to {share} of the multiplications, asked for 0.4");

    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut setup = Setup::new(broker.port());
    setup.bundle = Some(work.join("bundle"));
    let mut station = Station::new(&setup)?;
    station.start()?;

    // One study at a time: the station numbers them in the order they come, which is how they are told apart
    // here, since nothing that leaves the station names a file.
    let studies = evaluated["studies"].as_array().context("studies")?;
    assert!(studies.len() >= 6, "{} validation studies", studies.len());
    let mut expected = BTreeMap::new();
    for (index, study) in studies.iter().enumerate() {
        let path = study["path"].as_str().context("path")?;
        let study_type = study["type"].as_str().context("type")?;
        let files = sorted_entries(&work.join("data").join(path))?;
        station.drop_study(study_type, &format!("study{index}"), &files)?;
        let results =
            collector.wait_for_results(index + 1, Duration::from_secs(60)).context(station.tail())?;
        let newest = results.last().context("no result")?.clone();
        expected.insert(newest.study.number.clone().context("number")?, study.clone());
    }

    let results = collector.wait_for_results(studies.len(), Duration::from_secs(10))?;
    assert_eq!(results.len(), studies.len());
    for result in results {
        let number = result.study.number.clone().context("number")?;
        let study = &expected[&number];
        assert_eq!(result.outcome, Outcome::Scored, "{number}: {:?}", result.reason);
        assert_eq!(result.study.study_type.as_ref().map(|t| t.as_str()), study["type"].as_str());
        let (here, there) = (result.study.probability, study["probability"].as_f64());
        let (here, there) = (here.context("probability")?, there.context("probability")?);
        assert!((here - there).abs() <= TOLERANCE, "{number}: station {here}, trainer {there}");
        let views = study["views"].as_array().context("views")?;
        assert_eq!(result.views.len(), views.len(), "{number}");
        for (view, expected) in result.views.iter().zip(views) {
            let (here, there) = (view.logit.context("logit")?, expected["logit"].as_f64().context("logit")?);
            assert!((here - there).abs() <= TOLERANCE * there.abs().max(1.0), "{number}: {here} {there}");
        }
    }
    assert!(station.stop()?.success());
    Ok(())
}
