//! `trainer export`: a bundle for the station.

use std::path::{Path, PathBuf};

use contract::bundle::{BundleManifest, Purpose};
use contract::preprocess::PreprocessSpec;
use tch::Device;

use super::evaluate::{bad_model, bundle_fault, planes, scan};
use crate::dataset::{Index, Split, TRUTH_FILE};
use crate::exit::Fault;
use crate::export::calibrate::Targets;
use crate::export::{self, ExportError, Label, Verified, bundle, calibrate, card};
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
    /// Sensitivity that the rule-out points keep on the validation split
    #[arg(long, value_name = "SHARE", default_value_t = Targets::default().rule_out_sensitivity, value_parser = share)]
    pub rule_out_sensitivity: f64,
    /// Specificity that the rule-in points keep on the validation split
    #[arg(long, value_name = "SHARE", default_value_t = Targets::default().rule_in_specificity, value_parser = share)]
    pub rule_in_specificity: f64,
    /// Licence of the training data, for the model card; needed where the data set is not known here
    #[arg(long, value_name = "TEXT")]
    pub data_licence: Option<String>,
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

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if value > 0.0 && value <= 1.0 {
        Ok(value)
    } else {
        Err("expected a share above 0, at most 1".to_owned())
    }
}

/// Exports, then reads the bundle back, runs it on its golden images and prints what it holds.
///
/// # Errors
/// When the data or the run cannot be used, or the bundle cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let run = Run::open(&args.run)?;
    bundle::check_target(&args.out).map_err(bundle_fault)?;
    let index = scan(&args.data)?;
    let label = label(args, &run, &index)?;
    let spec = match args.size {
        Some(px) if px < SIDE_MIN_PX => {
            return Err(Fault::BadData(format!("--size {px} is below the network's {SIDE_MIN_PX} px")).into());
        }
        Some(px) => PreprocessSpec { width_px: px, height_px: px, ..run.spec.clone() },
        None => run.spec.clone(),
    };
    let planes = planes(&index, Split::Valid, &spec)?;
    log::info!("scoring {} images of {} studies", planes.len(), planes.studies.len());
    let (_store, net) = run.load_best(device)?;
    let logits = eval::network_logits(&net, device, &planes).map_err(bad_model)?;

    let (_store, net) = run.load_best(Device::Cpu)?;
    let targets = Targets {
        rule_out_sensitivity: args.rule_out_sensitivity,
        rule_in_specificity: args.rule_in_specificity,
    };
    let mut contents = export::assemble(&net, &planes, &logits, label, targets).map_err(fault)?;
    let facts = card::Facts {
        run: &run,
        pruned: run.prune_record()?,
        history: run.history()?,
        studies: export::scored(&planes, &logits),
        unreadable: planes.unreadable.len(),
        golden_drift: export::golden_drift(&contents).map_err(fault)?,
        data_licence: data_licence(args, &contents.training.dataset),
    };
    contents.model_card = card::text(&contents, &facts);
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

fn label(args: &Args, run: &Run, index: &Index) -> Result<Label, Fault> {
    let phantoms = args.data.join(TRUTH_FILE).is_file();
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
        dataset: dataset(index, phantoms),
        train_images: run.data.train_images,
        study_types: run.data.study_types.clone(),
    })
}

/// The data set in words: phantoms carry their truth beside them, others go by their directory's name.
fn dataset(index: &Index, phantoms: bool) -> String {
    if phantoms {
        return "phantoms (synthetic)".to_owned();
    }
    match index.name.as_str() {
        "" => "a data set in the MURA layout".to_owned(),
        name => name.to_owned(),
    }
}

/// What is known of the data's licence, in words.
fn data_licence(args: &Args, dataset: &str) -> String {
    let known = if dataset.starts_with("phantoms") {
        "Drawn by `trainer synth`: no patient's data, and no licence is needed."
    } else if dataset.to_ascii_uppercase().starts_with("MURA") {
        "The folder's name says MURA. Stanford gives MURA out under a research use agreement: non-commercial research, \
         no passing on of the data. Whoever exports this model has signed it and answers for whether the weights may \
         be passed on or used."
    } else {
        "Not stated. Whoever trained this model states the licence of the data: export again with --data-licence."
    };
    args.data_licence.clone().unwrap_or_else(|| known.to_owned())
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
    if let Some(found) = &manifest.cross_fit {
        match (&found.pooled, &found.reason) {
            (Some(achieved), _) => println!(
                "  on patients they were not found on ({} folds): sensitivity {} at rule-out, specificity {} at \
                 rule-in, {:.0} % uncertain, kappa {} at decision; optimistic all the same, as the epoch was chosen \
                 on this split",
                found.folds,
                shown(achieved.rule_out_sensitivity),
                shown(achieved.rule_in_specificity),
                100.0 * achieved.uncertain_share,
                shown(achieved.decision_kappa)
            ),
            (None, reason) => println!(
                "  not measured on other patients: {}",
                reason.as_deref().unwrap_or("no reason was recorded")
            ),
        }
    }
    println!("  {} golden pairs, largest drift {:.1e}", manifest.golden.len(), verified.drift_max);
}
