//! `trainer bench loader`: images per second of each way to a batch.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use contract::preprocess::PreprocessSpec;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use serde::Serialize;
use tch::{Device, Tensor};

use crate::dataset::augment::{Change, augment, normalise};
use crate::dataset::loader::{Batch, Job, Loader, LoaderConfig};
use crate::dataset::{Cache, Index, Planes, Split, Study, pack, read};
use crate::device;
use crate::train::sample;

/// Rounds of which the median is reported.
const ROUNDS: usize = 5;

/// Arguments of `bench loader`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set in the MURA layout, some of which is packed for the time of the measurement; or a packed
    /// cache, which is measured whole, without the files
    #[arg(long)]
    pub data: PathBuf,
    /// Side of the square input; only with a data set's directory
    #[arg(long, default_value_t = 320, value_name = "PX")]
    pub size: u32,
    /// Images per batch
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: u16,
    /// Seconds for each line of the table
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Images of a data set's directory to pack
    #[arg(long, default_value_t = 512)]
    pub images: usize,
    /// Threads of the loader; 0 is one per core
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// auto, cpu or cuda:N: where tensors are augmented and normalised
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    workers: usize,
    device: String,
    size_px: [u32; 2],
    batch: usize,
    images: usize,
    rounds: usize,
    optimised: bool,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    what: &'static str,
    /// Median of the rounds.
    images_per_s: f64,
    slowest: f64,
    fastest: f64,
}

/// One way to a batch.
struct Way {
    what: &'static str,
    /// The loader's threads augment.
    on_workers: bool,
    /// The batch is augmented on the device.
    on_device: bool,
    /// The batch becomes the network's input on the device.
    input: bool,
}

const WAYS: [Way; 5] = [
    Way { what: "cache: batches u8 [B,H,W]", on_workers: false, on_device: false, input: false },
    Way { what: "cache, augmented by threads: batches u8", on_workers: true, on_device: false, input: false },
    Way { what: "cache: input f32 [B,3,H,W]", on_workers: false, on_device: false, input: true },
    Way { what: "cache, augmented by threads: input f32", on_workers: true, on_device: false, input: true },
    Way { what: "cache, augmented as tensors: input f32", on_workers: false, on_device: true, input: true },
];

/// Measures and prints.
///
/// # Errors
/// When the data cannot be read or the device is not there.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let seconds = if args.seconds.is_finite() { args.seconds.clamp(0.05, 600.0) } else { 5.0 };
    let round = Duration::from_secs_f64(seconds / ROUNDS as f64);
    let mut lines = Vec::new();
    // The planes stay mapped after their directory is gone.
    let planes = if Cache::is_at(&args.data) {
        whole_cache(&args.data)?
    } else {
        let spec = PreprocessSpec::square(args.size);
        let mut index = Index::scan(&args.data)?;
        some_studies(&mut index, args.images);
        lines.push(from_files(&index, &spec, round));
        let scratch = tempfile::tempdir().context("making a directory for a cache to measure")?;
        let dir = scratch.path().join("cache");
        pack(&index, &spec, &dir)?;
        whole_cache(&dir)?
    };
    for way in &WAYS {
        lines.push(measure(way, args, &planes, device, round)?);
    }
    let report = Report {
        cores: read::cores(),
        workers: if args.workers == 0 { read::cores() } else { args.workers },
        device: format!("{device:?}").to_lowercase(),
        size_px: [planes.spec.width_px, planes.spec.height_px],
        batch: args.batch.into(),
        images: planes.len(),
        rounds: ROUNDS,
        optimised: !cfg!(debug_assertions),
        lines,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Both splits of a cache as one set of planes.
fn whole_cache(dir: &std::path::Path) -> anyhow::Result<Planes> {
    let index = Index::open(dir)?;
    let spec = index.packed_spec().context("a packed cache knows its preprocessing")?.clone();
    let studies: Vec<Study> = index.train.iter().chain(&index.valid).cloned().collect();
    Ok(index.planes(&studies, &spec)?)
}

/// Keeps random studies that hold about `images` images.
fn some_studies(index: &mut Index, images: usize) {
    let all: Vec<Study> = index.train.drain(..).chain(index.valid.drain(..)).collect();
    for place in sample(1, all.len()) {
        let have: usize = index.train.iter().map(|study| study.images.len()).sum();
        if have >= images.max(1) {
            break;
        }
        index.train.push(all[place].clone());
    }
    index.train.sort_by(|a, b| a.path.cmp(&b.path));
}

/// Decodes and preprocesses from files, on all cores.
fn from_files(index: &Index, spec: &PreprocessSpec, round: Duration) -> Line {
    let images: Vec<_> = index.split(Split::Train).iter().flat_map(|study| &study.images).collect();
    // Some at a time, so that a round ends near its time.
    let some = images.len().min(4 * read::cores());
    let mut next = images.iter().cycle();
    let rates = (0..ROUNDS).map(|_| {
        let (started, mut done) = (Instant::now(), 0);
        while done == 0 || started.elapsed() < round {
            let batch: Vec<_> = next.by_ref().take(some.max(1)).collect();
            read::on_all_cores(&batch, "reading", |image| read::plane(image, spec).is_ok());
            done += batch.len();
        }
        done as f64 / started.elapsed().as_secs_f64()
    });
    line("files: decoded and preprocessed", rates.collect())
}

/// Draws batches in one way.
fn measure(way: &Way, args: &Args, planes: &Planes, device: Device, round: Duration) -> anyhow::Result<Line> {
    let (batch, count) = (usize::from(args.batch), planes.len());
    let jobs = (0u64..).map(move |step| Job {
        images: sample(step, count).into_iter().cycle().take(batch).collect(),
        changes: if way.on_workers || way.on_device {
            Change::draw(&mut Pcg64::seed_from_u64(step), batch)
        } else {
            Vec::new()
        },
    });
    let config = LoaderConfig { workers: args.workers, ..LoaderConfig::default() };
    // Drawing an order of all images takes time that belongs to the epoch, not to the batch.
    let jobs: Vec<Job> = jobs.take(64).collect();
    let mut loader = Loader::start(planes, jobs.into_iter().cycle(), &config, way.on_workers)?;
    let mut rates = Vec::with_capacity(ROUNDS);
    // One more round, which is not counted: threads and memory warm up.
    for number in 0..=ROUNDS {
        let (started, mut done) = (Instant::now(), 0);
        while done == 0 || started.elapsed() < round {
            let Some(next) = loader.next() else { break };
            done += consume(way, next?, planes, device);
        }
        if let Device::Cuda(number) = device {
            tch::Cuda::synchronize(number as i64);
        }
        if number > 0 {
            rates.push(done as f64 / started.elapsed().as_secs_f64());
        }
    }
    Ok(line(way.what, rates))
}

/// Makes of a batch what the way ends in; gives how many images it had.
fn consume(way: &Way, batch: Batch, planes: &Planes, device: Device) -> usize {
    let on_device = |planes: &Tensor| planes.to_device(device);
    if way.on_device {
        let _ = augment(&on_device(&batch.planes), &batch.changes, &planes.spec);
    } else if way.input {
        let _ = normalise(&on_device(&batch.planes), &planes.spec);
    }
    batch.images.len()
}

fn line(what: &'static str, mut rates: Vec<f64>) -> Line {
    rates.sort_by(f64::total_cmp);
    let at = |place: usize| rates.get(place).copied().unwrap_or(f64::NAN);
    Line {
        what,
        images_per_s: at(rates.len() / 2),
        slowest: at(0),
        fastest: at(rates.len().saturating_sub(1)),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} images of {}x{} px, batches of {}, {} threads on {} cores, tensors on {}, median of {} rounds{}",
            self.images,
            self.size_px[0],
            self.size_px[1],
            self.batch,
            self.workers,
            self.cores,
            self.device,
            self.rounds,
            if self.optimised { "" } else { " (a debug build: slower than a release build)" }
        )?;
        write!(f, "{:<42} {:>9}  {:>17}", "", "images/s", "slowest..fastest")?;
        for line in &self.lines {
            let range = format!("{:.0}..{:.0}", line.slowest, line.fastest);
            write!(f, "\n{:<42} {:>9.0}  {range:>17}", line.what, line.images_per_s)?;
        }
        Ok(())
    }
}
