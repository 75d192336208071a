//! `edge bench`: how fast this machine is with a bundle.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use contract::command::MachineFacts;
use contract::preprocess::{normalise, to_plane};
use contract::radiograph::{self, Limits, Radiograph};
use serde::Serialize;

use super::common::{Failure, finish, print_json};
use super::infer::bundle_dir;
use crate::exit::Exit;
use crate::figures;
use crate::health;
use crate::inference::{Bundle, Execution, Model, Precision};
use crate::quality::{self, QualityConfig};

const EXAMPLE: &str = "\
The bundle's golden images are the radiographs unless others are named.
Every figure is the median of its runs, with the shortest and the longest.

Examples:
  edge bench
  edge bench --bundle /media/usb/bundle --threads 4 --json
  edge bench --image hand.dcm --image wrist.png

Exit codes: 0 measured, 65 the bundle is not there, damaged or fails its
self-test, or a radiograph cannot be used, 66 no bundle is named, in use or
shipped, or a radiograph cannot be read.";

/// Views of the study that is measured, as many as an examination commonly has.
const VIEWS: usize = 4;
/// An uncompressed plane as a digitiser gives it.
const LARGE: (u32, u32) = (3000, 2400);

/// Measure what a study takes on this machine: decoding, preprocessing, inference, all of it; memory, and the start
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Bundle directory [default: as `edge infer`]
    #[arg(long, value_name = "DIR", env = "ULNA_BUNDLE")]
    bundle: Option<PathBuf>,
    /// Radiograph to measure with, more than once for several [default: the bundle's golden images]
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// Views of a study that are scored at once, each on a core of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Runs of each measurement, after one that is not counted
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Run the network operator by operator, as tract runs any: to compare with
    #[arg(long)]
    plain: bool,
    /// Numbers that the network computes with; f16 where the processor does
    #[arg(long, value_name = "PRECISION", value_enum, default_value = "f32", conflicts_with = "plain")]
    precision: Precision,
    /// Measure the network alone, not what a study takes besides
    #[arg(long)]
    network_only: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Serialize)]
struct Report {
    edge: &'static str,
    machine: MachineFacts,
    model: String,
    input_px: [u32; 2],
    threads: u16,
    precision: Precision,
    /// Reading the bundle, loading the model and its self-test.
    ready_ms: f64,
    /// One view on one thread, the network alone.
    inference: Spread,
    #[serde(flatten)]
    around: Option<Around>,
    /// The most memory that the process held at once; 0 where the system does not say.
    peak_memory_bytes: u64,
}

/// What a study takes besides the network, and with it.
#[derive(Serialize)]
struct Around {
    decode: Spread,
    preprocess: Spread,
    /// Window and resize of a plane of 3000 x 2400 pixels in 16 bit.
    preprocess_large: Spread,
    /// Four views, preprocessed and scored, on `threads` threads.
    inference_of_four: Spread,
    /// Four views from file to score, with the acquisition gate, on `threads` threads.
    study: Spread,
}

/// Times of several runs, in milliseconds.
#[derive(Serialize)]
struct Spread {
    median_ms: f64,
    shortest_ms: f64,
    longest_ms: f64,
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
        let last = times.len().saturating_sub(1);
        Self {
            median_ms: (at(last / 2) + at(last.div_ceil(2))) / 2.0,
            shortest_ms: at(0),
            longest_ms: at(last),
        }
    }

    /// So many runs of something that measures itself, after one that is not counted.
    fn measured(runs: u32, mut run: impl FnMut(usize) -> Result<f64, Failure>) -> Result<Self, Failure> {
        run(0)?;
        Ok(Self::of((0..runs as usize).map(run).collect::<Result<_, _>>()?))
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    finish("bench", measure(args).and_then(|report| print(&report, args.json)))
}

fn measure(args: &Args) -> Result<Report, Failure> {
    let execution = if args.plain { Execution::Plain } else { Execution::Dense(args.precision) };
    let started = Instant::now();
    let dir = bundle_dir(args.bundle.as_deref()).map_err(|message| Failure::new(Exit::Input, message))?;
    let bundle = Bundle::load(&dir).map_err(|error| Failure::new(Exit::Bundle, error))?;
    let model = Model::load(&bundle, execution).map_err(|error| Failure::new(Exit::Bundle, error))?;
    let ready_ms = milliseconds(started.elapsed());

    let files = radiographs(&args.images, &bundle)?;
    let decoded = files.iter().map(|file| decode(file)).collect::<Result<Vec<_>, _>>()?;
    let measured = Measured { model: &model, files, decoded };
    let spec = &bundle.manifest.input;
    let inference = Spread::measured(args.runs, |run| measured.infer(run))?;
    let around = (!args.network_only).then(|| measured.around(args)).transpose()?;
    Ok(Report {
        edge: env!("CARGO_PKG_VERSION"),
        machine: figures::machine(),
        model: format!("{} {}", bundle.manifest.name, bundle.manifest.version),
        input_px: [spec.width_px, spec.height_px],
        threads: args.threads,
        precision: execution.here().precision(),
        ready_ms,
        inference,
        around,
        peak_memory_bytes: health::peak_memory_bytes().unwrap_or(0),
    })
}

/// The files that are measured with, at least one.
fn radiographs<'a>(named: &[PathBuf], bundle: &'a Bundle) -> Result<Vec<Cow<'a, [u8]>>, Failure> {
    let golden = bundle.manifest.golden.iter().map(|pair| Cow::Borrowed(bundle.file(&pair.image)));
    let unreadable = |path: &Path, error| {
        Failure::new(Exit::Input, format!("cannot read the radiograph {}: {error}", path.display()))
    };
    let read = |path: &PathBuf| fs::read(path).map(Cow::Owned).map_err(|error| unreadable(path, error));
    let files: Vec<_> =
        if named.is_empty() { golden.collect() } else { named.iter().map(read).collect::<Result<_, _>>()? };
    match files.is_empty() {
        true => Err(Failure::new(
            Exit::Bundle,
            "the bundle has no golden images to measure with; name one with --image",
        )),
        false => Ok(files),
    }
}

/// A model, and radiographs to measure it with in turn.
struct Measured<'a> {
    model: &'a Model,
    files: Vec<Cow<'a, [u8]>>,
    decoded: Vec<Radiograph>,
}

impl Measured<'_> {
    fn around(&self, args: &Args) -> Result<Around, Failure> {
        let large = large_plane();
        Ok(Around {
            decode: Spread::measured(args.runs, |run| timed(|| decode(self.file(run)).map(|_| ())))?,
            preprocess: Spread::measured(args.runs, |run| self.preprocess(self.radiograph(run)))?,
            preprocess_large: Spread::measured(args.runs, |_| self.preprocess(&large))?,
            inference_of_four: Spread::measured(args.runs, |_| {
                views(args.threads, |view| self.infer(view).map(|_| ()))
            })?,
            study: Spread::measured(args.runs, |_| {
                views(args.threads, |view| {
                    let radiograph = decode(self.file(view))?;
                    quality::judge(&radiograph, None, &QualityConfig::default());
                    self.score(&radiograph).map(|_| ())
                })
            })?,
        })
    }

    fn file(&self, run: usize) -> &[u8] {
        &self.files[run % self.files.len()]
    }

    fn radiograph(&self, run: usize) -> &Radiograph {
        &self.decoded[run % self.decoded.len()]
    }

    fn preprocess(&self, radiograph: &Radiograph) -> Result<f64, Failure> {
        let spec = &self.model.manifest().input;
        timed(|| {
            let plane = to_plane(radiograph, spec).map_err(|error| Failure::new(Exit::Internal, error))?;
            normalise(&plane, spec);
            Ok(())
        })
    }

    /// The network's time for a radiograph.
    fn infer(&self, run: usize) -> Result<f64, Failure> {
        self.score(self.radiograph(run))
    }

    fn score(&self, radiograph: &Radiograph) -> Result<f64, Failure> {
        let score = self.model.score(radiograph).map_err(|error| Failure::new(Exit::Bundle, error))?;
        Ok(score.inference_ms)
    }
}

fn decode(file: &[u8]) -> Result<Radiograph, Failure> {
    let decoded =
        radiograph::decode(file, &Limits::default()).map_err(|error| Failure::new(Exit::Bundle, error))?;
    Ok(decoded.radiograph)
}

/// Does something with each view of a study, each on the next free thread.
fn views(threads: u16, view: impl Fn(usize) -> Result<(), Failure> + Sync) -> Result<f64, Failure> {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                number if number < VIEWS => view(number)?,
                _ => return Ok(()),
            }
        }
    };
    timed(|| {
        thread::scope(|scope| {
            let others: Vec<_> = (1..VIEWS.min(threads.into())).map(|_| scope.spawn(work)).collect();
            let own = work();
            let ended = others.into_iter().map(|other| {
                other.join().unwrap_or_else(|_| Err(Failure::new(Exit::Internal, "a worker ended early")))
            });
            ended.fold(own, Result::and)
        })
    })
}

/// A plane that no two neighbouring pixels of are equal, as none of a digitiser's is.
fn large_plane() -> Radiograph {
    let (width, height) = LARGE;
    let samples =
        (0..width * height).map(|at| (at.wrapping_mul(2_654_435_761) >> 17) as u16 + (at % width) as u16);
    Radiograph {
        width,
        height,
        max_value: u16::MAX,
        windowed: false,
        coloured_permille: 0,
        samples: samples.collect(),
    }
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let started = Instant::now();
    work()?;
    Ok(milliseconds(started.elapsed()))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn print(report: &Report, json: bool) -> Result<Exit, Failure> {
    if json {
        print_json(report)?;
        return Ok(Exit::Ok);
    }
    let Report { machine, input_px: [width, height], .. } = report;
    println!("{} at {width} x {height} px, edge {}", report.model, report.edge);
    println!("{}, {} cores, {}", machine.machine, machine.cores, machine.os);
    let line = |what: &str, Spread { median_ms, shortest_ms, longest_ms }: &Spread| {
        println!("{what:<34}{median_ms:>9.1} ms  ({shortest_ms:.1} to {longest_ms:.1})");
    };
    println!("{:<34}{:>9.1} ms", "bundle loaded and self-tested", report.ready_ms);
    line("inference, a view, one thread", &report.inference);
    if let Some(around) = &report.around {
        line("decoding, a view", &around.decode);
        line("preprocessing, a view", &around.preprocess);
        line("preprocessing, 3000 x 2400 px", &around.preprocess_large);
        line(&format!("inference, {VIEWS} views, threads: {}", report.threads), &around.inference_of_four);
        line(&format!("a study of {VIEWS} views, threads: {}", report.threads), &around.study);
    }
    println!("{:<34}{:>9.1} MiB", "memory at its peak", report.peak_memory_bytes as f64 / f64::from(1 << 20));
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        let Spread { median_ms, shortest_ms, longest_ms } = Spread::of(vec![5.0, 1.0, 2.0, 9.0]);
        assert_eq!((median_ms, shortest_ms, longest_ms), (3.5, 1.0, 9.0));
        assert_eq!(Spread::of(vec![7.0, 1.0, 2.0]).median_ms, 2.0);
    }
}
