//! Running a network over a split without learning from it.

use contract::study::{sigmoid, study_score};
use tch::{Device, Kind, no_grad};

use super::batch::plain_batch;
use super::loss::ClassWeights;
use crate::dataset::Planes;
use crate::exit::Fault;
use crate::model::DenseNet;
use crate::progress;

/// Images per batch when nothing is learned.
const BATCH_MIN: usize = 16;

/// How good the network is on the validation split, in single precision as it will be used.
pub(super) struct Validation {
    /// Mean weighted loss over images.
    pub(super) loss: f64,
    /// AUROC of study scores.
    pub(super) study_auroc: Option<f64>,
    /// Kappa of study scores at 0.5.
    pub(super) study_kappa: Option<f64>,
}

/// The logits of all images of a split, in order, or `None` when told to stop.
fn logits(
    net: &DenseNet,
    planes: &Planes,
    device: Device,
    batch: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<f64>>, Fault> {
    let mut logits = Vec::with_capacity(planes.len());
    let images: Vec<usize> = (0..planes.len()).collect();
    let bar = progress::bar(Some(planes.len() as u64), "validating", "images");
    for indices in images.chunks(batch.max(BATCH_MIN)) {
        if stop() {
            bar.finish_and_clear();
            return Ok(None);
        }
        let input = plain_batch(planes, indices, device);
        let logit = no_grad(|| net.forward_t(&input, false).logit).to_kind(Kind::Double);
        logits.extend(Vec::<f64>::try_from(logit).map_err(super::torch)?);
        bar.inc(indices.len() as u64);
    }
    bar.finish_and_clear();
    Ok(Some(logits))
}

/// Validates, or `None` when told to stop.
pub(super) fn validate(
    net: &DenseNet,
    valid: &Planes,
    weights: &ClassWeights,
    device: Device,
    batch: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Validation>, Fault> {
    let Some(logits) = logits(net, valid, device, batch, stop)? else {
        return Ok(None);
    };
    let mut loss = 0.0;
    let mut views = vec![Vec::new(); valid.studies.len()];
    for (image, &logit) in logits.iter().enumerate() {
        let (study, abnormal) = (valid.study[image], valid.abnormal[image]);
        // -log(sigmoid(z)) = log(1 + exp(-z)), written so that neither sign overflows.
        let z = if abnormal { logit } else { -logit };
        let entropy = (-z).max(0.0) + (-z.abs()).exp().ln_1p();
        loss += weights.of(&valid.studies[study].study_type, abnormal) * entropy;
        views[study].push(sigmoid(logit));
    }
    let cases: Vec<(f64, bool)> = views
        .iter()
        .zip(&valid.studies)
        .filter_map(|(views, study)| Some((study_score(views)?, study.abnormal)))
        .collect();
    let study_auroc = crate::metrics::auroc(&cases);
    let study_kappa = crate::metrics::kappa(&cases, 0.5);
    Ok(Some(Validation { loss: loss / logits.len() as f64, study_auroc, study_kappa }))
}
