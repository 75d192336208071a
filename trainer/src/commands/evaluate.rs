//! `trainer evaluate`: how good a run or a bundle is.

use std::path::{Path, PathBuf};

use tch::no_grad;

use crate::dataset::{Index, Planes, Split};
use crate::device;
use crate::eval::{self, EvalError, Report};
use crate::exit::Fault;
use crate::export::bundle::{Bundle, BundleError};
use crate::export::interpret::Interpreter;
use crate::run::Run;

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "bundle"])))]
pub struct Args {
    /// Run whose best network is evaluated
    #[arg(long)]
    pub run: Option<PathBuf>,
    /// Bundle whose ONNX file is evaluated
    #[arg(long)]
    pub bundle: Option<PathBuf>,
    /// Data set in the MURA layout, or a packed cache of one
    #[arg(long)]
    pub data: PathBuf,
    /// train or valid
    #[arg(long, default_value = "valid")]
    pub split: Split,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Evaluates and prints the report to standard output.
///
/// # Errors
/// When the data, the run or the bundle cannot be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let report = match (&args.run, &args.bundle) {
        (Some(run), _) => evaluate_run(run, args)?,
        (None, Some(bundle)) => evaluate_bundle(bundle, args)?,
        (None, None) => anyhow::bail!("clap let a command line without --run and --bundle through"),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

fn evaluate_run(run: &Path, args: &Args) -> anyhow::Result<Report> {
    let device = device::parse(&args.device)?;
    let run = Run::open(run)?;
    let (_store, net) = run.load_best(device)?;
    let planes = load(&args.data, args.split, &run.spec)?;
    let forward = |x: &tch::Tensor| {
        no_grad(|| Ok::<_, std::convert::Infallible>(net.forward_t(&x.to_device(device), false).logit))
    };
    let logits = eval::logits(&planes, forward).map_err(bad_model)?;
    Ok(eval::report(&planes, &logits, args.split, None))
}

fn evaluate_bundle(directory: &Path, args: &Args) -> anyhow::Result<Report> {
    let device = device::parse(&args.device)?;
    let bundle = Bundle::load(directory).map_err(bundle_fault)?;
    let model = Interpreter::new(bundle.model(), device)
        .map_err(|error| Fault::BadData(format!("{}: {error}", directory.display())))?;
    let spec = &bundle.manifest.input;
    if model.input_shape()[2..] != [i64::from(spec.height_px), i64::from(spec.width_px)] {
        let directory = directory.display();
        return Err(Fault::BadData(format!(
            "{directory}: the model's input is {:?}, its manifest says {}x{}; export it again",
            model.input_shape(),
            spec.width_px,
            spec.height_px
        ))
        .into());
    }
    let planes = load(&args.data, args.split, spec)?;
    let logits = eval::logits(&planes, |x| Ok(model.run(x)?.logit))
        .map_err(bad_model::<crate::export::interpret::InterpretError>)?;
    Ok(eval::report(&planes, &logits, args.split, Some(&bundle.manifest)))
}

/// The planes of a split; what was skipped or could not be read goes to the log.
pub(super) fn load(
    data: &Path,
    split: Split,
    spec: &contract::preprocess::PreprocessSpec,
) -> anyhow::Result<Planes> {
    let index = Index::open(data)?;
    for (path, reason) in &index.skipped {
        log::warn!("skipped {path}: {reason}");
    }
    let studies = index.split(split);
    if studies.is_empty() {
        let data = data.display();
        return Err(
            Fault::BadData(format!("{data} has no studies in {split}: choose the other --split")).into()
        );
    }
    let planes = index.planes(studies, spec)?;
    for (path, reason) in &planes.unreadable {
        log::warn!("cannot read {path}: {reason}");
    }
    Ok(planes)
}

/// A model that fails on the split cannot be used.
pub(super) fn bad_model<E: std::fmt::Display>(error: EvalError<E>) -> Fault {
    Fault::BadData(error.to_string())
}

/// The exit code's view of a bundle that cannot be read or written.
pub(super) fn bundle_fault(error: BundleError) -> Fault {
    match error {
        BundleError::Missing(_) => Fault::InputMissing(error.to_string()),
        BundleError::Io { doing, source } => Fault::Io { doing, source },
        error => Fault::BadData(error.to_string()),
    }
}
