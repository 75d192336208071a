use std::cell::Cell;
use std::fs;
use std::path::Path;

use contract::preprocess::PreprocessSpec;
use contract::study::StudyType;

use super::*;
use crate::dataset::Study;
use crate::model::Widths;
use crate::run::DataFacts;

/// Studies of two views; abnormal ones are brighter in a corner. `types` cycle.
pub(crate) fn planes(studies: usize, side_px: u32, types: &[&str], prefix: &str) -> Planes {
    let spec = PreprocessSpec::square(side_px);
    let mut planes = Planes {
        spec: spec.clone(),
        samples: Vec::new().into(),
        abnormal: Vec::new(),
        study: Vec::new(),
        studies: Vec::new(),
        unreadable: Vec::new(),
    };
    let mut samples = Vec::new();
    for number in 0..studies {
        let abnormal = number % 2 == 1;
        let study_type: StudyType = types[(number / 2) % types.len()].parse().unwrap();
        let label = if abnormal { "positive" } else { "negative" };
        let patient = format!("patient{number:05}");
        let path = format!("{prefix}/{study_type}/{patient}/study1_{label}");
        planes.studies.push(Study { study_type, patient, path, abnormal, images: Vec::new() });
        for view in 0..2u32 {
            for place in 0..side_px * side_px {
                let (y, x) = (place / side_px, place % side_px);
                let texture = (x * 7 + y * 13 + view * 31 + number as u32 * 17) % 97;
                let mark = if abnormal && x > side_px / 2 && y > side_px / 2 { 120 } else { 0 };
                samples.push((texture + mark) as u8);
            }
            planes.abnormal.push(abnormal);
            planes.study.push(number);
        }
    }
    Planes { samples: samples.into(), ..planes }
}

fn tiny_widths() -> Widths {
    Widths::uniform(8, &[2, 2], 4, 8)
}

fn tiny_config() -> Config {
    Config { size_px: 64, epochs: 2, batch: 4, checkpoint_every_steps: 3, ..Config::default() }
}

/// Weights that do not depend on torch's generator, which tests in other threads use too.
pub(crate) fn fixed_weights(widths: &Widths) -> Tensors {
    let store = VarStore::new(Device::Cpu);
    DenseNet::new(&store.root(), widths);
    let filled = |name: String, variable: Tensor| {
        let count = variable.numel() as i64;
        let values =
            (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.7 + name.len() as f64).sin() * 0.2;
        let centre = if name.contains("norm") && !name.ends_with("bias") && !name.ends_with("mean") {
            1.0
        } else {
            0.0
        };
        (name, (values + centre).view(variable.size().as_slice()))
    };
    store.variables().into_iter().map(|(name, variable)| filled(name, variable)).collect()
}

struct Bench {
    train: Planes,
    valid: Planes,
    config: Config,
}

impl Bench {
    fn new(config: Config) -> Self {
        let types = ["XR_WRIST", "XR_ELBOW"];
        Self { train: planes(10, 64, &types, "train"), valid: planes(4, 64, &types, "valid"), config }
    }

    fn create(&self, dir: &Path) -> Run {
        let data = DataFacts::of(&self.train, &self.valid);
        Run::create(dir, self.config.clone(), tiny_widths(), data).unwrap()
    }

    /// Trains until the end, or until `stop` says so.
    fn train(&self, run: &Run, start: Start, stop: &dyn Fn() -> bool) -> Result<Outcome, Fault> {
        train(&Session { run, train: &self.train, valid: &self.valid, device: Device::Cpu, stop }, start)
    }
}

fn newest_checkpoint(run: &Run) -> std::path::PathBuf {
    let mut paths: Vec<_> =
        fs::read_dir(run.dir.join(CHECKPOINTS_DIR)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.pop().unwrap()
}

#[test]
fn a_stopped_and_resumed_run_ends_bit_for_bit_like_a_straight_one() {
    let bench = Bench::new(tiny_config());
    let start = || Start::From(fixed_weights(&tiny_widths()));
    let dir = tempfile::tempdir().unwrap();

    let straight = bench.create(&dir.path().join("straight"));
    let ended = bench.train(&straight, start(), &|| false).unwrap();
    let Outcome::Finished(state) = ended else { panic!("not finished") };
    assert_eq!((state.epoch, state.step), (2, 10));

    // Stopped in the first epoch, in its validation (after 5 steps) and in the second epoch.
    let killed = bench.create(&dir.path().join("killed"));
    assert!(matches!(bench.train(&killed, start(), &|| true).unwrap(), Outcome::Stopped(_)));
    for (asked_after, step) in [(2, 3), (3, 5), (3, 7), (1, 8)] {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == asked_after
        };
        let outcome = bench.train(&killed, Start::Resume, &stop).unwrap();
        assert!(matches!(outcome, Outcome::Stopped(State { step: s, .. }) if s == step), "{outcome:?}");
    }
    // A torn write of the newest checkpoint: the one before is taken.
    let torn = newest_checkpoint(&killed);
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(torn.with_file_name("epoch-009.safetensors.tmp"), b"half").unwrap();
    let killed = Run::open(&killed.dir).unwrap();
    let ended = bench.train(&killed, Start::Resume, &|| false).unwrap();
    assert_eq!(ended, Outcome::Finished(state));

    assert_eq!(newest_checkpoint(&straight).file_name(), newest_checkpoint(&killed).file_name());
    assert!(fs::read(newest_checkpoint(&straight)).unwrap() == fs::read(newest_checkpoint(&killed)).unwrap());
    assert!(fs::read(straight.best_path()).unwrap() == fs::read(killed.best_path()).unwrap());
    assert_eq!(losses(&straight), losses(&killed));
    assert_eq!(losses(&straight).len(), 2);
    straight.load_best(Device::Cpu).unwrap();
}

/// Epoch, training loss, validation loss and AUROC of each line of metrics.csv.
fn losses(run: &Run) -> Vec<Vec<String>> {
    let text = fs::read_to_string(run.dir.join("metrics.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split(',').take(6).map(str::to_owned).collect()).collect()
}

#[test]
fn training_lowers_the_loss_and_separates_the_classes() {
    let adam = AdamConfig { lr: 3e-3, ..AdamConfig::default() };
    let augment = AugmentConfig { rotation_max_deg: 0.0, mirror: false };
    let bench = Bench::new(Config { epochs: 8, adam, augment, ..tiny_config() });
    let dir = tempfile::tempdir().unwrap();
    let run = bench.create(&dir.path().join("run"));
    bench.train(&run, Start::Fresh, &|| false).unwrap();
    let rows = losses(&run);
    let loss = |row: &Vec<String>| row[3].parse::<f64>().unwrap();
    assert!(loss(&rows[7]) < 0.7 * loss(&rows[0]), "{rows:?}");
    assert_eq!(rows[7][5], "1.0");
}

#[test]
fn unusable_starts_are_refused_and_nothing_is_touched() {
    let bench = Bench::new(tiny_config());
    let dir = tempfile::tempdir().unwrap();
    let run = bench.create(&dir.path().join("run"));
    bench.train(&run, Start::From(fixed_weights(&tiny_widths())), &|| true).unwrap();
    let listing = |dir: &Path| {
        let mut files: Vec<_> = walkdir::WalkDir::new(dir)
            .into_iter()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = listing(&run.dir);

    let data = DataFacts::of(&bench.train, &bench.valid);
    let error = Run::create(&run.dir, tiny_config(), tiny_widths(), data.clone()).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");

    let mut other = Run::open(&run.dir).unwrap();
    other.widths = Widths::uniform(8, &[2, 3], 4, 8);
    let error = bench.train(&other, Start::Resume, &|| false).unwrap_err().to_string();
    assert!(error.contains("another architecture"), "{error}");

    let mut normal = Bench::new(tiny_config());
    normal.valid.abnormal.fill(false);
    let error = normal.train(&run, Start::Resume, &|| false).unwrap_err().to_string();
    assert!(error.contains("validation split has no abnormal"), "{error}");

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "x").unwrap();
    let error = Run::create(&foreign, tiny_config(), tiny_widths(), data).unwrap_err().to_string();
    assert!(error.contains("thesis.tex"), "{error}");

    assert!(listing(&run.dir) == before);
    assert!(Run::open(&dir.path().join("none")).is_err());
    let error = run.load_best(Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("no finished epoch"), "{error}");
}

#[test]
fn damaged_checkpoints_are_never_resumed_from() {
    let bench = Bench::new(tiny_config());
    let dir = tempfile::tempdir().unwrap();
    let run = bench.create(&dir.path().join("run"));
    bench.train(&run, Start::From(fixed_weights(&tiny_widths())), &|| true).unwrap();
    for entry in fs::read_dir(run.dir.join(CHECKPOINTS_DIR)).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let error = bench.train(&run, Start::Resume, &|| false).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn weights_follow_the_paper_and_one_sided_types_take_the_pooled_ones() {
    let mut train = planes(8, 64, &["XR_WRIST", "XR_ELBOW"], "train");
    // Wrist: 3 abnormal to 1 normal studies; elbow: normal only.
    for (image, &study) in train.study.iter().enumerate() {
        let wrist = train.studies[study].study_type.as_str() == "XR_WRIST";
        train.abnormal[image] = wrist && study != 0;
    }
    let weights = ClassWeights::count(&train, LossWeights::PerType);
    let (wrist, elbow): (StudyType, StudyType) = ("XR_WRIST".parse().unwrap(), "XR_ELBOW".parse().unwrap());
    assert_eq!((weights.of(&wrist, true), weights.of(&wrist, false)), (0.25, 0.75));
    assert_eq!((weights.of(&elbow, true), weights.of(&elbow, false)), (0.625, 0.375));
    assert_eq!(weights.one_sided.as_slice(), std::slice::from_ref(&elbow));
    assert_eq!(ClassWeights::count(&train, LossWeights::Plain).of(&elbow, false), 1.0);

    let logit = Tensor::from_slice(&[0.5f32, -1.0]);
    let indices = [train.study.iter().position(|&s| s == 1).unwrap(), 0];
    let found = weights.loss(&logit, &train, &indices).double_value(&[]);
    let expected = (0.25 * (1.0 + (-0.5f64).exp()).ln() + 0.75 * (1.0 + (-1.0f64).exp()).ln()) / 2.0;
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn the_learning_rate_follows_the_schedule() {
    let mut state = State::start(1);
    let plateau = Config::default();
    for _ in 0..2 {
        state.epochs_without_improvement += 1;
        lower_on_plateau(&plateau, &mut state);
    }
    assert!((learning_rate(&plateau, &state, 10) - 1e-5).abs() < 1e-12);
    let cosine = Config { schedule: Schedule::Cosine { warmup_steps: 4 }, epochs: 2, ..Config::default() };
    let at = |step| learning_rate(&cosine, &State { step, ..State::start(1) }, 10);
    assert!((at(0) - 0.25e-4).abs() < 1e-12);
    assert!((at(4) - 1e-4).abs() < 1e-12);
    assert!((at(12) - 0.5e-4).abs() < 1e-12);
    assert!(at(19) < 0.02e-4);
}
