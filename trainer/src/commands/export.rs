//! `trainer export`: a bundle for the station.

use std::path::{Path, PathBuf};

use contract::bundle::{BundleManifest, Purpose};
use contract::preprocess::PreprocessSpec;
use tch::{Device, no_grad};

use super::evaluate::{bad_model, bundle_fault, load};
use crate::dataset::{Index, Split};
use crate::exit::Fault;
use crate::export::{self, ExportError, Label, Verified, bundle, calibrate};
use crate::model::SIDE_MIN_PX;
use crate::run::Run;
use crate::{device, eval};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// Run whose best network is exported
    #[arg(long)]
    pub run: PathBuf,
    /// Data set in the MURA layout, or a packed cache of one: for calibration, operating points and golden pairs
    #[arg(long)]
    pub data: PathBuf,
    /// Bundle directory to write; a bundle that is there is replaced
    #[arg(long)]
    pub out: PathBuf,
    /// Side of the square input; the run's own when not given
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// demo or clinical-evaluation
    #[arg(long, default_value = "demo", value_parser = purpose)]
    pub purpose: Purpose,
    /// The bundle's name
    #[arg(long, default_value = "ulna-densenet169")]
    pub name: String,
    /// The bundle's version; a higher one is newer
    #[arg(long, default_value_t = 1)]
    pub version: u32,
    /// auto, cpu or cuda:N: where the validation split is scored; golden pairs always come from the CPU
    #[arg(long, default_value = "auto")]
    pub device: String,
}

fn purpose(name: &str) -> Result<Purpose, String> {
    match name {
        "demo" => Ok(Purpose::Demo),
        "clinical-evaluation" => Ok(Purpose::ClinicalEvaluation),
        other => Err(format!("`{other}` is not a purpose: expected demo or clinical-evaluation")),
    }
}

/// Exports, then reads the bundle back, runs it on its golden images and prints what it holds.
///
/// # Errors
/// When the data or the run cannot be used, or the bundle cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let run = Run::open(&args.run)?;
    let label = label(args, &run)?;
    bundle::check_target(&args.out).map_err(bundle_fault)?;
    let spec = match args.size {
        Some(px) if px < SIDE_MIN_PX => {
            return Err(Fault::BadData(format!("--size {px} is below the network's {SIDE_MIN_PX} px")).into());
        }
        Some(px) => PreprocessSpec { width_px: px, height_px: px, ..run.spec.clone() },
        None => run.spec.clone(),
    };
    let planes = load(&args.data, Split::Valid, &spec)?;
    log::info!("scoring {} images of {} studies", planes.len(), planes.studies.len());
    let (_store, net) = run.load_best(device)?;
    let forward = |x: &tch::Tensor| {
        no_grad(|| Ok::<_, std::convert::Infallible>(net.forward_t(&x.to_device(device), false).logit))
    };
    let logits = eval::logits(&planes, forward).map_err(bad_model)?;

    let (_store, net) = run.load_best(Device::Cpu)?;
    let contents = export::assemble(&net, &planes, &logits, label).map_err(fault)?;
    let manifest = bundle::write(&args.out, contents).map_err(bundle_fault)?;
    let verified = export::verify(&args.out).map_err(fault)?;
    if calibrate::TEMPERATURE_RANGE.contains(&manifest.calibration.temperature) {
        log::warn!(
            "the temperature {} is at the end of its range: the validation split is too small or too easy to \
             calibrate on, or the network has hardly learned",
            manifest.calibration.temperature
        );
    }
    print(&args.out, &manifest, verified);
    Ok(())
}

fn label(args: &Args, run: &Run) -> Result<Label, Fault> {
    let phantoms = args.data.join("truth.csv").is_file();
    let intended_use = match (args.purpose, phantoms) {
        (Purpose::Demo, true) => "Shows that the software works on drawn phantoms; not for patients.",
        (Purpose::Demo, false) => "Shows that the software works; not for patients.",
        (Purpose::ClinicalEvaluation, true) => {
            let data = args.data.display();
            return Err(Fault::BadData(format!(
                "{data} holds drawn phantoms: a bundle measured on them cannot be for clinical evaluation; \
                 use --purpose demo or real radiographs"
            )));
        }
        (Purpose::ClinicalEvaluation, false) => {
            "Clinical evaluation of decision support under a study protocol, on radiographs of the listed study \
             types. A clinician reads every study whatever the answer; not for diagnosis."
        }
    };
    Ok(Label {
        name: args.name.clone(),
        version: args.version,
        purpose: args.purpose,
        intended_use: intended_use.to_owned(),
        dataset: dataset(&args.data, phantoms),
        train_images: run.data.train_images,
        study_types: run.data.study_types.clone(),
    })
}

/// The data set in words: phantoms carry their truth beside them, others go by their directory's name.
fn dataset(data: &Path, phantoms: bool) -> String {
    if phantoms {
        return "phantoms (synthetic)".to_owned();
    }
    match Index::open(data).map(|index| index.name) {
        Ok(name) if !name.is_empty() => name,
        _ => "a data set in the MURA layout".to_owned(),
    }
}

fn fault(error: ExportError) -> Fault {
    match error {
        ExportError::Bundle(error) => bundle_fault(error),
        error => Fault::BadData(error.to_string()),
    }
}

fn print(out: &Path, manifest: &BundleManifest, verified: Verified) {
    let facts = &manifest.training;
    let points = &manifest.operating_points;
    println!("wrote {} ({}, version {})", out.display(), manifest.name, manifest.version);
    println!("  {:.2} MB, {} parameters", verified.size_bytes as f64 / 1e6, facts.parameters);
    println!(
        "  {:.1} million multiply-accumulates at {}x{} px, {:.1} % of DenseNet169's",
        facts.macs as f64 / 1e6,
        manifest.input.width_px,
        manifest.input.height_px,
        100.0 * facts.macs_share
    );
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    println!(
        "  validation: {} studies, AUROC {}, kappa {} at {}",
        facts.valid_studies,
        shown(facts.valid_auroc),
        shown(facts.valid_kappa),
        eval::THRESHOLD
    );
    println!(
        "  temperature {:.3}; rule out below {:.3}, rule in from {:.3}, {} study types with points of their own",
        manifest.calibration.temperature,
        points.pooled.rule_out,
        points.pooled.rule_in,
        points.per_type.len()
    );
    println!("  {} golden pairs, largest drift {:.1e}", manifest.golden.len(), verified.drift_max);
}
