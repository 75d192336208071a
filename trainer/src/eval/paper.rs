//! What others have published about MURA, set beside a report as context.
//!
//! Sources: Rajpurkar et al., "MURA: Large Dataset for Abnormality Detection in Musculoskeletal Radiographs",
//! arXiv 1712.06957, abstract and section 4 (the hidden test set of 207 studies; the truth is the majority vote
//! of three further radiologists); for the validation split, numbers that public implementations report.

/// A published measurement on MURA's hidden test set.
pub(super) struct Published {
    pub(super) who: &'static str,
    pub(super) auroc: Option<f64>,
    pub(super) kappa: f64,
    pub(super) sensitivity: Option<f64>,
    pub(super) specificity: Option<f64>,
}

const fn radiologist(who: &'static str, kappa: f64) -> Published {
    Published { who, auroc: None, kappa, sensitivity: None, specificity: None }
}

/// On the hidden test set, all study types together.
pub(super) const HIDDEN_TEST: [Published; 4] = [
    Published {
        who: "The paper's model: five DenseNet169",
        auroc: Some(0.929),
        kappa: 0.705,
        sensitivity: Some(0.815),
        specificity: Some(0.887),
    },
    radiologist("Radiologist 1", 0.731),
    radiologist("Radiologist 2", 0.763),
    radiologist("Radiologist 3", 0.778),
];

/// Kappa of the paper's model on the hidden test set, by study type.
pub(super) const HIDDEN_TEST_KAPPA: [(&str, f64); 7] = [
    ("XR_ELBOW", 0.710),
    ("XR_FINGER", 0.389),
    ("XR_FOREARM", 0.737),
    ("XR_HAND", 0.851),
    ("XR_HUMERUS", 0.600),
    ("XR_SHOULDER", 0.729),
    ("XR_WRIST", 0.931),
];

/// Kappa over studies that public implementations report on MURA's validation split.
pub(super) const VALID_KAPPA: [(&str, f64); 6] = [
    ("Ensemble of two networks", 0.680),
    ("DenseNet169 with min pooling", 0.673),
    ("One network per study type", 0.656),
    ("DenseNet201", 0.645),
    ("DenseNet169", 0.63),
    ("From scratch, without ImageNet weights", 0.386),
];

/// Studies and images of MURA's validation split.
pub(super) const VALID_SIZE: (usize, usize) = (1199, 3197);
/// Studies in the hidden test set.
pub(super) const HIDDEN_TEST_STUDIES: usize = 207;
