//! `trainer bench step`: how many images a second the network trains on, and how many it scores.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use tch::nn::VarStore;
use tch::{Cuda, Device, Kind, Reduction, Tensor, no_grad};

use super::train::read_config;
use crate::device;
use crate::exit::Fault;
use crate::model::DenseNet;
use crate::train::{Adam, Config, LossScale, Precision, descend, forward, is_half};

/// Steps before the clock starts: memory is taken and kernels are chosen in the first ones.
const WARM_UP_STEPS: u32 = 2;

/// Arguments of `bench step`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Side of the square input; 320 unless the settings say otherwise
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// Images per step; 8 unless the settings say otherwise
    #[arg(long)]
    pub batch: Option<usize>,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// f32, f16 (CUDA only) or auto
    #[arg(long, default_value = "auto", value_parser = precision)]
    pub precision: Precision,
    /// How long to measure each of the two; at least one step is taken
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Settings of a run, for its network and sizes
    #[arg(long, value_name = "TOML")]
    pub config: Option<PathBuf>,
    /// Print JSON instead of lines
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    device: String,
    precision: &'static str,
    size_px: u32,
    batch: usize,
    threads: i32,
    parameters: u64,
    macs: u64,
    train_images_per_s: f64,
    train_steps: u32,
    inference_images_per_s: f64,
    inference_steps: u32,
}

/// Measures and prints to standard output.
///
/// # Errors
/// [`Fault::BadData`] when the settings cannot be used or memory is short; as [`device::parse`].
pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let config = args.settings()?;
    let half = is_half(config.precision, device)?;
    let measured = measure(&config, device, half, args.seconds)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
        return Ok(());
    }
    let Measured { device, precision, size_px, batch, threads, .. } = &measured;
    println!("{size_px} px, batch {batch}, {precision} on {device} ({threads} CPU threads)");
    println!(
        "training  {:8.1} images/s ({} steps: forward, backward, Adam)",
        measured.train_images_per_s, measured.train_steps
    );
    println!(
        "inference {:8.1} images/s ({} batches)",
        measured.inference_images_per_s, measured.inference_steps
    );
    Ok(())
}

impl Args {
    fn settings(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => read_config(path)?,
            None => Config::default(),
        };
        config.size_px = self.size.unwrap_or(config.size_px);
        config.batch = self.batch.unwrap_or(config.batch);
        config.precision = self.precision;
        config.check().map_err(|reason| Fault::BadData(format!("the settings cannot be used: {reason}")))?;
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err(Fault::BadData(format!("--seconds is {}, expected above 0", self.seconds)).into());
        }
        Ok(config)
    }
}

fn precision(word: &str) -> Result<Precision, String> {
    match word {
        "f32" => Ok(Precision::F32),
        "f16" => Ok(Precision::F16),
        "auto" => Ok(Precision::Auto),
        other => Err(format!("`{other}` is not a precision: expected f32, f16 or auto")),
    }
}

fn measure(config: &Config, device: Device, half: bool, seconds: f64) -> Result<Measured, Fault> {
    let widths = config.network.widths();
    let store = VarStore::new(device);
    let mut net = DenseNet::new(&store.root(), &widths);
    net.dropout = config.dropout;
    let mut adam = Adam::new(&store, config.adam).map_err(torch)?;
    let mut scale = half.then(LossScale::default);
    let (batch, side) = (config.batch as i64, i64::from(config.size_px));
    let images = Tensor::f_randn([batch, 3, side, side], (Kind::Float, device)).map_err(torch)?;
    let targets = Tensor::arange(batch, (Kind::Int64, device)).remainder(2).to_kind(Kind::Float);
    let step = || {
        let logit = forward(half, || net.forward_t(&images, true)).logit.to_kind(Kind::Float);
        let none = None::<&Tensor>;
        let loss = logit.binary_cross_entropy_with_logits(&targets, none, none, Reduction::Mean);
        descend(&loss, &mut adam, &mut scale, config.adam.lr)
    };
    let (train_steps, train_s) = timed(step, device, seconds)?;
    let score =
        || no_grad(|| forward(half, || net.forward_t(&images, false))).logit.f_sum(Kind::Float).map(drop);
    let (inference_steps, inference_s) = timed(score, device, seconds)?;
    let rate = |steps: u32, seconds: f64| f64::from(steps) * config.batch as f64 / seconds;
    Ok(Measured {
        device: match device {
            Device::Cpu => "cpu".to_owned(),
            Device::Cuda(number) => format!("cuda:{number}"),
            other => format!("{other:?}"),
        },
        precision: if half { "f16" } else { "f32" },
        size_px: config.size_px,
        batch: config.batch,
        threads: tch::get_num_threads(),
        parameters: widths.parameters(),
        macs: widths.macs(config.size_px),
        train_images_per_s: rate(train_steps, train_s),
        train_steps,
        inference_images_per_s: rate(inference_steps, inference_s),
        inference_steps,
    })
}

/// Repeats `work` for so long: how often, and how long it took.
fn timed(
    mut work: impl FnMut() -> Result<(), tch::TchError>,
    device: Device,
    seconds: f64,
) -> Result<(u32, f64), Fault> {
    for _ in 0..WARM_UP_STEPS {
        work().map_err(torch)?;
    }
    finish(device);
    let (started, limit) = (Instant::now(), Duration::from_secs_f64(seconds.min(86_400.0)));
    let mut steps = 0;
    while steps == 0 || started.elapsed() < limit {
        work().map_err(torch)?;
        // A device runs ahead of the program by whole steps, so that the clock must wait for it.
        finish(device);
        steps += 1;
    }
    Ok((steps, started.elapsed().as_secs_f64()))
}

fn finish(device: Device) {
    if let Device::Cuda(number) = device {
        Cuda::synchronize(number as i64);
    }
}

fn torch(error: tch::TchError) -> Fault {
    Fault::BadData(format!(
        "libtorch failed: {error}. If it is memory that is short, use a smaller --batch or --size"
    ))
}
