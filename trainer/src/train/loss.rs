//! The weighted binary cross entropy of MURA's recipe.

use std::collections::BTreeMap;

use contract::study::StudyType;
use tch::{Reduction, Tensor};

use super::config::LossWeights;
use crate::dataset::Planes;

/// The weights of the two classes of one study type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Of abnormal images: the share of normal ones.
    pub abnormal: f64,
    /// Of normal images: the share of abnormal ones.
    pub normal: f64,
}

/// The weights of the loss: w_T1 = N_T / (A_T + N_T) for the abnormal and w_T0 = A_T / (A_T + N_T) for the
/// normal images of study type T, A_T and N_T being its abnormal and normal images in the training split
/// (arXiv 1712.06957, section 3).
#[derive(Clone, Debug)]
pub struct ClassWeights {
    per_type: BTreeMap<StudyType, Pair>,
    pooled: Pair,
    plain: bool,
    /// Types of the training split that lack a class and take the pooled weights.
    pub one_sided: Vec<StudyType>,
}

impl ClassWeights {
    /// Counts the classes of the training split.
    pub fn count(train: &Planes, kind: LossWeights) -> Self {
        let mut counts: BTreeMap<StudyType, (u64, u64)> = BTreeMap::new();
        for (&study, &abnormal) in train.study.iter().zip(&train.abnormal) {
            let (a, n) = counts.entry(train.studies[study].study_type.clone()).or_default();
            if abnormal { *a += 1 } else { *n += 1 }
        }
        let pair = |(a, n): (u64, u64)| {
            let all = (a + n) as f64;
            Pair { abnormal: n as f64 / all, normal: a as f64 / all }
        };
        let total = counts.values().fold((0, 0), |(a, n), (b, m)| (a + b, n + m));
        let (complete, one_sided): (Vec<_>, Vec<_>) =
            counts.into_iter().partition(|(_, (a, n))| *a > 0 && *n > 0);
        Self {
            per_type: complete.into_iter().map(|(t, counts)| (t, pair(counts))).collect(),
            pooled: pair(total),
            plain: kind == LossWeights::Plain,
            one_sided: one_sided.into_iter().map(|(t, _)| t).collect(),
        }
    }

    /// The weight of an image of this type and class. Another type than those of the training split takes
    /// the pooled weights.
    pub fn of(&self, study_type: &StudyType, abnormal: bool) -> f64 {
        if self.plain {
            return 1.0;
        }
        let pair = self.per_type.get(study_type).unwrap_or(&self.pooled);
        if abnormal { pair.abnormal } else { pair.normal }
    }

    /// The mean weighted loss of a batch: `logit` f32 `[B]` for the images `indices` of `planes`.
    pub fn loss(&self, logit: &Tensor, planes: &Planes, indices: &[usize]) -> Tensor {
        let (mut targets, mut weights) = (Vec::new(), Vec::new());
        for &image in indices {
            let abnormal = planes.abnormal[image];
            targets.push(f32::from(u8::from(abnormal)));
            weights.push(self.of(&planes.studies[planes.study[image]].study_type, abnormal) as f32);
        }
        let device = logit.device();
        let (targets, weights) =
            (Tensor::from_slice(&targets).to_device(device), Tensor::from_slice(&weights).to_device(device));
        logit.binary_cross_entropy_with_logits(&targets, Some(&weights), None::<&Tensor>, Reduction::Mean)
    }
}
