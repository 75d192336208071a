//! Hundreds of files at once, good and bad, and a power cut in the midst of them: each ends in one outcome that is
//! seen.
//! `scripts/bench-station.py --files 10000` is the same at full size, with figures.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use contract::result::Outcome;
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::dcmtk::{self, Made};
use e2e::made::{black_png, pgm};
use e2e::station::{Setup, Station};
use e2e::wait;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(240);
/// Files of each kind.
const EACH: u32 = 40;
/// What the station may have more than when it was idle, in MiB: less than the samples of the large image.
const GROWTH_MAX_MIB: u64 = 120;

/// Writes files of every kind under a folder and says how many are to come out scored and how many rejected.
fn fill(spool: &Path) -> anyhow::Result<(usize, usize)> {
    let put = |name: &[u8], bytes: &[u8]| -> anyhow::Result<()> {
        let path = spool.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().context("parent")?)?;
        Ok(fs::write(path, bytes)?)
    };
    let made = tempfile::tempdir()?;
    for index in 0..EACH {
        let good = pgm(300, 240, index);
        // Folders named in Latin-1, differing in that character alone.
        let name = [b"XR_WRIST/M".as_slice(), &[0xa1 + index as u8], b"ller/1.pgm"].concat();
        put(&name, &good)?;
        // The same again: another view of the same study, and a study of one view.
        if index % 2 == 0 {
            put(format!("XR_HAND/again {index}.pgm").as_bytes(), &good)?;
        }
        put(format!("XR_ELBOW/empty{index}/1.png").as_bytes(), b"")?;
        put(format!("XR_ELBOW/text{index}.dcm").as_bytes(), format!("Dear doctor {index},\n").as_bytes())?;
        put(format!("letter {index}.png").as_bytes(), format!("%PDF-1.7 {index}").as_bytes())?;
        put(format!("XR_FOREARM/cut{index}/1.pgm").as_bytes(), &good[..good.len() / 2])?;
    }
    for index in 0..8 {
        let made = dcmtk::make(made.path(), "one", Made::wrist(&format!("1.2.826.0.1.{index}"), index))?;
        fs::rename(made, spool.join(format!("{index}.dcm")))?;
    }
    put(b"XR_SHOULDER/huge/1.png", &black_png(14_286, 14_000)?)?;
    put(b"XR_SHOULDER/deep/1/2/3/1.pgm", &pgm(300, 240, 1000))?;
    let scored = (EACH + EACH / 2 + 8 + 1) as usize;
    let rejected = (4 * EACH + 1) as usize;
    Ok((scored, rejected))
}

/// What is neither a file nor a study: left where it is, and said.
fn litter(spool: &Path, outside: &Path) -> anyhow::Result<UnixListener> {
    fs::create_dir_all(spool.join("XR_HAND/no files in it/either"))?;
    fs::create_dir_all(spool.join("holiday"))?;
    symlink(outside, spool.join("XR_HAND/link.png"))?;
    symlink(spool, spool.join("XR_HAND/loop"))?;
    Ok(UnixListener::bind(spool.join("XR_HAND/socket.png"))?)
}

/// Every image's state, by image id.
fn images(station: &Station) -> anyhow::Result<BTreeMap<String, String>> {
    let mut images = BTreeMap::new();
    let mut before = None;
    loop {
        let page = before.map_or_else(String::new, |before: i64| format!("&before={before}"));
        let page = station.ask("GET", &format!("/studies?limit=200{page}"), &Value::Null)?.json()?;
        for study in page["studies"].as_array().context("studies")? {
            for image in study["images"].as_array().context("images")? {
                let text = |key: &str| image[key].as_str().unwrap_or_default().to_owned();
                images.insert(text("image_id"), text("state"));
            }
        }
        before = page["next"].as_i64();
        if before.is_none() {
            return Ok(images);
        }
    }
}

#[test]
fn hundreds_of_files_at_once_each_end_in_one_outcome() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    station.wait_for_line("ready;", LONG)?;
    let idle_kib = station.memory_kib()?;

    let elsewhere = tempfile::tempdir()?;
    let outside = elsewhere.path().join("outside.png");
    fs::write(&outside, pgm(300, 240, 2000))?;
    let staging = station.spool().with_extension("staging");
    fs::create_dir(&staging)?;
    let (scored, rejected) = fill(&staging)?;
    let _socket = litter(&staging, &outside)?;
    fs::remove_dir(station.spool())?;
    fs::rename(&staging, station.spool())?;

    // The power goes while files come in and are scored.
    station.wait_for_count("accept.committed", 60, LONG)?;
    let before = images(&station)?.len();
    station.kill();
    station.start()?;
    station.wait_for_line("ready;", LONG)?;
    assert!(images(&station)?.len() >= before, "something that was accepted is gone");

    let mut slowest = Duration::ZERO;
    let mut peak_kib = 0;
    let done = wait::until("every image to be scored or rejected", LONG, || {
        let began = Instant::now();
        let said = station.ask("GET", "/station", &Value::Null).ok()?.json().ok()?;
        slowest = slowest.max(began.elapsed());
        peak_kib = peak_kib.max(station.memory_kib().ok()?);
        let images = images(&station).ok()?;
        let open = station.ask("GET", "/studies?open=true&limit=1", &Value::Null).ok()?.json().ok()?;
        let all = images.len() >= scored + rejected && open["studies"].as_array()?.is_empty();
        (all && said["images_waiting"] == 0).then_some(images)
    });
    let images = done.with_context(|| station.tail())?;
    let count = |state: &str| images.values().filter(|found| *found == state).count();
    assert_eq!((count("scored"), count("rejected"), images.len()), (scored, rejected, scored + rejected));
    println!(
        "{} images; idle {} MiB, most {} MiB; slowest answer {} ms",
        images.len(),
        idle_kib >> 10,
        peak_kib >> 10,
        slowest.as_millis()
    );
    assert!(peak_kib < idle_kib + (GROWTH_MAX_MIB << 10), "{idle_kib} KiB became {peak_kib} KiB");
    assert!(slowest < Duration::from_secs(3), "an answer took {slowest:?}");

    // Every study has a result, every view is in one, and none is there twice.
    let published = |what: &str, enough: &dyn Fn(usize) -> bool| {
        wait::until(what, LONG, || {
            let results = collector.results_by_key().ok()?;
            let views = results.values().map(|result| result.views.len()).sum();
            enough(views).then_some(results)
        })
    };
    let results = published("every view to be published", &|views| views >= images.len())?;
    let mut seen = BTreeMap::new();
    for result in results.values() {
        assert_ne!(result.outcome, Outcome::Failed, "{:?}", result.reason);
        assert_eq!(result.study.revision, 1, "{:?}", result.study.number);
        for view in &result.views {
            *seen.entry(view.image_id.clone().context("image_id")?).or_insert(0) += 1;
        }
    }
    assert!(seen.keys().eq(images.keys()) && seen.values().all(|times| *times == 1), "{seen:?}");

    // What is no file lies where it lay, and is said.
    let left = |name: &str| station.spool().join(name).symlink_metadata().is_ok();
    assert!(["XR_HAND/link.png", "XR_HAND/loop", "XR_HAND/socket.png", "holiday"].into_iter().all(left));
    assert!(outside.exists());
    let said = station.ask("GET", "/station", &Value::Null)?.json()?;
    assert_eq!((&said["presence"], &said["reason"]), (&"degraded".into(), &"files_unreadable".into()));
    station.wait_for_line("1 folders are no study type", LONG)?;
    let rest: Vec<PathBuf> = files(&station.spool());
    assert!(rest.is_empty(), "{rest:?}");
    assert!(station.stop()?.success());
    Ok(())
}

/// The files below a folder; links are not followed.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = e2e::sorted_entries(dir).unwrap_or_default();
    let kind = |path: &PathBuf| path.symlink_metadata().map(|facts| facts.file_type());
    let (mut found, mut folders) = (Vec::new(), Vec::new());
    for path in entries {
        match kind(&path) {
            Ok(kind) if kind.is_file() => found.push(path),
            Ok(kind) if kind.is_dir() => folders.push(path),
            _ => {}
        }
    }
    found.extend(folders.iter().flat_map(|folder| files(folder)));
    found
}
