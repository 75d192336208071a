//! The bundle: a directory in which the trainer hands a model to the station.
//!
//! ```text
//! manifest.json    a [`BundleManifest`], format 1
//! model.onnx       opset 17; input `radiograph` f32 [1, 3, H, W]; outputs `logit` [1, 1] and
//!                  `activation_map` [1, h, w], the class activation map before scaling
//! golden/*.png     images whose logit under libtorch the manifest records
//! model-card.md    what the model is, in words; older bundles have none
//! manifest.json.minisig
//!                  minisign's signature of the manifest; needed where `edge model` installs the bundle
//! ```
//!
//! Every file but the manifest and its signature is listed with its SHA-256 and size; a station verifies all of them at
//! every load. So the manifest's signature is the whole bundle's. This module checks what can be checked without reading a
//! file.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::SetPoints;
use crate::preprocess::PreprocessSpec;
use crate::study::{Answer, OperatingPoints, StudyType, sigmoid};

/// The bundle format this code reads and writes.
pub const FORMAT: u32 = 1;
/// The manifest's file name in a bundle directory.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The file name of the manifest's signature in a bundle directory.
pub const SIGNATURE_FILE: &str = "manifest.json.minisig";
/// The model's file name in a bundle directory.
pub const MODEL_FILE: &str = "model.onnx";
/// The model card's file name in a bundle directory.
pub const MODEL_CARD_FILE: &str = "model-card.md";
/// The name of the model's input, f32 `[1, 3, H, W]`.
pub const INPUT_NAME: &str = "radiograph";
/// The name of the model's first output, f32 `[1, 1]`: the uncalibrated logit.
pub const LOGIT_NAME: &str = "logit";
/// The name of the model's second output, f32 `[1, h, w]`: the class activation map before scaling.
pub const ACTIVATION_MAP_NAME: &str = "activation_map";

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// Always [`FORMAT`].
    pub format: u32,
    /// The model's name, for people.
    pub name: String,
    /// The model's version; a higher one is newer.
    pub version: u32,
    /// The oldest version of `edge` that may use it, as `1.2.3`. Absent where any that reads this format may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_version_min: Option<String>,
    /// What the bundle may be used for.
    pub purpose: Purpose,
    /// When it was exported, RFC 3339 in UTC.
    pub created: String,
    /// Every file of the bundle except the manifest, by its path relative to the bundle directory.
    pub files: BTreeMap<String, FileFacts>,
    /// How a radiograph becomes the model's input.
    pub input: PreprocessSpec,
    /// How the model's logit becomes a probability.
    pub calibration: Calibration,
    /// The thresholds between the answers.
    pub operating_points: OperatingPointTable,
    /// The study types the model is meant for. Another type is scored, its answer withheld.
    pub study_types: BTreeSet<StudyType>,
    /// Images with their expected logits, to be reproduced before the bundle is used.
    pub golden: Vec<GoldenPair>,
    /// The largest drift allowed on the golden pairs: |delta| <= tolerance * max(1, |logit|).
    pub tolerance: Tolerance,
    /// Where the weights come from.
    pub training: TrainingFacts,
    /// Intended use, in words.
    pub intended_use: String,
    /// What calibration and operating points achieve on studies that they were not found on. Absent from
    /// bundles made before this was measured; no station needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_fit: Option<CrossFit>,
}

/// What a bundle may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Shows that the software works; a station refuses it unless its config allows it.
    Demo,
    /// For clinical evaluation under a study protocol.
    ClinicalEvaluation,
}

/// What a file of the bundle must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// Temperature scaling (Guo et al., arXiv 1706.04599): probability = sigmoid(logit / temperature).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The temperature; above zero.
    pub temperature: f64,
}

impl Calibration {
    /// The calibrated probability of abnormality of one view.
    pub fn probability(&self, logit: f64) -> f64 {
        sigmoid(logit / self.temperature)
    }
}

/// Operating points per study type, and the pooled ones for a type with too few studies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatingPointTable {
    /// Points over all study types together.
    pub pooled: OperatingPoints,
    /// Points of the types that had at least 30 positive and 30 negative studies.
    pub per_type: BTreeMap<StudyType, OperatingPoints>,
}

/// How calibration and operating points do on validation studies that they were not found on: patients are
/// dealt into folds; temperature and points are found on all folds but one and judge the studies of that one;
/// the judgements of all folds are counted together (cross-fitting).
///
/// The network's weights are the same in every fold, and their epoch (of a pruned network its fine-tuning too)
/// was chosen on this very split: also these values are optimistic, as `caveat` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossFit {
    /// The sensitivity that each fold's rule-out point keeps on the other folds.
    pub rule_out_sensitivity_target: f64,
    /// The specificity that each fold's rule-in point keeps on the other folds.
    pub rule_in_specificity_target: f64,
    /// How many folds there are.
    pub folds: u32,
    /// Patients dealt into them.
    pub patients: u64,
    /// Over all study types together; null when there are too few patients, see `reason`.
    pub pooled: Option<Achieved>,
    /// Over the studies of each type.
    pub per_type: BTreeMap<StudyType, Achieved>,
    /// Why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far the values can be trusted, in words.
    pub caveat: String,
}

/// What was counted over the studies of all held-out folds. Intervals are 95 % bootstrap intervals
/// `[low, high]` over patients; null where a class is missing or there are too few patients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Achieved {
    /// Studies.
    pub studies: u64,
    /// Answers to the abnormal ones.
    pub abnormal: AnswerCounts,
    /// Answers to the normal ones.
    pub normal: AnswerCounts,
    /// Share of abnormal studies that are not answered `normal`.
    pub rule_out_sensitivity: Option<f64>,
    /// Its interval.
    pub rule_out_sensitivity_ci95: Option<[f64; 2]>,
    /// Share of normal studies that are not answered `abnormal`.
    pub rule_in_specificity: Option<f64>,
    /// Its interval.
    pub rule_in_specificity_ci95: Option<[f64; 2]>,
    /// Share of studies that are answered `uncertain`.
    pub uncertain_share: f64,
    /// Cohen's kappa at the `decision` point.
    pub decision_kappa: Option<f64>,
    /// Its interval.
    pub decision_kappa_ci95: Option<[f64; 2]>,
}

/// How often each answer was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerCounts {
    /// `normal`.
    pub normal: u64,
    /// `uncertain`.
    pub uncertain: u64,
    /// `abnormal`.
    pub abnormal: u64,
}

impl AnswerCounts {
    /// Counts an answer.
    pub fn count(&mut self, answer: Answer) {
        match answer {
            Answer::Normal => self.normal += 1,
            Answer::Uncertain => self.uncertain += 1,
            Answer::Abnormal => self.abnormal += 1,
        }
    }

    /// All answers together.
    pub fn total(&self) -> u64 {
        self.normal + self.uncertain + self.abnormal
    }
}

/// Which points an answer was given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PointSource {
    /// The study type's own.
    StudyType,
    /// Those over all study types.
    Pooled,
}

impl OperatingPointTable {
    /// The points for a study type: its own, else the pooled ones.
    pub fn for_type(&self, study_type: &StudyType) -> (OperatingPoints, PointSource) {
        match self.per_type.get(study_type) {
            Some(points) => (*points, PointSource::StudyType),
            None => (self.pooled, PointSource::Pooled),
        }
    }
}

/// An image of the bundle with the logit that libtorch gave for it at export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoldenPair {
    /// The image's path relative to the bundle directory, such as `golden/0.png`.
    pub image: String,
    /// The expected logit, before calibration.
    pub logit: f64,
}

/// The allowed golden drift per numeric precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// For inference in f32.
    pub f32: f64,
    /// For inference in f16.
    pub f16: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { f32: 1e-3, f16: 1e-2 }
    }
}

/// Whether a logit is close enough to the expected one: |delta| <= tolerance * max(1, |expected|).
/// NaN never is.
pub fn within_tolerance(expected: f64, found: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs().max(1.0)
}

/// Where a bundle's weights come from. No number here is a clinical claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingFacts {
    /// The network, such as `DenseNet169`.
    pub architecture: String,
    /// The data it was trained on, such as `phantoms (synthetic)`.
    pub dataset: String,
    /// Images in the training split.
    pub train_images: u64,
    /// Studies in the validation split.
    pub valid_studies: u64,
    /// Weights and biases in the exported network.
    pub parameters: u64,
    /// Multiply-accumulates of the convolutions of `model.onnx` in one inference at the input size.
    pub macs: u64,
    /// `macs` as a share of DenseNet169's, exported the same way.
    pub macs_share: f64,
    /// Study-level AUROC on the validation split, if both classes were present.
    pub valid_auroc: Option<f64>,
    /// Study-level Cohen's kappa at 0.5 on the validation split.
    pub valid_kappa: Option<f64>,
    /// The version of the trainer.
    pub trainer_version: String,
}

/// Why a manifest is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not the JSON of a manifest.
    #[error("{MANIFEST_FILE} is not a bundle manifest: {0}; export the bundle again")]
    Malformed(#[from] serde_json::Error),
    /// Another format version.
    #[error(
        "bundle format {found} is not supported: this version reads format {FORMAT}; install a bundle of that format, or \
         the version of edge that the bundle was made for"
    )]
    Format {
        /// The manifest's format.
        found: u32,
    },
    /// A value that cannot be right.
    #[error("{MANIFEST_FILE}: {0}; export the bundle again")]
    Invalid(String),
}

impl BundleManifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// When it is not JSON of the manifest's form, has another format version, or holds values that cannot
    /// be right (a path that leaves the bundle, a missing model, no golden pair, thresholds out of order).
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        // The version first: another format may have other fields.
        let head: Head = serde_json::from_slice(json)?;
        if head.format != FORMAT {
            return Err(ManifestError::Format { found: head.format });
        }
        let manifest: Self = serde_json::from_slice(json)?;
        manifest.check().map_err(ManifestError::Invalid)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        for (path, facts) in &self.files {
            let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            if !plain || path.contains('\\') {
                return Err(format!("the file name `{path}` leaves the bundle directory"));
            }
            if facts.sha256.len() != 64 || !facts.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("the hash of `{path}` is not 64 hexadecimal digits"));
            }
        }
        if let Some(name) =
            [MANIFEST_FILE, SIGNATURE_FILE].into_iter().find(|name| self.files.contains_key(*name))
        {
            return Err(format!("`{name}` is listed under files"));
        }
        if let Some(min) = self.edge_version_min.as_ref().filter(|min| version(min).is_none()) {
            return Err(format!("edge_version_min is `{min}`; expected three numbers, such as 1.2.3"));
        }
        if !self.files.contains_key(MODEL_FILE) {
            return Err(format!("`{MODEL_FILE}` is not listed under files"));
        }
        if self.golden.is_empty() {
            return Err("there is no golden pair".to_owned());
        }
        if let Some(pair) = self.golden.iter().find(|pair| !self.files.contains_key(&pair.image)) {
            return Err(format!("the golden image `{}` is not listed under files", pair.image));
        }
        let temperature = self.calibration.temperature;
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(format!("the temperature {temperature} is not above zero"));
        }
        for points in self.operating_points.per_type.values().chain([&self.operating_points.pooled]) {
            let OperatingPoints { rule_out, rule_in, decision, .. } = *points;
            if !(rule_out <= rule_in && [rule_out, rule_in, decision].iter().all(|p| p.is_finite())) {
                return Err(format!("the operating points {rule_out} and {rule_in} are out of order"));
            }
        }
        self.input.check()
    }

    /// Whether this version of `edge` is new enough for it.
    pub fn suits(&self, edge_version: &str) -> bool {
        let Some(min) = &self.edge_version_min else { return true };
        version(edge_version) >= version(min)
    }

    /// A study's answer, why it is withheld if it is, and the points that gave it: those that a command has set for
    /// this very bundle, else its own.
    pub fn answer(
        &self,
        set: Option<&SetPoints>,
        study_type: Option<&StudyType>,
        probability: f64,
    ) -> Judgement {
        let (points, source, set_by) = self.points(set, study_type);
        let withheld = match study_type {
            None => Some(WithheldReason::StudyTypeUnknown),
            Some(t) if !self.study_types.contains(t) => Some(WithheldReason::NotInIntendedUse),
            Some(_) => None,
        };
        let answer = if withheld.is_some() { Answer::Uncertain } else { points.answer(probability) };
        Judgement { answer, withheld, points, source, set_by }
    }

    /// The points in force for a study type, whose they are, and the command that set them.
    fn points(
        &self,
        set: Option<&SetPoints>,
        study_type: Option<&StudyType>,
    ) -> (OperatingPoints, PointSource, Option<String>) {
        let (own, source) = match study_type {
            Some(study_type) => self.operating_points.for_type(study_type),
            None => (self.operating_points.pooled, PointSource::Pooled),
        };
        let Some(SetPoints { by, settings }) = set else { return (own, source, None) };
        let typed = study_type.and_then(|study_type| settings.per_type.get(study_type));
        let pooled = settings.pooled.as_ref().filter(|_| source == PointSource::Pooled);
        let (thresholds, source) = match (typed, pooled) {
            (Some(thresholds), _) => (thresholds, PointSource::StudyType),
            (None, Some(thresholds)) => (thresholds, PointSource::Pooled),
            (None, None) => return (own, source, None),
        };
        let points = OperatingPoints { rule_out: thresholds.rule_out, rule_in: thresholds.rule_in, ..own };
        (points, source, Some(by.clone()))
    }
}

/// The three numbers of a version; what follows a `-` or `+` does not count.
fn version(text: &str) -> Option<[u64; 3]> {
    let plain = text.split(['-', '+']).next()?;
    let numbers: Vec<u64> = plain.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// An answer with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The answer.
    pub answer: Answer,
    /// Why it is `uncertain` whatever the probability.
    pub withheld: Option<WithheldReason>,
    /// The thresholds.
    pub points: OperatingPoints,
    /// Whose thresholds they are.
    pub source: PointSource,
    /// The command that set them; `None` where they are the bundle's own.
    pub set_by: Option<String>,
}

/// Why an answer is withheld as `uncertain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithheldReason {
    /// The bundle is not meant for this study type.
    NotInIntendedUse,
    /// Nobody said what was radiographed.
    StudyTypeUnknown,
}
