//! `trainer predict`: what a network says of radiographs, and where it looked.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use contract::radiograph::{DicomFacts, Radiograph};
use contract::result::{ActivationMap, NOTICE, notice};
use contract::study::{Answer, StudyType, study_score};
use image::{ImageFormat, RgbImage};
use maud::{Markup, html};
use serde::Serialize;

use super::evaluate::bundle_fault;
use crate::cam::{self, EVIDENCE_MAX, Overlay};
use crate::exit::Fault;
use crate::export::bundle::Bundle;
use crate::export::interpret::Interpreter;
use crate::predict::{Input, Prediction, Predictor, gather, read_radiograph, study_type};
use crate::run::Run;
use crate::run::files::{io_fault, write_atomic};
use crate::{device, page};

/// The page beside the overlays.
const PAGE_FILE: &str = "index.html";
/// Overlays that the page holds at most, so that a browser can open it.
const PICTURES_MAX: usize = 200;
/// The longest part of an input's name that an overlay's name repeats, in characters.
const NAME_MAX: usize = 80;

/// Arguments of `predict`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "bundle"])))]
pub struct Args {
    /// Run whose best network predicts; probabilities are not calibrated
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Bundle whose ONNX file predicts; probabilities are calibrated
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Folder for one overlay per image (where the network looked, over the radiograph) and a page with all of them
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Local evidence that has the brightest colour, in logits; the same for every image
    #[arg(long, value_name = "LOGITS", default_value_t = EVIDENCE_MAX, value_parser = positive)]
    pub cam_max: f64,
    /// What was radiographed, such as XR_WRIST, for a bundle's answer; else an XR_* folder in the path or DICOM's
    /// BodyPartExamined says it
    #[arg(long, value_name = "TYPE")]
    pub study_type: Option<StudyType>,
    /// Print one JSON line per study
    #[arg(long)]
    pub json: bool,
    /// With --json: the class activation maps too, as the network gives them
    #[arg(long, requires = "json")]
    pub activation_map: bool,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Radiographs (PNG, JPEG, TIFF, PNM, DICOM) and folders: a file is a study of one view, each folder that holds
    /// images is a study
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("expected a number above 0".to_owned()) }
}

/// A study's line of `--json`.
#[derive(Debug, Serialize)]
struct Study {
    /// The path as it was given, or a folder below it.
    input: String,
    study_type: Option<StudyType>,
    /// Mean of the views' probabilities; null when none could be read.
    probability: Option<f64>,
    /// Whether probabilities are calibrated.
    calibrated: bool,
    /// A bundle's answer at its operating points.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
    views: Vec<View>,
    notice: String,
}

#[derive(Debug, Serialize)]
struct View {
    path: String,
    probability: Option<f64>,
    logit: Option<f64>,
    /// The overlay's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_map: Option<ActivationMap>,
    /// Why the view could not be scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Predicts study by study, in the order given, and prints each as soon as it is done.
///
/// # Errors
/// When the run or bundle cannot be used or nothing can be written; at the end, when some files could not be scored.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let predictor = predictor(args)?;
    if let Some(out) = &args.out {
        fs::create_dir_all(out).map_err(io_fault(format!("making {}", out.display())))?;
    }
    let mut job = Job { args, predictor, figures: Vec::new(), images: 0, failed: 0, only_missing: true };
    for path in &args.paths {
        match gather(path) {
            Ok(studies) => {
                for study in studies {
                    let study = job.study(&study)?;
                    print(args, &study)?;
                }
            }
            Err(fault) => {
                job.images += 1;
                job.fail(&fault);
                log::error!("{fault}");
            }
        }
    }
    job.finish()
}

fn predictor(args: &Args) -> anyhow::Result<Predictor> {
    let device = device::parse(&args.device)?;
    match (&args.run, &args.bundle) {
        (Some(run), _) => Ok(Predictor::of_run(&Run::open(run)?, device)?),
        (None, Some(directory)) => {
            let bundle = Bundle::load(directory).map_err(bundle_fault)?;
            let model = Interpreter::new(bundle.model(), device)
                .map_err(|error| Fault::BadData(format!("{}: {error}", directory.display())))?;
            Ok(Predictor::of_bundle(model, bundle.manifest))
        }
        (None, None) => anyhow::bail!("clap let a command line without --run and --bundle through"),
    }
}

/// What is collected over all studies.
struct Job<'a> {
    args: &'a Args,
    predictor: Predictor,
    figures: Vec<Markup>,
    images: usize,
    failed: usize,
    /// Whether every failure was a path without a file.
    only_missing: bool,
}

impl Job<'_> {
    fn fail(&mut self, fault: &Fault) {
        self.failed += 1;
        self.only_missing &= matches!(fault, Fault::InputMissing(_));
    }

    /// Scores a study; a view that cannot be scored is said and passed over.
    fn study(&mut self, input: &Input) -> Result<Study, Fault> {
        let mut views = Vec::new();
        let mut found_type = self.args.study_type.clone();
        for path in &input.files {
            self.images += 1;
            let scored = read_radiograph(path).map_err(Fault::BadData).and_then(|(radiograph, dicom)| {
                let prediction = self.predictor.predict(&radiograph)?;
                Ok((radiograph, dicom, prediction))
            });
            views.push(match scored {
                Ok((radiograph, dicom, prediction)) => {
                    found_type = found_type.or_else(|| study_type(&input.path, dicom.as_ref()));
                    self.view(path, &radiograph, prediction)?
                }
                Err(fault) => {
                    self.fail(&fault);
                    log::error!("{}: {fault}", path.display());
                    let path = path.display().to_string();
                    let error = Some(fault.to_string());
                    View { path, probability: None, logit: None, overlay: None, activation_map: None, error }
                }
            });
        }
        let found_type = found_type.or_else(|| study_type(&input.path, None::<&DicomFacts>));
        let probability = study_score(&views.iter().filter_map(|view| view.probability).collect::<Vec<_>>());
        let manifest = self.predictor.manifest();
        let answer = probability.and_then(|p| Some(manifest?.answer(None, found_type.as_ref(), p).answer));
        Ok(Study {
            input: input.path.display().to_string(),
            study_type: found_type,
            probability,
            calibrated: manifest.is_some(),
            answer,
            views,
            notice: self.notice(),
        })
    }

    /// A view's line, its overlay written.
    fn view(&mut self, path: &Path, radiograph: &Radiograph, found: Prediction) -> Result<View, Fault> {
        let overlay = match &self.args.out {
            None => None,
            Some(out) => {
                let png = self.overlay(radiograph, &found)?;
                let file = out.join(overlay_name(self.images, path));
                write_atomic(&file, &png)?;
                if self.figures.len() < PICTURES_MAX {
                    let caption = format!("{}: probability {:.3}", file_name(path), found.probability);
                    self.figures.push(page::picture(&png, &caption));
                }
                Some(file.display().to_string())
            }
        };
        Ok(View {
            path: path.display().to_string(),
            probability: Some(found.probability),
            logit: Some(found.logit),
            overlay,
            activation_map: self.args.activation_map.then_some(found.activation_map),
            error: None,
        })
    }

    /// The overlay's PNG. It holds pixels only, no metadata of the input.
    fn overlay(&self, radiograph: &Radiograph, found: &Prediction) -> Result<Vec<u8>, Fault> {
        let temperature = self.predictor.calibration().temperature;
        let calibrated = if self.predictor.manifest().is_some() { "calibrated" } else { "not calibrated" };
        let lines = [
            format!("p {:.3}, logit {:.2} ({calibrated})", found.probability, found.logit / temperature),
            self.notice(),
        ];
        let overlay = Overlay {
            radiograph,
            spec: self.predictor.spec(),
            evidence: &cam::evidence(&found.activation_map, found.logit, temperature),
            evidence_max: self.args.cam_max,
            lines: &lines,
        };
        let picture = overlay.draw().map_err(|error| Fault::BadData(error.to_string()))?;
        png(&picture)
    }

    fn notice(&self) -> String {
        self.predictor.manifest().map_or(NOTICE, |manifest| notice(manifest.purpose)).to_owned()
    }

    /// Writes the page and says what failed.
    fn finish(self) -> anyhow::Result<()> {
        if let Some(out) = self.args.out.as_ref().filter(|_| !self.figures.is_empty()) {
            let file = out.join(PAGE_FILE);
            write_atomic(&file, self.page().as_bytes())?;
            log::info!("wrote {} overlays and {}", self.images - self.failed, file.display());
        }
        if self.failed == 0 {
            return Ok(());
        }
        let (failed, images) = (self.failed, self.images);
        let message = format!("{failed} of {images} inputs could not be scored; the lines above say why");
        Err(if self.only_missing { Fault::InputMissing(message) } else { Fault::BadData(message) }.into())
    }

    fn page(&self) -> String {
        let more = (self.images - self.failed).saturating_sub(self.figures.len());
        let body = html! {
            p.caution { (self.notice()) }
            p {
                "Colours show local evidence: the logit that the network would give a radiograph that looked \
                 everywhere as it looks there. 0 and below is clear; " (self.args.cam_max) " logits and above has the \
                 brightest colour. The scale is the same for every radiograph; the mean over a radiograph is its own \
                 logit. The map is as coarse as the network's last features and is upscaled bilinearly."
            }
            @if more > 0 { p { (more) " more overlays are in the folder of this page." } }
            div.figures { @for figure in &self.figures { (figure) } }
        };
        page::page("Predictions", "What the network says of each radiograph and where it looked", &body)
    }
}

fn png(picture: &RgbImage) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    picture
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .map_err(|error| Fault::BadData(format!("writing an overlay as PNG: {error}")))?;
    Ok(bytes)
}

/// A number, as names repeat between studies, and the input's own name; no folder's name, as folders are often named
/// after patients.
fn overlay_name(number: usize, path: &Path) -> String {
    let stem: String =
        path.file_stem().unwrap_or_default().to_string_lossy().chars().take(NAME_MAX).collect();
    let stem = stem.replace(|c: char| c.is_control() || c == '/', "_");
    format!("{number:04}-{stem}.png")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn print(args: &Args, study: &Study) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(study)?);
        return Ok(());
    }
    let Some(probability) = study.probability else {
        println!("{}: not scored", study.input);
        return Ok(());
    };
    let scored = study.views.iter().filter(|view| view.probability.is_some()).count();
    let calibrated = if study.calibrated { "" } else { " (not calibrated)" };
    let answer = study.answer.map(|answer| format!(", {}", word(answer))).unwrap_or_default();
    println!(
        "{}: probability {probability:.3}{calibrated}{answer}, {scored} of {} views",
        study.input,
        study.views.len()
    );
    for view in &study.views {
        if let (Some(probability), Some(logit)) = (view.probability, view.logit) {
            let overlay = view.overlay.as_ref().map(|file| format!(" -> {file}")).unwrap_or_default();
            println!("  {}: {probability:.3}, logit {logit:.3}{overlay}", file_name(Path::new(&view.path)));
        }
    }
    Ok(())
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Normal => "normal",
        Answer::Uncertain => "uncertain",
        Answer::Abnormal => "abnormal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_repeats_no_folder_and_no_odd_character() {
        assert_eq!(overlay_name(3, Path::new("/patient00042/study1/image1.png")), "0003-image1.png");
        assert_eq!(overlay_name(12, Path::new("a\nb.dcm")), "0012-a_b.png");
        assert_eq!(overlay_name(1, Path::new(&"x".repeat(300))).len(), 5 + NAME_MAX + 4);
    }
}
