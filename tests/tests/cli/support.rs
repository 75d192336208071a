//! `edge support-bundle` holds nothing of a patient.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use e2e::broker::Broker;
use e2e::station::{Setup, Station};
use e2e::{bin, made, sorted_entries};
use serde_json::Value;

use crate::{json, succeed};

#[test]
fn nothing_of_a_patient_is_in_the_archive() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::start_stopped()?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    station.wait_for_line("ready;", Duration::from_secs(60))?;

    // In a folder's name, a file's name, a file that is no image, and what the technician calls a study.
    let image = dir.path().join("zanzibar_left_19710312.pgm");
    fs::write(&image, made::pgm(160, 128, 5))?;
    let broken = dir.path().join("quillon-report.dcm");
    fs::write(&broken, "Patient Quillon, MRN-77-1234")?;
    station.drop_study("XR_WRIST", "Okonkwo_Adaeze", &[image, broken])?;
    station.wait_for_count("close.committed", 1, Duration::from_secs(60))?;
    succeed("study open", station.config(), &["XR_ELBOW", "--reference", "Frau Meyersdottir bed 7"])?;
    let studies = json("study list", station.config(), &[])?;
    let numbers: Vec<&str> = studies["studies"]
        .as_array()
        .context("studies")?
        .iter()
        .filter_map(|s| s["number"].as_str())
        .collect();
    assert_eq!(numbers.len(), 2);
    let secrets = ["zanzibar", "19710312", "quillon", "Okonkwo", "Adaeze", "MRN-77", "Meyersdottir", "bed 7"];

    // They are in the store, or their absence from the archive would prove nothing.
    let mut stored: Vec<u8> = Vec::new();
    for file in sorted_entries(&station.state_dir())?.iter().filter(|path| path.is_file()) {
        stored.extend(fs::read(file)?);
    }
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for secret in secrets.iter().filter(|secret| !secret.starts_with("MRN")).chain(&numbers) {
        assert!(holds(&stored, secret), "{secret} is not even in the store");
    }

    let out = dir.path().join("support.tar.gz");
    succeed("support-bundle", station.config(), &["--out", out.to_str().context("path")?])?;
    let unpacked = dir.path().join("unpacked");
    fs::create_dir(&unpacked)?;
    bin::succeed(Command::new("tar").arg("xzf").arg(&out).arg("-C").arg(&unpacked))?;
    let folder = sorted_entries(&unpacked)?.remove(0);
    let names: Vec<String> = sorted_entries(&folder)?.iter().map(|path| e2e::name(path)).collect();
    assert_eq!(names, ["config.toml", "doctor.json", "log.txt", "store.json", "versions.json"]);
    for name in &names {
        let bytes = fs::read(folder.join(name))?;
        assert!(!bytes.is_empty(), "{name}");
        for secret in secrets.iter().chain(&numbers) {
            assert!(!holds(&bytes, secret), "{secret} stands in {name}");
        }
    }
    let store: Value = serde_json::from_slice(&fs::read(folder.join("store.json"))?)?;
    assert_eq!((&store["rows"]["studies"], &store["rows"]["images"]), (&2.into(), &2.into()), "{store:#}");
    assert!(!store["audit"].as_array().context("audit")?.is_empty());
    let doctor: Value = serde_json::from_slice(&fs::read(folder.join("doctor.json"))?)?;
    assert_eq!(doctor["verdict"], "fail", "the broker is down");
    Ok(())
}
