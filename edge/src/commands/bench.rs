//! `edge bench`: how fast this machine is with a bundle.

use std::path::PathBuf;
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
use crate::inference::{Bundle, Model};
use crate::quality::{self, QualityConfig};

const EXAMPLE: &str = "\
The bundle's golden images are the radiographs, so that nothing else is needed.
Every figure is the median of its runs, with the shortest and the longest.

Examples:
  edge bench
  edge bench --bundle /media/usb/bundle --threads 4 --json

Exit codes: 0 measured, 65 the bundle is not there, damaged or fails its
self-test, 66 none is named, in use or shipped.";

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
    /// Views of a study that are scored at once, each on a core of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Runs of each measurement, after one that is not counted
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
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
    /// Reading the bundle, loading the model and its self-test.
    ready_ms: f64,
    decode: Spread,
    preprocess: Spread,
    /// Window and resize of a plane of 3000 x 2400 pixels in 16 bit.
    preprocess_large: Spread,
    /// One view on one thread, the network alone.
    inference: Spread,
    /// Four views, preprocessed and scored, on `threads` threads.
    inference_of_four: Spread,
    /// Four views from file to score, with the acquisition gate, on `threads` threads.
    study: Spread,
    /// The most memory that the process held at once; 0 where the system does not say.
    peak_memory_bytes: u64,
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
    let started = Instant::now();
    let dir = bundle_dir(args.bundle.as_deref()).map_err(|message| Failure::new(Exit::Input, message))?;
    let bundle = Bundle::load(&dir).map_err(|error| Failure::new(Exit::Bundle, error))?;
    let model = Model::load(&bundle).map_err(|error| Failure::new(Exit::Bundle, error))?;
    let ready_ms = milliseconds(started.elapsed());

    let spec = &bundle.manifest.input;
    let files: Vec<&[u8]> = bundle.manifest.golden.iter().map(|pair| bundle.file(&pair.image)).collect();
    let decoded = files.iter().map(|file| decode(file)).collect::<Result<Vec<_>, _>>()?;
    if files.is_empty() {
        return Err(Failure::new(Exit::Bundle, "the bundle has no golden images to measure with"));
    }
    let nth = |run: usize| run % files.len();
    let preprocess = |radiograph: &Radiograph| {
        timed(|| {
            let plane = to_plane(radiograph, spec).map_err(|error| Failure::new(Exit::Internal, error))?;
            normalise(&plane, spec);
            Ok(())
        })
    };
    let score = |radiograph: &Radiograph| {
        let score = model.score(radiograph).map_err(|error| Failure::new(Exit::Bundle, error))?;
        Ok(score.inference_ms)
    };
    let large = large_plane();
    Ok(Report {
        edge: env!("CARGO_PKG_VERSION"),
        machine: figures::machine(),
        model: format!("{} {}", bundle.manifest.name, bundle.manifest.version),
        input_px: [spec.width_px, spec.height_px],
        threads: args.threads,
        ready_ms,
        decode: Spread::measured(args.runs, |run| timed(|| decode(files[nth(run)]).map(|_| ())))?,
        preprocess: Spread::measured(args.runs, |run| preprocess(&decoded[nth(run)]))?,
        preprocess_large: Spread::measured(args.runs, |_| preprocess(&large))?,
        inference: Spread::measured(args.runs, |run| score(&decoded[nth(run)]))?,
        inference_of_four: Spread::measured(args.runs, |_| {
            views(args.threads, |view| score(&decoded[nth(view)]).map(|_| ()))
        })?,
        study: Spread::measured(args.runs, |_| {
            views(args.threads, |view| {
                let radiograph = decode(files[nth(view)])?;
                quality::judge(&radiograph, None, &QualityConfig::default());
                score(&radiograph).map(|_| ())
            })
        })?,
        peak_memory_bytes: health::peak_memory_bytes().unwrap_or(0),
    })
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
    line("decoding, a view", &report.decode);
    line("preprocessing, a view", &report.preprocess);
    line("preprocessing, 3000 x 2400 px", &report.preprocess_large);
    line("inference, a view, one thread", &report.inference);
    line(&format!("inference, {VIEWS} views, threads: {}", report.threads), &report.inference_of_four);
    line(&format!("a study of {VIEWS} views, threads: {}", report.threads), &report.study);
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
