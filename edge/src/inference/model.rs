//! One verified ONNX model, run by tract on the calling thread.

use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use contract::bundle::{ACTIVATION_MAP_NAME, BundleManifest, LOGIT_NAME, within_tolerance};
use contract::preprocess::{PreprocessError, normalise, to_plane};
use contract::radiograph::{self, Limits, Radiograph};
use contract::result::{ActivationMap, ModelSummary};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::tract_linalg::isa::{self, Isa};

use super::{Bundle, dense};

/// A model ready to score. Clones share the weights; each call runs on the caller's thread.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Arc<TypedRunnableModel>,
    precision: Precision,
    manifest: BundleManifest,
    summary: ModelSummary,
    golden_ms: f64,
}

/// How a model is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// Operator by operator, as tract runs any network: to compare with.
    Plain,
    /// Stem and dense blocks in one operator.
    Dense(Precision),
}

impl Default for Execution {
    fn default() -> Self {
        Self::Dense(Precision::default())
    }
}

impl Execution {
    /// What it becomes on this processor: a precision that it lacks becomes f32.
    pub fn here(self) -> Self {
        match self {
            Self::Plain => self,
            Self::Dense(precision) => Self::Dense(precision.here()),
        }
    }

    /// What its numbers are.
    pub fn precision(self) -> Precision {
        match self {
            Self::Plain => Precision::F32,
            Self::Dense(precision) => precision,
        }
    }
}

/// What the products of a network's stem and dense blocks are computed with. The answers of a bundle's golden images may drift as
/// its manifest says for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, on processors that compute with them.
    F16,
}

impl Precision {
    /// What this processor computes with in its place: itself, or [`Self::F32`].
    pub(super) fn here(self) -> Self {
        let computes = isa::native().has(Isa::Aarch64Fp16);
        if self == Self::F16 && !computes { Self::F32 } else { self }
    }
}

/// What the model says of one view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewScore {
    /// The model's output before calibration.
    pub logit: f64,
    /// Calibrated probability of abnormality.
    pub probability: f64,
    /// Where the model looked.
    pub activation_map: ActivationMap,
    /// Time the network itself took, in milliseconds.
    pub inference_ms: f64,
}

/// Why a model could not be loaded or could not score.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// tract cannot load the ONNX file, or its inputs and outputs are not a bundle's.
    #[error("cannot load model.onnx of the bundle: {0}; export the bundle again with this version's trainer")]
    Load(String),
    /// A golden pair did not come out as recorded.
    #[error(
        "the model fails its self-test on {image}: logit {found:.6}, recorded {expected:.6}, allowed drift {tolerance}; \
         this machine would give other answers than the exported model, so it is not used: export the bundle again or report this"
    )]
    Golden {
        /// The golden image.
        image: String,
        /// The logit recorded at export.
        expected: f64,
        /// The logit found here.
        found: f64,
        /// The manifest's tolerance.
        tolerance: f64,
    },
    /// A golden image cannot be decoded.
    #[error("the golden image {image} of the bundle cannot be used: {reason}; export the bundle again")]
    GoldenImage {
        /// The golden image.
        image: String,
        /// Why.
        reason: String,
    },
    /// The radiograph could not be preprocessed.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// tract failed while running.
    #[error("the model could not be run: {0}")]
    Run(String),
    /// An output is NaN or infinite.
    #[error("the model answered with a number that is not finite")]
    NotFinite,
}

impl Model {
    /// Loads a bundle's model and reproduces its golden pairs. A precision that this processor lacks becomes f32.
    ///
    /// # Errors
    /// When tract refuses the file, its shapes are not the manifest's, or a golden pair drifts.
    pub fn load(bundle: &Bundle, execution: Execution) -> Result<Self, ModelError> {
        let execution = execution.here();
        let plan = load_plan(bundle, execution).map_err(|error| match error {
            LoadError::Tract(error) => ModelError::Load(format!("{error:#}")),
            LoadError::Shape(text) => ModelError::Load(text),
        })?;
        let (manifest, summary) = (bundle.manifest.clone(), bundle.summary());
        let mut shared = Shared { plan, precision: execution.precision(), manifest, summary, golden_ms: 0.0 };
        shared.golden_ms = shared.self_test(bundle)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How long a golden image took here, from its plane to its answer: the shortest, in milliseconds, because others may
    /// keep the machine busy.
    pub fn golden_ms(&self) -> f64 {
        self.shared.golden_ms
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &BundleManifest {
        &self.shared.manifest
    }

    /// The model as results name it.
    pub fn summary(&self) -> &ModelSummary {
        &self.shared.summary
    }

    /// Scores one radiograph.
    ///
    /// # Errors
    /// When it cannot be preprocessed, tract fails, or an output is not finite.
    pub fn score(&self, radiograph: &Radiograph) -> Result<ViewScore, ModelError> {
        self.shared.score(radiograph)
    }
}

impl Shared {
    fn score(&self, radiograph: &Radiograph) -> Result<ViewScore, ModelError> {
        let Self { plan, manifest, .. } = self;
        let plane = to_plane(radiograph, &manifest.input)?;
        let shape = [1, 3, manifest.input.height_px as usize, manifest.input.width_px as usize];
        let input = Tensor::from_shape(&shape, &normalise(&plane, &manifest.input)).map_err(run_error)?;

        let started = Instant::now();
        let outputs = plan.run(tvec!(input.into())).map_err(run_error)?;
        let inference_ms = started.elapsed().as_secs_f64() * 1e3;

        let logit = outputs[0].to_plain_array_view::<f32>().map_err(run_error)?;
        let map = outputs[1].to_plain_array_view::<f32>().map_err(run_error)?;
        let logit = logit.iter().next().copied().map_or(f64::NAN, f64::from);
        if !logit.is_finite() || map.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NotFinite);
        }
        let activation_map = ActivationMap {
            width: map.shape()[2] as u32,
            height: map.shape()[1] as u32,
            values: map.iter().copied().collect(),
        };
        Ok(ViewScore {
            logit,
            probability: manifest.calibration.probability(logit),
            activation_map,
            inference_ms,
        })
    }

    /// Reproduces the golden pairs; gives the shortest of their times in milliseconds.
    fn self_test(&self, bundle: &Bundle) -> Result<f64, ModelError> {
        let tolerance = match self.precision {
            Precision::F32 => bundle.manifest.tolerance.f32,
            Precision::F16 => bundle.manifest.tolerance.f16,
        };
        let limits = Limits::default();
        let mut shortest_ms = f64::INFINITY;
        for pair in &bundle.manifest.golden {
            let image = pair.image.clone();
            let decoded = radiograph::decode(bundle.file(&image), &limits).map_err(|error| {
                ModelError::GoldenImage { image: image.clone(), reason: error.to_string() }
            })?;
            let started = Instant::now();
            let score = self.score(&decoded.radiograph)?;
            shortest_ms = shortest_ms.min(started.elapsed().as_secs_f64() * 1e3);
            if !within_tolerance(pair.logit, score.logit, tolerance) {
                let (expected, found) = (pair.logit, score.logit);
                return Err(ModelError::Golden { image, expected, found, tolerance });
            }
        }
        Ok(shortest_ms)
    }
}

enum LoadError {
    Tract(TractError),
    Shape(String),
}

impl From<TractError> for LoadError {
    fn from(error: TractError) -> Self {
        Self::Tract(error)
    }
}

fn load_plan(bundle: &Bundle, execution: Execution) -> Result<Arc<TypedRunnableModel>, LoadError> {
    let input = &bundle.manifest.input;
    let shape = [1, 3, input.height_px as usize, input.width_px as usize];
    let mut onnx = bundle.onnx();
    let mut model = tract_onnx::onnx()
        .model_for_read(&mut onnx)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_typed()?;
    if let Execution::Dense(precision) = execution {
        match precision {
            Precision::F32 => dense::replace::<f32>(&mut model)?,
            Precision::F16 => dense::replace::<f16>(&mut model)?,
        };
    }
    let model = model.into_optimized()?;

    let outputs = model.output_outlets()?.to_vec();
    let ranks = [(LOGIT_NAME, 2), (ACTIVATION_MAP_NAME, 3)];
    if outputs.len() != ranks.len() {
        return Err(LoadError::Shape(format!("it has {} outputs instead of {}", outputs.len(), ranks.len())));
    }
    for (outlet, (name, rank)) in outputs.into_iter().zip(ranks) {
        let fact = model.outlet_fact(outlet)?;
        let batch_of_one = fact.shape.as_concrete().is_some_and(|dims| dims.len() == rank && dims[0] == 1);
        if fact.datum_type != f32::datum_type() || !batch_of_one {
            return Err(LoadError::Shape(format!("its output `{name}` is {fact:?}")));
        }
    }
    Ok(model.into_runnable()?)
}

fn run_error(error: TractError) -> ModelError {
    ModelError::Run(format!("{error:#}"))
}
