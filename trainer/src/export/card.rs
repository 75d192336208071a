//! `model-card.md`: what the bundle's model is, from the run's own facts, under the headings of Mitchell et al.
//! (Model Cards for Model Reporting, arXiv 1810.03993).

use std::collections::BTreeMap;
use std::fmt::Write;

use contract::bundle::{Achieved, CrossFit, Purpose};
use contract::preprocess::Aspect;
use contract::study::StudyType;

use super::bundle::Contents;
use super::crossfit::{Scored, judged};
use crate::eval::THRESHOLD;
use crate::metrics::{self, Case, RESAMPLES, bootstrap_ci95};
use crate::run::{History, PruneRecord, Run};

/// The seed of intervals, so that an export repeats.
const SEED: u64 = 0x756c_6e61;

/// What a card says that is not in the bundle's other parts.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The run.
    pub run: &'a Run,
    /// How it was pruned.
    pub pruned: Option<PruneRecord>,
    /// Its epochs.
    pub history: Option<History>,
    /// The validation split.
    pub studies: Vec<Scored>,
    /// Images of the validation split that could not be read.
    pub unreadable: usize,
    /// The largest |delta| / max(1, |logit|) of the ONNX file on the golden pairs.
    pub golden_drift: f64,
    /// Licence of the data, in words.
    pub data_licence: String,
}

/// The card, as Markdown.
pub fn text(contents: &Contents, facts: &Facts<'_>) -> String {
    let mut card = format!("# Model card: {}, version {}\n\n", contents.name, contents.version);
    if contents.purpose == Purpose::Demo {
        card.push_str("**DEMONSTRATION MODEL: not for patients.** Its answers mean nothing clinically.\n\n");
    }
    card.push_str("Every number here was measured by the trainer on the data named below; none is a clinical claim.\n\n");
    let sections = [
        ("Model details", details(contents, facts)),
        ("Intended use", intended_use(contents)),
        ("Factors", factors(contents)),
        ("Metrics", metrics_words(contents)),
        ("Evaluation data", evaluation_data(contents, facts)),
        ("Training data", training_data(contents, facts)),
        ("Quantitative analyses", analyses(contents, facts)),
        ("Ethical considerations", ETHICS.to_owned()),
        ("Caveats and recommendations", caveats(contents)),
        ("Recipe", format!("`train.toml` of the run:\n\n```toml\n{}```\n", recipe(facts.run))),
    ];
    for (heading, body) in sections {
        let _ = write!(card, "## {heading}\n\n{}\n\n", body.trim_end());
    }
    card.truncate(card.trim_end().len());
    card.push('\n');
    card
}

const ETHICS: &str = "\
- A radiograph is a patient's: data for training, validation and golden images are used under the terms of their source \
(see training data). The golden images of this bundle are validation images at the input size, without metadata; where \
the source forbids passing images on, the bundle must not be passed on either.
- A wrong `normal` can delay a treatment, a wrong `abnormal` can cause an unneeded one; a clinician reads every study \
whatever the answer.
- The data's patients are those of its hospitals: groups that are rare there (by age, sex, body size, device, hardware or \
rare findings) were not measured apart unless a table below names them.";

fn details(contents: &Contents, facts: &Facts<'_>) -> String {
    let training = &contents.training;
    let (width, height) = (contents.input.width_px, contents.input.height_px);
    let aspect = match contents.input.aspect {
        Aspect::Letterbox => "fitted and centred on black",
        Aspect::Squash => "stretched to the input",
    };
    let mut text = format!(
        "- Architecture: {} (Huang et al., arXiv 1608.06993) with one logit; {:.2} million weights and biases, \
         {:.1} million multiply-accumulates per radiograph ({:.1} % of DenseNet169's), `model.onnx` of {:.2} MB.\n\
         - Input: {width}x{height} px, one grey plane on three channels, {aspect}; scaled to 0..1, less the mean {:?}, \
         divided by {:?}. Raw frames and DICOM without a VOI window are windowed with {} of the darkest and {} of the \
         brightest samples cut off.\n\
         - Output: an uncalibrated logit and a class activation map. Probability of a view: sigmoid(logit / {:.4}); of \
         a study: the mean over its views.\n\
         - Trained with trainer {}.\n",
        training.architecture,
        training.parameters as f64 / 1e6,
        training.macs as f64 / 1e6,
        100.0 * training.macs_share,
        contents.model.len() as f64 / 1e6,
        contents.input.mean,
        contents.input.std,
        contents.input.window_low,
        contents.input.window_high,
        contents.calibration.temperature,
        training.trainer_version
    );
    if let Some(History { epochs, best_epoch }) = facts.history {
        let best = best_epoch
            .map(|epoch| format!("; the weights are those after epoch {epoch}"))
            .unwrap_or_default();
        let _ = writeln!(text, "- Epochs: {epochs}{best}, the lowest validation loss.");
    }
    match &facts.pruned {
        None => text.push_str("- Not pruned by this run.\n"),
        Some(record) => text.push_str(&pruning(contents, record)),
    }
    text
}

fn pruning(contents: &Contents, record: &PruneRecord) -> String {
    let mut text = "- Pruned: whole channels and layers were removed and the rest fine-tuned".to_owned();
    if let Some(share) = record.macs_target_share {
        let _ = write!(text, " (asked for {share} of the multiply-accumulates)");
    }
    if let Some(before) = &record.widths_before {
        let macs = before.macs(contents.input.width_px);
        let _ = write!(
            text,
            "; at this input size from {:.1} to {:.1} million multiply-accumulates ({:.1} %), from {:.2} to {:.2} \
             million weights and biases",
            macs as f64 / 1e6,
            contents.training.macs as f64 / 1e6,
            100.0 * contents.training.macs as f64 / macs as f64,
            before.parameters() as f64 / 1e6,
            contents.training.parameters as f64 / 1e6
        );
    }
    text.push_str(".\n");
    text
}

fn intended_use(contents: &Contents) -> String {
    let types: Vec<&str> = contents.study_types.iter().map(StudyType::as_str).collect();
    format!(
        "{}\n\n- Study types: {}. A study of another type is scored, but its answer is withheld.\n\
         - Decision support only. Out of scope: diagnosis without a clinician, deciding who is not looked at, radiographs \
         of other body parts, other modalities, and saying what an abnormality is.",
        contents.intended_use,
        types.join(", ")
    )
}

fn factors(contents: &Contents) -> String {
    let own = contents.operating_points.per_type.len();
    format!(
        "Results are given per study type. {own} of {} study types have operating points of their own; the others use \
         the pooled ones. Age, sex, device, projection and kind of finding are not known to the trainer and not \
         measured here.",
        contents.study_types.len()
    )
}

fn metrics_words(contents: &Contents) -> String {
    let points = &contents.operating_points;
    let mut text =
        "AUROC and Cohen's kappa over studies, with 95 % bootstrap intervals over patients. Three answers: `normal` \
         below the rule-out point, `abnormal` from the rule-in point on, `uncertain` between; kappa is also given at \
         the `decision` point.\n\n| points | rule-out | rule-in | decision |\n|---|---|---|---|\n"
        .to_owned();
    let rows = points.per_type.iter().map(|(t, p)| (t.as_str(), p));
    for (name, p) in [("pooled", &points.pooled)].into_iter().chain(rows) {
        let crossed = if p.crossed { " (had crossed)" } else { "" };
        let _ =
            writeln!(text, "| {name}{crossed} | {:.4} | {:.4} | {:.4} |", p.rule_out, p.rule_in, p.decision);
    }
    text
}

fn evaluation_data(contents: &Contents, facts: &Facts<'_>) -> String {
    let patients: std::collections::BTreeSet<&str> =
        facts.studies.iter().map(|study| study.patient.as_str()).collect();
    format!(
        "The validation split of {}: {} studies of {} patients, {} of them abnormal, {} images ({} more could not be \
         read). No patient is in the training split. The same split chose the epoch, the temperature and the operating \
         points: there is no test set.",
        contents.training.dataset,
        facts.studies.len(),
        patients.len(),
        facts.studies.iter().filter(|study| study.abnormal).count(),
        facts.studies.iter().map(|study| study.logits.len()).sum::<usize>(),
        facts.unreadable
    )
}

fn training_data(contents: &Contents, facts: &Facts<'_>) -> String {
    let data = &facts.run.data;
    let types: Vec<&str> = data.study_types.iter().map(StudyType::as_str).collect();
    format!(
        "{}: {} images of {} studies ({}).\n\nLicence of the data: {}",
        contents.training.dataset,
        data.train_images,
        data.train_studies,
        types.join(", "),
        facts.data_licence
    )
}

fn analyses(contents: &Contents, facts: &Facts<'_>) -> String {
    let mut groups: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for study in &facts.studies {
        groups.entry(study.study_type.as_str()).or_default().push(study);
    }
    let mut text = format!(
        "### On the validation split\n\nWith the temperature found on it; kappa at {THRESHOLD}.\n\n\
         | | studies | abnormal | AUROC | kappa |\n|---|---|---|---|---|\n"
    );
    let all = facts.studies.iter().collect::<Vec<_>>();
    for (name, studies) in [("all", all)].into_iter().chain(groups) {
        let cases: Vec<Case> = judged(&studies, contents.calibration)
            .into_iter()
            .map(|(_, p, abnormal)| (p, abnormal))
            .collect();
        let patients: Vec<&str> = studies.iter().map(|study| study.patient.as_str()).collect();
        let abnormal = cases.iter().filter(|case| case.1).count();
        let both = abnormal > 0 && abnormal < cases.len();
        let measure = |statistic: fn(&[Case]) -> Option<f64>| {
            let value = statistic(&cases).filter(|_| both);
            interval(value, value.and_then(|_| bootstrap_ci95(&cases, &patients, RESAMPLES, SEED, statistic)))
        };
        let _ = writeln!(
            text,
            "| {name} | {} | {abnormal} | {} | {} |",
            studies.len(),
            measure(metrics::auroc),
            measure(|cases| metrics::kappa(cases, THRESHOLD))
        );
    }
    if let Some(found) = &contents.cross_fit {
        text.push_str(&cross_fitted(found));
    }
    let _ = write!(
        text,
        "\n### The file is the network\n\n{} golden images; `model.onnx` gives libtorch's logits on them within {:.1e} of \
         max(1, |logit|). Every station reproduces them before it uses the model.\n",
        contents.golden.len(),
        facts.golden_drift
    );
    text
}

fn cross_fitted(found: &CrossFit) -> String {
    let mut text = "\n### Operating points on patients that they were not found on\n\n".to_owned();
    let Some(pooled) = &found.pooled else {
        let reason = found.reason.as_deref().unwrap_or("no reason was recorded");
        let _ =
            writeln!(text, "Not measured: {reason}. On new patients expect less than the points promise.");
        return text;
    };
    let _ = writeln!(
        text,
        "Cross-fitting: {} patients in {} folds; temperature and points are found on all folds but one (rule-out at a \
         sensitivity of {}, rule-in at a specificity of {}) and judge the studies of that one. {}",
        found.patients,
        found.folds,
        found.rule_out_sensitivity_target,
        found.rule_in_specificity_target,
        found.caveat
    );
    text.push_str(
        "\n| | studies | abnormal | sensitivity at rule-out | specificity at rule-in | uncertain | kappa at decision |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let rows = found.per_type.iter().map(|(study_type, achieved)| (study_type.as_str(), achieved));
    for (name, achieved) in [("all", pooled)].into_iter().chain(rows) {
        let Achieved { studies, abnormal, normal, uncertain_share, .. } = achieved;
        let _ = writeln!(
            text,
            "| {name} | {studies} | {} | {} | {} | {} ({:.1} %) | {} |",
            abnormal.total(),
            interval(achieved.rule_out_sensitivity, achieved.rule_out_sensitivity_ci95),
            interval(achieved.rule_in_specificity, achieved.rule_in_specificity_ci95),
            abnormal.uncertain + normal.uncertain,
            100.0 * uncertain_share,
            interval(achieved.decision_kappa, achieved.decision_kappa_ci95)
        );
    }
    text
}

fn caveats(contents: &Contents) -> String {
    let mut text = "\
- Decision support only: the answers order and mark studies, a clinician reads them.
- Validated on one split of one data set. At another site, with other devices, exposures or patients, expect lower values \
and another calibration; measure before use, and find the operating points again on the site's own studies.
- The activation map shows where evidence lay, at a coarse resolution; it does not prove why.
- Half-seen body parts, casts, plates and marks, and frames that are no radiographs, are scored like any other.\n"
        .to_owned();
    if contents.purpose == Purpose::Demo {
        text.push_str(
            "- A station refuses this bundle unless its configuration allows demonstration models.\n",
        );
    }
    text
}

/// The run's settings, as they are saved with it.
fn recipe(run: &Run) -> String {
    toml::to_string(&run.config).unwrap_or_else(|error| format!("# not readable: {error}\n"))
}

fn interval(value: Option<f64>, ci95: Option<[f64; 2]>) -> String {
    match (value, ci95) {
        (Some(value), Some([low, high])) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        (Some(value), None) => format!("{value:.3}"),
        (None, _) => "-".to_owned(),
    }
}
