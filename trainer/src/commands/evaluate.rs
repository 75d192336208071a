//! `trainer evaluate`: how good a run, an ensemble or a bundle is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::{Index, Planes, Split, TRUTH_FILE};
use crate::device;
use crate::eval::{self, About, EvalError, Findings, Report};
use crate::exit::Fault;
use crate::export::bundle::{Bundle, BundleError};
use crate::export::interpret::Interpreter;
use crate::run::files::{io_fault, write_atomic};
use crate::run::{BEST_DIR, Run};
use contract::preprocess::PreprocessSpec;

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "bundle"])))]
pub struct Args {
    /// Run whose best network is evaluated; given more than once, the runs are an ensemble: an image's
    /// probability is the mean of theirs
    #[arg(long, value_name = "RUN")]
    pub run: Vec<PathBuf>,
    /// Bundle whose ONNX file is evaluated
    #[arg(long)]
    pub bundle: Option<PathBuf>,
    /// Networks of each run: only that of its lowest validation loss, or all that it keeps, as an ensemble
    #[arg(long, value_enum, default_value = "lowest", conflicts_with = "bundle")]
    pub members: Members,
    /// Data set in the MURA layout, or a packed cache of one
    #[arg(long)]
    pub data: PathBuf,
    /// train or valid
    #[arg(long, default_value = "valid")]
    pub split: Split,
    /// What abnormal studies show, as CSV: `path` (the study below the data set's root) and either `finding` or
    /// columns of 0 and 1; findings are fracture, hardware, degenerative and other [default: DATA/truth.csv, where
    /// `synth` wrote one]
    #[arg(long, value_name = "CSV")]
    pub findings: Option<PathBuf>,
    /// Directory for report.html (one page with everything), evaluation.json and the pictures as SVG
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Which networks of a run are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Members {
    /// `best.safetensors`
    Lowest,
    /// Every file in `best/`
    Best,
}

/// Evaluates and prints the report to standard output.
///
/// # Errors
/// When the data, the run or the bundle cannot be used, or the report cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut report = match &args.bundle {
        Some(bundle) => evaluate_bundle(bundle, args)?,
        None => evaluate_runs(args)?,
    };
    report.about.data = args.data.display().to_string();
    report.about.phantoms = args.data.join(TRUTH_FILE).is_file();
    if let Some(directory) = &args.out {
        write(&report, directory)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
        if let Some(directory) = &args.out {
            println!("written: {}", directory.join("report.html").display());
        }
    }
    Ok(())
}

/// A data set of which one split is measured.
struct Data {
    index: Index,
    findings: Option<Findings>,
}

impl Data {
    fn open(args: &Args) -> anyhow::Result<Self> {
        let index = scan(&args.data)?;
        let findings = match &args.findings {
            Some(path) => {
                let all = Split::ALL.into_iter().flat_map(|split| index.split(split));
                let known: BTreeSet<&str> = all.map(|study| study.path.as_str()).collect();
                Some(Findings::read(path, &known)?)
            }
            None => Findings::of_phantoms(&args.data)?,
        };
        if let (Some(findings), None) = (&findings, &args.findings) {
            log::info!("findings from {}", findings.source);
        }
        // Before the scoring, which may take long.
        if let Some(directory) = &args.out {
            fs::create_dir_all(directory).map_err(io_fault(format!("making {}", directory.display())))?;
        }
        Ok(Self { index, findings })
    }
}

fn evaluate_runs(args: &Args) -> anyhow::Result<Report> {
    let device = device::parse(&args.device)?;
    let mut networks = Vec::new();
    let mut opened = BTreeSet::new();
    for directory in &args.run {
        let run = Run::open(directory)?;
        if !opened.insert(directory.canonicalize().unwrap_or_else(|_| directory.clone())) {
            let directory = directory.display();
            return Err(Fault::BadData(format!("{directory} is named twice: name each run once")).into());
        }
        match args.members {
            Members::Lowest => networks.push((run.clone(), run.best_path())),
            Members::Best => networks.extend(kept(&run)?.into_iter().map(|path| (run.clone(), path))),
        }
    }
    let data = Data::open(args)?;
    let mut loaded: Vec<Planes> = Vec::new();
    let mut logits: Vec<Vec<f64>> = Vec::new();
    for (number, (run, path)) in networks.iter().enumerate() {
        let (_store, net) =
            if *path == run.best_path() { run.load_best(device)? } else { run.load(path, device)? };
        if !loaded.iter().any(|planes| planes.spec == run.spec) {
            loaded.push(planes(&data.index, args.split, &run.spec)?);
        }
        let Some(planes) = loaded.iter().find(|planes| planes.spec == run.spec) else { continue };
        if planes.studies != loaded[0].studies {
            let (dir, first) = (run.dir.display(), args.run[0].display());
            return Err(Fault::BadData(format!(
                "at the input sizes of {first} and {dir} different images can be read: evaluate them one by one"
            ))
            .into());
        }
        log::info!("network {} of {}: {}", number + 1, networks.len(), path.display());
        logits.push(eval::network_logits(&net, device, planes).map_err(bad_model)?);
    }
    let members: Vec<&[f64]> = logits.iter().map(Vec::as_slice).collect();
    let mut report = Report::new(&loaded[0], &members, args.split, None, data.findings.as_ref());
    report.about = about(&networks);
    Ok(report)
}

fn about(networks: &[(Run, PathBuf)]) -> About {
    let trained = networks.iter().map(|(run, _)| {
        let facts = &run.data;
        let size = format!("{}x{} px", run.spec.width_px, run.spec.height_px);
        format!("{} images of {} studies at {size}", facts.train_images, facts.train_studies)
    });
    // In the order of the members, each once.
    let mut trained_on: Vec<String> = Vec::new();
    for words in trained {
        if !trained_on.contains(&words) {
            trained_on.push(words);
        }
    }
    About {
        members: networks.iter().map(|(_, path)| path.display().to_string()).collect(),
        trained_on: trained_on.join("; "),
        ..About::default()
    }
}

/// The weights of a run's best epochs.
fn kept(run: &Run) -> Result<Vec<PathBuf>, Fault> {
    let directory = run.dir.join(BEST_DIR);
    let shown = directory.display();
    if !directory.is_dir() {
        return Err(Fault::InputMissing(format!(
            "there is no {shown}: the run keeps one network only; leave --members out, or train with `keep_best` above 1"
        )));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).map_err(io_fault(format!("listing {shown}")))? {
        let path = entry.map_err(io_fault(format!("listing {shown}")))?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Fault::InputMissing(format!(
            "{shown} holds no .safetensors file: train the run further"
        )));
    }
    Ok(files)
}

fn evaluate_bundle(directory: &Path, args: &Args) -> anyhow::Result<Report> {
    let device = device::parse(&args.device)?;
    let bundle = Bundle::load(directory).map_err(bundle_fault)?;
    let model = Interpreter::new(bundle.model(), device)
        .map_err(|error| Fault::BadData(format!("{}: {error}", directory.display())))?;
    let manifest = &bundle.manifest;
    let spec = &manifest.input;
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
    let data = Data::open(args)?;
    let planes = planes(&data.index, args.split, spec)?;
    let logits = eval::logits(&planes, |x| Ok(model.run(x)?.logit))
        .map_err(bad_model::<crate::export::interpret::InterpretError>)?;
    let mut report = Report::new(&planes, &[&logits], args.split, Some(manifest), data.findings.as_ref());
    report.about.members =
        vec![format!("{} ({} version {})", directory.display(), manifest.name, manifest.version)];
    let training = &manifest.training;
    report.about.trained_on = format!("{}, {} images", training.dataset, training.train_images);
    Ok(report)
}

/// Writes the report, its JSON and its pictures.
fn write(report: &Report, directory: &Path) -> anyhow::Result<()> {
    let pictures = eval::pictures(report)?;
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    for (name, svg) in pictures.files() {
        write_atomic(&directory.join(name), svg.as_bytes())?;
    }
    write_atomic(&directory.join("evaluation.json"), &json)?;
    write_atomic(&directory.join("report.html"), eval::page(report, &pictures).as_bytes())?;
    Ok(())
}

/// The data set; what was skipped goes to the log.
pub(super) fn scan(data: &Path) -> anyhow::Result<Index> {
    let index = Index::open(data)?;
    for (path, reason) in &index.skipped {
        log::warn!("skipped {path}: {reason}");
    }
    Ok(index)
}

/// The planes of a split; what could not be read goes to the log.
pub(super) fn planes(index: &Index, split: Split, spec: &PreprocessSpec) -> anyhow::Result<Planes> {
    let studies = index.split(split);
    if studies.is_empty() {
        let data = index.root.display();
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
