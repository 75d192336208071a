//! The digitiser's folder on a disk of its own, which is pulled out and which runs full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use contract::radiograph::RejectReason;
use contract::result::Outcome;
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::made::pgm;
use e2e::station::{Setup, Station};
use e2e::wait;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);

/// A file system, mounted on a folder until it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// In memory, and empty; `None`, after a line that says so, where that is not allowed.
    fn mount(dir: &Path, size: &str) -> Option<Self> {
        Self::by(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], dir)
    }

    /// Puts the one that is mounted elsewhere here too, with what lies on it.
    fn plug_in(&self, dir: &Path) -> Option<Self> {
        Self::by(&["--bind", self.0.to_str()?], dir)
    }

    fn by(arguments: &[&str], dir: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(dir).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir.to_owned()));
        }
        println!("SKIPPED: file systems cannot be mounted here");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever has something open on it keeps that: so goes a disk that is pulled out.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn wait_for_reason(station: &Station, presence: &str, reason: &str) -> anyhow::Result<()> {
    wait::until(&format!("the station to be {presence} ({reason})"), LONG, || {
        let said = station.ask("GET", "/station", &Value::Null).ok()?.json().ok()?;
        (said["presence"] == presence && said["reason"] == reason).then_some(())
    })
    .with_context(|| station.tail())
}

#[test]
fn a_disk_pulled_out_in_mid_study_keeps_the_study_open_until_it_is_back() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    let elsewhere = tempfile::tempdir()?;
    let Some(disk) = Disk::mount(elsewhere.path(), "8m") else { return Ok(()) };
    let Some(plugged) = disk.plug_in(&station.spool()) else { return Ok(()) };
    station.start()?;
    station.wait_for_line("ready;", LONG)?;
    let study = elsewhere.path().join("XR_WRIST/one");
    let put = |name: &str, seed| -> anyhow::Result<()> {
        fs::create_dir_all(&study)?;
        fs::write(study.join(format!(".{name}")), pgm(300, 240, seed))?;
        Ok(fs::rename(study.join(format!(".{name}")), study.join(name))?)
    };
    put("1.pgm", 1)?;
    station.wait_for_count("accept.committed", 1, LONG)?;
    drop(plugged);
    wait_for_reason(&station, "degraded", "spool_unreadable")?;
    // Longer than a study is left alone for.
    std::thread::sleep(Duration::from_secs(4));
    let open = station.ask("GET", "/studies?open=true", &Value::Null)?.json()?;
    assert_eq!(open["studies"].as_array().map(Vec::len), Some(1), "{open}");

    put("2.pgm", 2)?;
    let Some(_plugged) = disk.plug_in(&station.spool()) else { return Ok(()) };
    let result = collector.wait_for_results(1, LONG).context(station.tail())?.remove(0);
    assert_eq!((result.outcome, result.views.len(), result.study.revision), (Outcome::Scored, 2, 1));
    wait_for_reason(&station, "online", "started")?;
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn a_file_cut_off_by_a_full_disk_is_rejected_and_comes_in_when_it_is_written_again() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    let Some(_disk) = Disk::mount(&station.spool(), "1m") else { return Ok(()) };
    station.start()?;
    station.wait_for_line("ready;", LONG)?;
    let study = station.spool().join("XR_WRIST/one");
    fs::create_dir_all(&study)?;
    let filler = station.spool().join(".filler");
    fs::write(&filler, vec![0; (1 << 20) - (48 << 10)])?;
    let image = pgm(300, 240, 1);
    // The digitiser's software leaves what it could write, as most do.
    assert!(fs::write(study.join("1.pgm"), &image).is_err(), "the disk is not full");
    let result = collector.wait_for_results(1, LONG).context(station.tail())?.remove(0);
    let reason = result.views[0].rejected.as_ref().map(|rejection| rejection.reason);
    assert_eq!((result.outcome, reason), (Outcome::Rejected, Some(RejectReason::Truncated)));

    fs::remove_file(&filler)?;
    fs::create_dir_all(&study)?;
    fs::write(study.join("1.pgm"), &image)?;
    let result = collector.wait_for_results(2, LONG).context(station.tail())?.remove(1);
    assert_eq!((result.outcome, result.study.revision), (Outcome::Scored, 2), "{:?}", result.reason);
    assert!(station.stop()?.success());
    Ok(())
}
