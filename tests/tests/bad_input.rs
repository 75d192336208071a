//! Every bad input gets one clear error that says what, why and what to do, and the rest goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use contract::radiograph::RejectReason;
use contract::result::{Outcome, StudyResult};
use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::infer::infer;
use e2e::made::{black_png, pgm};
use e2e::made_bundle;
use e2e::station::{Setup, Station};
use e2e::{bin, demo_bundle, sorted_entries};

const LONG: Duration = Duration::from_secs(60);

/// Name, content, how it is rejected, and a word that the error must contain.
type BadImage = (&'static str, Vec<u8>, RejectReason, &'static str);

/// Bad image files.
fn bad_images() -> anyhow::Result<Vec<BadImage>> {
    let mut png = include_bytes!("bad_input/grey.png").to_vec();
    png.truncate(png.len() * 2 / 3);
    let mut broken = pgm(128, 128, 1);
    broken.truncate(9000);
    Ok(vec![
        ("half.png", png, RejectReason::Truncated, "copy or export it again"),
        ("half.pgm", broken, RejectReason::Truncated, "copy or export it again"),
        ("huge.pgm", b"P5\n20000 20000\n255\n0000".to_vec(), RejectReason::TooLarge, "scale it down"),
        ("huge.png", black_png(14_286, 14_000)?, RejectReason::TooLarge, "scale it down"),
        (
            "text.png",
            b"Dear radiologist,\nsee attached.\n".to_vec(),
            RejectReason::NotAnImage,
            "not an image",
        ),
        ("nothing.png", Vec::new(), RejectReason::NotAnImage, "not an image"),
        ("icon.pgm", pgm(16, 16, 1), RejectReason::TooSmall, "too small"),
        ("blank.pgm", [&b"P5\n300 300\n255\n"[..], &[7; 90_000]].concat(), RejectReason::Blank, ""),
    ])
}

fn only_rejection(result: &StudyResult) -> anyhow::Result<(RejectReason, String)> {
    anyhow::ensure!(result.outcome == Outcome::Rejected, "outcome {:?}", result.outcome);
    anyhow::ensure!(result.answer.is_none() && result.study.probability.is_none());
    let rejected = result.views.first().and_then(|view| view.rejected.clone()).context("no rejection")?;
    Ok((rejected.reason, rejected.detail))
}

#[test]
fn infer_names_the_file_and_goes_on() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut paths = Vec::new();
    for (name, bytes, ..) in bad_images()? {
        fs::write(dir.path().join(name), bytes)?;
        paths.push(dir.path().join(name));
    }
    for (name, size) in [("empty", None), ("good.pgm", Some(300))] {
        let path = dir.path().join(name);
        match size {
            Some(side) => fs::write(&path, pgm(side, side, 3))?,
            None => fs::create_dir(&path)?,
        }
        paths.push(path);
    }
    paths.insert(0, dir.path().join("missing.png"));

    let inferred = infer(&demo_bundle(), &paths)?;
    assert_eq!(inferred.code, Some(3), "{}", inferred.stderr);
    assert_eq!(inferred.studies.len(), paths.len(), "{}", inferred.stderr);
    let by_name = |name: &str| {
        let found = inferred.studies.iter().find(|(input, _)| input.ends_with(name));
        found.map(|(_, result)| result).with_context(|| format!("no line for {name}"))
    };
    let complaint = |name: &str| {
        let found: Vec<&str> = inferred.stderr.lines().filter(|line| line.contains(name)).collect();
        assert_eq!(found.len(), 1, "one error about {name}: {}", inferred.stderr);
        found[0].to_owned()
    };
    for (name, _, reason, hint) in bad_images()? {
        let (found, detail) = only_rejection(by_name(name)?).context(name)?;
        assert_eq!(found, reason, "{name}: {detail}");
        assert!(complaint(name).contains(hint), "{name}: {}", complaint(name));
        assert!(!detail.contains(name), "a payload must not hold a file's name: {detail}");
    }
    for (name, hint) in [("missing.png", "check the path"), ("empty", "holds no image")] {
        assert_eq!(by_name(name)?.outcome, Outcome::Rejected, "{name}");
        assert!(complaint(&format!("/{name}")).contains(hint), "{name}: {}", complaint(name));
    }
    assert_eq!(by_name("good.pgm")?.outcome, Outcome::Scored);
    Ok(())
}

#[test]
fn a_station_rejects_with_a_reason_and_goes_on_serving() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut setup = Setup::new(broker.port());
    setup.extra = "\n[image]\nfile_max_mib = 1\n".to_owned();
    let mut station = Station::new(&setup)?;
    station.start()?;

    let mut cases = bad_images()?;
    cases.push(("big.pgm", pgm(1200, 1000, 1), RejectReason::TooLarge, "file_max_mib"));
    // A file without content waits for some; that case has a test of its own in the spool.
    cases.retain(|(name, ..)| *name != "nothing.png");
    for (index, (name, bytes, reason, _)) in cases.iter().enumerate() {
        let file = dir.path().join(name);
        fs::write(&file, bytes)?;
        station.drop_study("XR_WRIST", &format!("patient-miller-{index}"), &[file])?;
        let results = collector.wait_for_results(index + 1, LONG).context(station.tail())?;
        let result = results.last().context("no result")?;
        let (found, detail) = only_rejection(result).with_context(|| format!("{name}: {result:?}"))?;
        assert_eq!(found, *reason, "{name}: {detail}");
        assert!(result.reason.is_some(), "{name}: a rejected study says why");

        let image_id = result.views[0].image_id.clone().context("image_id")?;
        let rejected = station.state_dir().join("rejected");
        // The file follows its row: it moves after the rejection is committed.
        let why = e2e::wait::until("the reason beside the rejected file", LONG, || {
            serde_json::from_slice::<serde_json::Value>(
                &fs::read(rejected.join(format!("{image_id}.reason.json"))).ok()?,
            )
            .ok()
        })?;
        assert_eq!(why["reason"], serde_json::to_value(reason)?, "{name}");
        let extension = name.rsplit('.').next().context("extension")?;
        let kept = e2e::wait::until("the rejected file", LONG, || {
            fs::read(rejected.join(format!("{image_id}.{extension}"))).ok()
        })?;
        assert!(kept == *bytes, "{name}: the rejected file is not the one that came");
        station.wait_for_line(&image_id, LONG)?;
    }

    fs::create_dir_all(station.spool().join("XR_WRIST/empty-folder"))?;
    let good = dir.path().join("good.pgm");
    fs::write(&good, pgm(300, 240, 9))?;
    station.drop_study("XR_WRIST", "good", &[good])?;
    let results = collector.wait_for_results(cases.len() + 1, LONG).context(station.tail())?;
    assert_eq!(results.last().context("no result")?.outcome, Outcome::Scored);

    // Neither the log nor anything published says how a file or a folder was called.
    let told = station.log().join("\n")
        + &collector
            .messages()
            .iter()
            .map(|m| String::from_utf8_lossy(&m.payload).into_owned())
            .collect::<String>();
    for word in ["miller", "half.png", "text.png", "good.pgm"] {
        assert!(!told.contains(word), "`{word}` left the station");
    }
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn rejected_files_are_bounded_oldest_first() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut setup = Setup::new(broker.port());
    setup.extra = "\n[limits]\nrejected_max_mib = 1\n".to_owned();
    let mut station = Station::new(&setup)?;
    station.start()?;
    let mut ids = Vec::new();
    for index in 0..4 {
        let file = dir.path().join(format!("{index}.png"));
        fs::write(&file, format!("no image {index} ").repeat(40_000))?;
        station.drop_study("XR_WRIST", &format!("study{index}"), &[file])?;
        let results = collector.wait_for_results(index + 1, LONG).context(station.tail())?;
        ids.push(results[index].views[0].image_id.clone().context("image_id")?);
    }
    let kept = || -> anyhow::Result<Vec<PathBuf>> {
        let entries = sorted_entries(&station.state_dir().join("rejected"))?;
        Ok(entries.into_iter().filter(|path| !path.to_string_lossy().ends_with(".json")).collect())
    };
    let size =
        |paths: &[PathBuf]| paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();
    e2e::wait::until("the oldest rejected files to go", LONG, || {
        let kept = kept().ok()?;
        let bytes: u64 = size(&kept);
        let newest_came = kept.iter().any(|path| e2e::name(path).starts_with(&ids[3]));
        (newest_came && bytes <= 1 << 20).then_some(())
    })?;
    let names: Vec<String> = kept()?.iter().map(|path| e2e::name(path)).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for id in &ids[2..] {
        assert!(names.iter().any(|name| name.starts_with(id)), "{id} is newer than what was kept: {names:?}");
    }
    Ok(())
}

#[test]
fn an_unknown_key_stops_the_start_with_its_own_exit_code() -> anyhow::Result<()> {
    let mut setup = Setup::new(1);
    setup.extra = "colour = \"blue\"\n".to_owned();
    let mut station = Station::new(&setup)?;
    let checked = bin::output(Command::new(bin::edge()?).args(["config", "check"]).arg(station.config()))?;
    assert_eq!(checked.status.code(), Some(78));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("colour") && said.contains("edge.toml") && said.contains("line"), "{said}");

    station.start()?;
    assert_eq!(station.wait_for_exit(LONG)?.code(), Some(78), "{}", station.tail());
    assert!(station.log().iter().any(|line| line.contains("colour")), "{}", station.tail());
    Ok(())
}

#[test]
fn a_broker_that_refuses_is_named_and_results_wait() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut broker = Broker::start_with("allow_anonymous false\n")?;
    let mut station = Station::new(&Setup::new(broker.port()))?;
    station.start()?;
    let image = dir.path().join("a.pgm");
    fs::write(&image, pgm(300, 240, 1))?;
    station.drop_study("XR_WRIST", "one", &[image])?;
    station.wait_for_count("close.committed", 1, LONG)?;
    let complaints = || {
        let loud = |line: &&String| line.contains(" WARN ") || line.contains(" ERROR ");
        let refused =
            |line: &&String| line.contains("refused the connection") && line.contains("mqtt.username");
        station.log().iter().filter(loud).filter(refused).count()
    };
    e2e::wait::until("the refusal in the log", LONG, || (complaints() > 0).then_some(()))
        .context(station.tail())?;
    // It is tried again every half second at most; said once for an outage, it fills no disk.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(complaints(), 1, "{}", station.tail());

    let config = broker.dir().join("mosquitto.conf");
    let allowed = fs::read_to_string(&config)?.replace("allow_anonymous false", "allow_anonymous true");
    fs::write(&config, allowed)?;
    broker.restart()?;
    let collector = Collector::start(broker.port())?;
    // What was published before the subscription is kept as `latest`.
    collector
        .wait_for("the waiting result", LONG, |message| {
            message.topic.ends_with("/result") || message.topic.ends_with("/latest")
        })
        .context(station.tail())?;
    assert!(station.stop()?.success());
    Ok(())
}

/// A copy of the demo bundle that a test may damage.
fn copy_of_demo_bundle(dir: &Path) -> anyhow::Result<PathBuf> {
    let copy = dir.join("bundle");
    fs::create_dir_all(copy.join("golden"))?;
    for folder in ["", "golden"] {
        for path in sorted_entries(&demo_bundle().join(folder))? {
            if path.is_file() {
                fs::copy(&path, copy.join(folder).join(e2e::name(&path)))?;
            }
        }
    }
    Ok(copy)
}

/// A bundle must be refused by `edge infer` and `edge run` alike, with words.
fn assert_refused(bundle: &Path, words: &[&str]) -> anyhow::Result<()> {
    let inferred = infer(bundle, &[Path::new("any.png")])?;
    assert_eq!(inferred.code, Some(65), "{}", inferred.stderr);
    let mut setup = Setup::new(1);
    setup.bundle = Some(bundle.to_owned());
    let mut station = Station::new(&setup)?;
    station.start()?;
    assert_eq!(station.wait_for_exit(LONG)?.code(), Some(65), "{}", station.tail());
    let log = station.log().join("\n");
    for word in words {
        assert!(inferred.stderr.contains(word), "`{word}` is not in: {}", inferred.stderr);
        assert!(log.contains(word), "`{word}` is not in: {log}");
    }
    Ok(())
}

#[test]
fn a_bundle_with_one_flipped_byte_is_refused() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let bundle = copy_of_demo_bundle(dir.path())?;
    let model = bundle.join("model.onnx");
    let mut bytes = fs::read(&model)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes)?;
    assert_refused(&bundle, &["model.onnx", "SHA-256", "install or copy the bundle again"])
}

#[test]
fn a_model_that_answers_nan_in_its_self_test_is_refused() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    made_bundle::write(dir.path(), &demo_bundle(), true)?;
    assert_refused(dir.path(), &["not finite"])
}

#[test]
fn a_demo_bundle_needs_leave() -> anyhow::Result<()> {
    let mut setup = Setup::new(1);
    setup.allow_demo_model = false;
    let mut station = Station::new(&setup)?;
    station.start()?;
    assert_eq!(station.wait_for_exit(LONG)?.code(), Some(65), "{}", station.tail());
    assert!(station.log().iter().any(|line| line.contains("allow_demo_model")), "{}", station.tail());
    Ok(())
}

#[test]
fn a_view_the_model_answers_nan_for_is_rejected_and_the_next_is_scored() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let bundle = dir.path().join("bundle");
    made_bundle::write(&bundle, &demo_bundle(), false)?;
    let broker = Broker::start()?;
    let collector = Collector::start(broker.port())?;
    let mut setup = Setup::new(broker.port());
    setup.bundle = Some(bundle);
    let mut station = Station::new(&setup)?;
    station.start()?;
    for (index, (name, bytes)) in
        [("dark", made_bundle::dark(1)), ("bright", made_bundle::bright(1))].into_iter().enumerate()
    {
        let file = dir.path().join(format!("{name}.pgm"));
        fs::write(&file, bytes)?;
        station.drop_study("XR_WRIST", name, &[file])?;
        let results = collector.wait_for_results(index + 1, LONG).context(station.tail())?;
        let result = results.last().context("no result")?;
        if name == "bright" {
            assert_eq!(result.outcome, Outcome::Scored, "{:?}", result.reason);
        } else {
            assert_ne!(result.outcome, Outcome::Scored);
            assert!(result.answer.is_none() && result.study.probability.is_none());
            let rejected = result.views[0].rejected.as_ref().context("no reason")?;
            assert_eq!(rejected.reason, RejectReason::ModelOutput, "{}", rejected.detail);
        }
    }
    assert!(station.stop()?.success());
    Ok(())
}
