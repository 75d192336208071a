//! From the spool to the outbox with a real bundle, stage by stage on one thread.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, outside of what clippy counts as one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use contract::bundle::within_tolerance;
use contract::preprocess::apply_window;
use contract::radiograph::{Limits, Radiograph, RejectReason, decode};
use contract::result::{Outcome, StudyResult};
use edge::capture::Source;
use edge::capture::spool::Spool;
use edge::config::Config;
use edge::health::Health;
use edge::inference::{Bundle, Execution, Model};
use edge::intake::Intake;
use edge::keeper::{Keeper, LastReport};
use edge::outlook::Outlook;
use edge::publish::Broker;
use edge::quality::{self, RawExposure};
use edge::scoring::Scoring;
use edge::store::Store;
use edge::wake::Wake;
use image::{ImageBuffer, ImageFormat, Luma};

fn bundle_dir() -> PathBuf {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/bundle");
    std::env::var_os("ULNA_TEST_BUNDLE").map_or(demo, PathBuf::from)
}

struct Station {
    dir: tempfile::TempDir,
    store: Store,
    intake: Intake,
    spool: Spool,
    scoring: Scoring,
    keeper: Keeper,
    report: LastReport,
}

impl Station {
    fn new(model: &Model) -> Self {
        Self::at(tempfile::tempdir().unwrap(), model)
    }

    fn at(dir: tempfile::TempDir, model: &Model) -> Self {
        let root = dir.path().display();
        let text = format!(
            "station = \"t\"\nstate_dir = \"{root}/state\"\n[quality]\noff = [\"duplicate\"]\n[study]\nidle_close_s = 10\n[spool]\ndir = \"{root}/spool\"\n"
        );
        let config = Config::parse(&text, Path::new("t.toml")).unwrap();
        let store = Store::open(&config.state_dir, config.limits).unwrap();
        let health = Arc::new(Health::default());
        let intake = Intake::new(&config, store.clone(), Arc::clone(&health), Arc::new(|| {}));
        let scoring = Scoring {
            store: store.clone(),
            model: model.clone(),
            limits: config.image.limits(),
            quality: config.quality.clone(),
            health: Arc::clone(&health),
            done: Wake::new(1),
        };
        let report = LastReport::default();
        let keeper = Keeper::new(
            &config.study,
            store.clone(),
            model.clone(),
            Arc::clone(&health),
            BTreeMap::from([("spool", report.clone())]),
            Outlook::new(Arc::clone(&health), intake.clone(), None, Broker::default()),
        );
        let spool = Spool::new(config.spool.unwrap(), intake.clone(), health);
        Self { dir, store, intake, spool, scoring, keeper, report }
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.dir.path().join("spool").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        fs::File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
    }

    /// One round of every stage at a boot time.
    fn round(&mut self, s: u64) -> Vec<StudyResult> {
        let now = Duration::from_secs(1000 + s);
        let before = self.store.unsent(0, 1000).unwrap().last().map_or(0, |row| row.seq);
        let report = self.spool.poll(now);
        self.report.set(report);
        while self.scoring.step().unwrap() {}
        self.keeper.step(now).unwrap();
        let rows = self.store.unsent(before, 1000).unwrap();
        rows.iter().map(|row| serde_json::from_str(&row.payload_json).unwrap()).collect()
    }
}

#[test]
fn studies_go_from_the_spool_to_the_outbox() {
    let bundle = Bundle::load(&bundle_dir()).unwrap();
    let pair = bundle.manifest.golden[0].clone();
    let golden = fs::read(bundle_dir().join(&pair.image)).unwrap();
    let model = Model::load(&bundle, Execution::default()).unwrap();
    let study_type = bundle.manifest.study_types.first().unwrap().clone();
    let mut station = Station::new(&model);

    // A file is a study by itself and does not wait.
    station.put(&format!("{study_type}/alone.png"), &golden);
    let results = station.round(0);
    assert_eq!(results.len(), 1);
    let single = &results[0];
    assert_eq!((single.outcome, single.study.revision), (Outcome::Scored, 1));
    assert_eq!(single.study.study_type.as_ref(), Some(&study_type));
    assert!(
        within_tolerance(pair.logit, single.views[0].logit.unwrap(), 1e-3),
        "{:?}",
        single.views[0].logit
    );
    assert!(single.study.key.as_ref().is_some_and(|key| key.len() == 64));

    // A folder waits until it was left alone; what is no image is a rejected view of it.
    station.put(&format!("{study_type}/folder/1.png"), &golden);
    station.put(&format!("{study_type}/folder/2.png"), b"not an image");
    assert_eq!(station.round(1), []);
    assert_eq!(station.round(10), []);
    let results = station.round(11);
    assert_eq!(results.len(), 1);
    assert_eq!((results[0].outcome, results[0].views.len()), (Outcome::Scored, 2));
    assert_eq!(results[0].study.probability, results[0].views[0].probability);
    let rejection = results[0].views[1].rejected.as_ref().unwrap();
    assert_eq!(rejection.reason, RejectReason::NotAnImage);
    let image_id = results[0].views[1].image_id.as_ref().unwrap();
    let rejected = station.dir.path().join("state/rejected");
    assert_eq!(fs::read(rejected.join(format!("{image_id}.png"))).unwrap(), b"not an image");
    let reason = fs::read_to_string(rejected.join(format!("{image_id}.reason.json"))).unwrap();
    assert!(reason.contains("\"reason\": \"not_an_image\""), "{reason}");

    // A late image makes another revision with all views.
    station.put(&format!("{study_type}/folder/3.png"), &golden);
    assert_eq!(station.round(20), []);
    let late = station.round(30).remove(0);
    assert_eq!((late.study.revision, late.views.len()), (2, 3));
    assert_eq!(late.study.number, results[0].study.number);
    assert_eq!(late.views[1], results[0].views[1]);

    // A study without a usable view is published too.
    station.put(&format!("{study_type}/unusable.png"), &golden[..golden.len() / 2]);
    let unusable = station.round(40).remove(0);
    assert_eq!((unusable.outcome, unusable.answer), (Outcome::Rejected, None));
    assert!(unusable.reason.is_some());
    assert_eq!(
        station.store.unsent(0, 10).unwrap().iter().map(|row| row.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
}

#[test]
fn a_restarted_station_takes_what_lies_in_the_spool_before_it_closes_a_study() {
    let bundle = Bundle::load(&bundle_dir()).unwrap();
    let golden = fs::read(bundle_dir().join(&bundle.manifest.golden[0].image)).unwrap();
    let model = Model::load(&bundle, Execution::default()).unwrap();
    let study_type = bundle.manifest.study_types.first().unwrap().clone();
    let mut station = Station::new(&model);
    station.put(&format!("{study_type}/folder/1.png"), &golden);
    assert_eq!(station.round(0), []);
    station.put(&format!("{study_type}/folder/2.png"), &golden);

    let Station { dir, store, intake, spool, scoring, keeper, .. } = station;
    drop((store, intake, spool, scoring, keeper));
    let mut station = Station::at(dir, &model);
    let hours_later = Duration::from_secs(20_000);
    station.keeper.step(hours_later).unwrap();
    assert_eq!(station.store.depth().unwrap(), 0, "the spool was not scanned yet");
    assert_eq!(station.round(20_001), []);
    let results = station.round(20_011);
    assert_eq!(results.len(), 1);
    assert_eq!((results[0].views.len(), results[0].study.revision), (2, 1));
}

#[test]
fn a_frame_is_judged_by_what_its_device_delivered_even_after_a_restart() {
    let bundle = Bundle::load(&bundle_dir()).unwrap();
    let golden = fs::read(bundle_dir().join(&bundle.manifest.golden[0].image)).unwrap();
    let golden = decode(&golden, &Limits::default()).unwrap().radiograph;
    let faint = |sample: &u16| (u32::from(*sample) * 200 / u32::from(golden.max_value)) as u16;
    let samples = golden.samples.iter().map(faint).collect();
    let raw = Radiograph { max_value: 4095, windowed: false, samples, ..golden };
    let exposure = RawExposure::of(&raw, false);
    let stored = apply_window(raw, &bundle.manifest.input);
    let plane = ImageBuffer::<Luma<u16>, _>::from_raw(stored.width, stored.height, stored.samples).unwrap();
    let mut png = Cursor::new(Vec::new());
    plane.write_to(&mut png, ImageFormat::Png).unwrap();

    let model = Model::load(&bundle, Execution::default()).unwrap();
    let station = Station::new(&model);
    let number = station.store.open_by_hand(&"XR_HAND".parse().unwrap(), None).unwrap();
    let add = |exposure: Option<&RawExposure>| {
        let names = ("camera", "png");
        station.intake.accept_by_hand(&number, None, names, png.get_ref(), exposure).unwrap().image_id
    };
    let (as_file, as_frame) = (add(None), add(Some(&exposure)));
    let Station { dir, store, intake, spool, scoring, keeper, .. } = station;
    drop((store, intake, spool, scoring, keeper));

    let station = Station::at(dir, &model);
    while station.scoring.step().unwrap() {}
    let view = |image_id: &str| {
        let study = station.store.study(&number).unwrap().unwrap();
        study.images.into_iter().find(|image| image.image_id == image_id).unwrap().view.unwrap()
    };
    assert!(view(&as_file).probability.is_some(), "as a file it has been windowed and looks well exposed");
    let rejection = view(&as_frame).rejected.unwrap();
    assert_eq!(
        (rejection.reason, &rejection.also[..]),
        (RejectReason::UnderExposed, &[][..]),
        "{rejection:?}"
    );
    assert!(rejection.detail.contains("of what the device can deliver"), "{}", rejection.detail);

    station.store.overrule(&as_frame, "AB", quality::overrulable).unwrap();
    while station.scoring.step().unwrap() {}
    let overruled = view(&as_frame);
    assert_eq!(overruled.overruled, [RejectReason::UnderExposed]);
    assert_eq!(overruled.probability, view(&as_file).probability);
}
